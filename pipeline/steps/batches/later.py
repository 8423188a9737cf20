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
        Works out those of rows (k,): (k, C). What it says of a row depends on no other.
    remembers
        Whether rows are asked about more than once.

    >>> later = Later((3, 2), np.float64, lambda at: np.stack([at, -at], axis=1))
    >>> later[1].tolist(), later[np.array([2, 0])].tolist(), later[1:].shape
    ([1.0, -1.0], [[2.0, -2.0], [0.0, 0.0]], (2, 2))
    """

    def __init__(
        self,
        shape: tuple[int, int],
        dtype: Any,
        of: Callable[[NDArray[np.intp]], NDArray[Any]],
        *,
        remembers: bool = False,
    ) -> None:
        self.shape, self._dtype, self._of = shape, dtype, of
        self._known: dict[int, NDArray[Any]] | None = {} if remembers else None

    def __len__(self) -> int:
        return self.shape[0]

    def __getitem__(self, at: int | slice | NDArray[np.intp]) -> NDArray[Any]:
        if isinstance(at, slice):
            at = np.arange(len(self))[at]
        rows = np.atleast_1d(at)
        if not len(rows):
            return np.empty((0, self.shape[1]), self._dtype)
        found = self._of(rows) if self._known is None else self._remembered(self._known, rows)
        found = np.asarray(found, self._dtype)
        return found if isinstance(at, np.ndarray) else found[0]

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> NDArray[Any]:
        return np.asarray(self[:], dtype)

    def _remembered(self, known: dict[int, NDArray[Any]], rows: NDArray[np.intp]) -> NDArray[Any]:
        asked = rows.tolist()
        if new := [row for row in asked if row not in known]:
            known.update(zip(new, self._of(np.array(new, np.intp)), strict=True))
        return np.stack([known[row] for row in asked])

    def part(self, start: int, stop: int) -> Later:
        """Rows start..stop."""
        return Later((stop - start, self.shape[1]), self._dtype, lambda at: self[at + start])
