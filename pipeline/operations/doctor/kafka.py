"""The doctor's look at Kafka: brokers, topics and their settings, the group, dead letters, clocks.

A broker that does not tell of a topic's settings (some that speak Kafka's protocol) is not judged by them.
"""

from __future__ import annotations

import secrets
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from confluent_kafka import KafkaError, KafkaException, Message, Producer, TopicCollection
from confluent_kafka.admin import AdminClient, ConfigResource, NewTopic  # type: ignore[attr-defined]  # re-exported without saying so

from pipeline.alerts.records import MAX_KEY, MAX_ORIGINAL
from pipeline.errors import BrokerError, Denied, TidewatchError
from pipeline.kafka import topics
from pipeline.kafka.clients import broker_error, connect_admin, librdkafka_config
from pipeline.kafka.offsets import Offsets
from pipeline.operations.doctor.findings import Finding, counted
from pipeline.settings import Settings, StreamSettings

SKEW = 5.0
"""Seconds that two clocks may differ."""

TOO_MANY = 0.01
"""Share of the last hour's records that may be dead letters."""

_HOUR = timedelta(hours=1)


@dataclass(frozen=True)
class TopicDetails:
    """What a topic's replicas and settings are; a setting that the broker does not tell is missing."""

    replicas: int
    in_sync: int
    config: Mapping[str, str]

    def number(self, name: str) -> int | None:
        """A setting that is a number; None where it is not told."""
        text = self.config.get(name, "")
        return int(text) if text.lstrip("-").isdigit() else None


def examine(settings: Settings) -> Iterator[Finding]:
    """Brokers, topics, group and dead letters; the first finding says whether Kafka answers."""
    kafka = settings.kafka
    try:
        admin = connect_admin(kafka)
        brokers = len(admin.list_topics(timeout=kafka.request_timeout.total_seconds()).brokers)
        cluster = topics.cluster_id(admin, kafka)
    except TidewatchError as error:
        yield Finding("kafka", "failed", str(error))
        return
    told = f"{kafka.brokers}: {counted(brokers, 'broker')}, cluster {cluster}"
    if kafka.replication > brokers:
        told = (
            f"kafka.replication is {kafka.replication}, but Kafka has {counted(brokers, 'broker')}; new topics cannot be created: "
            "lower it, or start more"
        )
    yield Finding("kafka", "failed" if kafka.replication > brokers else "ok", told)
    try:
        yield from _topics(settings, admin)
        yield _group(settings, admin)
        for stream in settings.streams:
            yield from _dead_letters(settings, admin, stream)
    except TidewatchError as error:
        yield Finding("topics", "failed", str(error))


def _topics(settings: Settings, admin: AdminClient) -> Iterator[Finding]:
    kafka, plans = settings.kafka, topics.plan(settings.streams, settings.intake)
    facts = topics.describe(admin, kafka, [p.name for p in plans])
    missing = [p.name for p in plans if p.name not in facts]
    fed = {i.stream for i in settings.intake}
    read = {s.input_topic for s in settings.streams if s.name not in fed}
    if unread := [name for name in missing if name in read]:
        yield Finding("topics", "failed", str(topics.no_topic(unread, topics.names(admin, kafka))))
    if unwritten := [name for name in missing if name not in read]:
        yield Finding(
            "topics", "warning", f"missing: {', '.join(unwritten)}; a worker makes them, `tidewatch topics create` too"
        )
    if plans and not missing:
        yield Finding("topics", "ok", ", ".join(f"{f.name} ({f.partitions})" for f in facts.values()))
    inputs = [s.input_topic for s in settings.streams if s.input_topic in facts]
    for name in inputs:
        if kafka.partitions > facts[name].partitions:
            told = (
                f"{name} has {counted(facts[name].partitions, 'partition')}, kafka.partitions is {kafka.partitions}: adding partitions moves most "
                "series to another one, where they start in probation, and ends their open alerts as moved; do it once, at a quiet time"
            )
            yield Finding("partitions", "warning", told)
    details = details_of(admin, settings, facts)
    for name in sorted(set(facts) - set(inputs)):
        for told in judged(name, details[name], alerts=name in {s.alert_topic for s in settings.streams}):
            yield Finding("topics", "warning", told)
    for name in sorted({s.decision_topic for s in settings.streams} & set(facts)):
        for told in judged_decisions(name, facts[name].partitions, details[name]):
            yield Finding("topics", "warning", told)


