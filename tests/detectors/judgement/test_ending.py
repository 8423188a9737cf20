"""An alarm ends with what it told of: means that still hold it have no say, however slow they are, and what was dragged is brought back."""

from __future__ import annotations

import numpy as np
import pytest

from benchmarks.judgement import patterns
from detectors.judgement.clock import YEAR
from detectors.judgement.population import Population

T0 = 1_704_067_200_000
MINUTE = 60_000
DAY, WEEK, MONTH = 1440 * MINUTE, 7 * 1440 * MINUTE, 43_830 * MINUTE


def alarmed(
    step: int, rows: int, size: float, lasts: int, seed: int, *, wave: float = 0.0, budget: float = 2000.0
) -> tuple[np.ndarray, int]:
    """Which rows behind the history, half of the series, are anomalous, and at which of them noise is off by `size` for so many rows."""
    x = np.random.default_rng([seed, 77]).normal(50.0, 1.0, rows)
    at = rows * 3 // 4
    x[at : at + lasts] += size
    x += wave * np.sin(2 * np.pi * np.arange(rows) * step / YEAR)
    return alarmed_of(step, x, budget), at - rows // 2


def alarmed_of(step: int, x: np.ndarray, budget: float = 2000.0) -> np.ndarray:
    """Which rows behind the history, half of a series, are anomalous."""
    rows = len(x)
    known, times = rows // 2, T0 + np.arange(rows) * step
    population = Population.fit({"a": (times[:known], x[:known, None])}, budget_rows=2000.0)
    states = np.zeros(1, population.state_dtype)
    population.begin(states, np.zeros(1, np.intp), ["a"])
    said = population.step(
        states, np.zeros(rows - known, np.intp), x[known:, None], times[known:], 0, budget_rows=budget
    )
    return said.anomalous


def goes_on(anomalous: np.ndarray) -> int:
    """Rows from here to the last anomalous one that has none of five normal rows before it."""
    last = -1
    for row in np.flatnonzero(anomalous).tolist():
        if row - last > 5:
            break
        last = row
    return last + 1


@pytest.mark.parametrize(
    ("step", "rows", "size", "lasts"),
    [(MONTH, 120, 300.0, 1), (60 * MINUTE, 1344, 300.0, 1), (5 * MINUTE, 8064, 30.0, 1), (5 * MINUTE, 8064, -15.0, 24)],
    ids=["a spike in months", "a spike in hours", "a spike in five minutes", "an outage of two hours"],
)
def test_it_ends_within_a_few_rows(step: int, rows: int, size: float, lasts: int) -> None:
    told = [alarmed(step, rows, size, lasts, seed) for seed in range(1, 6)]
    for anomalous, at in told:
        assert anomalous[at]
        assert anomalous[at : at + lasts].mean() > 0.9  # as long as it lasts it is told
    assert np.median([goes_on(anomalous[at + lasts :]) for anomalous, at in told]) <= 3


@pytest.mark.parametrize("size", [12.0, -12.0, 100.0])
@pytest.mark.parametrize(
    ("step", "rows", "wave"),
    [(DAY, 730, 0.0), (WEEK, 208, 0.0), (WEEK, 260, 8.0), (MONTH, 120, 0.0)],
    ids=["days", "weeks", "weeks with a year", "months"],
)
def test_a_spike_among_rows_of_a_day_or_longer_is_over_at_once(step: int, rows: int, wave: float, size: float) -> None:
    """At the laxest level there is, the default's of such series: what noise happens to uphold is no part of it."""
    told = [alarmed(step, rows, size, 1, seed, wave=wave, budget=200.0) for seed in range(20)]
    long = [goes_on(anomalous[at + 1 :]) > 5 for anomalous, at in told if anomalous[at]]
    assert len(long) >= 12
    assert sum(long) <= 2


@pytest.mark.parametrize(
    ("step", "rows", "wave", "most"),
    [(DAY, 730, 0.0, 60), (WEEK, 208, 0.0, 40), (WEEK, 260, 8.0, 40), (MONTH, 160, 0.0, 30)],
    ids=["days", "weeks", "weeks with a year", "months"],
)
def test_among_rows_of_a_day_or_longer_a_lasting_shift_becomes_normal(
    step: int, rows: int, wave: float, most: int
) -> None:
    for seed in range(6):
        anomalous, at = alarmed(step, rows, 10.0, rows, seed, wave=wave, budget=200.0)
        assert anomalous[at : at + 3].any()
        assert goes_on(anomalous[at + 3 :]) <= most
        assert anomalous[at + most + 3 :].mean() < 0.05


def test_a_fortnight_of_days_is_no_new_level() -> None:
    told = [alarmed(DAY, 730, -10.0, 14, seed, budget=200.0) for seed in range(10)]
    assert all(anomalous[at : at + 14].mean() > 0.7 for anomalous, at in told)
    assert sum(goes_on(anomalous[at + 14 :]) > 5 for anomalous, at in told) <= 2


@pytest.mark.parametrize("season", [0.0, 8.0], ids=["flat", "with a day"])
@pytest.mark.parametrize(
    ("step", "rows", "hours"),
    [
        (MINUTE, 20_160, 30),
        (5 * MINUTE, 8064, 8),
        (5 * MINUTE, 8064, 30),
        (30 * MINUTE, 2016, 30),
        (60 * MINUTE, 1344, 30),
    ],
)
def test_after_an_outage_of_any_length_the_series_is_where_it_was(
    step: int, rows: int, hours: int, season: float
) -> None:
    """Level, means and contexts followed it: they alarmed for a day."""
    at, lasts, a_day = rows * 3 // 4, hours * 60 * MINUTE // step, DAY // step
    went_on, again = [], 0
    for seed in range(3):
        x = np.random.default_rng([seed, 9]).normal(50.0, 1.0, rows)
        x += season * np.sin(2 * np.pi * np.arange(rows) / a_day)
        x[at : at + lasts] = 0.0
        anomalous = alarmed_of(step, x, budget=30.0 * DAY / step)[at - rows // 2 :]
        assert anomalous[:lasts].mean() > 0.5
        went_on.append(goes_on(anomalous[lasts:]))
        again += anomalous[lasts + 12 : lasts + a_day].any()
    assert sorted(went_on)[1] <= 6
    assert again <= 1


@pytest.mark.parametrize("what", ["zero for a day", "a daily peak missing", "hourly spikes missing"])
def test_a_season_that_stayed_away_is_over_when_it_is_back(what: str) -> None:
    pattern = next(p for p in patterns.PATTERNS if p.name == what)
    went_on = []
    for seed in range(5):
        rng = np.random.default_rng([seed, 300])
        t = np.arange(round(pattern.days * patterns.DAY / pattern.step)) * pattern.step
        x = pattern.normal(rng, t)
        where = patterns.place(rng, pattern, t)
        pattern.happens(rng, x, t, where)
        went_on.append(goes_on(alarmed_of(round(pattern.step * MINUTE), x)[where.stop - len(x) // 2 :]))
    assert sorted(went_on)[-2] <= 6


def test_a_lasting_shift_of_hours_becomes_normal_within_days() -> None:
    for seed in range(4):
        anomalous, at = alarmed(60 * MINUTE, 1344, 8.0, 1344, seed)
        assert anomalous[at : at + 6].any()
        assert not anomalous[at + 8 * 24 :].any()
