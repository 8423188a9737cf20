"""Batches whose bytes mean harm: the good records are handed on, the rest is refused once, in bounded memory and work."""

from __future__ import annotations

import gzip
import io
import struct
import time
import tracemalloc
import zlib
from collections.abc import Callable, Iterator
from typing import Any
from unittest.mock import patch

import cramjam
import lz4.frame
import pytest
from aiokafka.codec import snappy_encode
from aiokafka.record.default_records import DefaultRecordBatch
from aiokafka.record.legacy_records import LegacyRecordBatch, LegacyRecordBatchBuilder
from aiokafka.record.util import calc_crc32c
from batch_bytes import batch, record, varint, zeros
from fetches import TP, drained, fetcher_with
from hypothesis import given
from hypothesis import strategies as st

from pipeline.kafka import record_batches
from pipeline.kafka.record_batches import HEADERS, QUICK, BoundedBatch, FetchedBatches
from pipeline.kafka.transport.fetching import Columns, held, take
from pipeline.kafka.unpacking import GZIP, LZ4, MOST, NONE, SNAPPY, ZSTD, unpack, zstd
from producers.formats.base import Reason

HUGE = 1 << 28  # a quarter of it shows the same


@pytest.fixture(autouse=True, scope="module", params=[1, 1 << 30], ids=["as columns", "one by one"])
def many(request: pytest.FixtureRequest) -> Iterator[None]:
    """Both ways of reading a batch say the same."""
    with patch.object(record_batches, "MANY", request.param):
        yield


def packed_by(codec: int) -> list[Callable[[bytes], bytes]]:
    """Ways to pack with a codec."""
    return {
        NONE: [bytes],
        GZIP: [gzip.compress, lambda data: gzip.compress(data[:20]) + gzip.compress(data[20:])],
        SNAPPY: [snappy_encode, lambda data: bytes(cramjam.snappy.compress_raw(data))],
        LZ4: [lz4.frame.compress, lambda data: lz4.frame.compress(data, store_size=False)],
        ZSTD: [
            zstd.compress,
            lambda data: zstd.compress(data[:9]) + zstd.compress(data[9:]),
            lambda data: zstd.compress(data, options={zstd.CompressionParameter.window_log: 27}),
        ],
    }[codec]


WAYS = [(codec, i) for codec in range(5) for i in range(len(packed_by(codec)))]


def read(raw: bytes, *, limit: int = 20_000, position: int = 0) -> list[Columns]:
    return drained(fetcher_with(raw, position), [limit])


def all_of(parts: list[Columns]) -> tuple[list[int], list[bytes | None], dict[int, Any]]:
    refused = {o: r for p in parts for o, r in p.refused.items()}
    kept = [
        (o, v)
        for p in parts
        for o, v in zip(p.batch(TP).offsets.tolist(), p.batch(TP).values, strict=True)
        if o not in refused
    ]
    return [o for o, _ in kept], [v for _, v in kept], refused


@pytest.mark.parametrize(("codec", "way"), WAYS)
async def test_every_codec_and_way_of_packing_is_read(codec: int, way: int) -> None:
    records = [record(i, b"value %d" % i * 30) for i in range(50)]
    raw = batch(packed_by(codec)[way](b"".join(records)), 50, codec=codec)
    offsets, values, refused = all_of(read(raw))
    assert offsets == list(range(50))
    assert values == [b"value %d" % i * 30 for i in range(50)]
    assert not refused


@pytest.mark.parametrize(("codec", "way"), WAYS)
async def test_a_large_batch_says_the_same_as_a_small_one(codec: int, way: int) -> None:
    """Beyond QUICK it is read record by record."""
    values: list[bytes | None] = [None if i % 7 == 0 else bytes([i % 256]) * 60_000 for i in range(100)]
    records = [
        record(i, v, key=None if i % 3 else b"k", stamp=i, headers=varint(1) + varint(1) + b"h" + varint(-1))
        for i, v in enumerate(values)
    ]
    plain = b"".join(records)
    assert QUICK < len(plain) < MOST
    parts = read(batch(packed_by(codec)[way](plain), 100, codec=codec), limit=30)
    assert all_of(parts) == (list(range(100)), values, {})
    assert [t for p in parts for t in p.batch(TP).timestamps.tolist()] == [1000 + i for i in range(100)]
    assert [len(p) for p in parts] == [30, 30, 30, 10]


