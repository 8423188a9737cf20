"""`tidewatch formats`: what messages would become, and which of them would be dead letters, and why. `tidewatch init`: settings for a topic."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import msgspec
import typer

from pipeline.commands.options.stream import Brokers, ConfigFile

if TYPE_CHECKING:
    from pipeline.operations.previewing.preview import Preview
    from pipeline.settings import Settings

Newest = Annotated[int, typer.Option(min=1, help="Records of each partition that are looked at, the newest.")]

RecordTime = Annotated[
    bool,
    typer.Option("--record-time", help="JSON in which no field is the time: the time that Kafka has of a record is."),
]


def register(app: typer.Typer) -> None:
    """Add the verbs."""
    app.command("formats", no_args_is_help=True)(formats)
    app.command("init", no_args_is_help=True)(init)


def formats(
    source: Annotated[str, typer.Argument(metavar="FILE|kafka:TOPIC", help="A file of messages, or a topic.")],
    format_: Annotated[
        str,
        typer.Option("--format", help="Read it so; default: as a stream of the settings reads the topic, else auto."),
    ] = "",
    most: Annotated[int, typer.Option(min=1, help="Series that are told one by one.")] = 20,
    newest: Newest = 500,
    brokers: Brokers = "",
    as_json: Annotated[
        bool, typer.Option("--json", help="One JSON object per series and kind of dead letter.")
    ] = False,
    config: ConfigFile = None,
) -> None:
    """Show what messages would become: their format, series, kinds (gauge, counter), keys, and what would be a dead letter and why."""
    settings = _settings(config, brokers)
    form = _form(source, settings)
    seen = _looked_at(source, settings, form | ({"format": format_} if format_ else {}), newest)
    if as_json:
        for line in _lines(seen):
            typer.echo(msgspec.json.encode(line).decode())
        return
    for text in _told(seen, most):
        typer.echo(text)
    if form["format"] == "auto" and not format_ and (own := _own(source, settings, seen, newest)) is not None:
        what = f"{own.observations:,} observations of {len(own.series):,} series"
        typer.echo(f"read as objects of your own fields they would become {what}: --format json shows them")


def init(
    source: Annotated[str, typer.Argument(metavar="kafka:TOPIC", help="A topic that is there.")],
    out: Annotated[Path, typer.Option(help="Settings file to write.")] = Path("tidewatch.toml"),
    name: Annotated[str, typer.Option(help="Name of the stream; default: from the topic's.")] = "",
    newest: Newest = 500,
    record_time: RecordTime = False,
    brokers: Brokers = "",
    config: ConfigFile = None,
) -> None:
    """Write a settings file for a topic that is there: its format, found by its content, and what to do next. No file is overwritten."""
    from pipeline.errors import SettingsError
    from pipeline.offline.opening import KAFKA, stream_name
    from pipeline.settings import KafkaSettings
    from pipeline.settings.reference import as_toml

    if not source.startswith(KAFKA):
        msg = f"init reads a topic: write kafka:{source}"
        raise SettingsError(msg)
    if out.exists():
        msg = f"{out} exists already; name another with --out, or add the stream to it by hand"
        raise SettingsError(msg)
    settings = _settings(config, brokers)
    topic = source.removeprefix(KAFKA)
    seen, found = (
        (_by_record_time(source, settings, newest), "json") if record_time else _readable(source, settings, newest)
    )
    if not seen.series:
        why = f": {next(iter(seen.letters))[1]}" if seen.letters else ""
        if not record_time and _by_record_time(source, settings, newest).series:
            why += ". If no field of them is the time, Kafka's will do: --record-time"
        msg = f"topic {topic} holds no observation that could be read{why}; see `tidewatch formats {source}`"
        raise SettingsError(msg)
    name = name or stream_name(topic)
    tables: dict[str, Any] = {}
    if settings.kafka.brokers != KafkaSettings().brokers:
        tables["kafka"] = {"brokers": settings.kafka.brokers}
    if settings.registry.url:
        tables["registry"] = {"url": settings.registry.url}
    tables |= _tables(seen, topic, name, found)
    with out.open("x", encoding="utf-8") as file:
        file.write(as_toml(tables))
    by = " by an intake" if "intake" in tables else ""
    typer.echo(f"{out}: stream {name} of {topic}{by}, format {found}, {len(seen.series):,} series seen")
    if "intake" in tables:
        typer.echo(f"its series lie in pieces: the intake puts each together, in topic {tables['streams'][0]['topic']}")
    if counters := tables["streams"][0].get("counter"):
        typer.echo(f"counter: {len(counters):,} that only ever rise are judged by their rates; take out what is none")
    if seen.fields.record_time:
        typer.echo("no field is the time: the time that Kafka has of each record is taken")
    for text in seen.suspicions:
        if not text.startswith("values that only"):
            typer.echo(f"warning: {text}", err=True)
    if (verdict := seen.verdict) is not None and not seen.in_pieces:
        typer.echo(f"warning: {verdict}", err=True)
    typer.echo(f"next: tidewatch train --data {source} --out {name}.tidewatch --config {out}")
    typer.echo(f"then: tidewatch doctor --config {out}; tidewatch worker --config {out}")


def _tables(seen: Preview, topic: str, name: str, found: str) -> dict[str, Any]:
    """The stream, and the intake that it needs where no series is whole in one partition."""
    from pipeline.operations.previewing.suspicions import changing, rising
    from pipeline.settings import IntakeSettings, StreamSettings
    from pipeline.settings.records import WITH_FIELDS
    from producers.formats.naming import labels_of

    stream: dict[str, Any] = {"name": name, "topic": topic, "format": found, "model": f"{name}.tidewatch"}
    if counters := rising(seen.gauges):
        stream["counter"] = counters
    reader = stream
    tables: dict[str, Any] = {"streams": [stream]}
    if seen.in_pieces:
        own = f"{name}.observations"
        stream["topic"] = own if own != topic else f"{name}.whole"
        reader = {"stream": name, "topics": [topic], "format": stream.pop("format")}
        tables["intake"] = [reader]
    each, numbers = changing(seen.counts)
    fields: dict[str, Any] = {"record_time": True} if seen.fields.record_time else {}
    if (odd := {*each, *numbers}) and found in WITH_FIELDS:
        stay = sorted({label for series in seen.series for label in labels_of(series)[1]} - odd)
        fields |= {"labels": stay} if stay else {}
    if fields:
        reader["fields"] = fields
    StreamSettings.model_validate(stream)
    if "intake" in tables:
        IntakeSettings.model_validate(reader)
    return tables


def _settings(config: Path | None, brokers: str) -> Settings:
    from pipeline.settings import load_settings, with_brokers

    settings = load_settings(config)
    return settings.model_copy(update={"kafka": with_brokers(settings.kafka, brokers)})


def _readable(source: str, settings: Settings, newest: int) -> tuple[Preview, str]:
    """A look at a topic that no stream is set for, and the format to set: records of one's own fields are none of their own accord."""
    from pipeline.operations.previewing.preview import settled_format

    seen = _looked_at(source, settings, {"format": "auto"}, newest)
    own = _own(source, settings, seen, newest)
    return (seen, settled_format(seen.formats)) if own is None else (own, "json")


