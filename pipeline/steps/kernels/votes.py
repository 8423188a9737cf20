"""Event time, progress and voters over observations and the borders among them (`pipeline.steps.clock.event_time`): the function that is compiled.

A border costs one look at all series where one of them moved on, and nothing where none did.
"""

from __future__ import annotations

import numpy as np

from detectors.compiling import inner
from pipeline.steps.clock.event_time import DTYPE, LATELY, STEPS

NOW, PROGRESS, VOTERS = range(3)
"""In `course`."""


def signature():
    """Of `run`."""
    import numba
    from numba import types as t

    clocks = t.Array(numba.from_dtype(DTYPE), 1, "A")
    longs, given = t.Array(t.int64, 1, "C"), t.Array(t.int64, 1, "A", readonly=True)
    flags, tables = t.Array(t.boolean, 1, "C"), t.Array(t.int64, 2, "C")
    return t.void(
        t.int64, t.int64, clocks, *(given,) * 4, t.Array(t.boolean, 1, "A", readonly=True), *(longs,) * 5, flags, tables
    )


@inner
def lower_median(a, n):
    """Of the first n, which change places; 0 of none."""
    if not n:
        return np.int64(0)
    k, low, high = (n - 1) // 2, 0, n - 1
    while low < high:
        pivot, i, j = a[(low + high) // 2], low, high
        while i <= j:
            while a[i] < pivot:
                i += 1
            while a[j] > pivot:
                j -= 1
            if i <= j:
                a[i], a[j] = a[j], a[i]
                i, j = i + 1, j - 1
        if k <= j:
            high = j
        elif k >= i:
            low = i
        else:
            break
    return a[k]


@inner
def take(time, vote, last):
    """The step (from the vote before, 0: there is none) and by how much its series moved on, at most twice the `last` step."""
    step = max(time - vote, 0) if vote else 0
    return step, min(step, 2 * last) if last > 0 else step


@inner
def count(clocks, columns, reached, counted, fresh, some, progress):
    """Progress at a border: the lower median of how far those moved on that voted anew since the one before."""
    gone = 0
    for c in range(len(columns)):
        if fresh[c] and reached[c] > counted[c]:
            some[gone] = reached[c] - counted[c]
            gone += 1
        counted[c] = reached[c]
    return progress + lower_median(some, gone)


@inner
def vote(clocks, columns, votes, steps, fresh, some, progress):
    """Who votes at a border, and how many; their votes are in `some`."""
    voters = 0
    for c in range(len(columns)):
        clock = clocks[columns[c]]
        if fresh[c]:
            clock.at, fresh[c] = max(clock.at, progress), False
        clock.votes = votes[c] > 0 and progress - clock.at <= max(LATELY, STEPS * steps[c])
        if clock.votes:
            some[voters] = votes[c]
            voters += 1
    return voters


def run(
    first,
    spacing,
    clocks,
    columns,
    rows,
    places,
    times,
    vouched,
    column,
    block,
    steps,
    before,
    event_times,
    changed,
    course,
):
    """Move S series on over n observations and K borders among and behind them, in place.

    Parameters
    ----------
    first, spacing
        The first border as a count of the partition's observations, and how far apart they are.
    clocks : (rows,) of DTYPE
    columns : (S,)
        Rows of the series, those of the observations among them.
    rows, places, times, vouched : (n,)
        Of each observation: its series' row, the how-manyeth of the partition it is, event time, and whether it is vouched for.
    column, block, steps : (n,)
        Takes its series' place in `columns`, how many borders lie before it, and the step from the vote before, if it is vouched for.
    before : (S,)
        Takes the votes before.
    event_times : (n,)
        Takes the event time after each.
    changed : (S,)
        Is set where any of it changed.
    course : (3, K + 1)
        Takes event time, progress and how many vote, before and at each border; the first column is given.
    """
    S, n, K = len(columns), len(rows), course.shape[1] - 1
    votes, last, some = np.empty(S, np.int64), np.empty(S, np.int64), np.empty(S, np.int64)
    reached, counted, fresh = np.zeros(S, np.int64), np.empty(S, np.int64), np.empty(S, np.bool_)
    place, voted = np.empty(len(clocks), np.int64), np.empty(S, np.uint8)
    for c in range(S):
        clock = clocks[columns[c]]
        place[columns[c]], before[c], votes[c], last[c] = c, clock.vote, clock.vote, clock.step
        counted[c], fresh[c], voted[c] = -clock.moved, clock.fresh != 0, clock.votes
        changed[c] |= fresh[c]
    k, moved_on = 0, True
    for i in range(n + 1):
        while k < K and (i == n or first + k * spacing <= places[i]):
            now, progress, voters = course[NOW, k], course[PROGRESS, k], course[VOTERS, k]
            if moved_on:
                progress = count(clocks, columns, reached, counted, fresh, some, progress)
                voters = vote(clocks, columns, votes, last, fresh, some, progress)
                if now or progress >= LATELY:
                    now = max(now, lower_median(some, voters))
            k, moved_on = k + 1, False
            course[NOW, k], course[PROGRESS, k], course[VOTERS, k] = now, progress, voters
        if i == n:
            break
        c = place[rows[i]]
        column[i], block[i], steps[i], changed[c] = c, k, 0, True
        clocks[rows[i]].heard_at = course[NOW, k] if course[NOW, k] > 0 else times[i]
        if vouched[i]:
            steps[i], moves = take(times[i], votes[c], last[c])
            reached[c] += moves
            votes[c], last[c], fresh[c], moved_on = times[i], steps[i], True, True
    for c in range(S):
        clock = clocks[columns[c]]
        clock.vote, clock.step, clock.moved, clock.fresh = votes[c], last[c], reached[c] - counted[c], fresh[c]
        changed[c] |= clock.votes != voted[c]
    for i in range(n):
        follows = block[i] < K and first + block[i] * spacing == places[i] + 1
        event_times[i] = course[NOW, block[i] + follows]
