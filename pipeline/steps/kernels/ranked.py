"""The ranking score of the judgement and the members together (`pipeline.steps.judgement.Judgements.ranked`): the function that is compiled."""

from __future__ import annotations

import numpy as np

from detectors.kernels.ufuncs import log2_all
from pipeline.steps.judgement import MEMBER, MOST


def signature():
    """Of `run`."""
    from numba import types as t

    f8, i8 = t.float64, t.int64
    return t.void(
        t.Array(i8, 2, "C"),
        f8,
        t.Array(f8, 2, "A", readonly=True, aligned=False),
        t.Array(i8, 1, "A", readonly=True),
        t.Array(f8, 2, "A", readonly=True),
        t.Array(t.boolean, 1, "C"),
        *(t.Array(f8, 1, "C"),) * 2,
        t.Array(f8, 2, "C"),
    )


def run(loops, own, usual, rows, raw, live, score, out, members):
    """Mix the scores of A observations with their members' raw ones.

    Parameters
    ----------
    loops
        Of `ufuncs`.
    own
        Weight of the judgement's score.
    usual : (S, M)
        Field of the histories.
    rows, raw
        (A,) rows of the series; (A, M), NaN where there is none.
    live, score : (A,)
        As in `Judged`.
    out, members
        Take the mixed scores (A,), and the members' parts in them (A, M).
    """
    A, M = raw.shape
    for a in range(A):
        for m in range(M):
            unit, value = usual[rows[a], m], raw[a, m]
            seen = np.isfinite(value) and value > 0.0 and unit > 0.0
            members[a, m] = 1.0 + value / unit if seen else 1.0
    log2_all(loops, members)
    for a in range(A):
        known, total = 0, 0.0
        for m in range(M):
            if np.isfinite(raw[a, m]) and usual[rows[a], m] > 0.0:
                known += 1
                total += min(members[a, m], MOST)
        out[a] = (own * score[a] + MEMBER * total) / (own + MEMBER * known) if live[a] else 0.0
