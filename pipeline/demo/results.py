"""What one stream of the demo came to: the facts that terminal and page both show."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from pipeline.alerts.records import Alert
from pipeline.demo.judge import Rows, Verdict, judge, judge_rows, last_words
from pipeline.demo.scores import Scores
from pipeline.demo.streams import DemoStream
from producers.datasets import Dataset


@dataclass(frozen=True)
class StreamResult:
    """One stream.

    Attributes
    ----------
    training_rows
        Series -> how many of its first observations trained and calibrated its detectors.
    rows
        Tables: row by row, in the part that was not trained on. None for metrics.
    """

    stream: DemoStream
    data: Dataset
    training_rows: Mapping[str, int]
    scores: Mapping[str, Scores]
    verdict: Verdict
    rows: Rows | None

    @property
    def observations(self) -> int:
        """Observations replayed."""
        return len(self.data)

    @property
    def judged_observations(self) -> int:
        """Of those, the ones an alert could come of."""
        return sum(int(s.live.sum()) for s in self.scores.values())

    def trained_until(self, series: str) -> int:
        """Event time in ms of the last observation of the training part; -1 without one."""
        return _trained_until(self.data, self.training_rows, series)


def evaluate(
    stream: DemoStream,
    data: Dataset,
    training_rows: Mapping[str, int],
    scores: Mapping[str, Scores],
    alerts: Sequence[Alert],
) -> StreamResult:
    """Hold alerts and scores of one stream against its labels."""
    labels = data.labels()
    until = {name: _trained_until(data, training_rows, name) for name in labels}
    verdict = judge(last_words(alerts), labels, until)
    return StreamResult(stream, data, training_rows, scores, verdict, _rows(data, scores))


def _rows(data: Dataset, scores: Mapping[str, Scores]) -> Rows | None:
    if data.kind != "table":
        return None
    anomalous, labelled = [], []
    for name, known in data.labels().items():
        if name not in scores:
            continue
        series, scored = data.all_series[name], scores[name]
        truth = known.anomalous[np.searchsorted(series.timestamps, scored.timestamps)]
        anomalous.append(scored.anomalous[scored.live])
        labelled.append(truth[scored.live])
    return judge_rows(np.concatenate(anomalous), np.concatenate(labelled)) if anomalous else None


def _trained_until(data: Dataset, training_rows: Mapping[str, int], series: str) -> int:
    rows = training_rows.get(series, 0)
    return int(np.sort(data.all_series[series].timestamps)[rows - 1]) if rows else -1
