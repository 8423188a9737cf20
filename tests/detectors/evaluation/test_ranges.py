from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from detectors.evaluation.delay import episodes
from detectors.evaluation.ranges import affiliation, range_precision_recall, vus_pr


def test_range_precision_and_recall_by_hand():
    real, predicted = [(10, 19)], [(10, 13), (18, 21)]
    got = range_precision_recall(real, predicted)
    assert got.recall == pytest.approx(6 / 10 / 2)  # two pieces share it
    assert got.precision == pytest.approx((4 / 4 + 2 / 4) / 2)
    assert range_precision_recall(real, predicted, alpha=1.0).recall == 1.0
    front = range_precision_recall(real, [(10, 10)], bias="front").recall
    assert front == pytest.approx(10 / 55)
    assert range_precision_recall(real, [(10, 10)], bias="back").recall == pytest.approx(1 / 55)
    assert np.isnan(range_precision_recall(real, []).precision)


def naive_vus(y, scores, buffer):
    """The definition, threshold by threshold and buffer by buffer."""
    real, n, areas = episodes(y), len(y), []
    for width in range(buffer + 1):
        half, soft = width // 2, np.zeros(n)
        for i in range(n):
            parts = [np.sqrt(1 - d / width) for a, b in real if 0 < (d := max(a - i, i - b, 0)) <= half]
            soft[i] = 1.0 if y[i] else min(sum(parts), 1.0)
        zones = episodes(np.array([any(a - half <= i <= b + half for a, b in real) for i in range(n)]))
        area, before = 0.0, 0.0
        for t in np.unique(scores)[::-1]:
            on = scores >= t
            true = soft[on].sum()
            weight = y.sum() + soft[on & (y == 0)].sum() / 2
            recall = min(true / weight, 1.0) * np.mean([on[a : b + 1].any() for a, b in zones])
            area += (recall - before) * true / on.sum()
            before = recall
        areas.append(area)
    return np.mean(areas)


@settings(deadline=None, max_examples=60)
@given(st.integers(0, 2**32), st.integers(0, 9))
def test_vus_pr_is_its_definition(seed, buffer):
    rng = np.random.default_rng(seed)
    y = np.zeros(60, np.int8)
    for _ in range(rng.integers(1, 4)):
        start = rng.integers(0, 55)
        y[start : start + rng.integers(1, 9)] = 1
    scores = np.round(rng.random(60) + 0.3 * y, 1)
    assert vus_pr(y, scores, buffer=buffer) == pytest.approx(naive_vus(y, scores, buffer))


def test_vus_pr_forgives_a_peak_beside_the_label():
    y = np.zeros(100, np.int8)
    y[50:60] = 1
    near, far = np.zeros(100), np.zeros(100)
    near[44:50], far[20:26] = 1, 1
    assert vus_pr(y, y.astype(float), buffer=0) == 1.0
    assert vus_pr(y, near, buffer=20) > vus_pr(y, far, buffer=20)
    assert np.isnan(vus_pr(np.zeros(5, np.int8), np.zeros(5), buffer=2))


def test_affiliation_of_the_right_prediction_is_one_and_of_the_whole_file_a_half_or_less():
    real = [(40, 49)]
    assert affiliation(real, real, 100) == (1.0, 1.0)
    everywhere = affiliation(real, [(0, 99)], 100)
    assert everywhere.recall == 1.0
    assert 0.4 < everywhere.precision < 0.6
    assert affiliation(real, [], 100).recall == 0.0
    near, far = affiliation(real, [(50, 52)], 100), affiliation(real, [(90, 92)], 100)
    assert near.precision > 0.8 > 0.2 > far.precision
    assert near.recall > far.recall


def test_affiliation_by_integration():
    """Range 40..49, prediction 60..61, zone 0..100: both integrals by fine sums."""
    got = affiliation([(40, 49)], [(60, 61)], 100)
    u = (np.arange(100_000) + 0.5) / 1000
    distance = np.maximum(np.maximum(40 - u, u - 50), 0)
    on = np.linspace(60, 62, 401)
    precision = np.mean([(distance > x - 50).mean() for x in on])
    recall = np.mean([(np.abs(u - x) > 60 - x).mean() for x in np.linspace(40, 50, 401)])
    assert got.precision == pytest.approx(precision, abs=0.01)
    assert got.recall == pytest.approx(recall, abs=0.01)
