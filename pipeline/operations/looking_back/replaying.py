"""One partition's log again, through the worker's own steps and with what was decided where it was taken. Nothing is published or stored.

    topic ──newest records──▶ decode ──▶ decisions due ──▶ PartitionCore.process ──▶ (Step, Settled)

Where the log still begins where the state began, or a snapshot of the state is at hand (`pipeline.operations.looking_back.beginning`), what is said is what
the worker said; where older records are left out or expired, series begin cold.
"""

from __future__ import annotations

import asyncio
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass, field
from functools import cached_property

import msgspec

from pipeline.alerts.records import Alert
from pipeline.errors import ModelError, SettingsError, TidewatchError
from pipeline.kafka import topics
from pipeline.kafka.clients import connect_admin
from pipeline.kafka.decisions import DecisionTopic
from pipeline.kafka.offsets import Offsets
from pipeline.kafka.reader import read_to_the_end
from pipeline.operations.deciding import Journal, finder, lines_by_partition
from pipeline.operations.state_admin import configured, opened
from pipeline.partition.core import PartitionCore
from pipeline.partition.deciding.carrying import (
    Effect,
    applied,
    check_model,
    differing,
    hold,
    in_force_of,
    learns_first,
    looked,
    replaced,
    shape_of,
)
from pipeline.partition.deciding.decisions import InForce, Line, Taken, come_due
from pipeline.partition.deciding.what import Partitions, SettingsOf
from pipeline.partition.settling import Settled, Step
from pipeline.partition.shadows.shadow import cut
from pipeline.partition.stores.base import Checkpoint, Identity
from pipeline.partition.stream import Stream, create_stream, load_model
from pipeline.partition.streams import Streams
from pipeline.registry import learn_now, registry_of
from pipeline.settings import Settings
from pipeline.steps.batches.observations import Observations
from pipeline.steps.batches.records import RecordBatch
from producers.partitioning import home
from producers.times import typed_time

NEWEST = 500_000
"""Records of a partition that are replayed, at most, where nobody says otherwise."""


