"""Alerts against labels: what was found, how late, and what was false. Labels are looked at here and nowhere before.

    labelled windows     ────▓▓▓▓▓▓▓────────────▓▓▓▓▓──────────▓▓▓▓▓────
    alerts               ──────██──█──────█─────────────────────████████
                               found      false     missed      found (it reaches beyond the window: not false)

An alert is false if its span, from its first to its last anomalous observation, meets no labelled window of its series.
Several alerts in one window are one find.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from pipeline.alerts.records import Alert
from producers.datasets import Labels, Window


@dataclass(frozen=True)
class Span:
    """An alert as its last record leaves it, its times in ms; `onset` is the record with which it fired."""

    alert: Alert
    onset: Alert
    first: int
    last: int

    def meets(self, window: Window) -> bool:
        """Whether any of it lies in the window."""
        return self.first <= window.last and self.last >= window.first


@dataclass(frozen=True)
class Finding:
    """A labelled window, and the alerts that met it.

    Attributes
    ----------
    trained
        The window ends before its series' training part does, so no alert could meet it; it counts nowhere.
    """

    series: str
    window: Window
    alerts: tuple[Span, ...]
    trained: bool

    @property
    def found(self) -> bool:
        """Whether any alert met it."""
        return bool(self.alerts)

    @property
    def delay_ms(self) -> int | None:
        """From the window's begin to the first alert, in event time; 0 where the alert was there before."""
        return max(0, min(s.first for s in self.alerts) - self.window.first) if self.alerts else None


@dataclass(frozen=True)
class Rows:
    """Row by row: how many labelled rows were anomalous, and how many anomalous rows are labelled."""

    labelled: int
    anomalous: int
    both: int

    @property
    def recall(self) -> float:
        """Part of the labelled rows that was found."""
        return self.both / self.labelled if self.labelled else float("nan")

    @property
    def precision(self) -> float:
        """Part of the anomalous rows that is labelled."""
        return self.both / self.anomalous if self.anomalous else float("nan")


@dataclass(frozen=True)
class Verdict:
    """All about one stream."""

    findings: tuple[Finding, ...]
    spans: tuple[Span, ...]
    false: tuple[Span, ...]

    @property
    def judged(self) -> tuple[Finding, ...]:
        """The windows that could be found."""
        return tuple(f for f in self.findings if not f.trained)

    @property
    def found(self) -> int:
        """How many of them were."""
        return sum(f.found for f in self.judged)


def last_words(records: Iterable[Alert]) -> list[Span]:
    """Every alert that fired, as its last record leaves it, in order of its begin."""
    last: dict[str, Alert] = {}
    fired: dict[str, Alert] = {}
    for record in sorted(records, key=lambda r: r.sequence):
        last[record.id] = record
        if record.fired:
            fired.setdefault(record.id, record)
    spans = [
        Span(last[name], onset, milliseconds(onset.starts_at), milliseconds(last[name].last_seen))
        for name, onset in fired.items()
    ]
    return sorted(spans, key=lambda s: (s.first, s.alert.series))


def judge(spans: Sequence[Span], labels: Mapping[str, Labels], trained_until: Mapping[str, int]) -> Verdict:
    """Match alerts with labelled windows.

    Parameters
    ----------
    trained_until
        Series -> event time in ms of the last observation of its training part.
    """
    findings = tuple(
        Finding(
            series,
            window,
            tuple(s for s in spans if s.alert.series == series and s.meets(window)),
            window.last <= trained_until.get(series, -1),
        )
        for series, known in labels.items()
        for window in known.windows
    )
    true = {s.alert.id for f in findings for s in f.alerts}
    return Verdict(findings, tuple(spans), tuple(s for s in spans if s.alert.id not in true))


def judge_rows(anomalous: NDArray[np.bool_], labelled: NDArray[np.bool_]) -> Rows:
    """Row by row, both (n,)."""
    return Rows(int(labelled.sum()), int(anomalous.sum()), int((anomalous & labelled).sum()))


def milliseconds(text: str) -> int:
    """Of an RFC 3339 time in UTC, as it stands in an alert.

    >>> milliseconds("2014-07-01T00:00:00.123Z")
    1404172800123
    """
    return int(np.datetime64(text.removesuffix("Z"), "ms").astype(np.int64))
