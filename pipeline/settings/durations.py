"""Durations as people write them."""

from __future__ import annotations

import re
from datetime import timedelta
from typing import Annotated, Literal

from pydantic import AfterValidator, BeforeValidator, PlainSerializer, PlainValidator, TypeAdapter, ValidationError

_UNITS = {"ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0, "d": 86400.0}
LONGEST = timedelta(days=36_500)
_DURATION = re.compile(r"\s*(\d+(?:\.\d+)?)\s*(ms|s|m|h|d)?\s*")


def _duration(value: object) -> object:
    """`"90s"`, `"5m"`, `"1h"`, `"200ms"`; a bare number is seconds."""
    if not isinstance(value, str):
        return value
    if (match := _DURATION.fullmatch(value)) is None:
        msg = f"{value[:40]!r} is not a duration; write 200ms, 90s, 5m, 6h or 7d"
        raise ValueError(msg)
    seconds = float(match[1]) * _UNITS[match[2] or "s"]
    if seconds > LONGEST.total_seconds():
        msg = f"a duration of more than {LONGEST.days} days is no setting of anybody's"
        raise ValueError(msg)
    return timedelta(seconds=seconds)


def duration_text(duration: timedelta) -> str:
    """The shortest way to write a duration, as `_duration` reads it.

    >>> duration_text(timedelta(hours=6)), duration_text(timedelta(seconds=90)), duration_text(timedelta(0))
    ('6h', '90s', '0s')
    """
    seconds = duration.total_seconds()
    for unit in ("d", "h", "m", "s"):
        if seconds and not seconds % _UNITS[unit]:
            return f"{seconds / _UNITS[unit]:.0f}{unit}"
    return f"{duration / timedelta(milliseconds=1):.3f}".rstrip("0").rstrip(".") + "ms" if seconds else "0s"


def _bounded(value: timedelta) -> timedelta:
    if not timedelta(0) <= value <= LONGEST:
        msg = f"a duration lies between 0 and {LONGEST.days} days"
        raise ValueError(msg)
    return value


Duration = Annotated[
    timedelta, BeforeValidator(_duration), AfterValidator(_bounded), PlainSerializer(duration_text, when_used="json")
]


def _patience(value: object) -> timedelta | str:
    """A duration, `auto` or `off` (as `never` and 0 are), with one error for all that is none of these."""
    if value in ("auto", "off", "never"):
        return "auto" if value == "auto" else "off"
    try:
        return TypeAdapter[timedelta](Duration).validate_python(value) or "off"
    except ValidationError:
        msg = f"{str(value)[:40]!r} is none of auto, off and a duration; write 90s, 5m, 6h or 7d"
        raise ValueError(msg) from None


Patience = Annotated[
    Literal["auto", "off"] | timedelta,
    PlainValidator(_patience),
    PlainSerializer(lambda v: v if isinstance(v, str) else duration_text(v), when_used="json"),
]
