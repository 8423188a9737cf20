"""`tidewatch tune`: settings for one's own labelled data, proposed on a part of it and judged on the rest."""

from __future__ import annotations

from pathlib import Path
from shlex import quote
from typing import Annotated

import typer

from pipeline.commands.options.apply import Apply, AsStream
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
    check_writable,
    layout_of,
)
from pipeline.commands.options.stream import ConfigFile

METRIC_DETECTORS, TABLE_DETECTORS = (
    ("default", "zscore", "seasonal", "pca"),
    ("default", "kmeans", "mahalanobis", "isolation-forest"),
)
METRIC_BUDGETS = ("1 per series per day", "1 per series per week", "1 per series per month", "1 per series per year")
TABLE_BUDGETS = ("1 per 300 rows", "1 per 1000 rows", "1 per 10000 rows", "1 per 100000 rows")


def register(app: typer.Typer) -> None:
    """Add the verb."""
    app.command("tune", no_args_is_help=True)(tune)


def tune(
    data: Annotated[
        str,
        typer.Argument(
            help="A file with a column of labels, as `tidewatch evaluate` reads it, a labelled data set, or kafka:TOPIC with --labels."
        ),
    ],
    detector: Annotated[
        list[str] | None,
        typer.Option(help="Detectors to try, given again for each. Default: the product's mix and three quick ones."),
    ] = None,
    budget: Annotated[
        list[str] | None,
        typer.Option(
            help="False-alarm budgets to try, given again for each. Default: a day to a year, 300 to 100,000 rows."
        ),
    ] = None,
    settings: Annotated[
        list[str] | None, typer.Option("--set", help="Of all that is tried; as in `tidewatch score`.")
    ] = None,
    false_alerts: Annotated[
        float,
        typer.Option(
            min=0, help="False alerts that you would live with: per series and week, of tables in 1,000 rows."
        ),
    ] = 1.0,
    choose_on: Annotated[
        float, typer.Option(min=0.1, max=0.9, help="Share of the rows, the first ones, that the choice is made on.")
    ] = 0.5,
    train_rows: Annotated[int | None, typer.Option(min=2, help="As in `tidewatch score`.")] = None,
    out: Annotated[Path | None, typer.Option(help="All figures: .csv.")] = None,
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
    apply: Apply = False,
    stream: AsStream = "",
    config: ConfigFile = None,
) -> None:
    """Propose a detector and a false-alarm budget for labelled data, and judge them where nothing was chosen.

    Tried are all detectors with all budgets. On the first part of the rows behind those that are learnt from the best is chosen: within --false-alerts the
    one that finds most. What it is worth is told of the other part, whose labels the choice has not seen, beside the product's default.
    """
    import pandas as pd
    from rich.console import Console

    from pipeline.commands.evaluate import WIDE, comparison, labelled_data
    from pipeline.commands.options.apply import make_stream
    from pipeline.commands.train import known_detectors
    from pipeline.offline import comparing
    from producers.errors import DataError

    if out is not None:
        check_writable(out, "--out", (".csv",))
    for name in detector or ():
        known_detectors(name)
    layout = layout_of(timestamp_column, value_columns, series_column, time_zone, table=table, wide=wide, read=read)
    calendar = calendar_of(layout, country)
    console = Console(width=max(Console().width, WIDE), soft_wrap=True, highlight=False)
    labelled = labelled_data(data, layout, console, labels, channels=channels, config=config)
    metric = labelled.kind == "metric"
    detectors = detector or (METRIC_DETECTORS if metric else TABLE_DETECTORS)
    budgets = budget or (METRIC_BUDGETS if metric else TABLE_BUDGETS)
    names = ["" if n == "default" else n for n in detectors]
    candidates = [comparing.Candidate(n, tuple(settings or ()), b) for n in names for b in budgets]
    usual = comparing.Candidate("", tuple(settings or ()))
    left_out: list[str] = []
    with console.status("") as status:
        outcomes = comparing.try_out(
            labelled,
            [*candidates, usual],
            train_rows=train_rows,
            calendar=calendar,
            on_candidate=status.update,
            on_left_out=left_out.append,
        )
    for line in left_out:
        console.print(f"left out: {line}", markup=False)
    tried = [o for o in outcomes if o.candidate != usual] or outcomes
    chosen_on = [comparing.figures(o, 0.0, choose_on) for o in tried]
    if not chosen_on[0].events:
        msg = (
            f"{data}: the part that the choice is made on holds no labelled event, so nothing can be chosen; "
            f"take more with --choose-on (it is {choose_on:g}), or learn from fewer rows with --train-rows"
        )
        raise DataError(msg)
    console.print(f"the choice, on the first {choose_on:.0%} of the rows behind what is learnt from:", markup=False)
    console.print(comparison(chosen_on, labelled.kind))
    best = comparing.outcomes_best(tried, choose_on, false_alerts)
    judged = [comparing.figures(o, choose_on, 1.0) for o in (best, *(o for o in outcomes if o.candidate == usual))]
    console.print(f"chosen: {best.candidate.name}", markup=False)
    if not judged[0].events:
        console.print("note: the rest holds no labelled event: only its false alerts can be judged", markup=False)
    console.print("judged on the rest, whose labels the choice has not seen, beside the default:", markup=False)
    for one in judged:
        console.print(comparing.in_words(one, labelled.kind), markup=False)
    kept = f" --country {quote(country)}" if country else ""
    chosen = f" --detector {best.candidate.detector}" if best.candidate.detector else ""
    sets = "".join(f" --set {quote(s)}" for s in best.candidate.settings)
    console.print(
        f"tidewatch score {quote(data)}{kept}{chosen} --budget {quote(best.candidate.budget)}{sets} --out scores.csv"
        + ("" if apply else "; as a stream: --apply"),
        markup=False,
    )
    if out is not None:
        parts = [comparing.frame(chosen_on).assign(part="choice"), comparing.frame(judged).assign(part="judged")]
        pd.concat(parts).to_csv(out, index=False)
        console.print(f"all figures: {out}", markup=False)
    if apply:
        with console.status("learning, from all series"):
            model, recipe = comparing.learnt(labelled, best.candidate, train_rows=train_rows, calendar=calendar)
        make_stream(model, recipe.settings, labelled, data, stream, config, console)
