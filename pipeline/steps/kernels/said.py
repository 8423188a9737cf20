"""What the judgement says of each accepted observation, as columns (`pipeline.steps.judgement.Judged`): the function that is compiled."""

from __future__ import annotations

import numpy as np

from detectors.compiling import inner


def signature():
    """Of `run`."""
    from numba import types as t

    def of(kind, dimensions=1):
        return t.Array(kind, dimensions, "A", readonly=True)

    f8, flags = t.float64, t.Array(t.boolean, 1, "C")
    column, table = t.Array(f8, 1, "C"), t.Array(f8, 2, "C")
    return t.void(
        flags,
        *(of(f8),) * 2,
        *(of(t.boolean),) * 2,
        *(of(f8, 2),) * 3,
        table,
        flags,
        *(column,) * 2,
        *(table,) * 3,
    )


@inner
def at_least(x, least):
    """`np.maximum(x, least)`: NaN stays."""
    return x if x > least or np.isnan(x) else least


def run(
    new, scores, strengths, anomalous, judged, bands, widths, parts, floor, live, score, alarm, expected, margin, shares
):
    """Lay out what is said of the news among A observations, and that nothing is said of the others.

    Parameters
    ----------
    new : (A,)
        Which are news.
    scores, strengths, anomalous, judged, bands, widths, parts
        What is said of the k news, in their order: (k,), of expected values, bands and shares (k, C).
    floor : (A, C)
        What a band does not go below.
    live, score, alarm, expected, margin, shares
        Take the columns of `Judged`.
    """
    k, C = 0, floor.shape[1]
    for a in range(len(new)):
        if not new[a]:
            live[a], score[a], alarm[a] = False, 0.0, np.nan
            expected[a], margin[a], shares[a] = np.nan, np.nan, np.nan
            continue
        strength = strengths[k]
        sound = np.isfinite(scores[k]) and np.isfinite(strength)  # of values at the end of what floats can say
        live[a], score[a] = judged[k] and sound, scores[k] if sound else 0.0
        # A series that alarmed of late has a higher bar; from 0 on is an alarm.
        if anomalous[k]:
            alarm[a] = at_least(strength, 0.0)
        else:
            alarm[a] = -at_least(-strength, 1e-9)
        for c in range(C):
            centre, half, least = bands[k, c], widths[k, c], floor[a, c]
            # Nothing below zero is expected of what was never negative; the band's upper edge stays where it is.
            if centre <= least:
                upper = centre + half - least
                centre, half = least, at_least(upper, 0.0)
            expected[a, c], margin[a, c], shares[a, c] = centre, half, parts[k, c]
        k += 1
