"""More files as people have them: answers of monitoring systems, dates in digits, signs of money, packings. One load in every shape, or the refusal."""

from __future__ import annotations

import io
import json
import tarfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.orc
import pyarrow.parquet
import pytest
import scipy.io

from producers.datasets import Corrections, Layout, open_file
from producers.datasets.growing import Growing
from producers.errors import DataError

N = 60
TIMES = pd.date_range("2026-03-10", periods=N, freq="15min")
LATER = TIMES + pd.Timedelta(days=15)
DAYS = pd.date_range("2025-06-01", periods=N)
WEEKS = pd.date_range("2024-01-01", periods=N, freq="7D")
MONTHS = pd.date_range("2010-01-01", periods=N, freq="MS")
YEARS = pd.to_datetime([f"{1900 + i}-01-01" for i in range(N)])
LOAD = np.round(20 * np.sin(np.arange(N) / 4) + 0.37 * np.arange(N) + 0.05, 2)
BIG = np.round(1_000_000 + 1000 * LOAD)
S = (TIMES - pd.Timestamp(0)) // pd.Timedelta(seconds=1)
MS = S * 1000
ISO = [f"{t:%Y-%m-%dT%H:%M:%SZ}" for t in TIMES]
FRAME = pd.DataFrame({"time": TIMES, "load": LOAD})


def rows(line: Callable[[int], str], head: str = "time,load") -> str:
    return "".join(f"{text}\n" for text in ([head] if head else []) + [line(i) for i in range(N)])


def cells(cell: Callable[[float], str], values: Any = LOAD) -> str:
    return rows(lambda i: f'{ISO[i]},"{cell(float(values[i]))}"')


def dates(form: Callable[[Any], str], name: str, times: Any = DAYS) -> str:
    return rows(lambda i: f"{form(times[i])},{LOAD[i]}", f"{name},load")


def indian(value: float) -> str:
    whole = f"{value:.0f}"
    head, tail = whole[:-3], whole[-3:]
    groups = [head[max(0, end - 2) : end] for end in range(len(head), 0, -2)][::-1]
    return ",".join([*groups, tail])


def two(of: Callable[[str, Any], Any]) -> list[Any]:
    return [of("a", LOAD), of("b", LOAD + 1)]


def arrow(**columns: Any) -> pa.Table:
    return pa.table({"time": pa.array(TIMES, pa.timestamp("ns")), **columns})


def parquet(table: pa.Table) -> bytes:
    out = io.BytesIO()
    pyarrow.parquet.write_table(table, out)
    return out.getvalue()


def orc() -> bytes:
    out = io.BytesIO()
    pyarrow.orc.write_table(arrow(load=LOAD), out)
    return out.getvalue()


def arrow_stream() -> bytes:
    out = io.BytesIO()
    table = arrow(load=LOAD)
    with pa.ipc.new_stream(out, table.schema) as writer:
        writer.write_table(table)
    return out.getvalue()


def tarred(packing: str) -> bytes:
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode=f"w{packing}") as archive:  # type: ignore[call-overload]
        for name, text in (("a.csv", cells(str)), ("b.csv", cells(str, LOAD + 1)), ("README.md", "of a and b\n")):
            member = tarfile.TarInfo(name)
            member.size = len(text)
            archive.addfile(member, io.BytesIO(text.encode()))
    return out.getvalue()


def matlab(**arrays: Any) -> bytes:
    out = io.BytesIO()
    scipy.io.savemat(out, arrays)
    return out.getvalue()


def titled_sheet() -> bytes:
    out = io.BytesIO()
    with pd.ExcelWriter(out, engine="openpyxl") as writer:
        FRAME.to_excel(writer, sheet_name="Load", index=False, startrow=3)
        sheet = writer.sheets["Load"]
        sheet["A1"] = "Load of the plant"
        sheet.merge_cells("A1:B1")
        sheet["A2"] = "printed on Monday"
    return out.getvalue()


NESTED = [{"a": float(v)} for v in LOAD]

