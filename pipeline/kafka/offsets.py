"""Where topics begin and end, and where a consumer group stands: what operators' commands ask Kafka, and what they move.

A group's committed offsets do not move a worker; the offset beside the state in the store does. They are moved all the same
when an operator moves that one: lag tools read them, and a worker that finds no state at all takes them for how far its
predecessor came: then records before it are read back quietly, and nothing of them is published (`pipeline.partition.rebuild`).
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime
from typing import Any, NamedTuple, TypeVar

from confluent_kafka import Consumer, ConsumerGroupState, KafkaError, KafkaException, TopicPartition
from confluent_kafka.admin import AdminClient, OffsetSpec  # type: ignore[attr-defined]  # re-exported without saying so

from pipeline.errors import BrokerError
from pipeline.kafka import topics
from pipeline.kafka.clients import broker_error, connect_admin, librdkafka_config
from pipeline.settings import KafkaSettings

_NOT_YET = (
    KafkaError.COORDINATOR_LOAD_IN_PROGRESS,
    KafkaError.COORDINATOR_NOT_AVAILABLE,
    KafkaError.NOT_COORDINATOR,
    KafkaError.REQUEST_TIMED_OUT,
    KafkaError._TIMED_OUT,  # noqa: SLF001  a public name of librdkafka
    KafkaError._WAIT_COORD,  # noqa: SLF001  likewise
)
"""A group's coordinator has only just become it, or is about to: librdkafka waits for it once, then tells."""

_FIRST_WAIT = 0.125
"""Share of `kafka.request_timeout` that the first question about a group is given. A question that was asked before there was a
coordinator may never be answered; each next one is given twice as long, so the last still has about half of the time."""

T = TypeVar("T")


class Bounds(NamedTuple):
    """The log of one partition: its first offset, and the one behind its last record."""

    first: int
    end: int


@dataclass(frozen=True)
class Group:
    """A consumer group as its coordinator has it: its state, and its members as `client@host`."""

    name: str
    state: str
    members: tuple[str, ...]

    @property
    def empty(self) -> bool:
        """Whether nobody is in it, nor about to be."""
        return not self.members and self.state in ("empty", "dead")


async def log_ends(kafka: KafkaSettings, topic: str) -> list[int]:
    """The offset behind the last record of each partition of a topic, as many as there are now. Raises BrokerError."""

    def ask() -> list[int]:
        admin = connect_admin(kafka)
        count = topics.require(admin, kafka, [topic])[topic].partitions
        ends = Offsets(admin, kafka).ends(topic, range(count))
        return [ends[p] for p in range(count)]

    return await asyncio.to_thread(ask)


