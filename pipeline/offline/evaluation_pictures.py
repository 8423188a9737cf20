"""Pictures of an evaluation: every series with its score and labelled windows; ranking curves of a table."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import matplotlib as mpl
import numpy as np
from matplotlib.figure import Figure
from numpy.typing import NDArray
from sklearn.metrics import precision_recall_curve, roc_curve

from detectors.calibration import MAX_CALIBRATED
from pipeline.offline.evaluation import SeriesResult

mpl.use("Agg")

COLUMNS = 3


def draw_series(results: Sequence[SeriesResult], path: Path) -> None:
    """A panel per series: values, calibrated score below, labelled windows shaded, anomalous rows marked."""
    lines = -(-len(results) // COLUMNS)
    figure = Figure(figsize=(16, 1.9 * lines + 0.6), layout="constrained")
    panels = figure.subplots(lines, COLUMNS, squeeze=False).ravel()
    for panel, result in zip(panels, results, strict=False):
        rows = np.arange(len(result.values))
        values = result.values[:, 0]
        low, high = float(np.nanmin(values)), float(np.nanmax(values))
        span = high - low or 1.0
        panel.plot(rows, (values - low) / span * MAX_CALIBRATED, color="#9aa7b1", linewidth=0.4)
        panel.plot(rows, result.rows.calibrated_score, color="#1f2933", linewidth=0.6)
        marked = rows[result.rows.anomalous]
        panel.plot(marked, np.full(len(marked), MAX_CALIBRATED), "v", color="#c8102e", markersize=4)
        for window in () if result.labels is None else result.labels.windows:
            inside = rows[(result.rows.timestamps >= window.first) & (result.rows.timestamps <= window.last)]
            if len(inside):
                panel.axvspan(inside[0], inside[-1], color="#f5d76e", alpha=0.5, linewidth=0)
        panel.set_title(result.name, fontsize=7, loc="left")
        panel.set_ylim(-0.3, MAX_CALIBRATED + 0.6)
        panel.tick_params(labelsize=6)
    for panel in panels[len(results) :]:
        panel.set_visible(False)
    figure.suptitle(
        "calibrated score (dark) over the value (grey); labelled windows yellow, anomalous rows red", fontsize=10
    )
    figure.savefig(path, dpi=90)


def draw_ranking(y: NDArray[np.int8], score: NDArray[np.float64], path: Path) -> None:
    """Precision over recall, and true over false positive rate."""
    figure = Figure(figsize=(10, 4.5), layout="constrained")
    left, right = figure.subplots(1, 2)
    precision, recall, _ = precision_recall_curve(y, score)
    left.step(recall, precision, where="post", color="#1f2933")
    left.axhline(float(y.mean()), color="#9aa7b1", linestyle="--", linewidth=0.8)
    left.set(xlabel="recall", ylabel="precision", title="precision and recall (dashed: prevalence)", ylim=(0, 1.02))
    false, true, _ = roc_curve(y, score)
    right.plot(false, true, color="#1f2933")
    right.plot([0, 1], [0, 1], color="#9aa7b1", linestyle="--", linewidth=0.8)
    right.set(xlabel="false positive rate", ylabel="true positive rate", title="ROC")
    figure.savefig(path, dpi=110)
