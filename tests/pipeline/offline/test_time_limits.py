"""Files of any step, from milliseconds to years: every row behind the training part is scored, a wrong time is still held back."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from detectors.recipes import METRIC
from detectors.training_part import metric_training_rows
from pipeline.offline.scorefile import score_dataset
from pipeline.offline.scoring.rows import ScoredRows
from pipeline.offline.time_limits import budget_rows, of_file
from producers.datasets import Dataset, Series
from producers.errors import DataError

DAY = 86_400_000
START = 1_500_000_000_000
RNG = np.random.default_rng(0)


def calendar(first: str, last: str, step: int, unit: str) -> np.ndarray:
    return np.arange(first, last, step, dtype=f"datetime64[{unit}]").astype("datetime64[ms]").astype(np.int64)


def dataset(*times: np.ndarray) -> Dataset:
    series = {}
    for k, at in enumerate(times):
        n = len(at)
        values = 10 * np.sin(np.arange(n) * 2 * np.pi / 12) + np.random.default_rng(k).normal(size=n)
        values[int(0.8 * n)] += 80
        positions = np.arange(n) * len(times) + k
        series[f"s{k}"] = Series(f"s{k}", at, (values,), positions=positions)
    return Dataset("d", "metric", ("v",), "here", series)


def score(*times: np.ndarray) -> ScoredRows:
    return score_dataset(dataset(*times), detector="zscore")


@pytest.mark.parametrize(
    "times",
    [
        START + np.arange(400),
        START + np.arange(400) * 250,
        START + np.arange(200) * 7 * DAY,
        calendar("2010-01", "2020-01", 1, "M"),
        calendar("2010-01", "2013-05", 1, "M"),
        calendar("2000-01", "2030-01", 3, "M"),
        calendar("1700", "2000", 1, "Y"),
        calendar("1000", "2000", 10, "Y"),
        np.array([t for t in START + np.arange(500) * DAY if (t // DAY + 3) % 7 < 5]),
        START + np.cumsum(RNG.exponential(3 * DAY, 300)).astype(np.int64),
        START + np.cumsum(np.where(np.arange(400) % 20 == 19, 30 * DAY, 60_000)),
    ],
    ids=[
        "1 ms",
        "250 ms",
        "weeks",
        "months",
        "40 months",
        "quarters",
        "years",
        "decades",
        "working days",
        "irregular",
        "bursts",
    ],
)
def test_every_row_behind_the_training_part_is_scored(times: np.ndarray) -> None:
    scored = score(times)
    n = len(times)
    assert np.isfinite(scored.score).sum() == n - metric_training_rows(n)
    assert np.nanargmax(scored.score) == int(0.8 * n)
    assert scored.anomalous[int(0.8 * n)]
    assert [note for note in scored.notes if "too short for the usual budget" not in note] == []


def test_two_wrong_clocks_among_hours_are_held_back_and_told() -> None:
    times = START + np.arange(500) * 3_600_000
    times[200], times[300] = START + 40_000 * DAY, START + 9_000 * DAY
    scored = score(times)
    assert any(note.startswith("2 rows have a time far ahead") for note in scored.notes)
    assert scored.score[201] != scored.score[199]  # what follows is scored, not late for ever
    assert np.isfinite(scored.score[metric_training_rows(500) :]).all()


def test_series_of_different_years_are_all_kept() -> None:
    """A live stream forgets who is silent for a week; in a file that would begin each month anew."""
    months = calendar("1990-01", "2020-01", 1, "M")
    scored = score(months, months + 20 * 365 * DAY)
    first = metric_training_rows(len(months))
    for k in (0, 1):
        assert np.isfinite(scored.score[k::2][first:]).all()


def test_limits_are_never_stricter_than_those_of_a_stream() -> None:
    limits = of_file(dataset(START + np.arange(400)))
    assert limits["future_limit"].days == 1
    assert limits["idle_after"].days == 7


@pytest.mark.parametrize(
    ("step", "n", "rows"),
    [
        (5, 3_000, 10_000),
        (5, 12_000, 12_000),
        (60_000, 12_000, 12_000),
        (60_000, 50_000, 0),  # more than a month
        (300_000, 4_000, 0),  # a month of them is fewer than 10,000 rows: a budget like any other
        (30 * DAY, 144, 0),
    ],
)
def test_the_usual_budget_is_a_level_that_the_file_can_reach(step: int, n: int, rows: int) -> None:
    assert budget_rows(dataset(START + np.arange(n) * step)) == rows


def test_an_outlier_among_milliseconds_is_an_alert_and_a_budget_of_ones_own_is_kept() -> None:
    """By one alert a month, which is 518 million rows, nothing in the file would ever be one."""
    data = dataset(START + np.arange(3_000) * 5)
    quick = replace(METRIC, detectors=("zscore",))
    scored = score_dataset(data, recipe=quick)
    assert scored.anomalous[2_400]
    assert any("what comes once in 10,000 rows" in note for note in scored.notes)
    own = replace(quick, settings={"threshold": {"false_alarms": "1 per series per month"}})
    strict = score_dataset(data, recipe=own, model=scored.model)
    assert scored.alarm is not None
    assert strict.alarm is not None
    assert scored.alarm[2_400] - strict.alarm[2_400] == pytest.approx(
        np.log10(518_400_000 / 10_000), abs=1e-3
    )  # what alarmed before is learnt less of
    assert not any("usual budget" in note for note in strict.notes)


@pytest.mark.parametrize("alerts", [{}, {"hold": "2h"}, {"suppression": "30d"}])
def test_alerts_before_1970_are_those_of_the_same_rows_later(alerts: dict[str, str]) -> None:
    """Times are negative there, and 0 is no time at which anything ended; 56 years are whole weeks, with the leap years in their places."""
    hours = START + np.arange(3_000) * (DAY // 24)
    early, late = (score_dataset(dataset(hours - back), detector="zscore", alerts=alerts) for back in (20_454 * DAY, 0))
    assert late.records
    assert [(a.starts_at, a.kind, a.reason) for a in early.records] == [
        (_earlier(a.starts_at), a.kind, a.reason) for a in late.records
    ]


def _earlier(text: str) -> str:
    return f"{int(text[:4]) - 56}{text[4:]}"


def test_a_gap_that_starts_the_window_anew_is_told() -> None:
    times = START + np.arange(500) * 60_000
    times[300:] += 5 * DAY
    assert any("too long to be filled in: 1;" in note for note in score(times).notes)


def test_series_that_could_not_be_scored_are_named() -> None:
    long, short = START + np.arange(500) * 60_000, START + np.arange(4) * 60_000
    assert any("s1" in note for note in score(long, short).notes)
    with pytest.raises(DataError, match="no row could be scored: 20 of its 20 rows are learnt from"):
        score_dataset(dataset(START + np.arange(20) * 60_000), detector="zscore", train_rows=20)
