"""The judgement of a series: what is learnt from its history, what is remembered, and what is said of each row.

Learning is honest: what judges is fitted on the first half of the history and runs over the second, which gives the usual size of every term; then it is fitted on all.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, fields, replace
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from detectors.judgement import alarm, autoregression, clock, conditional, short_state
from detectors.judgement.clock import Bins, Clock

Floats = NDArray[np.float64]
Singles = NDArray[np.float32]
Times = NDArray[np.int64]

BLOCK = 16
"""Rows after which what is slow moves on; counted from the first row of a series, so no cut changes it."""
TERMS = (
    "cleaned",
    "plain",
    "clock",
    "stretch",
    "quarter",
    "state",
    "spread",
    "flat",
    "given others",
    "given others, stretch",
)
"""What can be odd about a row: the error of a forecast from a cleaned and from the plain context, what is left of the clock's forecast (newest row, mean of 8,
mean of a quarter of a day), the last 8 rows as a picture, noise, equal values, and with several channels each given all the others (newest row, mean of 8)."""
CLEANED, PLAIN, CLOCK, STRETCH, QUARTER, STATE, SPREAD, FLAT, GIVEN, GIVEN_STRETCH = range(len(TERMS))
SCALED = (CLEANED, PLAIN, CLOCK, STRETCH, QUARTER, SPREAD, GIVEN, GIVEN_STRETCH)
"""Terms that each channel has, divided by its own slow scale before channels meet."""
ALARMS = (CLEANED, CLOCK, STRETCH, QUARTER, SPREAD, GIVEN, GIVEN_STRETCH)
"""Terms that raise alarms; equal values do by their own rule."""
NORMAL_USUAL = np.array([3.2, 3.2, 3.2, 3.2, 3.2, 0.0, 0.5, 0.0, 3.2, 3.2])
"""99 % quantiles of the terms of normal noise, below which a short history does not go."""
FAR = 11.0
"""Usual errors (mean absolute) beyond which a row enters the cleaned context as its forecast."""
LONGEST = 64
"""Rows for which it may; then the context begins anew from what was seen."""
HIGHEST = 3
"""Channels that decide a term."""
ONE = np.array([1.0, 0.5, 1.5, 0.5, 1.25, 1.5, 0.75, 1.0, 0.0, 0.0])
SEVERAL = np.array([1.0, 0.5, 1.5, 0.5, 1.25, 1.5, 0.75, 1.0, 16.0, 16.0])
"""Weights of the terms in the ranking score. Where others explain a channel, what they leave of it says far more than its own past."""
HOLD, FADE = 0.3, 1.0 / 300
"""Of the ranking score: this much of a peak counts on, and fades."""
RAISED = 0.2
"""Decades by which an alert raises the bar of its series for the next; they fade in one budget period."""
NORMAL_ROWS = 5
"""After which an alert is over."""
_CLIP, _BIAS = 3.0, 1.02


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
        Rows of this block, for the clock to learn.
    counts, tails
        See `alarm`.
    bar, peak : float
        By how much earlier alerts raised the alarm's level; the held score.
    calm : int
        Normal rows since the last anomalous one of an open alert; -1 with none open.
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
    bar: float = 0.0
    peak: float = 0.0
    calm: int = -1

    def copy(self) -> State:
        """One that can be changed."""
        changed = {f.name: getattr(self, f.name).copy() for f in fields(self) if hasattr(getattr(self, f.name), "copy")}
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
        By how many decades a row is rarer than the alarm's level asks for; an anomalous row has at least the bar.
    anomalous : (n,) bool
    terms : (T, n)
        Each in units of its own 99 % quantile.
    expected : (n, C)
    """

    score: Floats
    strength: Floats
    anomalous: NDArray[np.bool_]
    terms: Floats
    expected: Floats


