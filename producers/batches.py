"""Compact batches: one message holds many observations, in columns. What producers write where there is much; JSON stays for people.

    head        ff 54 57 42 · version · channels · observations N · names, their bytes · sources, their bytes        28 bytes, little-endian
    texts       the names of the series, and of the sources: UTF-8, a NUL between two
    integers    series · time · kind · begun [· source · offset · number]: of each width, base, N differences from the base
    values      N x channels float64

A message may say where each observation comes from: a *source* (who read it, which topic by Kafka's id, which partition: any text that stays
the same) and its *position* there (offset, and the how-manyeth of that record). Whoever reads such batches drops what it has seen of a source
(`pipeline.steps.compact.positions`), so writing something twice does no harm. docs/batches.md is the specification.

Every length is checked before anything is made of it, and nothing unpacks to more than it says: a column of N integers may be constant, but
the values always take 8 N bytes.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

from producers.records import MAX_SERIES_BYTES

MAGIC = b"\xffTWB"  # no text begins so, nor gzip, protobuf, Avro or a registry's schema id
VERSION = 1
MAX_OBSERVATIONS = 100_000
"""Of one message."""
MAX_CHANNELS = 4096
MAX_SOURCES = 4096
"""Of one message."""
MAX_SOURCE_BYTES = 255
USUAL_BYTES = 256 << 10
"""From here on a writer begins another message: small enough for any topic, large enough that its head costs nothing."""

_HEAD = struct.Struct("<4sBxHIIIII")
_COLUMN = struct.Struct("<Bq")
_ZEROS = _COLUMN.pack(0, 0)
_TYPES: dict[int, np.dtype[Any]] = {width: np.dtype(f"<u{width}") for width in (1, 2, 4, 8)}
_KINDS = 3
_REMEMBERED = 64 << 10  # bytes of names, at most, that are looked for among those of other messages

Positions = tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.int64]]
"""Of each observation its source (an index into `Batch.sources`), and offset and number there, each (N,)."""


class Damaged(ValueError):
    """Bytes that are no compact batch, and why."""


@dataclass(frozen=True, slots=True)
class Batch:
    """Observations in columns.

    Attributes
    ----------
    names
        The series, each once; `series` (N,) says whose an observation is.
    timestamps : (N,) int64
        Event time, ms since the epoch.
    values : (N, C) float64
    kinds : (N,) uint8 or None
        Gauge, counter or delta (`producers.formats.base`); None: all are gauges.
    begun : (N,) int64 or None
        Since when counters and deltas count, ms; None: of none of them known.
    sources
        Where observations come from; empty: that is not told, and `positions` is None.
    """

    names: Sequence[str]
    series: NDArray[np.intp]
    timestamps: NDArray[np.int64]
    values: NDArray[np.float64]
    kinds: NDArray[np.uint8] | None = None
    begun: NDArray[np.int64] | None = None
    sources: Sequence[str] = ()
    positions: Positions | None = None

    def __len__(self) -> int:
        return len(self.series)


def is_batch(value: bytes | None) -> bool:
    """Whether a value says that it is a compact batch."""
    return value is not None and value.startswith(MAGIC)


def encode(batch: Batch) -> bytes:
    """The message. It has no more than `MAX_OBSERVATIONS`; see `split`.

    Raises
    ------
    ValueError
        A name is empty, too long, or holds a NUL.
    """
    n, channels = batch.values.shape
    names, sources = _texts(batch.names, MAX_SERIES_BYTES), _texts(batch.sources, MAX_SOURCE_BYTES)
    none = np.zeros(n, np.int64)
    columns: list[NDArray[np.int64]] = [
        batch.series.astype(np.int64),
        batch.timestamps,
        none if batch.kinds is None else batch.kinds.astype(np.int64),
        none if batch.begun is None else batch.begun,
        *(batch.positions or ()),
    ]
    return b"".join(
        [
            _HEAD.pack(MAGIC, VERSION, channels, n, len(batch.names), len(names), len(batch.sources), len(sources)),
            names,
            sources,
            *map(_column, columns),
            np.ascontiguousarray(batch.values, "<f8").tobytes(),
        ]
    )


def decode(value: bytes) -> Batch:
    """What a message holds; whether times and values are usable is the reader's to say.

    Raises
    ------
    Damaged
        It is not whole, or not of this version.
    """
    if len(value) < _HEAD.size:
        raise Damaged(f"{len(value)} bytes are no whole batch")
    magic, version, channels, n, names, names_size, sources, sources_size = _HEAD.unpack_from(value)
    if magic != MAGIC:
        raise Damaged("it is no compact batch")
    if version != VERSION:
        raise Damaged(f"a compact batch of version {version}; this one reads {VERSION}")
    if not (
        0 < n <= MAX_OBSERVATIONS
        and 0 < channels <= MAX_CHANNELS
        and 0 < names <= MAX_OBSERVATIONS
        and sources <= MAX_SOURCES
    ):
        raise Damaged(
            f"{n} observations of {names} series with {channels} channels from {sources} sources is none, or too many"
        )
    if len(value) < _HEAD.size + names_size + sources_size + 8 * n * channels:
        raise Damaged("it ends too early")
    at = _HEAD.size
    series_names = _split(value[at : at + names_size], names, MAX_SERIES_BYTES)
    at += names_size
    source_names = _split(value[at : at + sources_size], sources, MAX_SOURCE_BYTES)
    at += sources_size
    series, at = _read(value, at, n, below=names)
    timestamps, at = _read(value, at, n)
    kinds = begun = None
    if value.startswith(_ZEROS, at):
        at += _COLUMN.size
    else:
        kinds, at = _read(value, at, n, below=_KINDS)
    if value.startswith(_ZEROS, at):
        at += _COLUMN.size
    else:
        begun, at = _read(value, at, n)
    positions = None
    if sources:
        source, at = _read(value, at, n, below=sources)
        offset, at = _read(value, at, n, below=1 << 62)
        number, at = _read(value, at, n, below=1 << 62)
        positions = source, offset, number
    if len(value) - at != 8 * n * channels:
        raise Damaged(f"{len(value) - at} bytes of values, not {8 * n * channels}")
    values = np.frombuffer(value, "<f8", n * channels, at).astype(np.float64).reshape(n, channels)
    return Batch(
        series_names,
        series.astype(np.intp, copy=False),
        timestamps,
        values,
        None if kinds is None else kinds.astype(np.uint8),
        begun,
        source_names,
        positions,
    )


def count(value: bytes) -> int:
    """How many observations a batch says that it holds; what is no batch holds none."""
    return min(_HEAD.unpack_from(value)[3], len(value) // 8) if is_batch(value) and len(value) >= _HEAD.size else 0


def anew(value: bytes) -> bytes:
    """A batch without where its observations come from: sent again on purpose, it is not taken for what was seen. Anything else as it is."""
    if not is_batch(value):
        return value
    try:
        return encode(replace(decode(value), sources=(), positions=None))
    except Damaged:
        return value


def split(batch: Batch, most_bytes: int = USUAL_BYTES) -> Iterator[Batch]:
    """The batch in pieces of about so many bytes, or one observation, each with the names and sources that it needs."""
    batch = _part(batch, slice(None))
    width = 8 * batch.values.shape[1] + 16
    size = np.cumsum(np.array([len(name) for name in batch.names], np.int64)[batch.series] + width)
    start = 0
    while start < len(batch):
        before = int(size[start - 1]) if start else 0
        stop = max(int(np.searchsorted(size, before + most_bytes, side="right")), start + 1)
        stop = min(stop, start + MAX_OBSERVATIONS)
        yield batch if stop - start == len(batch) else _part(batch, slice(start, stop))
        start = stop


def _part(batch: Batch, of: slice) -> Batch:
    names, series = _used(batch.names, batch.series[of])
    sources: Sequence[str] = ()
    positions: Positions | None = None
    if batch.positions is not None:
        source, offset, number = (column[of] for column in batch.positions)
        sources, source = _used(batch.sources, source)
        positions = source.astype(np.int64), offset, number
    return Batch(
        names,
        series.astype(np.intp),
        batch.timestamps[of],
        batch.values[of],
        None if batch.kinds is None else batch.kinds[of],
        None if batch.begun is None else batch.begun[of],
        sources,
        positions,
    )


def _used(texts: Sequence[str], index: NDArray[np.int64] | NDArray[np.intp]) -> tuple[Sequence[str], NDArray[np.intp]]:
    used, index_now = np.unique(index, return_inverse=True)
    return [texts[i] for i in used.tolist()], index_now


def _texts(texts: Sequence[str], longest: int) -> bytes:
    joined = "\0".join(texts)
    if texts and (joined.count("\0") != len(texts) - 1 or not all(0 < len(t.encode()) <= longest for t in texts)):
        wrong = next(t for t in texts if "\0" in t or not 0 < len(t.encode()) <= longest)
        raise ValueError(f"{ascii(wrong)[:60]} cannot be named in a batch: 1 to {longest} bytes without a NUL")
    return joined.encode()


def _column(numbers: NDArray[np.int64]) -> bytes:
    base, last = int(numbers.min()), int(numbers.max())
    if base == last:
        return _COLUMN.pack(0, base)
    width = next(w for w in (1, 2, 4, 8) if last - base < 1 << 8 * w)
    return _COLUMN.pack(width, base) + (numbers - base).astype(_TYPES[width]).tobytes()


def _split(joined: bytes, wanted: int, longest: int) -> Sequence[str]:
    return (_known if len(joined) <= _REMEMBERED else _texts_of)(joined, wanted, longest)


def _texts_of(joined: bytes, wanted: int, longest: int) -> Sequence[str]:
    try:
        texts = joined.decode().split("\0") if joined else []
    except UnicodeDecodeError:
        raise Damaged("a name is not UTF-8") from None
    if len(texts) != wanted:
        raise Damaged(f"{len(texts)} names, not {wanted}")
    if "" in texts:
        raise Damaged("a name is empty")
    if texts and max(map(len, texts)) * 4 > longest and max(len(t.encode()) for t in texts) > longest:
        raise Damaged(f"a name of more than {longest} bytes")
    return tuple(texts)


# A writer names the same series again and again; to make their names anew costs more than all the rest.
_known = lru_cache(128)(_texts_of)


def _read(value: bytes, at: int, n: int, *, below: int | None = None) -> tuple[NDArray[np.int64], int]:
    """A column, and where the next one begins; all of it from 0 to `below`, where that is given."""
    if len(value) < at + _COLUMN.size:
        raise Damaged("it ends too early")
    width, base = _COLUMN.unpack_from(value, at)
    at += _COLUMN.size
    if width == 0:
        lowest = highest = base
        numbers = np.full(n, base, np.int64)
    elif width not in _TYPES:
        raise Damaged(f"a column of integers of {width} bytes")
    elif len(value) < at + n * width:
        raise Damaged("it ends too early")
    else:
        numbers = np.frombuffer(value, _TYPES[width], n, at).astype(np.int64)
        if base:
            numbers += base  # wraps around where they are nonsense: whatever comes of it is looked at
        if below is not None:
            lowest, highest = int(numbers.min()), int(numbers.max())
    if below is not None and not 0 <= lowest <= highest < below:
        raise Damaged("an index or position out of range")
    return numbers, at + n * width
