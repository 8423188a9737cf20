"""The doctor's look at the newest records of each stream: whether its series are whole, each in one partition, and what becomes of them.

A worker sees one partition at a time (`pipeline.partition.home`); here all are side by side, so a series in pieces is seen as such.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Container, Iterator, Mapping

from pipeline.errors import TidewatchError
from pipeline.kafka import topics
from pipeline.kafka.clients import connect_admin
from pipeline.kafka.reader import read_to_the_end
from pipeline.operations.doctor.findings import Finding
from pipeline.operations.doctor.records import warnings_of
from pipeline.operations.previewing.preview import Preview
from pipeline.partition.home import AT_HOME, Homes, worst
from pipeline.partition.stream import Stream
from pipeline.registry import learn_now, registry_of
from pipeline.settings import Settings
from pipeline.steps.batches.records import RecordBatch
from producers.errors import RegistryError
from producers.formats.registry.client import Registry

NEWEST = 500
"""Records of each partition that are looked at."""


def examine(settings: Settings, streams: Mapping[str, Stream]) -> Iterator[Finding]:
    """A finding for each stream whose input topic has several partitions, and what is hardly meant as its records have it.

    What an intake writes is not looked at for that: its raw topics are (`intakes`).
    """
    try:
        facts = topics.describe(
            connect_admin(settings.kafka), settings.kafka, [s.settings.input_topic for s in streams.values()]
        )
    except TidewatchError as error:
        yield Finding("series", "warning", f"not looked at: {error}")
        return
    registry = registry_of(settings.registry)
    fed = {intake.stream for intake in settings.intake}
    for name, stream in streams.items():
        topic = stream.settings.input_topic
        if (fact := facts.get(topic)) is None:
            continue
        look, becoming = Look(stream, fact.partitions, registry), _preview(stream, registry, fed)
        try:
            for batch in read_to_the_end(settings.kafka, topic, newest=NEWEST):
                look.take(batch)
                if becoming is not None:
                    becoming.take(batch)
        except (TidewatchError, RegistryError) as error:
            yield Finding(f"series {name}", "warning", f"not looked at: {error}")
            continue
        if fact.partitions > 1:
            yield look.finding()
        if becoming is not None:
            yield from warnings_of(f"records {name}", topic, becoming)


def _preview(stream: Stream, registry: Registry | None, fed: Container[str]) -> Preview | None:
    """What is to show what its records become; None where they are rows of a table, or come by an intake."""
    if stream.name in fed or stream.model.kind == "table":
        return None
    of = stream.settings
    return Preview(
        of.format,
        of.counter,
        of.gauge,
        fields=of.fields.chosen(),
        registry=registry,
        named=of.channels,
        channels=stream.model.channels,
    )


class Look:
    """What the newest records of a topic show."""

    def __init__(self, stream: Stream, partitions: int, registry: Registry | None = None) -> None:
        self._registry = registry
        self._stream = stream
        self._partitions = partitions
        self._homes: dict[int, Homes] = {}
        self._where: dict[str, set[int]] = defaultdict(set)

    def take(self, batch: RecordBatch) -> None:
        """Records of one partition."""
        learn_now(self._stream.decoder, batch, self._registry)
        observations, _ = self._stream.decoder.decode(batch)
        for series in observations.series:
            self._where[series].add(batch.partition)
        # Of a topic that has grown, the newest records may be of a time when it had fewer partitions.
        homes = self._homes.setdefault(batch.partition, Homes(batch.partition))
        homes.look_at_all(batch, observations, self._partitions)

    def finding(self) -> Finding:
        """What is to be said."""
        what, verdict, series = f"series {self._stream.name}", worst(self._homes.values()), len(self._where)
        if verdict is None:
            return Finding(
                what, "ok", f"{series:,}, each in the partition of its key" if series else "no observation yet"
            )
        split = [name for name, where in self._where.items() if len(where) > 1]
        if len(split) > (1 - AT_HOME) * series:
            told = f"{len(split):,} of {series:,} lie in several partitions ({split[0][:80]!r})"
            why = (
                str(verdict).partition(": ")[2]
                if verdict.in_pieces
                else "have producers with one and the same partitioner write them"
            )
            return Finding(what, "failed", f"{told}: {why}")
        return Finding(what, "failed" if verdict.in_pieces else "warning", str(verdict))
