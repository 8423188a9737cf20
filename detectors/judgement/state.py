"""What is learnt of a series and stays, what moves on with it, and what is said of its rows."""

from __future__ import annotations

from dataclasses import dataclass, fields, replace
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
from numpy.typing import NDArray

from detectors.judgement import alarm
from detectors.judgement.clock import Bins, Clock
from detectors.judgement.recurring import Memory

if TYPE_CHECKING:
    from detectors.judgement.returning import Place

Floats = NDArray[np.float64]
Singles = NDArray[np.float32]
Times = NDArray[np.int64]

BLOCK = 16
"""Rows after which what is slow moves on; counted from the first row of a series, so no cut changes it."""


@dataclass
class State:
    """What moves on with a series; all of it bounded. `size` says how many bytes.

    Attributes
    ----------
    rows
        Judged so far.
    clock
        See `clock.Clock`.
    cleaned, plain : (48, C) float32
        What was left of the clock's forecast, the oldest first.
    far : (C,) int16
        Rows for which the cleaned context has held forecasts.
    seen : (8, C) float32
        Rows as they came.
    means : (2, C) float32
        Running mean of what is left over a quarter of a day; of the size of the plain error over 8 rows.
    equal, last : (C,)
        How many rows had the value `last`.
    scales, sums : (S, C)
        Slow size of each scaled term, and its sum over the rows of this block.
    block, local : (16, C) float32, (16,) int64
        Rows of this block, for the clock to learn, and where they are placed in its bins.
    counts, tails
        See `alarm`.
    narrow
        Of the alarm's terms of one row, see `alarm.narrowness`: as it was when counts were last halved, and from 0 on where nothing was learnt from. Rows in between do not
        change it, so that one that was let pass, or said to have been missed, cannot at once hide the next.
    out : (A,) uint16
        Rows for which each of the alarm's terms has been beyond its 98 % quantile, see `alarm.TAUGHT`.
    memory
        What came at the same clock time before, see `recurring`.
    place
        Where the series was when its alert began, see `returning`.
    debt, peak : float
        Alerts beyond the budget, see `alarm.raised`; the held score.
    calm : int
        Normal rows since the last anomalous one of an open alert; with none open -1, and as much less as there are rows left of the last one's aftermath
        (`alarm.AFTERMATH`).
    """

    rows: int
    clock: Clock
    cleaned: Singles
    plain: Singles
    far: NDArray[np.int16]
    seen: Singles
    means: Singles
    equal: NDArray[np.int32]
    last: Floats
    scales: Floats
    sums: Floats
    block: Singles
    local: Times
    counts: alarm.Counts
    tails: Floats
    narrow: Floats
    out: NDArray[np.uint16]
    memory: Memory
    place: Place
    debt: float = -alarm.FREE
    peak: float = 0.0
    calm: int = -1

    def copy(self) -> State:
        """One that can be changed."""
        changed = {f.name: getattr(self, f.name).copy() for f in fields(self) if hasattr(getattr(self, f.name), "copy")}
        changed["memory"], changed["place"] = self.memory.own(), self.place.own()
        return replace(self, **changed)

    @property
    def size(self) -> int:
        """Bytes of all arrays."""
        own = [getattr(self, f.name) for f in fields(self)]
        parts = [*own, *(getattr(self.clock, f.name) for f in fields(self.clock))]
        return sum(p.nbytes for p in parts if isinstance(p, np.ndarray))


class Said(NamedTuple):
    """Of n rows.

    Attributes
    ----------
    score : (n,)
        Ranks; high means anomalous.
    strength : (n,)
        By how many decades a row is rarer than the alarm's level asks for; an anomalous row has at least the bar, and what is usual at its clock time.
    anomalous : (n,) bool
    terms : (T, n)
        Each in units of its own 99 % quantile.
    expected : (n, C)
    sides : (n,) uint8
        On which side of what the clock expects, see `recurring`.
    """

    score: Floats
    strength: Floats
    anomalous: NDArray[np.bool_]
    terms: Floats
    expected: Floats
    sides: NDArray[np.uint8]


@dataclass(frozen=True)
class Learnt:
    """What was learnt of a series and does not move.

    Attributes
    ----------
    middle, unit : (C,)
        Values are judged as (value - middle) / unit.
    weights : (48, C)
        Of the autoregression.
    centres : (K, 8 * C)
    others : (C, C), or None with one channel
    usual : (T,)
        99 % quantile of each term.
    longest : (C,)
        Equal values in a row in the history; infinite where they say nothing, as more than half repeat the one before. Negative, where these stand now at one value and
        now at another: they say something up to a day.
    levels : (len(ALARMS),)
    logs : (C,) bool
        Channels that are judged by their logarithm: `values` are logarithms there, see `growth`.
    """

    bins: Bins
    middle: Floats
    unit: Floats
    weights: Singles
    centres: Singles
    others: Singles | None
    usual: Floats
    longest: Floats
    levels: Floats
    budget: float
    logs: NDArray[np.bool_]

    @property
    def still(self) -> NDArray[np.bool_]:
        """Channels (C,) that mostly stand still."""
        return np.asarray(np.isinf(self.longest) | (self.longest < 0.0))
