"""For people who read alerts: an async iterator over the alert topic that gives each record once.

    async with AlertSubscriber(settings.kafka, start="new", statuses={"firing"}) as alerts:
        async for alert in alerts:
            print(alert.series, alert.score)

Whatever crashed, the topic holds every alert's records in order, some of them twice, and twice means: the same bytes. So
the iterator drops what is not newer than the last record of its alert. It remembers a bounded number of alerts, far more
than a crash repeats.

Where a subscriber begins is fixed for every partition when it opens; a group's beginning is committed then, before it has read
anything. So a group misses nothing from that moment on, whatever happens to its members. A partition that is added later is read
from its beginning: all that is in it is new.
"""

from __future__ import annotations

import asyncio
from collections import OrderedDict
from collections.abc import AsyncGenerator, Collection
from fnmatch import fnmatchcase
from types import TracebackType
from typing import Self

import msgspec
import structlog
from aiokafka import AIOKafkaConsumer, ConsumerRecord
from aiokafka.errors import KafkaError

from pipeline.alerts import progress
from pipeline.alerts.records import Alert, Status, decode_alert
from pipeline.kafka import rights, topics
from pipeline.kafka.clients import aiokafka_consumer, broker_error, connect_admin
from pipeline.kafka.offsets import Offsets
from pipeline.settings import KafkaSettings

log = structlog.get_logger(__name__)

_POLL_MS = 200


class Unrepeated:
    """Tells records that were not seen before, by alert id and sequence number; remembers the last `remember` alerts."""

    def __init__(self, remember: int = 100_000) -> None:
        self._remember = remember
        self._newest: OrderedDict[str, int] = OrderedDict()

    def __call__(self, alert: Alert) -> bool:
        """Whether the record is newer than all of its alert that came before."""
        if alert.sequence <= self._newest.get(alert.id, -1):
            return False
        self._newest[alert.id] = alert.sequence
        self._newest.move_to_end(alert.id)
        if len(self._newest) > self._remember:
            self._newest.popitem(last=False)
        return True


class AlertSubscriber:
    """Alerts of one topic, each record once; an async context manager and an async iterator.

    Parameters
    ----------
    start
        `beginning`: all that the topic holds, then what comes. `new`: from now on. With a group: where it has not begun yet.
    follow
        False: end where the topic ended when the subscriber was opened.
    statuses, streams
        Which ones to give; empty: all.
    series
        Pattern (`*`, `?`, `[a-z]`) of the series' names.
    group
        Share the topic with other subscribers of this name, and go on after a restart where it was left: a record counts
        as handled when the next one is asked for. After a restart the last second may come again (at least once, from the moment
        that the first of the group was opened). A group always follows. Kafka forgets a group that nobody was in for
        `offsets.retention.minutes` (7 days); it begins anew then.
    remember
        Alerts that are remembered for dropping repeated records.

    Attributes
    ----------
    caught_up
        Set when, without a group, all has been given that the topic held when the subscriber was opened.

    Raises
    ------
    BrokerError
        When opened: no broker answers, or there is no such topic.
    """

    def __init__(
        self,
        kafka: KafkaSettings,
        topic: str = "tidewatch.alerts",
        *,
        start: progress.Start = "new",
        follow: bool = True,
        statuses: Collection[Status] = (),
        streams: Collection[str] = (),
        series: str = "*",
        group: str | None = None,
        remember: int = 100_000,
    ) -> None:
        self._kafka = kafka
        self.topic = topic
        self._statuses = frozenset(statuses)
        self._streams = frozenset(streams)
        self._series = series
        self._group = group
        self._unrepeated = Unrepeated(remember)
        self.caught_up = asyncio.Event()
        self._progress: progress.ByItself | progress.InGroup = (
            progress.ByItself(topic, start, follow=follow, caught_up=self.caught_up)
            if group is None
            else progress.InGroup(topic, start, group)
        )
        self._consumer: AIOKafkaConsumer | None = None

    async def __aenter__(self) -> Self:
        """Connect, and fix where to begin (and end), so that nothing published from here on is missed."""
        partitions = await asyncio.to_thread(self._prepare)
        self._consumer = consumer = aiokafka_consumer(
            self._kafka,
            *([self.topic] if self._group else []),
            group_id=self._group,
            enable_auto_commit=False,
            auto_offset_reset="earliest",  # of a partition that is new, or whose records expired before they were read
            max_poll_interval_ms=2**31 - 1,  # who waits for a receiver keeps its partitions
            metadata_max_age_ms=int(progress.NEW_PARTITIONS_EVERY * 1000),
        )
        try:
            # Joining a group may wait for another member's session to end.
            async with asyncio.timeout(None if self._group else self._kafka.request_timeout.total_seconds()):
                await consumer.start()
                await self._progress.open(consumer, partitions)
        except (KafkaError, TimeoutError) as error:
            await consumer.stop()
            raise broker_error(f"subscribe to {self.topic}", error) from error
        except BaseException:
            await consumer.stop()
            raise
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Commit what was handled, and leave."""
        consumer, self._consumer = self._consumer, None
        if consumer is not None:
            await self._progress.close(consumer)
            await consumer.stop()

    async def __aiter__(self) -> AsyncGenerator[Alert, None]:
        """The alerts, in the topic's order within a series. Raises BrokerError."""
        consumer = self._consumer
        if consumer is None:
            msg = "AlertSubscriber is not open: use `async with`"
            raise RuntimeError(msg)
        while await self._progress.goes_on(consumer):
            try:
                batches = await consumer.getmany(timeout_ms=_POLL_MS)
            except KafkaError as error:
                raise broker_error(f"read {self.topic}", error) from error
            for partition, records in batches.items():
                for record in records:
                    alert = self._wanted(record)
                    if alert is not None:
                        yield alert
                    self._progress.handled(partition, record.offset)
            await self._progress.polled(consumer)

    def _wanted(self, record: ConsumerRecord) -> Alert | None:
        if record.value is None:  # a tombstone: somebody removed a series from the compacted topic
            return None
        try:
            alert = decode_alert(record.value)
        except (msgspec.DecodeError, UnicodeDecodeError) as error:
            log.warning("not an alert, skipped", topic=self.topic, partition=record.partition, offset=record.offset,
                        reason=str(error))  # fmt: skip
            return None
        if not self._unrepeated(alert):
            return None
        wanted = (
            (not self._statuses or alert.status in self._statuses)
            and (not self._streams or alert.stream in self._streams)
            and fnmatchcase(alert.series, self._series)
        )
        return alert if wanted else None

    def _prepare(self) -> int:
        """See that the topic is there, and let a new group begin; how many partitions there are."""
        admin = connect_admin(self._kafka)
        rights.require(admin, self._kafka, read=[self.topic], group=self._group or "")
        (facts,) = topics.require(admin, self._kafka, [self.topic]).values()
        if isinstance(self._progress, progress.InGroup):
            self._progress.begin(Offsets(admin, self._kafka), range(facts.partitions))
        return facts.partitions
