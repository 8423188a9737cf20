"""Kafka's record batches, read so that no bytes in them cost more than a bounded time and memory.

    a fetch's bytes ──▶ FetchedBatches ──▶ BoundedBatch ──▶ unpacked up to MOST ──▶ records, and what could not be read

Stands in for aiokafka's `MemoryRecords`, which unpacks a batch before anybody can ask how large it is. A batch of many records is read as columns
(`BoundedBatch.table`), a small one by aiokafka's compiled reader. One that is large, old (formats 0 and 1), or not what it says of itself is read
here, record by record: the good records up to the first that cannot be read, then one `Refused` for the rest of the batch.
"""

from __future__ import annotations

import struct
import zlib
from collections.abc import Iterator, Sequence
from itertools import islice
from typing import Any, NamedTuple, Self

import aiokafka
import aiokafka.consumer.fetcher
import numpy as np
import structlog
from aiokafka.errors import CorruptRecordException
from aiokafka.record.default_records import DefaultRecordBatch
from aiokafka.record.util import calc_crc32c
from numpy.typing import NDArray

from detectors.compiling import RECORDS, compiled
from pipeline.errors import SettingsError
from pipeline.kafka.kernels import fields as field
from pipeline.kafka.unpacking import LZ4, NONE, Unpacked, unpack
from pipeline.steps.batches.binary import BinaryColumn, Strings
from pipeline.steps.batches.records import Refused
from producers.formats.base import Reason

log = structlog.get_logger(__name__)

KNOWN = frozenset({"0.12.0", "0.13.0", "0.14.0"})
"""Versions of aiokafka whose fetcher takes `FetchedBatches`."""

MANY = 64
"""Records from which on a batch is read by the compiled function of our own: for fewer, its columns cost more than their objects."""
QUICK = 4 << 20
"""Bytes up to which compiled readers read a batch: aiokafka's makes objects of headers too, one for every two bytes at worst, and ours a table of eight times as many."""
HEADERS = 1_000
"""Headers that a record may have for whoever asks for them: where it has more, none are told."""
HEAD = 1024
"""Bytes of a value that could not be read whole, for whoever looks at the dead letter."""

_LOG_OVERHEAD = 12  # offset and length, not counted in the length
_MAGIC_AT = 16
_V2 = struct.Struct(">qiibIhiqqqhii")
_V2_CRC_FROM = 21
_LEGACY_SMALLEST = 26  # bytes of a message of format 0 without key and value
_CODEC, _APPEND_TIME, _TRANSACTIONAL, _CONTROL = 0x07, 0x08, 0x10, 0x20
_INT64 = 1 << 63
_SMALLEST = 7
"""Bytes of a record without key, value and headers."""


class Record(NamedTuple):
    """One record; `timestamp` in ms, -1 where the format has none. What nobody here asks for is left out."""

    offset: int
    timestamp: int
    key: bytes | None
    value: bytes | None
    timestamp_type: int | None = None
    checksum: int | None = None
    headers: tuple[tuple[str, bytes | None], ...] = ()


class Part(NamedTuple):
    """Records that follow each other, as columns; what nobody here asks for is left out."""

    offsets: NDArray[np.int64]
    timestamps: NDArray[np.int64]
    keys: Strings
    values: Strings

    @classmethod
    def of(cls, records: Sequence[Any]) -> Self:
        """From records one by one."""
        return cls(
            np.array([r.offset for r in records], np.int64),
            np.array([r.timestamp for r in records], np.int64),
            [r.key for r in records],
            [r.value for r in records],
        )

    def since(self, offset: int) -> Self:
        """Without those before an offset."""
        if not len(self.offsets) or self.offsets[0] >= offset:
            return self
        at = int(np.searchsorted(self.offsets, offset))
        return type(self)(self.offsets[at:], self.timestamps[at:], self.keys[at:], self.values[at:])


