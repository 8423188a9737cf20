from types import SimpleNamespace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from naive_alerts import NaivePot, NaiveQuantile

from detectors.base import DetectorError
from detectors.budget import parse
from detectors.budget_threshold import BudgetThreshold
from detectors.threshold_choice import from_settings
from detectors.thresholds import STEP, FixedThreshold, PotThreshold, QuantileThreshold

MONTHLY = parse("1 per series per month")
THRESHOLDS = [FixedThreshold(4.0), BudgetThreshold(MONTHLY), QuantileThreshold(1e-2), PotThreshold(1e-3)]
LEARNING = [(QuantileThreshold, NaiveQuantile), (PotThreshold, NaivePot)]


def run(threshold, rows, scores, learn, cuts=()):
    state = np.zeros(int(rows.max(initial=0)) + 1, threshold.dtype)
    times = 1_000_000 + 300_000 * np.arange(len(rows))
    levels = [
        threshold.apply(state, rows[a:b], scores[a:b], learn[a:b], times[a:b])
        for a, b in zip([0, *cuts], [*cuts, len(rows)], strict=True)
    ]
    return np.concatenate(levels), state


def stream(seed, n, series):
    rng = np.random.default_rng(seed)
    rows = rng.integers(0, series, n)
    scores = np.minimum(rng.exponential(1 / np.log(10), n), 12.0)
    scores[rng.random(n) < 0.01] = 12.0
    scores[rng.random(n) < 0.01] = np.nan
    return rows, scores, rng.random(n) < 0.95


@pytest.mark.parametrize("threshold", THRESHOLDS, ids=lambda t: t.name)
def test_a_state_is_small_and_starts_as_zeros(threshold):
    assert threshold.dtype.itemsize <= (120 if threshold.name == "budget" else 32)
    levels, _ = run(threshold, np.zeros(3, np.intp), np.zeros(3), np.ones(3, bool))
    np.testing.assert_array_equal(levels, levels[0])
    assert 0 < levels[0] <= 12


@pytest.mark.parametrize("threshold", THRESHOLDS, ids=lambda t: t.name)
@settings(deadline=None, max_examples=25)
@given(st.integers(0, 2**32), st.integers(1, 900), st.integers(1, 4), st.data())
def test_levels_and_states_are_bit_equal_for_every_cut(threshold, seed, n, series, data):
    rows, scores, learn = stream(seed, n, series)
    cuts = sorted(data.draw(st.lists(st.integers(0, n), max_size=8)))
    whole, state = run(threshold, rows, scores, learn)
    cut, cut_state = run(threshold, rows, scores, learn, cuts)
    assert whole.tobytes() == cut.tobytes()
    cut_state = np.concatenate([cut_state, np.zeros(len(state) - len(cut_state), state.dtype)])
    assert state.tobytes() == cut_state.tobytes()


@pytest.mark.parametrize(("fast", "naive"), LEARNING)
def test_levels_equal_the_slow_version_for_every_series(fast, naive):
    rows, scores, learn = stream(7, 6000, 3)
    levels, _ = run(fast(1e-2), rows, scores, learn, cuts=[1, 700, 701, 4000])
    slow = [naive(1e-2) for _ in range(3)]
    expected = [slow[r].apply(s, ok) for r, s, ok in zip(rows, scores, learn, strict=True)]
    np.testing.assert_allclose(levels, expected, rtol=1e-6)
    assert len(np.unique(levels)) > 20


@pytest.mark.parametrize("kind", [QuantileThreshold, PotThreshold])
def test_a_level_holds_for_one_step_and_starts_at_its_probability(kind):
    rng = np.random.default_rng(1)
    levels, _ = run(kind(1e-3), np.zeros(300, np.intp), rng.exponential(0.2, 300), np.ones(300, bool))
    assert levels[0] == pytest.approx(3.0)
    changes = np.flatnonzero(np.diff(levels)) + 1
    np.testing.assert_array_equal(changes, np.arange(STEP, 300, STEP))


@pytest.mark.parametrize("kind", [QuantileThreshold, PotThreshold])
@pytest.mark.parametrize("mean", [0.2, 1 / np.log(10), 0.6])
def test_about_the_wished_share_of_scores_is_anomalous_whatever_their_calibration(kind, mean):
    rng = np.random.default_rng(3)
    scores = rng.exponential(mean, 60_000)
    levels, _ = run(kind(1e-3), np.zeros(len(scores), np.intp), scores, np.ones(len(scores), bool))
    share = (scores >= levels)[10_000:].mean()
    assert 1e-3 / 2.5 < share < 1e-3 * 2.5


def test_scores_that_are_not_to_be_learnt_leave_no_trace():
    for threshold in THRESHOLDS:
        _, state = run(threshold, np.zeros(500, np.intp), np.full(500, 9.0), np.zeros(500, bool))
        assert state.tobytes() == bytes(state.nbytes)


