"""The first rows of a series that is not known, and what begins anew where rows are missing."""

from __future__ import annotations

import math

import numpy as np

from detectors.judgement.alarm import BINS, FREE, LOWEST, WIDTH
from detectors.judgement.autoregression import ORDER
from detectors.judgement.clock import DAY, DAY_BINS, WEEK, WEEK_BINS
from detectors.judgement.kernel import field
from detectors.judgement.kernel.layout import I_CLEANED, I_PLAIN, I_SPREAD, W_LEFT, A, S, T, between, inner
from detectors.judgement.kernel.tail import tails
from detectors.judgement.record import JUDGING, MOVES, NORMAL, STILL, UNIT_OF_NOTHING
from detectors.judgement.short_state import ROWS
from detectors.judgement.state import BLOCK
from detectors.judgement.terms import CLEANED, CLOCK, PLAIN

_HUGE, _LEAST = 1e300, 1e-9
LONG = 8 * DAY
"""ms. Series of such steps, months and years, are those that grow: what was seen of the first of their rows says little of those that follow."""
_USUAL_OF_NEW = np.array(NORMAL)


@inner
def gather(f8, i8, i4, w, h, C, values, local, out, told, b):
    """Keep the newest 16 rows; whether they are enough. Of what stands still, they are a while later."""
    for j in range(2 + T):
        out[b, j] = 0.0
    out[b, 1] = -np.inf
    told[b, 0], told[b, 1], told[b, 2] = 0, 0, 0
    rows = i8[h + field.ROWS]
    at, most = min(rows, BLOCK - 1), 0
    if rows >= BLOCK:
        for i in range(BLOCK - 1):
            i8[h + field.LOCAL + i] = i8[h + field.LOCAL + i + 1]
    i8[h + field.LOCAL + at] = local
    for k in range(C):
        out[b, 2 + T + k], out[b, 2 + T + C + k], out[b, 2 + T + 2 * C + k] = np.nan, np.nan, np.nan
        first = h + field.HEAD_WORDS + k * field.CHANNEL_WORDS + field.FIRST
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
    i8[h + field.ROWS] = rows + 1
    return rows + 1 >= BLOCK and (most >= MOVES or rows + 1 >= STILL)


@inner
def ordered(w, n):
    """Sort the first n of LEFT."""
    for i in range(1, n):
        x, j = w[W_LEFT + i], i
        while j > 0 and w[W_LEFT + j - 1] > x:
            w[W_LEFT + j] = w[W_LEFT + j - 1]
            j -= 1
        w[W_LEFT + j] = x


