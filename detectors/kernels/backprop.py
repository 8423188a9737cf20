"""A program's steps as training walks them, forward and backward over windows side by side (`detectors.descent`).

Rows lie as in `detectors.kernels.network`; the gradients of a tile's rows lie in `gradients` as the rows lie in `room` from `base` on. All sums have one order, lane by
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
def forward(room, base, lanes, steps, tables):
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
def losses_of(room, base, lanes, given, n, wanted, kind, losses, at):
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
def loss_gradients(room, base, gradients, lanes, given, n, wanted, kind, shares, at):
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
            store(gradients, (given + i) * AT_ONCE + lane, positive(share, times(off, share)))


@inner
def backward(room, base, gradients, lanes, steps, tables, weight_gradients, transposed):
    """All steps of a tile, the last one first; gradients of the tables are added to `weight_gradients`."""
    for s in range(len(steps) - 1, -1, -1):
        what, into, of, n, one, other, skip, at_gradients = steps[s]
        if skip < 0:
            continue
        if what == LAYER:
            _transposed(gradients, lanes, into, n, transposed)
            _weight_gradients(room, lanes, base + of, n, other, weight_gradients, at_gradients, transposed)
            _input_gradients(gradients, lanes, into, of, n, other, tables, one, skip)
        elif what == CELL:
            _cell_gradients(room, base, gradients, lanes, into, of, n, one, other)
        else:
            _each_gradients(room, base, gradients, lanes, what, into, of, n)


@inner
def _transposed(gradients, lanes, into, n, transposed):
    """Gradients of n rows, a window's side by side."""
    pitch = (n + PITCH - 1) // PITCH * PITCH
    for j in range(n):
        for lane in range(lanes):
            transposed[lane * pitch + j] = gradients[(into + j) * AT_ONCE + lane]
    for j in range(n, pitch):
        for lane in range(lanes):
            transposed[lane * pitch + j] = 0.0


@inner
def _eight(sums, y, apart, left, x, left_apart, left_step, right, w, right_step, n):
    """Add n products to each of eight vectors of sums that lie `apart`: a number of `left`, those of one sum `left_apart` from the next one's, times a vector of `right`."""
    a, b, c, d = (load(sums, y), load(sums, y + apart), load(sums, y + 2 * apart), load(sums, y + 3 * apart))
    z = y + 4 * apart
    e, f, g, h = (load(sums, z), load(sums, z + apart), load(sums, z + 2 * apart), load(sums, z + 3 * apart))
    for _ in range(n):
        by = load(right, w)
        a, b = fma(spread(left, x), by, a), fma(spread(left, x + left_apart), by, b)
        c, d = fma(spread(left, x + 2 * left_apart), by, c), fma(spread(left, x + 3 * left_apart), by, d)
        e, f = fma(spread(left, x + 4 * left_apart), by, e), fma(spread(left, x + 5 * left_apart), by, f)
        g, h = fma(spread(left, x + 6 * left_apart), by, g), fma(spread(left, x + 7 * left_apart), by, h)
        x += left_step
        w += right_step
    store(sums, y, a)
    store(sums, y + apart, b)
    store(sums, y + 2 * apart, c)
    store(sums, y + 3 * apart, d)
    store(sums, z, e)
    store(sums, z + apart, f)
    store(sums, z + 2 * apart, g)
    store(sums, z + 3 * apart, h)


@inner
def _one(sums, y, left, x, left_step, right, w, right_step, n):
    """The same of one vector of sums."""
    a = load(sums, y)
    for _ in range(n):
        a = fma(spread(left, x), load(right, w), a)
        x += left_step
        w += right_step
    store(sums, y, a)


