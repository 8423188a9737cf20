"""Any user's CSV or Parquet file as a data set. Errors name the file, the row and the column.

A row's number in an error counts data rows from 1, so in a CSV file it stands on line row + 1 (below the header). An empty
cell of a value column, or NaN, NA, null there, is a missing number: the row stays, its value is NaN, and a replay
leaves it out.

Where no value columns are named, two kinds of columns are left out, and `Dataset.source` names them: labels (a column
called `label`, `is_anomaly`, ..., of two values; whoever wants it judged names it), and in tables text that is different in most
rows (an identifier tells a detector nothing, and would become a column for each row).
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from datetime import UTC
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.csv as pacsv
import pyarrow.parquet as pq
from numpy.typing import NDArray

from producers.cells import read_cell
from producers.datasets.base import Dataset, Layout, Series, usual_step
from producers.errors import DataError

NAMED = 8  # columns named in the one line that says what is judged
STEP_MS = 1000  # made up, for tables without time stamps

_MISSING = ["", "nan", "na", "null", "none", "n/a"]
_LABELS = frozenset(
    {
        *("label", "labels", "is_anomaly", "anomaly", "anomalies", "is_outlier", "outlier", "outliers", "ground_truth"),
        *("class", "target", "attack", "fraud", "y"),
    }
)
"""Names of columns that hold labels, where they hold two values."""
_TIMES = ("timestamp", "timestamps", "time", "datetime", "date_time", "date", "ts", "event_time", "unix_time")
MAX_COLUMNS = 4_096
"""Columns of a file: a detector keeps a number for each pair of them."""
MAX_HEADER = 1 << 20
"""Bytes of a CSV file's first line."""
MOSTLY = 0.9
"""Share of the steps of a numeric time column that go one way, where nobody said that it is one."""
EPOCH_LEAST_MS = 10**11
"""Numbers that all come to more than this (March 1973) count since 1970."""
IDENTIFIER_SHARE, IDENTIFIER_LEAST = 0.5, 50
"""Text with more different values than this share of the rows, and than this many, is an identifier."""
_SLASHED = r"\d{1,2}[/.]\d{1,2}[/.]\d{4}"
_EPOCH_UNITS = ((1e11, 1e3), (1e14, 1.0), (1e17, 1e-3), (np.inf, 1e-6))  # |number| below this -> factor to ms


def load(path: Path, layout: Layout | None = None) -> Dataset:
    """Read a file (.csv, .csv.gz, .tsv, .parquet).

    Raises
    ------
    DataError
        The file cannot be read; a column is not there; a cell is no number or no time.
    """
    layout = layout or Layout()
    table = _read(path)
    for column in (layout.timestamp_column, layout.series_column, *layout.value_columns):
        if column is not None and column not in table.column_names:
            msg = f"{path}: there is no column {column!r}; it has {_listed(table.column_names)}"
            raise DataError(msg)
    if table.num_rows == 0:
        msg = f"{path}: there are no rows in it"
        raise DataError(msg)
    metric = layout.timestamp_column is not None
    chosen, left_out = (layout.value_columns, ()) if layout.value_columns else _value_columns(path, table, layout)
    columns = {n: _values(path, table, n, numbers=metric) for n in chosen}
    timestamps = (
        _timestamps(path, table[layout.timestamp_column], layout.timestamp_column, layout.time_zone)
        if layout.timestamp_column is not None
        else np.arange(table.num_rows, dtype=np.int64) * STEP_MS
    )
    categorical = tuple(n for n, c in columns.items() if c.dtype == object)
    return Dataset(
        _stem(path),
        "metric" if metric else "table",
        tuple(columns),
        _described(path, chosen, left_out),
        _split(path, table, layout, timestamps, tuple(columns.values())),
        categorical=categorical,
    )


def time_column(path: Path) -> str | None:
    """The column that holds event times, where nobody said: the first of the usual names, else the first of ISO 8601 dates.

    None: the file is a table. Numbers are times if they count since 1970 or go on from row to row: a column `Time` that often
    stands still (the seconds of a list of payments) is a feature.

    Raises
    ------
    DataError
        The file cannot be read.
    """
    table = _read(path)
    usual = {name: place for place, name in enumerate(_TIMES)}
    plain = {n: n.strip().lower().lstrip("@") for n in table.column_names}
    named = sorted((n for n in plain if plain[n] in usual), key=lambda n: usual[plain[n]])
    dated = [n for n in plain if plain[n] not in usual and _looks_dated(table[n])]
    return next((n for n in [*named, *dated] if _tells_time(path, table, n)), None)


