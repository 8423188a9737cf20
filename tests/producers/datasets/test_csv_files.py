from __future__ import annotations

import gzip
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from producers.datasets import Layout, open_file
from producers.errors import DataError

HOUR = 3_600_000


def write(folder: Path, text: str, name: str = "load.csv") -> Path:
    file = folder / name
    file.write_text(text, encoding="utf-8")
    return file


def test_the_columns_are_found_where_none_is_named(tmp_path: Path) -> None:
    file = write(tmp_path, "when,place,load,temp\n2024-01-01 00:00:00,a,1,2.5\n2024-01-01 01:00:00,a,3,4\n")
    data = open_file(file, Layout("when"))
    assert (data.name, data.kind, data.channels) == ("load", "metric", ("load", "temp"))
    [series] = data.series().values()
    assert series.name == "load"
    assert series.values.tolist() == [[1.0, 2.5], [3.0, 4.0]]
    assert series.interval_ms == HOUR


def test_a_series_column_splits_the_rows_and_keeps_their_order_and_place(tmp_path: Path) -> None:
    file = write(tmp_path, "t,host,v\n2024-01-01,b,1\n2024-01-01,a,2\n2024-01-02,b,3\n2024-01-01,b,4\n")
    found = open_file(file, Layout("t", ("v",), "host")).series()
    assert list(found) == ["b", "a"]
    assert found["b"].columns[0].tolist() == [1.0, 3.0, 4.0]
    assert found["b"].positions.tolist() == [0, 2, 3]
    assert np.diff(found["b"].timestamps).tolist() == [24 * HOUR, -24 * HOUR]


@pytest.mark.parametrize(
    "text",
    ["1704067200", "1704067200.0", "1704067200000", "1704067200000000", "1704067200000000000", "2024-01-01",
     "2024-01-01T00:00:00Z", "2024-01-01 01:00:00+01:00", "2023-12-31T19:00:00-0500", "2024-01-01 00:00:00.000"],
)  # fmt: skip
def test_one_moment_in_many_spellings(tmp_path: Path, text: str) -> None:
    [series] = open_file(write(tmp_path, f"t,v\n{text},1\n"), Layout("t")).series().values()
    assert series.timestamps.tolist() == [1_704_067_200_000]


def test_local_times_are_read_in_their_zone(tmp_path: Path) -> None:
    file = write(tmp_path, "t,v\n2024-07-01 12:00:00,1\n")
    [series] = open_file(file, Layout("t", time_zone="Europe/Berlin")).series().values()
    assert series.timestamps.tolist() == [pd.Timestamp("2024-07-01T10:00Z").value // 1_000_000]


def test_the_hour_that_clocks_show_twice_is_read_in_order(tmp_path: Path) -> None:
    hours = ["01:30", "02:30", "02:30", "03:30"]
    file = write(tmp_path, "t,v\n" + "".join(f"2024-10-27 {h}:00,1\n" for h in hours))
    [series] = open_file(file, Layout("t", time_zone="Europe/Berlin")).series().values()
    assert np.diff(series.timestamps).tolist() == [HOUR, HOUR, HOUR]


def test_an_hour_that_clocks_skip_is_an_error(tmp_path: Path) -> None:
    file = write(tmp_path, "t,v\n2024-03-31 01:30:00,1\n2024-03-31 02:30:00,1\n")
    with pytest.raises(DataError, match="row 2, column 't': '2024-03-31 02:30:00' does not exist in Europe/Berlin"):
        open_file(file, Layout("t", time_zone="Europe/Berlin"))


@pytest.mark.parametrize("cell", ["", " ", "NaN", "null", "NA"])
def test_an_empty_cell_is_a_missing_number(tmp_path: Path, cell: str) -> None:
    file = write(tmp_path, f"t,v\n2024-01-01,1\n2024-01-02,{cell}\n2024-01-03,3\n")
    [series] = open_file(file, Layout("t")).series().values()
    assert np.isnan(series.values[:, 0]).tolist() == [False, True, False]


def test_a_cell_that_is_no_number_is_named_with_row_and_column(tmp_path: Path) -> None:
    file = write(tmp_path, "t,v\n2024-01-01,1\n2024-01-02,x7\n2024-01-03,3\n2024-01-03,y\n2024-01-04,5\n")
    with pytest.raises(DataError, match=r"load.csv, row 2, column 'v': 'x7' is not a number \(and 1 more\)"):
        open_file(file, Layout("t"))


@pytest.mark.parametrize("cell", ["soon", "", "2024-13-01", "7"])
def test_a_cell_that_is_no_time_is_named_with_row_and_column(tmp_path: Path, cell: str) -> None:
    file = write(tmp_path, f"t,v\n2024-01-01,1\n{cell},2\n")
    with pytest.raises(DataError, match=r"load.csv, row [12], column 't'"):
        open_file(file, Layout("t"))


def test_a_column_that_is_not_there_is_named_with_those_that_are(tmp_path: Path) -> None:
    file = write(tmp_path, "t,v\n2024-01-01,1\n")
    with pytest.raises(DataError, match="no column 'w'; it has t, v"):
        open_file(file, Layout("t", ("w",)))


def test_a_row_without_series_is_named(tmp_path: Path) -> None:
    file = write(tmp_path, "t,s,v\n2024-01-01,a,1\n2024-01-01,,1\n")
    with pytest.raises(DataError, match="row 2, column 's': '' names no series"):
        open_file(file, Layout("t", series_column="s"))


def test_an_unknown_time_zone_is_named(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="'Mars/Crater' is not known"):
        open_file(write(tmp_path, "t,v\n2024-01-01,1\n"), Layout("t", time_zone="Mars/Crater"))


def test_without_a_time_column_the_file_is_a_table(tmp_path: Path) -> None:
    data = open_file(write(tmp_path, "a,proto\n1,tcp\n,udp\n"))
    assert (data.kind, data.channels, data.categorical) == ("table", ("a", "proto"), ("proto",))
    assert data.series()["load"].rows(0, 1) == [[1.0, "tcp"]]


@pytest.mark.parametrize("content", ["", "t,v\n", "t,v\n1\n2024-01-01,1,2\n"])
def test_a_file_that_is_no_table_is_one_line(tmp_path: Path, content: str) -> None:
    with pytest.raises(DataError, match=r"load\.csv") as caught:
        open_file(write(tmp_path, content), Layout("t"))
    assert "\n" not in str(caught.value)


def test_a_file_that_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="no such file"):
        open_file(tmp_path / "nothing.csv")


