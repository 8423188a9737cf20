"""The steps of a network's program over windows side by side (`detectors.programs`): the function that is compiled.

What a step works on is rows of one memory: row r holds one number of each of `AT_ONCE` windows, at r * AT_ONCE. A sum is begun with the bias and goes on in the
order of its weights, in each lane for itself: a window's bits depend neither on its neighbours nor on how many they are.
"""

from __future__ import annotations

import numpy as np

from detectors.compiling import inner
from detectors.kernels.lanes import (
    WIDTH,
    fma,
    larger,
    load,
    minus,
    number,
    over,
    plus,
    root,
    sigmoid,
    size,
    smaller,
    spread,
    store,
    tanh,
    times,
)
from detectors.programs import AT_ONCE, BLOCK, CELL, CLIP, LAYER, MINUS, PLUS, RELU, SCORE, SIGMOID, TANH


def signature():
    """Of `run`."""
    from numba import types as t

    f4, i8 = t.float32, t.int64
    return t.void(
        t.Array(f4, 2, "C", readonly=True),
        t.Array(t.uint64, 2, "C", readonly=True),
        t.Array(i8, 2, "C", readonly=True),
        t.Array(f4, 1, "C", readonly=True),
        t.Array(f4, 1, "C"),
        t.Array(t.float64, 1, "C"),
        *(t.Array(f4, 2, "C"),) * 2,
    )


@inner
def layer(room, lanes, weights, at, into, of, n, K):
    """Sums of K rows, n of them, from row `of` on, in rows from `into` on; `weights` from `at` on: for each `BLOCK` of sums the biases, then those of each row."""
    for j in range(into * AT_ONCE, (into + n) * AT_ONCE, BLOCK * AT_ONCE):
        for lane in range(0, lanes, WIDTH):
            w, x, y = at, of * AT_ONCE + lane, j + lane
            a, b, c, d = spread(weights, w), spread(weights, w + 1), spread(weights, w + 2), spread(weights, w + 3)
            e, f, g, h = spread(weights, w + 4), spread(weights, w + 5), spread(weights, w + 6), spread(weights, w + 7)
            for _ in range(K):
                w += BLOCK
                seen = load(room, x)
                x += AT_ONCE
                a, b = fma(spread(weights, w), seen, a), fma(spread(weights, w + 1), seen, b)
                c, d = fma(spread(weights, w + 2), seen, c), fma(spread(weights, w + 3), seen, d)
                e, f = fma(spread(weights, w + 4), seen, e), fma(spread(weights, w + 5), seen, f)
                g, h = fma(spread(weights, w + 6), seen, g), fma(spread(weights, w + 7), seen, h)
            store(room, y, a)
            store(room, y + AT_ONCE, b)
            store(room, y + 2 * AT_ONCE, c)
            store(room, y + 3 * AT_ONCE, d)
            store(room, y + 4 * AT_ONCE, e)
            store(room, y + 5 * AT_ONCE, f)
            store(room, y + 6 * AT_ONCE, g)
            store(room, y + 7 * AT_ONCE, h)
        at += BLOCK * (K + 1)


@inner
def cell(room, lanes, into, gates, H, memory, begins):
    """A step of an LSTM: from `gates` (4 H: input, forget, new, output) to what it says, H rows from `into` on; `memory` (H) stays from step to step."""
    for r in range(H):
        for lane in range(0, lanes, WIDTH):
            g = (gates + r) * AT_ONCE + lane
            m = (memory + r) * AT_ONCE + lane
            new = times(sigmoid(load(room, g)), tanh(load(room, g + 2 * H * AT_ONCE)))
            if not begins:
                new = fma(sigmoid(load(room, g + H * AT_ONCE)), load(room, m), new)
            store(room, m, new)
            store(room, (into + r) * AT_ONCE + lane, times(sigmoid(load(room, g + 3 * H * AT_ONCE)), tanh(new)))


@inner
def each(room, lanes, what, into, of, n, weights, at):
    """One number of each: rows from `of` on become rows from `into` on."""
    for r in range(n):
        for lane in range(0, lanes, WIDTH):
            x, y = load(room, (of + r) * AT_ONCE + lane), (into + r) * AT_ONCE + lane
            if what == TANH:
                store(room, y, tanh(x))
            elif what == RELU:
                store(room, y, larger(x, number(0.0)))
            elif what == SIGMOID:
                store(room, y, sigmoid(x))
            elif what == CLIP:
                limit = spread(weights, at)
                store(room, y, larger(smaller(x, limit), minus(number(0.0), limit)))
            elif what == PLUS:
                store(room, y, plus(load(room, y), x))
            elif what == MINUS:
                store(room, y, minus(load(room, y), x))


@inner
def score(room, lanes, into, given, n, wanted, C):
    """The root of the mean square of n differences, and each channel's share of it, in 1 + C rows from `into` on."""
    for lane in range(0, lanes, WIDTH):
        total = number(0.0)
        for i in range(n):
            off = minus(load(room, (given + i) * AT_ONCE + lane), load(room, (wanted + i) * AT_ONCE + lane))
            total = fma(off, off, total)
            if n == 1:
                total = size(off)
        raw = total if n == 1 else root(over(total, number(np.float64(n))))
        store(room, into * AT_ONCE + lane, raw)
        unit = times(number(np.float64(n)), larger(raw, number(1e-12)))
        for c in range(C):
            total = number(0.0)
            for i in range(c, n, C):
                off = minus(load(room, (given + i) * AT_ONCE + lane), load(room, (wanted + i) * AT_ONCE + lane))
                total = fma(off, off, total)
            store(room, (into + 1 + c) * AT_ONCE + lane, over(total, unit))


@inner
def take(room, lanes, x, places, start, n):
    """What the network looks at of n windows from `start` on; the last one in all lanes that are left."""
    for lane in range(lanes):
        window, own = x[start + min(lane, n - 1)], room[lane:]
        for i in range(len(places)):
            own[places[i, 0]] = window[places[i, 1]]


def run(x, places, steps, weights, room, raw, expected, shares):
    """All windows (B, T * (C + F)), `AT_ONCE` after another.

    Parameters
    ----------
    places : (rows, 2)
        Where rows begin in `room`, and what of a window they take; never negative, and nothing looks at it.
    steps : (S, 6)
    weights : (W,)
        One after the other.
    room : (R * AT_ONCE,)
        The rows' memory, on a cache line.
    raw, expected, shares : (B,), (B, C), (B, C)
        Take what is said; the last step says from which rows.
    """
    B, C = expected.shape
    for start in range(0, B, AT_ONCE):
        n = min(AT_ONCE, B - start)
        lanes = (n + WIDTH - 1) // WIDTH * WIDTH
        take(room, lanes, x, places, start, n)
        for s in range(len(steps)):
            what, into, of, rows, one, other = steps[s]
            if what == LAYER:
                layer(room, lanes, weights, one, into, of, rows, other)
            elif what == CELL:
                cell(room, lanes, into, of, rows, one, other)
            elif what == SCORE:
                score(room, lanes, into, of, rows, one, C)
                for b in range(n):
                    raw[start + b] = room[into * AT_ONCE + b]
                    for c in range(C):
                        expected[start + b, c] = room[(of + rows - C + c) * AT_ONCE + b]
                        shares[start + b, c] = room[(into + 1 + c) * AT_ONCE + b]
            else:
                each(room, lanes, what, into, of, rows, weights, one)
