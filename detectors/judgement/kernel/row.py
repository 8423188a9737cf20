"""A row of a series that is judged: what is odd about it, the two outputs, the band."""

from __future__ import annotations

import math

import numpy as np

from detectors.judgement.alarm import (
    AFTERMATH,
    BINS,
    EDGE,
    FREE,
    LEAST_AFTER,
    LONGEST_OUT,
    LOWEST,
    MOST_AFTER,
    RAISED,
    SHAPE,
    SLACK,
    TAUGHT,
    WIDTH,
)
from detectors.judgement.autoregression import ORDER
from detectors.judgement.clock import COARSE, DAY_BINS, NEWEST
from detectors.judgement.kernel import field
from detectors.judgement.kernel.again import usual_at
from detectors.judgement.kernel.back import follow
from detectors.judgement.kernel.layout import (
    ALONE,
    I_CLEANED,
    I_CLOCK,
    I_GIVEN,
    I_PLAIN,
    I_QUARTER,
    I_SPREAD,
    ONE_TOTAL,
    OWN,
    OWN_EXPECTED,
    OWN_FORECAST,
    OWN_LEVEL,
    OWN_OUT,
    OWN_SIZE,
    OWN_SPEAKS,
    OWN_X,
    SEVERAL_TOTAL,
    TERM_OF_ALARM,
    TERM_OF_SCALED,
    W_BAR,
    W_BEYOND,
    W_BUDGET,
    W_LEVELS,
    W_NEAR,
    W_SPEAKS,
    W_U,
    WIDE,
    A,
    S,
    T,
    between,
    by_week,
    cluster,
    day_of,
    half,
    in_week,
    inner,
    reach,
    shares,
    shifted,
)
from detectors.judgement.kernel.seldom import rises, stood
from detectors.judgement.kernel.slow import learn, learn_clock, settle
from detectors.judgement.ranking import FADE, HOLD, NORMAL_ROWS, ONE, SEVERAL, STOOD, STOOD_LEAST
from detectors.judgement.record import LEAST, WILD
from detectors.judgement.recurring import ABOVE, BELOW, BOTH, LEAST_ROWS
from detectors.judgement.returning import COUNTED
from detectors.judgement.seldom import OWED
from detectors.judgement.short_state import CENTRES, ROWS
from detectors.judgement.state import BLOCK
from detectors.judgement.terms import (
    CLEANED,
    CLIP,
    CLOCK,
    FAR,
    FLAT,
    HIGHEST,
    LONGEST,
    MOST_NOISE,
    NOISE_UPHELD,
    STATE,
    UPHELD,
)

_LN10 = math.log(10.0)
_LOWEST_U = 1e-9


@inner
def foretold(f8, u2, w, h, c, local):
    """What the clock expects of a channel at a local time."""
    day = day_of(local, f8[h + field.RPD], u2[4 * h + field.BINS])
    low, high, part = in_week(local, f8[h + field.RPD], u2[4 * h + field.BINS + 1], u2[4 * h + field.LINES])
    level = f8[c + field.LEVEL] + f8[c + field.SLOPE] * w[W_BUDGET + 1]
    by_day = level + half(u2[4 * c + field.DAY + day])
    weekly = by_day + by_week(u2, 4 * c + field.WEEK, low, high, part)
    a, b, d = shares(f8, c)
    return level * a + by_day * b + weekly * d


@inner
def restful(f8, u2, w, h, C, values, b, local, rest):
    """By how much a holiday's row is as on the day of rest, 0 to 1, rather than as on the day that it is; see `clock.Clock.between`."""
    along, apart = 0.0, 0.0
    for k in range(C):
        c = h + field.HEAD_WORDS + k * field.CHANNEL_WORDS
        x = (values[b, k] - f8[c + field.MIDDLE]) / f8[c + field.UNIT]
        if not math.isnan(x):
            own = foretold(f8, u2, w, h, c, local)
            way = foretold(f8, u2, w, h, c, rest) - own
            along += (between(x, -WILD, WILD) - own) * way
            apart += way * way
    return between(along / apart, 0.0, 1.0) if apart > 0.0 else 0.0


