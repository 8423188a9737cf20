"""`tidewatch alerts`: what the alert topic holds, and what comes."""

from __future__ import annotations

import sys
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from rich.console import Console
    from rich.table import Table

    from pipeline.records import Alert, Status
    from pipeline.settings import Settings
    from pipeline.subscribe import AlertSubscriber


class AlertStatus(StrEnum):
    """What `--status` takes."""

    pending = "pending"
    firing = "firing"
    resolved = "resolved"


_STATUS_COLOURS = {"pending": "yellow", "firing": "red", "resolved": "green"}
_SEVERITY_COLOURS = {"info": "cyan", "warning": "yellow", "critical": "bold red"}
_PIPE_WIDTH = 200


def register(app: typer.Typer) -> None:
    """Add the verb."""
    app.command("alerts")(alerts)


def alerts(
    follow: Annotated[bool, typer.Option("--follow", "-f", help="Go on with what comes, until Ctrl-C.")] = False,
    status: Annotated[list[AlertStatus] | None, typer.Option(help="Only this status; may be given again.")] = None,
    series: Annotated[str, typer.Option(metavar="GLOB", help="Only series whose name fits: *, ?, \\[a-z].")] = "*",
    stream: Annotated[list[str] | None, typer.Option(help="Only this stream; may be given again.")] = None,
    as_json: Annotated[
        bool, typer.Option("--json", help="Every record as one line of JSON, in the topic's order.")
    ] = False,
    new: Annotated[bool, typer.Option("--new", help="With --follow: only what comes from now on.")] = False,
    topic: Annotated[str, typer.Option(help="The alert topic; default: that of the streams.")] = "",
    brokers: Annotated[str, typer.Option(help="Kafka's bootstrap servers; default: the settings'.")] = "",
    config: Annotated[
        Path | None, typer.Option(help="Settings file; default: TIDEWATCH_CONFIG, ./tidewatch.toml.")
    ] = None,
) -> None:
    """Show the alerts: one row each with its newest state; with --follow a line for every change, as it comes."""
    import asyncio

    from pipeline.settings import load_settings
    from pipeline.subscribe import AlertSubscriber

    settings = load_settings(config)
    kafka = settings.kafka.model_copy(update={"brokers": brokers}) if brokers else settings.kafka
    # The newest state of an alert decides whether its row is wanted, so a table asks for all.
    one_by_one = follow or as_json
    wanted: frozenset[Status] = frozenset(s.value for s in status or ())
    subscriber = AlertSubscriber(
        kafka,
        topic or alert_topic(settings),
        start="new" if new and follow else "beginning",
        follow=follow,
        statuses=wanted if one_by_one else (),
        streams=stream or (),
        series=series,
    )
    asyncio.run(_print_each(subscriber, as_json=as_json) if one_by_one else _print_table(subscriber, wanted))


def alert_topic(settings: Settings) -> str:
    """The one topic that the configured streams publish to. Raises SettingsError where there are several."""
    from pipeline.errors import SettingsError

    topics = sorted({s.alert_topic for s in settings.streams}) or ["tidewatch.alerts"]
    if len(topics) > 1:
        msg = f"the streams publish to several alert topics ({', '.join(topics)}); choose one with --topic"
        raise SettingsError(msg)
    return topics[0]


async def _print_each(subscriber: AlertSubscriber, *, as_json: bool) -> None:
    from pipeline.records import encode

    console = _console()
    async with subscriber as records:
        async for alert in records:
            if as_json:
                sys.stdout.buffer.write(encode(alert) + b"\n")
                sys.stdout.buffer.flush()
            else:
                console.print(_line(alert), soft_wrap=True)


async def _print_table(subscriber: AlertSubscriber, wanted: frozenset[Status]) -> None:
    newest: dict[str, Alert] = {}
    async with subscriber as records:
        async for alert in records:
            newest[alert.id] = alert
    rows = sorted(newest.values(), key=lambda a: (a.starts_at, a.stream, a.series))
    rows = [a for a in rows if not wanted or a.status in wanted]
    console = _console()
    console.print(_table(rows) if rows else "no alerts")


def _console() -> Console:
    from rich.console import Console

    console = Console(highlight=False)
    if not console.is_terminal:  # a pipe has no width to fit into
        console.width = max(console.width, _PIPE_WIDTH)
    return console


def _table(rows: list[Alert]) -> Table:
    from rich.box import SIMPLE_HEAD
    from rich.table import Table

    table = Table(box=SIMPLE_HEAD, pad_edge=False)
    for name in ("status", "severity", "stream", "series", "starts at", "ends at"):
        table.add_column(name, no_wrap=name.endswith("at"))
    for name in ("peak score", "observed", "expected"):
        table.add_column(name, justify="right")
    for a in rows:
        table.add_row(
            _coloured(a.status, _STATUS_COLOURS),
            _coloured(a.severity, _SEVERITY_COLOURS),
            _plain(a.stream),
            _plain(a.series),
            _time(a.starts_at),
            _time(a.ends_at),
            f"{a.peak_score:.1f}",
            _values(a.observed),
            _values(a.expected),
        )
    return table


def _line(a: Alert) -> str:
    score = f"score {a.peak_score if a.score is None else a.score:.1f}"
    observed = "" if a.observed is None else f"  observed {_values(a.observed)}"
    expected = "" if a.expected is None else f", expected {_values(a.expected)}"
    return (
        f"{_time(a.as_of)}  {_coloured(f'{a.status:<8}', _STATUS_COLOURS)}  "
        f"{_coloured(f'{a.severity:<8}', _SEVERITY_COLOURS)}  {_plain(a.stream)}  {_plain(a.series)}  "
        f"{score}{observed}{expected}  [dim]({a.reason}, since {_time(a.starts_at)})[/]"
    )


def _coloured(text: str, colours: dict[str, str]) -> str:
    return f"[{colours[text.strip()]}]{text}[/]"


def _plain(text: str) -> str:
    from rich.markup import escape

    return escape("".join(c if c.isprintable() else "?" for c in text))


def _time(text: str | None) -> str:
    """As in the record, without what is zero nearly always."""
    return "" if text is None else text.replace("T", " ").removesuffix("Z").removesuffix(".000")


def _values(values: list[float | None] | None) -> str:
    if values is None:
        return ""
    shown = ["-" if v is None else f"{v:.6g}" for v in values[:3]]
    return ", ".join([*shown, "…"] if len(values) > len(shown) else shown)
