"""The judgement row by row, compiled: a row reads and changes the record of its own series and nothing else.

    run ── for each row ──▶ judge ─▶ look (each channel) ─▶ given ─▶ scale ─▶ picture ─▶ rare ─▶ band ─▶ tell
                        │     └─ every 16th row of the series ─▶ learn (scales, clock, tails)
                        └─▶ gather, then begin: the first rows of a series that is not known

The formulas are those of `terms`, `ranking`, `alarm` and `clock`; tests hold the two together. All is scalar, one operation after the other in a fixed
order, without `fastmath`: no cut, order, neighbour or thread changes a bit. Records are the arrays of `record`, seen as 64, 32 and 16 bits:
`h` is where a series begins, `c` where one of its channels does, in units of 8 bytes; `m` where what was learnt of it begins. Constants in
capitals are places of fields. `compiling` turns `run` into machine code; nothing else imports this module, which needs Numba.
"""

from __future__ import annotations

import math
from typing import Any

import numba
import numpy as np
from numpy.typing import NDArray

from detectors.judgement.alarm import BINS, BODY, LOWEST, PRIOR, PRIOR_ROWS, REMEMBERED, SHAPE, SLACK, WIDTH
from detectors.judgement.autoregression import ORDER
from detectors.judgement.clock import CLIP as CLOCK_CLIP
from detectors.judgement.clock import DAY, DAY_BINS, GAIN, WEEK, WEEK_BINS
from detectors.judgement.ranking import FADE, HOLD, NORMAL_ROWS, ONE, RAISED, SEVERAL
from detectors.judgement.record import (
    BIAS,
    CHANNEL,
    EDGE,
    HEAD,
    JUDGING,
    LEAST,
    MOVES,
    NORMAL,
    STILL,
    WILD,
)
from detectors.judgement.record import learnt as learnt_record
from detectors.judgement.short_state import CENTRES, ROWS
from detectors.judgement.state import BLOCK
from detectors.judgement.terms import (
    ALARMS,
    CLEANED,
    CLIP,
    CLOCK,
    FAR,
    FLAT,
    GIVEN,
    HIGHEST,
    LONGEST,
    PLAIN,
    QUARTER,
    SCALED,
    SPREAD,
    STATE,
    TERMS,
)

Array = NDArray[Any]
OPTIONS: dict[str, Any] = {
    "nogil": True,
    "error_model": "numpy",
    "boundscheck": False,
    "fastmath": False,
    "no_cfunc_wrapper": True,
}
_numba: Any = numba  # its types know fewer options than it has
inner = _numba.njit(no_cpython_wrapper=True, **OPTIONS)
SIGNATURE = "void(f8[::1], i8[::1], f4[::1], i4[::1], u2[::1], f4[::1], i8[::1], f8[:, ::1], i8[::1], f8[::1], u1[::1], f8[:, :, ::1], f8[:, ::1], u1[:, ::1])"
"""Of `run`."""


