"""Where the numbers of a row lie in its array `w`, and what all of the compiled code is made of.

`W_...` and `OWN` are places in `w`, `OWN_...` those of a channel behind its beginning, `OWN + k * WIDE`.
"""

from __future__ import annotations

import math
from typing import Any

import numba
import numpy as np
from numpy.typing import NDArray

from detectors.compiling import OPTIONS
from detectors.judgement.alarm import EDGE, SHAPE
from detectors.judgement.clock import COARSE, DAY, DAY_BINS, SETTLED, SETTLED_DAYS, WEEK, WEEK_BINS
from detectors.judgement.kernel import field
from detectors.judgement.ranking import ONE, SEVERAL
from detectors.judgement.short_state import CENTRES
from detectors.judgement.state import BLOCK
from detectors.judgement.terms import (
    ALARM_OF_SCALED,
    ALARMS,
    CLEANED,
    CLOCK,
    GIVEN,
    OF_ONE_ROW,
    PLAIN,
    QUARTER,
    SCALED,
    SPREAD,
    TERMS,
)
from detectors.judgement.yearly import YEAR

Array = NDArray[Any]
_numba: Any = numba  # its types know fewer options than it has
inner = _numba.njit(no_cpython_wrapper=True, **OPTIONS)

S, A, T = len(SCALED), len(ALARMS), len(TERMS)

# One array of the numbers of a row; nothing in it but the level of the last budget outlives the row.
W_U, W_BEYOND, W_LEVELS, W_NEAR, W_LEFT = 0, T, T + A, T + 2 * A, T + 2 * A + CENTRES
W_BUDGET, W_BAR, W_SPEAKS = W_LEFT + 3 * BLOCK, W_LEFT + 3 * BLOCK + 2, W_LEFT + 3 * BLOCK + 3
W_PARTS = W_SPEAKS + T
OWN = W_PARTS + BLOCK
OWN_X, OWN_LEVEL, OWN_EXPECTED, OWN_FORECAST, OWN_SIZE, OWN_OUT, OWN_SPEAKS = 0, 1, 2, 3, 4, 4 + S, 4 + 2 * S
WIDE = 4 + 3 * S

I_SPREAD, I_QUARTER, I_GIVEN = SCALED.index(SPREAD), SCALED.index(QUARTER), SCALED.index(GIVEN)
I_PLAIN, I_CLEANED, I_CLOCK = SCALED.index(PLAIN), SCALED.index(CLEANED), SCALED.index(CLOCK)
TERM_OF_ALARM, TERM_OF_SCALED, ALARM_OF_TERM = np.array(ALARMS), np.array(SCALED), np.array(ALARM_OF_SCALED)
NARROW_OF = np.array([OF_ONE_ROW.index(a) if a in OF_ONE_ROW else -1 for a in range(A)])
"""Place among those of one row of each of the alarm's terms, or -1."""
ALONE = A - 2
"""Alarms of one channel."""
_MONDAY, _LN10 = 4 * DAY, math.log(10.0)
_POWERS = 2.0 ** np.array([-24, *range(-24, 7)])
ONE_TOTAL, SEVERAL_TOTAL = float(ONE.sum()), float(SEVERAL.sum())


@inner
def half(bits):
    """Value of a 16-bit float, finite."""
    exponent, fraction = (bits >> 10) & 31, bits & 1023
    size = (fraction if exponent == 0 else 1024 + fraction) * _POWERS[exponent]
    return -size if bits >> 15 else size


@inner
def half_bits(value):
    """Bits of the nearest 16-bit float, ties to even; the largest finite one where it is beyond."""
    size = abs(value)
    if size >= 65504.0:
        bits = 0x7BFF
    elif size < 2.0**-14:
        bits = int(np.rint(size * 16777216.0))
    else:
        fraction, exponent = math.frexp(size)
        bits = ((exponent + 14) << 10) + int(np.rint(fraction * 2048.0)) - 1024
    return bits | 0x8000 if value < 0 else bits


@inner
def between(x, low, high):
    """x, bounded."""
    return min(max(x, low), high)


@inner
def cluster(a, rows_a_day):
    """How many rows of an alarm's term go together, see `terms.rows_of`; `a` counts in ALARMS."""
    if a == 2 or a == 4 or a == 6:
        return 4.0
    return between(rows_a_day / 4.0, 12.0, 500.0) / 2.0 if a == 3 else 1.0


@inner
def anew(a, rows_a_day):
    """After how many rows an alarm's term says something new, see `terms.rows_anew`."""
    return 4.0 * cluster(a, rows_a_day) if a == 3 else cluster(a, rows_a_day)


@inner
def stands(rows_a_day):
    """See `clock.Bins.stands`."""
    return max(SETTLED, int(np.rint(SETTLED_DAYS * rows_a_day if rows_a_day <= COARSE else rows_a_day)))


@inner
def far(shape, decades):
    """See `alarm._far`."""
    return (math.exp(shape * decades * _LN10) - 1.0) / shape


@inner
def reach(f8, h, a, t, rarity):
    """See `alarm.reach`, of one of the alarm's terms and a term that is counted with it: in units of the latter's scale."""
    over = far(SHAPE, max(rarity - EDGE, 0.0))
    return (f8[h + field.TAILS + 2 * a] + f8[h + field.TAILS + 2 * a + 1] * over) * f8[h + field.USUAL + t]


@inner
def shares(f8, c):
    """Weights of the three forecasts of the clock."""
    a, b, d = f8[c + field.ERRORS], f8[c + field.ERRORS + 1], f8[c + field.ERRORS + 2]
    least = min(a, b, d) + 1e-9
    a, b, d = least / (a + 1e-9), least / (b + 1e-9), least / (d + 1e-9)
    a, b, d = a * a * a * a, b * b * b * b, d * d * d * d
    total = a + b + d
    return a / total, b / total, d / total


@inner
def bin_of(local, period, bins, most):
    """Bin of a local time in a day or a week; of records that say what cannot be, within the array all the same."""
    return (local - _MONDAY) % period * min(np.int64(bins), most) // period


@inner
def in_week(local, rows_a_day, bins, lines):
    """Where a local time is in a week: bins, and how far from the one to the other; see `clock.Week`."""
    own = bin_of(local, WEEK, bins, WEEK_BINS)
    if lines == 0:
        return own, own, 0.0
    count = max(min(np.int64(bins), WEEK_BINS), 1)
    place = ((local - _MONDAY) % WEEK + DAY / rows_a_day / 2.0) * count / WEEK - 0.5
    low = math.floor(place)
    return np.int64(low) % count, np.int64(low + 1.0) % count, place - low


@inner
def by_week(u2, at, low, high, share):
    """What a profile has there."""
    return half(u2[at + low]) * (1.0 - share) + half(u2[at + high]) * share if share > 0.0 else half(u2[at + low])


@inner
def day_of(local, rows_a_day, bins):
    """Bin of a local time in a day; of rows of a day or longer, where there are bins, in a year, see `yearly.at`."""
    bins = min(np.int64(bins), DAY_BINS)
    if rows_a_day <= COARSE and bins > 1:
        return (local + YEAR // (2 * bins)) % YEAR * bins // YEAR
    return (local - _MONDAY) % DAY * bins // DAY


@inner
def shifted(f4, at, n, x):
    """The oldest of n leaves, `x` enters."""
    row = f4[at : at + n]
    for i in range(n - 1):
        row[i] = row[i + 1]
    row[n - 1] = x
