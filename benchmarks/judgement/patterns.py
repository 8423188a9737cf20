"""Twenty-eight anomalies that a person sees at once in a plot, made up and seeded; one in each series, never in the part that is learnt from."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import cast

import numpy as np
from numpy.typing import NDArray

from benchmarks.judgement.items import Floats, Item, item

DAY = 1440.0
Rng = np.random.Generator
Minutes = Floats
"""Time of each row from Monday, 00:00, on."""


@dataclass(frozen=True)
class Pattern:
    """A kind of series and what happens in it.

    Attributes
    ----------
    step, days
        Minutes between two rows; length. The first half may be learnt from.
    normal : (rng, minutes (n,)) -> (n,)
    lasts
        Minutes of the anomaly.
    happens : (rng, values (n,), minutes (n,), at)
        Changes values[at] in place.
    weekday
        On which the anomaly lies (0 = Monday); None: any.
    clock
        Minute of the day at which it begins; None: any.
    whole_day
        Whether it is one whole day that goes wrong at once: then it is to be found within a quarter of it, or where it can be told (`earliest`).
    noise
        Standard deviation of the noise.
    in_proportion
        Whether that is a share of what is usual.
    """

    name: str
    step: float
    days: float
    normal: Callable[[Rng, Minutes], Floats]
    lasts: float
    happens: Callable[[Rng, Floats, Minutes, slice], None]
    weekday: int | None = None
    clock: float | None = None
    whole_day: bool = False
    noise: float = 1.0
    in_proportion: bool = False


# What is normal; noise has a standard deviation of 1


def flat(rng: Rng, t: Minutes) -> Floats:
    return 50.0 + rng.normal(0, 1, len(t))


def daily(rng: Rng, t: Minutes) -> Floats:
    day = 2 * np.pi * t / DAY
    return 40.0 - 8 * np.cos(day) + 3 * np.sin(2 * day + 1.0) + rng.normal(0, 1, len(t))


def business(rng: Rng, t: Minutes) -> Floats:
    """High on the days of work, a third as high on Saturdays and Sundays."""
    hour, weekend = (t % DAY) / 60, (t // DAY) % 7 >= 5
    shape = np.exp(-((hour - 13.0) ** 2) / 18.0)
    return 10.0 + np.where(weekend, 8.0, 24.0) * shape + rng.normal(0, 1, len(t))


def taxi(rng: Rng, t: Minutes) -> Floats:
    """Counts with a day, a week and noise in proportion."""
    hour, day = (t % DAY) / 60, (t // DAY).astype(int) % 7
    shape = 0.25 + 0.6 * np.exp(-((hour - 19.0) ** 2) / 20.0) + 0.45 * np.exp(-((hour - 9.0) ** 2) / 6.0)
    return np.round(15_000 * shape * np.array([0.9, 1, 1, 1.05, 1.1, 1.15, 0.85])[day] * rng.normal(1, 0.05, len(t)))


def night_job(rng: Rng, t: Minutes) -> Floats:
    """Idle, but for 40 minutes from 02:00 on."""
    at = t % DAY
    return 8.0 + 45.0 * ((at >= 120) & (at < 160)) + rng.normal(0, 1, len(t))


def hourly_spikes(rng: Rng, t: Minutes) -> Floats:
    return 20.0 + 25.0 * (t % 60 < 5) + rng.normal(0, 1, len(t))


def growing(rng: Rng, t: Minutes) -> Floats:
    """A daily season on a level that grows by a third of its height a week."""
    return 60.0 + 4.0 * t / (7 * DAY) - 6 * np.cos(2 * np.pi * t / DAY) + rng.normal(0, 1, len(t))


def disk(rng: Rng, t: Minutes) -> Floats:
    """Fills by 3 noises a day."""
    return 30.0 + 3.0 * t / DAY + rng.normal(0, 1, len(t))


def weekday_values(rng: Rng, t: Minutes) -> Floats:
    """One value a day, by the weekday."""
    return 100.0 + np.array([6, 8, 8, 7, 5, -10, -14])[(t // DAY).astype(int) % 7] + rng.normal(0, 1, len(t))


def yearly(rng: Rng, t: Minutes) -> Floats:
    return 100.0 + 8 * np.sin(2 * np.pi * t / (365 * DAY)) + rng.normal(0, 1, len(t))


def few_counts(rng: Rng, t: Minutes) -> Floats:
    return rng.poisson(2.0, len(t)).astype(np.float64)


def constant(rng: Rng, t: Minutes) -> Floats:
    return np.full(len(t), 3.0)


def on_off(rng: Rng, t: Minutes) -> Floats:
    """On by day, off by night."""
    return ((t % DAY >= 480) & (t % DAY < 1200)).astype(np.float64)


# What happens


def to(value: float) -> Callable[[Rng, Floats, Minutes, slice], None]:
    def happens(rng: Rng, x: Floats, t: Minutes, at: slice) -> None:
        x[at] = value

    return happens


def plus(size: float) -> Callable[[Rng, Floats, Minutes, slice], None]:
    def happens(rng: Rng, x: Floats, t: Minutes, at: slice) -> None:
        x[at] += size

    return happens


def times(factor: float) -> Callable[[Rng, Floats, Minutes, slice], None]:
    def happens(rng: Rng, x: Floats, t: Minutes, at: slice) -> None:
        x[at] = np.round(x[at] * factor)

    return happens


def drift(size: float) -> Callable[[Rng, Floats, Minutes, slice], None]:
    def happens(rng: Rng, x: Floats, t: Minutes, at: slice) -> None:
        x[at] += np.linspace(0, size, at.stop - at.start)

    return happens


def noisier(rng: Rng, x: Floats, t: Minutes, at: slice) -> None:
    x[at] += rng.normal(0, np.sqrt(24.0), at.stop - at.start)


def stuck(rng: Rng, x: Floats, t: Minutes, at: slice) -> None:
    x[at] = x[at.start]


def twice_as_fast(rng: Rng, x: Floats, t: Minutes, at: slice) -> None:
    n = at.stop - at.start
    x[at] = x[at.start + (2 * np.arange(n)) % n]


def as_if(weekday: int, normal: Callable[[Rng, Minutes], Floats]) -> Callable[[Rng, Floats, Minutes, slice], None]:
    def happens(rng: Rng, x: Floats, t: Minutes, at: slice) -> None:
        x[at] = normal(rng, t[at] % DAY + weekday * DAY)

    return happens


def faster(factor: float) -> Callable[[Rng, Floats, Minutes, slice], None]:
    """A slope of 3 a day becomes `factor` times that."""

    def happens(rng: Rng, x: Floats, t: Minutes, at: slice) -> None:
        x[at] += (factor - 1) * 3.0 * (t[at] - t[at.start]) / DAY
        x[at.stop :] += (factor - 1) * 3.0 * (t[at.stop - 1] - t[at.start]) / DAY

    return happens


WEEK, MONTH = 7 * DAY, 30.4375 * DAY
PATTERNS: tuple[Pattern, ...] = (
    Pattern("zero for a day", 30, 42, daily, DAY, to(0.0), clock=0, whole_day=True),
    Pattern(
        "a taxi-like weekday at 12 %",
        30,
        56,
        taxi,
        DAY,
        times(0.12),
        weekday=1,
        clock=0,
        whole_day=True,
        noise=0.05,
        in_proportion=True,
    ),
    Pattern("a level shift of 5 sd", 5, 28, flat, 2 * DAY, plus(5.0)),
    Pattern("a level shift of 7 sd in a season", 60, 56, daily, 2 * DAY, plus(7.0)),
    Pattern("a drift over 4 days", 30, 56, daily, 4 * DAY, drift(12.0)),
    Pattern("a drift over 10 days", 60, 84, daily, 10 * DAY, drift(15.0)),
    Pattern("a daily peak missing", 15, 42, business, 600, to(10.0), weekday=2, clock=480),
    Pattern("noise five times as high", 5, 28, flat, 360, noisier),
    Pattern("noise five times as high in a season", 15, 42, daily, 480, noisier),
    Pattern("twice as fast for a day", 30, 42, daily, DAY, twice_as_fast, clock=0, whole_day=True),
    Pattern("a point of +10 sd", 5, 28, flat, 5, plus(10.0)),
    Pattern("a point of +10 sd in a season", 60, 56, daily, 60, plus(10.0)),
    Pattern("stuck for 6 h in noise", 5, 28, flat, 360, stuck),
    Pattern("stuck for 6 h in a season", 15, 42, daily, 360, stuck, clock=360),
    Pattern("a dip in a growing trend", 60, 56, growing, 240, plus(-9.0)),
    Pattern("a Thursday like a Sunday", 30, 56, business, DAY, as_if(6, business), weekday=3, clock=0, whole_day=True),
    Pattern("a Saturday like a weekday", 30, 56, business, DAY, as_if(2, business), weekday=5, clock=0, whole_day=True),
    Pattern("a night job missing", 10, 42, night_job, 40, to(8.0), clock=120),
    Pattern("a disk filling seven times faster", 60, 56, disk, 3 * DAY, faster(7.0)),
    Pattern("hourly spikes missing", 5, 21, hourly_spikes, 360, to(20.0), clock=600),
    Pattern("40 rows: a point of +10 sd", 5, 40 * 5 / DAY, flat, 5, plus(10.0)),
    Pattern("100 rows: a level shift of 8 sd", 60, 100 / 24, flat, 900, plus(8.0)),
    Pattern("200 rows: a blip on a constant line", 60, 200 / 24, constant, 60, plus(1.0)),
    Pattern("180 days by day: a weekday like a Sunday", DAY, 180, weekday_values, DAY, to(86.0), weekday=2),
    Pattern("150 weeks by week: a dip of 10 sd", 7 * DAY, 1050, yearly, 14 * DAY, plus(-10.0)),
    Pattern("120 months by month: a jump of 9 sd", MONTH, 120 * 30.4375, flat, 3 * MONTH, plus(9.0)),
    Pattern("300 rows: few counts, then many", 60, 12.5, few_counts, 180, plus(25.0)),
    Pattern("14 days by hour: on at night", 60, 14, on_off, 300, to(1.0), clock=0),
)


def patterns(seed: int) -> Iterator[Item]:
    """One item for each pattern, in their order, named by it."""
    for p in PATTERNS:
        values, _, at, learnt = made(p, seed)
        y: NDArray[np.bool_] = np.zeros(len(values), np.bool_)
        y[at] = True
        yield item("patterns", f"{p.name}, {seed}", p.step, values, y, learnt)


class _Noiseless:
    """Draws what is expected."""

    def normal(self, mean: float, sd: float, n: int) -> Floats:
        return np.full(n, float(mean))


def earliest(p: Pattern, seed: int, budget: float) -> int | None:
    """Rows behind the begin of a whole day's anomaly from which on it can be told at all; None: not on this day.

    Told by whoever knows both courses without their noise, the noise's size, and that each day begins anew: the likelihood ratio of the two passes B to one on
    one of B normal days at most (Ville's inequality), and so many days have the budget's rows. Noise is taken to be as usual on the odd day, too.

    References
    ----------
    Wald: Sequential tests of statistical hypotheses, Annals of Mathematical Statistics 1945.
    """
    values, t, at, _ = made(p, seed)
    quiet = cast("Rng", _Noiseless())
    usual = p.normal(quiet, t)
    odd = usual.copy()
    p.happens(quiet, odd, t, at)
    noise = p.noise * usual[at] if p.in_proportion else np.full(at.stop - at.start, p.noise)
    each = ((values[at] - usual[at]) ** 2 - (values[at] - odd[at]) ** 2) / (2 * noise**2)
    told = np.flatnonzero(np.cumsum(each) >= np.log(max(budget * p.step / DAY, 1.0)))
    return int(told[0]) if len(told) else None


def made(p: Pattern, seed: int) -> tuple[Floats, Minutes, slice, int]:
    """Values, minutes, rows of the anomaly, and how many rows may be learnt from."""
    rng = np.random.default_rng([seed, 300 + PATTERNS.index(p)])
    t = np.arange(round(p.days * DAY / p.step)) * p.step
    values = p.normal(rng, t)
    at = place(rng, p, t)
    p.happens(rng, values, t, at)
    return values, t, at, len(t) // 2


def place(rng: Rng, p: Pattern, t: Minutes) -> slice:
    """Rows of the anomaly: behind 60 % of the series, with a tenth of it left to end in, on its weekday and at its time."""
    n, rows = len(t), max(round(p.lasts / p.step), 1)
    starts = np.arange(int(0.6 * n), int(0.9 * n) - rows)
    fits = np.ones(len(starts), np.bool_)
    if p.clock is not None:
        fits &= t[starts] % DAY == p.clock
    if p.weekday is not None:
        fits &= (t[starts] // DAY) % 7 == p.weekday
    first = int(rng.choice(starts[fits]))
    return slice(first, first + rows)