class Table(NamedTuple):
    """All records of one batch.

    Attributes
    ----------
    data
        Where they lie.
    offsets, timestamps : (N,)
    places : (7, N)
        `pipeline.kafka.kernels.fields`.
    """

    data: bytes
    offsets: NDArray[np.int64]
    timestamps: NDArray[np.int64]
    places: NDArray[np.int64]

    def part(self, start: int, count: int) -> Part:
        """Some of them; of a large batch only their own bytes are kept."""
        stop = min(start + count, len(self.offsets))
        places = self.places[:, start:stop]
        begin = int(places[field.AT, 0]) if start < stop else 0
        end = int(self.places[field.AT, stop]) if stop < len(self.offsets) else len(self.data)
        data = self.data[begin:end]  # the same object where it is all
        keys, values = (
            BinaryColumn(data, places[a] - begin, np.where(places[b] < 0, -1, places[b] - begin))
            for a, b in ((field.KEY, field.KEY_END), (field.VALUE, field.VALUE_END))
        )
        return Part(self.offsets[start:stop], self.timestamps[start:stop], keys, values)


class _Unreadable(Exception):
    """Why a record cannot be read."""


class BoundedBatch:
    """One batch; what it says of itself is believed only as far as it is checked.

    Attributes
    ----------
    base_offset, next_offset
        The first offset and the one behind the last; of a packed message of formats 0 and 1 only the last is told.
    producer_id
        None where the format has none.
    refused
        What `careful` came to that it could not read.
    """

    def __init__(self, raw: bytes) -> None:
        self._raw = raw
        self._unpacked: Unpacked | None = None
        self._one_by_one: Iterator[Record] | None = None
        self._at = 0
        self.magic = raw[_MAGIC_AT]
        self.refused: Refused | None = None
        self.is_transactional = self.is_control_batch = False
        self.producer_id: int | None = None
        if self.magic < 2:
            self.base_offset, _, self._crc, _, self._attributes = struct.unpack_from(">qiIbb", raw)
            self.next_offset = self.base_offset + 1
            return
        fields = _V2.unpack_from(raw)
        last_delta: int
        self.base_offset, _, _, _, self._crc, self._attributes, last_delta = fields[:7]
        self._first_timestamp, self._max_timestamp, self.producer_id, _, _, self._count = fields[7:]
        self.next_offset = self.base_offset + max(last_delta, 0) + 1
        self.is_transactional = bool(self._attributes & _TRANSACTIONAL)
        self.is_control_batch = bool(self._attributes & _CONTROL)

    @property
    def held(self) -> int:
        """Bytes of it in memory, unpacked; about."""
        return len(self._raw) if self._unpacked is None else len(self._unpacked.data)

    def validate_crc(self) -> bool:
        """Whether the bytes are those that were written."""
        if self.magic < 2:
            return bool(zlib.crc32(memoryview(self._raw)[_MAGIC_AT:]) == self._crc)
        return bool(calc_crc32c(memoryview(self._raw)[_V2_CRC_FROM:]) == self._crc)

    def records(self, *, headers: bool = False) -> Iterator[Any]:
        """The records; an error of some kind where one cannot be read: then `careful` says how far it goes.

        Without `headers` a record may come without its own.
        """
        if self.magic < 2:
            return self.careful()
        if self._attributes & _CODEC == NONE and len(self._raw) <= QUICK:
            return iter(DefaultRecordBatch(self._raw))
        unpacked = self._unpack()
        if unpacked.fault or len(unpacked.data) > QUICK:
            return self.careful(headers=headers)
        head = bytearray(self._raw[: _V2.size])
        struct.pack_into(">h", head, _V2_CRC_FROM, self._attributes & ~_CODEC)
        return iter(DefaultRecordBatch(bytes(head) + unpacked.data))

    def table(self) -> Table | None:
        """Where all records lie, at once; None for few, a large batch, an old one, and one that is not what it says: those are read one by one."""
        if self.magic < 2 or self._count < MANY or len(self._raw) > QUICK:
            return None
        data = self._unpack()
        if data.fault or len(data.data) > QUICK or self._count > len(data.data) // _SMALLEST:
            return None
        out, whole = np.empty((7, self._count), np.int64), np.empty(1, np.bool_)
        compiled(RECORDS)(np.frombuffer(data.data, np.uint8), self.next_offset - self.base_offset, out, whole)
        if not whole[0]:
            return None
        stamps = self._first_timestamp + out[field.STAMP]
        if self._attributes & _APPEND_TIME:
            stamps = np.full(self._count, self._max_timestamp, np.int64)
        return Table(data.data, self.base_offset + out[field.OFFSET], stamps, out)

    def careful(self, *, headers: bool = False) -> Iterator[Record]:
        """The records up to the first that cannot be read; `refused` is set where there is such a one."""
        last = -1 if self.magic < 2 else self.base_offset - 1
        why = ""
        try:
            for record in self._legacy() if self.magic < 2 else self._default(headers=headers):
                if not last < record.offset < self.next_offset:
                    why = f"the offset {record.offset} stands out of order"
                    break
                last = record.offset
                yield record
        except _Unreadable as error:
            why = str(error)
        except (struct.error, IndexError):
            why = "the record ends too early"
        if why:
            self._refuse(last + 1, why)

    def __iter__(self) -> Iterator[Record]:
        return self

    def __next__(self) -> Record:
        if self._one_by_one is None:
            self._one_by_one = self._for_others()
        return next(self._one_by_one)

    def _for_others(self) -> Iterator[Any]:
        """What aiokafka itself hands on to whoever reads one by one: a log line for what cannot be read."""
        done = 0
        try:
            for record in self.records(headers=True):
                yield record
                done += 1
        except Exception:  # whatever the compiled reader stumbles over
            yield from islice(self.careful(headers=True), done, None)
        if self.refused is not None:
            log.warning(
                "records that cannot be read are passed over", offset=self.refused.offset, reason=self.refused.detail
            )

    def _unpack(self) -> Unpacked:
        if self._unpacked is None:
            self._unpacked = (
                Unpacked(self._raw[_V2.size :])
                if self._attributes & _CODEC == NONE
                else unpack(self._attributes & _CODEC, self._raw[_V2.size :])
            )
        return self._unpacked

    def _default(self, *, headers: bool) -> Iterator[Record]:
        """Records of format 2."""
        data, at = self._unpack().data, 0
        for _ in range(self._count):
            self._at = at
            if at >= len(data):
                msg = "it ends before the record"
                raise _Unreadable(msg)
            size, start = _varint(data, at)
            end = start + size
            if size < 0 or end > len(data):
                msg = f"a record of {size} bytes"
                raise _Unreadable(msg)
            stamp, delta, key, value, after = _fields(data, start)
            if after > end:
                msg = "its fields reach beyond the record"
                raise _Unreadable(msg)
            own = _headers(data, after, end) if headers else ()
            yield Record(self.base_offset + delta, self._timestamp(stamp), key, value, headers=own)
            at = end
        if self._count < 0 or at < len(data):
            msg = f"the batch says that it has {self._count} records and holds something else"
            raise _Unreadable(msg)

    def _timestamp(self, delta: int) -> int:
        if self._attributes & _APPEND_TIME:
            return int(self._max_timestamp)
        return int(self._first_timestamp + delta + _INT64) % (2 * _INT64) - _INT64  # as the compiled reader has it

    def _legacy(self) -> Iterator[Record]:
        """Messages of formats 0 and 1: one, or a packed message whose value holds many."""
        offset, stamp, codec, key, value = _message(self._raw, 0)
        if codec == NONE:
            yield Record(offset, stamp, key, value)
            return
        if value is None or (self.magic == 0 and codec == LZ4):  # framed as no library can read it (KAFKA-3160)
            msg = "a packed message without a value" if value is None else "lz4 in message format 0"
            raise _Unreadable(msg)
        self._unpacked = unpack(codec, value)
        if self._unpacked.fault:  # offsets count back from the last message
            raise _Unreadable(self._unpacked.fault)
        inner = list(_set_of_messages(self._unpacked.data))
        before = 0 if self.magic == 0 or not inner else offset - inner[-1][0]
        for own_offset, own_stamp, own_codec, own_key, own_value in inner:
            if own_codec != NONE:
                msg = "packed twice"
                raise _Unreadable(msg)
            when = stamp if self._attributes & _APPEND_TIME else own_stamp
            yield Record(own_offset + before, when, own_key, own_value)

    def _refuse(self, offset: int, why: str) -> None:
        if self.magic < 2 and not offset:  # a packed message whose first offset is inside
            offset = self.next_offset - 1
        if offset >= self.next_offset:  # something behind the last record: no offset is without its record
            return
        unpacked = self._unpacked or Unpacked(b"")
        last = self.next_offset - 1
        where = f"offset {last}" if offset >= last else f"offsets {offset} to {last}"
        fault = f"; {unpacked.fault}" if unpacked.fault and unpacked.fault != why else ""
        detail = f"{why}{fault}; {where} of a batch of {len(self._raw)} bytes cannot be read"
        size, key, head = _glance(unpacked.data, self._at) if self.magic >= 2 else (-1, None, b"")
        reason = Reason.TOO_LARGE if unpacked.too_long else Reason.DAMAGED
        self.refused = Refused(offset, reason, detail, size if size >= 0 else len(self._raw), key, head)


