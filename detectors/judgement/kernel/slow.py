"""What moves on with every 16th row of a series: its slow scales and the clock."""

from __future__ import annotations

import numpy as np

from detectors.judgement.alarm import BINS, OFTEN, TOP
from detectors.judgement.autoregression import ORDER
from detectors.judgement.clock import CLIP as CLOCK_CLIP
from detectors.judgement.clock import (
    CLIP_COARSE,
    COARSE,
    DAY,
    DAY_BINS,
    GAIN,
    NEWEST,
    NOTHING,
    ROUNDED,
    SETTLED,
    SETTLED_BY,
    SETTLED_DAYS,
    WEEK,
    WEEK_BINS,
)
from detectors.judgement.kernel import field
from detectors.judgement.kernel.layout import (
    ALARM_OF_TERM,
    I_CLOCK,
    OWN,
    OWN_EXPECTED,
    OWN_X,
    W_LEFT,
    W_PARTS,
    WIDE,
    S,
    between,
    bin_of,
    by_week,
    day_of,
    half,
    half_bits,
    in_week,
    inner,
    shares,
    stands,
)
from detectors.judgement.kernel.seldom import comes, idle, lives, mostly_still
from detectors.judgement.kernel.tail import forget, tails
from detectors.judgement.record import BIAS
from detectors.judgement.returning import BITS, KEPT, LONG
from detectors.judgement.state import BLOCK
from detectors.judgement.yearly import YEAR

_YEAR_DAYS = YEAR / DAY


@inner
def learn(f8, i8, f4, i4, u2, learnt, w, bins, h, m, C, known):
    """What is slow moves on by one block, see `reference._learn`."""
    rows_a_day, of = f8[h + field.RPD], m + field.LONGEST
    for k in range(C):
        c = h + field.HEAD_WORDS + k * field.CHANNEL_WORDS
        if mostly_still(learnt[of + k * (field.OTHERS + C)]):
            stand(f8, f4, i4, u2, h, c, w[OWN + k * WIDE + OWN_X] - w[OWN + k * WIDE + OWN_EXPECTED])
            lives(f8, f4, i4, u2, h, c)
    slow = BLOCK / between(20.0 * rows_a_day, 500.0, 20_000.0)
    if not known:
        slow = max(slow, BLOCK / (i8[h + field.ROWS] + 2.0 * BLOCK))
    for i in range(S):
        a = ALARM_OF_TERM[i]
        far_out, comes_on = crowded(u2, h, a), f8[h + field.DEBT] > 0.0 or comes(u2, h, a)
        seldom = comes_on and (C > 1 or idle(u2, h, a))
        for k in range(C):
            at = h + field.HEAD_WORDS + k * field.CHANNEL_WORDS
            was = f8[at + field.SCALES + i]
            now = max(was + slow * (BIAS * f8[at + field.SUMS + i] / BLOCK - was), 1e-6)
            stays = far_out or (seldom and mostly_still(learnt[of + k * (field.OTHERS + C)]))
            f8[at + field.SCALES + i] = max(now, was) if stays else now
            f8[at + field.SUMS + i] = 0.0
    learn_clock(f8, i8, f4, i4, u2, w, bins, h, C)
    forget(f8, u2, w, h)
    tails(f8, u2, h)