def judged_decisions(name: str, partitions: int, topic: TopicDetails) -> Iterator[str]:
    """What is wrong with a topic of decisions, besides."""
    if partitions > 1:
        yield f"{name} has {partitions} partitions, and its lines need one order: create it anew with one"
    if topic.config.get("message.timestamp.type", "LogAppendTime") != "LogAppendTime":
        yield (
            f"{name}: message.timestamp.type is not LogAppendTime: a worker whose clock is wrong from its start on is not noticed where time is carried "
            "on; set it"
        )
    if "compact" in topic.config.get("cleanup.policy", "") or topic.config.get("retention.ms", "-1") != "-1":
        yield f"{name}: it does not keep all: a log that is read back needs its decisions; set cleanup.policy=delete, retention.ms=-1"


def judged(name: str, topic: TopicDetails, *, alerts: bool) -> Iterator[str]:
    """What is wrong with a topic that workers write to."""
    least = topic.number("min.insync.replicas")
    if topic.replicas == 1:
        yield (
            f"{name} has 1 replica: while its broker is away workers wait, and with its disk all of it is lost; set kafka.replication = 3 "
            "before topics are created, or have this one reassigned"
        )
    elif least is not None and least >= topic.replicas:
        yield f"{name}: min.insync.replicas is {least} of {topic.replicas}: one broker away, and workers wait; lower it by one"
    elif least == 1:
        yield f"{name}: min.insync.replicas is 1: what one broker alone took may be lost with it; set it to {topic.replicas - 1}"
    if topic.in_sync < topic.replicas:
        yield f"{name}: a replica is behind or away; look after the brokers"
    if alerts and "compact" not in topic.config.get("cleanup.policy", "compact"):
        yield f"{name}: cleanup.policy is not compact: alerts that are still open expire; set cleanup.policy=compact"
    largest = topic.number("max.message.bytes")
    if largest is not None and largest < MAX_ORIGINAL + MAX_KEY + 10_000:
        yield f"{name}: max.message.bytes is {largest:,}: a worker that has more to tell of one record ends; set it to 1048588 or more"


def details_of(
    admin: AdminClient, settings: Settings, names: Sequence[str] | Mapping[str, object]
) -> dict[str, TopicDetails]:
    """Replicas and settings of topics that exist. Raises BrokerError."""
    names = list(dict.fromkeys(names))  # Kafka refuses to be asked of one twice
    if not names:
        return {}
    timeout = settings.kafka.request_timeout.total_seconds()
    described = admin.describe_topics(TopicCollection(names), request_timeout=timeout)
    resources = [ConfigResource(ConfigResource.Type.TOPIC, name) for name in names]
    configured = {r.name: f for r, f in admin.describe_configs(resources, request_timeout=timeout).items()}
    found = {}
    try:
        for name in names:
            partitions = described[name].result().partitions
            config = {}
            with suppress(KafkaException):  # no right to see them
                config = {k: v.value or "" for k, v in configured[name].result().items()}
            replicas, in_sync = (
                min((len(r) for r in rs), default=0)
                for rs in zip(*((p.replicas, p.isr) for p in partitions), strict=True)
            )
            found[name] = TopicDetails(replicas, in_sync, config)
    except KafkaException as error:
        raise broker_error("describe topics", error) from error
    return found


