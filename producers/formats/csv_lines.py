"""CSV: a line, or several, per message; with a header line, or else series, time and value in the order in which they stand.

    timestamp,host,cpu,load                     cpu{host="a"}, load{host="a"}: columns of numbers are series, the others labels
    2024-05-01T12:00:00Z,a,0.25,3

    cpu_a,1714564800000,0.25                    without a header three columns: a name, a time, a value (name and time in either order)

- The time is the column `timestamp`, `time`, `ts`, `date`, `datetime` or `_time`: RFC 3339, or a number of s, ms, us or ns.
- With a column `value` that one is the value, and `series`, `name` or `metric` names it (else the record's key); all others are labels.
- Comma, semicolon or tab, whichever the first line has most of. Empty cells are no values, and counted as `empty`.
"""

from __future__ import annotations

import csv
import re
from collections.abc import Sequence

from producers.formats.base import (
    MAX_POINTS,
    Parsed,
    Point,
    Reason,
    Unusable,
    finite,
    milliseconds,
    series_name,
    shown,
    time_of_any_unit,
)
from producers.formats.fields import NAMES, NUMBER, TIMES, VALUES

_INTEGER = re.compile(r"\d{9,20}", re.ASCII)
_MAX_COLUMNS = 1_000


def parse(value: bytes) -> Parsed:
    """Points of all lines. Raises Unusable where they are no such table."""
    try:
        text = value.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise Unusable(Reason.UNDECODABLE, f"not UTF-8: {error.reason}") from None
    lines = [line for line in text.splitlines() if line.strip()]
    if not lines:
        raise Unusable(Reason.UNDECODABLE, "it holds no line")
    delimiter = max(",;\t", key=lines[0].count)
    try:
        rows = list(csv.reader(lines, delimiter=delimiter, strict=True))
    except csv.Error as error:
        raise Unusable(Reason.UNDECODABLE, f"not CSV: {shown(str(error))}") from None
    if len(rows[0]) > _MAX_COLUMNS or len(rows[0]) * len(rows) > MAX_POINTS:
        raise Unusable(
            Reason.TOO_LARGE, f"more than {_MAX_COLUMNS:,} columns, or {MAX_POINTS:,} points, in one message"
        )
    header = [cell.strip() for cell in rows[0]]
    time = next((i for i, name in enumerate(header) if name.lower() in TIMES), None)
    parsed = Parsed()
    for row in rows if time is None else rows[1:]:
        try:
            if time is None:
                _bare(row, parsed)
            else:
                _headed(row, header, time, parsed)
        except Unusable as error:
            parsed.refused.append(error)
    if parsed.refused and not parsed.points and not parsed.skipped:
        raise parsed.refused[0]
    return parsed


def _headed(row: Sequence[str], header: Sequence[str], time: int, parsed: Parsed) -> None:
    if len(row) != len(header):
        raise Unusable(Reason.WRONG_CHANNELS, f"a line of {len(row)} columns below a header of {len(header)}")
    timestamp = _time(row[time])
    cells = {name: cell.strip() for i, (name, cell) in enumerate(zip(header, row, strict=True)) if i != time}
    value = next((name for name in cells if name.lower() in VALUES), None)
    named = next((cells[name] for name in cells if name.lower() in NAMES), None)
    if value is not None:
        labels = {n: c for n, c in cells.items() if n.lower() not in (*NAMES, *VALUES) and c}
        values = {named or "": cells[value]}
    else:
        values = {n: c for n, c in cells.items() if n.lower() not in NAMES and (not c or NUMBER.fullmatch(c))}
        labels = {n: c for n, c in cells.items() if n not in values and n.lower() not in NAMES}
        values = {f"{named}_{n}" if named else n: c for n, c in values.items()}
    if not values:
        raise Unusable(Reason.WRONG_TYPE, "no column holds a number")
    for name, cell in values.items():
        if cell:
            series = series_name(name, labels) if name or labels else ""  # the record's key names it
            parsed.points.append(Point(series, timestamp, _number(cell)))
        else:
            parsed.skip("empty")


def _bare(row: Sequence[str], parsed: Parsed) -> None:
    if len(row) != 3:
        raise Unusable(Reason.UNDECODABLE, "it names no column timestamp, and has not just three: series, time, value")
    first, second, value = (cell.strip() for cell in row)
    name, time = (second, first) if _is_time(first) else (first, second)
    parsed.points.append(Point(series_name(name, {}), _time(time), _number(value)))


def _is_time(cell: str) -> bool:
    return bool(_INTEGER.fullmatch(cell) or re.match(r"\d{4}-\d\d-\d\d", cell))


def _time(cell: str) -> int:
    cell = cell.strip()
    if NUMBER.fullmatch(cell):
        number = finite(float(cell))
        return time_of_any_unit(int(cell) if cell.isdigit() else number)
    return milliseconds(cell)


def _number(cell: str) -> float:
    if not NUMBER.fullmatch(cell):
        reason = Reason.NOT_FINITE if cell.lstrip("+-").lower() in ("nan", "inf", "infinity") else Reason.WRONG_TYPE
        raise Unusable(reason, f"the value {shown(cell)} is not a decimal number")
    return finite(float(cell))
