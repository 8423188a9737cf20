"""A recipe with what a user chose in its place: detector, window, and settings by name, of detectors and of the stream."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from detectors.base import DetectorError
from detectors.model import Model
from detectors.recipes import Recipe, by_name
from detectors.training_part import all_rows
from pipeline.errors import SettingsError
from pipeline.offline.looking.seasons import YEAR, Season, steady_step
from pipeline.offline.looking.seasons import seasons as find_seasons
from pipeline.offline.looking.spans import span
from pipeline.offline.scoring.ready import histories
from pipeline.offline.training_job import Choices, parsed, put, with_settings
from producers.datasets import Dataset, Series

STREAM = ("threshold", "alerts", "probation", "future_limit", "fill_gaps", "country", "holidays", "rest_day")
"""Settings of a stream that reach a result, as in tidewatch.toml; all others are the detectors'."""


def recipe_of(
    data: Dataset,
    *,
    detector: str = "",
    window: int | None = None,
    settings: Sequence[str] = (),
    budget: str = "",
    train_rows: int | None = None,
) -> Recipe:
    """The recipe that scores `data`.

    Parameters
    ----------
    detector
        One of `detectors.DETECTORS`, several as lstm+tcn; empty: the product's mix.
    budget
        How many alerts there may be that are none, as `threshold.false_alarms`: `1 per series per week`.
    settings
        `threshold.level=3` of the stream; `hidden=48`, `lstm.hidden=48`, `training.epochs=5` of the detectors.

    Raises
    ------
    DetectorError, SettingsError
        There is no such setting; the window is longer than what is learnt from allows.
    """
    own, of_stream = _parted(settings, budget)
    threshold = of_stream.get("threshold")
    recipe = by_name(data.kind, detector, threshold if isinstance(threshold, dict) else None)
    if window is not None or own:
        recipe = recipe.for_channels(len(data.channels))
        members = with_settings(recipe.detectors, Choices(window=window, settings=own), data.kind)
        recipe = replace(recipe, detectors=members, several=(), chosen=True)
    if window is not None and data.kind == "metric":
        _check_window(data, recipe, window, train_rows)
    return replace(recipe, settings=_merged(recipe.settings, of_stream))


WEEK, DAY = 7 * 86_400_000, 86_400_000
SPAN = 6
"""Observations whose mean the seasonal memory judges; less where a season has few."""


def in_the_files_time(data: Dataset, recipe: Recipe, train_rows: int | None) -> tuple[Recipe, int | None]:
    """The recipe with a seasonal memory of a week, a day or a year, whichever the file holds often enough, in the steps of the file; and training rows
    that hold it. Where none of them fits, a season that the series are found to have.

    Untouched where the recipe has no such detector, or its period was said (`--set period=48`).
    """
    given = {m if isinstance(m, str) else m[0]: {} if isinstance(m, str) else m[1] for m in recipe.detectors}
    if data.kind == "table" or "seasonal" not in given or {"period", "window"} & set(given["seasonal"]):
        return recipe, train_rows
    seasons = int(given["seasonal"].get("seasons", 2))
    period = _period(data, seasons)
    width = int(given["seasonal"].get("span", max(1, min(SPAN, period // 4))))
    window = seasons * period + width
    changed = {**given["seasonal"], "period": period, "span": width, "window": window}
    members = tuple(("seasonal", changed) if n == "seasonal" else (n, s) for n, s in given.items())
    return replace(recipe, detectors=members), train_rows or window + min(period // 2, LEARNT)


def _period(data: Dataset, seasons: int) -> int:
    """Rows of a season that the longest series holds once more than `seasons` times. Raises DetectorError."""
    parts = [s for s in data.series().values() if s.interval_ms]
    if not parts:
        msg = f"{data.name}: seasonal needs a usual step between the rows, and there is none"
        raise DetectorError(msg)
    step = steady_step(int(np.median([s.interval_ms for s in parts])))
    longest = max(parts, key=lambda s: int(s.timestamps.max() - s.timestamps.min()))
    length = int(longest.timestamps.max() - longest.timestamps.min())
    found = (s.period for c in range(len(longest.columns)) for s in _found(longest, c, step))
    for season in (WEEK, DAY, YEAR, *found):
        period = round(season / step)
        if period >= 2 and length >= (seasons + 1) * season - step:
            return period
    msg = (
        f"{data.name}: seasonal compares with {seasons} weeks, days or years before, and {span(length)} in steps of {span(step)} hold too few; name a "
        "season in rows: --set period=12"
    )
    raise DetectorError(msg)


def _found(series: Series, channel: int, step: float) -> tuple[Season, ...]:
    """Seasons of a channel, the strongest first."""
    order = np.argsort(series.timestamps, kind="stable")
    values = series.columns[channel][order].astype(np.float64)
    known = np.isfinite(values)
    found = find_seasons(series.timestamps[order][known], values[known], int(step))
    return tuple(sorted(found, key=lambda s: -s.strength))


LEARNT = 200
"""Rows behind the first whole window of a seasonal memory that calibrate it."""


def recipe_of_model(data: Dataset, model: Model, settings: Sequence[str], budget: str = "") -> Recipe:
    """The recipe around a model that is there: what it recommends to a stream, and what was chosen."""
    own, of_stream = _parted(settings, budget)
    if own:
        msg = f"--set {own[0]} is of a detector, and --model has them trained already; there are {', '.join(STREAM)}"
        raise SettingsError(msg)
    return replace(by_name(data.kind), settings=_merged(model.facts.get("settings", {}), of_stream))


def _parted(settings: Sequence[str], budget: str) -> tuple[list[str], dict[str, Any]]:
    """Settings of detectors as they are, and those of the stream as tables."""
    own: list[str] = []
    of_stream: dict[str, Any] = {}
    for text in settings:
        path, value = parsed(text)
        if path[0] in STREAM:
            put(of_stream, path, value)
        else:
            own.append(text)
    if budget:
        put(of_stream, ["threshold", "false_alarms"], budget)
    return own, of_stream


def _merged(usual: Any, chosen: dict[str, Any]) -> dict[str, Any]:
    """Tables of settings, one over the other."""
    out = {name: dict(table) if isinstance(table, dict) else table for name, table in dict(usual).items()}
    threshold = chosen.get("threshold", {})
    if isinstance(threshold, dict) and {"false_alarms", "level", "method"} & set(threshold):
        for stated in ("false_alarms", "level"):  # one of them says from when on a score is anomalous
            out.get("threshold", {}).pop(stated, None)
    for name, table in chosen.items():
        out[name] = {**out.get(name, {}), **table} if isinstance(table, dict) else table
    return out


def _check_window(data: Dataset, recipe: Recipe, window: int, train_rows: int | None) -> None:
    learnt = histories(data, train_rows, judged=recipe.judgement)
    room = recipe.room(recipe.for_members(learnt), all_rows)
    longest = max(room.rows // 2, 3)
    if window > longest:
        msg = (
            f"--window {window} is longer than what is learnt from allows, {longest}; choose a shorter one, or --train-rows of at least "
            f"{-(-2 * window * 10 // 7):,}"
        )
        raise DetectorError(msg)
