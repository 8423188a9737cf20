"""Dead letters read: one pass over their topic, and the records that they name.

How far a pass came is committed, for a consumer group of its own, only when it is told that a round was dealt with.
"""

from __future__ import annotations

import asyncio
import time
from collections import deque
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from functools import partial
from itertools import groupby
from types import TracebackType
from typing import Any, Self

from aiokafka import TopicPartition as Place
from aiokafka.errors import KafkaError as AIOKafkaError
from confluent_kafka import Consumer, KafkaError, KafkaException, Message, TopicPartition

from pipeline.kafka.clients import aiokafka_consumer, broker_error
from pipeline.operations.dead_letters.letters import Letter, Progress, Round, Selection
from pipeline.settings import KafkaSettings
from producers.formats.base import Reason

ROUND = 5_000
"""Letters that are put in order, sent and remembered in one go."""
ROUND_BYTES = 64 << 20
"""The same for the bytes of their values."""

_NEAR = 500  # records that are read over rather than sought over
_FEW = 20  # records of a stranger's that are held at a time: each may be of some megabytes


class Reader:
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
        made, size = Round(partial(self._remember, selection)), 0
        while self._unfinished and len(made.letters) < ROUND and size < ROUND_BYTES and not self._enough(selection):
            message = self._next()
            letter = None if message is None else Letter.of(message)
            if message is None:
                continue
            if letter is None:
                made.foreign += 1
            elif self._take(letter, selection, made):
                size += len(letter.value or b"")
        made.reached = dict(self._positions)
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
        if selection.topics is not None and letter.topic not in selection.topics:
            made.elsewhere += 1
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

    def _remember(self, selection: Selection, reached: Mapping[int, int]) -> None:
        for partition, to in reached.items():
            self._progress[partition].advance(to, selection.reasons, self._left.get(partition))
        told = [p.position(self._topic, partition) for partition, p in self._progress.items()]
        with translated(f"remember what of {self._topic} was sent"):
            self._consumer.commit(offsets=told, asynchronous=False)


class Records:
    """The records that letters name, as long as retention keeps them; a context manager.

    Whoever may write observations has made what lies beside them in a batch, so they are read within the worker's bounds
    (`pipeline.kafka.record_batches`).
    """

    def __init__(self, kafka: KafkaSettings) -> None:
        self._kafka = kafka
        self._timeout = kafka.request_timeout.total_seconds()

    def __enter__(self) -> Self:
        self._runner = asyncio.Runner()
        try:
            self._runner.run(self._open())
        except BaseException:
            self._runner.close()
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        with self._runner as runner:
            runner.run(self._consumer.stop())

    def told(self, letters: Iterable[Letter]) -> list[Letter]:
        """The letters, in the order of their records, with what only the records themselves tell."""
        return self._runner.run(self._told(sorted(letters, key=lambda letter: letter.source)))

    async def _open(self) -> None:
        self._consumer = aiokafka_consumer(
            self._kafka, enable_auto_commit=False, auto_offset_reset="latest", isolation_level="read_committed"
        )
        await self._consumer.start()

    async def _told(self, letters: list[Letter]) -> list[Letter]:
        found = []
        cluster = await self._consumer._client.fetch_all_metadata()  # noqa: SLF001  asked of a topic alone, it waits for it
        for (topic, partition), group in groupby(letters, key=lambda letter: letter.source[:2]):
            of_one = list(group)
            if partition in (cluster.partitions_for_topic(topic) or ()):
                of_one = await self._of_partition(Place(topic, partition), of_one)
            found += of_one
        return found

    async def _of_partition(self, place: Place, letters: list[Letter]) -> list[Letter]:
        consumer, found = self._consumer, []
        first, end = [(await ask([place]))[place] for ask in (consumer.beginning_offsets, consumer.end_offsets)]
        consumer.assign([place])
        read: deque[Any] = deque()  # records that come next; the first may be the one that was read last
        at = first - _NEAR - 1
        for letter in letters:
            wanted = letter.source_offset
            if not first <= wanted < end or letter.reason == Reason.DAMAGED:  # that one nobody can read
                found.append(letter)
                continue
            if not 0 <= wanted - at <= _NEAR:
                consumer.seek(place, wanted)
                read.clear()
            while not read or read[0].offset < wanted:
                if read:
                    read.popleft()
                elif not await self._more(place, end, read):
                    break
            at = read[0].offset if read else first - _NEAR - 1
            found.append(letter.with_headers(tuple(read[0].headers)) if at == wanted else letter)
        return found

    async def _more(self, place: Place, end: int, read: deque[Any]) -> bool:
        """Read on; False at the end, and where nothing comes."""
        give_up = time.monotonic() + self._timeout
        while time.monotonic() < give_up:
            read.extend((await self._consumer.getmany(place, timeout_ms=500, max_records=_FEW)).get(place, ()))
            if read:
                return True
            if await self._consumer.position(place) >= end:
                break
        return False


@contextmanager
def translated(doing: str) -> Iterator[None]:
    """What Kafka refuses meanwhile becomes a BrokerError that says what was being done."""
    try:
        yield
    except (KafkaException, AIOKafkaError) as error:
        raise broker_error(doing, error) from error
