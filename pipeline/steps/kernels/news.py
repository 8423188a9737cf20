"""What is known of each accepted observation before it is judged (`pipeline.steps.judgement`), in log order: the function that is compiled."""

from __future__ import annotations

import numpy as np

from detectors.budget_threshold import BUDGET
from detectors.compiling import inner
from detectors.kernels.budget import rows_of
from pipeline.steps.clock.policy import APART
from pipeline.steps.judgement import LONG_AFTER, STEPS


def signature():
    """Of `run`."""
    import numba
    from numba import types as t

    def of(kind, dimensions=1):
        return t.Array(kind, dimensions, "A", readonly=True, aligned=False)

    def field(kind, dimensions=1):
        return t.Array(kind, dimensions, "A", aligned=False)

    i8 = t.int64
    return t.void(
        t.Array(numba.from_dtype(BUDGET), 1, "C"),
        *(of(i8),) * 3,
        of(t.float64, 2),
        *(of(i8),) * 3,
        of(i8, 2),
        *(field(i8),) * 3,
        field(i8, 2),
        field(t.uint8, 2),
        *(t.Array(t.boolean, 1, "C"),) * 2,
        t.Array(t.float64, 1, "C"),
        t.Array(t.float64, 2, "C"),
    )


@inner
def usual(steps, nth, step):
    """The median of the first steps of a series, this one the nth of them."""
    steps[nth] = step
    return np.sort(steps[: nth + 1])[(nth + 1) // 2]


@inner
def another(step, before):
    """Whether a usual step that was found is not like the one before."""
    return step > 0 and not before - before // APART <= step <= before + before // APART


def run(
    budgets, rows, times, ordinals, values, which, living, places, changes, until, step, last, steps, negative, news, anew, budget, floor
):  # fmt: skip
    """Look at A observations in log order.

    Parameters
    ----------
    budgets : (K,) of BUDGET
    rows, times, ordinals, values
        (A,) rows of their series, event times and ordinals; values (A, C).
    which, living : (A,)
        Which budget holds, and how many series live in the stream; one for all: the first, and so many.
    places, changes : (A,), (L, 3)
        Which of the batch each is; and from which on another usual step was found, of whose row, with the step in ms.
    until, step, last, steps, negative
        Fields of the histories.
    news, anew, budget, floor
        (A,) take whether it is news, whether the context begins anew, rows of the series per false alert; (A, C) takes what a band does not go below.
    """
    change = 0
    for a in range(len(rows)):
        r, time = rows[a], times[a]
        if ordinals[a] <= STEPS + 1 and not until[r]:
            if ordinals[a] > 1:
                step[r] = usual(steps[r], ordinals[a] - 2, time - last[r])
            last[r] = time
        while change < len(changes) and changes[change, 0] <= places[a]:
            _, of, found = changes[change]
            if another(found, step[of]):
                step[of] = found
            change += 1
        news[a] = not until[r] or time > until[r]
        anew[a] |= ordinals[a] == 1 and until[r] != 0 and step[r] > 0 and time - until[r] > LONG_AFTER * step[r]
        k = which[a] if len(which) and which[a] < len(budgets) else 0
        budget[a] = rows_of(budgets[k], np.float64(step[r]), living[a if len(living) > 1 else 0] if not k else 1)
        for c in range(values.shape[1]):
            negative[r, c] |= values[a, c] < 0
            floor[a, c] = -np.inf if negative[r, c] else 0.0
