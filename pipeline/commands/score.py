"""`tidewatch score`: a user's own file, row by row, with the product's defaults and no labels."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from pipeline.commands.options.apply import Apply, AsStream
from pipeline.commands.options.files import (
    AsTable,
    Channels,
    Country,
    Read,
    SeriesColumn,
    TimestampColumn,
    TimeZone,
    ValueColumns,
    Wide,
    calendar_of,
    check_writable,
    layout_of,
    reading,
    say,
)
from pipeline.commands.options.stream import ConfigFile

if TYPE_CHECKING:
    from rich.console import Console

    from detectors.base import Detector
    from detectors.base import Progress as Epoch
    from detectors.model import Model
    from detectors.recipes import Recipe
    from detectors.training import OnProgress
    from pipeline.offline.scorefile import OnScored
    from producers.datasets import Dataset


LOOKED_AT = 20
"""Series whose seasons are looked for before the work."""
ROWS_LOOKED_AT = 1 << 20
"""First rows of each in which they are looked for: two years of minutes."""
MOST_TOLD = 20
"""Alerts that are told at the terminal."""


def register(app: typer.Typer) -> None:
    """Add the verb."""
    app.command("score", no_args_is_help=True)(score)


def score(
    file: Annotated[
        str,
        typer.Argument(
            help="CSV, JSON, Excel or Parquet file, packed or not; a folder, a glob; - for the standard input; kafka:TOPIC; or a data set: nab, taxi, ..."
        ),
    ],
    out: Annotated[
        Path | None,
        typer.Option(
            "--out",
            help="Where the scores go: .csv or .parquet, a row for each of the file. With --follow .csv, or none.",
        ),
    ] = None,
    timestamp_column: TimestampColumn = None,
    value_columns: ValueColumns = "",
    series_column: SeriesColumn = None,
    train_rows: Annotated[
        int | None,
        typer.Option(
            min=2,
            help="First rows of each series to learn from; default: of metrics half, or two weeks; 15 % of a table; of metrics by one --detector 15 %, at least "
            "30 where there are twice as many, at most 750.",
        ),
    ] = None,
    detector: Annotated[
        str,
        typer.Option(
            help="A detector of `tidewatch detectors`, several as lstm+tcn; default: the product's mix for the kind of file."
        ),
    ] = "",
    window: Annotated[
        int | None, typer.Option(min=1, help="Rows in a window, of metrics. Default: the detector's.")
    ] = None,
    settings: Annotated[
        list[str] | None,
        typer.Option(
            "--set",
            help="A setting of the stream, as threshold.level=3 or alerts.resolve_count=10, or of the detectors, as hidden=48; may be "
            "given again.",
        ),
    ] = None,
    budget: Annotated[
        str,
        typer.Option(
            help="Alerts that there may be that are none: '1 per series per week', '2 per month', '1 per 10000 rows'."
        ),
    ] = "",
    model: Annotated[Path | None, typer.Option(help="A model file of `tidewatch train`; nothing is learnt.")] = None,
    alerts: Annotated[
        Path | None,
        typer.Option(
            help="List of alerts, what, when, how much, why: .csv, .parquet or .json; .jsonl: each record of each, as the alert topic has them."
        ),
    ] = None,
    report: Annotated[Path | None, typer.Option(help="Report with pictures to zoom into: .html.")] = None,
    follow: Annotated[
        bool,
        typer.Option(
            "--follow",
            "-f",
            help="Go on with the lines that are appended to a file of CSV or JSON lines, or come on the standard input, until Ctrl-C.",
        ),
    ] = False,
    table: AsTable = False,
    time_zone: TimeZone = "UTC",
    country: Country = "",
    wide: Wide = False,
    read: Read = None,
    channels: Channels = None,
    apply: Apply = False,
    stream: AsStream = "",
    config: ConfigFile = None,
) -> None:
    """Score every row of a file, or of what a topic holds, with what was learnt from its first rows, and list the alerts.

    Columns written: timestamp, series, score, calibrated_score, anomalous, alert_id; of tables also alarm, of metrics by the default alarm, expected, lower
    and upper (of several columns, one each: expected:NAME). The score ranks rows, the alarm decides: from 0 on a row is anomalous, 1 is ten times
    rarer. Scores are empty while learning;
    a row that the time policy does not score (late, repeated, missing value) repeats the last score of its series.
    In CSV a name that a spreadsheet would run as a formula (`=...`, `+`, `-`, `@`) has an apostrophe before it; reading the file
    here takes it off again.
    """
    from rich.console import Console

    from pipeline.commands.options.apply import make_stream
    from pipeline.commands.train import known_detectors
    from pipeline.errors import SettingsError
    from pipeline.offline import alert_list
    from pipeline.offline.opening import open_data
    from pipeline.offline.scorefile import score_dataset
    from pipeline.offline.scoring.writing import write

    if out is None and not follow:
        raise SettingsError("say where the scores go: --out scores.csv")
    for option, path, endings in (
        ("--out", out, (".csv",) if follow else (".csv", ".parquet")),
        ("--alerts", alerts, (".jsonl",) if follow else (".csv", ".parquet", ".json", ".jsonl")),
        ("--report", report, (".html",)),
    ):
        if path is not None:
            check_writable(path, option, endings)
    if detector:
        known_detectors(detector)
    trained = None if model is None else _model(model, detector, window, train_rows)
    layout = layout_of(timestamp_column, value_columns, series_column, time_zone, table=table, wide=wide, read=read)
    calendar = calendar_of(layout, country)
    console = Console(stderr=True, highlight=False, soft_wrap=True)
    if trained is not None and country:  # it was trained by another calendar
        settings = [*(settings or ()), f"country={country}"]
    chosen = _Chosen(detector, window, settings or (), budget, trained)
    if follow:
        from pipeline.commands.options.follow import follow_file

        for name, given in (("--report", report is not None), ("--apply", apply)):
            if given:
                msg = f"--follow and {name} exclude each other: what it makes is of a whole file; score the file without --follow for it"
                raise SettingsError(msg)
        follow_file(file, layout, chosen.recipe, trained, train_rows, out, alerts, console, calendar=calendar)
        return
    assert out is not None
    with reading(file) as on_read:
        data = open_data(file, layout, channels=channels, config=config, on_read=on_read)
    say(console, data)
    recipe, train_rows = chosen.recipe(data, train_rows, console)
    with progress(console) as (learning, scoring):
        result = score_dataset(
            data,
            train_rows=train_rows,
            recipe=recipe,
            model=trained,
            calendar=calendar,
            on_progress=learning,
            on_scored=scoring,
        )
    write(result, out)
    for note in result.notes:
        console.print(f"note: {note}", markup=False)
    found = alert_list.alert_rows(data, result)
    for line in alert_list.lines(found, MOST_TOLD):
        console.print(line, markup=False)
    if alerts is not None:
        alert_list.write(found, alerts, result.records)
    if report is not None:
        from pipeline.offline.report.scored import write_report

        write_report(data, result, found, report)
    console.print(_summary(data, len(found), int(result.anomalous.sum()), (out, alerts, report)), markup=False)
    if apply:
        make_stream(result.model, recipe.settings, data, file, stream, config, console)


@dataclass(frozen=True)
class _Chosen:
    """What was chosen to judge with."""

    detector: str
    window: int | None
    settings: Sequence[str]
    budget: str
    trained: Model | None

    def recipe(self, data: Dataset, train_rows: int | None, console: Console) -> tuple[Recipe, int | None]:
        """The recipe for a data set, and how many rows it learns from; says where they are few."""
        from pipeline.commands.detectors import DEFAULT
        from pipeline.offline.choosing import in_the_files_time, recipe_of, recipe_of_model

        if self.trained is not None:
            return recipe_of_model(data, self.trained, self.settings, self.budget), train_rows
        recipe = recipe_of(
            data,
            detector="" if self.detector == DEFAULT else self.detector,
            window=self.window,
            settings=self.settings,
            budget=self.budget,
            train_rows=train_rows,
        )
        recipe, train_rows = in_the_files_time(data, recipe, train_rows)
        for note in _season_notes(data, train_rows, judged=recipe.judgement):
            console.print(f"note: {note}", markup=False)
        return recipe, train_rows


def _model(path: Path, detector: str, window: int | None, train_rows: int | None) -> Model:
    """The model file. Raises SettingsError, DetectorError."""
    from detectors import load
    from pipeline.errors import SettingsError

    for option, given in (
        ("--detector", bool(detector)),
        ("--window", window is not None),
        ("--train-rows", train_rows is not None),
    ):
        if given:
            msg = f"--model and {option} exclude each other: the model file says what it is made of and learnt from"
            raise SettingsError(msg)
    return load(path)


def _season_notes(data: Dataset, train_rows: int | None, *, judged: bool) -> list[str]:
    """Where what is learnt from is too short for the seasons of the file; of its first series, the others are alike."""
    from pipeline.offline.looking.series import look_at
    from pipeline.offline.looking.words import season_notes
    from pipeline.offline.scoring.ready import training_rows

    if data.kind == "table":
        return []
    some = list(data.series().values())[:LOOKED_AT]
    learnt = {s.name: training_rows(s, data.kind, train_rows, judged=judged) for s in some}
    looks = [replace(look_at(data, s.take(slice(ROWS_LOOKED_AT))), rows=len(s)) for s in some]
    return list(season_notes(looks, learnt))


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


def _summary(data: Dataset, alerts: int, anomalous: int, written: Sequence[Path | None]) -> str:
    where = ", ".join(str(path) for path in written if path is not None)
    return f"{len(data):,} rows of {len(data.all_series)} series: {anomalous:,} anomalous, {alerts:,} alert{'' if alerts == 1 else 's'}; written to {where}"
