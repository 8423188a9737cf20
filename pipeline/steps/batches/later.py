"""A column that is worked out where it is asked for, which is of few rows."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray


class Later:
    """Values (N, C), as an array of them would be indexed along N.

    Parameters
    ----------
    shape
        (N, C).
    of
        Works out those of rows (k,): (k, C). What it says of a row depends on no other, and is remembered.

    >>> later = Later((3, 2), np.float64, lambda at: np.stack([at, -at], axis=1))
    >>> later[1].tolist(), later[np.array([2, 0])].tolist(), later[1:].shape
    ([1.0, -1.0], [[2.0, -2.0], [0.0, 0.0]], (2, 2))
    """

    def __init__(self, shape: tuple[int, int], dtype: Any, of: Callable[[NDArray[np.intp]], NDArray[Any]]) -> None:
        self.shape, self._dtype, self._of = shape, dtype, of
        self._values: NDArray[Any] | None = None
        self._known = np.zeros(shape[0], np.bool_)

    def __len__(self) -> int:
        return self.shape[0]

    def __getitem__(self, at: int | slice | NDArray[np.intp]) -> NDArray[Any]:
        rows = np.arange(len(self))[at]
        if self._values is None:
            self._values = np.empty(self.shape, self._dtype)
        of = np.atleast_1d(rows)
        if len(new := of[~self._known[of]]):
            new = np.unique(new)
            self._values[new], self._known[new] = self._of(new), True
        return np.asarray(self._values[rows])

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> NDArray[Any]:
        return np.asarray(self[:], dtype)

    def part(self, start: int, stop: int) -> Later:
        """Rows start..stop."""
        return Later((stop - start, self.shape[1]), self._dtype, lambda at: self[at + start])
