"""A program's steps as training walks them, forth and back over windows side by side (`detectors.descent`).

Rows lie as in `detectors.kernels.network`; the gradients of a tile's rows lie in `slopes` as the rows lie in `room` from `base` on. All sums have one order, lane by
lane, and each product and sum is rounded once: training ends with the same weights on every CPU.
"""

from __future__ import annotations

from detectors.compiling import inner
from detectors.kernels.lanes import (
    WIDTH,
    clipped,
    fma,
    load,
    minus,
    number,
    plus,
    positive,
    sigmoid,
    size,
    smaller,
    spread,
    store,
    tanh,
    times,
)
from detectors.kernels.network import each, layer
from detectors.programs import AT_ONCE, BLOCK, CELL, HUBER, LAYER, PITCH, PLUS, RELU, SIGMOID, SQUARED, TANH


@inner
def cell(room, lanes, into, gates, H, memory, begins):
    """As in `network`, but the gates stay as they are opened, and what was remembered before stays too, in the H rows before."""
    for r in range(H):
        for lane in range(0, lanes, WIDTH):
            g = (gates + r) * AT_ONCE + lane
            m = (memory + r) * AT_ONCE + lane
            i, f = sigmoid(load(room, g)), sigmoid(load(room, g + H * AT_ONCE))
            c, o = tanh(load(room, g + 2 * H * AT_ONCE)), sigmoid(load(room, g + 3 * H * AT_ONCE))
            store(room, g, i)
            store(room, g + H * AT_ONCE, f)
            store(room, g + 2 * H * AT_ONCE, c)
            store(room, g + 3 * H * AT_ONCE, o)
            new = times(i, c)
            if not begins:
                new = fma(f, load(room, m - H * AT_ONCE), new)
            store(room, m, new)
            store(room, (into + r) * AT_ONCE + lane, times(o, tanh(new)))


@inner
def forth(room, base, lanes, steps, tables):
    """All steps of a tile."""
    for s in range(len(steps)):
        what, into, of, n = steps[s, 0], base + steps[s, 1], base + steps[s, 2], steps[s, 3]
        if what == LAYER:
            layer(room, lanes, tables, steps[s, 4], into, of, n, steps[s, 5])
        elif what == CELL:
            cell(room, lanes, into, of, n, base + steps[s, 4], steps[s, 5])
        else:
            each(room, lanes, what, into, of, n, tables, steps[s, 4])


@inner
def lost(room, base, lanes, given, n, wanted, kind, losses, at):
    """What each window costs: the mean over n differences."""
    for lane in range(0, lanes, WIDTH):
        total = number(0.0)
        for i in range(n):
            a, b = (base + given + i) * AT_ONCE + lane, (base + wanted + i) * AT_ONCE + lane
            off = size(minus(load(room, a), load(room, b)))
            if kind == HUBER:
                near = smaller(off, number(1.0))
                total = fma(near, fma(number(-0.5), near, off), total)
            elif kind == SQUARED:
                total = fma(off, off, total)
            else:
                total = plus(total, off)
        store(losses, at + lane, times(total, number(1.0 / n)))


@inner
def seeded(room, base, slopes, lanes, given, n, wanted, kind, shares, at):
    """Gradients of what is given: of windows that do not train none, even where they are no numbers."""
    for lane in range(0, lanes, WIDTH):
        share = times(load(shares, at + lane), number(1.0 / n))
        for i in range(n):
            a, b = (base + given + i) * AT_ONCE + lane, (base + wanted + i) * AT_ONCE + lane
            off = minus(load(room, a), load(room, b))
            if kind == HUBER:
                off = clipped(off, 1.0)
            elif kind == SQUARED:
                off = plus(off, off)
            else:
                off = minus(positive(off, number(1.0)), positive(minus(number(0.0), off), number(1.0)))
            store(slopes, (given + i) * AT_ONCE + lane, positive(share, times(off, share)))


