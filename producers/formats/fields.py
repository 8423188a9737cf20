"""Records of fields that no convention names (one's own JSON, Avro, protobuf): which is the time, which name a series, which are values.

    {"ts": "2024-05-01T12:00:00Z", "host": "a", "cpu": 0.25, "load": 3}     cpu{host="a"}, load{host="a"}

What `Fields` says holds; what it leaves open is found so, alike for every record and without a memory of those before:

- Time: the field `timestamp`, `time`, `ts` or the like, else the only one whose type is a moment. RFC 3339, or a number of s, ms, us, ns.
  With `record_time` no field is: who reads the record gives all points the time that Kafka has of it.
- Name: the field `series`, `name` or `metric`. With a field `value` it is the whole name, else it stands before the field's: `cpu_load`.
- Labels: texts (enums and UUIDs too), and whole numbers that are called `id`, `..._id` or `...Id`.
- Values: the field `value`, and then no other number is one; else all numbers, true and false as 1 and 0.

Fields of an object within the record are called `object.field`; of `labels`, `tags`, `attributes` and `fields` by their own name.
What is neither is left out and counted: empty ones, arrays, bytes, numbers beside a `value`.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from typing import Any, NamedTuple
from uuid import UUID

import msgspec

from producers.formats.base import (
    GAUGE,
    MAX_POINTS,
    Parsed,
    Point,
    Reason,
    Unusable,
    checked_time,
    decoded,
    finite,
    milliseconds,
    series_name,
    shown,
    time_of_any_unit,
)
from producers.formats.prometheus import kind_of

TIMES = ("timestamp", "time", "ts", "date", "datetime", "_time")
NAMES = ("series", "name", "metric", "_measurement")
VALUES = ("value", "_value")
"""What the columns of CSV and the fields of records are called, in lower case."""
NUMBER = re.compile(r"\s*[+-]?(?:\d+\.?\d*|\.\d+)(?:[eE][+-]?\d+)?\s*", re.ASCII)
"""A decimal number in a text."""

_MORE_TIMES = ("@timestamp", "event_time", "eventtime", "timestamp_ms", "ts_ms", "time_ms", "timestampms")

NO_TIME = 0
"""In place of a time that the record does not say itself; none that it may say is that early."""

MAX_FIELDS = 1_000
"""Fields of one record."""
MAX_DEPTH = 32
"""Objects within objects."""

_TRANSPARENT = ("labels", "tags", "attributes", "fields")
_ID = re.compile(r"(?:.*_)?(?:id|Id|ID)|.*[a-z0-9]I[dD]")
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MS = timedelta(milliseconds=1)
_json = msgspec.json.Decoder()


class Moment(int):
    """A time whose type says that it is one, in ms since the epoch."""


@dataclass(frozen=True, slots=True)
class Fields:
    """Which fields of a record are what; empty ones are found by the rules above.

    Attributes
    ----------
    time, name
        Names of one field each.
    labels, values
        Names of fields.
    record_time
        No field is the time; points have `NO_TIME` until they are given their record's.
    """

    time: str = ""
    name: str = ""
    labels: tuple[str, ...] = ()
    values: tuple[str, ...] = ()
    record_time: bool = False


class _Row(NamedTuple):
    """A record's fields, flat; `full` has the name of each with its object's before it."""

    of: dict[str, Any]
    full: dict[str, str]

    def find(self, name: str) -> str | None:
        """The field that is called so, or so with its object's name before it."""
        return name if name in self.of else self.full.get(name)


def parse_json(value: bytes, fields: Fields) -> Parsed:
    """Points of one object of JSON, or of an array of such. Raises Unusable."""
    content = decoded(_json, value)
    records = content if isinstance(content, list) else [content]
    if len(records) > MAX_POINTS // 10:
        raise Unusable(Reason.TOO_LARGE, f"more than {MAX_POINTS // 10:,} objects in one message")
    parsed = Parsed()
    for record in records:
        if not isinstance(record, dict):
            raise Unusable(Reason.WRONG_TYPE, f"{shown(record)} is no object of JSON")
        try:
            of = points_of(flat(record), fields)
        except Unusable as error:
            if len(records) == 1:
                raise
            parsed.refused.append(error)
            continue
        _add(parsed, of)
        if len(parsed.points) > MAX_POINTS:
            raise Unusable(Reason.TOO_LARGE, f"more than {MAX_POINTS:,} points in one message")
    return parsed


