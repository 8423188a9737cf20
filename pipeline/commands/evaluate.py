"""`tidewatch evaluate`: labelled data through the stream's own steps, and what it was worth."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from pipeline.commands.options.files import (
    AsTable,
    Channels,
    Country,
    Marks,
    Read,
    SeriesColumn,
    TimestampColumn,
    TimeZone,
    ValueColumns,
    Wide,
    calendar_of,
    layout_of,
    reading,
    say,
)
from pipeline.commands.options.stream import ConfigFile
from pipeline.errors import SettingsError

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from rich.console import Console
    from rich.table import Table

    from detectors.judgement.calendar import Calendar
    from pipeline.offline.comparing import Figures
    from pipeline.offline.evaluation import MetricFigures, TableFigures
    from producers.datasets import Dataset, Layout


WIDE = 130
"""Signs of a line at least, or tables of figures are cut where nobody looks at a terminal."""


def register(app: typer.Typer) -> None:
    """Add the verb."""

    @app.command()
    def evaluate(
        out: Annotated[Path, typer.Option("--out", help="Folder for tables, pictures and scores.")],
        source: Annotated[
            str,
            typer.Argument(
                metavar="[DATA]",
                help="A labelled data set: nab, taxi, kdd, kdd-corrected, kdd-all, kdd-all-corrected, creditcard, ctg, mnist, odds-NAME, or a made-up "
                "twin such as synthetic-nab; a file with a column of labels; kafka:TOPIC with --labels. Default: nab.",
            ),
        ] = "",
        data: Annotated[str, typer.Option("--data", help="The same, as `tidewatch train` is told it.")] = "",
        detector: Annotated[
            list[str] | None,
            typer.Option(
                help="A detector of `tidewatch detectors`, several as lstm+tcn, `default` the product's mix for the kind of data, which is what "
                "there is without it; given again, they are compared."
            ),
        ] = None,
        settings: Annotated[
            list[str] | None, typer.Option("--set", help="As in `tidewatch score`; may be given again.")
        ] = None,
        budget: Annotated[
            list[str] | None,
            typer.Option(help="Alerts that may be none, as '1 per series per week'; given again, they are compared."),
        ] = None,
        train_rows: Annotated[int | None, typer.Option(min=2, help="As in `tidewatch score`.")] = None,
        series: Annotated[
            list[str] | None, typer.Option("--series", help="Only series that match this glob; repeatable.")
        ] = None,
        timestamp_column: TimestampColumn = None,
        value_columns: ValueColumns = "",
        series_column: SeriesColumn = None,
        time_zone: TimeZone = "UTC",
        country: Country = "",
        table: AsTable = False,
        wide: Wide = False,
        read: Read = None,
        labels: Marks = None,
        channels: Channels = None,
        config: ConfigFile = None,
    ) -> None:
        """Measure detection causally: alerts found, missed, false and how late; NAB's score; ranking for tables.

        Every series of metrics gets a model of its own, fitted on its own first rows as in `tidewatch score`, NAB's on min(15 %, 750) of them; a table
        one model, fitted on its first 15 %. Written to OUT: series.csv and nab.csv, or figures.csv and scores.csv, a picture, and metrics also
        in NAB's own layout (OUT/nab/category/file.csv), for its own tool.

        With several detectors or budgets, or with --set or --train-rows, a line and a row of OUT/compare.csv for each, and OUT/compare.png: alerts a
        week, labelled and false, events found, with intervals of a block bootstrap, VUS-PR, delays, and what it costs in time.
        """
        from rich.console import Console

        from pipeline.commands.train import known_detectors

        if source and data and source != data:
            msg = f"evaluate looks at one set of data: {source}, or --data {data}"
            raise SettingsError(msg)
        layout = layout_of(timestamp_column, value_columns, series_column, time_zone, table=table, wide=wide, read=read)
        calendar = calendar_of(layout, country)
        for name in detector or ():
            known_detectors(name)
        console = Console(width=max(Console().width, WIDE))
        whole = labelled_data(source or data or "nab", layout, console, labels, channels=channels, config=config)
        labelled = whole.select(*(series or ()))
        try:
            out.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            msg = f"--out {out}: cannot be made a folder: {error.strerror or error}"
            raise SettingsError(msg) from error
        names = [n if n != "default" else "" for n in detector or [""]]
        if len(names) > 1 or budget or settings or train_rows:
            _compare(labelled, names, settings or (), budget or [""], train_rows, calendar, out, console)
        elif labelled.kind == "table":
            _table(labelled, names[0], out, console)
        else:
            _metrics(labelled, names[0], calendar, out, console)


def labelled_data(
    name: str, layout: Layout, console: Console, marks: Path | None, *, channels: int | None, config: Path | None
) -> Dataset:
    """A data set by name, a user's own file or what a topic holds, with its labels or those of `marks`. Raises DataError where it has none."""
    from pipeline.offline.marks import with_marks
    from pipeline.offline.opening import KAFKA, open_data
    from producers.errors import DataError

    with reading(name) as on_read:
        data = open_data(name, layout, channels=channels, config=config, on_read=on_read)
    say(console, data)
    if marks is not None:
        data = with_marks(data, marks, layout.time_zone)
    if not data.all_labels:
        column = (
            "" if name.startswith(KAFKA) else "no column of labels was found in it; name it: --read labels=COLUMN; or "
        )
        msg = f"{name}: {column}say what was wrong when, in a file with a start and an end in each row: --labels FILE"
        raise DataError(msg)
    if not any(labels.anomalous.any() for labels in data.all_labels.values()):
        msg = f"{name}: its labels name no anomaly, so there is nothing to be found; name another column of labels: --read labels=COLUMN"
        raise DataError(msg)
    return data


