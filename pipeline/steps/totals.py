"""Running totals (counters) to rates per second, against the point before in the same series.

    total   5   9  13   2   6        what a process that starts again has counted before the first look at it, and what the one before
    rate    -   4   4   -   4        counted after the last, nobody knows: a total below the one before has no rate

The first point of a series has no rate, nor has one whose time is not after the one before it, nor one whose count was begun after
that (OTLP says since when it counts); none of them is accepted. The point before is the one before in the log, whatever the
time policy says of it: one wrong clock costs two points, not the series. Rates, not differences: a point that is missing makes the
next one no higher.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

FIELDS: list[tuple[str, str]] = [("total", "<f8"), ("total_at", "<i8"), ("kind", "u1")]
"""What is kept of a series; `kind` as in `producers.formats.base`."""


def rates(
    slots: NDArray[Any],
    rows: NDArray[np.intp],
    timestamps: NDArray[np.int64],
    totals: NDArray[np.float64],
    begun: NDArray[np.int64],
) -> tuple[NDArray[np.float64], NDArray[np.int64]]:
    """Rates of totals (N,) whose series' states are `slots[rows]`, which are moved on.

    Parameters
    ----------
    begun : (N,)
        Since when each counts, ms; 0: not known.

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
        rate = (values - before) / np.where(elapsed > 0, elapsed, 1) * 1000.0
    start = begun[order]  # one that is not before its own point says nothing
    begun_anew = (values < before) | ((start > since) & (start < times))
    rate[(since == 0) | (elapsed <= 0) | begun_anew | ~np.isfinite(rate)] = np.nan
    last = np.append(first[1:], len(rows)) - 1
    slots["total_at"][heads], slots["total"][heads] = times[last], values[last]
    out, out_elapsed = np.empty_like(rate), np.empty_like(elapsed)
    out[order], out_elapsed[order] = rate, np.where(since == 0, times, elapsed)
    return out, out_elapsed


def rates_of_deltas(
    timestamps: NDArray[np.int64], grown: NDArray[np.float64], begun: NDArray[np.int64]
) -> NDArray[np.float64]:
    """Rates (N,) of what was counted from `begun` until `timestamps`; NaN where that is no time at all."""
    elapsed = timestamps - begun
    with np.errstate(over="ignore"):
        rate = grown / np.where(elapsed > 0, elapsed, 1) * 1000.0
    rate[(elapsed <= 0) | ~np.isfinite(rate)] = np.nan
    return rate
