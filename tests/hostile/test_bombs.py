"""A worker on real Kafka, held to little memory, and messages that are small to the broker and huge when unpacked."""

from __future__ import annotations

import resource
import subprocess
import sys
import time
from pathlib import Path

import cramjam
import psutil
import pytest
from batch_bytes import batch, record, send, varint, zeros
from confluent_kafka.admin import AdminClient, NewTopic
from hostile.test_hostile_worker import Run
from security.servers import clean_environment

from pipeline.alerts.records import dead_letter_facts
from pipeline.embedded.servers import start_redis
from pipeline.kafka.unpacking import GZIP, LZ4, SNAPPY, ZSTD
from producers.records import Observation, encode

pytestmark = [pytest.mark.kafka, pytest.mark.slow, pytest.mark.timeout(900)]

NOW = int(time.time() * 1000)  # retention goes by it
ROOM_MB = 400
"""What a worker may take beside what it has when it has started: far less than one of the bombs."""


def good(number: int) -> bytes:
    return encode(Observation("good", 1_404_172_800_000 + 60_000 * number, 1.0))


def huge(delta: int, size: int) -> bytes:
    """The beginning of a record that `size` zero bytes end: its value, and that it has no headers."""
    head = b"\x00" + varint(0) + varint(delta) + varint(3) + b"bad" + varint(size - 1)
    return varint(len(head) + size) + head


def bombs() -> list[bytes]:
    """In each codec a good record and a huge one behind it: sizes that a message of a megabyte can hold."""
    size = {ZSTD: 950 << 20, GZIP: 600 << 20, LZ4: 200 << 20}
    return [
        batch(zeros(codec, record(0, good(i)) + huge(1, n), n), 2, codec=codec)
        for i, (codec, n) in enumerate(size.items())
    ]


async def test_bombs_of_every_codec_are_dead_letters_and_the_worker_lives(kafka: str, tmp_path: Path) -> None:
    with start_redis(tmp_path / "redis") as redis:
        run = Run(kafka, redis.port, tmp_path / "run")
        topic = NewTopic(run.topics["topic"], 1, 1)
        admin = AdminClient({"bootstrap.servers": kafka})
        admin.create_topics([topic])[topic.topic].result(20)
        packed = bombs()
        assert max(map(len, packed)) < 1_000_000
        many = b"".join(record(i, good(100 + i)) for i in range(50_000))
        everything = [
            batch(record(0, good(50)), 1, stamp=NOW),
            *packed,
            batch(cramjam.snappy.compress_raw(many), 50_000, codec=SNAPPY, stamp=NOW),
            batch(record(0, good(60_000)), 1, stamp=NOW),
        ]
        with (run.folder / "worker.log").open("w") as log:
            worker = subprocess.Popen(
                [sys.executable, "-m", "pipeline", "worker"],
                cwd=run.folder,
                env=clean_environment(),
                stdout=log,
                stderr=log,
            )
        try:
            process = psutil.Process(worker.pid)
            begun = await send(kafka, run.topics["topic"], everything[:1])
            run._until(lambda: run.committed() > begun[0], worker, 120)  # it has compiled code and threads by then
            before = peak_mb(worker.pid)
            room = process.memory_info().vms + (ROOM_MB << 20)
            resource.prlimit(worker.pid, resource.RLIMIT_AS, (room, room))
            offsets = begun + await send(kafka, run.topics["topic"], everything[1:])
            end = offsets[-1] + 1
            run._until(lambda: run.committed() >= end, worker, 300)
            peak = peak_mb(worker.pid)
            worker.terminate()
            assert worker.wait(30) == 0, run.log
        finally:
            worker.kill()
            worker.wait()
        assert peak - before < ROOM_MB
        letters = [dead_letter_facts(m.headers() or []) for m in run.read("dead_letter_topic")]
        assert [(int(f["offset"]), f["reason"]) for f in letters] == [(o + 1, "too large") for o in offsets[1:4]]
        assert int(letters[0]["value_length"]) > 950 << 20


def peak_mb(pid: int) -> float:
    [line] = [line for line in Path(f"/proc/{pid}/status").read_text().splitlines() if line.startswith("VmHWM")]
    return int(line.split()[1]) / 1024
