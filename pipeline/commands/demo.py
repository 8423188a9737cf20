"""`tidewatch demo`: the main job on this machine, with nothing to install or configure."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer


def register(app: typer.Typer) -> None:
    """Add the verb."""

    @app.command()
    def demo(
        out: Annotated[Path, typer.Option(help="Folder for report, models and logs.")] = Path("out/demo"),
        workers: Annotated[int, typer.Option(min=1, max=16, help="Faust worker processes.")] = 2,
        speed: Annotated[
            str, typer.Option(help="How much faster than it was recorded: 3600x; max does not wait.")
        ] = "max",
        keep: Annotated[
            bool, typer.Option("--keep", help="Leave everything running to play with, until Ctrl-C.")
        ] = False,
    ) -> None:
        """Run the main job end to end: train, replay NAB, taxi and KDD through Kafka, raise alerts, judge them.

        Starts an embedded Kafka and Redis, needs neither Docker nor an installed Java, and stops all it started. Ends with a report.
        """
        from rich.console import Console

        from pipeline import logs
        from pipeline.demo.live import create_view
        from pipeline.demo.run import Options, run_demo

        logs.configure(level="warning")
        console = Console()
        if not console.is_terminal:
            console = Console(width=140)  # a file has no width; 80 columns would cut the tables
        run_demo(Options(out, workers, speed, keep), create_view(console))
