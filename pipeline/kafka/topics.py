"""The topics of a deployment: what they are called, with which settings they are created, and which they are.

| topic | partitions | cleanup.policy | kept |
|---|---|---|---|
| `<stream>.observations` | `kafka.partitions` | delete | broker's default |
| alerts | `kafka.partitions` | compact | the last alert of each key, for ever |
| dead letters | `kafka.partitions` | delete | 14 days: time to mend and replay them |
| scores | `kafka.partitions` | delete | 7 days |
| decisions | 1, so that all has one order | delete | for ever: a log that is read back needs them |

All with `kafka.replication` and `kafka.min_insync_replicas`. A topic that exists is left as it is. A worker creates what it writes
to; an input topic is somebody else's, and one that is missing is more often a mistyped name than a new stream.
"""

from __future__ import annotations

import time
from collections.abc import Iterable
from concurrent.futures import Future
from dataclasses import dataclass, field
from datetime import timedelta
from difflib import get_close_matches
from typing import Any

from confluent_kafka import KafkaError, KafkaException, TopicCollection
from confluent_kafka.admin import AdminClient, NewTopic  # type: ignore[attr-defined]  # re-exported without saying so

from pipeline.errors import BrokerError
from pipeline.kafka.clients import broker_error
from pipeline.settings import IntakeSettings, KafkaSettings, StreamSettings

DEAD_LETTERS_KEPT = timedelta(days=14)
SCORES_KEPT = timedelta(days=7)


@dataclass(frozen=True)
class TopicPlan:
    """A topic as Tidewatch would create it."""

    name: str
    config: dict[str, str] = field(default_factory=dict)
    partitions: int | None = None
    """None: as many as the settings say."""


@dataclass(frozen=True)
class TopicFacts:
    """A topic as Kafka has it."""

    name: str
    topic_id: str
    """Empty where the broker does not tell (before Kafka 2.8, and some that speak its protocol)."""
    partitions: int


def plan(streams: Iterable[StreamSettings], intakes: Iterable[IntakeSettings] = ()) -> list[TopicPlan]:
    """All topics that the streams need, and those that the intakes write to beside them, each once."""
    needed = [topic for stream in streams for topic in (input_plan(stream.input_topic), *_written_by(stream))]
    return _each_once([*needed, *(dead_letter_plan(intake.dlq) for intake in intakes)])


def own_plan(streams: Iterable[StreamSettings]) -> list[TopicPlan]:
    """The topics that the streams' workers write to, each once: those that a worker creates."""
    return _each_once(topic for stream in streams for topic in _written_by(stream))


def input_plan(name: str) -> TopicPlan:
    """A topic of observations."""
    return TopicPlan(name, {"cleanup.policy": "delete"})


def dead_letter_plan(name: str) -> TopicPlan:
    """A topic of dead letters."""
    return TopicPlan(name, {"cleanup.policy": "delete", "retention.ms": _ms(DEAD_LETTERS_KEPT)})


_DECISIONS = {
    "cleanup.policy": "delete",
    "retention.ms": "-1",
    "retention.bytes": "-1",
    "message.timestamp.type": "LogAppendTime",  # so that it shows where a worker's clock is wrong
}


def _written_by(stream: StreamSettings) -> list[TopicPlan]:
    written = [
        TopicPlan(stream.alert_topic, {"cleanup.policy": "compact"}),
        TopicPlan(stream.decision_topic, _DECISIONS, 1),
        dead_letter_plan(stream.dlq),
    ]
    if stream.score_topic:
        written.append(TopicPlan(stream.score_topic, {"cleanup.policy": "delete", "retention.ms": _ms(SCORES_KEPT)}))
    return written


def _each_once(plans: Iterable[TopicPlan]) -> list[TopicPlan]:
    first: dict[str, TopicPlan] = {}
    for topic in plans:
        first.setdefault(topic.name, topic)
    return list(first.values())


def create(admin: AdminClient, kafka: KafkaSettings, plans: Iterable[TopicPlan]) -> list[str]:
    """Create the topics that do not exist yet and wait until they can be used; returns their names.

    Raises
    ------
    BrokerError
        Kafka refuses one; with its name.
    """
    timeout = kafka.request_timeout.total_seconds()
    existing = names(admin, kafka)
    missing = [
        NewTopic(
            t.name,
            num_partitions=t.partitions or kafka.partitions,
            replication_factor=kafka.replication,
            config={"min.insync.replicas": str(kafka.min_insync_replicas), **t.config},
        )
        for t in plans
        if t.name not in existing
    ]
    if not missing:
        return []
    created = []
    for name, done in admin.create_topics(missing, operation_timeout=timeout, request_timeout=timeout).items():
        try:
            done.result()
        except KafkaException as error:
            if error.args[0].code() == KafkaError.TOPIC_ALREADY_EXISTS:  # another worker was quicker
                continue
            raise broker_error(f"create topic {name}", error) from error
        created.append(name)
    end = time.monotonic() + timeout
    while len(describe(admin, kafka, created)) < len(created) and time.monotonic() < end:
        time.sleep(0.05)  # the controller has them before the brokers know
    return created


