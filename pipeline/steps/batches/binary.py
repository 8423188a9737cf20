"""A column of byte strings in one buffer: nobody has to hold an object for each before it is looked at.

Arrow's columns of bytes lie without anything between them, or hold a view of 16 bytes for each; here they lie as Kafka packed them, headers and all.

data     k e y 1 { . . . } k e y 2 { . . . }
starts   ^               ^                      a string that is None ends before it begins
ends           ^               ^
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Self, overload

import numpy as np
from numpy.typing import NDArray


class BinaryColumn(Sequence[bytes | None]):
    """Byte strings (N,), any of them None.

    Parameters
    ----------
    data
        Holds them, and anything between them.
    starts, ends : (N,) int64
        Where each lies.
    """

    __slots__ = ("data", "ends", "starts")

    def __init__(self, data: bytes, starts: NDArray[np.int64], ends: NDArray[np.int64]) -> None:
        self.data, self.starts, self.ends = data, starts, ends

    @classmethod
    def of(cls, values: Sequence[bytes]) -> Self:
        """Of byte strings, none of which is None, one behind the other."""
        at = np.zeros(len(values) + 1, np.int64)
        np.cumsum(np.fromiter(map(len, values), np.int64, len(values)), out=at[1:])
        return cls(b"".join(values), at[:-1], at[1:])

    def __len__(self) -> int:
        return len(self.starts)

    @overload
    def __getitem__(self, at: int) -> bytes | None: ...
    @overload
    def __getitem__(self, at: slice) -> Self: ...
    def __getitem__(self, at: int | slice) -> bytes | Self | None:
        if isinstance(at, slice):
            return type(self)(self.data, self.starts[at], self.ends[at])
        start, end = int(self.starts[at]), int(self.ends[at])
        return None if end < start else self.data[start:end]

    def __iter__(self) -> Iterator[bytes | None]:
        return iter(self.listed())

    def listed(self) -> list[bytes | None]:
        """An object for each."""
        data, starts, ends = self.data, self.starts.tolist(), self.ends.tolist()
        if self.has_none:
            return [None if b < a else data[a:b] for a, b in zip(starts, ends, strict=True)]
        return [data[a:b] for a, b in zip(starts, ends, strict=True)]

    @property
    def has_none(self) -> bool:
        """Whether any is None."""
        return bool((self.ends < self.starts).any())

    @property
    def size(self) -> int:
        """Bytes of all."""
        return int(np.maximum(self.ends - self.starts, 0).sum())

    @property
    def longest(self) -> int:
        """Bytes of the longest; 0 of none."""
        return int((self.ends - self.starts).max(initial=0))


Strings = Sequence[bytes | None]


def concatenated(parts: Sequence[tuple[Strings, Strings]]) -> tuple[Strings, Strings]:
    """Keys and values of parts as two columns; lists, where a part has such."""
    if len(parts) == 1:
        return parts[0]
    keys, values = [k for k, _ in parts], [v for _, v in parts]
    columns = [(k, v) for k, v in parts if isinstance(k, BinaryColumn) and isinstance(v, BinaryColumn)]
    if len(columns) < len(parts) or any(k.data is not v.data for k, v in columns):
        return [key for part in keys for key in part], [value for part in values for value in part]
    shift = np.cumsum([0, *(len(k.data) for k, _ in columns)])
    data = b"".join(k.data for k, _ in columns)
    return _moved(data, [k for k, _ in columns], shift), _moved(data, [v for _, v in columns], shift)


def _moved(data: bytes, parts: list[BinaryColumn], shift: NDArray[np.int64]) -> BinaryColumn:
    starts = np.concatenate([p.starts + by for p, by in zip(parts, shift.tolist(), strict=False)])
    sizes = np.concatenate([p.ends - p.starts for p in parts])
    return BinaryColumn(data, starts, starts + sizes)
