"""`tidewatch state`: what the state store holds of a stream; where it reads on; keeping and moving it; starting anew."""

from __future__ import annotations

import sys
import time
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from pipeline.commands.options.stream import ConfigFile, StreamName

if TYPE_CHECKING:
    from rich.table import Table

    from pipeline.operations.state_admin import Administration, Move, Target
    from pipeline.operations.state_report import PartitionReport
    from pipeline.settings import Settings

Partitions = Annotated[
    list[int] | None, typer.Option("--partition", help="Only this partition; may be given again. Default: all.")
]
Yes = Annotated[bool, typer.Option("--yes", help="Do not ask.")]
_PIPE_WIDTH = 200


def register(app: typer.Typer) -> None:
    """Add the verb."""
    state = typer.Typer(
        no_args_is_help=True, help="Show, seek, export, import or reset the state that Redis holds of a stream."
    )
    app.add_typer(state, name="state")
    state.command()(show)
    state.command()(seek)
    state.command()(export)
    state.command("import")(import_)
    state.command()(reset)
    state.command()(snapshots)


def show(
    stream: StreamName,
    as_json: Annotated[bool, typer.Option("--json", help="One line of JSON for each partition.")] = False,
    config: ConfigFile = None,
) -> None:
    """Show each partition's checkpoint: offset and lag, series, open alerts, size, owner, and what it belongs to."""
    import asyncio
    from dataclasses import asdict

    import msgspec

    from pipeline.operations.state_admin import configured
    from pipeline.operations.state_report import report
    from pipeline.settings import load_settings

    settings = load_settings(config)
    partitions, notes = asyncio.run(report(settings, stream))
    if not partitions:
        configured(settings, stream)  # of a stream that is not, it is the name that is wrong
    if as_json:
        for partition in partitions:
            typer.echo(msgspec.json.encode({"stream": stream, **asdict(partition)}).decode())
    elif partitions:
        _print(_table(partitions))
        for p in partitions:
            if p.shadow is not None:
                typer.echo(_shadow(p.partition, p.shadow))
    else:
        typer.echo(f"nothing is stored of stream {stream}")
    for note in notes:
        typer.echo(note, err=True)


def seek(
    stream: StreamName,
    to: Annotated[
        str,
        typer.Option(
            metavar="OFFSET|earliest|latest|TIME",
            help="Where to read on. TIME is that of the records on Kafka, as 2026-11-22T14:00Z; without a zone it is UTC.",
        ),
    ],
    partition: Partitions = None,
    fresh: Annotated[
        bool,
        typer.Option(
            "--fresh", help="Drop the state: windows, calibration and alerts start anew. Going back needs it."
        ),
    ] = False,
    yes: Yes = False,
    config: ConfigFile = None,
) -> None:
    """Set where a stopped stream reads on. Moving the group's offsets with Kafka's tools does not: the state's offset decides.

    Forward, the records between are skipped as if they had expired: state and alerts are kept, windows start anew. Back, the
    state must be dropped (--fresh), and alerts of that time are published again; to score history without touching the live
    stream, run it under another name instead.
    """
    import asyncio

    target = _target(to)
    asyncio.run(_seek(_administration(stream, config), target, partition, fresh=fresh, yes=yes))


async def _seek(
    administration: Administration, to: Target, wanted: list[int] | None, *, fresh: bool, yes: bool
) -> None:
    from pipeline.operations.state_admin import checkpoints, opened, plan

    administration.require_stopped()
    name = administration.stream.name
    chosen = _chosen(wanted, administration.partitions, administration.stream.input_topic)
    async with opened(administration.settings) as store:
        stored = await checkpoints(store, name)
        offsets = {p: None if c is None else c.offset for p, c in stored.items()}
        at = administration.next_offsets(offsets)
        moves = plan(offsets, at, administration.bounds, administration.targets(to, chosen), fresh=fresh)
        if not moves:
            typer.echo(f"stream {name} reads on there already")
            return
        _print(_moves(moves))
        _confirm(f"Move {_partitions([m.partition for m in moves])} of stream {name}?", yes=yes)
        await administration.seek(store, moves, stored)
    _end(administration)
    typer.echo(f"moved {_partitions([m.partition for m in moves])} of stream {name}")