def _own(source: str, settings: Settings, seen: Preview, newest: int) -> Preview | None:
    """A look at JSON that can be read only by its fields' names and types; None where it could be read as it is, or not so either."""
    if seen.series or not seen.formats.keys() & {"native", "telegraf", "prometheus"}:
        return None
    own = _looked_at(source, settings, {"format": "json"}, newest)
    return own if own.series else None


def _by_record_time(source: str, settings: Settings, newest: int) -> Preview:
    """A look at JSON in which no field is the time."""
    from producers.formats.fields import Fields

    return _looked_at(source, settings, {"format": "json", "fields": Fields(record_time=True)}, newest)


def _form(source: str, settings: Settings) -> dict[str, Any]:
    """How a stream of the settings reads the topic; else nothing is set."""
    from pipeline.offline.opening import KAFKA, form_of

    topic = source.removeprefix(KAFKA)
    found = form_of(settings, topic) if source.startswith(KAFKA) else None
    if found is None:
        return {"format": "auto"}
    stream, form = found
    by_intake = stream.input_topic != topic  # where its series lie is no matter then
    return form | ({"partitions": 1} if by_intake else {})


def _looked_at(source: str, settings: Settings, form: dict[str, Any], newest: int) -> Preview:
    from pipeline.errors import SettingsError
    from pipeline.offline.opening import KAFKA
    from pipeline.operations.previewing.preview import Preview, messages_of
    from pipeline.registry import registry_of

    partitions = 1
    if source.startswith(KAFKA):
        from pipeline.kafka import topics
        from pipeline.kafka.clients import connect_admin
        from pipeline.kafka.reader import read_to_the_end

        topic = source.removeprefix(KAFKA)
        partitions = topics.require(connect_admin(settings.kafka), settings.kafka, [topic])[topic].partitions
        batches = read_to_the_end(settings.kafka, topic, newest=newest)
    elif not Path(source).exists():
        msg = f"there is no file {source}; if it is a topic, write {KAFKA}{source}"
        raise SettingsError(msg)
    else:
        batches = messages_of(Path(source))
    seen = Preview(**{"partitions": partitions, **form}, registry=registry_of(settings.registry))
    for batch in batches:
        seen.take(batch)
    return seen


