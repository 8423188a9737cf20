"""`detectors.budget_threshold.BudgetThreshold.apply`, score by score."""

from __future__ import annotations

import numba
import numpy as np

from detectors.budget import LEAST_ROWS, UNTIMED_ROWS
from detectors.budget_threshold import (
    ABOVE,
    BUDGET,
    EDGES,
    ENOUGH,
    FEWEST,
    LOWEST,
    MEMORY,
    PRIOR,
    SLOPES,
    STATE,
    TOLD_BY,
)
from detectors.calibration.base import MAX_CALIBRATED
from detectors.compiling import inner
from detectors.kernels.ufuncs import log10, ten_to
from detectors.thresholds import STEP

K = len(EDGES)
IMAGINED = float(PRIOR * 10.0 ** -EDGES[0])
LEAST_SLOPE, MOST_SLOPE = SLOPES


def signature():
    """Of `run`."""
    from numba import types as t

    integers, floats = t.Array(t.int64, 1, "A"), t.Array(t.float64, 1, "A")
    return t.void(
        t.Array(numba.from_dtype(BUDGET), 1, "C"),
        t.Array(t.float64, 1, "C"),
        t.int64,
        t.Array(t.int64, 2, "C"),
        t.Array(numba.from_dtype(STATE), 1, "A"),
        integers,
        floats,
        t.Array(t.boolean, 1, "A"),
        integers,
        integers,
        integers,
        floats,
    )


@inner
def rows_of(budget, interval, series):
    """Rows of a series per false alert, see `budget.budget_rows`."""
    rows = budget.rows
    if budget.period > 0:
        rows = budget.period / interval if interval > 0 else UNTIMED_ROWS
    return max(rows * (max(np.float64(series), 1.0) if budget.shared else 1.0) / budget.alerts, LEAST_ROWS)


@inner
def found(budget, loops, s, series):
    """The level by a record: where the broken line through (edge, how rare), with (0, 0) before and the last piece's slope behind, reaches what is wanted."""
    wanted = log10(loops, rows_of(budget, np.float64(s.interval), series))
    known, edge, next_known, next_edge = 0.0, 0.0, 0.0, 0.0
    for k in range(K):
        known, edge = next_known, next_edge
        next_known, next_edge = (np.float64(s.rare[k]) if s.rare[0] > 0 else EDGES[k]), EDGES[k]
        if not next_known < wanted:
            break
    level = edge + (wanted - known) / ((next_known - known) / (next_edge - edge))
    told = log10(loops, TOLD_BY * max(np.float64(np.int64(s.trained) + np.int64(s.seen) // STEP * STEP), FEWEST))
    return min(max(level, LOWEST), min(min(wanted + ABOVE, told), MAX_CALIBRATED))


@inner
def count(s, score, keeps, calm):
    """An alert begins at a score that reaches an edge, lasts while scores keep it going, and is over where more than `calm` in a row did not."""
    at = np.int64(s.seen) + 1
    for k in range(K):
        if score >= keeps[k]:
            if s.kept[k] == 0 or at - np.int64(s.kept[k]) > calm:
                s.open[k] = np.uint8(0)
            if score >= EDGES[k] and s.open[k] == 0:
                s.open[k] = np.uint8(1)
                s.alerts[k] += np.uint16(1)
            s.kept[k] = np.uint32(at)


@inner
def renew(loops, s, held):
    """How rare alerts are at each edge: log10 of the scores per alert; rises strictly."""
    most = 0.0  # more cannot begin at a higher edge; there seem to be where alerts run into each other at a lower one
    for k in range(K - 1, -1, -1):
        most = max(most, np.float64(s.alerts[k]))
        held[k] = most
    rare, slope = log10(loops, (np.float64(s.counted) + PRIOR) / (held[0] + IMAGINED)), 1.0
    s.rare[0] = np.float32(rare)
    for k in range(1, K):
        apart, steep = EDGES[k] - EDGES[k - 1], slope
        if held[k] >= ENOUGH:
            fewer = (held[k] + ENOUGH * ten_to(loops, -apart * slope)) / (held[k - 1] + ENOUGH)
            steep = max(-log10(loops, fewer) / apart, 0.01)
        rare += apart * min(steep, MOST_SLOPE)
        s.rare[k] = np.float32(rare)
        slope = min(max(steep, LEAST_SLOPE), MOST_SLOPE)


@inner
def end_step(s, timed, time):
    """Renew the usual step, which no single gap more than doubles; let old counts fade."""
    if timed:
        usual, steps = np.float64(s.interval), (STEP - 1 if s.seen == STEP else STEP)
        mean = np.float64(time - s.since) / np.float64(steps)
        s.interval = np.float32(min(max(mean, usual / 2), usual * 2) if usual > 0 else mean)
        s.since = time
    if s.counted >= MEMORY:
        for k in range(K):
            s.alerts[k] >>= np.uint16(1)
        s.counted >>= np.uint32(1)


def run(budgets, keeps, calm, loops, state, rows, score, learns, times, series, which, levels):
    """Give levels, and move the states on; see `Threshold.apply`.

    Parameters
    ----------
    budgets : (n,) of BUDGET
    keeps : (K,)
        A score from which on it keeps an alert at each edge going.
    calm
        Scores below that, in a row, that end one.
    loops
        Of `ufuncs`.
    state : (S,) of STATE
    rows, score, learns : (B,)
    times, which : (B,) or (0,)
        None, where there are none.
    series : (B,) or (1,)
        One for all.
    levels : (B,)
        Takes the levels.
    """
    held = np.empty(K)
    shared = budgets[0].shared
    for b in range(len(rows)):
        s = state[rows[b]]
        k = which[b] if len(which) and which[b] < len(budgets) else 0
        budget = budgets[k]
        if shared:
            levels[b] = found(budget, loops, s, 1 if k else series[b if len(series) > 1 else 0])
        else:
            levels[b] = s.level if s.level != 0 else found(budget, loops, s, 1)
        if not learns[b] or not np.isfinite(score[b]):
            continue
        count(s, score[b], keeps, calm)
        if s.seen == 0 and len(times):
            s.since = times[b]
        s.seen += np.uint32(1)
        s.counted += np.uint32(1)
        if s.seen % STEP == 0:
            end_step(s, len(times) > 0, times[b] if len(times) else 0)
            renew(loops, s, held)
            s.level = 0.0
        if not shared and s.level == 0:
            s.level = found(budget, loops, s, 1)
