"""Yardsticks: detectors that learn next to nothing. What does not beat them is not worth its weights.

`constant` never sees anything, `random` tosses coins, `zscore` knows the mean and spread of the window before the
judged observation (the "three sigma rule" of every monitoring system).

Examples
--------
>>> import numpy as np
>>> from detectors.baselines import ZScore, ZScoreConfig
>>> calm = np.tile([1.0, 3.0], 8)[None, :, None]
>>> spike = calm.copy()
>>> spike[0, -1] = 30.0
>>> detector = ZScore(ZScoreConfig(window=16))
>>> report = detector.fit(np.concatenate([calm, calm]))
>>> detector.score(np.concatenate([calm, spike])).raw.round(1).tolist()
[1.1, 28.1]
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Any

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from detectors.base import Detector, DetectorConfig, DetectorError, Progress, Scores, TrainingReport


class _Weightless(Detector):
    """A detector that keeps nothing of what it was fitted on."""

    learns = False

    def _fit(
        self,
        x: NDArray[np.float32],
        y: NDArray[np.int8] | None,
        validation: NDArray[np.float32] | None,
        on_progress: Callable[[Progress], None] | None,
    ) -> TrainingReport:
        return TrainingReport()

    @abstractmethod
    def _score(self, x: NDArray[np.float32]) -> Scores: ...

    def arrays(self) -> dict[str, NDArray[Any]]:
        """Nothing."""
        return {}

    def _load_arrays(self, arrays: Mapping[str, NDArray[Any]]) -> None:
        if arrays:
            msg = f"{self.name} keeps no arrays, got {', '.join(sorted(arrays))}"
            raise DetectorError(msg)


class Constant(_Weightless):
    """Gives every window the same score."""

    name = "constant"
    summary = "yardstick: the same score for everything"
    kinds = frozenset({"windows", "rows"})
    # It ranks nothing, first or last.
    unit_test_skips = frozenset({"check_planted_anomalies_rank_first"})

    def _score(self, x: NDArray[np.float32]) -> Scores:
        return Scores(np.zeros(len(x)))


class Random(_Weightless):
    """Gives each window a score in 0..1 that depends on its bytes and the seed alone: random, and yet a function."""

    name = "random"
    summary = "yardstick: a random score, drawn from a hash of the window"
    kinds = frozenset({"windows", "rows"})
    # It ranks nothing, first or last.
    unit_test_skips = frozenset({"check_planted_anomalies_rank_first"})

    def _score(self, x: NDArray[np.float32]) -> Scores:
        words = x.reshape(len(x), -1).view(np.uint32).astype(np.uint64)  # (B, T * (C + F))
        # splitmix64 (Steele, Lea, Flood 2014) of each word and its place, summed, and mixed once more.
        places = np.arange(1, words.shape[1] + 1, dtype=np.uint64) + np.uint64(self.config.seed << 32)
        mixed = _mix(_mix(words + places * np.uint64(0x9E3779B97F4A7C15)).sum(axis=1, dtype=np.uint64))
        return Scores((mixed >> np.uint64(11)).astype(np.float64) / 2.0**53)


def _mix(z: NDArray[np.uint64]) -> NDArray[np.uint64]:
    z = (z ^ (z >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    z = (z ^ (z >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return z ^ (z >> np.uint64(31))


class ZScoreConfig(DetectorConfig):
    """Settings of the rolling z-score."""

    window: int = 48
    floor: float = Field(0.05, gt=0)
    """Smallest standard deviation, in scaled units: a window that stands still must not divide by nothing."""


class ZScore(_Weightless):
    """Scores by the distance from the mean of the window before, in its standard deviations."""

    name = "zscore"
    summary = "yardstick: standard deviations from the mean of the window before"
    Config = ZScoreConfig
    config: ZScoreConfig
    unit_test_params = MappingProxyType({"window": 12})

    def __init__(self, config: ZScoreConfig | None = None) -> None:
        super().__init__(config)
        if self.config.window < 3:
            msg = f"zscore needs observations to compare with: window must be at least 3, not {self.config.window}"
            raise DetectorError(msg)

    def _score(self, x: NDArray[np.float32]) -> Scores:
        values = x[:, :, : self.config.channels].astype(np.float64)
        before, last = values[:, :-1], values[:, -1]
        mean = before.mean(axis=1)
        deviations = np.abs(last - mean) / np.maximum(before.std(axis=1), self.config.floor)  # (B, C)
        raw = np.sqrt(np.square(deviations).mean(axis=1))
        shares = np.square(deviations) / (deviations.shape[1] * np.maximum(raw, 1e-12))[:, None]
        return Scores(raw, mean.astype(np.float32), shares.astype(np.float32))
