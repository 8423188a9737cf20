"""Which column of a table is what, where nobody said: event time, labels, row numbers (`series_names`: what tells series apart).

Found by name and by content together; what is left out is left out with a reason, for people.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterable, Sequence

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from producers.datasets import dates, names
from producers.datasets.base import Corrections
from producers.datasets.casting import numbers
from producers.datasets.epochs import EVEN, unit_of_name
from producers.datasets.numbers import MISSING, looks_numeric
from producers.datasets.tables import Sheet

MOSTLY = 0.9
"""Share of the steps of a numeric time column that go one way, where nobody said that it is one."""
IDENTIFIER_SHARE, IDENTIFIER_LEAST = 0.5, 50
"""Text with more different values than this share of the rows, and than this many, is an identifier."""
ROWS_EACH = 5
"""Rows that a series has on average, where a column of a usual name tells series apart although no time comes again."""
MOST_COLUMNS = 6
"""Columns that are tried together as the names of series."""

_LEAST_DIGITS = 10_000
"""Numbers below it are no dates: parts of them, a count of days."""
KINDS_OF_LABELS = 50
FIRST = 4096
"""Rows that are looked at before all others where it is enough to know that there are many different values: mostly they say it."""


class Cells:
    """A table's columns, with their texts cleaned once."""

    def __init__(self, sheet: Sheet, chosen: Corrections) -> None:
        self.sheet = sheet
        self.table = sheet.table
        self.names: list[str] = list(sheet.table.column_names)
        self._chosen = chosen
        self._markers = pa.array([*MISSING, *(m.lower() for m in chosen.missing)])
        self._cleaned: dict[str, tuple[pd.Series[str], NDArray[np.bool_]]] = {}
        self._numeric: dict[str, bool] = {}

    def is_text(self, name: str) -> bool:
        """Whether the cells are texts, as all are in a text file."""
        kind = self.table[name].type
        return bool(
            pa.types.is_string(kind)
            or pa.types.is_large_string(kind)
            or pa.types.is_dictionary(kind)
            or pa.types.is_null(kind)
        )

    def text(self, name: str) -> tuple[pd.Series[str], NDArray[np.bool_]]:
        """(n,) cells without blanks around them, and which of them are missing."""
        if name not in self._cleaned:
            self._cleaned[name] = self._clean(self.table[name])
        return self._cleaned[name]

    def present(self, name: str, most: int = 1000) -> pd.Series[str]:
        """The first cells that hold anything."""
        text, missing = self.text(name)
        near = most
        while near < len(missing) and near - int(missing[:near].sum()) < most:
            near *= 4
        return text.iloc[:near].iloc[
            np.flatnonzero(~missing[:near])[:most]
        ]  # taken from a part: rows of all would copy all

    def is_numeric(self, name: str) -> bool:
        """Whether the cells hold numbers (or switches), most of the first ones that hold anything: a wrong one further on is an error."""
        if name not in self._numeric:
            kind = self.table[name].type
            self._numeric[name] = (
                looks_numeric(self.present(name))
                if self.is_text(name)
                else not (pa.types.is_temporal(kind) or pa.types.is_nested(kind))
            )
        return self._numeric[name]

    def different(self, name: str, most: int | None = None) -> int:
        """How many different values there are; of more than `most`, it is enough to say that they are more."""
        column = self.table[name]
        if pa.types.is_nested(column.type):
            return 0
        found = pa.chunked_array([], column.type)
        parts = [column]
        if most is not None and not pa.types.is_dictionary(column.type):
            parts = [column[:FIRST], *column[FIRST:].chunks]
        for chunk in parts:
            found = pc.unique(
                pa.chunked_array([found, pc.unique(chunk.drop_null())]) if len(found) else chunk.drop_null()
            )
            if most is not None and len(found) > most:
                break
        return len(found)

    def forget(self, names: Iterable[str]) -> None:
        """Hold the cleaned texts of columns no longer."""
        for name in names:
            self._cleaned.pop(name, None)

    def _clean(self, column: pa.ChunkedArray) -> tuple[pd.Series[str], NDArray[np.bool_]]:
        parts, missing = [], [np.zeros(0, np.bool_)]
        for chunk in column.cast(pa.string()).chunks:
            whole = pc.fill_null(chunk, "") if chunk.null_count else chunk
            trimmed = pc.utf8_trim_whitespace(whole)
            parts.append(whole if trimmed.equals(whole) else trimmed)  # the same memory where there is nothing to clean
            marked = pc.is_in(pc.utf8_lower(trimmed), value_set=self._markers)
            missing.append(np.asarray(marked.to_numpy(zero_copy_only=False), np.bool_))
        return pa.chunked_array(parts, pa.string()).to_pandas(), np.concatenate(missing)

    def plain_numbers(self, name: str) -> NDArray[np.float64] | None:
        """(n,) the values of a column of texts where all that is there is a number as computers write it; None: it is not."""
        return numbers(*self.text(name))


