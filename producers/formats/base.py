"""What all input formats share: the points of a message, and why a message cannot be used.

A parser takes one Kafka message and gives its points. It never raises anything but `Unusable`, whatever the bytes; what it
leaves out by a stated rule (a stale marker, a text field) it counts.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import NamedTuple, TypeVar

import msgspec

from producers.formats.foreign import looks_like
from producers.records import EARLIEST, LATEST, MAX_SERIES_BYTES
from producers.times import milliseconds_of

T = TypeVar("T")
_NOT_FINITE = re.compile(rb"[:\[,]\s*-?(NaN|Infinity)\b")


MAX_POINTS = 100_000
"""Points of one message."""
MAX_LABELS = 128
"""Labels of one series: the shortest ones of more would make a name that is too long."""


class Reason(StrEnum):
    """Why a record is a dead letter; the whole list."""

    UNDECODABLE = "undecodable"
    WRONG_TYPE = "wrong type"
    NOT_FINITE = "not finite"
    ABSURD_TIMESTAMP = "absurd timestamp"
    TOO_LARGE = "too large"
    NO_SERIES = "no series"
    WRONG_CHANNELS = "wrong channels"
    UNENCODABLE_ROW = "unencodable row"
    DAMAGED = "damaged"


class Unusable(ValueError):
    """A message, or one point of it, cannot be an observation."""

    def __init__(self, reason: Reason, detail: str) -> None:
        super().__init__(f"{reason}: {detail}")
        self.reason = reason
        self.detail = detail


GAUGE, COUNTER, DELTA = range(3)
"""Kinds of a point: it stands for itself; it is a running total; it is what was counted since `begun`. Counts become rates per second."""


class Point(NamedTuple):
    """One value of one series; `timestamp` in ms since the epoch, and `begun`, since when it counts (0: not known)."""

    series: str
    timestamp: int
    value: float
    kind: int = GAUGE
    begun: int = 0


@dataclass(slots=True)
class Parsed:
    """What one message holds.

    Attributes
    ----------
    points
        In the order of the message.
    skipped
        What was left out by a rule of the format, and how often.
    refused
        Points that should have been usable and are not; one message, any number of them.
    """

    points: list[Point] = field(default_factory=list)
    skipped: dict[str, int] = field(default_factory=dict)
    refused: list[Unusable] = field(default_factory=list)

    def skip(self, what: str, count: int = 1) -> None:
        """Count what is left out."""
        self.skipped[what] = self.skipped.get(what, 0) + count


Parser = Callable[[bytes], Parsed]


def series_name(name: str, labels: Mapping[str, str]) -> str:
    """`name{a="1",b="2"}`: labels sorted and escaped as Prometheus does, so that equal labels give equal names.

    Raises
    ------
    Unusable
        No name, or longer than 512 bytes in UTF-8.

    Examples
    --------
    >>> series_name("cpu", {"host": "a", "core": "0"})
    'cpu{core="0",host="a"}'
    """
    if not name:
        raise Unusable(Reason.NO_SERIES, "the metric has no name")
    check_labels(len(labels))
    return checked_series(name + labels_text(labels) if labels else name)


def labels_text(labels: Mapping[str, str]) -> str:
    """Labels as they stand behind a name; empty where there are none."""
    pairs = ",".join(f'{label}="{_escaped(labels[label])}"' for label in sorted(labels))
    return f"{{{pairs}}}" if pairs else ""


def check_labels(count: int) -> None:
    """Raises Unusable where there are too many to be worth sorting, for each point of a message anew."""
    if count > MAX_LABELS:
        raise Unusable(Reason.TOO_LARGE, f"{count} labels; the limit is {MAX_LABELS}")


def checked_series(name: str) -> str:
    """The name, if it is short enough to be kept in the state of a partition."""
    # A character is at most 4 bytes; most names need no encoding to be found short enough.
    if len(name) * 4 > MAX_SERIES_BYTES and len(name.encode()) > MAX_SERIES_BYTES:
        raise Unusable(Reason.TOO_LARGE, f"series name of {len(name.encode())} bytes; the limit is {MAX_SERIES_BYTES}")
    return name


def checked_time(milliseconds: int) -> int:
    """The time, if it lies between 1971 and 2200."""
    if not EARLIEST <= milliseconds < LATEST:
        raise Unusable(Reason.ABSURD_TIMESTAMP, f"{shown(milliseconds)} ms lies outside 1971 to 2200")
    return milliseconds


def time_of_any_unit(stamp: float) -> int:
    """A number of s, ms, us or ns to ms, cut; which unit it is follows from its size, for the years 1971 to 2200 do not overlap in them."""
    for per_second in (1, 1_000, 1_000_000, 1_000_000_000):
        if EARLIEST * per_second <= stamp * 1_000 < LATEST * per_second:
            return checked_time(int(stamp * 1_000 // per_second))
    raise Unusable(Reason.ABSURD_TIMESTAMP, f"{shown(stamp)} lies outside 1971 to 2200 in s, ms, us and ns")


def milliseconds(text: str) -> int:
    """Text of `producers.times.milliseconds_of` to ms since the epoch, cut."""
    try:
        moment = milliseconds_of(text)
    except ValueError as error:
        raise Unusable(Reason.ABSURD_TIMESTAMP, f"{shown(text)} {error}") from None
    return checked_time(moment)


def finite(number: float) -> float:
    """The number as a double, if it is one."""
    try:
        double = float(number)
    except OverflowError:
        raise Unusable(Reason.NOT_FINITE, f"{shown(number)} is too large for a double") from None
    if not math.isfinite(double):
        raise Unusable(Reason.NOT_FINITE, f"the value is {double}")
    return double


def decoded(decoder: msgspec.json.Decoder[T], value: bytes) -> T:
    """What the decoder reads, its errors as Unusable."""
    try:
        return decoder.decode(value)
    except RecursionError:
        raise Unusable(Reason.UNDECODABLE, "nested too deep") from None
    except UnicodeDecodeError as error:
        raise Unusable(Reason.UNDECODABLE, _guessed(f"not UTF-8: {error.reason}", value)) from None
    except msgspec.ValidationError as error:
        reason = Reason.NOT_FINITE if "out of range" in str(error) else Reason.WRONG_TYPE
        raise Unusable(reason, _shortened(str(error))) from None
    except msgspec.DecodeError as error:
        # Python's json and many others write these, though JSON has no such literals.
        if _NOT_FINITE.search(value):
            raise Unusable(Reason.NOT_FINITE, "NaN and Infinity are not JSON; leave such points out") from None
        raise Unusable(Reason.UNDECODABLE, _guessed(_shortened(str(error)), value)) from None


def shown(value: object) -> str:
    """The value for a message of one line: short, without line breaks or characters that cannot be encoded."""
    if isinstance(value, dict | list):
        return "an object" if isinstance(value, dict) else "an array"
    if isinstance(value, int) and value.bit_length() > 256:  # Python refuses to write integers of thousands of digits
        return f"an integer of {value.bit_length()} bits"
    text = ascii(value)
    return text if len(text) <= 80 else f"{text[:77]}..."


def _guessed(why: str, value: bytes) -> str:
    return f"{why}; it looks like {likeness}" if (likeness := looks_like(value)) else why


def _shortened(text: str) -> str:
    """An error says where it is, and a record decides how deep that lies."""
    return text if len(text) <= 200 else f"{text[:150]}...{text[-40:]}"


def _escaped(text: str) -> str:
    return text.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n")
