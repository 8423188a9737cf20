"""What was to be reached: the textbook's figures with what is known of them, and marks that are met or not."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from benchmarks.accuracy.cache import Outcomes
from benchmarks.accuracy.words import by, markdown, mean, spread

NAMES = {"roc_auc": "ROC-AUC", "average_precision": "AP", "by_hand": "by hand", "rmse": "RMSE", "standard": "standard"}


@dataclass(frozen=True)
class Claim:
    """A figure of the textbook, what is known of it, and the contender that answers it."""

    experiment: str
    title: str
    figure: str
    known: str
    contender: str
    by_hand: bool = False
    """Whether the figure is of labels at a threshold by hand."""
    honest: str = ""
    """The honest protocol that stands in the summary; by default the first one."""


CLAIMS = (
    Claim("kdd-http", "KDD http, Isolation Forest", "99.81 % “AUC”",
          "label left in as a feature, threshold by eye, arguments of `roc_auc_score` swapped: (precision + NPV) / 2",
          "isolation forest", honest="corrected"),
    Claim("kdd-http", "KDD http, One-Class SVM", "95.83 %", "thresholded, arguments swapped, label an input",
          "one-class SVM", honest="corrected"),
    Claim("kdd-http", "KDD http, RBM free energy", "99.46 % ROC-AUC", "sound, but the scaler saw the test rows",
          "RBM", honest="corrected"),
    Claim("creditcard", "Credit card, RBM", "95.84 % ROC-AUC", "sound", "RBM, 128 hidden units"),
    Claim("creditcard", "Credit card, autoencoder", "0.865 to 0.935 thresholded",
          "threshold by hand on an unseeded sample; compared with the best threshold by hand here",
          "autoencoder, simple (n-12-n)", by_hand=True),
    Claim("creditcard", "Credit card, VAE", "0.865 to 0.935 thresholded", "as the autoencoder", "VAE", by_hand=True),
    Claim("creditcard", "Credit card, dilated TCN (supervised)", "97.4 %",
          "label among the inputs, arguments swapped; about 0.90 in truth", "TCN classifier", by_hand=True),
    Claim("creditcard", "Credit card, ED-TCN (supervised)", "98.6 %",
          "label among the inputs, arguments swapped; about 0.90 in truth", "ED-TCN classifier", by_hand=True),
)  # fmt: skip


@dataclass(frozen=True)
class Mark:
    """Figures that one contender must reach together, each the mean over seeds.

    `contenders`: who may; empty: any network that is told no labels, and then the one with the best first figure
    stands for them.
    """

    text: str
    experiment: str
    protocol: str
    contenders: tuple[str, ...]
    needs: Mapping[str, float]
    at_most: bool = False


MARKS = (
    Mark("the textbook's sound figure, same protocol: KDD http, RBM", "kdd-http", "random",
         ("RBM", "RBM, unit variance", "RBM, clipped"), {"roc_auc": 0.9946}),
    Mark("the textbook's sound figure, same protocol: credit card, RBM", "creditcard", "random",
         ("RBM", "RBM, unit variance", "RBM, clipped", "RBM, 128 hidden units"), {"roc_auc": 0.9584}),
    Mark("credit card, supervised TCN: what the textbook's would be in truth", "creditcard", "random",
         ("TCN classifier",), {"by_hand": 0.90}),
    Mark("credit card, supervised ED-TCN: the same", "creditcard", "random", ("ED-TCN classifier",), {"by_hand": 0.90}),
    Mark("honest reference, `corrected`: Isolation Forest", "kdd-http", "corrected",
         ("isolation forest", "isolation forest, raw columns"), {"average_precision": 0.936}),
    Mark("honest reference, `corrected`: One-Class SVM, standardised", "kdd-http", "corrected",
         ("one-class SVM", "one-class SVM, unit variance"), {"average_precision": 0.984}),
    Mark("a network at the Isolation Forest's reference", "kdd-http", "corrected", (), {"average_precision": 0.936}),
    Mark("a network at the One-Class SVM's reference", "kdd-http", "corrected", (), {"average_precision": 0.984}),
    Mark("the same, trained on the first 30 % of the 10 % file", "kdd-http", "corrected, first 30 %", (),
         {"average_precision": 0.984}),
    Mark("honest reference, credit-card sample: PCA on normal rows", "creditcard", "in order", ("PCA",),
         {"average_precision": 0.711, "roc_auc": 0.944}),
    Mark("a network at PCA's reference", "creditcard", "in order", (), {"average_precision": 0.711, "roc_auc": 0.944}),
    Mark("the textbook's figure, same protocol: taxi, LSTM", "taxi", "textbook", ("LSTM",), {"rmse": 0.040},
         at_most=True),
    Mark("NAB, the product's networks for metrics", "nab", "", ("the product's networks",), {"standard": 62.0}),
    Mark("NAB, the product's default for metrics", "nab", "", ("the product's default",), {"standard": 67.0}),
)  # fmt: skip


def table(outcomes: Mapping[str, Outcomes]) -> str:
    """All marks of the experiments that were run, met or not."""
    rows = [row for mark in MARKS if (row := _row(mark, outcomes.get(mark.experiment, [])))]
    met = sum(row[-1] == "met" for row in rows)
    text = (
        f"{met} of {len(rows)} are met. A figure is a mean over seeds. Where “a network” is asked for, the best of those "
        "that are told no labels stands for them, picked by the figure in question, which flatters it a little."
    )
    return f"## Marks\n\n{text}\n\n" + markdown(["mark", "needed", "ours", "by", ""], rows)


def _row(mark: Mark, found: Outcomes) -> list[str] | None:
    rows = [o for o in found if (not mark.protocol or o["protocol"] == mark.protocol) and _may(mark, o)]
    if not rows:
        return None
    first = next(iter(mark.needs))
    best = (min if mark.at_most else max)(by(rows, "contender").items(), key=lambda item: mean(item[1], first))
    name, its = best
    short = {metric: (mean(its, metric) - need) * (1 if mark.at_most else -1) for metric, need in mark.needs.items()}
    sign = "≤" if mark.at_most else "≥"
    return [
        mark.text,
        ", ".join(f"{NAMES[metric]} {sign} {need:g}" for metric, need in mark.needs.items()),
        ", ".join(f"{spread(its, metric, 1 if need > 1 else 4)}" for metric, need in mark.needs.items()),
        f"{name} ({len(its)} seeds)" if len(its) > 1 else name,
        _judged(short, its),
    ]


def _judged(short: Mapping[str, float], its: Outcomes) -> str:
    """Met or not; `short` is by how much each figure misses what is needed."""
    missed = {metric: by_how_much for metric, by_how_much in short.items() if by_how_much > 0}
    if not missed:
        return "met"
    near = len(its) > 1 and all(m <= float(np.std([o[metric] for o in its])) for metric, m in missed.items())
    return "**not met**, by less than the spread" if near else "**not met**"


def _may(mark: Mark, o: dict[str, object]) -> bool:
    if mark.contenders:
        return o["contender"] in mark.contenders
    return o["group"] == "network" and o.get("fits_on") != "labels"
