"""What all detectors share that rebuild their input: what is rebuilt, and how a difference becomes a score.

values     (B, T*C)    flattened windows, or the columns of a row: what is to be rebuilt
seen       (B, T*C+F)  what the encoder is shown: the same, clipped, and the last position's covariates (time of day)
score      root of the mean squared difference, in scaled units
"""

from __future__ import annotations

from abc import abstractmethod
from typing import Any, Literal

import torch
from torch import Tensor

from detectors.networks import Batch, NetworkConfig, NetworkDetector

Judged = Literal["window", "last"]
Loss = Literal["squared", "absolute"]


class ReconstructionConfig(NetworkConfig):
    """Settings of a detector that rebuilds its input."""

    judged: Judged = "window"
    """Whose difference is the score: the whole window's, or its last position's."""
    loss: Loss = "squared"
    """What training makes small: the mean squared difference, or the mean absolute one, to which a wild value counts less."""
    limit: float = 8.0
    """The encoder is shown values clipped to this many scaled units; the difference is taken to those that came."""


class Reconstruction(NetworkDetector):
    """Base of the detectors that rebuild their input; a subclass says with which network.

    The network takes what the encoder is shown, (B, T*C + F), and returns the rebuilt values, (B, T*C).
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
        """Return rebuilt values (B, T*C) from what the encoder is shown (B, T*C + F)."""

    def flat(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Return values (B, T*C), and what the encoder is shown."""
        C, limit = self.config.channels, self.config.limit
        if self.config.covariates == 0:
            values = x.flatten(1)
            return values, values.clamp(-limit, limit)
        values = x[:, :, :C].flatten(1)
        return values, torch.cat([values.clamp(-limit, limit), x[:, -1, C:]], dim=1)

    def _losses(self, network: Any, batch: Batch) -> Tensor:
        values, seen = self.flat(batch.x)
        return self.differences(self._rebuild(network, seen), values)

    def differences(self, rebuilt: Tensor, values: Tensor) -> Tensor:
        """Losses (B,) of rebuilt values (B, T*C), by `loss`."""
        off = rebuilt - values
        return off.abs().mean(dim=1) if self.config.loss == "absolute" else off.square().mean(dim=1)

    def _judge(self, network: Any, x: Tensor) -> tuple[Tensor, Tensor | None, Tensor | None]:
        values, seen = self.flat(x)
        rebuilt = self._rebuild(network, seen)
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