def _looks_dated(column: pa.ChunkedArray) -> bool:
    if not _is_text(column.type):
        return bool(pa.types.is_timestamp(column.type) or pa.types.is_date(column.type))
    cleaned, missing = _cleaned(column.slice(0, 100))
    return not missing.any() and bool(cleaned.str.match(r"\d{4}-\d{2}-\d{2}([T ]|$)").all())


def _tells_time(path: Path, table: pa.Table, name: str) -> bool:
    """Whether a column of a time's name is one: text is (a wrong cell will be told), numbers if they look like it."""
    if _is_text(table[name].type) and not _looks_numeric(table[name]):
        return True
    try:
        times = _timestamps(path, table[name], name, "UTC")
    except DataError:
        return False
    steps = np.diff(times)
    since_1970 = len(times) > 0 and times.min() > EPOCH_LEAST_MS
    return since_1970 or not len(steps) or max((steps > 0).mean(), (steps < 0).mean()) >= MOSTLY


def _read(path: Path) -> pa.Table:
    try:
        if path.suffix == ".parquet":
            _check_width(path, len(pq.read_schema(path)))
            table = pq.read_table(path)
        else:
            table = _read_csv(path)
    except FileNotFoundError as error:
        msg = f"{path}: there is no such file"
        raise DataError(msg) from error
    except (OSError, pa.ArrowException, UnicodeDecodeError) as error:
        mend = "; save it as UTF-8" if "utf8" in str(error).lower() else ""
        kind = "Parquet" if path.suffix == ".parquet" else "CSV"
        msg = f"{path}: cannot be read as {kind}: {_one_line(error)}{mend}"
        raise DataError(msg) from error
    if twice := next((n for n, times in Counter(table.column_names).items() if times > 1), None):
        msg = f"{path}: two columns are called {twice!r}; give each a name of its own in the first line"
        raise DataError(msg)
    return table


def _read_csv(path: Path) -> pa.Table:
    """Everything as text: what a cell means, and which cell is wrong, is then ours to say."""
    with pa.input_stream(path) as stream:  # unpacks .gz
        head = stream.read(MAX_HEADER)
    first = head.split(b"\n", 1)[0]
    if len(first) == MAX_HEADER:
        msg = f"{path}: its first line is longer than {MAX_HEADER >> 20} MiB; a CSV file begins with a line of column names"
        raise DataError(msg)
    delimiter = _delimiter(path, first)
    _check_width(path, first.count(delimiter.encode()) + 1)
    parse = pacsv.ParseOptions(delimiter=delimiter, newlines_in_values=True)
    with pacsv.open_csv(path, parse_options=parse) as head:
        types = dict.fromkeys(head.schema.names, pa.string())
    convert = pacsv.ConvertOptions(column_types=types, strings_can_be_null=False)
    return pacsv.read_csv(path, parse_options=parse, convert_options=convert)


def _check_width(path: Path, columns: int) -> None:
    if columns > MAX_COLUMNS:
        msg = (
            f"{path}: {columns:,} columns are too many, at most {MAX_COLUMNS:,} are read; where each is a series, write a row for each of "
            "its values and name the column of its name with --series-column"
        )
        raise DataError(msg)


def _delimiter(path: Path, first: bytes) -> str:
    """What stands between the names of the first line: tab, semicolon or comma, the one that is there most often."""
    if ".tsv" in path.suffixes:
        return "\t"
    return max((",", ";", "\t"), key=lambda sign: first.count(sign.encode()))


def _value_columns(path: Path, table: pa.Table, layout: Layout) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """Which columns are judged where nobody said, and which are left out although they could be."""
    others = [n for n in table.column_names if n not in {layout.timestamp_column, layout.series_column}]
    metric = layout.timestamp_column is not None
    fitting = [n for n in others if _looks_numeric(table[n])] if metric else others
    left_out = [n for n in fitting if _looks_labelled(table, n) or (not metric and _looks_unique(table[n]))]
    out = frozenset(left_out)
    found = tuple(n for n in fitting if n not in out)
    if not found:
        besides = f" but {layout.timestamp_column!r}" if metric else " that could be judged"
        msg = f"{path}: no column{besides} holds numbers; name one with --value-columns"
        if not metric:
            msg = f"{path}: no column can be judged, all are labels or identifiers; name some with --value-columns"
        raise DataError(msg)
    return found, tuple(left_out)


def _looks_labelled(table: pa.Table, name: str) -> bool:
    named = name.strip().lower().replace(" ", "_").replace("-", "_") in _LABELS
    return named and len(table.column_names) > 1 and len(pc.unique(table[name].drop_null())) <= 2


