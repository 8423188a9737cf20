"""How far a subscriber to the alert topic has come: by itself, or as one of a group that shares the topic.

By itself it knows where each partition began and ended when it opened, and where it stands; nothing is kept. In a group, what is
committed says where it stands, and Kafka shares out the partitions.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterable
from typing import Literal

import structlog
from aiokafka import AIOKafkaConsumer, TopicPartition
from aiokafka.errors import CommitFailedError, IllegalStateError, KafkaError

from pipeline.errors import BrokerError
from pipeline.kafka.offsets import Offsets

log = structlog.get_logger(__name__)

Start = Literal["beginning", "new"]

COMMIT_EVERY = 1.0
NEW_PARTITIONS_EVERY = 30.0
"""Seconds that alerts of a partition that was added may wait to be seen."""


class ByItself:
    """Reads all partitions, those that are added too, and knows when it has read what there was.

    Parameters
    ----------
    follow
        False: it ends where the topic ended when it was opened.
    caught_up
        Set when all has been given that the topic held when it was opened.
    """

    def __init__(self, topic: str, start: Start, *, follow: bool, caught_up: asyncio.Event) -> None:
        self._topic = topic
        self._start = start
        self._follow = follow
        self._caught_up = caught_up
        self._next: dict[TopicPartition, int] = {}
        self._ends: dict[TopicPartition, int] = {}
        self._fetched: set[TopicPartition] = set()
        self._looked_at = 0.0

    async def open(self, consumer: AIOKafkaConsumer, count: int) -> None:
        """Begin at the beginning or the end of `count` partitions, and know where they ended."""
        partitions = [TopicPartition(self._topic, p) for p in range(count)]
        self._ends = await consumer.end_offsets(partitions)
        self._next = dict(self._ends if self._start == "new" else await consumer.beginning_offsets(partitions))
        self._assign(consumer)

    async def goes_on(self, consumer: AIOKafkaConsumer) -> bool:
        """Whether there is more to read. Asked before each poll."""
        if await self._at_end(consumer):
            return False
        self._take_new_partitions(consumer)
        return True

    def handled(self, partition: TopicPartition, offset: int) -> None:
        """A record was given, and the next one asked for."""
        self._next[partition] = offset + 1

    async def polled(self, consumer: AIOKafkaConsumer) -> None:
        """Nothing is kept."""

    async def close(self, consumer: AIOKafkaConsumer) -> None:
        """Nothing is kept."""

    async def _at_end(self, consumer: AIOKafkaConsumer) -> bool:
        """Whether to stop; notices when the topic's past has been given."""
        if self._caught_up.is_set():
            return not self._follow
        for partition in list(self._ends):
            if await consumer.position(partition) >= self._end(consumer, partition):
                del self._ends[partition]
        if not self._ends:
            self._caught_up.set()
        return not self._ends and not self._follow

    def _end(self, consumer: AIOKafkaConsumer, partition: TopicPartition) -> int:
        """Where a partition ended when the subscriber was opened.

        The embedded broker's own answer points into the last batch of records; what its first fetch says is right.
        """
        if partition not in self._fetched and (highwater := consumer.highwater(partition)) is not None:
            self._fetched.add(partition)
            self._ends[partition] = max(self._ends[partition], highwater)
        return self._ends[partition]

    def _take_new_partitions(self, consumer: AIOKafkaConsumer) -> None:
        """Read partitions that were added, too: aiokafka would do so by itself, and forget where it stood in the others."""
        now = asyncio.get_running_loop().time()
        if now - self._looked_at < NEW_PARTITIONS_EVERY:
            return
        self._looked_at = now
        known = consumer.partitions_for_topic(self._topic) or ()
        added = {TopicPartition(self._topic, p) for p in known} - self._next.keys()
        if added:
            self._next |= dict.fromkeys(sorted(added), 0)
            self._assign(consumer)

    def _assign(self, consumer: AIOKafkaConsumer) -> None:
        consumer.assign(list(self._next))
        for partition, offset in self._next.items():
            consumer.seek(partition, offset)


class InGroup:
    """Reads the partitions that Kafka gives it, and commits what was handled."""

    def __init__(self, topic: str, start: Start, group: str) -> None:
        self._topic = topic
        self._start = start
        self._group = group
        self._handled: dict[TopicPartition, int] = {}
        self._committed_at = 0.0

    def begin(self, offsets: Offsets, partitions: Iterable[int]) -> None:
        """Commit where a new group begins, for all partitions at once, before anybody of it reads.

        Kafka takes it only while the group is empty, so it cannot undo what somebody has handled. Where members are there
        already, they have done the same before they joined.
        """
        if offsets.committed(self._group, self._topic, partitions):
            return
        bounds = offsets.bounds(self._topic, partitions)
        begin = {p: b.end if self._start == "new" else b.first for p, b in bounds.items()}
        try:
            offsets.commit(self._group, self._topic, begin)
        except BrokerError as error:
            if not offsets.committed(self._group, self._topic, partitions):
                msg = f"group {self._group} cannot begin: {error}; its members have never said where they are: stop them first, or name another group"
                raise BrokerError(msg) from error
        else:
            log.info("group begins", topic=self._topic, group=self._group, at=self._start)

    async def open(self, consumer: AIOKafkaConsumer, count: int) -> None:
        """What is committed says where it begins."""

    async def goes_on(self, consumer: AIOKafkaConsumer) -> bool:
        """Always: a group follows."""
        return True

    def handled(self, partition: TopicPartition, offset: int) -> None:
        """A record was given, and the next one asked for."""
        self._handled[partition] = offset + 1

    async def polled(self, consumer: AIOKafkaConsumer) -> None:
        """Commit now and then."""
        now = asyncio.get_running_loop().time()
        if now - self._committed_at >= COMMIT_EVERY:
            self._committed_at = now
            await self._commit(consumer)

    async def close(self, consumer: AIOKafkaConsumer) -> None:
        """Commit what was handled."""
        await self._commit(consumer)

    async def _commit(self, consumer: AIOKafkaConsumer) -> None:
        mine = consumer.assignment()
        self._handled = {partition: offset for partition, offset in self._handled.items() if partition in mine}
        if not self._handled:
            return
        try:
            await consumer.commit(self._handled)
        except (CommitFailedError, IllegalStateError):  # the partitions went to another of the group: it repeats them
            log.info("partitions moved before a commit", topic=self._topic, group=self._group)
        except KafkaError as error:
            log.warning("offsets not committed, trying again", topic=self._topic, group=self._group, reason=str(error))
            return
        self._handled.clear()
