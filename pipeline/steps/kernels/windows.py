"""The windows of a batch, series by series: scaled once for each position, then cut; the function that is compiled."""

from __future__ import annotations

from detectors.compiling import inner


def signature():
    """Of `run`."""
    from numba import types as t

    def field(kind, dimensions):
        return t.Array(kind, dimensions, "A", aligned=False)

    longs = t.Array(t.int64, 1, "C")
    return t.void(
        t.float64,
        t.int64,
        *(longs,) * 3,
        field(t.uint32, 1),
        field(t.float64, 3),
        t.Array(t.float64, 2, "C"),
        t.Array(t.uint16, 1, "C"),
        t.Array(t.float32, 2, "C", readonly=True),
        t.Array(t.float32, 2, "C"),
        t.Array(t.float32, 3, "C"),
    )


@inner
def clipped(value, limit):
    """What is no number stays so."""
    if value < -limit:
        value = -limit
    elif value > limit:
        value = limit
    return value


@inner
def put(to, of):
    """Copy."""
    for i in range(len(to)):
        to[i] = of[i]


def run(limit, learn_rows, rows, base, starts, learnt, scaling, values, minutes, table, inputs, x):
    """Scale the positions of J series, and cut B windows (T, W) of scaled values and covariates.

    Parameters
    ----------
    limit
        Scaled values are clipped to it.
    learn_rows
        A series is scaled by what was `learnt` of so many.
    rows, base : (J,)
        Record of each series, and where it begins in `values`.
    starts : (B,)
        Where each window begins in `values`.
    learnt, scaling : (S,), (S, 2, C)
        Fields of the records; without a scaling (0, 2, C).
    values : (P, C)
    minutes : (P,)
        Where there are covariates, else (0,).
    table : (minutes of a week, F)
        Covariates.
    inputs : (P, W)
        Scratch.
    x : (B, T, W)
        Takes the windows.
    """
    P, C = values.shape
    T = x.shape[1]
    for j in range(len(rows)):
        r, begin, end = rows[j], base[j], base[j + 1] if j + 1 < len(base) else P
        scaled = len(scaling) > 0 and learnt[r] >= learn_rows
        for c in range(C):
            centre, scale = (scaling[r, 0, c], scaling[r, 1, c]) if scaled else (0.0, 1.0)
            of, out = (
                values[begin:end, c],
                inputs[begin:end, c],
            )  # their places count from 0: none is looked at from the end
            for p in range(len(of)):
                out[p] = clipped((of[p] - centre) / scale, limit)
    for p in range(len(minutes)):
        for f in range(table.shape[1]):
            inputs[p, C + f] = table[minutes[p], f]
    for b in range(len(starts)):
        put(x[b].ravel(), inputs[starts[b] : starts[b] + T].ravel())
