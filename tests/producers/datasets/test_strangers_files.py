"""Files of programs that were read as something else with exit code 0: each holds one load, and says what it was taken for."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from producers.datasets import Layout, open_file
from producers.errors import DataError

N = 60
TIMES = pd.date_range("2026-03-01", periods=N, freq="15min")
HOURS = pd.date_range("2026-03-01", periods=N, freq="h")
DAYS = pd.date_range("2026-03-01", periods=20)
MONTHS = pd.date_range("2010-01-01", periods=N, freq="MS")
LOAD = np.round(20 * np.sin(np.arange(N) / 4) + 0.37 * np.arange(N) + 0.05, 2)


def rows(head: str, line: Callable[[int], str], n: int = N) -> str:
    return head + "".join(f"{line(i)}\n" for i in range(n))


SHAPES: dict[str, tuple[str, Any]] = {
    "day.month.year of two digits, which may be times of day, beside times of day": (
        rows("Datum;Uhrzeit;Last\n", lambda i: f"{TIMES[i]:%d.%m.%y;%H:%M:%S};{LOAD[i]}"), TIMES,
    ),
    "the same alone": (rows("Datum;Last\n", lambda i: f"{DAYS[i]:%d.%m.%y};{LOAD[i]}", len(DAYS)), DAYS),
    "hours in digits": (
        json.dumps({"items": [{"timestamp": f"{t:%Y%m%d%H}", "views": v} for t, v in zip(HOURS, LOAD.tolist(), strict=True)]}), HOURS,
    ),
    "columns of two levels and the name of the index, as yfinance has them": (
        rows("Price,Close\nTicker,AAPL\nDate,\n", lambda i: f"{TIMES[i]:%Y-%m-%d %H:%M},{LOAD[i]}"), TIMES,
    ),
    "year and month without names": (rows("", lambda i: f" {MONTHS[i].year} {MONTHS[i].month:2d} {LOAD[i]:8.2f}"), MONTHS),
    "a printed DataFrame": (rows("                 time   load\n", lambda i: f"{i:<3} {TIMES[i]:%Y-%m-%d %H:%M:%S}  {LOAD[i]:6.2f}"), TIMES),
    "Zabbix": (
        json.dumps({"result": [
            {"itemid": "23296", "clock": str(int(t.timestamp())), "value": str(v), "ns": str(i * 16_000_000)}
            for i, (t, v) in enumerate(zip(TIMES, LOAD, strict=True))
        ]}), TIMES,
    ),
    "Splunk": (rows('"_time",count,"_span"\n', lambda i: f'"{TIMES[i]:%Y-%m-%dT%H:%M:%S}.000+0000",{LOAD[i]},900'), TIMES),
}  # fmt: skip


@pytest.mark.parametrize("name", SHAPES)
def test_a_load_is_read_as_what_it_is(tmp_path: Path, name: str) -> None:
    content, times = SHAPES[name]
    file = tmp_path / ("load.json" if content.startswith("{") else "load.csv")
    file.write_text(content)
    data = open_file(file)
    said = "\n".join(data.reading)
    assert (data.kind, len(data.channels)) == ("metric", 1), said
    [series] = data.all_series.values()
    ms = ((times - pd.Timestamp(0)) // pd.Timedelta(milliseconds=1)).to_numpy()
    np.testing.assert_array_equal(series.timestamps, ms, err_msg=said)
    np.testing.assert_allclose(series.values[:, 0], LOAD[: len(ms)], err_msg=said)


def test_levels_that_tell_columns_apart_are_in_their_names(tmp_path: Path) -> None:
    file = tmp_path / "prices.csv"
    file.write_text(
        rows(
            "Price,Close,Close,Open,Open\nTicker,AAPL,MSFT,AAPL,MSFT\nDate,,,,\n",
            lambda i: f"{TIMES[i]:%Y-%m-%d %H:%M},{LOAD[i]},1,2,3",
        )
    )
    data = open_file(file)
    assert data.channels == ("Close AAPL", "Close MSFT", "Open AAPL", "Open MSFT")


def test_times_of_day_with_points_stay_times_of_day(tmp_path: Path) -> None:
    file = tmp_path / "day.csv"
    file.write_text(rows("Zeit;Last\n", lambda i: f"10.{i:02d}.05;{LOAD[i]}"))
    [series] = open_file(file).all_series.values()
    assert (np.diff(series.timestamps) == 60_000).all()


def test_a_first_column_that_counts_is_judged_where_it_does_not_begin_as_row_numbers_do(tmp_path: Path) -> None:
    file = tmp_path / "counts.csv"
    file.write_text(rows("", lambda i: f"{i + 7},{LOAD[i]},{LOAD[i] / 3:.3f}"))
    assert open_file(file).channels == ("column 1", "column 2", "column 3")
    file.write_text(rows("", lambda i: f"{i + 1},{LOAD[i]},{LOAD[i] / 3:.3f}"))
    data = open_file(file)
    assert data.channels == ("column 2", "column 3")
    assert "left out: column 1 (numbers the rows)" in data.reading[2]


def test_arff_is_a_table_with_its_labels(tmp_path: Path) -> None:
    head = "% Weka\n@relation load\n@attribute a numeric\n@attribute kind {x,y}\n@attribute outlier {yes,no}\n@data\n"
    file = tmp_path / "load.arff"
    file.write_text(rows(head, lambda i: f"{LOAD[i] if i else '?'},{'xy'[i % 2]},{'yes' if i == 7 else 'no'}"))
    data = open_file(file)
    assert (data.kind, data.channels, data.categorical) == ("table", ("a", "kind"), ("kind",))
    assert np.flatnonzero(next(iter(data.labels().values())).anomalous).tolist() == [7]
    assert np.isnan(next(iter(data.series().values())).columns[0]).tolist() == [True] + [False] * (N - 1)
    file.write_text(head + "1,z,no\n")
    with pytest.raises(DataError, match="cannot be read as ARFF"):
        open_file(file)


def test_what_is_none_of_them_is_refused_in_a_line(tmp_path: Path) -> None:
    file = tmp_path / "load.txt"
    file.write_text(rows("", lambda i: f"{i % 2} 1:{LOAD[i]} 2:0.5"))  # the labels were judged, the rows left out
    with pytest.raises(DataError, match="libsvm's sparse rows"):
        open_file(file)
    lists = [json.dumps({"start": "2026-03-01 00:00:00", "target": LOAD.tolist(), "item_id": k}) for k in "ab"]
    file = tmp_path / "load.jsonl"
    file.write_text("\n".join(lists))  # a traceback
    with pytest.raises(DataError, match="target: lists"):
        open_file(file)


def test_a_column_that_names_zones_is_told_where_times_are_taken_for_utc(tmp_path: Path) -> None:
    file = tmp_path / "load.csv"
    file.write_text(rows("local_time,tz,load\n", lambda i: f"{TIMES[i]:%Y-%m-%d %H:%M},Europe/Berlin,{LOAD[i]}"))
    assert any("tz names time zones (Europe/Berlin)" in line for line in open_file(file).reading)
    assert not any("names time zones" in line for line in open_file(file, Layout(time_zone="Europe/Berlin")).reading)
