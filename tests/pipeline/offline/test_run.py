"""Offline is the stream: row by row the same as pushing the observations in any cut, and row by row causal."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from typer.testing import CliRunner

from detectors.calibration import create
from detectors.recipes import by_name
from detectors.training import train_metric
from pipeline.cli import create_cli
from pipeline.offline import run
from pipeline.offline.scorefile import score_dataset
from pipeline.steps.batches.observations import Observations
from producers.datasets import Layout, open_file

N, STEP, START = 1500, 300_000, 1_700_000_000_000


def _values(seed: int = 0) -> np.ndarray:
    rng = np.random.default_rng(seed)
    values = 50 + 10 * np.sin(np.arange(N) / 20) + rng.normal(0, 1, N)
    values[1200:1204] += 60
    return values


def _observations(values: np.ndarray) -> Observations:
    times = START + np.arange(len(values)) * STEP
    return Observations(np.arange(len(values)), ["a"] * len(values), times, values[:, None])


@pytest.fixture(scope="module")
def stream():
    o = _observations(_values())
    model = train_metric({"a": (o.timestamps, o.values)}, ["zscore"], create("empirical"))
    return run.offline_stream(model)


def test_planted_anomaly_is_the_only_alert(stream) -> None:
    verdicts = run.run(stream, _observations(_values()))
    rows = np.flatnonzero(verdicts.anomalous)
    assert len(rows)
    assert set(rows.tolist()) <= set(range(1200, 1210))
    assert {i for i in range(N) if verdicts.alert_ids[i]} >= set(rows.tolist())
    assert len({a.id for a in verdicts.alerts}) == 1


def test_no_verdict_depends_on_how_it_was_cut(stream, monkeypatch) -> None:
    whole = run.run(stream, _observations(_values()))
    monkeypatch.setattr(run, "BATCH", 7)
    cut = run.run(stream, _observations(_values()))
    np.testing.assert_array_equal(whole.score, cut.score)
    np.testing.assert_array_equal(whole.raw, cut.raw)
    assert whole.alerts == cut.alerts
    assert whole.alert_ids == cut.alert_ids


def test_no_row_is_judged_by_later_ones(stream) -> None:
    values = _values()
    before = run.run(stream, _observations(values[:1000]))
    values[1000:] = 1e6
    after = run.run(stream, _observations(values))
    np.testing.assert_array_equal(before.score, after.score[:1000])


def test_nothing_is_said_of_the_training_part(stream) -> None:
    verdicts = run.run(stream, _observations(_values()))
    assert not verdicts.live[:225].any()
    assert verdicts.live[225:].all()


def test_members_do_not_score_what_a_judgement_learnt_from_and_nothing_else_is_said(monkeypatch) -> None:
    o = _observations(_values())
    recipe = replace(by_name("metric", "zscore"), judgement=True)
    model = recipe.train_metric({"a": (o.timestamps, o.values)}, training_rows=lambda _: 1000)
    stream = run.offline_stream(model)
    member, scored = type(model.detectors[0]), []
    whole = member.score
    monkeypatch.setattr(member, "score", lambda self, x: scored.append(len(x)) or whole(self, x))
    verdicts = run.run(stream, o)
    assert sum(scored) == N - 1000
    core = run.offline_stream(model).core(0)
    [(_, settled)] = core.process(o)
    assert np.isfinite(settled.scored.raw[900:]).all()
    np.testing.assert_array_equal(verdicts.live, settled.scored.live)
    live = verdicts.live
    assert live.sum() == N - 1000
    for mine, every in ((verdicts.score, settled.scored.score), (verdicts.alarm, settled.scored.alarm)):
        np.testing.assert_array_equal(mine[live], every[live])
    assert verdicts.alerts == settled.alerts
    assert verdicts.alerts


def _csv(path: Path, values: np.ndarray) -> Path:
    times = pd.to_datetime(START + np.arange(len(values)) * STEP, unit="ms")
    pd.DataFrame({"when": times, "load": values, "note": "x"}).to_csv(path, index=False)
    return path


def test_a_file_gets_a_row_of_scores_for_each_of_its_rows_in_order(tmp_path: Path) -> None:
    values = _values()
    values[700] = np.nan  # missing: not scored, repeats the last score
    out = tmp_path / "scores.csv"
    file = _csv(tmp_path / "load.csv", values)
    arguments = ["score", str(file), "--out", str(out), "--timestamp-column", "when", "--detector", "zscore"]
    done = CliRunner().invoke(create_cli(), arguments)
    assert done.exit_code == 0, done.output
    frame = pd.read_csv(out)
    assert list(frame) == ["timestamp", "series", "score", "calibrated_score", "anomalous", "alert_id"]
    assert len(frame) == N
    assert frame["score"].isna().sum() == 225
    assert frame["calibrated_score"][700] == frame["calibrated_score"][699]
    assert frame.loc[frame["anomalous"], "alert_id"].notna().all()
    assert frame["calibrated_score"].idxmax() in range(1200, 1204)


def test_rows_of_several_series_keep_their_places(tmp_path: Path) -> None:
    a, b = _values(1), _values(2)
    times = np.repeat(START + np.arange(N) * STEP, 2)
    frame = pd.DataFrame({"timestamp": times, "value": np.column_stack([a, b]).ravel(), "host": ["a", "b"] * N})
    file = tmp_path / "two.csv"
    frame.to_csv(file, index=False)
    data = open_file(file, Layout("timestamp", ("value",), "host"))
    result = score_dataset(data, detector="zscore")
    assert result.series == ["a", "b"] * N
    alone = _csv(tmp_path / "a.csv", a)
    single = score_dataset(open_file(alone, Layout("when", ("load",))), detector="zscore")
    np.testing.assert_array_equal(result.calibrated_score[::2], single.calibrated_score)


def test_a_series_named_like_a_formula_is_written_as_text_and_numbers_as_numbers(tmp_path: Path) -> None:
    from pipeline.offline.scoring.rows import ScoredRows
    from pipeline.offline.scoring.writing import write

    rows = ScoredRows(
        np.arange(2), ["=cmd|' /C calc'!A0", "-7"], np.array([-1.5, 2.0]), np.zeros(2), np.zeros(2, np.bool_), ["", ""], 0,
        model=None,  # type: ignore[arg-type]  not looked at
    )  # fmt: skip
    write(rows, tmp_path / "scores.csv")
    lines = (tmp_path / "scores.csv").read_text().splitlines()
    assert lines[1].split(",")[1:3] == ["'=cmd|' /C calc'!A0", "-1.5"]
    name, score = lines[2].split(",")[1:3]
    assert (name, float(score)) == ("'-7", 2.0)
