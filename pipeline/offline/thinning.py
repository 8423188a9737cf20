"""Fewer points for a picture, without losing a spike."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

PART = 1 << 18
"""Points that are looked at together."""


def thinned(y: NDArray[np.float64], most: int) -> NDArray[np.intp]:
    """Places (m,) of the points of y (n,) to draw, rising, at most `most` and a few: of each stretch its first, lowest, highest and last.

    >>> thinned(np.array([0.0, 0, 9, 0, 0, 0, 0, -9, 0, 0]), 4)
    array([0, 2, 7, 9])
    """
    n = len(y)
    if n <= most:
        return np.arange(n)
    stretches = max(most // 4, 1)
    edges = np.unique(np.linspace(0, n, stretches + 1).astype(np.intp))
    kept = [edges[:-1], edges[1:] - 1]
    at_once = max(PART * (len(edges) - 1) // n, 1)
    for k in range(0, len(edges) - 1, at_once):
        own = edges[k : k + at_once + 1]
        kept += _extremes(y[own[0] : own[-1]], own - own[0], int(own[0]))
    return np.unique(np.concatenate(kept))


def _extremes(y: NDArray[np.float64], edges: NDArray[np.intp], before: int) -> list[NDArray[np.intp]]:
    """Where the first of the lowest, and of the highest, of each stretch of y stand; `before` is added."""
    found = []
    number = np.repeat(np.arange(len(edges) - 1), np.diff(edges))
    for fill, reduced in ((np.inf, np.minimum), (-np.inf, np.maximum)):
        values = np.where(np.isfinite(y), y, fill)
        at = np.flatnonzero(values == reduced.reduceat(values, edges[:-1])[number])
        _, first = np.unique(number[at], return_index=True)
        found.append(at[first] + before)
    return found
