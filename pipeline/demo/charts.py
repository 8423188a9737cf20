"""What the demo's report draws of a stream: each series with its band, score, labelled windows and alerts, to zoom into."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from pipeline.demo.judge import Span
from pipeline.demo.results import StreamResult
from pipeline.offline.report.page import Chart, Line
from pipeline.offline.report.scored import drawn, within

POINTS = 240_000
"""Of all lines of a stream together; a series gets its part of it."""
_KINDS = 8
_PAUSE = 20
"""Usual steps after which no line is drawn across."""


def of_metric(result: StreamResult, name: str) -> tuple[Chart, Chart]:
    """A series: above it the values, those that were learnt from in a quiet colour, below the score with a dot where it alarmed."""
    scores, series = result.scores[name], result.data.all_series[name]
    until = result.trained_until(name)
    learnt = (series.timestamps <= until) & ~np.isin(series.timestamps, scores.timestamps)
    times = np.concatenate([series.timestamps[learnt], scores.timestamps])
    order = np.argsort(times, kind="stable")

    def whole(of_learnt: NDArray[np.float64] | None, of_scores: NDArray[np.float64]) -> NDArray[np.float64]:
        before = np.full(int(learnt.sum()), np.nan) if of_learnt is None else of_learnt
        values = np.concatenate([before, of_scores])[order]
        return np.where(_behind_a_pause(times[order]), np.nan, values)

    observed = whole(None, np.where(scores.live, scores.observed, np.nan))
    before = whole(
        series.values[learnt, 0].astype(np.float64),
        np.where((scores.timestamps <= until) & ~scores.live, scores.observed, np.nan),
    )
    score = whole(None, np.where(scores.live, scores.score, np.nan))
    most = int(np.clip(POINTS // max(3 * len(result.scores), 1), 1_500, 12_000))
    kept = drawn([observed, before, score], most)
    low, high = within(scores.lower, scores.upper, scores.observed)
    x = times[order][kept] / 1000
    shades = _shades(result, name, until, times)
    values = [
        Line("let pass from", whole(None, low)[kept], "low"),
        Line("to", whole(None, high)[kept], "high"),
        Line("expected", whole(None, scores.expected)[kept], "expected"),
        Line("observed", observed[kept], "value"),
        Line("learnt from", before[kept], "quiet"),
    ]
    alarms = whole(None, np.where(scores.anomalous, scores.score, np.nan))[kept]
    below = [Line("score", score[kept], "score"), Line("alarm", alarms, "marks")]
    if np.isfinite(scores.threshold).any():
        below.append(Line("level", whole(None, scores.threshold)[kept], "level"))
    lines = tuple(line for line in values if np.isfinite(line.y).any())
    return Chart(x, True, lines, shades), Chart(x, True, tuple(below), shades, "scores")


def of_table(result: StreamResult, name: str) -> Chart:
    """Rows: the score of each, attacks as dots in their colours."""
    scores, series, known = result.scores[name], result.data.all_series[name], result.data.labels()[name]
    at = np.searchsorted(series.timestamps, scores.timestamps)
    truth = known.anomalous[at]
    kinds = known.categories[at].astype(str) if known.categories is not None else np.full(len(at), "attack")
    names, counts = np.unique(kinds[truth], return_counts=True)
    common = names[np.argsort(-counts)][:_KINDS].tolist()
    kept = drawn([scores.score, np.where(truth, scores.score, np.nan)], POINTS // 8)
    lines = [Line("score", scores.score[kept], "score")]
    for colour, kind in enumerate(common):
        rows = truth & (kinds == kind)
        marked = np.where(rows, scores.score, np.nan)[kept]
        lines.append(Line(f"{kind} ({int(rows.sum()):,})", marked, "marks", colour))
    if np.isfinite(scores.threshold).any():
        lines.append(Line("level", scores.threshold[kept], "level"))
    false = {s.alert.id for s in result.verdict.false}
    shades = [(0.0, float(result.training_rows.get(name, 0)), "learnt")]
    for span in result.verdict.spans:
        first, last = np.searchsorted(series.timestamps, [span.first, span.last])
        shades.append((float(first), float(last), "false" if span.alert.id in false else "alert"))
    return Chart(at[kept].astype(np.float64), False, tuple(lines), tuple(shades))


def around(result: StreamResult, span: Span) -> tuple[float, float]:
    """From where to where a click on an alert zooms, in the unit of its chart."""
    series = result.data.all_series[span.alert.series]
    if result.data.kind == "table":
        first, last = np.searchsorted(series.timestamps, [span.first, span.last]).tolist()
        room = max(3 * (last - first), 300)
        return float(first - room), float(last + room)
    room = max(3 * (span.last - span.first), 100 * max(series.interval_ms, 1))
    return (span.first - room) / 1000, (span.last + room) / 1000


def _shades(
    result: StreamResult, name: str, until: int, times: NDArray[np.int64]
) -> tuple[tuple[float, float, str], ...]:
    false = {s.alert.id for s in result.verdict.false}
    shades = [
        (f.window.first / 1000, f.window.last / 1000, "label") for f in result.verdict.findings if f.series == name
    ]
    own = [s for s in result.verdict.spans if s.alert.series == name]
    shades += [(s.first / 1000, s.last / 1000, "false" if s.alert.id in false else "alert") for s in own]
    if until >= 0 and len(times):
        shades.append((float(times.min()) / 1000, until / 1000, "learnt"))
    return tuple(shades)


def _behind_a_pause(times: NDArray[np.int64]) -> NDArray[np.bool_]:
    steps = np.diff(times)
    usual = np.median(steps) if len(steps) else 0
    return np.concatenate([[False], steps > _PAUSE * usual])[: len(times)]


def series_of(result: StreamResult) -> Sequence[str]:
    """Names of the series that were scored, those with alerts first."""
    alerted = [s.alert.series for s in result.verdict.spans if s.alert.series in result.scores]
    return list(dict.fromkeys([*sorted(set(alerted)), *sorted(result.scores)]))