@inner
def look(f8, f4, i4, u2, learnt, w, h, c, m, o, value, day, low, high, part, rest, share):
    """One channel: what the clock and the rows before it expect, and the sizes of its scaled terms; contexts and means move on."""
    x = (value - f8[c + field.MIDDLE]) / f8[c + field.UNIT]
    level = f8[c + field.LEVEL] + f8[c + field.SLOPE] * w[W_BUDGET + 1]
    x = level if math.isnan(x) else between(x, -WILD, WILD)
    by_day = level + half(u2[4 * c + field.DAY + day])
    weekly = by_day + by_week(u2, 4 * c + field.WEEK, low, high, part)
    a, b, d = shares(f8, c)
    expected = level * a + by_day * b + weekly * d
    if share > 0.0:
        expected += share * (foretold(f8, u2, w, h, c, rest) - expected)
    left = x - expected
    f = 2 * c
    cleaned, plain = 0.0, 0.0
    weights, one, two = (
        learnt[m : m + ORDER],
        f4[f + field.CLEANED : f + field.CLEANED + ORDER],
        f4[f + field.PLAIN : f + field.PLAIN + ORDER],
    )
    for i in range(ORDER):
        weight = np.float64(weights[i])
        cleaned += np.float64(one[i]) * weight
        plain += np.float64(two[i]) * weight
    cleaned += f8[c + field.FOLLOWS] * np.float64(one[ORDER - 1])
    plain += f8[c + field.FOLLOWS] * np.float64(two[ORDER - 1])
    error, plain_error = abs(left - cleaned), abs(left - plain)
    enters, coarse = left, f8[h + field.RPD] <= COARSE
    if coarse:
        enters = cleaned + between(left - cleaned, -CLIP * f8[c + field.SCALES], CLIP * f8[c + field.SCALES])
    elif error > FAR * f8[c + field.SCALES]:
        i4[f + field.FAR] += 1
        if i4[f + field.FAR] & COUNTED > LONGEST:
            i4[f + field.FAR] &= ~COUNTED
            for i in range(ORDER):
                one[i] = two[i]
        else:
            enters = cleaned
    else:
        i4[f + field.FAR] &= ~COUNTED
    shifted(f4, f + field.CLEANED, ORDER, enters)
    shifted(f4, f + field.PLAIN, ORDER, left)
    shifted(f4, f + field.SEEN, ROWS, x)
    i4[f + field.EQUAL] = i4[f + field.EQUAL] + 1 if x == f8[c + field.LAST] else 0
    f8[c + field.LAST] = x
    w[o + OWN_X], w[o + OWN_LEVEL], w[o + OWN_EXPECTED], w[o + OWN_FORECAST] = x, level, expected, cleaned
    w[o + OWN_SIZE], w[o + OWN_SIZE + 1], w[o + OWN_SIZE + 2] = error, plain_error, abs(left)
    means(f8, f4, w, h, c, o, left, coarse)


@inner
def means(f8, f4, w, h, c, o, left, coarse):
    """Go on by a row of which so much is left: mean of 8, of a quarter of a day, noise; and whether the row upholds them."""
    f, error = 2 * c, min(w[o + OWN_SIZE], w[o + OWN_SIZE + 1])
    bound = 8.0 * f8[c + field.SCALES + 2]
    slow, noise = np.float64(f4[f + field.MEANS]), np.float64(f4[f + field.MEANS + 1])
    f4[f + field.MEANS] = slow + (between(left, -bound, bound) - slow) / between(f8[h + field.RPD] / 4.0, 12.0, 500.0)
    bound = (CLIP if coarse else MOST_NOISE) * f8[c + field.SCALES + 1]
    f4[f + field.MEANS + 1] = noise + 0.125 * (min(error, bound) - noise)
    slow, noise = np.float64(f4[f + field.MEANS]), np.float64(f4[f + field.MEANS + 1])
    context = f4[f + field.PLAIN : f + field.PLAIN + ORDER]
    stretch = 0.0
    for i in range(ORDER - 8, ORDER):
        stretch += np.float64(context[i])
    most = without_farthest(context, stretch) if coarse else stretch
    w[o + OWN_SIZE + 3], w[o + OWN_SIZE + 4], w[o + OWN_SIZE + 5] = abs(stretch / 8.0), abs(slow), noise
    w[o + OWN_SIZE + 6], w[o + OWN_SIZE + 7] = 0.0, 0.0
    for i in range(S):
        w[o + OWN_SPEAKS + i] = 1.0
    w[o + OWN_SPEAKS + 3] = upholds(left, stretch / 8.0) * upholds(most / 8.0, stretch / 8.0)
    w[o + OWN_SPEAKS + 4] = upholds(left, slow) * upholds(most / 8.0, slow)
    w[o + OWN_SPEAKS + 5] = 1.0 if error >= (NOISE_UPHELD if coarse else UPHELD) * noise else 0.0


