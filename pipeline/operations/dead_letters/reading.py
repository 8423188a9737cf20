"""Dead letters sent again: read from their topic in order, mended or as they are, back to the stream's input topic.

    dead-letter topic ──▶ select (reason, time, not sent yet) ──▶ mend ──▶ input topic, acknowledged ──▶ remember how far

How far it came is kept as the committed offsets of a consumer group of its own; where only some reasons were sent, their
offsets stand in the commit's metadata. It is committed after the broker has acknowledged what was sent, so a run that is cut
short sends some of it again (at least once): metrics count a repeated observation and leave it out.

A letter holds no headers of its record and not how often it was sent already; both are read from the record itself, at the
place that the letter names, as long as retention keeps it.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass, field, replace
from datetime import datetime
from itertools import groupby
from types import TracebackType
from typing import Any, Self, cast

import msgspec
from confluent_kafka import Consumer, KafkaError, KafkaException, Message, Producer, TopicPartition

from pipeline.alerts.records import dead_letter_facts
from pipeline.kafka import rights, topics
from pipeline.kafka.clients import broker_error, connect_admin, librdkafka_config
from pipeline.settings import KafkaSettings

ROUND = 5_000
"""Letters that are put in order, sent and remembered in one go."""
ROUND_BYTES = 64 << 20
"""The same for the bytes of their values."""

_MARK = "tidewatch.replay."
_REPORTED_WITHIN = 0.5  # s
_NEAR = 500  # records that are read over rather than sought over
_ATTEMPT_DIGITS = 10
_LARGEST = 64 << 20  # bytes of one record; the topic's own limit is to decide

_quiet = logging.getLogger("librdkafka")
_quiet.addHandler(logging.NullHandler())
_quiet.propagate = False

Headers = tuple[tuple[str, bytes | None], ...]


@dataclass(frozen=True)
class Letter:
    """A dead letter: where it lies, why, where its record came from, and the record.

    Attributes
    ----------
    partition, offset
        Its place in the dead-letter topic.
    topic, source_partition, source_offset
        Where its record is, or was.
    cut
        What the letter holds is only the head of the record, which was too large to carry.
    headers, attempt
        Of the record, as far as it is still there; how often it was sent, this time included.
    """

    partition: int
    offset: int
    timestamp: int
    reason: str
    detail: str
    topic: str
    source_partition: int
    source_offset: int
    key: bytes | None
    value: bytes | None
    cut: str = ""
    headers: Headers = ()
    attempt: int = 1

    @classmethod
    def of(cls, message: Message) -> Letter | None:
        """From a message of the dead-letter topic; None for one that is none."""
        facts = dead_letter_facts(_headers(message))
        try:
            where = facts["topic"], int(facts["partition"]), int(facts["offset"])
        except (KeyError, ValueError):
            return None
        cut = ", ".join(
            f"{what} of {facts[f'{what}_length']} bytes, SHA-256 {facts.get(f'{what}_sha256', '?')}"
            for what in ("value", "key")
            if f"{what}_length" in facts
        )
        return cls(
            message.partition() or 0,
            message.offset() or 0,
            message.timestamp()[1],
            facts.get("reason", ""),
            facts.get("detail", ""),
            *where,
            message.key(),
            message.value(),
            cut,
        )

    @property
    def source(self) -> tuple[str, int, int]:
        """Where its record is: topic, partition, offset."""
        return self.topic, self.source_partition, self.source_offset

    @property
    def sent_headers(self) -> list[tuple[str, bytes | None]]:
        """The record's own headers, the place where it was first, and how often it was sent."""
        own = dict(self.headers)
        origin = {"topic": self.topic, "partition": str(self.source_partition), "offset": str(self.source_offset)}
        marks = {_MARK + name: own.get(_MARK + name) or text.encode() for name, text in origin.items()}
        marks[_MARK + "attempt"] = str(self.attempt).encode()
        return [h for h in self.headers if not h[0].startswith(_MARK)] + list(marks.items())


