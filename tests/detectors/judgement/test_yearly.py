"""A season of the year among rows of a week to a quarter: learnt from two years, and what breaks it is told."""

from __future__ import annotations

import numpy as np
import pytest

from detectors.judgement import clock, growth, yearly
from detectors.judgement.population import Population, Said
from detectors.judgement.reference import Judge

DAY = 86_400_000
BUDGET = 200.0
MONTHS = np.arange("2005-01", "2015-01", dtype="datetime64[M]").astype("datetime64[ms]").astype(np.int64)
WEEKS = np.datetime64("2019-01-06").astype("datetime64[ms]").astype(np.int64) + np.arange(208) * 7 * DAY


def season(times: np.ndarray) -> np.ndarray:
    turn = 2 * np.pi * times / yearly.YEAR
    return 8 * np.sin(turn) + 3 * np.cos(2 * turn)


def noise(seed: int, times: np.ndarray) -> np.ndarray:
    return np.random.default_rng([seed, len(times)]).normal(0, 1, len(times))


def judged(times: np.ndarray, values: np.ndarray, known: int, cuts: tuple[int, ...] = ()) -> tuple[Said, bytes]:
    population = Population.fit({"a": (times[:known], values[:known, None])}, budget_rows=BUDGET)
    states = np.zeros(1, population.state_dtype)
    population.begin(states, np.zeros(1, np.intp), ["a"])
    parts = []
    for part in np.split(np.arange(known, len(times)), cuts):
        rows = np.zeros(len(part), np.intp)
        parts.append(population.step(states, rows, values[part, None], times[part], 0, BUDGET))
    return Said(*(np.concatenate(columns) for columns in zip(*parts, strict=True))), states.tobytes()


def begins(anomalous: np.ndarray) -> np.ndarray:
    """Rows at which an alert begins: anomalous, with five normal ones before."""
    rows = np.flatnonzero(anomalous)
    return rows[np.diff(rows, prepend=-10) > 5]


@pytest.mark.parametrize("day", [1, 15, 28])
def test_twelve_bins_are_the_months_at_whatever_day_of_them(day: int) -> None:
    bins = yearly.at(MONTHS + (day - 1) * DAY, 12)
    np.testing.assert_array_equal((bins - bins[0]) % 12, np.arange(len(bins)) % 12)


def test_two_years_show_it_and_less_does_not() -> None:
    assert yearly.shows(WEEKS[:104], 7.0 * DAY)
    assert yearly.shows(MONTHS[:24], 31.0 * DAY)
    assert not yearly.shows(WEEKS[:100], 7.0 * DAY)
    assert not yearly.shows(np.arange(1500) * DAY, 1.0 * DAY)
    assert not yearly.shows(np.arange(12) * yearly.YEAR, 1.0 * yearly.YEAR)


@pytest.mark.parametrize(("times", "known"), [(MONTHS, 60), (WEEKS, 104)], ids=["months", "weeks"])
def test_it_is_learnt_and_a_wild_row_does_not_enter(times: np.ndarray, known: int) -> None:
    values = 100 + season(times) + 0.1 * np.arange(len(times)) + noise(1, times)
    values[known - 20] += 60.0
    step = float(np.median(np.diff(times)))
    bins = clock.Bins(yearly.bins(step), 1, DAY / step)
    learnt, _ = clock.fit(values[:known, None], np.stack([times[:known]] * 2), bins)
    assert learnt.slope[0] == pytest.approx(0.1, abs=0.03)
    day, week = bins.at(times[known:])
    expected = learnt.expected(day, week, np.arange(1, len(times) - known + 1))[:, 0]
    assert np.abs(expected - values[known:]).mean() < 2.0  # 0.8 of it is the noise


def test_growth_with_a_season_over_two_years_of_weeks_tells_a_third_more_and_a_third_less() -> None:
    told = false = 0
    for seed in range(10):
        k = np.arange(len(WEEKS))
        values = 500 * np.exp(0.01 * k) * (1 + season(WEEKS) / 40) * (1 + 0.02 * noise(seed, WEEKS))
        values[150] *= 1.3 if seed % 2 else 0.7
        said, _ = judged(WEEKS, values, 104)
        told += said.anomalous[150 - 104]
        false += (begins(said.anomalous) != 150 - 104).sum()
    assert told >= 9
    assert false <= 12  # 104 rows each, one in 200 is what the budget lets pass, and a factor of two


@pytest.mark.parametrize(("times", "known"), [(MONTHS, 60), (WEEKS, 104)], ids=["months", "weeks"])
def test_a_season_that_stays_away_is_told_and_a_whole_one_is_not(times: np.ndarray, known: int) -> None:
    told = false = 0
    for seed in range(10):
        values = 100 + season(times) + noise(seed, times)
        first = known + len(times) // 6
        away = slice(first, first + len(times) // 16)
        false += len(begins(judged(times, values, known)[0].anomalous))
        values[away] -= season(times[away])
        told += judged(times, values, known)[0].anomalous[away.start - known : away.stop - known].any()
    assert told >= 8
    assert false <= 10  # one in 200 rows is what the budget lets pass: of weeks 5


def test_slow_growth_with_a_season_is_told_from_a_line_with_one() -> None:
    k, known = np.arange(len(WEEKS)), 104
    for seed in range(10):
        rate = 500 * np.exp(0.005 * k) * (1 + season(WEEKS) / 40) * (1 + 0.01 * noise(seed, WEEKS))
        line = 500 + 2.5 * k + 12 * season(WEEKS) + 5 * noise(seed, WEEKS)
        assert growth.grows(WEEKS[:known], rate[:known, None])[0]
        assert not growth.grows(WEEKS[:known], line[:known, None])[0]


def test_the_compiled_rows_say_what_numpy_says_and_no_cut_changes_a_bit() -> None:
    values = 100 + season(WEEKS) + noise(4, WEEKS)
    values[130] += 15
    values[140:160] -= season(WEEKS[140:160])
    values[170:] += 12  # a lasting one, which settles
    said, after = judged(WEEKS, values, 104)
    judge, state = Judge.fit(WEEKS[:104], values[:104, None], budget=BUDGET)
    alone, _ = judge.step(state, WEEKS[104:], values[104:, None])
    np.testing.assert_allclose(said.strength, alone.strength, rtol=1e-9, atol=1e-9)
    np.testing.assert_array_equal(said.anomalous, alone.anomalous)
    cut, same = judged(WEEKS, values, 104, (1, 2, 30, 77))
    assert after == same
    for name in Said._fields:
        np.testing.assert_array_equal(getattr(cut, name), getattr(said, name), err_msg=name)


def test_a_spike_of_one_of_two_years_is_no_season_and_what_comes_in_both_is() -> None:
    where = np.tile(np.arange(52), 2)
    rest = np.zeros((104, 1))
    rest[10], rest[30], rest[82] = 30.0, -9.0, -12.0
    found, _ = yearly.beside(rest, where, 52)
    assert found[10, 0] == 0.0
    assert found[30, 0] == pytest.approx(-9.0 * 2 / 6)
    assert np.count_nonzero(found) == 1
