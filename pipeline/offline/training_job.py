"""One training job: from a data set, a file or a topic to a model file with its learning curves beside it.

nab, kdd, ...  ─┐
FILE.csv        ├─▶ Source ──▶ detectors.training ──▶ OUT, OUT.curves.png
kafka:TOPIC    ─┘                     │ ▲
                                      ▼ │ after a stop
                                 OUT.checkpoint
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from detectors import calibration, model_file, registry
from detectors.base import DetectorError
from detectors.checkpoint import TrainingCheckpoint
from detectors.judgement.calendar import UTC, Calendar
from detectors.model import Model
from detectors.recipes import Recipe, by_name, patch_of
from detectors.training import (
    Member,
    OnProgress,
    all_rows,
    history_rows,
    metric_training_rows,
    table_training_rows,
    train_metric,
    train_table,
)
from pipeline.offline.opening import KAFKA, OnRead, open_data, unnamed
from producers.datasets import Dataset, Layout, Series
from producers.datasets.base import usual_step

DEFAULT = "default"
NO_TIME = "none"


@dataclass(frozen=True)
class Source:
    """Recorded series to train on.

    Attributes
    ----------
    what
        One line for people: where it is from.
    metric
        For metrics: series -> event times (n,) and values (n, C).
    table
        For tables: the data set that its rows are in.
    labels
        Series -> (n,) which observations are anomalous, where that is known.
    reading
        Of a user's file: what was taken for what, a line each.
    channels
        Names of a metric's several columns, where they have any.
    all_history
        Whether all of it is history that a stream goes on from, as what a topic holds; of files the first part is (`history_rows`).
    calendar
        Whose day, week and holidays the metrics keep.
    """

    name: str
    what: str
    metric: Mapping[str, tuple[NDArray[np.int64], NDArray[np.float64]]] = field(default_factory=dict)
    table: Dataset | None = None
    labels: Mapping[str, NDArray[np.bool_]] = field(default_factory=dict)
    synthetic: bool = False
    reading: tuple[str, ...] = ()
    channels: tuple[str, ...] = ()
    all_history: bool = False
    calendar: Calendar = UTC

    def histories(
        self, rows: int | None, *, judged: bool
    ) -> Mapping[str, tuple[NDArray[np.int64], NDArray[np.float64]]]:
        """What of the metrics is learnt from: the first `rows` of each series, or what is its history where nobody says."""

        def count(times: NDArray[np.int64]) -> int:
            if rows is not None or not judged:
                return metric_training_rows(len(times)) if rows is None else rows
            return len(times) if self.all_history else history_rows(times)

        return {name: (times[: count(times)], values[: count(times)]) for name, (times, values) in self.metric.items()}

    @property
    def recorded(self) -> Dataset:
        """All of it as a data set."""
        if self.table is not None:
            return self.table
        series = {n: Series(n, t, tuple(v.T), usual_step(np.sort(t))) for n, (t, v) in self.metric.items()}
        width = max((v.shape[1] for _, v in self.metric.values()), default=1)
        names = self.channels or tuple(f"value {c + 1}" for c in range(width))
        return Dataset(self.name, "metric", names, self.what, series)

    @property
    def kind(self) -> Literal["metric", "table"]:
        """What kind of model it trains."""
        return "metric" if self.table is None else "table"

    @property
    def series(self) -> list[str]:
        """Names of the series."""
        return list(self.metric if self.table is None else self.table.series())

    def only(self, name: str) -> Source:
        """The same with one series."""
        if self.table is not None:
            kept = replace(self.table, all_series={name: self.table.series()[name]})
            return replace(self, table=kept)
        return replace(self, metric={name: self.metric[name]})


@dataclass(frozen=True)
class Choices:
    """What the user chose; None: as the product's recipe has it."""

    window: int | None = None
    settings: Sequence[str] = ()
    training_rows: int | None = None
    fit_fraction: float = 0.7
    time_features: tuple[str, ...] | None = None
    scaling: str | None = None
    calibrator: str | None = None
    aggregation: str | None = None
    seed: int = 0
    threads: int = 1
    device: str = "cpu"