@inner
def without_farthest(context, total):
    """The sum of the last 8 rows without the two that have most part in it."""
    side, first, second = 1.0 if total >= 0.0 else -1.0, 0.0, 0.0
    for i in range(ORDER - 8, ORDER):
        out = np.float64(context[i]) * side
        first, second = max(first, out), max(second, min(first, out))
    return total - side * (first + second)


@inner
def upholds(now, mean):
    """Whether the newest row has its part in a mean, see `terms.UPHELD`; 1 or 0."""
    return 1.0 if now * mean >= UPHELD * mean * mean else 0.0


@inner
def given(f4, learnt, w, h, m, C):
    """What is left of each channel when all others are known: of the newest row, and the mean of eight."""
    for k in range(C):
        others, o = m + k * (field.OTHERS + C) + field.OTHERS, OWN + k * WIDE
        newest, total = 0.0, 0.0
        for i in range(ROWS):
            newest = 0.0
            for j in range(C):
                seen = f4[2 * (h + field.HEAD_WORDS + j * field.CHANNEL_WORDS) + field.SEEN + i]
                newest += np.float64(seen) * np.float64(learnt[others + j])
            total += newest
        w[o + OWN_SIZE + 6], w[o + OWN_SIZE + 7] = abs(newest), abs(total / ROWS)
        w[o + OWN_SPEAKS + 7] = upholds(newest, total / ROWS)


@inner
def scale(f8, w, h, C):
    """Each size by its own slow scale; the channels of a term become one number, in units of its own 99 % quantile."""
    for i in range(S):
        farthest, t = -1.0, TERM_OF_SCALED[i]
        for k in range(C):
            c, o = h + field.HEAD_WORDS + k * field.CHANNEL_WORDS, OWN + k * WIDE
            slow, size = f8[c + field.SCALES + i], w[o + OWN_SIZE + i]
            f8[c + field.SUMS + i] += min(size, CLIP * slow)
            size /= slow
            if size > farthest:
                farthest, w[W_SPEAKS + t] = size, w[o + OWN_SPEAKS + i]
            w[o + OWN_OUT + i] = max(size - 1.0, 0.0) if i == I_SPREAD else size
        w[W_U + t] = (w[OWN + OWN_OUT + i] if C == 1 else highest(w, i, C)) / f8[h + field.USUAL + t]


