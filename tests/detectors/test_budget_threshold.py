"""A budget's level counts alerts as they live; tests/detectors/test_thresholds.py has what every threshold must do."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from numpy_budget import NumpyBudgetThreshold

from detectors.budget import parse
from detectors.budget_threshold import EDGES, BudgetThreshold

Floats = NDArray[np.float64]


def alerts(score: Floats, level: Floats, hysteresis: float, calm: int) -> int:
    """Alerts of one series, observation after observation, as `pipeline.alerts.lifecycle` has them."""
    began, kept, is_open = 0, -1, False
    for i, (s, at) in enumerate(zip(score, level, strict=True)):
        if is_open and i - kept > calm:
            is_open = False
        if s >= at and not is_open:
            began, is_open, kept = began + 1, True, i
        elif is_open and s >= max(at - hysteresis, at / 2):
            kept = i
    return began


def levels(threshold: BudgetThreshold, score: Floats) -> tuple[Floats, NDArray[np.void]]:
    state = np.zeros(1, threshold.dtype)
    n = len(score)
    parts = [
        threshold.apply(state, np.zeros(len(p), np.intp), score[p], np.ones(len(p), bool))
        for p in np.array_split(np.arange(n), 3)
    ]
    return np.concatenate(parts), state[0]


@pytest.mark.parametrize(("hysteresis", "calm"), [(1.0, 3), (0.0, 1), (2.0, 20)])
def test_alerts_are_counted_at_each_edge_as_they_would_have_lived(hysteresis: float, calm: int) -> None:
    rng = np.random.default_rng(calm)
    noise = rng.exponential(1 / np.log(10), 5000)
    score = np.maximum(noise, np.concatenate([np.zeros(3), 0.7 * noise[:-3]]))  # high for a while
    _, state = levels(BudgetThreshold(parse("1 per 10000 rows"), hysteresis, calm), score)
    wanted = [alerts(score, np.full(5000, edge), hysteresis, calm) for edge in EDGES]
    np.testing.assert_array_equal(state["alerts"], wanted)


def independent(rng: np.random.Generator, n: int) -> Floats:
    return rng.exponential(1 / np.log(10), n)


def mean_of_three(rng: np.random.Generator, n: int) -> Floats:
    return np.asarray(rng.exponential(1 / np.log(10), (3, n)).mean(axis=0))


def heavy(rng: np.random.Generator, n: int) -> Floats:
    """A calibrator whose tail is too light: high scores come ten times as often as they say at 4."""
    return rng.exponential(1 / np.log(10), n) / 0.75


def in_runs(rng: np.random.Generator, n: int) -> Floats:
    """Each high score is high for twenty rows."""
    score = rng.exponential(1 / np.log(10), n)
    return np.asarray(np.lib.stride_tricks.sliding_window_view(np.r_[np.zeros(19), score], 20).max(axis=1) - 0.8)


@pytest.mark.parametrize("kind", [independent, mean_of_three, heavy, in_runs])
@pytest.mark.parametrize("rows", [1000, 8640])
def test_a_series_has_about_as_many_alerts_as_its_budget_says(kind: object, rows: int) -> None:
    S, n, judged = 12, 24_000, 8000
    score = np.stack([np.clip(kind(np.random.default_rng(seed), n), 0, 12) for seed in range(S)], axis=1)  # type: ignore[operator]
    threshold = BudgetThreshold(parse(f"1 per {rows} rows"))
    state, whose = np.zeros(S, threshold.dtype), np.tile(np.arange(S), n)
    level = threshold.apply(state, whose, score.reshape(-1), np.ones(S * n, bool)).reshape(n, S)
    found = sum(alerts(score[judged:, k], level[judged:, k], 1.0, 3) for k in range(S))
    stated = S * (n - judged) / rows
    # What is high for twenty rows begins seldom; where that is learnt from few alerts, the budget is kept and not used up.
    assert stated / (6 if kind is in_runs else 2.5) <= found <= stated * 2


def test_a_few_true_anomalies_do_not_hide_the_next() -> None:
    rng = np.random.default_rng(1)
    score = independent(rng, 12_000)
    before, _ = levels(BudgetThreshold(parse("1 per 8640 rows")), score)
    score[[3000, 3100, 9000, 11_000]] = 12.0
    after, _ = levels(BudgetThreshold(parse("1 per 8640 rows")), score)
    assert np.abs(after - before).max() < 0.7
    assert after.max() < 5.0


def test_a_series_of_many_incidents_goes_on_being_told() -> None:
    score = independent(np.random.default_rng(2), 8000)
    score[::50] = 11.0
    level, _ = levels(BudgetThreshold(parse("1 per 10000 rows")), score)
    assert level.max() <= 5.0


BUDGETS = ("1 per series per month", "3 per week", "1 per 1000 rows", "1 per series per day", "2 per 100 rows")


@settings(deadline=None, max_examples=150)
@given(
    seed=st.integers(0, 2**32),
    n=st.integers(1, 900),
    stated=st.lists(st.sampled_from(BUDGETS), min_size=1, max_size=3),
    timed=st.booleans(),
    hysteresis=st.sampled_from([0.0, 1.0, 9.0]),
    data=st.data(),
)
def test_compiled_it_has_the_bits_of_numpy(
    seed: int, n: int, stated: list[str], timed: bool, hysteresis: float, data: st.DataObject
) -> None:
    rng = np.random.default_rng(seed)
    cuts = [0, *sorted(data.draw(st.lists(st.integers(0, n), max_size=6))), n]
    whose = rng.integers(0, 3, n)
    score = np.minimum(rng.exponential(rng.choice([0.3, 0.6, 2.0]), n), 12.0)
    score[rng.random(n) < 0.02] = rng.choice([np.nan, 12.0, 1.5])
    learn = rng.random(n) < 0.95
    times = 10**12 + np.cumsum(rng.integers(0, 90_000_000, n)) if timed else None
    lives = np.cumsum(rng.random(n) < 0.1) if data.draw(st.booleans()) else None
    which = rng.integers(0, 4, 3)[whose] if data.draw(st.booleans()) else None
    found = []
    for kind in (NumpyBudgetThreshold, BudgetThreshold):
        threshold = kind(parse(stated[0]), hysteresis, 3, [parse(s) for s in stated[1:]])
        state = np.zeros(3, threshold.dtype)
        threshold.admit(state, 0, 300_000, 5_000)
        state["counted"][1] = 32_700  # old counts fade soon
        state["alerts"][1] = rng.integers(0, 40, len(EDGES)) if kind is NumpyBudgetThreshold else found[0][2]
        alerts = state["alerts"][1].copy()
        level = [
            threshold.apply(
                state,
                whose[a:b],
                score[a:b],
                learn[a:b],
                None if times is None else times[a:b],
                7 if lives is None else lives[a:b],
                None if which is None else which[a:b],
            )
            for a, b in pairwise(cuts)
        ]
        found.append((np.concatenate(level).tobytes(), state.tobytes(), alerts))
    assert found[0][:2] == found[1][:2]