@dataclass(frozen=True)
class Judge:
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
        Equal values in a row in the history; infinite where they say nothing.
    levels : (len(ALARMS),)
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
        rows = np.array([_rows(k, tried.bins) for k in range(len(TERMS))])
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
        after.tails = alarm.body(after.counts)
        return judge, after

    @classmethod
    def _blank(cls, values: Floats, local: Times, middle: Floats, unit: Floats, budget: float) -> Judge:
        bins = Bins.of(float(np.median(np.diff(local))))
        alone = values.shape[1] == 1
        known = [k for k in ALARMS if not (alone and k in (GIVEN, GIVEN_STRETCH))]
        levels = np.full(len(ALARMS), np.inf)
        levels[: len(known)] = alarm.levels(budget, np.array([_rows(k, bins) for k in known]))
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
    score, strength, anomalous, terms, expected = (np.concatenate(p, axis=int(i == 3)) for i, p in enumerate(parts))
    return Said(score, strength, anomalous, terms, expected)


def _piece(judge: Judge, state: State, x: Floats, local: Times) -> Said:
    """Rows of one block. Slow state is as it was when the block began."""
    at = state.rows % BLOCK
    day, week = judge.bins.at(local)
    ahead = np.arange(at + 1, at + 1 + len(x))
    level = state.clock.level + state.clock.slope * ahead[:, None]
    expected = state.clock.expected(day, week, ahead)
    errors, runs = _errors(judge, state, x, level, x - expected)
    terms = _terms(state, errors, runs, at)
    score, strength, anomalous = _said(judge, state, terms[:, at : at + len(x)])
    state.block[at : at + len(x)] = x
    state.local[at : at + len(x)] = local
    state.rows += len(x)
    if state.rows % BLOCK == 0:
        _learn(judge, state)
    return Said(score, strength, anomalous, terms[:, at : at + len(x)], expected * judge.unit + judge.middle)


def _errors(judge: Judge, state: State, x: Floats, level: Floats, left: Floats) -> tuple[Floats, Floats]:
    """Sizes of the scaled terms (S, n, C), and the picture's distance and the share of equal values (2, n); row by row."""
    n, C = x.shape
    out, single = np.zeros((len(SCALED), n, C)), np.zeros((2, n))
    gain = np.float32(1.0 / _quarter(judge.bins))
    for i in range(n):
        now = left[i]
        cleaned = (state.cleaned * judge.weights).sum(axis=0)
        error, plain = now - cleaned, np.abs(now - (state.plain * judge.weights).sum(axis=0))
        enters = _cleaned(state, now, cleaned, np.abs(error) > FAR * state.scales[0])
        state.cleaned[:-1] = state.cleaned[1:]
        state.cleaned[-1] = enters
        state.plain[:-1] = state.plain[1:]
        state.plain[-1] = now
        state.seen[:-1] = state.seen[1:]
        state.seen[-1] = x[i]
        bounded = np.clip(now, -8 * state.scales[2], 8 * state.scales[2])
        state.means[0] += gain * (bounded - state.means[0])
        state.means[1] += 0.125 * (np.minimum(plain, 10 * state.scales[1]) - state.means[1])
        same = x[i] == state.last
        state.equal = np.where(same, state.equal + 1, 0).astype(np.int32)
        state.last = x[i].copy()
        out[:6, i] = (
            np.abs(error),
            plain,
            np.abs(now),
            np.abs(state.plain[-8:].mean(axis=0)),
            np.abs(state.means[0]),
            state.means[1],
        )
        if judge.others is not None:
            given = conditional.residual(state.seen.astype(np.float64), judge.others)
            out[6, i], out[7, i] = np.abs(given[-1]), np.abs(given.mean(axis=0))
        state.sums += np.minimum(out[:, i], _CLIP * state.scales)
        single[0, i] = short_state.distance((state.seen - level[i]).reshape(1, -1), judge.centres)[0]
        single[1, i] = (state.equal / (2 * judge.longest + 6)).max()
    return out, single


def _cleaned(state: State, now: Floats, forecast: Floats, far: NDArray[np.bool_]) -> Floats:
    """What enters the cleaned context: the forecast where a row is far out, for a bounded time."""
    state.far = np.where(far, state.far + 1, 0).astype(np.int16)
    again = state.far > LONGEST
    if again.any():
        state.cleaned[:, again] = state.plain[:, again]
        state.far[again] = 0
    return np.where(far & ~again, forecast, now)


