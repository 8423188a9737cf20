"""Real Apache Kafka for tests: one broker for the whole run, a fresh topic and group for each test.

`TIDEWATCH_TEST_KAFKA=host:port` names a broker that runs already. Without it, one is started (`pipeline.embedded.kafka`); where that
is impossible the tests are skipped with what to do about it; under CI they fail.
"""

from __future__ import annotations

import os
import time
import uuid
from collections.abc import Callable, Iterable, Iterator

import pytest
from confluent_kafka import Consumer, KafkaException, TopicPartition
from confluent_kafka.admin import AdminClient, NewTopic

from pipeline.embedded import kafka as broker

# Deletion, compaction and expiry are waited for in tests; Kafka's defaults are minutes.
QUICK_CLEANERS = {
    "log.initial.task.delay.ms": "500",
    "log.retention.check.interval.ms": "500",
    "log.cleaner.backoff.ms": "200",
    "log.segment.delete.delay.ms": "500",
}


PATIENCE = 300.0
"""Seconds that brokers may take until they answer: a busy machine is slow, and nothing is missing there."""


def skip_or_fail(missing: str) -> None:
    """Skip with what to do; under CI, fail."""
    if os.environ.get("CI") == "true":
        pytest.fail(f"Apache Kafka cannot start in CI: {missing}", pytrace=False)
    pytest.skip(f"needs Apache Kafka: {missing}; or set TIDEWATCH_TEST_KAFKA=host:port")


@pytest.fixture(scope="session")
def kafka() -> Iterator[str]:
    """Bootstrap servers of a real broker."""
    if named := os.environ.get("TIDEWATCH_TEST_KAFKA"):
        yield named
        return
    if missing := broker.missing_tools():
        skip_or_fail(missing)
    cluster = broker.Cluster(properties=QUICK_CLEANERS, patience=PATIENCE)
    try:
        try:
            cluster.start()
        except broker.KafkaSlow:  # nothing is missing
            raise
        except broker.KafkaUnavailable as error:
            skip_or_fail(str(error))
        yield cluster.bootstrap
    finally:
        cluster.stop()


@pytest.fixture
def group() -> str:
    """A consumer group of this test's own."""
    return f"test-{uuid.uuid4().hex[:12]}"


@pytest.fixture
def new_topic(kafka: str) -> Iterator[Callable[..., str]]:
    """Call it for a fresh topic: `new_topic(partitions=4, **{"cleanup.policy": "compact"})`; deleted after the test."""
    admin = AdminClient({"bootstrap.servers": kafka, "log_level": 0})
    made: list[str] = []

    def make(partitions: int = 1, **config: str) -> str:
        name = f"test-{uuid.uuid4().hex[:12]}"
        admin.create_topics([NewTopic(name, partitions, 1, config=config)])[name].result(20)
        made.append(name)
        return name

    yield make
    if made:
        for done in admin.delete_topics(made).values():
            done.result(20)


def committed_offsets(brokers: str, group: str, topic: str, partitions: Iterable[int]) -> dict[int, int]:
    """A group's offsets as Kafka has them; -1001 where there is none. (librdkafka's admin client may crash: `pipeline.kafka.offsets`.)"""
    consumer = Consumer({"bootstrap.servers": brokers, "group.id": group, "enable.auto.commit": False, "log_level": 0})
    asked, end = [TopicPartition(topic, p) for p in partitions], time.monotonic() + 60
    try:
        while True:
            try:
                return {tp.partition: int(tp.offset) for tp in consumer.committed(asked, timeout=10)}
            except KafkaException:  # the group's coordinator is not there yet, or not any more
                if time.monotonic() > end:
                    raise
            time.sleep(0.1)
    finally:
        consumer.close()
