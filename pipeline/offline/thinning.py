"""Fewer points for a picture, without losing a spike."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray


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
    filled_low, filled_high = np.where(np.isfinite(y), y, np.inf), np.where(np.isfinite(y), y, -np.inf)
    kept = [edges[:-1], edges[1:] - 1]
    low, high = np.minimum.reduceat(filled_low, edges[:-1]), np.maximum.reduceat(filled_high, edges[:-1])
    number = np.repeat(np.arange(len(edges) - 1), np.diff(edges))
    for extreme, values in ((low, filled_low), (high, filled_high)):
        at = np.flatnonzero(values == extreme[number])
        _, first = np.unique(number[at], return_index=True)
        kept.append(at[first])
    return np.unique(np.concatenate(kept))
