"""What comes again at the same clock time, see `recurring`."""

from __future__ import annotations

import numpy as np

from detectors.judgement.kernel import field
from detectors.judgement.kernel.layout import inner
from detectors.judgement.recurring import DAILY, HOUR, HOURS, LATEST, MARGIN, PIECE, STEPS, WEEKLY


@inner
def usual_at(i8, u2, h, local, strength):
    """How far beyond the level, in decades, a row may be at its clock time, by what came before; then learn from its own strength."""
    hour, piece = local // HOUR, local // PIECE
    near = (hour + 1 if local % HOUR * 2 >= HOUR else hour - 1) % HOURS
    hour %= HOURS
    bar = max(kept(u2, 4 * h + field.TWICE + hour, piece), kept(u2, 4 * h + field.TWICE + near, piece))
    if strength >= 0.0:
        if local - i8[h + field.RUN + 1] >= PIECE:
            i8[h + field.RUN] = local
        i8[h + field.RUN + 1] = local
        if local - i8[h + field.RUN] < PIECE:
            learn(u2, h, hour, near, piece, min(int(strength * STEPS) + 1, 255))
    return bar / STEPS + MARGIN if bar > 0 else 0.0


@inner
def kept(u2, at, piece):
    """What is kept there, if it is not too old; else 0."""
    return np.int64(u2[at]) >> 8 if (piece - np.int64(u2[at])) & 255 <= LATEST else 0


@inner
def scheduled(u2, at, piece):
    """What is kept there, if it came a day or a week before; else 0."""
    age = (piece - np.int64(u2[at])) & 255
    return np.int64(u2[at]) >> 8 if abs(age - DAILY) <= 1 or abs(age - WEEKLY) <= 1 else 0


@inner
def learn(u2, h, hour, near, piece, now):
    """A row of a deviation: confirms what came on another day, and is kept to be confirmed."""
    twice, once = 4 * h + field.TWICE, 4 * h + field.ONCE
    before = max(scheduled(u2, once + hour, piece), scheduled(u2, once + near, piece))
    known = kept(u2, twice + hour, piece)
    if before > 0 or known > 0:
        u2[twice + hour] = (max(min(now, before), known) << 8) | (piece & 255)
    if now >= kept(u2, once + hour, piece):
        u2[once + hour] = (now << 8) | (piece & 255)
