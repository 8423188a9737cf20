"""The judgement of one series in numpy: slow and readable, what the compiled one (`kernel`) must equal.

A history gives what is learnt (`fitting`) and a state; rows that follow are judged from it, in any cut.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, fields

import numpy as np
from numpy.typing import NDArray

from detectors.judgement import alarm, clock, fitting, growth, ranking, recurring, returning, seldom, terms
from detectors.judgement.record import BIAS, WILD
from detectors.judgement.state import BLOCK, Floats, Learnt, Said, State, Times
from detectors.judgement.terms import OF_ONE_ROW, TERMS


@dataclass(frozen=True)
class Judge(Learnt):
    """Judges a series by what was learnt of it."""

    @classmethod
    def fit(
        cls,
        times: Times,
        values: Floats,
        *,
        budget: float = 10_000.0,
        offset_ms: Times | int = 0,
        placed: Times | None = None,
    ) -> tuple[Judge, State]:
        """Learn from a history; returns the judge, and the state behind its last row. See `fitting.fit` for what it takes."""
        learnt, state = fitting.fit(times, values, _replayed, budget=budget, offset_ms=offset_ms, placed=placed)
        return cls(**{f.name: getattr(learnt, f.name) for f in fields(learnt)}), state

    def step(
        self, state: State, times: Times, values: Floats, offset_ms: Times | int = 0, placed: Times | None = None
    ) -> tuple[Said, State]:
        """Judge rows (n, C) that follow on `state`, and the state behind them; `state` itself is left as it is."""
        after = state.copy()
        local = times + offset_ms
        when = np.stack([local, local if placed is None else placed])
        return _run(self, after, inner_units(self, values), when), after


def _run(judge: Learnt, state: State, x: Floats, when: Times) -> Said:
    """The same, changing `state`."""
    said = [_piece(judge, state, x[a:b], when[:, a:b]) for a, b in _pieces(state.rows, len(x), 1)]
    if not said:
        none = np.zeros(0)
        return Said(
            none,
            none,
            none.astype(np.bool_),
            np.zeros((len(TERMS), 0)),
            np.zeros((0, len(judge.middle))),
            none.astype(np.uint8),
        )
    parts = list(zip(*said, strict=True))
    return Said(*(np.concatenate(p, axis=int(i == 3)) for i, p in enumerate(parts)))


def _piece(judge: Learnt, state: State, x: Floats, when: Times) -> Said:
    """One row (1, C). Slow state is as it was when its block began, but for what is back from an alert."""
    at = state.rows % BLOCK
    level, expected, placed = _clock(judge, state, x, when)
    sizes, runs, upheld = terms.errors(judge, state, x, level, x - expected)
    found = terms.terms(state, sizes, runs, at)
    speaks = terms.speaking(state, sizes, upheld)
    sides = _sides(x, expected)
    score, strength, anomalous = ranking.said(judge, state, found[:, at : at + len(x)], speaks, when[0], sides)
    if anomalous[0]:
        seldom.rises(judge, state, sizes[:, 0])
    state.block[at : at + len(x)] = x
    state.local[at : at + len(x)] = placed
    returning.follow(state, sizes[:, 0], at)
    state.rows += len(x)
    if judge.bins.coarse and at >= clock.NEWEST - 1:
        _settle(judge, state)
    if state.rows % BLOCK == 0:
        _stand(judge, state, (x - expected)[-1])
        seldom.lives(judge, state)
        _learn(judge, state)
    return Said(score, strength, anomalous, found[:, at : at + len(x)], _told(judge, expected), sides)


def _sides(x: Floats, expected: Floats) -> NDArray[np.uint8]:
    """Of rows (n, C), see `recurring`."""
    above = np.where(x[:, 0] > expected[:, 0], recurring.ABOVE, recurring.BELOW)
    return np.where(x.shape[1] > 1, recurring.BOTH, above).astype(np.uint8)


def _told(judge: Learnt, expected: Floats) -> Floats:
    own = expected * judge.unit + judge.middle
    return growth.told(own, np.zeros_like(own), judge.logs)[0]


def _settle(judge: Learnt, state: State) -> None:
    """Channels that for long were off on one side have another level from now on: a row of a day or longer does not wait for blocks of 16 to bring it there."""
    plain = state.plain[-judge.bins.settled :].astype(np.float64)
    side = np.where(state.plain[-1] > 0, 1.0, -1.0)
    off = (plain * side > clock.SETTLED_BY * state.scales[fitting.CLOCK_AT]).all(axis=0)
    shift = state.plain[-clock.NEWEST :].mean(axis=0, dtype=np.float64)
    state.clock.level = np.where(off, state.clock.level + shift, state.clock.level)
    state.plain = np.where(off, state.plain - shift, state.plain).astype(np.float32)
    state.cleaned = np.where(off, state.plain, state.cleaned)
    state.means[0] = np.where(off, 0.0, state.means[0])
    state.scales = np.where(off, np.maximum(state.scales, np.abs(shift) * clock.ROUNDED), state.scales)


def _stand(judge: Learnt, state: State, left: Floats) -> None:
    """Of channels that mostly stand still: where one has stood for a day, of days and longer for four weeks, is where it stands; `left` (C,) of the newest row."""
    small = np.abs(left) * clock.NOTHING
    stands = judge.still & (state.equal >= judge.bins.stands) & (small > state.scales[fitting.CLOCK_AT])
    for profile in (state.clock.day, state.clock.week):
        stands &= (np.abs(profile.astype(np.float64)) <= small).all(axis=0)
    state.clock.level = np.where(stands, state.clock.level + left, state.clock.level)
    state.plain[:, stands] = state.cleaned[:, stands] = 0.0
    state.means[0] = np.where(stands, 0.0, state.means[0])
    state.scales = np.where(stands, np.maximum(state.scales, np.abs(left) * clock.ROUNDED), state.scales)


def _learn(judge: Learnt, state: State) -> None:
    """What is slow moves on by one block."""
    slow = BLOCK / np.clip(20 * judge.bins.rows_a_day, 500, 20_000)
    now = np.maximum(state.scales + slow * (BIAS * state.sums / BLOCK - state.scales), 1e-6)
    state.scales = np.where(seldom.stays(judge, state), np.maximum(now, state.scales), now)
    state.sums[:] = 0.0
    _learn_clock(judge, state)
    shown = fitting.narrowness(judge, state.counts)
    full = alarm.forgotten(state.counts)[list(OF_ONE_ROW)]
    state.narrow = np.where(full, shown, state.narrow)
    state.tails = fitting.tails(judge, state.counts, state.narrow)


def _clock(judge: Learnt, state: State, x: Floats, when: Times) -> tuple[Floats, Floats, Times]:
    """Level and forecast (n, C) of the clock for rows that come next, and where they are placed."""
    ahead = np.arange(state.rows % BLOCK + 1, state.rows % BLOCK + 1 + len(x))
    placed, expected = state.clock.between(x, when, judge.bins, ahead)
    return state.clock.level + state.clock.slope * ahead[:, None], expected, placed


def _learn_clock(judge: Learnt, state: State) -> None:
    day, week = judge.bins.at(state.local)
    state.clock.learn(
        state.block.astype(np.float64),
        day,
        week,
        judge.bins,
        state.place.untaught,
        returning.lasts(state, judge.bins.rows_a_day),
    )
    state.place.untaught[:] = 0


def inner_units(judge: Learnt, values: Floats) -> Floats:
    """Values (n, C) as they are judged: in units of the series' spread, what is far beyond it bounded."""
    x = growth.taken(values, judge.logs, judge.middle - growth.LOWEST * judge.unit)
    return _in_units(judge, x)


