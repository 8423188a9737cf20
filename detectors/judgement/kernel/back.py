"""What is as it was before an alert, see `returning`."""

from __future__ import annotations

import numpy as np

from detectors.judgement.autoregression import ORDER
from detectors.judgement.kernel import field
from detectors.judgement.kernel.layout import (
    I_CLEANED,
    I_CLOCK,
    I_QUARTER,
    I_SPREAD,
    OWN,
    OWN_SIZE,
    WIDE,
    between,
    inner,
)
from detectors.judgement.returning import AROUND, BITS, COUNTED, KEPT, ROWS, WITHIN
from detectors.judgement.terms import LONGEST


@inner
def follow(f8, f4, i4, w, h, C, at):
    """Go on by row `at` of a block."""
    calm = i4[2 * h + field.CALM]
    for k in range(C):
        c = h + field.HEAD_WORDS + k * field.CHANNEL_WORDS
        far = 2 * c + field.FAR
        if i4[far] & KEPT:
            f8[c + field.KEPT_OVER] = f8[c + field.KEPT_OVER] + 1.0 if calm < 0 else 0.0
            is_back = back(f8, f4, i4, w, c, OWN + k * WIDE, at)
            if calm < 0 and (is_back or f8[c + field.KEPT_OVER] > ORDER):
                i4[far] &= ~KEPT
        elif calm >= 0:
            f8[c + field.KEPT_LEVEL] = f8[c + field.LEVEL] + f8[c + field.SLOPE] * (at + 1.0)
            f8[c + field.KEPT_SLOPE] = f8[c + field.SLOPE]
            f8[c + field.KEPT_SINCE], f8[c + field.KEPT_CALM], f8[c + field.KEPT_OVER] = 0.0, 0.0, 0.0
            i4[far] |= KEPT


@inner
def back(f8, f4, i4, w, c, o, at):
    """One channel: where its newest rows are as before the alert, it is where it was; whether it is."""
    f = 2 * c
    f8[c + field.KEPT_LEVEL] += f8[c + field.KEPT_SLOPE]
    f8[c + field.KEPT_SINCE] += 1.0
    now, since = f8[c + field.LEVEL] + f8[c + field.SLOPE] * (at + 1.0), f8[c + field.KEPT_SINCE]
    gap, usual, one = now - f8[c + field.KEPT_LEVEL], f8[c + field.SCALES + I_CLOCK], f8[c + field.SCALES + I_CLEANED]
    newest, total = abs(np.float64(f4[f + field.PLAIN + ORDER - 1]) + gap), 0.0
    near = newest <= WITHIN * usual and min(w[o + OWN_SIZE], w[o + OWN_SIZE + 1], newest) <= WITHIN * one
    f8[c + field.KEPT_CALM] = f8[c + field.KEPT_CALM] + 1.0 if near else 0.0
    for i in range(ORDER - ROWS, ORDER):
        total += np.float64(f4[f + field.PLAIN + i]) + gap
    if f8[c + field.KEPT_CALM] < ROWS or abs(total) > AROUND * ROWS * usual:
        return False
    if abs(total) <= abs(total - ROWS * gap):
        f8[c + field.SLOPE] = f8[c + field.KEPT_SLOPE]
        f8[c + field.LEVEL] = f8[c + field.KEPT_LEVEL] - f8[c + field.SLOPE] * (at + 1.0)
    else:
        f8[c + field.KEPT_LEVEL], gap = now, 0.0
    for i in range(ORDER):
        left = np.float64(f4[f + field.PLAIN + i]) + gap
        if ORDER - 1 - since <= i < ORDER - ROWS and abs(left) > WITHIN * usual:
            left = np.float64(f4[f + field.CLEANED + i]) + gap if since <= LONGEST else 0.0
        f4[f + field.PLAIN + i], f4[f + field.CLEANED + i] = left, left
    slow = f8[c + field.SCALES + I_QUARTER]
    f4[f + field.MEANS] = between(np.float64(f4[f + field.MEANS]) + gap, -slow, slow)
    f4[f + field.MEANS + 1] = min(np.float64(f4[f + field.MEANS + 1]), f8[c + field.SCALES + I_SPREAD])
    i4[f + field.FAR] = i4[f + field.FAR] & ~COUNTED & (2 * KEPT - 1) | max(at + 1 - ROWS, 0) << (BITS + 1)
    return True