ONE: dict[str, tuple[str | bytes, Any]] = {
    # numbers
    "Indian thousands": (cells(indian, BIG), BIG),
    "rupees": (cells(lambda v: f"₹ {indian(v)}.25", BIG), BIG + 0.25),
    "a code of money before": (cells("USD {:.2f}".format), LOAD),
    "money in brackets": (cells(lambda v: f"($ {-v:.2f})" if v < 0 else f"$ {v:.2f}"), LOAD),
    "a minus behind": (cells(lambda v: f"{abs(v):.2f}{'-' * (v < 0)}"), LOAD),
    "a dash for minus": (cells(lambda v: f"{'–' * (v < 0)}{abs(v):.2f}"), LOAD),
    # times in digits, units in names
    "minutes in the name": (rows(lambda i: f"{i * 15},{LOAD[i]}", "Time (min),load"), (LOAD, np.arange(N) * 900_000)),
    "hours in the name": (rows(lambda i: f"{i / 4},{LOAD[i]}", "Elapsed Time (hours),load"), (LOAD, np.arange(N) * 900_000)),
    "days in the name": (rows(lambda i: f"{i / 96:.8f},{LOAD[i]}", "time_d,load"), (LOAD, np.arange(N) * 900_000)),
    "date, and time of day in digits": (rows(lambda i: f"{TIMES[i]:%Y-%m-%d,%H%M},{LOAD[i]}", "date,time,load"), LOAD),
    "date, and time of day without zeros": (
        rows(lambda i: f"{TIMES[i]:%Y-%m-%d},{int(f'{TIMES[i]:%H%M}')},{LOAD[i]}", "date,time,load"), LOAD,
    ),
    "seconds with commas": (rows(lambda i: f'"{S[i]:,}",{LOAD[i]}'), LOAD),
    "seconds, called clock": (rows(lambda i: f"{S[i]},{LOAD[i]}", "clock,load"), LOAD),
    "years first, of two digits": (dates("{:%y-%m-%d}".format, "date"), (LOAD, DAYS)),
    "years first, with bars": (dates("{:%y/%m/%d}".format, "date"), (LOAD, DAYS)),
    "years last, of two digits": (dates("{:%d/%m/%y}".format, "date"), (LOAD, DAYS)),
    "years last, of one day": (
        rows(lambda i: f"{LATER[i]:%d/%m/%y %H:%M},{LOAD[i]}"),
        (LOAD, LATER),
    ),
    "months in digits": (dates("{:%Y%m}".format, "month", MONTHS), (LOAD, MONTHS)),
    "months in digits, called dates": (dates("{:%Y%m}".format, "date", MONTHS), (LOAD, MONTHS)),
    "weeks in digits": (dates(lambda t: f"{t.isocalendar().year}{t.isocalendar().week:02}", "week", WEEKS), (LOAD, WEEKS)),
    "months with a point": (dates("{:%m.%Y}".format, "Monat", MONTHS), (LOAD, MONTHS)),
    "months behind a point": (dates("{:%Y.%m}".format, "month", MONTHS), (LOAD, MONTHS)),
    "months with a bar": (dates("{:%m/%Y}".format, "period", MONTHS), (LOAD, MONTHS)),
    "years in German": (dates("{:%Y}".format, "Jahr", YEARS), (LOAD, YEARS)),
    "years in French": (dates("{:%Y}".format, "Année", YEARS), (LOAD, YEARS)),
    # how files are written
    "as R prints it": (rows(lambda i: f'"{i + 1}" "{TIMES[i]:%Y-%m-%d %H:%M:%S}" {LOAD[i]}', '"time" "load"'), LOAD),
    "a title over two columns": ("Load of the plant,\nprinted on Monday,\n" + cells(str), LOAD),
    "a sheet with a title": (titled_sheet(), LOAD),
    "a number missing above": (rows(lambda i: f"{ISO[i]},{'' if i < 2 else LOAD[i]}", ""), np.r_[np.nan, np.nan, LOAD[2:]]),
    "objects and lists beside": (parquet(arrow(load=LOAD, more=NESTED, all=[[1.0, 2.0]] * N)), LOAD),
    "ORC": (orc(), LOAD),
    "a stream of Arrow": (arrow_stream(), LOAD),
    "vectors of MATLAB": (matlab(t=S.to_numpy(np.float64), load=LOAD), LOAD),
    # JSON
    **{
        f"pandas' {orient}": (FRAME.to_json(orient=orient, date_unit="ms"), LOAD)
        for orient in ("records", "index", "columns", "split")
    },
    **{
        f"pandas' {orient}, times in the index": (FRAME.set_index("time").to_json(orient=orient), LOAD)
        for orient in ("index", "columns", "split")
    },
    "names beside rows": (json.dumps({"labels": ["time", "load"], "data": [[int(t), v] for t, v in zip(S, LOAD, strict=True)]}), LOAD),
    "Elasticsearch": (
        json.dumps({"took": 3, "hits": {"total": {"value": N}, "hits": [
            {"_source": {"@timestamp": t, "load": v}, "sort": [1]} for t, v in zip(ISO, LOAD, strict=True)]}}), LOAD,
    ),
    "Elasticsearch's buckets": (
        json.dumps({"hits": {"total": 1, "hits": []}, "aggregations": {"by": {"buckets": [
            {"key_as_string": t, "load": {"value": v}} for t, v in zip(ISO, LOAD, strict=True)]}}}), LOAD,
    ),
    "Azure": (
        json.dumps({"cost": 1, "value": [{"id": "x", "name": {"value": "cpu"}, "timeseries": [
            {"metadatavalues": [], "data": [{"timeStamp": t, "average": v} for t, v in zip(ISO, LOAD, strict=True)]}]}]}), LOAD,
    ),
}  # fmt: skip

