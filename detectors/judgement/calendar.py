"""By whose clock a series lives: a time zone, and days that are like the day of rest of their week.

A holiday is no season of its own: it comes once a year, and is forgotten by then. It is something between the day of rest of its week and the day that it is
(`clock.Clock.between`).
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from datetime import date, timedelta

import numpy as np
from numpy.typing import NDArray

from detectors.judgement.clock import DAY
from detectors.judgement.zones import offsets

WEEKDAYS = ("monday", "tuesday", "wednesday", "thursday", "friday", "saturday", "sunday")
_EPOCH = date(1970, 1, 1)
_MONDAY = 4
"""1970-01-05, in days."""
NIGHT = DAY // 4
"""How long before a holiday its evening begins, and how long behind it its night goes on, ms."""


@dataclass(frozen=True)
class Holidays:
    """Days that are like a day of rest.

    Attributes
    ----------
    days
        Days since 1970-01-01 on the local clock, rising.
    rest
        Which day of their week they are like, 0 is Monday.
    """

    days: tuple[int, ...] = ()
    rest: int = 6

    def __post_init__(self) -> None:
        if not 0 <= self.rest < 7:
            msg = f"rest must be one of 0..6, got {self.rest}"
            raise ValueError(msg)
        if any(a >= b for a, b in zip(self.days, self.days[1:], strict=False)):
            raise ValueError("days must rise")

    @classmethod
    def of(cls, dates: Iterable[date], rest: int = 6) -> Holidays:
        """Of dates; those on a day of rest anyway are left out."""
        return cls(tuple(sorted({(d - _EPOCH).days for d in dates if d.weekday() != rest})), rest)

    @classmethod
    def read(cls, years: Mapping[str, str], rest: int = 6) -> Holidays:
        """Of what `by_year` wrote. Raises ValueError for what is no year, or no day of it.

        >>> Holidays.read({"2026": "01-01 12-25"}).by_year()
        {'2026': '01-01 12-25'}
        """
        return cls.of(dates_of(years), rest)

    def by_year(self) -> dict[str, str]:
        """Year -> its days, as `01-01 12-25`: what is kept where a day must not depend on who says which days are holidays."""
        found: dict[str, list[str]] = {}
        for day in self.days:
            text = (_EPOCH + timedelta(day)).isoformat()
            found.setdefault(text[:4], []).append(text[5:])
        return {year: " ".join(days) for year, days in found.items()}

    def among(self, days: NDArray[np.int64]) -> NDArray[np.bool_]:
        """Whether days (n,) since 1970 are among them."""
        return np.asarray(np.isin(days, self.days))

    def __bool__(self) -> bool:
        """Whether there are any."""
        return bool(self.days)


def dates_of(years: Mapping[str, str]) -> Iterator[date]:
    """The days of years, as `Holidays.by_year` writes them. Raises ValueError for what is no year, or no day of it."""
    for year, days in years.items():
        for day in days.split():
            yield date.fromisoformat(f"{year}-{day}")


@dataclass(frozen=True)
class Calendar:
    """A clock on the wall, and a calendar beside it.

    Attributes
    ----------
    time_zone
        As Europe/Berlin.
    """

    time_zone: str = "UTC"
    holidays: Holidays = Holidays()

    def local(self, times: NDArray[np.int64]) -> NDArray[np.int64]:
        """What the clock shows (n,), ms, at event times (n,), ms."""
        return times + offsets(self.time_zone, times)

    def placed(self, local: NDArray[np.int64]) -> NDArray[np.int64]:
        """Local times (n,), those of holidays moved to the day of rest of their week (Monday to Sunday).

        The evening before a holiday, and the night behind it, move with it: they are as on the eve of a day of rest, and behind one.

        Examples
        --------
        >>> labor_day = Calendar(holidays=Holidays.of([date(2014, 9, 1)]))
        >>> times = np.array(["2014-09-01T12", "2014-09-02T01", "2014-09-02T12"], "datetime64[ms]")
        >>> labor_day.placed(times.astype(np.int64)).astype("datetime64[ms]").astype("datetime64[h]").astype(str).tolist()
        ['2014-09-07T12', '2014-09-08T01', '2014-09-02T12']
        """
        if not self.holidays:
            return local
        day, moved = local // DAY, local
        for of in (day, (local - NIGHT) // DAY, (local + NIGHT) // DAY):
            ahead = self.holidays.rest - (of - _MONDAY) % 7
            moved = np.where((moved == local) & self.holidays.among(of), local + ahead * DAY, moved)
        return np.asarray(moved)


UTC = Calendar()
"""No clock of its own, no holidays."""
