"""A picture of one series of what `score_dataset` said: observed and expected above, calibrated score and alerts below."""

from __future__ import annotations

from itertools import pairwise
from typing import TYPE_CHECKING

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from numpy.typing import NDArray

from detectors.calibration import MAX_CALIBRATED
from pipeline.offline.scoring.rows import ScoredRows
from producers.datasets import Dataset, as_dataset
from producers.errors import DataError

if TYPE_CHECKING:
    import pandas as pd

MOST_CHANNELS = 6
"""That are drawn; more lines could not be told apart."""


def plot(data: Dataset | pd.DataFrame, scored: ScoredRows, series: str | None = None) -> Figure:
    """Draw one series of a data set with its scores; `figure.savefig(path)` writes it, a notebook shows it.

    Parameters
    ----------
    scored
        What `score_dataset(data)` gave.
    series
        Its name. None: the first with an alert, else the first.

    Returns
    -------
    Figure
        Above the observed values of its first six columns of numbers, and dashed what was expected of a metric, where a detector expects
        something, with the alarm's band where a judgement decides; below the score (without a judgement the calibrated one, 0..12). Alerts are shaded in both, anomalous rows are marked. The horizontal axis is event
        time (UTC), of a table the row in its source.

    Raises
    ------
    DataError
        No such series; the scores are of another data set.
    """
    data = as_dataset(data)
    name = _first(scored) if series is None else series
    if name not in data.all_series:
        some = ", ".join(list(data.all_series)[:3])
        msg = f"{data.name} has no series {name!r} to plot; there are {len(data.all_series)}: {some} ..."
        raise DataError(msg)
    part = data.all_series[name]
    rows = part.positions
    if not len(rows) or rows.max() >= len(scored.timestamps) or (scored.timestamps[rows] != part.timestamps).any():
        msg = f"the scores are not of series {name!r} of {data.name}; plot what score_dataset gave for this data set"
        raise DataError(msg)
    order = np.argsort(part.timestamps, kind="stable") if data.kind == "metric" else np.arange(len(rows))
    rows = rows[order]
    x = rows if data.kind == "table" else part.timestamps[order].astype("datetime64[ms]")
    figure = Figure(figsize=(11, 5), layout="constrained")
    above, below = figure.subplots(2, 1, sharex=True, height_ratios=(2, 1))
    numbers = [c for c in range(len(data.channels)) if part.columns[c].dtype != object][:MOST_CHANNELS]
    for c in numbers:
        (line,) = above.plot(x, part.columns[c][order], linewidth=0.8, label=data.channels[c])
        if scored.expected is not None:
            above.plot(x, scored.expected[rows, c], "--", linewidth=0.8, color=line.get_color(), alpha=0.6,
                       label=f"{data.channels[c]}, expected")  # fmt: skip
        if scored.lower is not None and scored.upper is not None:
            low, high = scored.lower[rows, c], scored.upper[rows, c]
            above.fill_between(x, low, high, color=line.get_color(), alpha=0.15, linewidth=0)
    if numbers:
        above.legend(loc="upper left", fontsize=8)
    judged = scored.alarm is not None
    score = scored.ranking[rows]
    below.plot(x, score, color="#1f2933", linewidth=0.8)
    marked = scored.anomalous[rows]
    below.plot(x[marked], score[marked], ".", color="#c8102e", label="anomalous")
    below.set(
        ylabel="score (dots: alarm)" if judged else "calibrated score",
        xlabel="row" if data.kind == "table" else "event time, UTC",
    )
    if not judged:
        below.set_ylim(-0.3, MAX_CALIBRATED + 0.6)
    _shade([above, below], x, np.asarray(scored.alert_ids, object)[rows])
    twin = " (synthetic)" if data.synthetic else ""
    above.set_title(f"{name}{twin}: alerts shaded".replace("$", r"\$"), loc="left", fontsize=10)
    return figure


def _first(scored: ScoredRows) -> str:
    """The series of the first row with an alert, else of the first row."""
    named = (s for s, alert in zip(scored.series, scored.alert_ids, strict=True) if alert)
    return next(named, next(filter(None, scored.series), ""))


def _shade(panels: list[Axes], x: NDArray[np.generic], ids: NDArray[np.object_]) -> None:
    """Shade the stretches of rows that lie in one alert."""
    borders = [0, *(np.flatnonzero(ids[1:] != ids[:-1]) + 1).tolist(), len(ids)]
    for first, end in pairwise(borders):
        if ids[first]:
            for panel in panels:
                panel.axvspan(x[first], x[end - 1], color="#c8102e", alpha=0.15)
