"""The expected band: how far an observation may lie from what was expected before its score reaches the threshold.

It is drawn where a member's raw score *is* the residual (`Detector.residual`: the root mean square over the channels of
observed minus expected, scaled). Its calibrator knows which raw score would be calibrated to the threshold; that, in the
unit of the input, is the band's half width. With one member and one channel an observation is anomalous exactly where it
leaves the band. With several channels each edge is that of the channel alone, the others being as expected; with several
members it is what this one would say alone.

Calibrations move on while a batch is worked on, and a band must not depend on where the batch was cut. So the states are
remembered from before the batch, and only for the observations that are asked for (alerts are few) is the way to them
walked again.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import numpy as np
from numpy.typing import NDArray

from detectors.calibration import Calibrator
from detectors.model import Model
from detectors.structured import rows_at
from detectors.thresholds import step_of_each


def band_member(model: Model) -> int | None:
    """Which member of the model gives expected values and band; None where none can."""
    return next((m for m, detector in enumerate(model.detectors) if detector.residual), None)


@dataclass(frozen=True, slots=True)
class Remembered:
    """Calibration states of one member from before a batch."""

    rows: NDArray[np.intp]  # rising
    states: NDArray[Any]

    @classmethod
    def of(cls, states: NDArray[Any], rows: NDArray[np.intp]) -> Remembered:
        """States (S,) of the series that a batch touches, copied."""
        touched = np.zeros(len(states), np.bool_)
        touched[rows] = True
        present = np.flatnonzero(touched)
        return cls(present, rows_at(states, present))


def margins(
    at: NDArray[np.intp],
    *,
    calibrator: Calibrator,
    remembered: Remembered,
    rows: NDArray[np.intp],
    raw: NDArray[np.float64],
    learn: NDArray[np.bool_],
    level: NDArray[np.float64],
    channels: int,
    unscale: Callable[[NDArray[np.intp], NDArray[np.float32]], NDArray[np.float64]],
) -> NDArray[np.float64]:
    """Half widths (k, C) of the bands of the scores `at` (k,) of a batch, in the unit of the input; NaN where not ready.

    Parameters
    ----------
    remembered, rows, raw, learn
        The member's states before the batch, and all that `calibrate` was given.
    level : (B,)
        The threshold that held for each.
    unscale
        From rows (k,) and scaled values (k, C) to the unit of the input.
    """
    wanted = np.zeros(len(remembered.rows), np.bool_)
    local = np.searchsorted(remembered.rows, rows)
    wanted[local[at]] = True
    items = np.flatnonzero(wanted[local])
    asked = np.zeros(len(rows), np.bool_)
    asked[at] = True
    reached = np.full(len(rows), np.nan)
    states = remembered.states.copy()
    step = step_of_each(states["seen"], local[items], (learn & ~np.isnan(raw))[items], calibrator.config.step)
    order = items[np.argsort(step, kind="stable")]
    bounds = np.searchsorted(np.sort(step), np.arange(int(step.max(initial=0)) + 2))
    for first, last in pairwise(bounds):
        part = order[first:last]
        ask = part[asked[part]]
        reached[ask] = calibrator.raw_at(states[local[ask]], level[ask])
        calibrator.calibrate(states, local[part], raw[part], learn[part])
    scaled = np.maximum(reached[at], 0.0)[:, None] * np.full(channels, np.sqrt(channels))
    scaled = scaled.astype(np.float32)
    return unscale(rows[at], scaled) - unscale(rows[at], np.zeros_like(scaled))
