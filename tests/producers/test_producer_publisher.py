from __future__ import annotations

import os
import signal
import threading
import uuid
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from aiokafka.partitioner import murmur2
from confluent_kafka import Consumer, TopicPartition
from confluent_kafka.admin import AdminClient, NewTopic

from pipeline.embedded.servers import start_kafka, start_tansu
from producers.clock import Clock
from producers.datasets import Series
from producers.errors import ConnectionFailed, DeliveryError
from producers.publisher import Publisher
from producers.replay import Timeline, replay

PARTITIONS = 5


@pytest.fixture(scope="module")
def tansu(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    with start_tansu(tmp_path_factory.mktemp("kafka")) as server:
        yield server.address


@pytest.fixture(
    params=[pytest.param("tansu", marks=pytest.mark.embedded), pytest.param("kafka", marks=pytest.mark.kafka)]
)
def broker(request: pytest.FixtureRequest) -> str:
    """Bootstrap servers: Tansu, which the embedded pair falls back to, and Apache Kafka."""
    address: str = request.getfixturevalue(request.param)
    return address


@pytest.fixture
def topic(broker: str) -> str:
    name = f"test-{uuid.uuid4().hex[:12]}"
    admin = AdminClient({"bootstrap.servers": broker, "log_level": 0})
    admin.create_topics([NewTopic(name, PARTITIONS, 1)])[name].result(20)
    return name


def read(broker: str, topic: str, count: int) -> list[tuple[int, bytes, bytes]]:
    """(partition, key, value) of the topic's records, each partition in order."""
    consumer = Consumer({"bootstrap.servers": broker, "group.id": topic, "enable.auto.commit": False, "log_level": 0})
    consumer.assign([TopicPartition(topic, p, 0) for p in range(PARTITIONS)])
    found: list[tuple[int, bytes, bytes]] = []
    while len(found) < count:
        messages = consumer.consume(count - len(found), timeout=60.0)
        assert messages, f"{len(found)} of {count} records came"
        found += [(m.partition(), m.key(), m.value()) for m in messages]
    return found


def test_all_records_arrive_each_series_in_order_on_the_partition_that_murmur2_says(broker: str, topic: str) -> None:
    names = [f"series-{i}" for i in range(40)] + ["größe", ""]
    series = [Series(n, np.arange(50, dtype=np.int64), (np.arange(50.0),)) for n in names]
    timeline = Timeline(series)
    with Publisher(topic, {"bootstrap.servers": broker}) as publisher:
        assert publisher.connect() == PARTITIONS
        for batch in replay(timeline, Clock()):
            publisher.send(batch.keys, batch.values)
    assert (publisher.sent, publisher.delivered, publisher.failed, publisher.waiting) == (2100, 2100, 0, 0)
    got = read(broker, topic, 2100)
    sent = timeline.encode(0, len(timeline))
    for name in names:
        key = name.encode()
        mine = [(p, v) for p, k, v in got if k == key]
        assert [v for _, v in mine] == [v for k, v in zip(sent.keys, sent.values, strict=True) if k == key]
        assert {p for p, _ in mine} == {(murmur2(key) & 0x7FFFFFFF) % PARTITIONS}


def test_a_full_queue_holds_the_sender_up_and_loses_nothing(broker: str, topic: str) -> None:
    options = {"bootstrap.servers": broker, "queue.buffering.max.messages": 100}
    with Publisher(topic, options) as publisher:
        publisher.send([b"k"] * 5000, [b"%d" % i for i in range(5000)])
        assert publisher.waiting <= 101
    assert publisher.delivered == 5000
    assert [v for _, _, v in read(broker, topic, 5000)] == [b"%d" % i for i in range(5000)]


def test_a_record_that_is_too_large_is_an_error_that_says_so(broker: str, topic: str) -> None:
    publisher = Publisher(topic, {"bootstrap.servers": broker, "message.max.bytes": 10_000})
    with pytest.raises(DeliveryError, match="too large"):
        publisher.send([b"k"], [b"x" * 20_000])


@pytest.mark.embedded
def test_a_killed_broker_is_a_delivery_error_with_the_count(tmp_path: Path) -> None:
    with start_kafka(tmp_path) as own:
        admin = AdminClient({"bootstrap.servers": own.address, "log_level": 0})
        admin.create_topics([NewTopic("gone", 1, 1)])["gone"].result(20)
        publisher = Publisher(
            "gone", {"bootstrap.servers": own.address}, delivery_timeout=20.0
        )  # for a busy machine, too
        publisher.send([b"a"], [b"1"])
        assert publisher.flush() == 1
        os.kill(own.pid, signal.SIGKILL)
        publisher.send([b"a"] * 7, [b"2"] * 7)
        with pytest.raises(DeliveryError, match="7 of 8 records were not delivered to topic gone"):
            publisher.flush()
    assert (publisher.delivered, publisher.failed) == (1, 7)


def test_no_broker_is_one_line_that_names_it() -> None:
    with pytest.raises(ConnectionFailed, match=r"no Kafka broker answers at 127\.0\.0\.1:1 .*running"):
        Publisher("t", {"bootstrap.servers": "127.0.0.1:1"}).connect(timeout=0.5)


def test_leaving_with_an_error_does_not_wait_for_a_dead_broker() -> None:
    publisher = Publisher("t", {"bootstrap.servers": "127.0.0.1:1"})
    publisher.send([b"a"], [b"b"])
    publisher.__exit__(RuntimeError, RuntimeError("boom"), None)
    assert (publisher.delivered, publisher.waiting) == (0, 0)


def test_ctrl_c_while_waiting_is_a_keyboard_interrupt(broker: str, topic: str) -> None:
    publisher = Publisher(topic, {"bootstrap.servers": broker})
    publisher.send([b"a"] * 3, [b"b"] * 3)
    soon = threading.Timer(0.05, os.kill, (os.getpid(), signal.SIGINT))

    def wait() -> None:
        soon.start()  # here, so that on a busy machine it cannot come before somebody expects it
        publisher.wait(20.0)

    with pytest.raises(KeyboardInterrupt):
        wait()
    assert publisher.flush() == 3


def test_counts_are_of_delivery_reports(broker: str, topic: str) -> None:
    publisher = Publisher(topic, {"bootstrap.servers": broker})
    publisher.send([b"a", b"b"], [b"1", b"2"])
    assert publisher.flush() == 2
    assert Counter(k for _, k, _ in read(broker, topic, 2)) == {b"a": 1, b"b": 1}


@pytest.mark.kafka
def test_a_topic_that_is_not_there_is_named(kafka: str) -> None:
    options = {"bootstrap.servers": kafka, "allow.auto.create.topics": False}
    with pytest.raises(ConnectionFailed, match=r"topic test-nowhere at .* cannot be used"):
        Publisher("test-nowhere", options).connect()
