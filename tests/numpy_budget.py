"""`BudgetThreshold.apply` in numpy, all series and a step at once: what the compiled one must equal by bits."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from detectors.budget import Budget, budget_rows
from detectors.budget_threshold import (
    ABOVE,
    EDGES,
    ENOUGH,
    FEWEST,
    LOWEST,
    MEMORY,
    PRIOR,
    SLOPES,
    TOLD_BY,
    BudgetThreshold,
)
from detectors.calibration import MAX_CALIBRATED
from detectors.thresholds import STEP, steps_of


class NumpyBudgetThreshold(BudgetThreshold):
    """The same settings and states."""

    def __init__(self, budget: Budget, hysteresis: float = 1.0, calm: int = 3, others: Sequence[Budget] = ()) -> None:
        super().__init__(budget, hysteresis, calm, others)
        self._budgets = (budget, *others)

    def apply(
        self,
        state: NDArray[Any],
        rows: NDArray[np.intp],
        score: NDArray[np.float64],
        learn: NDArray[np.bool_],
        times: NDArray[np.int64] | None = None,
        series: NDArray[np.int64] | int = 1,
        which: NDArray[np.int64] | None = None,
    ) -> NDArray[np.float64]:
        level = np.empty(len(rows))
        counted = learn & np.isfinite(score)
        for part in steps_of(state["seen"], rows, counted):
            budgets = None if which is None else which[part]
            level[part] = self._of(state, rows[part], series if isinstance(series, int) else series[part], budgets)
            known = part[counted[part]]
            if len(known):
                known = known[np.argsort(rows[known], kind="stable")]
                self._learn(state, rows[known], score[known])
                budgets = None if which is None else which[known]
                self._move_on(state, rows[known], None if times is None else times[known], budgets)
        return level

    def _of(
        self,
        state: NDArray[Any],
        rows: NDArray[np.intp],
        series: NDArray[np.int64] | int,
        which: NDArray[np.int64] | None,
    ) -> NDArray[np.float64]:
        """The level (n,) of each of so many scores; it moves where a step ends, and with the number of series that share the budget."""
        if self.budget.shared:
            return self._found(state[rows], series, which)
        level = state["level"][rows]
        if len(unknown := np.flatnonzero(level == 0)):
            level[unknown] = self._found(state[rows[unknown]], 1, None if which is None else which[unknown])
        return np.asarray(level)

    def _found(
        self, known: NDArray[Any], series: NDArray[np.int64] | int, which: NDArray[np.int64] | None
    ) -> NDArray[np.float64]:
        """The level (n,) by records (n,)."""
        wanted = np.log10(rows_of_budgets(self._budgets, which, known["interval"], series))
        rare = known["rare"].astype(np.float64)
        level = _levels(np.where(rare[:, :1] > 0, rare, EDGES), wanted)
        told_of = known["trained"] + known["seen"].astype(np.int64) // STEP * STEP
        told = np.log10(TOLD_BY * np.maximum(told_of, FEWEST))
        return np.clip(level, LOWEST, np.minimum(np.minimum(wanted + ABOVE, told), MAX_CALIBRATED))

    def _learn(self, state: NDArray[Any], rows: NDArray[np.intp], score: NDArray[np.float64]) -> None:
        """Count the alerts that began among scores (n,) of one step, sorted by series, at each of the K edges; all edges at once."""
        begins = np.flatnonzero(np.diff(rows, prepend=-1))
        place = np.arange(len(rows)) - np.repeat(begins, np.diff(begins, append=len(rows)))
        hot = np.flatnonzero(score >= self._keeps[0])
        if not len(hot):
            return
        of, at = rows[hot], (place + state["seen"][rows] + 1)[hot]
        segments = np.flatnonzero(np.diff(of, prepend=-1))
        first = np.repeat(segments, np.diff(segments, append=len(of)))[:, None]
        i, scores = np.arange(len(of))[:, None], score[hot][:, None]
        keeps, reaches = scores >= self._keeps, scores >= EDGES
        was_open = state["open"][of] != 0

        kept = _newest(i, keeps)
        before = _shifted(kept)
        gap = at[:, None] - np.where(before >= first, at[before], state["kept"][of])
        begun = _newest(i, keeps & ((gap > self.calm) | (gap == at[:, None])))  # gap == at: none was kept before
        run = np.maximum(
            begun, first
        )  # where the alert that an edge would have begins, or goes on from the step before
        reached = _newest(i, reaches)
        goes_on = (begun < first) & was_open
        opens, edge = np.nonzero(reaches & (_shifted(reached) < run) & ~goes_on)
        np.add.at(state["alerts"], (of[opens], edge), np.uint16(1))

        last = np.append(segments[1:], len(of)) - 1
        row, any_kept = of[last], kept[last] >= first[last]
        state["open"][row] = np.where(any_kept, (reached >= run)[last] | goes_on[last], state["open"][row])
        state["kept"][row] = np.where(any_kept, at[kept[last]], state["kept"][row])

    def _move_on(
        self,
        state: NDArray[Any],
        rows: NDArray[np.intp],
        times: NDArray[np.int64] | None,
        which: NDArray[np.int64] | None,
    ) -> None:
        """Count scores of one step, sorted by series; where the step is full, renew the usual step and how rare alerts are."""
        first = np.flatnonzero(np.diff(rows, prepend=-1))
        counts = np.diff(first, append=len(rows)).astype(np.uint32)
        touched = rows[first]
        if times is not None:
            begins = state["seen"][touched] == 0
            state["since"][touched[begins]] = times[first[begins]]
        state["seen"][touched] += counts
        state["counted"][touched] += counts
        full = np.flatnonzero(state["seen"][touched] % STEP == 0)
        row = touched[full]
        if times is not None and len(row):
            last, usual = times[first[full] + counts[full] - 1], state["interval"][row].astype(np.float64)
            mean = (last - state["since"][row]) / np.where(state["seen"][row] == STEP, STEP - 1, STEP)
            state["interval"][row] = np.where(usual > 0, np.clip(mean, usual / 2, usual * 2), mean)
            state["since"][row] = last
        old = row[state["counted"][row] >= MEMORY]
        state["alerts"][old] >>= np.uint16(1)
        state["counted"][old] >>= np.uint32(1)
        if len(row):
            state["rare"][row] = _rare(state["alerts"][row], state["counted"][row])
            state["level"][row] = 0.0
        if not self.budget.shared and len(at := np.flatnonzero(state["level"][touched] == 0)):
            unknown = touched[at]
            state["level"][unknown] = self._found(state[unknown], 1, None if which is None else which[first[at]])


def _newest(i: NDArray[np.intp], what: NDArray[np.bool_]) -> NDArray[np.intp]:
    """The newest place of `i` (n, 1) up to each at which `what` (n, K) holds; -1 where there is none."""
    return np.maximum.accumulate(np.where(what, i, -1), axis=0)


def _shifted(places: NDArray[np.intp]) -> NDArray[np.intp]:
    """The same of the one before."""
    return np.concatenate([np.full((1, places.shape[1]), -1), places[:-1]])


def _rare(alerts: NDArray[np.uint16], counted: NDArray[np.uint32]) -> NDArray[np.float64]:
    """log10 of the scores per alert at each edge (S, K), of alerts there (S, K) among counted scores (S,); rises strictly."""
    # More cannot begin at a higher edge; there seem to be where alerts run into each other at a lower one.
    held = np.maximum.accumulate(alerts[:, ::-1].astype(np.float64), axis=1)[:, ::-1]
    out = np.empty(held.shape)
    out[:, 0] = np.log10((counted + PRIOR) / (held[:, 0] + PRIOR * 10.0 ** -EDGES[0]))
    slope = np.ones(len(held))
    for k in range(1, len(EDGES)):
        apart = EDGES[k] - EDGES[k - 1]
        fewer = (held[:, k] + ENOUGH * 10.0 ** (-apart * slope)) / (held[:, k - 1] + ENOUGH)
        steep = np.where(held[:, k] >= ENOUGH, np.maximum(-np.log10(fewer) / apart, 0.01), slope)
        out[:, k] = out[:, k - 1] + apart * np.minimum(steep, SLOPES[1])
        slope = np.clip(steep, *SLOPES)
    return out


def _levels(rare: NDArray[np.float64], wanted: NDArray[np.float64]) -> NDArray[np.float64]:
    """Where the broken lines through (edge, rare) (B, K), with (0, 0) before and the last piece's slope behind, reach `wanted` (B,)."""
    edges = np.concatenate([[0.0], EDGES])
    known = np.concatenate([np.zeros((len(rare), 1)), rare], axis=1)
    left = np.minimum((known < wanted[:, None]).sum(axis=1) - 1, len(EDGES) - 1).clip(0)
    at = np.arange(len(known))
    slope = (known[at, left + 1] - known[at, left]) / (edges[left + 1] - edges[left])
    return np.asarray(edges[left] + (wanted - known[at, left]) / slope)


def rows_of_budgets(
    budgets: Sequence[Budget], which: NDArray[np.int64] | None, interval_ms: NDArray[Any], series: ArrayLike = 1
) -> NDArray[np.float64]:
    """Rows of each series per false alert, at least `LEAST_ROWS`, where several budgets hold side by side.

    Parameters
    ----------
    which : (n,)
        Which of `budgets` each series has; None: all the first.
    interval_ms : (n,)
    series
        Of the first one.
    """
    rows = budget_rows(budgets[0], interval_ms, series)
    if which is not None:
        rows = np.array(np.broadcast_to(rows, which.shape))
        for k in range(1, len(budgets)):
            if (at := which == k).any():
                rows[at] = budget_rows(budgets[k], interval_ms[at])
    return rows
