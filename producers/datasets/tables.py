"""A file as a table of named columns, whatever its kind: CSV and its relatives, JSON, Excel, Parquet, Feather, MATLAB, NumPy, and what databases write.

Cells of text files stay text here; what they mean is `numbers`' and `dates`' business. Formats with columns of known meaning say it
(`Sheet.time`, `Sheet.series`).
"""

from __future__ import annotations

import csv
import io
import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import date, datetime
from datetime import time as time_of_day
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.csv as pacsv
import pyarrow.feather
import pyarrow.parquet as pq

from producers.datasets import arff
from producers.datasets.arrays import is_numpy, numpy_table
from producers.datasets.base import Corrections
from producers.datasets.dates import looks_like_time
from producers.datasets.dialect import MAX_LINE, Dialect, blanks_as_tabs, decoded, dialect_of, lines_of
from producers.datasets.encodings import few
from producers.datasets.json_rows import json_table
from producers.datasets.matlab import is_matlab, matlab_table
from producers.datasets.unpacking import DAMAGED, check_fit, check_told, contents, is_excel, kind_of
from producers.errors import DataError

MAX_COLUMNS = 4_096
"""Columns of a file: a detector keeps a number for each pair of them."""
MAX_TURNED = 50_000_000
"""Cells of a table whose times run to the right."""
_LINE_PROTOCOL = re.compile(r"^[^,\s=]+(?:,[^\s=,]+=[^\s,]+)* [^\s=,]+=\S.* \d{13,19}$")
_LOGFMT = re.compile(r'^(?:[A-Za-z_@][\w.@/-]*=(?:"(?:[^"\\]|\\.)*"|[^\s"]*)(?:\s+|$)){2,}$')
_SPARSE = re.compile(r"^[+-]?\d+(?:\.\d+)?(?: (?:qid:)?\d+:[-+.\deE]+)+\s*$")
_PROMETHEUS = re.compile(r"^([a-zA-Z_:][\w:]*)?(\{.*\})?\s+(\S+)(?:\s+(\S+))?(?:\s+#.*)?$")
_STREAM = b"\xff\xff\xff\xff"
"""What a stream of Arrow begins with."""
_ANNOTATION = re.compile(r'^"?#(datatype|group|default)\b')


@dataclass(frozen=True)
class Sheet:
    """One table.

    Attributes
    ----------
    name
        Of the file or member that it is from.
    form
        How it is written, for people.
    delimiter
        Between cells of text; "" where cells have types.
    time, series
        Columns whose meaning the format itself states.
    """

    name: str
    table: pa.Table
    form: str
    delimiter: str = ""
    notes: tuple[str, ...] = ()
    time: str | None = None
    series: tuple[str, ...] = ()


def sheets(path: Path, chosen: Corrections) -> list[Sheet]:
    """The tables that a file holds: one, or one for each file in a zip.

    Raises
    ------
    DataError
        It cannot be read; two readings fit; it is beyond the limits.
    """
    return [checked(path, sheet_of(path, name, data, chosen)) for name, data in contents(path)]


