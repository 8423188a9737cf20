"""What an operator does to the state of a stopped stream: seek, reset, export, import.

    look    group, log, stored checkpoints ──▶ plan: what becomes of each partition ──▶ confirm ──▶ apply

The offset beside the state decides where a worker reads on, so state and offset move together here too. Under a live worker
nothing is changed: it would be refused, claim again and write everything from memory. The group's committed offsets move
along, and first: a run that is cut short leaves the state as it was, and is repeated.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterable, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import datetime
from difflib import get_close_matches
from functools import cached_property
from typing import Literal

import msgspec

from pipeline.alerts.open_alerts import OpenAlerts, forgotten
from pipeline.alerts.records import Alert
from pipeline.errors import ForeignState, SettingsError, TidewatchError
from pipeline.kafka import rights, topics
from pipeline.kafka.clients import connect_admin
from pipeline.kafka.decisions import DecisionTopic
from pipeline.kafka.offsets import Bounds, Group, Offsets, require_nobody
from pipeline.kafka.publisher import KafkaPublisher
from pipeline.operations.deciding import Journal, finder, lines_by_partition
from pipeline.partition.deciding.carrying import applied, check_model, differing, hold, in_force_of, shape_of
from pipeline.partition.deciding.decisions import IN_FORCE, InForce, Line, Reset, come_due
from pipeline.partition.outbox import Publisher
from pipeline.partition.stores.base import Checkpoint, Identity, check_identity
from pipeline.partition.stores.redis import RedisStore
from pipeline.partition.stream import Stream, create_stream, load_model
from pipeline.partition.streams import Streams
from pipeline.settings import Settings, StreamSettings

Target = int | datetime | Literal["earliest", "latest"]


@dataclass(frozen=True)
class Move:
    """Where a partition reads on: a worker would read `at` next as it is, and reads `to` afterwards.

    Attributes
    ----------
    stored
        Offset of the stored state; None where there is none.
    kept
        Whether the stored state is kept.
    """

    partition: int
    stored: int | None
    at: int
    to: int
    kept: bool

    @property
    def effect(self) -> str:
        """What it means, in words."""
        skipped = f"{self.to - self.at:,} records skipped" if self.to > self.at else ""
        again = f"{self.at - self.to:,} records scored again" if self.to < self.at else ""
        how = (
            "state kept, windows start anew"
            if self.kept
            else "empty state: what the model does not know is in probation"
        )
        return ", ".join(filter(None, [skipped, again, how]))


class Administration:
    """One stream's state, group and log, for one command.

    Parameters
    ----------
    stream
        Its name; it must be configured, with its model file at hand.

    Raises
    ------
    SettingsError
        The stream is not configured.
    BrokerError
        Kafka does not answer, or has no such topic.
    """

    def __init__(self, settings: Settings, stream: str) -> None:
        self.settings = settings
        self.stream = configured(settings, stream)
        admin = self._admin = connect_admin(settings.kafka)
        topic = self.stream.input_topic
        self.facts = topics.require(admin, settings.kafka, [topic])[topic]
        self.cluster = topics.cluster_id(admin, settings.kafka)
        self._offsets = Offsets(admin, settings.kafka)

    @property
    def partitions(self) -> range:
        """Of the input topic."""
        return range(self.facts.partitions)

    @cached_property
    def steps(self) -> Stream:
        """The stream with its model. Raises ModelError, DetectorError."""
        return create_stream(self.stream, load_model(self.stream.model))

    @cached_property
    def identity(self) -> Identity:
        """What a state that fits here belongs to."""
        return self.steps.identity(cluster_id=self.cluster, topic_id=self.facts.topic_id)

    @cached_property
    def bounds(self) -> dict[int, Bounds]:
        """The log of each partition, as it was when first asked."""
        return self._offsets.bounds(self.stream.input_topic, self.partitions)

    def group(self) -> Group:
        """Who works on it now."""
        return self._offsets.group(self.settings.worker.group)

    def require_stopped(self, *, ends_alerts: bool = False) -> None:
        """Raise BrokerError where a worker of the group lives, or the rights to move the group are not there (Denied)."""
        kafka, group = self.settings.kafka, self.settings.worker.group
        decisions = self.stream.decision_topic
        written = [decisions, *([self.stream.alert_topic] if ends_alerts else [])]
        rights.require(self._admin, kafka, read=[self.stream.input_topic, decisions], write=written, group=group)
        require_nobody(self.group())

    def committed(self) -> dict[int, int]:
        """The group's offsets."""
        return self._offsets.committed(self.settings.worker.group, self.stream.input_topic, self.partitions)

    def commit(self, offsets: Mapping[int, int]) -> None:
        """Move the group. Raises BrokerError where a worker lives."""
        if offsets:
            self._offsets.commit(self.settings.worker.group, self.stream.input_topic, offsets)

    def targets(self, to: Target, partitions: Sequence[int]) -> dict[int, int]:
        """The offset that `to` means in each partition.

        Raises
        ------
        TidewatchError
            An offset for several partitions, or outside of the log.
        """
        if isinstance(to, datetime):
            return self._offsets.at(self.stream.input_topic, partitions, to)
        if not isinstance(to, int):
            return {p: self.bounds[p].first if to == "earliest" else self.bounds[p].end for p in partitions}
        if len(partitions) > 1:
            msg = f"offset {to:,} is one partition's, and this is about {len(partitions)}: name one with --partition"
            raise TidewatchError(msg)
        return dict.fromkeys(partitions, to)

    def next_offsets(self, stored: Mapping[int, int | None]) -> dict[int, int]:
        """The offset that a worker would read next, of each partition: the stored one, else how far the group came."""
        committed = self.committed()
        found = {}
        for partition, (first, end) in self.bounds.items():
            at = stored.get(partition)
            at = committed.get(partition, first) if at is None else at
            found[partition] = min(max(at, first), max(end, first))
        return found

    async def seek(self, store: RedisStore, moves: Iterable[Move], stored: Mapping[int, Checkpoint | None]) -> None:
        """Write the states of `moves` at their new offsets, and move the group there."""
        taken = await self._taken()
        made = {m.partition: self._moved(m, stored.get(m.partition), taken.get(m.partition, ())) for m in moves}
        await self.put(store, made)

    def _journal(self, publisher: Publisher | None = None) -> Journal | None:
        """The stream's lines in the topic of decisions; None where there is none yet."""
        kafka, topic = self.settings.kafka, self.stream.decision_topic
        if topic not in topics.names(self._admin, kafka):
            return None
        return Journal(DecisionTopic(kafka, topic), publisher, self.stream.name)

    async def _taken(self) -> dict[int, list[Line]]:
        journal = self._journal()
        return {} if journal is None else lines_by_partition(await journal.read(), self.facts.topic_id)

    async def reset(self, store: RedisStore, partitions: Iterable[int]) -> None:
        """Forget states, what they took of decisions, and that the group ever read these partitions: else workers would take the states for lost."""
        partitions = list(partitions)
        publisher = KafkaPublisher(self.settings.kafka)
        try:
            if (journal := self._journal(publisher)) is not None:
                await journal.write([Reset(self.stream.name, p) for p in partitions])
        finally:
            await publisher.close()
        self._offsets.forget(self.settings.worker.group, self.stream.input_topic, partitions)
        for partition in partitions:
            await store.delete(self.stream.name, partition)

    async def open_alerts(self, partitions: Iterable[int]) -> list[Alert]:
        """The last records of the alerts of these partitions that are open on the alert topic."""
        name, topic, out = self.stream.name, self.stream.input_topic, self.stream.alert_topic
        if out not in topics.names(self._admin, self.settings.kafka):
            return []
        reader = OpenAlerts(self.settings.kafka, out)
        found = await asyncio.gather(*(reader(name, topic, p) for p in partitions))
        return [alert for of in found for alert in of.values() if alert.status != "resolved"]

    async def end(self, alerts: Iterable[Alert]) -> None:
        """End open alerts as forgotten, given their last records: nothing will go on with them."""
        publisher = KafkaPublisher(self.settings.kafka)
        try:
            for alert in alerts:
                message = forgotten(alert).message(self.stream.alert_topic)
                await publisher.send(message.topic, message.key, message.value, message.headers)
        finally:
            await publisher.close()

    async def put(self, store: RedisStore, checkpoints: Mapping[int, Checkpoint]) -> None:
        """Store checkpoints in place of what is stored, and move the group to their offsets."""
        self.commit({p: c.offset for p, c in checkpoints.items()})
        for partition, checkpoint in checkpoints.items():
            await store.put(self.stream.name, partition, checkpoint)

    def adopted(self, partition: int, checkpoint: Checkpoint, *, adopt_topic: bool) -> Checkpoint:
        """A checkpoint of a file as one of this cluster and topic.

        Parameters
        ----------
        adopt_topic
            Take this cluster and topic for those that it belongs to: they were copied, offsets and all.

        Raises
        ------
        ForeignState
            It belongs to something else, or is not of an offset that the log has.
        """
        own, identity = self.identity, checkpoint.identity
        where = {"cluster_id": own.cluster_id, "topic_id": own.topic_id}
        if adopt_topic:
            identity = identity.model_copy(update=where)
        elif any(getattr(identity, name) != value for name, value in where.items()):
            msg = (
                f"the file's state belongs to Kafka cluster {identity.cluster_id!r} and topic id {identity.topic_id!r}, here they are "
                f"{own.cluster_id!r} and {own.topic_id!r}: use --adopt-topic if the topic was copied with its offsets, record by record"
            )
            raise ForeignState(msg)
        check_identity(identity, own)
        held = in_force_of(checkpoint)
        if held.settings is None:
            check_model(identity, self.steps)
        core = Streams(self.steps, find_model=finder(self.steps)).core(
            held, partition
        )  # or nobody here could go on with it
        if why := differing(shape_of(core.stream), shape_of(self.steps)):
            msg = f"the file's state is of other settings: stream {self.stream.name} has {why}"
            raise ForeignState(msg)
        fields = dict(checkpoint.fields)
        if (
            adopt_topic and held.settings is not None
        ):  # serials are those of another list: here everything is to be taken anew
            fields[IN_FORCE] = msgspec.structs.replace(held, serial=0, offset=0, tick=0).packed()
        first, end = self._bounds_of(partition)
        if not first <= checkpoint.offset <= end:
            msg = (
                f"the file's state of partition {partition} is of offset {checkpoint.offset:,}, and {self.stream.input_topic} holds "
                f"{first:,} to {end:,}: it is of other records; start anew, or seek where it was exported first"
            )
            raise ForeignState(msg)
        return Checkpoint(checkpoint.offset, checkpoint.sequence, identity, fields)

    def _bounds_of(self, partition: int) -> Bounds:
        if partition not in self.bounds:
            msg = f"the file holds partition {partition}, and {self.stream.input_topic} has {self.facts.partitions}: it is another topic"
            raise ForeignState(msg)
        return self.bounds[partition]

    def _moved(self, move: Move, stored: Checkpoint | None, taken: Sequence[Line]) -> Checkpoint:
        streams, identity, held = Streams(self.steps, find_model=finder(self.steps)), self.identity, InForce()
        core = self.steps.core(move.partition)
        if stored is not None and move.kept:
            check_identity(stored.identity, identity)
            held = in_force_of(stored)
            core = streams.core(held, move.partition)
            core.state.restore(stored.fields, written=stored.identity.format)
            hold(core, held)
            identity = identity.model_copy(update={"numerics": stored.identity.numerics})
            core.miss(move.to - stored.offset)
        else:
            core.miss(move.to)  # rows of tables are counted from there, as if all before had been of every series
        # What was taken on the way holds there, or the state would be one that passed over it.
        ahead = [t for t in taken if t.follows(held)]
        while one := come_due(ahead, held, move.to, empty=not len(core.state)):
            effect = applied(core, held, one, streams)
            core, held = effect.core, effect.in_force
        sequence = 0 if stored is None else stored.sequence + 1
        return Checkpoint(move.to, sequence, identity, core.state.snapshot(everything=True))