def _varint(data: bytes, at: int) -> tuple[int, int]:
    """A zigzag varint of at most ten bytes, and the position behind it."""
    byte = data[at]
    if byte < 0x80:  # nearly always
        return (byte >> 1) ^ -(byte & 1), at + 1
    result = shift = 0
    while True:
        byte = data[at]
        at += 1
        result |= (byte & 0x7F) << shift
        if byte < 0x80:
            return (result >> 1) ^ -(result & 1), at
        shift += 7
        if shift > 63:
            msg = "a number that does not end"
            raise _Unreadable(msg)


def _fields(data: bytes, at: int) -> tuple[int, int, bytes | None, bytes | None, int]:
    """Time and offset relative to the batch, key, value, and the position behind the value."""
    stamp, at = _varint(data, at + 1)  # one byte of attributes, unused
    delta, at = _varint(data, at)
    size, at = _varint(data, at)
    key = data[at : at + size] if size >= 0 else None
    at += max(size, 0)
    size, at = _varint(data, at)
    value = data[at : at + size] if size >= 0 else None
    return stamp, delta, key, value, at + max(size, 0)


def _headers(data: bytes, at: int, end: int) -> tuple[tuple[str, bytes | None], ...]:
    """What lies between a record's value and its end; nothing where that is not what it says, or is too many."""
    found = []
    try:
        count, at = _varint(data, at)
        for _ in range(count if count <= HEADERS else 0):
            size, at = _varint(data, at)
            name, at = data[at : at + max(size, 0)].decode(), at + max(size, 0)
            size, at = _varint(data, at)
            found.append((name, data[at : at + size] if size >= 0 else None))
            at += max(size, 0)
    except (_Unreadable, IndexError, UnicodeDecodeError):
        return ()
    return tuple(found) if at == end else ()