@pytest.mark.parametrize("codec", [GZIP, LZ4, ZSTD])
async def test_a_record_of_256_mb_is_refused_and_the_good_ones_before_and_after_are_read(codec: int) -> None:
    good = b"".join(record(i, b"good") for i in range(3))
    huge = b"\x00" + varint(0) + varint(3) + varint(1) + b"K" + varint(HUGE) + b"HEAD"
    packed = zeros(codec, good + varint(len(huge) + HUGE - 4 + 1) + huge, HUGE)
    raw = batch(packed, 5, codec=codec) + batch(record(0, b"after"), 1, base=5)
    tracemalloc.start()
    parts = read(raw)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    offsets, values, refused = all_of(parts)
    assert offsets == [0, 1, 2, 5]
    assert values == [b"good"] * 3 + [b"after"]
    assert list(refused) == [3]
    assert refused[3].reason == Reason.TOO_LARGE
    assert refused[3].size > HUGE
    assert refused[3].key == b"K"
    assert refused[3].head.startswith(b"HEAD")
    assert "offsets 3 to 4" in refused[3].detail
    assert peak < 4 * MOST, f"{peak >> 20} MiB"
    assert parts[-1].next_offset == 6


BOMBS: dict[str, tuple[int, Callable[[], bytes]]] = {
    "a raw block that says 4 GiB": (SNAPPY, lambda: b"\xff\xff\xff\xff\x0f" + bytes(30)),
    "a raw block that says 31 MiB": (SNAPPY, lambda: varint(31 << 19) + bytes(30)),
    "blocks that hold nothing": (SNAPPY, lambda: b"\x82SNAPPY\0" + bytes(8) + b"\0\0\0\1\0" * 200_000),
    "a block of negative length": (SNAPPY, lambda: b"\x82SNAPPY\0" + bytes(8) + b"\xff\xff\xff\xff" + bytes(30)),
    "a block beyond the batch": (SNAPPY, lambda: b"\x82SNAPPY\0" + bytes(8) + b"\x7f\xff\xff\xff" + bytes(30)),
    "100,000 empty frames of zstd": (ZSTD, lambda: zstd.compress(b"") * 100_000),
    "50,000 empty members": (GZIP, lambda: gzip.compress(b"") * 50_000),
    "50,000 empty frames of lz4": (LZ4, lambda: lz4.frame.compress(b"", store_size=False) * 50_000),
    "lz4's legacy frame": (LZ4, lambda: b"\x02\x21\x4c\x18" + struct.pack("<I", 20) + bytes(20)),
    "nothing of zstd": (ZSTD, lambda: b""),
    "nothing of gzip": (GZIP, lambda: b""),
    "zstd cut in two": (ZSTD, lambda: zstd.compress(bytes(range(256)) * 50)[:-30]),
    "gzip cut in two": (GZIP, lambda: gzip.compress(bytes(range(256)) * 50)[:-10]),
    "lz4 cut in two": (LZ4, lambda: lz4.frame.compress(bytes(range(256)) * 50)[:-10]),
    "a zstd frame that says 2^63 bytes": (ZSTD, lambda: b"\x28\xb5\x2f\xfd\xe0" + b"\xff" * 7 + b"\x7f" + b"\x01\x00\x00" + bytes(9)),
    "a zstd window of 2 TiB": (ZSTD, lambda: b"\x28\xb5\x2f\xfd\x00\xf8\x01\x00\x00" + bytes(9)),
    "a dictionary nobody has": (ZSTD, lambda: b"\x28\xb5\x2f\xfd\x23\x01\x02\x03\x04" + bytes(20)),
    "a codec nobody knows": (6, lambda: b"packed"),
    "another codec than it says": (ZSTD, lambda: gzip.compress(b"x" * 100)),
}  # fmt: skip


