"""What is asked about a group is asked again until its coordinator knows, and no longer than the time that is set."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import Future
from typing import Any

import pytest
from confluent_kafka import KafkaError, KafkaException, Producer
from confluent_kafka.admin import AdminClient, NewPartitions, NewTopic
from kafka_fixtures import skip_or_fail

from pipeline.embedded import kafka as broker
from pipeline.errors import BrokerError, Denied
from pipeline.kafka.clients import connect_admin
from pipeline.kafka.offsets import Group, Offsets, log_ends
from pipeline.settings import KafkaSettings


class Admin:
    """Answers each question about a group with the next of these errors, then with no error."""

    def __init__(self, *errors: int) -> None:
        self.errors, self.waits = list(errors), []

    def describe_consumer_groups(self, names: list[str], *, request_timeout: float) -> dict[str, Future[Any]]:
        self.waits.append(request_timeout)
        answer: Future[Any] = Future()
        answer.set_exception(KafkaException(KafkaError(self.errors.pop(0) if len(self.errors) > 1 else self.errors[0])))
        return {names[0]: answer}


def asked(admin: Admin, seconds: float = 40) -> Group:
    return Offsets(admin, KafkaSettings(request_timeout=seconds)).group("g")  # type: ignore[arg-type]


@pytest.mark.parametrize("at_first", [KafkaError._TIMED_OUT, KafkaError.NOT_COORDINATOR])
def test_a_coordinator_that_is_not_there_yet_is_asked_again_and_given_longer(at_first: int) -> None:
    admin = Admin(at_first, at_first, KafkaError.GROUP_ID_NOT_FOUND)
    assert asked(admin) == Group("g", "dead", ())
    assert admin.waits == [5, 10, 20]


def test_one_that_never_comes_is_an_error_in_time_and_no_word_of_rights() -> None:
    with pytest.raises(BrokerError, match="Kafka: describe group g: ") as told:
        asked(Admin(KafkaError._TIMED_OUT), 0.3)
    assert not isinstance(told.value, Denied)


def test_a_right_that_is_missing_is_told_at_once_as_such() -> None:
    admin = Admin(KafkaError.GROUP_AUTHORIZATION_FAILED)
    with pytest.raises(Denied):
        asked(admin)
    assert len(admin.waits) == 1


@pytest.mark.kafka
@pytest.mark.slow
def test_a_broker_that_has_never_had_a_group_tells_that_it_is_empty() -> None:
    if missing := broker.missing_tools():
        skip_or_fail(missing)
    with broker.Cluster(heap_mb=256) as cluster:
        kafka = KafkaSettings(brokers=cluster.bootstrap, request_timeout=60)  # type: ignore[arg-type]
        offsets = Offsets(connect_admin(kafka), kafka)
        assert offsets.group("g").empty


@pytest.mark.kafka
@pytest.mark.slow
def test_offsets_of_the_first_group_of_a_broker_are_read_moved_and_forgotten() -> None:
    """On a fresh broker each question meets a coordinator that has only just become it."""
    if missing := broker.missing_tools():
        skip_or_fail(missing)
    with broker.Cluster(heap_mb=256) as cluster:
        kafka = KafkaSettings(brokers=cluster.bootstrap, request_timeout=60)  # type: ignore[arg-type]
        admin = connect_admin(kafka)
        for answer in admin.create_topics([NewTopic("t", 3), NewTopic("u", 1)]).values():
            answer.result(30)
        offsets = Offsets(admin, kafka)
        assert offsets.committed("g", "t", range(3)) == {}
        offsets.commit("g", "t", {0: 5, 2: 7})
        offsets.commit("g", "u", {0: 1})
        assert offsets.committed("g", "t", range(3)) == {0: 5, 2: 7}
        offsets.forget("g", "t", [0, 1])
        assert offsets.committed("g", "t", range(3)) == {2: 7}
        assert offsets.committed("g", "u", [0]) == {0: 1}
        assert offsets.committed("h", "t", range(3)) == {}


@pytest.mark.kafka
async def test_where_the_logs_of_all_partitions_end_is_asked_with_how_many_there_are(
    kafka: str, new_topic: Callable[..., str]
) -> None:
    topic, settings = new_topic(partitions=2), KafkaSettings(brokers=kafka)
    producer = Producer({"bootstrap.servers": kafka, "log_level": 0})
    for _ in range(3):
        producer.produce(topic, b"x", partition=1)
    assert producer.flush(20) == 0
    assert await log_ends(settings, topic) == [0, 3]
    admin = AdminClient({"bootstrap.servers": kafka, "log_level": 0})
    admin.create_partitions([NewPartitions(topic, 3)])[topic].result(20)
    for _ in range(100):
        if len(ends := await log_ends(settings, topic)) == 3:
            break
    assert ends == [0, 3, 0]
