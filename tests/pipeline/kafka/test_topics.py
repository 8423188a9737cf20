"""Topics are created with their stated settings, found again and told apart."""

from __future__ import annotations

import asyncio
import uuid
from collections.abc import Callable
from contextlib import suppress

import pytest
from aiokafka import AIOKafkaConsumer
from aiokafka.errors import UnknownTopicOrPartitionError
from confluent_kafka.admin import AdminClient, ConfigResource, ResourceType
from kafka_fixtures import broker, skip_or_fail

from pipeline.errors import BrokerError
from pipeline.kafka import topics
from pipeline.kafka.clients import aiokafka_consumer, connect_admin, librdkafka_config
from pipeline.kafka.publisher import KafkaPublisher
from pipeline.settings import IntakeSettings, KafkaSettings, StreamSettings
from producers.errors import ConnectionFailed
from producers.publisher import Publisher


def stream(name: str, **settings: str) -> StreamSettings:
    return StreamSettings(name=name, model="m.safetensors", **settings)  # type: ignore[arg-type]


def test_each_topic_is_planned_once() -> None:
    plans = topics.plan([stream("a", score_topic="scores"), stream("b", topic="in")])
    assert [p.name for p in plans] == [
        "a.observations", "tidewatch.alerts", "tidewatch.decisions", "a.observations.dlq", "scores", "in", "in.dlq",
    ]  # fmt: skip
    kept = {p.name: (p.config["cleanup.policy"], p.config.get("retention.ms")) for p in plans}
    assert kept["tidewatch.alerts"] == ("compact", None)
    assert kept["in"] == ("delete", None)
    assert kept["in.dlq"] == ("delete", str(14 * 24 * 3600 * 1000))
    assert kept["scores"] == ("delete", str(7 * 24 * 3600 * 1000))
    intake = IntakeSettings(stream="b", topics=("raw",), name="c")
    more = topics.plan([stream("b")], [intake, intake.model_copy(update={"dead_letter_topic": "b.observations.dlq"})])
    assert [p.name for p in more][-2:] == ["b.observations.dlq", "c.intake.dlq"]


@pytest.mark.kafka
def test_topics_get_their_settings_and_a_second_run_leaves_them(kafka: str) -> None:
    name = f"s{uuid.uuid4().hex[:8]}"
    settings = KafkaSettings(brokers=kafka, partitions=3)
    plans = topics.plan([stream(name, alert_topic=f"{name}.alerts", decision_topic=f"{name}.decisions")])
    admin = connect_admin(settings)
    try:
        assert topics.create(admin, settings, plans) == [p.name for p in plans]
        facts = topics.describe(admin, settings, [p.name for p in plans])
        assert {topic: f.partitions for topic, f in facts.items() if f.partitions != 3} == {f"{name}.decisions": 1}
        assert _config(admin, f"{name}.alerts")["cleanup.policy"] == "compact"
        assert _config(admin, f"{name}.alerts")["min.insync.replicas"] == "1"
        assert _config(admin, f"{name}.observations.dlq")["retention.ms"] == str(14 * 24 * 3600 * 1000)
        other = settings.model_copy(update={"partitions": 5})
        assert topics.create(admin, other, plans) == []
        assert topics.describe(admin, settings, [p.name for p in plans]) == facts
    finally:
        for done in admin.delete_topics([p.name for p in plans]).values():
            done.result(20)


@pytest.mark.kafka
def test_a_topic_that_was_created_again_has_another_id(kafka: str) -> None:
    name = f"s{uuid.uuid4().hex[:8]}"
    settings = KafkaSettings(brokers=kafka)
    admin = connect_admin(settings)
    ids = []
    for _ in range(2):
        topics.create(admin, settings, [topics.TopicPlan(name)])
        ids.append(topics.describe(admin, settings, [name])[name].topic_id)
        admin.delete_topics([name])[name].result(20)
        while name in topics.describe(admin, settings, [name]):
            pass
    assert ids[0] != ids[1]
    assert all(ids)
    assert topics.cluster_id(admin, settings)


@pytest.mark.kafka
def test_what_kafka_refuses_is_told_with_the_topics_name(kafka: str) -> None:
    settings = KafkaSettings(brokers=kafka, replication=7)
    name = f"s{uuid.uuid4().hex[:8]}"
    with pytest.raises(BrokerError, match=f"create topic {name}: .*replic"):
        topics.create(connect_admin(settings), settings, [topics.TopicPlan(name)])


@pytest.mark.kafka
def test_a_missing_topic_is_named_with_the_one_that_comes_nearest(kafka: str, new_topic: Callable[..., str]) -> None:
    there, admin, settings = new_topic(), connect_admin(KafkaSettings(brokers=kafka)), KafkaSettings(brokers=kafka)
    wrong = there[:-2] + "xx"
    with pytest.raises(BrokerError, match=rf"no topic {wrong} \(did you mean {there}\?\); .*`tidewatch topics create`"):
        topics.require(admin, settings, [there, wrong])
    with pytest.raises(BrokerError, match=r"no topic quite-other; correct the name, or create"):
        topics.require(admin, settings, ["quite-other"])


@pytest.mark.kafka
async def test_no_client_makes_a_broker_create_what_it_asks_for() -> None:
    """On a broker that creates what is asked for, as Kafka's default is."""
    if missing := broker.missing_tools():
        skip_or_fail(missing)
    with broker.Cluster(heap_mb=256, properties={"auto.create.topics.enable": "true"}) as cluster:
        settings = KafkaSettings(brokers=cluster.bootstrap)
        admin = connect_admin(settings)
        careless = AIOKafkaConsumer("made-by-asking", bootstrap_servers=cluster.bootstrap)
        await careless.start()
        await careless.stop()
        assert "made-by-asking" in topics.names(admin, settings), "or this test cannot fail"

        admin.list_topics("asked-by-admin", timeout=10)
        with pytest.raises(ConnectionFailed, match="topic asked-by-producer"):
            Publisher("asked-by-producer", librdkafka_config(settings)).connect()
        with pytest.raises(ConnectionFailed, match="topic asked-by-example"):
            Publisher("asked-by-example", {"bootstrap.servers": cluster.bootstrap}).connect()
        publisher = KafkaPublisher(settings)
        sent = publisher.send("asked-by-publisher", b"k", b"v")
        for options in ({}, {"group_id": "g"}):
            consumer = aiokafka_consumer(settings, "asked-by-consumer", **options)
            with suppress(TimeoutError, UnknownTopicOrPartitionError):
                async with asyncio.timeout(3):
                    await consumer.start()
            await consumer.stop()
        sent.cancel()
        await publisher.close(timeout=0.1)
        assert not [n for n in topics.names(admin, settings) if n.startswith("asked")]


def _config(admin: AdminClient, topic: str) -> dict[str, str]:
    (answer,) = admin.describe_configs([ConfigResource(ResourceType.TOPIC, topic)]).values()
    return {name: entry.value for name, entry in answer.result(20).items()}
