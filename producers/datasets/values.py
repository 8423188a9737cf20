"""The value columns of a table as arrays: what parts decimals is decided for the file, wrong cells and units are told."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
from numpy.typing import NDArray

from producers.datasets.base import Layout
from producers.datasets.columns import Cells
from producers.datasets.numbers import Ambiguous, Decimal, Written, decimal_of, switches, taken_apart, values_of
from producers.errors import DataError

_SENTINELS = (-999.0, -9999.0, -99999.0, -999.25, -99.0)


def values_in(
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
            pair = switches(cells.present(name)) and switches(text[~missing])  # where the first are none, all are none
            if pair is not None and not pd.to_numeric(text[~missing], errors="coerce").notna().any():
                found[name] = np.where(missing, np.nan, (text.str.lower() == pair[0]).to_numpy(np.float64))
            else:
                quick = (
                    cells.plain_numbers(name)
                    if cells.sheet.delimiter != ";" and not layout.corrections.decimal
                    else None
                )
                if quick is None:
                    apart[name] = taken_apart(text, missing)
                else:
                    found[name] = _marked(quick, layout)
    if any(written.body.str.contains(",", regex=False).any() for written in apart.values()):
        # A point may part thousands, where another column has a comma for decimals.
        for name in [
            n for n in found if cells.is_text(n) and found[n].dtype != object and switches(cells.present(n)) is None
        ]:
            apart[name] = taken_apart(*cells.text(name))
    decimals = _decimals(path, apart, layout, cells.sheet.delimiter)
    wrong, units = np.zeros(len(cells.table), np.bool_), dict[str, str]()
    for name, written in apart.items():
        try:
            values, bad, unit = values_of(written, decimals[name])
        except Ambiguous as error:
            msg = f"{path}, column {name!r}: {error}, or choose other columns with --value-columns"
            raise DataError(msg) from error
        if bad.any() and not drop:
            what = (
                "is not a number"
                if written.body[bad].eq("").any()
                else f"is not a number with a decimal {'comma' if decimals[name] == ',' else 'point'}"
            )
            raise DataError(
                cell_at(path, bad, written.text, name, what)
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


def missing_notes(values: dict[str, NDArray[Any]]) -> list[str]:
    """What is told of missing numbers, and of numbers that may stand for one."""
    notes = []
    missing = {name: int(np.isnan(v).sum()) for name, v in values.items() if v.dtype != object}
    if total := sum(missing.values()):
        worst = max(missing, key=lambda name: missing[name])
        notes.append(f"{total:,} numbers are missing, {missing[worst]:,} of them in {worst}")
    endless = {name: int(np.isinf(v).sum()) for name, v in values.items() if v.dtype != object}
    if total := sum(endless.values()):
        worst = max(endless, key=lambda name: endless[name])
        notes.append(
            f"{total:,} number{'s are' if total > 1 else ' is'} infinite, {endless[worst]:,} in {worst}: as if missing, none is judged"
        )
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


def cell_at(path: Path, bad: NDArray[np.bool_], column: pd.Series[str], name: str, what: str) -> str:
    """`file, row 17, column 'load': 'x' is not a number (and 3 more)`."""
    row = int(np.argmax(bad))
    more = int(bad.sum()) - 1
    cell = str(column.iloc[row])[:40]
    return f"{path}, row {row + 1}, column {name!r}: {cell!r} {what}" + (f" (and {more} more)" if more else "")
