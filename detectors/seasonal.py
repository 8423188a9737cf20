"""Seasonal memory: the mean of the last few observations against the same stretch one and more seasons before.

    one season       another season      now
    ───▒▒▒──────────────▒▒▒──────────────▒▒▒        raw = the smallest of |now - then| over the seasons remembered
        then               then           span

A forecaster that sees the last day follows a quiet holiday as it would follow a quiet hour; only who remembers last week
knows that this is not the day for it. The smallest deviation counts, so that an anomaly has no echo a season later. The
seasonal random walk is the classical yardstick of forecasting [1]_; judging means of `span` observations is this file's.

Learns nothing: what it needs stands in the window.

Examples
--------
>>> import numpy as np
>>> from detectors.seasonal import Seasonal, SeasonalConfig
>>> days = np.tile([0.0, 1.0, 4.0, 1.0], 6)
>>> windows = np.lib.stride_tricks.sliding_window_view(days, 10)[:, :, None]
>>> detector = Seasonal(SeasonalConfig(period=4, seasons=2, span=2, window=10))
>>> report = detector.fit(windows)
>>> quiet = windows[:2].copy()
>>> quiet[1, -2:] = 0.0
>>> detector.score(quiet).raw.tolist()
[0.0, 2.5]

References
----------
.. [1] Hyndman, Athanasopoulos: Forecasting: Principles and Practice, 3rd edition, OTexts 2021, section 5.2.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Any

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from detectors.base import Detector, DetectorConfig, DetectorError, Progress, Scores, TrainingReport


class SeasonalConfig(DetectorConfig):
    """Settings of the seasonal memory; the window must hold all of it: `seasons * period + span`."""

    window: int = Field(2 * 336 + 6, ge=1, le=1_000_000)
    period: int = Field(336, ge=2)
    """Observations in a season: 336 half hours are a week."""
    seasons: int = Field(2, ge=1)
    """Seasons remembered."""
    span: int = Field(6, ge=1)
    """Observations whose mean is judged."""


class Seasonal(Detector):
    """Scores by how far the last observations lie from those at the same time in earlier seasons."""

    name = "seasonal"
    summary = "the last observations against the same time one and two seasons before"
    Config = SeasonalConfig
    config: SeasonalConfig
    learns = False
    fixed_window = True
    unit_test_params = MappingProxyType({"window": 50, "period": 24, "seasons": 2, "span": 2})

    def __init__(self, config: SeasonalConfig | None = None) -> None:
        super().__init__(config)
        needed = self.config.seasons * self.config.period + self.config.span
        if self.config.window != needed:
            msg = f"seasonal: window must be seasons * period + span = {needed}, not {self.config.window}"
            raise DetectorError(msg)

    def _fit(
        self,
        x: NDArray[np.float32],
        y: NDArray[np.int8] | None,
        validation: NDArray[np.float32] | None,
        on_progress: Callable[[Progress], None] | None,
    ) -> TrainingReport:
        return TrainingReport()

    def _score(self, x: NDArray[np.float32]) -> Scores:
        config, T = self.config, x.shape[1]

        def mean_of(season: int) -> NDArray[np.float64]:
            """Of the span so many seasons ago, (B, C); the rest of the window, which may be weeks of minutes, is not touched."""
            start = T - config.span - season * config.period
            stretch = x[:, start : start + config.span, : config.channels].astype(np.float64)
            return np.asarray(stretch.mean(axis=1))

        now, then = mean_of(0), [mean_of(season) for season in range(1, config.seasons + 1)]
        deviations = np.abs(now - np.stack(then)).min(axis=0)  # (B, C)
        raw = np.sqrt(np.square(deviations).mean(axis=1))
        shares = np.square(deviations) / (config.channels * np.maximum(raw, 1e-12))[:, None]
        return Scores(raw, None, shares.astype(np.float32))

    def arrays(self) -> dict[str, NDArray[Any]]:
        """Nothing."""
        return {}

    def _load_arrays(self, arrays: Mapping[str, NDArray[Any]]) -> None:
        if arrays:
            msg = f"{self.name} keeps no arrays, got {', '.join(sorted(arrays))}"
            raise DetectorError(msg)
