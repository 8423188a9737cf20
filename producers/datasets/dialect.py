"""How a text file is written: encoding, delimiter, lines above the table, header.

Everything is told by the first lines, and said. Where two readings fit, reading stops and names the option that decides.
"""

from __future__ import annotations

import codecs
import csv
import re
from collections import Counter
from dataclasses import dataclass
from datetime import date
from itertools import pairwise
from pathlib import Path

from producers.datasets.base import Corrections
from producers.datasets.dates import looks_like_time
from producers.datasets.encodings import legacy
from producers.datasets.numbers import MISSING, NUMBER
from producers.errors import DataError

MAX_LINE = 1 << 20
"""Bytes of a line."""
SAMPLE = 200
"""Lines that are looked at."""
_BOMS = (
    (codecs.BOM_UTF8, "utf-8"),
    (codecs.BOM_UTF32_LE, "utf-32-le"),
    (codecs.BOM_UTF32_BE, "utf-32-be"),
    (codecs.BOM_UTF16_LE, "utf-16-le"),
    (codecs.BOM_UTF16_BE, "utf-16-be"),
)
_SEP_LINE = re.compile(r'^"?sep=(.)"?$', re.IGNORECASE)
_NAMES = {",": "comma", ";": "semicolon", "\t": "tab", "|": "bar", " ": "blanks"}


@dataclass(frozen=True)
class Dialect:
    """How a text is to be cut into cells.

    Attributes
    ----------
    names
        Of the columns; unique.
    skip
        Lines before the first row of data.
    header
        Whether the names stand in the file.
    notes
        What was passed over, for people.
    """

    delimiter: str
    names: tuple[str, ...]
    skip: int
    header: bool
    notes: tuple[str, ...] = ()

    def __str__(self) -> str:
        header = "names in the first line" if self.header else "no names in the first line"
        return f"{_NAMES.get(self.delimiter, self.delimiter)} between cells, {header}"


def decoded(path: Path, data: bytes, encoding: str | None) -> tuple[str, str]:
    """The text and its encoding. Raises DataError where it is none."""
    if encoding is None:
        encoding, mark = next(((name, bom) for bom, name in _BOMS if data.startswith(bom)), (None, b""))
        data = data[len(mark) :]
    if encoding is None:
        head = data[: 1 << 16]
        if b"\0" in head:
            encoding = _wide(head)
            if encoding is None:
                msg = f"{path}: is no text; CSV, JSON, Excel and Parquet files are read"
                raise DataError(msg)
        else:
            try:
                return data.decode("utf-8"), "UTF-8"
            except UnicodeDecodeError as error:
                encoding = legacy(data, error.start)
    try:
        return data.decode(encoding).removeprefix("\ufeff"), "UTF-8" if encoding == "utf-8" else encoding
    except (UnicodeDecodeError, LookupError) as error:
        msg = (
            f"{path}: is no text in {encoding}: {error}; name its encoding: --read encoding=cp1252, or save it as UTF-8"
        )
        raise DataError(msg) from error


def _wide(head: bytes) -> str | None:
    """UTF-16 without a mark: every second byte of what are mostly digits is 0."""
    even, odd = head[::2].count(0), head[1::2].count(0)
    if max(even, odd) < 0.4 * len(head) / 2 or min(even, odd) > 0.05 * len(head) / 2:
        return None
    return "utf-16-le" if odd > even else "utf-16-be"


def lines_of(path: Path, text: str) -> list[str]:
    """The first lines. Raises DataError where any line of the text is too long."""
    at = 0
    while len(text) - at > MAX_LINE:
        end = text.rfind("\n", at, at + MAX_LINE)
        if end < 0:
            end = text.rfind("\r", at, at + MAX_LINE)
        if end < 0:
            which = "its first line" if at == 0 else f"the line after character {at:,}"
            msg = f"{path}: {which} is longer than {MAX_LINE >> 20} MiB; a CSV file has a line for each row"
            raise DataError(msg)
        at = end + 1
    return text[: SAMPLE * 4096].splitlines()[:SAMPLE]


