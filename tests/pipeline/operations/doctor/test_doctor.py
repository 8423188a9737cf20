"""The doctor: inverted scores, evicting Redis and unreachable servers cannot hide."""

from __future__ import annotations

import asyncio
import json
import re
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import redis as sync_redis
from confluent_kafka import Producer
from confluent_kafka.admin import AdminClient
from operated_stream import OperatedStream, observations, write_model

from detectors.base import Scores
from detectors.baselines import ZScore, ZScoreConfig
from pipeline.alerts.records import rfc3339
from pipeline.embedded.servers import start_redis
from pipeline.errors import BrokerError, Denied
from pipeline.kafka import topics
from pipeline.kafka.offsets import Bounds, Offsets
from pipeline.operations.doctor.canary import PLANTED, START, STEP, _judged
from pipeline.operations.doctor.examine import examine, planted_scores_higher
from pipeline.operations.doctor.kafka import TopicDetails, _group, clock, judged, judged_clock, judged_decisions
from pipeline.operations.doctor.states import judged as judged_state
from pipeline.operations.doctor.states import redis_itself
from pipeline.operations.state_admin import Administration, opened
from pipeline.partition.deciding.decisions import IN_FORCE, InForce
from pipeline.partition.deciding.growth import Growth
from pipeline.partition.stores.base import Checkpoint
from pipeline.settings import Settings, StreamSettings, load_settings
from producers.records import Observation, encode


class Inverted(ZScore):
    """Calls the most anomalous the most normal."""

    def _score(self, x):
        return Scores(-super()._score(x).raw)


def fitted(kind):
    detector = kind(ZScoreConfig(window=12))
    detector.fit(np.random.default_rng(0).normal(size=(8, 12, 1)))
    return detector


def test_an_inverted_score_is_noticed() -> None:
    assert planted_scores_higher(fitted(ZScore))
    assert not planted_scores_higher(fitted(Inverted))


HEALTHY = {
    "maxmemory_policy": "noeviction", "redis_version": "7.2.0", "aof_enabled": 1, "used_memory": 10, "maxmemory": 100,
    "role": "master",
}  # fmt: skip


@pytest.mark.parametrize(
    ("changed", "save", "state", "says"),
    [
        ({}, "", "ok", ""),
        ({"maxmemory_policy": "allkeys-lru"}, "", "failed", "set it to noeviction"),
        ({"role": "slave"}, "", "failed", "name its master in redis.url"),
        ({"used_memory": 81}, "", "warning", "81% of maxmemory is in use"),
        ({"aof_enabled": 0}, "", "warning", "nothing is written to disk: .*set appendonly yes"),
        ({"aof_enabled": 0}, "3600 1", "warning", "as old as its last snapshot; set appendonly yes"),
        ({"aof_enabled": 0}, None, "warning", "no append-only file"),
        ({"aof_last_write_status": "err"}, "", "failed", "its last write to disk failed"),
        ({"rdb_last_bgsave_status": "err", "aof_enabled": 0}, "3600 1", "failed", "its last write to disk failed"),
        ({"maxmemory_policy": None}, "", "warning", "make sure it is noeviction"),
    ],
)
def test_what_is_wrong_with_a_redis_is_told_with_the_mend(changed, save, state: str, says: str) -> None:
    findings = list(redis_itself(HEALTHY | changed, save))
    worst = [f for f in findings if f.state != "ok"]
    assert {f.state for f in worst or findings} == {state}
    assert re.search(says, (worst or findings)[0].detail)


COMPACT = {"cleanup.policy": "compact", "min.insync.replicas": "2", "max.message.bytes": "1048588"}


@pytest.mark.parametrize(
    ("replicas", "in_sync", "config", "says"),
    [
        (3, 3, {}, None),
        (1, 1, {}, "t has 1 replica: .*kafka.replication = 3"),
        (2, 2, {}, "min.insync.replicas is 2 of 2: one broker away, and workers wait"),
        (3, 3, {"min.insync.replicas": "1"}, "min.insync.replicas is 1: .* set it to 2"),
        (3, 2, {}, "a replica is behind or away"),
        (3, 3, {"cleanup.policy": "delete"}, "set cleanup.policy=compact"),
        (3, 3, {"max.message.bytes": "500000"}, "max.message.bytes is 500,000: .* set it to 1048588 or more"),
    ],
)
def test_what_is_wrong_with_a_topic_is_told_with_the_mend(replicas, in_sync, config, says: str | None) -> None:
    told = list(judged("t", TopicDetails(replicas, in_sync, COMPACT | config), alerts=True))
    assert len(told) == (says is not None)
    assert all(re.search(says or "", line) for line in told)


