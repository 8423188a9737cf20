"""What a partition has to say to others: alerts, scores and dead letters, as messages in order, each counted.

Whether they are said already, because the past is read back, is the loop's to know (`pipeline.partition.rebuild`); that they arrive, `outbox`'s.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from itertools import groupby
from operator import attrgetter

import numpy as np

from pipeline.alerts.records import Alert, DeadLetter, Score
from pipeline.partition.outbox import Outbox
from pipeline.partition.stream import Stream
from pipeline.steps.batches.records import RecordBatch, Rejected


class Messages:
    """Messages of one partition of one stream, to the topics of its settings."""

    def __init__(self, stream: Stream, outbox: Outbox) -> None:
        self._stream = stream
        self._outbox = outbox

    def alerts(self, alerts: Sequence[Alert], counts: Counter[str]) -> None:
        """Send alerts; counted by status, and those that begin to fire by severity."""
        for alert in alerts:
            counts[f"alerts_{alert.status}"] += 1
            if alert.status == "firing" and alert.reason in ("anomaly", "held"):
                counts[f"fired_{alert.severity}"] += 1
            self._outbox.send(alert.message(self._stream.settings.alert_topic))

    def scores(self, scores: Iterable[Score]) -> None:
        """Send scores, where there is a topic for them."""
        if topic := self._stream.settings.score_topic:
            for score in scores:
                self._outbox.send(score.message(topic))

    def dead_letters(self, records: RecordBatch, rejected: list[Rejected], counts: Counter[str]) -> None:
        """Send what was rejected of a batch, one letter for each record; counted by reason."""
        for r in _one_of_each_record(rejected):
            counts[f"rejected_{r.reason}"] += 1
            letter = DeadLetter.of(records, r, stream=self._stream.name)
            self._outbox.send(letter.message(self._stream.settings.dlq))


def rejections(records: RecordBatch, at_offsets: list[tuple[int, str, str]]) -> list[Rejected]:
    """From (offset, reason, detail) to rejections, whose index points into the batch."""
    return [Rejected(int(np.searchsorted(records.offsets, o)), reason, detail) for o, reason, detail in at_offsets]


def _one_of_each_record(rejected: list[Rejected]) -> Iterator[Rejected]:
    """In log order; a record of many points may be rejected for several of them, and is one dead letter all the same."""
    for _, of_one in groupby(sorted(rejected, key=attrgetter("index")), key=attrgetter("index")):
        first, *others = of_one
        more = f" (and {len(others)} more of its points)" if others else ""
        yield Rejected(first.index, first.reason, first.detail + more)
