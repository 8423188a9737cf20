"""`tidewatch apply`: what the settings file says of a stream holds from now on, in all its partitions, without a restart."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

if TYPE_CHECKING:
    from pipeline.operations.desk import Desk
    from pipeline.settings import Settings


def register(app: typer.Typer) -> None:
    """Add the verb."""

    @app.command()
    def apply(
        stream: Annotated[
            str, typer.Argument(metavar="[STREAM]", help="Name of the stream; may be left out where there is one.")
        ] = "",
        dry_run: Annotated[bool, typer.Option("--dry-run", help="Only say what would change.")] = False,
        wait: Annotated[
            bool, typer.Option("--wait", help="Say when and at which offset each partition took it.")
        ] = False,
        timeout: Annotated[
            float, typer.Option("--timeout", min=1, help="With --wait: seconds after which that is an error.")
        ] = 30,
        config: Annotated[
            Path | None, typer.Option("--config", help="Settings file; default: TIDEWATCH_CONFIG, ./tidewatch.toml.")
        ] = None,
    ) -> None:
        """Let settings and model of the settings file hold, also where they were replaced before.

        Windows, calibration and open alerts stay. Refused where the model is of another kind or window (docs/decisions.md).
        """
        import asyncio

        from pipeline.operations.desk import only_stream
        from pipeline.settings import load_settings

        settings = load_settings(config)
        asyncio.run(_apply(settings, stream or only_stream(settings), dry_run=dry_run, wait=wait, timeout=timeout))


async def _apply(settings: Settings, stream: str, *, dry_run: bool, wait: bool, timeout: float) -> None:
    from pipeline.operations.desk import at_desk

    async with at_desk(settings, stream) as desk:
        decision, changes = await desk.changes()
        for name, (then, now) in changes.items():
            typer.echo(f"{name}: {_shown(then)} -> {_shown(now)}")
        if not changes:
            typer.echo(f"stream {stream}: these settings hold already")
        elif dry_run:
            typer.echo("nothing was changed (--dry-run)")
        else:
            serial = await desk.apply(decision)
            typer.echo(f"decision {serial} of stream {stream}")
            if wait:
                await _wait(desk, serial, timeout)


async def _wait(desk: Desk, serial: int, timeout: float) -> None:
    for partition, offset in sorted((await desk.wait(serial, timeout=timeout)).items()):
        typer.echo(f"partition {partition} took it at offset {offset}")


def _shown(value: Any) -> str:
    return "nothing" if value is None else str(value)[:24] if isinstance(value, str) else str(value)