SEVERAL: dict[str, tuple[str | bytes, str]] = {
    "tar": (tarred(":"), "load.tar"),
    "tar, packed": (tarred(":gz"), "load.tar.gz"),
    "Datadog": (
        json.dumps({"series": two(lambda n, v: {"scope": f"host:{n}", "interval": 900, "pointlist": [[int(t), x] for t, x in zip(MS, v, strict=True)]})}),
        "load.json",
    ),
    "Graphite, values first": (
        json.dumps(two(lambda n, v: {"target": n, "datapoints": [[x, int(t)] for t, x in zip(S, v, strict=True)]})), "load.json",
    ),
    "CloudWatch": (
        json.dumps({"MetricDataResults": two(lambda n, v: {"Id": n, "Label": n, "Timestamps": ISO, "Values": list(v), "StatusCode": "Complete"})}),
        "load.json",
    ),
    "VictoriaMetrics": (
        "\n".join(json.dumps(one) for one in two(lambda n, v: {"metric": {"__name__": "load", "host": n}, "values": list(v), "timestamps": MS.tolist()})),
        "load.jsonl",
    ),
    "OpenTSDB": (
        json.dumps(two(lambda n, v: {"metric": "load", "tags": {"host": n}, "dps": {str(t): x for t, x in zip(S, v, strict=True)}})), "load.json",
    ),
    "readings within devices": (
        json.dumps(two(lambda n, v: {"id": n, "readings": [{"t": t, "v": x} for t, x in zip(ISO, v, strict=True)]})), "load.json",
    ),
    "blanks behind names": (
        "".join(f"{ISO[i]},a{' ' * (i % 3)},{LOAD[i]}\n{ISO[i]},b,{LOAD[i] + 1}\n" for i in range(N)).join(["time,host,load\n", ""]), "load.csv",
    ),
}  # fmt: skip

REFUSED: dict[str, tuple[str | bytes, str]] = {
    "two currencies": (
        rows(lambda i: f"{ISO[i]},{'$€'[i % 2]}{abs(LOAD[i])}"),
        "currencies do not go together: '$' and '€'",
    ),
    "Julian days, or seconds": (
        rows(lambda i: f"{2461045.5 + i / 96:.6f},{LOAD[i]}"),
        "--read time-unit=jd or --read time-unit=s",
    ),
    "days of MATLAB, or seconds": (rows(lambda i: f"{739983 + i / 96:.6f},{LOAD[i]}"), "--read time-unit=matlab"),
    "Windows' time, or nanoseconds": (
        rows(lambda i: f"{(S[i] + 11_644_473_600) * 10**7},{LOAD[i]}"),
        "--read time-unit=filetime",
    ),
    ".NET's ticks, or nanoseconds": (
        rows(lambda i: f"{(S[i] + 62_135_596_800) * 10**7},{LOAD[i]}"),
        "--read time-unit=ticks",
    ),
    "a year and its day, or seconds": (dates("{:%Y%j}".format, "time"), "may be a date (a year and its day)"),
    "days as Excel counts them": (
        rows(lambda i: f"{45809 + i},{LOAD[i]}", "Day,load"),
        "say what the numbers are: --read time-unit=excel",
    ),
    "lists of rows": (parquet(arrow(load=[[1.0, 2.0]] * N)), "no column but 'time' holds numbers (load: lists)"),
    "objects in objects, deeper than a reader goes": ('{"a":' * 900 + "[1,2]" + "}" * 900, "within each other"),
    "lists in lists, deeper than that": ("[" * 100_000 + "1" + "]" * 100_000, "within each other"),
    "SQLite": (b"SQLite format 3\0" + bytes(100), "is a database of SQLite"),
}


