"""Who was silent for so short that nothing can have happened to it (`pipeline.steps.clock.absence`), for all series at once: the function that is compiled."""

from __future__ import annotations

import numpy as np

from detectors.compiling import inner
from pipeline.steps.clock.absence import AUTO, EXPECTED, NEVER, STEPS
from pipeline.steps.clock.event_time import DTYPE
from pipeline.steps.kernels.votes import NOW, PROGRESS


def signature():
    """Of `run`."""
    import numba
    from numba import types as t

    clocks = t.Array(numba.from_dtype(DTYPE), 1, "A")
    longs, flags = t.Array(t.int64, 1, "A", readonly=True), t.Array(t.boolean, 1, "A", readonly=True)
    tables, odd = t.Array(t.int64, 2, "C"), t.Array(t.boolean, 1, "C")
    return t.int64(clocks, *(longs,) * 5, flags, *(longs,) * 2, t.int64, tables, odd, tables)


@inner
def least(usual, after):
    """A lower bound of a series' patience while its usual step is this one, or longer."""
    if after != AUTO:
        return after
    return STEPS * usual if usual > 0 else NEVER


def run(clocks, columns, column, block, times, steps, vouched, shortest, after, begun, course, odd, quiet):
    """Take n observations of S series among K borders.

    Parameters
    ----------
    clocks : (rows,) of DTYPE
    columns : (S,)
        Rows of the series.
    column, block, times, steps, vouched : (n,)
        Of the observations, as `kernels.votes` tells them.
    shortest, after : (S,)
        The shortest usual step that each has meanwhile, 0: none; and what the settings say of its patience.
    begun
        When event time began.
    course : (3, K + 1)
        Event time and progress before and at each border.
    odd : (S,)
        Is set of who may have been absent, or was: of these nothing is moved on but where they were last heard of.
    quiet : (2, S)
        Takes event time and progress at which each was last heard of before.

    Returns
    -------
    The least that any of who was heard of may be silent for.
    """
    S, K, shortest_patience = len(columns), course.shape[1] - 1, NEVER
    last, since = np.full(S, -1), np.zeros(S, np.int64)
    for c in range(S):
        clock = clocks[columns[c]]
        heard = min(1, K) if clock.said else -1
        quiet[NOW, c] = course[NOW, heard] if heard >= 0 else clock.quiet_at
        quiet[PROGRESS, c] = course[PROGRESS, heard] if heard >= 0 else clock.quiet_by
    for i in range(len(column)):
        c, b = column[i], block[i]
        clock, patience = clocks[columns[c]], least(shortest[c], after[c])
        if last[c] < 0:
            quiet_at, quiet_by = quiet[NOW, c], quiet[PROGRESS, c]
            odd[c] |= clock.absent != EXPECTED
            shortest_patience = min(shortest_patience, patience)
        else:
            border = min(last[c] + 1, K)
            quiet_at, quiet_by = course[NOW, border], course[PROGRESS, border]
        odd[c] |= min(course[NOW, b] - max(quiet_at, begun), course[PROGRESS, b] - quiet_by) > patience
        odd[c] |= after[c] == AUTO and steps[i] > patience
        if vouched[i] and not since[c]:
            since[c] = times[i]
        last[c] = b
    for c in range(S):
        clock = clocks[columns[c]]
        if last[c] < 0 and not clock.said:
            continue
        border = max(last[c], 0) + 1
        clock.said = border > K
        clock.quiet_at, clock.quiet_by = (course[NOW, border], course[PROGRESS, border]) if border <= K else (0, 0)
        if not clock.since and not odd[c]:
            clock.since = since[c]
    return shortest_patience
