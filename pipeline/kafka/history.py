"""What a Kafka topic still holds, as series to train on: read from its beginning to where it ended when reading began."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pipeline.errors import BrokerError
from pipeline.kafka.clients import connect_admin
from pipeline.kafka.reader import read_to_the_end
from pipeline.registry import learn_now
from pipeline.settings import KafkaSettings
from pipeline.steps.batches import Observations
from pipeline.steps.decoding import Decoder
from pipeline.steps.kinds import Kinds
from pipeline.steps.totals import FIELDS, rates, rates_of_deltas
from producers.formats.base import COUNTER, DELTA
from producers.formats.fields import Fields
from producers.formats.registry.client import Registry


def read_metrics(
    kafka: KafkaSettings,
    topic: str,
    *,
    channels: int = 1,
    format: str = "native",  # noqa: A002  # the setting's name
    counter: Sequence[str] = (),
    gauge: Sequence[str] = (),
    fields: Fields | None = None,
    registry: Registry | None = None,
) -> dict[str, tuple[NDArray[np.int64], NDArray[np.float64]]]:
    """Event times (n,) and values (n, C) of each series of a topic of metrics, in log order.

    Records that are no observation are left out, as the stream would; of counters there are the rates. No offset is committed.

    Parameters
    ----------
    format, counter, gauge, fields
        As the settings of a stream have them.
    registry
        For values behind a schema registry.

    Raises
    ------
    BrokerError
        The topic is not there, holds no observation, or cannot be read to its end.
    SettingsError
        The format cannot bring so many channels.
    RegistryError
        The schema registry cannot be asked.
    """
    decoder, kinds = Decoder("metric", channels, format=format, fields=fields), Kinds(counter, gauge)
    connect_admin(kafka)  # says in words why no broker answers
    times: dict[str, list[NDArray[np.int64]]] = defaultdict(list)
    values: dict[str, list[NDArray[np.float64]]] = defaultdict(list)
    totals: dict[str, NDArray[Any]] = {}
    for batch in read_to_the_end(kafka, topic):
        learn_now(decoder, batch, registry)
        observations, _ = decoder.decode(batch)
        for name, rows in _by_series(observations):
            if channels == 1:
                rows = _counted(observations, name, rows, kinds, totals)  # those that have a value
            times[name].append(observations.timestamps[rows])
            values[name].append(observations.values[rows])
    times = {name: of for name, of in times.items() if any(map(len, of))}
    if not times:
        msg = f"topic {topic} holds no observation to train on; send some first, or name another"
        raise BrokerError(msg)
    return {name: (np.concatenate(times[name]), np.concatenate(values[name])) for name in sorted(times)}


def _counted(
    observations: Observations, name: str, rows: NDArray[np.intp], kinds: Kinds, totals: dict[str, NDArray[Any]]
) -> NDArray[np.intp]:
    """Put rates in the place of one series' counts; those of the rows that have a value.

    Parameters
    ----------
    totals
        Series -> its last total.
    """
    of = kinds.of_series(
        name, np.zeros(len(rows), np.uint8) if observations.kinds is None else observations.kinds[rows]
    )
    if not of.any():
        return rows
    begun = np.zeros(len(rows), np.int64) if observations.begun is None else observations.begun[rows]
    values, at = observations.values, observations.timestamps[rows]
    deltas, counters = of == DELTA, of == COUNTER
    values[rows[deltas], 0] = rates_of_deltas(at[deltas], values[rows[deltas], 0], begun[deltas])
    slot = totals.setdefault(name, np.zeros(1, FIELDS))
    none = np.zeros(int(counters.sum()), np.intp)
    values[rows[counters], 0], _ = rates(slot, none, at[counters], values[rows[counters], 0], begun[counters])
    return np.asarray(rows[~np.isnan(values[rows, 0])])


def _by_series(observations: Observations) -> Iterator[tuple[str, NDArray[np.intp]]]:
    """Names and the rows of each, in order."""
    names, which = np.unique(np.array(observations.series, object), return_inverse=True)
    order = np.argsort(which, kind="stable")
    yield from zip(names, np.split(order, np.cumsum(np.bincount(which))[:-1]), strict=True)
