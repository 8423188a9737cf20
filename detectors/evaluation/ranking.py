"""How well scores rank anomalies above the rest: ROC-AUC and average precision, at a stated prevalence.

No threshold enters. Average precision depends on how rare anomalies are, so it is given with the prevalence that it holds
for; `prevalence_weights` turns a thinned sample's into that of the full data.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from detectors.base import DetectorError


def roc_auc(y: NDArray[np.int8], scores: NDArray[np.float64], weights: NDArray[np.float64] | None = None) -> float:
    """Probability that an anomaly scores higher than a normal row, ties counting half.

    Parameters
    ----------
    y : (n,)
        1 = anomaly, 0 = normal; not the other way round, and not a thresholded score.
    scores : (n,)
        High means anomalous. Rows with a score of NaN (training, probation) are left out.
    weights : (n,) or None
        Of the rows.

    Raises
    ------
    DetectorError
        The labels hold one class only, or something that is no label.
    """
    from sklearn.metrics import roc_auc_score  # half a second to import

    y, scores, weights = _scored(y, scores, weights)
    return float(roc_auc_score(y, scores, sample_weight=weights))


def average_precision(
    y: NDArray[np.int8], scores: NDArray[np.float64], weights: NDArray[np.float64] | None = None
) -> float:
    """Mean precision over the ranks of the anomalies (area under the precision-recall steps); as `roc_auc`."""
    from sklearn.metrics import average_precision_score

    y, scores, weights = _scored(y, scores, weights)
    return float(average_precision_score(y, scores, sample_weight=weights))


def prevalence(y: NDArray[np.int8], weights: NDArray[np.float64] | None = None) -> float:
    """Share of anomalies: what the average precision of a random ranking would be."""
    return float(np.average(y, weights=weights))


def prevalence_weights(y: NDArray[np.int8], share: float) -> NDArray[np.float64]:
    """Weights (n,) of rows under which anomalies make up `share`; their mean is 1.

    Examples
    --------
    >>> prevalence_weights(np.array([1, 0, 0, 0]), 0.1).round(2)
    array([0.4, 1.2, 1.2, 1.2])
    """
    if not 0.0 < share < 1.0:
        msg = f"prevalence {share}: must lie between 0 and 1"
        raise DetectorError(msg)
    y, _, _ = _scored(y, np.zeros(len(y)), None)
    anomalies = y.sum()
    return np.asarray(np.where(y == 1, share * len(y) / anomalies, (1.0 - share) * len(y) / (len(y) - anomalies)))


def _scored(
    y: NDArray[np.int8], scores: NDArray[np.float64], weights: NDArray[np.float64] | None
) -> tuple[NDArray[np.int8], NDArray[np.float64], NDArray[np.float64] | None]:
    y, scores = np.asarray(y), np.asarray(scores, np.float64)
    if y.shape != scores.shape or y.ndim != 1:
        msg = f"labels of shape {y.shape} for scores of shape {scores.shape}"
        raise DetectorError(msg)
    if not np.isin(y, (0, 1)).all():
        msg = "labels must be 0 or 1; were labels and scores swapped?"
        raise DetectorError(msg)
    kept = ~np.isnan(scores)
    y, scores = y[kept].astype(np.int8), scores[kept]
    if not 0 < y.sum() < len(y):
        msg = f"{int(y.sum())} anomalies among {len(y)} scored rows: a ranking needs both kinds"
        raise DetectorError(msg)
    return y, scores, None if weights is None else np.asarray(weights, np.float64)[kept]
