"""Stretches and moments of time as people write them."""

from __future__ import annotations

import numpy as np

from pipeline.offline.looking.seasons import DAY, HOUR, MINUTE, MONTH, YEAR

_UNITS = ((YEAR, "year"), (MONTH, "month"), (DAY, "d"), (HOUR, "h"), (MINUTE, "min"), (1000, "s"))


def span(ms: float) -> str:
    """A stretch of time.

    >>> span(900_000), span(7 * 86_400_000), span(30.44 * 86_400_000), span(250)
    ('15 min', '7 d', '1 month', '250 ms')
    """
    for size, word in _UNITS:
        count = ms / size
        if size in (YEAR, MONTH):  # of the calendar, so near is meant
            whole = round(count)
            if whole and abs(count - whole) <= 0.04 and not (size == MONTH and whole % 12 == 0):
                return f"{whole} {word}{'' if whole == 1 else 's'}"
            if size == YEAR and count >= 2:
                return f"{count:.1f} years"
        elif count >= 1:
            return f"{count:g} {word}" if count == int(count) else f"{count:.1f} {word}"
    return f"{ms:g} ms"


def moment(ms: int) -> str:
    """An event time in UTC, to the minute, or finer where it is.

    >>> moment(0), moment(1_500)
    ('1970-01-01 00:00', '1970-01-01 00:00:01.500')
    """
    unit = "m" if ms % MINUTE == 0 else "s" if ms % 1000 == 0 else "ms"
    return str(np.datetime64(ms, "ms").astype(f"datetime64[{unit}]")).replace("T", " ")
