"""Labels from a file of their own, for data that holds none: stretches with a begin and an end, or rows that are labelled one by one."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pyarrow as pa

from producers.datasets import Corrections, Dataset, Labels, Layout, Window
from producers.datasets.base import inside
from producers.datasets.columns import plain
from producers.datasets.names import SERIES
from producers.datasets.reading import event_times, read
from producers.datasets.tables import sheets
from producers.errors import DataError

BEGINS = ("start", "begin", "from", "first", "starts_at", "start_time", "begins_at", "onset", "von", "beginn")
_ROW = "row of the file"
ENDS = ("end", "stop", "to", "until", "last", "ends_at", "end_time", "bis", "ende")


def with_marks(data: Dataset, file: Path, time_zone: str) -> Dataset:
    """The data set with the labels of `file`: a row `[series,] start, end` for each stretch, or what `tidewatch evaluate` reads as labelled rows.

    A stretch without a series is of all of them.

    Raises
    ------
    DataError
        It cannot be read, names a series that there is not, or marks nothing of the data.
    """
    if data.kind == "table":
        msg = f"{file}: labels of a table stand in its rows; stretches of time are for metrics"
        raise DataError(msg)
    stretches = _stretches(file, time_zone)
    if stretches is None:
        labels = _labelled_rows(file, time_zone)
        alone = len(labels) == len(data.all_series) == 1
        stretches = [("" if alone else name, w) for name, of in labels.items() for w in of.windows]
    strange = sorted({name for name, _ in stretches if name and name not in data.all_series})
    if strange:
        msg = f"{file}: there is no series {strange[0]!r} in {data.name}; it has {', '.join(list(data.all_series)[:5])}"
        raise DataError(msg)
    labels = {}
    for name, series in data.series().items():
        windows = tuple(sorted((w for of, w in stretches if of in ("", name)), key=lambda w: (w.first, w.last)))
        labels[name] = Labels(windows, inside(series.timestamps, windows))
    if not any(of.anomalous.any() for of in labels.values()):
        msg = f"{file}: no observation of {data.name} lies in what it marks (another time zone? --time-zone)"
        raise DataError(msg)
    return replace(data, all_labels=labels)


def _stretches(file: Path, time_zone: str) -> list[tuple[str, Window]] | None:
    """Series ("": all) and stretch of each row; None where the file has no columns of begin and end."""
    found: list[tuple[str, Window]] = []
    layout = Layout(time_zone=time_zone)
    for sheet in sheets(file, layout.corrections):
        names = sheet.table.column_names
        begin, end, of = (_named(names, usual) for usual in (BEGINS, ENDS, SERIES))
        if begin is None or end is None:
            return None
        first, last = (event_times(file, sheet, column, layout) for column in (begin, end))
        if (last < first).any():
            msg = f"{file}, row {int(np.argmax(last < first)) + 1}: ends before it begins"
            raise DataError(msg)
        series = [""] * len(first) if of is None else [str(name or "") for name in sheet.table[of].to_pylist()]
        found += [(name, Window(int(a), int(b))) for name, a, b in zip(series, first, last, strict=True)]
    return found


def _labelled_rows(file: Path, time_zone: str) -> dict[str, Labels]:
    """Labels by series; of a file that holds no numbers besides, too."""
    found: dict[str, Labels] = {}
    for sheet in sheets(file, Corrections()):
        rows = pa.array(np.arange(sheet.table.num_rows))
        numbered = replace(sheet, table=sheet.table.append_column(_ROW, rows))
        found |= read(file, numbered, Layout(value_columns=(_ROW,), time_zone=time_zone)).labels
    if not found:
        msg = f"{file}: has neither columns of a start and an end nor a column of labels"
        raise DataError(msg)
    return found


def _named(names: Sequence[str], usual: Sequence[str]) -> str | None:
    return next((n for wanted in usual for n in names if plain(n) == wanted), None)