def sheet_of(path: Path, name: str, data: bytes, chosen: Corrections) -> Sheet:
    """The table in one file's bytes, unpacked. Raises DataError as `sheets`."""
    if data.startswith((b"PAR1", b"ARROW1", b"ORC", _STREAM)) or path.suffix == ".parquet":
        return _typed(path, name, data)
    if data.startswith(b"SQLite format 3"):
        msg = f"{path}: is a database of SQLite; write the table that is meant as CSV (sqlite3 -csv -header)"
        raise DataError(msg)
    if is_matlab(data) or name.lower().endswith(".mat"):
        table, form, notes = matlab_table(path, data)
        _check_width(path, table.num_columns)
        return Sheet(name, table, form, notes=notes)
    if is_numpy(data):
        table, form, notes = numpy_table(path, data)
        _check_width(path, table.num_columns)
        return Sheet(name, table, form, notes=notes)
    if is_excel(data):
        return _excel(path, name, data, chosen)
    check_fit(path, data, unpacked=True)
    text, encoding = decoded(path, data, chosen.encoding)
    if "\r" in text:
        text = text.replace("\r\n", "\n")
        if "\r" in text and "\n" not in text:
            text = text.replace("\r", "\n")
    start = text.lstrip()[:200]
    if start.startswith(("{__name__=", "# HELP ", "# TYPE ", '{"__name__"=')):
        return _prometheus(path, name, text)
    if start.startswith(("{", "[")) and not re.match(r"\[[^\]\n]*\]\s*\n\s*[^\[{\s]", start):
        table, form, time, series, notes = json_table(path, text, as_arrow)
        _check_width(path, table.num_columns)
        return Sheet(name, table, form, "", notes, time, series)
    if re.match(r"<(?:\?xml|!|html|svg|table)", start, re.IGNORECASE):
        msg = f"{path}: is XML or HTML; save it as CSV"
        raise DataError(msg)
    lines = lines_of(path, text)
    if re.match(r"(?:%[^\n]*\n|\s)*@relation\b", text[: 1 << 16], re.IGNORECASE):
        return _arff(path, name, text, chosen)
    if len(lines) > 1 and all(_SPARSE.match(line) for line in lines[:20] if line.strip()):
        msg = f"{path}: is of libsvm's sparse rows, which are not read; write them as NumPy: sklearn.datasets.load_svmlight_file, then numpy.savez(file, X=X.toarray(), y=y)"
        raise DataError(msg)
    whole: str | bytes = text
    if (
        encoding == "UTF-8" and b"\r" not in data and len(text) == len(data)
    ):  # the same signs; the text is not kept beside the bytes
        whole = data
    if len(lines) > 1 and all(_LOGFMT.match(line) for line in lines[:20] if line.strip()):
        return _logfmt(path, name, text)
    if any(map(_ruler, lines[:5])):
        kept = (line for line in text.split("\n") if not _ruler(line))
        whole = text = "\n".join(line for line in kept if not re.match(r"\(?\d+ rows?(?:\)| in set)", line))
        lines = lines_of(path, text)
    if lines and _LINE_PROTOCOL.match(lines[0]):
        msg = f"{path}: is InfluxDB's line protocol; export it as CSV (influx query --raw)"
        raise DataError(msg)
    if any(_ANNOTATION.match(line) for line in lines[:5]):
        return _influx(path, name, text)
    word = "" if chosen.encoding or encoding.lower().startswith("utf") else few(data, text)
    del text
    sheet = _text(path, name, whole, encoding, lines, chosen)
    if not word:
        return sheet
    return replace(
        sheet,
        notes=(
            *sheet.notes,
            f"{word!r} is read as {encoding}; where that is no word, name the encoding: --read encoding=cp1250 (koi8_r, gbk, ...)",
        ),
    )


def _ruler(line: str) -> bool:
    """Whether a line parts names from rows in a table that is drawn with signs."""
    return set(line) <= set("|+-: ") and "--" in line and ("|" in line or "+" in line)


def checked(path: Path, sheet: Sheet) -> Sheet:
    """Without rows that hold nothing or repeat the names, and with names that are unique."""
    table = sheet.table
    if twice := next((n for n, times in Counter(table.column_names).items() if times > 1), None):
        msg = f"{path}: two columns are called {twice!r}; give each a name of its own in the first line"
        raise DataError(msg)
    if sheet.delimiter and table.num_columns > 1:
        again = np.ones(table.num_rows, np.bool_)
        empty = np.ones(table.num_rows, np.bool_)
        for column in table.column_names:
            if again.any():
                again &= np.asarray(pc.equal(table[column], column))
            if empty.any():
                empty &= np.asarray(pc.equal(table[column], ""))
        notes = [f"{again.sum():,} lines that repeat the names were passed over"] if again.any() else []
        notes += [f"{empty.sum():,} empty rows were passed over"] if empty.any() else []
        if notes:
            sheet = replace(sheet, table=table.filter(pa.array(~(again | empty))), notes=(*sheet.notes, *notes))
    if sheet.table.num_rows == 0:
        msg = f"{path}: there are no rows in it"
        raise DataError(msg)
    return sheet


