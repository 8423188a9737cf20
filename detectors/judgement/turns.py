"""One turn: a row of each of n different series, judged with operations that go over series alone.

The formulas are those of `terms`, `ranking`, `alarm` and `clock`, with series as the first dimension: (n, C), (n, 48, C). What is slow moves on
where a series has come to the end of a block of 16 of its own rows.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from detectors.judgement import alarm
from detectors.judgement.autoregression import ORDER
from detectors.judgement.clock import CLIP as CLOCK_CLIP
from detectors.judgement.clock import DAY, DAY_BINS, GAIN, WEEK, WEEK_BINS
from detectors.judgement.ranking import FADE, HOLD, NORMAL_ROWS, ONE, RAISED, SEVERAL
from detectors.judgement.short_state import ROWS
from detectors.judgement.state import BLOCK, Floats, Times
from detectors.judgement.terms import (
    ALARMS,
    CLEANED,
    CLIP,
    CLOCK,
    FAR,
    FLAT,
    GIVEN,
    GIVEN_STRETCH,
    HIGHEST,
    LONGEST,
    QUARTER,
    SCALED,
    SPREAD,
    STATE,
    STRETCH,
    TERMS,
)

if TYPE_CHECKING:
    from detectors.judgement.population import Population

BEGINNING, JUDGING = 0, 1
"""Phases of a series: its first rows are gathered; it is judged."""
_MONDAY = 4 * DAY
_BIAS = 1.02
_NORMAL = np.array([3.2, 3.2, 3.2, 3.2, 3.2, np.inf, 0.5, 1.0, 3.2, 3.2])
"""Usual 99 % quantiles of the terms of a series of which nothing is known but its first rows; the picture of 8 rows has no say."""
_MOVES, _STILL = 4, 96
"""Of the first rows, so many must differ from the one before; a series in which nothing moves for so many rows is one that stands still."""
_LEAST = 48
"""Rows, or a day's where that is more (up to 288), before a series that is not known can alarm by anything but the error of the next row."""
_SCALED, _ALARMS = list(SCALED), list(ALARMS)
_PARTS = 4096
"""Series of one turn that are compared with their centres at a time, so that memory is bounded."""


def record(C: int) -> np.dtype[Any]:
    """What is remembered of a series of C channels; all zeros: nothing yet. See `state.State`."""
    S, A, T = len(SCALED), len(ALARMS), len(TERMS)
    return np.dtype(
        [
            ("rows", "<i8"),
            ("local", "<i8", (BLOCK,)),
            ("first", "<f8", (BLOCK, C)),  # rows in the unit of the input, while they are gathered
            ("middle", "<f8", (C,)),
            ("unit", "<f8", (C,)),
            ("usual", "<f8", (T,)),
            ("rows_a_day", "<f8"),
            ("level", "<f8", (C,)),
            ("slope", "<f8", (C,)),
            ("errors", "<f8", (3, C)),
            ("days", "<f8"),
            ("weeks", "<f8"),
            ("last", "<f8", (C,)),
            ("scales", "<f8", (S, C)),
            ("sums", "<f8", (S, C)),
            ("tails", "<f8", (A, 2)),
            ("bar", "<f8"),
            ("peak", "<f8"),
            ("cleaned", "<f4", (ORDER, C)),
            ("plain", "<f4", (ORDER, C)),
            ("seen", "<f4", (ROWS, C)),
            ("means", "<f4", (2, C)),
            ("block", "<f4", (BLOCK, C)),
            ("follows", "<f4", (C,)),  # of a series that is not known: how much of a row's error is in the next
            ("equal", "<i4", (C,)),
            ("known", "<i4"),
            ("far", "<i2", (C,)),
            ("bins", "<i2", (2,)),
            ("counts", "<u2", (A, alarm.BINS)),
            ("day", "<f2", (DAY_BINS, C)),
            ("week", "<f2", (WEEK_BINS, C)),
            ("calm", "i1"),
            ("phase", "u1"),
        ]
    )  # packed: bytes between fields would be nobody's, and differ from copy to copy


# Judging


