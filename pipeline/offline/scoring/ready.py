"""A data set made ready to be scored: tidied, learnt from, with the settings of its stream.

Recorded files are less tidy than streams, so before the stream's steps run:

- a series whose rows stand in another order than their event times (newest first, say) is read in time order;
- a missing cell among several is filled in: in a metric of several columns with the column's last value, in a table with the
  column's median over the training rows. A metric of one column has no row to judge there.

`Ready.notes` says what was done.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from detectors.base import DetectorError
from detectors.budget import METRIC
from detectors.judged import unlearnt
from detectors.judgement.calendar import UTC, Calendar
from detectors.judgement.state import BLOCK
from detectors.model import Model
from detectors.recipes import Recipe, by_name
from detectors.training import OnProgress, all_rows, history_rows, metric_training_rows, table_training_rows
from pipeline.errors import ModelError
from pipeline.offline import time_limits
from pipeline.offline.scoring.rows import carried
from producers.datasets import Dataset, Series, as_dataset
from producers.errors import DataError

if TYPE_CHECKING:
    import pandas as pd

UNJUDGED = 2 * BLOCK
"""Rows of a file's longest series below which there is no judgement: it would begin where the file ends."""
UNTIDY = 0.1
"""Share of a series' rows that may be older than the newest before them; beyond it the series is read in time order."""


@dataclass(frozen=True)
class Ready:
    """What is needed to score a data set: itself, tidied; a model; settings of its stream; and what a user should know."""

    data: Dataset
    model: Model
    settings: dict[str, Any]
    notes: tuple[str, ...]
    train_rows: int | None


def made_ready(
    data: Dataset,
    *,
    train_rows: int | None,
    recipe: Recipe,
    model: Model | None = None,
    alerts: Mapping[str, Any] | None = None,
    calendar: Calendar = UTC,
    seed: int = 0,
    on_progress: OnProgress | None = None,
) -> Ready:
    """Tidy a data set, and learn from its first rows where there is no model; see `score_dataset`."""
    if not len(data):
        msg = f"{data.name} has no rows to score"
        raise DataError(msg)
    if model is not None:
        _check_fit(data, model)
    judged = recipe.judgement if model is None else model.judgement is not None
    data, notes = _tidied(data, train_rows, judged=judged)
    few = model is None and _too_few(data)
    model = model or train(
        data,
        train_rows=train_rows,
        recipe=recipe,
        calendar=calendar,
        seed=seed,
        on_progress=on_progress,
    )
    if model.judgement is not None:
        notes += unlearnt(histories(data, train_rows, judged=True), calendar=calendar)
    elif few and not stated(recipe.settings, model):
        notes.append(
            f"fewer than {UNJUDGED} rows: among so few hardly anything can be told to be rare enough for an alert; the rows with the highest scores "
            "stand out most"
        )
    settings = {**time_limits.of_file(data), **recipe.settings}
    settings["alerts"] = {**settings.get("alerts", {}), **(alerts or {})}
    if not stated(recipe.settings, model) and (once := time_limits.budget_rows(data)):
        settings["threshold"] = {**settings.get("threshold", {}), "false_alarms": f"1 per {once} rows"}
        notes.append(
            f"what comes once in {once:,} rows is anomalous: the file is too short for the usual budget, {METRIC} "
            "(--budget says otherwise)"
        )
    return Ready(data, model, settings, tuple(notes), train_rows)


def stated(settings: Mapping[str, Any], model: Model) -> bool:
    """Whether settings, or what the model file recommends, say from when on a score is anomalous."""
    tables = (settings.get("threshold", {}), model.facts.get("settings", {}).get("threshold", {}))
    return any({"false_alarms", "level", "method"} & set(table) for table in tables)


def train(
    data: Dataset | pd.DataFrame,
    *,
    train_rows: int | None = None,
    detector: str = "",
    recipe: Recipe | None = None,
    calendar: Calendar = UTC,
    seed: int = 0,
    on_progress: OnProgress | None = None,
) -> Model:
    """A model of a recipe (or of one detector) from the first rows of each series. Raises DetectorError, DataError."""
    data = as_dataset(data)
    recipe = recipe_of_kind(data, recipe, detector)
    data, _ = _tidied(data, train_rows, judged=recipe.judgement)
    if data.kind == "table":
        table = {
            name: s.rows(0, training_rows(s, "table", train_rows, judged=False)) for name, s in data.series().items()
        }
        recipe = recipe.for_rows(sum(map(len, table.values())))
        return recipe.train_table(
            table, data.channels, data.categorical, training_rows=all_rows, seed=seed, on_progress=on_progress
        )
    model = recipe.train_metric(
        histories(data, train_rows, judged=recipe.judgement),
        training_rows=all_rows,
        calendar=calendar,
        seed=seed,
        on_progress=on_progress,
    )
    return model if len(data.channels) == 1 else replace(model, facts={**model.facts, "channels": list(data.channels)})