class Place:
    """A configured stream, its log, and what was decided about it.

    Raises
    ------
    SettingsError, ModelError, BrokerError
        The stream is not configured; its model is not there; Kafka does not answer, or has no such topic.
    """

    def __init__(self, settings: Settings, stream: str) -> None:
        self.settings = settings
        self.stream = configured(settings, stream)
        admin, kafka = connect_admin(settings.kafka), settings.kafka
        self._admin = admin
        self.facts = topics.require(admin, kafka, [self.stream.input_topic])[self.stream.input_topic]
        self.bounds = Offsets(admin, kafka).bounds(self.stream.input_topic, range(self.facts.partitions))
        self.own = create_stream(self.stream, load_model(self.stream.model))
        self.streams = Streams(self.own, find_model=finder(self.own))
        self._registry = registry_of(settings.registry)
        decisions = self.stream.decision_topic
        entries = []
        if decisions in topics.describe(admin, kafka, [decisions]):
            entries = list(asyncio.run(Journal(DecisionTopic(kafka, decisions), None, stream).read()))
        self.taken = lines_by_partition(entries, self.facts.topic_id)

    def in_force(self) -> InForce:
        """The newest settings that any partition took; the file's where there are none."""
        newest = InForce()
        for lines in self.taken.values():
            for line in (line for line in lines if isinstance(line, Taken)):
                for d in line.decisions:
                    if isinstance(d.what, SettingsOf) and d.serial > newest.serial:
                        newest = InForce(d.serial, line.offset, d.what.settings, d.what.model, d.what.path)
        return newest

    def from_offset(self, partition: int, newest: int) -> int:
        """Where a replay of the newest records begins."""
        first, end = self.bounds[partition]
        return max(first, end - newest)

    @cached_property
    def identity(self) -> Identity:
        """What a state belongs to that is of this log."""
        cluster = topics.cluster_id(self._admin, self.settings.kafka)
        return self.own.identity(cluster_id=cluster, topic_id=self.facts.topic_id)

    def records(self, partition: int, newest: int) -> Iterator[RecordBatch]:
        """The log's newest records, in order. Raises BrokerError."""
        return read_to_the_end(self.settings.kafka, self.stream.input_topic, newest=newest, only=partition)

    def records_since(self, partition: int, offset: int) -> Iterator[RecordBatch]:
        """The log's records from an offset on, in order. Raises BrokerError, also where that expired meanwhile."""
        return read_to_the_end(self.settings.kafka, self.stream.input_topic, since=offset, only=partition)

    @cached_property
    def _bare(self) -> PartitionCore:
        return self.own.core(0)

    def decoded(self, records: RecordBatch, core: PartitionCore | None = None) -> Iterator[Observations]:
        """What records hold, as a worker reads them at `core`; None: as the settings file says. Raises RegistryError where a schema registry is needed and away."""
        core = self._bare if core is None else core
        for decoder in core.decoders:
            learn_now(decoder, records, self._registry)
        for portion in core.stream.decoder.portions(records):
            observations, _ = core.decode(portion)
            if len(observations):
                yield observations

    def require_of_people(self, serials: Collection[int]) -> None:
        """Raise TidewatchError for what cannot be left out: a decision that no partition took, settings, and partitions that were added."""
        taken = {
            d.serial: d.what
            for of in self.taken.values()
            for line in of
            if isinstance(line, Taken)
            for d in line.decisions
        }
        for serial in serials:
            if serial not in taken:
                why = "was taken by no partition"
            elif isinstance(taken[serial], SettingsOf | Partitions):
                why = "is none of people's word, and cannot be left out: what came behind it was learnt under it"
            else:
                continue
            msg = f"decision {serial} of stream {self.stream.name} {why}; `tidewatch decisions {self.stream.name}` lists them"
            raise TidewatchError(msg)

    def require(self, partition: int) -> None:
        """Raise SettingsError where there is no such partition."""
        if partition not in self.bounds:
            msg = f"topic {self.stream.input_topic} has the partitions 0 to {max(self.bounds)}, no {partition}"
            raise SettingsError(msg)


