"""One test case over two brokers: Tansu, and real Apache Kafka."""

from __future__ import annotations

import asyncio
import uuid
from contextlib import asynccontextmanager
from unittest.mock import patch

import pytest
from aiokafka import AIOKafkaConsumer
from alert_logs import Log, Row, scores, stream
from alert_topic import new_alert_topic
from confluent_kafka import Producer
from confluent_kafka.admin import AdminClient, NewPartitions
from structlog.testing import capture_logs

from pipeline.alerts.subscribe import AlertSubscriber, Unrepeated
from pipeline.errors import BrokerError
from pipeline.kafka.offsets import Offsets
from pipeline.kafka.publisher import KafkaPublisher
from pipeline.settings import KafkaSettings


@pytest.fixture(
    params=[pytest.param("tansu", marks=pytest.mark.embedded), pytest.param("apache", marks=pytest.mark.kafka)]
)
def settings(request):
    name = "tansu" if request.param == "tansu" else "kafka"
    return KafkaSettings(brokers=request.getfixturevalue(name))


@pytest.fixture
def topic(settings):
    return new_alert_topic(settings, 3)


def alerts(name="taxi"):
    """Four series that fire and resolve one after the other, one of them critical in between."""
    rows = []
    for i, series in enumerate(["a/cpu", "a/mem", "b/cpu", "c"]):
        values = [5.0, 7.0, 0.1, 0.1, 0.1] if series == "b/cpu" else [5.0, 0.1, 0.1, 0.1]
        rows += scores(series, values, start=100 * i)
    return Log(stream(name=name)).run(rows)


@asynccontextmanager
async def publisher(settings):
    made = KafkaPublisher(settings)
    try:
        yield made
    finally:
        await made.close()


async def publish(settings, topic, messages):
    async with publisher(settings) as out:
        await asyncio.gather(*[out.send(topic, m.key, m.value, m.headers) for m in messages])


async def read(settings, topic, **options):
    async with AlertSubscriber(settings, topic, start="beginning", follow=False, **options) as subscriber:
        return [alert async for alert in subscriber]


def by_series(found):
    return sorted(found, key=lambda a: (a.series, a.starts_at, a.sequence))


async def test_each_record_is_read_once_however_often_it_was_published(settings, topic):
    sent = alerts()
    messages = [a.message(topic) for a in sent]
    await publish(settings, topic, [*messages[:5], *messages[2:], *messages])
    assert by_series(await read(settings, topic)) == by_series(sent)


async def test_filters_choose_statuses_series_and_streams(settings, topic):
    await publish(settings, topic, [a.message(topic) for a in alerts() + alerts("other")])
    firing = await read(settings, topic, statuses={"firing"}, series="*/cpu", streams={"taxi"})
    assert sorted((a.series, a.sequence) for a in firing) == [("a/cpu", 0), ("b/cpu", 0), ("b/cpu", 1)]
    assert {a.stream for a in firing} == {"taxi"}


async def test_reading_an_empty_topic_ends_at_once(settings, topic):
    assert await read(settings, topic) == []


async def test_what_is_no_alert_is_skipped_and_named(settings, topic):
    (good,) = Log(stream()).run([Row("a", 0, 5.0)])
    async with publisher(settings) as out:
        for value in (b"\xff{", b'{"id": 1}', None, good.message(topic).value):
            await out.send(topic, b"k", value)
    with capture_logs() as logs:
        assert await read(settings, topic) == [good]
    assert [entry["event"] for entry in logs] == ["not an alert, skipped"] * 2


async def test_new_alerts_are_those_published_after_it_was_opened(settings, topic):
    sent = alerts()
    async with publisher(settings) as out:
        for message in (a.message(topic) for a in sent[:2]):  # one by one: Tansu ends amid a batch
            await out.send(topic, message.key, message.value, message.headers)
    async with AlertSubscriber(settings, topic, start="new") as subscriber:
        await publish(settings, topic, [a.message(topic) for a in sent[2:]])
        found = []
        async with asyncio.timeout(20):
            async for alert in subscriber:
                found.append(alert)
                if len(found) == len(sent) - 2:
                    break
    assert by_series(found) == by_series(sent[2:])


@pytest.mark.parametrize(  # Tansu keeps a member that has left for 10 s
    "settings", [pytest.param("apache", marks=pytest.mark.kafka)], indirect=True
)
async def test_a_group_goes_on_where_it_was_left(settings, topic):
    sent = alerts()
    await publish(settings, topic, [a.message(topic) for a in sent])
    group = f"g-{uuid.uuid4().hex[:8]}"

    async def take(count):
        found = []
        async with (
            asyncio.timeout(40),
            AlertSubscriber(settings, topic, start="beginning", group=group) as subscriber,
        ):
            async for alert in subscriber:
                found.append(alert)
                if len(found) > count:
                    return found
        raise AssertionError

    first = await take(3)  # the fourth was handed out, and not handled
    rest = await take(len(sent) - 4)
    assert by_series(first[:3] + rest) == by_series(sent)


