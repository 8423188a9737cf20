"""`tidewatch state`: what the state store holds of a stream, and starting anew."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from pipeline.settings import Settings
    from pipeline.stores.base import Checkpoint

ConfigFile = Annotated[
    Path | None, typer.Option("--config", help="Settings file; default: TIDEWATCH_CONFIG, ./tidewatch.toml.")
]
_PIPE_WIDTH = 200
StreamName = Annotated[str, typer.Argument(metavar="STREAM", help="Name of the stream.")]


def register(app: typer.Typer) -> None:
    """Add the verb."""
    state = typer.Typer(no_args_is_help=True, help="Show or reset the state that Redis holds of a stream.")
    app.add_typer(state, name="state")
    state.command()(show)
    state.command()(reset)


def show(stream: StreamName, file: ConfigFile = None) -> None:
    """Show each partition's checkpoint: offset, series, size, and what it belongs to."""
    import asyncio

    from rich.console import Console
    from rich.table import Table

    from pipeline.settings import load_settings

    found = asyncio.run(_checkpoints(load_settings(file), stream))
    table = Table("partition", "offset", "checkpoint", "series", "bytes", "model", "topic", "cluster")
    for partition, checkpoint in found.items():
        if checkpoint is None:
            table.add_row(str(partition), "claimed, no checkpoint yet")
            continue
        identity = checkpoint.identity
        table.add_row(
            str(partition),
            f"{checkpoint.offset:,}",
            f"{checkpoint.sequence:,}",
            f"{_series(checkpoint):,}",
            f"{sum(map(len, checkpoint.fields.values())):,}",
            identity.model_hash[:12] or "unsaved",
            identity.topic_id,
            identity.cluster_id,
        )
    if found:
        Console(width=None if sys.stdout.isatty() else _PIPE_WIDTH).print(table)
    else:
        typer.echo(f"nothing is stored of stream {stream}")


def reset(
    stream: StreamName,
    partition: Annotated[list[int] | None, typer.Option(help="Only this partition; may be given again.")] = None,
    yes: Annotated[bool, typer.Option("--yes", help="Do not ask.")] = False,
    file: ConfigFile = None,
) -> None:
    """Forget the state of a stream: its workers start at the beginning of the topic, with every unknown series in probation.

    Stop the workers first; one that lives writes its state again.
    """
    import asyncio

    from pipeline.settings import load_settings

    settings = load_settings(file)
    stored = asyncio.run(_partitions(settings, stream))
    chosen = [p for p in stored if partition is None or p in partition]
    if not chosen:
        typer.echo(f"nothing is stored of stream {stream}")
        return
    what = f"partition{'s' if len(chosen) > 1 else ''} {', '.join(map(str, chosen))} of stream {stream}"
    if not yes:
        typer.confirm(f"Forget the state of {what}?", abort=True)
    asyncio.run(_delete(settings, stream, chosen))
    typer.echo(f"forgot the state of {what}")


async def _partitions(settings: Settings, stream: str) -> list[int]:
    from pipeline.stores.redis import RedisStore

    store = RedisStore(settings.redis)
    try:
        return await store.partitions(stream)
    finally:
        await store.close()


async def _checkpoints(settings: Settings, stream: str) -> dict[int, Checkpoint | None]:
    from pipeline.stores.redis import RedisStore

    store = RedisStore(settings.redis)
    try:
        return {p: await store.peek(stream, p) for p in await store.partitions(stream)}
    finally:
        await store.close()


async def _delete(settings: Settings, stream: str, partitions: list[int]) -> None:
    from pipeline.stores.redis import RedisStore

    store = RedisStore(settings.redis)
    try:
        for partition in partitions:
            await store.delete(stream, partition)
    finally:
        await store.close()


def _series(checkpoint: Checkpoint) -> int:
    from pipeline.state import series_of

    return len(series_of(checkpoint.fields))
