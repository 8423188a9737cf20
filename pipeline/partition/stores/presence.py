"""What workers and replays say of themselves in the store, every few seconds, for people who look at all of them from outside.

Nothing is decided by it: it is neither state nor fence, and whose word cannot be written works on. A word is bounded, whatever there is to say,
and it goes with who said it; one of a process that was killed is taken away by the next that begins `FORGOTTEN` later.
"""

from __future__ import annotations

import os
import platform
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from typing import Protocol, TypeVar

import msgspec

EVERY = 5.0
"""Seconds between two words."""
FORGOTTEN = 3600.0
"""Seconds after which a word that no other followed is taken away."""
_LINES, _LENGTH = 8, 300
_PARTITIONS = 1000
_W = TypeVar("_W")


class PartitionWord(msgspec.Struct, frozen=True, omit_defaults=True):
    """One partition that a worker holds: series in probation and out of it, and its last checkpoint (offset, s since the epoch)."""

    stream: str
    partition: int
    warming: int = 0
    live: int = 0
    offset: int | None = None
    stored_at: float | None = None


class WorkerWord(msgspec.Struct, frozen=True):
    """One worker: `problems` are why it is not well, `notes` what is odd about its input (`/healthz`); times in s since the epoch."""

    worker: str
    version: str
    began: float
    at: float
    problems: list[str]
    notes: list[str]
    partitions: list[PartitionWord]


class _Dated(msgspec.Struct, frozen=True):
    """As much of any word as says how old it is."""

    at: float


class ReplayWord(msgspec.Struct, frozen=True):
    """A replay into a topic: `sent` of `total` observations (None: it begins again at the end), up to the event time `when` (ms)."""

    replay: str
    source: str
    at: float
    sent: int
    total: int | None
    when: int
    speed: str


class Words(Protocol):
    """Where words are kept; `RedisStore` is one. Methods raise StoreError where it does not answer.

    `among` is whose words: `workers_of(group)`, `replays_into(topic)`.
    """

    async def tell(self, among: str, name: str, word: bytes) -> None:
        """Keep a word in place of the last one of that name."""
        ...

    async def told(self, among: str) -> dict[str, bytes]:
        """The words by name."""
        ...

    async def untell(self, among: str, names: Sequence[str]) -> None:
        """Take words away."""
        ...


def workers_of(group: str) -> str:
    """The words of a group's workers."""
    return f"workers:{group}"


def replays_into(topic: str) -> str:
    """The words of replays into a topic."""
    return f"replays:{topic}"


class Presence:
    """Collects what one worker has to say; told by the metrics, once per checkpoint.

    Parameters
    ----------
    clock
        Seconds since the epoch.
    """

    def __init__(self, version: str = "", *, worker: str = "", clock: Callable[[], float] = time.time) -> None:
        self.worker = worker or f"{platform.node()}:{os.getpid()}"
        self._version = version
        self._clock = clock
        self._began = clock()
        self._held: dict[tuple[str, int], PartitionWord] = {}

    def series(self, stream: str, partition: int, *, warming: int, live: int) -> None:
        """How many series are held, in probation and out of it."""
        word = self._of(stream, partition)
        self._held[stream, partition] = msgspec.structs.replace(word, warming=warming, live=live)

    def checkpoint(self, stream: str, partition: int, offset: int) -> None:
        """All before an offset is in the store."""
        word = self._of(stream, partition)
        self._held[stream, partition] = msgspec.structs.replace(word, offset=offset, stored_at=self._clock())

    def forget(self, stream: str, partition: int) -> None:
        """The partition was given away."""
        self._held.pop((stream, partition), None)

    def word(self, problems: Sequence[str], notes: Sequence[str]) -> bytes:
        """What is to be said now; of very many partitions and problems, the first."""
        held = [self._held[key] for key in sorted(self._held)[:_PARTITIONS]]
        return msgspec.json.encode(
            WorkerWord(self.worker, self._version, self._began, self._clock(), _short(problems), _short(notes), held)
        )

    def _of(self, stream: str, partition: int) -> PartitionWord:
        return self._held.get((stream, partition)) or PartitionWord(stream, partition)


class Replaying:
    """Collects how far a replay is; `sent` and `when` are set as it goes.

    Parameters
    ----------
    source
        The data set's name.
    total
        Observations; None where it begins again at its end.
    clock
        Seconds since the epoch.
    """

    def __init__(self, source: str, total: int | None, speed: str, *, clock: Callable[[], float] = time.time) -> None:
        self.name = f"{platform.node()}:{os.getpid()}:{source[:100]}"
        self.sent, self.when = 0, 0
        self._source, self._total, self._speed, self._clock = source[:_LENGTH], total, speed, clock

    def word(self) -> bytes:
        """What is to be said now."""
        return msgspec.json.encode(
            ReplayWord(self.name, self._source, self._clock(), self.sent, self._total, self.when, self._speed)
        )


def heard(words: Mapping[str, bytes], kind: type[_W]) -> list[_W]:
    """Words by name, those that cannot be read left out: a newer version's, or no word at all."""
    found = []
    for name in sorted(words):
        with suppress(msgspec.DecodeError):
            found.append(msgspec.json.decode(words[name], type=kind))
    return found


async def forget_old(words: Words, among: str, now: float) -> None:
    """Take away the words of who has said nothing for long, before one's own."""

    def old(word: bytes) -> bool:
        said = heard({"": word}, _Dated)
        return not said or now - said[0].at >= FORGOTTEN

    told = await words.told(among)
    if gone := sorted(name for name, word in told.items() if old(word)):
        await words.untell(among, gone)


def _short(lines: Sequence[str]) -> list[str]:
    more = [f"and {len(lines) - _LINES + 1} more"] if len(lines) > _LINES else []
    kept = lines[: _LINES - 1] if more else lines
    return [line[:_LENGTH] for line in kept] + more
