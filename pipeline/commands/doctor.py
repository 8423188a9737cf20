"""`tidewatch doctor`: whether everything is there that a worker needs, and an anomaly comes through."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

_MARKS = {"ok": "[green]ok     [/]", "warning": "[yellow]warning[/]", "failed": "[red]failed [/]"}


def register(app: typer.Typer) -> None:
    """Add the verb."""

    @app.command()
    def doctor(
        config: Annotated[
            Path | None, typer.Option("--config", help="Settings file; default: TIDEWATCH_CONFIG, ./tidewatch.toml.")
        ] = None,
        canary: Annotated[
            bool, typer.Option(help="Send a canary series with a planted anomaly through a worker of its own.")
        ] = True,
    ) -> None:
        """Check settings, device, models, Kafka, topics and Redis, and send a canary the whole way. Exit code 2 if anything failed."""
        from rich.console import Console
        from rich.markup import escape

        from pipeline import logs
        from pipeline.settings import load_settings

        settings = load_settings(config)
        logs.configure(level="error")
        from pipeline.doctor import Finding, examine

        console = Console(soft_wrap=True, highlight=False)
        failed: set[str] = set()

        def tell(finding: Finding) -> None:
            if finding.state == "failed":
                failed.add(finding.what)
            console.print(f"{_MARKS[finding.state]}  {finding.what:<14} {escape(finding.detail)}")

        for finding in examine(settings):
            tell(finding)
        if canary and not failed & {"kafka", "redis", "topics"}:
            from pipeline.canary import send_canary

            tell(send_canary(settings))
        if failed:
            raise typer.Exit(2)
