"""What comes again at the same clock time, see `recurring`."""

from __future__ import annotations

import numpy as np

from detectors.judgement.kernel import field
from detectors.judgement.kernel.layout import inner
from detectors.judgement.recurring import BOTH, DAILY, HOUR, HOURS, LATEST, MARGIN, MOST, PIECE, STEPS, WEEKLY


@inner
def usual_at(i8, u2, h, local, strength, side):
    """How far beyond the level, in decades, a row may be at its clock time on its side, by what came before; then learn from its own strength."""
    hour, piece = local // HOUR, local // PIECE
    near = (hour + 1 if local % HOUR * 2 >= HOUR else hour - 1) % HOURS
    hour %= HOURS
    bar = 0
    for at in (hour, near):
        what = kept(u2, 4 * h + field.TWICE + at, piece)
        if sides(what) & side:
            bar = max(bar, size(what))
    if strength >= 0.0:
        if local - i8[h + field.RUN + 1] >= PIECE:
            i8[h + field.RUN] = local
        i8[h + field.RUN + 1] = local
        if local - i8[h + field.RUN] < PIECE:
            learn(u2, h, hour, near, piece, min(int(strength * STEPS) + 1, MOST), side)
    return bar / STEPS + MARGIN if bar > 0 else 0.0


@inner
def size(what):
    """Quarters of a decade."""
    return what >> 10


@inner
def sides(what):
    """A bit for each."""
    return (what >> 8) & BOTH


@inner
def kept(u2, at, piece):
    """What is kept there, if it is not too old; else 0."""
    return np.int64(u2[at]) if (piece - np.int64(u2[at])) & 255 <= LATEST else 0


@inner
def scheduled(u2, at, piece):
    """What is kept there, if it came a day or a week before; else 0."""
    age = (piece - np.int64(u2[at])) & 255
    return np.int64(u2[at]) if abs(age - DAILY) <= 1 or abs(age - WEEKLY) <= 1 else 0


@inner
def learn(u2, h, hour, near, piece, now, side):
    """A row of a deviation: confirms what came on another day, and is kept to be confirmed."""
    twice, once = 4 * h + field.TWICE, 4 * h + field.ONCE
    before, came = 0, 0
    for at in (hour, near):
        what = scheduled(u2, once + at, piece)
        if sides(what) & side:
            before, came = max(before, size(what)), came | (sides(what) & side)
    known = kept(u2, twice + hour, piece)
    if came or sides(known) & side:
        u2[twice + hour] = (max(min(now, before), size(known)) << 10) | ((sides(known) | came) << 8) | (piece & 255)
    was = kept(u2, once + hour, piece)
    late = (piece - np.int64(u2[once + hour])) & 255 <= 1
    if now >= size(was) or not (late or sides(was) & side):
        u2[once + hour] = (now << 10) | ((side | (sides(was) if late else 0)) << 8) | (piece & 255)
    elif late:
        u2[once + hour] |= side << 8