def turned(sheet: Sheet) -> Sheet:
    """With a row for each time, where the columns' names are times and a row is a series (time runs to the right)."""
    names = sheet.table.column_names
    dated = [n for n in names if looks_like_time(n)]
    years = [n for n in names if re.fullmatch(r"(1[5-9]|20|21)\d\d", n)]
    if years and [int(n) for n in years] == list(range(int(years[0]), int(years[0]) + len(years))):
        dated = [*dated, *years]
    others = [n for n in names if n not in dated]
    if len(dated) < 3 or len(dated) < len(others) or sheet.table.num_rows * len(dated) > MAX_TURNED:
        return sheet
    frame = sheet.table.to_pandas()
    frame[others] = frame[others].astype(str)
    long = frame.melt(id_vars=others, value_vars=dated, var_name="timestamp", value_name="value")
    several = tuple(n for n in others if frame[n].nunique() > 1)
    note = f"times run to the right: {len(dated):,} columns became rows (--table: as they stand)"
    return replace(sheet, table=as_arrow(long), notes=(*sheet.notes, note), time="timestamp", series=several)


def _check_width(path: Path, columns: int) -> None:
    if columns > MAX_COLUMNS:
        msg = (
            f"{path}: {columns:,} columns are too many, at most {MAX_COLUMNS:,} are read; where each is a series, write a row for each of "
            "its values and name the column of its name with --series-column"
        )
        raise DataError(msg)


def _typed(path: Path, name: str, data: bytes) -> Sheet:
    source = pa.BufferReader(data)
    try:
        if data.startswith(b"ARROW1"):
            return Sheet(name, pyarrow.feather.read_table(source), "Feather")
        if data.startswith(_STREAM):
            return Sheet(name, pa.ipc.open_stream(source).read_all(), "Arrow")
        if data.startswith(b"ORC"):
            from pyarrow import orc

            return Sheet(name, orc.ORCFile(source).read(), "ORC")
        found = pq.ParquetFile(source)
        _check_width(path, len(found.schema_arrow))
        unpacked = sum(found.metadata.row_group(i).total_byte_size for i in range(found.metadata.num_row_groups))
        if unpacked > 8 << 30:
            msg = f"{path}: unpacks to {unpacked >> 30} GiB, more than is held at once; split it"
            raise DataError(msg)
        return Sheet(name, found.read(), "Parquet")
    except (pa.ArrowException, OSError) as error:
        msg = f"{path}: cannot be read as {kind_of(data) or 'Parquet'}: {str(error).splitlines()[0]}"
        raise DataError(msg) from error


def _text(path: Path, name: str, text: str | bytes, encoding: str, lines: list[str], chosen: Corrections) -> Sheet:
    """A table of cells; `text` as bytes is ASCII, which is read where it lies."""
    dialect = dialect_of(path, lines, chosen)
    _check_width(path, len(dialect.names))
    notes = list(dialect.notes)
    if isinstance(text, bytes) and (dialect.delimiter == " " or b"\n#" in text):
        text = text.decode()
    if isinstance(text, bytes):
        body = pa.py_buffer(text).slice(_offset(text, dialect.skip))
    else:
        rows = text[_offset(text, dialect.skip) :]
        if "\n#" in rows and not rows.startswith("#"):
            rows, times = re.subn(r"(?m)^#[^\n]*\n?", "", rows)
            notes.append(f"{times:,} lines that begin with # were passed over")
        if dialect.delimiter == " ":
            rows = "\n".join(
                line.strip(" \t") for line in rows.split("\n")
            )  # a pattern takes the square of a run of blanks
            rows = blanks_as_tabs(rows)
        body = pa.py_buffer(rows.encode() if rows.strip() else b"")
    table, dropped = _cells(path, body, dialect, drop=chosen.drop_bad_rows)
    if dropped:
        notes.append(f"{dropped:,} rows with more or fewer cells than the others were left out")
    return Sheet(name, table, f"CSV ({dialect}, {encoding})", dialect.delimiter, tuple(notes))


