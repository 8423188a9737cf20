"""ARFF, the files of Weka: a head that names the columns and says what each holds, rows of cells below it.

The head is read here, and what the cells mean; cutting rows into cells is the business of whoever reads CSV. scipy's reader is not
used: it makes each category as wide as the longest, and takes time that grows with the square of a line.
"""

from __future__ import annotations

import csv
import re
from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc

from producers.errors import DataError

_QUOTED = r"""'((?:[^'\\\n]|\\.)*+)'|"((?:[^"\\\n]|\\.)*+)\""""
_ATTRIBUTE = re.compile(rf"@attribute\s+(?:{_QUOTED}|([^\s{{]+))\s*(.*)", re.IGNORECASE)
_DATE = re.compile(rf"date\b\s*(?:{_QUOTED}|(.*))", re.IGNORECASE)
_PASSED_OVER = re.compile(r"^[ \t]*+(?:%[^\n]*+)?(?:\n|\Z)", re.MULTILINE)
_JAVA = {"yyyy": "%Y", "yy": "%y", "MMM": "%b", "MM": "%m", "M": "%m", "dd": "%d", "d": "%d", "a": "%p"}
_JAVA |= {"HH": "%H", "H": "%H", "hh": "%I", "h": "%I", "mm": "%M", "m": "%M", "ss": "%S", "s": "%S", "SSS": "%f"}
_ESCAPED = {"n": "\n", "t": "\t", "r": "\r"}
_ISO = "yyyy-MM-dd'T'HH:mm:ss"


@dataclass(frozen=True)
class Attribute:
    """A column: `numeric`, `string`, `nominal` (one of the categories) or `date` (written as the pattern, of strptime)."""

    name: str
    kind: str
    categories: tuple[str, ...] = ()
    pattern: str = ""


def head_and_rows(path: Path, text: str) -> tuple[list[Attribute], str, str]:
    """The columns; the rows as CSV, which quotes with `"`; the sign between their cells. Raises DataError."""
    attributes: list[Attribute] = []
    for found in re.finditer(r"([^\n]*)\n?", text):
        line = found[1].strip()
        word = line[:10].lower()
        if re.match(r"@data\b", word):
            if not attributes:
                raise _refused(path, "it names no attributes")
            if twice := next((n for n, times in Counter(a.name for a in attributes).items() if times > 1), ""):
                raise _refused(path, f"two attributes are called {twice!r}")
            return attributes, *_as_csv(path, text[found.end() :])
        if word == "@attribute":
            attributes.append(_attribute(path, line, len(attributes)))
        elif line.startswith("@") and not word.startswith("@relation"):
            raise _refused(path, f"{line[:60]!r} is nothing that a head has")
    raise _refused(path, "there is no line @data")


def typed(path: Path, table: pa.Table, attributes: list[Attribute]) -> pa.Table:
    """The cells as what the head says that they are; `?` is a missing one. Raises DataError where they are not."""
    return pa.table({a.name: _column(path, a, table[a.name]) for a in attributes})


def _attribute(path: Path, line: str, before: int) -> Attribute:
    found = _ATTRIBUTE.match(line)
    if not found:
        raise _refused(path, f"{line[:60]!r} names no attribute")
    name = _text_of(*found.groups()[:3]).strip() or f"column {before + 1}"
    told = found[4].strip()
    lower = told[:10].lower()
    if lower.startswith("{") and "}" in told:
        inner = _requoted(told[1 : told.rindex("}")], ",")
        try:
            cells = next(csv.reader([inner], skipinitialspace=True), [])
        except csv.Error as error:
            raise _refused(path, f"attribute {name!r}: {error}") from error
        return Attribute(name, "nominal", tuple(cell.strip() for cell in cells))
    if lower.startswith(("numeric", "real", "int")):
        return Attribute(name, "numeric")
    if lower.startswith("string"):
        return Attribute(name, "string")
    if date := _DATE.match(told):
        return Attribute(name, "date", pattern=_strptime(path, name, _text_of(*date.groups()).strip() or _ISO))
    raise _refused(path, f"attribute {name!r} is {told[:40]!r}; numeric, nominal, string and date are read")


def _strptime(path: Path, name: str, java: str) -> str:
    """A pattern of Java's as one of strptime."""

    def one(found: re.Match[str]) -> str:
        if found[0] == "%":
            return "%%"
        if found[1] is not None:
            return found[1].replace("%", "%%") or "'"
        if found[0] not in _JAVA:
            raise _refused(path, f"attribute {name!r}: {found[0]!r} in dates {java[:40]!r} is not read")
        return _JAVA[found[0]]

    return re.sub(r"'([^']*)'|([A-Za-z])\2*|%", one, java)


def _as_csv(path: Path, rows: str) -> tuple[str, str]:
    rows = _PASSED_OVER.sub("", rows)
    if re.search(r"^[ \t]*+\{", rows, re.MULTILINE):
        raise _refused(path, "its rows are sparse, {number value, ...}")
    first = rows[: rows.find("\n") if "\n" in rows else len(rows)]
    sign = "\t" if "\t" in first and "," not in first else ","
    return _requoted(rows, sign), sign


def _requoted(rows: str, sign: str) -> str:
    """Cells in quotes of either kind, with signs behind a backslash, as CSV has them."""
    if "'" not in rows and '"' not in rows:
        return rows
    blanks = "[ ]*+" if sign == "\t" else "[ \t]*+"
    pattern = rf"(^|{sign}){blanks}(?:{_QUOTED}){blanks}(?=$|{sign})"
    return re.sub(
        pattern, lambda m: m[1] + '"' + _text_of(m[2], m[3]).replace('"', '""') + '"', rows, flags=re.MULTILINE
    )


def _text_of(single: str | None, double: str | None, bare: str = "") -> str:
    """What stood in single or double quotes, or in none."""
    quoted = double if single is None else single
    return bare if quoted is None else re.sub(r"\\(.)", lambda m: _ESCAPED.get(m[1], m[1]), quoted)


def _column(path: Path, attribute: Attribute, cells: pa.ChunkedArray) -> pa.ChunkedArray | pa.Array:
    cells = pc.utf8_trim_whitespace(cells)
    cells = pc.if_else(pc.equal(cells, "?"), pa.scalar(None, pa.string()), cells)
    try:
        match attribute.kind:
            case "numeric":
                return pc.cast(pc.replace_substring_regex(cells, r"^\+([0-9.])", r"\1"), pa.float64())
            case "date":
                times: Any = pd.to_datetime(cells.to_pandas(), format=attribute.pattern)
                return pa.array(times, from_pandas=True)
            case "nominal":
                known = pc.or_kleene(
                    pc.is_in(cells, value_set=pa.array(attribute.categories, pa.string())), pc.is_null(cells)
                )
                if not pc.all(known).as_py():
                    odd = cells.filter(pc.invert(known))[0].as_py()
                    raise _refused(path, f"{attribute.name!r} is {odd[:40]!r}, which is none of its categories")
    except (ValueError, OverflowError, re.error) as error:  # pandas makes an expression of the pattern
        raise _refused(path, f"{attribute.name!r}: {str(error).splitlines()[0][:200]}") from error
    return cells


def _refused(path: Path, why: str) -> DataError:
    return DataError(f"{path}: cannot be read as ARFF: {why}; write it as CSV")
