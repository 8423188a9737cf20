"""The native JSON form, read strictly: numbers are JSON numbers, time is an integer of milliseconds.

A `Reader` has two ways. `decode` is fast and fails without saying why; `reread` takes what `decode` failed on, and says why it
cannot be used, or finds that it can (a metric's one value may also come as `values` of length 1). Members that are not named in
`producers.records` are skipped, whatever they hold, if only the whole is an object of JSON's form; of a member that occurs
twice the last one counts.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Annotated, Any, Generic, Literal, Protocol, TypeVar, cast

import msgspec

from producers.formats.base import Reason, Unusable, checked_time, decoded, finite, shown
from producers.formats.packed import GZIP, unpacked
from producers.records import EARLIEST, LATEST

Kind = Literal["metric", "table"]

_Time = Annotated[int, msgspec.Meta(ge=EARLIEST, lt=LATEST)]
_JSON_TYPES = {
    dict: "an object",
    list: "an array",
    str: "a string",
    bool: "a boolean",
    int: "a number",
    float: "a number",
}


class _Loose(msgspec.Struct, gc=False):
    """The same members, of any type; no dict, so that both ways of reading skip the same."""

    timestamp: Any = msgspec.UNSET
    value: Any = None
    values: Any = None
    series: Any = None


_loose = msgspec.json.Decoder(_Loose)
_raw = msgspec.json.Decoder(msgspec.Raw)


class One(msgspec.Struct, gc=False):
    """An observation of a metric with one channel."""

    timestamp: _Time
    value: float
    series: str | None = None
    values: None = None


class Many(Protocol):
    """An observation of a metric with several channels, or a row of a table; its struct depends on their number."""

    @property
    def timestamp(self) -> int:
        """Event time, ms."""

    @property
    def values(self) -> list[Any]:
        """Numbers of a metric; numbers and texts of a row."""

    @property
    def series(self) -> str | None:
        """None: the key names it."""


Item = TypeVar("Item")


class Reader(Generic[Item]):
    """Reads observations with `width` values; made by `reader_of_one` and `reader_of_many`."""

    def __init__(self, struct: type[Item], kind: Kind, width: int) -> None:
        self.kind = kind
        self.width = width
        self.decode: Callable[[bytes], Item] = msgspec.json.Decoder(struct).decode
        self._struct: Callable[..., Item] = struct
        self._single = struct is One

    def reread(self, value: bytes) -> Item:
        """Read what `decode` failed on. Raises Unusable with the first reason found."""
        if value.startswith(GZIP):
            return self._packed(value)
        message = _members(value)
        timestamp = _timestamp(message.timestamp)
        series = message.series
        if series is not None and not isinstance(series, str):
            raise Unusable(Reason.WRONG_TYPE, f"`series` is {_type(series)}; a string is expected")
        values = _values(message, self.kind, self.width)
        content = {"value": values[0]} if self._single else {"values": values}
        return self._struct(timestamp=timestamp, series=series, **content)

    def _packed(self, value: bytes) -> Item:
        plain = unpacked(value)
        try:
            return self.decode(plain)
        except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
            return self.reread(plain)


def reader_of_one() -> Reader[One]:
    """Reader of metrics with one channel."""
    return Reader(One, "metric", 1)


def reader_of_many(kind: Kind, width: int) -> Reader[Many]:
    """Reader of metrics with several channels, and of rows with `width` columns."""
    element: Any = float if kind == "metric" else float | str
    values = Annotated[list[element], msgspec.Meta(min_length=width, max_length=width)]
    struct = msgspec.defstruct(
        "Row",
        [("timestamp", _Time), ("values", values), ("series", str | None, None), ("value", None, None)],
        gc=False,
    )
    return Reader(cast("type[Many]", struct), kind, width)


def _members(value: bytes) -> _Loose:
    try:
        return decoded(_loose, value)
    except Unusable as error:
        # By the first byte, or a number beyond float64; that the whole is no JSON goes before that.
        if error.reason in (Reason.WRONG_TYPE, Reason.NOT_FINITE):
            decoded(_raw, value)
        raise


def _timestamp(timestamp: object) -> int:
    if timestamp is msgspec.UNSET:
        raise Unusable(Reason.WRONG_TYPE, "`timestamp` is missing")
    if isinstance(timestamp, bool) or not isinstance(timestamp, int | float):
        raise Unusable(Reason.WRONG_TYPE, f"`timestamp` is {_type(timestamp)}; an integer of milliseconds is expected")
    if not isinstance(timestamp, int):
        raise Unusable(Reason.ABSURD_TIMESTAMP, f"{shown(timestamp)} is not an integer of milliseconds")
    return checked_time(timestamp)


def _values(message: _Loose, kind: Kind, width: int) -> list[Any]:
    value, values = message.value, message.values
    if value is not None and values is not None:
        raise Unusable(Reason.WRONG_CHANNELS, "both `value` and `values` are given")
    if value is None and values is None:
        raise Unusable(Reason.WRONG_TYPE, f"`{'value' if (kind, width) == ('metric', 1) else 'values'}` is missing")
    if value is not None:
        if kind == "table":
            raise Unusable(Reason.WRONG_CHANNELS, f"`value` is given; a row of {width} `values` is expected")
        values = [value]
    if not isinstance(values, list):
        raise Unusable(Reason.WRONG_TYPE, f"`values` is {_type(values)}; an array is expected")
    checked = [_element(v, kind) for v in values]
    if len(checked) != width:
        raise Unusable(Reason.WRONG_CHANNELS, f"{len(checked)} values; {width} are expected")
    return checked


def _element(value: object, kind: Kind) -> float | str:
    if isinstance(value, str) and kind == "table":
        return value
    if isinstance(value, bool) or not isinstance(value, int | float):
        expected = "a number" if kind == "metric" else "a number or string"
        raise Unusable(Reason.WRONG_TYPE, f"a value is {_type(value)}; {expected} is expected")
    return finite(value)


def _type(value: object) -> str:
    return _JSON_TYPES.get(type(value), "null")
