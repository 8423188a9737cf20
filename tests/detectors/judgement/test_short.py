"""Short histories: a season is learnt as one, not as a trend, and what is learnt from few visits has as much say as it can vouch for."""

from __future__ import annotations

import numpy as np
import pytest

from detectors.judgement import clock, fitting
from detectors.judgement.population import Population

MINUTE, DAY = 60_000, 86_400_000
THURSDAY = 1_704_326_400_000
"""2024-01-04 00:00 UTC."""
STEP, A_DAY = 30 * MINUTE, 48
MONTH = 30.0 * A_DAY


def season(days: float, seed: int, growth: float = 0.0) -> tuple[np.ndarray, np.ndarray]:
    """Times and values (n, 1): a day of +-8 in noise of 1, growing by so much a day."""
    n = round(days * A_DAY)
    t = np.arange(n) / A_DAY
    values = 40 - 8 * np.cos(2 * np.pi * t) + growth * t + np.random.default_rng(seed).normal(0, 1, n)
    return THURSDAY + np.arange(n) * STEP, values[:, None]


def alarmed(times: np.ndarray, values: np.ndarray, first: int) -> np.ndarray:
    """Rows behind the history that are anomalous, counted from it on."""
    population = Population.fit({"a": (times[:first], values[:first])}, budget_rows=MONTH)
    states = np.zeros(1, population.state_dtype)
    population.begin(states, np.zeros(1, np.intp), ["a"])
    rows = np.zeros(len(times) - first, np.intp)
    return np.flatnonzero(population.step(states, rows, values[first:], times[first:], 0, MONTH).anomalous)


@pytest.mark.parametrize("days", [1.0, 1.5, 3.0, 3.5, 5.0, 7.0, 7.7, 9.0, 45.5, 90.0, 130.0])
def test_no_part_of_a_season_is_taken_for_a_trend(days: float) -> None:
    times, values = season(days, 0)
    learnt, _ = clock.fit(values, np.stack([times, times]), clock.Bins.of(STEP))
    assert abs(learnt.slope[0]) * A_DAY < 0.35
    assert learnt.level[0] == pytest.approx(40.0, abs=1.0)
    assert np.ptp(learnt.day[:, 0]) == pytest.approx(16.0, abs=3.5)


@pytest.mark.parametrize("days", [3.0, 3.5, 7.7, 20.0])
def test_growth_is_told_from_the_season(days: float) -> None:
    times, values = season(days, 1, growth=4.0)
    learnt, _ = clock.fit(values, np.stack([times, times]), clock.Bins.of(STEP))
    assert learnt.slope[0] * A_DAY == pytest.approx(4.0, abs=0.5)
    assert learnt.level[0] == pytest.approx(40.0 + 4.0 * days, abs=1.5)


