"""Times that others wrote: RFC 3339 in records, and what people type at a command.

Python's `datetime.fromisoformat` is neither RFC 3339 nor ISO 8601: it knows no leap second, takes any character between date and
time, and what it takes differs between Python's versions. No library was found that takes leap seconds, so the grammar of
RFC 3339, section 5.6, stands here.
"""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MS = timedelta(milliseconds=1)

# full-date, full-time and time-offset. Besides RFC 3339, of ISO 8601 what can mean one thing only: a comma before the
# fraction, seconds left out, and offsets written +0200 or +02.
_FORM = re.compile(
    r"(\d{4})-(\d\d)-(\d\d)"
    r"(?:[Tt ](\d\d):(\d\d)(?::(\d\d)(?:[.,](\d{1,30}))?)?"
    r"(?:[Zz]|([+-])(\d\d)(?::?(\d\d))?)?)?",
    re.ASCII,
)


def milliseconds_of(text: str) -> int:
    """Milliseconds since the epoch of a time in a record, cut; a time zone is needed.

    A leap second (23:59:60 UTC at the end of a month, in whatever zone it is written) is the second after it, as it is for the
    clock of nearly every computer. Raises ValueError with what is wrong, to be put behind the text.

    Examples
    --------
    >>> milliseconds_of("2026-03-31T02:00:00.123456789+02:00") == milliseconds_of("2026-03-31t00:00:00.123z")
    True
    """
    found = _FORM.fullmatch(text)
    if found is None or found[4] is None:
        raise ValueError("is not an RFC 3339 time")
    if text[-1] not in "Zz" and found[8] is None:
        raise ValueError("names no time zone")
    return (_moment(found) - _EPOCH) // _MS


def typed_time(text: str) -> datetime:
    """A time as a person types it: `2014-11-01`, `2014-11-01 12:00`, `2014-11-01T12:00:30+01:00`; UTC where it names no zone.

    Raises ValueError where it is none.
    """
    found = _FORM.fullmatch(text.strip())
    if found is None:
        raise ValueError("is not a time")
    return _moment(found)


def _moment(found: re.Match[str]) -> datetime:
    """The moment in UTC. Raises ValueError where there is no such."""
    year, month, day = map(int, found.group(1, 2, 3))
    hour, minute, second, east, minutes_east = (int(part or 0) for part in found.group(4, 5, 6, 9, 10))
    leap = second == 60
    try:
        local = datetime(year, month, day, hour, minute, 59 if leap else second, tzinfo=UTC)
        # Read as a time of day, so that the limits of one hold: 23:59.
        offset = datetime(1970, 1, 1, east, minutes_east, tzinfo=UTC) - _EPOCH
        moment = (local + offset if found[8] == "-" else local - offset) + timedelta(seconds=leap)
    except (ValueError, OverflowError):
        raise ValueError("is not a time that there is") from None
    if leap and (moment.day, moment.hour, moment.minute) != (1, 0, 0):
        raise ValueError("has a leap second where none can be")
    return moment + int((found[7] or "0")[:3].ljust(3, "0")) * _MS
