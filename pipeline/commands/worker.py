"""`tidewatch worker`: score the configured streams until it is stopped; `tidewatch intake`: write raw topics into theirs."""

from __future__ import annotations

from typing import Annotated

import typer

from pipeline.commands.options.stream import ConfigFile


def register(app: typer.Typer) -> None:
    """Add the verb."""

    @app.command()
    def worker(
        config: ConfigFile = None,
    ) -> None:
        """Score the configured streams until SIGTERM or Ctrl-C; workers of one group share the partitions.

        Exit code: 0 after an orderly stop, 2 after an expected error (one line), 1 after a bug. Start it again after
        either: it resumes from its checkpoints. A settings file or model file that changes while it runs is proposed to all workers
        of the stream, without a restart (docs/decisions.md). The intakes of the settings run beside the streams, unless worker.intake is
        false (docs/intake.md).
        """
        from pipeline import logs
        from pipeline.settings import config_file, load_settings

        settings = load_settings(config)
        logs.configure(settings.worker.log_format, settings.worker.log_level)
        from pipeline.app import run_worker  # torch and Faust: not before the settings are known to be right

        raise typer.Exit(run_worker(settings, config or config_file()))

    @app.command()
    def intake(
        names: Annotated[
            list[str] | None, typer.Argument(help="Intakes by name; default: all in the settings.")
        ] = None,
        config: ConfigFile = None,
    ) -> None:
        """Write raw topics into the topics of their streams, each series whole in one partition, until SIGTERM or Ctrl-C.

        Workers do so too, unless worker.intake is false: this is for an intake without a worker, on machines of its own.
        Exit code: 0 after an orderly stop, 2 after an expected error (one line). Start it again after either, anywhere, any number of
        them: processes of one intake share its topics' partitions, and what is written twice counts once. A settings file that changes is
        followed without a restart (docs/intake.md).
        """
        from pipeline import logs
        from pipeline.settings import config_file, load_settings

        settings = load_settings(config)
        logs.configure(settings.worker.log_format, settings.worker.log_level)
        from pipeline.intake.hosting import run_intake

        raise typer.Exit(run_intake(settings, names or (), config or config_file()))
