"""Any user's file as a data set, and what was taken for what. Errors name the file, the row and the column.

    bytes ──▶ tables ──▶ columns ──▶ times, series, numbers ──▶ Dataset
    unpacking  dialect,   columns     dates, numbers            `reading`: three lines
               tables

A row's number in an error counts data rows from 1. An empty cell of a value column, or one of the usual marks there (NaN, NA, -, #N/A), is a missing
number: the row stays, its value is NaN, and a replay leaves it out. Nothing else is left out unsaid; where two readings fit, reading stops.

Several files (a folder, a glob, a zip) are a series each, unless their rows name their series or, one after the other in time and named alike but for
numbers, they are parts of one.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, replace
from glob import glob, has_magic
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
from numpy.typing import NDArray

from producers.cells import read_cell
from producers.datasets import columns, dates
from producers.datasets.base import Dataset, Labels, Layout, Series, Window, usual_step
from producers.datasets.columns import Cells
from producers.datasets.numbers import Ambiguous, Decimal, Written, decimal_of, switches, taken_apart, values_of
from producers.datasets.tables import Sheet, listed, sheets, turned
from producers.errors import DataError

STEP_MS = 1000  # made up, for tables without time stamps
MAX_FILES = 10_000
_ENDINGS = frozenset(
    {
        "csv",
        "tsv",
        "txt",
        "dat",
        "parquet",
        "json",
        "jsonl",
        "ndjson",
        "xlsx",
        "xlsm",
        "feather",
        "arrow",
        "zip",
        "prom",
        "tab",
    }
)
_PACKINGS = frozenset({"gz", "xz", "bz2", "zst", "lz4"})
_SENTINELS = (-999.0, -9999.0, -99999.0, -999.25, -99.0)


@dataclass(frozen=True)
class Part:
    """One table, read."""

    name: str
    kind: str
    channels: tuple[str, ...]
    series: dict[str, Series]
    labels: dict[str, Labels]
    rows: int
    named: bool
    lines: tuple[str, str, str]
    notes: tuple[str, ...]


def load(path: Path, layout: Layout | None = None) -> Dataset:
    """Read a file, a folder of files, or all that a glob matches; `-` is the standard input.

    Raises
    ------
    DataError
        Nothing is there or can be read; a column is not there; a cell is no number or no time; two readings fit; no row could be used.
    """
    layout = layout or Layout()
    files, passed = _files(path)
    parts = [_read(file, sheet, layout) for file in files for sheet in sheets(file, layout.corrections)]
    dataset = _dataset(path, parts[0]) if len(parts) == 1 else _together(path, parts, layout)
    if passed:
        names = listed([p.name for p in passed], 3)
        dataset = replace(
            dataset, reading=(*dataset.reading, f"note: {len(passed):,} files of other kinds were passed over: {names}")
        )
    return dataset


def _files(path: Path) -> tuple[list[Path], list[Path]]:
    """Files to be read, in order of their names, and others that stand beside them."""
    if path.is_dir():
        there = sorted(
            p for p in path.rglob("*") if p.is_file() and not any(q.startswith(".") for q in p.relative_to(path).parts)
        )
        found = [p for p in there if _known(p)]
        passed = [p for p in there if not _known(p)]
        if not found:
            msg = f"{path}: there is no file in it that could be read (.csv, .parquet, .json, .xlsx, ...)"
            raise DataError(msg)
    elif not path.exists() and has_magic(str(path)):
        found, passed = [p for p in map(Path, sorted(glob(str(path), recursive=True))) if p.is_file()], []  # noqa: PTH207  # absolute or not
        if not found:
            msg = f"{path}: no file matches"
            raise DataError(msg)
    else:
        found, passed = [path], []
    if len(found) > MAX_FILES:
        msg = f"{path}: {len(found):,} files are too many, at most {MAX_FILES:,} are read at once"
        raise DataError(msg)
    return found, passed


def _known(path: Path) -> bool:
    endings = path.name.lower().split(".")[1:]
    return bool(endings) and (
        endings[-1] in _ENDINGS or (endings[-1] in _PACKINGS and len(endings) > 1 and endings[-2] in _ENDINGS)
    )


def _read(path: Path, sheet: Sheet, layout: Layout) -> Part:
    if not layout.table and layout.timestamp_column is None:
        sheet = turned(sheet)
    cells = Cells(sheet, layout.corrections)
    time = _named_time(path, cells, layout)
    series = _named_series(path, cells, layout)
    for column in layout.value_columns:
        _check_there(path, cells, column)
    labels = (
        [layout.corrections.labels] if layout.corrections.labels else columns.label_columns(cells, [*time, *series])
    )
    for column in labels:
        _check_there(path, cells, column)
    notes = list(sheet.notes)
    wrong = np.zeros(len(cells.table), np.bool_)
    if time:
        read = _times(path, cells, time, layout)
        wrong |= read.wrong
        timestamps, form = read.ms, read.form
    else:
        timestamps, form = np.arange(len(cells.table), dtype=np.int64) * STEP_MS, ""
    index = columns.index_columns(cells, [*time, *series, *layout.value_columns])
    found_series = not series and not layout.wide
    if time and not series:
        series = _found_series(
            path,
            cells,
            timestamps[~wrong] if wrong.any() else timestamps,
            [*time, *labels, *index, *layout.value_columns],
            layout,
            wrong,
        )
    same = [n for n in cells.names if time and n not in {*time, *series} and columns.times_again(cells, n, timestamps)]
    chosen, left_out = _chosen(path, cells, layout, time, series, labels, index, same)
    values, bad, units = _values(path, cells, chosen, layout, metric=bool(time))
    wrong |= bad
    if wrong.any():
        notes.append(f"{int(wrong.sum()):,} rows that could not be read were left out")
    if time and not np.isfinite(np.column_stack(list(values.values()))[~wrong]).any():
        msg = f"{path}: no row could be used: {listed(list(values))} hold nothing but missing numbers; name others with --value-columns"
        raise DataError(msg)
    if wrong.all():
        msg = f"{path}: no row could be used"
        raise DataError(msg)
    notes += _missing_notes(values)
    names = _series_names(path, cells, series)
    stem = _stem(sheet.name)
    parts, truth = _split(
        stem, timestamps, values, names, _truth(cells, labels, notes), ~wrong, layout, metric=bool(time)
    )
    rows = int((~wrong).sum())
    lines = (
        f"{path}: {sheet.form}, {rows:,} rows"
        + (f" of {sheet.name}" if sheet.name != path.name and str(path) != "-" else ""),
        _time_line(time, form, parts, series, chosen, layout, found=found_series),
        _judged_line(chosen, units, left_out),
    )
    kind = "metric" if time else "table"
    channels = ("value",) if layout.wide else tuple(values)
    return Part(stem, kind, channels, parts, truth, rows, bool(series) or layout.wide, lines, tuple(notes))


def _check_there(path: Path, cells: Cells, column: str) -> None:
    if column not in cells.names:
        msg = f"{path}: there is no column {column!r}; it has {listed(cells.names)}"
        raise DataError(msg)


def _several(path: Path, cells: Cells, column: str) -> tuple[str, ...]:
    """A column, or several with commas between."""
    if column in cells.names or "," not in column:
        _check_there(path, cells, column)
        return (column,)
    names = tuple(name.strip() for name in column.split(","))
    for name in names:
        _check_there(path, cells, name)
    return names


def _named_time(path: Path, cells: Cells, layout: Layout) -> tuple[str, ...]:
    if layout.timestamp_column is not None:
        return _several(path, cells, layout.timestamp_column)
    if layout.table:
        return ()
    found = columns.time_columns(cells)
    if not found and (unread := columns.unread_time(cells)) is not None:
        cell = str(cells.present(unread, 1).iloc[0])[:40]
        msg = (
            f"{path}: column {unread!r} is called a time, but {cell!r} is none that is known (a zone by its name? leave it out, and name it with "
            "--time-zone); name another with --timestamp-column, or take the rows in their order: --table"
        )
        raise DataError(msg)
    return found


def _named_series(path: Path, cells: Cells, layout: Layout) -> tuple[str, ...]:
    return () if layout.series_column is None else _several(path, cells, layout.series_column)


def _found_series(
    path: Path,
    cells: Cells,
    timestamps: NDArray[np.int64],
    taken: Sequence[str],
    layout: Layout,
    wrong: NDArray[np.bool_],
) -> tuple[str, ...]:
    if wrong.any():
        kept = replace(cells.sheet, table=cells.table.filter(pa.array(~wrong)))
        cells = Cells(kept, layout.corrections)
    found, again = columns.series_columns(cells, timestamps, taken)
    if not found and again > columns.AGAIN:
        near = [n for n in cells.names if n not in taken and cells.different(n) <= len(timestamps) // 2]
        meant = f"--series-column {near[0]}" if near else "--series-column NAME"
        msg = (
            f"{path}: {again:.0%} of the rows have the time of another row, and no column was found that tells series apart; name it: "
            f"{meant}, or take the rows in their order: --table"
        )
        raise DataError(msg)
    return found


def _times(path: Path, cells: Cells, names: tuple[str, ...], layout: Layout) -> dates.Times:
    """Event times; raises DataError for cells that are none, unless such rows are to be left out."""
    chosen = layout.corrections
    shown = ",".join(names)
    try:
        read, column = _read_times(cells, names, layout)
    except Ambiguous as error:
        msg = f"{path}, column {shown!r}: {error}"
        raise DataError(msg) from error
    if read.wrong.any() and (not chosen.drop_bad_rows or read.form.startswith("!") or read.wrong.all()):
        what = (
            read.form[1:]
            if read.form.startswith("!")
            else "is not a time like the others"
            if not read.wrong.all()
            else "is not a time"
        )
        if "since 1970" in read.form:
            what = "is not a time like the others, which are numbers since 1970"
        raise DataError(
            _at(path, read.wrong, column, shown, what) + "; such rows are left out with --read bad-rows=drop"
        )
    return read


def _read_times(cells: Cells, names: tuple[str, ...], layout: Layout) -> tuple[dates.Times, pd.Series[str]]:
    chosen, name = layout.corrections, names[0]
    if len(names) > 2 or (len(names) == 2 and columns.plain(names[1]) == "month"):
        parts = {columns.plain(n): pd.to_numeric(cells.text(n)[0], errors="coerce") for n in names}
        parsed = pd.to_datetime(pd.DataFrame({"day": 1} | parts), errors="coerce")
        text = pd.Series([" ".join(row) for row in zip(*(cells.text(n)[0] for n in names), strict=True)])
        iso = parsed.dt.strftime("%Y-%m-%dT%H:%M:%S").fillna("")
        return replace(
            dates.from_text(iso, np.asarray(parsed.isna()), layout.time_zone, chosen),
            form=f"a column for each part, in {layout.time_zone}",
        ), text
    if len(names) == 2:
        (date, none), (clock, none_too) = cells.text(names[0]), cells.text(names[1])
        if clock.str.fullmatch(r"\d{1,2}(\.0)?").all():
            hours = pd.to_numeric(clock)
            read = dates.from_text(date, none, layout.time_zone, chosen)
            return replace(
                read,
                ms=read.ms + (hours * 3_600_000).to_numpy(np.int64),
                wrong=read.wrong | none_too,
                form=f"{read.form}, with hours",
            ), date
        clock = dates.with_colons(clock)
        return dates.from_text(date + " " + clock, none | none_too, layout.time_zone, chosen), date + " " + clock
    column = cells.table[name]
    if pa.types.is_timestamp(column.type) or pa.types.is_date(column.type):
        parsed = pd.Series(pd.to_datetime(column.to_pandas()))
        text = parsed.dt.strftime("%Y-%m-%dT%H:%M:%S.%f%z").fillna("")
        return dates.from_text(text, np.asarray(parsed.isna()), layout.time_zone, chosen), text
    text, missing = cells.text(name)
    number = pd.to_numeric(text.where(~missing), errors="coerce").to_numpy(np.float64, na_value=np.nan)
    if not np.isfinite(number).any() and text[~missing].str.match(r"^\d+,\d+$").any():
        number = pd.to_numeric(text.str.replace(",", "."), errors="coerce").to_numpy(np.float64, na_value=np.nan)
    if np.isfinite(number).mean() > 0.5 or (np.isfinite(number).any() and cells.is_numeric(name)):
        return dates.from_numbers(number, name, chosen), text
    return dates.from_text(text, missing, layout.time_zone, chosen), text


def _chosen(
    path: Path,
    cells: Cells,
    layout: Layout,
    time: Sequence[str],
    series: Sequence[str],
    labels: Sequence[str],
    index: Sequence[str],
    same: Sequence[str],
) -> tuple[tuple[str, ...], dict[str, str]]:
    """Which columns are judged, and the others with why not."""
    others = [n for n in cells.names if n not in {*time, *series}]
    if layout.value_columns:
        return layout.value_columns, {}
    why: dict[str, str] = {}
    for name in others:
        if name in labels:
            why[name] = "labels"
        elif name in index:
            why[name] = "numbers the rows"
        elif name in same:
            why[name] = "the time again"
        elif cells.is_text(name) and not len(cells.present(name)):
            why[name] = "empty"
        elif pa.types.is_nested(cells.table[name].type):
            why[name] = "lists"
        elif time and not cells.is_numeric(name):
            why[name] = "text"
        elif not time and columns.is_identifier(cells, name):
            why[name] = "different in most rows"
    found = tuple(n for n in others if n not in why)
    if not found:
        besides = f"no column but {','.join(time)!r} holds numbers" if time else "no column can be judged"
        msg = f"{path}: {besides} ({', '.join(f'{n}: {w}' for n, w in list(why.items())[:8]) or 'there is no other'}); name one with --value-columns"
        raise DataError(msg)
    return found, why


def _values(
    path: Path, cells: Cells, names: Sequence[str], layout: Layout, *, metric: bool
) -> tuple[dict[str, NDArray[Any]], NDArray[np.bool_], dict[str, str]]:
    """Columns as float64 (n,), in tables also object of str; which rows have a wrong cell; units."""
    drop = layout.corrections.drop_bad_rows
    apart: dict[str, Written] = {}
    found: dict[str, NDArray[Any]] = {}
    for name in names:
        if not cells.is_text(name):
            found[name] = _typed(path, cells, name, layout, metric=metric)
        elif not metric and (not cells.is_numeric(name) or switches(cells.present(name)) is not None):
            text, _ = cells.text(name)
            found[name] = np.asarray(text.to_list(), object)
        else:
            text, missing = cells.text(name)
            pair = switches(text[~missing])
            if pair is not None and not pd.to_numeric(text[~missing], errors="coerce").notna().any():
                found[name] = np.where(missing, np.nan, (text.str.lower() == pair[0]).to_numpy(np.float64))
            else:
                apart[name] = taken_apart(text, missing)
    decimals = _decimals(path, apart, layout, cells.sheet.delimiter)
    wrong, units = np.zeros(len(cells.table), np.bool_), dict[str, str]()
    for name, written in apart.items():
        try:
            values, bad, unit = values_of(written, decimals[name])
        except Ambiguous as error:
            msg = f"{path}, column {name!r}: {error}"
            raise DataError(msg) from error
        if bad.any() and not drop:
            what = (
                "is not a number"
                if written.body[bad].eq("").any()
                else f"is not a number with a decimal {'comma' if decimals[name] == ',' else 'point'}"
            )
            raise DataError(
                _at(path, bad, written.text, name, what)
                + "; mend or empty the cell, choose other columns with --value-columns, or leave such rows out: --read bad-rows=drop"
            )
        wrong |= bad
        units |= {name: unit} if unit else {}
        found[name] = _marked(values, layout)
    return {name: found[name] for name in names}, wrong, units


def _decimals(path: Path, apart: dict[str, Written], layout: Layout, delimiter: str) -> dict[str, Decimal]:
    """What parts decimals, for each column: told by its cells, else by those of the others."""
    if layout.corrections.decimal is not None:
        return dict.fromkeys(apart, layout.corrections.decimal)
    told: dict[str, Decimal | None] = {}
    unsure: list[str] = []
    for name, written in apart.items():
        try:
            told[name] = decimal_of(written, set(), delimiter)
        except Ambiguous as error:
            if "mend one" in str(error):
                msg = f"{path}, column {name!r}: {error}"
                raise DataError(msg) from error
            unsure.append(name)
    among = {d for d in told.values() if d is not None}
    for name in unsure:
        try:
            told[name] = decimal_of(apart[name], among, delimiter)
        except Ambiguous as error:
            msg = f"{path}, column {name!r}: {error}"
            raise DataError(msg) from error
    return {name: decimal or "." for name, decimal in told.items()}


def _typed(path: Path, cells: Cells, name: str, layout: Layout, *, metric: bool) -> NDArray[Any]:
    column = cells.table[name]
    if not metric and not cells.is_numeric(name):
        return np.asarray(cells.text(name)[0].to_list(), object)
    try:
        values = np.asarray(column.cast(pa.float64()).fill_null(np.nan).to_numpy(), np.float64)
    except pa.ArrowException as error:
        msg = f"{path}, column {name!r}: {column.type} cannot be read as a number"
        raise DataError(msg) from error
    return _marked(values, layout)


def _marked(values: NDArray[np.float64], layout: Layout) -> NDArray[np.float64]:
    """With NaN for what was said to stand for a missing number."""
    for marker in layout.corrections.missing:
        try:
            values = np.where(values == float(marker.replace(",", ".")), np.nan, values)
        except ValueError:
            continue
    return values


def _missing_notes(values: dict[str, NDArray[Any]]) -> list[str]:
    notes = []
    missing = {name: int(np.isnan(v).sum()) for name, v in values.items() if v.dtype != object}
    if total := sum(missing.values()):
        worst = max(missing, key=lambda name: missing[name])
        notes.append(f"{total:,} numbers are missing, {missing[worst]:,} of them in {worst}")
    for name, column in values.items():
        if column.dtype == object:
            continue
        for sentinel in _SENTINELS:
            times = int((column == sentinel).sum())
            if times > 1 and not ((column < 0) & (column != sentinel)).any():
                mark = f"{sentinel:g}"
                notes.append(
                    f"{mark} stands {times:,} times in {name}; where it means a missing number: --read missing={mark}"
                )
    return notes


def _series_names(path: Path, cells: Cells, series: Sequence[str]) -> pd.Series[str] | None:
    if not series:
        return None
    whole: pd.Series[str] | None = None
    for name in series:
        text = cells.table[name].cast(pa.string()).fill_null("").to_pandas().map(read_cell)
        blank = np.asarray(text == "", np.bool_)
        if blank.any() and len(series) == 1:
            raise DataError(_at(path, blank, text, name, "names no series"))
        whole = text if whole is None else whole + "/" + text
    return whole


def _truth(cells: Cells, labels: Sequence[str], notes: list[str]) -> NDArray[np.bool_] | None:
    for name in labels:
        found = columns.anomalous(cells, name)
        if found is not None:
            return found
        notes.append(f"which value of {name} means an anomaly is not known; write 0 and 1 to have it judged")
    return None


def _split(
    stem: str,
    timestamps: NDArray[np.int64],
    values: dict[str, NDArray[Any]],
    names: pd.Series[str] | None,
    truth: NDArray[np.bool_] | None,
    keep: NDArray[np.bool_],
    layout: Layout,
    *,
    metric: bool,
) -> tuple[dict[str, Series], dict[str, Labels]]:
    """Series by name in order of appearance; with `layout.wide` one for each of its columns too."""
    kept = np.flatnonzero(keep)
    place = np.arange(len(kept), dtype=np.int64)
    codes, uniques = pd.factorize(names.iloc[kept]) if names is not None else (np.zeros(len(kept), np.int64), [stem])
    order = np.argsort(codes, kind="stable")
    starts = np.searchsorted(codes[order], np.arange(len(uniques) + 1))
    found: dict[str, Series] = {}
    labels: dict[str, Labels] = {}
    for k, name in enumerate(map(str, uniques)):
        rows = order[starts[k] : starts[k + 1]]
        times = timestamps[kept[rows]]
        step = usual_step(times) if metric else 0
        some = {channel: column[kept[rows]] for channel, column in values.items()}
        if layout.wide:
            for c, (channel, column) in enumerate(some.items()):
                whole = channel if names is None else f"{name}/{channel}"
                found[whole] = Series(whole, times, (column,), step, place[rows] * len(values) + c)
        else:
            found[name] = Series(name, times, tuple(some.values()), step, place[rows])
        if truth is not None:
            marks = truth[kept[rows]]
            labels |= {n: Labels(_windows(times, marks), marks) for n in found if n not in labels}
    return found, labels


def _windows(times: NDArray[np.int64], marks: NDArray[np.bool_]) -> tuple[Window, ...]:
    """Stretches of labelled rows."""
    edges = np.flatnonzero(np.diff(np.concatenate([[False], marks, [False]]).astype(np.int8)))
    return tuple(Window(int(times[a:b].min()), int(times[a:b].max())) for a, b in edges.reshape(-1, 2))


def _time_line(
    time: Sequence[str],
    form: str,
    parts: dict[str, Series],
    series: Sequence[str],
    chosen: Sequence[str],
    layout: Layout,
    *,
    found: bool,
) -> str:
    if not time:
        return (
            "table, the rows in their order: no column tells a time (--timestamp-column)"
            if not layout.table
            else "table, the rows in their order"
        )
    steps = [s.interval_ms for s in parts.values() if s.interval_ms]
    step = f", a step of {_span(int(np.median(steps)))}" if steps else ""
    head = f"metric in the time of {','.join(time)!r} ({form}{step}; --timestamp-column, --time-zone)"
    if layout.wide:
        return f"{head}; {len(parts):,} series, one for each column"
    if series:
        return f"{head}; {len(parts):,} series, told apart by {', '.join(series)}" + (
            " (--series-column)" if found else ""
        )
    if len(chosen) > 1:
        return f"{head}; one series of {len(chosen)} channels (--wide: {len(chosen)} series)"
    return f"{head}; one series (--series-column)"


def _judged_line(chosen: Sequence[str], units: dict[str, str], left_out: dict[str, str]) -> str:
    shown = [f"{n} (in {units[n]})" if n in units else n for n in chosen]
    without = f"; left out: {listed([f'{n} ({why})' for n, why in left_out.items()])}" if left_out else ""
    return f"judged by {listed(shown)}{without} (--value-columns)"


def _span(ms: int) -> str:
    for size, word in ((86_400_000, "d"), (3_600_000, "h"), (60_000, "min"), (1000, "s")):
        if ms >= size:
            return f"{ms / size:g} {word}" if ms % size == 0 else f"{ms / size:.1f} {word}"
    return f"{ms} ms"


def _dataset(path: Path, part: Part) -> Dataset:
    categorical = tuple(
        c for i, c in enumerate(part.channels) if any(s.columns[i].dtype == object for s in part.series.values())
    )
    source = f"{path}: {part.lines[2].removesuffix(' (--value-columns)')}"
    reading = (*part.lines, *(f"note: {note}" for note in part.notes))
    kind: Any = part.kind
    return Dataset(part.name, kind, part.channels, source, part.series, part.labels, categorical, reading=reading)


def _together(path: Path, parts: list[Part], layout: Layout) -> Dataset:
    """Several files as one data set."""
    first = parts[0]
    if odd := next((p for p in parts if (p.kind, p.channels) != (first.kind, first.channels)), None):
        msg = (
            f"{path}: {first.name} is a {first.kind} of {listed(first.channels)}, but {odd.name} a {odd.kind} of {listed(odd.channels)}; "
            "choose columns that all have with --value-columns, or give the files one by one"
        )
        raise DataError(msg)
    as_parts, why = _are_parts(parts, layout)
    pieces: dict[str, list[tuple[Series, Labels | None]]] = {}
    offset = 0
    for number, part in enumerate(parts):
        for name, series in part.series.items():
            own = name if part.named or as_parts else part.name
            if as_parts and not part.named:
                own = _stem(path.name).strip("*-_.?") or "series"
            elif not part.named and any(p.name == part.name for p in parts[:number]):
                own = f"{part.name} {number + 1}"
            moved = replace(series, name=own, positions=series.positions + offset)
            pieces.setdefault(own, []).append((moved, part.labels.get(name)))
        offset += max(int(s.positions.max()) for s in part.series.values()) + 1
    found = {name: _joined(name, [s for s, _ in some]) for name, some in pieces.items()}
    labels: dict[str, Labels] = {}
    for name, some in pieces.items():
        known = [mark for _, mark in some if mark is not None]
        if len(known) == len(some):
            windows = tuple(w for mark in known for w in mark.windows)
            labels[name] = Labels(windows, np.concatenate([mark.anomalous for mark in known]))
    rows = sum(p.rows for p in parts)
    notes = [f"{p.name}: {note}" for p in parts for note in p.notes]
    if len(notes) > 10:
        notes = [*notes[:10], f"{len(notes) - 10:,} more of the kind"]
    lines = (
        f"{path}: {len(parts):,} files, {rows:,} rows; {why}",
        first.lines[1].split("; ")[0] + f"; {len(found):,} series" if first.kind == "metric" else first.lines[1],
        first.lines[2],
    )
    whole = Part(
        _stem(path.name).strip("*") or "files",
        first.kind,
        first.channels,
        found,
        labels,
        rows,
        first.named,
        lines,
        tuple(notes),
    )
    return _dataset(path, whole)


def _are_parts(parts: list[Part], layout: Layout) -> tuple[bool, str]:
    """Whether files are parts of the same series, one after the other; and what to tell."""
    if all(p.named for p in parts):
        return True, "rows of one series from several files go together"
    if layout.corrections.files is not None:
        return layout.corrections.files == "parts", f"taken as {layout.corrections.files}"
    alike = len({re.sub(r"\d+", "", p.name) for p in parts}) == 1
    spans = sorted((int(s.timestamps.min()), int(s.timestamps.max())) for p in parts for s in p.series.values())
    apart = all(a[1] < b[0] for a, b in pairwise(spans))
    if alike and apart and parts[0].kind == "metric":
        return True, "parts of one series, as their times follow each other (--read files=series: a series each)"
    return False, "a series each, named as the file (--read files=parts: parts of one)"


def _joined(name: str, some: list[Series]) -> Series:
    if len(some) == 1:
        return some[0]
    some = sorted(some, key=lambda s: int(s.timestamps.min()))
    times = np.concatenate([s.timestamps for s in some])
    channels = tuple(np.concatenate(column) for column in zip(*(s.columns for s in some), strict=True))
    interval = usual_step(times) if some[0].interval_ms else 0
    return Series(name, times, channels, interval, np.concatenate([s.positions for s in some]))


def _at(path: Path, bad: NDArray[np.bool_], column: pd.Series[str], name: str, what: str) -> str:
    """`file, row 17, column 'load': 'x' is not a number (and 3 more)`."""
    row = int(np.argmax(bad))
    more = int(bad.sum()) - 1
    cell = str(column.iloc[row])[:40]
    return f"{path}, row {row + 1}, column {name!r}: {cell!r} {what}" + (f" (and {more} more)" if more else "")


def _stem(name: str) -> str:
    endings = _ENDINGS | _PACKINGS
    while "." in name and name.rsplit(".", 1)[1].lower() in endings:
        name = name.rsplit(".", 1)[0]
    return {"": "series", "-": "stdin"}.get(name, name)
