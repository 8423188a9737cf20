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
from typing import TYPE_CHECKING, Any

import numpy as np
from pydantic import Field

from detectors.base import DetectorError
from detectors.networks import NetworkConfig, NetworkDetector
from detectors.programs import HUBER, MINUS, PLUS, Program, Rows, Weights, filled

if TYPE_CHECKING:
    from torch import Tensor, nn

    from detectors.torched.training import Batch


Steps = Sequence[Callable[[Rows], None]]
"""Each puts the numbers that an encoder takes in one step where it is told."""


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

    def _encode(self, program: Program, weights: Weights, steps: Steps, state: Rows) -> bool:
        """Put the encoder's work into a program: each of `steps` puts its `step_width` numbers where it is told, and `state` takes what it says. False: it cannot be."""
        return False

    def _encoder_shapes(self) -> tuple[dict[str, tuple[int, ...]], int] | None:
        """Name -> shape of the encoder's weights, and `hidden`, as `_encoder` makes them; None: torch must be asked."""
        return None

    def _shapes(self) -> dict[str, tuple[int, ...]] | None:
        if (known := self._encoder_shapes()) is None:
            return None
        encoder, hidden = known
        out = self.config.horizon * self.config.channels
        head = {"head.weight": (out, hidden + self.config.horizon * self.config.covariates), "head.bias": (out,)}
        return {f"encoder.{name}": shape for name, shape in encoder.items()} | head

    def _program(self, program: Program, weights: Weights) -> Program | None:
        c = self.config
        H, C, F, context = c.horizon, c.channels, c.covariates, c.window - c.horizon
        head = weights["head.weight"]
        hidden = head.shape[1] - H * F
        seen = program.room(H * F + filled(hidden))
        known, state = seen.part(0, H * F), seen.part(H * F, filled(hidden))
        program.take([(t, C + f) for t in range(context, c.window) for f in range(F)], known)
        centre = None
        if c.centred:
            values = program.take([(t, k) for t in range(context) for k in range(C)])
            centre = program.mean(values, C)
        steps = [partial(self._step, program, first, centre) for first in range(context % c.patch, context, c.patch)]
        encoder = {n.removeprefix("encoder."): of for n, of in weights.items() if n.startswith("encoder.")}
        if not self._encode(program, encoder, steps, state):
            return None
        head = np.concatenate([head[:, hidden:], head[:, :hidden]], axis=1)
        forecast = program.layer(seen.part(0, head.shape[1]), head, weights["head.bias"])
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
        from detectors.torched.forecasting import ForecastNetwork

        encoder, hidden = self._encoder()
        return ForecastNetwork(encoder, hidden, self.config)

    @property
    def trained_by(self) -> int:
        """See `NetworkDetector.trained_by`."""
        return HUBER

    def _losses(self, network: Any, batch: Batch) -> Tensor:
        """Huber's loss: beyond one scaled unit a residual pulls with constant force, however large it is."""
        from torch.nn.functional import huber_loss

        judged = batch.x[:, -self.config.horizon :, : self.config.channels]
        return huber_loss(network(batch.x), judged, reduction="none").mean(dim=(1, 2))

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
