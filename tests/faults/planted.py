"""A worker with something planted in it: `python planted.py PLANT worker --config FILE`.

Three kinds: guarantees broken on purpose, by which the suite's checks are seen to fail; detectors that misbehave; and patience that is
shorter or longer than the product's. None has a way in through the product: they are put into its modules here, before its own command line runs.
"""

from __future__ import annotations

import asyncio
import os
import signal
import sys
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from datetime import timedelta
from functools import partialmethod
from pathlib import Path
from typing import Any

import numpy as np
import structlog
from aiokafka import AIOKafkaConsumer
from numpy.typing import NDArray

from detectors.base import Scores
from detectors.baselines import ZScore
from pipeline.cli import main
from pipeline.kafka.publisher import KafkaPublisher
from pipeline.operations.health import Health
from pipeline.partition import stream, ticking
from pipeline.partition.deciding.decisions import Decisions
from pipeline.partition.deciding.what import Decision
from pipeline.partition.loop import PartitionLoop
from pipeline.partition.outbox import Outbox
from pipeline.partition.stores import redis as stores
from pipeline.partition.stores.base import Claim, Identity
from pipeline.steps import state
from pipeline.steps.scoring import Scorer

log = structlog.get_logger(__name__)


HOLE = "in the hole"
"""Logged where a kill now would show what was broken: the test waits for it."""


def checkpoint_before_alerts() -> None:
    """Offsets go to the store while what was published is still on its way."""
    written = PartitionLoop._written
    on_their_way: set[Outbox] = set()

    async def acknowledged(self: Outbox, upto: int | None = None) -> None:
        if not all(future.done() for future in self._sent):
            on_their_way.add(self)
        self._sent.clear()

    def then(self: PartitionLoop, offset: int, size: int, seconds: float) -> None:
        written(self, offset, size, seconds)
        if self.outbox in on_their_way:
            on_their_way.discard(self.outbox)
            log.info(HOLE)

    Outbox.acknowledged = acknowledged  # type: ignore[method-assign]
    PartitionLoop._written = then  # type: ignore[method-assign]
    KafkaPublisher.__init__ = partialmethod(KafkaPublisher.__init__, linger=5.0)  # type: ignore[method-assign]


def offset_apart() -> None:
    """Fields first, the offset in a second write."""
    whole = stores.RedisStore.save

    async def save(
        self: stores.RedisStore,
        claim: Claim,
        offset: int,
        identity: Identity,
        changed: Mapping[str, bytes],
        **rest: Any,
    ) -> Claim:
        key = self._key(claim.stream, claim.partition)
        era = await self._redis.hget(key, "era")  # type: ignore[misc]
        mark = f"@{era.decode()}" if era else ""
        fields = {f"f:{name}{mark}": value for name, value in changed.items()}
        await self._redis.hset(key, mapping=fields)  # type: ignore[misc]
        log.info(HOLE)
        await asyncio.sleep(5.0)
        return await whole(self, claim, offset, identity, changed, **rest)

    stores.RedisStore.save = save  # type: ignore[method-assign]


def no_nonce() -> None:
    """Whoever writes last wins: nonce, sequence and offset are not compared."""
    _without("if owner ~= nonce", "if (stored_sequence or '-1') ~= sequence", "if stored_offset and ahead")


def no_sequence() -> None:
    """A store that went back in time is not noticed."""
    _without("if (stored_sequence or '-1') ~= sequence")


def _without(*checks: str) -> None:
    """The script that saves, without the lines that begin so."""
    original = stores._Script.__init__

    def init(self: stores._Script, name: str) -> None:
        original(self, name)
        lines = self._text.splitlines()
        if name == "save":
            assert all(any(line.startswith(check) for line in lines) for check in checks)
        self._text = "\n".join(line for line in lines if not line.startswith(checks))
        self._sha = stores.hashlib.sha1(self._text.encode(), usedforsecurity=False).hexdigest()

    stores._Script.__init__ = init  # type: ignore[method-assign]


WILD = 100.0
"""A jump by so many scales at a window's end is what the planted detectors cannot bear."""


def _misbehaving(misbehave: Callable[[], Any]) -> None:
    """The z-score does something else where a window ends in a jump."""
    proper = ZScore._score

    def score(self: ZScore, x: NDArray[np.float32]) -> Scores:
        scores = proper(self, x)
        if not (wild := x[:, -1, 0] - x[:, -2, 0] > WILD).any() or (answer := misbehave()) is None:
            return scores
        return Scores(np.where(wild, answer, scores.raw), scores.expected, scores.contributions)

    ZScore._score = score  # type: ignore[method-assign]


def detector_raises() -> None:
    """It raises on some inputs."""

    def misbehave() -> None:
        raise ArithmeticError("planted")

    _misbehaving(misbehave)


