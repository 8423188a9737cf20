"""Forecasters: predict the last position of a window from those before it; the residual is the score.

    positions      0    1   ...  T-2  T-1
    values         v0   v1  ...  v     v       the last value is judged: the network never sees it
    covariates     f0   f1  ...  f     f       known ahead (time of day), the last one too
    input step t:  [v_t, f_{t+1}]              what is known when the value of t + 1 is to be predicted

The score is the absolute residual in scaled units, for several channels the root of their mean square. With a horizon of
H the last H values are forecast from those before them (what is known ahead is given for them too), and the score is the
root mean square of the H residuals.

With a patch of P the network takes P input steps at a time (values of all, what is known ahead of the last), so that its cost is
a P-th: neighbours of a metric say much the same, and a forecast of H values needs no finer steps (Nie et al., "A Time Series is
Worth 64 Words", ICLR 2023). Rows at the far end of the context that fill no patch are left out.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import numpy as np
import torch
from pydantic import Field
from torch import Tensor, nn

from detectors.base import DetectorError
from detectors.networks import Batch, NetworkConfig, NetworkDetector
from detectors.programs import MINUS, PLUS, Program, Rows, filled


class ForecasterConfig(NetworkConfig):
    """Settings of a forecaster."""

    window: int = Field(48, ge=1, le=1_000_000)
    limit: float = 8.0
    """Context is clipped to this many scaled units around its mean, so that one wild value does not spoil the
    forecasts of the T - 1 observations after it."""
    horizon: int = Field(1, ge=1)
    """H: how many of the last observations are forecast at once, none of them seen, and judged together. One step ahead
    sees the point that jumps; several see a stretch that runs wrong, and are far less moved by single noisy points."""
    patch: int = Field(1, ge=1)
    """P: rows of the context that the network takes in one step; its cost is a P-th."""
    centred: bool = True
    """Whether the forecast follows the context's mean and last value. False: the level seen in training is the normal one,
    until calibration has taken a lasting shift as the new normal."""


class ForecastNetwork(nn.Module):
    """An encoder of the context between two fixed steps: centre on the context's mean, add it to the forecast again.

    Centred, the network learns shapes instead of levels, and a series whose level has moved is still forecast. The
    forecast starts from the last value: the network learns the change.
    """

    def __init__(self, encoder: nn.Module, hidden: int, config: ForecasterConfig) -> None:
        super().__init__()
        self.encoder = encoder
        self.channels, self.horizon, self.patch = config.channels, config.horizon, config.patch
        self.head = nn.Linear(hidden + self.horizon * config.covariates, self.horizon * config.channels)
        self.limit, self.centred = config.limit, config.centred

    def forward(self, x: Tensor) -> Tensor:
        """Forecast (B, H, C) the last positions of windows x (B, T, C + F) from those before them."""
        H, C = self.horizon, self.channels
        values = x[:, :-H, :C]  # (B, T-H, C)
        known = x[:, 1:, C:]  # (B, T-1, F)
        centre = values.mean(dim=1, keepdim=True) if self.centred else values.new_zeros(())  # (B, 1, C)
        shape = (values - centre).clamp(-self.limit, self.limit)
        state = self.encoder(self._steps(shape, known[:, : values.shape[1]]))  # (B, hidden)
        head = self.head(torch.cat([state, known[:, -H:].flatten(1)], dim=1)).view(-1, H, C)
        return centre + shape[:, -1:] + head if self.centred else head  # type: ignore[no-any-return]

    def _steps(self, shape: Tensor, known: Tensor) -> Tensor:
        """What the encoder takes (B, (T-H) // P, P * C + F) of a context (B, T-H, C) and what is known ahead (B, T-H, F)."""
        P = self.patch
        left = shape.shape[1] % P
        return torch.cat(
            [shape[:, left:].reshape(len(shape), -1, P * self.channels), known[:, left + P - 1 :: P]], dim=2
        )


class Forecaster(NetworkDetector):
    """Base of the forecasters; a subclass says which encoder summarises the context."""

    Config = ForecasterConfig
    config: ForecasterConfig
    residual = True

    def __init__(self, config: ForecasterConfig | None = None) -> None:
        super().__init__(config)
        if self.config.window <= self.config.horizon:
            msg = (
                f"{self.name} forecasts from the observations before: window must be more than the horizon of "
                f"{self.config.horizon}, not {self.config.window}"
            )
            raise DetectorError(msg)
        if self.config.patch > self.config.window - self.config.horizon:
            msg = (
                f"{self.name} forecasts from {self.config.window - self.config.horizon} observations: a patch must not be longer, "
                f"not {self.config.patch}"
            )
            raise DetectorError(msg)
        self.residual = self.config.horizon == 1  # else the score is of several observations: no band around the last

    @property
    def step_width(self) -> int:
        """P * C + F: numbers that the encoder takes in one step."""
        return self.config.patch * self.config.channels + self.config.covariates

    @abstractmethod
    def _encoder(self) -> tuple[nn.Module, int]:
        """Return a module from (B, steps, `step_width`) to (B, hidden), and hidden."""

    def _encode(self, program: Program, encoder: Any, steps: Sequence[Callable[[Rows], None]], state: Rows) -> bool:
        """Put the encoder's work into a program: each of `steps` puts its `step_width` numbers where it is told, and `state` takes what it says. False: it cannot be."""
        return False

    def _program(self, network: Any) -> Program | None:
        c, program = self.config, Program(self.config.channels, self.width)
        H, C, F, context = c.horizon, c.channels, c.covariates, c.window - c.horizon
        hidden = network.head.in_features - H * F
        seen = program.room(H * F + filled(hidden))
        known, state = seen.part(0, H * F), seen.part(H * F, filled(hidden))
        program.take([(t, C + f) for t in range(context, c.window) for f in range(F)], known)
        centre = None
        if c.centred:
            values = program.take([(t, k) for t in range(context) for k in range(C)])
            centre = program.layer(values, np.tile(np.eye(C) / context, context), np.zeros(C))
        steps = [partial(self._step, program, first, centre) for first in range(context % c.patch, context, c.patch)]
        if not self._encode(program, network.encoder, steps, state):
            return None
        weights = network.head.weight.numpy()
        weights = np.concatenate([weights[:, hidden:], weights[:, :hidden]], axis=1)
        forecast = program.layer(seen.part(0, weights.shape[1]), weights, network.head.bias.numpy())
        if centre is not None:
            last = program.take([(context - 1, k) for k in range(C)])
            last = program.clipped(program.each(MINUS, centre, last), c.limit)
            for h in range(H):
                program.each(PLUS, last, program.each(PLUS, centre, forecast.part(h * C, C)))
        wanted = program.take([(t, k) for t in range(context, c.window) for k in range(C)])
        program.score(forecast, wanted)
        return program.done()

    def _step(self, program: Program, first: int, centre: Rows | None, into: Rows) -> None:
        """Put into a program what the encoder takes in the step that begins at position `first`."""
        P, C, F = self.config.patch, self.config.channels, self.config.covariates
        values = into.part(0, P * C)
        program.take([(first + p, k) for p in range(P) for k in range(C)], values)
        program.take([(first + P, C + f) for f in range(F)], into.part(P * C, F))
        if centre is not None:
            for p in range(P):
                program.each(MINUS, centre, values.part(p * C, C))
        program.clipped(values, self.config.limit)

    def _build(self) -> nn.Module:
        encoder, hidden = self._encoder()
        return ForecastNetwork(encoder, hidden, self.config)

    def _losses(self, network: Any, batch: Batch) -> Tensor:
        """Huber's loss: beyond one scaled unit a residual pulls with constant force, however large it is."""
        judged = batch.x[:, -self.config.horizon :, : self.config.channels]
        return nn.functional.huber_loss(network(batch.x), judged, reduction="none").mean(dim=(1, 2))

    def _judge(self, network: Any, x: Tensor) -> tuple[Tensor, Tensor | None, Tensor | None]:
        H, C = self.config.horizon, self.config.channels
        forecast = network(x)  # (B, H, C)
        residual = x[:, -H:, :C] - forecast
        if H == C == 1:
            raw = residual[:, 0].abs()
            return raw[:, 0], forecast[:, 0], raw
        squares = residual.square()
        raw = squares.mean(dim=(1, 2)).sqrt()
        # Shares of the squared score, in the unit of the score: they sum to it.
        shares = squares.mean(dim=1) / (C * raw.clamp_min(1e-12))[:, None]
        return raw, forecast[:, -1], shares
