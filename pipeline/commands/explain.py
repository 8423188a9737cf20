"""`tidewatch explain`: why there was, or was not, an alert."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from pipeline.commands.options.stream import ConfigFile, StreamName

if TYPE_CHECKING:
    from pipeline.operations.looking_back.explaining import Explanation
    from pipeline.settings import Settings


def register(app: typer.Typer) -> None:
    """Add the verb."""
    app.command()(explain)


def explain(
    stream: StreamName,
    series: Annotated[str, typer.Argument(metavar="SERIES", help="Name of the series.")],
    at: Annotated[
        str,
        typer.Option(
            "--at",
            metavar="TIME",
            help="Event time, as 2026-11-22T14:00Z: the last observation at or before it is meant. Default: the newest.",
        ),
    ] = "",
    records: Annotated[
        int, typer.Option(min=1, help="How many of the partition's newest records are replayed, at most.")
    ] = 500_000,
    partition: Annotated[
        int, typer.Option(min=-1, help="Where the series lies; default: as the state says, else by its name.")
    ] = -1,
    without: Annotated[
        list[int] | None,
        typer.Option(
            "--without",
            metavar="SERIAL",
            help="As if this decision (feedback, a silence, an alert closed) had not been made; may be given again.",
        ),
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="One JSON object.")] = False,
    config: ConfigFile = None,
) -> None:
    """Say why there was, or was not, an alert: what was observed and expected, score and level, which rule stopped it, what was decided.

    The partition's log is replayed up to the observation by the worker's own steps, with the decisions where they were taken: from the newest snapshot of its state
    before it (one a day), else from the log's beginning, else from its newest records. It says which. Nothing is changed.
    """
    from dataclasses import asdict

    import msgspec

    from pipeline.operations.looking_back.explaining import explain as explained
    from pipeline.operations.looking_back.replaying import Place, event_time, partition_of
    from pipeline.settings import load_settings
    from producers.records import LATEST

    settings = load_settings(config)
    place = Place(settings, stream)
    found = partition if partition >= 0 else partition_of(place, series, known_partitions(settings, stream, series))
    time = event_time(at) if at else LATEST
    told = explained(place, series, time, partition=found, newest=records, without=without or ())
    if as_json:
        typer.echo(msgspec.json.encode(asdict(told)).decode())
    else:
        _print(told)


def known_partitions(settings: Settings, stream: str, series: str) -> list[int]:
    """Partitions whose state holds the series; none where the store does not answer."""
    import asyncio

    from pipeline.errors import StoreError
    from pipeline.operations.looking_back.replaying import partitions_with

    try:
        return asyncio.run(partitions_with(settings, stream, series))
    except StoreError as error:
        typer.echo(f"warning: {error}; the partition follows from the series' name", err=True)
        return []


def _print(told: Explanation) -> None:
    typer.echo(told.verdict)
    lines = [
        ("observation", f"{_values(told.observed)} at {told.at}, partition {told.partition}, offset {told.offset}"),
        ("expected", _values(told.expected)),
        ("let pass", _band(told)),
        ("score", "" if told.score is None else f"{told.score:.3f}"),
        ("level", "" if told.level is None else f"{told.level:.3f}"),
        ("alarm", "" if told.alarm is None else f"{told.alarm:+.3f} decades (anomalous from 0 on)"),
        ("members", ", ".join(f"{n}: {m['calibrated']:.2f}" for n, m in told.members.items())),
        ("channels", _values(told.contributions) if told.contributions and len(told.contributions) > 1 else ""),
        ("window", "" if not told.window else f"{len(told.window)} observations, the last {_last(told.window)}"),
        ("its alert", f"{told.status} afterwards"),
        *(("record", f"{a['id']} {a['sequence']}: {a['change'] or a['reason']}. {a['summary']}") for a in told.alerts),
        ("decisions", f"up to {told.decision}" if told.decision else "none were taken before it"),
        ("silences", ", ".join(map(str, told.silences))),
        ("feedback", ", ".join(f"{f['said']} (decision {f['serial']}, {f['bar']:+.2f})" for f in told.feedback)),
        ("selectors", ", ".join(map(str, told.selectors))),
        ("replayed", _replayed(told)),
    ]
    for name, text in lines:
        if text:
            typer.echo(f"  {name:<12} {text}")


def _replayed(told: Explanation) -> str:
    if told.snapshot is not None:
        return (
            f"from the snapshot of {told.snapshot}, at offset {told.replayed_from}, where the series was {told.began}"
        )
    if told.warm:
        return "from the log's beginning"
    return f"from offset {told.replayed_from}: what was learnt before is not known here, and what is said may differ (--records)"


def _values(values: list[float] | None) -> str:
    return "" if values is None else ", ".join(f"{v:.6g}" for v in values)


def _band(told: Explanation) -> str:
    if told.lower is None or told.upper is None:
        return ""
    return ", ".join(f"{low:.6g} to {high:.6g}" for low, high in zip(told.lower, told.upper, strict=True))


def _last(window: list[list[float]]) -> str:
    return ", ".join(_values(row) for row in window[-6:])
