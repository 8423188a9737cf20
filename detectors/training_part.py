"""How many of a series' first rows train where nobody says; without anything of the detectors, so that it is there at once."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

SHORT = 30
"""Observations that are learnt from where there are twice as many."""
_FORTNIGHT = 14 * 86_400_000


def all_rows(n: int) -> int:
    """All of them: what is handed in is what is learnt from."""
    return n


def history_rows(times: NDArray[np.int64]) -> int:
    """How many of a recorded metric's first rows (n,) are its history: half, or two weeks where half is less.

    Never more than four fifths, so that there is something left to judge.
    """
    n, newest = len(times), np.maximum.accumulate(times)
    if not n or newest[-1] - times[0] <= _FORTNIGHT:
        return n // 2
    fortnight = int(np.searchsorted(newest, times[0] + _FORTNIGHT))
    return max(n // 2, min(fortnight, int(0.8 * n)))


def metric_training_rows(n: int) -> int:
    """NAB's probation: 15 % of a metric's n observations, 750 at most; of a short one half, up to 30, for less tells nothing."""
    return min(max(int(0.15 * n), min(n // 2, SHORT)), 750)


def table_training_rows(n: int) -> int:
    """15 % of a table's n rows."""
    return int(0.15 * n)
