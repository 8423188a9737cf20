"""How Kafka, Redis and a schema registry are reached."""

from __future__ import annotations

import ssl
from datetime import timedelta
from pathlib import Path
from typing import Literal, Self

from pydantic import Field, SecretStr, field_validator, model_validator

from pipeline.addresses import host_list, redis_address
from pipeline.errors import SettingsError
from pipeline.settings.durations import Duration
from pipeline.settings.table import Table
from producers.formats.registry.address import check_url

_MECHANISMS = ("PLAIN", "SCRAM-SHA-256", "SCRAM-SHA-512", "GSSAPI")  # others need more than settings


class KafkaSettings(Table):
    """How Kafka is reached."""

    brokers: str = Field("127.0.0.1:9092", description="Bootstrap servers, comma-separated host:port.")
    security_protocol: Literal["PLAINTEXT", "SSL", "SASL_PLAINTEXT", "SASL_SSL"] = Field(
        "PLAINTEXT", description="How connections are protected."
    )
    sasl_mechanism: str = Field("SCRAM-SHA-512", description="SASL mechanism, where the protocol is SASL_*.")
    sasl_username: str = Field("", description="SASL user.")
    sasl_password: SecretStr = Field(SecretStr(""), description="SASL password.")
    ca_file: Path | None = Field(None, description="PEM file of the authorities that signed the brokers' certificates.")
    certificate_file: Path | None = Field(None, description="PEM file of the client's certificate (mutual TLS).")
    key_file: Path | None = Field(None, description="PEM file of the client's key.")
    key_password: SecretStr = Field(SecretStr(""), description="Password of the key file.")
    request_timeout: Duration = Field(timedelta(seconds=10), description="How long to wait for the broker at start-up.")
    replication: int = Field(1, ge=1, description="Replicas of the topics that Tidewatch creates.")
    min_insync_replicas: int = Field(1, ge=1, description="min.insync.replicas of the topics that Tidewatch creates.")
    partitions: int = Field(4, ge=1, description="Partitions of the topics that Tidewatch creates.")

    @field_validator("brokers")
    @classmethod
    def _are_addresses(cls, brokers: str) -> str:
        host_list(brokers)
        return brokers

    @field_validator("sasl_mechanism")
    @classmethod
    def _is_a_mechanism(cls, mechanism: str) -> str:
        if mechanism not in _MECHANISMS:
            msg = f"it is one of {', '.join(_MECHANISMS)}"
            raise ValueError(msg)
        return mechanism

    @field_validator("ca_file")
    @classmethod
    def _is_an_authority(cls, file: Path | None) -> Path | None:
        return _authority(file)

    @field_validator("certificate_file", "key_file")
    @classmethod
    def _are_pem(cls, file: Path | None) -> Path | None:
        return file if file is None else _pem(file)

    @model_validator(mode="after")
    def _fit_together(self) -> Self:
        if self.key_file is not None and self.certificate_file is None:
            raise ValueError("kafka.key_file needs kafka.certificate_file")
        if self.certificate_file is not None:
            password = self.key_password.get_secret_value()
            try:  # a function, since without one OpenSSL would ask at the terminal
                ssl.create_default_context().load_cert_chain(self.certificate_file, self.key_file, lambda: password)
            except (OSError, ValueError) as error:
                why = getattr(error, "reason", None) or "damaged, or kafka.key_password is wrong"
                msg = (
                    f"kafka.certificate_file and kafka.key_file cannot be used together ({why}); see kafka.key_password"
                )
                raise ValueError(msg) from None
        needs_user = self.security_protocol.startswith("SASL") and self.sasl_mechanism != "GSSAPI"
        if needs_user and not (self.sasl_username and self.sasl_password.get_secret_value()):
            msg = f"{self.security_protocol} needs kafka.sasl_username and kafka.sasl_password"
            raise ValueError(msg)
        return self


