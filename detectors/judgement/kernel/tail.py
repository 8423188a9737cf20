"""How the tails of the alarm's terms follow from their counts, and how these forget; see `alarm`."""

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
    PRIOR,
    PRIOR_ROWS,
    REMEMBERED,
    SHAPE,
    THIN,
    WIDE_TAIL,
    WIDER,
    WIDTH,
)
from detectors.judgement.kernel import field
from detectors.judgement.kernel.layout import NARROW_OF, W_LEVELS, A, anew, between, far, inner

_LN2, _LN4 = math.log(2.0), math.log(4.0)
_FARTHER = math.log(FARTHER * (1.0 - BODY[0]))


@inner
def tails(f8, u2, h):
    """Of all terms, see `alarm.body`; those of one row by so much narrower."""
    for a in range(A):
        low, scale = body(u2, 4 * h + field.COUNTS + a * BINS, anew(a, f8[h + field.RPD]))
        if NARROW_OF[a] >= 0:
            scale *= 1.0 - f8[h + field.NARROW + NARROW_OF[a]]
        f8[h + field.TAILS + 2 * a], f8[h + field.TAILS + 2 * a + 1] = low, scale


@inner
def body(u2, at, apart):
    """98 % quantile and scale of the tail of one term, see `alarm.body`."""
    total = counted(u2, at)
    apart = total / apart
    weight, wide = apart / (apart + PRIOR_ROWS), 1.0 + WIDER / (apart + 5.0)
    low = quantile(u2, at, BODY[0] * total) * weight + (1.0 - weight) * PRIOR[0] * wide
    high = quantile(u2, at, BODY[1] * total) * weight + (1.0 - weight) * PRIOR[1] * wide
    return low, max((high - low) / _LN4, THIN * low)


@inner
def counted(u2, at):
    """Rows in the counts of a term."""
    total = 0
    for j in range(BINS):
        total += np.int64(u2[at + j])
    return total


@inner
def quantile(u2, at, rank):
    """Value at this rank of the counts, within its bin by the way it has come."""
    below, j = 0, 0
    while j < BINS - 1 and below + np.int64(u2[at + j]) < rank:
        below += np.int64(u2[at + j])
        j += 1
    inside = (rank - below) / max(np.int64(u2[at + j]), 1)
    return math.exp((LOWEST + WIDTH * (j + inside)) * _LN2)


@inner
def forget(f8, u2, w, h):
    """The oldest of terms that have seen enough; what they have shown of their tails holds until they have again."""
    for a in range(A):
        at = 4 * h + field.COUNTS + a * BINS
        if counted(u2, at) < REMEMBERED:
            continue
        if NARROW_OF[a] >= 0:
            low, scale = body(u2, at, anew(a, f8[h + field.RPD]))
            f8[h + field.NARROW + NARROW_OF[a]] = narrowness(u2, at, low, scale, w[W_LEVELS + a])
        for j in range(BINS):
            u2[at + j] = u2[at + j] >> 1


@inner
def narrowness(u2, at, start, wide, level):
    """See `alarm.narrowness`; of one term."""
    place = between((math.log2(start + _FARTHER * wide) - LOWEST) / WIDTH, 0.0, BINS - 1.0)
    k, total, beyond = int(place), counted(u2, at), 0
    for j in range(k + 1, BINS):
        beyond += np.int64(u2[at + j])
    if np.int64(u2[at]) > IDLE * total:
        return 0.0
    seen = (beyond + np.int64(u2[at + k]) * (k + 1.0 - place) + BEGUN[0]) / (total / FARTHER + BEGUN[1])
    heavy = (seen - BEYOND[0]) / (BEYOND[1] - BEYOND[0])
    heavy = between(max(heavy, (wide / start - WIDE_TAIL[0]) / (WIDE_TAIL[1] - WIDE_TAIL[0])), 0.0, 1.0)
    decades = between(level - EDGE, NARROWED[0], NARROWED[1])
    return 1.0 - far(LEAST_SHAPE + (SHAPE - LEAST_SHAPE) * heavy, decades) / far(SHAPE, decades)
