"""A user's file through the verbs: said before the work, refused with exit code 2 and the option, judged by its own labels."""

from __future__ import annotations

import math
from datetime import datetime, timedelta
from pathlib import Path

import pandas as pd
import pytest
from typer.testing import CliRunner

from pipeline.cli import create_cli, main

ODD = (300, 301, 302)


def german(path: Path) -> Path:
    lines = ["Zeit;Leistung;Hinweis;label"]
    for i in range(400):
        value = f"{50 + 10 * math.sin(i / 4) + (40 if i in ODD else 0):.2f}".replace(".", ",")
        lines.append(f"{datetime(2026, 1, 1) + timedelta(hours=i):%d.%m.%Y %H:%M};{value};ok;{int(i in ODD)}")  # noqa: DTZ001
    path.write_bytes("\n".join(lines).encode("cp1252"))
    return path


def test_score_says_what_it_took_for_what_and_scores_it(tmp_path: Path) -> None:
    file, out = german(tmp_path / "load.csv"), tmp_path / "scores.csv"
    done = CliRunner().invoke(create_cli(), ["score", str(file), "--out", str(out), "--detector", "zscore"])
    assert done.exit_code == 0, done.output
    said = done.output.splitlines()
    assert "semicolon" in said[0]
    assert "'Zeit' (day.month.year in UTC, a step of 1 h" in said[1]
    assert said[2] == "judged by Leistung; left out: Hinweis (text), label (labels) (--value-columns)"
    assert pd.read_csv(out)["calibrated_score"].idxmax() in ODD


def test_evaluate_judges_by_the_labels_of_the_file(tmp_path: Path) -> None:
    file, out = german(tmp_path / "load.csv"), tmp_path / "out"
    done = CliRunner().invoke(create_cli(), ["evaluate", str(file), "--out", str(out), "--detector", "zscore"])
    assert done.exit_code == 0, done.output
    total = pd.read_csv(out / "series.csv").iloc[-1]
    assert (total["windows"], total["found"]) == (1, 1)


@pytest.mark.parametrize(
    ("text", "options", "told"),
    [
        ("t,v\n03/04/2026 01:00,1\n03/04/2026 02:00,2\n", (), "--read day-first=yes"),
        ("t;v\n2026-01-01;1.034\n2026-01-02;1.035\n", (), "--read decimal="),
        ("t,v\n2026-01-01,1\n", ("--read", "day-frist=yes"), "did you mean day-first="),
        ("t,v\n2026-01-01,1\n", ("--table", "--wide"), "exclude each other"),
    ],
)
def test_what_cannot_be_decided_is_one_line_and_exit_code_2(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture[str],
    text: str,
    options: tuple[str, ...],
    told: str,
) -> None:
    file = tmp_path / "load.csv"
    file.write_text(text)
    monkeypatch.setattr("sys.argv", ["tidewatch", "score", str(file), "--out", str(tmp_path / "s.csv"), *options])
    with pytest.raises(SystemExit) as ended:
        main()
    assert ended.value.code == 2
    error = capfd.readouterr().err
    assert told in error
    assert error.count("\n") == 1
