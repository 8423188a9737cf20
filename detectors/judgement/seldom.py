"""What was nothing in a history and begins to be something: errors are counted now and then, a queue is used, a service is started.

Nothing says how large such a thing is when it comes, so its first rows are beyond everything, and would be each time: `alarm` learns nothing of what lies
beyond its level, and a bar that rises from alert to alert would hide what is a thousand times as large. So the scale rises instead, of channels that mostly
stand still and terms that are mostly nothing: behind the third alert that the budget does not have (`OWED`), to where what came is just
no alarm. What is several times as large is told again. While the series still owes alerts the scale stays; then it falls within some twenty days, as all scales do.

What comes and stays is one alert. Of a channel that has been off for a day, far beyond what it was judged by, level and scale are those of its newest rows, and how rare a row is, is not told by what
was when there was nothing.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from detectors.judgement import alarm, clock
from detectors.judgement.state import Floats, Learnt, State
from detectors.judgement.terms import ALARM_OF_SCALED, ALARMS, CLOCK, SCALED, SPREAD, rows_of

OWED = 2.0
"""Alerts beyond the budget from which on what comes is learnt."""
UNSURE = 1.3
"""Of the error of the newest rows: the scale that is taken from so few."""


def rises(learnt: Learnt, state: State, sizes: Floats) -> None:
    """Behind an anomalous row with these sizes (S, C): scales of what comes now and then rise, by a few rows of each excursion."""
    if state.debt < OWED:
        return
    most = np.maximum(alarm.TAUGHT[0], alarm.TAUGHT[1] * np.array([rows_of(k, learnt.bins) for k in ALARMS]))
    come = (alarm.idle(state.counts) & (state.out <= most))[ALARM_OF_SCALED]
    far = alarm.reach(state.tails, learnt.levels)[ALARM_OF_SCALED] * learnt.usual[list(SCALED)]
    far[SCALED.index(SPREAD)] += 1.0
    risen = np.maximum(state.scales, sizes / far[:, None])
    state.scales = np.where(come[:, None] & learnt.still, risen, state.scales)


def stays(learnt: Learnt, state: State) -> NDArray[np.bool_]:
    """Which scales (S, C) do not fall."""
    come = alarm.idle(state.counts)[ALARM_OF_SCALED, None] & learnt.still & (state.debt > 0.0)
    return np.asarray(alarm.crowded(state.counts)[ALARM_OF_SCALED, None] | come)


def lives(learnt: Learnt, state: State) -> None:
    """At the end of a block: what has come and stayed for a day is how the channel is."""
    if learnt.bins.coarse:
        return
    place, plain = state.place, state.plain.astype(np.float64)
    long = max(clock.SETTLED, round(learnt.bins.rows_a_day))
    small = np.add.accumulate(np.abs(plain))[-1] / len(plain) * clock.NOTHING
    far = small > state.scales[SCALED.index(CLOCK)]
    for profile in (state.clock.day, state.clock.week):
        far &= (np.abs(profile.astype(np.float64)) <= small).all(axis=0)
    lives = learnt.still & place.kept & (place.over == 0.0) & (place.since >= long) & far
    if not lives.any():
        return
    shift = np.add.accumulate(plain)[-1] / len(plain)
    error = np.maximum(
        UNSURE * np.add.accumulate(np.abs(plain - shift))[-1] / len(plain), np.abs(shift) * clock.ROUNDED
    )
    state.clock.level = np.where(lives, state.clock.level + shift, state.clock.level)
    state.clock.errors = np.where(lives, np.maximum(state.clock.errors, error), state.clock.errors)
    state.plain = np.where(lives, plain - shift, plain).astype(np.float32)
    state.cleaned = np.where(lives, state.plain, state.cleaned)
    state.means = np.where(lives, np.stack([np.zeros_like(error), error]), state.means).astype(np.float32)
    state.scales = np.where(lives, np.maximum(state.scales, error), state.scales)
    state.counts[alarm.idle(state.counts)] = 0
