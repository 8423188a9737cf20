"""Bytes to columns: a poll's records become observations, or dead letters with a reason; no bytes make it raise.

    RecordBatch ──▶ native      plain ones in one compiled call, the others alone by msgspec      ──▶ Observations
                    telegraf    a parser of producers.formats, any number of points per record    ──▶ Rejected[]
                    otlp ...
                    batch       any number of observations in columns, whatever the format is (`pipeline.steps.compact`)

Every record is read from its own bytes, by a compiled loop (`pipeline.steps.reading.plain`) too. To join many for msgspec looks faster and is not (77-byte records,
one core: join 65, check 82, read 141 ns a record; one by one 160 ns), and it needs care that one record's bytes cannot reach
into the next: to msgspec's `decode_lines` a line break is white space also inside an object.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from functools import partial
from itertools import chain
from operator import attrgetter
from typing import cast

import numpy as np
from numpy.typing import NDArray

from pipeline.errors import SettingsError
from pipeline.steps.batches.binary import BinaryColumn
from pipeline.steps.batches.named import Named
from pipeline.steps.batches.observations import Observations
from pipeline.steps.batches.records import RecordBatch, Rejected
from pipeline.steps.compact.columns import observations_of
from pipeline.steps.reading import one_by_one
from pipeline.steps.reading.plain import Names
from pipeline.steps.reading.plain_rows import RowEncoder, RowReader
from producers.batches import MAGIC, count
from producers.formats import FOREIGN
from producers.formats.base import (
    MAX_POINTS,
    Parsed,
    Parser,
    Point,
    Reason,
    Unusable,
    checked_series,
    checked_time,
)
from producers.formats.channels import Channels, Row
from producers.formats.detect import format_of
from producers.formats.fields import Fields, parse_json
from producers.formats.native import Kind, One, Reader, reader_of_many, reader_of_one
from producers.formats.packed import GZIP, unpacked
from producers.formats.registry.schemas import Schema, Schemas, Unknown, schema_id
from producers.records import MAX_VALUE_BYTES, is_control

CONTROL = "control record"
"""Reason of a rejected record that is no observation because it is a control record, as versions before decisions wrote it; a dead letter, but in a log that is older than these."""

TOMBSTONE = "tombstone"
"""What is `skipped` of records without a value: the way in which Kafka's compacted topics say that a key is gone."""

MAX_BATCH_POINTS = 1_000_000
"""Points that are decoded before they are scored; some 250 bytes each."""

_BEST_RATIO = 1032  # of deflate

_KEYED = frozenset({"auto", "csv", "cloudevents", "json", "registry"})
"""Formats whose messages may leave the name to the key."""


