"""What was accepted of a batch and the history before it, in one buffer, series by series (`pipeline.steps.packing`): the function that is compiled."""

from __future__ import annotations

import numpy as np

from detectors.compiling import inner
from detectors.kernels.ahead import fetch
from detectors.windowing import MINUTE, MONDAY, WEEK
from pipeline.steps.clock.policy import KEPT, RULING
from pipeline.steps.kernels.windows import complete, cut, learn, put

AHEAD = 4
"""Series whose records are fetched while one is worked on: each is new to the cache where a batch has an observation of each of many."""


def signature():
    """Of `run`."""
    import numba
    from numba import types as t

    def of(kind, dimensions=1, readonly=False):
        return t.Array(kind, dimensions, "A", readonly=readonly, aligned=False)

    i8, f8, longs = t.int64, t.float64, of(t.int64, readonly=True)
    return t.void(
        i8,
        t.boolean,
        *(longs,) * 3,
        of(f8, 2, readonly=True),
        t.Array(numba.from_dtype(RULING), 1, "C"),
        *(of(i8),) * 2,
        *(of(t.uint32),) * 3,
        of(f8, 2),
        *(of(f8, 3),) * 2,
        of(t.uint16, 2),
        t.Array(t.float32, 2, "C", readonly=True),
        t.Array(f8, 2, "C"),
        t.Array(t.uint16, 1, "C"),
        t.Array(i8, 1, "C"),
        t.Array(i8, 2, "C"),
        *(t.Array(t.boolean, 1, "C"),) * 2,
        t.Array(t.float32, 2, "C"),
    )


@inner
def lay(values, minute_of, at, history, minutes):
    """Put the history (H, C) of a series in its positions."""
    end = at + len(history)
    for c in range(history.shape[1]):
        put(values[at:end, c], history[:, c])
    put(minute_of[at : at + len(minutes)], minutes)
    return end


@inner
def keep(history, minutes, values, minute_of):
    """Keep the newest positions."""
    for c in range(history.shape[1]):
        put(history[:, c], values[:, c])
    put(minutes, minute_of)


@inner
def place(values, minutes, at, value, time):
    """Put values (C,) in their position, and the minute of the week."""
    put(values[at], value)
    if len(minutes):
        minutes[at] = (time // MINUTE + MONDAY) % WEEK
    return at + 1


@inner
def fill(values, minutes, at, ruling):
    """Put the last value, at times one usual step apart, where values are missing."""
    for nth in range(ruling.fills):
        at = place(values, minutes, at, values[at - 1], ruling.since + (nth + 1) * ruling.apart)
    return at


def run(
    learn_rows, ranged, order, rows, times, given, rulings, last, ordinal, size, tainted, learnt, held, scaling, history, minutes,
    table, values, minute_of, ordinals, spans, filled, full, x,
):  # fmt: skip
    """Lay out N observations, cut the windows (T, W) that end in them, and move the records on.

    Parameters
    ----------
    learn_rows, ranged
        A series' scaling is known behind so many observations, and is made of their range; 0: it has none.
    order : (N,)
        Places of the observations, sorted by series.
    rows, times, given, rulings
        (N,) rows of their series, event times, values (N, C), and what is ruled on them.
    last, ordinal, size, tainted, learnt, held, scaling, history, minutes
        Fields of the records; of those that there are not nothing is read, but of `scaling` one that changes nothing.
    values, minute_of : (P, C), (P,)
        Take the positions; without minutes (0,).
    ordinals, spans, filled, full
        (N,) take of who is accepted its ordinal, what its window holds so far (N, 2), whether that holds a value that stands in for a missing one,
        and whether the window can be scored.
    table : (minutes of a week, F)
        Covariates.
    x : (N, T * W)
        Takes the windows that can be scored.
    """
    N, H, at, start = len(order), history.shape[1], 0, 0
    while start < N:
        r, base, series, newest = rows[order[start]], at, rulings[order[start]], -1
        begin, filled_at = at + H - np.int64(size[r]), at - 1 + np.int64(tainted[r])
        if start + AHEAD < N:
            fetch(history, rows[order[start + AHEAD]], history.strides[0])
            fetch(x, order[start + AHEAD], x.strides[0])
        while start < N and rows[order[start]] == r:
            i = order[start]
            start += 1
            ruling = rulings[i]
            if not ruling.accepted:
                continue
            if at == base:
                at = lay(values, minute_of, at, history[r], minutes[r])
            begin = at if ruling.anew else begin
            if ruling.held_at:
                at = place(values, minute_of, at, held[r] if ruling.held < 0 else given[ruling.held], ruling.held_at)
                ordinal[r] += 1
            if ruling.fills:
                at = fill(values, minute_of, at, ruling)
                filled_at = at - 1
            at = place(values, minute_of, at, given[i], times[i])
            ordinal[r] += 1
            last[r], ordinals[i] = times[i], ordinal[r]
            if learnt[r] < learn_rows:
                learnt[r] += np.uint32(1)
                learn(scaling[r], given[i], np.float64(learnt[r]))
                if learnt[r] == learn_rows:
                    complete(scaling[r], np.float64(learn_rows), ranged)
            spans[i, 0], spans[i, 1] = max(begin, at - H - 1), at
            filled[i] = at - filled_at <= H + 1
            if at - begin > H and learnt[r] >= learn_rows:
                new = min(at - spans[newest, 1], H + 1) if newest >= 0 else H + 1
                unit = scaling[min(r, len(scaling) - 1)]
                cut(x[i], x[newest], new, values[at - H - 1 : at], minute_of[at - H - 1 : at], unit, table)
                full[i], newest = True, i
        if at > base:
            size[r], tainted[r] = min(at - begin, H + 1), max(H + 1 + filled_at - at, 0)
            keep(history[r], minutes[r], values[at - H : at], minute_of[at - minutes.shape[1] : at])
        if series.holds != KEPT:
            for c in range(held.shape[1]):
                held[r, c] = given[series.holds, c] if series.holds >= 0 else 0.0