def _looks_unique(column: pa.ChunkedArray) -> bool:
    if not _is_text(column.type) or _looks_numeric(column):
        return False
    return len(pc.unique(column)) > max(IDENTIFIER_LEAST, IDENTIFIER_SHARE * len(column))


def _described(path: Path, chosen: tuple[str, ...], left_out: tuple[str, ...]) -> str:
    without = f"; left out: {_listed(left_out)} (--value-columns names what is judged)" if left_out else ""
    return f"{path}: judged by {_listed(chosen)}{without}"


def _listed(names: Sequence[str]) -> str:
    shown = list(names) if len(names) <= NAMED else [*names[:NAMED], f"{len(names) - NAMED:,} more"]
    return ", ".join(n if len(n) <= 100 else f"{n[:100]}..." for n in shown)


def _values(path: Path, table: pa.Table, name: str, *, numbers: bool) -> NDArray[Any]:
    """A column as float64; for tables, as categories (object of str) where it holds no numbers."""
    column = table[name]
    if not numbers and not _looks_numeric(column):
        return np.asarray(column.cast(pa.string()).fill_null("").to_pylist(), object)
    if not _is_text(column.type):
        try:
            return np.asarray(column.cast(pa.float64()).fill_null(np.nan).to_numpy(), np.float64)
        except pa.ArrowException as error:
            msg = f"{path}, column {name!r}: {column.type} cannot be read as a number"
            raise DataError(msg) from error
    cleaned, missing = _cleaned(column)
    values: NDArray[np.float64] = pd.to_numeric(cleaned, errors="coerce").to_numpy(np.float64, na_value=np.nan)
    bad = np.isnan(values) & ~missing
    if bad.any():
        raise DataError(
            _at(path, bad, column, name, "is not a number") + "; mend or empty the cell, or choose other columns"
        )
    return np.where(missing, np.nan, values)


def _timestamps(path: Path, column: pa.ChunkedArray, name: str, zone: str) -> NDArray[np.int64]:
    """Event times in ms since the epoch."""
    tz = _zone(zone)
    if pa.types.is_timestamp(column.type) or pa.types.is_date(column.type):
        times = column.to_pandas()
        parsed = pd.Series(pd.to_datetime(times))
        none = np.asarray(column.is_null().to_numpy(zero_copy_only=False), np.bool_)
    else:
        text = column.cast(pa.string()).fill_null("")
        cleaned, none = _cleaned(text)
        number = pd.to_numeric(cleaned, errors="coerce").to_numpy(np.float64, na_value=np.nan)
        if np.isfinite(number).any():
            none = ~np.isfinite(number)
            if none.any():
                raise DataError(
                    _at(path, none, text, name, "is not a time like the others, which are numbers since 1970")
                )
            return _from_epoch(number)
        parsed, none = _parsed(cleaned, none)
    if none.any():
        raise DataError(_at(path, none, column, name, "is not a time (ISO 8601, or a number since 1970)"))
    if parsed.dt.tz is None:
        parsed = _localised(path, parsed, tz, column, name)
    utc = parsed.dt.tz_convert(UTC).dt.tz_localize(None)
    return utc.to_numpy().astype("datetime64[ms]").astype(np.int64)


def _parsed(text: pd.Series[str], missing: NDArray[np.bool_]) -> tuple[pd.Series[Any], NDArray[np.bool_]]:
    """Times as pandas reads ISO 8601, and which cells are none; zones that differ within the column become UTC."""
    if len(text) and not missing.all() and text[~missing].str.match(_SLASHED).all():
        return _written_otherwise(text, missing)
    zoned = bool(text.str.contains(r"(?:[zZ]|[+-]\d\d:?\d\d)$", regex=True).any())
    parsed = pd.to_datetime(text, format="ISO8601", errors="coerce", utc=zoned)
    return parsed, np.asarray(parsed.isna().to_numpy(), np.bool_) | missing


def _written_otherwise(text: pd.Series[str], missing: NDArray[np.bool_]) -> tuple[pd.Series[Any], NDArray[np.bool_]]:
    """Times as 12/31/2024, 31/12/2024 or 31.12.2024 13:05: of the ways that fit every cell, the one that spans the least time
    (days read as months make a week a half year).
    """
    best, least = pd.Series(pd.NaT, text.index), None
    for date in ("%m/%d/%Y", "%d/%m/%Y", "%d.%m.%Y"):
        for clock in ("", " %H:%M", " %H:%M:%S"):
            parsed = pd.to_datetime(text, format=date + clock, errors="coerce")
            span = parsed.max() - parsed.min()
            if parsed[~missing].notna().all() and (least is None or span < least):
                best, least = parsed, span
    return best, np.asarray(best.isna().to_numpy(), np.bool_)