def plain(name: str) -> str:
    """A name in lower case, its words parted by `_`, without accents."""
    name = unicodedata.normalize("NFKD", name).encode("ascii", "ignore").decode()
    spaced = re.sub(r"([a-z])([A-Z])", r"\1_\2", name.strip())
    return re.sub(r"[^a-z0-9]+", "_", spaced.lower()).strip("_")


def time_columns(cells: Cells) -> tuple[str, ...]:
    """The column of event times, or the two or more of date and time of day; none: the file is a table.

    Numbers are times if they count since 1970 or go on from row to row: a column `Time` that often stands still (the seconds of a list
    of payments) is a feature.
    """
    if cells.sheet.time is not None:
        return (cells.sheet.time,)
    place = {name: i for i, name in enumerate(names.TIMES)}

    def words(name: str) -> set[str]:
        return set(plain(name).split("_"))

    def unmarked(name: str) -> str:
        return re.sub(
            r"_(utc|ms|millis|us|ns|s|seconds|micros|nanos|min|minutes|h|hrs|hours|d|days|gmt|local)$", "", plain(name)
        )

    usual = sorted(
        (n for n in cells.names if unmarked(n) in place), key=lambda n: ("utc" not in words(n), place[unmarked(n)])
    )
    likely = [n for n in cells.names if n not in usual and words(n) & names.TIME_WORDS]
    likely.sort(key=lambda n: "utc" not in words(n))
    others = [n for n in cells.names if n not in usual and n not in likely]
    found = next((n for n in usual if _tells_time(cells, n)), None)
    found = found or next((n for n in likely if _looks_dated(cells, n) or _since_1970(cells, n)), None)
    found = found or next((n for n in likely if unit_of_name(n) is not None and _goes_on_evenly(cells, n)), None)
    found = found or next((n for n in others if _looks_dated(cells, n)), None)
    if found is None and _nameless(cells):
        found = next((n for n in cells.names if _since_1970(cells, n) and _goes_on(cells, n)), None)
    if found is None:
        return _calendar(cells)
    if plain(found) in names.YEARS and (parts := _calendar(cells)):
        return parts
    return _with_zone(cells, _with_half(cells, _with_clock(cells, found)))


def _with_half(cells: Cells, found: tuple[str, ...]) -> tuple[str, ...]:
    """With the column that holds nothing but AM and PM, where there is one."""
    half = next(
        (n for n in cells.names if n not in found and cells.is_text(n) and _all_match(cells, n, dates.ONLY_HALF)), None
    )
    return found if half is None or not cells.is_text(found[-1]) else (*found, half)


def _with_zone(cells: Cells, found: tuple[str, ...]) -> tuple[str, ...]:
    """With the column of offsets from UTC, where there is one and the times do not say theirs."""
    zone = next(
        (n for n in cells.names if n not in found and cells.is_text(n) and _all_match(cells, n, dates.ONLY_ZONE)), None
    )
    if (
        zone is None
        or not cells.is_text(found[-1])
        or cells.present(found[-1], 100).str.contains(r"[zZ]$|[+-]\d\d:?\d\d$").any()
    ):
        return found
    return (*found, zone)