def _place(dtype: np.dtype[Any], name: str) -> int:
    fields = dtype.fields
    assert fields is not None
    of, at = fields[name][:2]
    return int(at // of.base.itemsize)


_S, _A, _T = len(SCALED), len(ALARMS), len(TERMS)
_HEAD, _CHANNEL = HEAD.itemsize // 8, CHANNEL.itemsize // 8
_ROWS, _LOCAL, _RPD, _DAYS, _WEEKS = (_place(HEAD, n) for n in ("rows", "local", "rows_a_day", "days", "weeks"))
_BAR, _PEAK, _USUAL, _TAILS = (_place(HEAD, n) for n in ("bar", "peak", "usual", "tails"))
_PHASE, _KNOWN, _CALM = (_place(HEAD, n) for n in ("phase", "known", "calm"))
_BINS, _COUNTS = (_place(HEAD, n) for n in ("bins", "counts"))
_FIRST, _MIDDLE, _UNIT, _LEVEL, _SLOPE = (_place(CHANNEL, n) for n in ("first", "middle", "unit", "level", "slope"))
_ERRORS, _LAST, _SCALES, _SUMS = (_place(CHANNEL, n) for n in ("errors", "last", "scales", "sums"))
_FOLLOWS, _CLEANED, _PLAIN, _SEEN = (_place(CHANNEL, n) for n in ("follows", "cleaned", "plain", "seen"))
_MEANS, _BLOCK, _EQUAL, _FAR = (_place(CHANNEL, n) for n in ("means", "block", "equal", "far"))
_DAY, _WEEK = _place(CHANNEL, "day"), _place(CHANNEL, "week")
_OF = learnt_record(1)["channels"].base
_LONGEST, _CENTRES, _OTHERS = (_place(_OF, n) for n in ("longest", "centres", "others"))

# One array of the numbers of a row; nothing in it but the level of the last budget outlives the row.
_U, _BEYOND, _LEVELS, _NEAR, _LEFT = 0, _T, _T + _A, _T + 2 * _A, _T + 2 * _A + CENTRES
_BUDGET, _OWN = _LEFT + 3 * BLOCK, _LEFT + 3 * BLOCK + 2
_X, _AT, _EXPECTED, _FORECAST, _SIZE, _OUT = 0, 1, 2, 3, 4, 4 + _S
_WIDE = 4 + 2 * _S

_I_SPREAD, _I_QUARTER, _I_GIVEN = SCALED.index(SPREAD), SCALED.index(QUARTER), SCALED.index(GIVEN)
_I_PLAIN, _I_CLEANED, _I_CLOCK = SCALED.index(PLAIN), SCALED.index(CLEANED), SCALED.index(CLOCK)
_TERM_OF_ALARM, _TERM_OF_SCALED = np.array(ALARMS), np.array(SCALED)
_ALONE = _A - 2
"""Alarms of one channel."""
_MONDAY = 4 * DAY
_HUGE = 1e300
_LN2, _LN4, _LN10 = math.log(2.0), math.log(4.0), math.log(10.0)
_LOWEST_U = 1e-9
_USUAL_OF_NEW = np.array(NORMAL)
_ONE, _SEVERAL = float(ONE.sum()), float(SEVERAL.sum())


# Small


@inner
def half(bits):
    """Value of a 16-bit float, finite."""
    exponent, fraction = (bits >> 10) & 31, bits & 1023
    size = math.ldexp(float(fraction), -24) if exponent == 0 else math.ldexp(float(1024 + fraction), exponent - 25)
    return -size if bits >> 15 else size


@inner
def half_bits(value):
    """Bits of the nearest 16-bit float, ties to even; the largest finite one where it is beyond."""
    size = abs(value)
    if size >= 65504.0:
        bits = 0x7BFF
    elif size < 2.0**-14:
        bits = int(np.rint(size * 16777216.0))
    else:
        fraction, exponent = math.frexp(size)
        bits = ((exponent + 14) << 10) + int(np.rint(fraction * 2048.0)) - 1024
    return bits | 0x8000 if value < 0 else bits


@inner
def between(x, low, high):
    """x, bounded."""
    return min(max(x, low), high)


@inner
def cluster(a, rows_a_day):
    """How many rows of an alarm's term go together, see `terms.rows_of`; `a` counts in ALARMS."""
    if a == 2 or a == 4 or a == 6:
        return 4.0
    return between(rows_a_day / 4.0, 12.0, 500.0) / 2.0 if a == 3 else 1.0


@inner
def shares(f8, c):
    """Weights of the three forecasts of the clock."""
    a, b, d = f8[c + _ERRORS], f8[c + _ERRORS + 1], f8[c + _ERRORS + 2]
    least = min(a, b, d) + 1e-9
    a, b, d = least / (a + 1e-9), least / (b + 1e-9), least / (d + 1e-9)
    a, b, d = a * a * a * a, b * b * b * b, d * d * d * d
    total = a + b + d
    return a / total, b / total, d / total


@inner
def bin_of(local, period, bins, most):
    """Bin of a local time in a day or a week; of records that say what cannot be, within the array all the same."""
    return (local - _MONDAY) % period * min(np.int64(bins), most) // period


@inner
def shifted(f4, at, n, x):
    """The oldest of n leaves, `x` enters."""
    row = f4[at : at + n]
    for i in range(n - 1):
        row[i] = row[i + 1]
    row[n - 1] = x


# A row


@inner
def look(f8, f4, i4, u2, learnt, w, h, c, m, o, value, day, week):
    """One channel: what the clock and the rows before it expect, and the sizes of its scaled terms; contexts and means move on."""
    x = (value - f8[c + _MIDDLE]) / f8[c + _UNIT]
    level = f8[c + _LEVEL] + f8[c + _SLOPE] * w[_BUDGET + 1]
    x = level if math.isnan(x) else between(x, -WILD, WILD)
    by_day = level + half(u2[4 * c + _DAY + day])
    by_week = by_day + half(u2[4 * c + _WEEK + week])
    a, b, d = shares(f8, c)
    expected = level * a + by_day * b + by_week * d
    left = x - expected
    f = 2 * c
    cleaned, plain = 0.0, 0.0
    weights, one, two = (
        learnt[m : m + ORDER],
        f4[f + _CLEANED : f + _CLEANED + ORDER],
        f4[f + _PLAIN : f + _PLAIN + ORDER],
    )
    for i in range(ORDER):
        weight = np.float64(weights[i])
        cleaned += np.float64(one[i]) * weight
        plain += np.float64(two[i]) * weight
    cleaned += f8[c + _FOLLOWS] * np.float64(one[ORDER - 1])
    plain += f8[c + _FOLLOWS] * np.float64(two[ORDER - 1])
    error, plain_error = abs(left - cleaned), abs(left - plain)
    enters = left
    if error > FAR * f8[c + _SCALES]:
        i4[f + _FAR] += 1
        if i4[f + _FAR] > LONGEST:
            i4[f + _FAR] = 0
            for i in range(ORDER):
                one[i] = two[i]
        else:
            enters = cleaned
    else:
        i4[f + _FAR] = 0
    shifted(f4, f + _CLEANED, ORDER, enters)
    shifted(f4, f + _PLAIN, ORDER, left)
    shifted(f4, f + _SEEN, ROWS, x)
    bound = 8.0 * f8[c + _SCALES + 2]
    mean, spread = np.float64(f4[f + _MEANS]), np.float64(f4[f + _MEANS + 1])
    f4[f + _MEANS] = mean + (between(left, -bound, bound) - mean) / between(f8[h + _RPD] / 4.0, 12.0, 500.0)
    f4[f + _MEANS + 1] = spread + 0.125 * (min(plain_error, 10.0 * f8[c + _SCALES + 1]) - spread)
    i4[f + _EQUAL] = i4[f + _EQUAL] + 1 if x == f8[c + _LAST] else 0
    f8[c + _LAST] = x
    stretch = 0.0
    for i in range(ORDER - 8, ORDER):
        stretch += np.float64(two[i])
    w[o + _X], w[o + _AT], w[o + _EXPECTED], w[o + _FORECAST] = x, level, expected, cleaned
    w[o + _SIZE], w[o + _SIZE + 1], w[o + _SIZE + 2] = error, plain_error, abs(left)
    w[o + _SIZE + 3], w[o + _SIZE + 4] = abs(stretch / 8.0), abs(np.float64(f4[f + _MEANS]))
    w[o + _SIZE + 5], w[o + _SIZE + 6], w[o + _SIZE + 7] = np.float64(f4[f + _MEANS + 1]), 0.0, 0.0


@inner
def given(f4, learnt, w, h, m, C):
    """What is left of each channel when all others are known: of the newest row, and the mean of eight."""
    for k in range(C):
        others, o = m + k * (_OTHERS + C) + _OTHERS, _OWN + k * _WIDE
        newest, total = 0.0, 0.0
        for i in range(ROWS):
            newest = 0.0
            for j in range(C):
                seen = f4[2 * (h + _HEAD + j * _CHANNEL) + _SEEN + i]
                newest += np.float64(seen) * np.float64(learnt[others + j])
            total += newest
        w[o + _SIZE + 6], w[o + _SIZE + 7] = abs(newest), abs(total / ROWS)


@inner
def scale(f8, w, h, C):
    """Each size by its own slow scale; the channels of a term become one number, in units of its own 99 % quantile."""
    for i in range(_S):
        for k in range(C):
            c, o = h + _HEAD + k * _CHANNEL, _OWN + k * _WIDE
            slow, size = f8[c + _SCALES + i], w[o + _SIZE + i]
            f8[c + _SUMS + i] += min(size, CLIP * slow)
            size /= slow
            w[o + _OUT + i] = max(size - 1.0, 0.0) if i == _I_SPREAD else size
        t = _TERM_OF_SCALED[i]
        w[_U + t] = (w[_OWN + _OUT + i] if C == 1 else highest(w, i, C)) / f8[h + _USUAL + t]


@inner
def highest(w, i, C):
    """Mean of the three highest logarithms, taken back."""
    a, b, d = -1.0, -1.0, -1.0
    for k in range(C):
        size = w[_OWN + k * _WIDE + _OUT + i]
        if size > a:
            a, b, d = size, a, b
        elif size > b:
            b, d = size, b
        elif size > d:
            d = size
    total = math.log1p(a) + math.log1p(b)
    if C == 2:
        return math.expm1(total / 2)
    return math.expm1((total + math.log1p(d)) / HIGHEST)


@inner
def picture(f4, learnt, w, h, m, C):
    """Root mean square distance of the last 8 rows to the nearest centre."""
    near = w[_NEAR : _NEAR + CENTRES]
    for j in range(CENTRES):
        near[j] = 0.0
    for k in range(C):
        seen, centres = 2 * (h + _HEAD + k * _CHANNEL) + _SEEN, m + k * (_OTHERS + C) + _CENTRES
        for i in range(ROWS):
            x, of = (
                np.float64(f4[seen + i]) - w[_OWN + k * _WIDE + _AT],
                learnt[centres + i * CENTRES : centres + (i + 1) * CENTRES],
            )
            for j in range(CENTRES):
                off = x - np.float64(of[j])
                near[j] += off * off
    best = near[0]
    for j in range(1, CENTRES):
        best = min(best, near[j])
    return math.sqrt(best / (ROWS * C))


@inner
def rare(f8, w, h, C, young, budget):
    """By how much the rarest term is beyond its level; of all terms in `w`."""
    known, rows_a_day = _A if C > 1 else _ALONE, f8[h + _RPD]
    if budget != w[_BUDGET]:
        w[_BUDGET] = budget
        for a in range(_A):
            w[_LEVELS + a] = math.log10(max(budget, 200.0) * known / cluster(a, 48.0)) - SLACK
    w[_LEVELS + 3] = math.log10(max(budget, 200.0) * known / cluster(3, rows_a_day)) - SLACK
    best = -np.inf
    for a in range(_A):
        if a >= known or (young and a > 0):
            w[_BEYOND + a] = -np.inf
            continue
        u, start = w[_U + _TERM_OF_ALARM[a]], f8[h + _TAILS + 2 * a]
        rarity = EDGE * min(u / start, 1.0)
        if u > start:
            rarity += math.log10(1.0 + SHAPE * ((u - start) / f8[h + _TAILS + 2 * a + 1])) / SHAPE
        w[_BEYOND + a] = rarity - w[_LEVELS + a]
        best = max(best, w[_BEYOND + a])
    return best


@inner
def reach(f8, w, h, a, t):
    """In units of the scale: how far out a row alarms by this term."""
    wanted = max(w[_LEVELS + a] + f8[h + _BAR] - EDGE, 0.0)
    over = (math.exp(SHAPE * wanted * _LN10) - 1.0) / SHAPE
    return (f8[h + _TAILS + 2 * a] + f8[h + _TAILS + 2 * a + 1] * over) * f8[h + _USUAL + t]


@inner
def band(f8, w, h, C, out, b):
    """Between what a row alarms by none of the two terms of its newest value; of several channels, where each is as far out as it."""
    one, clock = reach(f8, w, h, 0, CLEANED), reach(f8, w, h, 1, CLOCK)
    for k in range(C):
        c, o = h + _HEAD + k * _CHANNEL, _OWN + k * _WIDE
        half_one, half_clock = one * f8[c + _SCALES + _I_CLEANED], clock * f8[c + _SCALES + _I_CLOCK]
        middle = w[o + _EXPECTED]
        low, high = middle + w[o + _FORECAST] - half_one, middle + w[o + _FORECAST] + half_one
        inner_low, inner_high = max(low, middle - half_clock), min(high, middle + half_clock)
        if inner_low <= inner_high:
            low, high = inner_low, inner_high
        out[b, 2 + _T + k] = (low + high) / 2.0 * f8[c + _UNIT] + f8[c + _MIDDLE]
        out[b, 2 + _T + C + k] = (high - low) / 2.0 * f8[c + _UNIT]


@inner
def tell(f8, i4, u2, w, h, C, whole, strength, budget, out, told, b):
    """Score, whether it is anomalous, whose share it is; hold, bar and counts move on."""
    total = 0.0
    for t in range(_T):
        u = w[_U + t]
        out[b, 2 + t] = u
        if u > 0.0:
            total += math.log2(1.0 + u) * (SEVERAL[t] if whole else ONE[t])
    now = total / (_SEVERAL if whole else _ONE)
    f8[h + _PEAK] = max(now, f8[h + _PEAK] * (1.0 - FADE))
    anomalous, calm = strength >= f8[h + _BAR], i4[2 * h + _CALM]
    out[b, 0], out[b, 1], told[b, 0], told[b, 1] = max(now, HOLD * f8[h + _PEAK]), strength, anomalous, 1
    bar = f8[h + _BAR] + RAISED if anomalous and calm < 0 else f8[h + _BAR]
    bar = max(bar - RAISED / budget, 0.0)
    f8[h + _BAR] = bar
    i4[2 * h + _CALM] = 0 if anomalous else (calm + 1 if 0 <= calm < NORMAL_ROWS - 1 else -1)
    for a in range(_A):
        if w[_BEYOND + a] < bar:
            place = math.floor((math.log2(max(w[_U + _TERM_OF_ALARM[a]], _LOWEST_U)) - LOWEST) / WIDTH)
            u2[4 * h + _COUNTS + a * BINS + int(between(place, 0, BINS - 1))] += 1
    total = 0.0
    for k in range(C):
        o, odd = _OWN + k * _WIDE + _OUT, 1.0
        for i in range(_I_GIVEN, _S) if whole else range(_I_QUARTER + 1):
            if i != _I_PLAIN:
                odd *= 1.0 + w[o + i]
        odd = math.log(odd)
        out[b, 2 + _T + 2 * C + k] = odd
        total += odd
    for k in range(C):
        out[b, 2 + _T + 2 * C + k] /= max(total, 1e-12)


@inner
def judge(f8, i8, f4, i4, u2, learnt, w, bins, h, m, C, values, local, budget, sizes, out, told, b):
    """One row of a series that is judged; with the last of a block, what is slow moves on. With room for `sizes`, only these are told."""
    rows, rows_a_day = i8[h + _ROWS], f8[h + _RPD]
    at, whole = rows % BLOCK, learnt[m + C * (_OTHERS + C)] != 0
    w[_BUDGET + 1] = at + 1.0
    day = bin_of(local, DAY, u2[4 * h + _BINS], DAY_BINS)
    week = bin_of(local, WEEK, u2[4 * h + _BINS + 1], WEEK_BINS)
    still = 0.0
    for k in range(C):
        c, of, o = h + _HEAD + k * _CHANNEL, m + k * (_OTHERS + C), _OWN + k * _WIDE
        look(f8, f4, i4, u2, learnt, w, h, c, of, o, values[b, k], day, week)
        f4[2 * c + _BLOCK + at] = w[o + _X]
        still = max(still, i4[2 * c + _EQUAL] / (2.0 * np.float64(learnt[of + _LONGEST]) + 6.0))
    if whole:
        given(f4, learnt, w, h, m, C)
    i8[h + _LOCAL + at] = local
    i8[h + _ROWS] = rows + 1
    if len(sizes):
        for i in range(_S):
            for k in range(C):
                sizes[b, i, k] = w[_OWN + k * _WIDE + _SIZE + i]
        if at == BLOCK - 1:
            learn_clock(f8, i8, f4, i4, u2, w, bins, h, C)
        return
    scale(f8, w, h, C)
    known = i4[2 * h + _KNOWN] > 0
    w[_U + STATE] = picture(f4, learnt, w, h, m, C) / f8[h + _USUAL + STATE] if known else 0.0
    w[_U + FLAT] = max(2.0 * still - 1.0, 0.0) / f8[h + _USUAL + FLAT]
    young = not known and rows < between(rows_a_day, LEAST, DAY_BINS)
    strength = max(rare(f8, w, h, C, young, budget), 2.0 * (w[_U + FLAT] - 1.0))
    band(f8, w, h, C, out, b)
    tell(f8, i4, u2, w, h, C, whole, strength, budget, out, told, b)
    if at == BLOCK - 1:
        slow = BLOCK / between(20.0 * rows_a_day, 500.0, 20_000.0)
        if not known:
            slow = max(slow, BLOCK / (rows + 1 + 2.0 * BLOCK))
        for k in range(C):
            c = h + _HEAD + k * _CHANNEL
            for i in range(_S):
                was = f8[c + _SCALES + i]
                f8[c + _SCALES + i] = max(was + slow * (BIAS * f8[c + _SUMS + i] / BLOCK - was), 1e-6)
                f8[c + _SUMS + i] = 0.0
        learn_clock(f8, i8, f4, i4, u2, w, bins, h, C)
        tails(f8, u2, h)


# What is slow


@inner
def learn_clock(f8, i8, f4, i4, u2, w, bins, h, C):
    """See `clock.Clock.learn`; of a series that is not known, what was learnt from few rows moves with each as a mean does."""
    rows, rows_a_day, young = i8[h + _ROWS], f8[h + _RPD], i4[2 * h + _KNOWN] == 0
    slow, steady, turn = 1.0 / between(7.0 * rows_a_day, 200.0, 5000.0), between(rows_a_day, 24.0, 2000.0), 0.02
    days, weeks = f8[h + _DAYS], f8[h + _WEEKS]
    f8[h + _DAYS] = days + BLOCK / max(rows_a_day, 1.0)
    f8[h + _WEEKS] = weeks + BLOCK / max(7.0 * rows_a_day, 1.0)
    if young:
        slow, steady = max(slow, 1.0 / (rows + 2.0 * BLOCK)), min(steady, BLOCK + rows / 8.0)
        turn = 0.0 if f8[h + _DAYS] < 2 else turn
    of_day, of_week = u2[4 * h + _BINS], u2[4 * h + _BINS + 1]
    for i in range(BLOCK):
        bins[i] = bin_of(i8[h + _LOCAL + i], DAY, of_day, DAY_BINS)
        bins[BLOCK + i] = bin_of(i8[h + _LOCAL + i], WEEK, of_week, WEEK_BINS)
    for k in range(C):
        c = h + _HEAD + k * _CHANNEL
        a, b, d = shares(f8, c)
        bound = CLOCK_CLIP * (f8[c + _ERRORS] * a + f8[c + _ERRORS + 1] * b + f8[c + _ERRORS + 2] * d)
        step = 0.0
        for i in range(BLOCK):
            x, level = np.float64(f4[2 * c + _BLOCK + i]), f8[c + _LEVEL] + f8[c + _SLOPE] * (i + 1)
            by_day = level + half(u2[4 * c + _DAY + bins[i]])
            by_week = by_day + half(u2[4 * c + _WEEK + bins[BLOCK + i]])
            step += between(x - (level * a + by_day * b + by_week * d), -bound, bound)
            w[_LEFT + i], w[_LEFT + BLOCK + i], w[_LEFT + 2 * BLOCK + i] = x - level, x - by_day, x - by_week
        for j in range(3):
            usual, total = f8[c + _ERRORS + j], 0.0
            for i in range(BLOCK):
                total += min(abs(w[_LEFT + j * BLOCK + i]), CLOCK_CLIP * usual)
            f8[c + _ERRORS + j] = usual + BLOCK * slow * (total / BLOCK * 1.05 - usual)
        if of_day > 1:
            profile(u2, w, bins, 4 * c + _DAY, 0, CLOCK_CLIP * f8[c + _ERRORS + 1], max(GAIN, 1.0 / (days + 1.0)))
        if of_week > 1:
            profile(u2, w, bins, 4 * c + _WEEK, BLOCK, CLOCK_CLIP * f8[c + _ERRORS + 2], max(GAIN, 1.0 / (weeks + 1.0)))
        step /= steady
        f8[c + _SLOPE] += turn * step / BLOCK
        f8[c + _LEVEL] += BLOCK * f8[c + _SLOPE] + step
        if young:  # what was left of the level as it was
            for i in range(ORDER):
                f4[2 * c + _CLEANED + i] -= step
                f4[2 * c + _PLAIN + i] -= step


@inner
def profile(u2, w, bins, at, of, bound, gain):
    """Each bin moves by the mean of what its rows of the block were off."""
    for i in range(BLOCK):
        mine, again = bins[of + i], False
        for j in range(i):
            again = again or bins[of + j] == mine
        if again:
            continue
        total, n = 0.0, 0
        for j in range(i, BLOCK):
            if bins[of + j] == mine:
                total += between(w[_LEFT + BLOCK + of + j], -bound, bound)
                n += 1
        u2[at + mine] = half_bits(half(u2[at + mine]) + gain * (total / n))


@inner
def tails(f8, u2, h):
    """The oldest are forgotten, and tails follow from the counts; see `alarm.body`."""
    for a in range(_A):
        total, at = 0, 4 * h + _COUNTS + a * BINS
        for j in range(BINS):
            total += np.int64(u2[at + j])
        if total >= REMEMBERED:
            total = 0
            for j in range(BINS):
                u2[at + j] = u2[at + j] >> 1
                total += np.int64(u2[at + j])
        apart = total / cluster(a, f8[h + _RPD])
        weight, wide = apart / (apart + PRIOR_ROWS), 1.0 + 10.0 / (apart + 5.0)
        low = quantile(u2, at, BODY[0] * total) * weight + (1.0 - weight) * PRIOR[0] * wide
        high = quantile(u2, at, BODY[1] * total) * weight + (1.0 - weight) * PRIOR[1] * wide
        f8[h + _TAILS + 2 * a], f8[h + _TAILS + 2 * a + 1] = low, max((high - low) / _LN4, 0.03 * low)


@inner
def quantile(u2, at, rank):
    """Value at this rank of the counts, within its bin by the way it has come."""
    below, j = 0, 0
    while j < BINS - 1 and below + np.int64(u2[at + j]) < rank:
        below += np.int64(u2[at + j])
        j += 1
    inside = (rank - below) / max(np.int64(u2[at + j]), 1)
    return math.exp((LOWEST + WIDTH * (j + inside)) * _LN2)


# The first rows of a series that is not known


@inner
def gather(f8, i8, i4, w, h, C, values, local, out, told, b):
    """Keep the newest 16 rows; whether they are enough. Of what stands still, they are a while later."""
    for j in range(2 + _T):
        out[b, j] = 0.0
    out[b, 1] = -np.inf
    told[b, 0], told[b, 1] = 0, 0
    rows = i8[h + _ROWS]
    at, most = min(rows, BLOCK - 1), 0
    if rows >= BLOCK:
        for i in range(BLOCK - 1):
            i8[h + _LOCAL + i] = i8[h + _LOCAL + i + 1]
    i8[h + _LOCAL + at] = local
    for k in range(C):
        out[b, 2 + _T + k], out[b, 2 + _T + C + k], out[b, 2 + _T + 2 * C + k] = np.nan, np.nan, np.nan
        first = h + _HEAD + k * _CHANNEL + _FIRST
        if rows >= BLOCK:
            for i in range(BLOCK - 1):
                f8[first + i] = f8[first + i + 1]
        value, moves = values[b, k], 0
        if math.isnan(value):
            value = f8[first + at - 1] if at > 0 else 0.0
        f8[first + at] = between(value, -_HUGE, _HUGE)
        for i in range(BLOCK - 1):
            moves += f8[first + i] != f8[first + i + 1]
        most = max(most, moves)
    i8[h + _ROWS] = rows + 1
    return rows + 1 >= BLOCK and (most >= MOVES or rows + 1 >= STILL)


@inner
def ordered(w, n):
    """Sort the first n of LEFT."""
    for i in range(1, n):
        x, j = w[_LEFT + i], i
        while j > 0 and w[_LEFT + j - 1] > x:
            w[_LEFT + j] = w[_LEFT + j - 1]
            j -= 1
        w[_LEFT + j] = x


@inner
def begin(f8, i8, f4, i4, u2, w, h, C):
    """From 16 rows: level, spread, how a row follows from the one before; judged from now on."""
    for i in range(BLOCK - 1):
        w[_LEFT + i] = i8[h + _LOCAL + i + 1] - i8[h + _LOCAL + i]
    ordered(w, BLOCK - 1)
    step = max(int(w[_LEFT + (BLOCK - 1) // 2]), 1)
    u2[4 * h + _BINS], u2[4 * h + _BINS + 1] = between(DAY // step, 1, DAY_BINS), between(WEEK // step, 1, WEEK_BINS)
    f8[h + _RPD], f8[h + _DAYS], f8[h + _WEEKS], f8[h + _BAR], f8[h + _PEAK] = DAY / step, 0.0, 0.0, 0.0, 0.0
    for t in range(_T):
        f8[h + _USUAL + t] = _USUAL_OF_NEW[t]
    for k in range(C):
        begin_channel(f8, f4, i4, u2, w, h, h + _HEAD + k * _CHANNEL)
    for i in range(_A * BINS):
        u2[4 * h + _COUNTS + i] = 0
    tails(f8, u2, h)
    i4[2 * h + _CALM], i4[2 * h + _PHASE], i8[h + _ROWS] = -1, JUDGING, 0


@inner
def begin_channel(f8, f4, i4, u2, w, h, c):
    """One channel of a series that begins."""
    first, x, f = c + _FIRST, _LEFT + BLOCK, 2 * c
    for i in range(BLOCK):
        w[_LEFT + i] = f8[first + i]
    ordered(w, BLOCK)
    middle = w[_LEFT + 7] / 2.0 + w[_LEFT + 8] / 2.0
    for i in range(BLOCK):
        w[_LEFT + i] = abs(f8[first + i] - middle)
    ordered(w, BLOCK)
    spread = 1.4826 * (w[_LEFT + 7] + w[_LEFT + 8]) / 2.0
    unit = max(spread, 0.3 * w[_LEFT + BLOCK - 2], 1e-4 * abs(middle) + 1e-9)
    both, before, total = 0.0, 0.0, 0.0
    for i in range(BLOCK):
        w[x + i] = between((f8[first + i] - middle) / unit, -8.0, 8.0)
        total += abs(w[x + i])
        if i > 0:
            both += w[x + i] * w[x + i - 1]
            before += w[x + i - 1] * w[x + i - 1]
    follows, usual = between(both / (before + 2.0), 0.0, 1.0), max(total / BLOCK, 0.3)
    total = 0.0
    for i in range(BLOCK - 1):
        w[_LEFT + i] = abs(w[x + i + 1] - follows * w[x + i])
        total += w[_LEFT + i]
    one = max(total / (BLOCK - 1) * 1.3, 0.1)
    ordered(w, BLOCK - 1)
    high = w[_LEFT + BLOCK - 3] / one  # the largest but one is nothing odd
    f8[h + _USUAL + CLEANED] = max(f8[h + _USUAL + CLEANED], high)
    f8[h + _USUAL + PLAIN] = max(f8[h + _USUAL + PLAIN], high)
    for i in range(BLOCK):
        w[_LEFT + i] = abs(w[x + i])
    ordered(w, BLOCK)
    f8[h + _USUAL + CLOCK] = max(f8[h + _USUAL + CLOCK], w[_LEFT + BLOCK - 2] / usual)
    f8[c + _MIDDLE], f8[c + _UNIT], f8[c + _FOLLOWS], f8[c + _LEVEL], f8[c + _SLOPE] = middle, unit, follows, 0.0, 0.0
    f8[c + _LAST] = (f8[first + BLOCK - 1] - middle) / unit
    for j in range(3):
        f8[c + _ERRORS + j] = usual
    for i in range(_S):
        f8[c + _SCALES + i] = one if i in (_I_CLEANED, _I_PLAIN, _I_SPREAD) else usual
        f8[c + _SUMS + i] = 0.0
    for i in range(ORDER):
        old = i < ORDER - BLOCK
        f4[f + _CLEANED + i] = 0.0 if old else w[x + i - ORDER + BLOCK]
        f4[f + _PLAIN + i] = 0.0 if old else w[x + i - ORDER + BLOCK]
    for i in range(BLOCK):
        f4[f + _BLOCK + i] = w[x + i]
    for i in range(ROWS):
        f4[f + _SEEN + i] = w[x + BLOCK - ROWS + i]
    f4[f + _MEANS], f4[f + _MEANS + 1], i4[f + _EQUAL], i4[f + _FAR] = 0.0, one, 0, 0
    for i in range(DAY_BINS):
        u2[4 * c + _DAY + i] = 0
    for i in range(WEEK_BINS):
        u2[4 * c + _WEEK + i] = 0


@inner
def restart(f8, f4, i4, h, C):
    """Rows are missing before the next: contexts begin anew, what was learnt stays."""
    for k in range(C):
        c = h + _HEAD + k * _CHANNEL
        f = 2 * c
        for i in range(ORDER):
            f4[f + _CLEANED + i], f4[f + _PLAIN + i] = 0.0, 0.0
        for i in range(ROWS):
            f4[f + _SEEN + i] = f8[c + _LEVEL]
        f4[f + _MEANS], f4[f + _MEANS + 1], i4[f + _FAR], i4[f + _EQUAL] = 0.0, 0.0, 0, 0
        f8[c + _LAST] = np.nan


def run(f8, i8, f4, i4, u2, learnt, rows, values, local, budget, anew, sizes, out, told):
    """All rows, one after the other; see `population.Population.step` for what they are.

    Parameters
    ----------
    f8, i8, f4, i4, u2
        The records, one memory.
    learnt
        What was learnt, of the series at each `known`.
    rows, local, budget, anew : (B,)
    values : (B, C)
    sizes : (B, S, C), or (0, S, C)
        Takes the sizes of the scaled terms; then nothing but contexts and clock moves on.
    out : (B, 2 + T + 3 C)
        Takes score, strength, terms, expected, band, shares.
    told : (B, 2)
        Takes whether anomalous, whether judged.
    """
    C = values.shape[1]
    record, known = _HEAD + C * _CHANNEL, C * (_OTHERS + C) + 1
    w, bins = np.empty(_OWN + C * _WIDE), np.empty(2 * BLOCK, np.int64)
    w[_BUDGET] = -1.0
    for b in range(len(rows)):
        h = rows[b] * record
        if i4[2 * h + _PHASE] == JUDGING:
            if anew[b]:
                restart(f8, f4, i4, h, C)
            m = i4[2 * h + _KNOWN] * known
            if m < 0 or m >= len(learnt):  # a record of another model's series
                i4[2 * h + _KNOWN], m = 0, 0
            judge(f8, i8, f4, i4, u2, learnt, w, bins, h, m, C, values, local[b], budget[b], sizes, out, told, b)
        elif gather(f8, i8, i4, w, h, C, values, local[b], out, told, b):
            begin(f8, i8, f4, i4, u2, w, h, C)
