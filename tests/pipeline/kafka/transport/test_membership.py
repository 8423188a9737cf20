"""Static members on real Kafka: of two with one instance id the first ends, and the second goes on undisturbed."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

import pytest
from confluent_kafka import Producer
from recording_life import Book, committed, settings_of, until, worker

from pipeline.errors import BrokerError


def produce(kafka: str, topic: str, count: int) -> None:
    producer = Producer({"bootstrap.servers": kafka})
    for i in range(count):
        producer.produce(topic, str(i), partition=i % 2)
    assert not producer.flush(20)


@pytest.mark.kafka
async def test_the_first_of_two_with_one_instance_id_ends_with_the_setting_s_name(
    kafka: str, group: str, new_topic: Callable[..., str]
) -> None:
    topic, settings = new_topic(partitions=2), settings_of(kafka, group, instance_id="w-1")
    first, second = Book(), Book()
    produce(kafka, topic, 10)
    told = r"group test-\w+ .* same worker\.instance_id, w-1, .*TIDEWATCH_WORKER__INSTANCE_ID"
    with pytest.raises(BrokerError, match=told):  # noqa: PT012  it is told when the first worker's block ends
        async with worker(settings, topic, first) as app:
            await until(lambda: first.total() == 10, "the first worker's records")
            async with worker(settings, topic, second, "second") as other:
                await until(app.ended.is_set, "the end of the first")
                produce(kafka, topic, 10)
                await until(lambda: second.total() >= 10, "the second worker's records")
                await asyncio.sleep(3)
                assert not other.ended.is_set()
    assert [what for what, *_ in second.events].count("assigned") == 2, "it was disturbed"


@pytest.mark.kafka
async def test_a_static_member_commits_and_comes_back_without_waiting(
    kafka: str, group: str, new_topic: Callable[..., str]
) -> None:
    topic, settings, book = new_topic(partitions=2), settings_of(kafka, group, instance_id="w-1"), Book()
    for total in (10, 20):
        produce(kafka, topic, 10)
        async with worker(settings, topic, book):
            await until(lambda total=total: book.total() == total, "the records")
        assert committed(kafka, group, topic, 0) == total // 2
