"""A file that grows, as a data set of what is there at first, and then of more and more of its lines, read as the first were.

Which column is what is found once. How cells are written (what parts decimals, which unit) is decided by many cells together, and new lines are few;
so they are read behind the first lines of the file (its head), in one table with them, and only what stands behind those is taken. Where the
head comes out otherwise than it did at first, the new line that did it is not like the others: no line changes what others mean.
"""

from __future__ import annotations

import csv
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from producers.datasets.base import Corrections, Dataset, Layout, Series
from producers.datasets.dates import IN_DIGITS, SHORT_YEARS, sets_back
from producers.datasets.dialect import SAMPLE, decoded, dialect_of
from producers.datasets.epochs import WORDS_OF_UNITS
from producers.datasets.files import dataset_of
from producers.datasets.matlab import is_matlab
from producers.datasets.reading import STEP_MS, Part, read
from producers.datasets.tables import Sheet, checked, sheet_of, turned
from producers.datasets.unpacking import kind_of
from producers.errors import DataError

FORMS = ("CSV", "JSON lines", "lines of name=value", "samples of Prometheus")
"""Beginnings of what `Sheet.form` says of files with a line for each row."""
HEAD = 2 * SAMPLE
"""First lines that new ones are read behind; twice as many, and so on, where so few are read otherwise than all were."""
TRIED = 20
"""Last lines of what is there, read as new ones to see whether they come out the same."""
REASONS = 5
"""Lines in a portion that cannot be read whose reason is looked for."""
_DAYS = {
    "days as Excel": "excel",
    "Julian days": "jd",
    "modified Julian days": "mjd",
    "days as MATLAB": "matlab",
    "100 ns since 1601": "filetime",
    "100 ns since the year 1": "ticks",
}


@dataclass(frozen=True)
class Wrong:
    """A line that is no row like the others: which of those handed in, from 0, and why ("": not looked for)."""

    line: int
    why: str


