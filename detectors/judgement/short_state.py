"""A frozen picture of what the last rows look like when all is well: k-means of 8 rows, fitted without the farthest."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from detectors.kmeans import KMeansConfig, centres

Floats = NDArray[np.float64]
ROWS, CENTRES = 8, 32
_TRIM, _STEPS = 0.02, 20
PART = 64
"""Rows whose distances to all centres are in memory at once."""


def fit(x: Floats, seed: int = 0) -> NDArray[np.float32]:
    """Centres (K, ROWS * C) of the stretches of a history (n, C)."""
    every = np.lib.stride_tricks.sliding_window_view(x, ROWS, axis=0).transpose(0, 2, 1)
    some = every[:: max(len(every) // 4000, 1)]
    config = KMeansConfig(
        window=ROWS,
        channels=x.shape[1],
        clusters=max(min(CENTRES, len(some) // 12), 1),
        trim=_TRIM,
        steps=_STEPS,
        seed=seed,
    )
    return centres(some, config).astype(np.float32)


def distance(seen: Floats, centres: NDArray[np.float32]) -> Floats:
    """Root mean square distance (n,) of stretches (n, ROWS * C) to the nearest centre."""
    out = np.empty(len(seen))
    for start in range(
        0, len(seen), PART
    ):  # each is summed by itself: a row's bits do not depend on how many there are
        off = seen[start : start + PART, None, :] - centres
        out[start : start + PART] = np.sqrt((off * off).sum(axis=2).min(axis=1) / seen.shape[1])
    return out