class Decoder:
    """Reads the records of one stream.

    Parameters
    ----------
    kind
        `metric`: C numbers. `table`: a row of named columns, encoded by `features` to C numbers.
    channels
        C, as the model has it.
    features
        For tables; None for metrics.
    format
        `native`, or a foreign format (metrics only; of several channels with `named`).
    fields
        Which fields of records of one's own are what.
    named
        Which metrics of a message are the channels of one series, in order (`producers.formats.channels`); empty: each is a series.

    Attributes
    ----------
    skipped
        Points left out by a rule of their format (stale markers, text fields), and tombstones, since the start; for metrics.

    Raises
    ------
    SettingsError
        The format cannot bring what the model takes.
    """

    def __init__(
        self,
        kind: Kind,
        channels: int,
        features: RowEncoder | None = None,
        format: str = "native",  # noqa: A002  # the setting's name
        fields: Fields | None = None,
        named: Sequence[str] = (),
    ) -> None:
        if format != "native" and format not in FOREIGN:
            msg = f"unknown input format {format!r}; choose one of native, {', '.join(FOREIGN)}"
            raise SettingsError(msg)
        if named and (kind, channels) != ("metric", len(named)):
            what = "rows of a table" if kind == "table" else f"{channels} of them"
            msg = f"channels names {len(named)}, the model takes {what}: name those that it was trained with, or train one with these"
            raise SettingsError(msg)
        if format != "native" and not named and (kind, channels) != ("metric", 1):
            what = "a table" if kind == "table" else f"{channels} channels"
            mend = "use format native" if kind == "table" else "name them by the setting channels, or use format native"
            msg = f"format {format} brings metrics with one channel, the model takes {what}; {mend}"
            raise SettingsError(msg)
        if (kind == "table") != (features is not None):
            msg = f"a model of kind {kind} {'needs' if kind == 'table' else 'has no'} fitted features; train it again"
            raise SettingsError(msg)
        self.kind = kind
        self.format = format
        self.channels = channels
        self.features = features
        self.width = len(features.names) if features is not None else channels
        self.skipped: Counter[str] = Counter()
        fields = Fields() if fields is None else fields
        self._foreign: Parser | None = partial(parse_json, fields=fields) if format == "json" else FOREIGN.get(format)
        self._schemas = Schemas(fields) if format in ("registry", "auto") else None
        self._channels = Channels(named) if named else None
        self._by_record_time = fields.record_time
        self._unnamed = format in _KEYED or bool(named)
        self._one = reader_of_one() if (kind, channels) == ("metric", 1) else None
        self._many = reader_of_many(kind, self.width)
        self._names: list[Names] = []
        self._readers: list[RowReader] = []

    def missing(self, batch: RecordBatch) -> set[int]:
        """Ids of the schemas that these records need and that are not at hand: `learn` them before anything is read, or they are not known."""
        return set() if self._schemas is None else self._schemas.missing(batch.values)

    def learn(self, found: Mapping[int, Schema | Unknown]) -> None:
        """Take what a schema registry told of ids."""
        if self._schemas is not None:
            self._schemas.learn(found)

    def portions(self, batch: RecordBatch) -> Iterator[RecordBatch]:
        """The batch in pieces that hold at most `MAX_BATCH_POINTS`, or one record; nearly always it is the one piece.

        A foreign record holds any number of points, and what it unpacks to is not seen from outside: so it is bounded, not counted.
        A compact batch says how many it holds, none of less than 8 bytes.
        """
        if not len(batch) or (self._foreign is None and _bytes_of(batch.values) <= 8 * MAX_BATCH_POINTS):
            yield batch
            return
        most = np.cumsum([self._most_points(value) for value in batch.values])
        start, before = 0, 0
        while start < len(batch):
            stop = max(int(np.searchsorted(most, before + MAX_BATCH_POINTS, side="right")), start + 1)
            piece = batch if stop >= len(batch) else batch.before(int(batch.offsets[stop]))
            yield piece.since(int(batch.offsets[start]))
            if stop < len(batch):
                before = int(most[stop - 1])
            start = stop

    def decode(self, batch: RecordBatch) -> tuple[Observations, list[Rejected]]:
        """Observations in log order, and the records (each at most once, in log order) that hold what is none.

        A record of many points may be in both: its usable points are observations.
        """
        rejected: list[Rejected] = []
        readable, values = index, _ = _readable(batch, rejected, self.skipped)
        compact: list[int] = []
        if self._foreign is not None:
            observations = self._points(self._foreign, batch, index, values, rejected, compact)
        elif self._one is not None and isinstance(values, BinaryColumn):
            observations = self._plain(self._one, batch, values, rejected, compact)
        elif self._one is not None:
            ones, index = one_by_one.read(self._one, index, values, rejected, compact)
            series, ones, index = one_by_one.named([o.series for o in ones], ones, index, batch.keys, rejected)
            observations = Observations(
                offsets=batch.offsets[index],
                series=series,
                timestamps=np.fromiter([o.timestamp for o in ones], np.int64, len(ones)),
                values=np.fromiter([o.value for o in ones], np.float64, len(ones)).reshape(-1, 1),
            )
        else:
            observations = self._several(batch, index, values, rejected, compact)
        if compact and self.kind == "table":
            detail = "a compact batch holds numbers; rows of a table come as JSON"
            rejected += [Rejected(i, Reason.WRONG_TYPE, detail) for i in readable[compact].tolist()]
        elif compact:
            batches = [values[i] for i in compact]
            many_at_once = observations_of(batch, readable[compact], batches, self.width, rejected)
            observations = Observations.merged(observations, many_at_once)
        rejected.sort(key=attrgetter("index"))
        for r in rejected:
            if is_control(batch.keys[r.index], batch.values[r.index]):
                r.reason = CONTROL
        return observations, rejected

    def _plain(
        self,
        reader: Reader[One],
        batch: RecordBatch,
        values: BinaryColumn,
        rejected: list[Rejected],
        compact: list[int],
    ) -> Observations:
        """Observations of one channel as a fetch brought them, one of each record: the plain ones in one go, the others one by one."""
        names = self._names.pop().with_room() if self._names else Names()  # another thread may be reading with its own
        known, times, numbers = names.read(values)
        self._names.append(names)
        series: Sequence[str] = Named(known, names.texts)
        offsets = batch.offsets
        if not known.all():
            index, odd = np.arange(len(values)), np.flatnonzero(known == 0)
            series = list(series)
            others: list[int] = []
            ones, read = one_by_one.read(
                reader, odd, cast("list[bytes]", [values[i] for i in odd.tolist()]), rejected, others
            )
            compact += odd[others].tolist()
            found, ones, read = one_by_one.named([o.series for o in ones], ones, read, batch.keys, rejected)
            times[read] = [o.timestamp for o in ones]
            numbers[read] = [o.value for o in ones]
            for i, name in zip(read.tolist(), found, strict=True):
                series[i] = name
            if len(read) < len(odd):
                index = np.setdiff1d(index, np.setdiff1d(odd, read), assume_unique=True)
                series = [series[i] for i in index.tolist()]
                offsets, times, numbers = offsets[index], times[index], numbers[index]
        return Observations(offsets, series, times, numbers.reshape(-1, 1))

    def _most_points(self, value: bytes | None) -> int:
        most = _most_points(value, self.format)
        return most if self._schemas is None or value is None else most + self._schemas.most_points(value)

    def _parsed(self, parse: Parser, value: bytes) -> Parsed:
        """Points of one record. Raises Unusable."""
        if self._schemas is not None and schema_id(value):
            return self._schemas.parse(value)
        return parse(unpacked(value) if value.startswith(GZIP) else value)

    def _found(self, parse: Parser, value: bytes) -> tuple[Sequence[Point | Row], Parsed]:
        """What one record holds, of which `Parsed` says what is left out and refused. Raises Unusable."""
        if self._channels is None:
            parsed = self._parsed(parse, value)
            return parsed.points, parsed
        if self.format == "auto":
            plain = unpacked(value) if value.startswith(GZIP) else value
            if format_of(plain) == "native":  # it says all of its channels at once
                return [self._native_row(plain)], Parsed()
        parsed = self._parsed(parse, value)
        return self._channels.rows(parsed), parsed

    def _native_row(self, value: bytes) -> Row:
        try:
            many = self._many.decode(value)
        except one_by_one.ERRORS:
            many = self._many.reread(value)
        return Row(checked_series(many.series or ""), many.timestamp, many.values)

    def _several(
        self,
        batch: RecordBatch,
        index: NDArray[np.intp],
        values: Sequence[bytes],
        rejected: list[Rejected],
        compact: list[int],
    ) -> Observations:
        """Observations of several channels or of a table's columns, one of each record: the plain ones in one go, the others one by one."""
        column = values if isinstance(values, BinaryColumn) else BinaryColumn.of(values)
        reader = self._readers.pop().with_room() if self._readers else RowReader(self.width, self.features)
        rows = reader.read(column)
        self._readers.append(reader)
        odd = np.flatnonzero(rows.names == 0)
        dropped = np.zeros(len(index), np.bool_)
        if len(odd):
            others: list[int] = []
            some = cast("list[bytes]", [values[i] for i in odd.tolist()])
            many, read = one_by_one.read(self._many, index[odd], some, rejected, others)
            compact += odd[others].tolist()
            series, many, read = one_by_one.named([o.series for o in many], many, read, batch.keys, rejected)
            failed = rows.put(np.searchsorted(index, read), series, many)
            rejected += [Rejected(int(read[i]), Reason.UNENCODABLE_ROW, why) for i, why in failed.items()]
            dropped[odd] = True
            dropped[np.searchsorted(index, np.delete(read, list(failed)))] = False
        if dropped.any():
            keep = np.flatnonzero(~dropped)
            index, rows = index[keep], rows.take(keep)
        return Observations(batch.offsets[index], rows.series, rows.times, rows.values, originals=rows.originals)

    def _points(
        self,
        parse: Parser,
        batch: RecordBatch,
        index: NDArray[np.intp],
        values: Sequence[bytes],
        rejected: list[Rejected],
        compact: list[int],
    ) -> Observations:
        """Observations of a foreign format: any number of points in each record. Which are compact batches is told, and left to others."""
        points: list[Point | Row] = []
        counts = np.zeros(len(values), np.intp)
        for i, value in enumerate(values):
            if value.startswith(MAGIC):
                compact.append(i)
                continue
            try:
                found, parsed = self._found(parse, value)
                if self._by_record_time:
                    at = _record_time(int(batch.timestamps[index[i]]))
                    found = [p._replace(timestamp=at) for p in found]
                if self._unnamed:
                    found = [_keyed(p, batch.keys[index[i]]) for p in found]
            except Unusable as error:
                rejected.append(Rejected(int(index[i]), error.reason, error.detail))
                continue
            points += found
            counts[i] = len(found)
            if parsed.skipped:
                self.skipped.update(parsed.skipped)
            if parsed.refused:  # one dead letter a record, however many points are wrong
                first, others = parsed.refused[0], len(parsed.refused) - 1
                detail = f"{first.detail} (and {others} more points)" if others else first.detail
                rejected.append(Rejected(int(index[i]), first.reason, detail))
        n = len(points)
        # All columns in one go; none has an empty row to say how many there are.
        series, timestamps, held, *more = zip(*points, strict=True) if points else ((), (), (), (), ())
        flat = held if self._channels is None else chain.from_iterable(held)
        observations = Observations(
            offsets=batch.offsets[np.repeat(index, counts)],
            series=list(series),
            timestamps=np.fromiter(timestamps, np.int64, n),
            values=np.fromiter(flat, np.float64, n * self.width).reshape(-1, self.width),
        )
        if self._channels is None:
            kinds, begun = np.fromiter(more[0], np.uint8, n), np.fromiter(more[1], np.int64, n)
            observations.kinds = kinds if kinds.any() else None
            observations.begun = begun if begun.any() else None
        return observations


