"""`tidewatch alerts`: what the alert topic holds, and what comes.

At a terminal a table of the columns that fit; into a pipe one record a line, its fields (`FIELDS`) separated by tabs.
"""

from __future__ import annotations

import sys
from collections import deque
from collections.abc import AsyncIterator, Mapping, Sequence
from enum import StrEnum
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from pipeline.commands.options.stream import Brokers

if TYPE_CHECKING:
    from datetime import datetime

    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    from pipeline.alerts.records import Alert
    from pipeline.alerts.subscribe import AlertSubscriber
    from pipeline.settings import Settings


class AlertStatus(StrEnum):
    """What `--status` takes."""

    pending = "pending"
    firing = "firing"
    resolved = "resolved"


class AlertSeverity(StrEnum):
    """What `--severity` takes."""

    info = "info"
    warning = "warning"
    critical = "critical"


FIELDS = (
    "id", "sequence", "status", "severity", "stream", "series", "starts_at", "ends_at", "as_of", "reason", "peak_score", "score",
    "observed", "expected", "change", "kind", "direction", "deviation", "deviation_percent", "summary",
)  # fmt: skip
"""Fields of a line into a pipe, in order; docs/alerts.md names them too. New ones come at the end."""

_COLOURS = {
    "pending": "yellow", "firing": "red", "resolved": "green", "info": "cyan", "warning": "yellow", "critical": "bold red",
}  # fmt: skip
_COLUMNS = (
    "id", "status", "severity", "kind", "stream", "series", "starts at", "ends at", "peak", "observed", "expected", "by",
)  # fmt: skip
_FIRST_COME = (
    "status", "series", "starts at", "id", "severity", "kind", "stream", "observed", "expected", "by", "ends at", "peak",
)  # fmt: skip
"""Which columns a narrow terminal keeps: the first ones of these. Observed, expected and by how much are of the alert's worst moment."""
_SHORT_ID, _SHORT_SERIES = 8, 12
_NUMBERS = ("peak", "observed", "expected", "by")
_GAP = 2


def register(app: typer.Typer) -> None:
    """Add the verb."""
    app.command("alerts")(alerts)


def alerts(
    follow: Annotated[bool, typer.Option("--follow", "-f", help="Go on with what comes, until Ctrl-C.")] = False,
    status: Annotated[list[AlertStatus] | None, typer.Option(help="Only this status; may be given again.")] = None,
    severity: Annotated[
        list[AlertSeverity] | None, typer.Option(help="Only this severity; may be given again.")
    ] = None,
    series: Annotated[str, typer.Option(metavar="GLOB", help="Only series whose name fits: *, ?, [a-z].")] = "*",
    stream: Annotated[list[str] | None, typer.Option(help="Only this stream; may be given again.")] = None,
    since: Annotated[
        str,
        typer.Option(
            metavar="TIME",
            help="Only what changed since then, by event time: a time as 2026-11-22T14:00Z, or how long ago, as 90m, 6h, 7d.",
        ),
    ] = "",
    limit: Annotated[
        int, typer.Option(min=0, help="At most so many, the newest; with --follow the first. 0: all.")
    ] = 0,
    alert_id: Annotated[
        str, typer.Option("--id", metavar="ID", help="Only the alert whose id begins so, as the table shows it.")
    ] = "",
    as_json: Annotated[
        bool, typer.Option("--json", help="Every record as one line of JSON, in the topic's order.")
    ] = False,
    new: Annotated[bool, typer.Option("--new", help="With --follow: only what comes from now on.")] = False,
    topic: Annotated[str, typer.Option(help="The alert topic; default: that of the streams.")] = "",
    brokers: Brokers = "",
    config: Annotated[
        Path | None, typer.Option(help="Settings file; default: TIDEWATCH_CONFIG, ./tidewatch.toml.")
    ] = None,
) -> None:
    """Show the alerts: one row each with its newest state; with --follow a line for every change, as it comes.

    The table has the columns that fit the terminal. Into a pipe, each alert (with --follow each record) is one line of fields
    separated by tabs: id, sequence, status, severity, stream, series, starts_at, ends_at, as_of, reason, peak_score, score,
    observed, expected, change, kind, direction, deviation, deviation_percent, summary; values of several channels are separated by commas, and what there is none of is empty.
    """
    import asyncio

    from pipeline.alerts.subscribe import AlertSubscriber
    from pipeline.settings import load_settings, with_brokers

    if new and not follow:
        raise typer.BadParameter(
            "goes with --follow: without it only what the topic holds is shown", param_hint="--new"
        )
    settings = load_settings(config)
    kafka = with_brokers(settings.kafka, brokers)
    # The newest state of an alert decides whether its row is wanted, so the subscriber drops only what no state can change.
    wanted = _Wanted(frozenset(status or ()), frozenset(severity or ()), _since(since), alert_id)
    subscriber = AlertSubscriber(
        kafka,
        topic or alert_topic(settings),
        start="new" if new else "beginning",
        follow=follow,
        streams=stream or (),
        series=series,
    )
    show = _show_each if follow or as_json else _show_newest
    asyncio.run(show(subscriber, wanted, _Printer(as_json=as_json), limit=limit, follow=follow))


