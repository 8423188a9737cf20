"""Evaluation: one row per event, NAB's layout, figures of alerts; causal, per series."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
from hypothesis import given
from hypothesis import strategies as st
from typer.testing import CliRunner

from pipeline.cli import create_cli
from pipeline.evaluation import one_per_event


@given(st.lists(st.floats(0, 1), max_size=60), st.integers(1, 10), st.integers(0, 60))
def test_a_kept_score_does_not_depend_on_what_follows(values: list[float], rows: int, cut: int) -> None:
    scores = np.array(values, np.float64)
    whole = one_per_event(scores, scores > 0.5, rows)
    np.testing.assert_array_equal(one_per_event(scores[:cut], scores[:cut] > 0.5, rows), whole[:cut])


@given(st.lists(st.floats(0, 1), min_size=1, max_size=60), st.integers(1, 10))
def test_an_anomalous_row_is_kept_where_none_was_in_the_rows_before(values: list[float], rows: int) -> None:
    scores = np.array(values, np.float64)
    kept = one_per_event(scores, scores > 0.5, rows)
    for i, score in enumerate(values):
        alone = not kept[max(0, i - rows) : i].any()
        assert kept[i] == (score if score > 0.5 and alone else 0.0)


def test_evaluate_writes_nabs_layout_and_figures(tmp_path: Path, data_dir: Path) -> None:
    arguments = ["evaluate", "--data", "nab", "--detector", "zscore", "--series", "artificialWithAnomaly/*jumps*"]
    done = CliRunner().invoke(create_cli(), [*arguments, "--out", str(tmp_path)])
    assert done.exit_code == 0, done.output
    frame = pd.read_csv(tmp_path / "nab" / "artificialWithAnomaly" / "art_daily_jumpsup.csv")
    assert list(frame) == ["timestamp", "value", "anomaly_score"]
    original = pd.read_csv(data_dir / "nab" / "data" / "artificialWithAnomaly" / "art_daily_jumpsup.csv")
    assert frame["timestamp"].tolist() == original["timestamp"].tolist()
    assert frame["anomaly_score"].between(0, 1).all()
    assert (frame["anomaly_score"][: int(0.15 * len(frame))] == 0).all()
    series = pd.read_csv(tmp_path / "series.csv")
    assert series["series"].tolist() == [
        "artificialWithAnomaly/art_daily_jumpsdown",
        "artificialWithAnomaly/art_daily_jumpsup",
        "all",
    ]
    assert pd.read_csv(tmp_path / "nab.csv")["windows"].tolist() == [2, 2, 2]
    assert (tmp_path / "series.png").stat().st_size > 10_000
