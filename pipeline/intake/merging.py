"""Sources merged by event time: what a source that is ahead has, waits for those that are behind.

    source a   ──●──●──●──●──●──●──       read up to here: ▕ of a, ▕ of b; b has more to come
    source b   ──●───●───▕                emitted: all up to b's last

A series whose records have no key lies in pieces in all partitions. While what has piled up is read, one partition is read ahead of another, and
what the other has of the series would come late, and be left out by the time policy. So records go out in the order of their event times, as far as
every source that has more to come has been read. A source at the end of its log holds nobody up, nor does one of which nothing came for
`PATIENCE` although there is more.

Within a source nothing is reordered: a record's place is the newest event time up to it. A clock that runs ahead of the record's time in Kafka
is taken for that, or one wrong clock would hold its source back until all others are at their end.
"""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from pipeline.steps.batches.observations import Observations

PATIENCE = 10.0
"""Seconds that others wait for a source that is behind and sends nothing."""
_NEVER = -(1 << 62)


@dataclass(slots=True)
class Taken:
    """Observations of one source, decoded, with their places.

    Attributes
    ----------
    places : (N,) int64
        Merged by; rising within a source.
    positions : (2, N) int64
        Offset and number within the record.
    """

    observations: Observations
    places: NDArray[np.int64]
    positions: NDArray[np.int64]

    def __len__(self) -> int:
        return len(self.places)

    def part(self, start: int, stop: int) -> Taken:
        """Those from start up to stop."""
        return Taken(self.observations.part(start, stop), self.places[start:stop], self.positions[:, start:stop])


@dataclass(slots=True)
class Source:
    """One source as it is read.

    Attributes
    ----------
    name
        As batches tell it.
    read
        The offset that is read next.
    at_end
        Whether the log ended there, as last heard.
    asked
        When Kafka last answered about it, ms by one clock for all sources.
    heard
        When it last had something to say: records, or that there are none, by the clock that `PATIENCE` is of.
    """

    name: str
    read: int
    at_end: bool = False
    asked: int = 0
    heard: float = 0.0
    last: int = _NEVER
    waiting: deque[Taken] = field(default_factory=deque)
    held: int = 0

    def answered(self, asked: int, now: float, *, at_end: bool) -> None:
        """What the last fetch told."""
        if at_end and asked != self.asked:
            self.heard = now
        self.asked, self.at_end = asked, at_end

    def take(
        self,
        observations: Observations,
        kafka_times: NDArray[np.int64],
        now: float,
        usable: NDArray[np.bool_] | None = None,
    ) -> None:
        """Observations that were decoded, of the records that follow those before.

        Parameters
        ----------
        kafka_times : (N,)
            Of each observation, its record's time in Kafka.
        usable : (N,) or None
            Which of them go out; None: all. The others are counted in their records all the same.
        """
        self.heard = now
        if not len(observations):
            return
        offsets, times = observations.offsets, observations.timestamps
        begins = np.flatnonzero(np.append(True, np.diff(offsets) != 0))
        lengths = np.diff(np.append(begins, len(offsets)))
        number = np.arange(len(offsets)) - np.repeat(begins, lengths)
        told = np.where(kafka_times > 0, np.minimum(times, kafka_times), times)
        newest = np.maximum.accumulate(np.maximum(np.maximum.reduceat(told, begins), self.last))
        self.last = int(newest[-1])
        taken = Taken(observations, np.repeat(newest, lengths), np.stack([offsets, number]))
        if usable is not None:
            keep = np.flatnonzero(usable)
            taken = Taken(observations.take(keep), taken.places[keep], taken.positions[:, keep])
        if len(taken):
            self.waiting.append(taken)
            self.held += len(taken)

    @property
    def emitted(self) -> int:
        """The offset before which everything has gone out."""
        return int(self.waiting[0].positions[0, 0]) if self.waiting else self.read

    def up_to(self, place: int) -> list[Taken]:
        """What lies up to a place; it waits no more. A record goes whole, for all of it has one place."""
        out = []
        while self.waiting and self.waiting[0].places[0] <= place:
            first = self.waiting.popleft()
            stop = int(np.searchsorted(first.places, place, side="right"))
            if stop < len(first):
                self.waiting.appendleft(first.part(stop, len(first)))
                first = first.part(0, stop)
            self.held -= len(first)
            out.append(first)
        return out


class Patience:
    """A clock that goes only while somebody looks at it: a process that was paused has not waited for anybody meanwhile."""

    def __init__(self, clock: Callable[[], float] = time.monotonic, *, step: float = 0.1) -> None:
        self._clock = clock
        self._step = step
        self._looked = clock()
        self._now = 0.0

    def __call__(self) -> float:
        """Seconds that were waited; between two looks at most `step`."""
        now = self._clock()
        self._now += min(now - self._looked, self._step)
        self._looked = now
        return self._now


class Settling:
    """How far what was read has settled: every source that is at its end has been asked since, so none has anything that belongs before.

    A process that was paused would else take for the end what was the end before the pause.
    """

    def __init__(self) -> None:
        self._read: deque[tuple[int, int]] = deque()
        self._settled = _NEVER

    def place(self, sources: Sequence[Source], now: float) -> int:
        """The newest place that was read before the last answers of those at their end; of one source alone, any."""
        asked = [s.asked for s in sources if s.at_end and now - s.heard < PATIENCE]
        if len(sources) < 2 or not asked:
            return -_NEVER
        newest, at = max(s.last for s in sources), max(s.asked for s in sources)
        if not self._read or self._read[-1][1] < newest:
            self._read.append((at, newest))
        while self._read and self._read[0][0] <= min(asked):
            self._settled = max(self._settled, self._read.popleft()[1])
        return self._settled


def merged(
    sources: Sequence[Source], now: float, settled: int = -_NEVER
) -> tuple[list[Taken], list[int], NDArray[np.intp]] | None:
    """What may go out now: the pieces, of which source each is (an index), and the order of all their observations; None: nothing."""
    behind = [s.last for s in sources if not s.at_end and now - s.heard < PATIENCE]
    horizon = min([settled, *behind])
    pieces: list[Taken] = []
    whose: list[int] = []
    for i, source in enumerate(sources):
        for piece in source.up_to(horizon):
            pieces.append(piece)
            whose.append(i)
    if not pieces:
        return None
    return pieces, whose, np.argsort(np.concatenate([p.places for p in pieces]), kind="stable")
