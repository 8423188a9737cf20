"""What a Kafka topic still holds, as series to learn from: read from its beginning to where it ended when reading began."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from itertools import islice
from typing import Any, NamedTuple

import msgspec
import numpy as np
from numpy.typing import NDArray

from pipeline.errors import BrokerError
from pipeline.kafka.clients import connect_admin
from pipeline.kafka.reader import read_to_the_end
from pipeline.registry import learn_now
from pipeline.settings import KafkaSettings
from pipeline.steps.batches.observations import Observations
from pipeline.steps.batches.records import RecordBatch, Rejected
from pipeline.steps.decoding import Decoder
from pipeline.steps.kinds import Kinds
from pipeline.steps.totals import FIELDS, rates, rates_of_deltas
from producers.formats.base import COUNTER, DELTA, Reason
from producers.formats.fields import Fields
from producers.formats.naming import renamed
from producers.formats.native import Kind
from producers.formats.registry.client import Registry

LOOKED_AT = 100
"""First records by which is told what nobody says."""


@dataclass(frozen=True)
class History:
    """What a topic held when reading began.

    Attributes
    ----------
    kind, channels, format
        As it was read: numbers in event time or rows of a table, how many values each observation has, by which format of a stream.
    records
        All that were read, those too that are left out.
    series
        Event times (n,), and values (n, C): float64, of a table object (numbers and texts); in log order, of a series that is put together in
        the order of time.
    notes
        What is left out, a line each.
    """

    kind: Kind
    channels: int
    format: str
    records: int
    series: dict[str, tuple[NDArray[np.int64], NDArray[Any]]]
    notes: tuple[str, ...]


def read_history(
    kafka: KafkaSettings,
    topic: str,
    *,
    kind: Kind | None = None,
    channels: int | None = None,
    format: str = "native",  # noqa: A002  # the setting's name
    counter: Sequence[str] = (),
    gauge: Sequence[str] = (),
    fields: Fields | None = None,
    registry: Registry | None = None,
    named: Sequence[str] = (),
    drop_labels: Sequence[str] = (),
    series: str = "",
    on_read: Callable[[int], None] | None = None,
) -> History:
    """All that a topic holds now. Of counters there are the rates. No offset is committed.

    Records that are no observation are left out, as the stream would, and told.

    Parameters
    ----------
    kind, channels
        None: told by the first records, where these are native; else metrics of one value.
    format, counter, gauge, fields
        As the settings of a stream have them.
    registry
        For values behind a schema registry.
    named
        The channels, by their names, where the format puts them together.
    drop_labels, series
        What series are called, as the settings of an intake have them.
    on_read
        Told how many records are read.

    Raises
    ------
    BrokerError
        The topic is not there, holds no observation, or cannot be read to its end.
    SettingsError
        The format cannot bring so many channels.
    RegistryError
        The schema registry cannot be asked.
    """
    kinds, names_of = Kinds(counter, gauge), renamed(drop_labels, series)
    connect_admin(kafka)  # says in words why no broker answers
    pieces: dict[str, list[_Piece]] = defaultdict(list)
    left_out = _LeftOut(topic)
    decoder: Decoder | None = None
    for batch in read_to_the_end(kafka, topic):
        if decoder is None:
            decoder = _decoder(batch, kind, len(named) or channels, format, fields, named)
        learn_now(decoder, batch, registry)
        observations, rejected = decoder.decode(batch)
        left_out.take(batch, rejected, decoder.skipped)
        if on_read is not None:
            on_read(left_out.records)
        for name, rows in _by_series(observations.series if names_of is None else names_of(observations.series)):
            pieces[name].append(_Piece.of(observations, rows, batch.partition))
    joined = names_of is not None  # several may have become one
    counting = kinds if decoder is not None and (decoder.kind, decoder.channels) == ("metric", 1) else None
    found = {name: _whole(name, pieces[name], counting, joined) for name in sorted(pieces)}
    found = {name: (times, values) for name, (times, values) in found.items() if len(times)}
    if not found or decoder is None:
        raise BrokerError(left_out.nothing)
    return History(decoder.kind, decoder.channels, decoder.format, left_out.records, found, left_out.notes)


class _LeftOut:
    """Counts what of a topic is no observation, and why; the first of each reason is told."""

    def __init__(self, topic: str) -> None:
        self.records = 0
        self._topic = topic
        self._count: Counter[str] = Counter()
        self._first: dict[str, str] = {}
        self._skipped: Mapping[str, int] = {}

    def take(self, batch: RecordBatch, rejected: Sequence[Rejected], skipped: Mapping[str, int]) -> None:
        self.records += len(batch)
        self._skipped = skipped
        for r in rejected:
            self._count[r.reason] += 1
            self._first.setdefault(
                r.reason, f"{self._topic}[{batch.partition}] at {batch.offsets[r.index]}: {r.detail}"
            )

    @property
    def notes(self) -> tuple[str, ...]:
        notes = []
        if self._count:
            what = "is no observation" if self._count.total() == 1 else "are no observations"
            notes.append(
                f"note: {self._count.total():,} of {self.records:,} records {what} and left out, as a stream would: {self._why}"
            )
        if self._skipped:
            words = ", ".join(f"{count:,} {what}" for what, count in sorted(self._skipped.items()))
            notes.append(f"note: left out by a rule of the format: {words}")
        return tuple(notes)

    @property
    def nothing(self) -> str:
        """The error of a topic without an observation."""
        if not self.records:
            return f"topic {self._topic} holds no record; send some first, or name another"
        if not self._count:
            return f"topic {self._topic}: none of its {self.records:,} records holds an observation that has a value"
        mend = f"`tidewatch formats kafka:{self._topic}` shows what they are"
        if self._count.most_common(1)[0][0] == Reason.WRONG_CHANNELS:
            mend = "--channels says how many values each has, --table that they are rows of a table"
        return f"topic {self._topic}: none of its {self.records:,} records is an observation: {self._why}; {mend}"

    @property
    def _why(self) -> str:
        return ", ".join(f"{count:,} {reason} ({self._first[reason]})" for reason, count in self._count.most_common(3))


class _AsTheyAre:
    """In the place of a model's encoder, where rows are to be learnt from: they stay as they are."""

    def __init__(self, width: int) -> None:
        self.names = ("",) * width
        self.categorical: tuple[str, ...] = ()  # nobody knows yet: rows that hold texts are read one by one

    def encode(self, rows: Sequence[list[Any]], /) -> tuple[NDArray[np.float64], Mapping[int, str]]:
        return np.zeros((len(rows), 0)), {}

    def place(self, category: int, text: str, /) -> int:
        msg = f"{text!r} stands in none of these columns: none is a category"
        raise LookupError(msg)

    def encode_columns(self, numbers: NDArray[np.float64], places: NDArray[np.int64], /) -> NDArray[np.float64]:
        return np.zeros((len(numbers), 0))