def test_pot_does_not_learn_what_is_anomalous():
    scores = np.where(np.arange(2000) % 10 == 0, 11.0, 0.1)
    levels, state = run(PotThreshold(1e-3), np.zeros(2000, np.intp), scores, np.ones(2000, bool))
    assert (levels <= 3.01).all()
    assert state["learnt"][0] == 1800


@pytest.mark.parametrize("kind", [QuantileThreshold, PotThreshold])
@pytest.mark.parametrize("value", [0.0, 1.5, 12.0])
def test_constant_scores_give_a_finite_level_above_zero(kind, value):
    n = 140_000
    levels, _ = run(kind(1e-4), np.zeros(n, np.intp), np.full(n, value), np.ones(n, bool))
    assert np.isfinite(levels).all()
    assert (levels >= 1e-3).all()
    assert (levels <= 12).all()
    if value == 0.0:
        assert levels.min() > 1.5


@pytest.mark.parametrize("kind", [QuantileThreshold, PotThreshold])
def test_what_is_old_fades(kind):
    rng = np.random.default_rng(5)
    loud, quiet = rng.exponential(0.9, 70_000), rng.exponential(0.25, 300_000)
    scores = np.concatenate([loud, quiet])
    levels, _ = run(kind(1e-3), np.zeros(len(scores), np.intp), np.minimum(scores, 12), np.ones(len(scores), bool))
    assert levels[-1] < levels[70_000] - 0.7


def test_a_budget_becomes_a_level_by_the_usual_step_of_each_series():
    month = BudgetThreshold(MONTHLY)
    state = np.zeros(3, month.dtype)
    month.admit(state, 0, 300_000, 100_000)
    month.admit(state, 1, 60_000, 100_000)
    state["trained"][2] = 100_000
    rows, score, learn = np.arange(3), np.zeros(3), np.ones(3, bool)
    levels = month.apply(state, rows, score, learn, np.full(3, 10**12))
    np.testing.assert_allclose(10**levels, [8640, 43_200, 10_000])
    shared = BudgetThreshold(parse("1 per month")).apply(
        state, rows, score, learn, np.full(3, 10**12), series=np.array([1, 10, 1])
    )
    np.testing.assert_allclose(10**shared, [8640, 432_000, 10_000])


def test_a_level_asks_for_nothing_rarer_than_what_few_scores_can_tell():
    month = BudgetThreshold(MONTHLY)
    state = np.zeros(2, month.dtype)
    month.admit(state, 0, 1_000)
    month.admit(state, 1, 1_000, 750)
    rows = np.tile([0, 1], 640)
    at_once = month.apply(state.copy(), rows, np.zeros(1280), np.ones(1280, bool))
    parted = [month.apply(state, rows[a : a + 50], np.zeros(50), np.ones(50, bool)) for a in range(0, 1250, 50)]
    np.testing.assert_array_equal(np.concatenate(parted), at_once[:1250])
    np.testing.assert_allclose(10 ** at_once[:2], [200, 7_500])
    np.testing.assert_allclose(10 ** at_once[-2:], [10 * 576, 10 * (750 + 576)])


def test_a_budget_follows_a_changed_step_but_no_gap():
    month = BudgetThreshold(MONTHLY)
    state = np.zeros(1, month.dtype)
    times = 10**12 + np.cumsum(np.r_[np.full(640, 15_000), np.full(640, 60_000)])
    times[300:] += 86_400_000  # a day without observations
    steps = []
    for first in range(0, len(times), STEP):
        part = times[first : first + STEP]
        month.apply(state, np.zeros(STEP, np.intp), np.zeros(STEP), np.ones(STEP, bool), part)
        steps.append(float(state["interval"][0]))
    assert steps[:4] == [15_000] * 4
    assert steps[4:8] == [30_000, 15_000, 15_000, 15_000]
    assert steps[-6:] == [60_000] * 6


def test_settings_choose_the_threshold():
    def made(method, level=3.5):
        return from_settings(
            SimpleNamespace(method=method, level=level, probability=1e-3, hysteresis=1.0),
            [parse("1 per 10000 rows")],
            3,
        )

    assert isinstance(made("quantile"), QuantileThreshold)
    assert isinstance(made("pot"), PotThreshold)
    fixed = made("fixed")
    assert isinstance(fixed, FixedThreshold)
    assert fixed.level == 3.5
    assert isinstance(made("fixed", None), BudgetThreshold)


def test_wrong_settings_are_named():
    with pytest.raises(DetectorError, match=r"fixed threshold 13"):
        FixedThreshold(13)
    with pytest.raises(DetectorError, match=r"pot threshold: probability 0"):
        PotThreshold(0.0)