def recipe_of_kind(data: Dataset, recipe: Recipe | None, detector: str) -> Recipe:
    """The recipe, the product's where none is given; or what of it a detector's name chooses."""
    recipe = by_name(data.kind, detector) if recipe is None else recipe.of(detector) if detector else recipe
    if _too_few(data):
        return replace(recipe, judgement=False)
    return recipe


def _too_few(data: Dataset) -> bool:
    """Whether metrics have too few rows for a judgement."""
    return data.kind == "metric" and max(map(len, data.all_series.values()), default=0) < UNJUDGED


def histories(
    data: Dataset, train_rows: int | None, *, judged: bool
) -> dict[str, tuple[NDArray[np.int64], NDArray[np.float64]]]:
    """What of each series of metrics is learnt from."""
    found = {}
    for name, s in data.series().items():
        first = training_rows(s, "metric", train_rows, judged=judged)
        found[name] = s.timestamps[:first], s.values[:first]
    return found


def _check_fit(data: Dataset, model: Model) -> None:
    """Refuse a model that would score the data set's columns as if they were others."""
    wrong = ""
    if model.kind != data.kind:
        wrong = f"of a {model.kind}, and {data.name} is a {data.kind}"
    elif model.features is not None and model.features.names != data.channels:
        wrong = f"of the columns {', '.join(model.features.names)}, and {data.name} has {', '.join(data.channels)}"
    elif model.features is None and model.channels != len(data.channels):
        wrong = f"of {model.channels} channels, and {data.name} has {len(data.channels)}"
    if wrong:
        msg = f"the model is {wrong}; train one on data of this form, or choose its columns (Layout)"
        raise ModelError(msg)


def training_rows(series: Series, kind: str, chosen: int | None, *, judged: bool) -> int:
    """How many first rows of a series are learnt from: as `chosen`, or the usual share. Raises DetectorError."""
    if chosen is not None:
        if not isinstance(chosen, int | np.integer) or chosen < 1:
            msg = f"train_rows={chosen!r}: give a whole number of rows, 1 or more, or None for the usual share"
            raise DetectorError(msg)
        return min(int(chosen), len(series))
    if judged:
        return history_rows(series.timestamps)
    return metric_training_rows(len(series)) if kind == "metric" else table_training_rows(len(series))


def _tidied(data: Dataset, train_rows: int | None, *, judged: bool) -> tuple[Dataset, list[str]]:
    """The data set with its series in time order and missing cells filled in, and what was done."""
    notes: list[str] = []
    parts = dict(data.series())
    if data.kind == "metric":
        untidy = [name for name, s in parts.items() if len(s) and time_limits.in_order(s).mean() < 1 - UNTIDY]
        parts |= {name: parts[name].take(np.argsort(parts[name].timestamps, kind="stable")) for name in untidy}
        if untidy:
            notes.append(
                f"rows of {len(untidy):,} series do not stand in the order of time; they were read in that order"
            )
    if data.kind == "table" or len(data.channels) > 1:
        missing = sum(int((~np.isfinite(c)).sum()) for s in parts.values() for c in s.columns if c.dtype != object)
        if missing:
            parts = {
                name: _filled_in(s, training_rows(s, data.kind, train_rows, judged=judged), last=data.kind == "metric")
                for name, s in parts.items()
            }
            how = "the column's last value" if data.kind == "metric" else "the column's median"
            notes.append(f"{missing:,} cells are missing; {how} stands for each")
    return replace(data, all_series=parts), notes


def _filled_in(series: Series, learnt_from: int, *, last: bool) -> Series:
    """Numbers for missing cells: the last one before, where `last` and there is one; else the training rows' median, else 0."""
    columns = []
    for column in series.columns:
        if column.dtype == object or np.isfinite(column).all():
            columns.append(column)
            continue
        known = column[:learnt_from][np.isfinite(column[:learnt_from])]
        usual = float(np.median(known)) if len(known) else 0.0
        values = carried(column) if last else column
        columns.append(np.where(np.isfinite(values), values, usual))
    return replace(series, columns=tuple(columns))
