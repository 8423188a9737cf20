"""The dead letters of one stream or intake, opened, read in rounds and sent again.

    dead-letter topic ──▶ select (reason, time, not sent yet) ──▶ mend ──▶ input topic, acknowledged ──▶ remember how far

Those of an intake go back to the raw topic and the partition that each came from, and come in from there as any record does.

How far it came is kept as the committed offsets of a consumer group of its own; where only some reasons were sent, their
offsets stand in the commit's metadata. It is committed after the broker has acknowledged what was sent, so a run that is cut
short sends some of it again (at least once): metrics count a repeated observation and leave it out.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack
from types import TracebackType
from typing import Self

from confluent_kafka import Consumer, TopicPartition

from pipeline.kafka import rights, topics
from pipeline.kafka.clients import connect_admin, librdkafka_config
from pipeline.kafka.offsets import committed_by
from pipeline.operations.dead_letters.letters import Letter, Progress, Round, Selection
from pipeline.operations.dead_letters.reading import Reader, Records, translated
from pipeline.operations.dead_letters.sending import send
from pipeline.settings import KafkaSettings


class DeadLetters:
    """The dead letters of one stream or intake, read and sent again; a context manager.

    Parameters
    ----------
    topic, to
        The dead-letter topic; the input topic of a stream, or all raw topics of an intake.
    back
        Whether each record goes back to its own topic and partition: of an intake.
    group
        The consumer group that remembers how far it came.

    Raises
    ------
    BrokerError
        Kafka does not answer or refuses; what was not acknowledged by then is not remembered as sent.
    """

    def __init__(self, kafka: KafkaSettings, *, topic: str, to: Sequence[str], group: str, back: bool = False) -> None:
        self._kafka = kafka
        self._topic = topic
        self._to = to
        self._back = back
        self._group = group
        self._timeout = kafka.request_timeout.total_seconds()

    def __enter__(self) -> Self:
        needed, admin = [self._topic, *self._to], connect_admin(self._kafka)
        rights.require(admin, self._kafka, read=needed, write=self._to, group=self._group)
        topics.require(admin, self._kafka, needed)
        with ExitStack() as stack:
            self._letters = self._consumer()
            stack.callback(self._letters.close)
            self._records = stack.enter_context(Records(self._kafka))
            self._opened = stack.pop_all()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._opened.close()

    def rounds(self, selection: Selection) -> Iterator[Round]:
        """The wanted letters up to where the topic ended at first, a few thousand at a time."""
        with translated(f"read {self._topic}"):
            reader = Reader(self._letters, self._topic, self._timeout)
            reader.open(self._progress(reader.bounds), selection)
            while (some := reader.round(selection)) is not None:
                some.letters = self._records.told(some.letters)
                yield some

    def send(self, letters: Sequence[Letter]) -> None:
        """Send records in order, and wait until the broker has acknowledged all."""
        send(self._kafka, None if self._back else self._to[0], letters)

    def _progress(self, bounds: Mapping[int, tuple[int, int]]) -> dict[int, Progress]:
        asked = [TopicPartition(self._topic, p) for p in bounds]
        committed = committed_by(self._letters, f"ask how far {self._topic} was replayed", asked, self._timeout)
        return {tp.partition: Progress.of(tp, bounds[tp.partition][0]) for tp in committed}

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
