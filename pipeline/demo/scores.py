"""The scores topic as columns, for pictures and for counting rows; read once, when the replay is over."""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

import numpy as np
from confluent_kafka import OFFSET_BEGINNING, Consumer, KafkaError, KafkaException, TopicPartition
from numpy.typing import NDArray

from pipeline.alerts.records import Score, decode_score
from pipeline.errors import BrokerError
from pipeline.kafka.clients import broker_error, librdkafka_config
from pipeline.settings import KafkaSettings

_BATCH = 20_000
_PATIENCE = 15.0
"""Seconds without any record, before the end is reached, that are an error."""


@dataclass(frozen=True)
class Scores:
    """Scores of one series in event order; of the first channel, NaN where there is none.

    Attributes
    ----------
    timestamps : (n,) int64
        Event time in ms.
    score, threshold, observed, expected, lower, upper : (n,) float64
    live : (n,) bool
        Whether an alert could come of it.
    """

    timestamps: NDArray[np.int64]
    score: NDArray[np.float64]
    threshold: NDArray[np.float64]
    observed: NDArray[np.float64]
    expected: NDArray[np.float64]
    lower: NDArray[np.float64]
    upper: NDArray[np.float64]
    live: NDArray[np.bool_]

    @property
    def anomalous(self) -> NDArray[np.bool_]:
        """(n,) live and at or above the threshold."""
        return self.live & (self.score >= self.threshold)


def as_columns(records: Iterable[Score]) -> dict[str, Scores]:
    """Series -> its scores. What a restarted worker scored twice is identical and counts once."""
    seen: set[tuple[int, int]] = set()
    rows: dict[str, list[tuple[float, ...]]] = {}
    for r in records:
        if (r.partition, r.offset) in seen:
            continue
        seen.add((r.partition, r.offset))
        band = (None, None) if r.band is None else (r.band.lower[0], r.band.upper[0])
        numbers = (_first(r.observed), _first(r.expected), *band)
        rows.setdefault(r.series, []).append(
            (r.timestamp, r.score, r.threshold, *(np.nan if x is None else x for x in numbers), r.live)
        )
    found = {}
    for series, listed in rows.items():
        table = np.array(listed, np.float64)  # ms of our time are exact in float64
        table = table[np.argsort(table[:, 0], kind="stable")]
        times, score, threshold, observed, expected, lower, upper, live = table.T
        found[series] = Scores(
            times.astype(np.int64), score, threshold, observed, expected, lower, upper, live.astype(np.bool_)
        )
    return found


def read_scores(kafka: KafkaSettings, topic: str) -> Iterator[Score]:
    """All records of the topic, to where it ends now; nobody may be writing to it. Raises BrokerError."""
    consumer = Consumer(
        {
            **librdkafka_config(kafka),
            "group.id": "tidewatch-demo-report",
            "enable.auto.commit": False,
            "enable.partition.eof": True,
            "fetch.queue.backoff.ms": 5,
        }
    )
    try:
        yield from _to_the_end(consumer, topic, kafka.request_timeout.total_seconds())
    except KafkaException as error:
        raise broker_error(f"read topic {topic}", error) from error
    finally:
        consumer.close()


def _to_the_end(consumer: Consumer, topic: str, timeout: float) -> Iterator[Score]:
    unread = set(consumer.list_topics(topic, timeout=timeout).topics[topic].partitions)
    consumer.assign([TopicPartition(topic, partition, OFFSET_BEGINNING) for partition in unread])
    heard = time.monotonic()
    while unread:
        messages = consumer.consume(_BATCH, timeout=0.2)
        for message in messages:
            error, value = message.error(), message.value()
            if error is None and value is not None:
                yield decode_score(value)
            elif error is not None and error.code() == KafkaError._PARTITION_EOF:  # noqa: SLF001  (its only name)
                unread.discard(message.partition())
            elif error is not None:
                raise KafkaException(error)
        if messages:
            heard = time.monotonic()
        elif time.monotonic() - heard > _PATIENCE:
            msg = f"topic {topic} could not be read to its end: {len(unread)} partitions send nothing more"
            raise BrokerError(msg)


def _first(channels: list[float | None] | None) -> float | None:
    return channels[0] if channels else None
