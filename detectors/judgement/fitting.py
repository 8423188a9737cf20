"""What is learnt of a series from its history.

Learning is honest: what judges is fitted on the first half of the history and runs over the second, which gives the usual size of every term; then it is
fitted on all. What runs is handed in (`Replay`): the compiled rows of a population, or the numpy ones of `reference`.
"""

from __future__ import annotations

from dataclasses import replace
from itertools import accumulate
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from detectors.judgement import (
    alarm,
    autoregression,
    clock,
    conditional,
    growth,
    ranking,
    recurring,
    seldom,
    short_state,
    yearly,
)
from detectors.judgement.clock import DAY, Bins
from detectors.judgement.record import BIAS, UNIT_OF_NOTHING, WILD
from detectors.judgement.recurring import Memory
from detectors.judgement.returning import Place
from detectors.judgement.state import BLOCK, Floats, Learnt, State, Times
from detectors.judgement.terms import (
    ALARMS,
    CLIP,
    CLOCK,
    FLAT,
    GIVEN,
    GIVEN_STRETCH,
    MOST_NOISE,
    OF_ONE_ROW,
    PLAIN,
    SCALED,
    SPREAD,
    TERMS,
    quarter,
    rows_anew,
    rows_of,
)

NORMAL_USUAL = np.array([3.2, 3.2, 3.2, 3.2, 3.2, 0.0, 0.5, 0.0, 3.2, 3.2])
"""99 % quantiles of the terms of normal noise, below which a short history does not go."""
STILL = 300.0
"""Unit of what stands still but for a few moves, in standard deviations."""
SWITCHES, RESTS = 50, 0.75
"""Of what mostly stands still: moves of which the longest time without one says something, and the share of rows at one value from which on it says nothing."""
LEAST_EARLIER, SHOWN = 48, 4.0
"""Rows of the second half from which on they say what is odd in the first, and days from which on they need not: what comes daily they show themselves."""
ABOUT = recurring.HOUR // 2
"""So few days do not say when it comes, but for about so much."""
TRIED_ON = 0.75
"""Share of a history that one whole day or week may take, for a rest to be left on which it is tried."""
FARTHEST = 8.0
"""Usual sizes that leave room to tell apart what lies beyond."""


class Replay(Protocol):
    """Runs over rows that follow on a state, which may be changed; `when` (2, n): local times, and where they are placed.

    With `measured`, nothing but contexts and the clock moves on, and no row is far out: the sizes (S, n, C) of the scaled terms, twice. Else the terms
    (T, n), the slow scales (S, C) behind the last row, and on which side each is (n,), see `recurring`.
    """

    def __call__(
        self, judge: Learnt, state: State, values: Floats, when: Times, *, measured: bool
    ) -> tuple[Floats, Floats, NDArray[np.uint8]]:
        """See above."""


def fit(
    times: Times,
    values: Floats,
    replay: Replay,
    *,
    budget: float = 10_000.0,
    offset_ms: Times | int = 0,
    placed: Times | None = None,
) -> tuple[Learnt, State]:
    """Learn from a history.

    Parameters
    ----------
    times : (n,) int64
        Event times, ms, rising; n >= 5.
    values : (n, C)
        Finite.
    replay
        What runs over the second half.
    budget
        Rows per false alert.
    offset_ms
        Of the local clock from UTC, for each row or for all.
    placed : (n,)
        Local times whose bins of day and week the rows are in, where these are others than their own (`calendar.Calendar.placed`).

    Returns
    -------
    What was learnt, and the state behind the last row of the history.
    """
    logs = growth.grows(times, values)
    values = growth.taken(values, logs, np.full(values.shape[1], -np.inf))
    local = times + offset_ms
    when = np.stack([local, local if placed is None else placed])
    middle = np.median(values, axis=0) if values.shape[1] == 1 else conditional.centre(values)
    unit = _unit(values, middle)
    x = np.clip((values - middle) / unit, -WILD, WILD)
    half = _half(local)
    blank = _blank(values, local, middle, unit, budget, logs)
    blank = replace(blank, bins=clock.drawn(x, when, blank.bins))
    year = _year(x, local, half, blank.bins)
    tried, state = _fitted(x[:half], when[:, :half], blank, year=year)
    state.scales, sizes = _sizes(replay, tried, state.copy(), values[half:], when[:, half:])
    state.means = _fitted(x[:half], when[:, :half], tried, state.scales, year)[1].means
    quiet = replace(
        tried, budget=np.inf, levels=np.full_like(tried.levels, np.inf)
    )  # of no usual size yet, so no alarm
    found, scales, sides = replay(quiet, state.copy(), values[half:], when[:, half:], measured=False)
    usual = _usual(found, tried.bins)
    proved = (local[half - 1] - local[0]) / DAY
    judge, after = _fitted(x, when, replace(tried, usual=usual), scales, proved=proved)
    after.scales = scales
    u = found / usual[:, None]
    after.counts = _counted(u)
    after.narrow = narrowness(judge, after.counts)
    after.tails = tails(judge, after.counts, after.narrow)
    after.scales = seldom.known(judge, after, sizes)
    if judge.bins.rows_a_day >= recurring.LEAST_ROWS:
        earlier = _earlier(replay, quiet, state, x, values, when, half, year)
        _remembers(judge, after.memory, local, usual, earlier, (found, sides))
    return judge, after