@pytest.mark.parametrize("name", BOMBS)
async def test_what_cannot_be_unpacked_is_one_refusal_and_reading_goes_on(name: str) -> None:
    codec, packed = BOMBS[name]
    raw = (
        batch(record(0, b"before"), 1) + batch(packed(), 3, codec=codec, base=1) + batch(record(0, b"after"), 1, base=4)
    )
    tracemalloc.start()
    began = time.process_time()
    parts = read(raw)
    took = time.process_time() - began
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    offsets, values, refused = all_of(parts)
    assert offsets == [0, 4]
    assert values == [b"before", b"after"]
    assert list(refused) == [1]
    assert "offsets 1 to 3" in refused[1].detail
    assert peak < 4 * MOST
    assert took < 30  # 200,000 steps of anything else than a loop over them would show


LIES: dict[str, tuple[bytes, int, int, list[int]]] = {
    "a count of 2^31 - 1": (record(0, b"a") + record(1, b"b"), 2**31 - 1, 4, [0, 1]),
    "a negative count": (record(0, b"a"), -1, 4, []),
    "no record where two are": (record(0, b"a") + record(1, b"b"), 0, 1, []),
    "fewer than there are": (record(0, b"a") + record(1, b"b"), 1, 1, [0]),
    "a record longer than the batch": (record(0, b"a") + varint(10**6) + b"\0" * 20, 2, 1, [0]),
    "a record of negative length": (record(0, b"a") + varint(-5) + b"\0" * 20, 2, 1, [0]),
    "a record of no length": (record(0, b"a") + b"\0" * 20, 2, 1, [0]),
    "a length that does not end": (record(0, b"a") + b"\xff" * 300, 2, 1, [0]),
    "a length that stops in the middle": (record(0, b"a") + b"\xff", 2, 1, [0]),
    "a value beyond its record": (record(0, b"a") + varint(8) + b"\0\0\2\1" + varint(3000) + b"xx" + bytes(5000), 2, 1, [0]),
    "an offset before the batch": (record(0, b"a") + record(-7, b"b"), 2, 1, [0]),
    "an offset twice": (record(0, b"a") + record(0, b"b"), 2, 1, [0]),
    "an offset far behind the batch": (record(0, b"a") + record(2**40, b"b"), 2, 1, [0]),
}  # fmt: skip


@pytest.mark.parametrize("codec", [NONE, ZSTD])
@pytest.mark.parametrize("name", LIES)
async def test_what_is_not_what_it_says_ends_its_batch_and_no_other(name: str, codec: int) -> None:
    plain, count, last, good = LIES[name]
    raw = batch(packed_by(codec)[0](plain), count, codec=codec, last=last) + batch(
        record(0, b"after"), 1, base=last + 1
    )
    parts = read(raw)
    offsets, _, refused = all_of(parts)
    assert offsets == [*good, last + 1]
    assert list(refused) == [len(good)]
    assert refused[len(good)].reason == Reason.DAMAGED
    assert parts[-1].next_offset == last + 2


async def test_headers_that_lie_and_time_stamps_beyond_all_time_do_no_harm() -> None:
    """Headers are nobody's business here; a time stamp is for metrics."""
    records = [record(0, b"a", headers=varint(2**40)), record(1, b"b", stamp=2**62), record(2, b"c", stamp=-(2**63))]
    parts = read(batch(b"".join(records), 3))
    assert all_of(parts) == ([0, 1, 2], [b"a", b"b", b"c"], {})
    assert all(-(2**63) <= t < 2**63 for p in parts for t in p.batch(TP).timestamps.tolist())


def header(name: bytes, value: bytes | None) -> bytes:
    return varint(len(name)) + name + (varint(-1) if value is None else varint(len(value)) + value)


