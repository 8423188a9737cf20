"""Record batches of format 2 as bytes, also such as no client would write, and how they are sent to a broker as they are."""

from __future__ import annotations

import struct
import zlib
from typing import Any

import lz4.frame
from aiokafka.client import AIOKafkaClient
from aiokafka.protocol.produce import ProduceRequest
from aiokafka.record.util import calc_crc32c
from aiokafka.structs import TopicPartition

from pipeline.kafka.unpacking import GZIP, LZ4, NONE, zstd


def varint(number: int) -> bytes:
    out, left = bytearray(), (number << 1) ^ (number >> 63)
    while left > 0x7F:
        out.append(left & 0x7F | 0x80)
        left >>= 7
    return bytes([*out, left])


def record(
    delta: int, value: bytes | None, *, key: bytes | None = b"k", stamp: int = 0, headers: bytes = b"\x00"
) -> bytes:
    parts = b"\x00" + varint(stamp) + varint(delta)
    for field in (key, value):
        parts += varint(-1) if field is None else varint(len(field)) + field
    parts += headers
    return varint(len(parts)) + parts


def batch(
    packed: bytes,
    count: int,
    *,
    codec: int = NONE,
    last: int | None = None,
    base: int = 0,
    attributes: int = 0,
    stamp: int = 1000,
) -> bytes:
    """A batch of format 2 around bytes that are packed already, its checksum right whatever they are."""
    last = count - 1 if last is None else last
    body = struct.pack(">hiqqqhii", codec | attributes, last, stamp, stamp + 1000, -1, -1, -1, count) + packed
    return struct.pack(">qiibI", base, len(body) + 9, 0, 2, calc_crc32c(body)) + body


def zeros(codec: int, before: bytes, size: int, after: bytes = b"") -> bytes:
    """`before`, `size` zero bytes (whole MiB) and `after`, packed without ever being there."""
    chunk, out = bytes(1 << 20), []
    if codec == GZIP:
        packer: Any = zlib.compressobj(6, zlib.DEFLATED, 31)
    elif codec == LZ4:
        packer = lz4.frame.LZ4FrameCompressor(block_linked=False)  # as Kafka wants it
        out.append(packer.begin())
    else:
        packer = zstd.ZstdCompressor()
    out.append(packer.compress(before))
    out += [packer.compress(chunk) for _ in range(size >> 20)]
    out.append(packer.compress(after))
    out.append(packer.flush())
    return b"".join(out)


async def send(brokers: str, topic: str, batches: list[bytes], partition: int = 0) -> list[int]:
    """Send batches one by one, acknowledged; their base offsets. Raises AssertionError where the broker refuses one."""
    client = AIOKafkaClient(bootstrap_servers=brokers)
    await client.bootstrap()
    try:
        await client.force_metadata_update()
        client.add_topic(topic)
        await client.force_metadata_update()
        leader = client.cluster.leader_for_partition(TopicPartition(topic, partition))
        offsets = []
        for one in batches:
            request = ProduceRequest(None, -1, 30_000, [(topic, [(partition, one)])])
            answer = await client.send(leader, request)
            [(_, [(_, error, offset, *rest)])] = answer.topics
            assert error == 0, (error, rest)
            offsets.append(offset)
        return offsets
    finally:
        await client.close()