def test_parquet_and_gzip_say_the_same_as_csv(tmp_path: Path) -> None:
    text = "t,s,v\n2024-01-01 00:00:00,a,1.5\n2024-01-01 00:00:05,b,2.5\n"
    plain = open_file(write(tmp_path, text), Layout("t", series_column="s"))
    packed = tmp_path / "packed.csv.gz"
    packed.write_bytes(gzip.compress(text.encode()))
    frame = pd.DataFrame(
        {"t": pd.to_datetime(["2024-01-01 00:00:00", "2024-01-01 00:00:05"]), "s": ["a", "b"], "v": [1.5, 2.5]}
    )
    frame.to_parquet(tmp_path / "x.parquet")
    for file in (packed, tmp_path / "x.parquet"):
        other = open_file(file, Layout("t", series_column="s"))
        for name, series in plain.series().items():
            assert other.series()[name].timestamps.tolist() == series.timestamps.tolist()
            assert other.series()[name].values.tolist() == series.values.tolist()


@pytest.mark.parametrize(
    ("content", "told"),
    [
        (",".join(f"c{i}" for i in range(50_000)) + "\n" + "1," * 49_999 + "1\n", "50,000 columns are too many"),
        (",".join(f"column_{i}" for i in range(200_000)) + "\n", "first line is longer than 1 MiB"),
        ("x" * 3_000_000, "first line is longer than 1 MiB"),
    ],
)
def test_a_file_that_is_too_wide_is_refused_before_it_is_read(tmp_path, content, told):
    file = tmp_path / "wide.csv"
    file.write_text(content)
    with pytest.raises(DataError, match=told) as error:
        open_file(file)
    assert len(str(error.value)) < 500


def test_names_that_were_marked_for_spreadsheets_come_back(tmp_path):
    file = tmp_path / "ours.csv"
    file.write_text("t,series,v\n" + "".join(f"{i},{name},{i}\n" for i in range(3) for name in ("'=1+1", "'s-h", "a")))
    data = open_file(file, Layout("t", ("v",), "series"))
    assert list(data.series()) == ["=1+1", "'s-h", "a"]


def test_a_long_run_of_blanks_costs_no_more_than_its_length(tmp_path: Path) -> None:
    rows = "".join(f"2024-01-01T{h:02}:{m:02}:00  {h + m}.5  \n" for h in range(24) for m in range(0, 60, 5))
    file = write(tmp_path, "when  load\n" + rows + "2024-01-02T00:00:00" + " " * 200_000 + "7.5\n", "blanks.txt")
    [series] = open_file(file).series().values()  # the square of it would be minutes
    assert (len(series), series.values[-1, 0]) == (289, 7.5)
