from __future__ import annotations

import json

import numpy as np
import pandas as pd
import pytest

from detectors.evaluation import nab

WINDOW = [(30, 39)]


def one_file(*on: int, n: int = 100, windows=WINDOW):
    scores = np.zeros(n)
    scores[list(on)] = 1.0
    return [(scores, nab.labels(np.arange(n), windows))]


def standard(*on: int) -> float:
    return nab.score_at(one_file(*on), 0.5)["standard"].score


def test_silence_is_worth_nothing_and_the_first_row_of_each_window_everything():
    assert standard() == 0.0
    assert standard(30) == pytest.approx(100.0)


def test_later_detections_in_a_window_are_worth_less_and_only_the_best_counts():
    assert 100 > standard(31) > standard(35) > standard(39) > 0
    assert standard(30, 35, 39) == standard(30)


def test_a_false_positive_costs_its_weight_more_the_farther_behind_a_window():
    # Before any window: the full 0.11 of one window's two points (found 1, missed -1).
    assert standard(30, 20) == pytest.approx(100 - 11 / 2)
    assert standard(30, 40) > standard(30, 45) > standard(30, 99)
    assert nab.score_at(one_file(30, 20), 0.5)["reward_low_FP_rate"].score == pytest.approx(100 - 22 / 2)


def test_rows_of_the_probation_count_for_nothing():
    assert standard(30, 3, 14) == standard(30)
    assert standard(30, 15) < standard(30)
    assert [nab.probation(n) for n in (100, 4999, 5000, 22695)] == [15, 749, 750, 750]


def test_the_sweep_finds_the_threshold_that_every_other_is_not_better_than():
    rng = np.random.default_rng(0)
    files = [(rng.random(200), nab.labels(np.arange(200), [(60, 80), (120, 150)])) for _ in range(3)]
    files[0][0][::7] = 0.5
    best = nab.sweep(files)
    for name in nab.PROFILES:
        tried = [nab.score_at(files, t)[name].score for t in np.unique(np.concatenate([s for s, _ in files]))]
        assert best[name].score == pytest.approx(max([*tried, 0.0]))
        if best[name].score > 0:
            again = nab.score_at(files, best[name].threshold)[name]
            assert (again.found, again.false_positives) == (best[name].found, best[name].false_positives)


def test_a_score_of_nan_is_never_a_detection():
    scores = np.full(100, np.nan)
    files = [(scores, nab.labels(np.arange(100), WINDOW))]
    assert nab.sweep(files)["standard"].score == 0.0


@pytest.mark.parametrize("detector", ["numenta", "knncad", "windowedGaussian"])
def test_published_scores_give_the_published_figures(detector, data_dir):
    root = data_dir / "nab"
    windows = json.loads((root / "labels" / "combined_windows.json").read_text())
    published = json.loads((root / "reference" / "published_scores.json").read_text())[detector]
    frame = pd.read_csv(root / "reference" / f"{detector}.csv.gz")
    files = []
    for name, rows in frame.groupby("file", sort=False):
        times = pd.to_datetime(rows["timestamp"]).to_numpy().astype("datetime64[s]").astype(np.int64)
        spans = [tuple(int(pd.Timestamp(t).timestamp()) for t in span) for span in windows[name]]
        files.append((rows["anomaly_score"].to_numpy(float), nab.labels(times, spans)))
    assert len(files) == 58
    for profile, score in nab.sweep(files).items():
        assert score.score == pytest.approx(published[profile], abs=0.1)
