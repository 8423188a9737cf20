from __future__ import annotations

import numpy as np
import pytest

from detectors import registry
from detectors.base import Detector, DetectorError
from detectors.windowing import windows

SMALL = {"window": 16, "hidden": 8, "training": {"epochs": 3}}


def fitted(name: str, **more: object) -> tuple[Detector, np.ndarray]:
    rng = np.random.default_rng(0)
    wave = np.sin(np.arange(300) / 4.0)[:, None] + rng.normal(scale=0.05, size=(300, 1))
    detector = registry.create(name, **SMALL, **more)
    x = windows(wave, 16)
    detector.fit(x)
    return detector, x


@pytest.mark.parametrize("name", ["lstm", "gru", "tcn"])
def test_with_a_horizon_the_score_is_the_root_mean_square_of_its_residuals_alone(name):
    detector, x = fitted(name, horizon=4, centred=False)
    base = x[:1].copy()
    raw = []
    for k in range(1, 9):  # one wild value, k positions from the end
        wild = base.copy()
        wild[0, -k] += 100.0
        raw.append(detector.score(wild).raw[0])
    np.testing.assert_allclose(raw[:4], 100.0 / 2, rtol=0.05)  # sqrt(100^2 / 4)
    assert max(raw[4:]) < 10  # in the context it is clipped
    assert not detector.residual


def test_a_forecast_that_is_not_centred_keeps_to_the_level_it_was_trained_on():
    centred, x = fitted("lstm")
    level, _ = fitted("lstm", centred=False)
    moved = x[:50] + 5.0
    assert np.median(centred.score(moved).raw) < 1.0
    assert np.median(level.score(moved).raw) > 3.0


def test_a_horizon_as_long_as_the_window_leaves_nothing_to_forecast_from():
    with pytest.raises(DetectorError, match="window must be more than the horizon of 16"):
        registry.create("tcn", **SMALL, horizon=16)
