"""Records of several values that are plain, rows of a table among them, read by one compiled call (`pipeline.steps.kernels.plain_rows`).

    BinaryColumn ──▶ numbers (N, numeric), categories (N, categorical) ──▶ encoded (N, C)

A category is a number of the text that stands there (`Names`), and that text is looked up once.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol, overload

import numpy as np
from numpy.typing import NDArray

from detectors.compiling import PLAIN_ROWS, compiled
from pipeline.steps.batches.binary import BinaryColumn
from pipeline.steps.batches.named import Named, taken
from pipeline.steps.reading.plain import Names, pieces
from producers.formats.native import Many

Row = list[Any]


class RowEncoder(Protocol):
    """What makes numbers of the rows of a table: `detectors.features.FeatureEncoder`."""

    @property
    def names(self) -> Sequence[str]:
        """Columns of a row."""

    @property
    def categorical(self) -> Sequence[str]:
        """Those of them that are categories."""

    def encode(self, rows: Sequence[Row], /) -> tuple[NDArray[np.float64], Mapping[int, str]]:
        """Rows that could be encoded, as numbers (n, C), and why others could not, by their index."""

    def place(self, category: int, text: str, /) -> int:
        """Where among the encoded columns a text of one of the categorical columns stands; they are counted in the order of a row."""

    def encode_columns(self, numbers: NDArray[np.float64], places: NDArray[np.int64], /) -> NDArray[np.float64]:
        """Rows (n, C) of numbers (n, numeric) and of where each category stands (n, categorical)."""


class Sent(Sequence[Row]):
    """Rows of a table as they came, made when they are asked for.

    Parameters
    ----------
    numbers, codes : (N, numeric), (N, categorical)
        What stands in them; codes are places in `texts`.
    is_text : (columns,) bool
        Which columns are categories.
    others
        Rows that are kept as they are, by their place.
    """

    def __init__(
        self,
        numbers: NDArray[np.float64],
        codes: NDArray[np.int64],
        texts: Sequence[str],
        is_text: NDArray[np.bool_],
        others: Mapping[int, Row],
    ) -> None:
        self._numbers, self._codes, self._texts, self._is_text, self._others = numbers, codes, texts, is_text, others
        self._categories: list[int] = np.flatnonzero(is_text).tolist()

    def __len__(self) -> int:
        return len(self._numbers)

    @overload
    def __getitem__(self, at: int) -> Row: ...
    @overload
    def __getitem__(self, at: slice) -> Sent: ...
    def __getitem__(self, at: int | slice) -> Row | Sent:
        if isinstance(at, slice):
            return self.take(np.arange(len(self))[at])
        if (other := self._others.get(range(len(self))[at])) is not None:
            return other
        row: Row = self._numbers[at].tolist()
        for c, code in zip(self._categories, self._codes[at].tolist(), strict=True):
            row.insert(c, self._texts[code])
        return row

    def take(self, keep: NDArray[np.intp]) -> Sent:
        """Those at some places."""
        others = {i: self._others[k] for i, k in enumerate(keep.tolist()) if k in self._others} if self._others else {}
        return Sent(self._numbers[keep], self._codes[keep], self._texts, self._is_text, others)


@dataclass(slots=True)
class PlainRows:
    """What was read of N records; zeros of what is not plain, until it is `put`.

    Attributes
    ----------
    names : (N,)
        0: the record is not plain.
    series, times, values : N, (N,), (N, C)
        As in `Observations`.
    originals
        Rows as they came, of a table.
    """

    names: NDArray[np.int64]
    series: Sequence[str]
    times: NDArray[np.int64]
    values: NDArray[np.float64]
    originals: Sent | None
    others: dict[int, Row]
    features: RowEncoder | None

    def put(self, at: NDArray[np.intp], series: Sequence[str], rows: Sequence[Many]) -> Mapping[int, str]:
        """Put in what was read one by one, at their places; of a table, why some cannot be encoded, by their index."""
        given = [row.values for row in rows]
        self.times[at] = [row.timestamp for row in rows]
        names = list(self.series)
        for i, name in zip(at.tolist(), series, strict=True):
            names[i] = name
        self.series = names
        if self.features is None:
            self.values[at] = np.array(given, np.float64).reshape(len(given), self.values.shape[1])
            return {}
        self.values[at], failed = self.features.encode(given)
        self.others.update(zip(at.tolist(), given, strict=True))
        return failed

    def take(self, keep: NDArray[np.intp]) -> PlainRows:
        """Those at some places."""
        originals = None if self.originals is None else self.originals.take(keep)
        series, times = taken(self.series, keep), self.times[keep]
        return PlainRows(self.names[keep], series, times, self.values[keep], originals, self.others, self.features)


class RowReader:
    """Reads records of several values; one reads at a time. What it keeps is no state.

    Parameters
    ----------
    width
        Values of a record.
    features
        For tables; None for metrics.
    """

    def __init__(
        self, width: int, features: RowEncoder | None, series: Names | None = None, texts: Names | None = None
    ) -> None:
        self._features = features
        categorical = () if features is None else features.categorical
        self._is_text = np.array([n in categorical for n in features.names] if features else [False] * width, np.bool_)
        self._series, self._texts = series or Names(), texts or Names()
        self._places = np.zeros((int(self._is_text.sum()), 1), np.int64)

    def read(self, records: BinaryColumn) -> PlainRows:
        """Read records (N,) none of which is None."""
        n, categories = len(records), int(self._is_text.sum())
        names, times = np.empty(n, np.int64), np.empty(n, np.int64)
        numbers, codes = np.empty((n, len(self._is_text) - categories)), np.empty((n, categories), np.int64)
        compiled(PLAIN_ROWS)(
            *(*pieces(records), *self._series.known, *self._texts.known, self._is_text, times, names, numbers, codes)
        )
        self._series.learn()
        self._texts.learn()
        odd = np.flatnonzero(names == 0)
        numbers[odd], codes[odd], times[odd] = 0.0, 0, 0
        series, others = Named(names, self._series.texts), dict[int, Row]()
        if self._features is None:
            return PlainRows(names, series, times, numbers, None, others, None)
        originals = Sent(numbers, codes, self._texts.texts, self._is_text, others)
        values = self._features.encode_columns(numbers, self._placed(codes, self._features))
        return PlainRows(names, series, times, values, originals, others, self._features)

    def _placed(self, codes: NDArray[np.int64], features: RowEncoder) -> NDArray[np.int64]:
        """Where each category (N, categorical) stands among the encoded columns."""
        if new := self._texts.texts[self._places.shape[1] :]:
            more = [[features.place(c, text) for text in new] for c in range(len(self._places))]
            self._places = np.concatenate([self._places, np.array(more, np.int64).reshape(-1, len(new))], axis=1)
        placed = np.empty_like(codes)
        for c, known in enumerate(self._places):
            placed[:, c] = known[codes[:, c]]
        return placed

    def with_room(self) -> RowReader:
        """Itself while there is room, else one that has it."""
        series, texts = self._series.with_room(), self._texts.with_room()
        if texts is self._texts:
            self._series = series
            return self
        return RowReader(len(self._is_text), self._features, series, texts)