def _remembers(
    judge: Learnt, memory: Memory, local: Times, usual: Floats, *halves: tuple[Floats, NDArray[np.uint8]]
) -> None:
    """Teach what was odd in the rows of a history at local times (n,), by their terms (T, n) and sides (n,): the first half, which may be left out, and the second."""
    # What is odd must not be what its own oddness is told by: it comes once or twice in so many rows.
    usual_rows = _counted(halves[1][0] / usual[:, None], most=1.0)
    bounds = tails(judge, usual_rows, narrowness(judge, usual_rows))
    shifts = (-ABOUT, ABOUT) if len(halves[0][1]) else (0,)
    found, sides = (np.concatenate(both, axis=-1) for both in zip(*halves, strict=True))
    strength, _ = ranking.beyond(judge, bounds, found / usual[:, None])
    local = local[len(local) - len(sides) :]
    for i in np.flatnonzero(strength >= 0.0).tolist():
        for shift in shifts:
            memory.learn(int(local[i]) + shift, float(strength[i]), int(sides[i]))


def _earlier(
    replay: Replay, quiet: Learnt, tried: State, x: Floats, values: Floats, when: Times, half: int, year: Floats | None
) -> tuple[Floats, NDArray[np.uint8]]:
    """Terms (T, n) and sides (n,) of the rows before `half`, by what is fitted on the rows behind it; of none, where these show it themselves.

    Level and slope are those of `tried`, the state fitted on the very rows: two numbers of many rows.
    """
    if len(x) - half < LEAST_EARLIER or when[0, -1] - when[0, half] >= SHOWN * DAY:
        return np.zeros((len(TERMS), 0)), np.zeros(0, np.uint8)
    judge, state = _fitted(x[half:], when[:, half:], quiet, tried.scales, year)
    state.scales = tried.scales.copy()
    state.clock.slope = tried.clock.slope.copy()
    state.clock.level = tried.clock.level - tried.clock.slope * half
    state.cleaned[:], state.plain[:], state.means[:] = 0.0, 0.0, 0.0
    state.seen[:], state.last = x[0], x[0].copy()
    found, _, sides = replay(judge, state, values[:half], when[:, :half], measured=False)
    return found, sides


def _unit(values: Floats, middle: Floats) -> Floats:
    """In which the channels (C,) of a history (n, C) are judged."""
    spread = np.clip(values, *np.quantile(values, [0.01, 0.99], axis=0)).std(axis=0)
    unit = np.maximum(np.maximum(spread, 1e-3 * values.std(axis=0)), 1e-4 * np.abs(middle) + 1e-9)
    # What all but one in fifty rows are is no spread: its least scale, a millionth, is to be far below a move and far above what a move leaves behind.
    still = np.maximum(STILL * values.std(axis=0), np.where((values == 0.0).all(axis=0), UNIT_OF_NOTHING, 0.0))
    return np.asarray(np.where(spread > 0.0, unit, np.maximum(unit, still)))


