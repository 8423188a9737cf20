from __future__ import annotations

import numpy as np
import pytest

from detectors.base import DetectorError
from detectors.evaluation import ranking

Y = np.array([0, 0, 1, 1], np.int8)


def test_by_hand():
    scores = np.array([0.1, 0.4, 0.35, 0.8])
    assert ranking.roc_auc(Y, scores) == pytest.approx(0.75)
    assert ranking.average_precision(Y, scores) == pytest.approx(0.5 * 1.0 + 0.5 * 2 / 3)


def test_rows_without_a_score_are_left_out():
    scores = np.array([np.nan, 0.4, 0.5, np.nan])
    assert ranking.roc_auc(Y, scores, np.ones(4)) == 1.0


def test_average_precision_of_noise_is_the_prevalence_that_the_weights_say():
    rng = np.random.default_rng(0)
    y = (rng.random(20_000) < 0.3).astype(np.int8)
    weights = ranking.prevalence_weights(y, 0.01)
    assert weights.mean() == pytest.approx(1.0)
    assert ranking.prevalence(y, weights) == pytest.approx(0.01)
    assert ranking.average_precision(y, rng.random(20_000), weights) == pytest.approx(0.01, abs=0.004)


def test_swapped_arguments_and_single_classes_are_refused():
    with pytest.raises(DetectorError, match="swapped"):
        ranking.roc_auc(np.array([0.1, 0.4, 0.35, 0.8]), Y)
    with pytest.raises(DetectorError, match="needs both kinds"):
        ranking.average_precision(np.zeros(4, np.int8), np.arange(4.0))
    with pytest.raises(DetectorError, match="between 0 and 1"):
        ranking.prevalence_weights(Y, 1.0)
