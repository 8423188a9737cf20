"""`tidewatch apply`: the settings file's settings and model become what judges."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any

import typer

from pipeline.commands.options.decision import NewestDays, NewestRecords, Timeout, Wait, print_trial, say
from pipeline.commands.options.stream import ConfigFile

if TYPE_CHECKING:
    from pipeline.settings import Settings


def register(app: typer.Typer) -> None:
    """Add the verb."""
    app.command()(apply)


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
    days: NewestDays = 7,
    records: NewestRecords = 200_000,
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
    from pipeline.operations.deciding import shown
    from pipeline.operations.desk import at_desk

    async with at_desk(settings, stream) as desk:
        decision, changes = await desk.changes()
        for name, (then, now) in changes.items():
            typer.echo(f"{name}: {shown(then)} -> {shown(now)}")
        if not changes:
            typer.echo(f"stream {stream}: these settings hold already")
        else:
            await say(desk, stream, await desk.apply(decision), wait=wait, timeout=timeout)


def _try(settings: Settings, stream: str, sets: list[str], *, days: float, records: int, as_json: bool) -> None:
    """Say what would change, and replay the newest part of the log under both."""
    import asyncio

    import msgspec

    from pipeline.operations.deciding import shown
    from pipeline.operations.desk import at_desk
    from pipeline.operations.looking_back.replaying import Place
    from pipeline.operations.looking_back.trying import attempt, streams, with_values
    from pipeline.partition.deciding.carrying import observations_first

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
        typer.echo(f"{name}: {shown(then)} -> {shown(to)}")
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
