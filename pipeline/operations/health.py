"""Whether a worker is well: its partitions advance, its store answers, its detectors can score.

Or its input is not as scoring needs it. Told by the metrics, asked by the server in its thread. Knows no Prometheus; the clock is handed in.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Sequence
from typing import Protocol

from pipeline.operations.once import Once
from pipeline.partition.home import Verdict
from pipeline.steps.clock.event_time import told

PATIENCE = 30.0
"""Seconds without an advance that are still well. Less than a detector that hangs has (`pipeline.steps.scoring`, 60 s): it is told here first."""

REMEMBERED = 600.0
"""Seconds for which a worker is not well after a detector could not score something."""


ENDED = 900.0
"""Seconds without a record, and none waiting, after which a stream's input is said to have ended."""

NAMED = 5
"""Series with a wrong clock that are named, of each partition."""


class Wellness(Protocol):
    """What `/healthz` is answered from."""

    def problems(self) -> list[str]:
        """One line for each thing that is not well; empty: all is well."""
        ...

    def notes(self) -> list[str]:
        """One line for each thing that somebody should look at; it is well all the same."""
        ...


class Health:
    """Well, or degraded: a partition with lag does not advance, its store does not answer, its detectors cannot score all of it, or
    its series lie in pieces in several partitions.

    Parameters
    ----------
    patience
        Seconds without an advance that are still well.
    """

    def __init__(self, *, patience: float = PATIENCE, clock: Callable[[], float] = time.monotonic) -> None:
        self._patience = patience
        self._clock = clock
        self._lock = threading.Lock()  # asked by the server's thread
        self._positions: dict[tuple[str, int], int] = {}
        self._stalled: dict[tuple[str, int], float] = {}
        self._waiting: dict[tuple[str, int], tuple[str, float]] = {}
        self._unscorable: dict[tuple[str, int], tuple[int, float]] = {}
        self._in_pieces: dict[tuple[str, int], Verdict] = {}
        self._came: dict[tuple[str, int], float] = {}
        self._apart: dict[tuple[str, int], tuple[int, list[tuple[str, int]]]] = {}
        self._stands: dict[tuple[str, int], str] = {}
        self._once = Once()
        self._others: list[Wellness] = []

    def include(self, other: Wellness) -> None:
        """From here on what is not well there is not well here."""
        self._others.append(other)

    def position(self, stream: str, partition: int, position: int, lag: int) -> None:
        """Where a partition stands and how many records wait behind that."""
        key = (stream, partition)
        with self._lock:
            if lag <= 0 or position > self._positions.get(key, -1):
                self._stalled.pop(key, None)
            if lag > 0 or position > self._positions.get(key, -1):
                self._came[key] = self._clock()
            if lag > 0:
                self._stalled.setdefault(key, self._clock())
            self._positions[key] = position

    def waiting(self, stream: str, partition: int, waiting: bool, what: str) -> None:
        """Whether a partition waits for its store, or for a schema registry."""
        with self._lock:
            if waiting:
                self._waiting.setdefault((stream, partition), (what, self._clock()))
            else:
                self._waiting.pop((stream, partition), None)

    def unscorable(self, stream: str, partition: int, observations: int) -> None:
        """Observations became dead letters because no number came of them."""
        now, key = self._clock(), (stream, partition)
        with self._lock:
            before, last = self._unscorable.get(key, (0, now))
            self._unscorable[key] = (observations + (before if now - last <= REMEMBERED else 0), now)

    def homes(self, stream: str, partition: int, verdict: Verdict | None) -> None:
        """Whether the series of a partition are where they belong (None); series that are whole are well, whoever hashed their keys."""
        with self._lock:
            if verdict is not None and verdict.in_pieces:
                self._in_pieces[stream, partition] = verdict
            else:
                self._in_pieces.pop((stream, partition), None)

    def series(self, stream: str, partition: int, *, series: int, once: int) -> None:
        """How many series a partition holds, and how many of them came once and never again."""
        with self._lock:
            self._once.tell(stream, partition, series, once)

    def clocks(self, stream: str, partition: int, apart: Sequence[tuple[str, int]]) -> None:
        """The series of a partition whose clock is far from its event time, farthest first, and by how many ms."""
        with self._lock:
            self._apart[stream, partition] = len(apart), list(apart[:NAMED])

    def stands(self, stream: str, partition: int, why: str) -> None:
        """Why the event time of a partition stands still though nothing comes; empty: it does not."""
        with self._lock:
            self._stands[stream, partition] = why

    def forget(self, stream: str, partition: int) -> None:
        """The partition was given away."""
        with self._lock:
            key = (stream, partition)
            self._positions.pop(key, None)
            self._stalled.pop(key, None)
            self._waiting.pop(key, None)
            self._unscorable.pop(key, None)
            self._in_pieces.pop(key, None)
            self._came.pop(key, None)
            self._apart.pop(key, None)
            self._stands.pop(key, None)
            self._once.forget(stream, partition)

    def notes(self) -> list[str]:
        """One line for each thing about the input that somebody should look at, and no worker can mend: it is well all the same."""
        now = self._clock()
        with self._lock:
            quiet: dict[str, float] = {}
            for (stream, _), at in self._came.items():
                quiet[stream] = min(quiet.get(stream, now - at), now - at)
            apart, stands, once = dict(self._apart), dict(self._stands), self._once.found()
        lines = [
            f"{stream}: input ended, no record for {age / 60:.0f} min: see to its producers"
            for stream, age in quiet.items()
            if age >= ENDED
        ]
        lines += [
            f"{s}[{p}]: its event time stands still though nothing comes: {why}"
            for (s, p), why in stands.items()
            if why
        ]
        lines += [f"{stream}: {why}" for stream, why in once.items()]
        for (stream, partition), (count, named) in apart.items():
            lines += [f"{stream}[{partition}]: the clock of series {n[:200]!r} is {told(by)}" for n, by in named]
            if count > len(named):
                lines.append(f"{stream}[{partition}]: {count - len(named)} more series have a wrong clock")
        return sorted(lines + [line for other in self._others for line in other.notes()])

    def problems(self) -> list[str]:
        """One line for each thing that is not well; empty: all is well."""
        now = self._clock()
        with self._lock:
            stalled = {k: now - since for k, since in self._stalled.items() if now - since > self._patience}
            waiting = {
                k: (what, now - since) for k, (what, since) in self._waiting.items() if now - since > self._patience
            }
            unscorable = {k: (n, now - last) for k, (n, last) in self._unscorable.items() if now - last <= REMEMBERED}
            at, in_pieces = dict(self._positions), dict(self._in_pieces)
        lines = [
            f"{s}[{p}] stands at offset {at[s, p]} for {age:.0f} s with records waiting"
            for (s, p), age in stalled.items()
        ]
        lines += [f"{s}[{p}] waits for the {what} since {age:.0f} s" for (s, p), (what, age) in waiting.items()]
        lines += [
            f"{s}[{p}]: {n} observations that a detector could not score are dead letters, the last {age:.0f} s ago"
            for (s, p), (n, age) in unscorable.items()
        ]
        lines += [f"{s}[{p}]: {verdict}" for (s, p), verdict in in_pieces.items()]
        return sorted(lines + [line for other in self._others for line in other.problems()])
