"""A topic is read once to where it ended, whatever lies in it, within bounded memory."""

from __future__ import annotations

import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from batch_bytes import batch, record, send
from confluent_kafka import Producer
from confluent_kafka.admin import AdminClient, NewTopic
from hostile.test_bombs import bombs, good
from kafka_fixtures import skip_or_fail
from security.servers import clean_environment

from pipeline.embedded.servers import start_kafka, start_tansu
from pipeline.errors import BrokerError
from pipeline.kafka.reader import read_to_the_end
from pipeline.settings import KafkaSettings

START = {"kafka": start_kafka, "tansu": start_tansu}


def fill(brokers: str, topic: str, records: int, partitions: int) -> None:
    admin = AdminClient({"bootstrap.servers": brokers})
    admin.create_topics([NewTopic(topic, partitions, 1)])[topic].result(30)
    producer = Producer(
        {"bootstrap.servers": brokers, "linger.ms": 50, "enable.idempotence": True}
    )  # a retry keeps the order
    for i in range(records):
        producer.produce(topic, b"%d" % i, b"k", partition=i % (partitions - 1))  # the last one stays empty
    assert producer.flush(60) == 0


@pytest.mark.embedded
@pytest.mark.parametrize("kind", START)
def test_all_that_a_topic_holds_comes_in_order_and_then_it_ends(kind: str, tmp_path: Path) -> None:
    """Tansu says that a topic ends where its last batch begins."""
    with START[kind](tmp_path) as server:
        fill(server.address, "t", 50_000, 3)
        kafka = KafkaSettings(brokers=server.address)
        found: dict[int, list[int]] = {0: [], 1: []}
        for part in read_to_the_end(kafka, "t"):
            assert part.offsets.tolist() == list(range(len(found[part.partition]), part.next_offset))
            found[part.partition] += [int(value or b"") for value in part.values]
        assert found == {0: list(range(0, 50_000, 2)), 1: list(range(1, 50_000, 2))}
        with pytest.raises(BrokerError, match="Kafka has no topic tt"):
            next(read_to_the_end(kafka, "tt"))
        reading = read_to_the_end(kafka, "t")
        next(reading)
        reading.close()  # left in the middle, it leaves nothing behind


PEAK = """
import resource, sys
from pathlib import Path
from pipeline.kafka.history import read_history
from pipeline.settings import KafkaSettings
peak = lambda: int(next(l for l in Path("/proc/self/status").read_text().splitlines() if l.startswith("VmHWM")).split()[1]) >> 10
before = peak()
series = read_history(KafkaSettings(brokers=sys.argv[1]), sys.argv[2]).series
print({name: len(times) for name, (times, _) in series.items()}, peak() - before)
"""


@pytest.mark.kafka
@pytest.mark.slow
async def test_what_is_huge_when_unpacked_is_passed_over(kafka: str, new_topic: Callable[..., str]) -> None:
    """librdkafka unpacked all of it, 600 MB of one record, or stood still before it."""
    if missing := (None if Path("/proc/self/status").exists() else "needs /proc"):
        skip_or_fail(missing)
    topic, now = new_topic(1), int(time.time() * 1000)
    await send(
        kafka, topic, [batch(record(0, good(50)), 1, stamp=now), *bombs(), batch(record(0, good(60)), 1, stamp=now)]
    )
    done = subprocess.run(
        [sys.executable, "-c", PEAK, kafka, topic], capture_output=True, text=True, env=clean_environment(), timeout=300, check=False
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    told, counts = done.stdout.splitlines()[:-1], done.stdout.splitlines()[-1]
    assert counts.startswith("{'good': 5} ")
    assert int(counts.split()[-1]) < 400, counts
    assert sum("records that cannot be read are passed over" in line for line in told) == 3