def export(
    stream: StreamName,
    out: Annotated[
        Path, typer.Option(help="The file to write; one that exists is replaced when the new one is complete.")
    ],
    config: ConfigFile = None,
) -> None:
    """Write the state of all partitions to one file. A stream may run meanwhile: each partition is as of one checkpoint."""
    import asyncio

    from pipeline.settings import load_settings

    done = asyncio.run(_export(load_settings(config), stream, out))
    typer.echo(f"exported {_partitions(done)} of stream {stream} to {out}, {out.stat().st_size:,} bytes")


async def _export(settings: Settings, stream: str, out: Path) -> list[int]:
    from dataclasses import replace

    from pipeline.errors import StoreError
    from pipeline.operations.state_admin import opened
    from pipeline.operations.state_file import StateFileWriter
    from pipeline.steps.stored.pieces import folded

    async with opened(settings) as store:
        found = [p for p in await store.partitions(stream) if await store.peek(stream, p) is not None]
        if not found:
            msg = f"nothing is stored of stream {stream}"
            raise StoreError(msg)
        with StateFileWriter(out, stream, found) as file:
            for partition in found:
                checkpoint = await store.peek(stream, partition)
                if checkpoint is None:
                    msg = f"the state of stream {stream}, partition {partition}, went away meanwhile"
                    raise StoreError(msg)
                file.add(partition, replace(checkpoint, fields=folded(checkpoint.fields)))
    return found


def import_(
    stream: StreamName,
    file: Annotated[Path, typer.Argument(help="What `tidewatch state export` wrote.")],
    adopt_topic: Annotated[
        bool,
        typer.Option(
            "--adopt-topic",
            help="Take this cluster and topic for the state's own: for a topic that was copied record by record, with its offsets.",
        ),
    ] = False,
    yes: Annotated[bool, typer.Option("--yes", help="Do not ask, also not before what is stored is replaced.")] = False,
    config: ConfigFile = None,
) -> None:
    """Store the state that a file holds; the stopped stream then goes on from there as if nothing had happened.

    Refused where cluster, topic, model file or stream settings are not those that it was exported with.
    """
    import asyncio

    asyncio.run(_import(_administration(stream, config), file, adopt_topic=adopt_topic, yes=yes))


async def _import(administration: Administration, path: Path, *, adopt_topic: bool, yes: bool) -> None:
    from pipeline.errors import StoreError
    from pipeline.operations.state_admin import opened
    from pipeline.operations.state_file import StateFile

    name = administration.stream.name
    file = StateFile(path)
    if file.header.stream != name:
        msg = f"state file {path} is of stream {file.header.stream}, not {name}; alerts' ids hold the name, so no other can go on with it"
        raise StoreError(msg)
    administration.require_stopped()
    made = [p for p, c in file if administration.adopted(p, c, adopt_topic=adopt_topic)]  # all, before any is written
    async with opened(administration.settings) as store:
        replaced = sorted(set(made) & set(await store.partitions(name)))
        what = f"Import {_partitions(made)} of stream {name}?"
        if replaced:
            what = f"Replace the stored state of {_partitions(replaced)} of stream {name} by that of {path}?"
        _confirm(what, yes=yes)
        for partition, checkpoint in file:
            adopted = administration.adopted(partition, checkpoint, adopt_topic=adopt_topic)
            await administration.put(store, {partition: adopted})
    _end(administration)
    typer.echo(f"imported {_partitions(made)} of stream {name}")


def reset(
    stream: StreamName,
    partition: Partitions = None,
    end_alerts: Annotated[
        bool,
        typer.Option(
            "--end-alerts",
            help="End its open alerts as forgotten: the stream is not to go on, or reads other records now.",
        ),
    ] = False,
    yes: Yes = False,
    config: ConfigFile = None,
) -> None:
    """Forget the state of a stopped stream: it starts at the beginning of its topic, with every unknown series in probation.

    The group's committed offsets are forgotten as well: where they are left, workers take the state for lost, and rebuild it
    from the log without publishing anything. Open alerts go on when a worker has read the same records again; where none will,
    as of a stream that is taken out of the settings, end them with --end-alerts.
    """
    import asyncio

    from pipeline.settings import load_settings

    asyncio.run(_reset(load_settings(config), stream, partition, yes=yes, end_alerts=end_alerts))