def unread_time(cells: Cells) -> str | None:
    """A column of texts that is called a time, or reads like one in each of its many cells, and holds none that is known."""
    texts = [n for n in cells.names if cells.is_text(n) and not cells.is_numeric(n) and len(cells.present(n, 1))]
    called = next((n for n in texts if plain(n) in names.SURE_TIMES), None)
    return called or next(
        (
            n
            for n in texts
            if len(cells.names) > 1
            and is_identifier(cells, n)
            and (plain(n) in names.TIMES or _all_match(cells, n, dates.LIKE_A_DATE))
        ),
        None,
    )


def times_again(cells: Cells, name: str, timestamps: NDArray[np.int64]) -> bool:
    """Whether numbers are the event times once more, in whatever unit."""
    if not cells.is_numeric(name) or not _since_1970(cells, name):
        return False
    number = numbers_of(cells, name)
    steps, own = np.diff(timestamps), np.diff(number)
    known = (steps != 0) & np.isfinite(own)
    if not known.any():
        return False
    ratio = own[known] / steps[known]
    return bool(
        np.allclose(ratio, ratio[0], rtol=1e-6) and any(abs(ratio[0] * f - 1) < 1e-3 for f in (1e3, 1.0, 1e-3, 1e-6))
    )


def _with_clock(cells: Cells, found: str) -> tuple[str, ...]:
    """The column, with the other one where the date stands in one and the time of day in another."""
    if not cells.is_text(found):
        return (found,)
    dated = dates.dates_with_points(cells.present(found, 1000))
    if (_all_match(cells, found, dates.ONLY_CLOCK) and not dated) or _clock_in_digits(cells, found):
        date = next((n for n in cells.names if n != found and _looks_dated(cells, n)), None)
        return (date, found) if date is not None else (found,)
    if cells.present(found, 100).str.contains(":", regex=False).any():
        return (found,)
    clock = next(
        (n for n in cells.names if n != found and cells.is_text(n) and _all_match(cells, n, dates.ONLY_CLOCK)), None
    )
    if clock is None:
        clock = next((n for n in cells.names if n != found and _clock_in_digits(cells, n)), None)
    if clock is None and _hours_tell(cells, found):
        clock = next((n for n in cells.names if plain(n) in names.HOURS), None)
    return (found,) if clock is None else (found, clock)


def _clock_in_digits(cells: Cells, name: str) -> bool:
    """Whether a column of such a name holds times of day as 1530 or 153000, above an hour in some rows."""
    if plain(name) not in names.CLOCKS or not cells.is_text(name) or not _all_match(cells, name, dates.DIGITS_OF_CLOCK):
        return False
    text, missing = cells.text(name)
    return dates.clock_in_digits(text[~missing]) is not None


def _hours_tell(cells: Cells, date: str) -> bool:
    """Whether a column of hours parts rows of one date."""
    hour = next((n for n in cells.names if plain(n) in names.HOURS and cells.is_numeric(n)), None)
    if hour is None or cells.different(date) == len(cells.table):
        return False
    numbers = pd.to_numeric(cells.text(hour)[0], errors="coerce")
    return bool(numbers.between(0, 24).all() and (numbers % 1 == 0).all())


_PARTS = {"YY": "year", "YYYY": "year", "yyyy": "year", "yr": "year", "MM": "month", "mo": "month", "DD": "day", "dd": "day", "hh": "hour", "HH": "hour",
    "hr": "hour", "mm": "minute", "mi": "minute", "min": "minute", "ss": "second", "SS": "second"}  # fmt: skip
"""Short names of the parts of a date, as they are written."""


_DAYS_OF_YEAR = ("doy", "day_of_year", "dayofyear", "yday", "julian_day")


def part_of_date(name: str) -> str:
    """`year`, `month`, ... for a column of such a name, else the plain name."""
    part = _PARTS.get(name.strip("<># "), plain(name))
    return "day_of_year" if part in _DAYS_OF_YEAR else part


def _calendar(cells: Cells) -> tuple[str, ...]:
    """Columns year, month or day of the year, and, where there are, day, hour, minute and second."""
    by_name = {part_of_date(n): n for n in cells.names}
    days = ("month", "day") if "month" in by_name else ("day_of_year",)
    parts = [by_name[p] for p in ("year", *days, "hour", "minute", "second") if p in by_name]

    def tells(name: str) -> bool:
        named = part_of_date(name) == "month" and all(map(dates.month_number, cells.present(name, 100)))
        return cells.is_numeric(name) or named

    return tuple(parts) if {"year", days[0]} <= set(by_name) and all(map(tells, parts)) else ()


