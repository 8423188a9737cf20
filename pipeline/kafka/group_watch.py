"""How far a consumer group has come, for whoever waits for it: the demo and the doctor's canary."""

from __future__ import annotations

from collections.abc import Sequence

from confluent_kafka import Consumer, KafkaException, TopicPartition

from pipeline.kafka.clients import broker_error, librdkafka_config
from pipeline.kafka.offsets import committed_by
from pipeline.settings import KafkaSettings

DOING = "ask for the group's offsets"


class GroupWatch:
    """How far the group has committed, which is how far everything is stored and published."""

    def __init__(self, kafka: KafkaSettings, group: str) -> None:
        self._timeout = kafka.request_timeout.total_seconds()
        self._consumer = Consumer(librdkafka_config(kafka) | {"group.id": group, "enable.auto.commit": False})

    def committed(self, topics: Sequence[str]) -> int:
        """Records of these topics before the committed offsets; the topics begin at offset 0. Raises BrokerError."""
        try:
            asked = [
                TopicPartition(topic, partition)
                for topic in topics
                for partition in self._consumer.list_topics(topic, timeout=self._timeout).topics[topic].partitions
            ]
            return sum(max(at.offset, 0) for at in committed_by(self._consumer, DOING, asked, self._timeout))
        except KafkaException as error:
            raise broker_error(DOING, error) from error

    def close(self) -> None:
        """Give the connection back."""
        self._consumer.close()
