"""One table as series: its times, names, numbers and labels, and what was taken for what. Errors name the file, the row and the column."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
from numpy.typing import NDArray

from producers.cells import read_cell
from producers.datasets import columns
from producers.datasets import names as usual_names
from producers.datasets.base import Labels, Layout, Series, Window, usual_step
from producers.datasets.columns import Cells
from producers.datasets.endings import stem_of
from producers.datasets.event_times import times_by_series, times_in
from producers.datasets.roles import Roles, check_there, named_time, roles_of
from producers.datasets.tables import Sheet, listed, turned
from producers.datasets.unpacking import STDIN
from producers.datasets.values import cell_at, missing_notes, values_in
from producers.errors import DataError

STEP_MS = 1000  # made up, for tables without time stamps


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
    time = named_time(path, cells, layout) if roles is None else roles.time
    for column in () if roles is None else (*time, *roles.series, *roles.judged):
        check_there(path, cells, column)
    wrong, unsure = np.zeros(len(cells.table), np.bool_), None
    if time:
        read = times_in(path, cells, time, layout)
        wrong |= read.wrong
        timestamps, form, unsure = read.ms, read.form, read.unsure
        cells.forget(time)
    else:
        timestamps, form = np.arange(len(cells.table), dtype=np.int64) * STEP_MS, ""
    if roles is None:
        roles = roles_of(path, cells, layout, time, timestamps, wrong if unsure is None else wrong | unsure)
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
    if form.endswith("in UTC"):
        column, zone = columns.zones_named(cells, [*time, *series])
        if zone:
            notes.append(
                f"{column} names time zones ({zone}), but times are read in UTC; where they are local ones: --time-zone {zone}"
            )
    names = _series_names(path, cells, series)
    if unsure is not None and names is not None:
        timestamps = times_by_series(path, cells, time, names, layout, timestamps)
    if time and not was_known:
        _check_units(path, cells, series, chosen, names)
    stem = stem_of(sheet.name)
    marked = _truth(cells, labels, notes)
    cells.forget(cells.names)
    parts, truth = _split(stem, timestamps, values, names, marked, ~wrong, layout, metric=bool(time))
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


def _series_names(path: Path, cells: Cells, series: Sequence[str]) -> pd.Series[str] | None:
    if not series:
        return None
    whole: pd.Series[str] | None = None
    for name in series:
        typed = not cells.sheet.delimiter
        text = cells.table[name].cast(pa.string()).fill_null("").to_pandas() if typed else cells.text(name)[0]
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
    kept = None if keep.all() else np.flatnonzero(keep)
    n = len(timestamps) if kept is None else len(kept)
    of_each = {stem: np.arange(n)} if names is None else _grouped(names if kept is None else names.iloc[kept])
    found: dict[str, Series] = {}
    labels: dict[str, Labels] = {}
    for name, place in of_each.items():
        rows = place if kept is None else kept[place]
        times = timestamps[rows]
        step = usual_step(np.sort(times)) if metric else 0
        some = {channel: column[rows] for channel, column in values.items()}
        own: dict[str, Series] = {}
        if layout.wide:
            for c, (channel, column) in enumerate(some.items()):
                whole = channel if names is None else f"{name}/{channel}"
                own[whole] = Series(whole, times, (column,), step, place * len(values) + c)
        else:
            own[name] = Series(name, times, tuple(some.values()), step, place.astype(np.int64))
        found |= own
        if truth is not None:
            marks = Labels(_windows(times, truth[rows]), truth[rows])
            labels |= dict.fromkeys((whole for whole in own if whole not in labels), marks)
    return found, labels


def _grouped(names: pd.Series[str]) -> dict[str, NDArray[np.intp]]:
    """Rows, rising, of each name, in order of appearance."""
    codes, uniques = pd.factorize(names)
    order = np.argsort(codes.astype(np.int32), kind="stable")
    cuts = np.cumsum(np.bincount(codes, minlength=len(uniques)))[:-1]
    return dict(zip(map(str, uniques), np.split(order, cuts), strict=True))


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


def event_times(path: Path, sheet: Sheet, column: str, layout: Layout) -> NDArray[np.int64]:
    """(n,) one column of times, in ms since 1970. Raises DataError for cells that are none."""
    return times_in(path, Cells(sheet, layout.corrections), (column,), layout).ms
