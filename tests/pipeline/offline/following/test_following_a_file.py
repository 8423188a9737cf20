"""`tidewatch score --follow` on real files that grow, are truncated, rotated and replaced: the same alerts as of the whole file, to the byte."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterable, Iterator
from functools import partial
from io import StringIO
from itertools import pairwise
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from rich.console import Console
from typer.testing import CliRunner

from detectors.model import Model
from pipeline.cli import create_cli, one_line
from pipeline.commands.options.follow import follow_file
from pipeline.offline.alert_list import as_lines
from pipeline.offline.choosing import recipe_of
from pipeline.offline.scorefile import score_dataset
from pipeline.offline.scoring.ready import train
from producers.datasets import Layout, open_file
from producers.errors import DataError

START, N = 480, 700
Action = Callable[[], object]


class Steps:
    """Ends behind the last of some actions; each is done where nothing is new in the file."""

    def __init__(self, *actions: Action) -> None:
        self._actions = [*actions, _nothing, _nothing, _nothing]

    def is_set(self) -> bool:
        return False

    def wait(self, timeout: float) -> bool:
        if not self._actions:
            return True
        self._actions.pop(0)()
        return False


def _nothing() -> None:
    """Another look at the file."""


def _lines(n: int = N, *, hosts: tuple[str, ...] = ("a",)) -> list[str]:
    rng = np.random.default_rng(3)
    times = pd.date_range("2024-01-01", periods=n, freq="5min").strftime("%Y-%m-%dT%H:%M:%SZ")
    found = []
    for i, time in enumerate(times):
        for host in hosts:
            spike = 60.0 if 500 <= i < 503 or 600 <= i < 612 else 0.0
            found.append(f"{time},{host},{50 + 10 * np.sin(i / 8) + rng.normal() + spike:.3f}\n")
    return found


NAMES = "time,host,load\n"


def _follow(
    file: Path,
    *actions: Action,
    layout: Layout | None = None,
    detector: str = "zscore",
    train_rows: int | None = 200,
    budget: str = "",
    model: Model | None = None,
) -> str:
    """What is said; scores and records of alerts lie beside the file."""
    console = Console(record=True, width=400, soft_wrap=True, file=StringIO())
    follow_file(
        str(file),
        layout or Layout(),
        lambda data, learnt, _: (recipe_of(data, detector=detector, train_rows=learnt, budget=budget), learnt),
        model,
        train_rows,
        file.parent / "followed.csv",
        file.parent / "followed.jsonl",
        console,
        Steps(*actions),
    )
    return console.export_text()


def _whole(lines: list[str], folder: Path, name: str, *options: str) -> tuple[pd.DataFrame, bytes]:
    (folder / "whole").mkdir(exist_ok=True)
    file = folder / "whole" / name
    file.write_text("".join(lines))
    out = ("--out", str(folder / "whole.csv"), "--alerts", str(folder / "whole.jsonl"))
    done = CliRunner().invoke(
        create_cli(), ["score", str(file), *out, "--detector", "zscore", "--train-rows", "200", *options]
    )
    assert done.exception is None, done.output
    return pd.read_csv(folder / "whole.csv"), (folder / "whole.jsonl").read_bytes()


def _append(file: Path, *lines: str) -> Action:
    def append() -> None:
        with file.open("a") as f:
            f.writelines(lines)

    return append


def _same(folder: Path, whole: tuple[pd.DataFrame, bytes]) -> None:
    scores, records = whole
    assert records.count(b"\n") >= 2
    assert (folder / "followed.jsonl").read_bytes() == records
    followed = pd.read_csv(folder / "followed.csv")
    pd.testing.assert_frame_equal(followed.drop(columns="alert_id"), scores.drop(columns="alert_id"), check_exact=True)
    known = followed["alert_id"].notna()
    assert known.any()
    assert (followed["alert_id"][known] == scores["alert_id"][known]).all()


@pytest.mark.parametrize("portion", [1, 37, 300])
def test_alerts_are_those_of_the_whole_file_however_it_grows(tmp_path: Path, portion: int) -> None:
    file, lines = tmp_path / "load.csv", _lines()
    file.write_text(NAMES + "".join(lines[:START]))
    portions = [lines[i : i + portion] for i in range(START, N if portion > 1 else START + 40, portion)]
    said = _follow(file, *(_append(file, *some) for some in portions))
    rows = START + sum(map(len, portions))
    _same(tmp_path, _whole([NAMES, *lines[:rows]], tmp_path, "load.csv"))
    assert "learnt from 200 of the 480 rows that were there at the start" in said
    assert f"{rows:,} rows, {rows - START:,} of them came since the start" in said
    assert said.count("alert, ") == (2 if portion > 1 else 1)


def test_several_series_and_new_ones(tmp_path: Path) -> None:
    file, lines = tmp_path / "load.csv", _lines(hosts=("a", "b"))
    more = [line.replace(",a,", ",new,") for line in _lines()[START:]]
    rest = [line for some in zip(lines[2 * START :: 2], lines[2 * START + 1 :: 2], more, strict=True) for line in some]
    file.write_text(NAMES + "".join(lines[: 2 * START]))
    model = train(open_file(file), train_rows=200, detector="zscore")
    _follow(file, *(_append(file, *rest[i : i + 150]) for i in range(0, len(rest), 150)), train_rows=None, model=model)
    data = open_file(file)
    whole = score_dataset(data, model=model, recipe=recipe_of(data, detector="zscore"))
    assert set(whole.series) == {"a", "b", "new"}
    assert (tmp_path / "followed.jsonl").read_bytes() == as_lines(whole.records) != b""
    np.testing.assert_array_equal(pd.read_csv(tmp_path / "followed.csv")["score"], whole.score)


def test_a_partial_last_line_is_waited_for(tmp_path: Path) -> None:
    file, lines = tmp_path / "load.csv", _lines()
    text = "".join(lines)
    cuts = [len("".join(lines[:START])) + 7, len("".join(lines[:505])) - 2, len("".join(lines[:620])) - 1, len(text)]
    file.write_text(NAMES + text[: cuts[0]])
    said = _follow(file, *(_append(file, text[a:b]) for a, b in pairwise(cuts)))
    _same(tmp_path, _whole([NAMES, *lines], tmp_path, "load.csv"))
    assert "is left out" not in said


def test_json_lines_of_several_columns_with_missing_numbers(tmp_path: Path) -> None:
    rng = np.random.default_rng(1)
    rows = [
        {
            "ts": 1_700_000_000_000 + 60_000 * i,
            "cpu": float(rng.normal(5, 1)) + 30 * (i in range(500, 504)),
            "mem": float(rng.normal(100, 3)),
        }
        for i in range(N)
    ]
    for i in (50, 479, 480, 493, 600):
        rows[i]["mem" if i % 2 else "cpu"] = None  # type: ignore[assignment]
    lines = [json.dumps(row) + "\n" for row in rows]
    file = tmp_path / "load.jsonl"
    file.write_text("".join(lines[:START]))
    _follow(file, *(_append(file, *lines[i : i + 30]) for i in range(START, N, 30)))
    scores, records = _whole(lines, tmp_path, "load.jsonl")
    assert (tmp_path / "followed.jsonl").read_bytes() == records != b""
    assert len(pd.read_csv(tmp_path / "followed.csv")) == len(scores) == N


def test_a_table_and_wide_columns(tmp_path: Path) -> None:
    rng = np.random.default_rng(2)
    lines = [f"{rng.normal():.3f},{rng.normal(5):.3f},{'get' if i % 3 else 'put'}\n" for i in range(N)]
    lines[550:553] = ["400.0,-300.0,get\n"] * 3
    file = tmp_path / "rows.csv"
    file.write_text("x,y,verb\n" + "".join(lines[:START]))
    _follow(
        file, *(_append(file, *lines[i : i + 70]) for i in range(START, N, 70)), detector="pca", budget="1 per 100 rows"
    )
    scores, records = _whole(
        ["x,y,verb\n", *lines], tmp_path, "rows.csv", "--detector", "pca", "--budget", "1 per 100 rows"
    )
    assert (tmp_path / "followed.jsonl").read_bytes() == records != b""
    followed = pd.read_csv(tmp_path / "followed.csv")
    pd.testing.assert_frame_equal(followed.drop(columns="alert_id"), scores.drop(columns="alert_id"), check_exact=True)

    wide = [line.replace(",a,", ",").replace("\n", f",{7 + i % 5}\n") for i, line in enumerate(_lines())]
    file = tmp_path / "wide.csv"
    file.write_text("time,load,users\n" + "".join(wide[:START]))
    _follow(file, *(_append(file, *wide[i : i + 70]) for i in range(START, N, 70)), layout=Layout(wide=True))
    _same(tmp_path, _whole(["time,load,users\n", *wide], tmp_path, "wide.csv", "--wide"))


def test_german_numbers_and_dates_go_on_as_they_began(tmp_path: Path) -> None:
    """A portion by itself could be read in another way: no day beyond the 12th, numbers of thousands, a unit alone."""
    times = pd.date_range("2026-01-20", periods=N, freq="h")
    rng = np.random.default_rng(4)
    values = (
        1000
        + 50 * np.sin(np.arange(N) / 6)
        + rng.normal(0, 5, N)
        + 4000.0 * ((np.arange(N) >= 520) & (np.arange(N) < 524))
    )
    text = [f"{v:,.3f}".translate(str.maketrans(",.", ".,")) for v in values]
    text[START:] = [f"{round(v / 1000)}.{int(v) % 1000:03d}" for v in values[START:]]
    text[:3] = ["999,5", "1.001,25", "1.002,75"]
    lines = [f"{t:%d.%m.%Y %H:%M};{v}\n" for t, v in zip(times, text, strict=True)]
    file = tmp_path / "last.csv"
    file.write_text("Zeit;Leistung\n" + "".join(lines[:START]))
    _follow(file, *(_append(file, *lines[i : i + 9]) for i in range(START, N, 9)))
    _same(tmp_path, _whole(["Zeit;Leistung\n", *lines], tmp_path, "last.csv"))
    values_read = pd.read_csv(tmp_path / "followed.csv")
    assert values_read["timestamp"].iloc[-1] == f"{times[-1]:%Y-%m-%dT%H:%M:%S.000Z}"


def test_units_go_on_as_they_began(tmp_path: Path) -> None:
    lines = [line.replace(",a,", ",") for line in _lines()]
    cells = [line.rsplit(",", 1) for line in lines]
    lines = [
        f"{t},{float(v) / 100 if i % 2 else float(v) * 10:.4f} {'s' if i % 2 else 'ms'}\n"
        for i, (t, v) in enumerate(cells)
    ]
    lines[START:] = [f"{t},{float(v) * 10:.4f} ms\n" for t, v in cells[START:]]
    file = tmp_path / "load.csv"
    file.write_text("time,latency\n" + "".join(lines[:START]))
    _follow(file, *(_append(file, line) for line in lines[START : START + 40]))
    _same(tmp_path, _whole(["time,latency\n", *lines[: START + 40]], tmp_path, "load.csv"))


def test_lines_that_cannot_be_read_are_told_and_counted(tmp_path: Path) -> None:
    file, lines = tmp_path / "load.csv", _lines()
    file.write_text(NAMES + "".join(lines[:START]))
    bad = [
        "2024-01-02T20:00:00Z,a,broken\n",
        "never,a,5.0\n",
        "2024-01-02T20:00:00Z,a,1,2,3\n",
        "\n",
        "# note\n",
        NAMES,
        "oops\n",
    ]
    bad += ["2024-01-02T20:00:00Z,\xff,5.0\n", '"2024-01-02T20:00:00Z,a,5.0\n']
    with_bad = [*lines[START:490], *bad, *lines[490:]]

    def append() -> None:
        with file.open("ab") as f:
            f.write("".join(with_bad).encode("latin-1"))

    said = _follow(file, append)
    _same(tmp_path, _whole([NAMES, *lines], tmp_path, "load.csv"))
    assert "line 492 is left out: column 'load': 'broken' is not a number" in said
    assert "line 493 is left out: column 'time': 'never' is not a time like the others" in said
    assert "line 494 is left out: has 5 cells, the others have 3" in said
    assert said.count("is left out:") == 5
    assert "6 lines could not be read and were left out" in said


def _rotate(file: Path, text: str) -> Action:
    def rotate() -> None:
        file.rename(file.with_suffix(".1"))
        file.write_text(text)

    return rotate


@pytest.mark.parametrize("titles", [NAMES, ""])
def test_a_rotated_file_is_read_to_its_end_and_the_new_one_from_its_beginning(tmp_path: Path, titles: str) -> None:
    file, lines = tmp_path / "load.csv", _lines()
    file.write_text(NAMES + "".join(lines[:START]))
    late = tmp_path / "load.1"
    steps = [
        _append(file, *lines[START:490]),
        _rotate(file, titles + "".join(lines[520:550])),
        _append(late, *lines[490:520]),  # by who has it open still
        _nothing,
        _append(file, *lines[550:]),
    ]
    said = _follow(file, *steps)
    _same(tmp_path, _whole([NAMES, *lines], tmp_path, "load.csv"))
    assert "load.csv was replaced by another file: going on from its beginning" in said


def test_a_file_that_is_gone_is_waited_for(tmp_path: Path) -> None:
    file, lines = tmp_path / "load.csv", _lines()
    file.write_text(NAMES + "".join(lines[:START]))
    gone = tmp_path / "old.csv"
    again = [lambda: file.rename(gone), _nothing, lambda: file.write_text("".join(lines[START:])), _nothing, _nothing]
    said = _follow(file, *again)
    _same(tmp_path, _whole([NAMES, *lines], tmp_path, "load.csv"))
    assert said.count("is gone: waiting for a file of its name") == 1


@pytest.mark.parametrize("longer", [True, False])
def test_a_truncated_file_is_read_from_its_beginning(tmp_path: Path, longer: bool) -> None:
    file, lines = tmp_path / "load.csv", _lines()
    file.write_text(NAMES + "".join(lines[:START]))
    if longer:  # written anew and longer than before between two looks
        file.write_text(NAMES + "".join(lines[:START]))
        steps: list[Action] = [
            lambda: file.write_text(NAMES + "".join(lines[250:]) + "".join(lines[250:400])),
            _nothing,
        ]
        said = _follow(file, *steps)
        assert "was written anew: going on from its beginning" in said
        assert "rows are older than the row before them and were not scored" in said
        return
    steps = [lambda: file.write_text(NAMES + "".join(lines[START:600])), _nothing, _append(file, *lines[600:])]
    said = _follow(file, *steps)
    _same(tmp_path, _whole([NAMES, *lines], tmp_path, "load.csv"))
    assert "was truncated: going on from its beginning" in said


def test_a_file_replaced_by_a_longer_copy_of_itself_goes_on_where_it_was(tmp_path: Path) -> None:
    file, lines = tmp_path / "load.csv", _lines()
    file.write_text(NAMES + "".join(lines[:START]))

    def replace() -> None:
        (tmp_path / "new").write_text(NAMES + "".join(lines))
        (tmp_path / "new").rename(file)

    said = _follow(file, replace, _nothing)
    _same(tmp_path, _whole([NAMES, *lines], tmp_path, "load.csv"))
    assert "replaced by a file that begins as it did: going on where it was" in said


def test_a_new_file_of_other_columns_ends_with_an_error(tmp_path: Path) -> None:
    file, lines = tmp_path / "load.csv", _lines()
    file.write_text(NAMES + "".join(lines[:START]))
    other = "load,host,time\n" + "".join(",".join(reversed(line.strip().split(","))) + "\n" for line in lines[START:])
    with pytest.raises(DataError, match="'load,host,time', which is neither its names nor a row"):
        _follow(file, _rotate(file, other), _nothing)


def test_a_file_of_few_rows_is_waited_for(tmp_path: Path) -> None:
    file, lines = tmp_path / "load.csv", _lines()
    file.write_text(NAMES + lines[0])
    said = _follow(file, _append(file, *lines[1:100]), _append(file, *lines[100:START]), _append(file, *lines[START:]))
    _same(tmp_path, _whole([NAMES, *lines], tmp_path, "load.csv"))
    assert "waiting for 201 rows" in said


def test_stopped_while_it_waits_for_rows(tmp_path: Path) -> None:
    (tmp_path / "load.csv").write_text(NAMES)
    assert "too few rows came to learn from" in _follow(tmp_path / "load.csv")


def _piped(folder: Path, lines: list[str], portion: int, train_rows: int | None) -> tuple[str, bytes]:
    """What is said, and the alerts, of lines that come through a pipe in portions."""
    read, write = os.pipe()
    pipe = folder / "pipe"
    pipe.symlink_to(f"/dev/fd/{read}")
    some = ["".join(lines[i : i + portion]).encode() for i in range(0, len(lines), portion)]
    said = _follow(
        pipe, *(partial(os.write, write, data) for data in some), partial(os.close, write), train_rows=train_rows
    )
    os.close(read)
    pipe.unlink()
    return said, (folder / "followed.jsonl").read_bytes()


@pytest.mark.parametrize("train_rows", [None, 200])
def test_a_pipe_is_learnt_from_its_first_rows_however_they_come(tmp_path: Path, train_rows: int | None) -> None:
    lines = [NAMES, *_lines(1500)]
    said, alerts = _piped(tmp_path, lines, 150, train_rows)
    assert "1,500 rows, " in said
    assert _piped(tmp_path, lines, 1500, train_rows)[1] == alerts
    assert alerts != b""


def test_ctrl_c_ends_with_a_summary(tmp_path: Path) -> None:
    file, lines = tmp_path / "load.csv", _lines()
    file.write_text(NAMES + "".join(lines[:START]))
    command = [
        sys.executable,
        "-m",
        "pipeline",
        "score",
        str(file),
        "-f",
        "--detector",
        "zscore",
        "--alerts",
        str(tmp_path / "a.jsonl"),
    ]
    with subprocess.Popen(command, stderr=subprocess.PIPE, text=True) as running:
        assert running.stderr is not None
        said = list(_until(running.stderr, "following; "))
        _append(file, *lines[START:550])()
        said += _until(running.stderr, "alert, ")
        running.send_signal(signal.SIGINT)
        said += list(running.stderr)
    assert running.returncode == 0, said
    assert "550 rows, 70 of them came since the start" in said[-1]
    assert b'"status":"firing"' in (tmp_path / "a.jsonl").read_bytes()


def _until(stream: Iterable[str], beginning: str) -> Iterator[str]:
    for line in stream:
        yield line
        if line.startswith(beginning):
            return


def _refused(file: Path, *options: str) -> str:
    done = CliRunner().invoke(create_cli(), ["score", str(file), "--follow", *options])
    assert done.exception is not None
    return one_line(done.exception)


def test_what_cannot_be_followed_is_refused_with_the_mend(tmp_path: Path) -> None:
    frame = pd.DataFrame({"time": pd.date_range("2024-01-01", periods=100, freq="h"), "load": np.arange(100.0)})
    frame.to_parquet(tmp_path / "a.parquet")
    frame.to_excel(tmp_path / "a.xlsx", index=False)
    frame.to_csv(tmp_path / "a.csv.gz", index=False)
    frame.to_csv(tmp_path / "a.zip", index=False)
    frame.to_json(tmp_path / "a.json", orient="records", lines=False, date_format="iso", indent=1)
    frame[::-1].to_csv(tmp_path / "newest-first.csv", index=False)
    frame.to_csv(tmp_path / "a.csv", index=False)
    for name, what in (
        ("a.parquet", "Parquet"),
        ("a.xlsx", "Excel"),
        ("a.csv.gz", "gzip"),
        ("a.zip", "zip"),
        ("a.json", "JSON"),
        ("newest-first.csv", "order of time"),
    ):
        line = _refused(tmp_path / name)
        assert what in line
        assert "score it without --follow" in line
    assert "is a folder" in _refused(tmp_path)
    assert "there is no such file" in _refused(tmp_path / "none.csv")
    assert "without --follow" in _refused(Path("taxi"))
    assert "--apply, then tidewatch worker" in _refused(Path("kafka:loads"))
    assert "--report exclude each other" in _refused(tmp_path / "a.csv", "--report", str(tmp_path / "r.html"))
    assert ".csv" in _refused(tmp_path / "a.csv", "--out", str(tmp_path / "o.parquet"))
    assert ".jsonl" in _refused(tmp_path / "a.csv", "--alerts", str(tmp_path / "o.csv"))
    berlin = tmp_path / "local.csv"
    frame.to_csv(berlin, index=False)
    assert "may show an hour twice" in _refused(berlin, "--time-zone", "Europe/Berlin")
