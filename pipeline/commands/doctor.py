"""`tidewatch doctor`: whether everything is there that a worker needs, and an anomaly comes through."""

from __future__ import annotations

from typing import Annotated

import typer

from pipeline.commands.options.stream import ConfigFile

_MARKS = {"ok": "[green]ok     [/]", "warning": "[yellow]warning[/]", "failed": "[red]failed [/]"}
FAILED = 2


def register(app: typer.Typer) -> None:
    """Add the verb."""

    @app.command()
    def doctor(
        config: ConfigFile = None,
        canary: Annotated[
            bool,
            typer.Option(
                help="Send a canary series with a planted anomaly through a worker of its own, and compare Kafka's clock. Without it "
                "nothing is written anywhere."
            ),
        ] = True,
        as_json: Annotated[bool, typer.Option("--json", help="One line of JSON for each finding.")] = False,
    ) -> None:
        """Check settings, device, models, Kafka, topics, Redis, stored states and clocks, and send a canary the whole way.

        Exit code 0: nothing failed, though there may be warnings. 2: something failed. Each finding names its mend.
        """
        from dataclasses import asdict

        import msgspec
        from rich.console import Console
        from rich.markup import escape

        from pipeline import logs
        from pipeline.settings import load_settings

        settings = load_settings(config)
        logs.configure(level="error")
        aside = Console(stderr=True, soft_wrap=True, highlight=False, markup=False)

        def looking(what: str) -> None:
            """What comes may take a while: whoever waits is told for what."""
            aside.print(f"... {what}", style="dim")

        looking("loading the detectors")
        from pipeline.operations.doctor.examine import examine, impatient
        from pipeline.operations.doctor.findings import Finding
        from pipeline.operations.doctor.kafka import clock

        console = Console(soft_wrap=True, highlight=False)
        failed: set[str] = set()

        def tell(finding: Finding) -> None:
            if finding.state == "failed":
                failed.add(finding.what)
            if as_json:
                typer.echo(msgspec.json.encode(asdict(finding)).decode())
            else:
                console.print(f"{_MARKS[finding.state]}  {escape(finding.what):<14} {escape(finding.detail)}")

        for finding in examine(settings, looking):
            tell(finding)
        if canary and "kafka" not in failed:
            looking("clocks")
            tell(clock(impatient(settings)))
        if canary and not failed & {"kafka", "redis", "topics"}:
            from pipeline.operations.doctor.canary import LIMIT, send_canary

            looking(f"a canary through a worker of its own (some 10 s, at most {LIMIT:.0f})")
            tell(send_canary(settings))
        if failed:
            raise typer.Exit(FAILED)
