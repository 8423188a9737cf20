"""`detectors.kmeans.nearest`: the distances from a row to all centres at once, value after value."""

from __future__ import annotations

import numpy as np


def signature():
    """Of `run`."""
    from numba import types as t

    rows = t.Array(t.float64, 2, "C")
    return t.void(rows, rows, t.Array(t.int64, 1, "C"), t.Array(t.float64, 1, "C"))


def run(rows, across, which, squares):
    """Find the nearest centre of each row.

    Parameters
    ----------
    rows : (N, D)
    across : (D, K)
        The centres, a value of all of them beside each other.
    which, squares : (N,)
        Take the centre, of equally near ones the first, and its squared distance.
    """
    far = np.empty(across.shape[1])
    for n in range(len(rows)):
        far[:] = 0.0
        for d in range(len(across)):
            value, of = rows[n, d], across[d]
            for k in range(len(far)):
                off = value - of[k]
                far[k] += off * off
        which[n] = far.argmin()
        squares[n] = far[which[n]]
