"""`tidewatch formats`: what messages would become, and which of them would be dead letters, and why. `tidewatch init`: settings for a topic."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import msgspec
import typer

from pipeline.commands.options.stream import Brokers, ConfigFile

if TYPE_CHECKING:
    from pipeline.operations.preview import Preview
    from pipeline.settings import Settings, StreamSettings

Newest = Annotated[int, typer.Option(min=1, help="Records of each partition that are looked at, the newest.")]


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
    settings, stream = _settings(source, config, brokers)
    seen = _looked_at(source, settings, stream, format_, newest)
    if as_json:
        for line in _lines(seen):
            typer.echo(msgspec.json.encode(line).decode())
        return
    for text in _told(seen, most):
        typer.echo(text)


def init(
    source: Annotated[str, typer.Argument(metavar="kafka:TOPIC", help="A topic that is there.")],
    out: Annotated[Path, typer.Option(help="Settings file to write.")] = Path("tidewatch.toml"),
    name: Annotated[str, typer.Option(help="Name of the stream; default: from the topic's.")] = "",
    newest: Newest = 500,
    brokers: Brokers = "",
    config: ConfigFile = None,
) -> None:
    """Write a settings file for a topic that is there: its format, found by its content, and what to do next. No file is overwritten."""
    from pipeline.errors import SettingsError
    from pipeline.offline.opening import KAFKA, stream_name
    from pipeline.operations.preview import settled_format
    from pipeline.settings import KafkaSettings, StreamSettings
    from pipeline.settings.reference import as_toml

    if not source.startswith(KAFKA):
        msg = f"init reads a topic: write kafka:{source}"
        raise SettingsError(msg)
    if out.exists():
        msg = f"{out} exists already; name another with --out, or add the stream to it by hand"
        raise SettingsError(msg)
    settings, _ = _settings(source, config, brokers)
    topic = source.removeprefix(KAFKA)
    seen = _looked_at(source, settings, None, "auto", newest)
    found = settled_format(seen.formats)
    if not seen.series:
        why = f": {next(iter(seen.letters))[1]}" if seen.letters else ""
        msg = f"topic {topic} holds no observation that could be read{why}; see `tidewatch formats {source}`"
        raise SettingsError(msg)
    name = name or stream_name(topic)
    stream: dict[str, Any] = {"name": name, "topic": topic, "format": found, "model": f"{name}.tidewatch"}
    StreamSettings.model_validate(stream)
    tables: dict[str, Any] = {"streams": [stream]}
    if settings.kafka.brokers != KafkaSettings().brokers:
        tables = {"kafka": {"brokers": settings.kafka.brokers}, **tables}
    if settings.registry.url:
        tables = {"registry": {"url": settings.registry.url}, **tables}
    with out.open("x", encoding="utf-8") as file:
        file.write(as_toml(tables))
    typer.echo(f"{out}: stream {name} of {topic}, format {found}, {len(seen.series):,} series seen")
    if (verdict := seen.verdict) is not None:
        typer.echo(f"warning: {verdict}", err=True)
    typer.echo(f"next: tidewatch train --data {source} --out {name}.tidewatch --config {out}")
    typer.echo(f"then: tidewatch doctor --config {out}; tidewatch worker --config {out}")


def _settings(source: str, config: Path | None, brokers: str) -> tuple[Settings, StreamSettings | None]:
    """The settings, and which of their streams reads the topic."""
    from pipeline.offline.opening import KAFKA, stream_of
    from pipeline.settings import load_settings, with_brokers

    settings = load_settings(config)
    settings = settings.model_copy(update={"kafka": with_brokers(settings.kafka, brokers)})
    stream = stream_of(settings, source.removeprefix(KAFKA)) if source.startswith(KAFKA) else None
    return settings, stream


def _looked_at(source: str, settings: Settings, stream: StreamSettings | None, format_: str, newest: int) -> Preview:
    from pipeline.offline.opening import KAFKA
    from pipeline.operations.preview import Preview, messages_of
    from pipeline.registry import registry_of

    given = format_ or (stream.format if stream is not None else "auto")
    counter, gauge = (stream.counter, stream.gauge) if stream is not None else ((), ())
    more: dict[str, Any] = {"registry": registry_of(settings.registry)}
    if stream is not None:
        more |= {"fields": stream.fields.chosen(), "channels": stream.channels}
    if not source.startswith(KAFKA):
        seen = Preview(given, counter, gauge, **more)
        batches = messages_of(Path(source))
    else:
        from pipeline.kafka import topics
        from pipeline.kafka.clients import connect_admin
        from pipeline.kafka.reader import read_to_the_end

        topic = source.removeprefix(KAFKA)
        facts = topics.require(connect_admin(settings.kafka), settings.kafka, [topic])
        seen = Preview(given, counter, gauge, partitions=facts[topic].partitions, **more)
        batches = read_to_the_end(settings.kafka, topic, newest=newest)
    for batch in batches:
        seen.take(batch)
    return seen


def _told(seen: Preview, most: int) -> list[str]:
    from pipeline.alerts.records import rfc3339
    from pipeline.operations.preview import settled_format

    letters = sum(map(len, seen.letters.values()))
    formats = ", ".join(f"{name or 'not known'} ({n:,})" for name, n in seen.formats.most_common())
    lines = [
        f"{seen.records:,} messages: {formats or 'none'}",
        f"would become {seen.observations:,} observations of {len(seen.series):,} series, {letters:,} dead letters",
    ]
    if not seen.series and set(seen.formats) == {"native"} and seen.format == "auto":
        lines.append("objects of your own fields? see them read by their names and types: --format json")
    elif seen.format not in ("auto", *seen.formats):
        lines.append(f'read with format = "{seen.format}"')
    elif found := settled_format(seen.formats):
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
    if (verdict := seen.verdict) is not None:
        out.append({"warning": str(verdict)})
    return out
