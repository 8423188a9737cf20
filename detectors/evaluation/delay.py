"""What an operator lives with: which events were found, how late, and how many alerts were false.

    windows       ├──────┤                    ├──────┤
    alerts            ├───┤  ├─┤        ├───┤
                  found,     false      false          missed
                  4 late

An alert is false if its span meets no labelled window; several alerts in one window are one find.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Span = tuple[int, int]
"""First and last event time, ms, both included."""

_MINUTE = 60_000
_DAY = 86_400_000


@dataclass(frozen=True, slots=True)
class Find:
    """A labelled window and the first alert whose span meets it.

    Attributes
    ----------
    alert
        Index of the alert; None where the window was missed.
    delay_observations
        Observations of the window before the alert began; 0 if it began earlier.
    delay_minutes
        The same in event time.
    """

    window: Span
    alert: int | None = None
    delay_observations: int | None = None
    delay_minutes: float | None = None


@dataclass(frozen=True, slots=True)
class Judgement:
    """All alerts of one series against its labelled windows."""

    finds: tuple[Find, ...]
    false_alerts: tuple[int, ...]
    """Indices of alerts whose span meets no window."""
    days: float
    """Event time that was watched."""

    @property
    def found(self) -> int:
        """How many windows were found."""
        return sum(find.alert is not None for find in self.finds)


def judge(timestamps: NDArray[np.int64], alerts: Sequence[Span], windows: Sequence[Span]) -> Judgement:
    """Judge one series' alerts.

    Parameters
    ----------
    timestamps : (n,) int64
        Event times of the series' watched rows (without training and probation), rising, ms.
    alerts
        Span of each alert: from its onset to the last time it was anomalous.
    windows
        Labelled anomalies.
    """
    finds = []
    for first, last in windows:
        hits = [(start, i) for i, (start, end) in enumerate(alerts) if start <= last and end >= first]
        if not hits:
            finds.append(Find((first, last)))
            continue
        start, alert = min(hits)
        late = int(np.searchsorted(timestamps, start) - np.searchsorted(timestamps, first))
        finds.append(Find((first, last), alert, max(late, 0), max(start - first, 0) / _MINUTE))
    false = tuple(
        i for i, (start, end) in enumerate(alerts) if not any(start <= last and end >= first for first, last in windows)
    )
    days = float(timestamps[-1] - timestamps[0]) / _DAY if len(timestamps) else 0.0
    return Judgement(tuple(finds), false, days)


def false_alerts_per_series_day(judgements: Sequence[Judgement]) -> float:
    """False alerts of all series together, per series and day of event time; NaN where no time was watched."""
    days = sum(j.days for j in judgements)
    return sum(len(j.false_alerts) for j in judgements) / days if days else float("nan")


def episodes(y: NDArray[np.int8], *, join: int = 0) -> list[tuple[int, int]]:
    """Runs of anomalous rows as (first, last) indices; runs at most `join` normal rows apart are one episode.

    Examples
    --------
    >>> episodes(np.array([0, 1, 1, 0, 1, 0, 0, 1]), join=1)
    [(1, 4), (7, 7)]
    """
    rows = np.flatnonzero(np.asarray(y))
    if not len(rows):
        return []
    breaks = np.flatnonzero(np.diff(rows) > join + 1)
    first, last = rows[np.r_[0, breaks + 1]], rows[np.r_[breaks, len(rows) - 1]]
    return [(int(a), int(b)) for a, b in zip(first, last, strict=True)]


def episodes_found(spans: Sequence[tuple[int, int]], flagged: NDArray[np.bool_]) -> list[int | None]:
    """For each episode (first, last), how many rows passed before its first flagged row; None where none was flagged."""
    hits = np.flatnonzero(flagged)
    at = np.searchsorted(hits, [first for first, _ in spans])
    return [
        int(hits[i] - first) if i < len(hits) and hits[i] <= last else None
        for i, (first, last) in zip(at, spans, strict=True)
    ]