def open_source(
    data: str,
    layout: Layout,
    series: Sequence[str] = (),
    *,
    channels: int | None = None,
    config: Path | None = None,
    calendar: Calendar | None = None,
    on_read: OnRead | None = None,
) -> Source:
    """The series that `data` names: a data set, a file, or `kafka:TOPIC`; they keep the calendar, or the layout's time zone without holidays.

    Raises
    ------
    ProducerError, BrokerError, SettingsError
        It cannot be had; no series matches.
    """
    found = open_data(data, layout, channels=channels, config=config, on_read=on_read)
    if series:
        found = found.select(*series)
    labels = {name: label.anomalous for name, label in found.labels().items()}
    if found.kind == "table":
        return Source(
            found.name, found.source, table=found, labels=labels, synthetic=found.synthetic, reading=found.reading
        )
    metric = {name: (s.timestamps, s.values) for name, s in found.series().items()}
    told = len(found.channels) > 1 and found.channels != unnamed(len(found.channels))
    names = found.channels if told else ()
    return Source(
        found.name,
        found.source,
        metric,
        labels=labels,
        synthetic=found.synthetic,
        reading=found.reading,
        channels=names,
        all_history=data.startswith(KAFKA),
        calendar=calendar or Calendar(layout.time_zone),
    )


def recipe_of(detector: str, source: Source, choices: Choices) -> Recipe:
    """What is trained: the product's recipe, with what the user chose in its place.

    Raises
    ------
    DetectorError
        No such detector; a setting that no detector has.
    """
    mix = detector == DEFAULT
    recipe = by_name(source.kind)
    if not mix:
        members = tuple(detector.split("+"))
        recipe = replace(recipe, detectors=members, several=(), aggregation="mean", judgement=False)
    if source.kind == "metric":
        recipe = recipe.for_channels(max(values.shape[1] for _, values in source.metric.values()))
        histories = source.histories(choices.training_rows, judged=recipe.judgement)
        room = recipe.room(recipe.for_members(histories), all_rows)
        # Who names a detector or a window gets it, or is told why not; the default makes do with what there is, as `score` does.
        shorter = mix and choices.window is None
        recipe = recipe.for_room(room) if shorter else recipe.with_known_times(room)
    time_features = recipe.time_features if choices.time_features is None else choices.time_features
    # What the recipe recommends to a stream was found for its own mix and scores.
    own = mix and choices.calibrator is None and choices.aggregation is None
    return replace(
        recipe,
        settings=recipe.settings if own else {},
        detectors=with_settings(recipe.detectors, choices, source.kind),
        time_features=() if source.kind == "table" else time_features,
        scaling=choices.scaling or recipe.scaling,
        calibrator=choices.calibrator or recipe.calibrator,
        calibration=recipe.calibration if choices.calibrator in (None, recipe.calibrator) else {},
        aggregation=choices.aggregation or recipe.aggregation,  # type: ignore[arg-type]  # the command line checks it
    )


def run(
    recipe: Recipe,
    source: Source,
    choices: Choices,
    out: Path,
    *,
    fresh: bool = False,
    on_progress: OnProgress | None = None,
) -> Model:
    """Train, write model file and learning curves, and return the model as it was saved.

    Raises
    ------
    DetectorError
        Too few rows; a setting that does not fit; a checkpoint of another training.
    """
    checkpoint = checkpoint_of(out, fresh=fresh)
    common: dict[str, Any] = {
        "fit_fraction": choices.fit_fraction,
        "aggregation": recipe.aggregation,
        "labels": source.labels if _supervised(recipe) else None,
        "seed": choices.seed,
        "threads": choices.threads,
        "device": choices.device,
        "facts": {"data": source.what, "synthetic": source.synthetic, "settings": dict(recipe.settings)}
        | ({"channels": list(source.channels)} if source.channels else {}),
        "on_progress": on_progress,
        "checkpoint": checkpoint,
    }
    calibrator = calibration.create(recipe.calibrator, recipe.calibration)
    if source.table is not None:
        first = _count(choices, table_training_rows)
        model = train_table(
            {name: s.rows(0, first(len(s))) for name, s in source.table.series().items()},
            source.table.channels,
            source.table.categorical,
            recipe.detectors,
            calibrator,
            training_rows=all_rows,
            scaling=choices.scaling or "robust",
            together=choices.calibrator is None and choices.aggregation is None,
            **common,
        )
    else:
        histories = source.histories(choices.training_rows, judged=recipe.judgement)
        seen = recipe.for_members(histories)
        model = train_metric(
            seen,
            recipe.detectors,
            calibrator,
            training_rows=all_rows,
            scaling=recipe.scaling,
            time_features=recipe.time_features,
            interval_ms=recipe.room(seen, all_rows).intervals,
            **common,
        )
        model = recipe.judged(model, histories, source.calendar)
    saved = model_file.save(model, out)
    checkpoint.delete()
    return saved


