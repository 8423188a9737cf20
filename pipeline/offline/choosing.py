"""A recipe with what a user chose in its place: detector, window, and settings by name, of detectors and of the stream."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from detectors.base import DetectorError
from detectors.model import Model
from detectors.recipes import METRIC, TABLE, Recipe
from detectors.training_part import metric_training_rows
from pipeline.errors import SettingsError
from pipeline.offline.training_job import Choices, parsed, put, with_settings
from producers.datasets import Dataset

STREAM = ("threshold", "alerts", "probation", "future_limit", "fill_gaps")
"""Settings of a stream that reach a result, as in tidewatch.toml; all others are the detectors'."""


def recipe_of(
    data: Dataset,
    *,
    detector: str = "",
    window: int | None = None,
    settings: Sequence[str] = (),
    train_rows: int | None = None,
) -> Recipe:
    """The recipe that scores `data`.

    Parameters
    ----------
    detector
        One of `detectors.DETECTORS`, several as lstm+tcn; empty: the product's mix.
    settings
        `threshold.level=3` of the stream; `hidden=48`, `lstm.hidden=48`, `training.epochs=5` of the detectors.

    Raises
    ------
    DetectorError, SettingsError
        There is no such setting; the window is longer than what is learnt from allows.
    """
    recipe = METRIC if data.kind == "metric" else TABLE
    names = detector.split("+") if detector else []
    if len(names) == 1:
        recipe = recipe.of(detector)
    elif names:
        recipe = replace(recipe, detectors=tuple(recipe.of(n).detectors[0] for n in names), several=(), chosen=True)
    own, of_stream = _parted(settings)
    if window is not None or own:
        recipe = recipe.for_channels(len(data.channels))
        members = with_settings(recipe.detectors, Choices(window=window, settings=own), data.kind)
        recipe = replace(recipe, detectors=members, several=(), chosen=True)
    if window is not None and data.kind == "metric":
        _check_window(data, recipe, window, train_rows)
    return replace(recipe, settings=_merged(recipe.settings, of_stream))


def recipe_of_model(data: Dataset, model: Model, settings: Sequence[str]) -> Recipe:
    """The recipe around a model that is there: what it recommends to a stream, and what was chosen."""
    own, of_stream = _parted(settings)
    if own:
        msg = f"--set {own[0]} is of a detector, and --model has them trained already; there are {', '.join(STREAM)}"
        raise SettingsError(msg)
    recipe = METRIC if data.kind == "metric" else TABLE
    return replace(recipe, settings=_merged(model.facts.get("settings", {}), of_stream))


def _parted(settings: Sequence[str]) -> tuple[list[str], dict[str, Any]]:
    """Settings of detectors as they are, and those of the stream as tables."""
    own: list[str] = []
    of_stream: dict[str, Any] = {}
    for text in settings:
        path, value = parsed(text)
        if path[0] in STREAM:
            put(of_stream, path, value)
        else:
            own.append(text)
    return own, of_stream


def _merged(usual: Any, chosen: dict[str, Any]) -> dict[str, Any]:
    """Tables of settings, one over the other."""
    out = {name: dict(table) if isinstance(table, dict) else table for name, table in dict(usual).items()}
    for name, table in chosen.items():
        out[name] = {**out.get(name, {}), **table} if isinstance(table, dict) else table
    return out


def _check_window(data: Dataset, recipe: Recipe, window: int, train_rows: int | None) -> None:
    metric = {name: (s.timestamps, s.values) for name, s in data.series().items()}
    room = recipe.room(metric, metric_training_rows if train_rows is None else lambda n: min(train_rows, n))
    longest = max(room.rows // 2, 3)
    if window > longest:
        msg = (
            f"--window {window} is longer than what is learnt from allows, {longest}; choose a shorter one, or --train-rows of at least "
            f"{-(-2 * window * 10 // 7):,}"
        )
        raise DetectorError(msg)
