"""One picture per stream: series, expected band, score, threshold, labelled windows, alerts.

Colours mean the same in all of them: ink for what was observed, blue for what was expected, gold for what is labelled, red for an
alert that meets a label and violet for one that does not.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import matplotlib as mpl
import matplotlib.dates as mdates
import numpy as np
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.layout_engine import ConstrainedLayoutEngine
from matplotlib.lines import Line2D
from matplotlib.patches import Patch
from numpy.typing import NDArray

from pipeline.demo.judge import Span
from pipeline.demo.results import StreamResult
from pipeline.demo.scores import Scores
from producers.datasets import Window

if TYPE_CHECKING:
    from matplotlib.axes import Axes

INK, EXPECTED, LABELLED, FOUND, FALSE, QUIET = "#22303c", "#3a7ca5", "#f2b705", "#c8102e", "#7a3e9d", "#8a9aa8"
_STYLE = {
    "font.family": "DejaVu Sans",
    "font.size": 9,
    "axes.edgecolor": "#c5ced6",
    "axes.labelcolor": INK,
    "axes.titlesize": 10,
    "axes.titleweight": "bold",
    "axes.titlelocation": "left",
    "axes.titlecolor": INK,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "grid.color": "#e8edf1",
    "grid.linewidth": 0.6,
    "xtick.color": "#5b6b79",
    "ytick.color": "#5b6b79",
    "text.color": INK,
    "legend.frameon": False,
    "figure.facecolor": "white",
    "savefig.facecolor": "white",
}
_COLUMNS = 3
_CLOSE_MS = 10 * 86_400_000
_TOP = 12.5  # calibrated scores end at 12


def draw(result: StreamResult, path: Path) -> None:
    """Draw the stream's picture, whatever kind of stream it is."""
    with mpl.rc_context(_STYLE):  # type: ignore[arg-type]  # the stub asks for literal names
        if result.data.kind == "table":
            figure = _table(result)
        elif len(result.scores) == 1:
            figure = _one_series(result)
        else:
            figure = _many_series(result)
        FigureCanvasAgg(figure)
        figure.savefig(path, dpi=110)


def _one_series(result: StreamResult) -> Figure:
    """The whole series and its score, and each labelled window close up."""
    [(name, scores)] = result.scores.items()
    spans = [s for s in result.verdict.spans if s.alert.series == name]
    windows = [f.window for f in result.verdict.findings if f.series == name]
    zooms = windows[:5]
    figure = Figure(figsize=(14, 9.2 if zooms else 6.2), layout="constrained")
    rows = [2.6, 1.1, 2.2] if zooms else [2.6, 1.1]
    grid = figure.add_gridspec(len(rows), max(len(zooms), 1), height_ratios=rows)
    upper = figure.add_subplot(grid[0, :])
    _title(figure, result, f"{len(scores.timestamps):,} observations scored")
    _observed(upper, scores, width=0.6)
    _windows(upper, windows, names=True)
    _marks(upper, spans, scores, result)
    _training(upper, result, name)
    upper.set_title(name)
    _legend(figure, result)
    lower = figure.add_subplot(grid[1, :], sharex=upper)
    _score(lower, scores)
    _windows(lower, windows)
    _training(lower, result, name, values=False)
    _dates(lower)
    for k, window in enumerate(zooms):
        _zoom(figure.add_subplot(grid[2, k]), scores, window, spans, result)
    return figure