def _looks_dated(cells: Cells, name: str) -> bool:
    if not cells.is_text(name):
        kind = cells.table[name].type
        return bool(pa.types.is_timestamp(kind) or pa.types.is_date(kind))
    present = cells.present(name, 100)
    return len(present) > 0 and all(map(dates.looks_like_time, present))


def _all_match(cells: Cells, name: str, form: re.Pattern[str]) -> bool:
    present = cells.present(name, 100)
    return len(present) > 0 and all(form.match(cell) for cell in present)


def _tells_time(cells: Cells, name: str) -> bool:
    """Whether a column of a time's name is one: texts if one of them looks like it (a wrong cell will be told), numbers if they do."""
    if _looks_dated(cells, name) or months_with_points(cells, name):
        return True
    if cells.is_text(name) and not cells.is_numeric(name):
        present = cells.present(name, 100)
        return any(dates.looks_like_time(c) or dates.ONLY_CLOCK.match(c) or dates.DURATION.match(c) for c in present)
    if not cells.is_numeric(name):
        return False
    return _since_1970(cells, name) or _goes_on(cells, name)


def months_with_points(cells: Cells, name: str) -> bool:
    """Whether a column of a time's name holds nothing but 03.2026 or 2026.03, which are no numbers there."""
    return (
        cells.is_text(name)
        and plain(name) in names.TIMES
        and any(_all_match(cells, name, form) for form in dates.MONTH_WITH_POINT)
    )


def numbers_of(cells: Cells, name: str) -> NDArray[np.float64]:
    """(n,) a column's numbers, NaN where a cell is none."""
    if (quick := cells.plain_numbers(name)) is not None:
        return quick
    text, missing = cells.text(name)
    text = dates.without_thousands(text)
    values: NDArray[np.float64] = pd.to_numeric(text.where(~missing), errors="coerce").to_numpy(
        np.float64, na_value=np.nan
    )
    return values


def _since_1970(cells: Cells, name: str) -> bool:
    if not cells.is_numeric(name):
        return False
    number = numbers_of(cells, name)
    there = np.isfinite(number)
    good = number if there.all() else number[there]
    if not len(good) or len(good) < MOSTLY * len(number):
        return False
    if plain(name) not in names.PARTS_OF_DATES and good.min() > 1e8:
        return True
    return bool(good.min() >= 17000101 and good.max() <= 22001231 and not (good % 1).any()) or (
        plain(name) in names.YEARS
        and good.min() >= 1500
        and good.max() <= 2200
        and not names.MONTHS & set(map(plain, cells.names))
    )


def _goes_on(cells: Cells, name: str) -> bool:
    """Whether numbers go one way from row to row, or each stands in equally many rows, one after the other."""
    number = numbers_of(cells, name)
    if not np.isfinite(number).all():
        return False
    if plain(name) in names.PARTS_OF_DATES and (plain(name) in names.YEARS or number.max() < _LEAST_DIGITS):
        return False
    steps = np.diff(number)
    if not len(steps) or max((steps > 0).mean(), (steps < 0).mean()) >= MOSTLY:
        return True
    _, times = np.unique(number, return_counts=True)
    return bool((steps >= 0).all() and len(times) > 1 and (times == times[0]).all())


def _goes_on_evenly(cells: Cells, name: str) -> bool:
    if not cells.is_numeric(name) or not _goes_on(cells, name):
        return False
    steps = np.abs(np.diff(np.unique(numbers_of(cells, name))))
    return bool(len(steps) and steps.max() <= EVEN * np.median(steps))


