"""The series that a border may change, each once (`pipeline.steps.clock.event_time`): the function that is compiled. It costs what it brings, however many are idle."""

from __future__ import annotations

import numpy as np

from pipeline.steps.clock.event_time import DTYPE


def signature():
    """Of `run`."""
    import numba
    from numba import types as t

    given = t.Array(t.int64, 1, "A", readonly=True)
    return t.int64(t.Array(numba.from_dtype(DTYPE), 1, "A"), given, given, t.Array(t.int64, 1, "C"))


def run(clocks, known, rows, columns):
    """Put rows in `columns`, and return how many: of `known` (m,) those that the next border may change, and all `rows` (n,)."""
    m, found = len(known), 0
    place = np.empty(len(clocks), np.int64)  # of each row in `columns`, where that has it; else anything
    for i in range(m + len(rows)):
        r = known[i] if i < m else rows[i - m]
        if i < m and not (clocks[r].votes or clocks[r].fresh or clocks[r].said):
            continue
        at = place[r]
        if not (0 <= at < found and columns[at] == r):
            place[r], columns[found] = found, r
            found += 1
    return found