def _told(seen: Preview, most: int) -> list[str]:
    from pipeline.alerts.records import rfc3339
    from pipeline.operations.previewing.preview import settled_format

    letters = sum(map(len, seen.letters.values()))
    formats = ", ".join(f"{name or 'not known'} ({n:,})" for name, n in seen.formats.most_common())
    lines = [
        f"{seen.records:,} messages: {formats or 'none'}",
        f"would become {seen.observations:,} observations of {len(seen.series):,} series, {letters:,} dead letters",
    ]
    if seen.format not in ("auto", *seen.formats):
        lines.append(f'read with format = "{seen.format}"')
    elif (seen.series or set(seen.formats) != {"native"}) and (found := settled_format(seen.formats)):
        lines.append(f'set format = "{found}"')
    ordered = sorted(seen.series.items(), key=lambda item: (-item[1].observations, item[0]))
    for name, s in ordered[:most]:
        key = ", ".join(
            "none" if k is None else ascii(k.decode(errors="replace")) for k in sorted(s.keys, key=lambda k: k or b"")
        )
        value = ", ".join(f"{v:g}" for v in s.values)
        lines.append(f"  {s.kind:<8} {s.observations:>7,}  {name}  = {value} at {rfc3339(s.timestamp)}, key {key}")
    if len(ordered) > most:
        lines.append(f"  ... and {len(ordered) - most:,} more series (--most)")
    lines += [f"left out: {n:,} {what}" for what, n in sorted(seen.skipped.items())]
    told = sorted(seen.letters.items(), key=lambda item: -len(item[1]))
    lines += [
        f"dead letters: {len(at):,} {reason}: {detail} (first at {at[0]})" for (reason, detail), at in told[:most]
    ]
    lines += [f"warning: {text}" for text in seen.suspicions]
    if (verdict := seen.verdict) is not None:
        lines.append(f"warning: {verdict}")
    return lines


def _lines(seen: Preview) -> list[dict[str, Any]]:
    out: list[dict[str, Any]] = [
        {
            "messages": seen.records,
            "formats": dict(seen.formats),
            "observations": seen.observations,
            "left_out": dict(seen.skipped),
        }
    ]
    for name, s in sorted(seen.series.items()):
        keys = [None if k is None else k.decode(errors="replace") for k in sorted(s.keys, key=lambda k: k or b"")]
        out.append(
            {"series": name, "kind": s.kind, "observations": s.observations, "timestamp": s.timestamp,
             **({"value": s.values[0]} if len(s.values) == 1 else {"values": list(s.values)}),
             "partitions": sorted(s.partitions), "keys": keys}
        )  # fmt: skip
    for (reason, detail), at in seen.letters.items():
        out.append({"dead_letters": len(at), "reason": reason, "detail": detail, "first": at[0]})
    out += [{"warning": text} for text in seen.suspicions]
    if (verdict := seen.verdict) is not None:
        out.append({"warning": str(verdict)})
    return out
