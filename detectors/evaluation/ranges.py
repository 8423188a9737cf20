"""Metrics for anomalies that last: range precision and recall, VUS-PR, affiliation.

A range is (first, last) row, both included. Point-wise precision and recall count an anomaly's rows one by one; these
ask whether its *event* was met: how much of it, where, in how many pieces, how near.
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from typing import Literal, NamedTuple

import numpy as np
from numpy.typing import NDArray

from detectors.evaluation.delay import episodes

Range = tuple[int, int]
Bias = Literal["flat", "front", "back"]


class PrecisionRecall(NamedTuple):
    """Both in 0..1; NaN where there is nothing to take them of."""

    precision: float
    recall: float

    @property
    def f1(self) -> float:
        """Harmonic mean; 0 where both are 0."""
        total = self.precision + self.recall
        return 2.0 * self.precision * self.recall / total if total else 0.0


def range_precision_recall(
    real: Sequence[Range], predicted: Sequence[Range], *, alpha: float = 0.0, bias: Bias = "flat"
) -> PrecisionRecall:
    """Range-based precision and recall.

    Recall of a real range = alpha * existence + (1 - alpha) * cardinality * overlap; precision of a predicted one =
    cardinality * overlap. Existence is 1 where any row is met; overlap is the share of rows met, weighted by `bias`
    (front: early rows weigh more); cardinality is 1 / number of ranges that share it.

    References
    ----------
    Tatbul, Lee, Zdonik, Alam, Gottschlich: Precision and recall for time series, NeurIPS 2018. Precision has no existence
    term and a flat bias, as there.
    """
    recall = [_reward(r, predicted, alpha, bias) for r in real]
    precision = [_reward(p, real, 0.0, "flat") for p in predicted]
    return PrecisionRecall(
        float(np.mean(precision)) if precision else float("nan"), float(np.mean(recall)) if recall else float("nan")
    )


def _reward(one: Range, others: Sequence[Range], alpha: float, bias: Bias) -> float:
    shared = [(max(one[0], a), min(one[1], b)) for a, b in others if a <= one[1] and b >= one[0]]
    if not shared:
        return 0.0
    length = one[1] - one[0] + 1
    place = np.arange(1, length + 1, dtype=np.float64)
    weight = {"flat": np.ones(length), "front": place[::-1], "back": place}[bias]
    met = sum(float(weight[a - one[0] : b - one[0] + 1].sum()) for a, b in shared)
    return alpha + (1.0 - alpha) * met / float(weight.sum()) / len(shared)


def vus_pr(y: NDArray[np.int8], scores: NDArray[np.float64], *, buffer: int) -> float:
    """Volume under the precision-recall surface: range average precision, averaged over buffers of 0..`buffer` rows.

    A buffer of l rows softens each labelled range: l // 2 rows on either side count as partly anomalous, by
    sqrt(1 - distance / l). So a score that peaks a little beside a label is not worth nothing.

    Parameters
    ----------
    y : (n,) 0 or 1
    scores : (n,)
        High means anomalous; NaN is the lowest.
    buffer
        Largest buffer, about the length of a typical anomaly or period.

    References
    ----------
    Paparrizos, Boniol, Palpanas, Tsay, Elmore, Franklin: Volume under the surface, VLDB 2022. All distinct scores are
    thresholds here, where the authors' code takes 250.
    """
    real = episodes(y)
    if not real:
        return float("nan")
    s = np.where(np.isnan(scores), -np.inf, scores)
    order = np.argsort(-s, kind="stable")
    end = np.flatnonzero(np.r_[np.diff(s[order]) != 0, True])
    inside = np.asarray(y)[order] > 0
    areas = [_range_ap(real, order, end, inside, width) for width in range(buffer + 1)]
    return float(np.mean(areas))


def _range_ap(
    real: Sequence[Range], order: NDArray[np.intp], end: NDArray[np.intp], inside: NDArray[np.bool_], width: int
) -> float:
    """Area under range precision and recall with one buffer; `order` is by falling score, `end` the thresholds."""
    n = len(order)
    soft, half = np.zeros(n), width // 2
    for first, last in real:
        soft[first : last + 1] = 1.0
    for first, last in real:
        after = np.arange(last + 1, min(last + half + 1, n))
        soft[after] += np.sqrt(1.0 - (after - last) / width) if half else 0.0
        before = np.arange(max(first - half, 0), first)
        soft[before] += np.sqrt(1.0 - (first - before) / width) if half else 0.0
    soft = np.minimum(soft, 1.0)[order]
    place = np.empty(n, np.intp)
    place[order] = np.arange(n)
    blurred = episodes(_widened(real, half, n))
    met = np.zeros(n)  # 1 where a widened range is met for the first time
    for first, last in blurred:
        met[place[first : last + 1].min()] += 1.0
    true = np.cumsum(soft)[end]
    anomalous = inside.sum() + 0.5 * np.cumsum(np.where(inside, 0.0, soft))[end]
    recall = np.minimum(true / anomalous, 1.0) * np.cumsum(met)[end] / len(blurred)
    precision = true / (end + 1.0)
    return float(np.sum(np.diff(recall, prepend=0.0) * precision))


def _widened(real: Sequence[Range], half: int, n: int) -> NDArray[np.int8]:
    out = np.zeros(n, np.int8)
    for first, last in real:
        out[max(first - half, 0) : min(last + half, n - 1) + 1] = 1
    return out


def affiliation(real: Sequence[Range], predicted: Sequence[Range], n: int) -> PrecisionRecall:
    """Affiliation precision and recall: how near predictions are to events, against a random prediction.

    The n rows are divided among the real ranges, each row going to the nearest. In each such zone, precision is how
    probable it is that a random row lies farther from the range than the predicted rows do; recall, that a random row lies
    farther from the range's rows than the prediction does. Precision is averaged over zones with a prediction, recall over all.

    References
    ----------
    Huet, Navarro, Rossi: Local evaluation of time series anomaly detection algorithms, KDD 2022. Rows are intervals of
    length 1; the integrals are taken at the middles of half rows.
    """
    if not real:
        return PrecisionRecall(float("nan"), float("nan"))
    real = sorted(real)
    flagged = np.zeros(n, np.bool_)
    for first, last in predicted:
        flagged[first : last + 1] = True
    cuts = [(a[1] + 1 + b[0]) / 2 for a, b in itertools.pairwise(real)]
    precisions, recalls = [], []
    for (first, last), low, high in zip(real, [0.0, *cuts], [*cuts, float(n)], strict=True):
        at = np.arange(2 * low + 0.5, 2 * high, 1.0) / 2  # middles of half rows
        on = at[flagged[at.astype(np.intp)]]
        if not len(on):
            recalls.append(0.0)
            continue
        distance = np.maximum(np.maximum(first - on, on - (last + 1)), 0.0)
        farther = np.maximum(first - distance - low, 0.0) + np.maximum(high - (last + 1) - distance, 0.0)
        precisions.append(float(np.where(distance > 0, farther / (high - low), 1.0).mean()))
        rows = at[(at > first) & (at < last + 1)]
        nearest = np.searchsorted(on, rows)
        gap = np.minimum(
            np.abs(rows - on[np.minimum(nearest, len(on) - 1)]), np.abs(rows - on[np.maximum(nearest - 1, 0)])
        )
        gap = np.where(gap > 0, gap - 0.25, 0.0)  # to the edge of the flagged half row, not to its middle
        farther = np.maximum(rows - gap - low, 0.0) + np.maximum(high - rows - gap, 0.0)
        recalls.append(float(np.where(gap > 0, farther / (high - low), 1.0).mean()))
    return PrecisionRecall(float(np.mean(precisions)) if precisions else float("nan"), float(np.mean(recalls)))
