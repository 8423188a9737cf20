"""One intake: raw topics to the topic of a stream, exactly once in effect.

    read ──▶ decode ──▶ merge ──▶ group ──▶ send ──▶ acknowledged ──▶ commit the sources' offsets

- Into each partition of the stream's topic the observations of each source (intake, topic id, partition, mapping) go in rising position, each with it. The
  partition drops what it has seen (`pipeline.steps.compact.positions`): so what is written twice, by a restart or a zombie, counts once.
- A source's offset is committed when all before it is acknowledged, so nothing is left out.
- After the first message that is refused nothing that follows is delivered (`pipeline.kafka.publisher`), so there is never a hole.
- Before what was read is written, and before a commit, the topics' ids are asked for: a topic that was created again is never taken for the old one.
"""

from __future__ import annotations

import asyncio
import time
from collections import deque
from collections.abc import Awaitable, Callable, Collection, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from functools import partial

import numpy as np
import structlog
from aiokafka import TopicPartition
from aiokafka.errors import KafkaError

from pipeline.alerts.records import DeadLetter, Message
from pipeline.errors import BrokerError, Denied, SettingsError, TidewatchError
from pipeline.intake.changes import mapping_of
from pipeline.intake.grouping import Grouping
from pipeline.intake.merging import Patience, Settling, Source, merged
from pipeline.intake.metrics import IntakeMetrics, Standing
from pipeline.intake.reading import Begin, Reader
from pipeline.kafka import topics
from pipeline.kafka.clients import broker_error
from pipeline.kafka.publisher import KafkaPublisher
from pipeline.partition.stores.patience import Patience as Waiting
from pipeline.registry import registry_of
from pipeline.settings import IntakeSettings, Settings, StreamSettings
from pipeline.steps.batches.records import RecordBatch, Rejected
from pipeline.steps.decoding import Decoder
from producers.formats.base import Reason
from producers.formats.naming import renamed

log = structlog.get_logger(__name__)

COMMIT_EVERY = 1.0
REPORT_EVERY = 60.0
MOST_HELD = 1_000_000
"""Observations that wait for others to catch up, all sources together."""
MOST_OUTSTANDING = 64 << 20
"""Bytes that are sent and not acknowledged."""
_LEAST_HELD = 2_000  # of each source
_LINGER = 0.1  # s that records are gathered for: small messages cost more, and each time Kafka is asked for the topics
_ASK_AGAIN = 0.5
_STOP = 5.0
_LEAVE = 2.0
_TELL_EVERY = 1.0
_NUL = "a name with a NUL"


@dataclass(slots=True)
class _Sent:
    """What was sent in one go, and how far the sources have come when it is acknowledged."""

    sent: list[asyncio.Future[None]]
    size: int
    reached: dict[TopicPartition, int]
    observations: int
    messages: int


