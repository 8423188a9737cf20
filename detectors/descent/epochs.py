"""A training run, epoch by epoch: which weights are the best, when the learning rate falls, when it ends. Of torch and compiled ones the same."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from detectors.base import DetectorError, Progress, TrainingReport
from detectors.networks import TrainingConfig


class Epochs(ABC):
    """Stops early on the validation loss; a subclass trains, looks, and keeps weights.

    Parameters
    ----------
    fingerprint
        Of settings and data: arrays of another run are refused.
    """

    def __init__(self, how: TrainingConfig, fingerprint: NDArray[np.uint8]) -> None:
        self._how, self._fingerprint = how, fingerprint
        self.learning_rate = how.learning_rate
        self.report = TrainingReport()

    @abstractmethod
    def _trained(self) -> float:
        """Train on windows drawn anew; their loss."""

    @abstractmethod
    def _validated(self) -> float:
        """Loss of what is held back."""

    @abstractmethod
    def _keep(self) -> None:
        """Keep the weights: they are the best so far."""

    @property
    def done(self) -> bool:
        """Whether it has had all its epochs, or stopped early."""
        return self.report.stopped_early or self.report.epochs >= self._how.epochs

    @property
    def progress(self) -> Progress:
        """How far it is, behind an epoch."""
        report = self.report
        return Progress(report.epochs, self._how.epochs, report.train_loss[-1], report.validation_loss[-1])

    def epoch(self) -> None:
        """Train on windows drawn anew, look at those held back, and keep the weights if they are the best so far."""
        self.report.train_loss.append(self._trained())
        self.report.epochs += 1
        self._judged(self._validated())

    def _judged(self, loss: float) -> None:
        """Keep the weights if they are the best so far, else lower the learning rate, in the end stop."""
        report = self.report
        best = report.validation_loss[report.best_epoch - 1] if report.best_epoch else float("inf")
        report.validation_loss.append(loss)
        if loss < best:
            report.best_epoch = report.epochs
            self._keep()
        stale = report.epochs - report.best_epoch
        if stale and stale % max(1, self._how.patience // 2) == 0:
            self.learning_rate *= 0.5
        report.stopped_early = stale >= self._how.patience

    def arrays(self) -> dict[str, NDArray[Any]]:
        """All that it takes to go on; a subclass adds what it trains."""
        report = self.report
        return {
            "rate": np.array([self.learning_rate]),
            "counts": np.array([report.best_epoch, report.stopped_early], np.int64),
            "train_loss": np.array(report.train_loss),
            "validation_loss": np.array(report.validation_loss),
            "fingerprint": self._fingerprint,
        }

    def resume(self, arrays: Mapping[str, NDArray[Any]]) -> None:
        """Go on from `arrays`; raises DetectorError where they are of another run."""
        given = arrays.get("fingerprint")
        if given is None or not np.array_equal(given, self._fingerprint) or "counts" not in arrays:
            msg = "the training checkpoint is of other settings or other data; delete it to start anew"
            raise DetectorError(msg)
        self.learning_rate = float(arrays["rate"][0])
        self.report.best_epoch, stopped = (int(n) for n in arrays["counts"])
        self.report.stopped_early = bool(stopped)
        self.report.train_loss = arrays["train_loss"].tolist()
        self.report.validation_loss = arrays["validation_loss"].tolist()
        self.report.epochs = len(self.report.train_loss)
