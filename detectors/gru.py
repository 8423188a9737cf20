"""GRU forecaster: a recurrent network with gates, but without a cell, reads the context and predicts the next observation.

Cho et al., "Learning Phrase Representations using RNN Encoder-Decoder for Statistical Machine Translation", EMNLP 2014.
The same forecaster as `detectors.lstm`, with three quarters of its weights.

Examples
--------
>>> from detectors.gru import GRU, GRUConfig
>>> from detectors.networks import TrainingConfig
>>> import numpy as np
>>> wave = np.sin(np.arange(200) / 3.0)
>>> windows = np.lib.stride_tricks.sliding_window_view(wave, 12)[:, :, None]
>>> detector = GRU(GRUConfig(window=12, hidden=8, training=TrainingConfig(epochs=3)))
>>> report = detector.fit(windows)
>>> detector.score(windows[:5]).expected.shape
(5, 1)
"""

from __future__ import annotations

from types import MappingProxyType

from pydantic import Field
from torch import Tensor, nn

from detectors.forecaster import Forecaster, ForecasterConfig


class GRUConfig(ForecasterConfig):
    """Settings of the GRU forecaster."""

    hidden: int = Field(32, ge=1)
    """Units of the GRU."""


class _Encoder(nn.Module):
    def __init__(self, width: int, hidden: int) -> None:
        super().__init__()
        self.gru = nn.GRU(width, hidden, batch_first=True)

    def forward(self, x: Tensor) -> Tensor:
        states, _ = self.gru(x)  # (B, T-1, H)
        return states[:, -1]  # type: ignore[no-any-return]


class GRU(Forecaster):
    """Scores by how far an observation lies from what a GRU expects after the ones before it."""

    name = "gru"
    summary = "GRU forecaster: residual of the next observation's prediction"
    Config = GRUConfig
    config: GRUConfig
    tile = 128
    unit_test_params = MappingProxyType({"window": 12, "hidden": 8, "training": {"epochs": 15, "learning_rate": 0.01}})

    def _encoder(self) -> tuple[nn.Module, int]:
        return _Encoder(self.step_width, self.config.hidden), self.config.hidden
