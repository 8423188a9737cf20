"""Raw topics read by a consumer group: records of the partitions that this process holds, in order, bounded as a worker's.

Which partitions these are the group decides, so any number of processes share the work. A partition is read on at the offset that the group has
committed with the topic's id beside it; where that is another topic's of the same name (deleted and created again), from the beginning. Beside the id stands
which mapping reads the partition, and from which offset on (`pipeline.intake.changes`).
"""

# ruff: noqa: SLF001  what aiokafka has fetched lies in its fetcher, which is private; `record_batches.install` refuses versions that were not tried

from __future__ import annotations

import asyncio
import re
from collections import Counter
from collections.abc import Awaitable, Callable, Collection, Mapping, Sequence
from fnmatch import translate
from typing import Any, NamedTuple

from aiokafka import AIOKafkaConsumer, ConsumerRebalanceListener, TopicPartition
from aiokafka.coordinator.assignors.abstract import AbstractPartitionAssignor
from aiokafka.coordinator.assignors.roundrobin import RoundRobinPartitionAssignor
from aiokafka.coordinator.protocol import ConsumerProtocolMemberAssignment, ConsumerProtocolMemberMetadata
from aiokafka.errors import CommitFailedError, CorruptRecordException, IllegalStateError
from aiokafka.structs import OffsetAndMetadata

from pipeline.kafka.clients import aiokafka_consumer
from pipeline.kafka.transport.fetching import begun, fetch_again, take
from pipeline.settings import KafkaSettings
from pipeline.steps.batches.records import RecordBatch

NEW_TOPICS = 30_000
"""Milliseconds after which topics that match a pattern, and partitions that were added, are found."""

_RECORDS = 10_000  # of a batch
_ROOM = 16 << 20  # unpacked bytes behind which a batch takes in no other of Kafka's
_FETCHES = 5  # of a damaged batch: what was damaged on its way is whole the next time


class AllToOne(AbstractPartitionAssignor):  # type: ignore[misc]
    """All partitions to one member: only who reads them all can put in order what lies in pieces."""

    name = "tidewatch-all-to-one"
    version = 0

    @classmethod
    def assign(cls, cluster: Any, members: Mapping[str, Any]) -> dict[str, ConsumerProtocolMemberAssignment]:
        """Whom the group's leader gives what."""
        topics = sorted({topic for member in members.values() for topic in member.subscription})
        everything = {topic: sorted(cluster.partitions_for_topic(topic) or ()) for topic in topics}
        chosen = min(members)
        return {
            member: ConsumerProtocolMemberAssignment(
                cls.version, sorted(everything.items()) if member == chosen else [], b""
            )
            for member in members
        }

    @classmethod
    def metadata(cls, topics: Collection[str]) -> ConsumerProtocolMemberMetadata:
        """What a member says of itself."""
        return ConsumerProtocolMemberMetadata(cls.version, list(topics), b"")

    @classmethod
    def on_assignment(cls, assignment: Any) -> None:
        """Nothing is kept."""


class Begin(NamedTuple):
    """Where a partition is read on.

    Attributes
    ----------
    since
        From which offset on the mapping of now has read it.
    changed
        Whether what lies before was read by another mapping.
    missed
        How many records expired that nobody had read.
    """

    topic_id: str
    offset: int
    since: int = 0
    changed: bool = False
    missed: int = 0

    @classmethod
    def of(cls, topic_id: str, mapping: str, first: int, committed: tuple[int, str] | None) -> Begin:
        """From where the log begins, and from what the group has committed (offset and what stands beside it), where that is of this topic."""
        offset, (of, before, since) = -1, ("", "", "")
        if committed is not None:
            offset, (of, before, since) = committed[0], [*committed[1].split(" "), "", ""][:3]
        if offset < 0 or of != topic_id:
            return cls(topic_id, first, first)
        start = max(first, offset)
        began = int(since) if before == mapping and since.isdigit() else start
        return cls(topic_id, start, began, before not in ("", mapping), start - offset)


def beside(topic_id: str, mapping: str, since: int) -> str:
    """What stands beside a committed offset."""
    return f"{topic_id} {mapping} {since}"


