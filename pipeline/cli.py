"""The command `tidewatch`: puts the verbs together, and turns every expected error into one line and exit code 2."""

from __future__ import annotations

import importlib
import os
import sys
from importlib.util import find_spec

import typer
from pydantic import ValidationError
from rich.console import Console

from pipeline.settings import FILE_VARIABLE

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
    "score",
    "doctor",
    "config",
    "state",
    "topics",
)
"""Modules of `pipeline.commands`, in the order of `tidewatch --help`."""

USAGE_ERROR = 2
INTERRUPTED = 130


def create_cli() -> typer.Typer:
    """The typer application with all verbs."""
    app = typer.Typer(
        name="tidewatch",
        help="Streaming anomaly detection over Kafka: metrics in, explained alerts out.",
        no_args_is_help=True,
        add_completion=False,
        pretty_exceptions_enable=False,
        rich_markup_mode="rich",
    )

    @app.callback()
    def _tidewatch() -> None:
        """Streaming anomaly detection over Kafka: metrics in, explained alerts out."""

    for verb in COMMANDS:
        if find_spec(f"pipeline.commands.{verb}") is not None:
            importlib.import_module(f"pipeline.commands.{verb}").register(app)
    return app


def one_line(error: BaseException) -> str:
    """What is wrong and how to mend it, on one line.

    A pydantic error of the settings becomes the setting's name, its environment variable and what is wrong with it.
    """
    if not isinstance(error, ValidationError):
        return " ".join(str(error).split()) or type(error).__name__
    return "; ".join(
        _problem(problem["loc"], problem["type"], problem["msg"]) for problem in error.errors(include_url=False)
    )


def _problem(location: tuple[int | str, ...], kind: str, message: str) -> str:
    """One wrong setting: its name as in the file, what is wrong, where to mend it."""
    name = "".join(f"[{part}]" if isinstance(part, int) else f".{part}" for part in location).lstrip(".")
    in_list = any(isinstance(part, int) for part in location)
    variable = (
        "TIDEWATCH_" + (str(location[0]) if in_list else "__".join(map(str, location))).upper() if location else ""
    )
    what = {"extra_forbidden": "there is no such setting", "missing": "is missing"}.get(
        kind, message.removeprefix("Value error, ")
    )
    where = " or ".join(filter(None, [os.environ.get(FILE_VARIABLE, "tidewatch.toml"), variable]))
    return f"setting {name}: {what} (mend it in {where}; docs/settings.md lists all)"


def main() -> None:
    """Run the command line; the console script's entry point."""
    from detectors.base import DetectorError
    from pipeline.errors import TidewatchError
    from producers.errors import ProducerError

    try:
        create_cli()()
    except (TidewatchError, ProducerError, DetectorError, ValidationError) as error:
        Console(stderr=True, soft_wrap=True, highlight=False).print(f"[red]error:[/] {_escape(one_line(error))}")
        sys.exit(USAGE_ERROR)
    except KeyboardInterrupt:
        sys.exit(INTERRUPTED)
    except BrokenPipeError:  # `tidewatch alerts | head`
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(0)


def _escape(text: str) -> str:
    from rich.markup import escape

    return escape(text)


if __name__ == "__main__":
    main()
