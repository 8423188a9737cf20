"""The doctor's look at intakes: whether their raw topics are there and can be read, whether anybody reads them, and how far behind that is."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

from confluent_kafka.admin import AdminClient

from detectors.model import Model
from pipeline.errors import BrokerError, TidewatchError
from pipeline.kafka import topics
from pipeline.kafka.clients import connect_admin
from pipeline.kafka.offsets import Offsets
from pipeline.kafka.reader import read_to_the_end
from pipeline.operations.doctor.findings import Finding, counted
from pipeline.operations.doctor.records import warnings_of
from pipeline.operations.previewing.preview import Preview
from pipeline.registry import registry_of
from pipeline.settings import IntakeSettings, Settings
from producers.errors import RegistryError

NEWEST = 200
"""Records of each raw partition that are looked at."""

MOST_TOPICS = 5
"""Raw topics of one intake whose records are looked at."""


def unfit(intakes: Sequence[IntakeSettings], models: Mapping[str, Model]) -> Iterator[str]:
    """What is wrong between intakes and the models of the streams that they feed."""
    for intake in intakes:
        model = models.get(intake.stream)
        if model is None or (model.kind, model.channels) == ("metric", intake.width):
            continue
        takes = "rows of a table" if model.kind == "table" else f"{model.channels} channels"
        brings = "one channel" if intake.width == 1 else f"{intake.width} channels"
        mend = (
            "take the intake out of the settings"
            if model.kind == "table"
            else "set its channels to those that the model was trained with"
        )
        yield (
            f"intake {intake.name} brings metrics of {brings}, and the model of stream {intake.stream} takes {takes}: {mend}, "
            "or train a model of such metrics"
        )


def examine(settings: Settings, models: Mapping[str, Model]) -> Iterator[Finding]:
    """Of each intake: what it would read, who reads it, and what comes of the newest records."""
    if not settings.intake:
        return
    for told in unfit(settings.intake, models):
        yield Finding("intake", "failed", told)
    try:
        admin = connect_admin(settings.kafka)
        there = topics.names(admin, settings.kafka)
    except TidewatchError as error:
        yield Finding("intake", "warning", f"not looked at: {error}")
        return
    for intake in settings.intake:
        try:
            yield from _intake(settings, intake, admin, there)
        except (TidewatchError, RegistryError) as error:
            yield Finding(f"intake {intake.name}", "warning", f"not looked at: {error}")


def _intake(settings: Settings, intake: IntakeSettings, admin: AdminClient, there: set[str]) -> Iterator[Finding]:
    what = f"intake {intake.name}"
    if missing := [topic for topic in intake.named if topic not in there]:
        yield Finding(what, "failed", str(topics.no_topic(missing, there)))
    raw = sorted(filter(intake.reads, there))
    if not raw:
        if not missing:
            yield Finding(what, "warning", f"no topic matches {', '.join(intake.topics)} yet: correct the glob, or see to the producers")  # fmt: skip
        return
    yield _standing(settings, intake, admin, raw)
    for topic in raw[:MOST_TOPICS]:
        yield from _records(settings, intake, topic)


def _standing(settings: Settings, intake: IntakeSettings, admin: AdminClient, raw: Sequence[str]) -> Finding:
    """Who reads it, and how many records wait."""
    offsets, group = Offsets(admin, settings.kafka), settings.intake_group(intake)
    lag = 0
    for name, fact in topics.describe(admin, settings.kafka, raw).items():
        bounds = offsets.bounds(name, range(fact.partitions))
        done = offsets.committed(group, name, range(fact.partitions))
        lag += sum(max(b.end - max(done.get(p, b.first), b.first), 0) for p, b in bounds.items())
    told = f"{', '.join(raw[:MOST_TOPICS])}{' ...' if len(raw) > MOST_TOPICS else ''}: {counted(lag, 'record')} behind"
    try:
        members = offsets.group(group).members
    except BrokerError as error:
        return Finding(f"intake {intake.name}", "warning", f"{told}; group {group} is not seen: {error}")
    if members:
        return Finding(f"intake {intake.name}", "ok", f"{told}, read by {', '.join(sorted(set(members)))}")
    if settings.worker.intake:
        return Finding(f"intake {intake.name}", "ok", f"{told}; nobody reads it now, a worker will")
    mend = "worker.intake is false: start `tidewatch intake`"
    return Finding(f"intake {intake.name}", "warning", f"{told}, and nobody reads it; {mend}")


def _records(settings: Settings, intake: IntakeSettings, topic: str) -> Iterator[Finding]:
    """What the newest records of a raw topic become."""
    what = f"intake {intake.name}"
    stream = next((stream for stream in settings.streams if stream.name == intake.stream), None)
    look = Preview(
        intake.format,
        counter=stream.counter if stream is not None else (),
        gauge=stream.gauge if stream is not None else (),
        fields=intake.fields.chosen(),
        registry=registry_of(settings.registry),
        named=intake.channels,
        drop_labels=intake.drop_labels,
        series=intake.series,
    )
    for batch in read_to_the_end(settings.kafka, topic, newest=NEWEST):
        look.take(batch)
    yield from warnings_of(what, topic, look)
    pieces = [name for name, seen in look.series.items() if len(seen.partitions) > 1]
    if intake.share and pieces:
        told = f"share is set, and {len(pieces):,} of {len(look.series):,} series of {topic} lie in several partitions ({pieces[0][:80]!r})"
        yield Finding(what, "failed", f"{told}: take share out, or have the producers key each series")
