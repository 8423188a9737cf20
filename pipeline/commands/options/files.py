"""What the verbs that read a user's file share: options that correct what was found in it, and lines that say what was."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from rich.console import Console

    from detectors.judgement.calendar import Calendar
    from pipeline.offline.opening import OnRead
    from producers.datasets import Dataset, Layout

TimestampColumn = Annotated[
    str | None,
    typer.Option(
        "--timestamp-column",
        help="File: event time; two columns as DATE,TIME. Default: found by name and content; where there is none, the file is a table.",
    ),
]
ValueColumns = Annotated[
    str,
    typer.Option(
        "--value-columns",
        help="File: columns to judge, A,B,C; several are one multivariate series. Default: all that fit, but no labels.",
    ),
]
SeriesColumn = Annotated[
    str | None,
    typer.Option(
        "--series-column",
        help="File: names the series of each row; several together as HOST,METRIC. Default: found where times come again; else one series.",
    ),
]
TimeZone = Annotated[
    str,
    typer.Option(
        "--time-zone",
        help="File: of time stamps that do not say it themselves; and whose midnight and weekend metrics keep.",
    ),
]
Country = Annotated[
    str,
    typer.Option(
        "--country",
        help="Whose public holidays metrics keep, as US, US-NY or DE-BY: such a day may be as the day of rest of its week.",
    ),
]
AsTable = Annotated[
    bool, typer.Option("--table", help="Treat the rows of a file or topic as a table even with a time stamp.")
]
Wide = Annotated[bool, typer.Option("--wide", help="File: each value column is a series of its own.")]
Read = Annotated[
    list[str] | None,
    typer.Option(
        "--read",
        help="File: corrects how it was read; may be given again: decimal=, delimiter=; encoding=cp1252 header=no day-first=yes time-unit=ms "
        "missing=-999 labels=COLUMN sheet=NAME bad-rows=drop files=parts.",
    ),
]


Marks = Annotated[
    Path | None,
    typer.Option(
        "--labels",
        help="What was wrong when, in a file of its own: columns start and end (and series), or labelled rows.",
    ),
]
Channels = Annotated[
    int | None,
    typer.Option("--channels", min=1, help="Topic: values in an observation. Default: told by its records."),
]


def layout_of(
    timestamp_column: str | None,
    value_columns: str,
    series_column: str | None,
    time_zone: str,
    *,
    table: bool = False,
    wide: bool = False,
    read: list[str] | None = None,
) -> Layout:
    """The options as one. Raises SettingsError, DataError where they do not go together."""
    from pipeline.errors import SettingsError
    from producers.datasets import Corrections, Layout

    if table and timestamp_column is not None:
        raise SettingsError("--table and --timestamp-column exclude each other: the rows of a table have no event time")
    if table and wide:
        raise SettingsError("--table and --wide exclude each other: the rows of a table are not series")
    columns = tuple(c.strip() for c in value_columns.split(",") if c.strip())
    return Layout(timestamp_column, columns, series_column, time_zone, table, wide, Corrections.parse(read or ()))


def calendar_of(layout: Layout, country: str) -> Calendar:
    """Of metrics in a file that is read so. Raises SettingsError where there is no such country."""
    from pipeline import countries
    from pipeline.errors import SettingsError

    try:
        return countries.calendar_of(layout.time_zone, country)
    except ValueError as error:
        msg = f"--country {country}: {error}"
        raise SettingsError(msg) from error


@contextmanager
def reading(what: str) -> Iterator[OnRead]:
    """While something is read, a line on the terminal that says so, of a topic how far it is; nothing where there is no terminal."""
    from rich.console import Console

    console = Console(stderr=True, highlight=False)
    if not console.is_terminal:
        yield lambda _records: None
        return
    from rich.markup import escape

    with console.status(f"reading {escape(what)}") as status:
        yield lambda records: status.update(f"reading {escape(what)}: {records:,} records")


def say(console: Console, data: Dataset) -> None:
    """What was taken for what in a user's file, before the work."""
    for line in data.reading:
        console.print(line, markup=False, soft_wrap=True)


def check_writable(out: Path, option: str = "--out", endings: Sequence[str] = ()) -> None:
    """Refuse an output that cannot be written before minutes are spent on it. Raises SettingsError."""
    from pipeline.errors import SettingsError

    if endings and not out.is_dir() and out.suffix.lower() not in endings:
        msg = f"{option} {out}: its name must end with {' or '.join(endings)}"
        raise SettingsError(msg)
    try:
        out.parent.mkdir(parents=True, exist_ok=True)
        if out.is_dir():
            raise IsADirectoryError(21, "it is a folder; name a file in it")
        existed = out.exists()
        with out.open("ab"):
            pass
        if not existed:
            out.unlink()
    except OSError as error:
        msg = f"{option} {out}: cannot be written: {error.strerror or error}"
        raise SettingsError(msg) from error