def _usual(found: Floats, bins: Bins) -> Floats:
    """Usual 99 % quantile (T,) of the terms (T, n) of rows that were not fitted on."""
    n = found.shape[1]
    rows = np.array([rows_of(k, bins) for k in range(len(TERMS))])
    # Few rows have not shown the largest that is normal, of means least of all.
    unsure = 1.0 + (10.0 + 2.0 * rows) / n
    new = n / np.array([rows_anew(k, bins) for k in range(len(TERMS))])
    least = NORMAL_USUAL * 60.0 / (new + 60.0)
    seen = np.quantile(found, 0.99, axis=1)
    usual = np.maximum(np.maximum(seen, np.where(seen > 0.0, least, NORMAL_USUAL)) * unsure, 1e-3)
    usual[list(SCALED)] = [max(usual[k], _often(found[k], usual[k])) for k in SCALED]
    usual[FLAT] = 1.0
    return np.asarray(usual)


def _often(found: Floats, usual: float) -> float:
    """What a term (n,) must count as usual at least, for what it often was to be told apart from what it never was; a few rows of each excursion say so."""
    far = FARTHEST * usual
    rows = np.flatnonzero(found > far)
    begun = np.r_[True, np.diff(rows) > 1] if len(rows) else np.zeros(0, np.bool_)
    since = np.arange(len(rows)) - np.flatnonzero(begun)[np.cumsum(begun) - 1]
    highest = np.sort(found[rows[since < alarm.TAUGHT[0]]])[::-1]
    return float(highest[alarm.OFTEN]) / FARTHEST if len(highest) > alarm.OFTEN else 0.0


def _half(local: Times) -> int:
    """How many rows of a history what is tried is fitted on: half, or a whole week or day where half falls short of one and a quarter is left to try it on."""
    n = len(local)
    for season in (clock.WEEK, clock.DAY):
        whole = int(np.searchsorted(local, local[0] + season))
        if n // 2 < whole <= TRIED_ON * n:
            return whole
    return n // 2


def _counted(u: Floats, most: float = np.inf) -> alarm.Counts:
    """Counts (A, BINS) of the alarm's terms, of u (T, n) up to `most`; halved until no more than what is remembered."""
    counts = np.zeros((len(ALARMS), alarm.BINS), np.int64)
    for k, term in enumerate(ALARMS):
        np.add.at(counts[k], alarm.counted(u[term][u[term] <= most]), 1)
    while (full := counts.sum(axis=1) >= alarm.REMEMBERED).any():
        counts[full] //= 2
    return counts.astype(np.uint16)


def _blank(
    values: Floats, local: Times, middle: Floats, unit: Floats, budget: float, logs: NDArray[np.bool_]
) -> Learnt:
    step = float(np.median(np.diff(local)))
    bins = Bins.of(step)
    if yearly.shows(local, step):
        bins = replace(bins, day=yearly.bins(step))
    alone = values.shape[1] == 1
    known = [k for k in ALARMS if not (alone and k in (GIVEN, GIVEN_STRETCH))]
    levels = np.full(len(ALARMS), np.inf)
    levels[: len(known)] = alarm.levels(budget, np.array([rows_of(k, bins) for k in known]))
    longest = np.array([_longest(column) for column in values.T])
    nothing = np.zeros((0, 0), np.float32)
    return Learnt(bins, middle, unit, nothing, nothing, None, np.ones(len(TERMS)), longest, levels, budget, logs)


def _sizes(replay: Replay, judge: Learnt, state: State, values: Floats, when: Times) -> tuple[Floats, Floats]:
    """Usual size (S, C) of the scaled terms over rows, wild ones bounded; and their sizes (S, n, C)."""
    state.scales[:] = np.inf
    errors, _, _ = replay(judge, state, values, when, measured=True)
    size = _bounded_mean(errors)
    # Noise is bounded by the usual error, which was not known: where few rows make most of the errors, it was many times what it will be.
    most = CLIP if judge.bins.coarse else MOST_NOISE
    noise = np.minimum(errors[:2].min(axis=0), most * size[SCALED.index(PLAIN)])
    noises = [list(accumulate(column, _eighth, initial=0.0))[1:] for column in noise.T.tolist()]
    size[SCALED.index(SPREAD)] = _bounded_mean(np.ascontiguousarray(np.array(noises).T)[None])[0]
    return np.maximum(size * (1.0 + 4.0 / errors.shape[1]), 1e-6), errors


def _eighth(mean: float, value: float) -> float:
    """A running mean of eight goes on by a value."""
    return mean + 0.125 * (value - mean)


