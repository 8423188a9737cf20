"""Kafka with an authorizer that denies what is not allowed: a record goes all the way with the rights of docs/security.md alone."""

from __future__ import annotations

import re
import subprocess
import sys
import time
import uuid
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from confluent_kafka.admin import (
    AclBinding,
    AclBindingFilter,
    AclOperation,
    AclPermissionType,
    AdminClient,
    ResourcePatternType,
    ResourceType,
)
from kafka_fixtures import broker
from kafka_fixtures import skip_or_fail as no_kafka
from security.servers import PROJECT, clean_environment, small_model, tidewatch

from pipeline.alerts.subscribe import AlertSubscriber
from pipeline.embedded.servers import start_redis
from pipeline.kafka import topics
from pipeline.kafka.clients import librdkafka_config
from pipeline.settings import KafkaSettings, StreamSettings
from pipeline.settings.reference import as_toml
from producers.errors import ProducerError
from producers.publisher import Publisher
from producers.records import Observation, encode

pytestmark = [pytest.mark.kafka, pytest.mark.slow]

Right = tuple[str, str, str, str]
"""Who, operation, kind of resource, placeholder of its name."""

USERS = (
    "producer", "worker", "intake", "subscriber", "dashboard", "doctor", "operator", "viewer", "keeper", "mender", "decider",
)  # fmt: skip
PASSWORDS = {user: f"canary-of-{user}" for user in USERS}
ANY_RIGHT = AclBindingFilter(
    ResourceType.ANY, None, ResourcePatternType.ANY, None, None, AclOperation.ANY, AclPermissionType.ANY
)
PLAIN = ("producer", "dashboard")
"""These log in with SASL/PLAIN, the others with SCRAM-SHA-512."""


def documented() -> list[Right]:
    """The table of the page."""
    table = (PROJECT / "docs/security.md").read_text().partition("<!-- acl -->")[2].partition("<!-- /acl -->")[0]
    rows = re.findall(r"^\| (\w+) \| ([A-Z_]+) \| (\w+) ([A-Z_]+) \|$", table, re.MULTILINE)
    assert {r[0] for r in rows} == set(USERS)
    return rows


