"""Silences: which series nobody is told of, and when, in event time. Once, or each week by the clock of a place.

A silence by calendar has its time zone as numbers (`Calendar.offsets`), so that the same decision means the same whatever a machine knows of time
zones, and is found by whoever reads the log back years later.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Sequence
from fnmatch import fnmatchcase
from zoneinfo import ZoneInfoNotFoundError

import msgspec

from detectors.judgement import zones
from pipeline.alerts.selecting.matching import labels_match

DAYS = ("mon", "tue", "wed", "thu", "fri", "sat", "sun")
FOR_EVER = 400 * 86_400_000
"""Milliseconds: what is silenced for longer without a break is taken as silenced for ever."""
_DAY = 86_400_000
_MINUTE = 60_000
_ZONE_FROM = 946_684_800_000
"""2000-01-01: event times before it have the offset of then."""
_ZONE_FOR = 20 * 366 * _DAY
_WEEKLY = re.compile(r"(\S+)\s+(\d\d):(\d\d)\s*-\s*(\d\d):(\d\d)")


class Weekly(msgspec.Struct, frozen=True):
    """A window of each week: `begins` and `ends` are minutes by the local clock from the midnight that the day (0: Monday) begins with."""

    days: tuple[int, ...]
    begins: int
    ends: int


class Calendar(msgspec.Struct, frozen=True):
    """Windows of each week by the clock of a place.

    `zone` is its name, for people. `offsets`: event time in ms from which, and by how many ms its clock is ahead of UTC then, in order; the first
    holds before as well, the last for ever.
    """

    weekly: tuple[Weekly, ...]
    zone: str
    offsets: tuple[tuple[int, int], ...]

    def end(self, at: int) -> int:
        """When the last window ends that covers an event time, ms; 0: none does.

        Where the clock is put on or back within a window, the window is whole: it begins when the clock first shows its beginning or
        what comes after, and ends when it last shows its end.
        """
        ahead = next((ahead for since, ahead in reversed(self.offsets) if since <= at), self.offsets[0][1])
        today = (at + ahead) // _DAY
        end = 0
        for day in range(today - 2, today + 2):
            for window in self.weekly:
                if (day + 3) % 7 in window.days:  # the epoch began on a Thursday
                    midnight = day * _DAY
                    if self._first(midnight + window.begins * _MINUTE) <= at:
                        end = max(end, self._last(midnight + window.ends * _MINUTE))
        return end if at < end else 0

    def windows(self, since: int, until: int) -> Iterator[tuple[int, int]]:
        """(begin, end) of all windows that lie at least partly between two event times, ms, in the order of their days."""
        _, ahead = self.offsets[0]
        for day in range((since + ahead) // _DAY - 3, (until + ahead) // _DAY + 4):
            for window in self.weekly:
                if (day + 3) % 7 in window.days:
                    begin, end = (
                        self._first(day * _DAY + window.begins * _MINUTE),
                        self._last(day * _DAY + window.ends * _MINUTE),
                    )
                    if begin < min(end, until) and since < end:
                        yield begin, end

    def _first(self, local: int) -> int:
        """When the clock first shows a time or a later one; of two that it shows twice the first."""
        for since, ahead, until in self._segments():
            if max(since, local - ahead) < until:
                return max(since, local - ahead)
        raise AssertionError

    def _last(self, local: int) -> int:
        """When the clock has shown all that is before a time, for the last time."""
        for since, ahead, until in reversed(list(self._segments())):
            if since + ahead < local:
                return min(until, local - ahead)
        raise AssertionError

    def _segments(self) -> Iterator[tuple[int, int, int]]:
        """(from, offset, until) of each part of time with one offset."""
        never = 1 << 62
        begins = [-never, *(since for since, _ in self.offsets[1:])]
        for (_, ahead), since, until in zip(self.offsets, begins, [*begins[1:], never], strict=True):
            yield since, ahead, until

    def __str__(self) -> str:
        """As people write it.

        >>> str(calendar(["sat,sun 22:00-06:00", "daily 12:00-12:30"], "UTC"))
        'sat,sun 22:00-06:00; daily 12:00-12:30 UTC'
        """
        return f"{'; '.join(map(_written, self.weekly))} {self.zone}"


def calendar(weekly: Sequence[str], zone: str, *, now: int = 0) -> Calendar:
    """A calendar as people write it; `now` (ms) is when, for its time zone is known for 20 years from then. Raises ValueError in words."""
    windows = tuple(map(_read, weekly))
    try:
        changes = list(zones.changes(zone))
    except (ZoneInfoNotFoundError, ValueError, OSError) as error:
        msg = f"there is no time zone {zone[:60]!r}; write it as Europe/Berlin, America/New_York or UTC"
        raise ValueError(msg) from error
    first = max(k for k, (since, _) in enumerate(changes) if k == 0 or since <= _ZONE_FROM)
    return Calendar(windows, zone, tuple(c for c in changes[first:] if c[0] <= now + _ZONE_FOR))


class Silenced(msgspec.Struct, frozen=True):
    """A silence that is in force: of series that match a pattern and patterns of labels, before an event time (ms) and from one on.

    With a calendar only within its windows; `until` 0 is then for ever.
    """

    serial: int
    series: str
    until: int
    where: dict[str, str] = {}
    since: int = 0
    calendar: Calendar | None = None

    def matches(self, series: str) -> bool:
        """Whether a series is meant."""
        return fnmatchcase(series, self.series) and labels_match(self.where, series)

    def end(self, at: int) -> int:
        """When it ends, given that it covers an event time; 0: it does not."""
        if at < self.since:
            return 0
        end = self.until if self.calendar is None else self.calendar.end(at)
        end = min(end, self.until or end)
        return end if at < end else 0


class Quiet:
    """All that silences one series."""

    def __init__(self, silences: Iterable[Silenced] = ()) -> None:
        self._silences = tuple(silences)
        self._known = (0, 0)  # from, until: covered without a break

    def covers(self, at: int) -> bool:
        """Whether nobody is told of what is as of an event time."""
        return self.end(at) > at

    def end(self, at: int) -> int:
        """When somebody is told again, from an event time on; `at` itself where nothing covers it."""
        if not self._silences:
            return at
        since, until = self._known
        if not since <= at < until:
            until = at
            while until - at < FOR_EVER and (further := max(s.end(until) for s in self._silences)):
                until = further
            self._known = (at, until)
        return until


NOTHING = Quiet()
"""Of a series that nobody silenced."""


def _read(text: str) -> Weekly:
    found = _WEEKLY.fullmatch(text.strip().lower())
    days = None if found is None else _days(found[1])
    if found is None or days is None:
        msg = f'{text[:60]!r} is no window of a week: write it as "sat,sun 22:00-06:00", "mon-fri 02:00-04:00" or "daily 03:00-03:30"'
        raise ValueError(msg)
    begins, ends = (int(found[k]) * 60 + int(found[k + 1]) for k in (2, 4))
    if begins >= 1440 or ends > 1440 or int(found[3]) > 59 or int(found[5]) > 59 or begins == ends:
        msg = f"{text[:60]!r}: times are from 00:00 to 24:00, and a window does not end when it begins (a whole day is 00:00-24:00)"
        raise ValueError(msg)
    return Weekly(days, begins, ends if ends > begins else ends + 1440)


def _days(text: str) -> tuple[int, ...] | None:
    if text == "daily":
        return tuple(range(7))
    days: set[int] = set()
    for part in text.split(","):
        first, _, last = part.partition("-")
        if first not in DAYS or (last or first) not in DAYS:
            return None
        a, b = DAYS.index(first), DAYS.index(last or first)
        days |= {(a + k) % 7 for k in range((b - a) % 7 + 1)}
    return tuple(sorted(days))


def _written(window: Weekly) -> str:
    days = "daily" if len(window.days) == 7 else ",".join(DAYS[d] for d in window.days)
    ends = window.ends - 1440 if window.ends > 1440 else window.ends
    return f"{days} {_clock(window.begins)}-{_clock(ends)}"


def _clock(minutes: int) -> str:
    return f"{minutes // 60:02}:{minutes % 60:02}"
