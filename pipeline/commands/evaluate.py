"""`tidewatch evaluate`: labelled data through the stream's own steps, and what it was worth."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from rich.console import Console

    from producers.datasets import Dataset


def register(app: typer.Typer) -> None:
    """Add the verb."""

    @app.command()
    def evaluate(
        out: Annotated[Path, typer.Option("--out", help="Folder for tables, pictures and scores.")],
        data: Annotated[
            str, typer.Option("--data", help="A labelled data set: nab, taxi, kdd, kdd-corrected, creditcard, ...")
        ] = "nab",
        detector: Annotated[
            str,
            typer.Option(help="A detector of `tidewatch detectors`; default: the product's mix for the kind of data."),
        ] = "",
        series: Annotated[
            list[str] | None, typer.Option("--series", help="Only series that match this glob; repeatable.")
        ] = None,
    ) -> None:
        """Measure detection causally: alerts found, missed, false and how late; NAB's score; ranking for tables.

        Every series of metrics gets a model of its own, fitted on its own first min(15 %, 750) rows. NAB's scores are also
        written in NAB's own layout (OUT/nab/category/file.csv), for its own tool.
        """
        from rich.console import Console

        from producers.datasets import open_dataset

        labelled = open_dataset(data).select(*(series or ()))
        console = Console()
        out.mkdir(parents=True, exist_ok=True)
        if labelled.kind == "table":
            _table(labelled, detector, out, console)
        else:
            _metrics(labelled, detector, out, console)


def _metrics(labelled: Dataset, detector: str, out: Path, console: Console) -> None:
    from rich.progress import Progress

    from pipeline import evaluation, evaluation_pictures

    results = []
    with Progress(console=console) as progress:
        task = progress.add_task("scoring", total=len(labelled.all_series))
        for result in evaluation.score_each(labelled, detector, lambda name: progress.update(task, description=name)):
            results.append(result)
            evaluation.write_nab(result, out)
            progress.advance(task)
    total = evaluation.all_metric_figures(results)
    evaluation.frame([*map(evaluation.metric_figures, results), total]).to_csv(out / "series.csv", index=False)
    evaluation_pictures.draw_series(results, out / "series.png")
    console.print(
        f"{labelled.name}: {total.found} of {total.windows} labelled windows found; {total.alerts} alerts, {total.false_alerts} "
        f"of them false ({total.false_per_day:.3f} per series and day); median delay {total.median_delay_minutes:.0f} min, "
        f"{total.median_delay_observations:.0f} observations"
    )
    profiles = evaluation.nab_figures(results)
    evaluation.profile_frame(profiles).to_csv(out / "nab.csv", index=False)
    for name, score in profiles.items():
        console.print(f"NAB {name}: {score.score:.1f}, {score.found} of {score.windows} windows found")
    console.print(f"tables, scores and pictures: {out}")


def _table(labelled: Dataset, detector: str, out: Path, console: Console) -> None:
    from pipeline import evaluation, evaluation_pictures
    from pipeline.scorefile import score_dataset, write

    with console.status("learning and scoring"):
        rows = score_dataset(labelled, detector=detector)
    y, live = evaluation.table_labels(labelled, rows)
    figures = evaluation.table_figures(rows, y, live)
    write(rows, out / "scores.csv")
    evaluation.frame([figures]).to_csv(out / "figures.csv", index=False)
    evaluation_pictures.draw_ranking(y[live], rows.score[live], out / "ranking.png")
    console.print(
        f"{labelled.name}, in order, {figures.rows:,} rows behind the training part, {figures.prevalence:.2%} of them anomalous: "
        f"ROC-AUC {figures.roc_auc:.4f}, average precision {figures.average_precision:.4f}; {figures.alerts} alerts, "
        f"{figures.episodes_found} of {figures.episodes} episodes found"
    )
    console.print(f"tables, scores and pictures: {out}")