def delete(admin: AdminClient, kafka: KafkaSettings, names: Iterable[str]) -> None:
    """Delete these topics, and wait until the cluster's controller has done it; one that is not there is content.

    Raises
    ------
    BrokerError
        Kafka refuses one, or does not answer; with its name.
    """
    timeout = kafka.request_timeout.total_seconds()
    asked = admin.delete_topics(list(names), operation_timeout=timeout, request_timeout=timeout)
    refused: list[BrokerError] = []
    for name, done in asked.items():
        try:
            done.result()
        except KafkaException as error:
            if error.args[0].code() != KafkaError.UNKNOWN_TOPIC_OR_PART:
                refused.append(broker_error(f"delete topic {name}", error))
                refused[-1].__cause__ = error
    if refused:  # only when each has been asked for: one that stays is no reason for others to stay
        raise refused[0]


def cluster_id(admin: AdminClient, kafka: KafkaSettings) -> str:
    """Kafka's id of the cluster."""
    timeout = kafka.request_timeout.total_seconds()
    return str(_answer("ask for the cluster's id", lambda: admin.list_topics(timeout=timeout)).cluster_id or "")


def describe(admin: AdminClient, kafka: KafkaSettings, names: Iterable[str]) -> dict[str, TopicFacts]:
    """Facts of those of the topics that exist. Raises BrokerError where Kafka does not answer or forbids it."""
    names = list(dict.fromkeys(names))  # Kafka refuses to be asked of one twice
    timeout = kafka.request_timeout.total_seconds()
    if not names:
        return {}
    answers: dict[str, Future[Any]] = admin.describe_topics(TopicCollection(names), request_timeout=timeout)
    facts = {}
    for name, answer in answers.items():
        try:
            topic = answer.result()
        except KafkaException as error:
            if error.args[0].code() == KafkaError.UNKNOWN_TOPIC_OR_PART:
                continue
            raise broker_error(f"describe topic {name}", error) from error
        facts[name] = TopicFacts(name, _topic_id(topic), len(topic.partitions))
    return facts


def names(admin: AdminClient, kafka: KafkaSettings) -> set[str]:
    """All topics that there are, as far as we may see them. Raises BrokerError."""
    timeout = kafka.request_timeout.total_seconds()
    return set(_answer("list topics", lambda: admin.list_topics(timeout=timeout)).topics)


def require(admin: AdminClient, kafka: KafkaSettings, wanted: Iterable[str]) -> dict[str, TopicFacts]:
    """Facts of topics that must be there. Raises BrokerError naming those that do not exist, and which names come near."""
    wanted = list(wanted)
    facts = describe(admin, kafka, wanted)
    if missing := [n for n in wanted if n not in facts]:
        raise no_topic(missing, names(admin, kafka))
    return facts


def no_topic(missing: Iterable[str], existing: Iterable[str]) -> BrokerError:
    """The error that says which topics do not exist, what may have been meant, and the mend."""
    told = []
    for name in missing:
        near = nearest(name, existing)
        told.append(f"{name} (did you mean {near}?)" if near else name)
    mend = "correct the name, or create what the settings name (`tidewatch topics create`)"
    return BrokerError(f"Kafka has no topic {', '.join(told)}; {mend}")


def nearest(name: str, existing: Iterable[str]) -> str:
    """The existing topic whose name comes nearest; empty where none is near."""
    return next(iter(get_close_matches(name, sorted(e for e in existing if not e.startswith("__")), 1, 0.75)), "")


def _topic_id(topic: Any) -> str:
    bits = (topic.topic_id.get_most_significant_bits(), topic.topic_id.get_least_significant_bits())
    return "" if bits == (0, 0) else str(topic.topic_id)


def _answer(doing: str, ask: Any) -> Any:
    try:
        return ask()
    except KafkaException as error:
        raise broker_error(doing, error) from error


def _ms(kept: timedelta) -> str:
    return str(int(kept.total_seconds() * 1000))
