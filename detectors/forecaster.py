"""Forecasters: predict the last position of a window from those before it; the residual is the score.

    positions      0    1   ...  T-2  T-1
    values         v0   v1  ...  v     v       the last value is judged: the network never sees it
    covariates     f0   f1  ...  f     f       known ahead (time of day), the last one too
    input step t:  [v_t, f_{t+1}]              what is known when the value of t + 1 is to be predicted

The score is the absolute residual in scaled units, for several channels the root of their mean square.
"""

from __future__ import annotations

from abc import abstractmethod
from typing import Any

import torch
from torch import Tensor, nn

from detectors.base import DetectorError
from detectors.networks import Batch, NetworkConfig, NetworkDetector


class ForecasterConfig(NetworkConfig):
    """Settings of a forecaster."""

    window: int = 48
    limit: float = 8.0
    """Context is clipped to this many scaled units around its mean, so that one wild value does not spoil the
    forecasts of the T - 1 observations after it."""


class ForecastNetwork(nn.Module):
    """An encoder of the context between two fixed steps: centre on the context's mean, add it to the forecast again.

    Centred, the network learns shapes instead of levels, and a series whose level has moved is still forecast. The
    forecast starts from the last value: the network learns the change.
    """

    def __init__(self, encoder: nn.Module, hidden: int, channels: int, covariates: int, limit: float) -> None:
        super().__init__()
        self.encoder = encoder
        self.head = nn.Linear(hidden + covariates, channels)
        self.channels = channels
        self.limit = limit

    def forward(self, x: Tensor) -> Tensor:
        """Forecast (B, C) the last position of windows x (B, T, C + F)."""
        values = x[:, :-1, : self.channels]  # (B, T-1, C)
        known = x[:, 1:, self.channels :]  # (B, T-1, F)
        centre = values.mean(dim=1, keepdim=True)  # (B, 1, C)
        shape = (values - centre).clamp(-self.limit, self.limit)
        state = self.encoder(torch.cat([shape, known], dim=2))  # (B, H)
        change = self.head(torch.cat([state, known[:, -1]], dim=1))  # (B, C)
        return centre[:, 0] + shape[:, -1] + change  # type: ignore[no-any-return]


class Forecaster(NetworkDetector):
    """Base of the forecasters; a subclass says which encoder summarises the context."""

    Config = ForecasterConfig
    config: ForecasterConfig
    residual = True

    def __init__(self, config: ForecasterConfig | None = None) -> None:
        super().__init__(config)
        if self.config.window < 2:
            msg = f"{self.name} forecasts from the observations before: window must be at least 2, not {self.config.window}"
            raise DetectorError(msg)

    @abstractmethod
    def _encoder(self) -> tuple[nn.Module, int]:
        """Return a module from (B, T-1, C + F) to (B, H), and H."""

    def _build(self) -> nn.Module:
        encoder, hidden = self._encoder()
        return ForecastNetwork(encoder, hidden, self.config.channels, self.config.covariates, self.config.limit)

    def _losses(self, network: Any, batch: Batch) -> Tensor:
        """Huber's loss: beyond one scaled unit a residual pulls with constant force, however large it is."""
        last = batch.x[:, -1, : self.config.channels]
        return nn.functional.huber_loss(network(batch.x), last, reduction="none").mean(dim=1)

    def _judge(self, network: Any, x: Tensor) -> tuple[Tensor, Tensor | None, Tensor | None]:
        expected = network(x)
        residual = x[:, -1, : self.config.channels] - expected
        if self.config.channels == 1:
            raw = residual.abs()
            return raw[:, 0], expected, raw
        squares = residual.square()
        raw = squares.mean(dim=1).sqrt()
        # Shares of the squared score, in the unit of the score: they sum to it.
        shares = squares / (self.config.channels * raw.clamp_min(1e-12))[:, None]
        return raw, expected, shares