def _cells(path: Path, body: pa.Buffer, dialect: Dialect, *, drop: bool, form: str = "CSV") -> tuple[pa.Table, int]:
    dropped = 0

    def unfit(row: Any) -> str:
        nonlocal dropped
        dropped += 1
        return "skip" if drop else "error"

    names = list(dialect.names)
    parse = pacsv.ParseOptions(
        delimiter="\t" if dialect.delimiter == " " else dialect.delimiter,
        newlines_in_values=True,
        invalid_row_handler=unfit,
    )
    convert = pacsv.ConvertOptions(column_types=dict.fromkeys(names, pa.string()), strings_can_be_null=False)
    if not len(body) or (len(body) < MAX_LINE and not body.to_pybytes().strip()):
        msg = f"{path}: there are no rows in it"
        raise DataError(msg)
    try:
        table = pacsv.read_csv(
            pa.BufferReader(body),
            pacsv.ReadOptions(column_names=names, block_size=1 << 24),
            parse,
            convert,
        )
    except pa.ArrowException as error:
        mend = "; such rows are left out with --read bad-rows=drop" if dropped else ""
        msg = f"{path}: cannot be read as {form}: {str(error).splitlines()[0][:300]}{mend}"
        raise DataError(msg) from error
    pa.default_memory_pool().release_unused()
    return table, dropped if drop else 0


def _offset(text: str | bytes, lines: int) -> int:
    at = 0
    for _ in range(lines):
        found = text.find("\n", at) if isinstance(text, str) else text.find(b"\n", at)
        if found < 0:
            return len(text)
        at = found + 1
    return at


def _influx(path: Path, name: str, text: str) -> Sheet:
    """Annotated CSV of InfluxDB: several tables, each with its annotations, and columns that name the series."""
    blocks = [b for b in re.split(r"\n\s*\n", text.strip()) if b.strip()]
    tables, groups = [], dict[str, None]()
    for block in blocks:
        lines = block.split("\n")
        notes = [line for line in lines if _ANNOTATION.match(line)]
        rows = [line for line in lines if not _ANNOTATION.match(line)]
        names = next(csv.reader(rows[:1]), [])
        if "error" in names and "_value" not in names:
            msg = f"{path}: InfluxDB answered with an error instead of data: {' '.join(rows[1:2])[:200]}"
            raise DataError(msg)
        grouped = next((next(csv.reader([n]))[-len(names) :] for n in notes if "#group" in n[:8]), [])
        grouped = grouped if len(grouped) == len(names) else []
        dialect = Dialect(",", tuple(n or f"column {i + 1}" for i, n in enumerate(names)), 1, True)
        table, _ = _cells(path, pa.py_buffer("\n".join(rows[1:]).encode()), dialect, drop=False)
        unused = {*(n for n in table.column_names if n.startswith("column ")), "result", "table", "_start", "_stop"}
        groups |= dict.fromkeys(n for n, g in zip(names, grouped, strict=False) if g == "true" and n not in unused)
        tables.append(table.select([n for n in table.column_names if n not in unused]))
    whole = pa.concat_tables(tables, promote_options="default")
    whole = pa.table({n: pc.fill_null(whole[n], "") for n in whole.column_names})
    several = [n for n in groups if n in whole.column_names and len(pc.unique(whole[n])) > 1]
    time = "_time" if "_time" in whole.column_names else None
    return Sheet(name, whole, "InfluxDB's annotated CSV", ",", (), time, tuple(several))


def _prometheus(path: Path, name: str, text: str) -> Sheet:
    """`promtool tsdb dump` and OpenMetrics: a series with its labels, a value and a time on each line."""
    lines = pd.Series(text.split("\n"))
    lines = lines[~lines.str.match(r"\s*(?:#|$)")]
    parts = lines.str.extract(_PROMETHEUS)
    wrong = parts[2].isna() | parts[3].isna()
    if wrong.any():
        msg = f"{path}, line {int(wrong.index[int(np.argmax(wrong))]) + 1}: is no sample of Prometheus with a time: {lines[wrong].iloc[0][:80]!r}"
        raise DataError(msg)
    labels = parts[1].fillna("")
    quoted = labels.str.extract(r'__name__="((?:[^"\\]|\\.)*)"')[0]
    metric = parts[0].fillna(quoted).fillna("")
    rest = labels.str.replace(r'\{?__name__="(?:[^"\\]|\\.)*",?\s*', "{", regex=True).replace({"{}": "", "{": ""})
    table = pa.table({"series": list(metric + rest), "timestamp": list(parts[3]), "value": list(parts[2])})
    return Sheet(name, table, "samples of Prometheus", "\t", (), "timestamp", ("series",))


