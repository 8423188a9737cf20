"""Supervised classifiers: where anomalies are labelled, learn to tell them from the rest; the score is the log-odds.

A window is a sequence of T positions, a row of a table one of C features with one channel: so a convolution over time
serves tables too. A rare class weighs more (the root of how many times rarer it is), and training is not trimmed: here
the windows with the highest losses are the anomalies.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from detectors.base import Progress, TrainingReport
from detectors.networks import Batch, NetworkConfig, NetworkDetector, TrainingConfig


class ClassifierConfig(NetworkConfig):
    """Settings of a classifier."""

    limit: float = 8.0
    """Values are clipped to this many scaled units."""
    training: TrainingConfig = TrainingConfig(
        trim=0.0, epochs=30, patience=6, windows_per_epoch=8192, batch_size=256, weight_decay=1e-2
    )


class SequenceClassifier(nn.Module):
    """An encoder from (T, B, W) to (B, H), and the log-odds that its result is anomalous."""

    def __init__(self, encoder: nn.Module, hidden: int, limit: float) -> None:
        super().__init__()
        self.encoder = encoder
        self.odds = nn.Linear(hidden, 1)
        self.limit = limit

    def forward(self, x: Tensor) -> Tensor:
        """From windows (B, T, W) to log-odds (B,)."""
        x = x.clamp(-self.limit, self.limit)
        sequence = x.permute(2, 0, 1) if x.shape[1] == 1 else x.transpose(0, 1)  # (T, B, W), of a row (C, B, 1)
        return self.odds(self.encoder(sequence.contiguous()))[:, 0]  # type: ignore[no-any-return]


class Classifier(NetworkDetector):
    """Base of the classifiers; a subclass builds a `SequenceClassifier`."""

    Config = ClassifierConfig
    config: ClassifierConfig
    kinds = frozenset({"windows", "rows"})
    supervised = True
    tile = 64

    _weight = 1.0

    @property
    def sequence_width(self) -> int:
        """W: channels of the sequence that the encoder takes."""
        return 1 if self.config.window == 1 else self.width

    def _fit(
        self,
        x: NDArray[np.float32],
        y: NDArray[np.int8] | None,
        validation: NDArray[np.float32] | None,
        on_progress: Callable[[Progress], None] | None,
    ) -> TrainingReport:
        assert y is not None
        self._weight = float(np.sqrt(max(1.0, (y == 0).sum() / max(1, (y != 0).sum()))))
        return super()._fit(x, y, validation, on_progress)

    def _losses(self, network: Any, batch: Batch) -> Tensor:
        weight = torch.tensor(self._weight, device=batch.x.device)
        return nn.functional.binary_cross_entropy_with_logits(
            network(batch.x), batch.y, reduction="none", pos_weight=weight
        )

    def _judge(self, network: Any, x: Tensor) -> tuple[Tensor, Tensor | None, Tensor | None]:
        return network(x), None, None
