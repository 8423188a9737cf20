"""How every Kafka client of Tidewatch is configured: one mapping to aiokafka, one to librdkafka, from the same settings.

Whatever connects to Kafka takes its configuration from here, so TLS and SASL are right everywhere or nowhere. And no client ever
makes a broker create a topic by asking for it: a name that is mistyped is an error, not a new topic.
"""

from __future__ import annotations

import ssl
import threading
from collections.abc import Callable
from concurrent.futures import Future
from functools import partial
from pathlib import Path
from types import FunctionType, MethodType
from typing import Any

from aiokafka import AIOKafkaConsumer
from aiokafka.client import AIOKafkaClient
from aiokafka.protocol.metadata import MetadataRequest
from confluent_kafka import KafkaError, KafkaException
from confluent_kafka.admin import AdminClient

from pipeline.errors import BrokerError, Denied, SettingsError
from pipeline.kafka.record_batches import install
from pipeline.settings import KafkaSettings

CLIENT_ID = "tidewatch"

DENIED = (
    KafkaError.TOPIC_AUTHORIZATION_FAILED,
    KafkaError.GROUP_AUTHORIZATION_FAILED,
    KafkaError.CLUSTER_AUTHORIZATION_FAILED,
)
"""What Kafka answers to a user who lacks a right."""


def aiokafka_config(kafka: KafkaSettings) -> dict[str, Any]:
    """Keyword arguments that every aiokafka client takes. Raises SettingsError where a file cannot be used."""
    config: dict[str, Any] = {
        "bootstrap_servers": [b.strip() for b in kafka.brokers.split(",")],
        "client_id": CLIENT_ID,
        "security_protocol": kafka.security_protocol,
    }
    if "SSL" in kafka.security_protocol:
        config["ssl_context"] = _ssl_context(kafka)
    if kafka.security_protocol.startswith("SASL"):
        config["sasl_mechanism"] = kafka.sasl_mechanism
        config["sasl_plain_username"] = kafka.sasl_username or None
        config["sasl_plain_password"] = kafka.sasl_password.get_secret_value() or None
    return config


def aiokafka_consumer(kafka: KafkaSettings, *topics: str, **options: Any) -> AIOKafkaConsumer:
    """A consumer that never makes a broker create a topic, and unpacks no more than is bounded.

    Raises
    ------
    SettingsError
        A file cannot be used, or the installed aiokafka.
    """
    install()
    consumer = AIOKafkaConsumer(*topics, **aiokafka_config(kafka), **options)
    consumer._client._metadata_update = MethodType(_ask_without_creating, consumer._client)  # noqa: SLF001
    return consumer


# aiokafka has no option for it: each of its questions for metadata allows the broker to create what it names. This is its own
# method, of one client only, that builds the request without that permission.
_ask = AIOKafkaClient._metadata_update  # noqa: SLF001
_asking = {**_ask.__globals__, "MetadataRequest": partial(MetadataRequest, allow_auto_topic_creation=False)}
_ask_without_creating = FunctionType(_ask.__code__, _asking, _ask.__name__)


def librdkafka_config(kafka: KafkaSettings) -> dict[str, Any]:
    """Configuration that every confluent-kafka client takes. Raises SettingsError where a file is missing."""
    config: dict[str, Any] = {
        "bootstrap.servers": kafka.brokers,
        "client.id": CLIENT_ID,
        "security.protocol": kafka.security_protocol,
        "allow.auto.create.topics": False,  # a consumer's default, and not a producer's
        "reconnect.backoff.max.ms": 2000,  # a broker that comes back is found soon
        "log_level": 0,  # what goes wrong comes back as an error; librdkafka's own lines would go to stderr as well
    }
    if "SSL" in kafka.security_protocol:
        files = {
            "ssl.ca.location": ("ca_file", kafka.ca_file),
            "ssl.certificate.location": ("certificate_file", kafka.certificate_file),
            "ssl.key.location": ("key_file", kafka.key_file),
        }
        config |= {key: str(_readable(file, name)) for key, (name, file) in files.items() if file is not None}
        if password := kafka.key_password.get_secret_value():
            config["ssl.key.password"] = password
    if kafka.security_protocol.startswith("SASL"):
        config["sasl.mechanism"] = kafka.sasl_mechanism
        if kafka.sasl_username:
            config["sasl.username"] = kafka.sasl_username
            config["sasl.password"] = kafka.sasl_password.get_secret_value()
    return config


