"""A frozen picture of what the last rows look like when all is well: k-means of 8 rows, fitted without the farthest."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
ROWS, CENTRES = 8, 32
_TRIM = 0.02
PART = 64
"""Rows whose distances to all centres are in memory at once."""


def fit(x: Floats, seed: int = 0) -> NDArray[np.float32]:
    """Centres (K, ROWS * C) of the stretches of a history (n, C)."""
    every = np.lib.stride_tricks.sliding_window_view(x, ROWS, axis=0)
    some = every[:: max(len(every) // 4000, 1)]
    seen = some.transpose(0, 2, 1).reshape(len(some), -1)
    centres = _centres(seen, seed)
    far = distance(seen, centres)
    return _centres(seen[far <= np.quantile(far, 1 - _TRIM)], seed)


def _centres(seen: Floats, seed: int) -> NDArray[np.float32]:
    from sklearn.cluster import KMeans

    k = max(min(CENTRES, len(seen) // 12, _different(seen.astype(np.float32))), 1)
    return np.asarray(KMeans(k, n_init=1, random_state=seed).fit(seen).cluster_centers_, np.float32)


def _different(rows: NDArray[np.float32]) -> int:
    """How many of them are different; no more are looked at than are asked for."""
    some = len(np.unique(rows[: 4 * CENTRES], axis=0))
    return some if some >= CENTRES else len(np.unique(rows, axis=0))


def distance(seen: Floats, centres: NDArray[np.float32]) -> Floats:
    """Root mean square distance (n,) of stretches (n, ROWS * C) to the nearest centre."""
    out = np.empty(len(seen))
    for start in range(
        0, len(seen), PART
    ):  # each is summed by itself: a row's bits do not depend on how many there are
        off = seen[start : start + PART, None, :] - centres
        out[start : start + PART] = np.sqrt((off * off).sum(axis=2).min(axis=1) / seen.shape[1])
    return out
