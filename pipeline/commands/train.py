"""`tidewatch train`: recorded data in, a model file and its learning curves out; stopped, it goes on where it was."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from difflib import get_close_matches
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, get_args

import typer

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
    layout_of,
    reading,
)
from pipeline.commands.options.stream import ConfigFile

if TYPE_CHECKING:
    from rich.console import Console

    from detectors.base import Detector
    from detectors.base import Progress as Epoch
    from detectors.model import Model
    from detectors.training import OnProgress
    from pipeline.offline.training_job import Choices, Source


def register(app: typer.Typer) -> None:
    """Add the verb."""
    app.command("train", no_args_is_help=True)(train)


def train(
    out: Annotated[Path, typer.Option(help="The model file to write; with --per-series a folder.")],
    name: Annotated[
        str,
        typer.Argument(
            metavar="[DETECTOR]",
            help="As in `tidewatch detectors`; several as lstm+tcn; default: the product's mix. Or the file, in the place of --data.",
        ),
    ] = "",
    data: Annotated[
        str,
        typer.Option(
            help="nab, taxi, kdd, creditcard, ...; a file, folder or glob as `tidewatch score` reads it; kafka:TOPIC for what it holds."
        ),
    ] = "",
    detector: Annotated[str, typer.Option(help="The same as DETECTOR, as of `tidewatch score`.")] = "",
    series: Annotated[list[str] | None, typer.Option(help="Series by name or GLOB; may be given again.")] = None,
    window: Annotated[
        int | None, typer.Option(min=1, help="Observations in a window. Default: the detector's.")
    ] = None,
    settings: Annotated[
        list[str] | None,
        typer.Option("--set", help="A detector's setting, as hidden=48 or training.epochs=10; may be given again."),
    ] = None,
    training_rows: Annotated[
        int | None,
        typer.Option(
            "--training-rows",
            "--train-rows",
            min=2,
            help="First rows of each series to train on. Default: as `score`; of a topic `default` takes all that it holds.",
        ),
    ] = None,
    fit_fraction: Annotated[
        float, typer.Option(min=0.1, max=0.95, help="Share of them to fit on; the rest calibrates.")
    ] = 0.7,
    time_feature: Annotated[
        list[str] | None,
        typer.Option(help="day or week: the event time's place in it as an input; may be given again; none: no such."),
    ] = None,
    scaling: Annotated[
        str | None,
        typer.Option(
            help="Of each series: standard, robust, min-max or none; of a table's columns: robust or min-max."
        ),
    ] = None,
    calibrator: Annotated[
        str | None, typer.Option(help="As in the docs: empirical, gaussian-tail, spot, dspot.")
    ] = None,
    aggregation: Annotated[str | None, typer.Option(help="Of several detectors: mean, rms, max or vote.")] = None,
    per_series: Annotated[
        bool, typer.Option("--per-series", help="A model for each series instead of one for all.")
    ] = False,
    seed: Annotated[int, typer.Option(help="Same seed, data and settings: same model file.")] = 0,
    threads: Annotated[int, typer.Option(min=1, help="Of torch.")] = 1,
    device: Annotated[str, typer.Option(help="cpu, cuda or cuda:N.")] = "cpu",
    fresh: Annotated[
        bool, typer.Option("--fresh", help="Forget where a stopped training was, and start anew.")
    ] = False,
    timestamp_column: TimestampColumn = None,
    value_columns: ValueColumns = "",
    series_column: SeriesColumn = None,
    time_zone: TimeZone = "UTC",
    country: Country = "",
    table: AsTable = False,
    wide: Wide = False,
    read: Read = None,
    channels: Channels = None,
    config: ConfigFile = None,
) -> None:
    """Train a model on the first part of recorded data, and draw its learning curves beside it.

    Supervised detectors take the labels of the data set. Ctrl-C stops a training; the same command goes on where it was.
    """
    from rich.console import Console

    from pipeline.offline.training_job import NO_TIME, Choices, open_source

    detector, data = _said(name, data, detector)
    known_detectors(detector)
    _check(per_series=per_series, out=out, scaling=scaling, aggregation=aggregation, device=device)
    layout = layout_of(timestamp_column, value_columns, series_column, time_zone, table=table, wide=wide, read=read)
    console = Console(stderr=True, highlight=False, soft_wrap=True, markup=False)
    calendar = calendar_of(layout, country)
    with reading(data) as on_read:
        source = open_source(
            data, layout, series or (), channels=channels, config=config, calendar=calendar, on_read=on_read
        )
    for line in source.reading or (source.what,):
        console.print(line)
    choices = Choices(
        window=window,
        settings=settings or (),
        training_rows=training_rows,
        fit_fraction=fit_fraction,
        time_features=None if time_feature is None else tuple(f for f in time_feature if f != NO_TIME),
        scaling=scaling,
        calibrator=calibrator,
        aggregation=aggregation,
        seed=seed,
        threads=threads,
        device=device,
    )
    if not per_series:
        _train_one(detector, source, choices, out, console, fresh=fresh)
        return
    for one in source.series:
        console.print(f"series {one}")
        path = out / f"{one.replace('/', '_').removesuffix('.csv')}.safetensors"
        _train_one(detector, source.only(one), choices, path, console, fresh=fresh)


def _said(first: str, data: str, detector: str) -> tuple[str, str]:
    """Detector and data, from an argument that may be either. Raises DetectorError, SettingsError."""
    from detectors.registry import DETECTORS
    from pipeline.commands.detectors import DEFAULT
    from pipeline.errors import SettingsError
    from producers.datasets import NAMES

    named = first == DEFAULT or any(get_close_matches(part, DETECTORS, 1) for part in first.split("+"))
    if first and not data and (first in NAMES or Path(first).exists() or not named):
        first, data = "", first
    if first and detector and first != detector:
        msg = f"{first} and --detector {detector} are two detectors; several together are written as lstm+tcn"
        raise SettingsError(msg)
    if not data:
        known_detectors(first or detector or DEFAULT)
        raise SettingsError(
            "what to learn from is missing: --data FILE, or a data set (nab, taxi, kdd, ...) or kafka:TOPIC"
        )
    return first or detector or DEFAULT, data


def known_detectors(names: str) -> None:
    """Refuse a detector that there is not before data are looked for. Raises DetectorError."""
    from detectors.registry import find
    from pipeline.commands.detectors import DEFAULT

    if names != DEFAULT:
        for name in names.split("+"):
            find(name)


def _check(*, per_series: bool, out: Path, scaling: str | None, aggregation: str | None, device: str) -> None:
    from detectors.base import DetectorError
    from detectors.model import Aggregation

    if per_series and out.suffix:
        msg = f"--per-series writes a file for each series: --out must be a folder, not {out}"
        raise DetectorError(msg)
    if not re.fullmatch(r"cpu|cuda(:\d+)?", device):
        msg = f"--device {device}: choose cpu, cuda or cuda:N"
        raise DetectorError(msg)
    for option, value, allowed in (
        ("--scaling", scaling, ("standard", "robust", "min-max", "none")),
        ("--aggregation", aggregation, get_args(Aggregation)),
    ):
        if value is not None and value not in allowed:
            msg = f"{option} {value}: choose one of {', '.join(allowed)}"
            raise DetectorError(msg)


def _train_one(detector: str, source: Source, choices: Choices, out: Path, console: Console, *, fresh: bool) -> None:
    from pipeline.offline.choosing import in_the_files_time
    from pipeline.offline.training_job import checkpoint_of, draw_curves, recipe_of, run

    recipe, rows = in_the_files_time(source.recorded, recipe_of(detector, source, choices), choices.training_rows)
    choices = replace(choices, training_rows=rows)
    before = checkpoint_of(out, fresh=fresh)
    if not before.empty:
        console.print(f"goes on from {before.path} (--fresh starts anew)")
    try:
        with _bars(console) as on_progress:
            model = run(recipe, source, choices, out, fresh=fresh, on_progress=on_progress)
    except KeyboardInterrupt:
        if not checkpoint_of(out).empty:
            console.print("stopped; the same command goes on from here")
        raise
    curves = out.with_suffix(".curves.png")
    drawn = draw_curves(model, curves)
    _report(model, out, curves if drawn else None, console)
    _say_unlearnt(model, source, choices, console)


@contextmanager
def _bars(console: Console) -> Iterator[OnProgress]:
    """A progress bar for each member, with its losses."""
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TaskID, TextColumn, TimeElapsedColumn

    text = TextColumn("training {task.fields[train]}  validation {task.fields[held]}")
    columns = (TextColumn("{task.description:<22}"), BarColumn(), MofNCompleteColumn(), text, TimeElapsedColumn())
    with Progress(*columns, console=console) as progress:
        tasks: dict[int, TaskID] = {}

        def show(member: Detector, epoch: Epoch) -> None:
            if id(member) not in tasks:
                tasks[id(member)] = progress.add_task(member.name, total=epoch.epochs, train="", held="")
            held = "" if epoch.validation_loss is None else f"{epoch.validation_loss:.4f}"
            progress.update(tasks[id(member)], completed=epoch.epoch, train=f"{epoch.train_loss:.4f}", held=held)

        yield show


def _say_unlearnt(model: Model, source: Source, choices: Choices, console: Console) -> None:
    if model.judgement is None:
        return
    from detectors.judged import unlearnt

    for line in unlearnt(source.histories(choices.training_rows, judged=True), calendar=model.calendar):
        console.print(f"note: {line}")


def _report(model: Model, out: Path, curves: Path | None, console: Console) -> None:
    """What was trained, and what became of it."""
    for facts in model.facts["training"]:
        fitted = f"{facts['windows']:,} windows"
        if facts["epochs"]:
            best = facts["validation_loss"][facts["best_epoch"] - 1]
            fitted += f", {facts['epochs']} epochs, best {facts['best_epoch']}, validation loss {best:.4f}"
        console.print(f"{facts['detector']}: {fitted}")
    rows = sum(model.training_rows.values())
    console.print(
        f"wrote {out} ({out.stat().st_size:,} bytes, SHA-256 {model.hash[:12]}...): "
        f"{model.detector_name}, {len(model.training_rows)} series, {rows:,} training rows"
    )
    for name, table in model.facts["settings"].items():
        for setting, value in table.items():
            console.print(f"recommended where your settings do not say: {name}.{setting} = {value}")
    if curves is not None:
        console.print(f"learning curves: {curves}")