def test_a_broker_that_tells_no_settings_is_not_judged_by_them() -> None:
    assert list(judged("t", TopicDetails(3, 3, {}), alerts=True)) == []
    assert list(judged_decisions("t", 1, TopicDetails(3, 3, {}))) == []


def test_a_topic_of_decisions_keeps_all_in_one_order_with_the_brokers_time() -> None:
    right = dict(topics.own_plan([StreamSettings(name="s", model=Path("m"))])[1].config)
    assert list(judged_decisions("t", 1, TopicDetails(3, 3, right))) == []
    for partitions, change, says in (
        (2, {}, "need one order"),
        (1, {"message.timestamp.type": "CreateTime"}, "is not LogAppendTime"),
        (1, {"retention.ms": "604800000"}, "does not keep all"),
        (1, {"cleanup.policy": "compact"}, "does not keep all"),
    ):
        (told,) = judged_decisions("t", partitions, TopicDetails(3, 3, right | change))
        assert says in told


#                             first    10 %                    due      end
#                             1000     1900                    6000     10000
@pytest.mark.parametrize(
    ("offset", "due", "says"),
    [
        (10_000, 10_000, None),
        (5_000, 0, None),
        (10_001, 0, "the log ends at 10,000"),
        (999, 0, "1 record expired before being read"),
        (5_000, 6_000, "1,000 unread records older than half of retention.ms"),
        (1_500, 0, "500 records from the log's start"),
    ],
)
def test_a_checkpoint_that_retention_is_about_to_pass_is_told(offset: int, due: int, says: str | None) -> None:
    found = judged_state(offset, Bounds(1_000, 10_000), due)
    assert found is None if says is None else found is not None and says in found[1]


def test_clocks_that_differ_are_told() -> None:
    assert judged_clock("Kafka", -4.9).state == "ok"
    assert judged_clock("Kafka", -61).state == "warning"
    assert "61 s behind this machine's" in judged_clock("Kafka", -61).detail
    assert "61 s ahead of this machine's" in judged_clock("Kafka", 61).detail


@pytest.mark.parametrize(
    ("error", "says"),
    [
        (Denied("Kafka: describe group g: refused"), "refused; this user needs DESCRIBE on the group"),
        (BrokerError("Kafka: describe group g: timed out"), "timed out"),
    ],
)
def test_a_right_is_said_to_be_missing_only_where_kafka_says_so(
    error: BrokerError, says: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: object) -> None:
        raise error

    monkeypatch.setattr(Offsets, "group", fail)
    finding = _group(Settings(), AdminClient({"bootstrap.servers": "127.0.0.1:1", "log_level": 0}))
    assert (finding.state, finding.detail) == ("warning", f"not seen: Kafka: describe group g: {says}")


@pytest.mark.kafka
def test_the_brokers_clock_is_compared_and_nothing_stays_behind(kafka: str) -> None:
    settings = Settings(kafka={"brokers": kafka})
    admin = AdminClient({"bootstrap.servers": kafka, "log_level": 0})
    assert clock(settings).detail == "Kafka's is within 5 s of this machine's"
    assert not [t for t in admin.list_topics(timeout=20).topics if t.endswith(".clock")]


@pytest.fixture
def stream(kafka: str, tmp_path: Path) -> Iterator[OperatedStream]:
    with start_redis(tmp_path / "redis") as server:
        made = OperatedStream(tmp_path, kafka, server.url, write_model(tmp_path / "quiet.model"))
        made.create_topic(2, **{"retention.ms": "3600000"})
        yield made


async def store(stream: OperatedStream, offset: int, *, told: int = 0, **changed: Any) -> None:
    """A checkpoint of partition 0, as one of this stream or of another, which was `told` of so many partitions."""
    with pytest.MonkeyPatch.context() as patched:
        for name, value in stream.environment.items():
            patched.setenv(name, value)
        settings = load_settings()
    here = Administration(settings, stream.name)
    identity = here.identity.model_copy(update=changed)
    async with opened(settings) as redis:
        fields = here.steps.core(0).state.snapshot(everything=True)
        if told:
            fields[IN_FORCE] = InForce(1, growth=Growth(told)).packed()
        await redis.put(stream.name, 0, Checkpoint(offset, 0, identity, fields))


@pytest.mark.embedded
def test_tansu_is_not_believed_where_its_logs_end(tansu: str, tmp_path: Path) -> None:
    with start_redis(tmp_path / "redis") as server:
        stream = OperatedStream(tmp_path, tansu, server.url, write_model(tmp_path / "quiet.model"))
        assert stream.run("topics", "create").exit_code == 0
        stream.send(*observations(0, 10))
        asyncio.run(store(stream, 10))
        code, told = diagnosed(stream)
        assert (code, told[f"state {stream.name}"]) == (0, ["ok: checkpoints of 1 partition"])


