"""LSTM autoencoder: one LSTM reads a window into a code, another writes it again, last position first.

Malhotra, Ramakrishnan, Anand, Vig, Agarwal, Shroff, "LSTM-based Encoder-Decoder for Multi-sensor Anomaly Detection", 2016.
Departures: the decoder is given the code at every step instead of its own last output (no difference between training
and scoring), and the score is the error's root mean square instead of its Mahalanobis distance (calibration sees to
comparability).

Examples
--------
>>> import numpy as np
>>> from detectors.lstm_autoencoder import LSTMAutoencoder, LSTMAutoencoderConfig
>>> from detectors.networks import TrainingConfig
>>> wave = np.sin(np.arange(200) / 3.0)
>>> windows = np.lib.stride_tricks.sliding_window_view(wave, 12)[:, :, None]
>>> detector = LSTMAutoencoder(LSTMAutoencoderConfig(window=12, hidden=8, code=2, training=TrainingConfig(epochs=2)))
>>> report = detector.fit(windows)
>>> detector.score(windows[:5]).raw.shape
(5,)
"""

from __future__ import annotations

from types import MappingProxyType
from typing import Any

import torch
from pydantic import Field
from torch import Tensor, nn

from detectors.reconstruction import Reconstruction, ReconstructionConfig


class LSTMAutoencoderConfig(ReconstructionConfig):
    """Settings of the LSTM autoencoder."""

    window: int = Field(48, ge=1, le=1_000_000)
    hidden: int = Field(32, ge=1)
    """Units of each LSTM."""
    code: int = Field(8, ge=1)
    """Width of the code."""


class _Network(nn.Module):
    def __init__(self, channels: int, covariates: int, config: LSTMAutoencoderConfig) -> None:
        super().__init__()
        self.reader = nn.LSTM(channels, config.hidden, batch_first=True)
        self.code = nn.Linear(config.hidden + covariates, config.code)
        self.writer = nn.LSTM(config.code, config.hidden, batch_first=True)
        self.values = nn.Linear(config.hidden, channels)

    def forward(self, values: Tensor, known: Tensor) -> Tensor:
        """From values (B, T, C) and covariates (B, F) to rebuilt values (B, T, C)."""
        states, _ = self.reader(values)  # (B, T, H)
        code = torch.tanh(self.code(torch.cat([states[:, -1], known], dim=1)))  # (B, K)
        written, _ = self.writer(code[:, None].expand(-1, values.shape[1], -1).contiguous())  # (B, T, H)
        return self.values(written).flip(1)  # type: ignore[no-any-return]


class LSTMAutoencoder(Reconstruction):
    """Scores by the reconstruction error of two LSTMs over windows."""

    name = "lstm-autoencoder"
    summary = "LSTM autoencoder: reconstruction error of windows"
    Config = LSTMAutoencoderConfig
    config: LSTMAutoencoderConfig
    kinds = frozenset({"windows"})
    tile = 64
    unit_test_params = MappingProxyType(
        {"window": 12, "hidden": 16, "code": 4, "training": {"epochs": 15, "learning_rate": 0.01}}
    )

    def _build(self) -> nn.Module:
        return _Network(self.config.channels, self.config.covariates, self.config)

    def _rebuild(self, network: Any, seen: Tensor) -> Tensor:
        T, C = self.config.window, self.config.channels
        return network(seen[:, : T * C].reshape(-1, T, C), seen[:, T * C :]).flatten(1)  # type: ignore[no-any-return]
