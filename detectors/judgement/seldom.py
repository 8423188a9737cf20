"""What was nothing in a history and begins to be something: errors are counted now and then, a queue is used, a service is started.

Nothing says how large such a thing is when it comes, so its first rows are beyond everything, and would be each time: `alarm` learns nothing of what lies
beyond its level, and a bar that rises from alert to alert would hide what is a thousand times as large. So the scale rises instead, of channels that mostly
stand still and terms that are mostly nothing: behind the third alert that the budget does not have (`OWED`), to where half as much again is just
no alarm. What is several times as large is told again. While the series still owes alerts, or what comes goes on to come, the scale stays; then
it falls within some twenty days, as all scales do. What came so in a history is usual from the start (`known`).

What comes and stays is one alert. Of a channel that has been off for a day, far beyond what it was judged by, level and scale are those of its
newest rows, and how rare a row is, is not told by what was when there was nothing.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from detectors.judgement import alarm, clock
from detectors.judgement.state import Floats, Learnt, State
from detectors.judgement.terms import ALARM_OF_SCALED, ALARMS, CLEANED, CLOCK, OF_ONE_ROW, SCALED, SPREAD, rows_of

OWED = 2.0
"""Alerts beyond the budget from which on what comes is learnt."""
FARTHER = 1.5
"""Times what came: up to there the scale rises. The next that is somewhat larger is no news."""
LEAST = 2
"""Excursions of a history beyond those that are told of, without which none is usual."""
COMES, STAYS = 20, 3
"""Bin, and rows in it and in higher ones, of a term that was idle and whose scale has risen: while there are more, it stays."""
NOTHING = 0.03
"""Of what comes: what three of four rows are at most, of a channel that mostly is nothing."""
ERROR = SCALED.index(CLEANED)
UNSURE = 1.3
"""Of the error of the newest rows: the scale that is taken from so few."""


def rises(learnt: Learnt, state: State, sizes: Floats) -> None:
    """Behind an anomalous row with these sizes (S, C): scales of what comes now and then rise, by a few rows of each excursion."""
    if state.debt < OWED:
        return
    come = _may_rise(learnt, state) & (state.out <= _few(learnt))[ALARM_OF_SCALED, None]
    risen = np.maximum(state.scales, FARTHER * sizes / _far(learnt, state)[:, None])
    state.scales = np.where(come, risen, state.scales)


def known(learnt: Learnt, state: State, sizes: Floats) -> Floats:
    """Scales (S, C) behind a history in which there were these sizes (S, n, C): what came in it more often than would be told of is usual.

    How large it may be is an exponential law's quantile for the budget, by the excursions but the largest, which may be what should be told
    (Epstein, Sobel 1953, life testing: censored samples).
    """
    scales = state.scales.copy()
    far, idle, few = _far(learnt, state), _may_rise(learnt, state), _few(learnt)[ALARM_OF_SCALED]
    for c in np.flatnonzero(learnt.still).tolist():
        own = sizes[:, :, c]
        for i in np.flatnonzero(idle[:, c]).tolist():
            if largest := _largest(learnt, own[i], far[i] * state.scales[i, c], few[i]):
                scales[i, c] = max(scales[i, c], largest / far[i])
        largest = _largest(learnt, own[ERROR], far[ERROR] * state.scales[ERROR, c], alarm.TAUGHT[0])
        if largest and np.quantile(own[ERROR], alarm.IDLE) <= NOTHING * largest:
            # Means are as much smaller as they were in the largest.
            scales[:, c] = np.maximum(scales[:, c], largest / own[ERROR].max() * own.max(axis=1) / far)
    return scales


def _largest(learnt: Learnt, size: Floats, far: float, few: float) -> float:
    """How large a term of one channel (n,) is that comes once in a budget, by its excursions beyond `far`; 0: these were too few."""
    told = int(OWED + len(size) / learnt.budget)
    rows = np.flatnonzero(size > far)
    begins = np.flatnonzero(np.diff(rows, prepend=-np.inf) > few)
    if len(begins) < told + LEAST:
        return 0.0
    rest = np.sort(np.maximum.reduceat(size[rows], begins))[:-told]
    mean = (np.add.accumulate(rest)[-1] + told * rest[-1]) / len(rest)
    return float(max(rest[-1], mean * np.log(len(begins) * max(learnt.budget / len(size), 1.0))))


def _may_rise(learnt: Learnt, state: State) -> NDArray[np.bool_]:
    """Which scales (S, C) are of nothing. Of several channels no term is idle where one of them lives: then whatever mostly stands still is."""
    C = len(learnt.longest)
    idle = alarm.idle(state.counts)[ALARM_OF_SCALED, None] | np.full(C, C > 1)
    return np.asarray(idle & learnt.still)


def _few(learnt: Learnt) -> Floats:
    """Rows of an excursion (A,) that say how large it is."""
    return np.maximum(alarm.TAUGHT[0], alarm.TAUGHT[1] * np.array([rows_of(k, learnt.bins) for k in ALARMS]))


def _far(learnt: Learnt, state: State) -> Floats:
    """In units of its scale, from which size on a scaled term (S,) alarms."""
    far = alarm.reach(state.tails, learnt.levels)[ALARM_OF_SCALED] * learnt.usual[list(SCALED)]
    far[SCALED.index(SPREAD)] += 1.0
    return np.asarray(far)


def stays(learnt: Learnt, state: State) -> NDArray[np.bool_]:
    """Which scales (S, C) do not fall."""
    comes = state.counts[:, COMES:].sum(axis=1, dtype=np.int64) > STAYS
    come = _may_rise(learnt, state) & ((state.debt > 0.0) | comes[ALARM_OF_SCALED, None])
    return np.asarray(alarm.crowded(state.counts)[ALARM_OF_SCALED, None] | come)


def lives(learnt: Learnt, state: State) -> None:
    """At the end of a block: what has come and stayed for a day is how the channel is."""
    if learnt.bins.coarse:
        return
    place, plain = state.place, state.plain.astype(np.float64)
    small = np.add.accumulate(np.abs(plain))[-1] / len(plain) * clock.NOTHING
    far = small > state.scales[SCALED.index(CLOCK)]
    for profile in (state.clock.day, state.clock.week):
        far &= (np.abs(profile.astype(np.float64)) <= small).all(axis=0)
    lives = learnt.still & place.kept & (place.over == 0.0) & (place.since >= learnt.bins.stands) & far
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
    idle = alarm.idle(state.counts)
    state.counts[idle] = 0
    state.narrow[idle[list(OF_ONE_ROW)]] = 0.0
