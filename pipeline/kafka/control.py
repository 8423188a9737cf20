"""Writing control records into the log of observations (`producers.records` has their form), and asking for what they tell.

A producer of its own, used once: a worker need not be allowed to write to its input, and a refusal must not end the publisher
that its alerts go through.
"""

from __future__ import annotations

import asyncio

from confluent_kafka import KafkaError, KafkaException, Producer

from pipeline.errors import BrokerError
from pipeline.kafka.clients import DENIED, broker_error, librdkafka_config
from pipeline.settings import KafkaSettings


async def append(kafka: KafkaSettings, topic: str, partition: int, key: bytes, value: bytes) -> bool:
    """Write a record to a partition and wait for all in-sync replicas; False where that is not allowed.

    Raises
    ------
    BrokerError
        Kafka does not take it within `kafka.request_timeout`.
    """
    return await asyncio.to_thread(_append, kafka, topic, partition, key, value)


async def count_partitions(kafka: KafkaSettings, topic: str) -> int:
    """How many partitions a topic has now; 0 where it does not exist. Raises BrokerError."""
    return await asyncio.to_thread(_count_partitions, kafka, topic)


def _count_partitions(kafka: KafkaSettings, topic: str) -> int:
    try:
        told = Producer(librdkafka_config(kafka)).list_topics(topic, timeout=kafka.request_timeout.total_seconds())
    except KafkaException as error:
        raise broker_error(f"ask for the partitions of {topic}", error) from error
    return len(told.topics[topic].partitions)


def _append(kafka: KafkaSettings, topic: str, partition: int, key: bytes, value: bytes) -> bool:
    refused: list[KafkaError] = []
    timeout = kafka.request_timeout.total_seconds()
    options = {"acks": "all", "message.timeout.ms": int(timeout * 1000)}
    producer = Producer(librdkafka_config(kafka) | options)
    producer.produce(
        topic, value, key, partition=partition, on_delivery=lambda error, _: refused.append(error) if error else None
    )
    left = producer.flush(timeout + 1.0)
    if refused and refused[0].code() in DENIED:
        return False
    if refused:
        raise broker_error(f"write a control record to {topic}[{partition}]", KafkaException(refused[0]))
    if left:
        msg = f"Kafka did not take a control record for {topic}[{partition}] within {timeout:.0f} s; start the worker again"
        raise BrokerError(msg)
    return True
