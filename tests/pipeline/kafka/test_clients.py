"""One mapping of the settings for each of the two client libraries; tried against a broker that requires a password."""

from __future__ import annotations

import shutil
import subprocess
import time
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path

import pytest
from confluent_kafka.admin import NewTopic
from kafka_fixtures import broker, skip_or_fail
from pydantic import ValidationError
from recording_life import Book, settings_of, until, worker

from pipeline.errors import BrokerError, SettingsError
from pipeline.kafka.clients import aiokafka_config, connect_admin, librdkafka_config
from pipeline.kafka.publisher import KafkaPublisher
from pipeline.settings import KafkaSettings, RedisSettings, with_brokers

SCRAM = {"security_protocol": "SASL_PLAINTEXT", "sasl_username": "tide", "sasl_password": "pässword; with=signs"}


def test_plain_settings_name_the_brokers_and_nothing_secret() -> None:
    settings = KafkaSettings(brokers="a:1, b:2")
    assert aiokafka_config(settings)["bootstrap_servers"] == ["a:1", "b:2"]
    assert librdkafka_config(settings)["bootstrap.servers"] == "a:1, b:2"
    assert not [k for k in (*aiokafka_config(settings), *librdkafka_config(settings)) if "sasl" in k or "ssl" in k]


def test_sasl_settings_reach_both_libraries() -> None:
    settings = KafkaSettings(**{**SCRAM, "security_protocol": "SASL_SSL"})  # type: ignore[arg-type]
    ours = aiokafka_config(settings)
    assert (ours["sasl_mechanism"], ours["sasl_plain_username"], ours["sasl_plain_password"]) == (
        "SCRAM-SHA-512", "tide", SCRAM["sasl_password"],
    )  # fmt: skip
    assert ours["ssl_context"].check_hostname
    theirs = librdkafka_config(settings)
    assert (theirs["sasl.mechanism"], theirs["sasl.username"], theirs["sasl.password"]) == (
        "SCRAM-SHA-512", "tide", SCRAM["sasl_password"],
    )  # fmt: skip


def test_a_file_that_went_away_is_named_with_its_setting(tmp_path: Path) -> None:
    settings = KafkaSettings(security_protocol="SSL").model_copy(update={"ca_file": tmp_path / "ca.pem"})
    for config in (aiokafka_config, librdkafka_config):
        with pytest.raises(SettingsError, match=r"kafka\.ca_file: .*ca\.pem does not exist"):
            config(settings)


@pytest.mark.parametrize(
    ("content", "told"),
    [
        ("not a certificate", "ca.pem is no PEM file"),
        ("-----BEGIN CERTIFICATE-----\nbm9uZQ==\n-----END CERTIFICATE-----\n", "holds no certificate that can be read"),
        (None, "does not exist"),
    ],
)
def test_a_file_that_is_no_certificate_is_told(tmp_path: Path, content: str | None, told: str) -> None:
    if content is not None:
        (tmp_path / "ca.pem").write_text(content)
    for kind in (KafkaSettings, RedisSettings):
        with pytest.raises(ValidationError, match=told):
            kind(ca_file=tmp_path / "ca.pem")
    with pytest.raises(ValidationError, match=r"no PEM file|cannot be used together|does not exist"):
        KafkaSettings(certificate_file=tmp_path / "ca.pem")


@pytest.mark.parametrize(
    ("given", "told"),
    [
        ({"sasl_mechanism": "SCRAM"}, "it is one of PLAIN"),
        ({"security_protocol": "SASL_SSL"}, "needs kafka.sasl_username and kafka.sasl_password"),
        ({"key_file": __file__}, "needs kafka.certificate_file"),
        ({"brokers": "a:1,,b:2"}, "a host name is missing"),
        ({"brokers": "a"}, "a port is missing"),
    ],
)
def test_what_a_client_library_would_say_later_is_told_at_once(given: dict[str, str], told: str) -> None:
    with pytest.raises(ValidationError, match=told):
        KafkaSettings(**given)  # type: ignore[arg-type]


def test_brokers_of_an_option_are_looked_at_too() -> None:
    with pytest.raises(SettingsError, match="--brokers: a port is a number"):
        with_brokers(KafkaSettings(), "a:b")


def test_a_broker_that_does_not_answer_is_one_line_in_time() -> None:
    started = time.monotonic()
    with pytest.raises(BrokerError, match=r"Kafka at 127\.0\.0\.1:1 does not answer: .*; start it, or name another"):
        connect_admin(KafkaSettings(brokers="127.0.0.1:1", request_timeout=1))  # type: ignore[arg-type]
    assert time.monotonic() - started < 60


@pytest.fixture(scope="module")
def scram_kafka() -> Iterator[str]:
    if missing := broker.missing_tools():
        skip_or_fail(missing)
    users = {SCRAM["sasl_username"]: SCRAM["sasl_password"]}
    with broker.Cluster(heap_mb=256, protocol="SASL_PLAINTEXT", scram_users=users) as cluster:
        yield cluster.bootstrap


