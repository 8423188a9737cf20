"""A data set in, a row of scores out for each of its rows: what `tidewatch score` does between reading and writing."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

from detectors.judgement.calendar import UTC, Calendar
from detectors.model import Model
from detectors.recipes import Recipe
from detectors.training import OnProgress
from pipeline.offline.run import offline_stream, run
from pipeline.offline.scoring.ready import made_ready, recipe_of_kind
from pipeline.offline.scoring.recorded import recorded
from pipeline.offline.scoring.rows import ScoredRows, per_row
from pipeline.offline.scoring.telling import not_scored, some_scored, unscored
from producers.datasets import Dataset, as_dataset

if TYPE_CHECKING:
    import pandas as pd

OnScored = Callable[[int, int], None]
"""Told how many of how many rows are scored."""


def score_dataset(
    data: Dataset | pd.DataFrame,
    *,
    train_rows: int | None = None,
    detector: str = "",
    recipe: Recipe | None = None,
    model: Model | None = None,
    alerts: Mapping[str, Any] | None = None,
    calendar: Calendar = UTC,
    seed: int = 0,
    on_progress: OnProgress | None = None,
    on_scored: OnScored | None = None,
) -> ScoredRows:
    """Learn from the first rows of each series, then score all of them in order, as the stream would.

    Rows are judged from earlier rows of their own series and what was learnt from the first rows; no row sees a later one.

    Parameters
    ----------
    data
        Or a DataFrame, which is opened as `producers.open_frame` does.
    train_rows
        First rows of each series to learn from; None: half of a metric, or two weeks where half is less (`detectors.training.history_rows`), by
        a detector alone min(15 %, 750) of it (of a short one half, up to 30); 15 % of a table.
    detector
        One detector instead of the recipe's mix.
    recipe
        None: the product's default for this kind of data.
    model
        Learnt from these rows before (`train`); None: learnt now.
    alerts
        Settings of the life of alerts, over what the recipe says; as in tidewatch.toml.
    calendar
        Whose day, week and holidays the series keep.

    Raises
    ------
    DetectorError
        Too few rows to learn from; no such detector; `train_rows` is no number of rows.
    DataError
        The data set has no rows, or a metric's column is a category.
    ModelError
        `model` was learnt from another kind of data, or other columns.
    SettingsError
        The recipe's settings are none of a stream.
    """
    data = as_dataset(data)
    ready = made_ready(
        data,
        train_rows=train_rows,
        recipe=recipe_of_kind(data, recipe, detector),
        model=model,
        alerts=alerts,
        calendar=calendar,
        seed=seed,
        on_progress=on_progress,
    )
    observations = recorded(ready.data, ready.model)
    verdicts = run(offline_stream(ready.model, ready.settings), observations, on_scored)
    some_scored(ready.data, observations, verdicts, ready.model)
    notes = (*ready.notes, *unscored(observations, verdicts, ready.model), *not_scored(verdicts.counts))
    return per_row(ready.data, observations, verdicts, ready.model, notes)