def _bounded_mean(errors: Floats) -> Floats:
    """Mean (S, C) over rows of errors (S, n, C), those beyond `CLIP` times itself taken for that."""
    size = np.maximum(errors.mean(axis=1), 1e-9)
    for _ in range(5):
        size = BIAS * np.minimum(errors, CLIP * size[:, None]).mean(axis=1)
    return np.asarray(size)


CLOCK_AT = SCALED.index(CLOCK)


def _year(x: Floats, local: Times, half: int, bins: Bins) -> Floats | None:
    """The season of the year (bins, C) by which what is tried is judged: of all rows (n, C), where the first half does not show it. It is a few numbers of many rows."""
    if not bins.year or yearly.shows(local[:half], DAY / bins.rows_a_day):
        return None
    return yearly.waves(x, local, bins.day)


def _fitted(
    x: Floats,
    when: Times,
    blank: Learnt,
    scales: Floats | None = None,
    year: Floats | None = None,
    proved: float = np.inf,
) -> tuple[Learnt, State]:
    """What judges, fitted on rows (n, C), and a state behind them whose scales are still to be found."""
    n, C = x.shape
    memory, expected = clock.fit(x, when, blank.bins, year, proved)
    ahead = np.arange(1 - n, 1)
    left = x - expected
    above = x - memory.level - memory.slope * ahead[:, None]
    others = conditional.fit(x) if C > 1 and n > 2 * C else None
    most = autoregression.OF_A_YEAR if blank.bins.year else autoregression.ORDER
    padded = np.concatenate([np.repeat(above[:1], max(short_state.ROWS - n, 0), axis=0), above])
    judge = replace(
        blank,
        weights=autoregression.fit(left, most=most).astype(np.float32),
        centres=short_state.fit(padded),
        others=others,
    )
    S = len(SCALED)
    context = np.zeros((autoregression.ORDER, C), np.float32)
    context[-min(n, len(context)) :] = left[-len(context) :]
    seen = (padded[-short_state.ROWS :] + memory.level).astype(np.float32)
    means = np.zeros((2, C), np.float32)
    gain = 1.0 / quarter(blank.bins)
    bound = np.inf if scales is None else 8 * scales[CLOCK_AT]
    means[0] = _faded(np.clip(left[-4 * round(1 / gain) :], -bound, bound), gain)
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
        tails=alarm.body(counts, apart(judge)),
        narrow=np.zeros(len(OF_ONE_ROW)),
        out=np.zeros(len(ALARMS), np.uint16),
        memory=Memory.none(),
        place=Place.none(C),
    )
    return judge, state


def _faded(rows: Floats, gain: float) -> list[float]:
    """Mean of each channel of rows (n, C) that fades, kept in float32 as the state keeps it."""
    found = []
    for column in rows.T.tolist():
        mean = 0.0
        for value in column:
            mean = float(np.float32(mean + gain * (value - mean)))
        found.append(mean)
    return found


def apart(judge: Learnt) -> Floats:
    """Rows after which each of the alarm's terms says something new (len(ALARMS),)."""
    return np.array([rows_anew(k, judge.bins) for k in ALARMS])


def narrowness(judge: Learnt, counts: alarm.Counts) -> Floats:
    """Of the alarm's terms of one row with counts (A, BINS), see `alarm.narrowness`."""
    return alarm.narrowness(counts, alarm.body(counts, apart(judge)), judge.levels)[list(OF_ONE_ROW)]


def tails(judge: Learnt, counts: alarm.Counts, narrow: Floats) -> Floats:
    """Tails (A, 2) of the alarm's terms with counts (A, BINS), those of one row so much narrower."""
    found = alarm.body(counts, apart(judge))
    found[list(OF_ONE_ROW), 1] *= 1.0 - narrow
    return found


def _longest(column: Floats) -> float:
    """See `state.Learnt.longest`; of a history (n,)."""
    same = np.diff(column) == 0
    breaks = np.flatnonzero(~same)
    longest = float(np.diff(np.r_[-1, breaks, len(same)]).max() - 1)
    if same.mean() <= 0.5:
        return longest
    most = np.unique(column, return_counts=True)[1].max()
    return float("inf") if len(breaks) < SWITCHES or most > RESTS * len(column) else -longest