def judge(
    of: Population, states: NDArray[Any], rows: NDArray[np.intp], values: Floats, local: Times, budget: Floats
) -> tuple[Floats, Floats, NDArray[np.bool_], Floats, Floats, Floats, Floats]:
    """Judge a row (n, C) of each of n different series, and move their records on; the columns of `Said` but the last."""
    s = states[rows]
    n, C = values.shape
    k = s["known"]
    weights = of.weights[k]
    x = (values - s["middle"]) / s["unit"]
    at = s["rows"] % BLOCK
    level = s["level"] + s["slope"] * (at + 1)[:, None]
    expected = _expected(s, level, *_bins(s, local[:, None]))
    left = x - expected
    cleaned, plain = (_forecast(s[name], weights, s["follows"]) for name in ("cleaned", "plain"))
    out = np.zeros((n, len(SCALED), C))
    _contexts(s, x, left, cleaned, np.abs(left - cleaned) > FAR * s["scales"][:, 0])
    _means(s, left, np.abs(left - plain))
    s["equal"] = np.where(x == s["last"], s["equal"] + 1, 0)
    s["last"] = x
    out[:, 0], out[:, 1], out[:, 2] = np.abs(left - cleaned), np.abs(left - plain), np.abs(left)
    out[:, 3] = np.abs(_ordered_sum(s["plain"][:, -8:]) / 8)
    out[:, 4], out[:, 5] = np.abs(s["means"][:, 0]), s["means"][:, 1]
    if of.whole.any():
        given = _given(s["seen"], of.others[k])
        out[:, 6], out[:, 7] = np.abs(given[:, -1]), np.abs(_ordered_sum(given) / ROWS)
    s["sums"] += np.minimum(out, CLIP * s["scales"])
    scaled = out / s["scales"]
    scaled[:, _SCALED.index(SPREAD)] = np.maximum(scaled[:, _SCALED.index(SPREAD)] - 1.0, 0.0)
    terms = np.zeros((n, len(TERMS)))
    terms[:, _SCALED] = _together(scaled)
    if k.any():
        terms[:, STATE] = _distance(s["seen"] - level[:, None], of.centres, k)
    still = (s["equal"] / (2 * of.longest[k] + 6)).max(axis=1)
    terms[:, FLAT] = np.maximum(2.0 * still - 1.0, 0.0)
    u = terms / s["usual"]
    beyond, levels = _beyond(u, s, budget, C)
    strength = np.maximum(beyond.max(axis=1), 2.0 * (u[:, FLAT] - 1.0))
    low, high = _band(s, levels, expected, cleaned)
    score, anomalous = _outputs(s, u, strength, beyond, budget, of.whole[k])
    put = np.arange(n)
    s["block"][put, at], s["local"][put, at] = x, local
    s["rows"] += 1
    full = np.flatnonzero(s["rows"] % BLOCK == 0)
    if len(full):
        s[full] = _learnt(s[full])
    states[rows] = s
    centre = (low + high) / 2 * s["unit"] + s["middle"]
    odd = np.log1p(scaled[:, [_SCALED.index(t) for t in (CLEANED, CLOCK, STRETCH, QUARTER)]]).sum(axis=1)
    if of.whole.any():
        odd = np.where(of.whole[k][:, None], np.log1p(scaled[:, 6:]).sum(axis=1), odd)
    shares = odd / np.maximum(odd.sum(axis=1), 1e-12)[:, None]
    return score, strength, anomalous, u, centre, (high - low) / 2 * s["unit"], shares


def _bins(s: NDArray[Any], local: Times) -> tuple[NDArray[np.intp], NDArray[np.intp]]:
    """Bin of the day and of the week (n, m) of local times (n, m)."""
    since = local - _MONDAY
    bins = s["bins"].astype(np.int64)
    return since % DAY * bins[:, :1] // DAY, since % WEEK * bins[:, 1:] // WEEK


