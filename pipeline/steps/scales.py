"""Centre and scale of each series: known from the model, or learnt from its first observations; put on and taken off.

An unknown series is scaled by mean and standard deviation of its first `learn_rows` accepted observations, summed up one after the
other (Welford), and not scored before. While they are learnt, its record holds mean and sum of squares in the place of centre and scale.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from detectors.scaling import SeriesScaling
from pipeline.steps.packing import Packed

CLIP = 1e6
"""Scaled values are clipped to so many scales, so that any finite value can be scored in float32."""


class Scales:
    """Scaling of all series of a partition. Of a series' record (`SeriesWindows`) it writes `scaling` and `learnt`."""

    def __init__(self, scaling: SeriesScaling) -> None:
        self._scaling = scaling
        self.used = scaling.method != "none"
        self.learn_rows = scaling.learn_rows if self.used else 0

    def admit(self, slots: NDArray[Any], row: int, name: str) -> None:
        """Put the scaling that the model knows of a new series into its row."""
        if self.used and (known := self._scaling.known.get(name)) is not None:
            slots["scaling"][row] = known
            slots["learnt"][row] = self.learn_rows

    def learn(self, slots: NDArray[Any], packed: Packed) -> NDArray[np.bool_]:
        """Learn from the accepted observations (A,); returns at which of them their series' scaling is known."""
        rows, begin = packed.rows, packed.begin
        learnt = slots["learnt"][rows][packed.segment] + np.arange(len(packed.at)) - begin[packed.segment] + 1
        self._add(slots, packed)
        slots["learnt"][rows] = np.minimum(learnt[packed.ends], self.learn_rows)
        return np.asarray(learnt >= self.learn_rows)

    def _add(self, slots: NDArray[Any], packed: Packed) -> None:
        """Add the observations of series without a scaling to their sums, the first of each, the second of each ..."""
        learnt = slots["learnt"][packed.rows].astype(np.int64)
        todo = np.minimum(packed.count, self.learn_rows - learnt)
        unknown = np.flatnonzero(todo > 0)
        if not len(unknown):
            return
        todo, learnt, rows = todo[unknown], learnt[unknown], packed.rows[unknown]
        begin = packed.begin[unknown]
        sums = slots["scaling"][rows]
        mean, squares = sums[:, 0], sums[:, 1]
        with np.errstate(over="ignore", invalid="ignore"):
            for nth in range(int(todo.max())):
                of = np.flatnonzero(todo > nth)
                value = packed.values[packed.at[begin[of] + nth]]
                off = value - mean[of]
                mean[of] += off / (learnt[of] + nth + 1)[:, None]
                squares[of] += off * (value - mean[of])
        done = learnt + todo == self.learn_rows
        sums[done] = self._scaling.of_sums(self.learn_rows, mean[done], squares[done])
        slots["scaling"][rows] = sums

    def take_off(self, slots: NDArray[Any], rows: NDArray[np.intp], scaled: NDArray[np.float32]) -> NDArray[np.float64]:
        """Scaled values (B, C) of series in `rows` (B,) in the unit of the input."""
        if not self.used:
            return scaled.astype(np.float64)
        scaling = slots["scaling"][rows]
        return np.asarray(scaled * scaling[:, 1] + scaling[:, 0])