def _decoder(
    batch: RecordBatch,
    kind: Kind | None,
    channels: int | None,
    format: str,  # noqa: A002  # the setting's name
    fields: Fields | None,
    named: Sequence[str],
) -> Decoder:
    """The decoder of a topic; what nobody says of it is told by its first records. Raises SettingsError."""
    if not named and format in ("auto", "native"):
        seen, width = _seen(batch.values)
        kind, channels = kind or seen, channels or width
        if format == "auto" and (kind, channels) != ("metric", 1):
            format = "native"  # noqa: A001
    kind, channels = kind or "metric", channels or 1
    features = _AsTheyAre(channels) if kind == "table" else None
    return Decoder(kind, channels, features, format=format, fields=fields, named=named)


class _Values(msgspec.Struct):
    values: list[float | str] | None = None


def _seen(values: Iterable[bytes | None]) -> tuple[Kind, int]:
    """What most of some native records hold: texts among several values are a table's."""
    widths: Counter[int] = Counter()
    texts = False
    for value in islice(values, LOOKED_AT):
        with suppress(msgspec.MsgspecError, UnicodeDecodeError, RecursionError, TypeError):
            row = msgspec.json.decode(value or b"", type=_Values).values or ()
            widths[len(row)] += 1
            texts |= any(isinstance(v, str) for v in row)
    width = widths.most_common(1)[0][0] if widths else 0
    return ("table" if texts and width > 1 else "metric"), max(width, 1)


class _Piece(NamedTuple):
    """Observations of one series, of one batch."""

    partition: int
    times: NDArray[np.int64]
    values: NDArray[Any]
    kinds: NDArray[np.uint8]
    begun: NDArray[np.int64]

    @classmethod
    def of(cls, observations: Observations, rows: NDArray[np.intp], partition: int) -> _Piece:
        kinds, begun = observations.kinds, observations.begun
        return cls(
            partition,
            observations.timestamps[rows],
            observations.values[rows] if observations.originals is None else _texts(observations.originals, rows),
            np.zeros(len(rows), np.uint8) if kinds is None else kinds[rows],
            np.zeros(len(rows), np.int64) if begun is None else begun[rows],
        )


def _whole(
    name: str, pieces: Sequence[_Piece], kinds: Kinds | None, joined: bool
) -> tuple[NDArray[np.int64], NDArray[Any]]:
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


def _texts(originals: Sequence[Sequence[Any]], rows: NDArray[np.intp]) -> NDArray[Any]:
    """Some rows of a table (n, C) as objects, as they were sent."""
    return np.array([originals[i] for i in rows.tolist()], object)


def _by_series(series: Sequence[str]) -> Iterator[tuple[str, NDArray[np.intp]]]:
    """Names and the rows of each, in order."""
    if not len(series):
        return
    names, which = np.unique(np.array(series, object), return_inverse=True)
    order = np.argsort(which, kind="stable")
    yield from zip(names, np.split(order, np.cumsum(np.bincount(which))[:-1]), strict=True)