@inner
def highest(w, i, C):
    """Mean of the three highest logarithms, taken back."""
    a, b, d = -1.0, -1.0, -1.0
    for k in range(C):
        size = w[OWN + k * WIDE + OWN_OUT + i]
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
    near = w[W_NEAR : W_NEAR + CENTRES]
    for j in range(CENTRES):
        near[j] = 0.0
    for k in range(C):
        seen, centres = (
            2 * (h + field.HEAD_WORDS + k * field.CHANNEL_WORDS) + field.SEEN,
            m + k * (field.OTHERS + C) + field.CENTRES,
        )
        for i in range(ROWS):
            x, of = (
                np.float64(f4[seen + i]) - w[OWN + k * WIDE + OWN_LEVEL],
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
    """By how much the rarest term that speaks is beyond its level; of all terms in `w`."""
    known, rows_a_day = A if C > 1 else ALONE, f8[h + field.RPD]
    if young or budget != w[W_BUDGET]:
        w[W_BUDGET] = -1.0 if young else budget
        known = 1 if young else known  # nobody else has a share of the budget
        for a in range(A):
            w[W_LEVELS + a] = math.log10(max(budget, 200.0) * known / cluster(a, 48.0)) - SLACK
    w[W_LEVELS + 3] = math.log10(max(budget, 200.0) * known / cluster(3, rows_a_day)) - SLACK
    best = -np.inf
    for a in range(A):
        if a >= known or (young and a > 0):
            w[W_BEYOND + a] = -np.inf
            continue
        u, start = w[W_U + TERM_OF_ALARM[a]], f8[h + field.TAILS + 2 * a]
        rarity = EDGE * min(u / start, 1.0)
        if u > start:
            rarity += math.log10(1.0 + SHAPE * ((u - start) / f8[h + field.TAILS + 2 * a + 1])) / SHAPE
        w[W_BEYOND + a] = rarity - w[W_LEVELS + a]
        if w[W_SPEAKS + TERM_OF_ALARM[a]] > 0.0:
            best = max(best, w[W_BEYOND + a])
    return best


@inner
def band(f8, w, h, C, out, b):
    """Between what a row alarms by none of the two terms of its newest value; of several channels, where each is as far out as it.

    Behind a long excursion the forecast may be so far from the clock's that every value alarms by one of them: then the clock's, as a band that went along would call the anomaly usual.
    """
    one, clock = (
        reach(f8, h, 0, CLEANED, w[W_LEVELS] + w[W_BAR]),
        reach(f8, h, 1, CLOCK, w[W_LEVELS + 1] + w[W_BAR]),
    )
    for k in range(C):
        c, o = h + field.HEAD_WORDS + k * field.CHANNEL_WORDS, OWN + k * WIDE
        half_one, half_clock = one * f8[c + field.SCALES + I_CLEANED], clock * f8[c + field.SCALES + I_CLOCK]
        middle = w[o + OWN_EXPECTED]
        low, high = middle - half_clock, middle + half_clock
        forecast = middle + w[o + OWN_FORECAST]
        inner_low, inner_high = max(low, forecast - half_one), min(high, forecast + half_one)
        if inner_low <= inner_high:
            low, high = inner_low, inner_high
        out[b, 2 + T + k] = (low + high) / 2.0 * f8[c + field.UNIT] + f8[c + field.MIDDLE]
        out[b, 2 + T + C + k] = (high - low) / 2.0 * f8[c + field.UNIT]


@inner
def raised(debt):
    """The bar, in decades, of a series that has alarmed by so much more often than its budget."""
    return RAISED * max(debt, 0.0)


@inner
def after(rows_a_day):
    """Rows for which the bar is higher behind an alert."""
    return int(between(rows_a_day / 2.0, LEAST_AFTER, MOST_AFTER))


@inner
def aftermath(calm, rows_a_day):
    """By how much, in decades; see `alarm.aftermath`."""
    return AFTERMATH * max(-1 - calm, 0) / after(rows_a_day)


@inner
def calm_behind(before, anomalous, rows_a_day):
    """See `state.State.calm`, behind one more row."""
    if anomalous:
        return 0
    if before < 0:
        return min(before + 1, -1)
    return before + 1 if before < NORMAL_ROWS - 1 else -1 - after(rows_a_day)


@inner
def tell(f8, i4, u2, w, h, C, whole, strength, budget, out, told, b):
    """Score, whether it is anomalous, whose share it is; hold, bar and counts move on."""
    total = 0.0
    for t in range(T):
        u = w[W_U + t]
        out[b, 2 + t] = u
        if u > 0.0:
            total += math.log2(1.0 + u) * (SEVERAL[t] if whole else ONE[t])
    now = total / (SEVERAL_TOTAL if whole else ONE_TOTAL)
    f8[h + field.PEAK] = max(now, f8[h + field.PEAK] * (1.0 - FADE))
    anomalous, calm, debt = strength >= w[W_BAR], i4[2 * h + field.CALM], f8[h + field.DEBT]
    out[b, 0], out[b, 1], told[b, 0], told[b, 1] = max(now, HOLD * f8[h + field.PEAK]), strength, anomalous, 1
    debt = debt + 1.0 if anomalous and calm < 0 else debt
    f8[h + field.DEBT] = max(debt - 1.0 / budget, -FREE)
    bar = raised(f8[h + field.DEBT])
    i4[2 * h + field.CALM] = calm_behind(calm, anomalous, f8[h + field.RPD])
    for a in range(A):
        u, out_for = w[W_U + TERM_OF_ALARM[a]], 4 * h + field.OUT + a
        if u > f8[h + field.TAILS + 2 * a]:
            u2[out_for] = min(np.int64(u2[out_for]) + 1, LONGEST_OUT)
        else:
            u2[out_for] = max(np.int64(u2[out_for]) - 1, 0)
        if w[W_BEYOND + a] < bar and np.int64(u2[out_for]) <= max(TAUGHT[0], TAUGHT[1] * cluster(a, f8[h + field.RPD])):
            place = math.floor((math.log2(max(u, _LOWEST_U)) - LOWEST) / WIDTH)
            u2[4 * h + field.COUNTS + a * BINS + int(between(place, 0, BINS - 1))] += 1
    total = 0.0
    for k in range(C):
        o, odd = OWN + k * WIDE + OWN_OUT, 1.0
        for i in range(I_GIVEN, S) if whole else range(I_QUARTER + 1):
            if i != I_PLAIN:
                odd *= 1.0 + w[o + i]
        odd = math.log(odd)
        out[b, 2 + T + 2 * C + k] = odd
        total += odd
    for k in range(C):
        out[b, 2 + T + 2 * C + k] /= max(total, 1e-12)


@inner
def judge(f8, i8, f4, i4, u2, learnt, w, bins, h, m, C, values, local, placed, budget, sizes, out, told, b):
    """One row of a series that is judged; with the last of a block, what is slow moves on. With room for `sizes`, only these are told.

    `placed` is another time than the local one on holidays (`calendar.Calendar.placed`): there the row may be as at either, or between.
    """
    rows, rows_a_day = i8[h + field.ROWS], f8[h + field.RPD]
    at, whole = rows % BLOCK, learnt[m + C * (field.OTHERS + C)] != 0
    w[W_BUDGET + 1] = at + 1.0
    share = restful(f8, u2, w, h, C, values, b, local, placed) if placed != local else 0.0
    day = day_of(local, f8[h + field.RPD], u2[4 * h + field.BINS])
    low, high, part = in_week(local, rows_a_day, u2[4 * h + field.BINS + 1], u2[4 * h + field.LINES])
    still = 0.0
    for k in range(C):
        c, of, o = h + field.HEAD_WORDS + k * field.CHANNEL_WORDS, m + k * (field.OTHERS + C), OWN + k * WIDE
        look(f8, f4, i4, u2, learnt, w, h, c, of, o, values[b, k], day, low, high, part, placed, share)
        f4[2 * c + field.BLOCK + at] = w[o + OWN_X]
        still = max(still, stood(i4, c, learnt[of + field.LONGEST], rows_a_day))
    if whole:
        given(f4, learnt, w, h, m, C)
    i8[h + field.LOCAL + at] = placed if share > 0.5 else local
    i8[h + field.ROWS] = rows + 1
    if len(sizes):
        for i in range(S):
            for k in range(C):
                sizes[b, i, k] = w[OWN + k * WIDE + OWN_SIZE + i]
        if at == BLOCK - 1:
            learn_clock(f8, i8, f4, i4, u2, w, bins, h, C)
        return
    scale(f8, w, h, C)
    known = i4[2 * h + field.KNOWN] > 0
    w[W_U + STATE] = picture(f4, learnt, w, h, m, C) / f8[h + field.USUAL + STATE] if known else 0.0
    w[W_U + FLAT] = max(2.0 * still - 1.0, 0.0) / f8[h + field.USUAL + FLAT]
    young = not known and rows < between(rows_a_day, LEAST, DAY_BINS)
    strength = max(rare(f8, w, h, C, young, budget), STOOD * math.log10(max(w[W_U + FLAT], STOOD_LEAST)))
    told[b, 2] = BOTH if C > 1 else ABOVE if w[OWN + OWN_X] > w[OWN + OWN_EXPECTED] else BELOW
    w[W_BAR] = raised(f8[h + field.DEBT]) + aftermath(i4[2 * h + field.CALM], rows_a_day)
    if rows_a_day >= LEAST_ROWS:
        w[W_BAR] += usual_at(i8, u2, h, local, strength, told[b, 2])
    band(f8, w, h, C, out, b)
    tell(f8, i4, u2, w, h, C, whole, strength, budget, out, told, b)
    if told[b, 0] and f8[h + field.DEBT] >= OWED:
        rises(f8, u2, learnt, w, h, m, C)
    follow(f8, f4, i4, w, h, C, at)
    if rows_a_day <= COARSE and at >= NEWEST - 1:
        for k in range(C):
            settle(f8, f4, h, h + field.HEAD_WORDS + k * field.CHANNEL_WORDS)
    if at == BLOCK - 1:
        learn(f8, i8, f4, i4, u2, learnt, w, bins, h, m, C, known)
