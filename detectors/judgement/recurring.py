"""What comes again at the same clock time: a deviation that came there on two days running, or a week apart, is usual there although it was flagged.

What came at the same hour on any other two days is no schedule: people work at the same hours, and what breaks while they do must be told each time.

Of each hour of the day two numbers are kept, each with when it was (quarters of days, modulo 256): what came twice, and the largest of late that came once.
What came twice raises the bar of its hour and of the nearer one beside it, so a job may begin some minutes early or late. Only deviations
of less than a quarter of a day teach: a lasting shift or a long outage is no job.
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
MARGIN = 0.7
"""Decades by which what comes again may be rarer than what came before."""
STEPS = 16.0
"""Of a decade."""


class Memory(NamedTuple):
    """Of one series; changed in place.

    Attributes
    ----------
    run : (2,) int64
        Local times, ms, of the first and the newest row beyond the level of the newest deviation; a quarter of a day without one ends it.
    twice, once : (24,) uint16
        Sixteenths of a decade beyond the level, times 256, and the piece of a day.
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

    def usual(self, local: int) -> float:
        """How far beyond the level, in decades, a row at this local time may be by what came before."""
        hours, piece = _place(local)
        bar = max(_kept(self.twice[h], piece) for h in hours)
        return bar / STEPS + MARGIN if bar else 0.0

    def learn(self, local: int, strength: float) -> None:
        """Go on by a row that is so far beyond the level, in decades."""
        if strength < 0.0:
            return
        if local - self.run[1] >= PIECE:
            self.run[0] = local
        self.run[1] = local
        if local - self.run[0] >= PIECE:
            return
        hours, piece = _place(local)
        hour, now = hours[0], min(int(strength * STEPS) + 1, 255)
        before = max(_scheduled(self.once[h], piece) for h in hours)
        known = _kept(self.twice[hour], piece)
        if before or known:
            self.twice[hour] = max(min(now, before), known) << 8 | piece
        if now >= _kept(self.once[hour], piece):
            self.once[hour] = now << 8 | piece


def _place(local: int) -> tuple[tuple[int, int], int]:
    """Hour of the day and the nearer one beside it, and the piece of a day."""
    hour = local // HOUR
    near = hour + 1 if local % HOUR * 2 >= HOUR else hour - 1
    return (hour % HOURS, near % HOURS), local // PIECE & 255


def _kept(what: np.uint16, piece: int) -> int:
    """What is kept, if it is not too old; else 0."""
    return int(what) >> 8 if (piece - int(what)) & 255 <= LATEST else 0


def _scheduled(what: np.uint16, piece: int) -> int:
    """What is kept, if it came a day or a week before; else 0."""
    age = (piece - int(what)) & 255
    return int(what) >> 8 if abs(age - DAILY) <= 1 or abs(age - WEEKLY) <= 1 else 0
