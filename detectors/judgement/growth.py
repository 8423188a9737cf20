"""Growth by so many per cent a row, seen over days to years: such a series is judged by its logarithm, in which the growth is a line and the noise is even.

A level with a slope moves only with every 16th row. Of seconds to hours that is often; of months it is 16 months, in which what grows by 2 % a month has left
its line. Which of the two a history is nearer to is found as Box and Cox do (1964), with trimmed sizes in the place of squares: one wild row decides nothing.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from detectors.judgement import yearly

Floats = NDArray[np.float64]
Flags = NDArray[np.bool_]
LEAST_ROWS = 24
LEAST_STEP = 0.9 * 86_400_000
"""ms: days and longer."""
DAY = 86_400_000
COARSEST_OF_WEEK, LEAST_WEEKS = 1.5 * DAY, 6
"""Rows up to this step, ms, have days of the week; weeks of history that show them."""
GROWN, GROWN_SEASONED = float(np.log(1.5)), float(np.log(1.2))
"""By which a history must have grown or shrunk from its first to its last row: without a season, of the week or the year, that it shows, and with it."""
CLEARLY, OF_ALL = 0.1, 2.0
"""By how much the logarithm must be the likelier, a row; where a season is taken out, that is enough of all rows together: what is left of one may look like either."""
LOWEST = 40.0
"""Units of the logarithm below the history's middle: what is lower, zero and below too, counts as this low."""
CHANNELS = 16
"""Of a series, that can be so judged: one bit each."""
_SURELY = 8.0
"""Of a band in logarithms: wider than this says nothing."""


def grows(times: NDArray[np.int64], values: Floats) -> Flags:
    """Which channels (C,) of a history (n, C), at event times (n,), ms, are judged by their logarithm."""
    out = np.zeros(values.shape[1], np.bool_)
    step = float(np.median(np.diff(times))) if len(times) > 1 else 0.0
    if len(times) < LEAST_ROWS or step < LEAST_STEP:
        return out
    of_year = yearly.shows(times, step)
    parts = yearly.parts(times, seasoned=of_year)
    of_week = step < COARSEST_OF_WEEK and len(times) >= LEAST_WEEKS * 7
    if of_week:
        parts = np.concatenate([parts, _weekdays(times)], axis=1)
    seasoned = of_year or of_week
    grown, clearly = (GROWN_SEASONED, min(CLEARLY, OF_ALL / len(times))) if seasoned else (GROWN, CLEARLY)
    for c in range(min(len(out), CHANNELS)):
        x = values[:, c]
        if (x <= 0.0).any():
            continue
        logs = np.log(x)
        as_it_is, _ = _off(x, parts)
        by_logs, slope = _off(logs, parts)
        likelier = np.log(as_it_is + 1e-300) - np.log(by_logs + 1e-12) - logs.mean()
        out[c] = abs(slope) * (len(x) - 1) >= grown and likelier > clearly
    return out


def _weekdays(times: NDArray[np.int64]) -> Floats:
    """Which day of the week, but one of them, each row (n,) is of (n, 6)."""
    return np.asarray((times // DAY % 7)[:, None] == np.arange(1, 7), np.float64)


def _off(x: Floats, parts: Floats) -> tuple[float, float]:
    """Mean distance, without the tenth that is farthest, of a history (n,) from what it is made of, and its slope a row."""
    found = yearly.least_absolute(x, parts)
    left = np.abs(x - parts @ found)
    return float(np.sort(left)[: -(-9 * len(x) // 10)].mean()), float(found[1])


def taken(values: Floats, logs: Flags, least: Floats) -> Floats:
    """Values (n, C) as they are judged: logarithms where `logs` says so, down to `least`; each (n, C) or (C,)."""
    positive = np.where(values <= 0.0, 1e-300, values)
    return np.asarray(np.where(logs, np.maximum(np.log(np.where(logs, positive, 1.0)), least), values))


def told(expected: Floats, band: Floats, logs: Flags) -> tuple[Floats, Floats]:
    """The middle and half the width (n, C) of a band of `taken` values, in the series' own unit."""
    half = np.where(logs, np.minimum(band, _SURELY), 0.0)
    middle = np.exp(np.where(logs, np.clip(expected, -700.0, 690.0), 0.0))
    return np.where(logs, middle * np.cosh(half), expected), np.where(logs, middle * np.sinh(half), band)
