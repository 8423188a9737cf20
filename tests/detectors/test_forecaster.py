from __future__ import annotations

import numpy as np
import pytest
import torch

from detectors import registry
from detectors.base import Detector, DetectorError
from detectors.forecaster import ForecasterConfig
from detectors.recipes import METRIC, _shortened
from detectors.torched.forecasting import ForecastNetwork
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


def test_a_patch_is_some_rows_of_values_and_what_is_known_of_the_last():
    network = ForecastNetwork(torch.nn.Identity(), 1, ForecasterConfig(window=9, horizon=2, patch=3, covariates=1))
    values, known = torch.arange(7.0).view(1, 7, 1), torch.arange(10.0, 17.0).view(1, 7, 1)
    assert network._steps(values, known)[0].tolist() == [[1, 2, 3, 13], [4, 5, 6, 16]]  # one row fills no patch


@pytest.mark.parametrize("name", ["lstm", "gru", "tcn"])
def test_rows_that_fill_no_patch_are_not_looked_at_and_all_others_are(name):
    detector, x = fitted(name, horizon=4, patch=5, centred=False)  # 12 rows of context: two patches, two rows left
    plain = detector.score(x[:1]).raw[0]
    moved = []
    for at in range(12):
        other = x[:1].copy()
        other[0, at] += 1.0
        moved.append(detector.score(other).raw[0] != plain)
    assert moved == [False] * 2 + [True] * 10


def test_with_patches_a_spike_still_stands_out():
    detector, x = fitted("lstm", horizon=4, patch=4, centred=False)
    wild = x[:20].copy()
    wild[5, -1] += 3.0
    assert detector.score(wild).raw.argmax() == 5


def test_a_patch_longer_than_the_context_is_refused():
    with pytest.raises(DetectorError, match="from 12 observations: a patch must not be longer, not 13"):
        registry.create("tcn", **SMALL, horizon=4, patch=13)


@pytest.mark.parametrize("longest", range(3, 49))
def test_a_default_that_is_cut_short_keeps_four_patches_or_single_rows(longest):
    for member in METRIC.detectors:
        name, settings = _shortened(member, longest)
        config = registry.create(name, **settings).config
        if isinstance(config, ForecasterConfig):
            assert config.patch == 1 or (config.window - config.horizon) // config.patch >= 4
