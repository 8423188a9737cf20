"""The report of `tidewatch score`: alerts as a table, and each series with what was expected, its score and its alerts, to zoom into."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pipeline.offline.alert_list import AlertRow
from pipeline.offline.report.page import Chart, Line, Report, Row, Section, Table, Tile, identifiers, write
from pipeline.offline.scoring.rows import ScoredRows
from pipeline.offline.thinning import thinned
from producers.datasets import Dataset, Series

MOST_SERIES, MOST_CHANNELS, MOST_ALERTS = 30, 6, 1_000
POINTS = 240_000
"""Of all lines together; a series gets its part of it, 2,000 to 24,000."""
_CALIBRATED = (
    "The score is calibrated: -log10 of how rare it is in the series' own past, 0 to 12; 3 is one in a thousand. "
)
_RANKS = "The score ranks: how far out a row is, on a scale that does not move. Which rows are anomalous the alarm decides, by the false-alarm budget. "
_READING = (
    (
        "Dots are anomalous rows, the red stretches alerts, dashed lines what was expected, and between the pale lines lies what is let pass. Nothing is drawn in the "
        "first rows, which were learnt from."
    ),
    (
        "Drag over a picture to zoom in, turn the wheel with Ctrl to zoom around the pointer, double click for all of it; a click on an alert goes to it. Of long "
        "series the highest and lowest of neighbouring rows are drawn, so that no spike is lost."
    ),
)


def write_report(data: Dataset, scored: ScoredRows, alerts: Sequence[AlertRow], path: Path) -> None:
    """Write the page; series with alerts come first."""
    names = list(data.all_series)
    first = list(dict.fromkeys([a.series for a in alerts] + names))[:MOST_SERIES]
    ids = identifiers(first)
    most = int(np.clip(POINTS // max(len(first) * min(len(data.channels) + 2, 8), 1), 2_000, 24_000))
    left = len(names) - len(first)
    write(
        Report(
            title=f"Tidewatch: {data.name}",
            lines=(
                *(data.reading or (data.source,)),
                f"judged by {scored.model.detector_name}",
                *(f"note: {n}" for n in scored.notes),
            ),
            tiles=(
                Tile("alerts", f"{len(alerts):,}"),
                Tile("anomalous rows", f"{int(scored.anomalous.sum()):,}"),
                Tile("rows", f"{len(data):,}"),
                Tile("series", f"{len(names):,}"),
            ),
            tables=(_table(data, alerts, ids),),
            sections=tuple(_section(data, scored, alerts, name, ids[name], most) for name in first),
            reading=(
                _CALIBRATED if scored.alarm is None else _RANKS,
                *_READING,
                *((f"{left:,} more series are not drawn.",) if left else ()),
            ),
            banner=f"Synthetic data: {data.source}" if data.synthetic else "",
        ),
        path,
    )


def _table(data: Dataset, alerts: Sequence[AlertRow], ids: dict[str, str]) -> Table:
    metric = data.kind == "metric"
    columns = (
        ("from", "to", "series", "severity", "score", "why")
        if metric
        else ("row", "to", "series", "severity", "score", "why")
    )
    rows = []
    for a in alerts[:MOST_ALERTS]:
        begin, end = (_shown(a.starts_at), _shown(a.ends_at)) if metric else (f"{a.first_row:,}", f"{a.last_row:,}")
        zoom = None
        if a.series in ids:
            low, high = (
                (_seconds(a.starts_at), _seconds(a.ends_at)) if metric else (a.first_row - 1.0, a.last_row - 1.0)
            )
            around = max(3 * (high - low), _width(data, data.all_series[a.series]))
            zoom = (ids[a.series], low - around, high + around)
        rows.append(Row((begin, end, a.series, a.severity, f"{a.score:.1f}", a.why), zoom, {3: a.severity}))
    left = len(alerts) - len(rows)
    return Table("Alerts", columns, tuple(rows), f"{left:,} more are in the list of --alerts." if left else "")


def _width(data: Dataset, series: Series) -> float:
    """Around an alert: a hundred rows."""
    return 100.0 * (max(series.interval_ms, 1) / 1000 if data.kind == "metric" else 1.0)


def _section(data: Dataset, scored: ScoredRows, alerts: Sequence[AlertRow], name: str, key: str, most: int) -> Section:
    series = data.all_series[name]
    metric = data.kind == "metric"
    times = series.timestamps
    if metric and not (times[1:] >= times[:-1]).all():
        series = series.take(np.argsort(times, kind="stable"))
    whole = len(series) == len(scored.timestamps) and bool((series.positions[1:] > series.positions[:-1]).all())
    rows = slice(None) if whole else series.positions
    numbers = [c for c in range(len(data.channels)) if series.columns[c].dtype != object][:MOST_CHANNELS]
    score = scored.ranking[rows]
    kept = drawn([*(series.columns[c] for c in numbers), score], most)
    shown = kept if whole else series.positions[kept]
    x = series.timestamps[kept] / 1000 if metric else series.positions[kept].astype(np.float64)
    lines: list[Line] = []
    for colour, c in enumerate(numbers):
        lines.append(Line(data.channels[c], series.columns[c][kept].astype(np.float64), "value", colour))
        if scored.expected is not None and np.isfinite(scored.expected[rows, c]).any():
            lines.append(Line(f"{data.channels[c]}, expected", scored.expected[shown, c], "expected", colour))
        if scored.lower is not None and scored.upper is not None and np.isfinite(scored.lower[rows, c]).any():
            low, high = within(scored.lower[shown, c], scored.upper[shown, c], series.columns[c])
            lines += [Line("let pass from", low, "low", colour), Line("to", high, "high", colour)]
    own = [a for a in alerts if a.series == name]
    shades: tuple[tuple[float, float, str], ...] = tuple(
        (_seconds(a.starts_at), _seconds(a.ends_at), "alert")
        if metric
        else (a.first_row - 1.0, a.last_row - 1.0, "alert")
        for a in own
    )
    labels = data.all_labels.get(name)
    if labels is not None and metric:
        shades += tuple((w.first / 1000, w.last / 1000, "label") for w in labels.windows)
    marks = np.where(scored.anomalous[shown], score[kept], np.nan)
    below = (Line("score", score[kept], "score"), Line("anomalous", marks, "marks"))
    charts = [Chart(x, metric, tuple(lines), shades)] if lines else []
    charts.append(Chart(x, metric, below, shades, "scores"))
    left = len(data.channels) - len(numbers)
    told = (f"{len(own):,} alerts, {len(series):,} rows" + (f"; {left:,} columns are not drawn" if left else ""),)
    return Section(key, name, told, tuple(charts))


def within(
    low: NDArray[np.float64], high: NDArray[np.float64], observed: NDArray[Any]
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """A band, not further than what was observed reaches and a sixth more: a wild forecast must not squeeze the picture."""
    seen = observed.astype(np.float64)
    seen = seen[np.isfinite(seen)]
    if not len(seen):
        return low, high
    room = 0.15 * (seen.max() - seen.min())
    return np.clip(low, seen.min() - room, seen.max() + room), np.clip(high, seen.min() - room, seen.max() + room)


def drawn(columns: Sequence[NDArray[np.float64]], most: int) -> NDArray[np.intp]:
    """Rows to draw: extremes of every line."""
    n = len(columns[0]) if columns else 0
    if n <= most:
        return np.arange(n)
    each = max(most // len(columns), 400)
    return np.unique(np.concatenate([thinned(np.asarray(c, np.float64), each) for c in columns]))


def _seconds(text: str) -> float:
    return float(np.datetime64(text.removesuffix("Z"), "ms").astype(np.int64)) / 1000


def _shown(text: str) -> str:
    return text.removesuffix("Z").removesuffix(".000").removesuffix(":00").replace("T", " ")
