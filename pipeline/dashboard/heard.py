"""What workers and replays said of themselves in the store (`pipeline.partition.stores.presence`), and how old that is."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence

import msgspec

from pipeline.partition.stores.presence import (
    EVERY,
    PartitionWord,
    ReplayWord,
    Words,
    WorkerWord,
    heard,
    replays_into,
    workers_of,
)

SILENT = 6 * EVERY
"""Seconds without a word after which a worker is said to be silent, and a replay is none any more."""


class WorkerLook(msgspec.Struct, frozen=True):
    """One worker by its last word, `age` s old. `verdict`: well, degraded, silent; `held`: its partitions by stream."""

    worker: str
    verdict: str
    age: float
    began: float
    version: str
    problems: list[str]
    notes: list[str]
    held: dict[str, list[int]]
    stored_at: float | None
    """Its last checkpoint, s since the epoch."""


class Heard(msgspec.Struct, frozen=True):
    """All that was said, at one moment."""

    workers: list[WorkerLook] = []
    partitions: dict[tuple[str, int], PartitionWord] = {}
    """By stream and number: what was last said of each; after a move two workers may have a word on it."""
    replays: dict[str, list[ReplayWord]] = {}
    """By topic: those that run."""

    def series(self, stream: str) -> tuple[int | None, int | None]:
        """How many series of a stream alerts can come of, and of how many too little is known yet; None where nobody has said it."""
        said = [p for p in self.partitions.values() if p.stream == stream]
        return (sum(p.live for p in said), sum(p.warming for p in said)) if said else (None, None)


class Listener:
    """Reads words, one time after the other, and knows since when each has not changed.

    Parameters
    ----------
    group
        Whose workers.
    topics
        Replays into these.
    """

    def __init__(self, words: Words, group: str, topics: Sequence[str]) -> None:
        self._words = words
        self._group = group
        self._topics = topics
        self._changed: dict[str, tuple[float, float]] = {}

    async def heard(self, now: float) -> Heard:
        """What is said at `now` (seconds that only grow). Raises StoreError."""
        workers = heard(await self._words.told(workers_of(self._group)), WorkerWord)
        replays = {t: heard(await self._words.told(replays_into(t)), ReplayWord) for t in self._topics}
        said = {w.worker: w.at for w in workers} | {r.replay: r.at for of in replays.values() for r in of}
        ages = self._ages(said, now)
        return Heard(
            [_look(w, ages[w.worker]) for w in workers],
            {(p.stream, p.partition): p for w in sorted(workers, key=lambda w: w.at) for p in w.partitions},
            {topic: [r for r in of if ages[r.replay] < SILENT] for topic, of in replays.items()},
        )

    def _ages(self, said: Mapping[str, float], now: float) -> dict[str, float]:
        """How old each word is, s: since it was seen to change; before that, by the clock of whose it is."""
        before, self._changed = self._changed, {}
        for name, at in said.items():
            last, changed = before.get(name, (None, now - max(time.time() - at, 0.0)))
            self._changed[name] = at, changed if last in (at, None) else now
        return {name: now - changed for name, (_, changed) in self._changed.items()}


def _look(word: WorkerWord, age: float) -> WorkerLook:
    held: dict[str, list[int]] = {}
    for p in word.partitions:
        held.setdefault(p.stream, []).append(p.partition)
    return WorkerLook(
        word.worker,
        "silent" if age > SILENT else "degraded" if word.problems else "well",
        age,
        word.began,
        word.version,
        word.problems,
        word.notes,
        held,
        max((p.stored_at for p in word.partitions if p.stored_at is not None), default=None),
    )