@inner
def begin(f8, i8, f4, i4, u2, w, h, C):
    """From 16 rows: level, spread, how a row follows from the one before; judged from now on."""
    for i in range(BLOCK - 1):
        w[W_LEFT + i] = i8[h + field.LOCAL + i + 1] - i8[h + field.LOCAL + i]
    ordered(w, BLOCK - 1)
    step = max(int(w[W_LEFT + (BLOCK - 1) // 2]), 1)
    u2[4 * h + field.BINS], u2[4 * h + field.BINS + 1] = (
        between(DAY // step, 1, DAY_BINS),
        between(WEEK // step, 1, WEEK_BINS),
    )
    f8[h + field.RPD], f8[h + field.DAYS], f8[h + field.WEEKS], f8[h + field.DEBT], f8[h + field.PEAK] = (
        DAY / step,
        0.0,
        0.0,
        -FREE,
        0.0,
    )
    for t in range(T):
        f8[h + field.USUAL + t] = _USUAL_OF_NEW[t]
    for k in range(C):
        begin_channel(f8, f4, i4, u2, w, h, h + field.HEAD_WORDS + k * field.CHANNEL_WORDS)
    for i in range(A * BINS):
        u2[4 * h + field.COUNTS + i] = 0
    if f8[h + field.RPD] * LONG > DAY:
        shown(f8, f4, u2, h, C)
    tails(f8, u2, h)
    i4[2 * h + field.CALM], u2[4 * h + field.PHASE], i8[h + field.ROWS] = -1, JUDGING, 0


@inner
def shown(f8, f4, u2, h, C):
    """What the next row is judged by, its error, was seen of each of the first rows: of the channel that is farthest out."""
    for i in range(ORDER - BLOCK + 1, ORDER):
        largest = 0.0
        for k in range(C):
            c = h + field.HEAD_WORDS + k * field.CHANNEL_WORDS
            now, before = np.float64(f4[2 * c + field.CLEANED + i]), np.float64(f4[2 * c + field.CLEANED + i - 1])
            largest = max(largest, abs(now - f8[c + field.FOLLOWS] * before) / f8[c + field.SCALES + I_CLEANED])
        place = math.floor((math.log2(max(largest / f8[h + field.USUAL + CLEANED], _LEAST)) - LOWEST) / WIDTH)
        u2[4 * h + field.COUNTS + int(between(place, 0, BINS - 1))] += 1


@inner
def begin_channel(f8, f4, i4, u2, w, h, c):
    """One channel of a series that begins."""
    first, x, f = c + field.FIRST, W_LEFT + BLOCK, 2 * c
    for i in range(BLOCK):
        w[W_LEFT + i] = f8[first + i]
    ordered(w, BLOCK)
    middle = w[W_LEFT + 7] / 2.0 + w[W_LEFT + 8] / 2.0
    for i in range(BLOCK):
        w[W_LEFT + i] = abs(f8[first + i] - middle)
    ordered(w, BLOCK)
    spread = 1.4826 * (w[W_LEFT + 7] + w[W_LEFT + 8]) / 2.0
    unit = max(spread, 0.3 * w[W_LEFT + BLOCK - 2], 1e-4 * abs(middle) + 1e-9)
    if middle == 0.0 and w[W_LEFT + BLOCK - 1] == 0.0:
        unit = UNIT_OF_NOTHING
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
        w[W_LEFT + i] = abs(w[x + i + 1] - follows * w[x + i])
        total += w[W_LEFT + i]
    one = max(total / (BLOCK - 1) * 1.3, 0.1)
    ordered(w, BLOCK - 1)
    high = w[W_LEFT + BLOCK - 3] / one  # the largest but one is nothing odd
    f8[h + field.USUAL + CLEANED] = max(f8[h + field.USUAL + CLEANED], high)
    f8[h + field.USUAL + PLAIN] = max(f8[h + field.USUAL + PLAIN], high)
    for i in range(BLOCK):
        w[W_LEFT + i] = abs(w[x + i])
    ordered(w, BLOCK)
    f8[h + field.USUAL + CLOCK] = max(f8[h + field.USUAL + CLOCK], w[W_LEFT + BLOCK - 2] / usual)
    f8[c + field.MIDDLE], f8[c + field.UNIT], f8[c + field.FOLLOWS], f8[c + field.LEVEL], f8[c + field.SLOPE] = (
        middle,
        unit,
        follows,
        0.0,
        0.0,
    )
    f8[c + field.LAST] = (f8[first + BLOCK - 1] - middle) / unit
    for j in range(3):
        f8[c + field.ERRORS + j] = usual
    for i in range(S):
        f8[c + field.SCALES + i] = one if i in (I_CLEANED, I_PLAIN, I_SPREAD) else usual
        f8[c + field.SUMS + i] = 0.0
    for i in range(ORDER):
        old = i < ORDER - BLOCK
        f4[f + field.CLEANED + i] = 0.0 if old else w[x + i - ORDER + BLOCK]
        f4[f + field.PLAIN + i] = 0.0 if old else w[x + i - ORDER + BLOCK]
    for i in range(BLOCK):
        f4[f + field.BLOCK + i] = w[x + i]
    for i in range(ROWS):
        f4[f + field.SEEN + i] = w[x + BLOCK - ROWS + i]
    f4[f + field.MEANS], f4[f + field.MEANS + 1], i4[f + field.EQUAL], i4[f + field.FAR] = 0.0, one, 0, 0
    for i in range(DAY_BINS):
        u2[4 * c + field.DAY + i] = 0
    for i in range(WEEK_BINS):
        u2[4 * c + field.WEEK + i] = 0