def _localised(
    path: Path, parsed: pd.Series[Any], zone: ZoneInfo, column: pa.ChunkedArray, name: str
) -> pd.Series[Any]:
    """Local times with their zone. An hour that clocks show twice is read in order where that tells, else as the later one."""
    try:
        found: pd.Series[Any] = parsed.dt.tz_localize(zone, ambiguous="infer", nonexistent="raise")
    except ValueError:
        twice = np.zeros(len(parsed), np.bool_)
        found = parsed.dt.tz_localize(zone, ambiguous=twice, nonexistent="NaT")
    skipped = np.asarray(found.isna().to_numpy(), np.bool_)
    if skipped.any():
        raise DataError(
            _at(path, skipped, column, name, f"does not exist in {zone.key}: clocks skip it (wrong --time-zone?)")
        )
    return found


def _from_epoch(number: NDArray[np.float64]) -> NDArray[np.int64]:
    """Seconds, ms, us or ns since 1970 to ms, told apart by the size of the largest."""
    size = float(np.abs(number).max())
    factor = next(f for below, f in _EPOCH_UNITS if size < below)
    return np.round(number * factor).astype(np.int64)


def _split(
    path: Path,
    table: pa.Table,
    layout: Layout,
    timestamps: NDArray[np.int64],
    columns: tuple[NDArray[Any], ...],
) -> dict[str, Series]:
    """One series per name in the series column, in order of appearance."""
    metric = layout.timestamp_column is not None
    whole = Series(_stem(path), timestamps, columns, usual_step(timestamps) if metric else 0)
    if layout.series_column is None:
        return {whole.name: whole}
    column = table[layout.series_column].cast(pa.string()).fill_null("")
    codes, names = pd.factorize(column.to_pandas().map(read_cell))
    if (names == "").any():
        blank = codes == int(np.flatnonzero(names == "")[0])
        raise DataError(_at(path, blank, column, layout.series_column, "names no series"))
    order = np.argsort(codes, kind="stable")
    starts = np.searchsorted(codes[order], np.arange(len(names) + 1))
    found: dict[str, Series] = {}
    for k, name in enumerate(names):
        part = whole.take(order[starts[k] : starts[k + 1]])
        step = usual_step(part.timestamps) if metric else 0
        found[str(name)] = Series(str(name), part.timestamps, part.columns, step, part.positions)
    return found


def _cleaned(column: pa.ChunkedArray) -> tuple[pd.Series[str], NDArray[np.bool_]]:
    """Cells without surrounding blanks, and which of them are missing."""
    text = pc.utf8_trim_whitespace(column.fill_null(""))
    lower = pc.utf8_lower(text)
    missing = pc.is_in(lower, value_set=pa.array(_MISSING))
    return text.to_pandas(), np.asarray(missing.to_numpy(zero_copy_only=False), np.bool_)


def _looks_numeric(column: pa.ChunkedArray) -> bool:
    """Whether the first cells that hold anything hold numbers; a wrong cell further on is an error, not a category."""
    if not _is_text(column.type):
        return not (pa.types.is_temporal(column.type) or pa.types.is_nested(column.type))
    cleaned, missing = _cleaned(column.slice(0, 1000))
    present = cleaned[~missing]
    return len(present) > 0 and bool(pd.to_numeric(present, errors="coerce").notna().mean() > 0.5)


def _is_text(kind: pa.DataType) -> bool:
    return bool(pa.types.is_string(kind) or pa.types.is_large_string(kind) or pa.types.is_dictionary(kind))


def _zone(name: str) -> ZoneInfo:
    try:
        return ZoneInfo(name)
    except (ZoneInfoNotFoundError, ValueError) as error:
        msg = f"time zone {name!r} is not known; name one like UTC or Europe/Berlin"
        raise DataError(msg) from error


def _at(path: Path, bad: NDArray[np.bool_], column: Sequence[Any], name: str, what: str) -> str:
    """`file, row 17, column 'load': 'x' is not a number (and 3 more)`."""
    row = int(np.argmax(bad))
    more = int(bad.sum()) - 1
    cell = str(column[row])[:40]
    return f"{path}, row {row + 1}, column {name!r}: {cell!r} {what}" + (f" (and {more} more)" if more else "")


def _stem(path: Path) -> str:
    name = path.name
    for suffix in (".gz", ".csv", ".tsv", ".parquet"):
        name = name.removesuffix(suffix)
    return name or "series"


def _one_line(error: Exception) -> str:
    return str(error).splitlines()[0]