def alert_topic(settings: Settings) -> str:
    """The one topic that the configured streams publish to. Raises SettingsError where there are several."""
    from pipeline.errors import SettingsError

    topics = sorted({s.alert_topic for s in settings.streams}) or ["tidewatch.alerts"]
    if len(topics) > 1:
        msg = f"the streams publish to several alert topics ({', '.join(topics)}); choose one with --topic"
        raise SettingsError(msg)
    return topics[0]


class _Wanted:
    """Whether a record is one that was asked for."""

    def __init__(
        self,
        statuses: frozenset[AlertStatus],
        severities: frozenset[AlertSeverity],
        since: datetime | None,
        alert_id: str,
    ) -> None:
        self._statuses = statuses
        self._severities = severities
        self._since = since
        self._id = alert_id.lower()

    def __call__(self, alert: Alert) -> bool:
        from datetime import datetime

        return (
            (not self._statuses or alert.status in self._statuses)
            and (not self._severities or alert.severity in self._severities)
            and alert.id.startswith(self._id)
            and (self._since is None or datetime.fromisoformat(alert.as_of) >= self._since)
        )


def _since(text: str) -> datetime | None:
    from datetime import UTC, datetime, timedelta

    from pydantic import TypeAdapter, ValidationError

    from pipeline.settings import Duration
    from producers.times import typed_time

    if not text:
        return None
    try:
        return typed_time(text)
    except ValueError:
        pass
    try:
        ago: timedelta = TypeAdapter(Duration).validate_python(text)
        return datetime.now(UTC) - ago
    except (ValidationError, ValueError, OverflowError):
        msg = f"{text!r} is neither a time like 2026-11-22T14:00Z nor how long ago, like 90m, 6h or 7d"
        raise typer.BadParameter(msg, param_hint="--since") from None


class _Printer:
    """Writes records in the form that was asked for, or that suits what reads them."""

    def __init__(self, *, as_json: bool) -> None:
        from rich.console import Console

        self.console: Console = Console(highlight=False, markup=False)
        self._json = as_json

    @property
    def table(self) -> bool:
        """Whether somebody reads it at a terminal."""
        return not self._json and self.console.is_terminal

    def line(self, alert: Alert) -> None:
        """One record."""
        from pipeline.alerts.records import encode

        if self.table:
            self.console.print(_line(alert), soft_wrap=True)
            return
        text = encode(alert) if self._json else tab_separated(alert).encode(errors="replace")
        sys.stdout.buffer.write(text + b"\n")
        sys.stdout.buffer.flush()


async def _show_each(
    subscriber: AlertSubscriber, wanted: _Wanted, printer: _Printer, *, limit: int, follow: bool
) -> None:
    async with subscriber as records:
        if follow:
            shown = 0
            async for alert in _filtered(records, wanted):
                printer.line(alert)
                shown += 1
                if shown == limit:
                    return
        elif limit:
            newest: deque[Alert] = deque(maxlen=limit)
            async for alert in _filtered(records, wanted):
                newest.append(alert)
            for alert in newest:
                printer.line(alert)
        else:
            async for alert in _filtered(records, wanted):
                printer.line(alert)


async def _filtered(records: AlertSubscriber, wanted: _Wanted) -> AsyncIterator[Alert]:
    async for alert in records:
        if wanted(alert):
            yield alert


async def _show_newest(
    subscriber: AlertSubscriber, wanted: _Wanted, printer: _Printer, *, limit: int, follow: bool
) -> None:
    assert not follow
    newest: dict[str, Alert] = {}
    async with subscriber as records:
        async for alert in records:
            newest[alert.id] = alert
    rows = sorted(filter(wanted, newest.values()), key=lambda a: (a.starts_at, a.stream, a.series))
    rows = rows[-limit:] if limit else rows
    if not printer.table:
        for alert in rows:
            printer.line(alert)
    elif rows:
        printer.console.print(table(rows, printer.console.width, newest))
    else:
        printer.console.print("no alerts that fit what was asked for" if newest else "no alerts")


