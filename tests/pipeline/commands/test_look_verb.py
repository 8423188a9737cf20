"""`tidewatch look`: what is in a file, said without anything trained."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from typer.testing import CliRunner

from pipeline.cli import create_cli
from pipeline.errors import SettingsError
from producers.errors import DataError


def load(path: Path, n: int = 960) -> Path:
    t = pd.date_range("2026-01-01", periods=n, freq="15min")
    v = 40 + 8 * np.sin(np.arange(n) * 2 * np.pi / 96) + np.random.default_rng(0).normal(size=n)
    pd.DataFrame({"time": t, "load": v.round(2)}).drop(index=range(n * 500 // 960, n * 500 // 960 + 60)).to_csv(
        path, index=False
    )
    return path


def said(*arguments: str) -> str:
    done = CliRunner().invoke(create_cli(), ["look", *arguments])
    if done.exception is not None:
        raise done.exception
    return done.output


def test_a_file_is_told_drawn_and_written(tmp_path: Path) -> None:
    file, picture, out = load(tmp_path / "load.csv"), tmp_path / "new/load.png", tmp_path / "load.json"
    told = said(str(file), "--picture", str(picture), "--json", str(out))
    assert "a step of 15 min (over 99 % of the steps); a gap, 15.2 h from 2026-01-06 04:45" in told
    assert "season of 1 d" in told
    assert "less than two seasons" not in told  # half of the rows hold five
    assert "less than two seasons of 1 d" in said(str(load(tmp_path / "short.csv", n=350)))
    assert picture.read_bytes().startswith(b"\x89PNG")
    [series] = json.loads(out.read_text())["series"]
    assert series["steps"]["missing"] == 60


def test_a_report_holds_what_is_said_and_the_lines(tmp_path: Path) -> None:
    file, out = load(tmp_path / "load.csv"), tmp_path / "look.html"
    said(str(file), "--html", str(out))
    page = out.read_text()
    assert "season of 1 d" in page
    [chart] = json.loads(page.split('id="data">')[1].split("</script>")[0])
    assert len(chart["x"]) == len(chart["lines"][0]["y"]) == 900


def test_a_table_has_columns_and_no_times(tmp_path: Path) -> None:
    file = tmp_path / "t.csv"
    pd.DataFrame({"a": np.arange(40) % 7, "kind": ["x", "y"] * 20}).to_csv(file, index=False)
    told = said(str(file))
    assert "a: 0 to 6, median 3" in told
    assert "kind: 2 categories" in told


@pytest.mark.parametrize(
    ("arguments", "error", "told"),
    [
        (["{}", "--picture", "x.gif"], SettingsError, "--picture"),
        (["nowhere.csv"], DataError, "nowhere.csv"),
        (["{}", "--series", "other"], DataError, "no series"),
        (["nab2"], DataError, "there is no data set"),
    ],
)
def test_what_cannot_be_done_is_one_line(tmp_path: Path, arguments: list[str], error: type, told: str) -> None:
    file = load(tmp_path / "load.csv")
    with pytest.raises(error, match=told):
        said(*[a.format(file) for a in arguments])


def test_looking_loads_no_torch(tmp_path: Path) -> None:
    """It is quick because nothing is trained."""
    file = load(tmp_path / "load.csv")
    code = f"import sys; from pipeline.cli import create_cli; create_cli()(['look', {str(file)!r}], standalone_mode=False); sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False, capture_output=True).returncode == 0