class Offsets:
    """Asks of one cluster. All methods raise BrokerError where Kafka does not answer or forbids it."""

    def __init__(self, admin: AdminClient, kafka: KafkaSettings) -> None:
        self._admin = admin
        self._kafka = kafka
        self._timeout = kafka.request_timeout.total_seconds()

    def bounds(self, topic: str, partitions: Iterable[int]) -> dict[int, Bounds]:
        """First offset and end of each partition's log."""
        partitions = list(partitions)
        first = self._listed(topic, partitions, OffsetSpec.earliest())  # type: ignore[no-untyped-call]
        end = self.ends(topic, partitions)
        return {p: Bounds(first[p], end[p]) for p in partitions}

    def ends(self, topic: str, partitions: Iterable[int]) -> dict[int, int]:
        """The offset behind the last record of each partition."""
        return self._listed(topic, list(partitions), OffsetSpec.latest())  # type: ignore[no-untyped-call]

    def at(self, topic: str, partitions: Iterable[int], time: datetime) -> dict[int, int]:
        """Offset of the first record whose time stamp on Kafka is not before `time`; the log's end where there is none."""
        partitions = list(partitions)
        found = self._listed(topic, partitions, OffsetSpec.for_timestamp(int(time.timestamp() * 1000)))
        ends = self._listed(topic, [p for p in partitions if found[p] < 0], OffsetSpec.latest())  # type: ignore[no-untyped-call]
        return found | ends

    def group(self, name: str) -> Group:
        """Who is in a group; one that does not exist is empty."""
        doing = f"describe group {name}"

        def ask(seconds: float) -> Any:
            return _result(doing, self._admin.describe_consumer_groups([name], request_timeout=seconds)[name])

        try:
            found = _once_it_settled(self._timeout, ask)
        except BrokerError as error:
            if _code(error) == KafkaError.GROUP_ID_NOT_FOUND:
                return Group(name, "dead", ())
            raise
        state = ConsumerGroupState(found.state).name.lower()
        return Group(name, state, tuple(f"{m.client_id}@{m.host.removeprefix('/')}" for m in found.members))

    def committed(self, group: str, topic: str, partitions: Iterable[int]) -> dict[int, int]:
        """Committed offsets of a group; partitions without one are left out."""
        asked = [TopicPartition(topic, p) for p in partitions]
        return {tp.partition: tp.offset for tp in self._read(f"ask for the offsets of group {group}", group, asked)}

    def commit(self, group: str, topic: str, offsets: Mapping[int, int]) -> None:
        """Move a group that is empty. Raises BrokerError where somebody is in it."""
        self._move(f"move group {group}", group, [TopicPartition(topic, p, o) for p, o in offsets.items()])

    def forget(self, group: str, topic: str, partitions: Iterable[int]) -> None:
        """Take away a group's committed offsets, as if it had never read these partitions. Raises BrokerError where it has members.

        Kafka can do so for one partition, its client for Python only for a whole group: so the group is deleted, and its other
        offsets, which are for information, are committed again.
        """
        gone = {(topic, partition) for partition in partitions}
        doing = f"forget offsets of group {group}"
        held = self._read(doing, group, self._everything(doing))
        kept = [tp for tp in held if (tp.topic, tp.partition) not in gone]
        if len(kept) == len(held):
            return
        self.delete_group(group)
        if kept:
            self._move(doing, group, kept)

    def delete_group(self, group: str) -> None:
        """Delete a group; one that does not exist is content. Raises BrokerError where it has members."""
        doing = f"delete group {group}"
        try:
            _once_it_settled(
                self._timeout,
                lambda seconds: _result(
                    doing, self._admin.delete_consumer_groups([group], request_timeout=seconds)[group]
                ),
            )
        except BrokerError as error:
            if _code(error) != KafkaError.GROUP_ID_NOT_FOUND:  # else a question whose answer was lost has done it
                raise

    def _everything(self, doing: str) -> list[TopicPartition]:
        """Every partition of every topic that this user may see."""
        try:
            topics = self._admin.list_topics(timeout=self._timeout).topics
        except KafkaException as error:
            raise broker_error(doing, error) from error
        return [TopicPartition(name, partition) for name, known in topics.items() for partition in known.partitions]

    def _read(self, doing: str, group: str, asked: list[TopicPartition]) -> list[TopicPartition]:
        """What the group has committed of these partitions."""
        if not asked:
            return []
        with self._client_of(group) as client:
            found = committed_by(client, doing, asked, self._timeout)
        return [tp for tp in found if tp.offset >= 0]

    def _move(self, doing: str, group: str, offsets: list[TopicPartition]) -> None:
        with self._client_of(group) as client:
            _once_it_settled(
                self._timeout, lambda _: _told(doing, lambda: client.commit(offsets=offsets, asynchronous=False))
            )

    @contextmanager
    def _client_of(self, group: str) -> Iterator[Consumer]:
        """A consumer of the group that reads and moves its offsets and joins nothing.

        Not the admin client: where the group's coordinator has only just become it, librdkafka 2.16 answers NOT_COORDINATOR with a
        segmentation fault there (its issue 5040: it looks for the group's own state, which an admin client has not).
        """
        own = {"group.id": group, "enable.auto.commit": False, "allow.auto.create.topics": False}
        client = Consumer(librdkafka_config(self._kafka) | own)
        try:
            yield client
        finally:
            client.close()

    def _listed(self, topic: str, partitions: Sequence[int], spec: Any) -> dict[int, int]:
        if not partitions:
            return {}
        asked = {TopicPartition(topic, p): spec for p in partitions}
        answers = self._admin.list_offsets(asked, request_timeout=self._timeout)
        doing = f"ask for the offsets of {topic}"
        return {tp.partition: int(_result(doing, answer).offset) for tp, answer in answers.items()}


def committed_by(client: Consumer, doing: str, asked: list[TopicPartition], timeout: float) -> list[TopicPartition]:
    """What the client's group has committed of these partitions, waiting `timeout` s in all for the group's coordinator.

    Raises BrokerError where Kafka does not answer or forbids it.
    """
    return _once_it_settled(timeout, lambda seconds: _told(doing, lambda: client.committed(asked, timeout=seconds)))


def _once_it_settled(timeout: float, ask: Callable[[float], T]) -> T:
    """What `ask`, given the seconds to wait, returns; asked again, in `timeout` s in all, while it is not known yet."""
    end = time.monotonic() + timeout
    wait = timeout * _FIRST_WAIT
    while True:
        left = end - time.monotonic()
        try:
            return ask(max(min(wait, left), 0.1))
        except BrokerError as error:
            if _code(error) not in _NOT_YET or time.monotonic() >= end:
                raise
        wait *= 2
        time.sleep(0.1)


def require_nobody(group: Group) -> None:
    """Raise BrokerError where a group has members: what is changed in the store under a live worker it writes over again."""
    if group.empty:
        return
    count = f"{len(group.members)} live member{'s' if len(group.members) > 1 else ''}"
    who = f"has {count} ({', '.join(sorted(set(group.members)))})"
    if not group.members:
        who = f"is {group.state.replace('_', ' ')}"
    msg = (
        f"consumer group {group.name} {who}: stop the workers first, they would write over what is changed "
        "(one that was killed counts until worker.session_timeout has passed)"
    )
    raise BrokerError(msg)


def _code(error: BrokerError) -> int | None:
    cause = error.__cause__
    return cause.args[0].code() if isinstance(cause, KafkaException) else None


def _result(doing: str, answer: Any) -> Any:
    try:
        return answer.result()
    except KafkaException as error:
        raise broker_error(doing, error) from error


def _told(doing: str, ask: Callable[[], list[TopicPartition] | None]) -> list[TopicPartition]:
    try:
        return _sound(doing, ask() or [])
    except KafkaException as error:
        raise broker_error(doing, error) from error


def _sound(doing: str, partitions: list[TopicPartition]) -> list[TopicPartition]:
    for tp in partitions:
        if tp.error is not None:
            where = f"{doing}, {tp.topic}[{tp.partition}]"
            refused = KafkaException(tp.error)
            raise broker_error(where, refused) from refused
    return partitions
