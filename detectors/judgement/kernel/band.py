"""How far out a row of one series alarms: the tail of a term, and the band."""

from __future__ import annotations

import math

import numpy as np

from detectors.judgement.alarm import (
    BEGUN,
    BEYOND,
    BINS,
    BODY,
    EDGE,
    FARTHER,
    IDLE,
    LEAST_SHAPE,
    LOWEST,
    NARROWED,
    SHAPE,
    WIDE_TAIL,
    WIDTH,
)
from detectors.judgement.kernel import field
from detectors.judgement.kernel.layout import (
    I_CLEANED,
    I_CLOCK,
    ONE_ROW,
    OWN,
    OWN_EXPECTED,
    OWN_FORECAST,
    W_BAR,
    W_LEVELS,
    WIDE,
    A,
    T,
    between,
    inner,
)
from detectors.judgement.terms import CLEANED, CLOCK

_LN10 = math.log(10.0)
_FARTHER = math.log(FARTHER * (1.0 - BODY[0]))


@inner
def far(shape, decades):
    """See `alarm._far`."""
    return (math.exp(shape * decades * _LN10) - 1.0) / shape


@inner
def narrow(f8, u2, w, h):
    """Tails of the terms of a single row that have shown not to be heavy, see `alarm.narrowed`."""
    for a in range(A):
        if not ONE_ROW[a]:
            continue
        start, wide, at = f8[h + field.TAILS + 2 * a], f8[h + field.TAILS + 2 * a + 1], 4 * h + field.COUNTS + a * BINS
        place = between((math.log2(start + _FARTHER * wide) - LOWEST) / WIDTH, 0.0, BINS - 1.0)
        k, total, beyond = int(place), 0, 0
        for j in range(BINS):
            n = np.int64(u2[at + j])
            total += n
            beyond += n if j > k else 0
        if np.int64(u2[at]) > IDLE * total:
            continue
        seen = (beyond + np.int64(u2[at + k]) * (k + 1.0 - place) + BEGUN[0]) / (total / FARTHER + BEGUN[1])
        heavy = (seen - BEYOND[0]) / (BEYOND[1] - BEYOND[0])
        heavy = between(max(heavy, (wide / start - WIDE_TAIL[0]) / (WIDE_TAIL[1] - WIDE_TAIL[0])), 0.0, 1.0)
        decades = between(w[W_LEVELS + a] - EDGE, NARROWED[0], NARROWED[1])
        f8[h + field.TAILS + 2 * a + 1] = wide * (
            far(LEAST_SHAPE + (SHAPE - LEAST_SHAPE) * heavy, decades) / far(SHAPE, decades)
        )


@inner
def reach(f8, w, h, a, t):
    """In units of the scale: how far out a row alarms by this term."""
    wanted = max(w[W_LEVELS + a] + w[W_BAR] - EDGE, 0.0)
    return (f8[h + field.TAILS + 2 * a] + f8[h + field.TAILS + 2 * a + 1] * far(SHAPE, wanted)) * f8[
        h + field.USUAL + t
    ]


@inner
def band(f8, w, h, C, out, b):
    """Between what a row alarms by none of the two terms of its newest value; of several channels, where each is as far out as it.

    Behind a long excursion the forecast may be so far from the clock's that every value alarms by one of them: then the clock's, as a band that went along would call the anomaly usual.
    """
    one, clock = reach(f8, w, h, 0, CLEANED), reach(f8, w, h, 1, CLOCK)
    for k in range(C):
        c, o = h + field.HEAD_WORDS + k * field.CHANNEL_WORDS, OWN + k * WIDE
        half_one, half_clock = one * f8[c + field.SCALES + I_CLEANED], clock * f8[c + field.SCALES + I_CLOCK]
        middle = w[o + OWN_EXPECTED]
        low, high = middle - half_clock, middle + half_clock
        inner_low, inner_high = (
            max(low, middle + w[o + OWN_FORECAST] - half_one),
            min(high, middle + w[o + OWN_FORECAST] + half_one),
        )
        if inner_low <= inner_high:
            low, high = inner_low, inner_high
        out[b, 2 + T + k] = (low + high) / 2.0 * f8[c + field.UNIT] + f8[c + field.MIDDLE]
        out[b, 2 + T + C + k] = (high - low) / 2.0 * f8[c + field.UNIT]