def _add(parsed: Parsed, more: Parsed) -> None:
    parsed.points += more.points
    parsed.refused += more.refused
    for what, count in more.skipped.items():
        parsed.skip(what, count)


def flat(record: Mapping[str, Any], path: tuple[str, ...] = ()) -> Iterator[tuple[tuple[str, ...], Any]]:
    """The fields of a record and of the objects in it, each with its path."""
    for name, content in record.items():
        if isinstance(content, dict) and len(path) < MAX_DEPTH:
            yield from flat(content, (*path, str(name)))
        else:
            yield (*path, str(name)), content


def points_of(items: Iterable[tuple[tuple[str, ...], Any]], fields: Fields) -> Parsed:
    """Points of one record, given its fields as `flat` gives them. Raises Unusable where it has no time or no value."""
    row = _row(items)
    parsed = Parsed()
    time = None if fields.record_time else _time_field(row, fields)
    timestamp = NO_TIME if time is None else _time(row.of[time])
    name = _name_field(row, fields)
    values = _value_fields(row, fields, {time, name})
    labels = _labels(row, fields, {time, name, *values}, parsed)
    named = "" if name is None else _text(row.of[name])
    alone = len(values) == 1 and values[0].lower() in VALUES
    metric = labels.pop("__name__", "")
    kind = kind_of(metric) if metric else GAUGE
    for field in values:
        if row.of[field] is None:
            parsed.skip("empty")
            continue
        title = (named or metric) if alone else f"{named}_{field}" if named else field
        if alone and not title and labels:
            title = field
        try:
            series = series_name(title, labels) if title else ""  # the record's key names it
            parsed.points.append(Point(series, timestamp, _number(row.of[field]), kind))
        except Unusable as error:
            parsed.refused.append(error)
    return parsed


def _row(items: Iterable[tuple[tuple[str, ...], Any]]) -> _Row:
    row = _Row({}, {})
    for path, content in items:
        if len(path) > MAX_DEPTH:
            raise Unusable(Reason.TOO_LARGE, f"objects within objects, more than {MAX_DEPTH} deep")
        full = ".".join(path)
        short = ".".join(path[1:]) if len(path) > 1 and path[0].lower() in _TRANSPARENT else full
        name = full if short in row.of else short
        row.of[name] = _plain(content)
        row.full[full] = name
        if len(row.of) > MAX_FIELDS:
            raise Unusable(Reason.TOO_LARGE, f"more than {MAX_FIELDS:,} fields in one record")
    return row


