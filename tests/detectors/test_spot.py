import math

import numpy as np
import pytest
from scipy.optimize import minimize
from scipy.stats import genpareto

from detectors.base import DetectorError
from detectors.spot import dspot, fit_pareto, spot


def likeliest(peaks):
    """Brute force: the best of many climbs over shape and log scale."""

    def cost(p):
        with np.errstate(all="ignore"):
            value = -genpareto.logpdf(peaks, p[0], scale=np.exp(p[1])).sum()
        return value if math.isfinite(value) and p[0] > -1 else 1e12

    starts = [(g, np.log(peaks.mean()) + s) for g in (-0.4, 0.4) for s in (-0.3, 0.3)]
    climbs = [minimize(cost, s, method="Nelder-Mead", options={"xatol": 1e-6, "fatol": 1e-8}) for s in starts]
    best = min(climbs, key=lambda c: c.fun)
    return best.x[0], math.exp(best.x[1]), -best.fun


@pytest.mark.parametrize("gamma", [-0.4, -0.1, 0.0, 0.2, 0.6])
@pytest.mark.parametrize("n", [20, 300])
def test_grimshaw_finds_the_likeliest_tail(gamma, n):
    for seed in range(2):
        peaks = genpareto.rvs(gamma, scale=2.0, size=n, random_state=seed)
        shape, scale = fit_pareto(peaks)
        found = genpareto.logpdf(peaks, shape, scale=scale).sum()
        best_shape, best_scale, best = likeliest(peaks)
        assert found == pytest.approx(best, abs=1e-4)
        if n == 300:
            assert (shape, scale) == pytest.approx((best_shape, best_scale), abs=1e-2)


def naive_spot(scores, q, first):
    """The paper's algorithm 1, with brute force for the fit."""
    t = np.quantile(scores[:first], 0.98)
    peaks = [s - t for s in scores[:first] if s > t]
    n = first

    def z():
        gamma, sigma, _ = likeliest(np.array(peaks))
        return t + sigma / gamma * ((q * n / len(peaks)) ** -gamma - 1)

    level, levels, normal = z(), [], []
    for score in scores[first:]:
        levels.append(level)
        normal.append(score <= level)
        if score > level:
            continue
        n += 1
        if score > t:
            peaks.append(score - t)
            level = z()
    return np.array(levels), normal


def test_spot_equals_the_slow_version():
    scores = genpareto.rvs(0.15, size=900, random_state=3)
    scores[700] = 1e3
    levels = spot(scores, probability=1e-3, first=500)
    expected, normal = naive_spot(scores, 1e-3, 500)
    np.testing.assert_allclose(levels, expected, rtol=1e-3)
    np.testing.assert_array_equal(scores[500:] <= levels, normal)
    assert not normal[200]


def test_spot_keeps_its_promise_over_a_long_series():
    scores = np.random.default_rng(4).exponential(size=12_000)
    levels = spot(scores, probability=1e-3, first=2000)
    assert 2e-4 < (scores[2000:] > levels).mean() < 5e-3


def test_dspot_is_spot_on_what_is_left_over_the_moving_average():
    rng = np.random.default_rng(5)
    scores = rng.exponential(size=2500) + np.linspace(0, 60, 2500)
    scores[2000] += 40
    levels = dspot(scores, probability=1e-4, depth=20, first=500)
    assert len(levels) == 2500 - 520
    alarms = np.flatnonzero(scores[520:] > levels).tolist()
    assert 1480 in alarms
    assert len(alarms) < 6
    assert (spot(scores, probability=1e-4, first=500) < scores[500:]).mean() > 0.3  # drift alone deceives SPOT

    recent, expected = list(scores[500:520]), []
    for score, level in zip(scores[520:], levels, strict=True):
        expected.append(np.mean(recent))
        if score <= level:
            recent = [*recent[1:], score]
    excess = levels - expected
    assert 3 < excess.min() < excess.max() < 10  # the mean is followed, and the anomaly left out of it


def test_too_few_scores_are_named():
    with pytest.raises(DetectorError, match="100 scores, of which 1000 are the first batch"):
        spot(np.zeros(100), probability=1e-3)
    with pytest.raises(DetectorError, match="no peaks"):
        spot(np.zeros(2000), probability=1e-3)
