"""Messages out: in order, acknowledged, back-pressure instead of loss."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Callable
from pathlib import Path

import pytest
from confluent_kafka import Consumer, TopicPartition
from confluent_kafka.admin import AdminClient, AlterConfigOpType, ConfigEntry, ConfigResource, NewTopic
from kafka_fixtures import broker, skip_or_fail
from operated_stream import OperatedStream, observations, write_model

from pipeline.embedded.servers import start_redis
from pipeline.errors import BrokerError
from pipeline.kafka.publisher import KafkaPublisher
from pipeline.settings import KafkaSettings

pytestmark = pytest.mark.kafka


def read(kafka: str, topic: str, count: int) -> list[tuple[bytes | None, bytes | None, list[tuple[str, bytes]]]]:
    consumer = Consumer(
        {"bootstrap.servers": kafka, "log_level": 0, "group.id": topic, "auto.offset.reset": "earliest"}
    )
    consumer.subscribe([topic])
    got = []
    while len(got) < count:
        message = consumer.poll(20)
        assert message is not None
        assert message.error() is None
        got.append((message.key(), message.value(), message.headers() or []))
    consumer.close()
    return got


def end_of(kafka: str, topic: str) -> int:
    consumer = Consumer({"bootstrap.servers": kafka, "log_level": 0, "group.id": topic})
    _, end = consumer.get_watermark_offsets(TopicPartition(topic, 0), timeout=20)
    consumer.close()
    return end


async def test_messages_keep_their_order_keys_and_headers(kafka: str, new_topic: Callable[..., str]) -> None:
    topic = new_topic()
    publisher = KafkaPublisher(KafkaSettings(brokers=kafka))
    sent = [publisher.send(topic, b"k%d" % (i % 3), b"%d" % i, [("ce_id", b"%d" % i)]) for i in range(5000)]
    sent.append(publisher.send(topic, None, None))
    await asyncio.gather(*sent)
    await publisher.close()
    expected = [(b"k%d" % (i % 3), b"%d" % i, [("ce_id", b"%d" % i)]) for i in range(5000)]
    assert read(kafka, topic, 5001) == [*expected, (None, None, [])]


async def test_more_than_the_queue_holds_waits_in_order(kafka: str, new_topic: Callable[..., str]) -> None:
    topic = new_topic()
    publisher = KafkaPublisher(KafkaSettings(brokers=kafka), queue=100)
    sent = [publisher.send(topic, None, b"%d" % i) for i in range(5000)]
    assert publisher._waiting
    await asyncio.gather(*sent)
    await publisher.close()
    assert [value for _, value, _ in read(kafka, topic, 5000)] == [b"%d" % i for i in range(5000)]


async def test_after_a_refused_message_nothing_that_follows_arrives(kafka: str, new_topic: Callable[..., str]) -> None:
    topic, other = new_topic(), new_topic()
    publisher = KafkaPublisher(KafkaSettings(brokers=kafka), queue=8000)
    sent = [publisher.send(topic, b"k", b"%d" % i) for i in range(5000)]
    sent.append(
        publisher.send(topic, b"k", os.urandom(1_500_000))
    )  # five requests of what follows are on their way by then
    sent += [publisher.send(topic, b"k", b"%d" % i + bytes(300)) for i in range(5001, 20_000)]
    results = await asyncio.gather(*sent, return_exceptions=True)
    assert results[:5000] == [None] * 5000
    (told,) = {str(r) for r in results[5000:]}  # all with the first one's error
    assert told.startswith(
        f"Kafka: publish to {topic}: Broker: Message size too large: a message of 1,500,001 bytes, or"
    )
    assert "raise max.message.bytes" in told
    with pytest.raises(BrokerError, match="size too large"):
        await publisher.send(other, b"k", b"never")
    await publisher.close()
    assert end_of(kafka, topic) == 5000
    assert end_of(kafka, other) == 0


async def test_a_topic_that_cannot_be_written_is_named_and_ends_the_publisher(
    kafka: str, new_topic: Callable[..., str]
) -> None:
    topic = new_topic()
    publisher = KafkaPublisher(KafkaSettings(brokers=kafka))
    await publisher.send(topic, None, b"before")
    with pytest.raises(BrokerError, match=r"publish to no/topic: .*"):
        await publisher.send("no/topic", None, b"after")
    with pytest.raises(BrokerError, match=r"publish to no/topic: .*"):
        await publisher.send(topic, None, b"after")
    await publisher.close()
    assert end_of(kafka, topic) == 1


async def test_what_nobody_awaits_troubles_nobody(kafka: str, new_topic: Callable[..., str]) -> None:
    publisher = KafkaPublisher(KafkaSettings(brokers=kafka))
    publisher.send(new_topic(), None, os.urandom(2_000_000))
    await publisher.close()


@pytest.mark.slow
async def test_a_broker_that_is_away_is_waited_for() -> None:
    if missing := broker.missing_tools():
        skip_or_fail(missing)
    with broker.Cluster(heap_mb=256) as cluster:
        admin = AdminClient({"bootstrap.servers": cluster.bootstrap, "log_level": 0})
        admin.create_topics([NewTopic("t", 1, 1)])["t"].result(20)
        publisher = KafkaPublisher(KafkaSettings(brokers=cluster.bootstrap))
        await publisher.send("t", None, b"before")
        cluster.kill(1)
        sent = [publisher.send("t", None, b"%d" % i) for i in range(100)]
        await asyncio.sleep(3)
        assert not any(s.done() for s in sent if isinstance(s, asyncio.Future))
        await asyncio.to_thread(cluster.start_node, 1)
        await asyncio.gather(*sent)
        await publisher.close()
        values = [value for _, value, _ in await asyncio.to_thread(read, cluster.bootstrap, "t", 101)]
    assert values == [b"before", *(b"%d" % i for i in range(100))]


@pytest.mark.slow
def test_an_alert_that_its_topic_does_not_take_ends_the_worker_with_the_mend_and_comes_once_that_is_done(
    kafka: str, tmp_path: Path
) -> None:
    with start_redis(tmp_path / "redis") as server:
        stream = OperatedStream(tmp_path, kafka, server.url, write_model(tmp_path / "quiet.model"))
        with stream.running:
            stream.create_topic()
            admin = AdminClient({"bootstrap.servers": kafka, "log_level": 0})
            alerts = f"{stream.name}.alerts"
            small = NewTopic(alerts, 1, 1, config={"max.message.bytes": "500"})
            admin.create_topics([small])[alerts].result(20)
            stream.send(*observations(0, 250, 200))
            worker = stream.start()
            _, errors = worker.communicate(timeout=60)
            assert worker.returncode == 2, errors
            told = errors.strip().splitlines()[-1]
            assert f"error: Kafka: publish to {alerts}: Broker: Message size too large" in told
            assert "raise max.message.bytes of that topic and start again" in told
            assert stream.messages(alerts) == []
            larger = ConfigEntry("max.message.bytes", "100000", incremental_operation=AlterConfigOpType.SET)
            resource = ConfigResource(ConfigResource.Type.TOPIC, alerts, incremental_configs=[larger])
            admin.incremental_alter_configs([resource])[resource].result(20)
            stream.work_until(250)
            assert [a["status"] for a in stream.alerts()] == ["firing", "resolved"]