def _forecasts(
    s: NDArray[Any], level: Floats, day: NDArray[np.intp], week: NDArray[np.intp]
) -> tuple[Floats, Floats, Floats]:
    """Level, + day, + week, (n, m, C) each, for level (n, m, C) and bins (n, m)."""
    put = np.arange(len(s))[:, None]
    by_day = level + s["day"][put, day]
    return level, by_day, by_day + s["week"][put, week]


def _shares(errors: Floats) -> Floats:
    """Weights of the three forecasts (n, 3, C)."""
    rate = (errors.min(axis=1, keepdims=True) + 1e-9) / (errors + 1e-9)
    powers = rate * rate * rate * rate
    return np.asarray(powers / _ordered_sum(powers)[:, None])


def _expected(s: NDArray[Any], level: Floats, day: NDArray[np.intp], week: NDArray[np.intp]) -> Floats:
    """(n, C) for a level (n, C) and bins (n, 1)."""
    w = _shares(s["errors"])
    f = _forecasts(s, level[:, None], day, week)
    return f[0][:, 0] * w[:, 0] + f[1][:, 0] * w[:, 1] + f[2][:, 0] * w[:, 2]


def _forecast(context: NDArray[np.float32], weights: NDArray[np.float32], follows: NDArray[np.float32]) -> Floats:
    """What is left of the next row (n, C), from what was left of 48 (n, 48, C)."""
    return _ordered_sum((context * weights).astype(np.float64)) + follows * context[:, -1]


def _ordered_sum(x: NDArray[Any]) -> Floats:
    """Sum over the second dimension, one after the other: the same additions for any n."""
    out = x[:, 0].astype(np.float64)
    for i in range(1, x.shape[1]):
        out = out + x[:, i]
    return out


def _contexts(s: NDArray[Any], x: Floats, left: Floats, forecast: Floats, far: NDArray[np.bool_]) -> None:
    """The row enters both contexts and the picture; the cleaned one as its forecast where it is far out, for a bounded time."""
    s["far"] = np.where(far, s["far"] + 1, 0)
    again = s["far"] > LONGEST
    if again.any():
        s["cleaned"] = np.where(again[:, None], s["plain"], s["cleaned"])
        s["far"] = np.where(again, 0, s["far"])
    enters = np.where(far & ~again, forecast, left)
    for name, row in (("cleaned", enters), ("plain", left), ("seen", x)):
        s[name][:, :-1] = s[name][:, 1:].copy()
        s[name][:, -1] = row


def _means(s: NDArray[Any], left: Floats, plain: Floats) -> None:
    gain = (1.0 / np.clip(s["rows_a_day"] / 4, 12, 500))[:, None]
    bound = 8 * s["scales"][:, 2]
    s["means"][:, 0] += gain * (np.clip(left, -bound, bound) - s["means"][:, 0])
    s["means"][:, 1] += 0.125 * (np.minimum(plain, 10 * s["scales"][:, 1]) - s["means"][:, 1])


def _given(seen: NDArray[np.float32], others: NDArray[np.float32]) -> Floats:
    """What is left of each channel (n, 8, C) when all others are known."""
    out = np.zeros(seen.shape)
    for c in range(seen.shape[2]):
        out += seen[:, :, c, None].astype(np.float64) * others[:, None, :, c]
    return out


def _together(scaled: Floats) -> Floats:
    """One number (n, S) from those of the channels (n, S, C): the mean of the three highest logarithms."""
    C = scaled.shape[2]
    if C == 1:
        return scaled[:, :, 0]
    logs = np.sort(np.log1p(scaled), axis=2)
    total = logs[:, :, -1]
    for i in range(2, min(HIGHEST, C) + 1):
        total = total + logs[:, :, -i]
    return np.asarray(np.expm1(total / min(HIGHEST, C)))


def _distance(seen: Floats, centres: NDArray[np.float32], k: NDArray[np.int32]) -> Floats:
    """Root mean square distance (n,) of pictures (n, 8, C) to the nearest centre of their series; 0 where there are none."""
    n, size = len(seen), seen.shape[1] * seen.shape[2]
    out = np.zeros(n)
    for a in range(0, n, _PARTS):
        part = slice(a, a + _PARTS)
        off = seen[part].reshape(-1, 1, size) - centres[k[part]]
        out[part] = np.sqrt((off * off).sum(axis=2).min(axis=1) / size)
    return np.where(k > 0, out, 0.0)


