"""What was nothing in a history and begins to be something, see `seldom`."""

from __future__ import annotations

import math

import numpy as np

from detectors.judgement.alarm import BINS, IDLE, TAUGHT
from detectors.judgement.autoregression import ORDER
from detectors.judgement.clock import COARSE, DAY_BINS, NOTHING, ROUNDED, WEEK_BINS
from detectors.judgement.kernel import field
from detectors.judgement.kernel.layout import (
    ALARM_OF_TERM,
    I_CLOCK,
    I_SPREAD,
    NARROW_OF,
    OWN,
    OWN_SIZE,
    TERM_OF_SCALED,
    W_LEVELS,
    WIDE,
    A,
    S,
    cluster,
    half,
    inner,
    reach,
    stands,
)
from detectors.judgement.returning import KEPT
from detectors.judgement.seldom import COMES, FARTHER, STAYS, UNSURE


@inner
def mostly_still(longest):
    """See `state.Learnt.still`."""
    return math.isinf(longest) or longest < 0.0


@inner
def stood(i4, c, longest, rows_a_day):
    """How long a channel has had the same value, in units of the longest in its history; see `terms.errors`."""
    equal = i4[2 * c + field.EQUAL]
    if longest < 0.0 and equal >= stands(rows_a_day):
        return 0.0
    return equal / (2.0 * abs(np.float64(longest)) + 6.0)


@inner
def idle(u2, h, a):
    """See `alarm.idle`; of one of the alarm's terms."""
    total, at = 0, 4 * h + field.COUNTS + a * BINS
    for j in range(BINS):
        total += np.int64(u2[at + j])
    return np.int64(u2[at]) > IDLE * total


@inner
def comes(u2, h, a):
    """Whether what comes now and then, of one of the alarm's terms, goes on to come."""
    rows, at = 0, 4 * h + field.COUNTS + a * BINS
    for j in range(COMES, BINS):
        rows += np.int64(u2[at + j])
    return rows > STAYS


@inner
def rises(f8, u2, learnt, w, h, m, C):
    """Behind an anomalous row of a series that owes alerts: scales of what comes now and then rise."""
    for i in range(S):
        a = ALARM_OF_TERM[i]
        if np.int64(u2[4 * h + field.OUT + a]) > max(TAUGHT[0], TAUGHT[1] * cluster(a, f8[h + field.RPD])):
            continue
        if C == 1 and not idle(u2, h, a):
            continue
        far = reach(f8, h, a, TERM_OF_SCALED[i], w[W_LEVELS + a]) + (1.0 if i == I_SPREAD else 0.0)
        for k in range(C):
            slow = h + field.HEAD_WORDS + k * field.CHANNEL_WORDS + field.SCALES + i
            if mostly_still(learnt[m + k * (field.OTHERS + C) + field.LONGEST]):
                f8[slow] = max(f8[slow], FARTHER * w[OWN + k * WIDE + OWN_SIZE + i] / far)


@inner
def lives(f8, f4, i4, u2, h, c):
    """What has come and stayed for a day is how the channel is."""
    f, rows_a_day = 2 * c, f8[h + field.RPD]
    since, is_open = f8[c + field.KEPT_SINCE], i4[f + field.FAR] & KEPT and f8[c + field.KEPT_OVER] == 0.0
    if rows_a_day <= COARSE or not is_open or since < stands(rows_a_day):
        return
    plain = f4[f + field.PLAIN : f + field.PLAIN + ORDER]
    small, shift = 0.0, 0.0
    for i in range(ORDER):
        small += abs(np.float64(plain[i]))
        shift += np.float64(plain[i])
    small = small / ORDER * NOTHING
    if not small > f8[c + field.SCALES + I_CLOCK]:
        return
    for i in range(DAY_BINS):
        if abs(half(u2[4 * c + field.DAY + i])) > small:
            return
    for i in range(WEEK_BINS):
        if abs(half(u2[4 * c + field.WEEK + i])) > small:
            return
    shift, error = shift / ORDER, 0.0
    for i in range(ORDER):
        error += abs(np.float64(plain[i]) - shift)
    error = max(UNSURE * error / ORDER, abs(shift) * ROUNDED)
    f8[c + field.LEVEL] += shift
    for i in range(ORDER):
        plain[i] = np.float64(plain[i]) - shift
        f4[f + field.CLEANED + i] = plain[i]
    f4[f + field.MEANS], f4[f + field.MEANS + 1] = 0.0, error
    for j in range(3):
        f8[c + field.ERRORS + j] = max(f8[c + field.ERRORS + j], error)
    for i in range(S):
        f8[c + field.SCALES + i] = max(f8[c + field.SCALES + i], error)
    for a in range(A):
        if idle(u2, h, a):
            for j in range(BINS):
                u2[4 * h + field.COUNTS + a * BINS + j] = 0
            if NARROW_OF[a] >= 0:
                f8[h + field.NARROW + NARROW_OF[a]] = 0.0