@dataclass
class Progress:
    """What of one partition of the dead-letter topic is done: all before `base`, and of some reasons all before a later offset."""

    base: int
    by_reason: dict[str, int] = field(default_factory=dict)

    @classmethod
    def of(cls, committed: TopicPartition, first: int) -> Progress:
        """From what the group has committed; what its metadata do not hold is taken for not done."""
        try:
            by_reason = msgspec.json.decode(committed.metadata or b"{}", type=dict[str, int])
        except msgspec.MsgspecError:
            by_reason = {}
        return cls(max(committed.offset, first), by_reason)

    def done(self, letter: Letter) -> bool:
        """Whether the letter was dealt with."""
        return letter.offset < max(self.base, self.by_reason.get(letter.reason, 0))

    def advance(self, to: int, reasons: Collection[str], left: int | None) -> None:
        """All letters of these reasons (none named: of all) before `to` are done; `left`: the first that is not, of others."""
        if reasons:
            self.by_reason |= {r: max(to, self.by_reason.get(r, 0)) for r in reasons}
        self.base = max(self.base, to if left is None else left)
        self.by_reason = {r: o for r, o in self.by_reason.items() if o > self.base}

    def position(self, topic: str, partition: int) -> TopicPartition:
        """What is to be committed."""
        metadata = msgspec.json.encode(self.by_reason, order="sorted").decode() if self.by_reason else ""
        return TopicPartition(topic, partition, self.base, metadata)


@dataclass(frozen=True)
class Selection:
    """Which letters are wanted.

    Attributes
    ----------
    reasons
        Empty: any.
    since
        Older ones are not sent, and count as done.
    limit
        At most so many; 0: all.
    again
        Also those that were sent before.
    places
        Only these (partition, offset) of the dead-letter topic; of the same reasons, what lies before the last of them in its
        partition counts as done. None: any.
    others
        Input topics of other streams that share the dead-letter topic: letters of their records are theirs to send.
    """

    reasons: frozenset[str] = frozenset()
    since: datetime | None = None
    limit: int = 0
    again: bool = False
    places: frozenset[tuple[int, int]] | None = None
    others: frozenset[str] = frozenset()

    def __contains__(self, letter: Letter) -> bool:
        """Whether it is to be sent, leaving aside whether it was."""
        if letter.topic in self.others or (self.reasons and letter.reason not in self.reasons):
            return False
        if self.since is not None and letter.timestamp < self.since.timestamp() * 1000:
            return False
        return self.places is None or (letter.partition, letter.offset) in self.places


@dataclass
class Round:
    """Letters that are dealt with in one go, in the order of their records.

    Attributes
    ----------
    letters
        To be sent, each record once.
    cut
        Wanted, but only their heads are there.
    sent_before, repeated, foreign
        How many were wanted and sent by an earlier run; stand twice in the topic (a worker crashed); are no dead letters.
    """

    letters: list[Letter] = field(default_factory=list)
    cut: list[Letter] = field(default_factory=list)
    sent_before: int = 0
    repeated: int = 0
    foreign: int = 0
    _done: Callable[[], None] = lambda: None

    def done(self) -> None:
        """Remember that all of it was dealt with. Raises BrokerError."""
        self._done()