def _beyond(u: Floats, s: NDArray[Any], budget: Floats, C: int) -> tuple[Floats, Floats]:
    """By how much the rarity of each alarm's term (n, A) is beyond its level, and the levels."""
    known = [t for t in ALARMS if C > 1 or t not in (GIVEN, GIVEN_STRETCH)]
    cluster = _clusters(s)
    levels = np.log10(np.maximum(budget, 200.0)[:, None] * len(known) / cluster) - alarm.SLACK
    start, scale = s["tails"][:, :, 0], s["tails"][:, :, 1]
    v = u[:, _ALARMS]
    over = np.maximum(v - start, 0.0) / scale
    rare = _EDGE * np.minimum(v / start, 1.0) + np.log10(1.0 + alarm.SHAPE * over) / alarm.SHAPE
    beyond = rare - levels
    beyond[:, len(known) :] = -np.inf
    young = _young(s) & (s["rows"] < np.clip(s["rows_a_day"], _LEAST, DAY_BINS))
    beyond[young, 1:] = -np.inf
    return beyond, levels


def _clusters(s: NDArray[Any]) -> Floats:
    """How many rows of each alarm's term (n, A) go together, see `terms.rows_of`."""
    out = np.ones((len(s), len(ALARMS)))
    for i, t in enumerate(ALARMS):
        if t in (STRETCH, SPREAD, GIVEN_STRETCH):
            out[:, i] = 4.0
        elif t == QUARTER:
            out[:, i] = np.clip(s["rows_a_day"] / 4, 12, 500) / 2
    return out


_EDGE = float(-np.log10(1.0 - 0.98))


def _young(s: NDArray[Any]) -> NDArray[np.bool_]:
    """Which series are judged by their own rows alone."""
    return np.asarray(s["known"] == 0)


def _band(s: NDArray[Any], levels: Floats, expected: Floats, cleaned: Floats) -> tuple[Floats, Floats]:
    """Between what (n, C) a row alarms by none of the two terms of its newest value; of several channels, where each is as far out as it."""
    edges = []
    for term, middle in ((CLEANED, expected + cleaned), (CLOCK, expected)):
        i = _ALARMS.index(term)
        wanted = np.maximum(levels[:, i] + s["bar"] - _EDGE, 0.0)
        over = (10.0 ** (alarm.SHAPE * wanted) - 1.0) / alarm.SHAPE
        reached = (s["tails"][:, i, 0] + s["tails"][:, i, 1] * over) * s["usual"][:, term]
        half = reached[:, None] * s["scales"][:, _SCALED.index(term)]
        edges.append((middle - half, middle + half))
    (low, high), (by_clock, up_to) = edges
    both = (np.maximum(low, by_clock), np.minimum(high, up_to))
    apart = both[0] > both[1]
    return np.where(apart, low, both[0]), np.where(apart, high, both[1])


def _outputs(
    s: NDArray[Any], u: Floats, strength: Floats, beyond: Floats, budget: Floats, whole: NDArray[np.bool_]
) -> tuple[Floats, NDArray[np.bool_]]:
    """Score and whether it is anomalous (n,); hold, bar and counts move on."""
    weights = np.where(whole[:, None], SEVERAL, ONE)
    now = _ordered_sum(np.log2(1.0 + u) * weights) / _ordered_sum(weights)
    s["peak"] = np.maximum(now, s["peak"] * (1.0 - FADE))
    score = np.maximum(now, HOLD * s["peak"])
    anomalous = strength >= s["bar"]
    opens = anomalous & (s["calm"] < 0)
    s["bar"] = np.maximum(s["bar"] + RAISED * opens - RAISED / budget, 0.0)
    calmer = np.where((s["calm"] >= 0) & (s["calm"] < NORMAL_ROWS - 1), s["calm"] + 1, -1)
    s["calm"] = np.where(anomalous, 0, calmer)
    put, term = np.nonzero(beyond < s["bar"][:, None])
    s["counts"][put, term, alarm.counted(u[:, _ALARMS])[put, term]] += 1
    return score, anomalous