@inner
def back(room, base, slopes, lanes, steps, tables, found, turned):
    """All steps of a tile, the last one first; gradients of the tables are added to `found`."""
    for s in range(len(steps) - 1, -1, -1):
        what, into, of, n, one, other, skip, slope = steps[s]
        if skip < 0:
            continue
        if what == LAYER:
            _turned(slopes, lanes, into, n, turned)
            _of_table(room, lanes, base + of, n, other, found, slope, turned)
            _of_rows(slopes, lanes, into, of, n, other, tables, one, skip)
        elif what == CELL:
            _of_cell(room, base, slopes, lanes, into, of, n, one, other)
        else:
            _of_each(room, base, slopes, lanes, what, into, of, n)


@inner
def _turned(slopes, lanes, into, n, turned):
    """Gradients of n rows, a window's side by side."""
    pitch = (n + PITCH - 1) // PITCH * PITCH
    for j in range(n):
        for lane in range(lanes):
            turned[lane * pitch + j] = slopes[(into + j) * AT_ONCE + lane]
    for j in range(n, pitch):
        for lane in range(lanes):
            turned[lane * pitch + j] = 0.0


@inner
def _of_table(room, lanes, of, n, K, found, slope, turned):
    """Gradients of a layer's biases, and of its weights: a row that was seen times one of gradients, added up over the windows."""
    pitch = (n + PITCH - 1) // PITCH * PITCH
    whole = K - K % 8
    for j in range(0, pitch, PITCH):
        a = load(found, slope + j)
        for lane in range(lanes):
            a = plus(a, load(turned, lane * pitch + j))
        store(found, slope + j, a)
        for k in range(0, whole, 8):
            y, x, w = slope + (k + 1) * pitch + j, (of + k) * AT_ONCE, j
            a, b, c, d = load(found, y), load(found, y + pitch), load(found, y + 2 * pitch), load(found, y + 3 * pitch)
            y += 4 * pitch
            e, f, g, h = load(found, y), load(found, y + pitch), load(found, y + 2 * pitch), load(found, y + 3 * pitch)
            for _ in range(lanes):
                by = load(turned, w)
                a, b = fma(spread(room, x), by, a), fma(spread(room, x + AT_ONCE), by, b)
                c, d = fma(spread(room, x + 2 * AT_ONCE), by, c), fma(spread(room, x + 3 * AT_ONCE), by, d)
                e, f = fma(spread(room, x + 4 * AT_ONCE), by, e), fma(spread(room, x + 5 * AT_ONCE), by, f)
                g, h = fma(spread(room, x + 6 * AT_ONCE), by, g), fma(spread(room, x + 7 * AT_ONCE), by, h)
                w += pitch
                x += 1
            store(found, y, e)
            store(found, y + pitch, f)
            store(found, y + 2 * pitch, g)
            store(found, y + 3 * pitch, h)
            y -= 4 * pitch
            store(found, y, a)
            store(found, y + pitch, b)
            store(found, y + 2 * pitch, c)
            store(found, y + 3 * pitch, d)
        for k in range(whole, K):
            y = slope + (k + 1) * pitch + j
            a = load(found, y)
            for lane in range(lanes):
                a = fma(spread(room, (of + k) * AT_ONCE + lane), load(turned, lane * pitch + j), a)
            store(found, y, a)


