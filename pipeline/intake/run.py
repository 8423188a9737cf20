"""One intake: raw topics to the topic of a stream, exactly once in effect.

    read ──▶ decode ──▶ merge ──▶ group ──▶ send ──▶ acknowledged ──▶ commit the sources' offsets

- Into each partition of the stream's topic the observations of each source (intake, topic id, partition) go in rising position, each with it. The
  partition drops what it has seen (`pipeline.steps.compact.positions`): so what is written twice, by a restart or a zombie, counts once.
- A source's offset is committed when all before it is acknowledged, so nothing is left out.
- After the first message that is refused nothing that follows is delivered (`pipeline.kafka.publisher`), so there is never a hole.
- Before a commit the topics' ids are asked for: offsets of a topic that was created again are never taken for those of the old one.
"""

from __future__ import annotations

import asyncio
import signal
import time
from collections import deque
from collections.abc import Awaitable, Callable, Collection, Mapping, Sequence
from contextlib import AsyncExitStack
from dataclasses import dataclass
from fnmatch import fnmatchcase

import numpy as np
import structlog
from aiokafka import TopicPartition
from aiokafka.errors import KafkaError

from pipeline.alerts.records import DeadLetter, Message
from pipeline.errors import BrokerError, SettingsError, TidewatchError
from pipeline.intake.grouping import Grouping
from pipeline.intake.merging import Patience, Settling, Source, merged
from pipeline.intake.reading import Reader
from pipeline.kafka import rights, topics
from pipeline.kafka.clients import broker_error, connect_admin
from pipeline.kafka.publisher import KafkaPublisher
from pipeline.settings import IntakeSettings, Settings, StreamSettings
from pipeline.steps.batches import RecordBatch, Rejected
from pipeline.steps.decoding import Decoder
from producers.formats.base import Reason

log = structlog.get_logger(__name__)

COMMIT_EVERY = 1.0
REPORT_EVERY = 60.0
MOST_HELD = 1_000_000
"""Observations that wait for others to catch up, all sources together."""
MOST_OUTSTANDING = 64 << 20
"""Bytes that are sent and not acknowledged."""
_LEAST_HELD = 2_000  # of each source
_LINGER = 0.05  # s that records are gathered for: small messages cost more
_STOP = 5.0
_NUL = "a name with a NUL"


@dataclass(slots=True)
class _Sent:
    """What was sent in one go, and how far the sources have come when it is acknowledged."""

    sent: list[Awaitable[None]]
    size: int
    reached: dict[TopicPartition, int]


