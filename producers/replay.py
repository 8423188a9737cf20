"""Many series merged by event time and paced: a generator of encoded records. No Kafka here.

    series A  ──●───●───●──▶
    series B  ─●──●──●──●──▶   merge   ●●●●●●●●●   pace    [● ●●] [●●] ...   keys and values
    series C  ───●─────●───▶

A series' own order is never changed: where it steps back in time (NAB does), a record goes out with the newest of its
series, as late as it would have come live.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from producers import batches
from producers.clock import Clock, steady
from producers.datasets.base import Dataset, Series
from producers.errors import ProducerError
from producers.partitioning import home
from producers.records import EARLIEST, LATEST, Observation, encode

UNDATED = 946_684_800_000
"""Where rows without event times begin, 2000-01-01: a stream takes those of 1970, which they have in a data set, for the word of a wrong clock."""


def dated(dataset: Dataset) -> Dataset:
    """A table whose times are made up, moved to where streams take them; any other data set as it is."""
    if dataset.kind != "table" or all(
        s.timestamps.min(initial=EARLIEST) >= EARLIEST for s in dataset.all_series.values()
    ):
        return dataset
    moved = {n: replace(s, timestamps=s.timestamps + UNDATED) for n, s in dataset.all_series.items()}
    return replace(dataset, all_series=moved)


@dataclass(frozen=True)
class Records:
    """Encoded records in the order to send them.

    Attributes
    ----------
    keys
        The series' name; None of a compact batch, which holds many and says its partition.
    timestamps : (N,) int64
        Event time of each observation.
    partitions
        Of each record; None: its key says it.
    """

    keys: list[bytes] | list[None]
    values: list[bytes]
    timestamps: NDArray[np.int64]
    partitions: list[int] | None = None

    def __len__(self) -> int:
        return len(self.values)


class Timeline:
    """Series merged by event time, in columns.

    Parameters
    ----------
    series
        At equal event times their order here decides.
    first, last
        Event times in ms: observations with `first <= timestamp < last` are kept.
    table
        Whether the series are rows of a table: these are sent as a list even where they have one column.

    Attributes
    ----------
    names
        Of the series.
    times : (N,) int64
        When each record goes out: the running maximum of its series' event times; rising.
    skipped
        Observations that hold a missing number; they are left out, as a live source would.
    span_ms
        How far one turn of a loop shifts time on.
    """

    def __init__(
        self, series: Sequence[Series], first: int | None = None, last: int | None = None, *, table: bool = False
    ) -> None:
        whole = [_present(s) for s in series]
        self.skipped = sum(len(s) for s in series) - sum(len(s) for s in whole)
        kept = [_between(s, first, last) for s in whole]
        out = [np.maximum.accumulate(s.timestamps) for s in kept]
        times = np.concatenate(out) if out else np.empty(0, np.int64)
        order = np.argsort(times, kind="stable")
        self.times: NDArray[np.int64] = times[order]
        self.names = [s.name for s in kept]
        self._keys = [s.name.encode() for s in kept]
        self._which = np.repeat(np.arange(len(kept)), [len(s) for s in kept])[order]
        self._timestamps = (np.concatenate([s.timestamps for s in kept]) if kept else times)[order]
        self._columns = _stacked(kept, order)
        self._single = len(self._columns) == 1 and not table
        self._homes: NDArray[np.intp] | None = None
        step = max((s.interval_ms for s in kept), default=0)
        self.span_ms = int(self.times[-1] - self._timestamps.min()) + max(step, 1) if len(times) else 0

    def __len__(self) -> int:
        return len(self.times)

    def check_times(self) -> None:
        """Raise ProducerError where a stream would put observations aside for their event time."""
        outside = int(((self._timestamps < EARLIEST) | (self._timestamps >= LATEST)).sum())
        if outside:
            msg = (
                f"{outside:,} of {len(self):,} observations are of a time outside of 1971 to 2200, which a stream takes for the word of a wrong clock: "
                "leave them out with --from 1971-01-01 --to 2200-01-01"
            )
            raise ProducerError(msg)

    def in_batches(self, partitions: int) -> None:
        """From here on `encode` gives compact batches for a topic of so many partitions, instead of JSON.

        Raises
        ------
        ProducerError
            There are columns of text: rows of a table.
        """
        if any(c.dtype == object for c in self._columns):
            raise ProducerError("columns of text cannot be sent in compact batches: leave out --batches")
        self._homes = np.array([home(name, partitions) for name in self.names], np.intp)

    def encode(self, start: int, stop: int, shift_ms: int = 0) -> Records:
        """Observations [start, stop) as records, their event times shifted on by `shift_ms`."""
        if self._homes is not None:
            return self._batches(start, stop, shift_ms, self._homes)
        which = self._which[start:stop].tolist()
        timestamps = self._timestamps[start:stop] + shift_ms
        names, keys = self.names, self._keys
        moments = timestamps.tolist()
        columns = [c[start:stop].tolist() for c in self._columns]
        if self._single:
            values = [encode(Observation(names[w], t, v)) for w, t, v in zip(which, moments, columns[0], strict=True)]
        else:
            rows = zip(*columns, strict=True)
            values = [
                encode(Observation(names[w], t, values=list(row)))
                for w, t, row in zip(which, moments, rows, strict=True)
            ]
        return Records([keys[w] for w in which], values, timestamps)

    def _batches(self, start: int, stop: int, shift_ms: int, homes: NDArray[np.intp]) -> Records:
        which, timestamps = self._which[start:stop], self._timestamps[start:stop] + shift_ms
        columns = np.stack([c[start:stop].astype(np.float64) for c in self._columns], axis=1)
        values: list[bytes] = []
        partitions: list[int] = []
        for partition in np.unique(homes[which]).tolist():
            of = np.flatnonzero(homes[which] == partition)
            for piece in batches.split(batches.Batch(self.names, which[of], timestamps[of], columns[of])):
                values.append(batches.encode(piece))
                partitions.append(partition)
        return Records([None] * len(values), values, timestamps, partitions)


@dataclass(frozen=True)
class Pace:
    """How fast: by event time at the clock's speed, or at `rate` records a second, whatever the event times are."""

    rate: float | None = None
    max_batch: int = 2000
    """Records that are handed on at once."""

    def due(self, times: NDArray[np.int64]) -> NDArray[np.float64]:
        """(N,) when each record is due in the clock's time, ms from the first."""
        return steady(len(times), self.rate) if self.rate is not None else (times - times[0]).astype(np.float64)


