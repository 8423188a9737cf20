"""The page of the textbook's last line is a function of the outcomes, and says what was not run."""

from __future__ import annotations

from pathlib import Path

from benchmarks.accuracy.cache import Collected
from benchmarks.textbook.experiments import PARTS
from benchmarks.textbook.page import SECTIONS, page
from benchmarks.textbook.run import jobs


def test_every_section_has_its_parts_and_its_table() -> None:
    assert list(SECTIONS) == list(PARTS)
    assert {job.experiment for job in jobs()} == set(PARTS)
    assert len({job.file(Path("x")) for job in jobs()}) == len(jobs())


def test_figures_stand_in_their_columns_and_gaps_are_told() -> None:
    ranked = {"roc_auc": 0.9, "average_precision": 0.5, "prevalence": 0.1, "rows": 9}
    outcomes = [
        {"contender": "autoencoder, squared", "scaling": "robust", **ranked},
        {"contender": "autoencoder, squared", "scaling": "robust", **ranked, "roc_auc": 0.7},
        {"contender": "autoencoder, cross-entropy", "scaling": "min-max", **ranked},
    ]
    text = page({"losses": Collected(outcomes, 9, 1, 6, 1.0)}, "a machine")
    assert "| autoencoder, squared | 0.800 / 0.500 |  |" in text
    assert "| autoencoder, cross-entropy |  | 0.900 / 0.500 |" in text
    assert "6 of 9 parts were not run." in text
    assert "earlier state of the code" in text
    assert text.count("Not run.") == len(SECTIONS) - 1
    assert "Made on a machine." in text