class Intake:
    """Reads and writes; made and run on one event loop.

    Parameters
    ----------
    ask
        Asks Kafka for the id and the number of partitions of topics that are there.
    partitions
        Of the stream's topic.
    stopping
        Set it to make `run` end.
    open_reader, clock
        What reads the raw topics; seconds.
    """

    def __init__(
        self,
        settings: Settings,
        intake: IntakeSettings,
        stream: StreamSettings,
        publisher: KafkaPublisher,
        ask: Callable[[Collection[str]], Awaitable[Mapping[str, topics.TopicFacts]]],
        partitions: int,
        metrics: IntakeMetrics,
        stopping: asyncio.Event,
        *,
        open_reader: Callable[..., Reader] = Reader,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._clock = clock
        self._metrics = metrics
        self._stopping = stopping
        self._intake = intake
        self._stream = stream
        self._publisher = publisher
        self._ask = ask
        self._decoder = Decoder(
            "metric", intake.width, format=intake.format, fields=intake.fields.chosen(), named=intake.channels
        )
        self._registry = registry_of(settings.registry)
        self._patiently = Waiting(asyncio.sleep, self._on_waiting, log.bind(intake=intake.name))
        self._mapping = mapping_of(intake)
        self._names = renamed(intake.drop_labels, intake.series)
        self._grouping = Grouping(partitions)
        self._settling = Settling()
        self._patience = Patience(clock)
        self._sources: dict[TopicPartition, Source] = {}
        self._topic_ids: dict[TopicPartition, str] = {}
        self._outstanding: deque[_Sent] = deque()
        self._acknowledged: dict[TopicPartition, int] = {}
        self._committed: dict[TopicPartition, int] = {}
        self._counts = {"observations": 0, "dead_letters": 0, "messages": 0}
        self._paused: set[TopicPartition] = set()
        self._read_since = False  # since the topics were last seen to be the same
        metrics.intake(intake.name)
        self._reader = open_reader(
            settings.kafka,
            settings.intake_group(intake),
            intake.topics,
            share=intake.share,
            session_timeout=settings.worker.session_timeout.total_seconds(),
            ids=self._ids,
            mapping=self._mapping,
            assigned=self._on_assigned,
            revoked=self._on_revoked,
            missed=self._on_missed,
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
        """Until `stopping` is set. Raises TidewatchError where it cannot go on."""
        tasks: list[asyncio.Task[object]] = []
        try:
            await self._reader.start()
            working = asyncio.create_task(self._work())
            tasks += [working, asyncio.create_task(self._telling()), asyncio.create_task(self._stopping.wait())]
            await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
            if working.done():
                working.result()
            working.cancel()  # it may be waiting for a broker that is away
            await asyncio.wait([working])
            await self._on_revoked()
        except KafkaError as error:
            raise broker_error("read the raw topics", error) from error
        finally:
            for task in tasks:
                task.cancel()
            self._sources = {}
            self._tell()
            with suppress(TimeoutError):
                # Whoever is started again in this process must have left the group first; at the end nobody waits for a broker that is away.
                async with asyncio.timeout(_LEAVE if self._stopping.is_set() else None):
                    await self._reader.stop()

    async def _work(self) -> None:
        committing = reporting = self._clock()
        while True:
            await self._reader.wait(0.1 if any(s.held for s in self._sources.values()) else 0.5)
            await asyncio.sleep(_LINGER)
            letters = await self._read()
            while self._read_since and await self._same_topics() is None:
                await asyncio.sleep(_ASK_AGAIN)
            self._read_since = False
            self._write(letters)
            await self._bounded()
            now = self._clock()
            if now - committing >= COMMIT_EVERY:
                await self._commit()
                committing = now
            if now - reporting >= REPORT_EVERY:
                log.info("intake", intake=self._intake.name, sources=len(self._sources), **self._counts)
                reporting = now

    async def _telling(self) -> None:
        while True:
            await asyncio.sleep(_TELL_EVERY)
            self._tell()

    # Sources

    async def _ids(self, names: Collection[str]) -> dict[str, str]:
        return {name: fact.topic_id for name, fact in (await self._ask(names)).items()}

    def _on_assigned(self, held: Mapping[TopicPartition, Begin]) -> None:
        if crossed := sorted({tp.topic for tp in held} & self._own):
            msg = f"intake {self._intake.name}: its topics {', '.join(self._intake.topics)} match {', '.join(crossed)}, which it feeds: name others"
            raise SettingsError(msg)
        now = self._patience()
        self._settling = Settling()
        self._topic_ids = {tp: begin.topic_id for tp, begin in held.items()}
        # A position is of an observation among those that its record holds as it is read now: read otherwise, it is of another source.
        self._sources = {
            tp: Source(
                f"{self._intake.name}/{begin.topic_id or tp.topic}/{tp.partition}/{self._mapping}",
                begin.offset,
                heard=now,
            )
            for tp, begin in sorted(held.items())
        }
        self._tell()
        at = {tp: f"{tp.topic}[{tp.partition}] at {begin.offset}" for tp, begin in sorted(held.items())}
        log.info("sources assigned", intake=self._intake.name, sources=list(at.values()))
        if changed := [at[tp] for tp in at if held[tp].changed]:
            log.info("from here on records are read as the changed settings say", intake=self._intake.name, sources=changed, mapping=self._mapping)  # fmt: skip

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
            self._tell()

    def _on_missed(self, source: TopicPartition, records: int) -> None:
        log.warning(
            "records expired before they were read", intake=self._intake.name, topic=source.topic,
            partition=source.partition, missed=records,
        )  # fmt: skip
        self._metrics.missed(self._intake.name, source, records)

    def _tell(self) -> None:
        """Let the metrics know how far the sources are."""
        found = {}
        for tp, source in self._sources.items():
            position, answered = self._acknowledged.get(tp), self._reader.answered(tp)
            if position is not None:
                end = None if answered is None else answered[1]
                found[tp] = Standing(position, end, source.held, tp in self._paused)
        self._metrics.standing(self._intake.name, found, sum(s.size for s in self._outstanding))

    # The way of a record

    async def _read(self) -> list[Message]:
        """Take what was fetched; returns the dead letters of what cannot be used."""
        now = self._patience()
        letters: list[Message] = []
        most = max(MOST_HELD // max(len(self._sources), 1), _LEAST_HELD)
        self._paused = {tp for tp, source in self._sources.items() if source.held >= most}
        taken = self._reader.take(self._sources.keys() - self._paused)
        self._read_since |= bool(taken)
        for source, tp, batch in [(self._sources[tp], tp, batch) for tp, batch in taken]:
            self._metrics.read(self._intake.name, tp, len(batch))
            await self._learn(batch)
            for portion in self._decoder.portions(batch.since(source.read)):
                await self._learn(portion)  # again: it keeps so many only
                if self._sources.get(tp) is not source:  # given away while a registry was waited for
                    break
                letters += self._decode(source, portion.since(source.read), now)
            else:
                source.read = max(source.read, batch.next_offset)
        for tp, source in self._sources.items():
            asked, end = self._reader.answered(tp) or (0, None)
            source.answered(asked, now, at_end=end is not None and source.read >= end)
        return letters

    async def _learn(self, records: RecordBatch) -> None:
        """Have the schemas at hand that these records need; while their registry is away all sources wait, or their order would be lost."""
        while self._registry is not None and (ids := self._decoder.missing(records)):
            self._decoder.learn(await self._patiently(partial(self._registry.fetch, ids)))

    def _on_waiting(self, waiting: bool, what: str) -> None:
        self._metrics.failing(self._intake.name, f"it waits for the {what}" if waiting else "")

    def _decode(self, source: Source, records: RecordBatch, now: float) -> list[Message]:
        observations, rejected = self._decoder.decode(records)
        if self._names is not None:
            observations.series = self._names(observations.series)
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
        for r in rejected:
            self._metrics.rejected(self._intake.name, r.reason)
        return [DeadLetter.of(records, r, stream=self._stream.name).message(self._intake.dlq) for r in rejected]

    def _write(self, letters: Sequence[Message]) -> None:
        held = self._sources
        sources, now = list(held.values()), self._patience()
        found = merged(sources, now, self._settling.place(sources, now))
        sent = [self._publisher.send(m.topic, m.key, m.value, m.headers) for m in letters]
        size, observations = sum(_size(m) for m in letters), 0
        if found is not None:
            names = [source.name for source in sources]
            for partition, value in self._grouping.batches(*found, names):
                sent.append(self._publisher.send(self._stream.input_topic, None, value, partition=partition))
                size += len(value)
            observations = len(found[2])
            self._counts["observations"] += observations
            self._counts["messages"] += len(sent) - len(letters)
        reached = {tp: source.emitted for tp, source in held.items()}
        if sent or (not self._outstanding and reached != self._acknowledged):
            self._outstanding.append(_Sent(sent, size, reached, observations, len(sent) - len(letters)))

    async def _bounded(self) -> None:
        """Take what is acknowledged; wait while too much is not."""
        while self._outstanding:
            first = self._outstanding[0]
            full = sum(s.size for s in self._outstanding) > MOST_OUTSTANDING or len(self._outstanding) > 1000
            if not full and not all(sent.done() for sent in first.sent):
                return
            await self._oldest()

    async def _oldest(self) -> None:
        first = self._outstanding[0]
        if first.sent:
            await asyncio.wait(
                first.sent
            )  # not each: what is awaited and given up is cancelled, and was sent all the same
        for sent in first.sent:
            sent.result()
        if self._outstanding and self._outstanding[0] is first:  # else it was let go meanwhile
            self._outstanding.popleft()
            self._acknowledged = first.reached
            self._metrics.written(self._intake.name, first.observations, first.messages)

    async def _commit(self) -> None:
        """Commit what is acknowledged, once the topics are seen to be the ones that were read; where Kafka does not say, later."""
        reached, ids = dict(self._acknowledged), dict(self._topic_ids)
        if (facts := await self._same_topics()) is None:
            return
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
        self._metrics.failing(self._intake.name, "")

    async def _same_topics(self) -> Mapping[str, topics.TopicFacts] | None:
        """What Kafka says of all topics; None where it does not answer now. Raises BrokerError where one is not the one that was to be read.

        Asked behind reading and before writing: what a topic of the same name holds at the same offset would else be written as this one's, and
        again as its own.
        """
        ids = dict(self._topic_ids)
        try:
            facts = await self._ask({tp.topic for tp in ids} | {self._stream.input_topic})
        except Denied:
            raise
        except BrokerError as error:
            self._metrics.failing(self._intake.name, str(error))
            return None
        for tp, topic_id in ids.items():
            fact = facts.get(tp.topic)
            if fact is None or fact.topic_id != topic_id:
                msg = f"topic {tp.topic} was deleted{'' if fact is None else ' and created again'} while intake {self._intake.name} read it; start again"
                raise BrokerError(msg)
        return facts

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
