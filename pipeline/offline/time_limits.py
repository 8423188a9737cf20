"""A file's own limits for the time policy, in place of those of a live stream: its steps say what a jump is.

A live stream holds back an observation a day ahead of the one before, because a clock may be wrong; in a monthly file every row is that. So
a jump, in a file, is ten times the longest step that comes more than now and then: the third longest of a series, or the longest of its
last hundredth. A wrong time or two among the rows are still held back. And all series of a file are kept to its end, however many. So is the false-alarm budget.
"""

from __future__ import annotations

from collections.abc import Iterable
from datetime import timedelta
from typing import Any

import numpy as np
from numpy.typing import NDArray

from detectors import budget
from pipeline.settings import LONGEST, StreamSettings
from producers.datasets import Dataset, Series
from producers.datasets.base import usual_step

JUMP = 10
"""Usual long steps from which a step is a jump."""
_LIVE = StreamSettings.model_fields


def of_file(data: Dataset) -> dict[str, Any]:
    """Settings of a stream that a recorded data set needs; what a live stream has by default is never made stricter."""
    parts = list(data.series().values())
    some = [s for s in parts if len(s)]
    first = min((int(s.timestamps.min()) for s in some), default=0)
    last = max((int(s.timestamps.max()) for s in some), default=0)
    limits: dict[str, Any] = {
        "max_series": max(len(parts), _LIVE["max_series"].default),
        "idle_after": _within(last - first, _LIVE["idle_after"].default),
    }
    if data.kind == "metric":
        limits["future_limit"] = _jump(some)
    return limits


def budget_rows(data: Dataset) -> int:
    """Rows per false alert in a file of metrics in which the usual budget says nothing; 0 where it does.

    One alert a month is a level by the step of a series. In a file of seconds it is one that nothing in the file can reach: a month of them has 500 million
    rows of 5 ms. So where a month holds more rows than the file, and than `UNTIMED_ROWS`, one alert in so many rows is meant.
    """
    if data.kind != "metric":
        return 0
    month = budget.parse(budget.METRIC)
    some = [s for s in data.series().values() if len(s)]
    once = max(max(map(len, some), default=0), int(budget.UNTIMED_ROWS))
    in_a_month = budget.budget_rows(month, [usual_step(np.sort(s.timestamps)) for s in some])
    return once if len(some) and in_a_month.min() > once else 0


def in_order(series: Series) -> NDArray[np.bool_]:
    """(n,) whether a row is no older than all before it; rows that jump ahead and back again, by a wrong clock, do not count as newest."""
    times = series.timestamps
    jump = round(_jump([series]).total_seconds() * 1000)
    steps = np.diff(times)
    alone = np.zeros(len(times), np.bool_)
    alone[1:-1] = (steps[:-1] > jump) & (steps[1:] < -jump)
    newest = np.maximum.accumulate(np.where(alone, times.min(initial=0), times))
    return np.asarray((times >= newest) | alone)


def _jump(parts: Iterable[Series]) -> timedelta:
    return _within(JUMP * _long_step(parts), _LIVE["future_limit"].default)


def _within(ms: int, live: timedelta) -> timedelta:
    """So long, but no shorter than in a live stream and no longer than settings may be."""
    return min(max(timedelta(milliseconds=ms), live), LONGEST)


def _long_step(parts: Iterable[Series]) -> int:
    """The longest step, in ms, that a series takes more than now and then; of all series."""
    longest = 0
    for series in parts:
        steps = np.diff(series.timestamps)
        steps = steps[steps > 0]
        rare = max(2, len(steps) // 100)
        if len(steps) > rare:
            longest = max(longest, int(np.partition(steps, len(steps) - 1 - rare)[len(steps) - 1 - rare]))
    return longest
