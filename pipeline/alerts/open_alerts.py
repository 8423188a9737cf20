"""What the alert topic says of a partition's alerts, for a worker whose state was built without all of the log.

The topic is compacted by series, so reading it from its start brings the last records of every alert that may be open. One
reading serves all partitions that asked before it began: nothing that their last owners published before is missed.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Mapping

import msgspec
import numpy as np
import structlog
from aiokafka.errors import TopicAuthorizationFailedError
from msgspec import UNSET

from pipeline.alerts import words
from pipeline.alerts.records import REASONS, Alert, Evidence
from pipeline.alerts.subscribe import AlertSubscriber
from pipeline.errors import BrokerError, Denied
from pipeline.settings import KafkaSettings

log = structlog.get_logger(__name__)

_ID_BYTES = 16

Place = tuple[str, str, int]
"""Stream, input topic and its partition."""


class OpenAlerts:
    """Reads one alert topic. Used on one event loop."""

    def __init__(self, kafka: KafkaSettings, topic: str) -> None:
        self._kafka = kafka
        self._topic = topic
        self._reading = asyncio.Lock()
        self._asked: dict[Place, asyncio.Future[Mapping[str, Alert]]] = {}

    async def __call__(self, stream: str, topic: str, partition: int) -> Mapping[str, Alert]:
        """Series of a partition of an input topic -> the last record of its last alert.

        Where reading is not allowed there are none, and a warning says what follows from that.

        Raises
        ------
        BrokerError
            Kafka does not answer.
        """
        place = (stream, topic, partition)
        answer: asyncio.Future[Mapping[str, Alert]] = asyncio.get_running_loop().create_future()
        self._asked[place] = answer
        async with self._reading:
            if not answer.done():
                await self._answer()
        return answer.result()

    async def _answer(self) -> None:
        """Read for all who have asked. Where that fails, or is cut short, the next of them reads again."""
        asked = dict(self._asked)
        found = await self._read(asked)
        for place, answer in asked.items():
            if self._asked[place] is answer:
                del self._asked[place]
            if not answer.done():
                answer.set_result(found[place])

    async def _read(self, places: Iterable[Place]) -> dict[Place, dict[str, Alert]]:
        found: dict[Place, dict[str, Alert]] = {place: {} for place in places}
        streams = {stream for stream, _, _ in found}
        try:
            async with AlertSubscriber(
                self._kafka, self._topic, start="beginning", follow=False, streams=streams
            ) as alerts:
                async for alert in alerts:
                    of = found.get((alert.stream, alert.evidence.topic, alert.evidence.partition))
                    if of is not None and _is_ours(alert):
                        keep_newest(of, alert)
        except BrokerError as error:
            if not isinstance(error, Denied) and not isinstance(error.__cause__, TopicAuthorizationFailedError):
                raise
            log.warning(
                "the alert topic may not be read: alerts that are open stay open; allow this worker READ there",
                topic=self._topic,
            )
        return found


def forgotten(alert: Alert) -> Alert:
    """The record that ends an open alert, given its last one: what it is about is not looked at any more."""
    ended = msgspec.structs.replace(
        alert,
        sequence=alert.sequence + 1,
        status="resolved",
        reason=REASONS["forgotten"],
        change="forgotten",
        ends_at=alert.last_seen,
        observed=None,
        expected=None,
        band=None,
        score=None,
        threshold=None,
        alarm=UNSET,
        evidence=Evidence(alert.evidence.topic, alert.evidence.partition, alert.evidence.offset),
        reopens_until=None,
        next_id=None,
    )
    return msgspec.structs.replace(ended, summary=words.summary(ended))


def _is_ours(alert: Alert) -> bool:
    """Whether a record is such as Tidewatch writes: anybody may write to a topic."""
    try:
        times = [np.datetime64(t.removesuffix("Z"), "ms") for t in (alert.as_of, alert.starts_at, alert.last_seen)]
        return len(bytes.fromhex(alert.id)) == _ID_BYTES and not np.isnat(times).any()
    except ValueError:
        return False


def keep_newest(of: dict[str, Alert], alert: Alert) -> None:
    """Keep the newest record of a series: of a later observation, or a later one of the same alert.

    Not the last one in the topic: what a crash repeats stands behind newer records.
    """
    held = of.get(alert.series)
    if held is None or _not_older(alert, held):
        of[alert.series] = alert


def _not_older(one: Alert, other: Alert) -> bool:
    if one.id == other.id:
        return one.sequence >= other.sequence
    if one.id == other.next_id or other.id == one.next_id:  # one observation ended the one and began the other
        return one.id == other.next_id
    return (one.evidence.offset, one.as_of) >= (other.evidence.offset, other.as_of)
