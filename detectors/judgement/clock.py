"""What a series is at this time: a level with its slope, the day and the week by the clock.

Three forecasts, level, level + day, level + day + week, are averaged by their recent errors (error^-4): a season that does not help has no say.
Learnt from a history in one go, then by each visit of a bin, with errors clipped, so that one bad day changes little.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from detectors.judgement import yearly
from detectors.judgement.yearly import YEAR

Floats = NDArray[np.float64]
DAY, WEEK = 86_400_000, 7 * 86_400_000
DAY_BINS, WEEK_BINS = 288, 84
"""At most; 5 minutes and 2 hours."""
COARSE = 1.5
"""Rows a day up to which a series is of days, weeks, months or years."""
SETTLED, SETTLED_DAYS, SETTLED_BY = 12, 28.0, 2.0
"""Of such series: a level that for so many rows, and so many days, was off by as many usual sizes on one side is where the series is now."""
NOTHING = 0.01
"""What is so small a share of by how much a series that stands still is off is nothing: its usual errors, and what it has of day and week."""
ROUNDED = 1e-6
"""Share of a move that is left of it as a usual size: what is kept in 32 bits is where it was but for that."""
NEWEST = 8
"""Rows of one block that say where that is."""
GAIN = 0.1
"""Of one visit of a bin."""
CLIP = 3.0
"""Errors beyond so many of their usual size teach no more than this."""
CLIP_COARSE = 1.0
"""The same of the level of a coarse series, which waits for `SETTLED` rows: a fortnight of days moves it little."""
WHOLE_DAY, WHOLE_WEEK = 0.95, 6.95
"""Days of a history from which on it has a whole one."""
STEADY, LEAST_YEARS = 3, 4
"""Pieces of a history from which on there may be a slope; years that make pieces of years."""
LEAST_LINES, CLEARLY = 2.9, 0.97
"""Weeks of a history from which on its week may run in lines, and the share of errors that these must leave at most."""
FEW, FINE, LONE = 2.95, 96, 16.0
"""Days of a history from which on the median of a bin of the day leaves out what came once, bins of a day from which on one is a moment, and by how many times
the usual distance one is off from those beside it that is alone."""
_TURNS = 2
"""In which the middles of bins are moved to where the lines between them leave the rows of each in the middle."""
_MONDAY = 4 * DAY
"""1970-01-05."""


class Week(NamedTuple):
    """Where rows (n,) are in the bins of a week: each in its own, and so far on the way from the middle of one to the middle of another."""

    own: NDArray[np.intp]
    low: NDArray[np.intp]
    high: NDArray[np.intp]
    share: Floats

    @classmethod
    def steps(cls, own: NDArray[np.intp]) -> Week:
        """All of a bin is as its middle."""
        return cls(own, own, own, np.zeros(len(own)))

    def of(self, profile: NDArray[Any]) -> Floats:
        """What a profile (bins, C) has there (n, C)."""
        share = self.share[:, None]
        return np.asarray(profile[self.low] * (1.0 - share) + profile[self.high] * share)


@dataclass(frozen=True)
class Bins:
    """How finely a series sees the clock.

    Attributes
    ----------
    day
        Bins of a day; 1 where a row is a day or longer. Of rows of a week to a quarter, where a year is known, the bins of that (`yearly`).
    week
        Bins of a week; 1 where a row is a week or longer.
    rows_a_day
        Usual number.
    lines
        Whether the week runs in lines from the middle of one bin to the middle of the next, not in steps.
    """

    day: int
    week: int
    rows_a_day: float
    lines: bool = False

    @classmethod
    def of(cls, step_ms: float) -> Bins:
        """For rows of this usual distance."""
        day = max(min(int(DAY // max(step_ms, 1.0)), DAY_BINS), 1)
        week = max(min(int(WEEK // max(step_ms, 1.0)), WEEK_BINS), 1)
        return cls(day, week, DAY / max(step_ms, 1.0))

    @property
    def coarse(self) -> bool:
        """Whether rows are of a day or longer."""
        return self.rows_a_day <= COARSE

    @property
    def year(self) -> bool:
        """Whether the bins of the day are those of the year."""
        return self.day > 1 and self.coarse

    @property
    def settled(self) -> int:
        """Rows after which another level is the usual one; at most the 48 of a context."""
        return max(SETTLED, round(SETTLED_DAYS * self.rows_a_day))

    @property
    def stands(self) -> int:
        """Rows after which what stands still, or lives, as it does is as it is from there on: of a day; of rows of a day or longer `settled`."""
        return self.settled if self.coarse else max(SETTLED, round(self.rows_a_day))

    @property
    def visits(self) -> float:
        """Of a bin of the day (of the year) in one row."""
        return 1.0 / (max(self.rows_a_day, 1.0) if not self.year else self.rows_a_day * YEAR / DAY)

    def at(self, local: NDArray[np.int64]) -> tuple[NDArray[np.intp], Week]:
        """Bin of the day, and place in the week, for local times (n,), ms."""
        since = local - _MONDAY
        if self.year:
            return yearly.at(local, self.day), Week.steps(np.zeros(len(local), np.intp))
        day, own = (since % DAY * self.day // DAY).astype(np.intp), (since % WEEK * self.week // WEEK).astype(np.intp)
        if not self.lines:
            return day, Week.steps(own)
        place = (
            since % WEEK + DAY / self.rows_a_day / 2.0
        ) * self.week / WEEK - 0.5  # the middle of what the row is of
        low = np.floor(place)
        return day, Week(own, low.astype(np.intp) % self.week, (low + 1.0).astype(np.intp) % self.week, place - low)


@dataclass
class Clock:
    """The memory, in units of the series' own spread.

    Attributes
    ----------
    level, slope : (C,) float64
        Level now, and its change a row.
    day : (bins, C) float16
    week : (bins, C) float16
        What is left of the day, by the week.
    errors : (3, C) float64
        Usual size of the errors of the three forecasts.
    days, weeks
        How many visits of a bin were learnt from.
    """

    level: Floats
    slope: Floats
    day: NDArray[np.float16]
    week: NDArray[np.float16]
    errors: Floats
    days: float
    weeks: float

    def copy(self) -> Clock:
        """One that can be changed."""
        return replace(
            self,
            level=self.level.copy(),
            slope=self.slope.copy(),
            day=self.day.copy(),
            week=self.week.copy(),
            errors=self.errors.copy(),
        )

    def forecasts(self, day: NDArray[np.intp], week: Week, ahead: NDArray[np.int64]) -> Floats:
        """Level, + day, + week (3, n, C) for the bins of rows that lie so many rows ahead of `level`."""
        level = self.level + self.slope * ahead[:, None]
        by_day = level + self.day[day]
        return np.stack([level, by_day, by_day + week.of(self.week)])

    def weights(self) -> Floats:
        """Of the three forecasts (3, C), summing to 1."""
        least = self.errors.min(axis=0)
        rate = (least + 1e-9) / (self.errors + 1e-9)
        powers = rate * rate * rate * rate
        return np.asarray(powers / powers.sum(axis=0))

    def expected(self, day: NDArray[np.intp], week: Week, ahead: NDArray[np.int64]) -> Floats:
        """Forecast (n, C)."""
        w = self.weights()
        f = self.forecasts(day, week, ahead)
        return np.asarray(f[0] * w[0] + f[1] * w[1] + f[2] * w[2])

    def between(
        self, x: Floats, when: NDArray[np.int64], bins: Bins, ahead: NDArray[np.int64]
    ) -> tuple[NDArray[np.int64], Floats]:
        """What is expected (n, C) of rows that may be as at either of two local times, `when` (2, n), or between; and which one each is taught to (n,).

        A holiday is some people's day of rest, and a day of work to others. How far on the way from the one to the other it is, each row itself says, all
        channels together (least squares).
        """
        own, other = (self.expected(*bins.at(local), ahead) for local in when)
        way = other - own
        along, apart = ((x - own) * way).sum(axis=1), (way * way).sum(axis=1)
        share = np.where(apart > 0, np.clip(along / np.where(apart > 0, apart, 1.0), 0.0, 1.0), 0.0)
        return np.where(share > 0.5, when[1], when[0]), own + share[:, None] * way

    def learn(
        self,
        x: Floats,
        day: NDArray[np.intp],
        week: Week,
        bins: Bins,
        untaught: NDArray[np.int64] | int = 0,
        lasts: NDArray[np.bool_] | bool = False,
    ) -> None:
        """Go on by the rows of one block (n, C), of which the first `untaught` (C,) teach no level, and those of channels that `lasts` (C,) names no day and week."""
        ahead = np.arange(1, len(x) + 1)
        f = self.forecasts(day, week, ahead)
        w = self.weights()
        error = x - (f[0] * w[0] + f[1] * w[1] + f[2] * w[2])
        usual = (self.errors * w).sum(axis=0)
        clip = CLIP_COARSE if bins.coarse else CLIP
        bounded = np.where(ahead[:, None] > untaught, np.clip(error, -clip * usual, clip * usual), 0.0)
        slow = 1.0 / np.clip(7 * bins.rows_a_day, 200, 5000)
        for k in range(3):
            size = np.minimum(np.abs(x - f[k]), CLIP * self.errors[k]).mean(axis=0) * 1.05
            self.errors[k] += len(x) * slow * (size - self.errors[k])
        self._profile(self.day, np.where(lasts, 0.0, x - f[1]), self.errors[1], day, self.days)
        self._profile(self.week, np.where(lasts, 0.0, x - f[2]), self.errors[2], week.own, self.weeks)
        self.days += len(x) * bins.visits
        self.weeks += len(x) / max(7 * bins.rows_a_day, 1.0)
        step = bounded.mean(axis=0) * len(x) / np.clip(bins.rows_a_day, 24, 2000)
        self.slope += 0.02 * step / len(x)
        self.level += len(x) * self.slope + step

    def _profile(
        self, profile: NDArray[np.float16], error: Floats, usual: Floats, bins: NDArray[np.intp], visits: float
    ) -> None:
        if len(profile) == 1:
            return
        bounded = np.clip(error, -CLIP * usual, CLIP * usual)
        gain = max(GAIN, 1.0 / (visits + 1.0))
        for b in dict.fromkeys(bins.tolist()):
            seen = bounded[bins == b].mean(axis=0)
            profile[b] = profile[b] + gain * seen


def drawn(x: Floats, when: NDArray[np.int64], bins: Bins) -> Bins:
    """How the week of a history (n, C) is to be drawn: in lines, where they leave clearly less of it than steps do."""
    if not bins.week < 7 * bins.rows_a_day or when[0, -1] - when[0, 0] < LEAST_LINES * WEEK:
        return bins
    lines = replace(bins, lines=True)
    steps, drawn_so = (fit(x, when, b)[0].errors[2] for b in (bins, lines))
    return lines if (drawn_so / np.maximum(steps, 1e-9)).mean() < CLEARLY else bins


def fit(
    x: Floats, when: NDArray[np.int64], bins: Bins, year: Floats | None = None, proved: float = np.inf
) -> tuple[Clock, Floats]:
    """Learn from a history (n, C) in one go, and what it expects there; `level` is that of its last row.

    Rows are at local times `when[0]` (n,). Holidays are at first taught to where `when[1]` has them, then to what they are like. The season of the
    year (bins, C) is taken from the history where none is given. `proved`: days of history that a memory was fitted on which then was tried on others. A day or a week that
    it did not have is not known: the rows that it is taken from, once each, fit whatever it is, a trend or a random walk too.
    """
    ahead = np.arange(1 - len(x), 1)
    clock = _fit(x, when[0], when[1], bins, year, proved)
    if (when[0] != when[1]).any():
        placed, _ = clock.between(x, when, bins, ahead)
        clock = _fit(x, when[0], placed, bins, year, proved)
    return clock, clock.between(x, when, bins, ahead)[1]


def _fit(
    x: Floats, local: NDArray[np.int64], placed: NDArray[np.int64], bins: Bins, year: Floats | None, proved: float
) -> Clock:
    n, C = x.shape
    day, week = bins.at(placed)
    days = (local - local[0]) / DAY
    pieces = _pieces(local, bins, proved)
    line, slope = _line(x, pieces)
    by_day, own_day = np.zeros((bins.day, C)), np.zeros((bins.day, 1))
    seen = days[-1] if bins.day > 1 else 0.0
    if bins.year:
        by_day = yearly.waves(x, local, bins.day) if year is None else year
        line, slope = _line(x - by_day[day], pieces)
        if year is None:
            rest, own_day = yearly.beside(x - line - by_day[day], day, bins.day)
            by_day = by_day + rest
            line, slope = _line(x - by_day[day], pieces)
        seen = days[-1] * DAY / YEAR + yearly.BEFORE
    elif bins.day > 1 and min(days[-1], proved) >= WHOLE_DAY:
        days_of = Groups.of(day, bins.day)
        by_day, _ = _medians(x - line, days_of, 1.0, days[-1])
        line, slope = _line(x - by_day[day], pieces)  # the median of a day without its season is far nearer
        by_day, own_day = _medians(x - line, days_of, 1.0, days[-1])
    by_week, own_week = np.zeros((bins.week, C)), np.zeros((bins.week, 1))
    if bins.week > 1 and min(days[-1], proved) >= WHOLE_WEEK:
        weeks_of = Groups.of(week.own, bins.week)
        by_week, own_week = _medians(x - line - by_day[day], weeks_of, 0.5)
        for _ in range(_TURNS if bins.lines else 0):
            off, _ = _medians(x - line - by_day[day] - week.of(by_week), weeks_of, 0.0)
            by_week = by_week + off * (1.0 - own_week)
    errors = np.full((3, C), 1.0)
    clock = Clock(
        line[-1].copy(),
        slope,
        by_day.astype(np.float16),
        by_week.astype(np.float16),
        errors,
        seen,
        days[-1] / 7 if bins.day > 1 else 0.0,
    )
    f = clock.forecasts(day, week, np.arange(1 - n, 1)) - line[-1] + line - slope * np.arange(1 - n, 1)[:, None]
    # A row that makes up much of its bin pulls the bin to itself: without it the error were larger by so much.
    without = (1.0, 1.0 / (1.0 - own_day[day]), 1.0 / (1.0 - np.maximum(own_day[day], own_week[week.own])))
    clock.errors = _sizes(np.stack([np.abs(x - f[k]) * without[k] for k in range(3)])) + 1e-6
    return clock


def _sizes(errors: Floats) -> Floats:
    """Mean (3, C) of errors (3, n, C); none of what stands still but for moves that day and week say nothing of: where it moved once is not how it moves."""
    means = errors.mean(axis=1)
    still = (np.quantile(errors[0], 0.98, axis=0) <= 1e-9) & (means.min(axis=0) > 0.5 * means[0])
    return np.asarray(np.where(still, 0.0, means))


def _pieces(local: NDArray[np.int64], bins: Bins, proved: float = np.inf) -> NDArray[np.intp]:
    """Which piece of a history each row (n,) is of, to read the level from; -1: of none.

    Pieces are whole seasons, counted back from the newest row: a part of one has another level than the next part, and a line through these takes
    the season for a trend. Only of a history that is shorter than one, or that has a day which is not `proved`, they are eighths.
    """
    n = len(local)
    season = DAY if bins.day > 1 else WEEK if bins.week > 1 else YEAR
    step = DAY / bins.rows_a_day
    whole = int((local[-1] - local[0] + step) / season + 0.05)
    unproved = season == DAY and proved < WHOLE_DAY
    if bins.year or unproved or whole < (LEAST_YEARS if season == YEAR else 1):
        parts = int(np.clip((local[-1] - local[0]) / DAY, min(8, max(n // 8, 1)), min(60, max(n // 8, 1))))
        return np.repeat(np.arange(parts), np.diff(np.linspace(0, n, parts + 1).astype(int)))
    piece = -(-whole // 60) * season
    ago = ((local[-1] - local) / piece).astype(np.intp)
    rows = np.bincount(ago)
    ago[rows[ago] < 0.9 * min(piece / step, rows.max())] = -1
    return np.where(ago < 0, -1, ago.max() - ago)


def _line(x: Floats, pieces: NDArray[np.intp]) -> tuple[Floats, Floats]:
    """Level (n, C) through the medians of pieces, and its slope a row where it is steady."""
    n = len(x)
    of = [np.flatnonzero(pieces == k) for k in np.unique(pieces[pieces >= 0])]
    middle = np.array([rows.mean() for rows in of])
    medians = np.stack([np.median(x[rows], axis=0) for rows in of])
    slope = np.zeros(x.shape[1])
    if len(of) >= STEADY:
        i, j = np.triu_indices(len(of), 1)
        slope = np.median((medians[j] - medians[i]) / (middle[j] - middle[i])[:, None], axis=0)
        flat = np.abs(medians - np.median(medians, axis=0)).mean(axis=0)
        off = medians - slope * middle[:, None]
        steady = np.abs(off - np.median(off, axis=0)).mean(axis=0) < 0.4 * flat
        slope = np.where(steady, slope, 0.0)
    off = medians - slope * middle[:, None]
    return np.median(off, axis=0) + slope * np.arange(n)[:, None], slope


class Groups(NamedTuple):
    """Rows of a history by the bin of each.

    Attributes
    ----------
    bins : (n,)
        Of each row.
    rows : (bins,)
        How many each bin has.
    places : (n,)
        Where each row lies in a table of a line for each bin; empty where few bins had nearly all rows, and the table were mostly empty.
    """

    bins: NDArray[np.intp]
    rows: NDArray[np.intp]
    places: NDArray[np.intp]

    @classmethod
    def of(cls, at: NDArray[np.intp], bins: int) -> Groups:
        """Of the bins of rows."""
        rows = np.bincount(at, minlength=bins)
        wide = int(rows.max(initial=0))
        if bins * wide > 4 * len(at) + bins:
            return cls(at, rows, np.empty(0, np.intp))
        order = np.argsort(
            at.astype(np.uint16) if bins < 1 << 16 else at, kind="stable"
        )  # short numbers by their digits
        places = np.empty(len(at), np.intp)
        places[order] = np.arange(len(at)) - np.repeat(np.cumsum(rows) - rows, rows)
        return cls(at, rows, places + at * wide)

    def medians(self, x: Floats) -> Floats:
        """Of the rows (n,) of each bin that has some."""
        seen = np.flatnonzero(self.rows)
        low, high = (self.rows[seen] - 1) // 2, self.rows[seen] // 2
        if not len(self.places):
            ordered = x[np.lexsort((x, self.bins))]
            first = (np.cumsum(self.rows) - self.rows)[seen]
            return np.asarray((ordered[first + low] + ordered[first + high]) / 2)
        table = np.full((len(self.rows), int(self.rows.max())), np.inf)
        table.reshape(-1)[self.places] = x
        table.sort(axis=1)
        return np.asarray((table[seen, low] + table[seen, high]) / 2)


def _medians(x: Floats, of: Groups, prior: float, visits: float = np.inf) -> tuple[Floats, Floats]:
    """Median (bins, C) of the rows of each bin, shrunk to its neighbours' mean as if `prior` visits had seen that; and the share (bins, 1) of a row in it.

    A lone one of few `visits` is as its neighbours: that something comes to the minute, one or two days do not say. About when it comes `recurring` remembers.
    """
    bins, seen = len(of.rows), np.flatnonzero(of.rows)
    out, count = np.zeros((bins, x.shape[1])), of.rows[:, None].astype(np.float64)
    for c in range(x.shape[1]):
        out[seen, c] = of.medians(x[:, c])
        if visits < FEW and len(seen) == bins >= FINE:
            around = np.median([np.roll(out[:, c], k) for k in (-2, -1, 1, 2)], axis=0)
            off = np.abs(out[:, c] - around)
            out[:, c] = np.where(off > LONE * off.mean(), around, out[:, c])
    weighted = np.where(count > 0, 1.0, 0.0)
    near = sum(np.roll(out * weighted, k, axis=0) for k in (-2, -1, 1, 2))
    beside = sum(np.roll(weighted, k, axis=0) for k in (-2, -1, 1, 2))
    smooth = near / np.maximum(beside, 1.0)
    total = np.maximum(count + prior, 1e-9)
    return np.asarray((out * count + smooth * prior) / total), np.minimum(1.0 / total, 0.9)