def _logfmt(path: Path, name: str, text: str) -> Sheet:
    """Lines of name=value."""
    rows = []
    for number, line in enumerate(text.split("\n"), 1):
        if line.strip():
            if not _LOGFMT.match(line):
                msg = f"{path}, line {number}: is not name=value like the others: {line[:80]!r}"
                raise DataError(msg)
            pairs = re.findall(r'([^\s=]+)=("(?:[^"\\]|\\.)*"|\S*)', line)
            rows.append({n: v[1:-1] if v.startswith('"') else v for n, v in pairs})
    frame = pd.DataFrame(rows).fillna("")
    _check_width(path, frame.shape[1])
    return Sheet(name, as_arrow(frame), "lines of name=value")


def _arff(path: Path, name: str, text: str, chosen: Corrections) -> Sheet:
    attributes, rows, sign = arff.head_and_rows(path, text)
    _check_width(path, len(attributes))
    dialect = Dialect(sign, tuple(a.name for a in attributes), 0, True)
    table, dropped = _cells(path, pa.py_buffer(rows.encode()), dialect, drop=chosen.drop_bad_rows, form="ARFF")
    notes = (f"{dropped:,} rows with more or fewer cells than the others were left out",) if dropped else ()
    return Sheet(name, arff.typed(path, table, attributes), "ARFF", notes=notes)


def as_arrow(frame: pd.DataFrame) -> pa.Table:
    """Columns of one type as they are, others as text."""
    arrays: dict[str, Any] = {}
    for name in frame.columns:
        column = frame[name]
        try:
            arrays[str(name)] = pa.array(column, from_pandas=True)
        except (pa.ArrowException, ValueError):
            arrays[str(name)] = pa.array([None if _empty(v) else str(v) for v in column], pa.string())
    return pa.table(arrays)


def _empty(value: Any) -> bool:
    return value is None or (isinstance(value, float) and np.isnan(value))


def _excel(path: Path, name: str, data: bytes, chosen: Corrections) -> Sheet:
    """The sheet that holds rows, read as if it had been saved as CSV."""
    try:
        check_told(path, data)
        book = pd.read_excel(io.BytesIO(data), sheet_name=None, header=None, dtype=object, engine="openpyxl")
    except (KeyError, SyntaxError, *DAMAGED) as error:
        msg = f"{path}: cannot be read as Excel: {(str(error) or type(error).__name__).splitlines()[0]}"
        raise DataError(msg) from error
    filled = [str(sheet) for sheet, frame in book.items() if len(frame)]
    sheet = chosen.sheet or next(iter(filled), "")
    if sheet not in book or not filled:
        msg = f"{path}: there is no sheet {sheet!r} with rows; it has {', '.join(map(str, book))}"
        raise DataError(msg)
    if len(filled) > 1 and chosen.sheet is None:
        msg = f"{path}: {len(filled)} sheets hold rows ({', '.join(filled[:8])}); say which: --read sheet={filled[0]}"
        raise DataError(msg)
    frame = book[sheet].dropna(how="all", axis=1)
    _check_width(path, frame.shape[1])
    text = io.StringIO()
    csv.writer(text, lineterminator="\n").writerows(
        [_excel_cell(v) for v in row] for row in frame.itertuples(index=False)
    )
    written = text.getvalue()
    found = _text(path, name, written, "UTF-8", lines_of(path, written), replace(chosen, delimiter=","))
    names = "no names" if "no names" in found.form else "names"
    return replace(found, form=f"Excel (sheet {sheet!r}, {names} in the first line)")


def _excel_cell(value: Any) -> str:
    if _empty(value) or value is pd.NaT:
        return ""
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, datetime | date | time_of_day):
        return str(value)
    return repr(value) if isinstance(value, int | float) else str(value)


def listed(names: Sequence[str], most: int = 8) -> str:
    """Names for people, the first few of many."""
    shown = list(names) if len(names) <= most else [*names[:most], f"{len(names) - most:,} more"]
    return ", ".join(n if len(n) <= 100 else f"{n[:100]}..." for n in shown)
