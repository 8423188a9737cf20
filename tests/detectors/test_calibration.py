from __future__ import annotations

from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from naive_calibration import NaiveEmpirical
from numpy_empirical import NumpyEmpirical
from scipy.stats import gamma, norm

from detectors.base import DetectorError
from detectors.calibration import CALIBRATORS, Empirical, EmpiricalConfig, create

ALL = sorted(CALIBRATORS)
SMALL = {"step": 8, "adapt_after": 12, "minimum": 8}


def settings_of(name):
    return {**SMALL, **({"generation": 64} if name == "empirical" else {})}


def one_series(calibrator, raw, *, learn=True):
    state = np.zeros(1, calibrator.dtype)
    raw = np.asarray(raw, float)
    return state, calibrator.calibrate(state, np.zeros(len(raw), np.intp), raw, np.full(len(raw), learn))


@st.composite
def streams(draw):
    """Scores of a few series, with ties, outliers, lasting shifts, gaps and rows that are not learnt."""
    rng = np.random.default_rng(draw(st.integers(0, 2**32)))
    B, S = draw(st.integers(1, 400)), draw(st.integers(1, 4))
    raw = rng.gamma(2.0, size=B)
    if draw(st.booleans()):
        raw = np.round(raw)
    if draw(st.booleans()):
        raw[B // 2 :] *= draw(st.sampled_from([0.0, 30.0, 1e12]))
    raw[rng.random(B) < draw(st.sampled_from([0.0, 0.1]))] = np.nan
    raw[rng.random(B) < draw(st.sampled_from([0.0, 0.02]))] = draw(st.sampled_from([1e300, np.inf, -np.inf, 50.0]))
    cuts = sorted(draw(st.lists(st.integers(0, B), max_size=12)))
    fitted = rng.gamma(2.0, size=draw(st.sampled_from([0, 3, 40])))
    return rng.integers(0, S, B), raw, rng.random(B) < 0.9, [0, *cuts, B], S, fitted


@pytest.mark.parametrize("name", ALL)
@settings(deadline=None, max_examples=60)
@given(stream=streams())
def test_every_cut_gives_the_same_bits(name, stream):
    rows, raw, learn, cuts, S, fitted = stream
    calibrator = create(name, settings_of(name))
    whole = np.zeros(S, calibrator.dtype)
    whole[0] = calibrator.fit(fitted)
    pieces = whole.copy()
    at_once = calibrator.calibrate(whole, rows, raw, learn)
    piecewise = [calibrator.calibrate(pieces, rows[a:b], raw[a:b], learn[a:b]) for a, b in pairwise(cuts)]
    assert at_once.tobytes() == np.concatenate(piecewise).tobytes()
    assert whole.tobytes() == pieces.tobytes()


@pytest.mark.parametrize("name", ALL)
@settings(deadline=None, max_examples=30)
@given(stream=streams())
def test_a_series_is_calibrated_as_if_it_were_alone(name, stream):
    rows, raw, learn, _, S, _ = stream
    calibrator = create(name, settings_of(name))
    state = np.zeros(S, calibrator.dtype)
    together = calibrator.calibrate(state, rows, raw, learn)
    for s in range(S):
        mine = rows == s
        alone = np.zeros(1, calibrator.dtype)
        levels = calibrator.calibrate(alone, np.zeros(int(mine.sum()), np.intp), raw[mine], learn[mine])
        assert levels.tobytes() == together[mine].tobytes()
        assert alone.tobytes() == state[s : s + 1].tobytes()


@pytest.mark.parametrize("name", ALL)
@settings(deadline=None, max_examples=40)
@given(stream=streams())
def test_levels_lie_in_their_range_whatever_comes(name, stream):
    rows, raw, learn, _, S, fitted = stream
    calibrator = create(name, settings_of(name))
    state = np.zeros(S, calibrator.dtype)
    state[0] = calibrator.fit(fitted)
    levels = calibrator.calibrate(state, rows, raw, learn)
    assert np.array_equal(np.isnan(levels), np.isnan(raw))
    assert ((levels >= 0) & (levels <= 12) | np.isnan(levels)).all()
    assert np.isfinite(calibrator.raw_at(state, np.full(S, 4.0)))[calibrator.ready(state)].all()


@settings(deadline=None, max_examples=60)
@given(stream=streams())
def test_empirical_agrees_with_the_slow_version_that_keeps_every_score(stream):
    _, raw, learn, _, _, fitted = stream
    raw = np.where(np.abs(raw) > 1e20, 50.0, raw)
    config = EmpiricalConfig(**settings_of("empirical"))
    naive, calibrator = NaiveEmpirical(config), Empirical(config)
    naive.fit(fitted.tolist())
    state = calibrator.fit(fitted).reshape(1)
    levels = calibrator.calibrate(state, np.zeros(len(raw), np.intp), raw, learn)
    slow = [naive.calibrate(x, bool(counted)) for x, counted in zip(raw, learn, strict=True)]
    np.testing.assert_allclose(levels, slow, rtol=1e-6, atol=1e-6)
    if naive.known:
        np.testing.assert_array_equal(state["tail"][0], np.float32(naive.tail))


@settings(deadline=None, max_examples=150)
@given(
    stream=streams(),
    config=st.builds(
        EmpiricalConfig,
        step=st.integers(8, 40),
        adapt_after=st.integers(1, 40),
        minimum=st.integers(8, 40),
        generation=st.integers(64, 90),
        poison_level=st.sampled_from([1.0, 2.5, 4.5]),
        shape=st.sampled_from([0.0, 0.5]),
    ),
)
def test_compiled_the_empirical_one_has_the_bits_of_numpy(stream, config):
    rows, raw, learn, cuts, S, fitted = stream
    plain, calibrator = NumpyEmpirical(config), Empirical(config)
    members = np.zeros((S, 2), calibrator.dtype)  # states of one member are not contiguous
    members[0, 1] = calibrator.fit(fitted)
    wanted = members[:, 1].copy()
    levels = plain.calibrate(wanted, rows, raw, learn)
    got = [calibrator.calibrate(members[:, 1], rows[a:b], raw[a:b], learn[a:b]) for a, b in pairwise(cuts)]
    assert np.concatenate(got).tobytes() == levels.tobytes()
    assert members[:, 1].tobytes() == wanted.tobytes()
    assert not members[:, 0].tobytes().strip(b"\0")


@pytest.mark.parametrize(("name", "tolerance"), [("empirical", 0.35), ("spot", 0.35), ("dspot", 0.4)])
def test_calibrated_scores_mean_what_they_say(name, tolerance):
    calibrator = create(name)
    raw = np.random.default_rng(1).gamma(2.0, size=60_000)
    _, levels = one_series(calibrator, raw)
    late = levels[10_000:]
    for level in (1.0, 2.0, 3.0):
        assert abs(-np.log10((late >= level).mean()) - level) < tolerance


def test_gaussian_tail_is_right_for_normal_scores():
    _, levels = one_series(create("gaussian-tail"), np.random.default_rng(1).normal(5.0, 2.0, 20_000))
    z = np.array([5.0, 9.0, 11.0])
    state, _ = one_series(create("gaussian-tail"), np.random.default_rng(1).normal(5.0, 2.0, 20_000))
    got = create("gaussian-tail").calibrate(state, np.zeros(3, np.intp), z, np.zeros(3, np.bool_))
    np.testing.assert_allclose(got, -np.log10(norm.sf((z - 5) / 2)), atol=0.2)
    assert abs((levels[2000:] > 2).mean() - 0.01) < 0.005


@pytest.mark.parametrize("name", ALL)
def test_raw_at_is_the_inverse(name):
    calibrator = create(name)
    state, _ = one_series(calibrator, np.random.default_rng(2).gamma(2.0, size=3000))
    levels = np.array([0.5, 1.0, 1.5, 2.0, 2.5, 3.0, 4.0, 6.0])
    states = np.repeat(state, len(levels))
    raw = calibrator.raw_at(states, levels)
    assert (np.diff(raw) > 0).all()
    back = calibrator.calibrate(states, np.arange(len(levels)), raw, np.zeros(len(levels), np.bool_))
    np.testing.assert_allclose(back, levels, atol=1e-3)


@pytest.mark.parametrize("name", ALL)
@pytest.mark.parametrize("value", [0.0, 7.5, -3.0, 1e30])
def test_a_constant_series_never_stands_out(name, value):
    state, levels = one_series(create(name), np.full(1000, value))
    assert levels.max() <= 0.5
    assert create(name).ready(state).all()


@pytest.mark.parametrize("name", ALL)
def test_a_change_of_a_constant_series_stands_out_and_becomes_normal(name):
    calibrator = create(name)
    _, levels = one_series(calibrator, np.r_[np.zeros(1000), np.full(2000, 5.0)])
    assert levels[1000] > 6
    wait = calibrator.config.adapt_after + 2 * calibrator.config.step
    assert levels[1000 + wait :].max() < 3


@pytest.mark.parametrize("name", ALL)
def test_a_lasting_shift_is_normal_after_the_stated_time(name):
    rng = np.random.default_rng(3)
    calibrator = create(name)
    raw = np.r_[rng.gamma(2.0, size=3000), 60 + rng.gamma(2.0, size=1500)]
    _, levels = one_series(calibrator, raw)
    assert (levels[3000:3200] > 3).all()
    stated = calibrator.config.adapt_after + calibrator.config.step
    assert np.median(levels[3000 + stated :]) < 2
    assert (levels[3000 + stated : 3000 + stated + 500] > 3).mean() < 0.05


def test_an_anomaly_does_not_raise_its_own_bar():
    rng = np.random.default_rng(4)
    normal = rng.gamma(2.0, size=3000)
    calibrator = Empirical()
    with_anomaly, _ = one_series(calibrator, np.r_[normal, np.full(200, 100.0), rng.gamma(2.0, size=200)])
    without, _ = one_series(calibrator, np.r_[normal, rng.gamma(2.0, size=400)])
    level = np.array([4.0])
    assert calibrator.raw_at(with_anomaly, level) < 2.0 * calibrator.raw_at(without, level)


def test_isolated_high_scores_are_learnt_in_time():
    """A tail heavier than exponential must not alert for ever at the same rate."""
    raw = np.random.default_rng(5).pareto(1.2, size=30_000)
    _, levels = one_series(Empirical(), raw)
    assert (levels[10_000:] > 4).mean() < 1e-3


def test_the_memory_moves_on():
    """What is older than two generations is forgotten: a score that was common then is rare now."""
    rng = np.random.default_rng(6)
    calibrator = Empirical(EmpiricalConfig(generation=500))
    _, levels = one_series(calibrator, np.r_[rng.gamma(2.0, size=2000) + 3, rng.gamma(2.0, size=2000), [15.0]])
    assert levels[-1] > 2.5


@pytest.mark.parametrize("name", ALL)
def test_probation_counts_down_to_ready(name):
    calibrator = create(name, {"minimum": 100})
    state = np.zeros(1, calibrator.dtype)
    raw = np.random.default_rng(7).gamma(2.0, size=300)
    for i in range(300):
        needed = int(calibrator.needed(state)[0])
        assert (needed == 0) == bool(calibrator.ready(state)[0])
        assert needed == max(128 - i, 0)  # the first border with 100 learnt
        level = calibrator.calibrate(state, np.zeros(1, np.intp), raw[i : i + 1], np.ones(1, np.bool_))
        assert needed == 0 or level[0] == 0.0


@pytest.mark.parametrize("name", ALL)
def test_what_is_not_to_be_learnt_leaves_no_trace(name):
    calibrator = create(name)
    state, _ = one_series(calibrator, np.random.default_rng(8).gamma(2.0, size=1000))
    before = state.tobytes()
    rows = np.zeros(100, np.intp)
    assert calibrator.calibrate(state, rows, np.full(100, 1e6), np.zeros(100, np.bool_)).min() > 4
    assert np.isnan(calibrator.calibrate(state, rows, np.full(100, np.nan), np.ones(100, np.bool_))).all()
    assert state.tobytes() == before
    assert calibrator.calibrate(state, rows[:0], np.empty(0), np.empty(0, np.bool_)).shape == (0,)


@pytest.mark.parametrize("name", ALL)
def test_a_fitted_state_is_ready_at_once(name):
    calibrator = create(name)
    raw = np.random.default_rng(9).gamma(2.0, size=200)
    state = calibrator.fit(np.r_[raw, np.nan]).reshape(1)
    assert calibrator.ready(state).all()
    assert calibrator.dtype.itemsize <= 100
    high = calibrator.raw_at(state, np.array([2.0]))
    assert abs(high - gamma(2.0).isf(0.01)) < 2.5
    assert not calibrator.ready(calibrator.fit(raw[:5]).reshape(1)).any()
    assert calibrator.fit(np.empty(0)).tobytes() == np.zeros((), calibrator.dtype).tobytes()


def test_names_and_settings_that_do_not_exist_are_named():
    with pytest.raises(DetectorError, match="no calibrator 'nope'; there are empirical"):
        create("nope")
    with pytest.raises(DetectorError, match="setting stepp"):
        create("spot", {"stepp": 3})
    with pytest.raises(DetectorError, match="takes SpotConfig"):
        create("spot", EmpiricalConfig())
    assert create("empirical", {"generation": 100}).config == EmpiricalConfig(generation=100)


@pytest.mark.parametrize("name", ["empirical", "gaussian-tail"])
def test_members_are_calibrated_together_as_one_by_one(name):
    rng = np.random.default_rng(5)
    calibrator, rows, raw = create(name), rng.integers(0, 6, 900), rng.exponential(size=(900, 3))
    raw[rng.random(raw.shape) < 0.02] = np.nan
    learn = rng.random(900) < 0.9
    together, alone = np.zeros((2, 6, 3), calibrator.dtype)
    levels = calibrator.calibrate_members(together, rows, raw, learn)
    for m in range(3):
        assert calibrator.calibrate(alone[:, m], rows, raw[:, m], learn).tobytes() == levels[:, m].tobytes()
    assert together.tobytes() == alone.tobytes()
    assert np.nanmax(levels) > 1