@dataclass
class Place:
    """A stream of a test's own on the shared broker, with the documented rights less what is left out."""

    kafka: Any
    admin: AdminClient
    folder: Path
    redis: int
    names: dict[str, str] = field(init=False)
    bindings: list[AclBinding] = field(init=False, default_factory=list)

    def __post_init__(self) -> None:
        name = f"acl-{uuid.uuid4().hex[:8]}"
        self.names = {
            "INPUT": f"{name}.in", "ALERTS": f"{name}.alerts", "DEAD_LETTERS": f"{name}.dlq", "SCORES": f"{name}.scores",
            "DECISIONS": f"{name}.decisions",
            "GROUP": f"{name}-workers", "SINK_GROUP": f"{name}-sink",
            "MENDING_GROUP": f"{name}-workers.dead-letters.acl",
            "RAW": f"{name}.raw", "INTAKE_DEAD_LETTERS": f"{name}.raw.dlq", "INTAKE_GROUP": f"{name}-workers.intake.acl",
        }  # fmt: skip

    def allow(self, rights: Iterable[Right]) -> None:
        self.bindings = [self.binding(right) for right in rights]
        for done in self.admin.create_acls(self.bindings).values():
            done.result(20)
        end = time.monotonic() + 60  # the controller says yes before the broker knows
        while not set(self.bindings) <= set(self.admin.describe_acls(ANY_RIGHT).result(20)):
            assert time.monotonic() < end, "the rights do not arrive"
            time.sleep(0.05)

    def binding(self, right: Right) -> AclBinding:
        who, operation, kind, name = right
        return AclBinding(
            ResourceType[kind.upper()], self.names[name], ResourcePatternType.LITERAL, f"User:{who}", "*",
            AclOperation[operation], AclPermissionType.ALLOW,
        )  # fmt: skip

    def forbid_all(self) -> None:
        filters = [
            AclBindingFilter(
                b.restype, b.name, b.resource_pattern_type, b.principal, b.host, b.operation, b.permission_type
            )
            for b in self.bindings
        ]
        for done in self.admin.delete_acls(filters).values():
            done.result(20)

    def login(self, user: str) -> dict[str, str]:
        return {
            "brokers": self.kafka.bootstrap, "security_protocol": "SASL_PLAINTEXT", "sasl_username": user,
            "sasl_password": PASSWORDS[user], "sasl_mechanism": "PLAIN" if user in PLAIN else "SCRAM-SHA-512",
            "request_timeout": "8s",
        }  # fmt: skip

    def settings(self, user: str) -> KafkaSettings:
        return KafkaSettings.model_validate(self.login(user))

    @property
    def stream(self) -> dict[str, Any]:
        return {
            "name": "acl", "topic": self.names["INPUT"], "alert_topic": self.names["ALERTS"], "model": "small.model",
            "dead_letter_topic": self.names["DEAD_LETTERS"], "score_topic": self.names["SCORES"], "decision_topic": self.names["DECISIONS"], "probation": 0,
        }  # fmt: skip

    def config(self, user: str) -> Path:
        file = self.folder / f"{user}.toml"
        file.write_text(
            as_toml({
                "kafka": self.login(user) | {"partitions": 1},
                "redis": {"url": f"redis://127.0.0.1:{self.redis}/0", "prefix": self.names["GROUP"]},
                "worker": {"group": self.names["GROUP"], "session_timeout": "6s", "checkpoint_every": "200ms", "intake": False},
                "streams": [self.stream],
                "intake": [{"stream": "acl", "topics": [self.names["RAW"]], "dead_letter_topic": self.names["INTAKE_DEAD_LETTERS"]}],
            })
        )  # fmt: skip
        return file

    def start(self, who: str) -> subprocess.Popen[str]:
        """A worker or an intake."""
        return subprocess.Popen(
            [sys.executable, "-m", "pipeline", who, "--config", str(self.config(who))],
            cwd=self.folder, env=clean_environment(), stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
        )  # fmt: skip

    def make_topics(self) -> None:
        stream = StreamSettings.model_validate(self.stream)
        admin = KafkaSettings(brokers=self.kafka.internal, partitions=1)
        others = topics.input_plan(self.names["RAW"]), topics.dead_letter_plan(self.names["INTAKE_DEAD_LETTERS"])
        topics.create(self.admin, admin, [*topics.plan([stream]), *others])

    def send(self) -> None:
        """A day of calm with one value far outside, and one record that is none."""
        rows = np.arange(400)
        values = 100.0 + 10.0 * np.sin(rows / 4.0) + np.random.default_rng(1).normal(0.0, 1.0, len(rows))
        values[380] += 500.0
        records = [
            encode(Observation("s", 1_700_000_000_000 + 60_000 * int(i), float(v)))
            for i, v in zip(rows, values, strict=True)
        ]
        with Publisher(
            self.names["INPUT"], librdkafka_config(self.settings("producer")), delivery_timeout=20
        ) as publisher:
            publisher.connect(10)
            publisher.send([b"s"] * 401, [*records, b"not an observation"])
            publisher.flush()

    def count(self, name: str) -> int:
        from confluent_kafka import Consumer, TopicPartition

        consumer = Consumer({"bootstrap.servers": self.kafka.internal, "group.id": "count"})
        _, end = consumer.get_watermark_offsets(TopicPartition(self.names[name], 0), timeout=10)
        consumer.close()
        return int(end)


@pytest.fixture(scope="module")
def kafka() -> Iterator[Any]:
    if missing := broker.missing_tools():
        no_kafka(missing)
    plain = "".join(f' user_{user}="{PASSWORDS[user]}"' for user in PLAIN)
    properties = {
        "authorizer.class.name": "org.apache.kafka.metadata.authorizer.StandardAuthorizer",
        "super.users": "User:ANONYMOUS",  # the brokers' own listener, and what asks there
        "allow.everyone.if.no.acl.found": "false",
        "sasl.enabled.mechanisms": "SCRAM-SHA-512,PLAIN",
        "listener.name.client.plain.sasl.jaas.config": f"org.apache.kafka.common.security.plain.PlainLoginModule required{plain};",
    }
    scram = {user: PASSWORDS[user] for user in USERS if user not in PLAIN}
    with broker.Cluster(heap_mb=256, protocol="SASL_PLAINTEXT", scram_users=scram, properties=properties) as cluster:
        yield cluster


@pytest.fixture(scope="module")
def redis_port(tmp_path_factory: pytest.TempPathFactory) -> Iterator[int]:
    with start_redis(tmp_path_factory.mktemp("redis")) as server:
        yield server.port


