"""The season of a year, of rows of a week to a quarter: two years of history show it.

Two waves (harmonics) of the year beside a line, by least absolute errors, so a wild row decides nothing; then of each bin of the year what is left, as far as its
few visits can vouch for it. It lies where finer series have their day.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
YEAR = 31_557_600_000
LEAST_STEP = 6 * 86_400_000
"""Usual step, ms, from which on there is neither day nor week, but may be a year."""
LEAST_YEARS = 1.95
WAVES = 2
BEFORE = 4.0
"""Visits of a bin that the waves count for."""
_TURNS = 8


def shows(times: NDArray[np.int64], step: float) -> bool:
    """Whether rows at these times (n,), ms, of this usual step show a season of the year."""
    seasonal = LEAST_STEP <= step <= YEAR / 4
    return seasonal and bool(times[-1] - times[0] + step >= LEAST_YEARS * YEAR)


def bins(step: float) -> int:
    """Of a year, for rows of this usual step, ms."""
    return round(YEAR / step)


def at(local: NDArray[np.int64], count: int) -> NDArray[np.intp]:
    """Which of so many bins of the year local times (n,), ms, are in; the first of a month, and its last, are in the middle of one of twelve."""
    return ((local + YEAR // (2 * count)) % YEAR * count // YEAR).astype(np.intp)


def parts(times: NDArray[np.int64], *, seasoned: bool) -> Floats:
    """What a history at event times (n,) may be made of (n, 2 or 6): a line, and the year's waves."""
    rows = np.arange(len(times), dtype=np.float64)
    found = [np.ones(len(rows)), rows - rows.mean()]
    if seasoned:
        turn = 2 * np.pi * (times % YEAR / YEAR)
        found += [wave(k * turn) for k in range(1, WAVES + 1) for wave in (np.sin, np.cos)]
    return np.stack(found, axis=1)


def least_absolute(x: Floats, made_of: Floats) -> Floats:
    """How much (p,) of each part (n, p) a history (n,) has, by least absolute errors."""
    weights = np.ones(len(x))
    found: Floats = np.zeros(made_of.shape[1])
    for _ in range(_TURNS):
        weighted = made_of * weights[:, None]
        found[:] = np.linalg.lstsq(weighted.T @ made_of, weighted.T @ x, rcond=None)[0]
        left = np.abs(x - made_of @ found)
        weights = 1.0 / np.maximum(left, 1e-3 * left.mean() + 1e-300)
        weights /= weights.max()
    return np.asarray(found)


def waves(x: Floats, local: NDArray[np.int64], count: int) -> Floats:
    """The season (count, C) of a history (n, C) at local times (n,), by its waves."""
    made_of = parts(local, seasoned=True)
    middles = (np.arange(count) * (YEAR / count)).astype(np.int64)
    of_bins = parts(middles, seasoned=True)[:, 2:]
    return np.stack([of_bins @ least_absolute(column, made_of)[2:] for column in x.T], axis=1)


def beside(x: Floats, where: NDArray[np.intp], count: int) -> tuple[Floats, Floats]:
    """What of a history's rest (n, C), whose rows are in bins `where` (n,), each bin has (count, C), none where few visits say so; and a row's share (count, 1) in it.

    Of two middle visits the one nearer to none: a spike in one of two years is no season.
    """
    found, visits = np.zeros((count, x.shape[1])), np.bincount(where, minlength=count)[:, None]
    for b in np.flatnonzero(visits >= 2):
        ordered = np.sort(x[where == b], axis=0)
        low, high = ordered[(len(ordered) - 1) // 2], ordered[len(ordered) // 2]
        found[b] = np.maximum(low, 0.0) + np.minimum(high, 0.0)
    total = visits + BEFORE
    return np.asarray(found * visits / total), np.asarray(1.0 / total)
