"""The judgement of a series: what is learnt from its history, what is remembered, and what is said of each row.

Learning is honest: what judges is fitted on the first half of the history and runs over the second, which gives the usual size of every term; then it is fitted on all.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace

import numpy as np

from detectors.judgement import alarm, autoregression, clock, conditional, ranking, short_state, terms
from detectors.judgement.clock import Bins
from detectors.judgement.state import BLOCK, Floats, Learnt, Said, State, Times
from detectors.judgement.terms import ALARMS, CLIP, FLAT, GIVEN, GIVEN_STRETCH, SCALED, TERMS, quarter, rows_of

NORMAL_USUAL = np.array([3.2, 3.2, 3.2, 3.2, 3.2, 0.0, 0.5, 0.0, 3.2, 3.2])
"""99 % quantiles of the terms of normal noise, below which a short history does not go."""
_BIAS = 1.02
"""Of a mean of bounded sizes."""


@dataclass(frozen=True)
class Judge(Learnt):
    """Judges a series by what was learnt of it."""

    @classmethod
    def fit(
        cls, times: Times, values: Floats, *, budget: float = 10_000.0, offset_ms: Times | int = 0
    ) -> tuple[Judge, State]:
        """Learn from a history.

        Parameters
        ----------
        times : (n,) int64
            Event times, ms, rising; n >= 5.
        values : (n, C)
            Finite.
        budget
            Rows per false alert.
        offset_ms
            Of the local clock from UTC, for each row or for all.

        Returns
        -------
        The judge, and the state behind the last row of the history.
        """
        local = times + offset_ms
        middle = np.median(values, axis=0)
        spread = np.clip(values, *np.quantile(values, [0.01, 0.99], axis=0)).std(axis=0)
        unit = np.maximum(np.maximum(spread, 1e-3 * values.std(axis=0)), 1e-4 * np.abs(middle) + 1e-9)
        x = (values - middle) / unit
        half = len(x) // 2
        tried, state = _fitted(x[:half], local[:half], cls._blank(values, local, middle, unit, budget))
        sizes = _sizes(tried, state.copy(), x[half:], local[half:])
        state.scales = sizes
        said = _run(tried, state, x[half:], local[half:])
        left = len(x) - half
        rows = np.array([rows_of(k, tried.bins) for k in range(len(TERMS))])
        unsure = (
            1.0 + (10.0 + 2.0 * rows) / left
        )  # few rows have not shown the largest that is normal, of means least of all
        least = NORMAL_USUAL * 60.0 / (left + 60.0)
        usual = np.maximum(np.maximum(np.quantile(said.terms, 0.99, axis=1), least) * unsure, 1e-3)
        usual[FLAT] = 1.0
        judge, after = _fitted(x, local, replace(tried, usual=usual))
        after.scales = state.scales.copy()
        after.counts[:] = 0
        for k in range(len(ALARMS)):
            np.add.at(after.counts[k], alarm.counted(said.terms[ALARMS[k]] / usual[ALARMS[k]]), 1)
        while (after.counts.sum(axis=1, dtype=np.int64) >= alarm.REMEMBERED).any():
            alarm.forgotten(after.counts)
        after.tails = alarm.body(after.counts, _together(judge))
        return judge, after

    @classmethod
    def _blank(cls, values: Floats, local: Times, middle: Floats, unit: Floats, budget: float) -> Judge:
        bins = Bins.of(float(np.median(np.diff(local))))
        alone = values.shape[1] == 1
        known = [k for k in ALARMS if not (alone and k in (GIVEN, GIVEN_STRETCH))]
        levels = np.full(len(ALARMS), np.inf)
        levels[: len(known)] = alarm.levels(budget, np.array([rows_of(k, bins) for k in known]))
        longest = np.array([_longest(column) for column in values.T])
        nothing = np.zeros((0, 0), np.float32)
        return cls(bins, middle, unit, nothing, nothing, None, np.ones(len(TERMS)), longest, levels, budget)

    def step(self, state: State, times: Times, values: Floats, offset_ms: Times | int = 0) -> tuple[Said, State]:
        """Judge rows (n, C) that follow on `state`, and the state behind them; `state` itself is left as it is."""
        after = state.copy()
        return _run(self, after, (values - self.middle) / self.unit, times + offset_ms), after


def _run(judge: Judge, state: State, x: Floats, local: Times) -> Said:
    """The same, changing `state`."""
    said = [_piece(judge, state, x[a:b], local[a:b]) for a, b in _pieces(state.rows, len(x))]
    if not said:
        none = np.zeros(0)
        return Said(none, none, none.astype(np.bool_), np.zeros((len(TERMS), 0)), np.zeros((0, len(judge.middle))))
    parts = list(zip(*said, strict=True))
    score, strength, anomalous, each, expected = (np.concatenate(p, axis=int(i == 3)) for i, p in enumerate(parts))
    return Said(score, strength, anomalous, each, expected)


def _piece(judge: Judge, state: State, x: Floats, local: Times) -> Said:
    """Rows of one block. Slow state is as it was when the block began."""
    at = state.rows % BLOCK
    day, week = judge.bins.at(local)
    ahead = np.arange(at + 1, at + 1 + len(x))
    level = state.clock.level + state.clock.slope * ahead[:, None]
    expected = state.clock.expected(day, week, ahead)
    sizes, runs = terms.errors(judge, state, x, level, x - expected)
    found = terms.terms(state, sizes, runs, at)
    score, strength, anomalous = ranking.said(judge, state, found[:, at : at + len(x)])
    state.block[at : at + len(x)] = x
    state.local[at : at + len(x)] = local
    state.rows += len(x)
    if state.rows % BLOCK == 0:
        _learn(judge, state)
    return Said(score, strength, anomalous, found[:, at : at + len(x)], expected * judge.unit + judge.middle)


def _learn(judge: Judge, state: State) -> None:
    """What is slow moves on by one block."""
    slow = BLOCK / np.clip(20 * judge.bins.rows_a_day, 500, 20_000)
    state.scales += slow * (_BIAS * state.sums / BLOCK - state.scales)
    state.scales = np.maximum(state.scales, 1e-6)
    state.sums[:] = 0.0
    day, week = judge.bins.at(state.local)
    state.clock.learn(state.block.astype(np.float64), day, week, judge.bins)
    alarm.forgotten(state.counts)
    state.tails = alarm.body(state.counts, _together(judge))


def _together(judge: Judge) -> Floats:
    return np.array([rows_of(k, judge.bins) for k in ALARMS])


def _sizes(judge: Judge, state: State, x: Floats, local: Times) -> Floats:
    """Usual size (S, C) of the scaled terms over rows, wild ones bounded."""
    found = []
    state.scales[:] = np.inf
    for a, b in _pieces(state.rows, len(x)):
        day, week = judge.bins.at(local[a:b])
        ahead = np.arange(state.rows % BLOCK + 1, state.rows % BLOCK + 1 + b - a)
        level = state.clock.level + state.clock.slope * ahead[:, None]
        left = x[a:b] - state.clock.expected(day, week, ahead)
        at = state.rows % BLOCK
        found.append(terms.errors(judge, state, x[a:b], level, left)[0])
        state.block[at : at + b - a], state.local[at : at + b - a] = x[a:b], local[a:b]
        state.rows += b - a
        if state.rows % BLOCK == 0:
            days, weeks = judge.bins.at(state.local)
            state.clock.learn(state.block.astype(np.float64), days, weeks, judge.bins)
    errors = np.concatenate(found, axis=1)
    size = np.maximum(errors.mean(axis=1), 1e-9)
    for _ in range(5):
        size = _BIAS * np.minimum(errors, CLIP * size[:, None]).mean(axis=1)
    return np.asarray(np.maximum(size * (1.0 + 4.0 / errors.shape[1]), 1e-6))


def _fitted(x: Floats, local: Times, blank: Judge) -> tuple[Judge, State]:
    """What judges, fitted on rows (n, C), and a state behind them whose scales are still to be found."""
    n, C = x.shape
    memory = clock.fit(x, local, blank.bins)
    day, week = blank.bins.at(local)
    ahead = np.arange(1 - n, 1)
    left = x - memory.expected(day, week, ahead)
    above = x - memory.level - memory.slope * ahead[:, None]
    others = conditional.fit(x) if C > 1 and n > 2 * C else None
    padded = np.concatenate([np.repeat(above[:1], max(short_state.ROWS - n, 0), axis=0), above])
    judge = replace(
        blank,
        weights=autoregression.fit(left).astype(np.float32),
        centres=short_state.fit(padded),
        others=others,
    )
    S = len(SCALED)
    context = np.zeros((autoregression.ORDER, C), np.float32)
    context[-min(n, len(context)) :] = left[-len(context) :]
    seen = (padded[-short_state.ROWS :] + memory.level).astype(np.float32)
    means = np.zeros((2, C), np.float32)
    gain = 1.0 / quarter(blank.bins)
    for row in left[-4 * round(1 / gain) :]:
        means[0] += gain * (row - means[0])
    counts = np.zeros((len(ALARMS), alarm.BINS), np.uint16)
    state = State(
        rows=0,
        clock=memory,
        cleaned=context,
        plain=context.copy(),
        far=np.zeros(C, np.int16),
        seen=seen,
        means=means,
        equal=np.zeros(C, np.int32),
        last=x[-1].copy(),
        scales=np.ones((S, C)),
        sums=np.zeros((S, C)),
        block=np.zeros((BLOCK, C), np.float32),
        local=np.zeros(BLOCK, np.int64),
        counts=counts,
        tails=alarm.body(counts, _together(judge)),
    )
    return judge, state


def _longest(column: Floats) -> float:
    """Longest run of equal values in a history (n,); infinite where more than half of the values repeat the one before."""
    same = np.diff(column) == 0
    if same.mean() > 0.5:
        return float("inf")
    breaks = np.flatnonzero(~same)
    return float(np.diff(np.r_[-1, breaks, len(same)]).max() - 1)


def _pieces(rows: int, n: int) -> Iterator[tuple[int, int]]:
    """Cuts [a, b) of n rows that follow on `rows` ones, none across the end of a block."""
    a = 0
    while a < n:
        b = min(a + BLOCK - (rows + a) % BLOCK, n)
        yield a, b
        a = b