class Growing:
    """What was found in the first lines of a file, to read more of them.

    Parameters
    ----------
    data
        The file's bytes up to the end of a line.

    Attributes
    ----------
    dataset
        What was there.

    Raises
    ------
    DataError
        As `files.load`; a file of this kind has no line for each row, or its first lines do not tell how to read more.
    """

    def __init__(self, path: Path, data: bytes, layout: Layout) -> None:
        refuse_packed(path, data)
        sheet = sheet_of(path, path.name, data, layout.corrections)
        _check_lines(path, sheet, layout)
        sheet = checked(path, sheet)
        part = read(path, sheet, layout)
        self.dataset: Dataset = dataset_of(path, part)
        self._path, self._layout = path, layout
        self._rows = len(part.read)
        _check_clock(path, part, layout)
        _check_digits(path, part)
        text, self.encoding = decoded(path, data, layout.corrections.encoding)
        lines = text.replace("\r\n", "\n").removesuffix("\n").split("\n")
        self._delimiter = sheet.delimiter if sheet.form.startswith("CSV") else ""
        self._width = sheet.table.num_columns
        self._json = sheet.form == "JSON lines"
        self._roles = part.roles
        self._layout = replace(layout, corrections=_as_found(layout, sheet, part))
        self._titles = _titles(path, lines, layout.corrections) if self._delimiter else ()
        self._head = self._first_lines(part, lines)
        self._try(part, lines)

    @property
    def titles(self) -> tuple[str, ...]:
        """The lines above the rows: names, and what stands over them."""
        return self._titles

    def more(self, lines: Sequence[str]) -> tuple[Dataset | None, list[Wrong]]:
        """New lines as a data set of their own (None: they hold no row), and those among them that are no rows like the others.

        Empty lines, comments and names that come again are passed over. Rows count from 0 in the order of the lines.
        """
        wrong: dict[int, str] = {}
        at: list[int] = []
        for number, line in enumerate(lines):
            if self._holds_nothing(line):
                continue
            if why := self._unfit(line):
                wrong[number] = why
            else:
                at.append(number)
        parts = list(self._portions(lines, at, wrong))
        kept = [part for part in parts if part.all_series]
        unknown = [number for number, why in wrong.items() if not why][:REASONS]
        told = {number: self._reason(lines[number]) for number in unknown} if unknown else {}
        found = [Wrong(number, told.get(number, why)) for number, why in sorted(wrong.items())]
        return (_together(kept) if kept else None), found

    def _portions(self, lines: Sequence[str], at: Sequence[int], wrong: dict[int, str]) -> Iterator[Dataset]:
        """Rows of the lines `at`, in halves where one of them spoils the others; marks those that cannot be read."""
        if not at:
            return
        part = self._read([lines[i] for i in at])
        if part is None and len(at) == 1:
            wrong[at[0]] = ""
        elif part is None:
            half = len(at) // 2
            yield from self._portions(lines, at[:half], wrong)
            yield from self._portions(lines, at[half:], wrong)
        else:
            own = part.read[self._head_rows :]
            wrong.update((at[i], "") for i in np.flatnonzero(~own).tolist())
            yield self._behind_head(part)
            self._rows += len(own)

    def _read(self, lines: Sequence[str]) -> Part | None:
        """The head with these lines behind it; None where it comes out otherwise than it did, or a line is none or several rows."""
        try:
            part = self._as_part([*self._head, *lines])
        except DataError:
            return None
        fits = len(part.read) == self._head_rows + len(lines) and _begins(part, self._head_part)
        return part if fits else None

    def _as_part(self, lines: Sequence[str]) -> Part:
        text = "\n".join(lines) + "\n"
        sheet = checked(self._path, sheet_of(self._path, self._path.name, text.encode(), self._layout.corrections))
        return read(self._path, sheet, self._layout, self._roles)

    def _behind_head(self, part: Part) -> Dataset:
        each = len(self._roles.judged) if self._layout.wide else 1
        first = int(part.read[: self._head_rows].sum()) * each
        series: dict[str, Series] = {}
        for name, whole in part.series.items():
            new = whole.take(whole.positions >= first)
            if len(new):
                times = new.timestamps
                if part.kind == "table":  # their rows are numbered by what was read, the head's do not count
                    times = times + (self._rows - self._head_rows) * STEP_MS
                series[name] = replace(new, positions=new.positions - first, timestamps=times)
        return replace(self.dataset, all_series=series, all_labels={}, reading=())

    def _holds_nothing(self, line: str) -> bool:
        if not line.strip() or line in self._titles:
            return True
        return bool(self._delimiter) and (line.startswith("#") or not line.strip(self._delimiter + ' \t"'))

    def _unfit(self, line: str) -> str:
        """Why a line cannot be a row, told by itself; "": it may be one."""
        if "\ufffd" in line:
            return f"is no text in {self.encoding}"
        if self._delimiter and self._delimiter != " ":
            cells = line.count(self._delimiter) + 1
            if '"' in line:
                try:
                    cells = len(next(csv.reader([line], delimiter=self._delimiter, strict=line.count('"') % 2 == 1)))
                except csv.Error:
                    return "has a quote without its end"
            if cells != self._width:
                return f"has {cells} cells, the others have {self._width}"
        if self._json and line.strip()[:1] not in ("{", "["):
            return "is no JSON"
        return ""

    def _reason(self, line: str) -> str:
        strict = replace(self._layout, corrections=replace(self._layout.corrections, drop_bad_rows=False))
        text = "\n".join([*self._head, line]) + "\n"
        try:
            sheet = checked(self._path, sheet_of(self._path, self._path.name, text.encode(), strict.corrections))
            part = read(self._path, sheet, strict, self._roles)
        except DataError as error:
            why = re.sub(r"^.*?(?:, row \d+)?[,:] ", "", str(error).removeprefix(str(self._path)), count=1)
            return re.split(r"; (?:such rows|mend|say which|write)", why)[0]
        if len(part.read) != self._head_rows + 1:
            return "does not hold one row"
        return "would be read otherwise than the rows before it, or change what they mean"

    def _first_lines(self, whole: Part, lines: list[str]) -> list[str]:
        """As many first lines as are read by themselves as they were among all."""
        many = HEAD
        while True:
            head = lines[:many]
            self._head = head
            try:
                part = self._as_part(head)
            except DataError:
                part = None
            if part is not None and _begins(whole, part):
                self._head_part, self._head_rows = part, len(part.read)
                return head
            if many >= len(lines):
                msg = f"{self._path}: cannot be followed: its times or numbers are told by all rows together ({whole.time_form}); score it without --follow"
                raise DataError(msg)
            many *= 2

    def _try(self, whole: Part, lines: list[str]) -> None:
        """Refuse to go on where the last lines, as new ones, are not what they were among all. Rows behind a gap must be readable, too."""
        rows = self._rows
        last = [line for line in lines[len(self._titles) :][-TRIED:] if not self._holds_nothing(line)]
        part = self._read(last)
        if part is None or not _ends(whole, part, int(part.read[self._head_rows :].sum())):
            msg = (
                f"{self._path}: cannot be followed: its last lines are read otherwise by themselves ({whole.time_form or 'cells with line breaks?'}); "
                "score it without --follow"
            )
            raise DataError(msg)
        self._rows = rows


def refuse_packed(path: Path, data: bytes) -> None:
    """Raise DataError for files that are written as a whole, told by their first bytes."""
    kind = kind_of(data) or ("MATLAB" if is_matlab(data) or path.suffix.lower() == ".mat" else "")
    kind = kind or ("JSON, a list" if data.lstrip().startswith((b"[{", b"[\n", b"[\r")) else "")
    if kind:
        msg = f"{path}: is a file of {kind}, which is written as a whole: it cannot be followed; follow the CSV or JSON lines that it is made from, or score it without --follow"
        raise DataError(msg)
    if data.startswith((b"\xff\xfe\0\0", b"\0\0\xfe\xff")):
        msg = f"{path}: is UTF-32, which cannot be followed; write it as UTF-8"
        raise DataError(msg)


