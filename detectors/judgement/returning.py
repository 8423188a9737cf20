"""What is as it was before an alert is where it was: it need not come back by the way it was dragged.

Level, means and contexts follow a long outage, bounded, so that a lasting shift becomes normal; when the outage is over they are off by as much on the other
side, and alarm for as long again. So where an alert begins the level is kept, and while it is open, and a little longer, each row asks whether the newest are as
before: near what the kept level expects, in a series whose next row is foretold as well as ever. Then level and slope are the kept ones
(or stay, where the newest rows are nearer to these), means hold no more than what is usual, and of what was odd the contexts keep what the cleaned one has.
A shift that lasts never looks so; what it teaches, it teaches as without all this.
"""

from __future__ import annotations

import copy
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from detectors.judgement.autoregression import ORDER
from detectors.judgement.state import Floats, State
from detectors.judgement.terms import CLEANED, CLOCK, LONGEST, PLAIN, QUARTER, SCALED, SPREAD

ROWS = 3
"""Newest rows that must be as before."""
WITHIN, AROUND = 2.5, 1.0
"""Usual sizes within which each of them lies, and their mean."""
LONG = (0.25, 2.0)
"""Days. An alert that has been open for so long is no job that comes again at its hour, and teaches day and week nothing; one that is open for longer still does: it is how
the series is from now on."""
BITS = 8
KEPT = 1 << BITS
COUNTED = KEPT - 1
"""Of the field `far` of a record: its lowest bits count; the next says whether a level is kept; those above, how many rows of the block teach no level."""


class Place(NamedTuple):
    """Where the channels (C,) of a series were when its alert began; zeros: there was none.

    Attributes
    ----------
    level, slope : (C,)
        Of the clock; the level goes on by the slope with each row.
    since, calm, over : (C,)
        Rows since the alert began, how many of the newest were as before, and rows since it ended.
    untaught : (C,) int64
        First rows of this block that teach no level.
    kept : (C,) bool
        Whether there is a place to come back to: from the beginning of an alert to the first return behind its end, or 48 rows.
    """

    level: Floats
    slope: Floats
    since: Floats
    calm: Floats
    over: Floats
    untaught: NDArray[np.int64]
    kept: NDArray[np.bool_]

    @classmethod
    def none(cls, C: int) -> Place:
        """No alert yet."""
        level, slope, since, calm, over = np.zeros((5, C))
        return cls(level, slope, since, calm, over, np.zeros(C, np.int64), np.zeros(C, np.bool_))

    def own(self) -> Place:
        """One that can be changed."""
        return copy.deepcopy(self)


def follow(state: State, sizes: Floats, at: int) -> None:
    """Go on by row `at` of a block, with the sizes (S, C) of its terms."""
    place, over = state.place, state.calm < 0
    for c in range(len(place.kept)):
        if place.kept[c]:
            place.over[c] = place.over[c] + 1.0 if over else 0.0
            is_back = _back(state, c, sizes[:, c], at)
            place.kept[c] = not over or not (is_back or place.over[c] > ORDER)
        elif not over:
            place.level[c] = state.clock.level[c] + state.clock.slope[c] * (at + 1)
            place.slope[c] = state.clock.slope[c]
            place.since[c], place.calm[c], place.over[c], place.kept[c] = 0.0, 0.0, 0.0, True


def lasts(state: State, rows_a_day: float) -> NDArray[np.bool_]:
    """Channels (C,) whose alert is open for so long that their rows teach day and week nothing."""
    place = state.place
    days = place.since / rows_a_day
    return np.asarray(place.kept & (place.over == 0.0) & (days > LONG[0]) & (days <= LONG[1]))


def _back(state: State, c: int, sizes: Floats, at: int) -> bool:
    """Whether a channel's newest rows are as before its alert; then it is where it was."""
    place, clock, scales = state.place, state.clock, state.scales[:, c]
    place.level[c] += place.slope[c]
    place.since[c] += 1.0
    now = clock.level[c] + clock.slope[c] * (at + 1)
    usual, one = scales[SCALED.index(CLOCK)], scales[SCALED.index(CLEANED)]
    gap = now - place.level[c]
    left = state.plain[:, c].astype(np.float64) + gap
    error = min(sizes[SCALED.index(CLEANED)], sizes[SCALED.index(PLAIN)], abs(left[-1]))
    place.calm[c] = place.calm[c] + 1.0 if abs(left[-1]) <= WITHIN * usual and error <= WITHIN * one else 0.0
    total = sum(left[-ROWS:].tolist())
    if place.calm[c] < ROWS or abs(total) > AROUND * ROWS * usual:
        return False
    if abs(total) <= abs(total - ROWS * gap):
        clock.slope[c] = place.slope[c]
        clock.level[c] = place.level[c] - clock.slope[c] * (at + 1)
    else:
        place.level[c], left, gap = now, left - gap, 0.0
    odd = np.abs(left) > WITHIN * usual
    odd[-ROWS:], odd[: max(len(odd) - int(place.since[c]) - 1, 0)] = False, False
    clean = state.cleaned[:, c].astype(np.float64) + gap if place.since[c] <= LONGEST else np.zeros(len(left))
    state.plain[:, c] = state.cleaned[:, c] = np.where(odd, clean, left)
    slow = scales[SCALED.index(QUARTER)]
    state.means[0, c] = np.clip(float(state.means[0, c]) + gap, -slow, slow)
    state.means[1, c] = min(float(state.means[1, c]), scales[SCALED.index(SPREAD)])
    state.far[c] = 0
    place.untaught[c] = max(at + 1 - ROWS, 0)
    return True
