"""Files as people have them: each shape with its one right reading, or with the refusal that names the option.

One truth (forty hours of a load, now and then of two hosts) is written in every shape and must come back, number by number, time by time.
"""

from __future__ import annotations

import bz2
import gzip
import io
import json
import lzma
import zipfile
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow.feather
import pytest

from producers.datasets import Corrections, Dataset, Layout, open_file, unpacking
from producers.errors import DataError

N = 40
START = pd.Timestamp("2026-03-10T00:00:00Z")
TIMES = pd.date_range(START, periods=N, freq="h")
MS = (TIMES.tz_localize(None).to_numpy().astype("datetime64[ms]").astype(np.int64)).tolist()
LOAD = [round(1000 + 700 * float(np.sin(i / 4)) + i * 0.37 + 0.05, 2) for i in range(N)]
TEMP = [round(20 + 5 * float(np.cos(i / 6)), 1) + 0.1 for i in range(N)]
TEMP = [round(t, 1) for t in TEMP]
TWO = {"a": LOAD, "b": [round(v / 2, 2) for v in LOAD]}


HOUR = pd.Timedelta("1h")
DAYS, MONTHS = (
    pd.date_range("2026-01-01", periods=N, freq=step).to_numpy().astype("datetime64[ms]").astype(np.int64).tolist()
    for step in ("D", "MS")
)
BOX = "+---------------------+---------+\n"


def days(i: int) -> pd.Timestamp:
    return pd.Timestamp(DAYS[i], unit="ms")


GERMAN = [
    "Januar",
    "Februar",
    "März",
    "April",
    "Mai",
    "Juni",
    "Juli",
    "August",
    "September",
    "Oktober",
    "November",
    "Dezember",
]


def months(i: int) -> pd.Timestamp:
    return pd.Timestamp(MONTHS[i], unit="ms")


def iso(i: int) -> str:
    return TIMES[i].strftime("%Y-%m-%d %H:%M:%S")


def german(value: float, *, grouped: bool = False) -> str:
    text = f"{value:,.2f}" if grouped else f"{value:.2f}"
    return text.replace(",", "_").replace(".", ",").replace("_", ".")


def rows(line: Callable[[int], str], head: str = "timestamp,load", count: int = N) -> str:
    return "".join(f"{text}\n" for text in ([head] if head else []) + [line(i) for i in range(count)])


def when(spelling: str, head: str = "timestamp,load") -> str:
    return rows(lambda i: f"{TIMES[i].strftime(spelling)},{LOAD[i]}", head)


@dataclass
class Shape:
    """A file's content, and what is right."""

    content: str | bytes
    layout: Layout = field(default_factory=Layout)
    name: str = "load.csv"
    series: dict[str, list[Any]] | None = None  # name -> values (one or several channels); None: the load alone
    channels: tuple[str, ...] = ("load",)
    times: list[int] | None = None
    said: str = ""
    kind: str = "metric"


def reads(**corrections: Any) -> Layout:
    return Layout(corrections=Corrections(**corrections))


def excel(frame: pd.DataFrame, **more: pd.DataFrame) -> bytes:
    out = io.BytesIO()
    with pd.ExcelWriter(out, engine="openpyxl") as writer:
        frame.to_excel(writer, sheet_name="Load", index=False)
        for name, other in more.items():
            other.to_excel(writer, sheet_name=name, index=False)
    return out.getvalue()


def zipped(**members: str) -> bytes:
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, text in members.items():
            archive.writestr(name.replace("__", "."), text)
    return out.getvalue()


PLAIN = when("%Y-%m-%d %H:%M:%S")
FRAME = pd.DataFrame({"timestamp": TIMES.tz_localize(None), "load": LOAD})
LONG = rows(lambda i: f"{iso(i // 2)},{'ab'[i % 2]},{TWO['ab'[i % 2]][i // 2]}", "timestamp,host,value", 2 * N)
HALF_DAY = "%I:%M:%S %p"
INFLUX = (
    "#group,false,false,true,true,false,false,true,true,true\n"
    "#datatype,string,long,dateTime:RFC3339,dateTime:RFC3339,dateTime:RFC3339,double,string,string,string\n"
    "#default,_result,,,,,,,,\n,result,table,_start,_stop,_time,_value,_field,_measurement,host\n"
    + "".join(
        f",,0,2026-03-01T00:00:00Z,2026-04-01T00:00:00Z,{TIMES[i].strftime('%Y-%m-%dT%H:%M:%SZ')},{TWO['a'][i]},usage,cpu,a\n"
        for i in range(N)
    )
    + "\n"
)

