"""NAB's further figures are of the alerts' spans against the labelled windows, over watched rows alone."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from benchmarks.accuracy import nab
from benchmarks.accuracy.nab import _at_level, _figures, _rests_on, nab_file
from detectors.recipes import NETWORKS
from detectors.registry import DETECTORS
from pipeline.offline.evaluation import SeriesResult
from pipeline.offline.scorefile import score_dataset
from pipeline.offline.scoring.ready import train
from pipeline.offline.scoring.rows import ScoredRows
from producers.datasets import open_dataset
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


def test_the_figures_are_of_the_alerts_spans_against_the_windows() -> None:
    figures = _figures([result(window=(200, 219), alert=(205, 209))])
    assert figures["range_precision"] == 1.0
    assert figures["range_recall"] == pytest.approx(5 / 20)
    assert figures["near_precision"] == 1.0
    assert figures["prevalence"] == pytest.approx(20 / (ROWS - 60))
    assert (figures["found"], figures["false_alerts"], figures["delay_observations"]) == (1, 0, 5)
    assert figures["unswept"] == pytest.approx(figures["standard"]), "one alert, so there is nothing to sweep"


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
    assert figures["level_of_other_half"] == pytest.approx(100.0), "the alert begins with the window"


def test_a_member_taken_from_the_networks_model_scores_as_it_does_when_trained_alone() -> None:
    data = open_dataset("synthetic-nab").select("*NetworkIn")
    few = {"window": 12, "training": {"epochs": 2}}
    recipe = replace(NETWORKS, detectors=(("lstm", few), ("autoencoder", few)))
    both, alone = train(data, recipe=recipe), score_dataset(data, detector="autoencoder", recipe=recipe)
    taken = score_dataset(data, recipe=recipe, model=nab.member(both, "autoencoder"))
    assert taken.score.tobytes() == alone.score.tobytes()
    assert taken.calibrated_score.tobytes() == alone.calibrated_score.tobytes()
    assert taken.alert_ids == alone.alert_ids


def test_all_detectors_of_windows_take_part_but_those_that_need_labels() -> None:
    labels = nab.detectors()
    assert {nab.DEFAULT, nab.NETWORKS} < set(labels)
    assert [name for name, _ in NETWORKS.detectors] == list(nab.MEMBERS)
    assert set(nab.MEMBERS) < set(labels)
    for name in labels.keys() - {nab.DEFAULT, nab.NETWORKS}:
        assert "windows" in DETECTORS[name].kinds
        assert not DETECTORS[name].supervised
