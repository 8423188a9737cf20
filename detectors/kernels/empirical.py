"""`detectors.calibration.Empirical.calibrate`, score by score.

`c` are the settings by which it goes, `logs` log10 of 1, 2, ..., `loops` numpy's functions. Places in arrays: `T` scores of the tail are
kept, `Q` quantiles of the body; the interpolation's points are first those of the body, then those of the tail, rising.
"""

from __future__ import annotations

import numba
import numpy as np

from detectors.calibration.base import HUGE, LN10, MAX_CALIBRATED
from detectors.calibration.empirical import BODY, CONFIG, STATE, TAIL
from detectors.compiling import inner
from detectors.kernels.ufuncs import expm1, log1p, log10, ten_to

T, Q = TAIL, len(BODY)
P = T + Q


def signature():
    """Of `run`."""
    from numba import types as t

    states, config = numba.from_dtype(STATE), numba.from_dtype(CONFIG)
    return t.void(
        t.Array(config, 1, "C"),
        t.Array(t.float64, 1, "C"),
        t.Array(t.int64, 2, "C"),
        t.Array(states, 2, "A"),
        t.Array(t.int64, 1, "A"),
        t.Array(t.float64, 2, "A"),
        t.Array(t.boolean, 1, "A"),
        t.Array(t.float64, 2, "C"),
    )


@inner
def points(c, s, logs, x, y):
    """Scores and levels (P,) that the interpolation runs through, both rising."""
    n = logs[s.known]
    for j in range(T):
        x[Q + j] = s.tail[T - 1 - j]
        y[Q + j] = n - logs[T - 1 - j]  # of the how-manyeth highest
    for j in range(Q):
        # A short history's highest scores reach down into the body: there they are the better witness.
        x[j] = min(np.float64(s.body[j]), x[Q])
        y[j] = min(c.targets[j], y[Q])


@inner
def scale(x, y):
    """Of the tail beyond the highest score: its mean excess, not less than a share of the body's."""
    excess = 0.0
    for j in range(1, T):
        excess += x[Q + j] - x[Q]
    body = (x[Q] - x[0]) / (max(y[Q] - y[0], 0.1) * LN10)
    floor = max(abs(x[P - 1]) * 1e-3, 1e-9)
    return max(max(excess / (T - 1), 0.5 * body), floor)


@inner
def level_of(c, loops, x, y, value):
    """Calibrated, not yet clipped."""
    below = 0  # points strictly below the value: equal scores are no evidence
    for j in range(P):
        below += x[j] < value
    if below == P:
        over = (value - x[P - 1]) / scale(x, y)
        if c.shape > 0:
            over = log1p(loops, c.shape * over) / c.shape
        return y[P - 1] + over / LN10
    at = min(max(below - 1, 0), P - 2)
    width = x[at + 1] - x[at]
    slope = (y[at + 1] - y[at]) / (width if width > 0 else 1.0)
    level = min(y[at] + (value - x[at]) * slope, y[at + 1])
    return min(level, y[0]) if below == 0 else level


@inner
def raw_at(c, loops, x, y, level):
    """The raw score that has a level."""
    below = 0
    for j in range(P):
        below += y[j] < level
    if below == P:
        over = max(level - y[P - 1], 0.0) * LN10
        if c.shape > 0:
            over = expm1(loops, c.shape * over) / c.shape
        return x[P - 1] + over * scale(x, y)
    at = min(max(below - 1, 0), P - 2)
    rise = y[at + 1] - y[at]
    share = (level - y[at]) / (rise if rise > 0 else 1.0)
    return x[at] + share * (x[at + 1] - x[at])


@inner
def single(value):
    """As it is kept."""
    return np.float32(min(max(value, -HUGE), HUGE))


@inner
def learn(s, value):
    """Take a score into its step."""
    if s.known > 0:
        for j in range(Q):
            if value > s.body[j]:
                s.above[j] += np.uint8(1)
    else:  # there are no quantiles: their place keeps the first score, and the sum of what is over it
        if s.stepped == 0:
            s.body[0] = value
        s.body[1] += value - s.body[0]
    kept = min(np.int64(s.learnt), T)
    if kept < T or value > s.current[T - 1]:
        at = min(kept, T - 1)
        while at > 0 and s.current[at - 1] < value:
            s.current[at] = s.current[at - 1]
            at -= 1
        s.current[at] = value
    s.stepped += np.uint8(1)
    s.learnt += np.uint16(1)


