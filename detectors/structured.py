"""Records of series, structured arrays: in which order a batch goes through them, and whole rows taken and put as the bytes that they are.

numpy copies `array[at]` field by field where rows are structured: of 108 bytes in 17 fields, 100 ns a row in place of 6.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray


def by_series(rows: NDArray[np.intp]) -> NDArray[np.intp]:
    """Places of what is of the series in `rows` (N,), sorted by series; those of one series stay in their order.

    >>> by_series(np.array([7, 2, 7, 2])).tolist()
    [1, 3, 0, 2]
    """
    # numpy sorts 16-bit integers by radix, 12 times as fast as wider ones.
    return (rows.astype(np.uint16) if rows.max(initial=0) < 1 << 16 else rows).argsort(kind="stable")


def chosen(array: NDArray[Any], at: NDArray[np.intp]) -> NDArray[Any]:
    """`array[at]` of places that rise; where they are all of them, the array itself.

    >>> chosen(np.array([3, 5, 7]), np.array([0, 2])).tolist()
    [3, 7]
    """
    return array if len(at) == len(array) else array[at]


def rows_at(array: NDArray[Any], at: NDArray[np.intp] | NDArray[np.bool_]) -> NDArray[Any]:
    """A copy of rows `at` (n,), or of those chosen, of a structured array (S,): `array[at]`.

    >>> states = np.array([(1, 0.5), (2, 1.5)], [("seen", "<u4"), ("mean", "<f8")])
    >>> rows_at(states, np.array([1, 0]))["seen"].tolist()
    [2, 1]
    """
    return np.asarray(_bytes(array)[at].view(array.dtype))


def put_rows(array: NDArray[Any], at: NDArray[np.intp] | NDArray[np.bool_], rows: NDArray[Any]) -> None:
    """Write rows (n,) of the same dtype in place: `array[at] = rows`."""
    assert rows.dtype == array.dtype
    _bytes(array)[at] = _bytes(rows)


def _bytes(array: NDArray[Any]) -> NDArray[np.void]:
    return array.view(np.dtype((np.void, array.dtype.itemsize)))
