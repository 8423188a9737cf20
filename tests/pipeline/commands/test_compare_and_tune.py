"""`tidewatch evaluate` with several detectors and `tidewatch tune`, on one's own labelled file."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from typer.testing import CliRunner

from detectors.base import DetectorError
from detectors.model_file import load
from pipeline.cli import create_cli
from producers.errors import DataError


def labelled(path: Path, *, marks: bool = True) -> Path:
    rng = np.random.default_rng(0)
    n = 2_000
    values, y = 50 + rng.normal(size=n), np.zeros(n, int)
    for k in range(500, n, 250):
        values[k : k + 4] += 30
        y[k : k + 4] = marks
    times = pd.date_range("2026-01-01", periods=n, freq="15min")
    pd.DataFrame({"time": times, "load": values.round(2), "label": y}).to_csv(path, index=False)
    return path


def said(*arguments: str) -> str:
    done = CliRunner().invoke(create_cli(), [*arguments])
    if done.exception is not None:
        raise done.exception
    return done.output


def test_detectors_are_compared_on_ones_own_file(tmp_path: Path) -> None:
    file, out = labelled(tmp_path / "load.csv"), tmp_path / "out"
    told = said("evaluate", "--data", str(file), "--out", str(out), "--detector", "zscore", "--detector", "pca")
    table = pd.read_csv(out / "compare.csv")
    assert table["candidate"].tolist() == ["zscore", "pca"]
    assert table["found"].max() > 0
    assert (out / "compare.png").stat().st_size > 5_000
    assert "alerts per series and week" in told


def test_one_mix_is_evaluated_by_its_members_names(tmp_path: Path) -> None:
    file, out = labelled(tmp_path / "load.csv"), tmp_path / "out"
    said("evaluate", "--data", str(file), "--out", str(out), "--detector", "zscore+pca")
    assert pd.read_csv(out / "series.csv")["alerts"].max() > 0


def test_tune_proposes_on_a_part_and_judges_on_the_rest(tmp_path: Path) -> None:
    file, out = labelled(tmp_path / "load.csv"), tmp_path / "tune.csv"
    told = said(
        "tune",
        str(file),
        "--detector",
        "zscore",
        "--detector",
        "pca",
        "--budget",
        "1 per series per day",
        "--out",
        str(out),
    )
    assert "judged on the rest, whose labels the choice has not seen" in told
    assert "tidewatch score" in told
    table = pd.read_csv(out)
    assert set(table["part"]) == {"choice", "judged"}


@pytest.mark.parametrize("verb", [("tune",), ("evaluate", "--out", "out", "--data")])
def test_labels_without_an_anomaly_are_an_error(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, verb: tuple[str, ...]
) -> None:
    monkeypatch.chdir(tmp_path)
    file = labelled(tmp_path / "load.csv", marks=False)
    with pytest.raises(DataError, match="label"):
        said(*verb, str(file), *(() if verb[0] == "evaluate" else ("--detector", "zscore")))


@pytest.mark.parametrize(("step", "n"), [("15min", 2_200), ("1h", 520), ("1h", 80), ("1D", 60)])
def test_seasonal_takes_its_period_from_the_time_of_the_file(tmp_path: Path, step: str, n: int) -> None:
    """A week where there are three of them, else a day, whatever the step."""
    file = tmp_path / "load.csv"
    times = pd.date_range("2026-01-01", periods=n, freq=step)
    values = (
        50 + 10 * np.sin(2 * np.pi * (times.hour / 24 + times.dayofweek / 7)) + np.random.default_rng(0).normal(size=n)
    )
    values = np.asarray(values)
    values[-5:] += 60
    pd.DataFrame({"time": times, "load": values}).to_csv(file, index=False)
    said("score", str(file), "--detector", "seasonal", "--out", str(tmp_path / "s.csv"))
    assert pd.read_csv(tmp_path / "s.csv")["score"].idxmax() >= n - 5


@pytest.mark.parametrize(
    ("step", "n", "period"), [("MS", 144, 12), ("QS", 60, 4), ("W", 260, 52), ("5ms", 3_000, 50), ("15min", 2_200, 672)]
)
def test_seasonal_finds_a_season_in_files_of_any_step_and_train_takes_the_same(
    tmp_path: Path, step: str, n: int, period: int
) -> None:
    """A year of months, quarters or weeks; of milliseconds, what the series itself shows. `train` took 336 rows whatever the step."""
    file = tmp_path / "load.csv"
    values = 10 * np.sin(2 * np.pi * np.arange(n) / period) + np.random.default_rng(0).normal(size=n) / 4
    values[-5:] += 60
    times = pd.date_range("2000-01-02", periods=n, freq=step)
    pd.DataFrame({"time": times, "load": values}).to_csv(file, index=False)
    said("score", str(file), "--detector", "seasonal", "--out", str(tmp_path / "s.csv"))
    assert pd.read_csv(tmp_path / "s.csv")["score"].idxmax() >= n - 5
    said("train", str(file), "--detector", "seasonal", "--out", str(tmp_path / "m"))
    assert load(tmp_path / "m").detectors[0].config.period == period


def test_seasonal_asks_for_a_period_where_there_is_no_season(tmp_path: Path) -> None:
    file = tmp_path / "load.csv"
    times = pd.date_range("2000-01-01", periods=60, freq="YS")
    pd.DataFrame({"time": times, "load": np.random.default_rng(0).normal(size=60)}).to_csv(file, index=False)
    with pytest.raises(DetectorError, match="--set period=12"):
        said("score", str(file), "--detector", "seasonal", "--out", str(tmp_path / "s.csv"))
