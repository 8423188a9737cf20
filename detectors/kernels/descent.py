"""An epoch of a network's training, or a look at what was held back (`detectors.descent.training`): the function that is compiled.

A step: the weights are folded and put into the program's tables, all windows of a batch go forward, those that cost most are left out, the others go backward, and Adam
(Kingma, Ba 2015) moves the weights by their gradients, whose norm is bounded.
"""

from __future__ import annotations

import numpy as np

from detectors.compiling import inner
from detectors.kernels.backprop import backward, forward, loss_gradients, losses_of
from detectors.kernels.lanes import WIDTH
from detectors.kernels.ordering import kth
from detectors.programs import AT_ONCE

FIRST, SECOND = 0.9, 0.999
"""What Adam keeps of the means of gradients, and of their squares."""
BATCH, ROWS, GIVEN, N, WANTED, KIND, LEARN = range(7)
"""Of `sizes`: windows of a step, rows of a tile, where what is given lies, how many, and where what was wanted; the loss; whether weights move."""
ENDLESS = np.float32(np.inf)
RATE, CLIP, DECAY, TRIM = range(4)
"""Of `how`; see `detectors.networks.TrainingConfig`."""


def signature():
    """Of `run`."""
    from numba import types as t

    def read(of, d=1):
        return t.Array(of, d, "C", readonly=True)

    def own(of):
        return t.Array(of, 1, "C")

    f4, f8, i8 = t.float32, t.float64, t.int64
    return f8(
        *(read(f4, 2), read(i8), read(i8), read(f8)),
        *(read(t.uint64, 2), read(i8, 2), read(i8), read(i8), read(i8), read(i8), read(i8, 2)),
        *(own(f4), own(f4), own(f4), own(f8)),
        *(own(f4),) * 10,
    )


@inner
def fold(weights, sources, others, filters, folded):
    """The weights as the program takes them; see `detectors.descent.folding`."""
    for p in range(len(sources)):
        folded[p] = weights[sources[p]]
        if others[p] >= 0:
            folded[p] += weights[others[p]]
    for v in range(len(filters)):
        start, of, many, gain, at = filters[v]
        for i in range(many):
            square = 0.0
            for j in range(of):
                square += np.float64(weights[start + j * many + i]) ** 2
            scale = np.float64(weights[gain + i]) / np.sqrt(square)
            for j in range(of):
                folded[at + j * many + i] = np.float32(np.float64(weights[start + j * many + i]) * scale)


@inner
def gradients_of_weights(weights, sources, others, filters, of_folded, gradients):
    """Gradients of the weights, from those of the folded ones."""
    gradients[:] = 0.0
    for p in range(len(sources)):
        gradients[sources[p]] += of_folded[p]
        if others[p] >= 0:
            gradients[others[p]] += of_folded[p]
    for v in range(len(filters)):
        start, of, many, gain, at = filters[v]
        for i in range(many):
            square, dot = 0.0, 0.0
            for j in range(of):
                direction = np.float64(weights[start + j * many + i])
                square += direction**2
                dot += direction * of_folded[at + j * many + i]
            norm = np.sqrt(square)
            gradients[gain + i] = np.float32(dot / norm)
            scale = weights[gain + i] / norm
            for j in range(of):
                direction = np.float64(weights[start + j * many + i])
                gradients[start + j * many + i] = np.float32(
                    scale * (of_folded[at + j * many + i] - direction * dot / square)
                )


@inner
def adam(weights, mean, square, powers, how, gradients):
    """A step of Adam, with a bound on the gradient's norm, and weights that decay apart from it (Loshchilov, Hutter 2019)."""
    norm = 0.0
    for p in range(len(weights)):
        norm += np.float64(gradients[p]) ** 2
    bound = np.float32(min(1.0, how[CLIP] / (np.sqrt(norm) + 1e-6)))
    powers[0] *= FIRST
    powers[1] *= SECOND
    rate = np.float32(how[RATE] / (1.0 - powers[0]))
    unbiased, small = np.float32(1.0 / (1.0 - powers[1])), np.float32(1e-8)
    kept = np.float32(1.0 - how[RATE] * how[DECAY])
    first, second = np.float32(1.0 - FIRST), np.float32(1.0 - SECOND)
    for p in range(len(weights)):
        by = gradients[p] * bound
        mean[p] += first * (by - mean[p])
        square[p] = np.float32(SECOND) * square[p] + second * (by * by)
        weights[p] = kept * weights[p] - rate * mean[p] / (np.sqrt(square[p] * unbiased) + small)


