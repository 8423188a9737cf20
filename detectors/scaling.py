"""Centre and scale per series, so that one detector can serve many series of any unit."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True)
class SeriesScaling:
    """Scaled value = (value - centre) / scale, per channel, in float64.

    `known` holds (2, C) arrays [centre, scale] fitted on the training rows. An unknown series gets its own from its
    first `learn_rows` observations (`of`), and is not scored before.
    """

    method: str = "standard"
    """`standard` (mean, standard deviation), `robust` (median, interquartile range / 1.349), `min-max` (smallest, range) or `none`."""
    known: Mapping[str, NDArray[np.float64]] = field(default_factory=dict)
    learn_rows: int = 64

    def of(self, values: NDArray[np.float64]) -> NDArray[np.float64]:
        """[centre, scale] (2, C) of observations (n, C); scale is at least 1e-13 of the centre's size and never 0."""
        C = values.shape[1]
        if self.method == "none":
            return np.stack([np.zeros(C), np.ones(C)])
        if self.method == "robust":
            centre = np.median(values, axis=0)
            low, high = np.quantile(values, [0.25, 0.75], axis=0)
            scale = (high - low) / 1.349
            scale = np.where(scale > 0, scale, values.std(axis=0))
        elif self.method == "min-max":
            centre = values.min(axis=0)
            scale = values.max(axis=0) - centre
        else:
            # Squares of what is beyond 1e150 are beyond float64.
            unit = np.where(np.abs(values).max(axis=0) > 1e150, 1e150, 1.0)
            centre, scale = (values / unit).mean(axis=0) * unit, (values / unit).std(axis=0) * unit
        return _with_floor(centre, scale)

    def of_sums(self, n: int, mean: NDArray[np.float64], squares: NDArray[np.float64]) -> NDArray[np.float64]:
        """[centre, scale] (S, 2, C) of S series from their means and sums of squared deviations (S, C) over n rows.

        What can be said of observations that were not kept: mean and standard deviation, also for `robust`; for `min-max` the range is
        taken to be four of them.
        """
        if self.method == "min-max":
            deviation = np.sqrt(squares / n)
            return _with_floor(mean - 2.0 * deviation, 4.0 * deviation)
        return _with_floor(mean, np.sqrt(squares / n))


def _with_floor(centre: NDArray[np.float64], scale: NDArray[np.float64]) -> NDArray[np.float64]:
    centre = np.where(np.isfinite(centre), centre, 0.0)
    # 500 times what float64 tells apart there: a smaller spread is rounding, not a signal.
    floor = np.maximum(np.abs(centre) * 1e-13, 1e-30)
    # A constant series has no scale of its own: then one unit is the scale, and any change stands out by its size.
    usable = np.isfinite(scale) & (scale > floor)
    return np.stack([centre, np.where(usable, scale, np.maximum(np.abs(centre), 1.0))], axis=-2)
