"""An alert topic of a test's own on the embedded broker, and alerts in it."""

from __future__ import annotations

import asyncio
import uuid
from collections.abc import Iterable

from confluent_kafka.admin import AdminClient, NewTopic

from pipeline.alerts.records import Alert
from pipeline.kafka.publisher import KafkaPublisher
from pipeline.settings import KafkaSettings


def new_alert_topic(kafka: KafkaSettings, partitions: int = 1) -> str:
    """Its name."""
    name = f"test-{uuid.uuid4().hex[:12]}"
    admin = AdminClient({"bootstrap.servers": kafka.brokers})
    admin.create_topics([NewTopic(name, partitions, 1)])[name].result(20)
    return name


async def publish(kafka: KafkaSettings, topic: str, alerts: Iterable[Alert]) -> None:
    """Publish alerts, in order."""
    out = KafkaPublisher(kafka)
    sent = [out.send(topic, m.key, m.value, m.headers) for m in (a.message(topic) for a in alerts)]
    await asyncio.gather(*sent)
    await out.close()
