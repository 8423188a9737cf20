"""Columns taken straight from the batches say what aiokafka's own records say, for any log and any cut."""

from __future__ import annotations

import gc
import struct
import weakref
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import pairwise
from typing import Any
from unittest.mock import patch

import aiokafka
import pytest
from aiokafka.consumer.fetcher import READ_COMMITTED, READ_UNCOMMITTED, FetchError
from aiokafka.errors import CorruptRecordException, OffsetOutOfRangeError
from aiokafka.record.default_records import DefaultRecordBatchBuilder
from aiokafka.record.memory_records import MemoryRecords
from aiokafka.record.util import calc_crc32c
from fetches import TP, drained, fetcher_with
from hypothesis import given
from hypothesis import strategies as st

from pipeline.kafka import record_batches
from pipeline.kafka.record_batches import KNOWN, Part
from pipeline.kafka.transport.fetching import Columns, take

CONTROL, TRANSACTIONAL = 0x20, 0x10
ABORT, COMMIT = b"\x00\x00\x00\x00", b"\x00\x00\x00\x01"


@pytest.fixture(autouse=True, scope="module", params=[1, 1 << 30], ids=["as columns", "one by one"])
def many(request: pytest.FixtureRequest) -> Iterator[None]:
    """Both ways of reading a batch say the same."""
    with patch.object(record_batches, "MANY", request.param):
        yield


@dataclass
class Batch:
    """A record batch: offsets are gaps to the one before; `tail` offsets at its end were compacted away."""

    gaps: list[int]
    tail: int = 0
    compression: int = 0
    producer: int = -1
    transactional: bool = False
    marker: bytes | None = None


def log_of(batches: list[Batch]) -> tuple[bytes, int]:
    """The bytes of a log, and its end."""
    raw, end = b"", 0
    for batch in batches:
        build = DefaultRecordBatchBuilder(2, batch.compression, batch.transactional, batch.producer, 0, -1, 1 << 30)
        base = end
        for i, gap in enumerate(batch.gaps):
            end += gap
            key = batch.marker if batch.marker is not None else (None if i % 3 == 0 else b"k%d" % end)
            assert build.append(end - base, 1000 + end, key, None if i % 5 == 4 else b"v%d" % end, []) is not None
            end += 1
        end += batch.tail
        bytes_ = bytearray(build.build())
        struct.pack_into(">q", bytes_, 0, base)
        (attributes,) = struct.unpack_from(">h", bytes_, 21)
        struct.pack_into(">h", bytes_, 21, attributes | (CONTROL if batch.marker is not None else 0))
        struct.pack_into(">i", bytes_, 23, end - base - 1)
        struct.pack_into(">I", bytes_, 17, calc_crc32c(bytes(bytes_[21:])))
        raw += bytes(bytes_)
    return raw, end


async def test_what_was_taken_goes_without_the_garbage_collector() -> None:
    raw, _ = log_of([Batch([0, 0, 0]), Batch([0, 0])])
    fetcher = fetcher_with(raw, 0)
    fetched = weakref.ref(fetcher._records[TP]._partition_records)
    gc.disable()
    try:
        assert [len(columns) for columns in drained(fetcher, [4])] == [4, 1]
        assert fetched() is None
    finally:
        gc.enable()


def drained_by_aiokafka(fetcher: Any, limits: list[int]) -> list[Columns]:
    """The same from aiokafka's own records."""
    got: list[Columns] = []
    result = fetcher._records[TP]
    while result.has_more():
        start = fetcher.at.position
        records = result.getall(limits[len(got) % len(limits)])
        if fetcher.at.position == start:
            break
        taken = Columns(start, fetcher.at.position)
        taken.add(Part.of(records))
        got.append(taken)
    return got


def joined(parts: list[Columns]) -> tuple[list[int], list[int], list[bytes | None], list[bytes | None], int]:
    for before, after in pairwise(parts):
        assert after.start == before.next_offset
    return (
        [o for p in parts for o in p.batch(TP).offsets.tolist()], [t for p in parts for t in p.batch(TP).timestamps.tolist()],
        [k for p in parts for k in p.batch(TP).keys], [v for p in parts for v in p.batch(TP).values],
        parts[-1].next_offset if parts else -1,
    )  # fmt: skip