def _check_lines(path: Path, sheet: Sheet, layout: Layout) -> None:
    """Refuse what has no line for each row."""
    why = "" if sheet.form.startswith(FORMS) else f"is {sheet.form}, which has no line for each row"
    if not why and not layout.table and layout.timestamp_column is None and turned(sheet) is not sheet:
        why = "has a column for each time, and grows to the right"
    if why:
        msg = f"{path}: {why}: it cannot be followed; write CSV or JSON lines, or score it without --follow"
        raise DataError(msg)


def _as_found(layout: Layout, sheet: Sheet, part: Part) -> Corrections:
    """What was found of how the file is written, as if it had been said."""
    chosen = layout.corrections
    form = part.time_form
    unit = next((u for words, u in _DAYS.items() if form.startswith(words)), None)
    if form.endswith("since 1970"):
        unit = next(u for u, words in WORDS_OF_UNITS.items() if form.startswith(words))
    day_first = True if form.startswith("day") else False if form.startswith("month") else None
    csv = sheet.form.startswith("CSV")
    return replace(
        chosen,
        encoding="utf-8",
        drop_bad_rows=True,
        time_unit=chosen.time_unit or unit,
        day_first=day_first if chosen.day_first is None else chosen.day_first,
        delimiter=sheet.delimiter if csv else chosen.delimiter,
        header="no names" not in sheet.form if csv else chosen.header,
    )


def _titles(path: Path, lines: list[str], chosen: Corrections) -> tuple[str, ...]:
    """The lines above the first row."""
    return tuple(lines[: dialect_of(path, lines[:SAMPLE], chosen).skip])


def _check_digits(path: Path, part: Part) -> None:
    """Refuse times of which one line alone does not tell what is what."""
    if part.time_form.startswith(SHORT_YEARS) or IN_DIGITS in part.time_form:
        msg = f"{path}: which digits of its times are what ({part.time_form}) only many rows tell: it cannot be followed; write times as 2026-03-16T15:30:00Z"
        raise DataError(msg)


def _check_clock(path: Path, part: Part, layout: Layout) -> None:
    """Refuse local times of a zone: which of two equal hours a new line is of, when clocks are set back, only the lines behind it tell."""
    local = layout.time_zone != "UTC" and part.time_form.endswith(f" in {layout.time_zone}")
    if local and sets_back(layout.time_zone, min(int(s.timestamps.min()) for s in part.series.values())):
        msg = (
            f"{path}: its times do not say their zone, and clocks of {layout.time_zone} may show an hour twice: it cannot be followed; write times in UTC or "
            "with their offset (+02:00), or score it without --follow"
        )
        raise DataError(msg)


def _begins(whole: Part, head: Part) -> bool:
    """Whether one table's rows are the first ones of the other."""
    n = sum(map(len, head.series.values()))
    first = {name: s.take(s.positions < n) for name, s in whole.series.items()}
    first = {name: s for name, s in first.items() if len(s)}
    return first.keys() == head.series.keys() and all(_same(first[name], s) for name, s in head.series.items())


def _ends(whole: Part, part: Part, rows: int) -> bool:
    """Whether the last rows of both tables are the same, times of tables aside."""
    each = sum(map(len, whole.series.values())) // max(1, int(whole.read.sum()))
    ends = []
    for one in (whole, part):
        border = (int(one.read.sum()) - rows) * each
        last = {name: s.take(s.positions >= border) for name, s in one.series.items()}
        ends.append({name: s for name, s in last.items() if len(s)})
    times = whole.kind == "metric"
    return ends[0].keys() == ends[1].keys() and all(_same(s, ends[1][name], times=times) for name, s in ends[0].items())


def _same(one: Series, other: Series, *, times: bool = True) -> bool:
    def equal(a: Any, b: Any) -> bool:
        return a.dtype == b.dtype and bool(np.array_equal(a, b, equal_nan=a.dtype != object))

    if times and not np.array_equal(one.timestamps, other.timestamps):
        return False
    return len(one.columns) == len(other.columns) and all(map(equal, one.columns, other.columns))


def _together(parts: Sequence[Dataset]) -> Dataset:
    """Portions, one behind the other."""
    if len(parts) == 1:
        return parts[0]
    found: dict[str, list[Series]] = {}
    before = 0
    for part in parts:
        for name, s in part.all_series.items():
            found.setdefault(name, []).append(replace(s, positions=s.positions + before))
        before += len(part)
    return replace(parts[0], all_series={name: _one_behind_the_other(some) for name, some in found.items()})


def _one_behind_the_other(some: Sequence[Series]) -> Series:
    return replace(
        some[0],
        timestamps=np.concatenate([s.timestamps for s in some]),
        columns=tuple(np.concatenate(column) for column in zip(*(s.columns for s in some), strict=True)),
        positions=np.concatenate([s.positions for s in some]),
    )
