"""What all detectors share that rebuild their input: what is rebuilt, and how a difference becomes a score.

values     (B, T*C)    flattened windows, or the columns of a row: what is to be rebuilt
seen       (B, T*C+F)  what the encoder is shown: the same, clipped, and the last position's covariates (time of day)
score      root of the mean squared difference, in scaled units

With `loss="cross-entropy"` what the network gives are log-odds, and what is rebuilt their sigmoid: values between 0 and 1.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
from numpy.typing import NDArray

from detectors.base import DetectorError, Progress, TrainingReport
from detectors.networks import NetworkConfig, NetworkDetector

if TYPE_CHECKING:
    from torch import Tensor

    from detectors.torched.training import Batch

Judged = Literal["window", "last"]
Loss = Literal["squared", "absolute", "cross-entropy"]
_ROUNDING = 1e-5
"""By how much a scaled value may miss 0 or 1."""


class ReconstructionConfig(NetworkConfig):
    """Settings of a detector that rebuilds its input."""

    judged: Judged = "window"
    """Whose difference is the score: the whole window's, or its last position's."""
    loss: Loss = "squared"
    """What training makes small: the mean squared difference; the mean absolute one, to which a wild value counts less; or the binary
    cross-entropy of values between 0 and 1 (scaled by min-max)."""
    limit: float = 8.0
    """The encoder is shown values clipped to this many scaled units; the difference is taken to those that came."""


class Reconstruction(NetworkDetector):
    """Base of the detectors that rebuild their input; a subclass says with which network.

    The network takes what the encoder is shown, (B, T*C + F), and returns the rebuilt values, (B, T*C): see `output`.
    """

    Config = ReconstructionConfig
    config: ReconstructionConfig
    kinds = frozenset({"windows", "rows"})

    @property
    def values(self) -> int:
        """T*C: values that are rebuilt."""
        return self.config.window * self.config.channels

    @abstractmethod
    def _rebuild(self, network: Any, seen: Tensor) -> Tensor:
        """What the network gives (B, T*C) for what the encoder is shown (B, T*C + F)."""

    def _fit(
        self,
        x: NDArray[np.float32],
        y: NDArray[np.int8] | None,
        validation: NDArray[np.float32] | None,
        on_progress: Callable[[Progress], None] | None,
    ) -> TrainingReport:
        if self.config.loss == "cross-entropy":
            for part in (x, validation):
                values = np.zeros(1) if part is None else part[:, :, : self.config.channels]
                if values.min(initial=0.0) < -_ROUNDING or values.max(initial=1.0) > 1.0 + _ROUNDING:
                    msg = (
                        f"{self.name}: loss=cross-entropy rebuilds values between 0 and 1, but they reach from {values.min():.4g} to "
                        f"{values.max():.4g}; train with --scaling min-max, or take another loss"
                    )
                    raise DetectorError(msg)
        return super()._fit(x, y, validation, on_progress)

    def flat(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Return values (B, T*C), and what the encoder is shown."""
        C, limit = self.config.channels, self.config.limit
        if self.config.covariates == 0:
            values = x.flatten(1)
            return values, values.clamp(-limit, limit)
        from torch import cat

        values = x[:, :, :C].flatten(1)
        return values, cat([values.clamp(-limit, limit), x[:, -1, C:]], dim=1)

    def _losses(self, network: Any, batch: Batch) -> Tensor:
        values, seen = self.flat(batch.x)
        return self.differences(self._rebuild(network, seen), values)

    def output(self, given: Tensor) -> Tensor:
        """Rebuilt values from what the network gives."""
        return given.sigmoid() if self.config.loss == "cross-entropy" else given

    def differences(self, given: Tensor, values: Tensor) -> Tensor:
        """Losses (B,) of what the network gives for values (B, T*C), by `loss`."""
        if self.config.loss == "cross-entropy":
            from torch.nn.functional import binary_cross_entropy_with_logits

            wanted = values.clamp(0.0, 1.0)
            return binary_cross_entropy_with_logits(given, wanted, reduction="none").mean(dim=1)
        off = given - values
        return off.abs().mean(dim=1) if self.config.loss == "absolute" else off.square().mean(dim=1)

    def _judge(self, network: Any, x: Tensor) -> tuple[Tensor, Tensor | None, Tensor | None]:
        values, seen = self.flat(x)
        rebuilt = self.output(self._rebuild(network, seen))
        raw, shares = self.by_channel((rebuilt - values).square())
        return raw, rebuilt[:, -self.config.channels :].contiguous(), shares

    def by_channel(self, squares: Tensor) -> tuple[Tensor, Tensor]:
        """Scores (B,) and contributions (B, C) from squared differences (B, T*C).

        A contribution is a channel's share of the squared score, in the unit of the score: they sum to it.
        """
        C = self.config.channels
        if self.config.judged == "last":
            squares = squares[:, -C:]
        raw = squares.mean(dim=1).sqrt()
        per_channel = squares if squares.shape[1] == C else squares.view(len(squares), -1, C).mean(dim=1)
        return raw, per_channel / (C * raw.clamp_min(1e-12))[:, None]
