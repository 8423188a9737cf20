"""`tidewatch decisions`, and the verbs that make one: apply, ack, snooze, silence, lift, close, forget."""

from __future__ import annotations

import sys
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from pipeline.commands.options.stream import ConfigFile, StreamName

if TYPE_CHECKING:
    from pipeline.operations.desk import Desk, Line
    from pipeline.operations.looking_back.trying import Trial
    from pipeline.partition.decisions import What
    from pipeline.settings import Settings

Series = Annotated[str, typer.Argument(metavar="SERIES", help="Name of the series, or a pattern: *, ?, [a-z].")]
Why = Annotated[str, typer.Option("--why", help="A word for those who read `tidewatch decisions`.")]
Wait = Annotated[bool, typer.Option("--wait", help="Say when and at which offset each partition took it.")]
Timeout = Annotated[float, typer.Option("--timeout", min=1, help="With --wait: seconds after which that is an error.")]
For = Annotated[str, typer.Option("--for", metavar="DURATION", help="How long from now on, as 30m, 2h, 7d.")]
_PIPE_WIDTH = 200


def register(app: typer.Typer) -> None:
    """Add the verbs."""
    for verb in (apply, decisions, ack, snooze, silence, lift, close, forget):
        app.command()(verb)


def decisions(
    stream: StreamName,
    as_json: Annotated[bool, typer.Option("--json", help="One line of JSON for each decision.")] = False,
    config: ConfigFile = None,
) -> None:
    """List what was decided about a stream: who, when, what, and at which offset each partition took it (partition:offset).

    `(learns)`: what judges then learns there beside what judges now, and takes over when it is live.
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
                    {**msgspec.to_builtins(line.decision), "taken": line.taken, "learning": line.learning}
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
    from pipeline.partition.decisions import Acknowledge

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

    from pipeline.partition.decisions import Silence

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
    from pipeline.partition.decisions import Lift

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
    from pipeline.partition.decisions import Close

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
    from pipeline.partition.decisions import Forget

    _decide(stream, Forget(series, why), wait=wait, timeout=timeout, config=config)


def _decide(stream: str, what: What, *, wait: bool, timeout: float, config: Path | None) -> None:
    from pipeline.settings import load_settings

    async def same(_: Desk) -> What:
        return what

    decide_with(load_settings(config), stream, same, wait=wait, timeout=timeout)


def decide_with(
    settings: Settings, stream: str, what: Callable[[Desk], Awaitable[What]], *, wait: bool, timeout: float
) -> None:
    """Add the decision that is made of what the desk knows, and say its serial; with `wait` where it was taken."""
    import asyncio

    from pipeline.operations.desk import at_desk

    async def decide() -> None:
        async with at_desk(settings, stream) as desk:
            await _say(desk, stream, await desk.decide(await what(desk)), wait=wait, timeout=timeout)

    asyncio.run(decide())


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

    from pipeline.operations.desk import at_offsets, told

    table = Table("serial", "when", "who", "what", "taken at")
    for line in lines:
        decision = line.decision
        where = ", ".join(at_offsets(line.taken, line.learning)) or "nowhere yet"
        table.add_row(str(decision.serial), decision.at, decision.by, told(decision.what), where)
    Console(width=None if sys.stdout.isatty() else _PIPE_WIDTH).print(table)


def apply(
    stream: Annotated[
        str, typer.Argument(metavar="[STREAM]", help="Name of the stream; may be left out where there is one.")
    ] = "",
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Only say what would change, and what would have fired.")
    ] = False,
    sets: Annotated[
        list[str] | None,
        typer.Option(
            "--set",
            metavar="NAME=VALUE",
            help="With --dry-run: another value of a stream's setting, as threshold.false_alarms='1 per series per week'; may be given again.",
        ),
    ] = None,
    days: Annotated[
        float, typer.Option(min=0, help="With --dry-run: compare the alerts of so many newest days; 0: do not.")
    ] = 7,
    records: Annotated[
        int, typer.Option(min=1, help="With --dry-run: replay so many of each partition's newest records, at most.")
    ] = 200_000,
    as_json: Annotated[bool, typer.Option("--json", help="With --dry-run: one JSON object.")] = False,
    wait: Wait = False,
    timeout: Timeout = 30,
    config: ConfigFile = None,
) -> None:
    """Let settings and model of the settings file hold, also where they were replaced before.

    Windows, calibration and open alerts stay. What must learn first, learns beside what judges now, and takes over when it is live. Refused where the
    model is of another kind, or takes other channels (docs/decisions.md). With --dry-run
    the newest part of the log is replayed under what holds and under what would, and the alerts that differ are shown.
    """
    import asyncio

    from pipeline.errors import SettingsError
    from pipeline.operations.desk import only_stream
    from pipeline.settings import load_settings

    settings = load_settings(config)
    name = stream or only_stream(settings)
    if sets and not dry_run:
        msg = "--set goes with --dry-run: what is to hold stands in the settings file"
        raise SettingsError(msg)
    if dry_run:
        _try(settings, name, sets or [], days=days, records=records, as_json=as_json)
    else:
        asyncio.run(_apply(settings, name, wait=wait, timeout=timeout))


async def _apply(settings: Settings, stream: str, *, wait: bool, timeout: float) -> None:
    from pipeline.operations.desk import at_desk

    async with at_desk(settings, stream) as desk:
        decision, changes = await desk.changes()
        for name, (then, now) in changes.items():
            typer.echo(f"{name}: {_shown(then)} -> {_shown(now)}")
        if not changes:
            typer.echo(f"stream {stream}: these settings hold already")
        else:
            await _say(desk, stream, await desk.apply(decision), wait=wait, timeout=timeout)


def _try(settings: Settings, stream: str, sets: list[str], *, days: float, records: int, as_json: bool) -> None:
    """Say what would change, and replay the newest part of the log under both."""
    import asyncio

    import msgspec

    from pipeline.operations.desk import at_desk
    from pipeline.operations.looking_back.replaying import Place
    from pipeline.operations.looking_back.trying import attempt, streams, with_values
    from pipeline.partition.carrying import observations_first

    tried = with_values(settings, stream, sets)

    async def changes() -> dict[str, tuple[Any, Any]]:
        async with at_desk(tried, stream) as desk:
            return (await desk.changes())[1]

    changed = asyncio.run(changes())
    trial, shadow = None, 0
    if changed:
        place = Place(settings, stream)
        now, then = streams(tried, place)
        shadow = observations_first(now, then)
    if changed and days:
        trial = attempt(place, now, then, days=days, newest=records, say=lambda text: typer.echo(text, err=True))
    if as_json:
        changes_told = {n: list(c) for n, c in changed.items()}
        told = {"changes": changes_told, "learns_first": shadow, "trial": trial and trial.as_json()}
        typer.echo(msgspec.json.encode(told).decode())
        return
    for name, (then, to) in changed.items():
        typer.echo(f"{name}: {_shown(then)} -> {_shown(to)}")
    if not changed:
        typer.echo(f"stream {stream}: these settings hold already")
        return
    if shadow:
        typer.echo(
            f"by shadow: learns about {shadow:,} observations of each series that the model does not know, while what holds now judges, then takes over"
        )
    if trial is not None:
        print_trial(trial)
    typer.echo("nothing was changed (--dry-run)")


def print_trial(trial: Trial) -> None:
    """Say how many alerts there are now and then, and which differ."""
    typer.echo(
        f"{trial.records:,} records replayed{'' if trial.warm else ', series began cold (--records looks further back)'}; "
        f"from {trial.since} to {trial.until}: {len(trial.now)} alerts now, {len(trial.then)} then"
    )
    for sign, alerts in (("-", trial.gone), ("+", trial.new)):
        for alert in alerts:
            typer.echo(f"  {sign} {alert.starts_at} {alert.severity:<8} {alert.summary or alert.series}")


async def _say(desk: Desk, stream: str, serial: int, *, wait: bool, timeout: float) -> None:
    """Which decision it is, and with --wait where each partition took it."""
    typer.echo(f"decision {serial} of stream {stream}")
    if wait:
        for partition, offset in sorted((await desk.wait(serial, timeout=timeout)).items()):
            typer.echo(f"partition {partition} took it at offset {offset}")


def _shown(value: Any) -> str:
    return "nothing" if value is None else str(value)[:24] if isinstance(value, str) else str(value)
