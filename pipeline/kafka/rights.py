"""Whether Kafka allows what is about to be done, asked before it is tried: one line names every right that is missing.

Without it each client library finds out in its own way: as a topic that seems not to exist, as a time-out, or, for a consumer group,
not at all: it asks for ever. docs/security.md lists which rights there are to give.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from concurrent.futures import Future
from typing import Any

from confluent_kafka import KafkaException, TopicCollection
from confluent_kafka.admin import AclOperation, AdminClient  # type: ignore[attr-defined]  # re-exported without saying so

from pipeline.errors import Denied
from pipeline.kafka.clients import DENIED
from pipeline.settings import KafkaSettings


def require(
    admin: AdminClient,
    kafka: KafkaSettings,
    *,
    read: Collection[str] = (),
    write: Collection[str] = (),
    group: str = "",
) -> None:
    """Ask for the rights on topics, and for READ on a group. Where nobody logs in nothing is asked.

    Topics that do not exist yet are passed over, and so is what a broker does not tell.

    Raises
    ------
    Denied
        Names each right that is missing.
    """
    if kafka.security_protocol == "PLAINTEXT":
        return
    wanted = {name: {"READ"} for name in read}
    for name in write:
        wanted.setdefault(name, set()).add("WRITE")
    seconds = kafka.request_timeout.total_seconds()
    asked: list[tuple[str, Mapping[str, set[str]], Mapping[str, Future[Any]]]] = []
    if wanted:
        topics = TopicCollection(list(wanted))
        answers = admin.describe_topics(topics, include_authorized_operations=True, request_timeout=seconds)
        asked.append(("topic", wanted, answers))
    if group:
        answers = admin.describe_consumer_groups([group], include_authorized_operations=True, request_timeout=seconds)
        asked.append(("group", {group: {"READ"}}, answers))
    missing = [
        f"{operation} on {kind} {name}"
        for kind, needs, futures in asked
        for name, answer in futures.items()
        for operation in sorted(needs[name] - _allowed(answer, needs[name]))
    ]
    if missing:
        who = f"user {kafka.sasl_username}" if kafka.sasl_username else "the owner of kafka.certificate_file"
        msg = f"Kafka: {who} lacks {', '.join(missing)}; docs/security.md lists what is needed"
        raise Denied(msg)


def _allowed(answer: Future[Any], needs: set[str]) -> set[str]:
    """Which of the operations are allowed; all of them where that cannot be told."""
    try:
        operations = answer.result().authorized_operations
    except KafkaException as error:
        return set() if error.args[0].code() in DENIED else needs
    if not operations:
        return needs
    names = {operation.name for operation in operations}
    return needs if AclOperation.ALL.name in names else names
