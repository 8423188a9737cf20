"""NAB's further figures are of the alerts' spans against the labelled windows, over watched rows alone."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from benchmarks import accuracy_nab
from benchmarks.accuracy_nab import _at_level, _by_range, _rests_on, nab_file
from detectors.registry import DETECTORS
from pipeline.evaluation import SeriesResult
from pipeline.scorefile import ScoredRows
from producers.datasets.base import Labels, Window

ROWS = 400
STEP = 300_000


def result(window: tuple[int, int], alert: tuple[int, int], level: float = 2.5) -> SeriesResult:
    """One file: 60 rows train; rows of the alert score 5, others less than 2."""
    scores = np.random.default_rng(0).uniform(0.0, 2.0, ROWS)
    scores[alert[0] : alert[1] + 1] = 5.0
    scores[:60] = np.nan
    times = np.arange(ROWS, dtype=np.int64) * STEP
    ids = ["a" if alert[0] <= i <= alert[1] else "" for i in range(ROWS)]
    model: Any = None
    rows = ScoredRows(times, ["s"] * ROWS, scores, scores, np.nan_to_num(scores) >= level, ids, 1, model)
    first, last = (int(times[i]) for i in window)
    anomalous = (times >= first) & (times <= last)
    labels = Labels((Window(first, last, "event"),), anomalous)
    return SeriesResult("s", np.zeros((ROWS, 1)), labels, rows)


def test_an_alert_within_a_window_is_precise_and_recalls_its_share_of_the_rows() -> None:
    figures = _by_range(result(window=(200, 219), alert=(205, 209)))
    assert figures["range_precision"] == 1.0
    assert figures["range_recall"] == pytest.approx(5 / 20)
    assert figures["near_precision"] == 1.0
    assert figures["prevalence"] == pytest.approx(20 / (ROWS - 60))
    assert figures["vus_pr"] > 0.3


def test_an_alert_far_from_the_window_has_no_precision_by_range_and_little_by_affiliation() -> None:
    figures = _by_range(result(window=(350, 369), alert=(80, 84)))
    assert figures["range_precision"] == figures["range_recall"] == 0.0
    assert figures["near_precision"] < 0.2


def test_a_file_without_windows_says_nothing_of_ranges() -> None:
    made = result(window=(200, 219), alert=(205, 209))
    figures = _by_range(SeriesResult(made.name, made.values, None, made.rows))
    assert all(np.isnan(value) for value in figures.values())


def test_at_the_products_own_level_a_file_scores_as_it_does_in_the_product() -> None:
    made = result(window=(200, 219), alert=(205, 209))
    scores, labels = _at_level(made, 2.5)
    own, own_labels = nab_file(made)
    assert scores.tolist() == own.tolist()
    assert labels.window.tolist() == own_labels.window.tolist()
    assert np.count_nonzero(scores) == 1, "an event is told once"


def test_what_the_score_rests_on_is_nothing_where_all_files_are_alike() -> None:
    figures = _rests_on([result(window=(200, 219), alert=(200, 209))] * 4)
    assert figures["resampled_sd"] == pytest.approx(0.0)
    assert 0.0 < figures["level_of_other_half"] < 100.0


def test_all_detectors_of_windows_take_part_but_those_that_need_labels() -> None:
    labels = accuracy_nab.detectors()
    assert accuracy_nab.DEFAULT in labels
    assert set(accuracy_nab.MEMBERS) < set(labels)
    for name in labels.keys() - {accuracy_nab.DEFAULT}:
        assert "windows" in DETECTORS[name].kinds
        assert not DETECTORS[name].supervised
