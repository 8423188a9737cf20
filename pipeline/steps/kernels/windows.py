"""A window of scaled values and covariates, each position scaled once: functions that compiled ones call (`pipeline.steps.kernels.packing`)."""

from __future__ import annotations

import numpy as np
from numba import types
from numba.core.imputils import impl_ret_borrowed
from numba.extending import intrinsic

from detectors.compiling import inner
from detectors.scaling import ROUNDING, SMALLEST
from pipeline.steps.scales import CLIP


@intrinsic
def dense(typing, array):
    """The same array of one dimension, of which the compiler knows that nothing lies between its numbers."""

    def code(context, builder, sig, args):
        return impl_ret_borrowed(context, builder, sig.return_type, args[0])

    return types.Array(array.dtype, 1, "C", readonly=not array.mutable, aligned=array.aligned)(array), code


@inner
def is_dense(array):
    """Whether nothing lies between its numbers."""
    return array.strides[0] == array.itemsize


@inner
def put(to, of):
    """Copy."""
    if is_dense(to) and is_dense(of):
        to, of = dense(to), dense(of)
        for i in range(len(to)):
            to[i] = of[i]
    else:
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
def scaled(out, of, centre, scale):
    """Put numbers in their series' unit."""
    for t in range(len(out)):
        out[t] = clipped((of[t] - centre) / scale)


@inner
def cut(x, before, new, values, minutes, scaling, table):
    """Make a window (T * W,) of values (T, C) and minutes of the week (T,), of which all but the `new` last positions stand in the window before."""
    T, C = values.shape
    shared, W = T - new, C + table.shape[1]
    put(x[: shared * W], before[new * W :])
    for c in range(C):
        centre, scale = scaling[0, c], scaling[1, c]
        # Their places count from 0: none is looked at from the end.
        of, out = values[shared:, c], x[shared * W + c :: W]
        if is_dense(of) and is_dense(out):
            scaled(dense(out), dense(of), centre, scale)
        else:
            scaled(out, of, centre, scale)
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