def _plain(content: Any) -> Any:
    """Types that Avro has beside JSON's, as what they mean here."""
    if isinstance(content, datetime):
        return Moment((content - _EPOCH) // _MS) if content.tzinfo is not None else content
    if isinstance(content, Decimal):
        return float(content)
    return str(content) if isinstance(content, UUID) else content


def _time_field(row: _Row, fields: Fields) -> str:
    if fields.time:
        if (found := row.find(fields.time)) is None:
            raise Unusable(Reason.WRONG_TYPE, f"it has no field {shown(fields.time)}, which is to be its time")
        return found
    lower = {name.lower(): name for name in reversed(row.of)}
    for name in (*TIMES, *_MORE_TIMES):
        if name in lower:
            return lower[name]
    moments = [name for name, content in row.of.items() if isinstance(content, Moment)]
    if len(moments) == 1:
        return moments[0]
    why = f"{len(moments)} fields are moments" if moments else "no field is called timestamp, time or ts"
    raise Unusable(
        Reason.WRONG_TYPE,
        f"which field is its time cannot be told, {why}; set the stream's fields.time, or fields.record_time",
    )


def _time(content: Any) -> int:
    if isinstance(content, Moment):
        return checked_time(int(content))
    if isinstance(content, bool) or not isinstance(content, int | float | str):
        what = "a local time, which names no zone" if isinstance(content, datetime) else shown(content)
        raise Unusable(Reason.ABSURD_TIMESTAMP, f"the time is {what}; RFC 3339 or a number is expected")
    if isinstance(content, str):
        if not NUMBER.fullmatch(content):
            return milliseconds(content.strip())
        content = int(content) if content.strip().isdigit() else float(content)
    return time_of_any_unit(content if isinstance(content, int) else finite(content))


def _name_field(row: _Row, fields: Fields) -> str | None:
    if fields.name:
        if (found := row.find(fields.name)) is None or not isinstance(row.of[found], str):
            raise Unusable(Reason.NO_SERIES, f"it has no text {shown(fields.name)}, which is to name its series")
        return found
    return next((n for n, content in row.of.items() if n.lower() in NAMES and isinstance(content, str)), None)


def _value_fields(row: _Row, fields: Fields, taken: set[str | None]) -> list[str]:
    if fields.values:
        found = [name for wanted in fields.values if (name := row.find(wanted)) is not None]
        if not found:
            raise Unusable(
                Reason.WRONG_TYPE, f"it has none of the fields that are to be values: {_listed(fields.values)}"
            )
        return found
    if one := [n for n in row.of if n.lower() in VALUES and n not in taken]:
        return one[:1]
    labels = {row.find(name) for name in fields.labels}
    found = [n for n, c in row.of.items() if _is_number(c) and n not in taken and n not in labels and not _is_id(n, c)]
    if not found:
        texts = tuple(n for n, c in row.of.items() if n not in taken and isinstance(c, str) and NUMBER.fullmatch(c))
        but = f": {_listed(texts)} would be one, written as a text" if texts else ""
        raise Unusable(
            Reason.WRONG_TYPE, f"no field of it is a number that could be a value; see the stream's fields.values{but}"
        )
    return found


def _labels(row: _Row, fields: Fields, taken: set[str | None], parsed: Parsed) -> dict[str, str]:
    if fields.labels:
        found = [(wanted, name) for wanted in fields.labels if (name := row.find(wanted)) is not None]
        return {wanted: _text(row.of[name]) for wanted, name in found if row.of[name] not in (None, "")}
    labels = {}
    for name, content in row.of.items():
        if name in taken:
            continue
        if content == "":  # as Prometheus has it: a label that is empty is none
            parsed.skip("empty")
        elif isinstance(content, str) or _is_id(name, content):
            labels[name] = _text(content)
        else:
            parsed.skip(_kind(content))
    return labels


def _kind(content: Any) -> str:
    """What a field is that is left out."""
    if content is None:
        return "empty"
    if isinstance(content, list | tuple):
        return "array"
    if isinstance(content, bytes):
        return "bytes"
    if isinstance(content, Moment | datetime | date):
        return "other time"
    return "number beside the value" if _is_number(content) else "other field"


def _is_number(content: Any) -> bool:
    return isinstance(content, int | float) and not isinstance(content, Moment)


def _is_id(name: str, content: Any) -> bool:
    """Whether a whole number is the name of something."""
    whole = isinstance(content, int) and not isinstance(content, bool | Moment)
    return whole and _ID.fullmatch(name.rpartition(".")[2]) is not None


def _text(content: Any) -> str:
    if isinstance(content, str):
        return content
    if isinstance(content, bool):
        return "true" if content else "false"
    if isinstance(content, int | float):
        return shown(content)
    raise Unusable(Reason.WRONG_TYPE, f"{shown(content)} is no label: neither a text nor a number")


def _number(content: Any) -> float:
    if isinstance(content, str):
        if not NUMBER.fullmatch(content):
            odd = content.strip().lstrip("+-").lower() in ("nan", "inf", "infinity")
            why = f"the value {shown(content)} is not a decimal number"
            raise Unusable(Reason.NOT_FINITE if odd else Reason.WRONG_TYPE, why)
        return finite(float(content))
    if not _is_number(content):
        raise Unusable(Reason.WRONG_TYPE, f"the value is {shown(content)}; a number is expected")
    return finite(content)


def _listed(names: tuple[str, ...]) -> str:
    return ", ".join(shown(name) for name in names[:5])
