"""The outcomes of `benchmarks.textbook.experiments` as a page."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from benchmarks.accuracy.cache import Collected, Outcomes
from benchmarks.accuracy.words import markdown
from benchmarks.textbook.experiments import HELD, TEST_IMAGES, TRAIN_IMAGES


def page(found: Mapping[str, Collected], machine: str) -> str:
    """The page from what was found; a section that was not run says so."""
    parts = [
        "<!-- written by benchmarks/textbook/run.py -->\n",
        "# The last of the textbook line\n",
        "Losses, scalings, clusters of a code, rare classes, drawn rows, images and the series of the chapter on LSTMs, in small: one seed a fit, few epochs. "
        "The large measurement of the textbook's experiments is [results](../results.md). Made on " + machine + ".\n",
    ]
    for section, (title, text, table) in SECTIONS.items():
        got = found.get(section)
        outcomes = got.outcomes if got else []
        parts.append(f"## {title}\n\n{text}\n\n{table(outcomes) if outcomes else 'Not run.'}\n")
        if got and got.missing:
            parts.append(f"{got.missing} of {got.parts} parts were not run.\n" if outcomes else "")
        if got and got.stale:
            parts.append("Part of it was made by an earlier state of the code.\n")
    return "\n".join(p for p in parts if p)


def _means(outcomes: Outcomes, names: Sequence[str], **where: Any) -> list[str]:
    chosen = [o for o in outcomes if all(o.get(k) == v for k, v in where.items())]
    return [f"{np.mean([o[n] for o in chosen]):.3f}" if chosen else "" for n in names]


def _prevalence(outcomes: Outcomes) -> str:
    """What a random score's average precision is, about."""
    shares = sorted({round(100 * o["prevalence"], 1) for o in outcomes})
    return f"\n\nAnomalies among what is judged: {', '.join(f'{s:g} %' for s in shares)}."


def _labels(outcomes: Outcomes) -> list[str]:
    return list(dict.fromkeys(o["contender"] for o in outcomes))


def _losses_table(outcomes: Outcomes) -> str:
    figures = ("roc_auc", "average_precision")
    rows = [
        [
            label,
            *(
                " / ".join(filter(None, _means(outcomes, figures, contender=label, scaling=s))) or ""
                for s in ("robust", "min-max")
            ),
        ]
        for label in _labels(outcomes)
    ]
    return markdown(["network", "columns by median and interquartile range", "columns by min-max"], rows) + _prevalence(
        outcomes
    )


def _rare_table(outcomes: Outcomes) -> str:
    figures = ("roc_auc", "average_precision", "precision", "recall")
    rows = [[label, *_means(outcomes, figures, contender=label)] for label in _labels(outcomes)]
    return markdown(
        ["training", "ROC-AUC", "average precision", "precision at even odds", "recall at even odds"], rows
    ) + _prevalence(outcomes)


def _drawn_table(outcomes: Outcomes) -> str:
    figures = ("gap", "correlation", "told_apart")
    rows = [[label, *_means(outcomes, figures, contender=label)] for label in _labels(outcomes)]
    return markdown(
        [
            "rows",
            "columns: mean KS distance",
            "rank correlations: mean difference",
            "forest that tells them apart: ROC-AUC",
        ],
        rows,
    )


def _images_table(outcomes: Outcomes) -> str:
    figures = ("roc_auc", "average_precision")
    rows = [
        [label, *(" / ".join(_means(outcomes, figures, contender=label, digit=d)) for d in HELD)]
        for label in _labels(outcomes)
    ]
    return markdown(["autoencoder, loss", *(f"digit {d} held out" for d in HELD)], rows) + _prevalence(outcomes)


def _series_table(outcomes: Outcomes) -> str:
    rows = [
        [o["series"].split("/")[1], o["contender"], f"{o['found']} of {o['windows']}", str(o["false_alerts"]),
         f"{o['vus_pr']:.3f}" if o["windows"] else "", f"{o['prevalence']:.3f}" if o["windows"] else ""]
        for o in outcomes
    ]  # fmt: skip
    return markdown(
        ["series", "detector", "labelled windows found", "false alerts", "VUS-PR", "of a constant, about"], rows
    )


SECTIONS: Mapping[str, tuple[str, str, Any]] = {
    "losses": (
        "Losses, scalings, and clusters of the code",
        (
            "Cardiotocography, a fifth of the file tests and the rest trains (rows of one recording stay together), fitted on normal rows, 30 epochs, mean of "
            "two blocks: ROC-AUC / average precision. Cross-entropy takes values between 0 and 1 only."
        ),
        _losses_table,
    ),
    "rare": (
        "A rare class",
        (
            "Cardiotocography as above, every second pathologic row left out of the training, `tcn-classifier` with 3 blocks and 12 epochs. At even odds: what the "
            "classifier itself holds for more likely anomalous than not."
        ),
        _rare_table,
    ),
    "drawn": (
        "Rows drawn from a VAE",
        (
            "Normal rows of cardiotocography: half of them train, the other half are compared with as many drawn ones (and, first line, with the half that trained). "
            "0.5 is a forest that cannot tell them apart."
        ),
        _drawn_table,
    ),
    "images": (
        "Images",
        (
            f"MNIST, {TRAIN_IMAGES:,} images of the other nine digits train, 8 epochs; the first {TEST_IMAGES:,} test images are judged: ROC-AUC / average precision "
            "of the digit that was held out."
        ),
        _images_table,
    ),
    "series": (
        "The series of the chapter on LSTMs",
        (
            "Eight artificial and real series of NAB, each with a model of its own learnt from its first 15 % (at most 750 rows), as `tidewatch evaluate` judges "
            "them. Of EC2's and RDS's processors NAB holds several: one of each. At the level of 2.5 that NAB is judged at, one alert an event; no budget holds the false ones down."
        ),
        _series_table,
    ),
}
