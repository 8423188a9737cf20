"""Causal convolutions beside the sum that they are, and what is left out of them where nobody looks."""

from __future__ import annotations

import pytest
import torch

from detectors.networks import TrainingConfig
from detectors.tcn import TCN, TCNConfig
from detectors.torched.convolution import CausalConv, every_second
from detectors.torched.forecasting import TCNEncoder


def summed(conv: CausalConv, x: torch.Tensor) -> torch.Tensor:
    """y[t] = b + sum over lags of W_lag x[t - lag], as it is written."""
    norm = conv.direction.square().sum(dim=(0, 1)).sqrt()
    weight = conv.direction * conv.gain / norm
    out = conv.bias.expand(*x.shape[:2], -1).clone()
    for t in range(len(x)):
        for lag in range(min(t + 1, len(weight))):
            out[t] += x[t - lag] @ weight[lag]
    return out


@pytest.mark.parametrize("kernel", [2, 3, 5])
@pytest.mark.parametrize("T", [1, 2, 3, 4, 7, 12])
def test_a_convolution_is_the_sum_over_its_lags_whole_halved_and_folded(T: int, kernel: int) -> None:
    torch.manual_seed(T)
    conv, x = CausalConv(3, 4, kernel), torch.randn(T, 5, 3)
    with torch.inference_mode():
        expected = summed(conv, x)
        for fold in (False, True):
            if fold:
                conv.fold()
            torch.testing.assert_close(conv(x), expected)
            torch.testing.assert_close(conv(x, halved=True), every_second(expected))


@pytest.mark.parametrize("T", [1, 2, 5, 12, 47])
def test_what_is_left_out_when_scoring_does_not_reach_the_last_position(T: int) -> None:
    torch.manual_seed(T)
    encoder, x = TCNEncoder(2, 8, blocks=3, kernel=3), torch.randn(T, 4, 2)
    with torch.inference_mode():
        torch.testing.assert_close(encoder.eval()(x), encoder.train()(x))


def test_a_loaded_network_has_its_own_weights_folded_and_the_file_knows_nothing_of_it() -> None:
    config = TCNConfig(window=8, hidden=4, blocks=2, training=TrainingConfig(epochs=1))
    windows = torch.randn(60, 8, 1, generator=torch.Generator().manual_seed(0)).numpy()
    detector = TCN(config)
    detector.fit(windows)
    arrays = detector.arrays()
    assert not [name for name in arrays if "folded" in name]
    changed = {name: a * 2 if name.endswith("gain") else a for name, a in arrays.items()}
    for given, same in ((arrays, True), (changed, False)):
        loaded = TCN.from_arrays(config, given)
        assert (loaded.score(windows).raw == detector.score(windows).raw).all() == same
        assert [m.folded is None for m in loaded.network.modules() if isinstance(m, CausalConv)] == [False] * 4