@dataclass(slots=True)
class Replay:
    """One partition as it goes on; `core` and `in_force` are as of the records so far."""

    place: Place
    core: PartitionCore
    streams: Streams
    ahead: list[Line]
    in_force: InForce
    _said: list[Alert] = field(default_factory=list)

    @classmethod
    def of(
        cls, place: Place, partition: int, without: Collection[int] = (), stored: Checkpoint | None = None
    ) -> Replay:
        """With the decisions as the partition took them; but not those of these serials. It goes on from a `stored` state; None: from nothing.

        Raises
        ------
        ModelError, SettingsError, ForeignState
            What was in force there is not at hand, or is of another version.
        """
        streams, taken = place.streams, list(_without(place.taken.get(partition, ()), without))
        if stored is None:
            return cls._begun(place, streams.core(InForce(), partition), streams, taken)
        held = in_force_of(stored)
        core = streams.core(held, partition)
        if held.settings is None:
            check_model(stored.identity, core.stream)
        core.state.restore(stored.fields, written=stored.identity.format)
        hold(core, held)
        return cls(place, core, streams, [t for t in taken if t.follows(held)], held)

    @classmethod
    def under(cls, place: Place, stream: Stream, partition: int, stored: Checkpoint | None = None) -> Replay | None:
        """Under one stream's settings from the first record to the last, whatever was decided.

        From a `stored` state it goes on as where these settings are decided there; None where they, or what was in force there, must learn first, or is not at hand.
        What people had said up to there stays said of the series, but silences.
        """
        if stored is None:
            return cls._begun(place, stream.core(partition), Streams(stream), [])
        try:
            core = cls.of(place, partition, (), stored).core
        except (ModelError, SettingsError):
            return None
        if differing(shape_of(core.stream), shape_of(stream)) or learns_first(core.stream, stream):
            return None
        return cls._begun(place, replaced(core, stream, None, stored.offset)[0], Streams(stream), [])

    @classmethod
    def _begun(cls, place: Place, core: PartitionCore, streams: Streams, ahead: list[Line]) -> Replay:
        hold(core, InForce())
        core.partitions = place.facts.partitions
        return cls(place, core, streams, ahead, InForce())

    def take(self, records: RecordBatch) -> Iterator[tuple[Step, Settled]]:
        """Process records."""
        for observations in self.observations(records):
            yield from self.process(observations)

    def observations(self, records: RecordBatch) -> Iterator[Observations]:
        """What records hold; what was decided among them takes effect where it was taken. Each is to be processed before the next."""
        for part in self._cut(records):
            self._decide(int(part.offsets[0]))
            for piece in cut(part, self._look):
                yield from self.place.decoded(piece, self.core)

    def process(self, observations: Observations) -> Iterator[tuple[Step, Settled]]:
        """Process observations under what is in force. A budget that series share is shared by those of all partitions."""
        for part in self.core.parts(self.core.unseen(observations)):
            yield self.settled(part)

    def said(self) -> list[Alert]:
        """What alerts had to say where decisions and ticks took effect, since this was asked last: before what is processed next."""
        said, self._said = self._said, []
        return said

    def settled(self, part: Observations) -> tuple[Step, Settled]:
        """Process one part of what goes on (`PartitionCore.parts`)."""
        step = self.core.push(part)
        return self.core.settled_now(step)

    def _cut(self, records: RecordBatch) -> Iterator[RecordBatch]:
        while len(records):
            borders = [t.offset for t in (*self.ahead, *self.in_force.growth.coming)]
            border = min((b for b in borders if records.offsets[0] < b < records.next_offset), default=None)
            if border is None:
                yield records
                return
            yield records.before(border)
            records = records.since(border)

    def _look(self, offset: int) -> int | None:
        """Look at the shadow, where there is one and it is time to; when it is time again."""
        if (effect := looked(self.core, self.in_force, offset, self.streams)) is not None:
            self._take(effect)
        return None if self.core.shadow is None else self.core.shadow.next_look(self.core.state)

    def _decide(self, position: int) -> None:
        while due := come_due(self.ahead, self.in_force, position):
            self._take(applied(self.core, self.in_force, due, self.streams))

    def _take(self, effect: Effect) -> None:
        self.core, self.in_force = effect.core, effect.in_force
        self._said += effect.alerts


async def partitions_with(settings: Settings, stream: str, series: str) -> list[int]:
    """Partitions whose stored state holds a series. Raises StoreError."""
    async with opened(settings) as store:
        return [p for p in await store.partitions(stream) if series in await store.series(stream, p)]


def _without(taken: Sequence[Line], serials: Collection[int]) -> Iterator[Line]:
    """What was taken, less some decisions of people. Settings cannot be left out: what came behind them was learnt under them."""
    for line in taken:
        if not isinstance(line, Taken):
            yield line
            continue
        left = tuple(
            d for d in line.decisions if d.serial not in serials or isinstance(d.what, SettingsOf | Partitions)
        )
        if left:
            yield msgspec.structs.replace(line, decisions=left)


def event_time(text: str, what: str = "--at") -> int:
    """Milliseconds of a time as a person types it; `what` says where. Raises SettingsError."""
    try:
        return int(typed_time(text).timestamp() * 1000)
    except (ValueError, OverflowError):
        msg = f"{what} {text[:40]} is no time; write one as 2026-11-22T14:00Z"
        raise SettingsError(msg) from None


def partition_of(place: Place, series: str, known: Sequence[int]) -> int:
    """The partition that a series lies in: the one whose state `known` says so, else by the hash of its name."""
    return known[0] if known else home(series, place.facts.partitions)
