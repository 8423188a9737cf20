"""What a Kafka topic still holds, as series to train on: read from its beginning to where it ended when reading began."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Sequence
from typing import NamedTuple

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
from producers.formats.naming import renamed
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
    named: Sequence[str] = (),
    drop_labels: Sequence[str] = (),
    series: str = "",
) -> dict[str, tuple[NDArray[np.int64], NDArray[np.float64]]]:
    """Event times (n,) and values (n, C) of each series of a topic of metrics, in log order; of one that is put together, in the order of time.

    Records that are no observation are left out, as the stream would; of counters there are the rates. No offset is committed.

    Parameters
    ----------
    format, counter, gauge, fields
        As the settings of a stream have them.
    registry
        For values behind a schema registry.
    named
        The channels, by their names, where the format puts them together.
    drop_labels, series
        What series are called, as the settings of an intake have them.

    Raises
    ------
    BrokerError
        The topic is not there, holds no observation, or cannot be read to its end.
    SettingsError
        The format cannot bring so many channels.
    RegistryError
        The schema registry cannot be asked.
    """
    decoder = Decoder("metric", channels, format=format, fields=fields, named=named)
    kinds, names_of = Kinds(counter, gauge), renamed(drop_labels, series)
    connect_admin(kafka)  # says in words why no broker answers
    pieces: dict[str, list[_Piece]] = defaultdict(list)
    for batch in read_to_the_end(kafka, topic):
        learn_now(decoder, batch, registry)
        observations, _ = decoder.decode(batch)
        for name, rows in _by_series(observations.series if names_of is None else names_of(observations.series)):
            pieces[name].append(_Piece.of(observations, rows, batch.partition))
    joined = names_of is not None  # several may have become one
    found = {name: _whole(name, pieces[name], kinds if channels == 1 else None, joined) for name in sorted(pieces)}
    found = {name: (times, values) for name, (times, values) in found.items() if len(times)}
    if not found:
        msg = f"topic {topic} holds no observation to train on; send some first, or name another"
        raise BrokerError(msg)
    return found


class _Piece(NamedTuple):
    """Observations of one series, of one batch."""

    partition: int
    times: NDArray[np.int64]
    values: NDArray[np.float64]
    kinds: NDArray[np.uint8]
    begun: NDArray[np.int64]

    @classmethod
    def of(cls, observations: Observations, rows: NDArray[np.intp], partition: int) -> _Piece:
        kinds, begun = observations.kinds, observations.begun
        return cls(
            partition,
            observations.timestamps[rows],
            observations.values[rows],
            np.zeros(len(rows), np.uint8) if kinds is None else kinds[rows],
            np.zeros(len(rows), np.int64) if begun is None else begun[rows],
        )


def _whole(
    name: str, pieces: Sequence[_Piece], kinds: Kinds | None, joined: bool
) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
    """One series, rates in the place of its counts; those of its observations that have a value. Kinds: None where nothing counts."""
    partitions, *columns = zip(*pieces, strict=True)
    times, values, told, begun = (np.concatenate(column) for column in columns)
    if joined or len(set(partitions)) > 1:  # no key, or partitions were added
        order = np.argsort(times, kind="stable")
        times, values, told, begun = times[order], values[order], told[order], begun[order]
    if kinds is None or not (of := kinds.of_series(name, told)).any():
        return times, values
    deltas, counters = of == DELTA, of == COUNTER
    values[deltas, 0] = rates_of_deltas(times[deltas], values[deltas, 0], begun[deltas])
    slot, none = np.zeros(1, FIELDS), np.zeros(int(counters.sum()), np.intp)
    values[counters, 0], _ = rates(slot, none, times[counters], values[counters, 0], begun[counters])
    known = ~np.isnan(values[:, 0])
    return times[known], values[known]


def _by_series(series: Sequence[str]) -> Iterator[tuple[str, NDArray[np.intp]]]:
    """Names and the rows of each, in order."""
    names, which = np.unique(np.array(series, object), return_inverse=True)
    order = np.argsort(which, kind="stable")
    yield from zip(names, np.split(order, np.cumsum(np.bincount(which))[:-1]), strict=True)