plain = st.builds(
    Batch,
    gaps=st.lists(st.integers(0, 3), min_size=0, max_size=9),
    tail=st.integers(0, 3),
    compression=st.sampled_from([0, 1, 2, 3, 4]),
).filter(lambda b: b.gaps or (b.tail and not b.compression))
of_transaction = st.builds(
    Batch,
    gaps=st.lists(st.integers(0, 2), min_size=1, max_size=5),
    producer=st.sampled_from([1, 2]),
    transactional=st.just(value=True),
)
marker = st.builds(
    Batch, gaps=st.just([0]), producer=st.sampled_from([1, 2]), transactional=st.just(value=True),
    marker=st.sampled_from([ABORT, COMMIT]),
)  # fmt: skip


@pytest.mark.asyncio
@given(
    batches=st.lists(st.one_of(plain, of_transaction, marker), min_size=1, max_size=8),
    limits=st.lists(st.integers(1, 12), min_size=1, max_size=3),
    skipped=st.integers(0, 10),
    aborted=st.lists(st.tuples(st.sampled_from([1, 2]), st.integers(0, 30)), max_size=3),
    isolation=st.sampled_from([READ_COMMITTED, READ_UNCOMMITTED]),
)
async def test_the_columns_say_what_aiokafka_says_for_any_log_start_and_limit(
    batches: list[Batch], limits: list[int], skipped: int, aborted: list[tuple[int, int]], isolation: int
) -> None:
    raw, _ = log_of(batches)
    start = min(skipped, log_of(batches[:1])[1] - 1)  # Kafka's answer begins with the batch that holds the position
    theirs = fetcher_with(raw, start, aborted=aborted, isolation=isolation, reader=MemoryRecords)
    expected = joined(drained_by_aiokafka(theirs, limits))
    ours = drained(fetcher_with(raw, start, aborted=aborted, isolation=isolation), limits)
    assert all(len(p) <= max(limits) for p in ours)
    assert joined(ours) == expected
    within = fetcher_with(raw, start, aborted=aborted, isolation=isolation)
    assert joined(drained_by_aiokafka(within, limits)) == expected  # aiokafka with our batches: other consumers read so


async def test_a_position_that_moved_meanwhile_gets_nothing() -> None:
    raw, _ = log_of([Batch([0] * 5)])
    fetcher = fetcher_with(raw, 0)
    fetcher.at.seek(3)
    assert take(fetcher, TP, 10) is None
    assert TP not in fetcher._records


async def test_a_damaged_batch_counts_as_not_read_and_those_before_it_are_handed_on_first() -> None:
    raw, _ = log_of([Batch([0] * 5), Batch([0] * 5)])
    damaged = raw[:-1] + bytes([raw[-1] ^ 1])
    fetcher = fetcher_with(damaged, 0)
    first = take(fetcher, TP, 100)
    assert first is not None
    assert first.batch(TP).offsets.tolist() == [0, 1, 2, 3, 4]
    with pytest.raises(CorruptRecordException):
        take(fetcher, TP, 100)
    assert TP not in fetcher._records
    assert fetcher.at.position == 5


@pytest.mark.parametrize("at", range(61))
async def test_a_batch_that_stays_damaged_is_one_refusal_and_the_next_ones_are_read(at: int) -> None:
    """Whichever byte of its head is wrong; where its length is, what follows is known with another fetch only."""
    raw, _ = log_of([Batch([0] * 5), Batch([0] * 5), Batch([0] * 5)])
    size = len(log_of([Batch([0] * 5)])[0])
    damaged = bytearray(raw)
    damaged[size + at] ^= 0xFF
    got, position = [], 0
    for _ in range(12):  # as Kafka answers: from the batch on that holds the position
        answer = raw[2 * size :] if position >= 10 else damaged[size:] if position >= 5 else damaged
        fetcher = fetcher_with(bytes(answer), position)
        fetcher.at.highwater = 15
        got += drained(fetcher, [100], despite_damage=True)
        position = fetcher.at.position
        if position == 15:
            break
    offsets = [o for taken in got for o in taken.batch(TP).offsets.tolist()]
    refused = [o for taken in got for o in taken.refused]
    assert [o for o in offsets if o not in refused] in ([0, 1, 2, 3, 4, *range(10, 15)], list(range(15)))
    assert offsets == sorted(set(offsets))
    if at >= 16:  # all that Kafka's checksum is about
        assert refused == [5]


async def test_an_error_of_the_fetch_is_raised_once() -> None:
    fetcher = fetcher_with(b"", 0)
    fetcher._records[TP] = FetchError(error=OffsetOutOfRangeError({TP: 0}), backoff=0.1)
    with pytest.raises(OffsetOutOfRangeError):
        take(fetcher, TP, 10)
    assert not fetcher._records


def test_the_installed_aiokafka_is_read_directly() -> None:
    assert aiokafka.__version__ in KNOWN, "measure and test the new version, then add it to KNOWN"
