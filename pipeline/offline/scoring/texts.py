"""Texts of many rows of which few are different: names of series, identities of alerts."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, overload

import numpy as np
import pandas as pd
import pyarrow as pa
from numpy.typing import NDArray

from pipeline.offline.scoring.room import column


class Texts(Sequence[str]):
    """Texts (n,) as numbers of `names`.

    >>> texts = Texts.of(["a", "", "a"])
    >>> texts.put(np.array([1]), "b")
    >>> texts[1], texts[:2], len(texts), texts == ["a", "b", "a"]
    ('b', ['a', 'b'], 3, True)
    """

    def __init__(self, codes: NDArray[np.int32], names: Sequence[str]) -> None:
        self.codes = codes
        self.names = list(names)
        self._number = {name: code for code, name in enumerate(self.names)}

    @classmethod
    def of(cls, texts: Sequence[str]) -> Texts:
        """Of a list of them."""
        if isinstance(texts, Texts):
            return texts
        codes, names = pd.factorize(np.asarray(texts, object))
        return cls(codes.astype(np.int32), [str(name) for name in names])

    @classmethod
    def empty(cls, n: int) -> Texts:
        """N times nothing."""
        return cls(column((n,), np.int32, 0), [""])

    def put(self, rows: NDArray[Any] | slice, text: str) -> None:
        """Let rows have this text."""
        if text not in self._number:
            self._number[text] = len(self.names)
            self.names.append(text)
        self.codes[rows] = self._number[text]

    def rows(self, without: str | None = None) -> dict[str, NDArray[np.intp]]:
        """Rows, rising, of each text that stands anywhere; `without` one of them."""
        if without is None:
            codes, at = self.codes, None
        else:
            at = np.flatnonzero(self.codes != self._number.get(without, -1))
            codes = self.codes[at]
        if len(self.names) == 1 and len(codes):
            return {self.names[0]: np.arange(len(codes)) if at is None else at}
        order = np.argsort(codes, kind="stable")
        cuts = np.searchsorted(codes, np.arange(len(self.names) + 1), sorter=order)
        order = order if at is None else at[order]
        found = ((name, order[a:b]) for name, a, b in zip(self.names, cuts[:-1], cuts[1:], strict=True))
        return {name: rows for name, rows in found if len(rows)}

    def part(self, of: slice) -> Texts:
        """Those of some rows, with the names that stand there."""
        codes, inverse = np.unique(self.codes[of], return_inverse=True)
        return Texts(inverse.astype(np.int32), [self.names[code] for code in codes.tolist()])

    def arrow(self) -> pa.Array:
        """(n,) as an array of Arrow's."""
        return pa.DictionaryArray.from_arrays(self.codes, pa.array(self.names, pa.string())).cast(pa.string())

    def __len__(self) -> int:
        return len(self.codes)

    @overload
    def __getitem__(self, at: int) -> str: ...
    @overload
    def __getitem__(self, at: slice) -> list[str]: ...
    def __getitem__(self, at: int | slice) -> str | list[str]:
        if isinstance(at, slice):
            return [self.names[code] for code in self.codes[at].tolist()]
        return self.names[int(self.codes[at])]

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> NDArray[Any]:
        return np.asarray(np.asarray(self.names, object)[self.codes], dtype)

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Sequence) or isinstance(other, str):
            return NotImplemented
        return len(self) == len(other) and all(a == b for a, b in zip(self, other, strict=True))

    __hash__ = None  # type: ignore[assignment]