# What is slow


def _learnt(s: NDArray[Any]) -> NDArray[Any]:
    """Records (n,) at the end of a block, moved on."""
    slow = BLOCK / np.clip(20 * s["rows_a_day"], 500, 20_000)
    slow = np.where(_young(s), np.maximum(slow, BLOCK / (s["rows"] + 2 * BLOCK)), slow)[:, None, None]
    s["scales"] = np.maximum(s["scales"] + slow * (_BIAS * s["sums"] / BLOCK - s["scales"]), 1e-6)
    s["sums"] = 0.0
    _learn_clock(s)
    _tails(s)
    return s


def _tails(s: NDArray[Any]) -> None:
    """The oldest are forgotten, and tails follow from the counts."""
    n, A = s["counts"].shape[:2]
    counts = s["counts"].reshape(n * A, -1)
    alarm.forgotten(counts)
    s["counts"] = counts.reshape(n, A, -1)
    s["tails"] = alarm.body(counts, _clusters(s).reshape(-1)).reshape(n, A, 2)


def _learn_clock(s: NDArray[Any]) -> None:
    """See `clock.Clock.learn`."""
    x = s["block"].astype(np.float64)
    day, week = _bins(s, s["local"])
    rpd = s["rows_a_day"]
    ahead = np.arange(1, BLOCK + 1)[None, :, None]
    f = _forecasts(s, s["level"][:, None] + s["slope"][:, None] * ahead, day, week)
    w = _shares(s["errors"])
    error = x - (f[0] * w[:, None, 0] + f[1] * w[:, None, 1] + f[2] * w[:, None, 2])
    usual = _ordered_sum(s["errors"] * w)[:, None]
    bounded = np.clip(error, -CLOCK_CLIP * usual, CLOCK_CLIP * usual)
    young, seen = _young(s), s["rows"] + 2 * BLOCK  # what is known of few rows moves with each as a mean does
    slow = 1.0 / np.clip(7 * rpd, 200, 5000)
    slow = np.where(young, np.maximum(slow, 1.0 / seen), slow)[:, None]
    for k in range(3):
        off = np.minimum(np.abs(x - f[k]), CLOCK_CLIP * s["errors"][:, None, k])
        s["errors"][:, k] += BLOCK * slow * (_ordered_sum(off) / BLOCK * 1.05 - s["errors"][:, k])
    for name, k, at, visits in (("day", 1, day, s["days"]), ("week", 2, week, s["weeks"])):
        _profile(s[name], x - f[k], s["errors"][:, k], at, visits, s["bins"][:, k - 1] > 1)
    s["days"] += BLOCK / np.maximum(rpd, 1.0)
    s["weeks"] += BLOCK / np.maximum(7 * rpd, 1.0)
    steady = np.clip(rpd, 24, 2000)
    step = _ordered_sum(bounded) / np.where(young, np.minimum(steady, BLOCK + s["rows"] / 8), steady)[:, None]
    s["slope"] += np.where(young & (s["days"] < 2), 0.0, 0.02)[:, None] * step / BLOCK
    s["level"] += BLOCK * s["slope"] + step
    for name in ("cleaned", "plain"):  # what was left of the level as it was
        s[name] -= np.where(young[:, None], step, 0.0)[:, None]


def _profile(
    profile: NDArray[np.float16],
    error: Floats,
    usual: Floats,
    at: NDArray[np.intp],
    visits: Floats,
    used: NDArray[np.bool_],
) -> None:
    """Each bin (n, bins, C) moves by the mean of what its rows (n, 16, C) of the block were off."""
    bound = CLOCK_CLIP * usual[:, None]
    bounded = np.clip(error, -bound, bound)
    gain = np.maximum(GAIN, 1.0 / (visits + 1.0))[:, None]
    put = np.arange(len(at))
    for i in range(BLOCK):
        first = used & ~(at[:, :i] == at[:, i : i + 1]).any(axis=1)
        if not first.any():
            continue
        same = at == at[:, i : i + 1]
        mean = _ordered_sum(np.where(same[:, :, None], bounded, 0.0)) / same.sum(axis=1)[:, None]
        moved = profile[put, at[:, i]] + gain * mean
        profile[put[first], at[first, i]] = moved[first]