@inner
def learn_clock(f8, i8, f4, i4, u2, w, bins, h, C):
    """See `clock.Clock.learn`; of a series that is not known, what was learnt from few rows moves with each as a mean does."""
    rows, rows_a_day, young = i8[h + field.ROWS], f8[h + field.RPD], i4[2 * h + field.KNOWN] == 0
    slow, steady, turn = 1.0 / between(7.0 * rows_a_day, 200.0, 5000.0), between(rows_a_day, 24.0, 2000.0), 0.02
    days, weeks = f8[h + field.DAYS], f8[h + field.WEEKS]
    year = rows_a_day <= COARSE and u2[4 * h + field.BINS] > 1
    f8[h + field.DAYS] = days + BLOCK / (rows_a_day * _YEAR_DAYS if year else max(rows_a_day, 1.0))
    f8[h + field.WEEKS] = weeks + BLOCK / max(7.0 * rows_a_day, 1.0)
    if young:
        slow, steady = max(slow, 1.0 / (rows + 2.0 * BLOCK)), min(steady, BLOCK + rows / 8.0)
        turn = 0.0 if f8[h + field.DAYS] < 2 else turn
    clip = CLIP_COARSE if rows_a_day <= COARSE and not young else CLOCK_CLIP
    of_day, of_week, lines = (
        np.int64(u2[4 * h + field.BINS]),
        np.int64(u2[4 * h + field.BINS + 1]),
        u2[4 * h + field.LINES],
    )
    for i in range(BLOCK):
        bins[i] = day_of(i8[h + field.LOCAL + i], rows_a_day, of_day)
        bins[BLOCK + i] = bin_of(i8[h + field.LOCAL + i], WEEK, of_week, WEEK_BINS)
        bins[2 * BLOCK + i], bins[3 * BLOCK + i], w[W_PARTS + i] = in_week(
            i8[h + field.LOCAL + i], rows_a_day, of_week, lines
        )
    for k in range(C):
        c = h + field.HEAD_WORDS + k * field.CHANNEL_WORDS
        a, b, d = shares(f8, c)
        bound = clip * (f8[c + field.ERRORS] * a + f8[c + field.ERRORS + 1] * b + f8[c + field.ERRORS + 2] * d)
        step, untaught = 0.0, i4[2 * c + field.FAR] >> (BITS + 1)
        i4[2 * c + field.FAR] &= 2 * KEPT - 1
        for i in range(BLOCK):
            x, level = np.float64(f4[2 * c + field.BLOCK + i]), f8[c + field.LEVEL] + f8[c + field.SLOPE] * (i + 1)
            by_day = level + half(u2[4 * c + field.DAY + bins[i]])
            weekly = by_day + by_week(u2, 4 * c + field.WEEK, bins[2 * BLOCK + i], bins[3 * BLOCK + i], w[W_PARTS + i])
            if i >= untaught:
                step += between(x - (level * a + by_day * b + weekly * d), -bound, bound)
            w[W_LEFT + i], w[W_LEFT + BLOCK + i], w[W_LEFT + 2 * BLOCK + i] = x - level, x - by_day, x - weekly
        for j in range(3):
            usual, total = f8[c + field.ERRORS + j], 0.0
            for i in range(BLOCK):
                total += min(abs(w[W_LEFT + j * BLOCK + i]), CLOCK_CLIP * usual)
            f8[c + field.ERRORS + j] = usual + BLOCK * slow * (total / BLOCK * 1.05 - usual)
        open_for = f8[c + field.KEPT_SINCE] / rows_a_day
        lasts = i4[2 * c + field.FAR] & KEPT and f8[c + field.KEPT_OVER] == 0.0 and LONG[0] < open_for <= LONG[1]
        if of_day > 1 and not lasts:
            profile(
                u2, w, bins, 4 * c + field.DAY, 0, CLOCK_CLIP * f8[c + field.ERRORS + 1], max(GAIN, 1.0 / (days + 1.0))
            )
        if of_week > 1 and not lasts:
            profile(
                u2,
                w,
                bins,
                4 * c + field.WEEK,
                BLOCK,
                CLOCK_CLIP * f8[c + field.ERRORS + 2],
                max(GAIN, 1.0 / (weeks + 1.0)),
            )
        step /= steady
        f8[c + field.SLOPE] += turn * step / BLOCK
        f8[c + field.LEVEL] += BLOCK * f8[c + field.SLOPE] + step
        if young:  # what was left of the level as it was
            for i in range(ORDER):
                f4[2 * c + field.CLEANED + i] -= step
                f4[2 * c + field.PLAIN + i] -= step


@inner
def settle(f8, f4, h, c):
    """See `reference._settle`; of one channel."""
    rows = max(SETTLED, int(np.rint(SETTLED_DAYS * f8[h + field.RPD])))
    plain = f4[2 * c + field.PLAIN : 2 * c + field.PLAIN + ORDER]
    bound = SETTLED_BY * f8[c + field.SCALES + I_CLOCK]
    side = 1.0 if plain[ORDER - 1] > 0.0 else -1.0
    for i in range(ORDER - rows, ORDER):
        if not np.float64(plain[i]) * side > bound:
            return
    shift = 0.0
    for i in range(ORDER - NEWEST, ORDER):
        shift += np.float64(plain[i])
    shift /= NEWEST
    f8[c + field.LEVEL] += shift
    for i in range(ORDER):
        plain[i] -= shift
        f4[2 * c + field.CLEANED + i] = plain[i]
    f4[2 * c + field.MEANS] = 0.0
    for i in range(S):
        f8[c + field.SCALES + i] = max(f8[c + field.SCALES + i], abs(shift) * ROUNDED)


@inner
def crowded(u2, h, a):
    """See `alarm.crowded`; of one of the alarm's terms."""
    total = 0
    for j in range(BINS - TOP, BINS):
        total += np.int64(u2[4 * h + field.COUNTS + a * BINS + j])
    return total > OFTEN


@inner
def stand(f8, f4, i4, u2, h, c, left):
    """See `reference._stand`; of one channel."""
    f = 2 * c
    if i4[f + field.EQUAL] < stands(f8[h + field.RPD]) or not abs(left) * NOTHING > f8[c + field.SCALES + I_CLOCK]:
        return
    for i in range(DAY_BINS):
        if abs(half(u2[4 * c + field.DAY + i])) > abs(left) * NOTHING:
            return
    for i in range(WEEK_BINS):
        if abs(half(u2[4 * c + field.WEEK + i])) > abs(left) * NOTHING:
            return
    f8[c + field.LEVEL] += left
    for i in range(ORDER):
        f4[f + field.CLEANED + i], f4[f + field.PLAIN + i] = 0.0, 0.0
    f4[f + field.MEANS] = 0.0
    for i in range(S):
        f8[c + field.SCALES + i] = max(f8[c + field.SCALES + i], abs(left) * ROUNDED)


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
                total += between(w[W_LEFT + BLOCK + of + j], -bound, bound)
                n += 1
        u2[at + mine] = half_bits(half(u2[at + mine]) + gain * (total / n))
