"""Growth by so many per cent a row over months: told as little as any other normal, and what breaks it is told."""

from __future__ import annotations

import numpy as np
import pytest

from detectors.judgement import growth
from detectors.judgement.population import Population, Said

ROWS, KNOWN, BUDGET = 120, 60, 200.0
MONTHS = np.arange("2005-01", "2015-01", dtype="datetime64[M]").astype("datetime64[ms]").astype(np.int64)
K = np.arange(ROWS)
SEASON = 100 + 20 * np.sin(2 * np.pi * K / 12)


def noise(seed: int) -> np.ndarray:
    return np.random.default_rng([seed, 12]).normal(0, 1, ROWS)


def grown(seed: int) -> np.ndarray:
    """A season on 2 % a month, in noise of 2 %."""
    return np.exp(0.02 * K) * SEASON * (1 + 0.02 * noise(seed))


def judged(values: np.ndarray, times: np.ndarray = MONTHS) -> tuple[Said, np.ndarray]:
    population = Population.fit({"a": (times[:KNOWN], values[:KNOWN, None])}, budget_rows=BUDGET)
    states = np.zeros(1, population.state_dtype)
    population.begin(states, np.zeros(1, np.intp), ["a"])
    rows = np.zeros(ROWS - KNOWN, np.intp)
    return population.step(states, rows, values[KNOWN:, None], times[KNOWN:], 0, BUDGET), states


def test_growth_with_a_season_is_no_alarm() -> None:
    assert sum(judged(grown(seed))[0].anomalous.sum() for seed in range(20)) <= 20


@pytest.mark.parametrize("factor", [1.3, 0.7, 0.0, -1.0], ids=["a third more", "a third less", "zero", "below zero"])
def test_a_row_beyond_the_growth_is_told_whatever_it_is(factor: float) -> None:
    told = 0
    for seed in range(8):
        values = grown(seed)
        values[90] *= factor
        said, _ = judged(values)
        told += said.anomalous[90 - KNOWN]
        assert np.isfinite(said.score).all()
        assert np.isfinite(said.expected).all()
        assert not said.anomalous[: 90 - KNOWN].all()
    assert told >= 7


def test_a_change_of_the_slope_is_told() -> None:
    for seed in range(5):
        values = grown(seed)
        values[90:] *= np.exp(-0.06 * np.arange(30))
        assert judged(values)[0].anomalous[90 - KNOWN :].any()


def test_what_is_expected_is_told_in_the_series_own_unit() -> None:
    values = grown(3)
    said, _ = judged(values)
    assert np.median(np.abs(said.expected[:, 0] / values[KNOWN:] - 1)) < 0.08
    lower, upper = said.expected[:, 0] - said.band[:, 0], said.expected[:, 0] + said.band[:, 0]
    inside = (values[KNOWN:] > lower) & (values[KNOWN:] < upper)
    assert inside[~said.anomalous].mean() > 0.95
    assert (lower > 0).all()


def test_only_growth_over_long_steps_is_judged_by_its_logarithm() -> None:
    def of(values: np.ndarray, times: np.ndarray = MONTHS) -> bool:
        return bool(growth.grows(times[:KNOWN], values[:KNOWN, None])[0])

    for seed in range(10):
        assert of(grown(seed))
        assert of(1e4 * np.exp(-0.02 * K) * (1 + 0.02 * noise(seed)))
        assert not of(100 + 2 * K + 4 * noise(seed))
        assert not of(2 * K + SEASON + 4 * noise(seed))
        assert not of(SEASON + 4 * noise(seed))
        assert not of(grown(seed), MONTHS[0] + K * 3_600_000)
        assert not of(np.where(K == 20, 0.0, grown(seed)))


def test_no_cut_changes_a_bit_of_it() -> None:
    values = grown(1)
    values[100] = -5.0
    whole, after = judged(values)
    population = Population.fit({"a": (MONTHS[:KNOWN], values[:KNOWN, None])}, budget_rows=BUDGET)
    states = np.zeros(2, population.state_dtype)  # beside it one that is not known
    population.begin(states, np.zeros(1, np.intp), ["a"])
    for i in range(KNOWN, ROWS):
        two = np.array([values[i], 50.0])[:, None]
        said = population.step(states, np.arange(2), two, np.repeat(MONTHS[i], 2), 0, BUDGET)
        for name in Said._fields:
            assert getattr(said, name)[0].tobytes() == getattr(whole, name)[i - KNOWN].tobytes(), name
    assert states[0].tobytes() == after[0].tobytes()


@pytest.mark.parametrize(("rate", "n"), [(0.005, 730), (0.01, 365)])
def test_days_that_grow_by_a_factor_with_a_week_alarm_as_stated_and_a_low_day_is_over_the_day_after(
    rate: float, n: int
) -> None:
    """As they were judged by their values, 3 to 4 times as often, and one low day went on for months."""
    week = np.array([1.05, 1.1, 1.1, 1.08, 1.02, 0.7, 0.6])
    t, first, at, told = np.arange(n), n // 2, n * 3 // 4, 0
    times = 1_704_067_200_000 + t * 86_400_000
    for seed in range(6):
        x = 1000 * np.exp(rate * t) * week[t % 7] * np.exp(np.random.default_rng([seed, 4]).normal(0, 0.03, n))
        population = Population.fit({"a": (times[:first], x[:first, None])}, budget_rows=200.0)
        for low in (1.0, 0.6):
            y = x[first:].copy()
            y[at - first] *= low
            states = np.zeros(1, population.state_dtype)
            population.begin(states, np.zeros(1, np.intp), ["a"])
            said = population.step(states, np.zeros(n - first, np.intp), y[:, None], times[first:], 0, 200.0)
            if low < 1.0:
                assert said.anomalous[at - first]
                assert not said.anomalous[at - first + 3 : at - first + 9].any()
            else:
                told += int((np.diff(np.r_[0, said.anomalous.astype(int)]) > 0).sum())
    assert told <= 2.5 * 6 * (n - first) / 200


def test_days_that_grow_are_told_from_days_that_do_not_by_what_is_left_of_the_week() -> None:
    days, n = np.arange(730), 365
    times = MONTHS[0] + days * 86_400_000
    week = np.array([1.0, 1.02, 1.03, 1.01, 0.95, 0.7, 0.72])[days % 7]
    told = 0
    for seed in range(5):
        noise = np.random.default_rng([seed, 14]).normal(0, 1, len(days))
        values = 12_000 * week * np.exp(0.002 * days + 0.025 * noise)
        line = 12_000 * (week + 0.002 * days + 0.025 * noise)
        assert growth.grows(times[:n], values[:n, None])[0]
        assert not growth.grows(times[:n], line[:n, None])[0]
        population = Population.fit({"a": (times[:n], values[:n, None])}, budget_rows=BUDGET)
        states = np.zeros(1, population.state_dtype)
        population.begin(states, np.zeros(1, np.intp), ["a"])
        rows = np.zeros(len(days) - n, np.intp)
        said = population.step(states, rows, values[n:, None], times[n:], 0, BUDGET)
        told += int((np.diff(said.anomalous.astype(int)) > 0).sum())
    assert told <= 5 * 2 * 365 / BUDGET  # twice the budget; it was four times
