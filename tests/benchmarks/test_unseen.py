"""The study of the defaults runs from end to end, its yardsticks look at nothing ahead, and made-up data are what they say."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from benchmarks.unseen import planted, planted_tables
from benchmarks.unseen import run as unseen
from detectors.training import metric_training_rows


def test_the_study_writes_a_line_for_each_series_and_contender(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    few = [p for p in planted.metrics(1) if len(p.y) == 500][:1]
    monkeypatch.setattr(planted, "metrics", lambda seed: few)
    monkeypatch.setattr(planted, "several", lambda seed: [])
    some = [next(planted_tables.tables(1, n=1000, share=0.03))]
    monkeypatch.setattr(planted_tables, "tables", lambda seed: some)
    unseen.main(["--every", "1", "--out", str(tmp_path)])
    lines = pd.read_csv(tmp_path / "lines.csv")
    assert lines.groupby("data")["contender"].apply(list).to_dict() == {
        "made-up table": ["default", "Isolation Forest"],
        "one channel": ["default", "rolling z-score", "seasonal naive", "Isolation Forest"],
    }
    assert lines[["roc_auc", "average_precision", "vus_pr"]].notna().all(axis=None)
    assert lines.loc[lines["data"] == "made-up table", "roc_auc"].min() > 0.9  # clusters, anomalies between them
    summary = pd.read_csv(tmp_path / "summary.csv")
    assert "default" in capsys.readouterr().out
    assert len(summary) == len(lines)


def test_the_seasonal_yardstick_finds_the_season_and_judges_from_earlier_rows_alone() -> None:
    rng = np.random.default_rng(0)
    values = np.sin(2 * np.pi * np.arange(2000) / 37)[:, None] + rng.normal(0, 0.05, (2000, 1))
    first = metric_training_rows(2000)
    assert unseen.season(values[:first]) % 37 == 0
    scores = unseen.seasonal_naive(values, first)
    changed = values.copy()
    changed[1500:] += 100.0
    np.testing.assert_array_equal(unseen.seasonal_naive(changed, first)[:1500], scores[:1500])
    assert unseen.seasonal_naive(changed, first)[1500] > scores.max()


@pytest.mark.parametrize("name", planted_tables.KINDS)
def test_a_made_up_table_has_its_share_of_anomalies_also_among_the_rows_that_are_learnt_from(name: str) -> None:
    table = {t.name: t for t in planted_tables.tables(3, n=2000, share=0.02)}[name]
    y = table.all_labels[name].anomalous
    assert y.sum() == 40
    assert 0 < y[: len(y) * 15 // 100].sum() < 20
    again = {t.name: t for t in planted_tables.tables(3, n=2000, share=0.02)}[name]
    for a, b in zip(table.all_series[name].columns, again.all_series[name].columns, strict=True):
        np.testing.assert_array_equal(a, b)