def test_a_day_of_which_half_is_missing_tells_no_level() -> None:
    times, values = season(6.0, 2)
    kept = np.ones(len(times), np.bool_)
    kept[A_DAY : A_DAY + A_DAY // 2] = False
    kept[3 * A_DAY + 6 : 3 * A_DAY + 34] = False
    learnt, _ = clock.fit(values[kept], np.stack([times[kept], times[kept]]), clock.Bins.of(STEP))
    assert abs(learnt.slope[0]) * A_DAY < 0.2
    assert learnt.level[0] == pytest.approx(40.0, abs=1.5)


def test_pieces_are_whole_weeks_of_days_and_whole_years_of_months() -> None:
    days = np.arange(40) * DAY
    pieces = clock._pieces(THURSDAY + days, clock.Bins.of(DAY))
    assert np.bincount(pieces[pieces >= 0]).tolist() == [7] * 5
    months = np.array([np.datetime64("2015-01-01") + np.timedelta64(30 * k + k // 2, "D") for k in range(70)])
    local = months.astype("datetime64[ms]").astype(np.int64)
    pieces = clock._pieces(local, clock.Bins.of(float(np.median(np.diff(local)))))
    assert np.bincount(pieces[pieces >= 0]).tolist() == [12] * 5


def test_a_week_that_was_seen_once_has_no_more_say_than_it_can_vouch_for() -> None:
    """Its bins follow the noise of their own rows: within the history it would seem to leave a half of what it leaves behind it."""
    at = THURSDAY + np.arange(7 * 24) * 60 * MINUTE
    x = np.random.default_rng(3).normal(0, 1, (len(at), 1))
    learnt, _ = clock.fit(x, np.stack([at, at]), clock.Bins.of(60 * MINUTE))
    assert learnt.weights()[2, 0] < 0.33


def test_what_is_tried_has_seen_a_whole_season_where_there_is_one() -> None:
    at = THURSDAY + np.arange(20 * A_DAY) * STEP
    assert [fitting._half(at[: round(d * A_DAY)]) / A_DAY for d in (0.5, 1.5, 1.9, 3, 9, 10, 13, 20)] == pytest.approx(
        [0.25, 1, 1, 1.5, 4.5, 7, 7, 10], abs=0.03
    )


@pytest.mark.parametrize("days", [1.5, 7.0, 10.0])
def test_an_outage_is_found_behind_a_short_history(days: float) -> None:
    found = told = 0
    for seed in range(3):
        times, values = season(days + 3.0, 10 + seed, growth=0.5)
        first, at = round(days * A_DAY), round((days + 1.4) * A_DAY)
        values[at : at + 6] -= 7.0
        rows = alarmed(times, values, first) + first
        inside = (rows >= at) & (rows < at + 6 + A_DAY // 2)
        found += inside.any()
        told += len(np.unique(rows[~inside] // 8))
    assert found == 3
    assert told <= 5


def from_nothing(values: np.ndarray, step: int, budget: float) -> np.ndarray:
    """Which rows (n, S) of S series of which nothing is known are anomalous."""
    population, (n, S) = Population.none(1), values.shape
    states = np.zeros(S, population.state_dtype)
    rows, times = np.tile(np.arange(S), n), np.repeat(THURSDAY + np.arange(n) * step, S)
    return population.step(states, rows, values.reshape(-1, 1), times, 0, budget).anomalous.reshape(n, S)


@pytest.mark.parametrize("at", [17, 24, 31, 33, 39])
def test_a_point_of_ten_sd_is_found_in_forty_rows_wherever_it_lies(at: int) -> None:
    values = np.random.default_rng(4).normal(50, 2, (40, 60))
    values[at] += 20.0
    told = from_nothing(values, 60 * MINUTE, 730.0)
    assert told[at].mean() > 0.95
    assert told[:at].sum() <= 2  # the budget lets 1.8 pass in the 22 rows of each that can alarm before the last
    still = np.random.default_rng(5).normal(50, 2, (40, 60))
    assert from_nothing(still, 60 * MINUTE, 730.0).any(axis=0).mean() < 0.05


@pytest.mark.parametrize(("step", "budget", "least"), [(5 * MINUTE, 8640.0, 0.8), (31 * DAY, 200.0, 0.5)])
def test_a_point_of_ten_sd_is_found_in_twenty_rows_of_any_step(step: int, budget: float, least: float) -> None:
    """The error of the next row is all that such a series can alarm by: no other term has a share of its budget."""
    values = np.random.default_rng(20).normal(50, 2, (20, 200))
    assert from_nothing(values, step, budget).any(axis=0).mean() < 0.03
    values[18] += 20.0
    told = from_nothing(values, step, budget)
    assert told[18].mean() > least
    assert not told[:18].any()


@pytest.mark.parametrize("days", [1.0, 1.2, 7.0, 7.5])
def test_what_just_passed_one_day_or_one_week_is_not_taken_for_a_season(days: float) -> None:
    """Each bin was seen once, so it fits a trend or a random walk as well: all of the next days was anomalous, a walk behind a week for days."""
    first = round(days * A_DAY)
    n = first + 2 * A_DAY
    times = THURSDAY + np.arange(n) * STEP
    trends, walks = 0, 0
    for seed in range(8):
        noise = np.random.default_rng(seed).normal(0, 1, n)
        trends += len(alarmed(times, (0.5 * np.arange(n) + 3 * noise)[:, None], first))
        walks += len(alarmed(times, noise.cumsum()[:, None], first))
    assert trends < 0.03 * 8 * 2 * A_DAY  # 0.97 behind a day before
    assert walks < 0.25 * 8 * 2 * A_DAY  # 0.87 behind a week
