"""Local clocks: by how much a time zone is off from UTC at each of many event times, daylight saving included."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime
from functools import lru_cache
from zoneinfo import ZoneInfo

import numpy as np
from numpy.typing import NDArray

_WEEK = 7 * 86_400_000
_FIRST, _LAST = 0, 130 * 52 * _WEEK
"""1970 to about 2099; times beyond have the offset of the nearest end. No zone changes twice within a week."""


def offsets(name: str, times: NDArray[np.int64]) -> NDArray[np.int64]:
    """What to add to event times (N,), ms, to read the local clock there, (N,) ms.

    Examples
    --------
    >>> march = np.datetime64("2024-03-31T00:59:59.999", "ms").astype(np.int64)
    >>> (offsets("Europe/Berlin", np.array([march, march + 1])) // 3_600_000).tolist()
    [1, 2]
    """
    if name == "UTC":
        return np.zeros(len(times), np.int64)
    since, off = _changes(name)
    return off[np.searchsorted(since, times, side="right")]


def changes(name: str) -> Iterator[tuple[int, int]]:
    """(Event time from which, what to add to read the local clock) in order, ms; the first is of 1970. Raises ZoneInfoNotFoundError, ValueError."""
    since, off = _changes(name)
    yield from zip([_FIRST, *since.tolist()], off.tolist(), strict=True)


@lru_cache(maxsize=64)
def _changes(name: str) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """When the offset changes (k,), and what it is before the first change and from each on (k + 1,), ms."""
    zone = ZoneInfo(name)

    def off(ms: int) -> int:
        offset = datetime.fromtimestamp(ms // 1000, UTC).astimezone(zone).utcoffset()
        assert offset is not None
        return round(offset.total_seconds() * 1000)

    since: list[int] = []
    offs = [off(_FIRST)]
    for week in range(_FIRST, _LAST, _WEEK):
        if (after := off(week + _WEEK)) != offs[-1]:
            low, high = week, week + _WEEK  # offs[-1] at low, `after` at high
            while high - low > 1000:
                middle = (low + high) // 2000 * 1000
                low, high = (middle, high) if off(middle) == offs[-1] else (low, middle)
            since.append(high)
            offs.append(after)
    return np.array(since, np.int64), np.array(offs, np.int64)
