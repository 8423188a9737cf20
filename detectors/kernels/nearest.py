"""`detectors.kmeans.nearest`: the distances from four rows to all centres at once, value after value: a sum waits for the one before it, but not for its neighbours."""

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
    K, last = across.shape[1], len(rows) - 1
    first, second, third, fourth = np.empty(K), np.empty(K), np.empty(K), np.empty(K)
    for n in range(0, len(rows), 4):
        at = n, min(n + 1, last), min(n + 2, last), min(n + 3, last)
        first[:], second[:], third[:], fourth[:] = 0.0, 0.0, 0.0, 0.0
        for d in range(len(across)):
            a, b, c, e, of = rows[at[0], d], rows[at[1], d], rows[at[2], d], rows[at[3], d], across[d]
            for k in range(K):
                off = a - of[k]
                first[k] += off * off
                off = b - of[k]
                second[k] += off * off
                off = c - of[k]
                third[k] += off * off
                off = e - of[k]
                fourth[k] += off * off
        for row, far in zip(at, (first, second, third, fourth)):  # noqa: B905  # Numba knows no strict
            least = 0  # numpy's argmin would bring scipy, 0.2 s of every start
            for k in range(1, K):
                if far[k] < far[least]:
                    least = k
            which[row], squares[row] = least, far[least]
