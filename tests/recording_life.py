"""A loop that only remembers what it was given, for the tests of the transport: what a store would hold, it holds in a dict."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import timedelta

from kafka_fixtures import committed_offsets

from pipeline.kafka.agents import App
from pipeline.settings import KafkaSettings, Settings, WorkerSettings
from pipeline.steps.batches.records import RecordBatch, Standing

WAIT = 60.0


@dataclass
class Seen:
    """What one partition has in the store: its offset and every record before it that was processed."""

    offset: int | None = None
    offsets: list[int] = field(default_factory=list)
    keys: list[bytes | None] = field(default_factory=list)
    values: list[bytes | None] = field(default_factory=list)


@dataclass
class Book:
    """The store, and the knobs by which a test holds up or breaks the loops."""

    stored: dict[tuple[str, int], Seen] = field(default_factory=dict)
    events: list[tuple[str, str, int]] = field(default_factory=list)
    lives: list[Life] = field(default_factory=list)
    checkpoints: bool = True
    before_batch: Callable[[Life, RecordBatch], Awaitable[None]] | None = None
    on_load: Callable[[Life], Awaitable[None]] | None = None

    def of(self, topic: str, partition: int = 0) -> Seen:
        return self.stored.setdefault((topic, partition), Seen())

    def total(self) -> int:
        return sum(len(seen.offsets) for seen in self.stored.values())

    def make(self, name: str = "worker") -> Callable[..., Life]:
        def make(
            topic: str,
            partition: int,
            *,
            still_owner: Callable[[], Awaitable[bool]],
            surely_owner: Callable[[], bool],
            end_of_log: Callable[[], Awaitable[int]],
            generation: int,
        ) -> Life:
            life = Life(self, name, topic, partition, still_owner)
            self.lives.append(life)
            return life

        return make


class Life:
    """A PartitionLife. `batch` remembers, `checkpoint` moves what is remembered into the book."""

    def __init__(
        self, book: Book, name: str, topic: str, partition: int, still_owner: Callable[[], Awaitable[bool]]
    ) -> None:
        self.book = book
        self.name = name
        self.topic = topic
        self.partition = partition
        self.still_owner = still_owner
        self.position = self.checkpointed = -1
        self.batches: list[RecordBatch] = []
        self.missed: list[int] = []
        self.standing: Standing | None = None
        self.idles = 0
        self.working = 0

    async def assigned(self) -> int | None:
        self._note("assigned")
        if self.book.on_load is not None:
            await self.book.on_load(self)
        stored = self.book.of(self.topic, self.partition).offset
        if stored is not None:
            self.position = self.checkpointed = stored
        return stored

    async def begin(self, now: Standing) -> int:
        self.standing = now
        return now.first if self.position < 0 else max(self.position, now.first)

    async def batch(self, records: RecordBatch) -> None:
        assert not self.working, "two batches of one partition at once"
        self.working += 1
        try:
            if self.book.before_batch is not None:
                await self.book.before_batch(self, records)
            self.batches.append(records)
            self.missed.append(records.missed)
            self.position = records.next_offset
        finally:
            self.working -= 1
        if self.book.checkpoints:
            self.checkpoint()

    def checkpoint(self) -> None:
        seen = self.book.of(self.topic, self.partition)
        for batch in self.batches:
            seen.offsets += batch.offsets.tolist()
            seen.keys += batch.keys
            seen.values += batch.values
        self.batches.clear()
        seen.offset = self.checkpointed = self.position

    async def idle(self) -> None:
        self.idles += 1

    async def revoked(self) -> None:
        self._note("revoked")
        if self.position > self.checkpointed and not self.working and self.book.checkpoints:
            self.checkpoint()

    def _note(self, what: str) -> None:
        self.book.events.append((what, self.name, self.partition))


def settings_of(kafka: str, group: str, **worker: object) -> Settings:
    """Settings of a worker of this group; a short session, so that tests need not wait for it."""
    worker = {"session_timeout": timedelta(seconds=6), **worker}
    return Settings(kafka=KafkaSettings(brokers=kafka), worker=WorkerSettings(group=group, **worker))


@asynccontextmanager
async def worker(settings: Settings, topics: str | list[str], book: Book, name: str = "worker") -> AsyncIterator[App]:
    """A worker that runs while the block does; an error that ended it is raised at the end."""
    app = App.create(settings, [topics] if isinstance(topics, str) else topics, book.make(name))
    serving = asyncio.create_task(app.serve())
    try:
        yield app
    finally:
        app.ended.set()
        await serving


async def until(true: Callable[[], object], what: str = "", *, timeout: float = WAIT) -> None:
    """Wait for a condition; fails with its name after `timeout` s."""
    try:
        async with asyncio.timeout(timeout):
            while not true():
                await asyncio.sleep(0.02)
    except TimeoutError:
        raise AssertionError(f"waited {timeout} s for: {what or true}") from None


def committed(kafka: str, group: str, topic: str, partition: int = 0) -> int | None:
    """The group's committed offset, as Kafka has it."""
    offset = committed_offsets(kafka, group, topic, [partition])[partition]
    return None if offset < 0 else offset