@pytest.mark.parametrize(
    "headers", [[], [(b"a", b"1"), (b"a", None), ("\u00fc".encode(), b"")], [(b"", b"x")] * HEADERS]
)
def test_whoever_asks_for_headers_has_those_that_aiokafka_s_reader_tells(
    headers: list[tuple[bytes, bytes | None]],
) -> None:
    packed = varint(len(headers)) + b"".join(header(*h) for h in headers)
    raw = batch(record(0, b"v", headers=packed) + record(1, b"w"), 2)
    told = [r.headers for r in BoundedBatch(raw).careful(headers=True)]
    assert told == [tuple(map(tuple, r.headers)) for r in DefaultRecordBatch(raw)]
    assert [r.headers for r in BoundedBatch(raw).careful()] == [(), ()]


@pytest.mark.parametrize(
    "headers",
    [
        varint(HEADERS + 1) + header(b"", b"") * (HEADERS + 1),
        varint(2**40),
        varint(1) + varint(99) + b"short" + varint(-1),
        varint(1) + header(b"\xff", b""),
        varint(1) + header(b"a", b"1") + b"more",
        varint(-1),
    ],
)
def test_headers_that_are_too_many_or_lie_are_not_told(headers: bytes) -> None:
    raw = batch(record(0, b"v", headers=headers) + record(1, b"w"), 2)
    assert [(r.value, r.headers) for r in BoundedBatch(raw).careful(headers=True)] == [(b"v", ()), (b"w", ())]


async def test_millions_of_headers_make_no_objects() -> None:
    count = MOST // 2 - 100
    raw = batch(zstd.compress(record(0, b"a", headers=varint(count) + b"\x00\x01" * count)), 1, codec=ZSTD)
    tracemalloc.start()
    assert all_of(read(raw))[1] == [b"a"]
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 5 * MOST


async def test_many_empty_records_come_in_portions() -> None:
    plain = b"".join(record(i, None, key=None) for i in range(500_000))
    raw = batch(zstd.compress(plain), 500_000, codec=ZSTD)
    fetcher = fetcher_with(raw, 0)
    for number in range(25):
        part = take(fetcher, TP, 20_000, room=1 << 20)
        assert part is not None
        assert (len(part), part.next_offset) == (20_000, 20_000 * (number + 1))
        assert number == 24 or held(fetcher._records[TP]) == len(plain)


async def test_no_batch_is_unpacked_behind_the_room() -> None:
    one = packed_by(ZSTD)[0](record(0, bytes(1 << 20)))
    raw = b"".join(batch(one, 1, codec=ZSTD, base=i) for i in range(10))
    assert [len(p) for p in drained(fetcher_with(raw, 0), [100], room=3 << 20)] == [3, 3, 3, 1]


@pytest.mark.parametrize("magic", [0, 1])
@pytest.mark.parametrize("codec", [NONE, GZIP, SNAPPY, LZ4])
async def test_old_messages_are_read_as_aiokafka_reads_them(magic: int, codec: int) -> None:
    if magic == 0 and codec == LZ4:
        pytest.skip("no client reads it")
    build = LegacyRecordBatchBuilder(magic, codec, 1 << 20)
    for i in range(1 if codec == NONE else 6):
        build.append(i, 5000 + i, None if i % 2 else b"k", b"v%d" % i if i % 3 else None)
    raw = bytearray(build.build())
    struct.pack_into(">q", raw, 0, 0 if codec == NONE else 5)  # the broker's part: a packed message has its last offset
    expected = [(r.offset, r.key, r.value) for r in LegacyRecordBatch(bytes(raw), magic)]
    ours = BoundedBatch(bytes(raw))
    assert ours.validate_crc()
    assert [(r.offset, r.key, r.value) for r in ours.careful()] == expected
    assert ours.refused is None


