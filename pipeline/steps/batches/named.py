"""The names of many observations' series as numbers: a name is a text once, however often it comes."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import overload

import numpy as np
from numpy.typing import NDArray


class Named(Sequence[str]):
    """Names (N,): each the one at its number in `texts`, a list that may grow and in which nothing changes.

    >>> named = Named(np.array([2, 1, 2]), ["", "a", "b"])
    >>> named[0], list(named[1:]), list(named.take(np.array([0, 2]))), len(named), named == ["b", "a", "b"]
    ('b', ['a', 'b'], ['b', 'b'], 3, True)
    """

    __slots__ = ("numbers", "texts")

    def __init__(self, numbers: NDArray[np.integer], texts: list[str]) -> None:
        self.numbers = numbers
        self.texts = texts

    def take(self, keep: NDArray[np.intp]) -> Named:
        """Those at some places."""
        return Named(self.numbers[keep], self.texts)

    def __len__(self) -> int:
        return len(self.numbers)

    @overload
    def __getitem__(self, at: int) -> str: ...
    @overload
    def __getitem__(self, at: slice) -> Named: ...
    def __getitem__(self, at: int | slice) -> str | Named:
        if isinstance(at, slice):
            return Named(self.numbers[at], self.texts)
        return self.texts[int(self.numbers[at])]

    def __iter__(self) -> Iterator[str]:
        return map(self.texts.__getitem__, self.numbers.tolist())

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Sequence) or isinstance(other, str):
            return NotImplemented
        return list(self) == list(other)

    __hash__ = None  # type: ignore[assignment]


def taken(names: Sequence[str], keep: NDArray[np.intp]) -> Sequence[str]:
    """Names at some places."""
    return names.take(keep) if isinstance(names, Named) else [names[i] for i in keep.tolist()]