class Intake:
    """Reads and writes; made and run on one event loop.

    Parameters
    ----------
    ask
        Asks Kafka for the id and the number of partitions of topics that are there.
    """

    def __init__(
        self,
        settings: Settings,
        intake: IntakeSettings,
        stream: StreamSettings,
        publisher: KafkaPublisher,
        ask: Callable[[Collection[str]], Awaitable[Mapping[str, topics.TopicFacts]]],
        partitions: int,
    ) -> None:
        self.stopping = asyncio.Event()
        self._intake = intake
        self._stream = stream
        self._publisher = publisher
        self._ask = ask
        self._decoder = Decoder("metric", 1, format=intake.format)
        self._grouping = Grouping(partitions)
        self._settling = Settling()
        self._patience = Patience()
        self._sources: dict[TopicPartition, Source] = {}
        self._topic_ids: dict[TopicPartition, str] = {}
        self._outstanding: deque[_Sent] = deque()
        self._acknowledged: dict[TopicPartition, int] = {}
        self._committed: dict[TopicPartition, int] = {}
        self._counts = {"observations": 0, "dead_letters": 0, "messages": 0}
        self._reader = Reader(
            settings.kafka,
            settings.intake_group(intake),
            intake.topics,
            share=intake.share,
            session_timeout=settings.worker.session_timeout.total_seconds(),
            ids=self._ids,
            assigned=self._on_assigned,
            revoked=self._on_revoked,
        )
        self._own = {
            stream.input_topic,
            stream.dlq,
            stream.alert_topic,
            stream.decision_topic,
            stream.score_topic,
            intake.dlq,
        }

    async def run(self) -> None:
        """Until `stopping` is set. Raises BrokerError where it cannot go on."""
        await self._reader.start()
        try:
            committing = reporting = time.monotonic()
            while not self.stopping.is_set():
                await self._reader.wait(0.1 if any(s.held for s in self._sources.values()) else 0.5)
                await asyncio.sleep(_LINGER)
                self._write(self._read())
                await self._bounded()
                now = time.monotonic()
                if now - committing >= COMMIT_EVERY:
                    await self._commit()
                    committing = now
                if now - reporting >= REPORT_EVERY:
                    log.info("intake", intake=self._intake.name, sources=len(self._sources), **self._counts)
                    reporting = now
            await self._on_revoked()
        except KafkaError as error:
            raise broker_error("read the raw topics", error) from error
        finally:
            await self._reader.stop()

    # Sources

    async def _ids(self, names: Collection[str]) -> dict[str, str]:
        return {name: fact.topic_id for name, fact in (await self._ask(names)).items()}

    def _on_assigned(self, held: Mapping[TopicPartition, tuple[str, int]]) -> None:
        if crossed := sorted({tp.topic for tp in held} & self._own):
            msg = f"intake {self._intake.name}: its topics {', '.join(self._intake.topics)} match {', '.join(crossed)}, which it feeds: name others"
            raise SettingsError(msg)
        now = self._patience()
        self._settling = Settling()
        self._topic_ids = {tp: topic_id for tp, (topic_id, _) in held.items()}
        self._sources = {
            tp: Source(f"{self._intake.name}/{topic_id or tp.topic}/{tp.partition}", start, heard=now)
            for tp, (topic_id, start) in sorted(held.items())
        }
        log.info("sources assigned", intake=self._intake.name, sources=[f"{tp.topic}[{tp.partition}] at {start}" for tp, (_, start) in sorted(held.items())])  # fmt: skip

    async def _on_revoked(self) -> None:
        """Let go of all: what was read and not sent is read by the next owner."""
        self._sources = {}
        try:
            async with asyncio.timeout(_STOP):
                while self._outstanding:
                    await self._oldest()
                await self._commit()
        except (TimeoutError, TidewatchError, KafkaError) as error:
            log.warning(
                "no commit at revocation: the next owner writes some of it again, which counts once",
                intake=self._intake.name,
                reason=str(error) or "Kafka does not answer",
            )
        finally:  # offsets of these sources must not be taken for those of the next ones, which may be of another topic of that name
            self._outstanding.clear()
            self._acknowledged = {}
            self._committed.clear()
            self._topic_ids.clear()

    # The way of a record

    def _read(self) -> list[Message]:
        """Take what was fetched; returns the dead letters of what cannot be used."""
        now = self._patience()
        letters: list[Message] = []
        most = max(MOST_HELD // max(len(self._sources), 1), _LEAST_HELD)
        for tp, batch in self._reader.take([tp for tp, s in self._sources.items() if s.held < most]):
            source = self._sources[tp]
            start = source.read
            for portion in self._decoder.portions(batch.since(start)):
                letters += self._decode(source, portion.since(source.read), now)
            source.read = max(source.read, batch.next_offset)
        for tp, source in self._sources.items():
            asked, at_end = self._reader.answered(tp, source.read)
            source.answered(asked, now, at_end=at_end)
        return letters

    def _decode(self, source: Source, records: RecordBatch, now: float) -> list[Message]:
        observations, rejected = self._decoder.decode(records)
        index = np.searchsorted(records.offsets, observations.offsets)
        if any("\0" in name for name in set(observations.series)):
            named = np.array(["\0" not in name for name in observations.series])
            first = np.unique(index[~named])
            rejected += [Rejected(int(i), Reason.WRONG_TYPE, _NUL) for i in first]
        else:
            named = None
        source.take(observations, records.timestamps[index], now, named)
        source.read = records.next_offset
        self._counts["dead_letters"] += len(rejected)
        return [DeadLetter.of(records, r, stream=self._stream.name).message(self._intake.dlq) for r in rejected]

    def _write(self, letters: Sequence[Message]) -> None:
        held = self._sources
        sources, now = list(held.values()), self._patience()
        found = merged(sources, now, self._settling.place(sources, now))
        sent = [self._publisher.send(m.topic, m.key, m.value, m.headers) for m in letters]
        size = sum(_size(m) for m in letters)
        if found is not None:
            names = [source.name for source in sources]
            for partition, value in self._grouping.batches(*found, names):
                sent.append(self._publisher.send(self._stream.input_topic, None, value, partition=partition))
                size += len(value)
            self._counts["observations"] += len(found[2])
            self._counts["messages"] += len(sent) - len(letters)
        reached = {tp: source.emitted for tp, source in held.items()}
        if sent or (not self._outstanding and reached != self._acknowledged):
            self._outstanding.append(_Sent(sent, size, reached))

    async def _bounded(self) -> None:
        """Take what is acknowledged; wait while too much is not."""
        while self._outstanding:
            first = self._outstanding[0]
            full = sum(s.size for s in self._outstanding) > MOST_OUTSTANDING or len(self._outstanding) > 1000
            if not full and not all(a.done() for a in first.sent):  # type: ignore[attr-defined]
                return
            await self._oldest()

    async def _oldest(self) -> None:
        first = self._outstanding[0]
        for sent in first.sent:
            await sent
        if self._outstanding and self._outstanding[0] is first:  # else it was let go meanwhile
            self._outstanding.popleft()
            self._acknowledged = first.reached

    async def _commit(self) -> None:
        """Commit what is acknowledged, once the topics are seen to be the ones that were read."""
        reached, ids = dict(self._acknowledged), dict(self._topic_ids)
        facts = await self._ask({tp.topic for tp in ids} | {self._stream.input_topic})
        for tp, topic_id in ids.items():
            fact = facts.get(tp.topic)
            if fact is None or fact.topic_id != topic_id:
                msg = f"topic {tp.topic} was deleted{'' if fact is None else ' and created again'} while intake {self._intake.name} read it; start again"
                raise BrokerError(msg)
        if (fed := facts.get(self._stream.input_topic)) is None:
            msg = f"topic {self._stream.input_topic} is no more (deleted?): create it (`tidewatch topics create`) and start again"
            raise BrokerError(msg)
        new = {
            tp: (offset, ids[tp]) for tp, offset in reached.items() if tp in ids and self._committed.get(tp) != offset
        }
        if new and await self._reader.commit(new):
            self._committed |= {tp: offset for tp, (offset, _) in new.items()}
        if fed.partitions != self._grouping.partitions:
            await self._grown(fed.partitions)

    async def _grown(self, partitions: int) -> None:
        """From here on series go where they belong among more partitions; what was sent before is acknowledged first."""
        while self._outstanding:
            await self._oldest()
        log.info(
            "partitions were added", topic=self._stream.input_topic, before=self._grouping.partitions, after=partitions
        )
        self._grouping = Grouping(partitions)


def _size(message: Message) -> int:
    return len(message.key or b"") + len(message.value or b"") + sum(len(n) + len(v) for n, v in message.headers)


def run_intake(settings: Settings, names: Collection[str] = ()) -> int:
    """Run the intakes of these names, or all, until SIGTERM or SIGINT; returns the exit code.

    Raises
    ------
    TidewatchError
        Something that was checked at the start, or that a restart may mend; one line.
    """
    wanted = [i for i in settings.intake if not names or i.name in names]
    if missing := sorted(set(names) - {i.name for i in wanted}):
        known = ", ".join(i.name for i in settings.intake) or "none"
        raise SettingsError(f"there is no intake {', '.join(missing)} in the settings; there is: {known}")
    if not wanted:
        raise SettingsError(
            "no intake is configured; add [[intake]] with a stream and topics to tidewatch.toml (docs/intake.md)"
        )
    asyncio.run(_run(settings, wanted))
    return 0


async def _run(settings: Settings, wanted: list[IntakeSettings]) -> None:
    kafka = settings.kafka
    admin = connect_admin(kafka)
    streams = {s.name: s for s in settings.streams}
    fed = {i.name: streams[i.stream] for i in wanted}
    named = {t for i in wanted for t in i.topics if not any(sign in t for sign in "*?[")}
    written = {t for i in wanted for t in (fed[i.name].input_topic, i.dlq)}
    for intake in wanted:
        rights.require(admin, kafka, read=named, write=written, group=settings.intake_group(intake))
    plans = [p for i in wanted for p in (topics.input_plan(fed[i.name].input_topic), topics.dead_letter_plan(i.dlq))]
    if created := topics.create(admin, kafka, plans):
        log.info("topics created", topics=created)
    facts = topics.require(admin, kafka, named | {s.input_topic for s in fed.values()})
    there = topics.names(admin, kafka)
    for intake in wanted:
        if not any(fnmatchcase(name, glob) for name in there for glob in intake.topics):
            log.warning("no topic matches yet; it is read when there is one", intake=intake.name, topics=intake.topics)

    async def ask(names: Collection[str]) -> Mapping[str, topics.TopicFacts]:
        return await asyncio.to_thread(topics.describe, admin, kafka, names)

    async with AsyncExitStack() as stack:
        running: list[Intake] = []
        for intake in wanted:
            publisher = KafkaPublisher(kafka)  # its own: one that is refused ends for good
            stack.push_async_callback(publisher.close, timeout=1.0)
            stream = fed[intake.name]
            running.append(Intake(settings, intake, stream, publisher, ask, facts[stream.input_topic].partitions))

        def stop() -> None:
            for one in running:
                one.stopping.set()

        for number in (signal.SIGTERM, signal.SIGINT):
            asyncio.get_running_loop().add_signal_handler(number, stop)
        log.info("intake started", intakes=[i.name for i in wanted])
        try:
            async with asyncio.TaskGroup() as group:
                for one in running:
                    group.create_task(one.run())
        except* Exception as errors:
            raise errors.exceptions[0] from None
    log.info("intake stopped")