@inner
def taken(room, base, lanes, x, places, order, start, n):
    """What the network looks at of n windows; the last one in all lanes that are left."""
    for lane in range(lanes):
        window, own = x[order[start + min(lane, n - 1)]], room[base * AT_ONCE + lane :]
        for i in range(len(places)):
            own[places[i, 0]] = window[places[i, 1]]


@inner
def trimmed(losses, n, trim, shares):
    """Mean of n losses without the highest share; `shares` takes what each window has in it. What is no number is higher than all; NaN where none is."""
    for i in range(n):
        shares[i] = losses[i] if losses[i] < ENDLESS else ENDLESS  # noqa: FURB136  # min lets what is no number through
    bar = kth(shares, n, max(1, round(n * (1.0 - trim))) - 1)
    kept, total = 0, 0.0
    for i in range(n):
        if losses[i] <= bar:
            kept += 1
            total += losses[i]
    for i in range(len(shares)):
        shares[i] = np.float32(1.0 / kept) if i < n and kept and losses[i] <= bar else np.float32(0.0)
    return total / kept if kept else np.nan


@inner
def lanes_of(n):
    """Lanes that n windows of a tile take."""
    return (n + WIDTH - 1) // WIDTH * WIDTH


def run(
    x, order, sizes, how,
    places, steps, cells, gradient_cells, sources, others, filters,
    weights, mean, square, powers,
    folded, gradients, of_folded, tables, of_tables, transposed, losses, shares, room, of_rows,
):  # fmt: skip
    """Mean loss of windows, in the order given; `sizes[LEARN]`: the weights move by it, batch by batch, else all are one.

    Parameters
    ----------
    x : (N, T * (C + F))
    order : (n,)
    places, steps, cells, gradient_cells
        Of the program: `detectors.descent.traced.Tables`, `gradient_cells` its `slopes`.
    sources, others, filters
        `detectors.descent.folding.Folding`.
    weights, mean, square : (P,)
        Weights, and Adam's two means.
    powers : (2,)
        What is left of the means that Adam began with.
    folded, gradients, of_folded, tables, of_tables, transposed, losses, shares, room, of_rows
        Memory to work in, gradients by what they are of; `tables` has the program's constants. All on cache lines.
    """
    rows, learn, n, total = sizes[ROWS], sizes[LEARN], len(order), 0.0
    batch = sizes[BATCH] if learn else n
    for first in range(0, n, batch):
        m = min(batch, n - first)
        if learn or first == 0:
            fold(weights, sources, others, filters, folded)
            for c in range(len(cells)):
                if cells[c] >= 0:
                    tables[c] = folded[cells[c]]
        for t in range(0, m, AT_ONCE):
            base, lanes = t // AT_ONCE * rows if learn else 0, lanes_of(min(AT_ONCE, m - t))
            taken(room, base, lanes, x, places, order, first + t, min(AT_ONCE, m - t))
            forward(room, base, lanes, steps, tables)
            losses_of(room, base, lanes, sizes[GIVEN], sizes[N], sizes[WANTED], sizes[KIND], losses, t)
        loss = trimmed(losses, m, how[TRIM], shares)
        total += loss * m
        if not learn or not np.isfinite(loss):
            continue
        of_tables[:] = 0.0
        for t in range(0, m, AT_ONCE):
            base, lanes = t // AT_ONCE * rows, lanes_of(min(AT_ONCE, m - t))
            of_rows[:] = 0.0
            loss_gradients(
                room, base, of_rows, lanes, sizes[GIVEN], sizes[N], sizes[WANTED], sizes[KIND], shares, t
            )  # fmt: skip
            backward(room, base, of_rows, lanes, steps, tables, of_tables, transposed)
        of_folded[:] = 0.0
        for c in range(len(gradient_cells)):
            if gradient_cells[c] >= 0:
                of_folded[gradient_cells[c]] += of_tables[c]
        gradients_of_weights(weights, sources, others, filters, of_folded, gradients)
        adam(weights, mean, square, powers, how, gradients)
    return total / n