@inner
def _weight_gradients(room, lanes, of, n, K, weight_gradients, at, transposed):
    """Gradients of a layer's biases, and of its weights: a row that was seen times one of gradients, added up over the windows."""
    pitch = (n + PITCH - 1) // PITCH * PITCH
    whole = K - K % 8
    for j in range(0, pitch, PITCH):
        a = load(weight_gradients, at + j)
        for lane in range(lanes):
            a = plus(a, load(transposed, lane * pitch + j))
        store(weight_gradients, at + j, a)
        for k in range(0, whole, 8):
            y, x = at + (k + 1) * pitch + j, (of + k) * AT_ONCE
            _eight(weight_gradients, y, pitch, room, x, AT_ONCE, 1, transposed, j, pitch, lanes)
        for k in range(whole, K):
            y, x = at + (k + 1) * pitch + j, (of + k) * AT_ONCE
            _one(weight_gradients, y, room, x, 1, transposed, j, pitch, lanes)


@inner
def _input_gradients(gradients, lanes, into, of, n, K, tables, at, skip):
    """Gradients of what a layer saw, from row `skip` on."""
    block = BLOCK * (K + 1)
    whole = skip + (K - skip) // 8 * 8
    for j in range(0, n, BLOCK):
        table = at + j // BLOCK * block
        for lane in range(0, lanes, WIDTH):
            w = (into + j) * AT_ONCE + lane
            for k in range(skip, whole, 8):
                y, x = (of + k) * AT_ONCE + lane, table + (k + 1) * BLOCK
                _eight(gradients, y, AT_ONCE, tables, x, BLOCK, 1, gradients, w, AT_ONCE, min(BLOCK, n - j))
            for k in range(whole, K):
                y, x = (of + k) * AT_ONCE + lane, table + (k + 1) * BLOCK
                _one(gradients, y, tables, x, 1, gradients, w, AT_ONCE, min(BLOCK, n - j))


@inner
def _cell_gradients(room, base, gradients, lanes, into, gates, H, memory, begins):
    """Gradients of an LSTM's gates, and of what it remembered before."""
    one = number(1.0)
    for r in range(H):
        for lane in range(0, lanes, WIDTH):
            y = (gates + r) * AT_ONCE + lane
            g, m, before = base * AT_ONCE + y, (memory + r) * AT_ONCE + lane, (memory - H + r) * AT_ONCE + lane
            i, f = load(room, g), load(room, g + H * AT_ONCE)
            c, o = load(room, g + 2 * H * AT_ONCE), load(room, g + 3 * H * AT_ONCE)
            out = load(gradients, (into + r) * AT_ONCE + lane)
            said = tanh(load(room, base * AT_ONCE + m))
            through = times(times(out, o), minus(one, times(said, said)))
            new = plus(load(gradients, m), through)
            store(gradients, y, times(times(new, c), times(i, minus(one, i))))
            store(gradients, y + 2 * H * AT_ONCE, times(times(new, i), minus(one, times(c, c))))
            store(gradients, y + 3 * H * AT_ONCE, times(times(out, said), times(o, minus(one, o))))
            if begins:
                store(gradients, y + H * AT_ONCE, number(0.0))
            else:
                kept = load(room, base * AT_ONCE + before)
                store(gradients, y + H * AT_ONCE, times(times(new, kept), times(f, minus(one, f))))
                store(gradients, before, times(new, f))


@inner
def _each_gradients(room, base, gradients, lanes, what, into, of, n):
    """Gradients of what one number of each was; where it stands in another row, that one had none before."""
    one = number(1.0)
    for r in range(n):
        for lane in range(0, lanes, WIDTH):
            x, y = (of + r) * AT_ONCE + lane, (into + r) * AT_ONCE + lane
            gradient, was = load(gradients, y), load(room, base * AT_ONCE + x)
            if what == PLUS:
                store(gradients, x, plus(load(gradients, x), gradient))
            elif what == RELU:
                store(gradients, x, positive(was, gradient))
            elif what == TANH:
                store(gradients, x, times(gradient, minus(one, times(was, was))))
            elif what == SIGMOID:
                store(gradients, x, times(gradient, times(was, minus(one, was))))
