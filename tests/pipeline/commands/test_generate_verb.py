"""`tidewatch generate`: rows of a trained VAE, in the units and categories of its training rows, the same for the same seed."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from typer.testing import CliRunner

from detectors.base import DetectorError
from detectors.calibration import create
from detectors.model_file import save
from detectors.training import all_rows, train_metric, train_table
from pipeline.cli import create_cli

QUICK = {"training": {"epochs": 12, "learning_rate": 0.01}, "hidden": (8,), "code": 2}


@pytest.fixture(scope="module")
def table(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model of rows: two kinds, of which one sends more, whole bytes, and a column that is twice another."""
    rng = np.random.default_rng(0)
    kinds = rng.choice(["=web", "mail"], 600, p=[0.7, 0.3])
    size = np.where(kinds == "=web", 200.0, 50.0) + rng.normal(0.0, 5.0, 600)
    rows = [[float(round(s)), k, 2.0 * s] for s, k in zip(size, kinds.tolist(), strict=True)]
    vae = ("vae", QUICK | {"beta": 1.0})
    model = train_table(
        {"t": rows}, ["bytes", "kind", "double"], ["kind"], [vae], create("empirical"), training_rows=all_rows
    )
    path = tmp_path_factory.mktemp("vae") / "table.safetensors"
    save(model, path)
    return path


def generate(*words: object) -> str:
    done = CliRunner().invoke(create_cli(), ["generate", *map(str, words)], catch_exceptions=False)
    assert done.exit_code == 0, done.output
    return done.output


def test_rows_have_the_columns_units_and_categories_of_the_training_rows(table: Path, tmp_path: Path) -> None:
    generate(table, "--rows", 500, "--out", tmp_path / "new.parquet")
    new = pd.read_parquet(tmp_path / "new.parquet")
    assert list(new) == ["bytes", "kind", "double"]
    assert len(new) == 500
    assert new["bytes"].dtype.kind == "i"
    assert set(new["kind"]) == {"=web", "mail"}
    assert 30 <= new["bytes"].min() < new["bytes"].max() <= 220
    assert np.corrcoef(new["bytes"], new["double"])[0, 1] > 0.9
    assert new.groupby("kind")["bytes"].mean().loc["=web"] > new.groupby("kind")["bytes"].mean().loc["mail"]


def test_the_same_seed_writes_the_same_file_and_no_text_of_it_is_a_formula(table: Path, tmp_path: Path) -> None:
    for name, seed in (("a", 1), ("b", 1), ("c", 2)):
        generate(table, "--rows", 300, "--seed", seed, "--out", tmp_path / f"{name}.csv")
    a, b, c = ((tmp_path / f"{name}.csv").read_bytes() for name in "abc")
    assert a == b != c
    assert b",'=web," in a
    # Fewer rows are the first of many.
    generate(table, "--rows", 10, "--seed", 1, "--out", tmp_path / "few.csv")
    generate(table, "--rows", 300, "--seed", 1, "--out", tmp_path / "many.csv")
    assert (tmp_path / "many.csv").read_bytes().startswith((tmp_path / "few.csv").read_bytes())


def test_windows_of_a_metric_are_in_the_unit_of_a_series(tmp_path: Path) -> None:
    times = np.arange(400, dtype=np.int64) * 60_000
    wave = np.sin(np.arange(400) / 4.0)[:, None]
    series = {"low": (times, 10.0 + wave), "high": (times, 1000.0 + 50.0 * wave)}
    model = train_metric(series, [("vae", QUICK | {"window": 8})], create("empirical"), training_rows=all_rows)
    path = tmp_path / "vae.safetensors"
    save(model, path)
    generate(path, "--rows", 20, "--series", "high", "--out", tmp_path / "new.csv")
    new = pd.read_csv(tmp_path / "new.csv")
    assert list(new) == ["window", "step", "value"]
    assert new["window"].tolist() == [0] * 8 + [1] * 8 + [2] * 4
    assert 800 < new["value"].mean() < 1200
    with pytest.raises(DetectorError, match="is not said; name one with --series: high, low"):
        generate(path, "--out", tmp_path / "new.csv")


def test_a_model_without_a_vae_is_refused(tmp_path: Path) -> None:
    rows = [[float(i), float(i % 7)] for i in range(60)]
    model = train_table({"t": rows}, ["a", "b"], [], ["pca"], create("empirical"), training_rows=all_rows)
    save(model, tmp_path / "pca.safetensors")
    with pytest.raises(DetectorError, match="the model holds pca; train one: tidewatch train vae"):
        generate(tmp_path / "pca.safetensors", "--out", tmp_path / "new.csv")