@pytest.mark.parametrize("name", ONE)
def test_a_load_is_read_from_any_of_them(tmp_path: Path, name: str) -> None:
    content, right = ONE[name]
    file = tmp_path / ("load.mat" if "MATLAB" in name else "load.csv")
    file.write_bytes(content.encode() if isinstance(content, str) else content)
    data = open_file(file)
    said = "\n".join(data.reading)
    values, times = right if isinstance(right, tuple) else (right, TIMES)
    ms = (
        times
        if isinstance(times, np.ndarray)
        else ((times - pd.Timestamp(0)) // pd.Timedelta(milliseconds=1)).to_numpy()
    )
    assert data.kind == "metric", said
    [series] = data.all_series.values()
    np.testing.assert_array_equal(series.timestamps, ms, err_msg=said)
    np.testing.assert_allclose(series.values, np.asarray(values)[:, None], err_msg=said)


@pytest.mark.parametrize("name", SEVERAL)
def test_two_series_are_read_from_any_of_them(tmp_path: Path, name: str) -> None:
    content, file_name = SEVERAL[name]
    file = tmp_path / file_name
    file.write_bytes(content.encode() if isinstance(content, str) else content)
    data = open_file(file)
    said = "\n".join(data.reading)
    assert len(data.all_series) == 2, said
    for series, more in zip(data.all_series.values(), (0, 1), strict=True):
        np.testing.assert_array_equal(series.timestamps, MS, err_msg=said)
        np.testing.assert_allclose(series.values, LOAD[:, None] + more, err_msg=said)
    if name == "Datadog":
        assert "became rows, without interval" in said  # nothing is dropped in silence


@pytest.mark.parametrize("name", REFUSED)
def test_what_may_be_two_things_is_refused_with_the_option(tmp_path: Path, name: str) -> None:
    content, told = REFUSED[name]
    file = tmp_path / "load.csv"
    file.write_bytes(content.encode() if isinstance(content, str) else content)
    with pytest.raises(DataError) as caught:
        open_file(file)
    assert told in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(("unit", "before"), [("filetime", 11_644_473_600), ("ticks", 62_135_596_800)])
def test_the_option_reads_100_ns(tmp_path: Path, unit: str, before: int) -> None:
    file = tmp_path / "load.csv"
    file.write_text(rows(lambda i: f"{(S[i] + before) * 10**7},{LOAD[i]}"))
    [series] = open_file(file, Layout(corrections=Corrections(time_unit=unit))).all_series.values()
    np.testing.assert_array_equal(series.timestamps, MS)


@pytest.mark.parametrize("name", ["years first, of two digits", "date, and time of day in digits"])
def test_times_that_only_many_rows_tell_are_not_followed(name: str) -> None:
    content, _ = ONE[name]
    assert isinstance(content, str)
    with pytest.raises(DataError, match="cannot be followed"):
        Growing(Path("load.csv"), content.encode(), Layout())


def test_local_times_of_a_zone_whose_clocks_are_never_set_back_are_followed() -> None:
    local = [f"{t:%Y-%m-%d %H:%M}" for t in TIMES.tz_localize("UTC").tz_convert("Asia/Tokyo")]
    content = rows(lambda i: f"{local[i]},{LOAD[i]}").encode()
    growing = Growing(Path("load.csv"), content, Layout(time_zone="Asia/Tokyo"))
    [series] = growing.dataset.all_series.values()
    np.testing.assert_array_equal(series.timestamps, MS)
    with pytest.raises(DataError, match="may show an hour twice"):
        Growing(Path("load.csv"), content, Layout(time_zone="Europe/Berlin"))
