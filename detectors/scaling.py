"""Centre and scale per series, so that one detector can serve many series of any unit."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

ROUNDING, SMALLEST = 1e-13, 1e-30
"""A spread of less than so much of the centre is rounding, not a signal: 500 times what float64 tells apart there; and the least that is one."""


@dataclass(frozen=True)
class SeriesScaling:
    """Scaled value = (value - centre) / scale, per channel, in float64.

    `known` holds (2, C) arrays [centre, scale] fitted on the training rows. An unknown series gets its own from its
    first `learn_rows` observations (`pipeline.steps.scales`), and is not scored before.
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


def _with_floor(centre: NDArray[np.float64], scale: NDArray[np.float64]) -> NDArray[np.float64]:
    centre = np.where(np.isfinite(centre), centre, 0.0)
    floor = np.maximum(np.abs(centre) * ROUNDING, SMALLEST)
    # A constant series has no scale of its own: then one unit is the scale, and any change stands out by its size.
    usable = np.isfinite(scale) & (scale > floor)
    return np.stack([centre, np.where(usable, scale, np.maximum(np.abs(centre), 1.0))], axis=-2)
