"""LSTM forecaster: a recurrent network reads the context and predicts the next observation.

Malhotra, Vig, Shroff, Agarwal, "Long Short Term Memory Networks for Anomaly Detection in Time Series", ESANN 2015.
Departures: one layer instead of two stacked ones, one step ahead instead of several, and no Gaussian of the errors
(calibration does that per series, and without the assumption).

Examples
--------
>>> import numpy as np
>>> from detectors.lstm import LSTM, LSTMConfig
>>> from detectors.networks import TrainingConfig
>>> wave = np.sin(np.arange(200) / 3.0)
>>> windows = np.lib.stride_tricks.sliding_window_view(wave, 12)[:, :, None]
>>> detector = LSTM(LSTMConfig(window=12, hidden=8, training=TrainingConfig(epochs=3)))
>>> report = detector.fit(windows)
>>> spike = windows[:2].copy()
>>> spike[1, -1] += 5.0
>>> raw = detector.score(spike).raw
>>> bool(raw[1] > raw[0])
True
"""

from __future__ import annotations

from types import MappingProxyType

from pydantic import Field
from torch import Tensor, nn

from detectors.forecaster import Forecaster, ForecasterConfig


class LSTMConfig(ForecasterConfig):
    """Settings of the LSTM forecaster."""

    hidden: int = Field(32, ge=1)
    """Units of the LSTM."""


class _Encoder(nn.Module):
    def __init__(self, width: int, hidden: int) -> None:
        super().__init__()
        self.lstm = nn.LSTM(width, hidden, batch_first=True)

    def forward(self, x: Tensor) -> Tensor:
        states, _ = self.lstm(x)  # (B, T-1, H)
        return states[:, -1]  # type: ignore[no-any-return]


class LSTM(Forecaster):
    """Scores by how far an observation lies from what an LSTM expects after the ones before it."""

    name = "lstm"
    summary = "LSTM forecaster: residual of the next observation's prediction"
    Config = LSTMConfig
    config: LSTMConfig
    # One core, windows of 48: 75,000 windows/s in tiles of 64, 93,000 in 128, 111,000 in 256, and a batch of one costs
    # 1.0, 1.6, 2.6 ms. In patches of 8: 320,000, 560,000 and 670,000 windows/s in tiles of 128, 512 and 2,048, a batch of one 0.4, 0.9, 2.9 ms.
    tile = 128
    other_tiles = (32, 512, 2048)
    traceable = True
    unit_test_params = MappingProxyType({"window": 12, "hidden": 8, "training": {"epochs": 15, "learning_rate": 0.01}})

    def _encoder(self) -> tuple[nn.Module, int]:
        return _Encoder(self.step_width, self.config.hidden), self.config.hidden
