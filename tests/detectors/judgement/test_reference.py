"""The judgement as arrays: the same bits for every cut, nothing from ahead, bounded state, and what it has to see."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from detectors.judgement.reference import BLOCK, Judge, Said, State

MINUTE = 60_000
MONDAY = 1_704_067_200_000


def series(channels: int, n: int = 1200, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Rows of every 30 minutes with a day, noise and, late, a few wild ones."""
    rng = np.random.default_rng(seed)
    times = MONDAY + np.arange(n) * 30 * MINUTE
    day = np.sin(2 * np.pi * np.arange(n) / 48)[:, None] * np.arange(1, channels + 1)
    values = 10 * day + rng.normal(0, 1, (n, channels))
    values[900:903] += 40.0
    values[1000:1100, 0] = values[1000, 0]
    return times, values


def same_state(a: State, b: State) -> None:
    """Every bit of it."""
    for name, one in vars(a).items():
        other = getattr(b, name)
        if name == "clock":
            same_state(one, other)
        elif name == "memory":
            for field in one._fields:
                np.testing.assert_array_equal(getattr(one, field), getattr(other, field), err_msg=field)
        else:
            np.testing.assert_array_equal(one, other, err_msg=name)


@pytest.fixture(scope="module", params=[1, 3])
def learnt(request: pytest.FixtureRequest) -> tuple[Judge, State, np.ndarray, np.ndarray, Said, State]:
    times, values = series(request.param)
    judge, state = Judge.fit(times[:800], values[:800])
    said, after = judge.step(state, times[800:], values[800:])
    return judge, state, times[800:], values[800:], said, after


@given(cuts=st.lists(st.integers(0, 400), max_size=12))
@settings(max_examples=12, deadline=None)
def test_every_cut_gives_the_same_bits(learnt: tuple, cuts: list[int]) -> None:
    judge, state, times, values, said, after = learnt
    edges = [0, *sorted(cuts), 400]
    parts = []
    for a, b in itertools.pairwise(edges):
        part, state = judge.step(state, times[a:b], values[a:b])
        parts.append(part)
    for name in Said._fields:
        whole = np.concatenate([getattr(p, name) for p in parts], axis=int(name == "terms"))
        np.testing.assert_array_equal(whole, getattr(said, name), err_msg=name)
    same_state(state, after)


def test_row_by_row_gives_the_same_bits(learnt: tuple) -> None:
    judge, state, times, values, said, after = learnt
    for i in range(len(times)):
        part, state = judge.step(state, times[i : i + 1], values[i : i + 1])
        assert part.score[0] == said.score[i]
        assert part.strength[0] == said.strength[i]
    same_state(state, after)


def test_nothing_is_seen_ahead_and_a_state_is_not_changed_by_judging_from_it(learnt: tuple) -> None:
    judge, state, times, values, said, _ = learnt
    other = values.copy()
    other[200:] += 25.0
    changed, _ = judge.step(state, times, other)
    for name in ("score", "strength", "anomalous", "expected"):
        np.testing.assert_array_equal(getattr(changed, name)[:200], getattr(said, name)[:200])
    assert changed.strength[200] > said.strength[200]
    again, _ = judge.step(state, times, values)
    np.testing.assert_array_equal(again.score, said.score)


def test_the_state_does_not_grow_and_is_small(learnt: tuple) -> None:
    judge, state, _, values, _, after = learnt
    channels = values.shape[1]
    assert after.size == state.size
    assert state.size <= 1400 * channels + 1000
    clock = sum(a.nbytes for a in (state.clock.day, state.clock.week))
    assert clock <= 1024 * channels
    assert judge.bins.day == 48
    assert len(state.block) == BLOCK


def test_wild_rows_are_told_at_once_and_what_is_stuck_after_a_while(learnt: tuple) -> None:
    _, _, _, _, said, _ = learnt
    assert said.anomalous[100]
    assert said.anomalous[200:300].any()
    assert said.anomalous[:100].sum() <= 2
    assert said.score[100] > np.quantile(said.score[:100], 0.99)


def test_the_clock_of_the_place_is_handed_in() -> None:
    """A job at 02:00 local time keeps its hour when the offset changes: with it the day is as ever, without it it is odd."""
    n = 60 * 24
    hour = np.arange(n) * 60 * MINUTE + MONDAY
    offset = np.where(np.arange(n) < 45 * 24, 3_600_000, 7_200_000)
    local = (hour + offset) // 3_600_000 % 24
    values = np.where(local == 2, 50.0, 8.0)[:, None] + np.random.default_rng(0).normal(0, 1, (n, 1))
    first = 42 * 24
    judge, state = Judge.fit(hour[:first], values[:first], offset_ms=offset[:first])
    told, _ = judge.step(state, hour[first:], values[first:], offset_ms=offset[first:])
    naive, unaware = Judge.fit(hour[:first], values[:first])
    said, _ = naive.step(unaware, hour[first:], values[first:])
    changed = slice(3 * 24, 4 * 24)
    assert told.strength[changed].max() < 1.0 < said.strength[changed].max()


@pytest.mark.parametrize("n", [5, 8, 12, 40])
def test_a_short_history_judges_with_what_it_allows(n: int) -> None:
    rng = np.random.default_rng(n)
    times = MONDAY + np.arange(n + 40) * 5 * MINUTE
    values = rng.normal(50, 1, (n + 40, 1))
    values[n + 30] += 15.0
    judge, state = Judge.fit(times[:n], values[:n])
    said, _ = judge.step(state, times[n:], values[n:])
    assert np.isfinite(said.score).all()
    assert said.score.argmax() == 30
    if n == 40:
        assert said.anomalous.nonzero()[0].tolist()[:1] == [30]


@pytest.mark.parametrize("value", [0.0, 3.0, -1e12])
def test_a_constant_history_sees_the_first_other_value_and_nothing_before(value: float) -> None:
    times = MONDAY + np.arange(300) * 60 * MINUTE
    values = np.full((300, 1), value)
    values[250] += max(abs(value), 1.0)
    judge, state = Judge.fit(times[:150], values[:150])
    said, _ = judge.step(state, times[150:], values[150:])
    assert np.isfinite(said.score).all()
    assert said.anomalous.nonzero()[0].tolist()[:1] == [100]


def test_a_lasting_shift_becomes_normal() -> None:
    rng = np.random.default_rng(3)
    n = 48 * 60
    times = MONDAY + np.arange(n) * 30 * MINUTE
    values = rng.normal(0, 1, (n, 1))
    values[48 * 30 :] += 8.0
    judge, state = Judge.fit(times[: 48 * 20], values[: 48 * 20])
    said, _ = judge.step(state, times[48 * 20 :], values[48 * 20 :])
    begun = 48 * 10
    assert said.anomalous[begun : begun + 3].any()
    assert said.anomalous[-48 * 10 :].mean() < 0.01


def test_the_budget_decides_the_level() -> None:
    rng = np.random.default_rng(5)
    times = MONDAY + np.arange(12_000) * 10 * MINUTE
    values = rng.normal(0, 1, (12_000, 1))
    told = []
    for budget in (500.0, 20_000.0):
        judge, state = Judge.fit(times[:2000], values[:2000], budget=budget)
        told.append(int(judge.step(state, times[2000:], values[2000:])[0].anomalous.sum()))
    assert told[0] > 3 * max(told[1], 1)