def _compare(
    data: Dataset,
    detectors: Sequence[str],
    settings: Sequence[str],
    budgets: Sequence[str],
    train_rows: int | None,
    calendar: Calendar,
    out: Path,
    console: Console,
) -> None:
    from pipeline.offline import comparing

    candidates = [comparing.Candidate(d, tuple(settings), b) for d in detectors for b in budgets]
    left_out: list[str] = []
    with console.status("") as status:
        outcomes = comparing.try_out(
            data,
            candidates,
            train_rows=train_rows,
            calendar=calendar,
            on_candidate=status.update,
            on_left_out=left_out.append,
        )
    for line in left_out:
        console.print(f"left out: {line}", markup=False, soft_wrap=True)
    found = [comparing.figures(o) for o in outcomes]
    comparing.frame(found).to_csv(out / "compare.csv", index=False)
    comparing.draw(found, data.kind, out / "compare.png")
    console.print(comparison(found, data.kind))
    for one in found:
        console.print(comparing.in_words(one, data.kind), markup=False, soft_wrap=True, highlight=False)
    console.print(f"table and picture: {out}", markup=False, soft_wrap=True)


def comparison(found: Sequence[Figures], kind: str) -> Table:
    """A row for each candidate."""
    from rich.markup import escape
    from rich.table import Table

    per = "a week" if kind == "metric" else "in 1,000 rows"
    table = Table(title=f"behind what was learnt from: {found[0].events} labelled events", title_justify="left")
    for head in ("", "found", "alerts", f"false {per}", "delay, rows", "VUS-PR", "learning, s", "rows/s"):
        table.add_column(head, justify="left" if not head else "right")
    for f in found:
        table.add_row(
            escape(f.candidate),
            f"{f.found} ({f.found_low:.0%} to {f.found_high:.0%})" if f.events else "-",
            f"{f.alerts}",
            f"{f.false_a_week:.2g} ({f.false_low:.2g} to {f.false_high:.2g})",
            "-" if f.delay_rows != f.delay_rows else f"{f.delay_rows:.0f}",
            f"{f.vus_pr:.3f} ({f.prevalence:.3f})",
            f"{f.learning_seconds:.1f}",
            f"{f.rows_a_second:,.0f}",
        )
    return table


