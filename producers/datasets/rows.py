"""Columns as rows, made when they are asked for: as Python's own numbers a table takes four times its room."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, overload

from numpy.typing import NDArray

Row = list[float | str]


class Rows(Sequence[Row]):
    """The rows of columns (n,), float64 or object of str, as they stand in an observation.

    >>> import numpy as np
    >>> rows = Rows([np.array([1.0, 2.0, 3.0]), np.array(["a", "b", "c"], object)])
    >>> len(rows), rows[1], rows[1:]
    (3, [2.0, 'b'], [[2.0, 'b'], [3.0, 'c']])
    """

    def __init__(self, columns: Sequence[NDArray[Any]]) -> None:
        self._columns = columns

    def __len__(self) -> int:
        return len(self._columns[0]) if len(self._columns) else 0

    @overload
    def __getitem__(self, at: int) -> Row: ...
    @overload
    def __getitem__(self, at: slice) -> list[Row]: ...
    def __getitem__(self, at: int | slice) -> Row | list[Row]:
        if isinstance(at, slice):
            return [list(row) for row in zip(*(c[at].tolist() for c in self._columns), strict=True)]
        return [c[at].item() if c.dtype != object else c[at] for c in self._columns]