@pytest.mark.parametrize("magic", [0, 1])
@pytest.mark.parametrize(
    "inner",
    [b"", b"\0" * 100, struct.pack(">qiIbb", 0, -1, 0, 1, 0) * 3, struct.pack(">qiIbb", 0, 2**31 - 1, 0, 1, 0) * 3],
)
async def test_an_old_packed_message_that_lies_is_refused(magic: int, inner: bytes) -> None:
    packed = gzip.compress(inner)
    head = struct.pack(">bb", magic, GZIP) + (struct.pack(">q", 7) if magic else b"")
    body = head + struct.pack(">i", -1) + struct.pack(">i", len(packed)) + packed
    raw = struct.pack(">qiI", 41, len(body) + 4, zlib.crc32(body)) + body + batch(record(0, b"after"), 1, base=42)
    offsets, _, refused = all_of(read(raw, position=40))
    assert offsets == [42]
    assert list(refused) == ([41] if inner else [])


async def test_an_old_bomb_is_refused_in_bounded_memory() -> None:
    out = io.BytesIO()
    with gzip.GzipFile(fileobj=out, mode="wb", compresslevel=1) as packer:
        for _ in range(HUGE >> 20):
            packer.write(bytes(1 << 20))
    body = struct.pack(">bbqii", 1, GZIP, 7, -1, len(out.getvalue())) + out.getvalue()
    raw = struct.pack(">qiI", 3, len(body) + 4, zlib.crc32(body)) + body
    tracemalloc.start()
    offsets, _, refused = all_of(read(raw))
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert not offsets
    assert list(refused) == [3]
    assert peak < 4 * MOST


@given(st.binary(max_size=400), st.sampled_from([NONE, GZIP, SNAPPY, LZ4, ZSTD, 5, 6, 7]))
def test_any_bytes_unpack_without_an_error_and_never_to_more_than_asked(packed: bytes, codec: int) -> None:
    assert len(unpack(codec, packed, 1000).data) <= 1000


@given(st.data(), st.sampled_from(WAYS), st.integers(0, 3000))
def test_cut_and_damaged_packings_give_the_head_of_what_was_packed(
    data: st.DataObject, way: tuple[int, int], most: int
) -> None:
    codec, number = way
    plain = b"some bytes of a text %d " * 100
    packed = packed_by(codec)[number](plain)
    got = unpack(codec, packed[: data.draw(st.integers(0, len(packed)))], most)
    assert plain.startswith(got.data)
    assert len(got.data) <= most
    whole = unpack(codec, packed, len(plain))
    assert (whole.data, whole.fault) == (plain, "")


@given(st.binary(max_size=300))
def test_any_bytes_as_a_fetch_end(raw: bytes) -> None:
    fetched = FetchedBatches(raw)
    fetched.has_next()
    assert fetched.behind(7, 100) > 7


@given(st.data())
async def test_any_flipped_bytes_of_a_batch_with_a_right_checksum_do_no_harm(data: st.DataObject) -> None:
    """Whatever a stranger writes: reading ends at the end of the log, offsets rise, nothing is raised."""
    codec = data.draw(st.sampled_from([NONE, GZIP, SNAPPY, LZ4, ZSTD]))
    raw = bytearray(batch(packed_by(codec)[0](b"".join(record(i, b"v%d" % i) for i in range(6))), 6, codec=codec))
    for _ in range(data.draw(st.integers(1, 4))):
        raw[data.draw(st.sampled_from([*range(23, 27), *range(57, len(raw))]))] = data.draw(st.integers(0, 255))
    struct.pack_into(">I", raw, 17, calc_crc32c(bytes(raw[21:])))
    fetcher = fetcher_with(bytes(raw), 0)
    fetcher.at.highwater = 6
    parts = drained(fetcher, [4], despite_damage=True)
    offsets = [o for p in parts for o in p.batch(TP).offsets.tolist()]
    assert offsets == sorted(set(offsets))
    assert not offsets or 0 <= offsets[0] <= offsets[-1] < 6
    assert parts
    assert 0 < parts[-1].next_offset <= 6
