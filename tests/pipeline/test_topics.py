"""Topics are created with their stated settings, found again and told apart."""

from __future__ import annotations

import uuid

import pytest
from confluent_kafka.admin import AdminClient, ConfigResource, ResourceType

from pipeline import topics
from pipeline.errors import BrokerError
from pipeline.kafka_clients import connect_admin
from pipeline.settings import KafkaSettings, StreamSettings


def stream(name: str, **settings: str) -> StreamSettings:
    return StreamSettings(name=name, model="m.safetensors", **settings)  # type: ignore[arg-type]


def test_each_topic_is_planned_once() -> None:
    plans = topics.plan([stream("a", score_topic="scores"), stream("b", topic="in")])
    assert [p.name for p in plans] == [
        "a.observations", "tidewatch.alerts", "a.observations.dlq", "scores", "in", "in.dlq",
    ]  # fmt: skip
    kept = {p.name: (p.config["cleanup.policy"], p.config.get("retention.ms")) for p in plans}
    assert kept["tidewatch.alerts"] == ("compact", None)
    assert kept["in"] == ("delete", None)
    assert kept["in.dlq"] == ("delete", str(14 * 24 * 3600 * 1000))
    assert kept["scores"] == ("delete", str(7 * 24 * 3600 * 1000))


@pytest.mark.kafka
def test_topics_get_their_settings_and_a_second_run_leaves_them(kafka: str) -> None:
    name = f"s{uuid.uuid4().hex[:8]}"
    settings = KafkaSettings(brokers=kafka, partitions=3)
    plans = topics.plan([stream(name, alert_topic=f"{name}.alerts")])
    admin = connect_admin(settings)
    try:
        assert topics.create(admin, settings, plans) == [p.name for p in plans]
        facts = topics.describe(admin, settings, [p.name for p in plans])
        assert {f.partitions for f in facts.values()} == {3}
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
    with pytest.raises(BrokerError, match=rf"no topic {name}; create it"):
        topics.require(topics.describe(connect_admin(settings), settings, [name]), [name])


def _config(admin: AdminClient, topic: str) -> dict[str, str]:
    (answer,) = admin.describe_configs([ConfigResource(ResourceType.TOPIC, topic)]).values()
    return {name: entry.value for name, entry in answer.result(20).items()}