def dialect_of(path: Path, lines: list[str], chosen: Corrections) -> Dialect:
    """How the lines of a text are cut into cells.

    Raises
    ------
    DataError
        No reading fits, or two do.
    """
    skip, delimiter, notes = 0, chosen.delimiter, []
    comments: list[str] = []
    for line in lines:
        if found := _SEP_LINE.match(line.strip("\r\n ")):
            delimiter = delimiter or found[1]
        elif line.startswith("#"):
            comments.append(line)
        elif _holds_anything(line):
            break
        skip += 1
    body = [line for line in lines[skip:] if _holds_anything(line) and not line.startswith("#")]
    if not body:
        msg = f"{path}: there are no rows in it"
        raise DataError(msg)
    if ".tsv" in path.suffixes:
        delimiter = delimiter or "\t"
    delimiter = delimiter or _delimiter(body)
    rows = _cut(body, delimiter)
    width = Counter(map(len, rows[len(rows) // 2 :])).most_common(1)[0][0]
    # A title above the table has fewer cells than the rows below. One or two odd rows further down are errors, told later.
    above = (
        next((i for i, row in enumerate(rows) if len(row) >= max(2, width - 1) and not _is_title(row)), 0)
        if width > 1
        else 0
    )
    if above:
        notes.append(f"{above} lines above the table were passed over: {body[0][:60]!r}")
    rows = rows[above:]
    if comments:
        names = _cut([comments[-1].lstrip("# ")], delimiter)[0]
        if len(names) == width > 1 and _is_data(rows[0], rows[1:]) and not _is_data(names, rows):
            return Dialect(delimiter, _unique(names), skip + above, True, (*notes, *_commented(comments[:-1])))
        notes += _commented(comments)
    header = chosen.header
    if header is None:
        _check_one_reading(path, rows, delimiter)
        header = not _is_data(rows[0], rows[1:])
    position = skip + _position(lines[skip:], above)
    if not header:
        parts = _parts_of_dates(rows) if chosen.header is None else ()
        named = (*parts, *(f"column {i + 1}" for i in range(len(parts), width)))
        return Dialect(delimiter, named, position, False, tuple(notes))
    if (levels := _levels(rows)) is not None:
        names, above_rows = levels
        return Dialect(
            delimiter, _unique(names), skip + _position(lines[skip:], above + above_rows), True, tuple(notes)
        )
    names = [name.strip() for name in rows[0]]
    if len(names) != width and len(rows) > 1:
        names = _fitted(path, names, rows[1:], width)
    several = _lines_of_names(rows)
    if several:
        label = next((i for i in range(several) if rows[i][0].strip().lower() == "label"), several - 1)
        notes.append(f"{several} lines above the table were passed over: {rows[0][0][:40]!r}")
        names = ["timestamp", *(name.strip() for name in rows[label][1:])]
        skip_all = skip + _position(lines[skip:], above + several)
        return Dialect(delimiter, _unique(names), skip_all, True, tuple(notes))
    units = len(rows) > 3 and _is_units(rows[1], rows[2:])
    if units:
        notes.append(f"a line of units was passed over: {', '.join(filter(None, rows[1]))[:60]}")
    position += 1 + _position(lines[position + 1 :], 1) if units else 1
    return Dialect(delimiter, _unique(names), position, True, tuple(notes))


def _is_title(row: list[str]) -> bool:
    """Whether a row is words in its first cell and nothing else, as spreadsheets save a title."""
    return _cell_kind(row[0]) == "text" and not any(cell.strip() for cell in row[1:])


def _commented(comments: list[str]) -> list[str]:
    return [f"{len(comments)} comment lines were passed over: {comments[0][:60]!r}"] if comments else []


def _holds_anything(line: str) -> bool:
    """Whether a line has more in it than what parts cells."""
    return bool(line.strip(' \t\r\n;,|"'))


def _position(lines: list[str], row: int) -> int:
    """How many lines stand before the `row`-th that holds something."""
    at = [i for i, line in enumerate(lines) if _holds_anything(line) and not line.startswith("#")]
    return at[row] if row < len(at) else len(lines)


def _cut(lines: list[str], delimiter: str) -> list[list[str]]:
    if delimiter == " ":
        lines, delimiter = [blanks_as_tabs(line.strip()) for line in lines], "\t"
    try:
        return list(csv.reader(lines, delimiter=delimiter))
    except csv.Error:  # a cell beyond what the reader takes
        return [line.split(delimiter) for line in lines]


def blanks_as_tabs(text: str) -> str:
    """Each run of blanks as one tab, but for those in quotes."""
    if '"' in text:
        return re.sub(r'("[^"\n]*")|[ \t]+', lambda found: found[1] or "\t", text)
    return re.sub(r"[ \t]+", "\t", text)


def _delimiter(lines: list[str]) -> str:
    """The sign that cuts nearly all lines into the same number of cells; of several the one that numbers and times have least use for."""
    best, most = ",", 0.0
    for sign in ("\t", ";", "|", ",", " "):
        widths = Counter(len(row) for row in _cut(lines, sign))
        width, times = widths.most_common(1)[0]
        share = times / len(lines)
        if (
            sign == " "
            and not (
                len(widths) <= 2  # R writes no name above the numbers of rows
                and len({len(row) for row in _cut(lines[1:], sign)}) == 1
                and all(_cell_kind(c) for c in _cut(lines[1:], sign)[0])
            )
        ):
            continue
        if width > 1 and share > most + 0.1:
            best, most = sign, share
    return best


def _cell_kind(cell: str) -> str:
    """`number`, `time`, `` (missing) or `text`."""
    cell = cell.strip()
    if cell.lower() in MISSING:
        return ""
    if NUMBER.fullmatch(cell):
        return "number"
    return "time" if looks_like_time(cell) else "text"


def _is_data(first: list[str], below: list[list[str]]) -> bool:
    """Whether a first line is a row like those below it, not names."""
    below = [row for row in below if row != first]
    kinds = [_cell_kind(cell) for cell in first]
    numbers = [cell.strip() for cell, kind in zip(first, kinds, strict=True) if kind == "number"]
    if not below:
        return bool(kinds) and "text" not in kinds and "" not in kinds and kinds != ["number"]
    under = [[_cell_kind(row[i]) for row in below[:50] if i < len(row)] for i in range(len(first))]
    for kind, kinds_under in zip(kinds, under, strict=True):
        known = [k for k in kinds_under if k]
        if kind == "text" and known and "text" not in known:
            return False  # as a row, this cell would be wrong
    whole = [int(n) for n in numbers if n.isdigit()]
    if len(whole) == len(numbers) > 1 and whole == list(range(whole[0], whole[0] + len(whole))) and "time" not in kinds:
        return False  # pandas' names 0, 1, 2, ...; years
    if any(kind in ("number", "time") and kind in under[i] for i, kind in enumerate(kinds)):
        return True
    # Texts over texts: names seldom come again below.
    return all(any(row[i : i + 1] == [cell] for row in below) for i, cell in enumerate(first))


def _is_units(row: list[str], below: list[list[str]]) -> bool:
    kinds = [_cell_kind(cell) for cell in row]
    under = [[_cell_kind(r[i]) for r in below[:50] if i < len(r)] for i in range(len(row))]
    over = [kind for kind, known in zip(kinds, under, strict=True) if any(k in ("number", "time") for k in known)]
    return bool(over) and "text" in over and not {"number", "time"} & set(kinds)


def _lines_of_names(rows: list[list[str]]) -> int:
    """How many lines tell of the columns below, a fact to a line (as CloudWatch's console writes them); 0: no such lines."""
    kinds = [_cell_kind(row[0]) for row in rows if row]
    lines = next((i for i, kind in enumerate(kinds) if kind == "time"), 0)
    told = {"label", "full label", "account id", "id", "region", "statistic", "period"}
    first = {row[0].strip().lower() for row in rows[:lines]}
    return lines if lines > 1 and first & told and all(kind == "time" for kind in kinds[lines:]) else 0


def _levels(rows: list[list[str]]) -> tuple[list[str], int] | None:
    """Names, and how many lines they take, as pandas writes columns of one or more levels: the last of these lines names the index and nothing else."""
    last = next((i for i in range(1, min(5, len(rows) - 1)) if _is_title(rows[i])), 0)
    if not last or len(rows[0]) < 2 or any(len(row) != len(rows[0]) for row in rows[: last + 2]):
        return None
    if any(_cell_kind(cell) in ("number", "time") for row in rows[1:last] for cell in row[1:]):
        return None
    if _cell_kind(rows[last + 1][0]) not in ("number", "time"):
        return None
    told = list(zip(*(row[1:] for row in rows[:last]), strict=True))
    several = [k for k in range(last) if len({level[k] for level in told}) > 1] or [0]
    return [rows[last][0], *(" ".join(level[k] for k in several).strip() for level in told)], last + 1


_PARTS_ROWS = 24
"""Rows of a year and a month, or of a day too, one after the other, that are no chance."""


def _parts_of_dates(rows: list[list[str]]) -> tuple[str, ...]:
    """`year`, `month` and perhaps `day`, where columns without names hold these at the beginning of each row, a step after the other."""
    width = min(map(len, rows))
    if len(rows) < _PARTS_ROWS or width < 3:
        return ()
    for names in (("year", "month", "day"), ("year", "month")):
        cells = [row[: len(names)] for row in rows]
        if len(names) == width or not all(cell.strip().isdigit() for row in cells for cell in row):
            continue
        try:
            days = [date(int(row[0]), int(row[1]), int(row[2]) if len(row) > 2 else 1).toordinal() for row in cells]
        except (ValueError, OverflowError):
            continue
        steps = {b - a for a, b in pairwise(days)}
        if int(cells[0][0]) >= 1500 and min(steps) > 0 and max(steps) <= (1 if len(names) > 2 else 31):
            return names
    return ()


def _check_one_reading(path: Path, rows: list[list[str]], delimiter: str) -> None:
    """Lines like `49,09` with no names above are one column of decimal commas, or two columns."""
    digits = all(cell.strip().lstrip("-").isdigit() for row in rows for cell in row)
    if delimiter == "," and len(rows) > 1 and digits and all(len(row) == 2 for row in rows):
        msg = (
            f"{path}: {','.join(rows[0])!r} may be one number with a decimal comma or two numbers; say which: --read delimiter=; or "
            "--read delimiter=, with --read header=no"
        )
        raise DataError(msg)


def _fitted(path: Path, names: list[str], rows: list[list[str]], width: int) -> list[str]:
    """Names for rows that have one cell more: behind an unnamed index, or before an empty cell at the end."""
    if width == len(names) + 1:
        whole = [row for row in rows if len(row) == width]
        if all(not row[-1].strip() for row in whole):
            return [*names, ""]
        if [row[0].strip() for row in whole] in (
            [str(i) for i in range(len(whole))],
            [str(i + 1) for i in range(len(whole))],
        ):
            return ["", *names]
    if width == len(names) - 1 and not names[-1]:
        return names[:-1]
    msg = (
        f"{path}: the first line names {len(names)} columns, the rows have {width} cells: {','.join(rows[0])[:60]!r}; where that is a decimal "
        "comma, put the cell in quotes, or say how the cells are parted: --read delimiter=;"
    )
    raise DataError(msg)


def _unique(names: list[str] | tuple[str, ...]) -> tuple[str, ...]:
    """Unnamed columns get a name of their place."""
    return tuple(name.strip() or f"column {i + 1}" for i, name in enumerate(names))