def _in_units(judge: Learnt, x: Floats) -> Floats:
    return np.clip((x - judge.middle) / judge.unit, -WILD, WILD)


def _replayed(
    judge: Learnt, state: State, values: Floats, when: Times, *, measured: bool
) -> tuple[Floats, Floats, NDArray[np.uint8]]:
    """See `fitting.Replay`."""
    x = _in_units(judge, values)
    if not measured:
        said = _run(judge, state, x, when)
        return said.terms, state.scales, said.sides
    found = []
    for a, b in _pieces(state.rows, len(x)):
        at = state.rows % BLOCK
        level, expected, placed = _clock(judge, state, x[a:b], when[:, a:b])
        found.append(terms.errors(judge, state, x[a:b], level, x[a:b] - expected)[0])
        state.block[at : at + b - a], state.local[at : at + b - a] = x[a:b], placed
        state.rows += b - a
        if state.rows % BLOCK == 0:
            _learn_clock(judge, state)
    sizes = np.concatenate(found, axis=1)
    return sizes, sizes, np.zeros(len(x), np.uint8)


def _pieces(rows: int, n: int, longest: int = BLOCK) -> Iterator[tuple[int, int]]:
    """Cuts [a, b) of n rows that follow on `rows` ones, none across the end of a block or beyond so many rows."""
    a = 0
    while a < n:
        b = min(a + BLOCK - (rows + a) % BLOCK, a + longest, n)
        yield a, b
        a = b
