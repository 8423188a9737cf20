"""What each worker of a group says of itself in the store, every few seconds, for people who look at all of them from outside.

Nothing is decided by it: it is neither state nor fence, and a worker whose word cannot be written works on. A word is bounded, whatever the
worker has to say, and it goes with the worker; one of a worker that was killed is taken away by others after `FORGOTTEN`.
"""

from __future__ import annotations

import os
import platform
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Protocol

import msgspec

EVERY = 5.0
"""Seconds between two words of a worker."""
FORGOTTEN = 3600.0
"""Seconds after which the word of a worker that said no other is taken away."""
_LINES, _LENGTH = 8, 300
_PARTITIONS = 1000


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


class Words(Protocol):
    """Where words are kept; `RedisStore` is one. Methods raise StoreError where it does not answer."""

    async def tell(self, group: str, worker: str, word: bytes) -> None:
        """Keep a worker's word in place of its last one."""
        ...

    async def told(self, group: str) -> dict[str, bytes]:
        """The word of each worker."""
        ...

    async def untell(self, group: str, workers: Sequence[str]) -> None:
        """Take words away."""
        ...


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


def heard(words: Mapping[str, bytes]) -> list[WorkerWord]:
    """Words by worker, those that cannot be read left out: a newer version's, or no word at all."""
    found = []
    for name in sorted(words):
        try:
            found.append(msgspec.json.decode(words[name], type=WorkerWord))
        except msgspec.DecodeError:
            continue
    return found


async def forget_old(words: Words, group: str, now: float) -> None:
    """Take away what workers said that have said nothing for long."""
    told = await words.told(group)
    recent = {w.worker for w in heard(told) if now - w.at < FORGOTTEN}
    if old := sorted(set(told) - recent):
        await words.untell(group, old)


def _short(lines: Sequence[str]) -> list[str]:
    more = [f"and {len(lines) - _LINES + 1} more"] if len(lines) > _LINES else []
    kept = lines[: _LINES - 1] if more else lines
    return [line[:_LENGTH] for line in kept] + more
