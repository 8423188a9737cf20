"""What the alert topic tells a worker, on real Kafka; and a whole worker that lost its state."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

import msgspec
import numpy as np
import pytest
from alert_logs import Log, Row, metric_model, scores, stream
from confluent_kafka import Producer
from confluent_kafka.admin import AdminClient, NewPartitions
from faust.types import TP
from recording_life import Book, settings_of, until, worker

from detectors.baselines import Constant
from pipeline.alerts.open_alerts import OpenAlerts, keep_newest
from pipeline.alerts.records import Alert
from pipeline.alerts.row import FIRING
from pipeline.errors import BrokerError
from pipeline.kafka.transport.driver import Consumer as KafkaConsumer
from pipeline.settings import KafkaSettings

NewTopic = Callable[..., str]
ANOMALIES = [0, 0, 9, 9, 9, 0, 0, 0, 0, 0, 9]


def alerts_of(series: str = "a", **policy: float) -> list[Alert]:
    return Log(stream(**policy)).run(scores(series, ANOMALIES))


def test_the_newest_record_of_a_series_counts_also_where_a_crash_repeats_older_ones() -> None:
    alerts = alerts_of()
    assert [a.status for a in alerts] == ["firing", "resolved", "firing"]
    for order in (alerts, alerts + alerts[:1], alerts[::-1], [*alerts[1:], *alerts]):
        kept: dict[str, Alert] = {}
        for alert in order:
            keep_newest(kept, alert)
        assert kept == {"a": alerts[-1]}


def test_of_an_alert_and_the_one_that_followed_it_with_the_same_observation_the_second_counts() -> None:
    log = Log(stream(split=True), metric_model(detectors=(Constant(Constant.Config(window=20)),)))
    values = [10.0 + i % 2 for i in range(16)] + [60.0] * 6 + [-40.0] * 8 + [10.0] * 3
    alerts = log.run(
        [
            Row("a", 5 * i, 5.0 if abs(v - 10) > 5 else 0.0, observed=(v,), expected=(10.0,))
            for i, v in enumerate(values)
        ]
    )
    changes = [a.change for a in alerts]
    at = changes.index("changed")
    assert alerts[at].evidence.offset == alerts[at + 1].evidence.offset
    for end in range(1, len(alerts) + 1):
        told = alerts[:end]
        for order in (told, told[::-1], told + told[:1], told + told[at : at + 1] * (end > at)):
            kept: dict[str, Alert] = {}
            for alert in order:
                keep_newest(kept, alert)
            assert kept == {"a": told[-1]}


def test_an_alert_whose_series_fell_silent_may_be_followed_by_one_that_no_observation_tells_of() -> None:
    log = Log(stream())
    ended = log.run([*scores("a", ANOMALIES[:8])])[-1]
    now = np.array([log.watermark + 60_000])
    (absent,) = log.life.absent(log.state, log.state.rows(), now, clock=log.watermark, offset=log.offset - 1)
    assert (ended.status, ended.evidence.offset) == ("resolved", absent.evidence.offset)
    for order in ([ended, absent], [absent, ended]):
        kept: dict[str, Alert] = {}
        for alert in order:
            keep_newest(kept, alert)
        assert kept == {"a": absent}


@pytest.mark.parametrize("end", [3, 8, 11, 14, 16, 20])
def test_what_the_topic_tells_is_all_that_an_alert_needs_to_go_on(end: int) -> None:
    """Whoever lost the state behind a record, and takes it up, goes on as if nothing had happened."""
    whole = Log(stream(quiet=90, suppression=0, update_every=0, warning=9.0))
    rows = [
        Row("a", 5 * i, float(v), observed=(10.0 + 5 * v + i % 3,), expected=(10.0,))
        for i, v in enumerate([*ANOMALIES, 0, 0, 0, 0, 9, 9, 0, 0, 0, *[0] * 20, 9, 0, 0, 0])
    ]
    before = whole.run(rows[:end])
    assert before[-1].evidence.offset == whole.offset - 1
    other = Log(stream(quiet=90, suppression=0, update_every=0, warning=9.0))
    other.offset, other.watermark = whole.offset, whole.watermark
    other.ordinals, other.history = dict(whole.ordinals), {"a": list(whole.history["a"])}
    other.state.rows_of(["a"])
    told = {"a": before[-1]} if before else {}
    other.life.take_up(other.state, told, np.array([whole.watermark]), whole.watermark)
    here, there = whole.run(rows[end:]), other.run(rows[end:])
    assert [(a.id, a.sequence, a.status, a.reason, a.kind) for a in there] == [
        (a.id, a.sequence, a.status, a.reason, a.kind) for a in here
    ]
    assert "reopened" in {a.change for a in (*before, *here)}


def test_what_was_taken_up_goes_on_as_the_same_alert() -> None:
    log = Log(stream())
    before = log.run(scores("a", ANOMALIES[:4]))
    other = Log(stream())
    other.state.rows_of(["a", "b"])
    newest = other.state.arrays["alerts"]["heard"] * 0
    assert other.life.take_up(other.state, {"a": before[-1]}, newest, 0) == (["a"], [])
    assert other.state.arrays["alerts"]["status"][0] == FIRING
    after = other.run(scores("a", [0, 0, 0], start=20))
    assert [(a.status, a.reason) for a in after] == [("resolved", "normal")]
    assert after[0].id == before[0].id
    assert after[0].sequence == before[-1].sequence + 1
    assert after[0].starts_at == before[0].starts_at


def test_a_table_goes_on_with_an_id_that_it_could_not_work_out() -> None:
    (alert, *_) = alerts_of()
    foreign = msgspec.structs.replace(alert, id="0f" * 16)
    other = Log(stream())
    other.state.rows_of(["a"])
    other.life.take_up(other.state, {"a": foreign}, other.state.arrays["alerts"]["heard"] * 0, 0)
    after = other.run(scores("a", [0, 0, 0, 9], start=20))
    assert [a.id == foreign.id for a in after] == [True, False]


def test_what_was_never_published_ends_without_a_word_and_what_agrees_stays() -> None:
    log = Log(stream(suppression=60))
    published = log.run(scores("a", ANOMALIES[:4]))
    log.run(scores("b", ANOMALIES[:4], start=20))
    before = log.state.arrays["alerts"][0].copy()
    newest = log.state.arrays["alerts"]["heard"] * 0
    assert log.life.take_up(log.state, {"a": published[-1]}, newest, 0) == ([], ["b"])
    assert log.state.arrays["alerts"][0] == before
    assert not log.state.arrays["alerts"][1]["status"]


def test_an_alert_that_was_resolved_suppresses_as_it_would_have() -> None:
    alerts = alerts_of(suppression=60)
    assert alerts[-1].status == "resolved"
    other = Log(stream(suppression=60))
    other.state.rows_of(["a"])
    other.life.take_up(other.state, {"a": alerts[-1]}, other.state.arrays["alerts"]["heard"] * 0, 0)
    assert other.run(scores("a", [9, 9], start=50)) == []
    assert len(other.run(scores("a", [9], start=120))) == 1


def test_a_series_that_moves_ends_its_alert_with_that_reason() -> None:
    log = Log(stream())
    log.run(scores("a", ANOMALIES[:4]))
    rows = log.state.rows()
    (moved,) = log.life.ended(log.state, rows, log.watermark, "moved")
    assert (moved.status, moved.reason, moved.sequence) == ("resolved", "moved", 1)
    assert moved.fired
    assert not log.state.arrays["alerts"]["status"].any()


@pytest.mark.kafka
async def test_the_alert_topic_is_read_for_all_who_asked(kafka: str, new_topic: NewTopic) -> None:
    topic = new_topic(partitions=2)
    producer = Producer({"bootstrap.servers": kafka, "log_level": 0, "partitioner": "murmur2_random"})
    told = alerts_of("a") + alerts_of("b") + alerts_of("c")[:2]
    for alert in told:
        message = alert.message(topic)
        producer.produce(topic, message.value, message.key, headers=list(message.headers))
    for junk in (b"{", None, msgspec.structs.replace(told[0], id="no id").message(topic).value):
        producer.produce(topic, junk, b"k")
    assert producer.flush(20) == 0
    reader = OpenAlerts(KafkaSettings(brokers=kafka), topic)
    mine, others = await asyncio.gather(reader("taxi", "taxi.observations", 1), reader("taxi", "taxi.observations", 0))
    assert {series: a.status for series, a in mine.items()} == {"a": "firing", "b": "firing", "c": "resolved"}
    assert others == {}
    with pytest.raises(BrokerError, match="has no topic"):
        await OpenAlerts(KafkaSettings(brokers=kafka), f"{topic}-none")("taxi", "taxi.observations", 1)


@pytest.mark.kafka
async def test_owners_hear_of_partitions_that_are_added(kafka: str, new_topic: NewTopic, group: str) -> None:
    topic = new_topic(partitions=2)
    book = Book()
    async with worker(settings_of(kafka, group), topic, book) as app:
        await until(lambda: len(app.partitions) == 2, "both")
        admin = AdminClient({"bootstrap.servers": kafka, "log_level": 0})
        admin.create_partitions([NewPartitions(topic, 4)])[topic].result(20)
        consumer = app.consumer
        assert isinstance(consumer, KafkaConsumer)
        await consumer.standing(TP(topic, 0), None)  # asks for metadata; otherwise it takes up to a minute
        await until(lambda: len(app.partitions) == 4 and all(x.standing for x in book.lives[2:]), "all four")
    assert [x.standing.partitions for x in book.lives[2:] if x.standing] == [4] * len(book.lives[2:])
