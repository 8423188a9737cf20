"""Supervised classifiers: where anomalies are labelled, learn to tell them from the rest; the score is the log-odds.

A window is a sequence of T positions, a row of a table one of C features with one channel: so a convolution over time
serves tables too. A rare class weighs more (`class_weight`), or its windows are repeated, those of the other left out, or new ones
made between neighbours (`resample`; Chawla et al., "SMOTE", JAIR 16, 2002): of the windows that train, never of those that decide
when to stop. Training is not trimmed: here the windows with the highest losses are the anomalies.
"""

from __future__ import annotations

from typing import Any, Literal

import numpy as np
import torch
from numpy.typing import NDArray
from pydantic import Field
from torch import Tensor, nn

from detectors.base import DetectorError
from detectors.networks import NetworkConfig, NetworkDetector, TrainingConfig
from detectors.torched.training import Batch, Examples, examples

Resample = Literal["none", "over", "under", "smote"]
NEIGHBOURS = 5
"""Of SMOTE, its paper's; fewer where there are fewer anomalies."""


class ClassifierConfig(NetworkConfig):
    """Settings of a classifier."""

    limit: float = 8.0
    """Values are clipped to this many scaled units."""
    class_weight: Literal["root", "balanced", "none"] = "root"
    """How much more a window of the rare class counts: as often as it is rarer (`balanced`), the root of that, or not at all."""
    resample: Resample = "none"
    """What is done to the windows that train: anomalies repeated (`over`), normal ones left out (`under`), or anomalies made between
    neighbouring ones (`smote`)."""
    balance: float = Field(1.0, gt=0, le=1)
    """Anomalous windows to a normal one after `resample`; where there are that many already, nothing is done."""
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

    def _split(
        self, x: NDArray[np.float32], y: NDArray[np.int8] | None, validation: NDArray[np.float32] | None
    ) -> tuple[Examples, Examples]:
        assert y is not None
        train, held = super()._split(x, y, validation)
        if self.config.resample != "none":
            x, y = train[0].numpy(), train[1].numpy().astype(np.int8)
            x, y = resampled(x, y, self.config.resample, self.config.balance, self.config.seed)
            train = examples(x, y)
        rarer = max(1.0, float((y == 0).sum() / max(1, (y != 0).sum())))
        self._weight = {"root": float(np.sqrt(rarer)), "balanced": rarer, "none": 1.0}[self.config.class_weight]
        return train, held

    def _losses(self, network: Any, batch: Batch) -> Tensor:
        weight = torch.tensor(self._weight, device=batch.x.device)
        return nn.functional.binary_cross_entropy_with_logits(
            network(batch.x), batch.y, reduction="none", pos_weight=weight
        )

    def _judge(self, network: Any, x: Tensor) -> tuple[Tensor, Tensor | None, Tensor | None]:
        return network(x), None, None


def resampled(
    x: NDArray[np.float32], y: NDArray[np.int8], how: Resample, balance: float, seed: int
) -> tuple[NDArray[np.float32], NDArray[np.int8]]:
    """Windows (N, T, W) and labels with `balance` anomalous windows to a normal one.

    Raises
    ------
    DetectorError
        SMOTE with a single anomalous window: it has no neighbour.
    """
    rare = int((y != 0).sum())
    if how == "none" or rare == 0 or rare >= balance * (len(y) - rare):
        return x, y
    from imblearn.over_sampling import SMOTE, RandomOverSampler
    from imblearn.under_sampling import RandomUnderSampler

    if how == "smote" and rare < 2:
        msg = "resample=smote makes windows between two anomalous ones, but one alone trains; take resample=over, or more training rows"
        raise DetectorError(msg)
    sampler = {
        "over": lambda: RandomOverSampler(sampling_strategy=balance, random_state=seed),
        "under": lambda: RandomUnderSampler(sampling_strategy=balance, random_state=seed),
        "smote": lambda: SMOTE(sampling_strategy=balance, random_state=seed, k_neighbors=min(NEIGHBOURS, rare - 1)),
    }[how]()
    flat, labels = sampler.fit_resample(x.reshape(len(x), -1), (y != 0).astype(np.int8))
    return np.asarray(flat, np.float32).reshape(-1, *x.shape[1:]), np.asarray(labels, np.int8)
