"""One table as series: its times, names, numbers and labels, and what was taken for what. Errors name the file, the row and the column."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
from numpy.typing import NDArray

from producers.cells import read_cell
from producers.datasets import columns, dates, epochs
from producers.datasets import names as usual_names
from producers.datasets.base import Labels, Layout, Series, Window, usual_step
from producers.datasets.columns import Cells
from producers.datasets.epochs import Times
from producers.datasets.numbers import Ambiguous
from producers.datasets.tables import Sheet, listed, turned
from producers.datasets.unpacking import STDIN
from producers.datasets.values import cell_at, missing_notes, values_in
from producers.errors import DataError

STEP_MS = 1000  # made up, for tables without time stamps
ENDINGS = frozenset(
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
        "mat",
        "feather",
        "arrow",
        "arrows",
        "orc",
        "tar",
        "tgz",
        "zip",
        "prom",
        "tab",
    }
)
PACKINGS = frozenset({"gz", "xz", "bz2", "zst", "lz4"})


@dataclass(frozen=True)
class Roles:
    """Which column of a table is what.

    Attributes
    ----------
    time, series
        Columns that go together; none: the rows are a table, or one series.
    judged
        Columns of values.
    left_out
        Others, with why.
    """

    time: tuple[str, ...]
    series: tuple[str, ...]
    labels: tuple[str, ...]
    judged: tuple[str, ...]
    left_out: Mapping[str, str]
    series_were_found: bool = False


@dataclass(frozen=True)
class Part:
    """One table, read.

    Attributes
    ----------
    roles
        As found, or given.
    read : (n,) bool
        Rows of the table that could be read; the others were left out.
    time_form
        How times are written, for people; "" where there are none.
    """

    name: str
    kind: str
    channels: tuple[str, ...]
    series: dict[str, Series]
    labels: dict[str, Labels]
    rows: int
    named: bool
    lines: tuple[str, str, str]
    notes: tuple[str, ...]
    roles: Roles
    read: NDArray[np.bool_]
    time_form: str


def read(path: Path, sheet: Sheet, layout: Layout, roles: Roles | None = None) -> Part:
    """A table as series.

    Parameters
    ----------
    roles
        Of its columns, as found in what was read before; None: found here.

    Raises
    ------
    DataError
        A column is not there, a cell is none of its kind, two readings fit, no row could be used.
    """
    if roles is None and not layout.table and layout.timestamp_column is None:
        sheet = turned(sheet)
    was_known = roles is not None
    cells = Cells(sheet, layout.corrections)
    time = _named_time(path, cells, layout) if roles is None else roles.time
    for column in () if roles is None else (*time, *roles.series, *roles.judged):
        _check_there(path, cells, column)
    wrong, unsure = np.zeros(len(cells.table), np.bool_), None
    if time:
        read = _times(path, cells, time, layout)
        wrong |= read.wrong
        timestamps, form, unsure = read.ms, read.form, read.unsure
        cells.forget(time)
    else:
        timestamps, form = np.arange(len(cells.table), dtype=np.int64) * STEP_MS, ""
    if roles is None:
        roles = _roles(path, cells, layout, time, timestamps, wrong if unsure is None else wrong | unsure)
    series, labels, chosen = roles.series, roles.labels, roles.judged
    notes = list(sheet.notes)
    values, bad, units = values_in(path, cells, chosen, layout, metric=bool(time))
    wrong |= bad
    if wrong.any():
        notes.append(f"{int(wrong.sum()):,} rows that could not be read were left out")
    if time and not any((np.isfinite(v) & ~wrong).any() for v in values.values()):
        msg = f"{path}: no row could be used: {listed(list(values))} hold nothing but missing numbers; name others with --value-columns"
        raise DataError(msg)
    if wrong.all():
        msg = f"{path}: no row could be used"
        raise DataError(msg)
    notes += missing_notes(values)
    names = _series_names(path, cells, series)
    if unsure is not None and names is not None:
        timestamps = _by_series(path, cells, time, names, layout, timestamps)
    if time and not was_known:
        _check_units(path, cells, series, chosen, names)
    stem = stem_of(sheet.name)
    parts, truth = _split(
        stem, timestamps, values, names, _truth(cells, labels, notes), ~wrong, layout, metric=bool(time)
    )
    rows = int((~wrong).sum())
    lines = (
        f"{'standard input' if str(path) == STDIN else path}: {sheet.form}, {rows:,} rows"
        + (f" of {sheet.name}" if sheet.name != path.name and str(path) != STDIN else ""),
        _time_line(time, form, parts, series, chosen, layout, found=roles.series_were_found),
        _judged_line(chosen, units, roles.left_out),
    )
    kind = "metric" if time else "table"
    channels = ("value",) if layout.wide else tuple(values)
    named = bool(series) or layout.wide
    return Part(stem, kind, channels, parts, truth, rows, named, lines, tuple(notes), roles, ~wrong, form)


def _roles(
    path: Path,
    cells: Cells,
    layout: Layout,
    time: tuple[str, ...],
    timestamps: NDArray[np.int64],
    wrong: NDArray[np.bool_],
) -> Roles:
    """What the columns are besides `time`: as said, else as found."""
    series = _named_series(path, cells, layout)
    for column in layout.value_columns:
        _check_there(path, cells, column)
    labels = (
        [layout.corrections.labels] if layout.corrections.labels else columns.label_columns(cells, [*time, *series])
    )
    for column in labels:
        _check_there(path, cells, column)
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
    return Roles(time, series, tuple(labels), chosen, left_out, found_series)


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
            f"{path}: column {unread!r} seems to tell the time, but {cell!r} is none that is known (a zone by its name? leave it out, and name it with "
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
        near = [
            n
            for n in cells.names
            if n not in taken and not cells.is_numeric(n) and cells.different(n) <= len(timestamps) // 2
        ]
        meant = f"--series-column {near[0]}" if near else "--series-column NAME"
        msg = (
            f"{path}: {again:.0%} of the rows have the time of another row, and no column was found that tells series apart; name it: "
            f"{meant}, or take the rows in their order: --table"
        )
        raise DataError(msg)
    return found


def _times(path: Path, cells: Cells, names: tuple[str, ...], layout: Layout) -> Times:
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
            cell_at(path, read.wrong, column, shown, what) + "; such rows are left out with --read bad-rows=drop"
        )
    return read


def _by_series(
    path: Path,
    cells: Cells,
    time: tuple[str, ...],
    names: pd.Series[str],
    layout: Layout,
    timestamps: NDArray[np.int64],
) -> NDArray[np.int64]:
    """Event times, each series read by itself: which of two equal hours a row is of is told by the order of its series."""
    found = timestamps.copy()
    for rows in names.groupby(names, sort=False).indices.values():
        own = Cells(replace(cells.sheet, table=cells.table.take(pa.array(rows))), layout.corrections)
        found[rows] = _times(path, own, time, layout).ms
    return found


def _check_units(
    path: Path, cells: Cells, series: Sequence[str], chosen: Sequence[str], names: pd.Series[str] | None
) -> None:
    """Refuse values of one series whose unit stands in a column and is not always the same."""
    for column in cells.names:
        if columns.plain(column) not in usual_names.UNITS or column in {*series, *chosen} or not cells.is_text(column):
            continue
        text, missing = cells.text(column)
        known = text[~missing]
        of = pd.Series("", known.index) if names is None else names[~missing]
        if (known.groupby(of).nunique() > 1).any():
            some = " and ".join(map(repr, list(dict.fromkeys(known))[:3]))
            apart = ",".join([*series, column])
            msg = (
                f"{path}: by column {column!r} the values of a series are in several units ({some}); bring them to one, or let the unit tell series "
                f"apart: --series-column {apart}"
            )
            raise DataError(msg)


def _read_times(cells: Cells, names: tuple[str, ...], layout: Layout) -> tuple[Times, pd.Series[str]]:
    chosen, name = layout.corrections, names[0]
    last = cells.present(names[-1], 100) if len(names) > 1 else ()
    if len(last) and (all(map(dates.ONLY_ZONE.match, last)) or all(map(dates.ONLY_HALF.match, last))):
        texts = [cells.text(n) for n in names]
        whole = texts[0][0]
        for (text, _), name in zip(texts[1:], names[1:], strict=True):
            zone = all(map(dates.ONLY_ZONE.match, cells.present(name, 100)))
            whole = whole + text if zone else whole + " " + dates.with_colons(text)
        return dates.from_text(
            whole, np.logical_or.reduce([none for _, none in texts]), layout.time_zone, chosen
        ), whole
    if len(names) > 1 and columns.part_of_date(names[1]) in ("month", "day_of_year"):
        parts = {columns.part_of_date(n): pd.to_numeric(cells.text(n)[0], errors="coerce") for n in names}
        month = next((n for n in names if columns.part_of_date(n) == "month"), None)
        if month is not None and not cells.is_numeric(month):
            parts["month"] = cells.text(month)[0].map(dates.month_number)
        days = parts.pop("day_of_year", 1)
        parsed = pd.to_datetime(pd.DataFrame({"month": 1, "day": 1} | parts), errors="coerce")
        parsed = parsed + pd.to_timedelta(days - 1, unit="D")
        text = pd.Series([" ".join(row) for row in zip(*(cells.text(n)[0] for n in names), strict=True)])
        iso = parsed.dt.strftime("%Y-%m-%dT%H:%M:%S").fillna("")
        return replace(
            dates.from_text(iso, np.asarray(parsed.isna()), layout.time_zone, chosen),
            form=f"a column for each part, in {layout.time_zone}",
        ), text
    if len(names) == 2:
        (date, none), (clock, none_too) = cells.text(names[0]), cells.text(names[1])
        if columns.plain(names[1]) in usual_names.CLOCKS and clock.str.fullmatch(dates.DIGITS_OF_CLOCK).all():
            digits = dates.clock_in_digits(clock)
            if digits is not None:
                read = dates.from_text(date + " " + digits, none | none_too, layout.time_zone, chosen)
                return replace(read, form=f"{read.form}, {dates.IN_DIGITS}"), date + " " + digits
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
    if columns.months_with_points(cells, name):
        text = text.str.replace(".", "-", regex=False)
    if dates.looks_like_time(next(iter(text[~missing].iloc[:1]), "")):
        return dates.from_text(text, missing, layout.time_zone, chosen), text
    number = pd.to_numeric(text.where(~missing), errors="coerce").to_numpy(np.float64, na_value=np.nan)
    if not np.isfinite(number).any():
        number = pd.to_numeric(dates.without_thousands(text), errors="coerce").to_numpy(np.float64, na_value=np.nan)
    if np.isfinite(number).mean() > 0.5 or (np.isfinite(number).any() and cells.is_numeric(name)):
        return epochs.from_numbers(number, name, chosen), text
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
            dated = all(map(dates.looks_like_time, cells.present(name, 20)))
            why[name] = "another time" if dated else "text"
        elif not time and columns.is_identifier(cells, name):
            why[name] = "different in most rows"
    found = tuple(n for n in others if n not in why)
    if not found:
        besides = f"no column but {','.join(time)!r} holds numbers" if time else "no column can be judged"
        msg = f"{path}: {besides} ({', '.join(f'{n}: {w}' for n, w in list(why.items())[:8]) or 'there is no other'}); name one with --value-columns"
        raise DataError(msg)
    return found, why


def _series_names(path: Path, cells: Cells, series: Sequence[str]) -> pd.Series[str] | None:
    if not series:
        return None
    whole: pd.Series[str] | None = None
    for name in series:
        text = cells.table[name].cast(pa.string()).fill_null("").to_pandas()
        if cells.sheet.delimiter:
            text = text.str.strip()
        if text.str.startswith("'").any():
            text = text.map(read_cell)
        blank = np.asarray(text == "", np.bool_)
        if blank.any() and len(series) == 1:
            raise DataError(cell_at(path, blank, text, name, "names no series"))
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
    if metric and names is None and truth is None and not layout.wide and keep.all():  # as it stands: no row is copied
        rising = bool((timestamps[1:] >= timestamps[:-1]).all())
        step = usual_step(timestamps if rising else np.sort(timestamps))
        return {stem: Series(stem, timestamps, tuple(values.values()), step)}, {}
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
        step = usual_step(np.sort(times)) if metric else 0
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


def _judged_line(chosen: Sequence[str], units: dict[str, str], left_out: Mapping[str, str]) -> str:
    shown = [f"{n} (in {units[n]})" if n in units else n for n in chosen]
    without = f"; left out: {listed([f'{n} ({why})' for n, why in left_out.items()])}" if left_out else ""
    return f"judged by {listed(shown)}{without} (--value-columns)"


def _span(ms: int) -> str:
    for size, word in ((86_400_000, "d"), (3_600_000, "h"), (60_000, "min"), (1000, "s")):
        if ms >= size:
            return f"{ms / size:g} {word}" if ms % size == 0 else f"{ms / size:.1f} {word}"
    return f"{ms} ms"


def stem_of(name: str) -> str:
    """A file's name without what tells its kind."""
    endings = ENDINGS | PACKINGS
    while "." in name and name.rsplit(".", 1)[1].lower() in endings:
        name = name.rsplit(".", 1)[0]
    return {"": "series", "-": "stdin"}.get(name, name)


def event_times(path: Path, sheet: Sheet, column: str, layout: Layout) -> NDArray[np.int64]:
    """(n,) one column of times, in ms since 1970. Raises DataError for cells that are none."""
    return _times(path, Cells(sheet, layout.corrections), (column,), layout).ms
