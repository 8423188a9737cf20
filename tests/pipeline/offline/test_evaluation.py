"""Evaluation: one row per event, NAB's layout, figures of alerts; causal, per series."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st
from typer.testing import CliRunner

from pipeline.cli import create_cli
from pipeline.errors import SettingsError
from pipeline.offline.evaluation import alerted, event_scores, one_per_event, rarity


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


def test_an_event_is_told_where_networks_and_alarm_together_say_so() -> None:
    calibrated = np.array([np.nan, 1.0, 3.0, 3.0])
    alarm = np.array([np.nan, 2.0, -2.0, 9.0])
    assert rarity(calibrated, None).tolist() == [0.0, 1.0, 3.0, 3.0]
    assert rarity(calibrated, alarm).tolist() == [-4.0, 3.0, 1.0, 7.0]
    told = event_scores(rarity(calibrated, alarm), 2.5)
    assert np.flatnonzero(told).tolist() == [1]  # the fourth belongs to the same event


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
    shares = series[["range_precision", "range_recall", "affiliation_precision", "affiliation_recall", "vus_pr"]]
    assert ((shares >= 0) & (shares <= 1)).all(axis=None)
    np.testing.assert_allclose(shares.iloc[2], shares.iloc[:2].mean())
    for figure in ("windows found", "false alerts per series and day", "range precision", "affiliation", "VUS-PR"):
        assert figure in done.output
    assert (tmp_path / "series.png").stat().st_size > 10_000


def test_evaluate_ranks_a_table_and_judges_its_alerts(tmp_path: Path) -> None:
    arguments = ["evaluate", "--data", "synthetic-creditcard", "--detector", "isolation-forest", "--out", str(tmp_path)]
    done = CliRunner().invoke(create_cli(), arguments)
    assert done.exit_code == 0, done.output
    [figures] = pd.read_csv(tmp_path / "figures.csv").to_dict("records")
    scores = pd.read_csv(tmp_path / "scores.csv")
    assert figures["rows"] == scores["score"].notna().sum()
    assert figures["alerts"] == scores["alert_id"].nunique()
    assert 0 <= figures["false_alerts"] <= figures["alerts"]
    assert figures["false_per_1000_rows"] == pytest.approx(1000 * figures["false_alerts"] / figures["rows"])
    assert figures["roc_auc"] > 0.7
    assert "false alerts per 1,000 rows" in done.output


def test_a_folder_that_cannot_be_made_is_one_line(tmp_path: Path) -> None:
    (tmp_path / "plain").write_text("")
    out = tmp_path / "plain" / "deeper"
    done = CliRunner().invoke(create_cli(), ["evaluate", "--data", "synthetic-taxi", "--out", str(out)])
    assert isinstance(done.exception, SettingsError)


@given(st.lists(st.sampled_from(["", "a", "b", "c"]), max_size=30))
def test_spans_of_alerts_are_those_that_are_read_off_one_by_one(ids: list[str]) -> None:
    slowly = sorted((ids.index(i), len(ids) - 1 - ids[::-1].index(i)) for i in set(ids) - {""})
    assert alerted(ids) == slowly


def test_a_file_that_holds_several_series_is_evaluated_each_by_its_own_rows(tmp_path: Path) -> None:
    normal = np.random.default_rng(1).normal(50, 1, (600, 2))
    normal[500:510, 1] += 30
    times = pd.date_range("2026-01-01", periods=600, freq="10min")
    rows = [
        (t, h, normal[k, i], int(i == 1 and 500 <= k < 510)) for k, t in enumerate(times) for i, h in enumerate("ab")
    ]
    pd.DataFrame(rows, columns=["time", "host", "value", "label"]).to_csv(tmp_path / "load.csv", index=False)
    arguments = ["evaluate", "--data", tmp_path / "load.csv", "--detector", "zscore", "--out", tmp_path / "out"]
    done = CliRunner().invoke(create_cli(), list(map(str, arguments)), catch_exceptions=False)
    assert done.exit_code == 0, done.output
    series = pd.read_csv(tmp_path / "out" / "series.csv").set_index("series")
    assert series.rows.to_dict() == {"a": 600, "b": 600, "all": 1200}
    assert series.loc["b", ["windows", "found"]].tolist() == [1, 1]
    written = pd.read_csv(tmp_path / "out" / "nab" / "b.csv")
    assert written.timestamp.tolist() == times.strftime("%Y-%m-%d %H:%M:%S").tolist()
    np.testing.assert_allclose(written.value, normal[:, 1])