def _many_series(result: StreamResult) -> Figure:
    """A small panel per series, the score in a strip below each."""
    names = sorted(result.scores)
    rows = -(-len(names) // _COLUMNS)
    height = 2.05 * rows + 0.9
    figure = Figure(figsize=(15, height))
    _title(figure, result, f"{sum(len(s.timestamps) for s in result.scores.values()):,} observations scored")
    grid = figure.add_gridspec(
        rows, _COLUMNS, left=0.035, right=0.99, bottom=0.35 / height, top=1.0 - 0.95 / height, wspace=0.13, hspace=0.42
    )
    for k, name in enumerate(names):
        scores = result.scores[name]
        spans = [s for s in result.verdict.spans if s.alert.series == name]
        windows = [f.window for f in result.verdict.findings if f.series == name]
        panel = grid[k // _COLUMNS, k % _COLUMNS].subgridspec(2, 1, height_ratios=[3, 1], hspace=0.06)
        upper = figure.add_subplot(panel[0])
        _observed(upper, scores, width=0.5)
        _windows(upper, windows)
        _marks(upper, spans, scores, result, size=34)
        _training(upper, result, name)
        upper.set_title(name.rpartition("/")[2], fontsize=8.5, pad=3)
        upper.tick_params(labelbottom=False, labelsize=7, length=0)
        upper.yaxis.set_major_locator(mpl.ticker.MaxNLocator(4))
        upper.yaxis.set_major_formatter(mpl.ticker.EngFormatter(sep=""))
        lower = figure.add_subplot(panel[1], sharex=upper)
        _score(lower, scores, labels=False)
        _windows(lower, windows)
        _dates(lower)
        lower.tick_params(labelsize=7)
        lower.xaxis.get_offset_text().set_visible(False)
        lower.set_yticks([])
    _legend(figure, result)
    return figure


def _table(result: StreamResult) -> Figure:
    """The score of every row, attacks in their colours, and how many rows were anomalous and attacks along the way."""
    figure = Figure(figsize=(14, 8), layout="constrained")
    _title(figure, result, f"{result.observations:,} rows")
    upper, lower = figure.subplots(2, 1, sharex=True, height_ratios=[2.4, 1])
    [(name, scores)] = list(result.scores.items())[:1]
    series, known = result.data.all_series[name], result.data.labels()[name]
    at = np.searchsorted(series.timestamps, scores.timestamps)
    position = at.astype(np.float64)  # the row's number is its place
    kinds = known.categories[at] if known.categories is not None else np.full(len(at), "attack", object)
    truth = known.anomalous[at]
    upper.scatter(
        position[~truth],
        scores.score[~truth],
        s=3,
        color=QUIET,
        alpha=0.3,
        linewidths=0,
        label=f"normal ({int((~truth).sum()):,})",
    )
    ordered = [k for k, _ in sorted(_counts(kinds[truth]), key=lambda pair: -pair[1])]
    palette = ["#c8102e", "#e3720b", "#0a7e6e", "#2a5ca8", "#7a3e9d", "#8c6d1f", "#d1498b", "#4d4d4d"]
    for kind, colour in zip(ordered, palette, strict=False):
        rows = truth & (kinds == kind)
        label = f"{kind} ({int(rows.sum()):,})"
        upper.scatter(position[rows], scores.score[rows], s=9, color=colour, alpha=0.7, linewidths=0, label=label)
    top = _TOP
    if np.isfinite(scores.alarm).any():
        hits = scores.anomalous
        upper.vlines(position[hits], -0.3, 0.0, color=INK, linewidth=0.7, label="alarm")
        top = max(float(scores.score.max(initial=1.0)), 1.0)
    else:
        upper.plot(position, scores.threshold, color=INK, linewidth=0.9, linestyle="--", label="threshold")
    _alert_bars(upper, result, series.timestamps, 1.03 * top)
    upper.set_ylim(-0.3, 1.1 * top)
    upper.set_ylabel("score" if np.isfinite(scores.alarm).any() else "calibrated score")
    upper.set_title("every row, by its label")
    upper.legend(loc="upper left", bbox_to_anchor=(1.0, 1.0), markerscale=2.0, title="label (rows)")
    width = max(len(series) // 200, 1)
    edges = np.arange(0, len(series) + width, width)
    lower.stairs(np.histogram(position[truth], edges)[0], edges, fill=True, color=LABELLED, alpha=0.55, label="attacks")
    hits = np.histogram(position[scores.anomalous], edges)[0]
    lower.stairs(hits, edges, color=FOUND, linewidth=1.1, label="anomalous")
    lower.set_title(f"rows in steps of {width:,}")
    lower.set_xlabel("row, in the order of the file")
    lower.legend(loc="upper left", bbox_to_anchor=(1.0, 1.0))
    trained = result.training_rows.get(name, 0)
    for axes in (upper, lower):
        axes.axvspan(0, trained, color=EXPECTED, alpha=0.07, linewidth=0)
        axes.set_xlim(0, len(series))
        axes.xaxis.set_major_formatter(mpl.ticker.StrMethodFormatter("{x:,.0f}"))
    upper.text(trained / 2, 1.06 * top, "training part", ha="center", color=EXPECTED, fontsize=8)
    return figure


def _title(figure: Figure, result: StreamResult, what: str) -> None:
    """Two lines at the top; the legend stands to their right."""
    verdict = result.verdict
    twin = "   SYNTHETIC TWIN, not the real data" if result.data.synthetic else ""
    false = f"{len(verdict.false)} false alert{'' if len(verdict.false) == 1 else 's'}"
    episodes = "attack episodes" if result.data.kind == "table" else "labelled windows"
    height = figure.get_figheight()
    if isinstance(engine := figure.get_layout_engine(), ConstrainedLayoutEngine):
        engine.set(rect=(0.0, 0.0, 1.0, 1.0 - 0.62 / height))
    figure.text(0.008, 1.0 - 0.12 / height, result.stream.title + twin, va="top", fontsize=14, fontweight="bold")
    figure.text(
        0.008,
        1.0 - 0.42 / height,
        f"{verdict.found} of {len(verdict.judged)} {episodes} found, {false}; {what}",
        va="top",
        fontsize=9.5,
        color="#5b6b79",
    )


def _observed(axes: Axes, scores: Scores, *, width: float) -> None:
    times = _times(scores.timestamps)
    gaps = _gaps(scores.timestamps)
    if np.isfinite(scores.lower).any():
        lower, upper = _clipped(scores)
        axes.fill_between(
            times, _broken(lower, gaps), _broken(upper, gaps), color=EXPECTED, alpha=0.25, linewidth=0, zorder=1
        )
    axes.plot(
        times, _broken(np.where(scores.live, scores.observed, np.nan), gaps), color=INK, linewidth=width, zorder=3
    )
    axes.margins(x=0.005)


def _score(axes: Axes, scores: Scores, *, labels: bool = True) -> None:
    """The score as an area, and as bars where a row is anomalous: at the threshold, or by the alarm where there is one."""
    times, gaps = _times(scores.timestamps), _gaps(scores.timestamps)
    score = np.where(scores.live, scores.score, np.nan)
    axes.fill_between(times, 0, _broken(score, gaps), color=QUIET, alpha=0.55, linewidth=0)
    hits = scores.anomalous
    axes.vlines(times[hits], 0, scores.score[hits], color=FOUND, linewidth=0.7)
    by_alarm = np.isfinite(scores.alarm).any()
    if by_alarm:
        axes.set_ylim(0, 1.05 * max(float(np.nanmax(score, initial=1.0)), 1.0))
    else:
        axes.plot(times, scores.threshold, color=INK, linewidth=0.8, linestyle="--")
        axes.set_ylim(0, _TOP)
    if labels:
        axes.set_ylabel("score; red: alarm" if by_alarm else "calibrated score")
        if not by_alarm:
            axes.set_yticks([0, 4, 8, 12])


def _windows(axes: Axes, windows: Iterable[Window], *, names: bool = False) -> None:
    before = -math.inf
    for w in sorted(windows, key=lambda w: w.first):
        first, last = _times(np.array([w.first, w.last]))
        axes.axvspan(first, last, color=LABELLED, alpha=0.22, linewidth=0, zorder=0)
        if names and w.name:
            close = w.first - before < _CLOSE_MS  # two names side by side would run into each other
            axes.annotate(
                w.name,
                (first, 1.0) if close else (last, 1.0),
                xycoords=("data", "axes fraction"),
                xytext=(0, 2),
                textcoords="offset points",
                ha="left" if close else "right",
                va="bottom",
                fontsize=8,
                color="#9a7400",
            )
            before = w.last


def _marks(axes: Axes, spans: Iterable[Span], scores: Scores, result: StreamResult, size: float = 60) -> None:
    """A triangle where an alert began, and a bar along the foot for as long as it lasted."""
    false = {s.alert.id for s in result.verdict.false}
    for span in spans:
        colour = FALSE if span.alert.id in false else FOUND
        at = min(int(np.searchsorted(scores.timestamps, span.first)), len(scores.timestamps) - 1)
        first, last = _times(np.array([span.first, span.last]))
        axes.scatter(
            [first],
            [scores.observed[at]],
            s=size,
            linewidths=0.8,
            marker="v",
            color=colour,
            edgecolor="white",
            zorder=5,
        )
        axes.plot(
            [first, last],
            [0.012, 0.012],
            color=colour,
            linewidth=4,
            solid_capstyle="butt",
            transform=axes.get_xaxis_transform(),
            zorder=4,
        )


def _zoom(axes: Axes, scores: Scores, window: Window, spans: Iterable[Span], result: StreamResult) -> None:
    margin = (window.last - window.first) // 3
    inside = (scores.timestamps >= window.first - margin) & (scores.timestamps <= window.last + margin)
    part = Scores(*(getattr(scores, field)[inside] for field in Scores.__dataclass_fields__))
    if not len(part.timestamps):
        axes.set_axis_off()
        return
    _observed(axes, part, width=1.0)
    axes.plot(_times(part.timestamps), part.expected, color=EXPECTED, linewidth=0.8, zorder=2)
    _windows(axes, [window])
    met = [s for s in spans if s.first <= window.last + margin and s.last >= window.first - margin]
    _marks(axes, met, part, result)
    hits = part.anomalous
    axes.scatter(_times(part.timestamps[hits]), part.observed[hits], s=12, color=FOUND, zorder=4, linewidths=0)
    axes.set_title(window.name or str(_times(np.array([window.first]))[0])[:10], fontsize=9)
    axes.tick_params(labelsize=7)
    axes.xaxis.set_major_locator(mdates.DayLocator(interval=2))  # type: ignore[no-untyped-call]
    axes.xaxis.set_major_formatter(mdates.DateFormatter("%d %b"))  # type: ignore[no-untyped-call]
    axes.yaxis.set_major_formatter(mpl.ticker.EngFormatter(sep=""))


def _alert_bars(axes: Axes, result: StreamResult, timestamps: NDArray[np.int64], height: float) -> None:
    false = {s.alert.id for s in result.verdict.false}
    for span in result.verdict.spans:
        first, last = np.searchsorted(timestamps, [span.first, span.last])
        colour = FALSE if span.alert.id in false else FOUND
        axes.plot([first, max(last, first + len(timestamps) / 500)], [height] * 2, color=colour, linewidth=5)
    axes.plot([], [], color=FOUND, linewidth=5, label="alert")
    axes.plot([], [], color=FALSE, linewidth=5, label="false alert")


def _training(axes: Axes, result: StreamResult, name: str, *, values: bool = True) -> None:
    """Tint the training part, and draw its values in a quiet colour."""
    until = result.trained_until(name)
    if until < 0:
        return
    series = result.data.all_series[name]
    part = series.timestamps <= until
    times = _times(series.timestamps[part])
    axes.axvspan(times.min(), times.max(), color=EXPECTED, alpha=0.07, linewidth=0, zorder=0)
    if values:
        axes.plot(times, _broken(series.values[part, 0], _gaps(series.timestamps[part])), color=QUIET, linewidth=0.5)


def _legend(figure: Figure, result: StreamResult) -> None:
    handles: list[Any] = [
        Line2D([], [], color=INK, linewidth=1.2, label="observed"),
        Line2D([], [], color=QUIET, linewidth=1.2, label="training part"),
        Patch(color=EXPECTED, alpha=0.25, label="expected band"),
        Patch(color=LABELLED, alpha=0.3, label="labelled window"),
        Line2D([], [], marker="v", color=FOUND, linestyle="", markersize=8, label="alert"),
        Line2D([], [], marker="v", color=FALSE, linestyle="", markersize=8, label="false alert"),
    ]
    if any(np.isfinite(scores.threshold).any() for scores in result.scores.values()):
        handles.append(Line2D([], [], color=INK, linestyle="--", linewidth=0.9, label="threshold"))
    top = 1.0 - 0.1 / figure.get_figheight()
    figure.legend(handles=handles, loc="upper right", bbox_to_anchor=(0.995, top), ncols=4, columnspacing=1.6)


def _dates(axes: Axes) -> None:
    locator = mdates.AutoDateLocator(minticks=3, maxticks=8)  # type: ignore[no-untyped-call]
    axes.xaxis.set_major_locator(locator)
    axes.xaxis.set_major_formatter(mdates.ConciseDateFormatter(locator))  # type: ignore[no-untyped-call]


def _clipped(scores: Scores) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """The band, not further than the series reaches: a wild forecast must not squeeze the picture."""
    low, high = np.nanmin(scores.observed), np.nanmax(scores.observed)
    room = 0.15 * (high - low)
    return np.clip(scores.lower, low - room, high + room), np.clip(scores.upper, low - room, high + room)


def _gaps(timestamps: NDArray[np.int64]) -> NDArray[np.bool_]:
    """(n,) whether a long pause ends here: lines are not drawn across."""
    steps = np.diff(timestamps)
    usual = np.median(steps) if len(steps) else 0
    return np.concatenate([[False], steps > 20 * usual])


def _broken(values: NDArray[np.float64], gaps: NDArray[np.bool_]) -> NDArray[np.float64]:
    return np.where(gaps, np.nan, values)


def _times(ms: NDArray[np.int64]) -> NDArray[np.datetime64]:
    return ms.astype("datetime64[ms]")


def _counts(kinds: NDArray[Any]) -> list[tuple[str, int]]:
    names, counts = np.unique(kinds.astype(str), return_counts=True)
    return list(zip(names.tolist(), counts.tolist(), strict=True))