def with_brokers(kafka: KafkaSettings, brokers: str) -> KafkaSettings:
    """The settings with other bootstrap servers, those of an option `--brokers`; the same where it is empty.

    Raises SettingsError where they are no addresses.
    """
    if not brokers:
        return kafka
    try:
        host_list(brokers)
    except ValueError as error:
        msg = f"--brokers: {error}"
        raise SettingsError(msg) from None
    return kafka.model_copy(update={"brokers": brokers})


def _pem(file: Path) -> Path:
    """A file that is there and holds PEM."""
    try:
        with file.open("rb") as stream:
            head = stream.read(1 << 20)
    except OSError as error:
        msg = f"{file} cannot be read: {error.strerror}" if file.exists() else f"{file} does not exist"
        raise ValueError(msg) from None
    if b"-----BEGIN " not in head:
        msg = f"{file} is no PEM file (it holds no -----BEGIN ...-----); openssl makes one of DER"
        raise ValueError(msg)
    return file


def _authority(file: Path | None) -> Path | None:
    """A PEM file of certificates that can be read."""
    if file is not None:
        _pem(file)
        try:
            ssl.create_default_context(cafile=str(file))
        except ssl.SSLError as error:
            msg = f"{file} holds no certificate that can be read ({error.reason or 'damaged'})"
            raise ValueError(msg) from None
    return file


class RedisSettings(Table):
    """How Redis is reached."""

    url: SecretStr = Field(
        SecretStr("redis://127.0.0.1:6379/0"),
        description="redis://, rediss:// or unix:// address, or redis+sentinel://host:26379,host:26379/master (rediss+sentinel://); "
        "may hold a password, in which /, #, ?, @ and % are written %2F, %23, %3F, %40, %25.",
    )
    cluster: bool = Field(False, description="The address is one node of a Redis Cluster.")
    prefix: str = Field("tidewatch", description="First part of every key.")
    timeout: Duration = Field(timedelta(seconds=5), description="How long one command may take.")
    ca_file: Path | None = Field(None, description="PEM file of the authority that signed the server's certificate.")

    @field_validator("url")
    @classmethod
    def _is_an_address(cls, url: SecretStr) -> SecretStr:
        redis_address(url.get_secret_value())
        return url

    @field_validator("ca_file")
    @classmethod
    def _is_an_authority(cls, file: Path | None) -> Path | None:
        return _authority(file)

    @model_validator(mode="after")
    def _one_way(self) -> Self:
        address = redis_address(self.url.get_secret_value())
        if self.cluster and (address.master or address.path):
            raise ValueError("redis.cluster needs a redis:// or rediss:// address of one of its nodes in redis.url")
        return self


class RegistrySettings(Table):
    """The schema registry of streams whose records have a schema's id before them; Confluent's interface."""

    url: str = Field(
        "",
        description="http:// or https:// address, with the path below which `/schemas/ids` lies (Apicurio: `/apis/ccompat/v7`); empty: none.",
    )
    username: str = Field("", description="User, for basic authentication.")
    password: SecretStr = Field(SecretStr(""), description="Password of that user.")
    token: SecretStr = Field(SecretStr(""), description="Bearer token, in place of user and password.")
    ca_file: Path | None = Field(None, description="PEM file of the authority that signed the registry's certificate.")
    timeout: Duration = Field(timedelta(seconds=5), description="How long one answer may take.")

    @field_validator("url")
    @classmethod
    def _is_an_address(cls, url: str) -> str:
        if url:
            check_url(url)
        return url

    @field_validator("timeout")
    @classmethod
    def _some_time(cls, timeout: timedelta) -> timedelta:
        if not timeout:
            raise ValueError("it is more than nothing")
        return timeout

    @field_validator("ca_file")
    @classmethod
    def _is_an_authority(cls, file: Path | None) -> Path | None:
        return _authority(file)

    @model_validator(mode="after")
    def _fit_together(self) -> Self:
        if bool(self.username) != bool(self.password.get_secret_value()):
            raise ValueError("registry.username and registry.password go together")
        if self.username and self.token.get_secret_value():
            raise ValueError("registry.token stands in place of registry.username: leave one of them out")
        return self