def _bytes_of(values: Sequence[bytes | None]) -> int:
    if isinstance(values, BinaryColumn):
        return values.size
    try:
        return sum(map(len, cast("Sequence[bytes]", values)))
    except TypeError:  # a None among them
        return sum(len(value) for value in values if value is not None)


def _most_points(value: bytes | None, format: str) -> int:  # noqa: A002  # the setting's name
    """Points of two bytes each, the shortest that any format has; where it may be packed, of as much as the best packer unpacks to."""
    if not value:
        return 0
    if value.startswith(MAGIC):
        return count(value)
    if format == "native":
        return 1
    packed = value.startswith(GZIP)
    if (
        format in ("remote-write", "auto") and value[0] > 127
    ):  # Snappy says its length first: here, of 128 bytes or more
        packed = True
    if format in ("cloudevents", "auto") and (b"data_base64" in value or b"\\u" in value):
        packed = True
    return min((len(value) * _BEST_RATIO if packed else len(value)) // 2 + 1, MAX_POINTS)


def _readable(
    batch: RecordBatch, rejected: list[Rejected], skipped: Counter[str]
) -> tuple[NDArray[np.intp], Sequence[bytes]]:
    """Index and values of the records that are neither tombstones nor too large nor refused: nearly always all of them."""
    values = batch.values
    if isinstance(values, BinaryColumn):
        if not batch.refused and values.longest <= MAX_VALUE_BYTES and not values.has_none:
            return np.arange(len(values)), cast("Sequence[bytes]", values)
        values = values.listed()
    try:
        if not batch.refused and max(map(len, cast("Sequence[bytes]", values)), default=0) <= MAX_VALUE_BYTES:
            return np.arange(len(values)), cast("Sequence[bytes]", values)
    except TypeError:  # a None among them
        pass
    index: list[int] = []
    readable: list[bytes] = []
    for i, value in enumerate(values):
        if refused := batch.refused.get(int(batch.offsets[i])) if batch.refused else None:
            rejected.append(Rejected(i, refused.reason, refused.detail))
        elif value is None:
            skipped[TOMBSTONE] += 1
        elif len(value) > MAX_VALUE_BYTES:
            rejected.append(Rejected(i, Reason.TOO_LARGE, f"{len(value)} bytes; the limit is {MAX_VALUE_BYTES}"))
        else:
            index.append(i)
            readable.append(value)
    return np.array(index, np.intp), readable


def _record_time(milliseconds: int) -> int:
    """Kafka's time of a record. Raises Unusable where it has none."""
    if milliseconds < 0:
        raise Unusable(Reason.ABSURD_TIMESTAMP, "Kafka has no time of it; have the producer say one")
    return checked_time(milliseconds)


def _keyed(point: Point | Row, key: bytes | None) -> Point | Row:
    """The point, named by the record's key where it names no series itself."""
    return point if point.series else point._replace(series=checked_series(one_by_one.key_of(key)))
