"""A picture of a data set as it is: a panel for each series, its channels, gaps left open, labelled stretches shaded."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import matplotlib as mpl
import numpy as np
from matplotlib.figure import Figure
from numpy.typing import NDArray

from pipeline.offline.looking.seasons import steady_step
from pipeline.offline.looking.series import SeriesLook
from pipeline.offline.looking.spans import span
from pipeline.offline.thinning import thinned
from producers.datasets import Dataset, Series

mpl.use("Agg")

MOST_PANELS, MOST_CHANNELS = 12, 6
POINTS = 4_000
"""Of a line; the highest and lowest of what lies between are kept."""


def draw(data: Dataset, looks: Sequence[SeriesLook], path: Path) -> None:
    """Draw the first series of those looked at; the file's name says which format."""
    shown = looks[:MOST_PANELS]
    figure = Figure(figsize=(12, 2.6 * len(shown) + 0.4), layout="constrained")
    for panel, look in zip(figure.subplots(len(shown), 1, squeeze=False).ravel(), shown, strict=True):
        series = data.all_series[look.name]
        for c in [c for c, column in enumerate(series.columns) if column.dtype != object][:MOST_CHANNELS]:
            x, y = _line(data, series, c, look)
            panel.plot(x, y, linewidth=0.7, label=data.channels[c])
        labels = data.all_labels.get(look.name)
        for window in () if labels is None else labels.windows:
            if data.kind == "metric":
                panel.axvspan(
                    np.datetime64(window.first, "ms"), np.datetime64(window.last, "ms"), color="#f5d76e", alpha=0.5
                )
        found = sorted({span(s.period) for n in look.numbers for s in n.seasons})
        told = f"; seasons: {', '.join(found)}" if found else ""
        panel.set_title(f"{look.name}{told}".replace("$", r"\$"), loc="left", fontsize=9)
        panel.tick_params(labelsize=7)
        if panel.get_legend_handles_labels()[0]:
            panel.legend(loc="upper left", fontsize=7)
    figure.savefig(path, dpi=110)


def _line(data: Dataset, series: Series, c: int, look: SeriesLook) -> tuple[NDArray[np.generic], NDArray[np.float64]]:
    """Points to draw; a gap is left open."""
    y = series.columns[c].astype(np.float64, copy=False)
    if data.kind == "table":
        kept = thinned(y, POINTS)
        return kept, y[kept]
    order = np.argsort(series.timestamps, kind="stable")
    times, y = series.timestamps[order], y[order]
    kept = thinned(y, POINTS)
    gap = np.zeros(len(kept), np.bool_)
    if look.steps is not None and look.steps.even >= 0.5:
        wide = np.r_[False, np.diff(times) > 4 * steady_step(look.steps.usual)]
        behind = np.cumsum(wide)[kept]
        gap[1:] = np.diff(behind) > 0
    x, line = times[kept].astype("datetime64[ms]"), y[kept]
    at = np.flatnonzero(gap)
    return np.insert(x, at, x[at]), np.insert(line, at, np.nan)
