"""A traced pass gives the bits of the plain one, or is not taken."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from detectors import tracing
from detectors.autoencoder import Autoencoder, AutoencoderConfig
from detectors.lstm import LSTM, LSTMConfig
from detectors.networks import NetworkDetector, TrainingConfig
from detectors.tcn import TCN, TCNConfig

SHORT = TrainingConfig(epochs=1)
WAVE = np.sin(np.arange(300) / 3.0) + np.random.default_rng(0).normal(0, 0.1, 300)
WINDOWS = np.lib.stride_tricks.sliding_window_view(WAVE, 12)[:, :, None].astype(np.float32)


@pytest.mark.parametrize(
    "made",
    [
        LSTM(LSTMConfig(window=12, hidden=8, training=SHORT)),
        TCN(TCNConfig(window=12, hidden=8, blocks=2, training=SHORT)),
        Autoencoder(AutoencoderConfig(window=12, layers=(6, 2, 6), training=SHORT)),
    ],
    ids=lambda d: d.name,
)
def test_the_default_s_networks_are_traced_and_say_the_same(made: NetworkDetector, monkeypatch: Any) -> None:
    made.fit(WINDOWS)
    x = np.concatenate([WINDOWS, 1e6 * WINDOWS, np.zeros_like(WINDOWS[:5])])
    traced = made.score(x)
    assert made.tile in made._passes
    assert all("traced" in run.__qualname__ for run in made._passes.values())
    plain = type(made).from_arrays(made.config, made.arrays())
    monkeypatch.setattr(type(made), "traceable", False)
    other = plain.score(x)
    assert not plain._passes
    for name in ("raw", "expected", "contributions"):
        assert getattr(traced, name).tobytes() == getattr(other, name).tobytes()


def test_another_fit_is_another_pass() -> None:
    made = LSTM(LSTMConfig(window=12, hidden=8, training=SHORT))
    made.fit(WINDOWS)
    before = made.score(WINDOWS).raw
    made.fit(3 * WINDOWS[::-1].copy())
    assert (
        made.score(WINDOWS).raw.tobytes()
        == type(made).from_arrays(made.config, made.arrays()).score(WINDOWS).raw.tobytes()
    )
    assert made.score(WINDOWS).raw.tobytes() != before.tobytes()


def test_what_depends_on_the_values_is_not_taken() -> None:
    def judge(network: Any, x: Tensor) -> tracing.Judged:
        raw = network(x[:, :, 0]).sum(dim=1)
        return (raw if float(x.abs().max()) < 10 else -raw), x[:, -1], raw[:, None]

    assert tracing.traced(nn.Linear(5, 2), judge, (4, 5, 1)) is None


def test_what_cannot_be_traced_is_not_taken(monkeypatch: pytest.MonkeyPatch) -> None:
    def gone(*_: object, **__: object) -> None:
        raise RuntimeError("torch.jit.trace is not there any more")

    monkeypatch.setattr(torch.jit, "trace", gone)
    assert tracing.traced(nn.Linear(5, 2), lambda n, x: (n(x[:, :, 0])[:, 0], x[:, -1], x[:, 0]), (4, 5, 1)) is None


def test_what_has_all_three_is_taken() -> None:
    """So the two above are refused for what they are about."""
    run = tracing.traced(nn.Linear(5, 2), lambda n, x: (n(x[:, :, 0])[:, 0], x[:, -1], x[:, 0]), (4, 5, 1))
    assert run is not None
    with torch.inference_mode():
        assert run(torch.ones(4, 5, 1))[2] is not None