def plan(
    stored: Mapping[int, int | None],
    at: Mapping[int, int],
    bounds: Mapping[int, Bounds],
    targets: Mapping[int, int],
    *,
    fresh: bool,
) -> list[Move]:
    """What a seek does to each partition; those that stay as they are are left out.

    Parameters
    ----------
    stored, at, bounds, targets
        By partition: the stored offset (None where nothing is), where a worker would read on, the log, where it is to read on.

    Raises
    ------
    TidewatchError
        A target is outside of the log, or goes back over what the kept state has seen.
    """
    moves = []
    for partition, to in sorted(targets.items()):
        first, end = bounds[partition]
        if not first <= to <= end:
            msg = (
                f"partition {partition} holds offsets {first:,} to {end:,}: there is nothing to read on from at {to:,}"
            )
            raise TidewatchError(msg)
        seen = stored.get(partition)
        if seen is not None and to < seen and not fresh:
            msg = (
                f"partition {partition} is at {seen:,}, and its state has seen all before: going back to {to:,}, it would count that "
                "as late; use --fresh to start there with an empty state, or score the history under another name (docs/operations.md)"
            )
            raise TidewatchError(msg)
        move = Move(partition, seen, at[partition], to, kept=seen is not None and not fresh)
        if not move.kept or to != seen:
            moves.append(move)
    return moves


def configured(settings: Settings, name: str) -> StreamSettings:
    """A stream's settings. Raises SettingsError where it is not configured."""
    for stream in settings.streams:
        if stream.name == name:
            return stream
    names = [s.name for s in settings.streams]
    meant = "".join(f"; did you mean {near}?" for near in get_close_matches(name, names, 1))
    msg = f"stream {name} is not configured (configured: {', '.join(names) or 'none'}){meant or '; name its settings file with --config'}"
    raise SettingsError(msg)


@asynccontextmanager
async def opened(settings: Settings) -> AsyncIterator[RedisStore]:
    """The store, closed at the end."""
    store = RedisStore(settings.redis)
    try:
        yield store
    finally:
        await store.close()


async def checkpoints(store: RedisStore, stream: str) -> dict[int, Checkpoint | None]:
    """What is stored of a stream; None where a partition was claimed and has no checkpoint yet."""
    return {p: await store.peek(stream, p) for p in await store.partitions(stream)}
