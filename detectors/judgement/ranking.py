"""From terms to the two outputs: a score that ranks by a scale that does not move, and an alarm by how rare a term is of late."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from detectors.judgement import alarm
from detectors.judgement.state import BLOCK, Floats, Learnt, State
from detectors.judgement.terms import ALARMS, FLAT, TERMS

ONE = np.array([1.0, 0.5, 1.5, 0.5, 1.25, 1.5, 0.75, 1.0, 0.0, 0.0])
SEVERAL = np.array([1.0, 0.5, 1.5, 0.5, 1.25, 1.5, 0.75, 1.0, 16.0, 16.0])
"""Weights of the terms in the ranking score. Where others explain a channel, what they leave of it says far more than its own past."""
HOLD, FADE = 0.3, 1.0 / 300
"""Of the ranking score: this much of a peak counts on, and fades."""
RAISED = 0.2
"""Decades by which an alert raises the bar of its series for the next; they fade in one budget period."""
NORMAL_ROWS = 5
"""After which an alert is over."""


def said(learnt: Learnt, state: State, terms: Floats) -> tuple[Floats, Floats, NDArray[np.bool_]]:
    """Score, strength and whether it is anomalous (n,) of the terms (T, n) of rows of one block; the state of alarm and hold moves on row by row."""
    n = terms.shape[1]
    u = np.zeros((len(TERMS), BLOCK))
    u[:, :n] = terms / learnt.usual[:, None]
    weights = ONE if learnt.others is None else SEVERAL
    now = (np.log2(1.0 + u) * weights[:, None]).sum(axis=0) / weights.sum()
    rare = alarm.rarity(u[list(ALARMS)], state.tails)
    beyond = rare - learnt.levels[:, None]
    strength = np.maximum(beyond.max(axis=0), 2.0 * (u[FLAT] - 1.0))
    bins = alarm.counted(u[list(ALARMS)])
    score, anomalous = np.empty(n), np.zeros(n, np.bool_)
    for i in range(n):
        state.peak = max(float(now[i]), state.peak * (1.0 - FADE))
        score[i] = max(float(now[i]), HOLD * state.peak)
        anomalous[i] = strength[i] >= state.bar
        if anomalous[i] and state.calm < 0:
            state.bar += RAISED
        state.bar = max(state.bar - RAISED / learnt.budget, 0.0)
        state.calm = 0 if anomalous[i] else state.calm + 1 if 0 <= state.calm < NORMAL_ROWS - 1 else -1
        taught = np.flatnonzero(beyond[:, i] < state.bar)
        state.counts[taught, bins[taught, i]] += 1
    return score, strength[:n], anomalous