@inner
def _of_rows(slopes, lanes, into, of, n, K, tables, at, skip):
    """Gradients of what a layer saw, from row `skip` on."""
    block = BLOCK * (K + 1)
    whole = skip + (K - skip) // 8 * 8
    for k in range(skip, whole, 8):
        for lane in range(0, lanes, WIDTH):
            y = (of + k) * AT_ONCE + lane
            a, b, c, d = (
                load(slopes, y),
                load(slopes, y + AT_ONCE),
                load(slopes, y + 2 * AT_ONCE),
                load(slopes, y + 3 * AT_ONCE),
            )
            y += 4 * AT_ONCE
            e, f, g, h = (
                load(slopes, y),
                load(slopes, y + AT_ONCE),
                load(slopes, y + 2 * AT_ONCE),
                load(slopes, y + 3 * AT_ONCE),
            )
            x = into * AT_ONCE + lane
            for j in range(n):
                w = at + j // BLOCK * block + j % BLOCK + (k + 1) * BLOCK
                by = load(slopes, x)
                x += AT_ONCE
                a, b = fma(spread(tables, w), by, a), fma(spread(tables, w + BLOCK), by, b)
                c, d = fma(spread(tables, w + 2 * BLOCK), by, c), fma(spread(tables, w + 3 * BLOCK), by, d)
                e, f = fma(spread(tables, w + 4 * BLOCK), by, e), fma(spread(tables, w + 5 * BLOCK), by, f)
                g, h = fma(spread(tables, w + 6 * BLOCK), by, g), fma(spread(tables, w + 7 * BLOCK), by, h)
            store(slopes, y, e)
            store(slopes, y + AT_ONCE, f)
            store(slopes, y + 2 * AT_ONCE, g)
            store(slopes, y + 3 * AT_ONCE, h)
            y -= 4 * AT_ONCE
            store(slopes, y, a)
            store(slopes, y + AT_ONCE, b)
            store(slopes, y + 2 * AT_ONCE, c)
            store(slopes, y + 3 * AT_ONCE, d)
    for k in range(whole, K):
        for lane in range(0, lanes, WIDTH):
            y = (of + k) * AT_ONCE + lane
            a = load(slopes, y)
            for j in range(n):
                w = at + j // BLOCK * block + j % BLOCK + (k + 1) * BLOCK
                a = fma(spread(tables, w), load(slopes, (into + j) * AT_ONCE + lane), a)
            store(slopes, y, a)


@inner
def _of_cell(room, base, slopes, lanes, into, gates, H, memory, begins):
    """Gradients of an LSTM's gates, and of what it remembered before."""
    one = number(1.0)
    for r in range(H):
        for lane in range(0, lanes, WIDTH):
            y = (gates + r) * AT_ONCE + lane
            g, m, before = base * AT_ONCE + y, (memory + r) * AT_ONCE + lane, (memory - H + r) * AT_ONCE + lane
            i, f = load(room, g), load(room, g + H * AT_ONCE)
            c, o = load(room, g + 2 * H * AT_ONCE), load(room, g + 3 * H * AT_ONCE)
            out = load(slopes, (into + r) * AT_ONCE + lane)
            said = tanh(load(room, base * AT_ONCE + m))
            through = times(times(out, o), minus(one, times(said, said)))
            new = plus(load(slopes, m), through)
            store(slopes, y, times(times(new, c), times(i, minus(one, i))))
            store(slopes, y + 2 * H * AT_ONCE, times(times(new, i), minus(one, times(c, c))))
            store(slopes, y + 3 * H * AT_ONCE, times(times(out, said), times(o, minus(one, o))))
            if begins:
                store(slopes, y + H * AT_ONCE, number(0.0))
            else:
                kept = load(room, base * AT_ONCE + before)
                store(slopes, y + H * AT_ONCE, times(times(new, kept), times(f, minus(one, f))))
                store(slopes, before, times(new, f))


@inner
def _of_each(room, base, slopes, lanes, what, into, of, n):
    """Gradients of what one number of each was; where it stands in another row, that one had none before."""
    one = number(1.0)
    for r in range(n):
        for lane in range(0, lanes, WIDTH):
            x, y = (of + r) * AT_ONCE + lane, (into + r) * AT_ONCE + lane
            grown, was = load(slopes, y), load(room, base * AT_ONCE + x)
            if what == PLUS:
                store(slopes, x, plus(load(slopes, x), grown))
            elif what == RELU:
                store(slopes, x, positive(was, grown))
            elif what == TANH:
                store(slopes, x, times(grown, minus(one, times(was, was))))
            elif what == SIGMOID:
                store(slopes, x, times(grown, times(was, minus(one, was))))