class Reader(ConsumerRebalanceListener):  # type: ignore[misc]
    """The consumer of one intake.

    Parameters
    ----------
    topics
        Names or globs.
    share
        Whether members of the group share the partitions; else one has them all, and the others stand by.
    ids
        Asks Kafka for the ids of topics.
    assigned, revoked
        Told of the partitions, and where each begins; and before all are let go.
    mapping
        How records become observations: an id.
    missed
        Told of a partition of which so many records expired before they were read.
    """

    def __init__(
        self,
        kafka: KafkaSettings,
        group: str,
        topics: Sequence[str],
        *,
        share: bool,
        session_timeout: float,
        ids: Callable[[Collection[str]], Awaitable[Mapping[str, str]]],
        mapping: str,
        assigned: Callable[[Mapping[TopicPartition, Begin]], None],
        revoked: Callable[[], Awaitable[None]],
        missed: Callable[[TopicPartition, int], None],
    ) -> None:
        self._ids = ids
        self._mapping = mapping
        self._since: dict[TopicPartition, int] = {}
        self._assigned = assigned
        self._revoked = revoked
        self._missed = missed
        self._damaged: Counter[TopicPartition] = Counter()
        self._next: dict[TopicPartition, int] = {}
        self._failure: Exception | None = None
        self._pattern = "|".join(translate(topic) for topic in topics)
        self._consumer: AIOKafkaConsumer = aiokafka_consumer(
            kafka,
            group_id=group,
            enable_auto_commit=False,
            auto_offset_reset="earliest",
            partition_assignment_strategy=(RoundRobinPartitionAssignor if share else AllToOne,),
            isolation_level="read_committed",
            session_timeout_ms=round(session_timeout * 1000),
            heartbeat_interval_ms=round(session_timeout * 1000 / 4),
            request_timeout_ms=max(40_000, round(session_timeout * 1000)),
            max_poll_interval_ms=2**31 - 1,  # it waits for the broker that it writes to as long as need be
            metadata_max_age_ms=NEW_TOPICS,
            fetch_max_bytes=16 << 20,
        )

    async def start(self) -> None:
        """Join the group."""
        await self._consumer.start()
        self._consumer.subscribe(pattern=re.compile(self._pattern).pattern, listener=self)

    async def stop(self) -> None:
        """Leave it."""
        await self._consumer.stop()

    async def on_partitions_revoked(self, revoked: Collection[TopicPartition]) -> None:
        """Rebalances are eager: all are let go."""
        await self._revoked()

    async def on_partitions_assigned(self, assigned: Collection[TopicPartition]) -> None:
        """Find where to read each; aiokafka would only log what goes wrong."""
        try:
            await self._open(assigned)
        except Exception as error:
            self._failure = error

    async def _open(self, assigned: Collection[TopicPartition]) -> None:
        if not assigned:
            self._assigned({})
            return
        ids = await self._ids({tp.topic for tp in assigned})
        committed = await self._consumer._coordinator.fetch_committed_offsets(list(assigned))
        first = await self._consumer.beginning_offsets(list(assigned))
        held = {}
        for tp in assigned:
            known = committed.get(tp)
            told = None if known is None else (int(known.offset), str(known.metadata or ""))
            begin = held[tp] = Begin.of(ids.get(tp.topic, ""), self._mapping, int(first[tp]), told)
            if begin.missed:
                self._missed(tp, begin.missed)
            self._consumer.seek(tp, begin.offset)
        self._since = {tp: begin.since for tp, begin in held.items()}
        self._next = {tp: begin.offset for tp, begin in held.items()}
        self._assigned(held)

    async def wait(self, seconds: float) -> None:
        """Until something was fetched, or for so long. Raises what reading cannot go on for."""
        if self._failure is not None:
            raise self._failure
        self._consumer._coordinator.check_errors()
        fetched = self._consumer._fetcher._create_fetch_waiter()
        try:
            await asyncio.wait([fetched], timeout=seconds)
            if fetched.done():
                fetched.result()
        finally:
            fetched.cancel()

    def take(self, wanted: Collection[TopicPartition]) -> list[tuple[TopicPartition, RecordBatch]]:
        """What is there of the wanted partitions, at most one batch of each. What is not wanted now waits, and no more of it is fetched."""
        fetcher = self._consumer._fetcher
        out = []
        for tp in sorted(fetcher._records.keys() & set(wanted), key=lambda tp: not begun(fetcher, tp)):
            try:
                taken = take(fetcher, tp, _RECORDS, room=_ROOM, despite_damage=self._damaged[tp] >= _FETCHES)
                self._damaged[tp] = 0
            except CorruptRecordException:
                self._damaged[tp] += 1
                taken = None
            if taken is not None:
                if (missed := taken.start - self._next.get(tp, taken.start)) > 0:
                    self._missed(tp, missed)
                self._next[tp] = taken.next_offset
                out.append((tp, taken.batch(tp)))
        if out:
            fetch_again(fetcher)
        return out

    def answered(self, tp: TopicPartition) -> tuple[int, int] | None:
        """When the last fetch of a partition was answered (ms), and where the log ended then; None: nothing was heard yet."""
        assignment = self._consumer._subscription.subscription.assignment
        state = None if assignment is None or tp not in assignment.tps else assignment.state_value(tp)
        if state is None or state.highwater is None:
            return None
        return int(state.timestamp or 0), int(state.highwater)

    async def commit(self, offsets: Mapping[TopicPartition, tuple[int, str]]) -> bool:
        """Commit offsets with their topics' ids; False where the partitions are somebody else's now."""
        try:
            await self._consumer.commit(
                {
                    tp: OffsetAndMetadata(offset, beside(topic_id, self._mapping, self._since.get(tp, offset)))
                    for tp, (offset, topic_id) in offsets.items()
                }
            )
        except (CommitFailedError, IllegalStateError):
            return False
        return True
