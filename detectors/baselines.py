"""Yardsticks: detectors that learn next to nothing. What does not beat them is not worth its weights.

`constant` never sees anything, `random` tosses coins, `zscore` knows the mean and spread of the window before the
judged observation (the "three sigma rule" of every monitoring system), `seasonal-naive` says that all is as it was a
season ago, `range` that nothing leaves the range seen.

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

from detectors.arrays import adopt
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

    window: int = Field(48, ge=1, le=1_000_000)
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
        spread = before.std(axis=1, mean=mean[:, None])
        deviations = np.abs(last - mean) / np.maximum(spread, self.config.floor)  # (B, C)
        raw = np.sqrt(np.square(deviations).mean(axis=1))
        shares = np.square(deviations) / (deviations.shape[1] * np.maximum(raw, 1e-12))[:, None]
        return Scores(raw, mean.astype(np.float32), shares.astype(np.float32))


class SeasonalNaiveConfig(DetectorConfig):
    """Settings of the seasonal naive forecast."""

    window: int = Field(49, ge=1, le=1_000_000)
    """The season is one less: 48 half hours are a day."""


class SeasonalNaive(_Weightless):
    """Scores by the difference to the observation one season before, the first of the window."""

    name = "seasonal-naive"
    summary = "yardstick: difference to the observation one season before"
    Config = SeasonalNaiveConfig
    config: SeasonalNaiveConfig
    residual = True
    fixed_window = True
    unit_test_params = MappingProxyType({"window": 25})

    def __init__(self, config: SeasonalNaiveConfig | None = None) -> None:
        super().__init__(config)
        if self.config.window < 2:
            msg = (
                f"{self.name}: a season is window - 1 observations: window must be at least 2, not {self.config.window}"
            )
            raise DetectorError(msg)

    def _score(self, x: NDArray[np.float32]) -> Scores:
        before, last = x[:, 0, : self.config.channels], x[:, -1, : self.config.channels]
        squares = np.square(last.astype(np.float64) - before)  # (B, C)
        raw = np.sqrt(squares.mean(axis=1))
        shares = squares / (squares.shape[1] * np.maximum(raw, 1e-12))[:, None]
        return Scores(raw, before.copy(), shares.astype(np.float32))


class Range(Detector):
    """Scores by how far an observation lies outside the range of the window before it, or, of a row, of the fitted rows.

    The fitted range leaves the most extreme thousandth out at either end, so that anomalies do not widen it much.
    """

    name = "range"
    summary = "yardstick: how far outside the range seen so far"
    kinds = frozenset({"windows", "rows"})
    unit_test_params = MappingProxyType({"window": 25})

    def _fit(
        self,
        x: NDArray[np.float32],
        y: NDArray[np.int8] | None,
        validation: NDArray[np.float32] | None,
        on_progress: Callable[[Progress], None] | None,
    ) -> TrainingReport:
        last = x[:, -1, : self.config.channels]
        self._seen = np.quantile(last, [0.001, 0.999], axis=0).astype(np.float32)  # (2, C)
        return TrainingReport()

    def _score(self, x: NDArray[np.float32]) -> Scores:
        values = x[:, :, : self.config.channels]
        before, last = values[:, :-1], values[:, -1]
        low, high = (before.min(axis=1), before.max(axis=1)) if before.shape[1] else self._seen
        outside = np.maximum(np.maximum(low - last, last - high), 0.0)  # (B, C)
        return Scores(outside.sum(axis=1, dtype=np.float64), None, outside)

    def arrays(self) -> dict[str, NDArray[Any]]:
        """The fitted range (2, C)."""
        return {"seen": self._seen}

    def _load_arrays(self, arrays: Mapping[str, NDArray[Any]]) -> None:
        (self._seen,) = adopt(self.name, arrays, seen=(2, self.config.channels))
