"""What was nothing in a history and begins to be something: told a few times, then usual; what is a hundred times as large is told all the same."""

from __future__ import annotations

import numpy as np
import pytest

from detectors.evaluation import delay
from tests.detectors.judgement.both import by_numpy, by_the_product
from tests.detectors.judgement.test_still import BUDGET, DAY, LEARNT, STEP, judged

QUIET = LEARNT + 500


def errors(share: float, seed: int = 0, days: int = 104, begin: int = QUIET) -> np.ndarray:
    """Counts of what never was before `begin`, and then is in this share of the rows."""
    rng = np.random.default_rng([seed, 31])
    values = (rng.uniform(size=days * DAY) < share) * np.round(1 + rng.exponential(5, days * DAY))
    values[:begin] = 0.0
    return values


@pytest.mark.parametrize("share", [0.01, 0.003, 0.001])
def test_what_begins_to_be_counted_is_told_a_few_times_and_then_is_usual(share: float) -> None:
    told, late, months = 0, 0, 0.0
    for seed in range(3):
        values = errors(share, seed)
        alerts = [a for a, _ in judged(values)]
        first = int(np.flatnonzero(values)[0])
        assert alerts[0] == first
        told += len(alerts)
        late += sum(a > 60 * DAY for a in alerts)
        months += (len(values) - QUIET) / BUDGET
    assert told <= 3.5 * months  # it was seventy times
    assert late <= 2.5 * 3 * (104 - 60) / 30


@pytest.mark.parametrize(("share", "most"), [(0.02, 1.0), (0.004, 6.5)])  # 13 and 8.5 where only what begins was known
def test_what_a_history_held_often_is_told_less(share: float, most: float) -> None:
    told, months = 0, 0.0
    for seed in range(4):
        values = errors(share, seed, days=44, begin=0)
        told += len(judged(values))
        months += (len(values) - LEARNT) / BUDGET
    assert told <= most * months


def test_three_incidents_of_a_history_are_no_habit() -> None:
    values = np.zeros(30 * DAY)
    for at in (8 * DAY, 10 * DAY, 12 * DAY):
        values[at : at + 6] = 40.0
    at = 20 * DAY
    values[at : at + 6] = 40.0
    assert [a for a, _ in judged(values)] == [at]


def beside_what_lives(seed: int) -> np.ndarray:
    """Errors beside a metric that lives."""
    rng, n = np.random.default_rng(seed), 44 * DAY
    lives = 50 + 20 * np.sin(2 * np.pi * np.arange(n) / DAY) + rng.normal(0, 2, n)
    return np.stack([lives, errors(0.004, seed, days=44, begin=0)], axis=1)


@pytest.mark.parametrize("seed", [0, 1])
def test_beside_a_channel_that_lives_it_is_the_same(seed: int) -> None:
    values, at = beside_what_lives(seed), 35 * DAY
    values[at : at + 3, 1] = 600.0
    said, _ = by_the_product(values, LEARNT, STEP, BUDGET)
    told = [a + LEARNT for a, _ in delay.episodes(said.anomalous.astype(np.int8))]
    assert at in told
    assert len(told) <= 4  # it was ten and more


@pytest.mark.parametrize("times", [100, 1000])
@pytest.mark.parametrize("lasts", [1, 12])
def test_a_far_larger_outage_is_told_behind_all_of_them(times: int, lasts: int) -> None:
    values, at = errors(0.01), 80 * DAY
    values[at : at + lasts] = 6.0 * times
    assert at in [a for a, _ in judged(values)]


def test_behind_an_outage_the_usual_is_still_usual() -> None:
    values, at = errors(0.003), 60 * DAY
    without = [a for a, _ in judged(values) if a > at]
    values[at : at + 12] = 6000.0
    assert {a for a, _ in judged(values) if a > at + 12} <= set(without)


def test_a_service_that_begins_to_live_is_one_alert_and_its_end_another() -> None:
    rng = np.random.default_rng(2)
    values, at, end = np.zeros(45 * DAY), 20 * DAY, 40 * DAY
    values[at:end] = rng.normal(4e4, 3e3, end - at)
    told = judged(values)
    assert told[0][0] == at
    assert told[0][1] < at + DAY + 48
    assert len([a for a, _ in told if a < end]) <= 3
    assert end in [a for a, _ in told]


def test_noise_that_begins_around_what_stood_still_is_one_alert_for_a_day() -> None:
    values, at = np.full(40 * DAY, 3.0), 20 * DAY
    values[at:] += np.random.default_rng(1).normal(0, 0.1, 20 * DAY)
    told = judged(values)
    assert told[0][0] == at
    assert max(b for _, b in told) < at + DAY + 100


@pytest.mark.parametrize("lives", [False, True])
def test_the_compiled_rows_say_what_numpy_says(lives: bool) -> None:
    first, n, step = 400, 1600, 24 * STEP
    values = errors(0.05, 1, days=6, begin=first + 40)[:n]
    if lives:
        values[1000:] += 50.0 + np.random.default_rng(0).normal(0, 4, n - 1000)
    said, states = by_the_product(values[:, None], first, step, 360.0)
    alone, _, state, after = by_numpy(values[:, None], first, step, 360.0)
    np.testing.assert_array_equal(said.anomalous, alone.anomalous)
    np.testing.assert_allclose(said.strength, alone.strength, rtol=1e-6, atol=1e-6)
    np.testing.assert_allclose(states["channels"]["scales"][0].T, after.scales, rtol=1e-6)
    assert after.scales[0, 0] > 1e3 * state.scales[0, 0]


def test_the_compiled_rows_say_what_numpy_says_of_two_channels() -> None:
    first, n, step = 400, 1400, 24 * STEP
    rng = np.random.default_rng(3)
    seldom = (rng.uniform(size=n) < 0.04) * np.round(1 + rng.exponential(5, n))
    seldom[:first] = 0.0
    values = np.stack([rng.normal(10, 1, n), seldom], axis=1)
    said, states = by_the_product(values, first, step, 360.0)
    alone, _, state, after = by_numpy(values, first, step, 360.0)
    np.testing.assert_array_equal(said.anomalous, alone.anomalous)
    np.testing.assert_allclose(states["channels"]["scales"][0].T, after.scales, rtol=1e-6)
    assert after.scales[0, 1] > 1e3 * state.scales[0, 1]
