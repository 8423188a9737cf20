"""Centre and scale of each series: known from the model, or learnt from its first observations; put on and taken off.

An unknown series is scaled by mean and standard deviation of its first `learn_rows` accepted observations, also where the model's method is `robust`; for
`min-max` the range is taken to be four of them. They are summed up one after the other (Welford, in `pipeline.steps.kernels.windows`), and it is not scored
before. While they are learnt, its record holds mean and sum of squares in the place of centre and scale.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from detectors.scaling import SeriesScaling

CLIP = 1e6
"""Scaled values are clipped to so many scales, so that any finite value can be scored in float32."""


class Scales:
    """Scaling of all series of a partition: the fields `scaling` and `learnt` of their records (`SeriesWindows`)."""

    def __init__(self, scaling: SeriesScaling) -> None:
        self._scaling = scaling
        self.used = scaling.method != "none"
        self.learn_rows = scaling.learn_rows if self.used else 0
        self.ranged = scaling.method == "min-max"

    def knows(self, name: str) -> bool:
        """Whether the model knows the scaling of a series."""
        return self.used and name in self._scaling.known

    def admit(self, slots: NDArray[Any], row: int, name: str) -> None:
        """Put the scaling that the model knows of a new series into its row."""
        slots["scaling"][row] = self._scaling.known[name]
        slots["learnt"][row] = self.learn_rows

    def take_off(self, slots: NDArray[Any], rows: NDArray[np.intp], scaled: NDArray[np.float32]) -> NDArray[np.float64]:
        """Scaled values (B, C) of series in `rows` (B,) in the unit of the input."""
        if not self.used:
            return scaled.astype(np.float64)
        scaling = slots["scaling"][rows]
        return np.asarray(scaled * scaling[:, 1] + scaling[:, 0])
