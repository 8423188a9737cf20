"""What a Kafka topic still holds, as series to train on: read from its beginning to where it ended when reading began."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

from pipeline.errors import BrokerError
from pipeline.kafka.clients import connect_admin
from pipeline.kafka.reader import read_to_the_end
from pipeline.settings import KafkaSettings
from pipeline.steps.batches import Observations
from pipeline.steps.decoding import Decoder


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
    times: dict[str, list[NDArray[np.int64]]] = defaultdict(list)
    values: dict[str, list[NDArray[np.float64]]] = defaultdict(list)
    for batch in read_to_the_end(kafka, topic):
        observations, _ = decoder.decode(batch)
        for name, rows in _by_series(observations):
            times[name].append(observations.timestamps[rows])
            values[name].append(observations.values[rows])
    if not times:
        msg = f"topic {topic} holds no observation to train on; send some first, or name another"
        raise BrokerError(msg)
    return {name: (np.concatenate(times[name]), np.concatenate(values[name])) for name in sorted(times)}


def _by_series(observations: Observations) -> Iterator[tuple[str, NDArray[np.intp]]]:
    """Names and the rows of each, in order."""
    names, which = np.unique(np.array(observations.series, object), return_inverse=True)
    order = np.argsort(which, kind="stable")
    yield from zip(names, np.split(order, np.cumsum(np.bincount(which))[:-1]), strict=True)