def _glance(data: bytes, at: int) -> tuple[int, bytes | None, bytes]:
    """Of a record that cannot be read whole: its size as it says (-1: unknown), its key and the head of its value."""
    size, key, head = -1, None, b""
    try:
        size, at = _varint(data, at)
        _, at = _varint(data, at + 1)
        _, at = _varint(data, at)
        length, at = _varint(data, at)
        if 0 <= length <= len(data) - at:
            key = data[at : at + min(length, HEAD)]
        at += max(length, 0)
        length, at = _varint(data, at)
        head = data[at : at + min(max(length, 0), HEAD)]
    except (_Unreadable, IndexError):
        pass
    return size, key, head


def _set_of_messages(data: bytes) -> Iterator[tuple[int, int, int, bytes | None, bytes | None]]:
    at = 0
    while at < len(data):
        yield _message(data, at)
        at += _LOG_OVERHEAD + int(struct.unpack_from(">i", data, at + 8)[0])


def _message(data: bytes, at: int) -> tuple[int, int, int, bytes | None, bytes | None]:
    """Offset, time stamp, codec, key and value of a message of format 0 or 1."""
    offset, length, _, magic, attributes = struct.unpack_from(">qiIbb", data, at)
    end = at + _LOG_OVERHEAD + length
    if length < _LEGACY_SMALLEST - _LOG_OVERHEAD or end > len(data) or magic not in (0, 1):
        msg = "a message that is not what it says"
        raise _Unreadable(msg)
    at += 18
    stamp = -1
    if magic == 1:
        (stamp,) = struct.unpack_from(">q", data, at)
        at += 8
    key, at = _bytes(data, at, end)
    value, at = _bytes(data, at, end)
    return offset, stamp, attributes & _CODEC, key, value


