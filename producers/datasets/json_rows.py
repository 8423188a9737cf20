"""JSON as a table, however it is nested: rows, columns, names beside rows, or lists of times and values in the answers of monitoring systems.

[{"t": .., "v": ..}, ..]   {"t": [..], "v": [..]}   {"columns": [..], "data": [[..], ..]}   {"t": {"0": ..}, "v": {"0": ..}}   a row on each line
[{"host": "a", "points": [[t, v], ..]}, ..]   [{"host": "a", "timestamps": [..], "values": [..]}, ..]   [{"host": "a", "dps": {t: v, ..}}, ..]
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import pandas as pd
import pyarrow as pa

from producers.datasets import names
from producers.datasets.dates import looks_like_time
from producers.errors import DataError

Found = tuple[pa.Table, str, str | None, tuple[str, ...], tuple[str, ...]]
"""A table, how it is written, the columns of its times and of its series where the form states them, and notes."""
_NAMES, _ROWS = ("columns", "labels", "fields", "names", "header", "headers"), ("data", "values", "rows", "results")
"""Under what names the names of columns stand, and the rows."""
_SINCE_1970 = re.compile(r"\d{9,19}(?:\.\d+)?")


def json_table(path: Path, text: str, as_arrow: Callable[[pd.DataFrame], pa.Table]) -> Found:
    """The table in a text of JSON, or of JSON on each line. Raises DataError where there is none, or which of several it is is not known."""
    try:
        return _table(path, text, as_arrow)
    except RecursionError as error:
        msg = f"{path}: its JSON holds objects or lists within each other, hundreds deep; write a file with a row for each time"
        raise DataError(msg) from error


def _table(path: Path, text: str, as_arrow: Callable[[pd.DataFrame], pa.Table]) -> Found:
    whole, form = _decoded(path, text)
    if found := _prometheus_answer(whole):
        return found, "an answer of Prometheus", "timestamp", ("series",), ()
    if (answer := _influx_answer(whole)) is not None:
        return as_arrow(answer), "an answer of InfluxDB", "time", (), ()
    rows = _rows_in(whole)
    if not rows:
        msg = f"{path}: its JSON holds no list of rows"
        raise DataError(msg)
    if all(isinstance(row, list) for row in rows):
        return as_arrow(_of_lists(rows)), form, None, (), ()
    if not all(isinstance(row, dict) for row in rows):
        return as_arrow(pd.DataFrame({"value": rows})), form, None, (), ()
    if (several := _unrolled_all(rows)) is not None:
        within, series, note = several
        frame = pd.DataFrame(within)
        return as_arrow(frame), form, "timestamp" if "timestamp" in frame else None, series, (note,)
    frame = pd.json_normalize(rows)
    inner = [c for c in frame if frame[c].map(_holds_rows).any()]
    if inner and len(inner) >= frame.shape[1] - 1:
        listed = ", ".join(map(str, inner[:8]))
        msg = f"{path}: its {len(rows):,} rows hold lists of rows in {listed}; write a file with a row for each time"
        raise DataError(msg)
    return as_arrow(frame), form, None, (), ()


def _decoded(path: Path, text: str) -> tuple[Any, str]:
    import msgspec

    try:
        return msgspec.json.decode(text), "JSON"
    except msgspec.DecodeError:
        whole = []
    for number, line in enumerate(text.split("\n"), 1):
        if line.strip():
            try:
                whole.append(msgspec.json.decode(line))
            except msgspec.DecodeError as error:
                msg = f"{path}, line {number}: is no JSON: {error}"
                raise DataError(msg) from error
    return whole, "JSON lines"


def _of_lists(rows: list[list[Any]]) -> pd.DataFrame:
    width, first = max(map(len, rows)), rows[0]
    named = len(rows) > 1 and all(isinstance(c, str) for c in first) and not all(isinstance(c, str) for c in rows[1])
    return pd.DataFrame(
        rows[1:] if named else rows, columns=first if named else [f"column {i + 1}" for i in range(width)]
    )


def _rows_in(whole: Any) -> list[Any] | None:
    if isinstance(whole, list):
        return whole
    if not isinstance(whole, dict):
        return None
    if (named := _named_rows(whole)) is not None:
        return named
    if len(whole) > 1 and all(map(_a_time, whole)):
        return [{"timestamp": k} | (v if isinstance(v, dict) else {"value": v}) for k, v in whole.items()]
    lists = {k: v for k, v in whole.items() if isinstance(v, list)}
    flat = all(not isinstance(c, list | dict) for v in lists.values() for c in v[:5])
    if lists and flat and len(lists) == len(whole) and len({len(v) for v in lists.values()}) == 1:
        return [dict(zip(lists, row, strict=True)) for row in zip(*lists.values(), strict=True)]
    rows = [v for v in lists.values() if v and all(isinstance(row, list | dict) for row in v)]
    if len(rows) == 1 or (len(lists) == 1 and next(iter(lists.values()))):
        return rows[0] if rows else next(iter(lists.values()))
    if any(lists.values()):
        return None  # which of them are the rows?
    columns = list(whole.values())
    if len(whole) > 1 and all(isinstance(v, dict) for v in columns) and list(whole) == _numbered(len(whole)):
        return columns  # pandas' "index"
    if _as_pandas_writes(columns):
        return _with_keys(list(columns[0]), [{n: c[row] for n, c in whole.items()} for row in columns[0]])
    inner = [found for v in columns if isinstance(v, dict) and (found := _rows_in(v))]
    return inner[0] if len(inner) == 1 else None


def _named_rows(whole: Mapping[str, Any]) -> list[Any] | None:
    """Rows that are lists, with their names beside them; pandas' "split" has an index too."""
    for head in (n for n in _NAMES if isinstance(whole.get(n), list) and all(isinstance(c, str) for c in whole[n])):
        for body in (n for n in _ROWS if n != head and isinstance(whole.get(n), list) and whole[n]):
            rows, columns = whole[body], whole[head]
            if all(isinstance(row, list) and len(row) == len(columns) for row in rows):
                found = [dict(zip(columns, row, strict=True)) for row in rows]
                index = whole.get("index")
                return _with_keys(index, found) if isinstance(index, list) and len(index) == len(found) else found
    return None


