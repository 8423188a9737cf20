"""The rows of a data set as the observations that a replay would send, some at a time."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from detectors.model import Model
from pipeline.offline.scoring.room import column, parts, release
from pipeline.offline.scoring.texts import Texts
from pipeline.steps.batches.named import Named
from pipeline.steps.batches.observations import Observations
from producers.datasets import Dataset, Series
from producers.datasets.rows import Rows


@dataclass(frozen=True)
class Recorded:
    """N observations in the order of their source.

    Attributes
    ----------
    timestamps : (N,) int64
    values : (N, C) float64
    originals
        Of a table: its rows as they came.
    rows : (N,) int64 or None
        Which row of the source each is; None: they are all of its rows, as they stand.
    first
        The offset of the first.
    """

    series: Texts
    timestamps: NDArray[np.int64]
    values: NDArray[np.float64]
    originals: Rows | None = None
    rows: NDArray[np.int64] | None = None
    first: int = 0

    def __len__(self) -> int:
        return len(self.timestamps)

    def part(self, start: int, stop: int) -> Observations:
        """Those from start up to stop."""
        of, stop = slice(start, stop), min(stop, len(self))
        originals = None if self.originals is None else self.originals[of]
        offsets = np.arange(self.first + start, self.first + stop, dtype=np.int64)
        # Copies: what lies in a file, or is the data set's own, is no buffer of a step.
        names = Named(self.series.codes[of], self.series.names)
        return Observations(offsets, names, self.timestamps[of].copy(), self.values[of].copy(), originals)

    def of_series(self) -> dict[str, NDArray[np.intp] | slice]:
        """Which of them are of each series, in order."""
        if len(self.series.names) == 1:
            return {self.series.names[0]: slice(None)}
        return dict(self.series.rows())


def recorded(data: Dataset, model: Model) -> Recorded:
    """All rows that a replay would send, merged in the order of the source."""
    some = list(data.series().values())
    order = _order(some)
    originals: Rows | None = None
    if data.kind == "metric":
        kept = np.concatenate([_whole(s) for s in some])
        if not kept.all():
            order = np.flatnonzero(kept) if order is None else order[kept[order]]
        encoded = _in_order([s.values for s in some], order)
    else:
        assert model.features is not None
        of_all = _columns(some)
        encoded, problems = model.features.encode(Rows(of_all))
        if problems:
            order = np.arange(len(encoded)) if order is None else order
            order = order[~np.isin(order, list(problems))]
        if order is not None:
            of_all, encoded = [c[order] for c in of_all], encoded[order]
        originals = Rows(of_all)
    n = len(encoded)
    codes = np.repeat(np.arange(len(some), dtype=np.int32), [len(s) for s in some])
    times = _in_order([s.timestamps for s in some], order)
    rows = None if order is None and _stands(some) else _in_order([s.positions for s in some], order)
    if rows is not None and n == len(data) and bool((rows == np.arange(n)).all()):
        rows = None
    names = Texts(codes if order is None else _in_order([codes], order), [s.name for s in some])
    return Recorded(names, times, encoded, originals, rows)


def _whole(series: Series) -> NDArray[np.bool_]:
    """(n,) whether no number is missing."""
    found = np.ones(len(series), np.bool_)
    for numbers in series.columns:
        found &= np.isfinite(numbers)
    return found


def _stands(some: Sequence[Series]) -> bool:
    """Whether one series stands as its source does."""
    return len(some) == 1 and bool((some[0].positions == np.arange(len(some[0]))).all())


def _order(some: Sequence[Series]) -> NDArray[np.intp] | None:
    """Of the rows of all series, one behind the other, in the order of the source; None: as they stand."""
    # A series that is read in the order of time takes the places that its rows have in the source, one after the other.
    place = np.concatenate([np.sort(s.positions) for s in some])
    return None if (place[1:] > place[:-1]).all() else np.argsort(place, kind="stable")


def _in_order(of_each: Sequence[NDArray[Any]], order: NDArray[np.intp] | None) -> NDArray[Any]:
    """The rows of all series in this order; those of one that stands in it are not copied."""
    if order is None and len(of_each) == 1:
        return of_each[0]
    whole = of_each[0] if len(of_each) == 1 else np.concatenate(of_each)
    if order is None:
        return whole
    made = column((len(order), *whole.shape[1:]), whole.dtype, 0)
    for of in parts(len(order)):
        made[of] = whole[order[of]]
        release(made)
    return made


def _columns(some: Sequence[Series]) -> Sequence[NDArray[Any]]:
    """The columns of all series, one after the other; shared where there is one."""
    if len(some) == 1:
        return some[0].columns
    return [np.concatenate(columns) for columns in zip(*(s.columns for s in some), strict=True)]