class DeadLetters:
    """The dead letters of one stream, read and sent again; a context manager.

    Parameters
    ----------
    topic, to
        The dead-letter topic; the input topic.
    group
        The consumer group that remembers how far it came.

    Raises
    ------
    BrokerError
        Kafka does not answer or refuses; what was not acknowledged by then is not remembered as sent.
    """

    def __init__(self, kafka: KafkaSettings, *, topic: str, to: str, group: str) -> None:
        self._kafka = kafka
        self._topic = topic
        self._to = to
        self._group = group
        self._timeout = kafka.request_timeout.total_seconds()

    def __enter__(self) -> Self:
        needed, admin = [self._topic, self._to], connect_admin(self._kafka)
        rights.require(admin, self._kafka, read=needed, write=[self._to], group=self._group)
        topics.require(admin, self._kafka, needed)
        with ExitStack() as stack:
            self._letters = self._consumer()
            stack.callback(self._letters.close)
            self._records = self._consumer()
            stack.callback(self._records.close)
            self._opened = stack.pop_all()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._opened.close()

    def rounds(self, selection: Selection) -> Iterator[Round]:
        """The wanted letters up to where the topic ended at first, a few thousand at a time."""
        with _translated(f"read {self._topic}"):
            reader = _Reader(self._letters, self._topic, self._timeout)
            reader.open(self._progress(reader.bounds), selection)
            while (some := reader.round(selection)) is not None:
                some.letters = self._with_headers(some.letters)
                yield some

    def send(self, letters: Sequence[Letter]) -> None:
        """Send records to the input topic in order, and wait until the broker has acknowledged all."""
        failed: list[KafkaError] = []
        producer = self._producer()

        def reported(error: KafkaError | None, _: Message) -> None:
            if error is not None:
                failed.append(error)
                producer.purge(
                    in_queue=True, in_flight=True, blocking=False
                )  # what follows waits for its turn in a later run

        try:
            for letter in letters:
                # Where it goes is its key's business, as for every producer; without a key it stays in its partition.
                stays = letter.key is None and letter.topic == self._to
                where: dict[str, Any] = {"partition": letter.source_partition} if stays else {}
                headers: list[Any] = letter.sent_headers
                producer.produce(self._to, letter.value, letter.key, headers=headers, on_delivery=reported, **where)
                producer.poll(0)
            while (
                len(producer) and not failed
            ):  # not flush: with a fatal error it calls back with an exception under way
                producer.poll(_REPORTED_WITHIN)
        except KafkaException as error:  # fatal after a refusal; the report of that one says more
            with suppress(KafkaException):
                producer.poll(_REPORTED_WITHIN)
            failed.append(error.args[0])
        if failed:
            producer.purge(in_queue=True, in_flight=True, blocking=False)  # what follows waits for a later run
            raise broker_error(f"publish to {self._to}", KafkaException(failed[0]))

    def _progress(self, bounds: Mapping[int, tuple[int, int]]) -> dict[int, Progress]:
        asked = [TopicPartition(self._topic, p) for p in bounds]
        committed = self._letters.committed(asked, timeout=self._timeout)
        return {tp.partition: Progress.of(tp, bounds[tp.partition][0]) for tp in committed}

    def _with_headers(self, letters: list[Letter]) -> list[Letter]:
        """The letters, in the order of their records, with what only the records themselves tell."""
        found = []
        letters = sorted(letters, key=lambda letter: letter.source)
        for (topic, partition), of_one in groupby(letters, key=lambda letter: letter.source[:2]):
            found += self._of_partition(topic, partition, list(of_one))
        return found

    def _of_partition(self, topic: str, partition: int, letters: list[Letter]) -> list[Letter]:
        try:
            first, end = self._records.get_watermark_offsets(TopicPartition(topic, partition), timeout=self._timeout)
        except KafkaException:  # the topic is no more
            return letters
        found = []
        message: Message | None = None
        at = first - _NEAR - 1  # where the last message that was read stands
        for letter in letters:
            wanted = letter.source_offset
            if not first <= wanted < end:
                found.append(letter)
                continue
            if not 0 <= wanted - at <= _NEAR:
                self._records.assign([TopicPartition(topic, partition, wanted)])
                at = wanted - 1
            while at < wanted:
                message = self._records.poll(self._timeout)
                if message is None or message.error() is not None:
                    at = first - _NEAR - 1
                    break
                at = message.offset() or 0
            found.append(_with_headers(letter, message) if message is not None and at == wanted else letter)
        return found

    def _consumer(self) -> Consumer:
        return Consumer(
            librdkafka_config(self._kafka)
            | {
                "group.id": self._group,
                "enable.auto.commit": False,
                "auto.offset.reset": "error",
                "enable.partition.eof": True,
                "isolation.level": "read_committed",
            }
        )

    def _producer(self) -> Producer:
        return Producer(
            librdkafka_config(self._kafka)
            | {
                "enable.idempotence": True,
                "enable.gapless.guarantee": True,  # after a refused record none that follows it, or it would come too late
                "partitioner": "murmur2_random",
                "compression.type": "lz4",
                "linger.ms": 5,
                "message.max.bytes": _LARGEST,
                "message.timeout.ms": 60_000,
                "logger": _quiet,
            }
        )