SHAPES: dict[str, Shape] = {
    "years and names of months": Shape(
        rows(lambda i: f"{months(i).year},{months(i):%b},{LOAD[i]}", "Year,Month,load"), times=MONTHS
    ),
    "years and German names of months": Shape(
        rows(lambda i: f"{months(i).year};{GERMAN[months(i).month - 1]};{german(LOAD[i])}", "Jahr_;Month;load").replace(
            "Jahr_", "Year"
        ),
        times=MONTHS,
    ),
    "lines of nothing but delimiters above": Shape(
        ";;\n;;\n" + rows(lambda i: f"{iso(i)};{german(LOAD[i])}", "Zeit;load")
    ),
    "minutes since 1970, said": Shape(
        rows(lambda i: f"{MS[i] // 60_000},{LOAD[i]}"), layout=Layout(corrections=Corrections(time_unit="min"))
    ),
    "one unit in a column": Shape(rows(lambda i: f"{iso(i)},{LOAD[i]},{'kW' if i != 3 else ''}", "t,load,unit")),
    "units tell series apart, said": Shape(
        rows(lambda i: f"{iso(i)},{LOAD[i]},W\n{iso(i)},{LOAD[i] / 1000},kW", "t,load,unit"),
        layout=Layout(series_column="unit"),
        series={"W": LOAD, "kW": [v / 1000 for v in LOAD]},
    ),
    "plain": Shape(PLAIN),
    # numbers
    "german": Shape(rows(lambda i: f"{TIMES[i].strftime('%d.%m.%Y %H:%M')};{german(LOAD[i])}", "Zeit;load")),
    "german with thousands": Shape(rows(lambda i: f"{iso(i)};{german(LOAD[i], grouped=True)}", "Datum;load")),
    "decimal commas in quotes": Shape(rows(lambda i: f'{iso(i)},"{german(LOAD[i])}"')),
    "thousands commas in quotes": Shape(rows(lambda i: f'{iso(i)},"{LOAD[i]:,.2f}"')),
    "thousands commas, whole numbers": Shape(
        rows(lambda i: f'{iso(i)},"{int(LOAD[i]):,}"'), series={"load": [float(int(v)) for v in LOAD]}
    ),
    "thousands points, whole numbers": Shape(
        rows(lambda i: f"{iso(i)};{int(LOAD[i]):,}".replace(",", "."), "timestamp;load"),
        series={"load": [float(int(v)) for v in LOAD]},
    ),
    "blanks between thousands": Shape(
        rows(lambda i: f"{iso(i)};{LOAD[i]:,.2f}".replace(",", " ").replace(".", ","), "t;load")
    ),
    "narrow blanks between thousands": Shape(
        rows(lambda i: f"{iso(i)};{LOAD[i]:,.2f}".replace(",", "\u202f").replace(".", ","), "t;load")
    ),
    "apostrophes between thousands": Shape(rows(lambda i: f"{iso(i)};{LOAD[i]:,.2f}".replace(",", "'"), "t;load")),
    "three decimals after a comma, decided by another column": Shape(
        rows(lambda i: f"{iso(i)};{1 + i % 9},{100 + i};{german(LOAD[i])}", "t;small;load"),
        channels=("small", "load"),
        series={"load": [[round(1 + i % 9 + (100 + i) / 1000, 3), LOAD[i]] for i in range(N)]},
    ),
    "three decimals, said": Shape(
        rows(lambda i: f"{iso(i)};{1 + i % 9},{100 + i}", "t;load"),
        reads(decimal=","),
        series={"load": [round(1 + i % 9 + (100 + i) / 1000, 3) for i in range(N)]},
    ),
    "exponents": Shape(rows(lambda i: f"{iso(i)},{LOAD[i]:.6e}")),
    "percent": Shape(rows(lambda i: f"{iso(i)},{LOAD[i]} %"), said="load (in %)"),
    "currency": Shape(rows(lambda i: f"{iso(i)},${LOAD[i]}")),
    "accountants' negatives": Shape(
        rows(lambda i: f'{iso(i)},"({LOAD[i]:,.2f})"' if i % 2 else f'{iso(i)},"{LOAD[i]:,.2f}"'),
        series={"load": [-v if i % 2 else v for i, v in enumerate(LOAD)]},
    ),
    "typographic minus": Shape(rows(lambda i: f"{iso(i)},\u2212{LOAD[i]}"), series={"load": [-v for v in LOAD]}),
    "thousands as K": Shape(
        rows(lambda i: f"{iso(i)},{LOAD[i] / 1000:.5f} K" if LOAD[i] > 1000 else f"{iso(i)},{LOAD[i]}")
    ),
    "sizes": Shape(
        rows(lambda i: f"{iso(i)},{i + 1} KiB" if i % 2 else f"{iso(i)},{i + 1} MiB"),
        series={"load": [(i + 1) * (1024.0 if i % 2 else 1024.0**2) for i in range(N)]},
    ),
    "durations": Shape(
        rows(lambda i: f"{iso(i)},{i + 1} ms" if i % 2 else f"{iso(i)},{i + 1} s"),
        series={"load": [(i + 1) * (1e-3 if i % 2 else 1.0) for i in range(N)]},
    ),
    "switches": Shape(
        rows(lambda i: f"{iso(i)},{'on' if i % 3 else 'off'}"), series={"load": [float(bool(i % 3)) for i in range(N)]}
    ),
    "true and false": Shape(
        rows(lambda i: f"{iso(i)},{i % 3 == 0}"), series={"load": [float(i % 3 == 0) for i in range(N)]}
    ),
    **{
        f"missing as {mark}": Shape(
            rows(lambda i, mark=mark: f"{iso(i)},{mark if i % 7 == 3 else LOAD[i]}"),
            series={"load": [np.nan if i % 7 == 3 else v for i, v in enumerate(LOAD)]},
            said="6 numbers are missing",
        )
        for mark in ("-", "#N/A", "\\N", "n/a", "?", "null", "#DIV/0!")
    },
    "missing as -999, said": Shape(
        rows(lambda i: f"{iso(i)},{-999 if i % 7 == 3 else LOAD[i]}"),
        reads(missing=("-999",)),
        series={"load": [np.nan if i % 7 == 3 else v for i, v in enumerate(LOAD)]},
    ),
    "missing as -999, unsaid, is told": Shape(
        rows(lambda i: f"{iso(i)},{-999 if i % 7 == 3 else LOAD[i]}"),
        series={"load": [-999.0 if i % 7 == 3 else v for i, v in enumerate(LOAD)]},
        said="--read missing=-999",
    ),
    # header and index
    "no names": Shape(when("%Y-%m-%d %H:%M:%S", ""), channels=("column 2",), said="no names in the first line"),
    "no names, seconds": Shape(
        rows(lambda i: f"{MS[i] // 1000},{LOAD[i]},{TEMP[i]}", ""),
        channels=("column 2", "column 3"),
        series={"load": [list(p) for p in zip(LOAD, TEMP, strict=True)]},
    ),
    "no names, 0 and 1 at the end": Shape(
        rows(lambda i: f"{iso(i)},{LOAD[i]},{int(i > 35)}", ""), channels=("column 2",), said="column 3 (labels)"
    ),
    "pandas' index": Shape(rows(lambda i: f"{i},{iso(i)},{LOAD[i]}", ",timestamp,load"), said="numbers the rows"),
    "pandas' index of dates": Shape(rows(lambda i: f"{iso(i)},{LOAD[i]}", ",load")),
    "R's row names": Shape(rows(lambda i: f'"{i + 1}","{iso(i)}",{LOAD[i]}', '"timestamp","load"')),
    "an id that counts": Shape(
        rows(lambda i: f"{i + 1},{iso(i)},{LOAD[i]}", "id,timestamp,load"), said="id (numbers the rows)"
    ),
    "pandas' names 0, 1": Shape(
        rows(lambda i: f"{iso(i)},{LOAD[i]},{TEMP[i]}", "time,0,1"),
        channels=("0", "1"),
        series={"load": [list(p) for p in zip(LOAD, TEMP, strict=True)]},
    ),
    "a cell too many at the end": Shape(rows(lambda i: f"{iso(i)},{LOAD[i]},"), said="(empty)"),
    "a line of units": Shape(
        rows(lambda i: f"{iso(i)},{LOAD[i]}", "timestamp,load\n[UTC],[kW]"), said="a line of units"
    ),
    "a title above": Shape("Report of March\n\n" + PLAIN, said="Report of March"),
    "sep=": Shape("sep=;\n" + PLAIN.replace(",", ";")),
    "comments above": Shape("# made by a logger\n# at home\n" + PLAIN, said="2 comment lines"),
    "names in a comment": Shape("# " + PLAIN),
    "comments between": Shape(PLAIN.replace(iso(20), "# gap\n" + iso(20)), said="begin with #"),
    "names that come again": Shape(PLAIN.replace(iso(20), "timestamp,load\n" + iso(20)), said="repeat the names"),
    "empty rows": Shape(PLAIN + ",\n,\n", said="2 empty rows"),
    "bars": Shape(PLAIN.replace(",", "|")),
    "tabs": Shape(PLAIN.replace(",", "\t"), name="load.txt"),
    "blanks": Shape(rows(lambda i: f"{iso(i)}   {LOAD[i]}", "date time load")),
    "everything in quotes": Shape(rows(lambda i: f'"{iso(i)}","{LOAD[i]}"', '"timestamp","load"')),
    # encodings
    "utf-8 with a mark": Shape(PLAIN.encode("utf-8-sig")),
    "utf-16": Shape(PLAIN.encode("utf-16"), said="utf-16"),
    "utf-16 without a mark": Shape(PLAIN.encode("utf-16-le")),
    "cp1252": Shape(PLAIN.replace("load", "Größe").encode("cp1252"), channels=("Größe",), said="cp1252"),
    "a degree in cp1252": Shape(
        PLAIN.replace("load", "load °C").encode("cp1252"), channels=("load °C",), said="cp1252"
    ),
    "accents in cp1250": Shape(
        PLAIN.replace("load", "průtok řeky").encode("cp1250"), channels=("průtok řeky",), said="cp1250"
    ),
    "words in cp1251": Shape(PLAIN.replace("load", "Нагрузка").encode("cp1251"), channels=("Нагрузка",), said="cp1251"),
    "old Mac": Shape(PLAIN.replace("\n", "\r").encode()),
    "Windows": Shape(PLAIN.replace("\n", "\r\n").encode()),
    # times
    **{
        f"time {spelling}": Shape(when(spelling))
        for spelling in (
            "%Y-%m-%dT%H:%M:%SZ",
            "%Y-%m-%d %H:%M:%S UTC",
            "%Y-%m-%d %H:%M:%S+0000",
            "%Y/%m/%d %H:%M",
            "%d/%m/%Y %H:%M",
            "%m/%d/%Y %H:%M:%S",
            "%m/%d/%y %H:%M",
            "%d-%m-%Y %H:%M",
            "%d-%b-%Y %H:%M:%S",
            "%d %B %Y %H:%M",
            "%b %d %Y %H:%M",
            "%a %b %d %H:%M:%S %Y",
            "%a %d %b %Y %H:%M:%S GMT",
            f"%m/%d/%Y {HALF_DAY}",
            f"%d-%b-%Y {HALF_DAY}",
            f"%Y-%m-%d {HALF_DAY}",
            "%Y%m%d%H%M%S",
            "%d/%b/%Y:%H:%M:%S +0000",
        )
    },
    "comma before the fraction": Shape(rows(lambda i: f'"{iso(i)},000",{LOAD[i]}')),
    "timestamp_millis": Shape(rows(lambda i: f"{MS[i]},{LOAD[i]}", "timestamp_millis,load")),
    "milliseconds by name though small": Shape(
        rows(lambda i: f"{i * 1000},{LOAD[i]}", "time_ms,load"), times=[i * 1000 for i in range(N)]
    ),
    "nanoseconds": Shape(rows(lambda i: f"{MS[i] * 1_000_000},{LOAD[i]}", "ts,load")),
    "seconds with a decimal comma": Shape(
        rows(lambda i: f"{MS[i] // 1000},5;{LOAD[i]}", "ts;load"), times=[m + 500 for m in MS]
    ),
    "date and time of day": Shape(
        rows(lambda i: f"{TIMES[i]:%Y-%m-%d},{TIMES[i]:%H:%M:%S},{LOAD[i]}", "Date,Time,load")
    ),
    "date and hour": Shape(
        rows(lambda i: f"{TIMES[i]:%d.%m.%Y};{TIMES[i].hour};{german(LOAD[i])}", "Datum;Stunde;load")
    ),
    "year, month, day, hour": Shape(
        rows(
            lambda i: f"{TIMES[i].year},{TIMES[i].month},{TIMES[i].day},{TIMES[i].hour},{LOAD[i]}",
            "year,month,day,hour,load",
        )
    ),
    "Excel's days, said": Shape(
        rows(lambda i: f"{46091 + i / 24:.10f},{LOAD[i]}", "date,load"), reads(time_unit="excel")
    ),
    "local time": Shape(
        rows(lambda i: f"{TIMES[i].tz_convert('Europe/Berlin'):%Y-%m-%d %H:%M},{LOAD[i]}"),
        Layout(time_zone="Europe/Berlin"),
        said="Europe/Berlin",
    ),
    "months": Shape(
        rows(lambda i: f"{2000 + i // 12}-{i % 12 + 1:02},{LOAD[i]}", "month,load"),
        times=[int(pd.Timestamp(2000 + i // 12, i % 12 + 1, 1).timestamp() * 1000) for i in range(N)],
    ),
    "years": Shape(
        rows(lambda i: f"{1990 + i},{LOAD[i]}", "year,load"),
        times=[int(pd.Timestamp(1990 + i, 1, 1).timestamp() * 1000) for i in range(N)],
    ),
    "quarters": Shape(
        rows(lambda i: f"{2000 + i // 4}Q{i % 4 + 1},{LOAD[i]}", "quarter,load"),
        times=[int(pd.Timestamp(2000 + i // 4, 3 * (i % 4) + 1, 1).timestamp() * 1000) for i in range(N)],
    ),
    "elapsed": Shape(
        rows(lambda i: f"{i}:00:00,{LOAD[i]}", "elapsed time,load"),
        Layout("elapsed time"),
        times=[i * 3_600_000 for i in range(N)],
    ),
    "days before 1970": Shape(
        rows(lambda i: f"1950-01-{i + 1:02},{LOAD[i]}", "date,load", 31),
        series={"load": LOAD[:31]},
        times=[int(pd.Timestamp(1950, 1, i + 1).timestamp() * 1000) for i in range(31)],
    ),
    # labels
    **{
        f"labels called {name}": Shape(
            rows(lambda i: f"{iso(i)},{LOAD[i]},{int(i > 35)}", f"timestamp,load,{name}"), said=f"{name} (labels)"
        )
        for name in (
            "label",
            "is_anomaly",
            "kpi_label",
            "changepoint",
            "Anomaly",
            "isAnomaly",
            "ground_truth",
            "Normal/Attack",
        )
    },
    # series
    "long, host": Shape(LONG, channels=("value",), series=TWO, said="told apart by host"),
    "long, host and metric": Shape(
        rows(
            lambda i: f"{iso(i // 4)},{'ab'[i % 2]},{'xy'[i // 2 % 2]},{LOAD[i // 4] + i % 4}",
            "timestamp,host,metric,value",
            4 * N,
        ),
        channels=("value",),
        series={
            f"{m}/{h}": [v + k for v in LOAD]
            for k, (h, m) in enumerate([("a", "x"), ("b", "x"), ("a", "y"), ("b", "y")])
        },
    ),
    "long, __name__": Shape(
        LONG.replace("host", "__name__"), channels=("value",), series=TWO, said="told apart by __name__"
    ),
    "long, tags": Shape(LONG.replace("host", "tags"), channels=("value",), series=TWO),
    "long, an unknown name": Shape(
        LONG.replace("host", "wo"), channels=("value",), series=TWO, said="told apart by wo"
    ),
    "long, no names": Shape(LONG.split("\n", 1)[1], channels=("column 3",), series=TWO, said="told apart by column 2"),
    "long, numbered sensors": Shape(
        rows(lambda i: f"{iso(i // 2)},{7 + i % 2},{TWO['ab'[i % 2]][i // 2]}", "timestamp,sensor_id,value", 2 * N),
        channels=("value",),
        series={"7": TWO["a"], "8": TWO["b"]},
    ),
    "hosts that report at other times": Shape(
        rows(
            lambda i: (
                f"{pd.Timestamp(iso(i // 2)) + pd.Timedelta(seconds=i % 2)},{'ab'[i % 2]},{TWO['ab'[i % 2]][i // 2]}"
            ),
            "timestamp,host,value",
            2 * N,
        ),
        channels=("value",),
        series=TWO,
        times=None,
        said="told apart by host",
    ),
    "wide, one of channels": Shape(
        rows(lambda i: f"{iso(i)},{LOAD[i]},{TEMP[i]}", "timestamp,load,temp"),
        channels=("load", "temp"),
        series={"load": [list(p) for p in zip(LOAD, TEMP, strict=True)]},
        said="one series of 2 channels (--wide: 2 series)",
    ),
    "wide, a series each": Shape(
        rows(lambda i: f"{iso(i)},{LOAD[i]},{TEMP[i]}", "timestamp,load,temp"),
        Layout(wide=True),
        channels=("value",),
        series={"load": LOAD, "temp": TEMP},
        said="2 series, one for each column",
    ),
    # what programs write
    "influx": Shape(INFLUX, channels=("_value",), said="InfluxDB"),
    "influx, two tables": Shape(
        INFLUX + INFLUX.replace(",usage,cpu,a", ",usage,cpu,b").replace(",,0,", ",,1,"),
        channels=("_value",),
        series={"a": LOAD, "b": LOAD},
    ),
    "promtool dump": Shape(
        "".join(f'{{__name__="up", job="{h}"}} {TWO[h][i]} {MS[i]}\n' for h in "ab" for i in range(N)),
        channels=("value",),
        series={f'up{{job="{h}"}}': TWO[h] for h in "ab"},
        name="dump.txt",
    ),
    "open metrics": Shape(
        "# HELP up Up.\n# TYPE up gauge\n"
        + "".join(f'up{{job="{h}"}} {TWO[h][i]} {MS[i] / 1000}\n' for h in "ab" for i in range(N))
        + "# EOF\n",
        channels=("value",),
        series={f'up{{job="{h}"}}': TWO[h] for h in "ab"},
        name="dump.prom",
    ),
    "telegraf": Shape(
        rows(
            lambda i: f"{MS[i // 2] // 1000},cpu,{'ab'[i % 2]},{TWO['ab'[i % 2]][i // 2]}",
            "timestamp,measurement,host,usage",
            2 * N,
        ),
        channels=("usage",),
        series=TWO,
    ),
    "telegraf without names": Shape(
        rows(lambda i: f"{MS[i // 2] // 1000},cpu,{'ab'[i % 2]},{TWO['ab'[i % 2]][i // 2]}", "", 2 * N),
        channels=("column 4",),
        series=TWO,
    ),
    "cloudwatch console": Shape(
        "Full label,load\n"
        "Account ID,1\nLabel,load\n" + "".join(f"{TIMES[i]:%Y/%m/%d %H:%M:%S},{LOAD[i]}\n" for i in range(N)),
        said="above the table",
    ),
    "JSON lines": Shape(
        "".join(json.dumps({"time": iso(i), "load": LOAD[i]}) + "\n" for i in range(N)), name="load.jsonl"
    ),
    "JSON rows": Shape(json.dumps([{"time": iso(i), "load": LOAD[i]} for i in range(N)]), name="load.json"),
    "JSON rows inside": Shape(
        json.dumps({"status": "ok", "data": {"rows": [{"time": MS[i], "load": LOAD[i]} for i in range(N)]}}),
        name="load.json",
    ),
    "JSON columns": Shape(json.dumps({"time": MS, "load": LOAD}), name="load.json"),
    "JSON pairs": Shape(json.dumps([[MS[i], LOAD[i]] for i in range(N)]), name="load.json", channels=("column 2",)),
    "JSON by pandas": Shape(FRAME.assign(timestamp=MS).to_json(), name="load.json"),
    "JSON of Prometheus": Shape(
        json.dumps(
            {
                "status": "success",
                "data": {
                    "resultType": "matrix",
                    "result": [{"metric": {"job": "a"}, "values": [[MS[i] / 1000, str(LOAD[i])] for i in range(N)]}],
                },
            }
        ),
        name="load.json",
        channels=("value",),
        series={"{job=a}": LOAD},
    ),
    "Excel": Shape(excel(FRAME), name="load.xlsx", said="sheet 'Load'"),
    "Excel, a sheet said": Shape(excel(FRAME, Other=FRAME), reads(sheet="Load"), name="load.xlsx"),
    "gzip": Shape(gzip.compress(PLAIN.encode()), name="load.csv.gz"),
    "gzip under another name": Shape(gzip.compress(PLAIN.encode()), name="load.csv"),
    "xz": Shape(lzma.compress(PLAIN.encode()), name="load.csv.xz"),
    "bzip2": Shape(bz2.compress(PLAIN.encode()), name="load.csv.bz2"),
    "zip": Shape(zipped(load__csv=PLAIN), name="load.zip"),
    "zip of two": Shape(
        zipped(a__csv=PLAIN, b__csv=PLAIN), name="load.zip", series={"a": LOAD, "b": LOAD}, said="2 files"
    ),
    "bad rows left out": Shape(
        PLAIN + "Total,1\n", reads(drop_bad_rows=True), said="1 rows that could not be read were left out"
    ),
    # found by trying others
    "times run to the right": Shape(
        "host,"
        + ",".join(iso(i) for i in range(N))
        + "\n"
        + "".join(f"{h}," + ",".join(map(str, TWO[h])) + "\n" for h in "ab"),
        channels=("value",),
        series=TWO,
        said="times run to the right",
    ),
    "times of day with points": Shape(
        rows(lambda i: f"{TIMES[i]:%d/%m/%Y};{TIMES[i]:%H.%M.%S};{german(LOAD[i])};;", "Date;Time;load;;")
    ),
    "weeks": Shape(
        rows(lambda i: f"2026-W{i + 1:02},{LOAD[i]}", "week,load"),
        times=[int((pd.Timestamp("2025-12-29") + pd.Timedelta(weeks=i)).timestamp() * 1000) for i in range(N)],
    ),
    "euros behind": Shape(rows(lambda i: f"{iso(i)};{german(LOAD[i])} €", "t;load"), said="in €"),
    "the time twice": Shape(
        rows(lambda i: f"{iso(i)},{MS[i] // 1000},{LOAD[i]}", "timestamp,clock,load"), said="clock (the time again)"
    ),
    "German months": Shape(
        rows(lambda i: f"{i + 1}. März 2026;{LOAD[i]}", "Datum;load", 28),
        series={"load": LOAD[:28]},
        times=[int(pd.Timestamp(2026, 3, i + 1).timestamp() * 1000) for i in range(28)],
    ),
    "Spanish months": Shape(
        rows(lambda i: f"{i + 1:02}-ene-2026,{LOAD[i]}", "fecha,load", 28),
        series={"load": LOAD[:28]},
        times=[int(pd.Timestamp(2026, 1, i + 1).timestamp() * 1000) for i in range(28)],
    ),
    "labels by their words": Shape(
        rows(lambda i: f"{iso(i)},{LOAD[i]},{'anomaly' if i > 35 else 'normal'}", "timestamp,load,status"),
        said="status (labels)",
    ),
    "another detector's score": Shape(
        rows(lambda i: f"{iso(i)},{LOAD[i]},{i / 7:.3f}", "timestamp,load,anomaly_score"), said="anomaly_score (labels)"
    ),
    "a tab after sep=": Shape("sep=\t\n" + PLAIN.replace(",", "\t")),
    "JSON of times": Shape(json.dumps({iso(i): LOAD[i] for i in range(N)}), name="load.json", channels=("value",)),
    "JSON split": Shape(FRAME.assign(timestamp=MS).to_json(orient="split"), name="load.json"),
    "JSON of Grafana": Shape(
        json.dumps([{"target": h, "datapoints": [[TWO[h][i], MS[i]] for i in range(N)]} for h in "ab"]),
        name="load.json",
        channels=("value",),
        series=TWO,
    ),
    "a log": Shape(rows(lambda i: f"{iso(i)} INFO took {LOAD[i]} ms", ""), channels=("column 5",)),
    "years and their parts": Shape(
        rows(lambda i: f"{1700 + i}.5;{LOAD[i]}", "year;load"),
        times=[
            int(
                np.datetime64(str(1700 + i), "ms").astype(int)
                + (366 if (1700 + i) % 4 == 0 and 1700 + i not in (1700, 1800) else 365) * 43_200_000
            )
            for i in range(N)
        ],
    ),
    "a column of offsets": Shape(
        rows(lambda i: f"{TIMES[i] + pd.Timedelta(hours=2):%Y-%m-%d,%H:%M:%S},+02:00,{LOAD[i]}", "date,time,tz,load")
    ),
    "UTC beside local time": Shape(
        rows(
            lambda i: f"{TIMES[i] + pd.Timedelta(hours=2):%Y-%m-%d %H:%M},{iso(i)},{LOAD[i]}",
            "local_time,utc_time,load",
        )
    ),
    "short names for the parts of a date": Shape(
        rows(lambda i: f"{TIMES[i]:%Y %m %d %H 00} {LOAD[i]}", "#YY MM DD hh mm load"), said="a column for each part"
    ),
    "newest first": Shape(
        "timestamp,load\n" + "".join(f"{iso(i)},{LOAD[i]}\n" for i in reversed(range(N))),
        series={"load": LOAD[::-1]},
        times=MS[::-1],
        said="a step of 1 h",
    ),
    "spans of two times": Shape(
        rows(
            lambda i: f'"{TIMES[i]:%d.%m.%Y %H:%M} - {TIMES[i] + HOUR:%d.%m.%Y %H:%M}",{LOAD[i]}', "MTU (CET/CEST),load"
        ),
        said="the beginnings of spans, day.month.year",
    ),
    "spans as ISO 8601 has them": Shape(
        rows(lambda i: f"{TIMES[i]:%Y-%m-%dT%H:%M}/{TIMES[i] + HOUR:%Y-%m-%dT%H:%M},{LOAD[i]}", "interval,load")
    ),
    "days that end at 24:00": Shape(
        rows(
            lambda i: f"{TIMES[i] - HOUR:%d.%m.%Y};{'24:00' if TIMES[i].hour == 0 else f'{TIMES[i]:%H:%M}'};{LOAD[i]}",
            "Datum;Zeit;load",
        )
    ),
    "AM and PM in a column of their own": Shape(
        rows(lambda i: f"{TIMES[i]:%Y-%m-%d,%I:%M,%p},{LOAD[i]}", "Date,Time,AM/PM,load"), said="'Date,Time,AM/PM'"
    ),
    "a browser's dates": Shape(
        rows(lambda i: f"{TIMES[i] + HOUR:%a %b %d %Y %H:%M:%S} GMT+0100 (Central European Standard Time),{LOAD[i]}")
    ),
    "basic ISO 8601": Shape(when("%Y%m%dT%H%M%S")),
    "a year and its day": Shape(
        rows(lambda i: f"2026,{i + 1},{LOAD[i]}", "year,doy,load"), times=DAYS, said="'year,doy'"
    ),
    "a year and its day in one number": Shape(
        rows(lambda i: f"2026{i + 1:03},{LOAD[i]}", "date,load"), times=DAYS, said="a year and its day"
    ),
    "six digits": Shape(rows(lambda i: f"{days(i):%y%m%d},{LOAD[i]}", "date,load"), times=DAYS, said="dates as YYMMDD"),
    "the day first, in eight digits": Shape(
        rows(lambda i: f"{days(i):%d%m%Y},{LOAD[i]}", "date,load"), times=DAYS, said="dates as DDMMYYYY"
    ),
    "Julian days": Shape(
        rows(lambda i: f"{2461041.5 + i},{LOAD[i]}", "JD,load"), times=DAYS, said="in the time of 'JD' (Julian days"
    ),
    "modified Julian days": Shape(rows(lambda i: f"{61041 + i},{LOAD[i]}", "mjd,load"), times=DAYS),
    "days of MATLAB, said": Shape(
        rows(lambda i: f"{739983 + i},{LOAD[i]}", "t,load"), layout=reads(time_unit="matlab"), times=DAYS
    ),
    "months by name with two digits": Shape(
        rows(lambda i: f"{months(i):%b-%y},{LOAD[i]}", "Month,load"), times=MONTHS, said="a step of 31 d"
    ),
    "a year, then a month by name": Shape(rows(lambda i: f"{months(i):%Y-%b},{LOAD[i]}", "period,load"), times=MONTHS),
    "months of statistical offices": Shape(
        rows(lambda i: f"{months(i).year}M{months(i).month};{LOAD[i]}", "period;load"), times=MONTHS
    ),
    "lines of name=value": Shape(
        rows(lambda i: f'time={iso(i)[:10]}T{iso(i)[11:]}Z level=info load={LOAD[i]}ms msg="all is well"', ""),
        name="app.log",
        said="lines of name=value",
    ),
    "an answer of InfluxDB 1": Shape(
        json.dumps(
            {
                "results": [
                    {
                        "statement_id": 0,
                        "series": [
                            {
                                "name": "cpu",
                                "tags": {"host": h},
                                "columns": ["time", "load"],
                                "values": [[MS[i], TWO[h][i]] for i in range(N)],
                            }
                            for h in "ab"
                        ],
                    }
                ]
            }
        ),
        name="answer.json",
        series=TWO,
        times=MS,
        said="told apart by host",
    ),
    "as psql prints it": Shape(
        "        time         |  load\n---------------------+--------\n"
        + rows(lambda i: f" {iso(i)} | {LOAD[i]}", "")
        + f"({N} rows)\n\n",
        name="load.txt",
    ),
    "as MySQL prints it": Shape(
        f"{BOX}| time                | load    |\n{BOX}"
        + rows(lambda i: f"| {iso(i)} | {LOAD[i]} |", "")
        + f"{BOX}{N} rows in set (0.00 sec)\n",
        name="load.txt",
    ),
    "a table of Markdown": Shape(
        "| time | load |\n|:---|---:|\n" + rows(lambda i: f"| {iso(i)} | {LOAD[i]} |", ""), name="load.md"
    ),
    "what Home Assistant calls missing": Shape(
        rows(lambda i: f"{iso(i)},{'unavailable' if i == 3 else LOAD[i]}"),
        series={"load": [*LOAD[:3], np.nan, *LOAD[4:]]},
        said="1 numbers are missing",
    ),
    "names in angles": Shape(rows(lambda i: f"{iso(i)},{LOAD[i]}", "<DATE>,<CLOSE>"), channels=("<CLOSE>",)),
}


def opened(folder: Path, content: str | bytes, layout: Layout | None = None, name: str = "load.csv") -> Dataset:
    file = folder / name
    file.write_bytes(content.encode() if isinstance(content, str) else content)
    return open_file(file, layout)


@pytest.mark.parametrize("name", SHAPES)
def test_a_file_is_read_as_it_was_meant(tmp_path: Path, name: str) -> None:
    shape = SHAPES[name]
    data = opened(tmp_path, shape.content, shape.layout, shape.name)
    said = "\n".join(data.reading)
    assert data.kind == shape.kind, said
    assert data.channels == shape.channels, said
    wanted = shape.series or {"load": LOAD}
    if len(wanted) > 1 or "load" not in wanted:
        assert list(data.all_series) == list(wanted), said
    for series, values in zip(data.all_series.values(), wanted.values(), strict=True):
        np.testing.assert_allclose(
            series.values, np.asarray(values, np.float64).reshape(len(values), -1), rtol=1e-7, err_msg=said
        )
        if "other times" not in name:
            assert series.timestamps.tolist() == (shape.times or MS), said
    assert len(data.reading[:3]) == 3
    assert shape.said in said
    assert not any("\n" in line for line in data.reading)


@pytest.mark.parametrize("one_behind_the_other", [True, False])
def test_an_hour_that_clocks_show_twice_is_told_by_the_order_of_each_series(
    tmp_path: Path, one_behind_the_other: bool
) -> None:
    times = pd.date_range("2026-10-24", periods=200, freq="15min", tz="Europe/Berlin")
    lines = [f"{t:%Y-%m-%d %H:%M},{h},{i}\n" for i, t in enumerate(times) for h in "ab"]
    if one_behind_the_other:
        lines = lines[::2] + lines[1::2]
    (tmp_path / "load.csv").write_text("time,host,load\n" + "".join(lines))
    data = open_file(tmp_path / "load.csv", Layout(time_zone="Europe/Berlin"))
    for series in data.all_series.values():
        assert series.timestamps.tolist() == (times.tz_convert("UTC").tz_localize(None).as_unit("ms").asi8).tolist()


def test_another_column_of_times_is_named_as_one(tmp_path: Path) -> None:
    data = opened(tmp_path, rows(lambda i: f"{iso(i)},{iso(i)},{LOAD[i]}", "start,end,load"))
    assert "left out: end (another time)" in "\n".join(data.reading)


def test_parquet_and_feather(tmp_path: Path) -> None:
    FRAME.set_index("timestamp").to_parquet(tmp_path / "load.parquet")
    pyarrow.feather.write_feather(FRAME, tmp_path / "load.feather")
    for file in ("load.parquet", "load.feather"):
        [series] = open_file(tmp_path / file).all_series.values()
        assert series.values[:, 0].tolist() == LOAD
        assert series.timestamps.tolist() == MS


REFUSED: dict[str, tuple[str | bytes, str]] = {
    "values in W and kW, by a column of units": (
        rows(
            lambda i: f"{iso(i)},{LOAD[i] / (1000 if i % 7 == 0 else 1)},{'kW' if i % 7 == 0 else 'W'}", "t,load,unit"
        ),
        "--series-column unit",
    ),
    "a host's values in W and kW": (
        rows(
            lambda i: f"{iso(i)},a,{LOAD[i]},{'kW' if i % 7 == 0 else 'W'}\n{iso(i)},b,{LOAD[i]},W", "t,host,load,unit"
        ),
        "--series-column host,unit",
    ),
    "minutes since 1970, or seconds": (rows(lambda i: f"{MS[i] // 60_000},{LOAD[i]}"), "--read time-unit=min"),
    "1,034 may be two numbers": (
        rows(lambda i: f'{iso(i)},"{1 + i % 9},{100 + i}"'),
        "--read decimal=, or --read decimal=.",
    ),
    "1.034 may be two numbers": (
        rows(lambda i: f"{iso(i)};{1 + i % 9}.{100 + i}", "t;load"),
        "--read decimal=. or --read decimal=,",
    ),
    "both marks for decimals": (rows(lambda i: f"{iso(i)};{'1,5' if i % 2 else '1.5'}", "t;load"), "mend one of them"),
    "03/04/2026 may be two dates": (
        rows(lambda i: f"03/04/2026 {i % 24:02}:{i // 24:02},{LOAD[i]}"),
        "--read day-first=yes or --read day-first=no",
    ),
    "days or months": (rows(lambda i: f"{i + 1:02}/01/2026,{LOAD[i]}", count=9), "--read day-first=yes"),
    "a decimal comma without quotes": (rows(lambda i: f"{iso(i)},{german(LOAD[i])}"), "decimal comma"),
    "two columns or one decimal comma": (rows(lambda i: f"{i},{10 + i}", ""), "--read delimiter=;"),
    "seconds and milliseconds": (rows(lambda i: f"{MS[i] // (1000 if i % 2 else 1)},{LOAD[i]}"), "--read time-unit=s"),
    "days as Excel counts them, or seconds": (
        rows(lambda i: f"{46091 + i / 24:.6f},{LOAD[i]}", "date,load"),
        "--read time-unit=excel",
    ),
    "units that do not go together": (
        rows(lambda i: f"{iso(i)},{i} {'ms' if i % 2 else 'kB'}"),
        "no column but 'timestamp' holds numbers",
    ),
    "a unit now and then": (
        rows(lambda i: f"{iso(i)},{i + 1}{' ms' if i % 9 == 0 else ''}"),
        "units do not go together",
    ),
    "series that nothing tells apart": (
        rows(lambda i: f"{iso(i // 2)},{LOAD[i // 2] + i}", count=2 * N),
        "--series-column",
    ),
    "two sheets": (excel(FRAME, Other=FRAME), "--read sheet=Load"),
    "only missing numbers": (rows(lambda i: f"{iso(i)},-"), "no column but 'timestamp' holds numbers"),
    "a total at the end": (PLAIN + "Total,1\n", "--read bad-rows=drop"),
    "a row too long": (PLAIN + f"{iso(0)},1,2\n", "--read bad-rows=drop"),
    "times of day alone": (rows(lambda i: f"{i % 24:02}:00,{LOAD[i]}", "time,load"), "no date"),
    "a zone by its name": (rows(lambda i: f"{iso(i)} CET,{LOAD[i]}"), "--time-zone"),
    "a time that is none": (rows(lambda i: f"morning {i},{LOAD[i]}"), "seems to tell the time"),
    "dates of a form that is not known, under no usual name": (
        rows(lambda i: f"{days(i % N):%Y} on the {i + 1}. day,{LOAD[i % N]}", "when it was,load", 4 * N),
        "seems to tell the time",
    ),
    "months that may be days": (rows(lambda i: f"{days(i):%b-%d},{LOAD[i]}", "Day,load"), "may be a month of a year"),
    "digits that are no date": (rows(lambda i: f"{123456 + i * i},{LOAD[i]}", "date,load"), "--read time-unit=s"),
    "a line of InfluxDB": (rows(lambda i: f"cpu,host=a load={LOAD[i]} {MS[i]}000000", ""), "line protocol"),
    "lists of different lengths": (json.dumps({"a": [1, 2], "b": [1, 2, 3]}), "no list of rows"),
    "zones now and then": (rows(lambda i: f"{iso(i)}{'Z' if i % 2 else ''},{LOAD[i]}"), "not a time like the others"),
    "HTML": ("<html></html>", "is XML or HTML"),
    "bytes": (bytes(range(256)) * 20, "is no text"),
    "old Excel": (b"\xd0\xcf\x11\xe0" + bytes(600), "old Excel"),
    "names alone": ("timestamp,load\n", "no rows"),
    "nothing": ("", "no rows"),
    "an answer that is an error": (
        "#datatype,string,string\n#group,true,true\n#default,,\n,error,reference\n,failed to parse,897\n",
        "error instead of data",
    ),
    "JSON without rows": ('{"a": 1', "is no JSON"),
    "half a gzip": (gzip.compress(PLAIN.encode())[:50], "cannot be read"),
    "a gzip bomb": (gzip.compress(bytes(80 << 20)), "unpacks to more than"),
    "an xz bomb": (lzma.compress(bytes(80 << 20), preset=0), "unpacks to more than"),
    "a line of 2 MiB": ("a,b\n" + "1" * (2 << 20) + ",2\n", "longer than 1 MiB"),
}


@pytest.mark.parametrize("name", REFUSED)
def test_where_two_readings_fit_or_none_it_stops_with_the_option(tmp_path: Path, name: str) -> None:
    content, told = REFUSED[name]
    with pytest.raises(DataError) as caught:
        opened(tmp_path, content)
    assert told in str(caught.value)
    assert "\n" not in str(caught.value)
    assert len(str(caught.value)) < 600


def test_a_zip_bomb_is_refused_before_it_is_unpacked(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(unpacking, "FREE_BYTES", 1000)
    with pytest.raises(DataError, match="unpacks to more than"):
        opened(tmp_path, zipped(a__csv="1" * 1_000_000), name="a.zip")


def test_folders_globs_and_parts(tmp_path: Path) -> None:
    for part in range(2):
        (tmp_path / f"load-{part}.csv").write_text(
            rows(lambda i, p=part: f"{iso(i + 20 * p)},{LOAD[i + 20 * p]}", count=20)
        )
    (tmp_path / "readme.md").write_text("no data")
    for source in (tmp_path, tmp_path / "*.csv"):
        data = open_file(source)
        [series] = data.all_series.values()
        assert series.values[:, 0].tolist() == LOAD
        assert series.timestamps.tolist() == MS
        assert series.positions.tolist() == list(range(N))
        assert "--read files=series" in data.reading[0]
    assert "readme.md" in "\n".join(open_file(tmp_path).reading)
    assert list(open_file(tmp_path, reads(files="series")).all_series) == ["load-0", "load-1"]
    (tmp_path / "load-1.csv").write_text(PLAIN)  # at the same time: series of their own
    assert list(open_file(tmp_path).all_series) == ["load-0", "load-1"]
    (tmp_path / "load-1.csv").write_text(PLAIN.replace("load", "temp"))
    with pytest.raises(DataError, match="--value-columns"):
        open_file(tmp_path)


def test_standard_input(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sys.stdin", io.TextIOWrapper(io.BytesIO(PLAIN.encode())))
    assert open_file(Path("-")).all_series["stdin"].values[:, 0].tolist() == LOAD


def test_labels_are_kept_apart_from_what_is_judged(tmp_path: Path) -> None:
    data = opened(
        tmp_path,
        rows(lambda i: f"{iso(i)},{LOAD[i]},{'Attack' if i > 35 else 'Normal'}", "timestamp,load,Normal/Attack"),
    )
    labels = data.all_labels["load"]
    assert np.flatnonzero(labels.anomalous).tolist() == [36, 37, 38, 39]
    assert [(w.first, w.last) for w in labels.windows] == [(MS[36], MS[39])]


@pytest.mark.parametrize(
    ("texts", "told"),
    [
        (["decimals=,"], "decimal"),
        (["decimal=;"], "decimal=."),
        (["header"], "NAME=VALUE"),
        (["delimiter=ab"], "one sign"),
    ],
)
def test_a_correction_that_is_none_is_answered_with_what_there_is(texts: list[str], told: str) -> None:
    with pytest.raises(DataError, match=told):
        Corrections.parse(texts)
    assert Corrections.parse(
        ["decimal=,", "missing=-999", "missing=x", "header=no", "delimiter=tab", "bad-rows=drop"]
    ) == Corrections(",", "\t", header=False, missing=("-999", "x"), drop_bad_rows=True)


def test_a_metric_called_up_is_a_name_and_no_switch(tmp_path: Path) -> None:
    file = tmp_path / "up.csv"
    lines = (f"up,h{k},{1_700_000_000 + 60 * i},{i % 7 + k}\n" for i in range(60) for k in range(2))
    file.write_text("__name__,instance,timestamp,value\n" + "".join(lines))
    data = open_file(file)
    assert data.channels == ("value",)
    assert list(data.all_series) == ["h0", "h1"]
    file.write_text(
        "timestamp,signal\n" + "".join(f"{1_700_000_000 + 60 * i},{'on' if i % 5 else 'off'}\n" for i in range(60))
    )
    assert open_file(file).channels == ("signal",)
