"""Event time, progress and voters at the borders of `pipeline.steps.clock.event_time`, one border after the other: the function that is compiled.

A border costs one look at all series where one of them moved on, and nothing where none did.
"""

from __future__ import annotations

import numpy as np

from detectors.compiling import inner

NOW, PROGRESS, LATELY, STEPS = range(4)
"""In `facts`: event time and progress before, and how long a series votes: ms of progress, or so many of its own steps."""


def signature():
    """Of `run`."""
    from numba import types as t

    longs, flags = t.Array(t.int64, 1, "A", aligned=False), t.Array(t.uint8, 1, "A", aligned=False)
    tables = t.Array(t.int64, 2, "C")
    return t.void(*(longs,) * 5, t.Array(t.boolean, 1, "A"), *(longs,) * 5, *(flags,) * 2, tables, tables)


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


def run(facts, column, block, times, steps, vouched, moves, vote, step, moved, at, votes, fresh, newest, course):
    """Move S series on over n observations and K borders among and behind them.

    Parameters
    ----------
    facts : (4,)
    column, block, times, steps, vouched, moves : (n,)
        Of each observation: its series, how many borders lie before it, event time, the step from the vote before, whether it is vouched for, and how far its series
        moved on up to it.
    vote, step : (S,)
        Where each series was before.
    moved, at, votes, fresh : (S,)
        Fields that are moved on to the last border, where there is one.
    newest : (2, S)
        Takes which observation is the newest vouched one up to the last border, and of all, from 1; 0: none.
    course : (3, K + 1)
        Takes event time, progress and how many vote, before and at each border; the first column is given.
    """
    S, n, K = len(vote), len(column), course.shape[1] - 1
    now_vote, now_step, so_far = np.empty(S, np.int64), np.empty(S, np.int64), np.zeros(S, np.int64)
    by, chosen, anew = np.empty(S, np.int64), np.empty(S, np.int64), np.zeros(S, np.bool_)
    for c in range(S):
        newest[0, c] = newest[1, c] = 0
        now_vote[c], now_step[c] = vote[c], step[c]
        if K:
            so_far[c], anew[c] = -moved[c], fresh[c] != 0
    i, progress, event_time, voters = 0, facts[PROGRESS], facts[NOW], course[2, 0]
    for k in range(K):
        changed = k == 0
        while i < n and block[i] <= k:
            if vouched[i]:
                c = column[i]
                newest[0, c] = i + 1
                anew[c] = changed = True
            i += 1
        if changed:
            gone = 0
            for c in range(S):
                if anew[c] or k == 0:
                    o = newest[0, c] - 1
                    reached = moves[o] if o >= 0 else 0
                    if o >= 0:
                        now_vote[c], now_step[c] = times[o], steps[o]
                    if anew[c] and reached > so_far[c]:
                        by[gone] = reached - so_far[c]
                        gone += 1
                    so_far[c] = reached
            progress += lower_median(by, gone)
            voters = 0
            for c in range(S):
                if anew[c]:
                    at[c], anew[c] = max(at[c], progress), False
                votes[c] = now_vote[c] > 0 and progress - at[c] <= max(facts[LATELY], facts[STEPS] * now_step[c])
                if votes[c]:
                    chosen[voters] = now_vote[c]
                    voters += 1
            if facts[NOW] or progress >= facts[LATELY]:
                event_time = max(event_time, lower_median(chosen, voters))
        course[0, k + 1], course[1, k + 1], course[2, k + 1] = event_time, progress, voters
    for c in range(S):
        newest[1, c] = newest[0, c]
        if K:
            moved[c], fresh[c] = -so_far[c], 0
    while i < n:
        if vouched[i]:
            newest[1, column[i]] = i + 1
        i += 1