def index_columns(cells: Cells, taken: Iterable[str]) -> list[str]:
    """Columns that number the rows: pandas' index, `id` 1, 2, 3, ..."""
    found = []
    for place, name in enumerate(cells.names):
        unnamed = re.fullmatch(r"unnamed_\d+|index_level_\d+", plain(name)) or (name == "column 1" and place == 0)
        if name in taken or not (unnamed or plain(name) in names.INDEX) or not cells.is_numeric(name):
            continue
        number = numbers_of(cells, name)
        exact = _nameless(cells)  # what nobody calls a number of rows must be nothing else
        if exact and (len(number) <= ROWS_EACH or number[0] not in (0, 1) or len(cells.names) == 1):
            continue
        if len(number) > 1 and (np.diff(number) == 1).mean() >= (1.0 if exact else MOSTLY):
            found.append(name)
    return found


def _nameless(cells: Cells) -> bool:
    return all(re.fullmatch(r"column \d+", name) for name in cells.names)


def label_columns(cells: Cells, taken: Iterable[str]) -> list[str]:
    """Columns of labels: two values under a usual name, few under one that says so, or 0 and 1 at the end where nothing has a name."""
    free = [n for n in cells.names if n not in set(taken) and not pa.types.is_nested(cells.table[n].type)]
    found = []
    for name in free:
        words, different = set(plain(name).split("_")), cells.different(name, KINDS_OF_LABELS)
        named = (
            plain(name) in names.LABELS
            or bool(words & names.LABEL_WORDS)
            or plain(name).startswith(("is_anom", "is_outlier"))
        )
        whole = not cells.is_numeric(name) or different <= 20
        others = bool(words & names.OTHERS_JUDGEMENT)  # scores of another detector, too
        if (
            others
            or (named and different <= 2)
            or _says_normal(cells, name, different)
            or (plain(name) in names.SURE_LABELS and different <= KINDS_OF_LABELS and whole)
        ):
            found.append(name)
    if (
        not found
        and _nameless(cells)
        and len(free) > 1
        and cells.different(free[-1], 2) == 2
        and set(cells.present(free[-1])) <= {"0", "1", "0.0", "1.0"}
    ):
        found.append(free[-1])
    return found if len(found) < len(free) else []


def _says_normal(cells: Cells, name: str, different: int) -> bool:
    """Whether a text column's two values are the words for normal and anomalous."""
    if different != 2 or cells.is_numeric(name):
        return False
    found = set(cells.present(name, len(cells.table)).str.lower().unique())
    return bool(found & names.TELLING) and len(found & (names.NORMAL | names.TELLING)) == len(found)


def anomalous(cells: Cells, name: str) -> NDArray[np.bool_] | None:
    """(n,) which rows a column of labels calls anomalous; None where its texts do not tell."""
    text, missing = cells.text(name)
    lower = text.str.lower()
    found = set(lower[~missing].unique())
    marked = lower.isin(names.ANOMALOUS)
    if found <= names.NORMAL | names.ANOMALOUS:
        return np.asarray(marked & ~missing, np.bool_)
    if found & names.NORMAL and len(found) <= KINDS_OF_LABELS:
        return np.asarray(~lower.isin(names.NORMAL) & ~missing, np.bool_)
    return None


def is_identifier(cells: Cells, name: str) -> bool:
    """Whether a text is different in most rows."""
    if not cells.is_text(name) or cells.is_numeric(name):
        return False
    most = int(max(IDENTIFIER_LEAST, IDENTIFIER_SHARE * len(cells.table)))
    return cells.different(name, most) > most


def beside_the_time(cells: Cells, name: str, time: Sequence[str]) -> str:
    """Why a column of numbers is none that is judged: programs write a part of the time, or the id of the one series, beside it; empty: it is."""
    if name == "_span" or (plain(name) == "ns" and [plain(n) for n in time] == ["clock"]):
        return "part of the time"
    called = plain(name) in ("itemid", "id") or plain(name).endswith("_id")
    return "one id" if called and len(cells.table) > 1 and cells.different(name, 1) == 1 else ""


def zones_named(cells: Cells, taken: Iterable[str]) -> tuple[str, str]:
    """A column that names time zones as Europe/Berlin, and its first one; empty: there is none."""
    for name in cells.names:
        if name in taken or not cells.is_text(name) or cells.different(name, MOST_COLUMNS) > MOST_COLUMNS:
            continue
        if _all_match(cells, name, dates.ZONE_NAME):
            return name, str(cells.present(name, 1).iloc[0])
    return "", ""