@pytest.fixture
def place(kafka: Any, redis_port: int, tmp_path: Path) -> Iterator[Place]:
    small_model(tmp_path)
    admin = AdminClient({"bootstrap.servers": kafka.internal, "log_level": 0})
    made = Place(kafka, admin, tmp_path, redis_port)
    yield made
    made.forbid_all()


def wait_for(true: Any, worker: subprocess.Popen[str], seconds: float = 90.0) -> None:
    end = time.monotonic() + seconds
    while not true():
        if worker.poll() is not None or time.monotonic() > end:
            worker.kill()
            pytest.fail(worker.communicate()[0])
        time.sleep(0.2)


async def test_a_record_becomes_an_alert_with_these_rights_alone(place: Place) -> None:
    place.allow(documented())
    raw = topics.input_plan(place.names["RAW"])  # somebody else's
    topics.create(place.admin, KafkaSettings(brokers=place.kafka.internal, partitions=1), [raw])
    made = tidewatch("topics", "create", "--config", str(place.config("operator")), cwd=place.folder)
    assert made.returncode == 0, made.stderr
    worker = place.start("worker")
    try:
        place.send()
        wait_for(lambda: place.count("ALERTS") and place.count("DEAD_LETTERS") and place.count("SCORES"), worker)
        for who in ("subscriber", "dashboard"):
            group = place.names["SINK_GROUP"] if who == "subscriber" else None
            subscriber = AlertSubscriber(
                place.settings(who), place.names["ALERTS"], start="beginning", group=group, follow=False
            )
            async with subscriber as alerts:
                async for alert in alerts:
                    assert alert.series == "s"
                    break
                else:
                    pytest.fail(f"{who} saw no alert")
        doctor = tidewatch("doctor", "--no-canary", "--config", str(place.config("doctor")), cwd=place.folder)
        assert doctor.returncode == 0, doctor.stdout + doctor.stderr
        worker.terminate()
        said, _ = worker.communicate(timeout=30)
        assert worker.returncode == 0, said
        for password in PASSWORDS.values():
            assert password not in said + doctor.stdout + doctor.stderr + made.stdout
    finally:
        worker.kill()
        worker.communicate()


def test_an_intake_reads_and_writes_with_these_rights_alone(place: Place) -> None:
    place.allow(documented())
    place.make_topics()
    with Publisher(place.names["RAW"], {"bootstrap.servers": place.kafka.internal}) as raw:
        raw.connect(10)
        raw.send([None] * 2, [encode(Observation("s", 1_700_000_000_000, 1.0)), b"not an observation"])
        raw.flush()
    intake = place.start("intake")
    try:
        wait_for(lambda: place.count("INPUT") and place.count("INTAKE_DEAD_LETTERS"), intake)
        intake.terminate()
        said, _ = intake.communicate(timeout=30)
        assert intake.returncode == 0, said
        assert "no commit" not in said
        assert PASSWORDS["intake"] not in said
    finally:
        intake.kill()
        intake.communicate()


@pytest.mark.parametrize("lacking", [r for r in documented() if r[0] in ("worker", "intake")], ids=" ".join)
def test_a_worker_or_intake_that_lacks_a_right_ends_with_one_line_that_names_it(place: Place, lacking: Right) -> None:
    place.allow(r for r in documented() if r != lacking)
    place.make_topics()
    place.send()
    worker = place.start(lacking[0])
    try:
        said, _ = worker.communicate(timeout=90)
    except subprocess.TimeoutExpired:
        worker.kill()
        pytest.fail(f"it goes on: {worker.communicate()[0]}")
    assert worker.returncode == 2, said
    last = said.strip().splitlines()[-1]
    who, operation, kind, name = lacking
    assert last.startswith("error: Kafka: ")
    assert f"{operation} on {kind} {place.names[name]}" in last
    assert "docs/security.md" in last
    assert "Traceback" not in said
    assert PASSWORDS[who] not in said


def test_a_producer_and_a_subscriber_that_lack_theirs_are_told(place: Place) -> None:
    place.allow(r for r in documented() if r[0] not in ("producer", "dashboard"))
    place.make_topics()
    with pytest.raises(ProducerError, match=rf"{place.names['INPUT']}.*(?i:authorization failed|denied)"):
        place.send()
    told = tidewatch("alerts", "--config", str(place.config("dashboard")), cwd=place.folder)
    assert told.returncode == 2
    assert f"READ on topic {place.names['ALERTS']}" in told.stderr
