"""What the values of a series say: a gauge's stand for themselves, a counter's only by how much they grew.

    what a format knows (Prometheus by the name, OTLP by the type)  ──┐
    what the stream's settings say, `counter` and `gauge`  ───────────┴──▶ kind of each observation ──▶ `totals`: rates

The settings win. A series whose kind is another from some observation on begins anew there: what was learnt of totals says nothing of rates.
"""

from __future__ import annotations

from collections.abc import Sequence
from fnmatch import fnmatchcase

import numpy as np
from numpy.typing import NDArray

from pipeline.steps.batches.observations import Observations
from pipeline.steps.state import PartitionState
from producers.formats.base import COUNTER, DELTA, GAUGE

_AS_FORMAT = -1


class Kinds:
    """Kinds of the series of one partition.

    Parameters
    ----------
    counter, gauge
        Globs over the series' names, with their labels or without.
    """

    def __init__(self, counter: Sequence[str], gauge: Sequence[str]) -> None:
        self._counter, self._gauge = tuple(counter), tuple(gauge)
        self._of_row = np.zeros(0, np.int8)  # what the settings say; found when a row is first met

    def of(
        self, state: PartitionState, observations: Observations, rows: NDArray[np.intp], new: Sequence[int]
    ) -> NDArray[np.uint8] | None:
        """Kinds (N,) of observations in state rows (N,), of which `new` are new; None: all are gauges."""
        if not (self._counter or self._gauge):
            return observations.kinds
        self.admit(state, new)
        told = np.zeros(len(rows), np.uint8) if observations.kinds is None else observations.kinds
        return _settled(self._of_row[rows], told)

    def of_series(self, name: str, told: NDArray[np.uint8]) -> NDArray[np.uint8]:
        """Kinds (N,) of observations of one series, of which the format has told them."""
        return _settled(np.full(len(told), self._said(name), np.int8), told)

    def says(self, series: str) -> bool:
        """Whether the settings say what it is."""
        return self._said(series) != _AS_FORMAT

    def admit(self, state: PartitionState, new: Sequence[int]) -> None:
        """Find what the settings say of new series, and of all where there was nobody to ask before."""
        if not (self._counter or self._gauge):
            return
        known = len(self._of_row)
        self._of_row = np.append(self._of_row, np.full(len(state.names) - known, _AS_FORMAT, np.int8))
        for row in {*new, *range(known, len(state.names))}:
            self._of_row[row] = self._said(state.names[row] or "")

    def _said(self, series: str) -> int:
        names = (series, series.partition("{")[0])
        for kind, globs in ((GAUGE, self._gauge), (COUNTER, self._counter)):
            if any(fnmatchcase(name, glob) for glob in globs for name in names):
                return kind
        return _AS_FORMAT


def _settled(said: NDArray[np.int8], told: NDArray[np.uint8]) -> NDArray[np.uint8]:
    counted = (said == COUNTER) & (told == DELTA)  # it counts already, and says since when
    return np.where((said == _AS_FORMAT) | counted, told, said).astype(np.uint8)


def same(observations: Observations, start: int, stop: int) -> int:
    """Up to where, of start..stop, no series has two kinds."""
    if observations.kinds is None:
        return stop
    seen: dict[str, int] = {}
    kinds = observations.kinds[start:stop].tolist()
    for i, (series, kind) in enumerate(zip(observations.series[start:stop], kinds, strict=True), start):
        if seen.setdefault(series, kind) != kind:
            return i
    return stop


def changed(stored: NDArray[np.uint8], kinds: NDArray[np.uint8] | None, rows: NDArray[np.intp]) -> dict[int, int]:
    """Rows whose kind is not the stored one of theirs -> their new kind.

    Parameters
    ----------
    stored
        The kind of each row of the state.
    """
    is_now = np.zeros(len(rows), np.uint8) if kinds is None else kinds
    other = np.flatnonzero(stored[rows] != is_now)
    return dict(zip(rows[other].tolist(), is_now[other].tolist(), strict=True))