def checkpoint_of(out: Path, *, fresh: bool = False) -> TrainingCheckpoint:
    """The checkpoint beside a model file; `fresh` deletes what a stopped training left."""
    path = out.with_name(out.name + ".checkpoint")
    if fresh:
        path.unlink(missing_ok=True)
    return TrainingCheckpoint(path)


def draw_curves(model: Model, path: Path) -> bool:
    """Draw training and validation losses of each member as a PNG; False where no member has any."""
    from matplotlib.figure import Figure

    learnt = [facts for facts in model.facts["training"] if facts["train_loss"]]
    if not learnt:
        return False
    figure = Figure(figsize=(5.2 * len(learnt), 3.6), layout="constrained")
    for axes, facts in zip(figure.subplots(1, len(learnt), squeeze=False)[0], learnt, strict=True):
        epochs = np.arange(1, len(facts["train_loss"]) + 1)
        axes.plot(epochs, facts["train_loss"], label="training")
        axes.plot(epochs, facts["validation_loss"], label="validation")
        axes.axvline(facts["best_epoch"], color="0.6", linestyle=":", label=f"best: epoch {facts['best_epoch']}")
        axes.set(title=facts["detector"], xlabel="epoch", ylabel="loss (trimmed)")
        if min(facts["train_loss"] + facts["validation_loss"]) > 0:
            axes.set_yscale("log")
        axes.legend(frameon=False)
    figure.savefig(path, dpi=110)
    return True


def _supervised(recipe: Recipe) -> bool:
    return any(registry.find(m if isinstance(m, str) else m[0]).supervised for m in recipe.detectors)


def _count(choices: Choices, rule: Callable[[int], int]) -> Callable[[int], int]:
    """From the length of a series to how many of its rows train: as chosen, or by rule."""
    first = choices.training_rows
    return rule if first is None else lambda n: min(first, n)


def with_settings(members: Sequence[Member], choices: Choices, kind: Literal["metric", "table"]) -> tuple[Member, ...]:
    """Members with the user's settings; `hidden=48` goes to all that have it, `lstm.hidden=48` to one."""
    given = [(member, {}) if isinstance(member, str) else (member[0], dict(member[1])) for member in members]
    names = [name for name, _ in given]
    if choices.window is not None and choices.window > 1 and kind == "table":
        raise DetectorError("--window is for metrics: the rows of a table are judged one by one; leave it out")
    if choices.window is not None and kind == "metric":
        for name, settings in given:
            if "windows" in registry.find(name).kinds:
                settings["window"] = choices.window
            if "patch" in settings:  # the recipe's, which was found for its own window
                settings["patch"] = patch_of(settings, choices.window)
    for text in choices.settings:
        path, value = parsed(text)
        aimed = path[0] in names and len(path) > 1
        hit = [(n, s) for n, s in given if (n == path[0] if aimed else path[0] in registry.find(n).Config.model_fields)]
        if not hit:
            have = ", ".join(sorted({key for name in names for key in registry.find(name).Config.model_fields}))
            msg = f"--set {text}: no such setting of {' or '.join(names)}; there are: {have}"
            raise DetectorError(msg)
        for _, settings in hit:
            put(settings, path[1:] if aimed else path, value)
    return tuple(given)


def parsed(text: str) -> tuple[list[str], Any]:
    """`training.epochs=10` -> (["training", "epochs"], 10); a value that is no JSON is text."""
    key, equals, value = text.partition("=")
    if not equals or not all(key.split(".")):
        msg = f"--set {text}: write it as NAME=VALUE, as in hidden=48 or training.epochs=10"
        raise DetectorError(msg)
    try:
        return key.split("."), json.loads(value)
    except ValueError:
        return key.split("."), value


def put(settings: dict[str, Any], path: Sequence[str], value: Any) -> None:
    """Set a value in tables within tables."""
    for key in path[:-1]:
        settings = settings.setdefault(key, {})
    settings[path[-1]] = value
