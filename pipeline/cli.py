"""The command `tidewatch`: puts the verbs together, and turns every expected error into one line and exit code 2."""

from __future__ import annotations

import importlib
import os
import sys
from importlib.metadata import version
from importlib.util import find_spec
from typing import Annotated, Any

import typer
from typer.core import TyperGroup

from pipeline.process_memory import collect_seldom, leave_uncollected

COMMANDS = (
    "demo",
    "servers",
    "replay",
    "replay_dead_letters",
    "worker",
    "alerts",
    "sink",
    "dashboard",
    "train",
    "detectors",
    "evaluate",
    "look",
    "score",
    "tune",
    "generate",
    "doctor",
    "config",
    "state",
    "apply",
    "decisions",
    "feedback",
    "explain",
    "topics",
    "formats",
)
"""Modules of `pipeline.commands`, in the order of `tidewatch --help`."""

USAGE_ERROR = 2
INTERRUPTED = 130


class _Verbs(TyperGroup):
    """All verbs; where nobody reads their output any more (`tidewatch alerts | head`) they end quietly."""

    def invoke(self, ctx: Any) -> Any:
        """See click."""
        try:
            result = super().invoke(ctx)
            sys.stdout.flush()
        except BrokenPipeError as error:
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # what is left in the buffer goes nowhere
            raise typer.Exit from error
        return result


def _version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"tidewatch {version('tidewatch')}")
        raise typer.Exit


def create_cli() -> typer.Typer:
    """The typer application with all verbs."""
    app = typer.Typer(
        name="tidewatch",
        help="Streaming anomaly detection over Kafka: metrics in, explained alerts out.",
        no_args_is_help=True,
        add_completion=False,
        pretty_exceptions_enable=False,
        rich_markup_mode=None,  # help is plain text: markup takes `[kafka]` for a tag, and shows nothing in its place
        cls=_Verbs,
    )

    @app.callback()
    def _tidewatch(
        version: Annotated[
            bool, typer.Option("--version", callback=_version, is_eager=True, help="Print the version and exit.")
        ] = False,
    ) -> None:
        """Streaming anomaly detection over Kafka: metrics in, explained alerts out."""

    for verb in COMMANDS:
        if find_spec(f"pipeline.commands.{verb}") is not None:
            importlib.import_module(f"pipeline.commands.{verb}").register(app)
    return app


def one_line(error: BaseException) -> str:
    """What is wrong and how to mend it, on one line.

    A pydantic error of the settings becomes the setting's name, its environment variable and what is wrong with it.
    """
    from pydantic import ValidationError

    if not isinstance(error, ValidationError):
        return " ".join(str(error).split()) or type(error).__name__
    from pipeline.settings import Settings
    from pipeline.settings.wrong import in_words

    return in_words(error, Settings, None)


def main() -> None:
    """Run the command line; the console script's entry point."""
    collect_seldom()
    try:
        create_cli()()
    except OSError as error:
        if error.filename is None:  # no file that somebody named: a mistake of ours
            raise
        _tell(f"{error.filename}: {error.strerror}")
        sys.exit(USAGE_ERROR)
    except Exception as error:
        if not _expected(error):
            raise
        _tell(one_line(error))
        sys.exit(USAGE_ERROR)
    except KeyboardInterrupt:
        sys.exit(INTERRUPTED)
    finally:
        leave_uncollected()


def _expected(error: Exception) -> bool:
    """Whether it says what somebody can mend. What is asked is imported here: help and version must not wait for numpy and pydantic."""
    from pydantic import ValidationError

    from detectors.base import DetectorError
    from pipeline.errors import TidewatchError
    from producers.errors import ProducerError

    return isinstance(error, (TidewatchError, ProducerError, DetectorError, ValidationError))


def _tell(line: str) -> None:
    from rich.console import Console
    from rich.text import Text

    text = Text.assemble(("error:", "red"), " ", line)
    Console(stderr=True, soft_wrap=True, highlight=False).print(text)


if __name__ == "__main__":
    main()