def connect_admin(kafka: KafkaSettings) -> AdminClient:
    """An admin client of a broker that answers. Raises BrokerError where none does within `request_timeout`."""
    heard: list[KafkaError] = []
    timeout = kafka.request_timeout.total_seconds()
    config = librdkafka_config(kafka) | {"error_cb": heard.append, "socket.timeout.ms": int(timeout * 1000)}
    admin = AdminClient(config)
    try:
        _interruptible(lambda: admin.list_topics(timeout=timeout))
    except KafkaException as error:
        admin.poll(0)  # brings what went wrong before the time-out
        raise BrokerError(_cannot_reach(kafka, [*heard, error.args[0]])) from error
    return admin


def _interruptible(call: Callable[[], object]) -> None:
    """Wait for a call into librdkafka, which hears no Ctrl-C while it waits for a broker; it is left behind then."""
    if threading.current_thread() is not threading.main_thread():
        call()
        return
    outcome: Future[object] = Future()

    def run() -> None:
        try:
            outcome.set_result(call())
        except BaseException as error:
            outcome.set_exception(error)

    threading.Thread(target=run, daemon=True).start()
    outcome.result()


def broker_error(doing: str, error: BaseException) -> BrokerError:
    """One line from an exception of either client; Denied where Kafka says that a right is missing."""
    cause = error.args[0] if isinstance(error, KafkaException) and error.args else error
    text = cause.str() if isinstance(cause, KafkaError) else str(cause) or type(cause).__name__
    kind = Denied if isinstance(cause, KafkaError) and cause.code() in DENIED else BrokerError
    return kind(f"Kafka: {doing}: {text}")


def _cannot_reach(kafka: KafkaSettings, heard: list[KafkaError]) -> str:
    """The most telling of the errors heard; `all brokers down` and a time-out only say that something went wrong."""
    vague = (KafkaError._ALL_BROKERS_DOWN, KafkaError._TIMED_OUT, KafkaError._TRANSPORT)  # noqa: SLF001  public names of librdkafka
    telling = next((e for e in heard if e.code() not in vague), heard[0])
    mend = "start it, or name another in kafka.brokers (TIDEWATCH_KAFKA__BROKERS)"
    refused = (KafkaError._AUTHENTICATION, KafkaError._SSL)  # noqa: SLF001
    if telling.code() in refused or "SSL routines" in telling.str():
        mend = "see kafka.security_protocol, kafka.sasl_* and kafka.ca_file"
    return f"Kafka at {kafka.brokers} does not answer: {telling.str()}; {mend}"


def _ssl_context(kafka: KafkaSettings) -> ssl.SSLContext:
    ca_file = None if kafka.ca_file is None else str(_readable(kafka.ca_file, "ca_file"))
    try:
        context = ssl.create_default_context(cafile=ca_file)
        if kafka.certificate_file is not None:
            certificate = _readable(kafka.certificate_file, "certificate_file")
            key = None if kafka.key_file is None else _readable(kafka.key_file, "key_file")
            context.load_cert_chain(certificate, key, kafka.key_password.get_secret_value() or None)
    except ssl.SSLError as error:
        msg = f"setting kafka.ca_file, kafka.certificate_file or kafka.key_file: not usable: {error.reason or error}"
        raise SettingsError(msg) from error
    return context


def _readable(file: Path, name: str) -> Path:
    if not file.is_file():
        msg = f"setting kafka.{name}: {file} does not exist"
        raise SettingsError(msg)
    return file
