"""Thirty-one metrics as people have them, made up and seeded: each once as usual and once with one incident that whoever runs the thing would want to hear of.

They are no tests of single abilities (`patterns.py`): noise is not normal, seasons are bent by what people and machines do, levels move with a deployment,
weather comes and goes. Learnt from is the first half, asked is one false alert per series and month, the product's default (of rows of days and longer one in
200 rows, the least that it takes).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator

import numpy as np
from numpy.typing import NDArray

from benchmarks.judgement import patterns
from benchmarks.judgement.items import START, Floats, Item, item
from benchmarks.judgement.patterns import DAY, MONTH, WEEK, Minutes, Pattern, Rng, plus, stuck, to
from detectors.budget import METRIC, budget_rows, parse
from detectors.judgement.zones import offsets

USUAL = "as usual"
BERLIN = "Europe/Berlin"


def budget(item: Item) -> float:
    """Rows per false alert that are asked for."""
    return float(budget_rows(parse(METRIC), float(np.median(np.diff(item.times)))))


def usual(kind: Pattern) -> str:
    """Name of a kind when nothing happens."""
    return f"{kind.name.partition(':')[0]} {USUAL}"


# Parts


def hours(t: Minutes) -> Floats:
    return np.asarray((t % DAY) / 60)


def weekend(t: Minutes) -> NDArray[np.bool_]:
    return np.asarray((t // DAY) % 7 >= 5)


def bump(t: Minutes, at: float, wide: float) -> Floats:
    """A smooth hill by the hour of the day, 1 at its top."""
    return np.asarray(np.exp(-0.5 * (((hours(t) - at + 12) % 24 - 12) / wide) ** 2))


def follows(rng: Rng, n: int, keeps: float, spread: float = 1.0) -> Floats:
    """Noise of this standard deviation of which each row keeps a share of the one before."""
    new = rng.normal(0, spread * np.sqrt(1 - keeps * keeps), n)
    out = np.empty(n)
    last = rng.normal(0, spread)
    for i, one in enumerate(new.tolist()):
        last = keeps * last + one
        out[i] = last
    return out


def sawtooth(rng: Rng, n: int, least: int, most: int, high: float) -> Floats:
    """Rises evenly and falls at once, after another number of rows each time."""
    lengths = rng.integers(least, most, n // least + 1)
    ends = np.cumsum(lengths)
    where = np.searchsorted(ends, np.arange(n), side="right")
    since = np.arange(n) - np.r_[0, ends][where]
    return np.asarray(since * high / ((least + most) / 2))


def waiting(comes: Floats, goes: float) -> Floats:
    """What waits, where so much comes with each row and so much can go."""
    total = np.cumsum(comes - goes)
    return np.asarray(total - np.minimum(np.minimum.accumulate(total), 0.0))


# As usual


def cpu(rng: Rng, t: Minutes) -> Floats:
    """Load of a web server, per cent."""
    day = 35 * bump(t, 14, 3.5) * np.where(weekend(t), 0.5, 1.0)
    return np.clip(15 + day * (1 + follows(rng, len(t), 0.97, 0.08)) + follows(rng, len(t), 0.6, 2.0), 0, 100)


def memory(rng: Rng, t: Minutes) -> Floats:
    """Heap of a Java process: rises until it is collected."""
    return 400 + sawtooth(rng, len(t), 18, 40, 250.0) + follows(rng, len(t), 0.995, 8.0) + rng.normal(0, 3, len(t))


def requests(rng: Rng, t: Minutes) -> Floats:
    day = (bump(t, 11, 2.5) + 0.8 * bump(t, 19, 2.5)) * np.where(weekend(t), 0.6, 1.0)
    return rng.poisson(120 * (0.15 + day) * np.exp(follows(rng, len(t), 0.9, 0.06))).astype(np.float64)


def errors(rng: Rng, t: Minutes) -> Floats:
    return rng.poisson(rng.gamma(0.4, 0.3, len(t))).astype(np.float64)


def queue(rng: Rng, t: Minutes) -> Floats:
    return np.round(waiting(rng.exponential(10.0, len(t)) * (0.8 + 0.3 * bump(t, 12, 4)), 11.5))


def latency(rng: Rng, t: Minutes) -> Floats:
    """99th percentile, ms: heavy tails."""
    return 180 * np.exp(0.25 * bump(t, 14, 4) + follows(rng, len(t), 0.7, 0.1) + 0.07 * rng.standard_t(3, len(t)))


def disk(rng: Rng, t: Minutes) -> Floats:
    """Fills, and is cleaned on Sundays at 03:00."""
    since = (t - 6 * DAY - 180) % WEEK / DAY
    return 40 + 5.5 * since + follows(rng, len(t), 0.9, 0.5)


def battery(rng: Rng, t: Minutes) -> Floats:
    """Of a device that is used by day and charged at night, per cent."""
    day = (t // DAY).astype(int)
    use = rng.uniform(35, 75, day[-1] + 1)[day]
    h = hours(t)
    left = 100 - use * np.clip((h - 7) / 15.5, 0, 1)
    charged = np.minimum(left + np.clip(h - 22.5, 0, 2) * 40, 100)
    return np.round(np.where(h < 7, 100.0, np.where(h < 22.5, left, charged)) + 0.0)


def outdoors(rng: Rng, t: Minutes) -> Floats:
    """Temperature: the day, clouds and weather."""
    weather, clear = follows(rng, len(t), 0.994, 4.0), np.exp(follows(rng, len(t), 0.99, 0.4))
    return np.round(9 + weather + 4 * clear * np.cos(2 * np.pi * (hours(t) - 15) / 24) + rng.normal(0, 0.2, len(t)), 1)


def office(rng: Rng, t: Minutes) -> Floats:
    """Sessions of people who work by Berlin's clock; summer time begins in what is judged."""
    local = t + offsets(BERLIN, START + (t * 60_000).astype(np.int64)) / 60_000
    h = hours(local)
    work = np.clip(h - 7.5, 0, 1) * np.clip(17.5 - h, 0, 1) * (1 - 0.3 * bump(local, 12.5, 0.5))
    return rng.poisson(4 + 160 * work * np.where(weekend(local), 0.03, 1.0)).astype(np.float64)


