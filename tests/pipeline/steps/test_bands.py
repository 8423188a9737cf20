import numpy as np
import pytest

from detectors.calibration import CALIBRATORS, create
from pipeline.steps.bands import Remembered, margins


def unscale(rows, scaled):
    return scaled * np.array([2.0, 10.0, 1.0])[rows][:, None] + 100.0


def batches(n=1500, series=3, seed=0):
    rng = np.random.default_rng(seed)
    raw = rng.exponential(size=n)
    raw[rng.random(n) < 0.01] = np.nan
    return rng.integers(0, series, n), raw, rng.random(n) < 0.9, rng.choice([1.0, 2.0, 3.0], n)


def widths(calibrator, at, cuts=(), channels=1):
    """Half widths of the bands of scores `at`, the stream being cut in some way."""
    rows, raw, learn, level = batches()
    states = np.zeros(3, calibrator.dtype)
    out = {}
    for a, b in zip([0, *cuts], [*cuts, len(rows)], strict=True):
        remembered = Remembered.of(states, rows[a:b])
        calibrator.calibrate(states, rows[a:b], raw[a:b], learn[a:b])
        here = np.array([i - a for i in at if a <= i < b], np.intp)
        half = margins(
            here,
            calibrator=calibrator,
            remembered=remembered,
            rows=rows[a:b],
            raw=raw[a:b],
            learn=learn[a:b],
            level=level[a:b],
            channels=channels,
            unscale=unscale,
        )
        out |= dict(zip(here + a, half, strict=True))
    return np.array([out[i] for i in at])


@pytest.mark.parametrize("name", sorted(CALIBRATORS))
def test_bands_do_not_depend_on_the_cut_nor_on_which_are_asked_for(name):
    calibrator = create(name)
    at = [3, 400, 401, 405, 900, 1200, 1499]
    whole = widths(calibrator, at)
    assert np.isfinite(whole[1:]).all()
    np.testing.assert_array_equal(whole, widths(calibrator, at, cuts=[1, 64, 401, 402, 1000]))
    np.testing.assert_array_equal(whole, widths(calibrator, list(range(1500)))[at])


@pytest.mark.parametrize("name", ["empirical", "gaussian-tail"])
def test_a_score_reaches_the_level_exactly_where_the_observation_leaves_the_band(name):
    calibrator = create(name)
    rows, raw, learn, level = batches()
    calibrated = calibrator.calibrate(np.zeros(3, calibrator.dtype), rows, raw, learn)
    half = widths(calibrator, list(range(1500)))[:, 0]
    deviation = raw * np.array([2.0, 10.0, 1.0])[rows]
    known = np.isfinite(half) & np.isfinite(raw) & (np.abs(deviation - half) > 1e-4 * half)
    outside = deviation > half
    np.testing.assert_array_equal(outside[known], (calibrated >= level)[known])
    assert 20 < outside[known].sum() < 200
    assert known.sum() > 1000


def test_before_the_calibration_is_ready_there_is_no_band():
    assert np.isnan(widths(create("empirical"), [0, 10])).all()


def test_of_several_channels_each_edge_is_that_of_the_channel_alone():
    calibrator = create("empirical")
    one, two = widths(calibrator, [900]), widths(calibrator, [900], channels=2)
    np.testing.assert_allclose(two, np.sqrt(2) * np.repeat(one, 2, axis=1), rtol=1e-5)
