"""The accuracy table says what the figures say: who leads, who loses, what was swapped."""

from __future__ import annotations

import json
from dataclasses import asdict, replace
from pathlib import Path

import numpy as np
import pytest

from benchmarks import accuracy
from benchmarks.accuracy import Outcome
from benchmarks.accuracy_report import CLAIMS, write
from benchmarks.experiments import _block, _in_order, _random, _table, experiments
from detectors import registry
from producers.datasets import open_dataset

BASE = Outcome(
    experiment="creditcard", protocol="in order", contender="PCA", group="classical", fits_on="normal", seed=0,
    train_rows=10, test_rows=20, prevalence=0.1, roc_auc=0.9, average_precision=0.5, weighted_precision=0.1, by_hand=0.8,
    swapped=0.99, swapped_recall=0.1, episodes=None, found=None, seconds=1.0,
)  # fmt: skip


def page(folder: Path, *outcomes: Outcome) -> str:
    (folder / "creditcard.json").write_text(json.dumps([asdict(o) for o in outcomes]))
    write(folder / "results.md", folder, quick=True)
    return (folder / "results.md").read_text()


def rbm(precision: float, protocol: str = "in order", roc: float = 0.9, seed: int = 0) -> Outcome:
    return replace(
        BASE,
        contender="RBM, unit variance",
        group="network",
        average_precision=precision,
        protocol=protocol,
        roc_auc=roc,
        seed=seed,
    )


def test_a_network_that_loses_to_a_classical_detector_is_said_to(tmp_path: Path) -> None:
    text = page(tmp_path, BASE, rbm(0.4), rbm(0.4, "random"))
    assert "**a network loses**: PCA AP 0.500, RBM, unit variance 0.400" in text


def test_a_network_that_leads_is_said_to(tmp_path: Path) -> None:
    assert "RBM, unit variance leads (AP 0.600; PCA 0.500)" in page(tmp_path, BASE, rbm(0.6), rbm(0.4, "random"))


def test_a_supervised_network_does_not_count_as_the_leader(tmp_path: Path) -> None:
    taught = replace(rbm(0.9), fits_on="labels", contender="classifier")
    assert "**a network loses**: PCA AP 0.500, RBM, unit variance 0.400" in page(tmp_path, BASE, rbm(0.4), taught)


@pytest.mark.parametrize(("roc", "word"), [(0.97, "meets the textbook"), (0.95, "below the textbook")])
def test_a_sound_figure_is_met_or_not_under_the_textbooks_protocol(tmp_path: Path, roc: float, word: str) -> None:
    assert word in page(tmp_path, BASE, rbm(0.4), rbm(0.4, "random", roc))


def test_the_spread_is_over_seeds(tmp_path: Path) -> None:
    assert "| 0.500 ± 0.100 |" in page(tmp_path, BASE, rbm(0.4), rbm(0.6, seed=1))


def test_swapped_arguments_flatter_a_detector_that_finds_next_to_nothing() -> None:
    rng = np.random.default_rng(0)
    y = (np.arange(10_000) < 50).astype(np.int8)
    scores = rng.normal(size=10_000)
    scores[:3] = 9.0
    figure, recall = accuracy._swapped(y, scores, None)
    assert figure > 0.99
    assert recall < 0.1


def test_the_best_threshold_by_hand_is_half_the_sum_of_both_rates() -> None:
    y = np.array([0, 0, 0, 0, 1, 1], np.int8)
    assert accuracy._by_hand(y, np.array([0.0, 1.0, 2.0, 5.0, 4.0, 6.0])) == pytest.approx(0.5 * (1.0 + 0.75))


def test_episodes_are_found_above_the_level_of_one_normal_row_in_a_thousand() -> None:
    y = np.zeros(5000, np.int8)
    y[1000:1010] = y[3000:3010] = 1
    scores = np.linspace(0, 1, 5000)
    scores[1005] = 2.0
    scores[3000:3010] = 0.5
    assert accuracy._episodes(y, scores) == (2, 1)


def test_no_split_shares_rows_between_training_and_test() -> None:
    table = _table(open_dataset("synthetic-creditcard"))
    for split in (_random(table, 3, 0.8), _in_order(table, 0.3), _block(table, 1, 5)):
        train, test = (part.series.positions for part in (split.train, split.test))
        assert len(np.intersect1d(train, test)) == 0
        assert len(train) + len(test) == len(table)
    assert _in_order(table, 0.3).train.series.positions.max() < _in_order(table, 0.3).test.series.positions.min()


def test_every_contender_can_be_built_and_says_whether_it_needs_labels() -> None:
    for contender in accuracy.CONTENDERS:
        detector = registry.create(contender.detector, channels=29, seed=0, **contender.settings)
        assert detector.config.window == 1
        assert detector.supervised == (contender.fits_on == "labels")
        assert "rows" in detector.kinds


def test_unit_variance_is_of_the_fitted_rows_and_leaves_constant_columns_alone() -> None:
    train = np.array([[[1.0, 5.0]], [[3.0, 5.0]]], np.float32)
    test = np.array([[[4.0, 7.0]]], np.float32)
    done = accuracy._Encoded(train, np.zeros(2, np.int8), test).standardised()
    assert done.train[:, 0].tolist() == [[-1.0, 0.0], [1.0, 0.0]]
    assert done.test[:, 0].tolist() == [[2.0, 2.0]]


def test_every_claim_is_answered_by_a_contender_of_its_experiment() -> None:
    names = {e.name for e in experiments()}
    for claim in CLAIMS:
        assert claim.experiment in names
        [contender] = [c for c in accuracy.CONTENDERS if c.label == claim.contender]
        assert not contender.only or claim.experiment in contender.only