@inner
def move_body(c, s, logs, loops, x, y, mixed):
    """Move the quantiles: mix the step's shares above them into their probabilities, then read them off anew."""
    points(c, s, logs, x, y)
    m = np.float64(s.stepped)
    weight = m / max(np.float64(s.learnt) + np.float64(s.before), 1.0)
    for j in range(Q):
        share = min(max(np.float64(s.above[j]), 0.5) / max(m, 1.0), 1.0)
        mixed[j] = -log10(loops, (1.0 - weight) * ten_to(loops, -y[j]) + weight * share)
    mixed[Q] = y[Q]
    for j in range(Q):
        mixed[j + 1] = max(mixed[j + 1], mixed[j])
    for j in range(Q):
        below = 0
        for i in range(Q + 1):
            below += mixed[i] < c.targets[j]
        at = min(max(below - 1, 0), Q - 1)
        rise = mixed[at + 1] - mixed[at]
        share = min(max((c.targets[j] - mixed[at]) / (rise if rise > 0 else 1.0), -1.0), 1.0)
        s.body[j] = np.float32(x[at] + share * (x[at + 1] - x[at]))
    for j in range(1, Q):
        s.body[j] = max(s.body[j], s.body[j - 1])


@inner
def refer(s):
    """Make the highest scores of both generations the reference."""
    current, previous = min(np.int64(s.learnt), T), min(np.int64(s.before), T)
    i, j, lowest = 0, 0, np.float32(0.0)
    for k in range(T):
        if i < current and (j == previous or s.current[i] >= s.previous[j]):
            lowest = s.current[i]
            i += 1
        elif j < previous:
            lowest = s.previous[j]
            j += 1
        s.tail[k] = lowest
    s.known = s.learnt + s.before


@inner
def advance(c, s, logs, loops, x, y, mixed):
    """The step is full: move the reference on."""
    over = np.int64(s.run) - c.adapt_after
    if 0 < over <= c.step:  # a lasting shift, since this step: what was learnt before shrinks to the weight of one step
        s.learnt = np.uint16(s.stepped + min(np.int64(s.learnt) - s.stepped, c.step))
        s.before = np.uint16(0)
    if s.known > 0:
        move_body(c, s, logs, loops, x, y, mixed)
    else:
        mean = s.body[0] + s.body[1] / np.float32(max(s.stepped, np.uint8(1)))
        for j in range(Q):
            s.body[j] = mean
    refer(s)
    s.stepped, s.cut = np.uint8(0), np.uint8(0)
    for j in range(Q):
        s.above[j] = np.uint8(0)
    if s.learnt >= c.generation:
        for j in range(T):
            s.previous[j], s.current[j] = s.current[j], np.float32(0.0)
        s.before, s.learnt = s.learnt, np.uint16(0)


def run(config, logs, loops, state, rows, raw, learns, out):
    """Calibrate, and move the states on; see `Calibrator.calibrate_members`.

    Parameters
    ----------
    config : (1,) of CONFIG
    logs : (65 538,)
        log10 of 1, 2, ...
    loops
        Of `ufuncs`.
    state : (S, M) of STATE
    rows, raw, learns
        (B,) whose score each is, raw scores (B, M) of the members, and (B,) whether they are learnt from.
    out : (B, M)
        Takes the levels, NaN where raw is.
    """
    c = config[0]
    x, y, mixed = np.empty(P), np.empty(P), np.empty(Q + 1)
    for b in range(len(rows)):
        for m in range(raw.shape[1]):
            if np.isnan(raw[b, m]):
                out[b, m] = np.nan
                continue
            s = state[rows[b], m]
            value, level = single(raw[b, m]), 0.0
            if s.known >= c.minimum:
                points(c, s, logs, x, y)
                level = min(max(level_of(c, loops, x, y, np.float64(value)), 0.0), MAX_CALIBRATED)
            out[b, m] = level
            if not learns[b]:
                continue
            if level < c.poison_level:
                s.run = np.uint16(0)
                learn(s, value)
            else:
                s.run = np.uint16(min(np.int64(s.run) + 1, 65_535))
                if s.run > c.adapt_after:
                    learn(s, value)
                elif s.run == 1 and s.cut == 0:
                    s.cut = np.uint8(1)
                    learn(s, min(value, single(raw_at(c, loops, x, y, c.poison_level))))
            s.seen += np.uint32(1)
            if s.seen % c.step == 0:
                advance(c, s, logs, loops, x, y, mixed)