class _Reader:
    """One pass over the dead-letter topic."""

    def __init__(self, consumer: Consumer, topic: str, timeout: float) -> None:
        self._consumer = consumer
        self._topic = topic
        self._timeout = timeout
        there = consumer.list_topics(topic, timeout=timeout).topics[topic]
        if there.error is not None:
            raise KafkaException(there.error)
        asked = [TopicPartition(topic, p) for p in sorted(there.partitions)]
        self.bounds = {tp.partition: consumer.get_watermark_offsets(tp, timeout=timeout) for tp in asked}
        self._unfinished: set[int] = set()
        self._left: dict[int, int] = {}  # partition -> the first letter that stays undone
        self._seen: set[tuple[str, int, int]] = set()
        self._wanted = 0

    def open(self, progress: dict[int, Progress], selection: Selection) -> None:
        """Go where the first wanted letter may be."""
        self._progress = progress
        ends = self._ends(selection)
        self._positions = {p: first if selection.again else progress[p].base for p, (first, _) in self.bounds.items()}
        self._ends_at = ends
        self._unfinished = {p for p, end in ends.items() if self._positions[p] < end}
        self._assign()

    def round(self, selection: Selection) -> Round | None:
        """The next letters; None at the end."""
        if not self._unfinished or self._enough(selection):
            return None
        made, size = Round(), 0
        while self._unfinished and len(made.letters) < ROUND and size < ROUND_BYTES and not self._enough(selection):
            message = self._next()
            letter = None if message is None else Letter.of(message)
            if message is None:
                continue
            if letter is None:
                made.foreign += 1
            elif self._take(letter, selection, made):
                size += len(letter.value or b"")
        positions = dict(self._positions)
        made._done = lambda: self._remember(positions, selection)  # noqa: SLF001  its maker
        return made

    def _take(self, letter: Letter, selection: Selection, made: Round) -> bool:
        progress = self._progress[letter.partition]
        if letter not in selection:
            if selection.reasons and letter.reason not in selection.reasons and not progress.done(letter):
                self._left.setdefault(letter.partition, letter.offset)
            return False
        if progress.done(letter) and not selection.again:
            made.sent_before += 1
            return False
        self._wanted += 1
        if letter.source in self._seen:
            made.repeated += 1
            return False
        self._seen.add(letter.source)
        (made.cut if letter.cut else made.letters).append(letter)
        return True

    def _next(self) -> Message | None:
        """The next message; None where there was none before a partition's end."""
        message = self._consumer.poll(self._timeout)
        if message is None:
            raise KafkaException(KafkaError(KafkaError._TIMED_OUT))  # noqa: SLF001  a public name of librdkafka
        partition = message.partition() or 0
        error = message.error()
        if error is not None and error.code() == KafkaError._PARTITION_EOF:  # noqa: SLF001
            self._finish(partition)
            return None
        if error is not None:
            raise KafkaException(error)
        offset = message.offset() or 0
        if partition not in self._unfinished or offset >= self._ends_at[partition]:
            return None
        self._positions[partition] = offset + 1
        if offset + 1 >= self._ends_at[partition]:
            self._finish(partition)
        return message

    def _finish(self, partition: int) -> None:
        self._unfinished.discard(partition)
        self._positions[partition] = max(self._positions[partition], self._ends_at[partition])

    def _assign(self) -> None:
        self._consumer.assign([TopicPartition(self._topic, p, self._positions[p]) for p in sorted(self._unfinished)])

    def _ends(self, selection: Selection) -> dict[int, int]:
        """Where to stop in each partition."""
        if selection.places is None:
            return {p: end for p, (_, end) in self.bounds.items()}
        last = dict.fromkeys(self.bounds, 0)
        for partition, offset in selection.places:
            if partition in last:
                last[partition] = max(last[partition], offset + 1)
        return {p: min(last[p], end) for p, (_, end) in self.bounds.items()}

    def _enough(self, selection: Selection) -> bool:
        return 0 < selection.limit <= self._wanted

    def _remember(self, positions: Mapping[int, int], selection: Selection) -> None:
        for partition, to in positions.items():
            self._progress[partition].advance(to, selection.reasons, self._left.get(partition))
        told = [p.position(self._topic, partition) for partition, p in self._progress.items()]
        with _translated(f"remember what of {self._topic} was sent"):
            self._consumer.commit(offsets=told, asynchronous=False)


@contextmanager
def _translated(doing: str) -> Iterator[None]:
    try:
        yield
    except KafkaException as error:
        raise broker_error(doing, error) from error


def _headers(message: Message) -> Headers:
    return tuple(cast("list[tuple[str, bytes | None]]", message.headers() or []))


def _with_headers(letter: Letter, record: Message) -> Letter:
    headers = _headers(record)
    before = dict(headers).get(_MARK + "attempt") or b"0"
    counted = before.isdigit() and len(before) < _ATTEMPT_DIGITS  # whoever may write may write anything
    return replace(letter, headers=headers, attempt=int(before) + 1 if counted else 1)
