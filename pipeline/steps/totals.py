"""Running totals (OTLP's cumulative sums) to rates per second, against the point before in the same series.

    total   5   9  13   2        a process that starts again counts from zero: a total below the one before is
    rate    -   4   4   2        what was counted since

The first point of a series has no rate, nor has one whose time is not after the one before it; neither is accepted. The point
before is the one before in the log, whatever the time policy says of it: one wrong clock costs two points, not the series.
Rates, not differences: a point that is missing makes the next one no higher.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

FIELDS: list[tuple[str, str]] = [("total", "<f8"), ("total_at", "<i8")]
"""What is kept of a series."""


def rates(
    slots: NDArray[Any], rows: NDArray[np.intp], timestamps: NDArray[np.int64], totals: NDArray[np.float64]
) -> tuple[NDArray[np.float64], NDArray[np.int64]]:
    """Rates of totals (N,) whose series' states are `slots[rows]`, which are moved on.

    Returns
    -------
    rates : (N,) float64
        NaN where there is none.
    elapsed : (N,) int64
        Milliseconds since the point before in the series; 0 where it repeats its time, the time itself for a series' first.
    """
    if not len(rows):  # a part of a batch whose totals are all in another part
        return np.empty(0), np.empty(0, np.int64)
    order = np.argsort(rows, kind="stable")
    by_row, times, values = rows[order], timestamps[order], totals[order]
    first = np.flatnonzero(np.concatenate([[True], by_row[1:] != by_row[:-1]]))
    heads = by_row[first]
    since = np.concatenate([[0], times[:-1]])
    before = np.concatenate([[0.0], values[:-1]])
    since[first], before[first] = slots["total_at"][heads], slots["total"][heads]
    elapsed = times - since
    with np.errstate(over="ignore"):
        grown = values - before
        rate = np.where(grown < 0, values, grown) / np.where(elapsed > 0, elapsed, 1) * 1000.0
    rate[(since == 0) | (elapsed <= 0) | ~np.isfinite(rate)] = np.nan
    last = np.append(first[1:], len(rows)) - 1
    slots["total_at"][heads], slots["total"][heads] = times[last], values[last]
    out, out_elapsed = np.empty_like(rate), np.empty_like(elapsed)
    out[order], out_elapsed[order] = rate, np.where(since == 0, times, elapsed)
    return out, out_elapsed