def _metrics(labelled: Dataset, detector: str, calendar: Calendar, out: Path, console: Console) -> None:
    from rich.markup import escape
    from rich.progress import Progress

    from pipeline.offline import evaluation, evaluation_pictures

    results = []
    with Progress(console=console) as progress:
        task = progress.add_task("scoring", total=len(labelled.all_series))
        for result in evaluation.score_each(
            labelled, detector, lambda name: progress.update(task, description=escape(name)), calendar=calendar
        ):
            results.append(result)
            evaluation.write_nab(result, out)
            progress.advance(task)
    total = evaluation.all_metric_figures(results)
    evaluation.frame([*map(evaluation.metric_figures, results), total]).to_csv(out / "series.csv", index=False)
    evaluation_pictures.draw_series(results, out / "series.png")
    console.print(_metric_table(labelled, total))
    profiles = evaluation.nab_figures(results)
    evaluation.profile_frame(profiles).to_csv(out / "nab.csv", index=False)
    for name, score in profiles.items():
        console.print(f"NAB {name}: {score.score:.1f}, {score.found} of {score.windows} windows found")
    console.print(f"tables, scores and pictures: {out}", markup=False, soft_wrap=True)


def _table(labelled: Dataset, detector: str, out: Path, console: Console) -> None:
    from rich.console import Console

    from pipeline.commands.score import progress
    from pipeline.offline import evaluation, evaluation_pictures
    from pipeline.offline.scorefile import score_dataset
    from pipeline.offline.scoring.writing import write

    with progress(Console(stderr=True)) as (learning, scoring):
        rows = score_dataset(labelled, detector=detector, on_progress=learning, on_scored=scoring)
    y, live = evaluation.table_labels(labelled, rows)
    figures = evaluation.table_figures(rows, y, live)
    write(rows, out / "scores.csv")
    evaluation.frame([figures]).to_csv(out / "figures.csv", index=False)
    evaluation_pictures.draw_ranking(y[live], rows.score[live], out / "ranking.png")
    console.print(_ranking_table(labelled, figures))
    console.print(f"tables, scores and pictures: {out}", markup=False, soft_wrap=True)


def _metric_table(labelled: Dataset, total: MetricFigures) -> Table:
    return _two_columns(
        f"{labelled.name}: {len(labelled.all_series)} series, {total.rows:,} rows",
        {
            "labelled windows found": f"{total.found} of {total.windows}",
            "alerts, false ones": f"{total.alerts}, {total.false_alerts}",
            "false alerts per series and day": f"{total.false_per_day:.3f}",
            "median delay": f"{total.median_delay_observations:.0f} observations, {total.median_delay_minutes:,.0f} minutes"
            if total.found
            else "-",
            "range precision, recall": f"{_figure(total.range_precision)}, {_figure(total.range_recall)}",
            "affiliation precision, recall": f"{_figure(total.affiliation_precision)}, {_figure(total.affiliation_recall)}",
            "VUS-PR (prevalence)": f"{_figure(total.vus_pr)} ({_figure(total.prevalence)})",
        },
    )


def _ranking_table(labelled: Dataset, figures: TableFigures) -> Table:
    return _two_columns(
        f"{labelled.name}, in order: {figures.rows:,} rows behind the training part",
        {
            "ROC-AUC": f"{figures.roc_auc:.4f}",
            "average precision (prevalence)": f"{figures.average_precision:.4f} ({figures.prevalence:.4f})",
            "episodes found": f"{figures.episodes_found} of {figures.episodes}",
            "median delay": f"{figures.median_delay_rows:.0f} rows" if figures.episodes_found else "-",
            "alerts, false ones": f"{figures.alerts}, {figures.false_alerts}",
            "false alerts per 1,000 rows": f"{figures.false_per_1000_rows:.2f}",
            "range precision, recall": f"{_figure(figures.range_precision)}, {_figure(figures.range_recall)}",
        },
    )


def _figure(value: float) -> str:
    """A figure, or a dash where there is nothing to take it of."""
    return "-" if value != value else f"{value:.3f}"


def _two_columns(title: str, figures: Mapping[str, str]) -> Table:
    from rich.table import Table

    table = Table(title=title, title_justify="left", show_header=False)
    for name, figure in figures.items():
        table.add_row(name, figure)
    return table
