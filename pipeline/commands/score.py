"""`tidewatch score`: a user's own file, row by row, with the product's defaults and no labels."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from pipeline.errors import SettingsError

if TYPE_CHECKING:
    from rich.console import Console

    from detectors.base import Detector
    from detectors.base import Progress as Epoch
    from detectors.training import OnProgress
    from pipeline.offline.scorefile import OnScored
    from producers.datasets import Dataset


def register(app: typer.Typer) -> None:
    """Add the verb."""
    app.command("score", no_args_is_help=True)(score)


def score(
    file: Annotated[Path, typer.Argument(help="CSV or Parquet file.")],
    out: Annotated[
        Path, typer.Option("--out", help="Where the scores go: .csv or .parquet, a row for each of the file.")
    ],
    timestamp_column: Annotated[
        str | None,
        typer.Option(
            help="Event time; default: a column called `timestamp`, `time`, `date` or the like, or one of ISO 8601 dates. "
            "Without one the file is a table."
        ),
    ] = None,
    value_columns: Annotated[
        str,
        typer.Option(
            help="Columns to judge, A,B,C; several are one multivariate series. Default: all that fit, but no labels."
        ),
    ] = "",
    series_column: Annotated[
        str | None, typer.Option(help="Names the series of each row; default: one series.")
    ] = None,
    train_rows: Annotated[
        int | None,
        typer.Option(
            min=2,
            help="First rows of each series to learn from; default: min(15 %, 750), tables without a timestamp 15 %.",
        ),
    ] = None,
    detector: Annotated[
        str,
        typer.Option(help="A detector of `tidewatch detectors`; default: the product's mix for the kind of file."),
    ] = "",
    table: Annotated[bool, typer.Option("--table", help="Treat the rows as a table even with a time stamp.")] = False,
    time_zone: Annotated[str, typer.Option(help="Of time stamps that do not say it themselves.")] = "UTC",
) -> None:
    """Score every row of a file with what was learnt from its first rows.

    Columns written: timestamp, series, score, calibrated_score, anomalous, alert_id. Scores are empty while learning;
    a row that the time policy does not score (late, repeated, missing value) repeats the last score of its series.
    In CSV a name that a spreadsheet would run as a formula (`=...`, `+`, `-`, `@`) has an apostrophe before it; reading the file
    here takes it off again.
    """
    from rich.console import Console

    from pipeline.commands.train import known_detectors
    from pipeline.offline.scorefile import score_dataset, write
    from producers.datasets import Layout, open_file, time_column

    check_writable(out)
    if detector:
        known_detectors(detector)
    if table and timestamp_column is not None:
        raise SettingsError("--table and --timestamp-column exclude each other: the rows of a table have no event time")
    if timestamp_column is None and not table:
        timestamp_column = time_column(file)
    columns = tuple(c.strip() for c in value_columns.split(",") if c.strip())
    data = open_file(file, Layout(timestamp_column, columns, series_column, time_zone))
    console = Console(stderr=True, highlight=False, soft_wrap=True)
    console.print(_opened(data, timestamp_column), markup=False)
    with progress(console) as (learning, scoring):
        result = score_dataset(data, train_rows=train_rows, detector=detector, on_progress=learning, on_scored=scoring)
    write(result, out)
    for note in result.notes:
        console.print(f"note: {note}", markup=False)
    console.print(_summary(data, result.alerts, int(result.anomalous.sum()), out), markup=False)


def check_writable(out: Path) -> None:
    """Refuse an output that cannot be written before minutes are spent on it."""
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
        msg = f"--out {out}: cannot be written: {error.strerror or error}"
        raise SettingsError(msg) from error


@contextmanager
def progress(console: Console) -> Iterator[tuple[OnProgress, OnScored]]:
    """Bars for learning (an epoch of each member) and for scoring."""
    from rich.progress import BarColumn, Progress, TaskID, TextColumn, TimeElapsedColumn

    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        TextColumn("{task.percentage:>3.0f} %"),
        TimeElapsedColumn(),
    )
    with Progress(*columns, console=console, transient=True) as bars:
        tasks: dict[str, TaskID] = {}

        def show(what: str, done: int, of: int) -> None:
            if what not in tasks:
                tasks[what] = bars.add_task(what, total=of)
            bars.update(tasks[what], completed=done)

        def learning(member: Detector, epoch: Epoch) -> None:
            show(f"learning: {member.name}", epoch.epoch, epoch.epochs)

        def scoring(done: int, of: int) -> None:
            show("scoring", done, of)

        yield learning, scoring


def _opened(data: Dataset, timestamp_column: str | None) -> str:
    kind = "table" if timestamp_column is None else f"metric in the time of {timestamp_column!r}"
    return f"{data.source}; {kind}"


def _summary(data: Dataset, alerts: int, anomalous: int, out: Path) -> str:
    return f"{len(data):,} rows of {len(data.all_series)} series: {anomalous:,} anomalous, {alerts:,} alerts; written to {out}"