# The first rows of a series that is not known


def gather(states: NDArray[Any], rows: NDArray[np.intp], values: Floats, local: Times) -> None:
    """Keep the first 16 rows of series; with the last of them their judgement begins. Of what stands still, a while later."""
    s = states[rows]
    put, at = np.arange(len(s)), np.minimum(s["rows"], BLOCK - 1)
    if (over := s["rows"] >= BLOCK).any():
        for name in ("first", "local"):
            s[name][over, :-1] = s[name][over, 1:]
    s["first"][put, at], s["local"][put, at] = values, local
    s["rows"] += 1
    moves = (np.diff(s["first"], axis=1) != 0).sum(axis=1).max(axis=1)
    full = np.flatnonzero((s["rows"] >= BLOCK) & ((moves >= _MOVES) | (s["rows"] >= _STILL)))
    if len(full):
        s[full] = _begun(s[full])
    states[rows] = s


def _begun(s: NDArray[Any]) -> NDArray[Any]:
    """Records (n,) with 16 rows gathered, as those of series that are judged from now on: level, spread, how a row follows from the one before."""
    x = s["first"]
    steps = np.sort(np.diff(s["local"], axis=1), axis=1)[:, (BLOCK - 1) // 2]
    steps = np.maximum(steps, 1).astype(np.int64)
    s["bins"] = np.stack([np.clip(DAY // steps, 1, DAY_BINS), np.clip(WEEK // steps, 1, WEEK_BINS)], axis=1)
    s["rows_a_day"] = DAY / steps
    middle = np.sort(x, axis=1)[:, 7:9].sum(axis=1) / 2
    off = np.sort(np.abs(x - middle[:, None]), axis=1)
    spread = 1.4826 * off[:, 7:9].sum(axis=1) / 2
    widest = off[:, -2]
    unit = np.maximum(np.maximum(spread, 0.3 * widest), 1e-4 * np.abs(middle) + 1e-9)
    left = np.clip((x - middle[:, None]) / unit[:, None], -8.0, 8.0)
    now, before = left[:, 1:], left[:, :-1]
    follows = np.clip(_ordered_sum(now * before) / (_ordered_sum(before * before) + 2.0), 0.0, 1.0)
    s["middle"], s["unit"], s["follows"] = middle, unit, follows
    s["level"], s["slope"], s["day"], s["week"] = 0.0, 0.0, 0.0, 0.0
    s["errors"] = np.maximum(_ordered_sum(np.abs(left)) / BLOCK, 0.3)[:, None]
    s["days"], s["weeks"] = 0.0, 0.0
    error = np.abs(now - follows[:, None] * before)
    one = np.maximum(_ordered_sum(error) / (BLOCK - 1) * 1.3, 0.1)
    alone = s["errors"][:, 0]
    for i, t in enumerate(SCALED):
        s["scales"][:, i] = one if t in (CLEANED, SCALED[1], SPREAD) else alone
    s["sums"] = 0.0
    s["usual"] = _NORMAL
    for t, sizes in ((CLEANED, error), (SCALED[1], error), (CLOCK, np.abs(left))):  # the largest but one is nothing odd
        high = np.sort(sizes, axis=1)[:, -2] / s["scales"][:, _SCALED.index(t)]
        s["usual"][:, t] = np.maximum(s["usual"][:, t], high.max(axis=1))
    s["cleaned"] = 0.0
    s["cleaned"][:, -BLOCK:] = left
    s["plain"] = s["cleaned"]
    s["seen"] = left[:, -ROWS:]
    s["means"][:, 0] = 0.0
    s["means"][:, 1] = one
    s["last"] = (x[:, -1] - middle) / unit
    s["block"] = left
    s["counts"] = 0
    _tails(s)
    s["calm"] = -1
    s["phase"] = JUDGING
    s["rows"] = 0
    return s
