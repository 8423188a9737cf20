"""`tidewatch score`: a user's own file, row by row, with the product's defaults and no labels."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from pipeline.commands.options.files import (
    AsTable,
    Read,
    SeriesColumn,
    TimestampColumn,
    TimeZone,
    ValueColumns,
    Wide,
    check_writable,
    layout_of,
    say,
)

if TYPE_CHECKING:
    from rich.console import Console

    from detectors.base import Detector
    from detectors.base import Progress as Epoch
    from detectors.training import OnProgress
    from pipeline.offline.scorefile import OnScored
    from producers.datasets import Dataset


LOOKED_AT = 20
"""Series whose seasons are looked for before the work."""


def register(app: typer.Typer) -> None:
    """Add the verb."""
    app.command("score", no_args_is_help=True)(score)


def score(
    file: Annotated[
        Path,
        typer.Argument(
            help="CSV, JSON, Excel or Parquet file, packed or not; a folder, a glob; - for the standard input."
        ),
    ],
    out: Annotated[
        Path, typer.Option("--out", help="Where the scores go: .csv or .parquet, a row for each of the file.")
    ],
    timestamp_column: TimestampColumn = None,
    value_columns: ValueColumns = "",
    series_column: SeriesColumn = None,
    train_rows: Annotated[
        int | None,
        typer.Option(
            min=2,
            help="First rows of each series to learn from; default: 15 %, of metrics at least 30 where there are twice as many, at most 750.",
        ),
    ] = None,
    detector: Annotated[
        str,
        typer.Option(help="A detector of `tidewatch detectors`; default: the product's mix for the kind of file."),
    ] = "",
    table: AsTable = False,
    time_zone: TimeZone = "UTC",
    wide: Wide = False,
    read: Read = None,
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
    from producers.datasets import open_file

    check_writable(out)
    if detector:
        known_detectors(detector)
    layout = layout_of(timestamp_column, value_columns, series_column, time_zone, table=table, wide=wide, read=read)
    data = open_file(file, layout)
    console = Console(stderr=True, highlight=False, soft_wrap=True)
    say(console, data)
    for note in _season_notes(data, train_rows):
        console.print(f"note: {note}", markup=False)
    with progress(console) as (learning, scoring):
        result = score_dataset(data, train_rows=train_rows, detector=detector, on_progress=learning, on_scored=scoring)
    write(result, out)
    for note in result.notes:
        console.print(f"note: {note}", markup=False)
    console.print(_summary(data, result.alerts, int(result.anomalous.sum()), out), markup=False)


def _season_notes(data: Dataset, train_rows: int | None) -> list[str]:
    """Where what is learnt from is too short for the seasons of the file; of its first series, the others are alike."""
    from pipeline.offline.looking.series import look_at
    from pipeline.offline.looking.words import season_notes

    if data.kind == "table":
        return []
    some = list(data.series().values())[:LOOKED_AT]
    return list(season_notes([look_at(data, s) for s in some], train_rows))


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


def _summary(data: Dataset, alerts: int, anomalous: int, out: Path) -> str:
    return f"{len(data):,} rows of {len(data.all_series)} series: {anomalous:,} anomalous, {alerts:,} alerts; written to {out}"