@pytest.mark.kafka
@pytest.mark.slow
async def test_worker_publisher_and_admin_log_in_with_the_same_settings(scram_kafka: str) -> None:
    kafka = KafkaSettings(brokers=scram_kafka, **SCRAM)  # type: ignore[arg-type]
    await _round_trip(kafka)


async def _round_trip(kafka: KafkaSettings) -> None:
    """A record through the admin client, the publisher and a worker."""
    admin = connect_admin(kafka)
    admin.create_topics([NewTopic("t", 1, 1)])["t"].result(20)
    publisher = KafkaPublisher(kafka)
    await publisher.send("t", b"k", b"v")
    await publisher.close()
    book = Book()
    settings = settings_of(kafka.brokers, "g").model_copy(update={"kafka": kafka})
    async with worker(settings, "t", book):
        await until(lambda: book.total() == 1, "the record")
    assert book.of("t").values == [b"v"]


@pytest.mark.kafka
@pytest.mark.slow
async def test_a_wrong_password_is_told_as_such(scram_kafka: str) -> None:
    """Also where the admin client was let in, and the worker's consumer is not."""
    kafka = KafkaSettings(brokers=scram_kafka, **{**SCRAM, "sasl_password": "wrong"}, request_timeout=15)  # type: ignore[arg-type]
    with pytest.raises(BrokerError, match=r"(?i)authentication.*see kafka\.security_protocol, kafka\.sasl_\*"):
        connect_admin(kafka)
    settings = settings_of(scram_kafka, "g").model_copy(update={"kafka": kafka})
    with pytest.raises(BrokerError, match=r"Kafka: read: .*Unable to bootstrap"):
        async with worker(settings, "t", Book()) as app:
            await until(app.ended.is_set, "the end of the worker")


@dataclass
class Certificates:
    """PEM files: an authority, and what it signed for the broker and for the client."""

    ca: Path
    broker: Path
    client: Path
    client_key: Path


@pytest.fixture(scope="module")
def certificates(tmp_path_factory: pytest.TempPathFactory) -> Certificates:
    if shutil.which("openssl") is None:
        pytest.skip("needs the command openssl to make certificates (Debian: apt install openssl)")
    folder = tmp_path_factory.mktemp("certificates")

    def openssl(*arguments: str) -> None:
        subprocess.run(["openssl", *arguments], cwd=folder, check=True, capture_output=True)

    openssl(
        "req",
        "-x509",
        "-newkey",
        "rsa:2048",
        "-nodes",
        "-keyout",
        "ca.key",
        "-out",
        "ca.pem",
        "-subj",
        "/CN=test-ca",
        "-days",
        "2",
    )
    (folder / "san").write_text("subjectAltName=IP:127.0.0.1")
    for name in ("broker", "client"):
        openssl(
            "req",
            "-newkey",
            "rsa:2048",
            "-nodes",
            "-keyout",
            f"{name}.key",
            "-out",
            f"{name}.csr",
            "-subj",
            f"/CN={name}",
        )
        openssl(
            "x509", "-req", "-in", f"{name}.csr", "-CA", "ca.pem", "-CAkey", "ca.key", "-CAcreateserial", "-out", f"{name}.pem",
            "-days", "2", "-extfile", "san",
        )  # fmt: skip
    (folder / "broker-all.pem").write_text((folder / "broker.key").read_text() + (folder / "broker.pem").read_text())
    return Certificates(folder / "ca.pem", folder / "broker-all.pem", folder / "client.pem", folder / "client.key")


@pytest.mark.kafka
@pytest.mark.slow
async def test_all_clients_speak_mutual_tls(certificates: Certificates) -> None:
    if missing := broker.missing_tools():
        skip_or_fail(missing)
    tls = {
        "listener.name.client.ssl.keystore.type": "PEM",
        "listener.name.client.ssl.keystore.location": str(certificates.broker),
        "listener.name.client.ssl.truststore.type": "PEM",
        "listener.name.client.ssl.truststore.location": str(certificates.ca),
        "listener.name.client.ssl.client.auth": "required",
    }
    with broker.Cluster(heap_mb=256, protocol="SSL", properties=tls) as cluster:
        kafka = KafkaSettings(
            brokers=cluster.bootstrap, security_protocol="SSL", ca_file=certificates.ca,
            certificate_file=certificates.client, key_file=certificates.client_key, request_timeout=60,  # type: ignore[arg-type]
        )  # fmt: skip
        await _round_trip(kafka)
        without = {"certificate_file": None, "key_file": None, "request_timeout": timedelta(seconds=15)}
        stranger = kafka.model_copy(update=without)
        with pytest.raises(BrokerError, match=r"(?i)ssl.*see kafka\.security_protocol"):
            connect_admin(stranger)