def diagnosed(stream: OperatedStream) -> tuple[int, dict[str, list[str]]]:
    done = stream.run("doctor", "--no-canary", "--json")
    told: dict[str, list[str]] = {}
    for line in done.stdout.splitlines():
        finding = json.loads(line)
        told.setdefault(finding["what"], []).append(f"{finding['state']}: {finding['detail']}")
    return done.exit_code, told


@pytest.mark.kafka
def test_states_are_held_against_topic_model_and_retention(stream: OperatedStream) -> None:
    state = f"state {stream.name}"
    old = int((time.time() - 40 * 60) * 1000)
    producer = Producer({"bootstrap.servers": stream.kafka, "log_level": 0})
    for i in range(20):
        producer.produce(stream.topic, b"x", partition=0, timestamp=old if i < 10 else int(time.time() * 1000))
    assert producer.flush(20) == 0
    assert stream.run("topics", "create").exit_code == 0
    code, told = diagnosed(stream)
    assert (code, state in told) == (0, False)
    assert told["group"] == [f"ok: {stream.name}: no worker runs"]
    assert any("has 1 replica" in line for line in told["topics"])
    assert told[f"dead letters {stream.name}"] == ["ok: 0 in the last hour, of 20 records"]
    asyncio.run(store(stream, 15))
    code, told = diagnosed(stream)
    assert (code, told[state]) == (0, ["ok: checkpoints of 1 partition, 5 records behind"])
    for before in ({"told": 1}, {"partitions": 1}):  # this version; one before decisions
        asyncio.run(store(stream, 3, **before))
        _, told = diagnosed(stream)
        assert [line.partition(":")[0] for line in told[state]] == ["warning", "ok", "warning"]
        assert "has 2 partitions now, and had 1 at its last checkpoint" in told[state][0]
    assert "7 unread records older than half of retention.ms" in told[state][2]
    asyncio.run(store(stream, 15, topic_id="x"))
    code, told = diagnosed(stream)
    assert code == 2
    assert "deleted and created again" in told[state][0]
    assert f"tidewatch state reset {stream.name}" in told[state][0]
    asyncio.run(store(stream, 25))
    code, told = diagnosed(stream)
    assert code == 2
    assert "the log ends at 20, and its state is of 25" in told[state][-1]


@pytest.mark.kafka
def test_more_partitions_are_warned_of_before_they_are_added_and_many_dead_letters_told(stream: OperatedStream) -> None:
    assert stream.run("topics", "create").exit_code == 0
    producer = Producer({"bootstrap.servers": stream.kafka, "log_level": 0})
    for topic in (stream.topic, f"{stream.topic}.dlq"):
        producer.produce(topic, b"x")
    assert producer.flush(20) == 0
    stream.more["TIDEWATCH_KAFKA__PARTITIONS"] = "8"
    code, told = diagnosed(stream)
    assert code == 0
    assert "has 2 partitions, kafka.partitions is 8: adding partitions moves most series" in told["partitions"][0]
    (letters,) = told[f"dead letters {stream.name}"]
    assert letters.startswith("warning: 1 in the last hour, of 1 record; see why with `tidewatch replay-dead-letters")