def _bytes(data: bytes, at: int, end: int) -> tuple[bytes | None, int]:
    (size,) = struct.unpack_from(">i", data, at)
    at += 4
    if size < -1 or at + size > end:
        msg = "a length that reaches beyond the message"
        raise _Unreadable(msg)
    return (None, at) if size < 0 else (data[at : at + size], at + size)


class FetchedBatches:
    """The batches in what a fetch brought of one partition: what aiokafka's `MemoryRecords` is to it, and what it does not tell."""

    def __init__(self, data: bytes) -> None:
        self._data = data
        self._at = 0

    def size_in_bytes(self) -> int:
        """Bytes in all."""
        return len(self._data)

    def has_next(self) -> bool:
        """Whether there is another: the last one is mostly cut, and comes whole with the next fetch; the first never is."""
        end = self._end()
        return end < 0 or end <= len(self._data) or (self._at == 0 and bool(self._data))

    def next_batch(self, *, check: bool = False, log_end: int = 1 << 62) -> BoundedBatch:
        """The next one.

        Raises
        ------
        CorruptRecordException
            Its head, or with `check` its checksum, is wrong, or it lies behind the log's end. It stays the next.
        """
        end = self._end()
        if end < 0 or end > len(self._data):
            msg = "a record batch has an impossible length"
            raise CorruptRecordException(msg)
        raw = self._data[self._at : end]
        if raw[_MAGIC_AT] > 2:
            msg = f"a record batch of format {raw[_MAGIC_AT]}, which nobody knows"
            raise CorruptRecordException(msg)
        batch = BoundedBatch(raw)
        if check and not batch.validate_crc():
            msg = "a record batch has a wrong checksum"
            raise CorruptRecordException(msg)
        if not 0 <= batch.base_offset < batch.next_offset <= log_end:
            msg = f"a record batch says that it ends at offset {batch.next_offset}, the log at {log_end}"
            raise CorruptRecordException(msg)
        self._at = end
        return batch

    def behind(self, position: int, end: int) -> int:
        """Where to read on behind the next batch where it is not to be believed; `end` is the log's.

        Where the batch behind it begins, else where it says itself that it ends, as far as that can be, else the next offset.
        """
        after, said = self._end(), -1
        if 0 <= after <= len(self._data) - _LOG_OVERHEAD:
            said = int(struct.unpack_from(">q", self._data, after)[0])
        elif len(self._data) - self._at >= _V2.size and self._data[self._at + _MAGIC_AT] == 2:
            said = BoundedBatch(self._data[self._at : self._at + _V2.size]).next_offset
        return said if position < said <= end else position + 1

    def _end(self) -> int:
        """Where the next batch ends; -1: it says what cannot be; beyond the data: there is none, or not all of it."""
        left = len(self._data) - self._at
        if left <= _MAGIC_AT:
            return len(self._data) + 1
        (length,) = struct.unpack_from(">i", self._data, self._at + 8)
        smallest = _V2.size if self._data[self._at + _MAGIC_AT] >= 2 else _LEGACY_SMALLEST
        return -1 if length < smallest - _LOG_OVERHEAD else self._at + _LOG_OVERHEAD + int(length)


def install() -> None:
    """Make aiokafka's consumers in this process read with it. Raises SettingsError where this aiokafka is not known to do so."""
    fetcher = aiokafka.consumer.fetcher
    if aiokafka.__version__ not in KNOWN:
        msg = f"aiokafka {aiokafka.__version__} is installed, which this was not written for: install one of {', '.join(sorted(KNOWN))}"
        raise SettingsError(msg)
    fetcher.MemoryRecords = FetchedBatches
