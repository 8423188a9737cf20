"""Countries whose holidays series keep: named right or told what is like it, and written down as dates where they are decided."""

from __future__ import annotations

from datetime import date
from pathlib import Path

import numpy as np
import pytest
from pydantic import ValidationError

from detectors import model_file
from detectors.calibration import create
from detectors.judged import with_judgement
from detectors.judgement.calendar import UTC, Calendar, Holidays
from detectors.model import Model
from detectors.training import train_metric
from pipeline import countries
from pipeline.countries import PublicHolidays, calendar_of, public_holidays
from pipeline.partition.deciding.decisions import InForce
from pipeline.partition.stream import create_stream
from pipeline.partition.streams import Streams, content_id, decided
from pipeline.settings import StreamSettings

HOUR = 3_600_000


def settings(**given: object) -> StreamSettings:
    return StreamSettings.model_validate({"name": "s", "model": Path("m"), **given})


@pytest.mark.parametrize(
    ("country", "day", "rest"),
    [
        ("US", date(2014, 9, 1), 6),
        ("US-NY", date(2014, 11, 4), 6),
        ("DE-BY", date(2026, 1, 6), 6),
        ("GB-SCT", date(2026, 1, 2), 6),
        ("SA", date(2025, 9, 23), 5),
        ("IR", date(2025, 3, 21), 4),
    ],
)
def test_a_country_or_a_part_of_one_has_its_holidays_and_day_of_rest(country: str, day: date, rest: int) -> None:
    found = public_holidays(country)
    assert day in found.dates
    assert found.rest == rest
    assert {d.year for d in found.dates} >= set(range(2000, 2036))


def test_a_part_of_a_country_has_holidays_that_the_country_has_not() -> None:
    assert date(2026, 1, 6) not in public_holidays("DE").dates


@pytest.mark.parametrize(
    ("country", "said"),
    [
        ("us", "is US meant"),
        ("Germany", "is DE meant"),
        ("United States", "is US meant"),
        ("Scotland", "is GB-SCT meant"),
        ("XX", "no holidays are known of a country 'XX'"),
        ("US-NZ", "NC, ND, NE, NH, NJ, NM, NV, NY"),
        ("DE-Bayern", "is DE-BY meant"),
        ("US-", "US has no part ''"),
        ("-", "no holidays are known of a country '-'"),
    ],
)
def test_a_country_that_there_is_not_is_told_in_one_line(country: str, said: str) -> None:
    with pytest.raises(ValidationError) as told:
        settings(country=country)
    [error] = told.value.errors()
    assert said in error["msg"]
    assert "\n" not in error["msg"]


def test_days_of_ones_own_are_added_and_what_is_no_day_is_refused() -> None:
    closed = settings(country="US", holidays={"2026": "12-24"}).closed
    assert closed.by_year()["2026"].endswith("12-24 12-25")
    with pytest.raises(ValidationError, match='write the days of a year as 2026 = "01-01 12-25"'):
        settings(holidays={"2026": "24.12."})


def test_without_a_country_nothing_is_asked_and_the_model_s_holidays_hold() -> None:
    learnt = Calendar("Europe/Berlin", Holidays((20_000,), 5))
    assert settings().calendar(learnt) == learnt
    assert settings(time_zone="UTC").calendar(learnt) == Calendar("UTC", learnt.holidays)
    assert settings().calendar(UTC) == UTC
    assert decided(settings())["holidays"] == {}


@pytest.fixture(scope="module")
def model() -> Model:
    times, values = HOUR * np.arange(400), np.random.default_rng(0).normal(size=(400, 1))
    members = train_metric(
        {"a": (times, values)}, [("zscore", {"window": 12})], create("empirical"), training_rows=len_of
    )
    return with_judgement(members, {"a": (times, values)}, calendar=calendar_of("America/New_York", "US"))


def len_of(rows: int) -> int:
    return rows


def test_a_model_file_keeps_the_dates_whatever_a_later_package_says(
    model: Model, monkeypatch: pytest.MonkeyPatch
) -> None:
    data = model_file.to_bytes(model)
    monkeypatch.setattr(countries, "public_holidays", lambda _: pytest.fail("the package was asked"))
    again = model_file.from_bytes(data)
    assert again.calendar == model.calendar
    assert "09-01" in again.calendar.holidays.by_year()["2014"]
    assert model_file.to_bytes(again) == data


def test_what_is_decided_are_dates_so_workers_with_other_packages_judge_alike(
    model: Model, monkeypatch: pytest.MonkeyPatch
) -> None:
    own = settings(country="DE-BY")
    body, wanted = decided(own), own.calendar(UTC)
    assert body["country"] == ""
    assert "01-06" in body["holidays"]["2026"]

    other = PublicHolidays((date(2026, 3, 3),), 4)  # what another version of the package says
    monkeypatch.setattr(
        "pipeline.settings.streams.public_holidays", lambda country: other if country else PublicHolidays()
    )
    worker = Streams(create_stream(settings(country="DE-BY"), model))
    stream = worker(InForce(settings=body, model=model.hash))
    assert stream.settings.calendar(UTC) == wanted
    assert decided(stream.settings) == body
    # Its own settings say something else: a decision of their own.
    assert content_id(decided(worker.own.settings), model.hash) != content_id(body, model.hash)
