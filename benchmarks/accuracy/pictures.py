"""Pictures of docs/results.md: precision over recall where a ranking is judged, and NAB's scores side by side."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.accuracy.cache import Outcomes
from benchmarks.accuracy.words import by, mean, ranked

CURVES = {"kdd-http": "corrected", "creditcard": "in order"}
TITLES = {
    "kdd-http": "KDD http: 10 % file trains, corrected tests",
    "creditcard": "Credit card: first half trains, second tests",
}
COLOURS = {"network": "#1f6fb4", "classical": "#c2571a", "yardstick": "#8a8a8a"}
STYLES = ("-", "--", ":")
OF_EACH = {"network": 3, "classical": 2, "yardstick": 1}


@dataclass(frozen=True)
class Picture:
    """A file, and what it shows in a sentence."""

    path: Path
    text: str


def draw(outcomes: Mapping[str, Outcomes], folder: Path) -> dict[str, Picture]:
    """Draw what there are outcomes for; by the name of the place that each goes to."""
    import matplotlib as mpl

    mpl.use("Agg")
    drawn: dict[str, Picture] = {}
    for experiment, protocol in CURVES.items():
        found = [o for o in outcomes.get(experiment, []) if o["protocol"] == protocol and o["curve"]]
        if found:
            path = folder / f"results-{experiment}.png"
            _curves(found, TITLES[experiment], path)
            drawn[f"{experiment} {protocol}"] = Picture(path, f"Precision over recall. {TITLES[experiment]}, one seed")
    if outcomes.get("nab"):
        path = folder / "results-nab.png"
        _bars(outcomes["nab"], path)
        drawn["nab"] = Picture(path, "NAB's standard score of each detector")
    return drawn


def _curves(found: Outcomes, title: str, path: Path) -> None:
    """The best of each group."""
    figure, axes = _figure(6.4, 3.6)
    for group, count in OF_EACH.items():
        for (name, rows), style in zip(ranked(found, group)[:count], STYLES, strict=False):
            recall, precision = np.array(rows[0]["curve"]).T
            label = f"{name} ({mean(rows, 'average_precision'):.3f})"
            axes.plot(recall, precision, style, color=COLOURS[group], linewidth=1.6, label=label)
    axes.axhline(found[0]["prevalence"], color="#bbbbbb", linewidth=0.8, zorder=0)
    axes.annotate("a random ranking", (0.02, found[0]["prevalence"]), xytext=(0, 3), textcoords="offset points",
                  fontsize=7, color="#777777")  # fmt: skip
    axes.set(xlim=(0, 1), ylim=(0, 1.02), xlabel="recall", ylabel="precision", title=title)
    axes.legend(fontsize=7, loc="center left", bbox_to_anchor=(1.01, 0.5), frameon=False, title="(average precision)",
                title_fontsize=7)  # fmt: skip
    _save(figure, path)


def _bars(found: Outcomes, path: Path) -> None:
    groups = sorted(by(found, "contender").items(), key=lambda item: mean(item[1], "standard"))
    figure, axes = _figure(6.4, 0.9 + 0.2 * len(groups))
    for y, (_, rows) in enumerate(groups):
        values = [o["standard"] for o in rows]
        axes.barh(y, np.mean(values), color=COLOURS[rows[0]["group"]], height=0.7)
        if len(values) > 1:
            axes.plot([min(values), max(values)], [y, y], color="black", linewidth=1.2)
    axes.set_yticks(range(len(groups)), [name for name, _ in groups], fontsize=7)
    axes.set(xlabel="NAB, standard profile (line: lowest to highest seed)", xlim=(0, None))
    for group, colour in COLOURS.items():
        axes.barh(0, 0, color=colour, label=group)
    axes.legend(fontsize=7, frameon=False, loc="lower right")
    _save(figure, path)


def _figure(width: float, height: float) -> tuple[Any, Any]:
    from matplotlib import pyplot as plt

    figure, axes = plt.subplots(figsize=(width, height), layout="constrained")
    axes.spines[["top", "right"]].set_visible(False)
    axes.tick_params(labelsize=7)
    axes.title.set_fontsize(9)
    axes.xaxis.label.set_fontsize(8)
    axes.yaxis.label.set_fontsize(8)
    return figure, axes


def _save(figure: Any, path: Path) -> None:
    from matplotlib import pyplot as plt

    figure.savefig(path, dpi=110, metadata={"Software": None})
    plt.close(figure)
