"""From terms to the two outputs: a score that ranks by a scale that does not move, and an alarm by how rare a term is of late."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from detectors.judgement import alarm, recurring
from detectors.judgement.state import BLOCK, Floats, Learnt, State, Times
from detectors.judgement.terms import ALARMS, FLAT, TERMS, rows_of

ONE = np.array([1.0, 0.5, 1.5, 0.5, 1.25, 1.5, 0.75, 1.0, 0.0, 0.0])
SEVERAL = np.array([1.0, 0.5, 1.5, 0.5, 1.25, 1.5, 0.75, 1.0, 16.0, 16.0])
"""Weights of the terms in the ranking score. Where others explain a channel, what they leave of it says far more than its own past."""
HOLD, FADE = 0.3, 1.0 / 300
"""Of the ranking score: this much of a peak counts on, and fades."""
STOOD, STOOD_LEAST = 2.0, 0.1
"""Decades for each by which what stands still does so for longer than makes an alarm; and what share of that counts at least. Standing is told by its length, which
has no end: as a plain number it were beyond every bar an hour later, and what came at its hour would hide all else there for two weeks."""
NORMAL_ROWS = 5
"""After which an alert is over."""


def beyond(learnt: Learnt, tails: Floats, u: Floats) -> tuple[Floats, Floats]:
    """By how many decades rows (n,) are rarer than the level asks for, and each of the alarm's terms (A, n); their terms (T, n) in units of the usual."""
    each = alarm.rarity(u[list(ALARMS)], tails) - learnt.levels[:, None]
    return np.asarray(np.maximum(each.max(axis=0), standing(u[FLAT]))), each


def standing(flat: Floats) -> Floats:
    """By how many decades equal values are rarer than the level asks for, of so many times as many (n,) as make an alarm."""
    return np.asarray(STOOD * np.log10(np.maximum(flat, STOOD_LEAST)))


def said(
    learnt: Learnt, state: State, terms: Floats, speaks: NDArray[np.bool_], local: Times, sides: NDArray[np.uint8]
) -> tuple[Floats, Floats, NDArray[np.bool_]]:
    """Score, strength and whether it is anomalous (n,) of the terms (T, n) of rows of one block; the state of alarm and hold moves on row by row.

    `speaks` (T, n) says which terms have a say in the alarm; the score and what a term teaches are of all. `sides` (n,): see `recurring`.
    """
    n = terms.shape[1]
    u = np.zeros((len(TERMS), BLOCK))
    u[:, :n] = terms / learnt.usual[:, None]
    weights = ONE if learnt.others is None else SEVERAL
    now = (np.log2(1.0 + u) * weights[:, None]).sum(axis=0) / weights.sum()
    _, each = beyond(learnt, state.tails, u)
    loud = np.where(speaks[list(ALARMS)], each[:, :n], -np.inf).max(axis=0)
    strength = np.maximum(loud, standing(u[FLAT, :n]))
    bins = alarm.counted(u[list(ALARMS)])
    most = np.maximum(alarm.TAUGHT[0], alarm.TAUGHT[1] * np.array([rows_of(k, learnt.bins) for k in ALARMS]))
    score, anomalous = np.empty(n), np.zeros(n, np.bool_)
    for i in range(n):
        state.peak = max(float(now[i]), state.peak * (1.0 - FADE))
        score[i] = max(float(now[i]), HOLD * state.peak)
        usual = 0.0
        if learnt.bins.rows_a_day >= recurring.LEAST_ROWS:
            usual = state.memory.usual(int(local[i]), int(sides[i]))
            state.memory.learn(int(local[i]), float(strength[i]), int(sides[i]))
        behind = alarm.aftermath(state.calm, learnt.bins.rows_a_day)
        anomalous[i] = strength[i] >= alarm.raised(state.debt) + behind + usual
        if anomalous[i] and state.calm < 0:
            state.debt += 1.0
        state.debt = max(state.debt - 1.0 / learnt.budget, -alarm.FREE)
        state.calm = _calm(state.calm, bool(anomalous[i]), learnt.bins.rows_a_day)
        far = u[list(ALARMS), i] > state.tails[:, 0]
        state.out[:] = np.where(far, np.minimum(state.out + 1, alarm.LONGEST_OUT), np.maximum(state.out, 1) - 1)
        taught = np.flatnonzero((each[:, i] < alarm.raised(state.debt)) & (state.out <= most))
        state.counts[taught, bins[taught, i]] += 1
    return score, strength, anomalous


def _calm(before: int, anomalous: bool, rows_a_day: float) -> int:
    """See `State.calm`, behind one more row."""
    if anomalous:
        return 0
    if before < 0:
        return min(before + 1, -1)
    return before + 1 if before < NORMAL_ROWS - 1 else -1 - alarm.after(rows_a_day)
