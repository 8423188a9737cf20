"""The broker that tests and newcomers start from jars."""

from __future__ import annotations

import subprocess
import sys
import time
import uuid
from collections.abc import Callable
from pathlib import Path

import pytest
from confluent_kafka import Consumer, Producer
from confluent_kafka.admin import AdminClient, NewTopic
from kafka_fixtures import broker, skip_or_fail

COMMAND = Path(__file__).parents[2] / "deploy" / "kafka" / "broker.py"


@pytest.mark.kafka
def test_a_record_goes_in_and_comes_out(kafka: str, new_topic: Callable[..., str], group: str) -> None:
    topic = new_topic()
    producer = Producer({"bootstrap.servers": kafka, "log_level": 0, "enable.idempotence": True})
    producer.produce(topic, b"hello", key=b"k")
    assert producer.flush(20) == 0
    consumer = Consumer(
        {"bootstrap.servers": kafka, "log_level": 0, "group.id": group, "auto.offset.reset": "earliest"}
    )
    consumer.subscribe([topic])
    message = consumer.poll(20)
    consumer.close()
    assert message is not None
    assert (message.key(), message.value()) == (b"k", b"hello")


@pytest.mark.kafka
def test_the_command_runs_a_broker_until_it_is_told_to_end() -> None:
    if missing := broker.missing_tools():
        skip_or_fail(missing)
    command = [sys.executable, str(COMMAND), "--port", "0", "--heap", "256"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        try:
            assert process.stdout is not None
            first = process.stdout.readline()
            process.terminate()
            assert process.wait(30) == 0
        finally:
            process.kill()
    assert first.startswith("Kafka is at 127.0.0.1:")


@pytest.mark.kafka
@pytest.mark.slow
def test_three_brokers_go_on_when_one_is_killed() -> None:
    if missing := broker.missing_tools():
        skip_or_fail(missing)
    with broker.Cluster(brokers=3, heap_mb=320) as cluster:
        topic = f"test-{uuid.uuid4().hex[:8]}"
        admin = AdminClient({"bootstrap.servers": cluster.bootstrap, "log_level": 0})
        admin.create_topics([NewTopic(topic, 1, 3, config={"min.insync.replicas": "2"})])[topic].result(30)
        producer = Producer({"bootstrap.servers": cluster.bootstrap, "enable.idempotence": True, "log_level": 0})
        while not (partitions := admin.list_topics(topic, timeout=20).topics[topic].partitions):
            time.sleep(0.1)
        leader = partitions[0].leader
        cluster.kill(leader)
        lost: list[object] = []
        for i in range(100):
            producer.produce(topic, str(i).encode(), on_delivery=lambda error, _: lost.append(error) if error else None)
        assert producer.flush(60) == 0
        assert not lost
