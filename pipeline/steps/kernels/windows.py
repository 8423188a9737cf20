"""A window of scaled values and covariates, each position scaled once: functions that compiled ones call (`pipeline.steps.kernels.packing`)."""

from __future__ import annotations

import numpy as np

from detectors.compiling import inner
from detectors.scaling import ROUNDING, SMALLEST
from pipeline.steps.scales import CLIP


@inner
def put(to, of):
    """Copy."""
    for i in range(len(to)):
        to[i] = of[i]


@inner
def clipped(value):
    """What is no number stays so."""
    if value < -CLIP:
        value = -CLIP
    elif value > CLIP:
        value = CLIP
    return value


@inner
def cut(x, before, new, values, minutes, scaling, table):
    """Make a window (T * W,) of values (T, C) and minutes of the week (T,), of which all but the `new` last positions stand in the window before."""
    T, C = values.shape
    shared, W = T - new, C + table.shape[1]
    put(x[: shared * W], before[new * W :])
    for c in range(C):
        centre, scale = scaling[0, c], scaling[1, c]
        of, out = (
            values[shared:, c],
            x[shared * W + c :: W],
        )  # their places count from 0: none is looked at from the end
        for t in range(new):
            out[t] = clipped((of[t] - centre) / scale)
    for t in range(shared, len(minutes)):
        put(x[t * W + C : (t + 1) * W], table[minutes[t]])


@inner
def learn(sums, value, n):
    """Add the nth observation (C,) of a series to the mean and sum of squares (2, C) that its scaling is made of."""
    for c in range(len(value)):
        off = value[c] - sums[0, c]
        sums[0, c] += off / n
        sums[1, c] += off * (value[c] - sums[0, c])


@inner
def complete(sums, n, ranged):
    """Make centre and scale (2, C) of mean and sum of squares of n observations, see `Scales`; `ranged`: of their range."""
    for c in range(sums.shape[1]):
        centre, scale = sums[0, c], np.sqrt(sums[1, c] / n)
        if ranged:
            centre, scale = centre - 2.0 * scale, 4.0 * scale
        sums[0, c], sums[1, c] = with_floor(centre if np.isfinite(centre) else 0.0, scale)


@inner
def with_floor(centre, scale):
    """See `detectors.scaling`."""
    usable = np.isfinite(scale) and scale > max(abs(centre) * ROUNDING, SMALLEST)
    return centre, scale if usable else max(abs(centre), 1.0)
