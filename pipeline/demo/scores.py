"""The scores topic as columns, for the report and for counting rows; read once, when the replay is over."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from pipeline.alerts.records import Score, decode_score
from pipeline.kafka.reader import read_to_the_end
from pipeline.settings import KafkaSettings


@dataclass(frozen=True)
class Scores:
    """Scores of one series in event order; of the first channel, NaN where there is none.

    Attributes
    ----------
    timestamps : (n,) int64
        Event time in ms.
    score, threshold, alarm, observed, expected, lower, upper : (n,) float64
        Either there is an alarm, which decides, or a threshold of the score; the other is NaN.
    live : (n,) bool
        Whether an alert could come of it.
    """

    timestamps: NDArray[np.int64]
    score: NDArray[np.float64]
    threshold: NDArray[np.float64]
    alarm: NDArray[np.float64]
    observed: NDArray[np.float64]
    expected: NDArray[np.float64]
    lower: NDArray[np.float64]
    upper: NDArray[np.float64]
    live: NDArray[np.bool_]

    @property
    def anomalous(self) -> NDArray[np.bool_]:
        """(n,) live, and the alarm at 0 or the score at the threshold, or above."""
        return self.live & ((self.score >= self.threshold) | (self.alarm >= 0))


def as_columns(records: Iterable[Score]) -> dict[str, Scores]:
    """Series -> its scores. What a restarted worker scored twice is identical and counts once."""
    seen: set[tuple[int, int]] = set()
    rows: dict[str, list[tuple[float, ...]]] = {}
    for r in records:
        if (r.partition, r.offset) in seen:
            continue
        seen.add((r.partition, r.offset))
        band = (None, None) if r.band is None else (r.band.lower[0], r.band.upper[0])
        alarm = r.alarm if isinstance(r.alarm, float) else None
        numbers = (r.threshold, alarm, _first(r.observed), _first(r.expected), *band)
        rows.setdefault(r.series, []).append(
            (r.timestamp, r.score, *(np.nan if x is None else x for x in numbers), r.live)
        )
    found = {}
    for series, listed in rows.items():
        table = np.array(listed, np.float64)  # ms of our time are exact in float64
        table = table[np.argsort(table[:, 0], kind="stable")]
        times, score, threshold, told, observed, expected, lower, upper, live = table.T
        found[series] = Scores(
            times.astype(np.int64), score, threshold, told, observed, expected, lower, upper, live.astype(np.bool_)
        )
    return found


def read_scores(kafka: KafkaSettings, topic: str) -> Iterator[Score]:
    """All records of the topic, to where it ends now; nobody may be writing to it. Raises BrokerError."""
    for batch in read_to_the_end(kafka, topic):
        yield from (decode_score(value) for value in batch.values if value is not None)


def _first(channels: list[float | None] | None) -> float | None:
    return channels[0] if channels else None
