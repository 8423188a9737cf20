"""Windows of a whole array, covariates of the time of day and week, and a series' usual step.

The stream (`pipeline.steps.windows`) makes the same windows from arriving observations and takes its covariates from here, so that
a detector sees in production what it was trained on.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache

import numpy as np
from numpy.typing import NDArray

from detectors.base import DetectorError

MINUTE = 60_000
WEEK = 7 * 24 * 60
"""Minutes of a week."""
MONDAY = 3 * 24 * 60
"""The epoch was a Thursday; minute 0 is Monday, 00:00 UTC."""
_PERIODS = {"day": 24 * 60, "week": WEEK}

REGULAR_SHARE = 0.8
REGULAR_WITHIN = 0.1


def minutes_of_week(timestamps: NDArray[np.int64]) -> NDArray[np.uint16]:
    """The minute of the week (UTC, 0 = Monday 00:00) of event times in ms, same shape.

    All that a covariate depends on: two bytes remember it for each position of a window.
    """
    return ((timestamps // MINUTE + MONDAY) % WEEK).astype(np.uint16)


@cache
def covariate_table(time_features: tuple[str, ...]) -> NDArray[np.float32]:
    """Covariates of every minute of the week, (10080, F): a sine and a cosine for each of `day`, `week`.

    Raises
    ------
    DetectorError
        A time feature that is none of these.
    """
    columns = []
    for name in time_features:
        if name not in _PERIODS:
            msg = f"unknown time feature {name!r}; choose of {', '.join(_PERIODS)}"
            raise DetectorError(msg)
        phase = 2 * np.pi * (np.arange(WEEK) % _PERIODS[name]) / _PERIODS[name]
        columns += [np.sin(phase), np.cos(phase)]
    table = np.stack(columns, axis=1).astype(np.float32) if columns else np.empty((WEEK, 0), np.float32)
    table.flags.writeable = False  # it is shared
    return table


def covariates(timestamps: NDArray[np.int64], time_features: Sequence[str]) -> NDArray[np.float32]:
    """Covariates (N, F) of event times (N,), to the minute.

    Examples
    --------
    >>> covariates(np.array([1404172800000]), ["day"])  # midnight UTC
    array([[0., 1.]], dtype=float32)
    """
    return covariate_table(tuple(time_features))[minutes_of_week(timestamps)]


def windows(
    values: NDArray[np.float64] | NDArray[np.float32], T: int, known: NDArray[np.float32] | None = None
) -> NDArray[np.float32]:
    """All windows of length T of scaled values (N, C) with covariates `known` (N, F) appended: (N - T + 1, T, C + F).

    A read-only view of one (N, C + F) array: a million windows cost no more than their rows. Empty where N < T.

    Examples
    --------
    >>> windows(np.arange(4.0)[:, None], 3)[:, :, 0]
    array([[0., 1., 2.],
           [1., 2., 3.]], dtype=float32)
    """
    rows = np.asarray(values, np.float32)
    if known is not None:
        rows = np.concatenate([rows, np.asarray(known, np.float32)], axis=1)
    if len(rows) < T:
        return np.empty((0, T, rows.shape[1]), np.float32)
    return strided(np.ascontiguousarray(rows), T)


def strided(rows: NDArray[np.float32], T: int) -> NDArray[np.float32]:
    """Windows (N - T + 1, T, W) over contiguous rows (N, W), as a read-only view; element (n, t) is row n + t."""
    N, W = rows.shape
    step = rows.strides[0]
    return np.lib.stride_tricks.as_strided(rows, (N - T + 1, T, W), (step, step, rows.strides[1]), writeable=False)


def infer_interval(timestamps: NDArray[np.int64]) -> int:
    """The usual step of event times (N,), in ms, or 0 where there is none.

    The median of the steps forward, if at least 80 % of them lie within 10 % of it. (The stream learns the interval of a
    series that it does not know with the same two figures, `pipeline.steps.windows`.)

    Examples
    --------
    >>> infer_interval(np.array([0, 300, 600, 900, 1200, 2400]))
    300
    """
    steps = np.diff(timestamps)
    steps = steps[steps > 0]
    if len(steps) == 0:
        return 0
    usual = int(np.median(steps))
    within = np.abs(steps - usual) <= usual * REGULAR_WITHIN
    return usual if within.mean() >= REGULAR_SHARE else 0
