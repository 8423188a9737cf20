"""A topic read once, from its beginning to where it ended when reading began, by code that is not asynchronous.

For training, the doctor and the demo's report. It reads as the worker does (`pipeline.kafka.transport.fetching`): what a record batch
unpacks to is bounded before it exists, and what cannot be read is told and passed over. librdkafka, which unpacks whatever it
is sent, is for topics that only we write to.
"""

# ruff: noqa: SLF001  what aiokafka has fetched lies in its fetcher, which is private, as is its knowledge of topics that it does not read

from __future__ import annotations

import asyncio
import time
from collections import Counter
from collections.abc import Iterator
from typing import Any

import numpy as np
import structlog
from aiokafka import TopicPartition
from aiokafka.errors import CorruptRecordException, KafkaError

from pipeline.errors import BrokerError
from pipeline.kafka.clients import aiokafka_consumer, broker_error
from pipeline.kafka.topics import no_topic
from pipeline.kafka.transport.fetching import Columns, begun, fetch_again, take
from pipeline.settings import KafkaSettings
from pipeline.steps.batches.records import RecordBatch

log = structlog.get_logger(__name__)

PATIENCE = 20.0
"""Seconds without anything, before the end is reached, that are an error."""

_RECORDS = 20_000  # of a batch, at most
_ROOM = 32 << 20  # unpacked bytes behind which a batch takes in no other of Kafka's
_FETCHES = 5  # of a damaged batch: what was damaged on its way is whole the next time
_LOOK = 1.0


def read_to_the_end(
    kafka: KafkaSettings,
    topic: str,
    *,
    newest: int | None = None,
    since: int | None = None,
    only: int | None = None,
) -> Iterator[RecordBatch]:
    """All that the topic holds now, each partition in order, in batches of at most 20,000 records. No group, no offset is committed.

    Records that cannot be read are left out, with a line in the log for each stretch of them.

    Parameters
    ----------
    newest
        Only so many of each partition, as its offsets count them.
    since
        Only from this offset on.
    only
        Only this partition; none where there is no such.

    Raises
    ------
    BrokerError
        The topic is not there, or cannot be read to its end; or a partition begins behind `since`.
    """
    with asyncio.Runner() as runner:
        reading = _Reading(kafka, topic, newest, since, only)
        try:
            runner.run(reading.open())
            while (batch := runner.run(reading.next())) is not None:
                yield batch
        except (KafkaError, TimeoutError) as error:
            raise broker_error(f"read topic {topic}", error) from error
        finally:
            runner.run(reading.close())


class _Reading:
    """One pass over a topic."""

    def __init__(
        self, kafka: KafkaSettings, topic: str, newest: int | None, since: int | None, only: int | None
    ) -> None:
        self._kafka = kafka
        self._newest = newest
        self._since = since
        self._only = only
        self._topic = topic
        self._unread: dict[TopicPartition, int] = {}  # and where each ends
        self._damaged: Counter[TopicPartition] = Counter()
        self._heard = time.monotonic()
        self._consumer: Any = None

    async def open(self) -> None:
        consumer = self._consumer = aiokafka_consumer(
            self._kafka,
            enable_auto_commit=False,
            auto_offset_reset="earliest",  # records may expire while they are read
            isolation_level="read_committed",
        )
        async with asyncio.timeout(self._kafka.request_timeout.total_seconds()):
            await consumer.start()
            cluster = await consumer._client.fetch_all_metadata()
            partitions = [
                TopicPartition(self._topic, p) for p in sorted(cluster.partitions_for_topic(self._topic) or ())
            ]
            if not partitions:
                raise no_topic([self._topic], cluster.topics())
            if self._only is not None:
                partitions = [tp for tp in partitions if tp.partition == self._only]
            first, ends = await consumer.beginning_offsets(partitions), await consumer.end_offsets(partitions)
        starts = {tp: max(first[tp], self._since or 0) for tp in partitions}
        if expired := [tp for tp in partitions if self._since is not None and first[tp] > self._since]:
            tp = expired[0]
            msg = f"{self._topic}[{tp.partition}] begins at offset {first[tp]}: what is needed of it from {self._since} on expired; ask again"
            raise BrokerError(msg)
        if self._newest is not None:
            starts = {tp: max(start, ends[tp] - self._newest) for tp, start in starts.items()}
        self._unread = {tp: ends[tp] for tp in partitions if starts[tp] < ends[tp]}
        consumer.assign(list(self._unread))
        for tp in self._unread:
            consumer.seek(tp, starts[tp])

    async def next(self) -> RecordBatch | None:
        """The next records of one partition; None where all is read."""
        while self._unread:
            fetcher = self._consumer._fetcher
            for tp in sorted(fetcher._records.keys() & self._unread.keys(), key=lambda tp: not begun(fetcher, tp)):
                if (taken := self._take(fetcher, tp)) is not None and (batch := self._readable(tp, taken)):
                    return batch
            if self._unread:
                await self._wait(fetcher)
        return None

    async def close(self) -> None:
        if self._consumer is not None:
            await self._consumer.stop()

    def _take(self, fetcher: Any, tp: TopicPartition) -> Columns | None:
        try:
            taken = take(fetcher, tp, _RECORDS, room=_ROOM, despite_damage=self._damaged[tp] >= _FETCHES)
            self._damaged[tp] = 0
        except CorruptRecordException:
            self._damaged[tp] += 1
            taken = None
        finally:
            fetch_again(fetcher)
        if taken is not None:
            self._heard = time.monotonic()
            # A broker may say that a topic ends at the beginning of its last batch (Tansu does): that one is read whole.
            if taken.next_offset >= self._unread[tp] and not (tp in fetcher._records and begun(fetcher, tp)):
                del self._unread[tp]
                self._consumer.pause(tp)
        return taken

    async def _wait(self, fetcher: Any) -> None:
        """For the next fetch."""
        fetched = fetcher._create_fetch_waiter()
        try:
            await asyncio.wait([fetched], timeout=_LOOK)
            if fetched.done():
                fetched.result()
        finally:
            fetched.cancel()
        if time.monotonic() - self._heard > PATIENCE:
            msg = f"topic {self._topic} could not be read to its end: {len(self._unread)} partitions send nothing more"
            raise BrokerError(msg)

    def _readable(self, tp: TopicPartition, taken: Columns) -> RecordBatch | None:
        for refused in taken.refused.values():
            log.warning(
                "records that cannot be read are passed over", topic=tp.topic, partition=tp.partition,
                offset=refused.offset, reason=refused.detail,
            )  # fmt: skip
        batch = taken.batch(tp)
        if taken.refused:
            kept = np.flatnonzero(~np.isin(batch.offsets, list(taken.refused))).tolist()
            batch = RecordBatch(
                tp.topic,
                tp.partition,
                batch.offsets[kept],
                taken.next_offset,
                [batch.keys[i] for i in kept],
                [batch.values[i] for i in kept],
                batch.timestamps[kept],
            )
        return batch if len(batch) else None
