"""Holidays: which rows they are, and that a series is judged on them by the better of a day of rest and an ordinary day."""

from __future__ import annotations

from datetime import UTC, date, datetime, timedelta
from zoneinfo import ZoneInfo

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from detectors.judgement.calendar import Calendar, Holidays
from detectors.judgement.population import Population, Said

HOUR = 3_600_000
DAYS = st.dates(date(1970, 1, 2), date(2098, 12, 31))


@given(
    days=st.sets(DAYS, max_size=20),
    others=st.lists(DAYS),
    rest=st.integers(0, 6),
    hour=st.integers(0, 24 * HOUR - 1),
)
def test_a_holiday_with_its_eve_and_night_lies_at_the_day_of_rest_of_its_week_and_no_other_time_moves(
    days: set[date], others: list[date], rest: int, hour: int
) -> None:
    calendar = Calendar(holidays=Holidays.of(days, rest))
    around = [d + timedelta(k) for d in days for k in (-1, 0, 1)] + others
    local = np.array([(d - date(1970, 1, 1)).days * 24 * HOUR + hour for d in around], np.int64)
    closed = {d for d in days if d.weekday() != rest}
    for day, was, now in zip(around, local.tolist(), calendar.placed(local).tolist(), strict=True):
        of = [day]
        if hour < 6 * HOUR:
            of.append(day - timedelta(1))
        if hour >= 18 * HOUR:
            of.append(day + timedelta(1))
        holiday = next((d for d in of if d in closed), None)
        ahead = 0 if holiday is None else rest - holiday.weekday()
        assert now == was + ahead * 24 * HOUR


@given(days=st.sets(DAYS, max_size=20), rest=st.integers(0, 6))
def test_what_is_written_down_is_read_back(days: set[date], rest: int) -> None:
    holidays = Holidays.of(days, rest)
    assert Holidays.read(holidays.by_year(), rest) == holidays


@pytest.mark.parametrize(
    "years", [{"2026": "02-29"}, {"2026": "12-32"}, {"26": "12-24"}, {"2026": "24.12."}, {"x": "01-01"}]
)
def test_what_is_no_day_is_refused(years: dict[str, str]) -> None:
    with pytest.raises(ValueError, match=r"."):
        Holidays.read(years)


@pytest.mark.parametrize("day", [date(2024, 2, 29), date(2024, 3, 31), date(2024, 10, 27), date(2026, 12, 25)])
def test_a_holiday_is_one_by_the_local_clock_also_where_it_has_23_or_25_hours(day: date) -> None:
    calendar = Calendar("Europe/Berlin", Holidays.of([day], rest=2))
    begins, ends = (
        int(datetime(d.year, d.month, d.day, tzinfo=ZoneInfo("Europe/Berlin")).astimezone(UTC).timestamp() * 1000)
        for d in (day, day + timedelta(1))
    )
    times = np.arange(begins - 12 * HOUR, ends + 12 * HOUR, HOUR // 4)
    local = calendar.local(times)
    moved = calendar.placed(local) != local
    shown = (ends - begins) // HOUR - 24  # an hour more or less lies within the day itself
    assert moved.sum() == (6 + 24 + shown + 6) * 4
    assert moved[times.searchsorted(begins) : times.searchsorted(ends)].all()


MONDAY = 1_704_067_200_000
"""2024-01-01T00:00Z."""
HOLIDAY = date(2024, 2, 15)
"""A Thursday."""
FIRST = 5 * 7 * 24


def busy(closed: bool = False) -> tuple[np.ndarray, np.ndarray]:
    """Eight weeks of hours that are busy on weekdays, high at noon; the holiday is as quiet as a Sunday, or not."""
    rng = np.random.default_rng(3)
    times = MONDAY + np.arange(8 * 7 * 24) * HOUR
    hour, day = np.arange(len(times)) % 24, np.arange(len(times)) // 24
    quiet = day % 7 >= 5
    if closed:
        quiet |= day == (HOLIDAY - date(2024, 1, 1)).days
    noon = np.exp(-(((hour - 13) / 4.0) ** 2))
    values = 20.0 + noon * np.where(quiet, 15.0, 60.0) + rng.normal(0, 1.5, len(times))
    return times, values[:, None]


def judged(times: np.ndarray, values: np.ndarray, *holidays: date, first: int = FIRST) -> Said:
    placed = Calendar(holidays=Holidays.of(holidays)).placed(times)
    population = Population.fit({"a": (times[:first], values[:first])}, budget_rows=720.0, placed={"a": placed[:first]})
    states = np.zeros(1, population.state_dtype)
    population.begin(states, np.zeros(1, np.intp), ["a"])
    rows = np.zeros(len(times) - first, np.intp)
    return population.step(states, rows, values[first:], times[first:], budget_rows=720.0, placed=placed[first:])


def on_holiday(said: Said, first: int = FIRST) -> np.ndarray:
    at = (HOLIDAY - date(2024, 1, 1)).days * 24 - first
    return said.anomalous[at : at + 30]


def test_a_holiday_that_is_quiet_is_an_alert_only_where_nobody_said_that_it_is_one() -> None:
    times, values = busy(closed=True)
    assert on_holiday(judged(times, values)).any()
    assert not on_holiday(judged(times, values, HOLIDAY)).any()


def test_a_holiday_on_which_people_work_is_no_alert_either() -> None:
    times, values = busy()
    assert not on_holiday(judged(times, values, HOLIDAY)).any()


def test_a_holiday_of_some_is_no_alert_either() -> None:
    times, values = busy()
    quiet = busy(closed=True)[1]
    assert not on_holiday(judged(times, (values + quiet) / 2, HOLIDAY)).any()


def test_what_is_like_neither_is_told_on_a_holiday() -> None:
    times, values = busy(closed=True)
    noon = (HOLIDAY - date(2024, 1, 1)).days * 24 + 12
    values[noon : noon + 3] = 0.0
    assert on_holiday(judged(times, values, HOLIDAY))[12:15].any()


def test_an_ordinary_thursday_behind_a_holiday_is_as_it_was() -> None:
    """A holiday in the history, or just before, teaches the days that it was like."""
    times, values = busy(closed=True)
    said = judged(times, values, HOLIDAY, first=7 * 7 * 24)
    assert not said.anomalous.any()
    thursday = 3 * 24 + 13
    np.testing.assert_allclose(said.expected[thursday, 0], 80.0, atol=5.0)
