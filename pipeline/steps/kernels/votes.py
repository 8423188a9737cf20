"""Event time, progress and voters over observations and the borders among them (`pipeline.steps.clock.event_time`): the function that is compiled.

A border costs one look at all series where one of them moved on, and nothing where none did. Where many borders lie close together, as at the beginning
of a stream, the votes are kept in order meanwhile, and each costs what moved on since the one before.
"""

from __future__ import annotations

import numpy as np

from detectors.compiling import inner
from detectors.kernels.ordering import drop, kth, move, order, put
from pipeline.steps.clock.event_time import DTYPE, LATELY, STEPS

NOW, PROGRESS, VOTERS = range(3)
"""In `course`."""
NEVER = int(np.iinfo(np.int64).max)
MANY, CLOSE = 64, 4
"""So many borders, so many observations apart, are worth the order."""


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
    return kth(a, n, (n - 1) // 2) if n else np.int64(0)


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
        clock.votes = votes[c] > 0 and progress - clock.at <= patience(steps[c])
        if clock.votes:
            some[voters] = votes[c]
            voters += 1
    return voters


@inner
def patience(step):
    """For how long a series votes after it was heard of."""
    return max(LATELY, STEPS * step)


@inner
def ranks(clocks, columns, votes, steps, ranked, standing):
    """Put the votes in order; at which progress the first of them ends."""
    n, ends = 0, NEVER
    for c in range(len(columns)):
        clock = clocks[columns[c]]
        if clock.votes:
            ranked[n], standing[c], ends = votes[c], votes[c], min(ends, clock.at + patience(steps[c]))
            n += 1
    order(ranked, n)
    return ends


@inner
def count_some(touched, n, reached, counted, some, progress):
    """`count` where only those `touched` moved on."""
    gone = 0
    for j in range(n):
        c = touched[j]
        if reached[c] > counted[c]:
            some[gone] = reached[c] - counted[c]
            gone += 1
        counted[c] = reached[c]
    return progress + lower_median(some, gone)


@inner
def vote_some(clocks, columns, touched, n, votes, steps, fresh, ranked, standing, voters, ends, progress):
    """`vote` where only those `touched` voted anew, and the votes are in order; how many vote, and at which progress the first of them ends."""
    for j in range(n):
        c = touched[j]
        clock = clocks[columns[c]]
        clock.at, fresh[c] = max(clock.at, progress), False
        if clock.votes and votes[c] > 0:
            move(ranked, voters, standing[c], votes[c])
        elif clock.votes:
            voters = drop(ranked, voters, standing[c])
        elif votes[c] > 0:
            voters = put(ranked, voters, votes[c])
        clock.votes, standing[c], ends = votes[c] > 0, votes[c], min(ends, clock.at + patience(steps[c]))
    if progress > ends:
        ends = NEVER
        for c in range(len(columns)):
            clock = clocks[columns[c]]
            if clock.votes and progress > clock.at + patience(steps[c]):
                clock.votes = False
                voters = drop(ranked, voters, standing[c])
            elif clock.votes:
                ends = min(ends, clock.at + patience(steps[c]))
    return voters, ends


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
    close = K >= MANY and spacing <= CLOSE
    size = S if close else 0
    ranked, standing, touched = np.empty(size, np.int64), np.empty(size, np.int64), np.empty(size, np.int64)
    k, moved_on, in_order, ends, moved, median = 0, True, False, np.int64(0), 0, np.int64(0)
    for i in range(n + 1):
        while k < K and (i == n or first + k * spacing <= places[i]):
            now, progress, voters = course[NOW, k], course[PROGRESS, k], course[VOTERS, k]
            if moved_on and in_order:
                progress = count_some(touched, moved, reached, counted, some, progress)
                voters, ends = vote_some(
                    clocks, columns, touched, moved, votes, last, fresh, ranked, standing, voters, ends, progress
                )
                median = ranked[(voters - 1) // 2] if voters else np.int64(0)
            elif moved_on:
                progress = count(clocks, columns, reached, counted, fresh, some, progress)
                voters = vote(clocks, columns, votes, last, fresh, some, progress)
                median = lower_median(some, voters)
                if close:
                    in_order, ends = True, ranks(clocks, columns, votes, last, ranked, standing)
            if moved_on and (now or progress >= LATELY):
                now = max(now, median)
            k, moved_on, moved = k + 1, False, 0
            course[NOW, k], course[PROGRESS, k], course[VOTERS, k] = now, progress, voters
        if i == n:
            break
        c = place[rows[i]]
        column[i], block[i], steps[i], changed[c] = c, k, 0, True
        clocks[rows[i]].heard_at = course[NOW, k] if course[NOW, k] > 0 else times[i]
        if vouched[i]:
            if in_order and not fresh[c]:
                touched[moved] = c
                moved += 1
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
