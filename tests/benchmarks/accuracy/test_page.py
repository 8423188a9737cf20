"""The page says what the figures say: who leads, who loses, which marks are met, what is old or missing."""

from __future__ import annotations

from dataclasses import asdict, replace
from pathlib import Path

import pytest

from benchmarks.accuracy.cache import Collected, WholeRun
from benchmarks.accuracy.report import write
from benchmarks.accuracy.tables import Outcome

BASE = Outcome(
    experiment="creditcard", protocol="in order", contender="PCA", group="classical", fits_on="normal", seed=0,
    train_rows=10, test_rows=20, prevalence=0.1, copies=0.0, roc_auc=0.9, average_precision=0.5, weighted_precision=0.1,
    by_hand=0.8, swapped=0.99, swapped_recall=0.1, episodes=None, found=None, curve=[(0.0, 1.0), (1.0, 0.1)], cpu_s=1.0,
)  # fmt: skip


def page(folder: Path, *outcomes: Outcome, stale: int = 0, missing: int = 0, whole: WholeRun | None = None) -> str:
    found = Collected([asdict(o) for o in outcomes], 9, stale, missing, 120.0)
    write(folder / "results.md", folder / "images", {"creditcard": found}, whole, quick=False)
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


def test_networks_that_lose_to_a_classical_detector_are_said_to(tmp_path: Path) -> None:
    text = page(tmp_path, BASE, rbm(0.4), rbm(0.4, "random"))
    assert (
        "**Every network loses** to a classical detector (PCA AP 0.500); the best is RBM, unit variance AP 0.400"
        in text
    )
    assert "All 1 networks that are told no labels lose to the classical “PCA” (AP 0.500): RBM, unit variance." in text


def test_those_of_several_networks_that_lose_are_named(tmp_path: Path) -> None:
    better = replace(rbm(0.6), contender="VAE")
    text = page(tmp_path, BASE, rbm(0.4), better)
    assert "1 of 2 networks that are told no labels lose to the classical “PCA” (AP 0.500): RBM, unit variance." in text


def test_networks_that_lose_to_a_yardstick_are_said_to(tmp_path: Path) -> None:
    yardstick = replace(BASE, contender="outside the range seen", group="yardstick", average_precision=0.45)
    text = page(tmp_path, replace(BASE, average_precision=0.3), yardstick, rbm(0.4))
    assert "**Every network loses** to a yardstick (outside the range seen AP 0.450)" in text


def test_a_network_that_leads_is_said_to(tmp_path: Path) -> None:
    text = page(tmp_path, BASE, rbm(0.6), rbm(0.4, "random"))
    assert "RBM, unit variance leads (AP 0.600; PCA 0.500)" in text
    assert "lose" not in text.split("### Honest")[1]


def test_a_difference_within_the_spread_is_said_to_be_one(tmp_path: Path) -> None:
    text = page(tmp_path, BASE, rbm(0.42), rbm(0.56, seed=1))
    assert "PCA AP 0.500, within the spread" in text


def test_a_supervised_network_is_not_the_one_that_leads(tmp_path: Path) -> None:
    taught = replace(rbm(0.9), fits_on="labels", contender="TCN classifier")
    assert "**every network loses** to a classical detector (PCA AP 0.500)" in page(tmp_path, BASE, rbm(0.4), taught)


@pytest.mark.parametrize(("roc", "word"), [(0.97, "met"), (0.95, "**not met**")])
def test_a_mark_is_met_or_not(tmp_path: Path, roc: float, word: str) -> None:
    text = page(tmp_path, BASE, rbm(0.4), rbm(0.4, "random", roc))
    [line] = [line for line in text.splitlines() if "same protocol: credit card, RBM" in line]
    assert line.endswith(f"| ROC-AUC ≥ 0.9584 | {roc:.4f} | RBM, unit variance | {word} |")


def test_a_mark_that_is_missed_by_less_than_the_spread_is_said_to_be(tmp_path: Path) -> None:
    text = page(tmp_path, BASE, rbm(0.4), rbm(0.4, "random", 0.95), rbm(0.4, "random", 0.965, seed=1))
    [line] = [line for line in text.splitlines() if "same protocol: credit card, RBM" in line]
    assert line.endswith("| RBM, unit variance (2 seeds) | **not met**, by less than the spread |")


def test_a_mark_of_two_figures_is_met_by_one_network_that_reaches_both(tmp_path: Path) -> None:
    precise, sure = rbm(0.8, roc=0.9), replace(rbm(0.75, roc=0.99), contender="VAE")
    text = page(tmp_path, BASE, precise, sure)
    [line] = [line for line in text.splitlines() if "a network at PCA's reference" in line]
    assert "RBM, unit variance | **not met**" in line


def test_the_spread_is_over_seeds(tmp_path: Path) -> None:
    assert "| 0.500 ± 0.100 |" in page(tmp_path, BASE, rbm(0.4), rbm(0.6, seed=1))


def test_what_is_old_or_missing_is_said(tmp_path: Path) -> None:
    text = page(tmp_path, BASE, stale=2, missing=3)
    assert "earlier state of the code they rest on, not run again since: creditcard (2 of 9)" in text
    assert "**Not run yet:** creditcard (3 of 9)" in text
    assert "2 minutes of processor time" in text
    assert "Not run yet" not in page(tmp_path, BASE)


def test_a_page_that_was_made_in_one_go_says_what_that_took(tmp_path: Path) -> None:
    text = page(tmp_path, BASE, whole=WholeRun("", 1234.0, 2400.0, 2))
    assert "made in one go, in 20.6 minutes by 2 processes, which took 40.0 minutes of processor time" in text
    assert "bit by bit" in page(tmp_path, BASE)


def test_pictures_that_the_page_shows_are_there_and_no_place_is_left_open(tmp_path: Path) -> None:
    text = page(tmp_path, BASE, rbm(0.4))
    assert "(images/results-creditcard.png)" in text
    assert (tmp_path / "images" / "results-creditcard.png").stat().st_size > 1000
    assert "<picture" not in text


def test_an_experiment_of_which_only_the_textbooks_protocol_was_run_has_its_section(tmp_path: Path) -> None:
    found = Collected([asdict(replace(BASE, experiment="kdd-all", protocol="random"))], 9, 0, 6, 1.0)
    write(tmp_path / "results.md", tmp_path / "images", {"kdd-all": found}, quick=False)
    assert "## KDD Cup 99, all rows" in (tmp_path / "results.md").read_text()