def _with_keys(keys: Sequence[Any], rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Rows with their keys as a column, unless these only number them."""
    texts = list(map(str, keys))
    if texts == _numbered(len(texts)):
        return rows
    name = "timestamp" if all(map(_a_time, texts)) else "index"
    return [{name: key} | row for key, row in zip(keys, rows, strict=True)]


def _numbered(n: int) -> list[str]:
    return [str(i) for i in range(n)]


def _a_time(text: Any) -> bool:
    return isinstance(text, str) and (looks_like_time(text) or _SINCE_1970.fullmatch(text) is not None)


def _holds_rows(value: Any) -> bool:
    return isinstance(value, list) and len(value) > 0 and isinstance(value[0], list | dict)


def _as_pandas_writes(columns: list[Any]) -> bool:
    """Whether an object holds columns of {row: cell}."""
    if not columns or not all(isinstance(v, dict) and v.keys() == columns[0].keys() for v in columns):
        return False
    return len(columns[0]) > 1 and not any(isinstance(c, list | dict) for column in columns for c in column.values())


def _unrolled_all(outer: list[dict[str, Any]]) -> tuple[list[dict[str, Any]], tuple[str, ...], str] | None:
    """Rows out of objects that hold lists of them, the columns that tell the objects apart, and a note; None: no times stand in lists."""
    if any(map(_says_time, outer)):
        return None
    unrolled = [_unrolled(one) for one in outer]
    if not any(unrolled) or any(rows is None for rows, _ in unrolled):
        return None
    facts = pd.DataFrame([of for _, of in unrolled])
    different = {str(n): facts[n].astype(str).nunique() for n in facts.columns}
    place = {name: i for i, name in enumerate(names.SERIES)}
    alone = [n for n, times in different.items() if times == len(outer)]
    alone.sort(key=lambda n: place.get(n.rsplit(".", 1)[-1].lower(), len(place)))
    series = (
        () if len(outer) == 1 else (alone[0],) if alone else tuple(n for n, times in different.items() if times > 1)
    )
    found = [{n: str(of.get(n, "")) for n in series} | row for rows, of in unrolled for row in rows or ()]
    left = [str(n) for n in facts.columns if n not in series]
    note = f"the lists in {len(outer):,} objects became rows" + (f", without {', '.join(left[:8])}" if left else "")
    return found, series, note


def _says_time(row: Mapping[str, Any]) -> bool:
    """Whether what stands beside the lists of an object is its time."""
    return any(
        (isinstance(v, str) and looks_like_time(v))
        or (isinstance(v, int | float) and n.lower().lstrip("@") in names.TIMES and v > 1e8)
        for n, v in _facts(row).items()
    )


def _facts(row: Mapping[str, Any]) -> dict[str, Any]:
    """What is no list, the names of inner objects before those in them."""
    found: dict[str, Any] = {}
    for name, value in row.items():
        if isinstance(value, dict) and not (len(value) > 1 and all(map(_a_time, value))):
            found |= {f"{name}.{n}": v for n, v in _facts(value).items()}
        elif not isinstance(value, list | dict):
            found[name] = value
    return found


def _lists(row: Mapping[str, Any]) -> dict[str, Any]:
    """Lists in an object and in those in it, and objects whose names are times."""
    found: dict[str, Any] = {}
    for name, value in row.items():
        if isinstance(value, list) and value:
            found[name] = value
        elif isinstance(value, dict) and len(value) > 1 and all(map(_a_time, value)):
            found[name] = [[t, v] for t, v in value.items()]
        elif isinstance(value, dict):
            found |= {f"{name}.{n}": v for n, v in _lists(value).items()}
    return found


def _unrolled(one: Mapping[str, Any]) -> tuple[list[dict[str, Any]] | None, dict[str, Any]]:
    """The rows in an object's lists (None: which they are is not known), and what else it says."""
    lists, facts = _lists(one), _facts(one)
    objects = [v for v in lists.values() if all(isinstance(row, dict) for row in v)]
    pairs = [v for v in lists.values() if all(isinstance(row, list) and len(row) == 2 for row in v)]
    plain = {n: v for n, v in lists.items() if not any(isinstance(c, list | dict) for c in v)}
    if len(objects) == 1:
        rows: list[dict[str, Any]] = []
        for row in objects[0]:
            inner, more = _unrolled(row) if not _says_time(row) else (None, {})
            rows += [_facts(row)] if inner is None else [more | r for r in inner]
        return rows, facts
    if len(pairs) == 1:
        first = all(c is not None and (_a_time(str(c)) or _epoch(c)) for c, _ in pairs[0])
        return [{"timestamp": t, "value": v} for t, v in (pairs[0] if first else ((b, a) for a, b in pairs[0]))], facts
    if len(plain) > 1 and not objects and not pairs and len({len(v) for v in plain.values()}) == 1:
        return [dict(zip(plain, row, strict=True)) for row in zip(*plain.values(), strict=True)], facts
    return None, facts


def _epoch(value: Any) -> bool:
    return isinstance(value, int | float) and value > 1e8


def _prometheus_answer(whole: Any) -> pa.Table | None:
    try:
        results = whole["data"]["result"]
        rows = [
            ("{" + ", ".join(f"{k}={v}" for k, v in one["metric"].items()) + "}", *pair)
            for one in results
            for pair in (one["values"] if "values" in one else [one["value"]])
        ]
    except (KeyError, TypeError, IndexError):
        return None
    if not rows:
        return None
    series, times, values = zip(*rows, strict=True)
    return pa.table({"series": list(series), "timestamp": [float(t) for t in times], "value": [str(v) for v in values]})


def _influx_answer(whole: Any) -> pd.DataFrame | None:
    """What InfluxDB 1 answers: tables with names, tags, columns and values."""
    try:
        tables = [
            pd.DataFrame(one["values"], columns=one["columns"]).assign(
                **({"measurement": one["name"]} if "name" in one else {}), **one.get("tags", {})
            )
            for result in whole["results"]
            for one in result["series"]
        ]
    except (KeyError, TypeError, AttributeError, ValueError):
        return None
    if not tables or any("time" not in t for t in tables):
        return None
    return pd.concat(tables, ignore_index=True)
