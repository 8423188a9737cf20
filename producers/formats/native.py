"""The native JSON form, read strictly: numbers are JSON numbers, time is an integer of milliseconds.

`decoder` gives the fast reader, which fails without saying why; `reread` reads one message that it failed on once more, and
says why it cannot be used, or finds that it can (a metric's one value may also come as `values` of length 1).
Members that are not named in `producers.records` are ignored; of a member that occurs twice the last one counts.
"""

from __future__ import annotations

import math
import re
from typing import Annotated, Any, Literal, Protocol

import msgspec

from producers.formats.base import Reason, Unusable, checked_time, shown
from producers.records import EARLIEST, LATEST

Kind = Literal["metric", "table"]

_Time = Annotated[int, msgspec.Meta(ge=EARLIEST, lt=LATEST)]
_JSON_TYPES = {dict: "object", list: "array", str: "string", bool: "boolean", int: "number", float: "number"}
# Python's json and many others write these, though JSON has no such literals.
_NOT_FINITE = re.compile(rb"[:\[,]\s*-?(NaN|Infinity)\b")
_any = msgspec.json.Decoder()


class One(msgspec.Struct, gc=False):
    """A metric with one channel, as the fast reader takes it."""

    timestamp: _Time
    value: float
    series: str | None = None
    values: None = None


class Many(Protocol):
    """A metric with several channels, or a row of a table, as the fast reader takes it."""

    timestamp: int
    values: list[Any]
    series: str | None


def decoder_of_one() -> msgspec.json.Decoder[One]:
    """Fast reader of metrics with one channel."""
    return msgspec.json.Decoder(One)


def decoder_of_many(kind: Kind, width: int) -> msgspec.json.Decoder[Many]:
    """Fast reader of `values`, exactly `width` of them: numbers of a metric, numbers and texts of a table's row."""
    element: Any = float if kind == "metric" else float | str
    values = Annotated[list[element], msgspec.Meta(min_length=width, max_length=width)]
    struct = msgspec.defstruct(
        "Many",
        [("timestamp", _Time), ("values", values), ("series", str | None, None), ("value", None, None)],
        gc=False,
    )
    return msgspec.json.Decoder(struct)


def reread(value: bytes, kind: Kind, width: int) -> tuple[int, list[Any], str | None]:
    """Timestamp, values and series of one message that the fast reader did not take.

    Raises
    ------
    Unusable
        With the first reason found.
    """
    message = _message(value)
    timestamp = _timestamp(message)
    series = message.get("series")
    if series is not None and not isinstance(series, str):
        raise Unusable(Reason.WRONG_TYPE, f"`series` is {_type(series)}; a string is expected")
    return timestamp, _values(message, kind, width), series


def _message(value: bytes) -> dict[str, Any]:
    try:
        message = _any.decode(value)
    except RecursionError:
        raise Unusable(Reason.UNDECODABLE, "nested too deep") from None
    except UnicodeDecodeError as error:
        raise Unusable(Reason.UNDECODABLE, f"not UTF-8: {error.reason}") from None
    except msgspec.ValidationError as error:  # untyped, only a number beyond a double can be invalid
        raise Unusable(Reason.NOT_FINITE, str(error)) from None
    except msgspec.DecodeError as error:
        if _NOT_FINITE.search(value):
            raise Unusable(Reason.NOT_FINITE, "NaN and Infinity are not JSON; leave such observations out") from None
        raise Unusable(Reason.UNDECODABLE, str(error)) from None
    if not isinstance(message, dict):
        raise Unusable(Reason.WRONG_TYPE, f"the record is {_type(message)}; an object is expected")
    return message


def _timestamp(message: dict[str, Any]) -> int:
    if "timestamp" not in message:
        raise Unusable(Reason.WRONG_TYPE, "`timestamp` is missing")
    timestamp = message["timestamp"]
    if isinstance(timestamp, bool) or not isinstance(timestamp, int | float):
        raise Unusable(Reason.WRONG_TYPE, f"`timestamp` is {_type(timestamp)}; an integer of milliseconds is expected")
    if not isinstance(timestamp, int):
        raise Unusable(Reason.ABSURD_TIMESTAMP, f"{shown(timestamp)} is not an integer of milliseconds")
    return checked_time(timestamp)


def _values(message: dict[str, Any], kind: Kind, width: int) -> list[Any]:
    value, values = message.get("value"), message.get("values")
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
    try:
        number = float(value)
    except OverflowError:
        raise Unusable(Reason.NOT_FINITE, f"{shown(value)} is too large for a double") from None
    if not math.isfinite(number):
        raise Unusable(Reason.NOT_FINITE, f"a value is {number}")
    return number


def _type(value: object) -> str:
    name = _JSON_TYPES.get(type(value), "null")
    return f"{'an' if name[0] in 'ao' else 'a'} {name}" if name != "null" else name