async def _reset(settings: Settings, stream: str, wanted: list[int] | None, *, yes: bool, end_alerts: bool) -> None:
    from pipeline.operations.state_admin import Administration, configured, opened

    known = stream in {s.name for s in settings.streams}
    administration = Administration(settings, stream) if known else None
    if administration is not None:
        administration.require_stopped(ends_alerts=end_alerts)
    elif end_alerts:
        configured(settings, stream)  # where its alerts lie, the settings say
    async with opened(settings) as store:
        held = set(await store.partitions(stream)) | (administration.committed().keys() if administration else set())
        if administration is not None and end_alerts:  # also of a state that was forgotten before
            held |= set(administration.partitions)
        chosen = sorted(held if wanted is None else held & set(wanted))
        if not chosen:
            configured(settings, stream)  # of a stream that is not, it is the name that is wrong
            typer.echo(f"nothing is stored of stream {stream}")
            return
        what = f"{_partitions(chosen)} of stream {stream}"
        if administration is None:
            typer.echo(f"stream {stream} is not configured here: make sure that no worker runs it", err=True)
        _confirm(f"Forget the state of {what}?", yes=yes)
        if administration is not None:
            alerts = await administration.open_alerts(chosen)
            await administration.reset(store, chosen)
            if end_alerts:
                await administration.end(alerts)
            _end(administration)
            _tell_open(len(alerts), ended=end_alerts)
        else:
            for p in chosen:
                await store.delete(stream, p)
    typer.echo(f"forgot the state of {what}")


def _tell_open(alerts: int, *, ended: bool) -> None:
    """What becomes of alerts that were open."""
    if alerts and ended:
        typer.echo(f"open alerts that were ended: {alerts}")
    elif alerts:
        typer.echo(
            f"open alerts: {alerts}; they stay so until a worker has read their records again, if none will, end them with --end-alerts",
            err=True,
        )


def _administration(stream: str, config: Path | None) -> Administration:
    from pipeline import logs
    from pipeline.operations.state_admin import Administration
    from pipeline.settings import load_settings

    settings = load_settings(config)
    logs.configure(level="warning")  # a state of other numerics is worth a line
    return Administration(settings, stream)


def snapshots(
    stream: StreamName,
    keep: Annotated[
        int | None, typer.Option("--keep", min=0, help="Forget all of each partition but the newest so many; 0: all.")
    ] = None,
    partition: Annotated[
        list[int] | None, typer.Option("--partition", help="Only this partition; may be given again. Default: all.")
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="One line of JSON for each snapshot.")] = False,
    config: ConfigFile = None,
) -> None:
    """List the snapshots of each partition's state, one a day, that `tidewatch explain` begins at; or forget some. Workers may run.

    No result depends on them. How many are kept is the setting worker.snapshots.
    """
    import asyncio

    import msgspec

    from pipeline.alerts.records import rfc3339
    from pipeline.operations.state_admin import configured
    from pipeline.operations.state_report import kept_snapshots
    from pipeline.settings import load_settings

    settings = load_settings(config)
    found, forgotten = asyncio.run(kept_snapshots(settings, stream, partition, keep=keep))
    if not found and not forgotten:
        configured(settings, stream)
    for number, of in found.items():
        for one in of.snapshots:
            told = {"at": rfc3339(one.at), "offset": one.offset, "sequence": one.sequence}
            if as_json:
                typer.echo(msgspec.json.encode({"stream": stream, "partition": number, **told}).decode())
            else:
                typer.echo(f"partition {number}: {told['at']}, at offset {one.offset:,}")
        if not as_json and of.bytes is not None:
            typer.echo(f"partition {number}: {of.bytes:,} bytes are held for snapshots only")
    if forgotten:
        typer.echo(f"forgot {forgotten} snapshots of stream {stream}", err=as_json)
    elif not found and not as_json:
        typer.echo(f"no snapshots are kept of stream {stream}")


