"""What comes again at the same clock time: a deviation that came there on two days running, or a week apart, is usual there although it was flagged, on its side.

What came at the same hour on any other two days is no schedule: people work at the same hours, and what breaks while they do must be told each time.

Of each hour of the day two numbers are kept, each with when it was (quarters of days, modulo 256): what came twice, and the largest of late that came once.
What came twice raises the bar of its hour and of the nearer one beside it, so a job may begin some minutes early or late. Only deviations
of less than a quarter of a day teach: a lasting shift or a long outage is no job. A job that comes every night says nothing of a night without it, so each number
has its side: above what the clock expects, below it, or (a job that begins earlier or later) both. Of several channels it is always both.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

HOURS = 24
HOUR, PIECE = 3_600_000, 6 * 3_600_000
LEAST_ROWS = 8.0
"""Rows a day, below which there is no such memory."""
DAILY, WEEKLY, LATEST = 4, 28, 60
"""Pieces of a day: what is one day old, or one week, came by a schedule, give or take a piece; what is older than the last is forgotten, two weeks and one day."""
MARGIN = 0.6
"""Decades by which what comes again may be rarer than what came before."""
STEPS, MOST = 4.0, 63
"""Of a decade, and how many of them are told apart."""
ABOVE, BELOW = 1, 2
"""Sides, as bits."""
BOTH = ABOVE | BELOW


class Memory(NamedTuple):
    """Of one series; changed in place.

    Attributes
    ----------
    run : (2,) int64
        Local times, ms, of the first and the newest row beyond the level of the newest deviation; a quarter of a day without one ends it.
    twice, once : (24,) uint16
        Quarters of a decade beyond the level, times 4, and the sides; that times 256, and the piece of a day.
    """

    run: NDArray[np.int64]
    twice: NDArray[np.uint16]
    once: NDArray[np.uint16]

    @classmethod
    def none(cls) -> Memory:
        """Nothing came yet."""
        return cls(np.zeros(2, np.int64), *np.zeros((2, HOURS), np.uint16))

    def own(self) -> Memory:
        """One that can be changed."""
        return Memory(self.run.copy(), self.twice.copy(), self.once.copy())

    def usual(self, local: int, side: int) -> float:
        """How far beyond the level, in decades, a row at this local time may be on this side by what came before."""
        hours, piece = _place(local)
        kept = (_kept(self.twice[h], piece) for h in hours)
        bar = max((size for size, sides in kept if sides & side), default=0)
        return bar / STEPS + MARGIN if bar else 0.0

    def learn(self, local: int, strength: float, side: int) -> None:
        """Go on by a row that is so far beyond the level, in decades, on one side."""
        if strength < 0.0:
            return
        if local - self.run[1] >= PIECE:
            self.run[0] = local
        self.run[1] = local
        if local - self.run[0] >= PIECE:
            return
        hours, piece = _place(local)
        hour, now = hours[0], min(int(strength * STEPS) + 1, MOST)
        before, came = 0, 0
        for h in hours:
            size, sides = _scheduled(self.once[h], piece)
            if sides & side:
                before, came = max(before, size), came | (sides & side)
        known, known_on = _kept(self.twice[hour], piece)
        if came or known_on & side:
            self.twice[hour] = _packed(max(min(now, before), known), known_on | came, piece)
        size, sides = _kept(self.once[hour], piece)
        late = (piece - int(self.once[hour])) & 255 <= 1  # of this deviation, or of the one a moment ago
        if now >= size or not (late or sides & side):
            self.once[hour] = _packed(now, side | (sides if late else 0), piece)
        elif late:
            self.once[hour] |= side << 8


def _place(local: int) -> tuple[tuple[int, int], int]:
    """Hour of the day and the nearer one beside it, and the piece of a day."""
    hour = local // HOUR
    near = hour + 1 if local % HOUR * 2 >= HOUR else hour - 1
    return (hour % HOURS, near % HOURS), local // PIECE & 255


def _packed(size: int, sides: int, piece: int) -> int:
    return size << 10 | sides << 8 | piece


def _unpacked(what: np.uint16) -> tuple[int, int]:
    """Size and sides."""
    return int(what) >> 10, int(what) >> 8 & BOTH


def _kept(what: np.uint16, piece: int) -> tuple[int, int]:
    """What is kept, if it is not too old; else nothing."""
    return _unpacked(what) if (piece - int(what)) & 255 <= LATEST else (0, 0)


def _scheduled(what: np.uint16, piece: int) -> tuple[int, int]:
    """What is kept, if it came a day or a week before; else nothing."""
    age = (piece - int(what)) & 255
    return _unpacked(what) if abs(age - DAILY) <= 1 or abs(age - WEEKLY) <= 1 else (0, 0)
