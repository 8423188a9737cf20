"""The next row from the rows before, one linear regression a channel."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
ORDER = 48
OF_A_YEAR = 8
"""Rows before, where the season of the year is known: what is left of weeks and months remembers little, and more weights of so few rows are noise."""
PART = 1 << 16
"""Rows whose past of 48 is in memory at once."""
_RIDGE = 1.0
_TRIM = 6.0


def fit(x: Floats, order: int = ORDER, most: int = ORDER) -> Floats:
    """Weights (order, C) of the rows before, the oldest first, from a history (n, C), of the newest `most` at most; rows with a wild error are left out once.

    Values far beyond the history's range are bounded first: one would weigh more than a thousand others, and stands in the past of 48 rows.
    """
    n, C = x.shape
    low, high = np.quantile(x, [0.01, 0.99], axis=0)
    x = np.clip(x, low - (high - low), high + (high - low))
    out = np.zeros((order, C))
    usable = min(order, most, max((n - 4) // 6, 0))
    if not usable:
        return out
    room = np.empty((min(PART, n - usable), usable))
    for c in range(C):
        past = np.lib.stride_tricks.sliding_window_view(x[:-1, c], usable)
        now = np.ascontiguousarray(x[usable:, c])
        kept = np.ones(len(now), np.bool_)
        weights = np.zeros(usable)
        ridge = _RIDGE * (1.0 + 0.05 * usable) * max(float(x[:, c].var()), 1e-12)
        for last in (False, True):
            gram, right = np.zeros((usable, usable)), np.zeros(usable)
            for start in range(0, len(now), PART):
                part = slice(start, start + PART)
                whole = bool(kept[part].all())
                a = room[: len(past[part])] if whole else past[part][kept[part]]
                if whole:
                    a[:] = past[part]
                gram += a.T @ a
                right += a.T @ (now[part] if whole else now[part][kept[part]])
            weights = np.linalg.solve(gram + ridge * np.eye(usable), right)
            if last:
                break
            error = np.abs(now - past @ weights)
            kept = error <= _TRIM * max(1.4826 * float(np.median(error)), 1e-9)
            if kept.all() or kept.sum() < 2 * usable:
                break
        out[order - usable :, c] = weights
    return out
