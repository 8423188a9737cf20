"""`tidewatch score`: a user's own file, row by row, with the product's defaults and no labels."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from detectors.base import Detector, Progress
    from producers.datasets import Dataset


def register(app: typer.Typer) -> None:
    """Add the verb."""

    @app.command()
    def score(
        file: Annotated[Path, typer.Argument(help="CSV or Parquet file.")],
        out: Annotated[
            Path, typer.Option("--out", help="Where the scores go: .csv or .parquet, a row for each of the file.")
        ],
        timestamp_column: Annotated[
            str | None, typer.Option(help="Event time; default: `timestamp` or `time` where there is such a column.")
        ] = None,
        value_columns: Annotated[
            str,
            typer.Option(help="Columns to judge, A,B,C; several are one multivariate series. Default: all that fit."),
        ] = "",
        series_column: Annotated[
            str | None, typer.Option(help="Names the series of each row; default: one series.")
        ] = None,
        train_rows: Annotated[
            int | None,
            typer.Option(
                min=2,
                help="First rows of each series to learn from; default min(15 %, 750), tables without a timestamp 15 %.",
            ),
        ] = None,
        detector: Annotated[
            str,
            typer.Option(help="A detector of `tidewatch detectors`; default: the product's mix for the kind of file."),
        ] = "",
        table: Annotated[
            bool, typer.Option("--table", help="Treat the rows as a table even with a time stamp.")
        ] = False,
        time_zone: Annotated[str, typer.Option(help="Of time stamps that do not say it themselves.")] = "UTC",
    ) -> None:
        """Score every row of a file with what was learnt from its first rows.

        Columns written: timestamp, series, score, calibrated_score, anomalous, alert_id. Scores are empty while learning;
        a row that the time policy does not score (late, repeated, missing value) repeats the last score of its series.
        """
        from rich.console import Console

        from pipeline.scorefile import score_dataset, write
        from producers.datasets import Layout, open_file

        layout = Layout(
            timestamp_column=None
            if table and timestamp_column is None
            else timestamp_column or _guess(file, table=table),
            value_columns=tuple(c.strip() for c in value_columns.split(",") if c.strip()),
            series_column=series_column,
            time_zone=time_zone,
        )
        data = open_file(file, layout)
        console = Console(stderr=True)
        with console.status("learning") as status:

            def show(member: Detector, progress: Progress) -> None:
                status.update(f"learning: {member.name}, epoch {progress.epoch} of at most {progress.epochs}")

            result = score_dataset(data, train_rows=train_rows, detector=detector, on_progress=show)
        write(result, out)
        console.print(_summary(data, result.alerts, int(result.anomalous.sum()), out))


def _guess(file: Path, *, table: bool) -> str | None:
    """The time column's usual names, where the file has one of them."""
    import pyarrow.csv as pacsv
    import pyarrow.parquet as pq

    if table or not file.exists():
        return None
    try:
        if file.suffix == ".parquet":
            names = pq.read_schema(file).names
        else:
            with pacsv.open_csv(file) as head:
                names = head.schema.names
    except Exception:  # the reader says what is wrong with the file, better than here
        return None
    return next((n for n in names if n.lower() in ("timestamp", "time", "datetime", "date", "ts")), None)


def _summary(data: Dataset, alerts: int, anomalous: int, out: Path) -> str:
    return f"{len(data):,} rows of {len(data.all_series)} series: {anomalous:,} anomalous, {alerts:,} alerts; written to {out}"
