"""What a Kafka topic still holds, as series to train on: read from its beginning to where it ended when reading began."""

from __future__ import annotations

import time
from collections import defaultdict
from collections.abc import Iterator

import numpy as np
from confluent_kafka import OFFSET_BEGINNING, Consumer, KafkaError, KafkaException, Message, TopicPartition
from numpy.typing import NDArray

from pipeline.errors import BrokerError
from pipeline.kafka.clients import broker_error, connect_admin, librdkafka_config
from pipeline.kafka.topics import no_topic
from pipeline.settings import KafkaSettings
from pipeline.steps.batches import Observations, RecordBatch
from pipeline.steps.decoding import Decoder

_BATCH = 5_000
_PATIENCE_S = 20.0


def read_metrics(
    kafka: KafkaSettings,
    topic: str,
    *,
    channels: int = 1,
    format: str = "native",  # noqa: A002  # the setting's name
) -> dict[str, tuple[NDArray[np.int64], NDArray[np.float64]]]:
    """Event times (n,) and values (n, C) of each series of a topic of metrics, in log order.

    Records that are no observation are left out, as the stream would. No offset is committed.

    Raises
    ------
    BrokerError
        The topic is not there, holds no observation, or cannot be read to its end.
    SettingsError
        The format cannot bring so many channels.
    """
    decoder = Decoder("metric", channels, format=format)
    connect_admin(kafka)  # says in words why no broker answers
    config = {"group.id": "tidewatch-train", "enable.auto.commit": False, "enable.partition.eof": True}
    consumer = Consumer(librdkafka_config(kafka) | config | {"fetch.queue.backoff.ms": 5})
    times: dict[str, list[NDArray[np.int64]]] = defaultdict(list)
    values: dict[str, list[NDArray[np.float64]]] = defaultdict(list)
    try:
        for batch in _to_the_end(consumer, topic, kafka.request_timeout.total_seconds()):
            observations, _ = decoder.decode(batch)
            for name, rows in _by_series(observations):
                times[name].append(observations.timestamps[rows])
                values[name].append(observations.values[rows])
    except KafkaException as error:
        raise broker_error(f"read topic {topic}", error) from error
    finally:
        consumer.close()
    if not times:
        msg = f"topic {topic} holds no observation to train on; send some first, or name another"
        raise BrokerError(msg)
    return {name: (np.concatenate(times[name]), np.concatenate(values[name])) for name in sorted(times)}


def _to_the_end(consumer: Consumer, topic: str, timeout: float) -> Iterator[RecordBatch]:
    known = consumer.list_topics(timeout=timeout).topics
    found = known.get(topic)
    if found is None or found.error is not None or not found.partitions:
        raise no_topic([topic], known)
    unread = set(found.partitions)
    consumer.assign([TopicPartition(topic, partition, OFFSET_BEGINNING) for partition in unread])
    heard = time.monotonic()
    while unread:
        messages = consumer.consume(_BATCH, timeout=0.2)
        by_partition: dict[int, list[Message]] = defaultdict(list)
        for message in messages:
            error = message.error()
            if error is None:
                by_partition[message.partition() or 0].append(message)
            elif error.code() == KafkaError._PARTITION_EOF:  # noqa: SLF001  # its only name
                unread.discard(message.partition() or 0)
            else:
                raise KafkaException(error)
        yield from (_batch(topic, partition, part) for partition, part in by_partition.items())
        if messages:
            heard = time.monotonic()
        elif time.monotonic() - heard > _PATIENCE_S:
            msg = f"topic {topic} could not be read to its end: {len(unread)} partitions send nothing more"
            raise BrokerError(msg)


def _batch(topic: str, partition: int, messages: list[Message]) -> RecordBatch:
    offsets = np.array([message.offset() for message in messages], np.int64)
    return RecordBatch(
        topic,
        partition,
        offsets,
        int(offsets[-1]) + 1,
        [_bytes(message.key()) for message in messages],
        [_bytes(message.value()) for message in messages],
        np.array([message.timestamp()[1] for message in messages], np.int64),
    )


def _bytes(value: str | bytes | None) -> bytes | None:
    return value.encode() if isinstance(value, str) else value


def _by_series(observations: Observations) -> Iterator[tuple[str, NDArray[np.intp]]]:
    """Names and the rows of each, in order."""
    names, which = np.unique(np.array(observations.series, object), return_inverse=True)
    order = np.argsort(which, kind="stable")
    yield from zip(names, np.split(order, np.cumsum(np.bincount(which))[:-1]), strict=True)
