"""All rows of a call, series by series: the function that is compiled."""

from __future__ import annotations

import numpy as np

from detectors.judgement.autoregression import ORDER
from detectors.judgement.kernel import field
from detectors.judgement.kernel.first import begin, gather
from detectors.judgement.kernel.layout import W_BUDGET, inner
from detectors.judgement.kernel.row import judge
from detectors.judgement.record import JUDGING
from detectors.judgement.short_state import ROWS
from detectors.kernels.ahead import fetch


def signature():
    """Of `run`."""
    return "void(f8[::1], i8[::1], f4[::1], i4[::1], u2[::1], f4[::1], i8[::1], i8[::1], f8[:, ::1], i8[::1], i8[::1], f8[::1], u1[::1], f8[:, :, ::1], f8[::1], i8[::1], f8[:, ::1], u1[:, ::1])"


@inner
def restart(f8, f4, i4, h, C):
    """Rows are missing before the next: contexts begin anew, what was learnt stays."""
    for k in range(C):
        c = h + field.HEAD_WORDS + k * field.CHANNEL_WORDS
        f = 2 * c
        for i in range(ORDER):
            f4[f + field.CLEANED + i], f4[f + field.PLAIN + i] = 0.0, 0.0
        for i in range(ROWS):
            f4[f + field.SEEN + i] = f8[c + field.LEVEL]
        f4[f + field.MEANS], f4[f + field.MEANS + 1], i4[f + field.FAR], i4[f + field.EQUAL] = 0.0, 0.0, 0, 0
        f8[c + field.LAST] = np.nan


def run(f8, i8, f4, i4, u2, learnt, order, rows, values, local, placed, budget, anew, sizes, w, bins, out, told):
    """All rows, one series after the other while its record is near; see `population.Population.step` for what they are.

    Parameters
    ----------
    f8, i8, f4, i4, u2
        The records, one memory.
    learnt
        What was learnt, of the series at each `known`.
    order : (B,)
        Places of the rows, sorted by series.
    rows, local, placed, budget, anew : (B,)
    values : (B, C)
    sizes : (B, S, C), or (0, S, C)
        Takes the sizes of the scaled terms; then nothing but contexts and clock moves on.
    w, bins
        Scratch, see `layout`.
    out : (B, 2 + T + 3 C)
        Takes score, strength, terms, expected, band, shares.
    told : (B, 3)
        Takes whether anomalous, whether judged, and the side (`recurring`).
    """
    C = values.shape[1]
    record, known = field.HEAD_WORDS + C * field.CHANNEL_WORDS, C * (field.OTHERS + C) + 1
    w[W_BUDGET] = -1.0
    for at in range(len(order)):
        b = order[at]
        h = rows[b] * record
        if at + 1 < len(order) and rows[order[at + 1]] != rows[b]:
            fetch(f8, rows[order[at + 1]] * record, 8 * record)
        if u2[4 * h + field.PHASE] == JUDGING:
            if anew[b]:
                restart(f8, f4, i4, h, C)
            m = i4[2 * h + field.KNOWN] * known
            if m < 0 or m >= len(learnt):  # a record of another model's series
                i4[2 * h + field.KNOWN], m = 0, 0
            judge(
                f8,
                i8,
                f4,
                i4,
                u2,
                learnt,
                w,
                bins,
                h,
                m,
                C,
                values,
                local[b],
                placed[b],
                budget[b],
                sizes,
                out,
                told,
                b,
            )
        elif gather(f8, i8, i4, w, h, C, values, local[b], out, told, b):
            begin(f8, i8, f4, i4, u2, w, h, C)