def cron(rng: Rng, t: Minutes) -> Floats:
    """A job at each full hour, a bigger one every six."""
    minute, of = t % 60, rng.uniform(0.8, 1.2, int(t[-1] // 60) + 1)[(t // 60).astype(int)]
    lasts = np.where(t % 360 < 60, 7, 2) * of
    return np.clip(6 + 45 * (minute < lasts) * of + rng.gamma(2.0, 1.5, len(t)), 0, 100)


def backup(rng: Rng, t: Minutes) -> Floats:
    """Throughput; a backup from about 02:00 on, for about an hour."""
    day = (t // DAY).astype(int)
    starts, lasts = rng.uniform(115, 130, day[-1] + 1)[day], rng.uniform(45, 80, day[-1] + 1)[day]
    busy = (t % DAY >= starts) & (t % DAY < starts + lasts)
    return np.where(busy, rng.normal(180, 15, len(t)), 0.0) + rng.gamma(1.5, 4.0, len(t))


def deployed(rng: Rng, t: Minutes) -> Floats:
    """Memory of a service; another level with each week's deployment, Tuesdays at 10:00."""
    week = ((t - DAY - 600) // WEEK).astype(int) + 1
    return 500 + rng.normal(0, 12, week[-1] + 1)[week] + follows(rng, len(t), 0.8, 2.5)


def total(rng: Rng, t: Minutes) -> Floats:
    """What was sent since the process began, which is once a week: nobody said that it counts."""
    sent = rng.gamma(4.0, 2.5, len(t)) * (0.3 + bump(t, 14, 4))
    sums, week = np.cumsum(sent), ((t + DAY) // WEEK).astype(int)
    starts = np.searchsorted(week, np.arange(week[-1] + 1))
    return np.round(sums - (sums - sent)[starts][week])


def success(rng: Rng, t: Minutes) -> Floats:
    """Share of requests that went well, per cent: most often all."""
    lost = rng.gamma(0.5, 0.25, len(t)) * (rng.uniform(size=len(t)) < 0.3)
    return np.round(100 - np.minimum(lost, 100), 2)


def heater(rng: Rng, t: Minutes) -> Floats:
    """On and off, by its thermostat."""
    lengths = rng.integers(12, 35, len(t) // 12 + 2)
    where = np.searchsorted(np.cumsum(lengths), np.arange(len(t)), side="right")
    return (where % 2).astype(np.float64)


def sales(rng: Rng, t: Minutes) -> Floats:
    """By day: the week, and the weeks before Christmas."""
    day = (t // DAY).astype(int)
    week = np.array([0.9, 0.85, 0.9, 1.0, 1.25, 1.5, 0.6])[day % 7]
    season = 1 + 0.35 * np.exp(-0.5 * ((day % 365 - 345) / 12) ** 2) + 0.08 * np.sin(2 * np.pi * day / 365)
    return np.round(2400 * week * season * np.exp(rng.normal(0, 0.07, len(t))))


def invoices(rng: Rng, t: Minutes) -> Floats:
    """By week; many in the first of a month, few at the end of the year."""
    first = (t / DAY) % 30.4375 < 7
    holidays = (t / DAY) % 365.25 > 355
    return rng.poisson(140 * np.where(first, 1.4, 1.0) * np.where(holidays, 0.4, 1.0)).astype(np.float64)


def revenue(rng: Rng, t: Minutes) -> Floats:
    """By month, growing by 1.5 % from one to the next, with a season."""
    month = np.arange(len(t))
    return 80 * np.exp(0.015 * month + 0.1 * np.sin(2 * np.pi * month / 12) + rng.normal(0, 0.03, len(t)))


def traffic(rng: Rng, t: Minutes) -> Floats:
    """Of a link, in bursts."""
    return 60 * (0.3 + bump(t, 20, 4)) * np.exp(follows(rng, len(t), 0.5, 0.5))


def players(rng: Rng, t: Minutes) -> Floats:
    """Who is connected: smooth."""
    day = bump(t, 20, 3.5) * np.where(weekend(t), 1.3, 1.0)
    return np.round(3000 * (0.25 + day) * (1 + follows(rng, len(t), 0.999, 0.05)) + rng.normal(0, 15, len(t)))


def rooms(rng: Rng, t: Minutes) -> Floats:
    """Temperature of an office that is heated on days of work."""
    wanted = np.where((hours(t) >= 6) & (hours(t) < 18) & ~weekend(t), 21.5, 17.0)
    out, now = np.empty(len(t)), 17.0
    for i, to_be in enumerate((wanted + follows(rng, len(t), 0.98, 0.5)).tolist()):
        now += (to_be - now) * 0.09
        out[i] = now
    return np.round(out + rng.normal(0, 0.05, len(t)), 1)


def solar(rng: Rng, t: Minutes) -> Floats:
    """Power: none at night, and clouds by day."""
    sky = 1 / (1 + np.exp(-(follows(rng, len(t), 0.985, 1.3) + follows(rng, len(t), 0.6, 0.6) + 0.7)))
    return np.round(5000 * np.clip(np.sin(np.pi * (hours(t) - 6.5) / 11), 0, None) * (0.12 + 0.88 * sky))


def household(rng: Rng, t: Minutes) -> Floats:
    """Power, W: what always runs, a fridge, and now and then a kettle or an oven."""
    often = 0.01 + 0.05 * (bump(t, 7.5, 1) + bump(t, 19, 2))
    used = np.where(rng.uniform(size=len(t)) < often, rng.uniform(600, 2500, len(t)), 0.0)
    used = used + np.r_[0.0, 0.6 * used[:-1]]
    return np.round(120 + 90 * (sawtooth(rng, len(t), 3, 5, 1.0) > 0.5) + used + rng.gamma(2, 8, len(t)))


def pool(rng: Rng, t: Minutes) -> Floats:
    """Connections of a pool of 50 that are in use."""
    return np.minimum(rng.poisson(3 + 12 * bump(t, 13, 4) * np.where(weekend(t), 0.4, 1.0)), 50).astype(np.float64)


def lag(rng: Rng, t: Minutes) -> Floats:
    """Of a replica, s: none, but for big transactions."""
    starts = rng.uniform(size=len(t)) < 0.004
    left = np.where(starts, rng.gamma(2.0, 6.0, len(t)), 0.0)
    spread = sum(np.r_[np.zeros(k), left[: len(t) - k]] * (1 - k / 5) for k in range(5))
    return np.asarray(np.round(rng.gamma(1.2, 0.3, len(t)) + spread, 1))


def hits(rng: Rng, t: Minutes) -> Floats:
    """Of a cache, per cent; it is cold behind the deployment of each working day's 09:00."""
    since = np.where(weekend(t), 1e9, (t % DAY - 540) / 60)
    cold = np.where(since >= 0, 9 * np.exp(-np.maximum(since, 0) * 1.5), 0.0)
    return np.round(np.minimum(94.5 - cold * rng.uniform(0.7, 1.3, len(t)) + follows(rng, len(t), 0.8, 0.6), 100), 2)


def replicas(rng: Rng, t: Minutes) -> Floats:
    return np.full(len(t), 3.0)


def orders(rng: Rng, t: Minutes) -> Floats:
    """By the minute: few, none at night."""
    return rng.poisson(0.05 + 3.5 * (bump(t, 12, 2.5) + 1.2 * bump(t, 20, 2))).astype(np.float64)


def visits(rng: Rng, t: Minutes) -> Floats:
    """By hour, 0.2 % more each day."""
    day = 0.2 + bump(t, 13, 4) + 0.5 * bump(t, 21, 2)
    return np.round(900 * day * np.exp(0.002 * t / DAY + follows(rng, len(t), 0.5, 0.07)))


def users(rng: Rng, t: Minutes) -> Floats:
    """By day, 0.2 % more each day."""
    week = np.array([1.0, 1.02, 1.03, 1.01, 0.95, 0.7, 0.72])[(t // DAY).astype(int) % 7]
    return np.round(12_000 * week * np.exp(0.002 * t / DAY + rng.normal(0, 0.025, len(t))))


# Incidents

Happens = Callable[[Rng, Floats, Minutes, slice], None]


def by(factor: float) -> Happens:
    def happens(rng: Rng, x: Floats, t: Minutes, at: slice) -> None:
        x[at] *= factor

    return happens


def at_most(value: float, factor: float) -> Happens:
    """So many times as high, but no higher than there is room for."""

    def happens(rng: Rng, x: Floats, t: Minutes, at: slice) -> None:
        x[at] = np.minimum(x[at] * factor, value)

    return happens


def rises(per_hour: float) -> Happens:
    def happens(rng: Rng, x: Floats, t: Minutes, at: slice) -> None:
        x[at] += per_hour * (t[at] - t[at.start]) / 60

    return happens


def not_charged(rng: Rng, x: Floats, t: Minutes, at: slice) -> None:
    x[at] = np.maximum(np.round(x[at.start] - 1.2 * (t[at] - t[at.start]) / 60), 1)


def not_cleaned(rng: Rng, x: Floats, t: Minutes, at: slice) -> None:
    x[at] += 5.5 * 7


def cools(rng: Rng, x: Floats, t: Minutes, at: slice) -> None:
    out = 17.0 - 10.0 * (1 - np.exp(-(t[at] - t[at.start]) / 1200))
    x[at] = np.round(np.minimum(x[at], out + 0.05 * rng.normal(size=len(out)) + x[at.start] - 17.0), 1)


def counted(rate: float) -> Happens:
    def happens(rng: Rng, x: Floats, t: Minutes, at: slice) -> None:
        x[at] += rng.poisson(rate, at.stop - at.start)

    return happens


def idle(rng: Rng, x: Floats, t: Minutes, at: slice) -> None:
    x[at] = rng.gamma(1.5, 4.0, at.stop - at.start)


def halted(rng: Rng, x: Floats, t: Minutes, at: slice) -> None:
    """A total that stands still, and goes on from there; up to where it begins anew."""
    missed = x[at.stop - 1] - x[at.start]
    anew = at.stop + int(np.argmax(np.diff(x[at.stop - 1 :]) < 0))
    x[at] = x[at.start]
    x[at.stop : max(anew, at.stop)] -= missed


KINDS: tuple[Pattern, ...] = (
    Pattern("CPU: a process runs wild at night", 5, 42, cpu, 120, plus(35.0), clock=180),
    Pattern("heap: a leak of half a day", 1, 28, memory, 720, rises(40.0)),
    Pattern("requests: half of them gone for an hour", 5, 42, requests, 60, by(0.45), clock=660),
    Pattern("errors: a burst of half an hour", 5, 42, errors, 30, counted(6.0)),
    Pattern("queue: nobody takes from it for an hour", 1, 28, queue, 60, rises(600.0)),
    Pattern("latency: 2.5 times as slow for an hour", 1, 28, latency, 60, by(2.5)),
    Pattern("disk: not cleaned", 60, 84, disk, 2 * DAY, not_cleaned, weekday=6, clock=180),
    Pattern("battery: not charged", 15, 42, battery, 480, not_charged, clock=1350),
    Pattern("outdoors: the sensor hangs for 12 hours", 30, 84, outdoors, 720, stuck),
    Pattern("office hours: nobody can log in for two hours", 15, 126, office, 120, by(0.2), weekday=2, clock=540),
    Pattern("cron: a job hangs", 1, 28, cron, 25, plus(45.0)),
    Pattern("backup: does not run", 5, 42, backup, 90, idle, clock=115),
    Pattern("deployments: a jump on a Friday", 10, 56, deployed, DAY, plus(90.0), weekday=4, clock=900),
    Pattern("a raw total: stands still for six hours", 5, 42, total, 360, halted, clock=600),
    Pattern("success: 94 % for 20 minutes", 5, 42, success, 20, plus(-6.0)),
    Pattern("heater: on for six hours", 1, 28, heater, 360, to(1.0)),
    Pattern("sales by day: a day at 40 %", DAY, 1095, sales, DAY, by(0.4)),
    Pattern("invoices by week: a third", 7 * DAY, 1456, invoices, 7 * DAY, by(0.33)),
    Pattern("revenue by month: a third less", MONTH, 120 * 30.4375, revenue, MONTH, by(0.67)),
    Pattern("traffic: a flood of half an hour", 5, 42, traffic, 30, by(8.0)),
    Pattern("players: most are thrown out", 1, 28, players, 20, by(0.4), clock=1200),
    Pattern("rooms: the heating fails", 10, 56, rooms, DAY, cools, weekday=1, clock=360),
    Pattern("solar: the inverter is off", 15, 84, solar, 240, to(0.0), clock=600),
    Pattern("household: the oven left on at night", 15, 42, household, 360, plus(1500.0), clock=60),
    Pattern("pool: all connections are taken", 5, 42, pool, 60, to(50.0), clock=840),
    Pattern("replica: falls behind for half an hour", 1, 28, lag, 30, rises(3600.0)),
    Pattern("cache: cold at the wrong time", 5, 42, hits, 60, plus(-15.0), clock=1080),
    Pattern("replicas: two of three for ten minutes", 1, 28, replicas, 10, to(2.0)),
    Pattern("orders: none for an hour of the evening", 1, 28, orders, 60, to(0.0), clock=1200),
    Pattern("visits by hour: twice as many for three hours", 60, 180, visits, 180, by(2.0)),
    Pattern("users by day: a fifth less for two days", DAY, 730, users, 2 * DAY, by(0.8)),
)


def everyday(seed: int) -> Iterator[Item]:
    """Two items for each kind, as usual and with its incident, named by it."""
    for k, p in enumerate(KINDS):
        n = round(p.days * DAY / p.step)
        t = np.arange(n) * p.step
        for name in (usual(p), p.name):
            rng = np.random.default_rng([seed, 500 + k, name != p.name])
            values = p.normal(rng, t)
            y: NDArray[np.bool_] = np.zeros(n, np.bool_)
            if name == p.name:
                at = patterns.place(rng, p, t)
                p.happens(rng, values, t, at)
                y[at] = True
            zone = BERLIN if p.normal is office else "UTC"
            yield item("everyday", f"{name}, {seed}", p.step, values, y, n // 2, zone)