def replay(timeline: Timeline, clock: Clock, pace: Pace | None = None, *, loop: bool = False) -> Iterator[Records]:
    """Yield the timeline's records when they are due, in batches; with `loop`, for ever, shifted on at each turn.

    Raises
    ------
    ProducerError
        There is nothing to replay.
    """
    if not len(timeline):
        raise ProducerError("there is nothing to replay: no observation lies between --from and --to")
    pace = pace or Pace()
    due = pace.due(timeline.times)
    turn_ms = len(timeline) * 1000.0 / pace.rate if pace.rate is not None else float(timeline.span_ms)
    clock.start(0.0)
    turn = 0
    while True:
        yield from _one_turn(timeline, clock, due + turn * turn_ms, turn * timeline.span_ms, pace.max_batch)
        turn += 1
        if not loop:
            return


def _one_turn(
    timeline: Timeline, clock: Clock, due: NDArray[np.float64], shift_ms: int, max_batch: int
) -> Iterator[Records]:
    at = 0
    while at < len(due):
        clock.wait_until(float(due[at]))
        overdue = int(np.searchsorted(due, clock.reached_ms(), side="right"))
        stop = min(max(overdue, at + 1), at + max_batch)
        yield timeline.encode(at, stop, shift_ms)
        at = stop


def _present(series: Series) -> Series:
    """The series without observations that lack a number."""
    whole = np.ones(len(series), np.bool_)
    for column in series.columns:
        if column.dtype != object:
            whole &= np.isfinite(column)
    return series if whole.all() else series.take(whole)


def _between(series: Series, first: int | None, last: int | None) -> Series:
    kept = np.ones(len(series), np.bool_)
    if first is not None:
        kept &= series.timestamps >= first
    if last is not None:
        kept &= series.timestamps < last
    return series if kept.all() else series.take(kept)


def _stacked(series: Sequence[Series], order: NDArray[np.intp]) -> list[NDArray[Any]]:
    """The columns of all series one below the other, in sending order."""
    widths = {len(s.columns) for s in series}
    if len(widths) > 1:
        msg = f"series of {min(widths)} and of {max(widths)} columns cannot be replayed into one topic; choose with --series"
        raise ProducerError(msg)
    return [np.concatenate(parts)[order] for parts in zip(*(s.columns for s in series), strict=True)]