APACHE = pytest.mark.parametrize("settings", [pytest.param("apache", marks=pytest.mark.kafka)], indirect=True)


async def first(count, subscriber):
    found = []
    async with asyncio.timeout(60):
        async for alert in subscriber:
            found.append(alert)
            if len(found) == count:
                return found
    raise AssertionError


@APACHE
async def test_a_new_group_misses_nothing_from_the_moment_it_was_opened(settings, topic):
    sent = alerts()
    await publish(settings, topic, [a.message(topic) for a in sent[:2]])  # before its time
    group = f"g-{uuid.uuid4().hex[:8]}"
    async with AlertSubscriber(settings, topic, group=group):  # stops in order, having seen nothing
        pass
    await publish(settings, topic, [a.message(topic) for a in sent[2:]])
    async with AlertSubscriber(settings, topic, group=group) as subscriber:
        assert by_series(await first(len(sent) - 2, subscriber)) == by_series(sent[2:])


@APACHE
async def test_of_two_that_open_a_group_at_once_neither_moves_its_beginning(settings, topic):
    group, sent = f"g-{uuid.uuid4().hex[:8]}", alerts()
    async with AlertSubscriber(settings, topic, group=group):
        await publish(settings, topic, [a.message(topic) for a in sent])
        late = AlertSubscriber(settings, topic, group=group)
        with patch.object(Offsets, "committed", side_effect=[{}, {0: 0}]):  # as it looked a moment earlier
            await asyncio.to_thread(late._prepare)
    async with AlertSubscriber(settings, topic, group=group) as subscriber:
        assert by_series(await first(len(sent), subscriber)) == by_series(sent)


@APACHE
async def test_members_that_never_said_where_they_are_are_told_of(settings, topic):
    group = f"g-{uuid.uuid4().hex[:8]}"
    stranger = AIOKafkaConsumer(topic, bootstrap_servers=settings.brokers, group_id=group, enable_auto_commit=False)
    await stranger.start()
    try:
        with pytest.raises(BrokerError, match=f"group {group} cannot begin: .*stop them first"):
            async with AlertSubscriber(settings, topic, group=group):
                pass
    finally:
        await stranger.stop()


@APACHE
@pytest.mark.parametrize("group", [None, "g"])
async def test_a_partition_that_is_added_is_read_from_its_beginning_and_the_others_go_on(
    settings, topic, group, monkeypatch
):
    monkeypatch.setattr("pipeline.alerts.progress.NEW_PARTITIONS_EVERY", 0.3)
    group = group and f"g-{uuid.uuid4().hex[:8]}"
    sent = alerts()
    await publish(settings, topic, [a.message(topic) for a in sent[:1]])  # before its time
    async with AlertSubscriber(settings, topic, group=group) as subscriber:
        await publish(settings, topic, [a.message(topic) for a in sent[1:3]])
        assert by_series(await first(2, subscriber)) == by_series(sent[1:3])
        admin = AdminClient({"bootstrap.servers": settings.brokers})
        admin.create_partitions([NewPartitions(topic, 6)])[topic].result(20)
        producer = Producer({"bootstrap.servers": settings.brokers})
        for alert in sent[3:]:
            message = alert.message(topic)
            producer.produce(topic, message.value, message.key, partition=3 + len(alert.series) % 3)
        producer.flush(20)
        assert by_series(await first(len(sent) - 3, subscriber)) == by_series(sent[3:])


async def test_a_topic_that_does_not_exist_is_named_with_the_nearest_and_not_created(settings, topic):
    wrong = topic[:-1]
    with pytest.raises(BrokerError, match=rf"Kafka has no topic {wrong} \(did you mean {topic}\?\)"):
        await read(settings, wrong)
    admin = AdminClient({"bootstrap.servers": settings.brokers})
    assert wrong not in admin.list_topics(timeout=10).topics


async def test_a_broker_that_is_not_there_is_named():
    nobody = KafkaSettings(brokers="127.0.0.1:1", request_timeout=2)
    with pytest.raises(BrokerError, match=r"Kafka at 127\.0\.0\.1:1 does not answer"):
        await read(nobody, "t")


def test_what_is_remembered_is_bounded():
    fresh = Unrepeated(remember=2)
    one, two, three = (Log(stream()).run([Row(s, 0, 5.0)])[0] for s in "abc")
    assert [fresh(a) for a in (one, two, two, three, two, one)] == [True, True, False, True, False, True]
