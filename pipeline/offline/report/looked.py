"""The report of `tidewatch look`: each series as it is, with what was found in it, to zoom into."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from pipeline.offline.looking.series import SeriesLook
from pipeline.offline.looking.words import lines
from pipeline.offline.report.page import Chart, Line, Report, Section, Tile, identifiers, write
from pipeline.offline.thinning import thinned
from producers.datasets import Dataset

MOST_SERIES, MOST_CHANNELS = 30, 6
POINTS = 240_000
"""Of all lines together; a line gets its part of it, 400 to 20,000."""


def write_look(data: Dataset, looks: Sequence[SeriesLook], notes: Sequence[str], path: Path) -> None:
    """Write the page."""
    shown = looks[:MOST_SERIES]
    ids = identifiers([look.name for look in shown])
    most = int(np.clip(POINTS // max(len(shown) * min(len(data.channels), MOST_CHANNELS), 1), 400, 20_000))
    left = len(looks) - len(shown)
    write(
        Report(
            title=f"Tidewatch: a look at {data.name}",
            lines=(*(data.reading or (data.source,)), *(f"note: {note}" for note in notes)),
            tiles=(
                Tile("series", f"{len(looks):,}"),
                Tile("rows", f"{len(data):,}"),
                Tile("columns", f"{len(data.channels):,}"),
            ),
            sections=tuple(_section(data, look, ids[look.name], most) for look in shown),
            reading=(
                "Drag over a picture to zoom in, turn the wheel with Ctrl to zoom around the pointer, double click for all of it. Labelled stretches are yellow.",
                *((f"{left:,} more series are not drawn.",) if left else ()),
            ),
            banner=f"Synthetic data: {data.source}" if data.synthetic else "",
        ),
        path,
    )


def _section(data: Dataset, look: SeriesLook, key: str, most: int) -> Section:
    series = data.all_series[look.name]
    metric = data.kind == "metric"
    order = np.argsort(series.timestamps, kind="stable") if metric else np.arange(len(series))
    numbers = [c for c in range(len(data.channels)) if series.columns[c].dtype != object][:MOST_CHANNELS]
    labels = data.all_labels.get(look.name)
    shades: tuple[tuple[float, float, str], ...] = ()
    if labels is not None and metric:
        shades = tuple((w.first / 1000, w.last / 1000, "label") for w in labels.windows)
    charts = []
    for colour, c in enumerate(numbers):
        y = series.columns[c][order].astype(np.float64)
        kept = thinned(y, most)
        x = (series.timestamps[order] / 1000 if metric else order.astype(np.float64))[kept]
        charts.append(Chart(x, metric, (Line(data.channels[c], y[kept], "value", colour),), shades))
    return Section(key, look.name, tuple(lines([look], 1)), tuple(charts))