def _target(text: str) -> Target:
    from producers.times import typed_time

    if text == "earliest":
        return "earliest"
    if text == "latest":
        return "latest"
    if text.isascii() and text.isdecimal():
        return int(text)
    try:
        return typed_time(text)
    except ValueError:
        msg = f"{text!r} is no offset, earliest, latest or time like 2026-11-22T14:00Z"
        raise typer.BadParameter(msg, param_hint="--to") from None


def _chosen(wanted: list[int] | None, there: range, topic: str) -> list[int]:
    from pipeline.errors import TidewatchError

    if unknown := [p for p in wanted or () if p not in there]:
        msg = f"topic {topic} has partitions 0 to {len(there) - 1}, not {', '.join(map(str, unknown))}"
        raise TidewatchError(msg)
    return sorted(set(wanted)) if wanted else list(there)


def _confirm(question: str, *, yes: bool) -> None:
    if not yes:
        typer.confirm(question, abort=True)


def _end(administration: Administration) -> None:
    """Say so where a worker came to life between the first look and the last write: it may have written over it."""
    from pipeline.errors import StoreError

    if not (group := administration.group()).empty:
        msg = (
            f"a worker of group {group.name} started meanwhile and may have written over it: stop it and do this again"
        )
        raise StoreError(msg)


def _partitions(numbers: list[int]) -> str:
    return f"partition{'s' if len(numbers) > 1 else ''} {', '.join(map(str, numbers))}"


def _moves(moves: list[Move]) -> Table:
    from rich.table import Table

    table = Table("partition", "state at", "reads on at", "then at", "effect")
    for m in moves:
        stored = "nothing stored" if m.stored is None else f"{m.stored:,}"
        table.add_row(str(m.partition), stored, f"{m.at:,}", f"{m.to:,}", m.effect)
    return table


def _table(partitions: list[PartitionReport]) -> Table:
    from rich.table import Table

    names = (
        "partition",
        "offset",
        "checkpoint",
        "series",
        "lag",
        "warming",
        "open alerts",
        "bytes",
        "claimed",
        "model",
        "decision",
    )
    table = Table(*names, "topic", "cluster")
    for p in partitions:
        if p.identity is None or p.offset is None:
            table.add_row(str(p.partition), "no checkpoint yet", *[""] * 6, _ago(p.claimed_at))
            continue
        numbers = (p.offset, p.sequence, p.series, p.lag, p.warming, p.open_alerts, p.bytes)
        table.add_row(
            str(p.partition),
            *("?" if n is None else f"{n:,}" for n in numbers),
            _ago(p.claimed_at),
            (p.model or "unsaved")[:12],
            "?" if p.decision is None else str(p.decision),
            p.identity["topic_id"],
            p.identity["cluster_id"],
        )
    return table


def _shadow(partition: int, of: Mapping[str, Any]) -> str:
    """What was decided and must learn first, and how far it is.

    >>> _shadow(0, {"serial": 7, "offset": 1200, "model": "", "ready": 3, "live": 10, "observations": 900, "most": 16000})
    'decision 7 learns in partition 0 since offset 1,200: 3 of 10 series, 900 of at most 16,000 observations'
    """
    far = f": {of['ready']:,} of {of['live']:,} series, {of['observations']:,} of at most {of['most']:,} observations"
    return f"decision {of['serial']} learns in partition {partition} since offset {of['offset']:,}{far if 'ready' in of else ''}"


def _ago(then: float | None) -> str:
    """How long ago, in the largest unit that fits.

    >>> _ago(None)
    '?'
    """
    if then is None:
        return "?"
    seconds = max(time.time() - then, 0.0)
    for unit, length in (("d", 86400.0), ("h", 3600.0), ("min", 60.0)):
        if seconds >= length:
            return f"{seconds / length:.0f} {unit} ago"
    return f"{seconds:.0f} s ago"


def _print(table: Table) -> None:
    from rich.console import Console

    Console(width=None if sys.stdout.isatty() else _PIPE_WIDTH).print(table)