@pytest.mark.kafka
def test_a_topic_of_records_without_keys_is_told_with_the_mend(stream: OperatedStream) -> None:
    assert stream.run("topics", "create").exit_code == 0
    what = f"series {stream.name}"
    code, told = diagnosed(stream)
    assert (code, told[what]) == (0, ["ok: no observation yet"])
    producer = Producer({"bootstrap.servers": stream.kafka, "log_level": 0})
    for i in range(400):
        producer.produce(stream.topic, encode(Observation(f"s{i % 20}", START + i, 1.0)), partition=i % 2 ^ i // 20 % 2)
    assert producer.flush(20) == 0
    code, told = diagnosed(stream)
    assert code == 2
    assert told[what][0].startswith("failed: 20 of 20 lie in several partitions")
    assert "routing_tag" in told[what][0]


@pytest.mark.kafka
def test_what_a_streams_records_are_hardly_meant_to_become_is_told(stream: OperatedStream) -> None:
    assert stream.run("topics", "create").exit_code == 0
    producer = Producer({"bootstrap.servers": stream.kafka, "log_level": 0})
    for i in range(60):
        producer.produce(stream.topic, encode(Observation("bytes", START + i, 7.0 * i)), key=b"bytes", partition=0)
    producer.produce(stream.topic, b"none", partition=0)
    assert producer.flush(20) == 0
    code, told = diagnosed(stream)
    letters, rises = told[f"records {stream.name}"]
    assert code == 0
    assert letters.startswith(f"warning: 1 of the 61 newest records of {stream.topic} would be dead letters (")
    assert rises.startswith(
        f"warning: {stream.topic}: values that only ever rise: bytes; if they count, set the stream's counter"
    )


@pytest.mark.kafka
def test_an_intakes_raw_topics_are_looked_at(stream: OperatedStream, new_topic: Callable[..., str]) -> None:
    raw, what = new_topic(2), f"intake {stream.name}"
    intake = {"stream": stream.name, "topics": [raw], "format": "telegraf"}
    stream.more["TIDEWATCH_INTAKE"] = json.dumps([intake])
    assert stream.run("topics", "create").exit_code == 0
    producer = Producer({"bootstrap.servers": stream.kafka, "log_level": 0})
    for i in range(40):  # as Telegraf without a routing tag
        value = {"name": "cpu", "tags": {"host": f"h{i % 5}"}, "timestamp": 1_700_000_000 + i, "fields": {"idle": 1.0}}
        producer.produce(raw, json.dumps(value), partition=i % 2 ^ i // 20 % 2)
    assert producer.flush(20) == 0
    code, told = diagnosed(stream)
    assert (code, told[what]) == (0, [f"ok: {raw}: 40 records behind; nobody reads it now, a worker will"])
    for i in range(2):
        producer.produce(raw, b"none", partition=i)
    assert producer.flush(20) == 0
    stream.more |= {"TIDEWATCH_INTAKE": json.dumps([intake | {"share": True}]), "TIDEWATCH_WORKER__INTAKE": "false"}
    code, told = diagnosed(stream)
    alone, letters, pieces = told[what]
    assert code == 2
    assert (
        alone
        == f"warning: {raw}: 42 records behind, and nobody reads it; worker.intake is false: start `tidewatch intake`"
    )
    assert letters.startswith(f"warning: 2 of the 42 newest records of {raw} would be dead letters (undecodable: ")
    assert f"`tidewatch formats kafka:{raw}`" in letters
    assert pieces.startswith(f"failed: share is set, and 5 of 5 series of {raw} lie in several partitions ('cpu_idle")
    stream.more["TIDEWATCH_INTAKE"] = json.dumps([intake | {"topics": [raw[:-1]]}])
    code, told = diagnosed(stream)
    assert (code, told[what]) == (2, [f"failed: Kafka has no topic {raw[:-1]} (did you mean {raw}?); correct the name, or create what the settings name (`tidewatch topics create`)"])  # fmt: skip
    stream.more["TIDEWATCH_INTAKE"] = json.dumps([intake | {"topics": ["nothing-*"]}])
    code, told = diagnosed(stream)
    assert (code, told[what]) == (0, ["warning: no topic matches nothing-* yet: correct the glob, or see to the producers"])  # fmt: skip


def test_servers_that_are_not_there_are_named() -> None:
    settings = Settings(
        kafka={"brokers": "127.0.0.1:1", "request_timeout": "1s"}, redis={"url": "redis://127.0.0.1:1/0"}
    )
    findings = {f.what: f for f in examine(settings)}
    assert findings["kafka"].state == findings["redis"].state == "failed"
    assert "127.0.0.1:1" in findings["kafka"].detail
    assert "127.0.0.1:1" in findings["redis"].detail


@pytest.mark.kafka
def test_the_canary_leaves_nothing_behind_and_takes_nothing_along(
    stream: OperatedStream, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It deleted the topic of decisions, all streams' own, because that was among the topics of its stream."""
    admin = AdminClient({"bootstrap.servers": stream.kafka, "log_level": 0})
    monkeypatch.setattr("pipeline.operations.doctor.canary.LIMIT", 240.0)  # a busy machine is slow
    assert stream.run("topics", "create").exit_code == 0

    def there() -> set[str]:
        return {t for t in admin.list_topics(timeout=20).topics if t.startswith(("doctor-", "tidewatch", stream.name))}

    before = there()
    assert "tidewatch.decisions" in before
    done = stream.run("doctor", "--json")
    [canary] = [f for f in map(json.loads, done.stdout.splitlines()) if f["what"] == "canary"]
    assert canary["state"] == "ok", canary
    until = time.monotonic() + 60
    while there() != before and time.monotonic() < until:  # Kafka deletes a moment later
        time.sleep(0.2)
    assert there() == before
    with sync_redis.Redis.from_url(stream.redis) as client:
        assert client.keys("*doctor-*") == []


def test_the_canary_is_content_with_the_planted_alert_alone() -> None:
    planted = rfc3339(START + STEP * PLANTED)
    assert _judged({planted}, 1) == ""
    assert "inverted" in _judged({rfc3339(START)}, 1)
    assert "besides" in _judged({planted, rfc3339(START)}, 1)
    assert "dead letters" in _judged({planted}, 0)