def detector_is_not_a_number() -> None:
    """It answers NaN on some inputs."""
    _misbehaving(lambda: np.nan)


def detector_hangs() -> None:
    """It hangs on some input: in the first process that meets it, as after a fault of the device."""
    met = Path("hung")

    def misbehave() -> None:
        if not met.exists():
            met.touch()
            threading.Event().wait()

    _misbehaving(misbehave)
    Scorer.__init__ = partialmethod(Scorer.__init__, timeout=timedelta(seconds=15))  # type: ignore[method-assign]


def detector_hangs_for_good() -> None:
    """It hangs on some input, and nobody loses patience; what tells of the worker's health does so soon."""
    _misbehaving(lambda: threading.Event().wait())
    Scorer.__init__ = partialmethod(Scorer.__init__, timeout=timedelta(hours=1))  # type: ignore[method-assign]
    Health.__init__ = partialmethod(Health.__init__, patience=1.0)  # type: ignore[assignment,method-assign]


def detector_wants_memory() -> None:
    """It has memory for 16 windows at a time."""
    import torch

    proper = ZScore.score

    def score(self: ZScore, x: NDArray[np.float32]) -> Scores:
        if len(x) > 16:
            raise torch.OutOfMemoryError("planted: no memory for more than 16 windows")
        return proper(self, x)

    ZScore.score = score  # type: ignore[method-assign, assignment]


def clock_jumps() -> None:
    """The wall clock jumps by a day, forth and back, every second."""
    right, right_ns = time.time, time.time_ns

    def shift() -> int:
        return (0, 86_400, -86_400)[int(right()) % 3]

    time.time = lambda: right() + shift()
    time.time_ns = lambda: right_ns() + shift() * 10**9


def hears_quickly() -> None:
    """It asks Kafka for news of its topics every 2 s."""
    create = AIOKafkaConsumer.__init__

    def init(self: AIOKafkaConsumer, *topics: str, **options: Any) -> None:
        create(self, *topics, **options | {"metadata_max_age_ms": 2_000})

    AIOKafkaConsumer.__init__ = init  # type: ignore[method-assign]


def impatient() -> None:
    """It believes after a second that a log has ended."""
    ticking.QUIET = 1.0


def dies_behind_a_tick() -> None:
    """The same; it has written a tick, and does nothing more: the test kills it there."""
    impatient()
    take = Decisions.tick

    async def tick(self: Decisions, event_time: int, position: int, at: int) -> bool:
        taken = await take(self, event_time, position, at)
        log.info(HOLE)
        await asyncio.sleep(3600)
        return taken

    Decisions.tick = tick  # type: ignore[method-assign]


def _stops(behind: bool, stop: Callable[[], None]) -> None:
    """Something happens where a partition takes what people decide: just before it writes the line, or behind that, before anything follows."""
    take = Decisions.take

    async def stopping(self: Decisions, decisions: Sequence[Decision], position: int) -> None:
        if behind:
            await take(self, decisions, position)
        if self.in_force.serial:  # else it is the settings that the partition begins with
            log.info(HOLE)
            await asyncio.sleep(5.0)  # all partitions come here
            stop()
        if not behind:
            await take(self, decisions, position)

    Decisions.take = stopping  # type: ignore[method-assign]


def sleeps_before_it_takes() -> None:
    """It falls asleep just before it writes that it takes a decision, in all partitions."""
    _stops(False, _sleep_once())


def sleeps_behind_a_decision() -> None:
    """It falls asleep when it has taken a decision, in all partitions, and nothing of it is in the store."""
    _stops(True, _sleep_once())


def _sleep_once() -> Callable[[], None]:
    slept: list[bool] = []

    def sleep() -> None:
        if not slept:
            slept.append(True)
            os.kill(os.getpid(), signal.SIGSTOP)

    return sleep


def next_version() -> None:
    """A later version, whose state format is one on; it reads today's."""
    today = state.FORMAT
    state.MIGRATIONS[today] = lambda fields, _: fields
    state.FORMAT = stream.FORMAT = today + 1


PLANTS: Mapping[str, Callable[[], None]] = {
    plant.__name__: plant
    for plant in (
        checkpoint_before_alerts,
        offset_apart,
        no_nonce,
        no_sequence,
        detector_raises,
        detector_is_not_a_number,
        detector_hangs,
        detector_hangs_for_good,
        detector_wants_memory,
        clock_jumps,
        hears_quickly,
        impatient,
        dies_behind_a_tick,
        sleeps_before_it_takes,
        sleeps_behind_a_decision,
        next_version,
    )
}


if __name__ == "__main__":
    PLANTS[sys.argv.pop(1)]()
    main()
