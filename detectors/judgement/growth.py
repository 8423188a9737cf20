"""Growth by so many per cent a row, seen over weeks, months and years: such a series is judged by its logarithm, in which the growth is a line and the noise is even.

A level with a slope moves only with every 16th row. Of seconds to days that is often; of months it is 16 months, in which what grows by 2 % a month has left
its line. Which of the two a history is nearer to is found as Box and Cox do (1964), with trimmed sizes in the place of squares: one wild row decides nothing.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from detectors.judgement.clock import YEAR

Floats = NDArray[np.float64]
Flags = NDArray[np.bool_]
LEAST_STEP = 6 * 86_400_000
"""Usual step, ms, from which on there is neither day nor week, and a series may be judged by its logarithm."""
LEAST_ROWS = 24
GROWN = float(np.log(1.5))
"""By which a history must have grown or shrunk from its first to its last row."""
CLEARLY = 0.1
"""By how much the logarithm must be the likelier, a row."""
LOWEST = 40.0
"""Units of the logarithm below the history's middle: what is lower, zero and below too, counts as this low."""
CHANNELS = 16
"""Of a series, that can be so judged: one bit each."""
_TURNS = 8
_SURELY = 8.0
"""Of a band in logarithms: wider than this says nothing."""


def grows(times: NDArray[np.int64], values: Floats) -> Flags:
    """Which channels (C,) of a history (n, C), at event times (n,), ms, are judged by their logarithm."""
    out = np.zeros(values.shape[1], np.bool_)
    if len(times) < LEAST_ROWS or float(np.median(np.diff(times))) < LEAST_STEP:
        return out
    parts = _seasoned(times)
    for c in range(min(len(out), CHANNELS)):
        x = values[:, c]
        if (x <= 0.0).any():
            continue
        logs = np.log(x)
        as_it_is, _ = _off(x, parts)
        by_logs, slope = _off(logs, parts)
        likelier = np.log(as_it_is + 1e-300) - np.log(by_logs + 1e-12) - logs.mean()
        out[c] = abs(slope) * (len(x) - 1) >= GROWN and likelier > CLEARLY
    return out


def _seasoned(times: NDArray[np.int64]) -> Floats:
    """What a history at event times (n,) may be made of (n, 2 or 6): a line, and the year's first two harmonics where two years show them."""
    at = np.arange(len(times), dtype=np.float64)
    parts = [np.ones(len(at)), at - at.mean()]
    if times[-1] - times[0] >= 2 * YEAR and 4 * float(np.median(np.diff(times))) <= YEAR:
        turn = 2 * np.pi * ((times - times[0]) / YEAR)
        parts += [wave(k * turn) for k in (1, 2) for wave in (np.sin, np.cos)]
    return np.stack(parts, axis=1)


def _off(x: Floats, parts: Floats) -> tuple[float, float]:
    """Mean distance, without the tenth that is farthest, of a history (n,) from what it is made of, by least absolute errors, and its slope a row."""
    left = np.zeros(len(x))
    weights = np.ones(len(x))
    found = np.zeros(parts.shape[1])
    for _ in range(_TURNS):
        weighted = parts * weights[:, None]
        found[:] = np.linalg.lstsq(weighted.T @ parts, weighted.T @ x, rcond=None)[0]
        left[:] = np.abs(x - parts @ found)
        weights[:] = 1.0 / np.maximum(left, 1e-3 * left.mean() + 1e-300)
        weights /= weights.max()
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