def _group(settings: Settings, admin: AdminClient) -> Finding:
    try:
        group = Offsets(admin, settings.kafka).group(settings.worker.group)
    except Denied as error:
        return Finding("group", "warning", f"not seen: {error}; this user needs DESCRIBE on the group")
    except BrokerError as error:
        return Finding("group", "warning", f"not seen: {error}")
    who = "no worker runs" if group.empty else f"it is {group.state.replace('_', ' ')}"
    if group.members:
        who = f"{counted(len(group.members), 'member')}: {', '.join(group.members)}"
    return Finding("group", "ok", f"{group.name}: {who}")


def _dead_letters(settings: Settings, admin: AdminClient, stream: StreamSettings) -> Iterator[Finding]:
    facts = topics.describe(admin, settings.kafka, [stream.dlq, stream.input_topic])
    if len(facts) < 2:
        return
    offsets, since = Offsets(admin, settings.kafka), datetime.now(UTC) - _HOUR
    new = {}
    for name, fact in facts.items():
        partitions = range(fact.partitions)
        ends = {p: b.end for p, b in offsets.bounds(name, partitions).items()}
        at = offsets.at(name, partitions, since)
        new[name] = sum(max(ends[p] - at[p], 0) for p in partitions)
    letters, records = new[stream.dlq], new[stream.input_topic]
    told = f"{letters:,} in the last hour, of {counted(records, 'record')}"
    if letters > TOO_MANY * records:
        told += f"; see why with `tidewatch replay-dead-letters {stream.name} --dry-run`"
    yield Finding(f"dead letters {stream.name}", "warning" if letters > TOO_MANY * records else "ok", told)


def clock(settings: Settings) -> Finding:
    """How far Kafka's clock is from this machine's: a record is sent to a topic made for it, which the broker stamps."""
    name = f"doctor-{secrets.token_hex(4)}.clock"
    try:
        admin = connect_admin(settings.kafka)
        ahead = _ahead(admin, settings, name)
    except BrokerError as error:
        return Finding("clocks", "warning", f"not compared: {error}")
    if ahead is None:
        return Finding("clocks", "ok", "not compared: the broker does not stamp records")
    return judged_clock("Kafka", ahead)


def judged_clock(whose: str, ahead: float) -> Finding:
    """From the seconds that a server's clock is ahead of this machine's."""
    if abs(ahead) < SKEW:
        return Finding("clocks", "ok", f"{whose}'s is within {SKEW:.0f} s of this machine's")
    which = "ahead of" if ahead > 0 else "behind"
    told = (
        f"{whose}'s is {abs(ahead):.0f} s {which} this machine's: retention, `--to TIME` and latencies are off by that (scores and alerts "
        "are not, they run on the records' time); let NTP set both"
    )
    return Finding("clocks", "warning", told)


def _ahead(admin: AdminClient, settings: Settings, name: str) -> float | None:
    """Seconds that the broker is ahead, less what the way there took; None where it does not stamp."""
    stamped: list[tuple[int, int]] = []

    def delivered(error: KafkaError | None, message: Message) -> None:
        if error is None:
            stamped.append(message.timestamp())

    timeout = settings.kafka.request_timeout.total_seconds()
    topic = NewTopic(name, 1, settings.kafka.replication, config={"message.timestamp.type": "LogAppendTime"})
    try:
        admin.create_topics([topic], request_timeout=timeout)[name].result()
        producer = Producer(librdkafka_config(settings.kafka) | {"acks": "all"})
        producer.produce(name, b"", on_delivery=delivered)
        producer.flush(timeout)
        stamped.clear()
        before = time.time()  # of a second one, with the connection there
        producer.produce(name, b"", on_delivery=delivered)
        producer.flush(timeout)
        after = time.time()
    except KafkaException as error:
        raise broker_error(f"create and write topic {name}", error) from error
    finally:
        with suppress(KafkaException):
            admin.delete_topics([name], request_timeout=timeout)[name].result()
    if not stamped or stamped[0][0] != 2:  # LogAppendTime
        return None
    at = stamped[0][1] / 1000
    return min(at - before, 0.0) if at < before else max(at - after, 0.0)
