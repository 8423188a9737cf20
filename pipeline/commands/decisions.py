"""`tidewatch decisions`, and the verbs by which people act: ack, snooze, silence, lift, close, forget."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from pipeline.commands.options.decision import Series, Timeout, Wait, Why, decide_with
from pipeline.commands.options.stream import ConfigFile, StreamName

if TYPE_CHECKING:
    from pipeline.operations.desk import Desk, Line
    from pipeline.partition.deciding.what import What

For = Annotated[str, typer.Option("--for", metavar="DURATION", help="How long from now on, as 30m, 2h, 7d.")]
_PIPE_WIDTH = 200


def register(app: typer.Typer) -> None:
    """Add the verbs."""
    for verb in (decisions, ack, snooze, silence, lift, close, forget):
        app.command()(verb)


def decisions(
    stream: StreamName,
    as_json: Annotated[bool, typer.Option("--json", help="One line of JSON for each decision.")] = False,
    config: ConfigFile = None,
) -> None:
    """List what was decided about a stream: who, when, what, and at which offset each partition took it (partition:offset).

    `(learns)`: what judges then learns there beside what judges now, and takes over when it is live. `(refused)`: the partition cannot go on with
    these settings, and those before judge on; `tidewatch apply --dry-run` says why, and the mend.
    """
    import asyncio

    import msgspec

    from pipeline.operations.desk import at_desk
    from pipeline.settings import load_settings

    async def lines() -> list[Line]:
        async with at_desk(load_settings(config), stream) as desk:
            return await desk.lines()

    found = asyncio.run(lines())
    if as_json:
        for line in found:
            typer.echo(
                msgspec.json.encode(
                    {
                        **msgspec.to_builtins(line.decision),
                        "taken": line.taken,
                        "learning": line.learning,
                        "refused": line.refused,
                    }
                ).decode()
            )
    elif found:
        _print(found)
    else:
        typer.echo(f"nothing was decided about stream {stream} yet")


def ack(
    stream: StreamName,
    series: Series,
    why: Why = "",
    wait: Wait = False,
    timeout: Timeout = 30,
    config: ConfigFile = None,
) -> None:
    """Say that you look after the firing alerts of a series: their records carry it from then on."""
    from pipeline.partition.deciding.what import Acknowledge

    _decide(stream, Acknowledge(series, why), wait=wait, timeout=timeout, config=config)


def snooze(
    stream: StreamName,
    series: Annotated[str, typer.Argument(metavar="SERIES", help="Name of the one series.")],
    duration: For = "1h",
    why: Why = "",
    wait: Wait = False,
    timeout: Timeout = 30,
    config: ConfigFile = None,
) -> None:
    """Silence one series for a while."""
    import time
    from glob import escape

    from pipeline.partition.deciding.what import Silence

    until = int(time.time() * 1000) + _milliseconds(duration)
    _decide(stream, Silence(escape(series), until, why), wait=wait, timeout=timeout, config=config)


def silence(
    stream: StreamName,
    series: Annotated[
        str,
        typer.Argument(
            metavar="[SERIES]", help="Name of the series, or a pattern: *, ?, [a-z]; all where --where says which."
        ),
    ] = "",
    where: Annotated[
        list[str] | None,
        typer.Option(
            "--where",
            metavar="LABEL=PATTERN",
            help="Only series with this label in their name; may be given again: all must match.",
        ),
    ] = None,
    duration: For = "",
    since: Annotated[
        str, typer.Option("--from", metavar="TIME", help="Event time at which it begins; left out: at once.")
    ] = "",
    until: Annotated[
        str, typer.Option("--until", metavar="TIME", help="Event time at which it ends, as 2026-11-22T14:00Z.")
    ] = "",
    weekly: Annotated[
        list[str] | None,
        typer.Option(
            "--weekly",
            metavar="WINDOW",
            help='Only within this window of each week, as "sat,sun 22:00-06:00", "mon-fri 02:00-04:00", "daily 03:00-03:30"; may be given again.',
        ),
    ] = None,
    time_zone: Annotated[
        str,
        typer.Option(
            "--time-zone",
            metavar="ZONE",
            help="Whose clock --weekly means, as Europe/Berlin, summer time included; left out: UTC.",
        ),
    ] = "",
    why: Why = "",
    wait: Wait = False,
    timeout: Timeout = 30,
    config: ConfigFile = None,
) -> None:
    """Silence all series that match, up to a time or in a window of each week.

    Their alerts are published all the same, marked, and no sink tells of them; what still fires when a silence ends is told then.
    """
    import time

    from pipeline.operations.desk import silence_asked

    what = silence_asked(
        series,
        now=int(time.time() * 1000),
        lasts=_milliseconds(duration) if duration else 0,
        since=since,
        until=until,
        where=where or (),
        weekly=weekly or (),
        zone=time_zone,
        why=why,
    )
    _decide(stream, what, wait=wait, timeout=timeout, config=config)


def lift(
    stream: StreamName,
    serial: Annotated[int, typer.Argument(metavar="SERIAL", help="Of the silence, from `tidewatch decisions`.")],
    wait: Wait = False,
    timeout: Timeout = 30,
    config: ConfigFile = None,
) -> None:
    """End a silence before its time."""
    from pipeline.partition.deciding.what import Lift

    _decide(stream, Lift(serial), wait=wait, timeout=timeout, config=config)


def close(
    stream: StreamName,
    series: Series,
    why: Why = "",
    wait: Wait = False,
    timeout: Timeout = 30,
    config: ConfigFile = None,
) -> None:
    """End the open alerts of a series, one whose source is gone for example; what comes next may begin another."""
    from pipeline.partition.deciding.what import Close

    _decide(stream, Close(series, why), wait=wait, timeout=timeout, config=config)


def forget(
    stream: StreamName,
    series: Series,
    why: Why = "",
    wait: Wait = False,
    timeout: Timeout = 30,
    config: ConfigFile = None,
) -> None:
    """Forget series: their alerts end, and what was learnt of them goes. One that comes again is a new one, in probation."""
    from pipeline.partition.deciding.what import Forget

    _decide(stream, Forget(series, why), wait=wait, timeout=timeout, config=config)


def _decide(stream: str, what: What, *, wait: bool, timeout: float, config: Path | None) -> None:
    from pipeline.settings import load_settings

    async def same(_: Desk) -> What:
        return what

    decide_with(load_settings(config), stream, same, wait=wait, timeout=timeout)


def _milliseconds(duration: str) -> int:
    """Of a duration as people write it. Raises TidewatchError."""
    from pydantic import TypeAdapter, ValidationError

    from pipeline.errors import TidewatchError
    from pipeline.settings import Duration

    try:
        lasts = int(TypeAdapter(Duration).validate_python(duration).total_seconds() * 1000)
    except ValidationError:
        lasts = 0
    if lasts <= 0:
        msg = f"--for {duration} is no duration; write 30m, 2h or 7d"
        raise TidewatchError(msg)
    return lasts


def _print(lines: list[Line]) -> None:
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    from pipeline.operations.desk import at_offsets, plain

    table = Table("serial", "when", "who", "what", "taken at")
    for line in lines:
        decision = line.decision
        where = ", ".join(at_offsets(line.taken, line.learning, line.refused)) or "nowhere yet"
        words = (decision.at, decision.by, line.words)  # of whoever wrote them, markup and all
        table.add_row(str(decision.serial), *(Text(plain(text)) for text in words), where)
    if any(line.refused for line in lines):
        typer.echo(
            "refused: these settings hold nowhere where they are marked so; `tidewatch apply --dry-run` with their file says why, and the mend",
            err=True,
        )
    Console(width=None if sys.stdout.isatty() else _PIPE_WIDTH).print(table)