def tab_separated(a: Alert) -> str:
    """The fields of `FIELDS`, separated by tabs."""
    values = {name: getattr(a, name) for name in FIELDS}
    return "\t".join(_field(value) for value in values.values())


def _field(value: object) -> str:
    if value is None:
        return ""
    if isinstance(value, list):
        return ",".join("" if v is None else repr(v) for v in value)
    return _plain(value) if isinstance(value, str) else str(value)


def table(rows: Sequence[Alert], width: int, known: Mapping[str, object]) -> Table:
    """The columns that fit into so many characters; the more important ones first, series cut where they must be.

    Parameters
    ----------
    known
        Ids among which the shown beginnings are to be unique.
    """
    from rich.table import Table

    cells = {name: [_cell(a, name) for a in rows] for name in _COLUMNS}
    short = _unique_length(known)
    cells["id"] = [a.id[:short] for a in rows]
    widths = {name: max(len(name), *map(_width, cells[name])) for name in _COLUMNS}
    least = widths | {"series": min(widths["series"], _SHORT_SERIES)}
    shown: list[str] = []
    left = width
    for name in _FIRST_COME:
        if shown and least[name] + _GAP > left:
            break
        shown.append(name)
        left -= least[name] + _GAP
    left -= (spread := min(left, widths["series"] - least["series"]))
    if len(shown) == len(_COLUMNS) and left >= (more := max(len(a.id) for a in rows) - widths["id"]):
        cells["id"], widths["id"] = [a.id for a in rows], widths["id"] + more
    widths["series"] = least["series"] + spread
    made = Table(box=None, pad_edge=False, padding=(0, _GAP, 0, 0), header_style="bold")
    names = [name for name in _COLUMNS if name in shown]
    for name in names:
        made.add_column(
            name,
            no_wrap=True,
            overflow="ellipsis",
            width=min(widths[name], width),
            justify="right" if name in _NUMBERS else "left",
        )
    for i in range(len(rows)):
        made.add_row(*(_coloured(cells[name][i], name) for name in names))
    return made


def _cell(a: Alert, name: str) -> str:
    match name:
        case "starts at":
            return _time(a.starts_at)
        case "ends at":
            return _time(a.ends_at)
        case "peak":
            return f"{a.peak_score:.1f}"
        case "observed":
            return _values(a.observed) if a.peak is None else _values([a.peak.observed])
        case "expected":
            return _values(a.expected) if a.peak is None else _values([a.peak.expected])
        case "by":
            return "" if a.deviation_percent is None else f"{a.deviation_percent:+.3g} %"
        case _:
            return _plain(getattr(a, name))


def _unique_length(ids: Mapping[str, object]) -> int:
    """The least beginning that tells all of them apart, at least 8."""
    ordered = sorted(ids)
    length = _SHORT_ID
    for one, other in pairwise(ordered):
        while one[:length] == other[:length]:
            length += 1
    return length


def _line(a: Alert) -> Text:
    from rich.text import Text

    return Text.assemble(
        f"{_time(a.as_of)}  {a.id[:_SHORT_ID]}  ",
        (f"{a.status:<8}", _COLOURS[a.status]),
        "  ",
        (f"{a.severity:<8}", _COLOURS[a.severity]),
        f"  {_plain(a.stream)}  {_plain(a.summary or a.series)}  ",
        (f"({a.change or a.reason}, score {a.peak_score if a.score is None else a.score:.1f})", "dim"),
    )


def _coloured(text: str, column: str) -> Text:
    from rich.text import Text

    return Text(text, style=_COLOURS[text] if column in ("status", "severity") else "")


def _width(text: str) -> int:
    from rich.cells import cell_len

    return cell_len(text)


def _plain(text: str) -> str:
    return "".join(c if c.isprintable() else "?" for c in text)


def _time(text: str | None) -> str:
    """As in the record, without what is zero nearly always."""
    return "" if text is None else text.replace("T", " ").removesuffix("Z").removesuffix(".000")


def _values(values: list[float | None] | None) -> str:
    if values is None:
        return ""
    shown = ["-" if v is None else f"{v:.6g}" for v in values[:3]]
    return ", ".join([*shown, "…"] if len(values) > len(shown) else shown)
