"""Every data set of the catalogue that is there can be replayed, looked at, learnt from, scored and evaluated, by the commands of a first try."""

from __future__ import annotations

from pathlib import Path

import pandas as pd
import pytest
from typer.testing import CliRunner

from pipeline.cli import create_cli
from producers import datasets
from producers.datasets import NAMES, catalog, open_dataset
from producers.replay import Timeline

QUICK = ("ctg", "synthetic-taxi")
"""Tried in every run: a table and a metric."""
CHEAP = {"metric": "zscore", "table": "mahalanobis"}
ALONE = {"nab": "realKnownCause/nyc_taxi"}
"""Of data sets of many series, one that is learnt from and evaluated."""


@pytest.mark.parametrize(
    "name", [pytest.param(name, marks=() if name in QUICK else pytest.mark.nightly) for name in NAMES]
)
def test_each_is_replayed_looked_at_learnt_from_scored_and_evaluated(name: str, tmp_path: Path) -> None:
    source, _ = datasets._READERS.get(name, (None, None))  # of made-up ones none
    if source is not None and (located := catalog.locate(source)).folder is None:
        pytest.skip(located.message)
    data = open_dataset(name)
    timeline = Timeline(list(data.series().values()), table=data.kind == "table")
    assert len(timeline) + timeline.skipped == len(data)
    detector = ("--detector", CHEAP[data.kind])
    one = ("--series", ALONE[name]) if name in ALONE else ()
    for words in (
        ("look", name, "--json", "look.json"),
        ("score", name, "--out", "scores.csv", *detector),
        ("train", "--data", name, "--out", "model.tidewatch", *detector, *one),
        ("evaluate", "--data", name, "--out", "judged", *detector, *one),
    ):
        placed = [
            str(tmp_path / w) if w in ("look.json", "scores.csv", "model.tidewatch", "judged") else w for w in words
        ]
        done = CliRunner().invoke(create_cli(), placed)
        assert done.exception is None, (words, done.exception, done.output)
    scores = pd.read_csv(tmp_path / "scores.csv")
    assert len(scores) == len(data)
    assert scores["score"].notna().mean() > 0.5
