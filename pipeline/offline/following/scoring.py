"""Rows that come in portions, scored as all of them at once would be: what goes on from one portion to the next is held here."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pipeline.alerts.records import Alert
from pipeline.offline.run import Verdicts, judge, offline_stream
from pipeline.offline.scorefile import OnScored
from pipeline.offline.scoring.ready import Ready, training_rows
from pipeline.offline.scoring.recorded import recorded
from pipeline.offline.scoring.rows import ScoredRows, carried, per_row
from pipeline.settings import LONGEST
from producers.datasets import Dataset, Series


@dataclass
class _Spoken:
    """The last alert that fired of a series: from when, ms, and until when, while it is open until further notice."""

    id: str
    since: int
    until: float = float("inf")


class Scoring:
    """Scores the rows of a file as they come.

    The alerts are those of the whole file with the same model and settings, to the byte. A row's `alert_id` is that of the alert that had fired by
    then: what comes later is not known when it is written.

    Attributes
    ----------
    rows, anomalous, alerts
        How many so far; alerts that fired.
    counts
        What the time policy did, how many were scored.
    """

    def __init__(self, ready: Ready) -> None:
        self.rows = self.anomalous = self.alerts = 0
        self.counts: Counter[str] = Counter()
        self._ready = ready
        # How long the file will be nobody knows; no series of it is forgotten, as of a whole one.
        self._core = offline_stream(ready.model, {**ready.settings, "idle_after": LONGEST}).core(0)
        self._observations = 0
        self._last: dict[str, tuple[float, float]] = {}
        self._spoken: dict[str, _Spoken] = {}
        self._values: dict[str, list[float]] = {}
        """Of each series, per column: what stands for a missing number that comes next."""

    def begin(self, on_scored: OnScored | None = None) -> ScoredRows:
        """Score what was there at first."""
        data = self._ready.data
        for name, s in data.series().items():
            of = (
                slice(training_rows(s, "table", self._ready.train_rows, judged=False))
                if data.kind == "table"
                else slice(-1, None)
            )
            self._values[name] = [_standing_in(c[of]) for c in s.columns]
        return self._score(data, on_scored)

    def go_on(self, data: Dataset) -> ScoredRows:
        """Score the rows that come next."""
        if data.kind == "table" or len(data.channels) > 1:
            data = replace(data, all_series={name: self._filled_in(s) for name, s in data.series().items()})
        return self._score(data, None)

    def _filled_in(self, series: Series) -> Series:
        before = self._values.setdefault(series.name, [float("nan")] * len(series.columns))
        metric = self._ready.data.kind == "metric"
        columns = []
        for c, column in enumerate(series.columns):
            if column.dtype == object:
                columns.append(column)
                continue
            numbers = np.where(np.isfinite(column), column, np.nan)
            filled = carried(numbers, before[c]) if metric else np.where(np.isnan(numbers), before[c], numbers)
            if metric and len(filled):
                before[c] = float(filled[-1])
            columns.append(filled)
        return replace(series, columns=tuple(columns))

    def _score(self, data: Dataset, on_scored: OnScored | None) -> ScoredRows:
        model = self._ready.model
        observations = replace(recorded(data, model), first=self._observations)
        verdicts = judge(self._core, observations, on_scored, last=False)
        self._name(verdicts, observations.series, observations.timestamps)
        self._observations += len(observations)
        self.rows += len(data)
        self.anomalous += int(verdicts.anomalous.sum())
        self.counts.update(verdicts.counts)
        return per_row(data, observations, verdicts, model, (), self._last)

    def _name(self, verdicts: Verdicts, series: Sequence[str], timestamps: NDArray[np.int64]) -> None:
        """Give each anomalous row the id of the alert of its series that was open."""
        spans = [(name, said) for name, said in self._spoken.items() if said.until == float("inf")]
        spans += [(record.series, said) for record in verdicts.alerts if (said := self._hear(record)) is not None]
        rows = np.flatnonzero(verdicts.anomalous)
        names = np.asarray([series[i] for i in rows.tolist()], object)
        for name, said in spans:
            within = (names == name) & (timestamps[rows] >= said.since) & (timestamps[rows] <= said.until)
            verdicts.alert_ids.put(rows[within], said.id)

    def _hear(self, record: Alert) -> _Spoken | None:
        """The span that begins with a record, if one does."""
        said = self._spoken.get(record.series)
        if record.status == "resolved":
            if said is not None and said.id == record.id:
                said.until = _ms(record.as_of)
            return None
        if not record.fired or (said is not None and said.id == record.id and said.until == float("inf")):
            return None
        self.alerts += said is None or said.id != record.id  # one that comes back is the same alert
        self._spoken[record.series] = new = _Spoken(record.id, _ms(record.as_of))
        return new


def _standing_in(column: NDArray[Any]) -> float:
    """For a missing number: of metrics the last one, of tables the median of those that were learnt from."""
    return float("nan") if column.dtype == object or not len(column) else float(np.median(column))


def _ms(text: str) -> int:
    return int(np.datetime64(text.removesuffix("Z"), "ms").astype(np.int64))
