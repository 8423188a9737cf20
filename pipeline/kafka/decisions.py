"""The topic of decisions: where each partition writes which decision it took at which offset (`pipeline.partition.deciding.decisions`).

One partition, so that all lines have one order; kept for ever, for a log that is read back needs them. Little is ever written: a line for each
assignment of a partition, and one for each decision that it takes.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import NamedTuple

from aiokafka import AIOKafkaConsumer, TopicPartition
from aiokafka.errors import KafkaError

from pipeline.errors import BrokerError
from pipeline.kafka.clients import aiokafka_consumer, broker_error
from pipeline.kafka.topics import no_topic
from pipeline.settings import KafkaSettings

_POLL_MS = 200
_BY_BROKER = 1
"""Of Kafka's kinds of time stamps the one that the broker sets (LogAppendTime)."""
_READ_WITHIN = 5.0
"""Seconds."""


class Line(NamedTuple):
    """A line, and when it came to the broker by the broker's clock (ms since the epoch); None where the topic keeps the writers' clocks."""

    body: bytes
    arrived: int | None


class DecisionTopic:
    """Reads the topic's lines; each call reads what came since the one before. Used on one event loop.

    Parameters
    ----------
    stays
        The connection is kept from one reading to the next, until `close`: whoever reads often spares a tenth of a second each time.
    """

    def __init__(self, kafka: KafkaSettings, topic: str, *, stays: bool = False) -> None:
        self.name = topic
        self._stays = stays
        self._consumer: AIOKafkaConsumer | None = None
        self._kafka = kafka
        self._lines: list[Line] = []
        self._next = 0
        self._begun = 0
        self._whole = 0  # the last reading that came to its end, of those begun
        self._reading = asyncio.Lock()
        self._seconds = kafka.request_timeout.total_seconds()

    async def read(self) -> Sequence[Line]:
        """All lines that the topic holds when this is called, at least; several who ask at a time are served by one reading.

        Raises
        ------
        BrokerError
            Kafka does not answer, there is no such topic, or reading it is not allowed.
        """
        before = self._begun
        async with self._reading:
            if self._whole <= before:  # none that began after this was called has come to its end
                self._begun += 1
                try:
                    await self._read()
                except (KafkaError, TimeoutError) as error:
                    raise broker_error(f"read topic {self.name}", error) from error
                self._whole = self._begun
        return self._lines

    async def close(self) -> None:
        """Let the connection go; who reads again makes another."""
        consumer, self._consumer = self._consumer, None
        if consumer is not None:
            await consumer.stop()

    async def _read(self) -> None:
        consumer = self._consumer
        whole = False
        try:
            if consumer is None:
                consumer = aiokafka_consumer(self._kafka, enable_auto_commit=False, auto_offset_reset="earliest")
                async with asyncio.timeout(self._seconds):
                    await consumer.start()
            await self._read_on(consumer)
            whole = True
        finally:
            self._consumer = consumer if whole and self._stays else None
            if consumer is not None and self._consumer is None:
                await consumer.stop()

    async def _read_on(self, consumer: AIOKafkaConsumer) -> None:
        tp = TopicPartition(self.name, 0)
        async with asyncio.timeout(self._seconds):
            if self.name not in await consumer.topics():
                raise no_topic([self.name], ())
            first = (await consumer.beginning_offsets([tp]))[tp]
            end = (await consumer.end_offsets([tp]))[tp]
        if tp in consumer.assignment():
            consumer.resume(tp)
        else:
            consumer.assign([tp])
        if end < self._next and not await self._holds(consumer, tp, self._next - 1):
            msg = f"topic {self.name} ends at offset {end} and held {self._next} records: it was deleted or lost records; start the worker again"
            raise BrokerError(msg)
        self._next = max(self._next, first)
        consumer.seek(tp, self._next)
        while self._next < end:
            async with asyncio.timeout(self._seconds):
                records = (await consumer.getmany(tp, timeout_ms=_POLL_MS)).get(tp, ())
                position = await consumer.position(tp)
            # Together: whoever reads on after a failure reads nothing twice.
            self._lines += [
                Line(r.value, r.timestamp if r.timestamp_type == _BY_BROKER else None) for r in records if r.value
            ]
            self._next = position
        consumer.pause(tp)  # nothing is fetched between two readings

    async def _holds(self, consumer: AIOKafkaConsumer, tp: TopicPartition, offset: int) -> bool:
        """Whether there is a record at this offset though the topic is said to end before: not every broker tells where its logs end (Tansu does not)."""
        consumer.seek(tp, offset)
        try:
            async with asyncio.timeout(_READ_WITHIN):
                return bool((await consumer.getone(tp)).offset == offset)
        except TimeoutError:
            return False