def _terms(state: State, errors: Floats, runs: Floats, at: int) -> Floats:
    """Terms (T, 16) of a block in which these rows lie from `at` on: one shape for all cuts, so that their bits are the same."""
    n, C = errors.shape[1:]
    scaled = np.zeros((len(SCALED), BLOCK, C))
    scaled[:, at : at + n] = errors / state.scales[:, None]
    scaled[SCALED.index(SPREAD)] = np.maximum(scaled[SCALED.index(SPREAD)] - 1.0, 0.0)
    if C > 1:
        logs = np.sort(np.log1p(scaled), axis=2)[:, :, -min(HIGHEST, C) :]
        together = np.expm1(np.ascontiguousarray(logs).mean(axis=2))
    else:
        together = scaled[:, :, 0]
    out = np.zeros((len(TERMS), BLOCK))
    out[list(SCALED)] = together
    out[STATE, at : at + n] = runs[0]
    out[FLAT, at : at + n] = np.maximum(2.0 * runs[1] - 1.0, 0.0)
    if C == 1:
        out[[GIVEN, GIVEN_STRETCH]] = 0.0
    return out


def _said(judge: Judge, state: State, terms: Floats) -> tuple[Floats, Floats, NDArray[np.bool_]]:
    n = terms.shape[1]
    u = np.zeros((len(TERMS), BLOCK))
    u[:, :n] = terms / judge.usual[:, None]
    weights = ONE if judge.others is None else SEVERAL
    now = (np.log2(1.0 + u) * weights[:, None]).sum(axis=0) / weights.sum()
    rare = alarm.rarity(u[list(ALARMS)], state.tails)
    beyond = rare - judge.levels[:, None]
    strength = np.maximum(beyond.max(axis=0), 2.0 * (u[FLAT] - 1.0))
    bins = alarm.counted(u[list(ALARMS)])
    score, anomalous = np.empty(n), np.zeros(n, np.bool_)
    for i in range(n):
        state.peak = max(float(now[i]), state.peak * (1.0 - FADE))
        score[i] = max(float(now[i]), HOLD * state.peak)
        anomalous[i] = strength[i] >= state.bar
        if anomalous[i] and state.calm < 0:
            state.bar += RAISED
        state.bar = max(state.bar - RAISED / judge.budget, 0.0)
        state.calm = 0 if anomalous[i] else state.calm + 1 if 0 <= state.calm < NORMAL_ROWS - 1 else -1
        learnt = np.flatnonzero(beyond[:, i] < state.bar)
        state.counts[learnt, bins[learnt, i]] += 1
    return score, strength[:n], anomalous


def _learn(judge: Judge, state: State) -> None:
    """What is slow moves on by one block."""
    slow = BLOCK / np.clip(20 * judge.bins.rows_a_day, 500, 20_000)
    state.scales += slow * (_BIAS * state.sums / BLOCK - state.scales)
    state.scales = np.maximum(state.scales, 1e-6)
    state.sums[:] = 0.0
    day, week = judge.bins.at(state.local)
    state.clock.learn(state.block.astype(np.float64), day, week, judge.bins)
    alarm.forgotten(state.counts)
    state.tails = alarm.body(state.counts)


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
        found.append(_errors(judge, state, x[a:b], level, left)[0])
        state.block[at : at + b - a], state.local[at : at + b - a] = x[a:b], local[a:b]
        state.rows += b - a
        if state.rows % BLOCK == 0:
            days, weeks = judge.bins.at(state.local)
            state.clock.learn(state.block.astype(np.float64), days, weeks, judge.bins)
    errors = np.concatenate(found, axis=1)
    size = np.maximum(errors.mean(axis=1), 1e-9)
    for _ in range(5):
        size = _BIAS * np.minimum(errors, _CLIP * size[:, None]).mean(axis=1)
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
    gain = 1.0 / _quarter(blank.bins)
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
        tails=alarm.body(counts),
    )
    return judge, state


def _quarter(bins: Bins) -> float:
    """Rows of a quarter of a day, 12 to 500."""
    return float(np.clip(bins.rows_a_day / 4, 12, 500))


def _rows(term: int, bins: Bins) -> float:
    """How many rows of a term go together."""
    return {STRETCH: 4.0, SPREAD: 4.0, GIVEN_STRETCH: 4.0, QUARTER: _quarter(bins) / 2}.get(term, 1.0)


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
