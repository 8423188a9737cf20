"""Which column of a table is what: as said, else as found, and why others are left out. Errors name the option that decides."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from producers.datasets import columns, dates, series_names
from producers.datasets.base import Layout
from producers.datasets.columns import Cells
from producers.datasets.tables import listed
from producers.errors import DataError


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


def roles_of(
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
        check_there(path, cells, column)
    labels = (
        [layout.corrections.labels] if layout.corrections.labels else columns.label_columns(cells, [*time, *series])
    )
    for column in labels:
        check_there(path, cells, column)
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


def check_there(path: Path, cells: Cells, column: str) -> None:
    """Raise DataError where there is no such column."""
    if column not in cells.names:
        msg = f"{path}: there is no column {column!r}; it has {listed(cells.names)}"
        raise DataError(msg)


def _several(path: Path, cells: Cells, column: str) -> tuple[str, ...]:
    """A column, or several with commas between."""
    if column in cells.names or "," not in column:
        check_there(path, cells, column)
        return (column,)
    names = tuple(name.strip() for name in column.split(","))
    for name in names:
        check_there(path, cells, name)
    return names


def named_time(path: Path, cells: Cells, layout: Layout) -> tuple[str, ...]:
    """The column of event times, or the two or more of date and time; none: a table. Raises DataError where one seems to be a time of no known form."""
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
    found, again = series_names.series_columns(cells, timestamps, taken)
    if not found and again > series_names.AGAIN:
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
        elif time and (beside := columns.beside_the_time(cells, name, time)):
            why[name] = beside
        elif time and series_names.names_one(cells, name):
            why[name] = "text"
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
