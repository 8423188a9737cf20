"""Columns of event times as ms since 1970: one, or the two or more of date and time of day. Errors name the file, the row and the column."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
from numpy.typing import NDArray

from producers.datasets import columns, dates, epochs
from producers.datasets import names as usual_names
from producers.datasets.base import Layout
from producers.datasets.columns import Cells
from producers.datasets.epochs import Times
from producers.datasets.numbers import Ambiguous
from producers.datasets.values import cell_at
from producers.errors import DataError


def times_in(path: Path, cells: Cells, names: tuple[str, ...], layout: Layout) -> Times:
    """Event times; raises DataError for cells that are none, unless such rows are to be left out."""
    chosen = layout.corrections
    shown = ",".join(names)
    try:
        read, column = _read_times(cells, names, layout)
    except Ambiguous as error:
        msg = f"{path}, column {shown!r}: {error}"
        raise DataError(msg) from error
    except NotImplementedError as error:  # pandas, of times that are no text
        msg = f"{path}, column {shown!r}: holds times outside the years 1 to 9999; leave such rows out"
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


def times_by_series(
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
        found[rows] = times_in(path, own, time, layout).ms
    return found


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
    quick = cells.plain_numbers(name)
    number = (
        pd.to_numeric(text.where(~missing), errors="coerce").to_numpy(np.float64, na_value=np.nan)
        if quick is None
        else quick
    )
    if not np.isfinite(number).any():
        number = pd.to_numeric(dates.without_thousands(text), errors="coerce").to_numpy(np.float64, na_value=np.nan)
    if np.isfinite(number).mean() > 0.5 or (np.isfinite(number).any() and cells.is_numeric(name)):
        return epochs.from_numbers(number, name, chosen), text
    return dates.from_text(text, missing, layout.time_zone, chosen), text
