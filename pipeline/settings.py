"""All settings: one typed table, read once from a TOML file and the environment, secrets kept secret.

`tidewatch.toml` (or the file that TIDEWATCH_CONFIG or `--config` names) holds them; an environment variable
`TIDEWATCH_KAFKA__BROKERS` overrides `[kafka] brokers`. docs/settings.md is generated from this module.
"""

from __future__ import annotations

import json
import math
import os
import re
import ssl
import tomllib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextvars import ContextVar
from datetime import timedelta
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Annotated, Any, Literal, Self, get_args
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    PlainSerializer,
    PlainValidator,
    SecretStr,
    SerializationInfo,
    TypeAdapter,
    ValidationError,
    ValidationInfo,
    field_serializer,
    field_validator,
    model_validator,
)
from pydantic_settings import (
    BaseSettings,
    EnvSettingsSource,
    InitSettingsSource,
    PydanticBaseSettingsSource,
    SettingsConfigDict,
)
from pydantic_settings import SettingsError as PydanticSettingsError

from detectors.budget import METRIC as METRIC_BUDGET
from detectors.budget import TABLE as TABLE_BUDGET
from detectors.budget import Budget
from detectors.budget import parse as parse_budget
from pipeline.addresses import host_list, redis_address
from pipeline.errors import SettingsError
from pipeline.wrong_settings import in_words
from producers.formats.channels import check_channels
from producers.formats.fields import Fields
from producers.formats.naming import check_template
from producers.formats.registry.address import check_url

DEFAULT_FILE = Path("tidewatch.toml")
FILE_VARIABLE = "TIDEWATCH_CONFIG"

_UNITS = {"ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0, "d": 86400.0}
_MECHANISMS = ("PLAIN", "SCRAM-SHA-256", "SCRAM-SHA-512", "GSSAPI")  # others need more than settings
LONGEST = timedelta(days=36_500)
_DURATION = re.compile(r"\s*(\d+(?:\.\d+)?)\s*(ms|s|m|h|d)?\s*")


def _duration(value: object) -> object:
    """`"90s"`, `"5m"`, `"1h"`, `"200ms"`; a bare number is seconds."""
    if not isinstance(value, str):
        return value
    if (match := _DURATION.fullmatch(value)) is None:
        msg = f"{value[:40]!r} is not a duration; write 200ms, 90s, 5m, 6h or 7d"
        raise ValueError(msg)
    seconds = float(match[1]) * _UNITS[match[2] or "s"]
    if seconds > LONGEST.total_seconds():
        msg = f"a duration of more than {LONGEST.days} days is no setting of anybody's"
        raise ValueError(msg)
    return timedelta(seconds=seconds)


def duration_text(duration: timedelta) -> str:
    """The shortest way to write a duration, as `_duration` reads it.

    >>> duration_text(timedelta(hours=6)), duration_text(timedelta(seconds=90)), duration_text(timedelta(0))
    ('6h', '90s', '0s')
    """
    seconds = duration.total_seconds()
    for unit in ("d", "h", "m", "s"):
        if seconds and not seconds % _UNITS[unit]:
            return f"{seconds / _UNITS[unit]:.0f}{unit}"
    return f"{duration / timedelta(milliseconds=1):.3f}".rstrip("0").rstrip(".") + "ms" if seconds else "0s"


def _bounded(value: timedelta) -> timedelta:
    if not timedelta(0) <= value <= LONGEST:
        msg = f"a duration lies between 0 and {LONGEST.days} days"
        raise ValueError(msg)
    return value


Duration = Annotated[
    timedelta, BeforeValidator(_duration), AfterValidator(_bounded), PlainSerializer(duration_text, when_used="json")
]


def _patience(value: object) -> timedelta | str:
    """A duration, `auto` or `off` (as `never` and 0 are), with one error for all that is none of these."""
    if value in ("auto", "off", "never"):
        return "auto" if value == "auto" else "off"
    try:
        return TypeAdapter[timedelta](Duration).validate_python(value) or "off"
    except ValidationError:
        msg = f"{str(value)[:40]!r} is none of auto, off and a duration; write 90s, 5m, 6h or 7d"
        raise ValueError(msg) from None


Patience = Annotated[
    Literal["auto", "off"] | timedelta,
    PlainValidator(_patience),
    PlainSerializer(lambda v: v if isinstance(v, str) else duration_text(v), when_used="json"),
]


class _Table(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, hide_input_in_errors=True)


class KafkaSettings(_Table):
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


class RedisSettings(_Table):
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


class RegistrySettings(_Table):
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


class FieldSettings(_Table):
    """Which fields of a record are what, for formats `json` and `registry` (docs/formats.md, Fields); what is empty is found by their names and types."""

    time: str = Field("", description="Field that is the time.")
    name: str = Field("", description="Field whose text names the series.")
    labels: tuple[str, ...] = Field((), description="Fields that are labels; then no others are.")
    values: tuple[str, ...] = Field((), description="Fields that are values, a series for each; then no others are.")

    def chosen(self) -> Fields:
        """As the formats take them."""
        return Fields(self.time, self.name, self.labels, self.values)


class ThresholdSettings(_Table):
    """When a score is anomalous."""

    method: Literal["fixed", "quantile", "pot"] = Field(
        "fixed",
        description="fixed: the level that the false-alarm budget asks for, or `level`; else the series' own quantile, or POT.",
    )
    false_alarms: str | None = Field(
        None,
        description='How many alerts there may be that are none: `"1 per series per month"` (day, week and year too, `"per 3 months"`), `"2 per week"` '
        'of the whole stream, shared among the series that live in it, or `"1 per 10000 rows"`. It becomes a level by the usual step of each '
        "series, never laxer than one alert in 200 observations. Where nothing is said: `1 per series per month`, of tables `1 per 10000 rows`.",
    )
    level: float | None = Field(
        None,
        ge=0,
        le=12,
        description="fixed, in place of a budget: the calibrated score from which on an observation is anomalous (4 = 1 in 10,000).",
    )
    probability: float = Field(1e-4, gt=0, lt=1, description="quantile, pot: the tail probability that is anomalous.")
    hysteresis: float = Field(
        1.0,
        ge=0,
        description="A firing alert stays anomalous down to this much below the threshold (calibrated score).",
    )

    @field_validator("false_alarms")
    @classmethod
    def _is_a_budget(cls, text: str | None) -> str | None:
        if text is not None:
            parse_budget(text)
        return text

    @model_validator(mode="after")
    def _stated_once(self) -> Self:
        if self.false_alarms is not None and self.level is not None:
            raise ValueError("false_alarms and level both say from when on a score is anomalous: leave one of them out")
        if self.false_alarms is not None and self.method != "fixed":
            msg = f"false_alarms is for method fixed; {self.method} takes a probability: leave one of them out"
            raise ValueError(msg)
        return self

    def budget(self, kind: Literal["metric", "table"]) -> Budget:
        """What is stated, or what holds for such a stream where nothing is.

        Raises
        ------
        ValueError
            Of a table, whose rows have no time between them, it speaks of time.
        """
        if self.false_alarms is None:
            return parse_budget(METRIC_BUDGET if kind == "metric" else TABLE_BUDGET)
        budget = parse_budget(self.false_alarms)
        if kind == "table" and budget.period_ms is not None:
            msg = f"the rows of a table have no time between them: write false_alarms in rows, as {TABLE_BUDGET!r}"
            raise ValueError(msg)
        return budget


class AlertSettings(_Table):
    """The life of this stream's alerts, all in event time."""

    hold: Duration = Field(timedelta(0), description="How long an anomaly must last before pending becomes firing.")
    resolve_count: int = Field(
        5,
        ge=1,
        description="Normal observations in a row that resolve an alert (with resolve_after). Of rows of a table as many as the alert had "
        "anomalous ones, where these are more, 100 at most. Where it is not set, a model file's own recommendation holds, if it has one.",
    )
    resolve_after: Duration = Field(
        timedelta(0),
        description="How long a series must be normal, besides, before its alert resolves; 0 = resolve_count alone decides.",
    )
    quiet: Duration = Field(
        timedelta(hours=6),
        description="What comes back within this time after an alert resolved, as the same kind of thing, opens the same alert again. "
        "0: it is a new one. Metrics only.",
    )
    split: bool = Field(
        True,
        description="An alert ends where what is wrong becomes lastingly something else (another direction or kind), and the next one "
        "begins. false: the same alert goes on.",
    )
    suppression: Duration = Field(
        timedelta(0),
        description="After an alert resolved, a further anomaly of the series within this time re-opens none.",
    )
    silence: Duration = Field(
        timedelta(hours=6),
        description="An alert whose series falls silent for this much of the partition's event time ends: it becomes one of the kind no data, or resolves where absent_after is off.",
    )
    absent_after: Patience = Field(
        "auto",
        description="A series that says nothing for this much of the partition's event time gets an alert of the kind no data. auto: five of its "
        "usual steps, where it has one and reported for a day; longer where it is away for longer habitually. off: never. Metrics only.",
    )
    update_every: Duration = Field(
        timedelta(hours=1), description="A firing alert is published again at these steps of event time."
    )
    direction: Literal["both", "up", "down"] = Field(
        "both", description="Which deviations from the expected value count."
    )
    min_deviation: float = Field(
        0.0, ge=0, description="Smallest absolute deviation from the expected value that counts."
    )
    min_relative_deviation: float = Field(
        0.0, ge=0, description="Smallest deviation relative to the expected value that counts."
    )
    warning: float | None = Field(
        None,
        ge=0,
        le=12,
        description="Score from which on severity is warning (below: info). Not set: ten times as rare as the level asks for, or ten "
        "observations at the level.",
    )
    critical: float | None = Field(
        None,
        ge=0,
        le=12,
        description="Score from which on severity is critical. Not set: a hundred times as rare, or a hundred observations; each tenfold "
        "of the one makes up for a tenfold of the other.",
    )


WITH_FIELDS = ("json", "registry", "auto")
"""Formats whose records may have any fields."""

ALONE = ("prometheus", "remote-write")
"""Formats in which a message may hold some of the values of a time only, and the next one the others."""

Format = Literal[
    "native", "telegraf", "influx", "prometheus", "remote-write", "otlp", "cloudevents", "csv", "json", "registry", "auto"
]  # fmt: skip
"""What records may be, of a stream and of raw topics."""


def _fit_fields(fields: FieldSettings, of: str) -> None:
    if fields != FieldSettings() and of not in WITH_FIELDS:
        msg = f"fields is for records of one's own fields: set format to one of {', '.join(WITH_FIELDS)}"
        raise ValueError(msg)


def _fit_channels(channels: Sequence[str], of: str) -> None:
    check_channels(channels)
    if channels and of in ALONE:
        msg = f"channels is for messages that hold all channels of a series; in format {of} each value may come in another one"
        raise ValueError(msg)


Severity = Literal["info", "warning", "critical"]


class Severities(_Table):
    """How severe alerts may be."""

    least: Severity = "info"
    most: Severity = "critical"

    @model_validator(mode="after")
    def _in_order(self) -> Self:
        names = get_args(Severity)
        if names.index(self.least) > names.index(self.most):
            msg = f"severity: least {self.least} is more than most {self.most}: swap them"
            raise ValueError(msg)
        return self


_PER_CENT = re.compile(r"\s*(\d+(?:\.\d+)?)\s*%\s*")
_LABEL = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
_TAKEN_LABELS = ("alertname", "stream", "series", "detector")
MOST_LABELS = 32


class SelectSettings(_Table):
    """What holds for some series of the stream. Of several that match, later ones override earlier ones, setting by setting.

    A series is meant where any glob of `series` matches, and all of `where` do; one of the two may be left out.
    """

    series: tuple[str, ...] = Field(
        (), description="Globs over the series' names, with labels or without; one may be written as a text."
    )
    where: dict[str, str] = Field(
        {},
        description='Globs over labels in the series\' names, as `{ service = "api-*" }`: all must match. A label that a name has not is empty.',
    )
    direction: Literal["both", "up", "down"] | None = Field(
        None, description="As in [streams.alerts]: an anomaly on the other side of what was expected is no alert."
    )
    deviation: float | str | None = Field(
        None,
        description="Least deviation from what was expected that is an alert: in the unit of the series, `0.5`, or of what was expected, "
        '`"10 %"`. In place of both minimum deviations of [streams.alerts].',
    )
    valid: tuple[float | None, float | None] | None = Field(
        None,
        description="`[low, high]`: a value outside is an alert at once, of the kind out of range: also in probation, and whatever hold, direction and "
        "deviation are. `inf` and `-inf` leave a side open. Of counters it is the rate; of several channels, any.",
    )
    level: float | None = Field(
        None, ge=0, le=12, description="In place of the stream's level, where scores are compared to one."
    )
    false_alarms: str | None = Field(
        None, description='In place of the stream\'s, of each of these series, as `"1 per series per week"`.'
    )
    hold: Duration | None = Field(None, description="As in [streams.alerts].")
    absent_after: Patience | None = Field(
        None, description="As in [streams.alerts]: a duration, auto, or off for series that nobody waits for."
    )
    severity: Severities | None = Field(
        None,
        description='Severity of the alerts of these series: one for all, `"warning"`, or bounds, `{ least = "warning" }`, `{ most = "info" }`.',
    )
    labels: dict[str, str] = Field(
        {},
        description='What travels on every alert record of these series, as `{ team = "db", runbook_url = "https://..." }`. Those of several '
        "selectors are taken together; an empty text takes one away.",
    )

    @field_validator("series", mode="before")
    @classmethod
    def _one_or_several(cls, globs: object) -> object:
        return (globs,) if isinstance(globs, str) else globs

    @field_validator("deviation", mode="before")
    @classmethod
    def _units_or_per_cent(cls, value: object) -> object:
        number = isinstance(value, int | float) and not isinstance(value, bool) and 0 <= value < math.inf
        if value is None or number or (isinstance(value, str) and _PER_CENT.fullmatch(value)):
            return value
        msg = f'{str(value)[:40]!r} is no deviation; write it in the unit of the series, 0.5, or in per cent, "10 %"'
        raise ValueError(msg)

    @field_validator("valid", mode="before")
    @classmethod
    def _two_sides(cls, value: object) -> object:
        if value is None:
            return None
        sides = (
            [None if side in (math.inf, -math.inf) else side for side in value]
            if isinstance(value, list | tuple)
            else []
        )
        low, high = [*sides, None, None][:2]
        told = all(side is None or (isinstance(side, int | float) and side == side) for side in sides)
        ordered = low is None or high is None or not told or low < high
        open_wrongly = (
            isinstance(value, list | tuple) and len(value) == 2 and (value[0] == math.inf or value[1] == -math.inf)
        )
        if len(sides) != 2 or not told or (low is None and high is None) or not ordered or open_wrongly:
            raise ValueError("valid is [low, high], the lower one first; inf or -inf leaves one side open: [0, inf]")
        return low, high

    @field_serializer("valid", when_used="unless-none")
    def _sides(self, valid: tuple[float | None, float | None], info: SerializationInfo) -> list[float | None]:
        low, high = valid  # JSON knows no infinity, TOML no null
        if info.mode == "json":
            return [low, high]
        return [-math.inf if low is None else low, math.inf if high is None else high]

    @field_validator("false_alarms")
    @classmethod
    def _is_a_budget(cls, text: str | None) -> str | None:
        if text is not None and parse_budget(text).shared:
            msg = (
                f'{text!r} is a budget of the whole stream; write that of each series here, as "1 per series per week"'
            )
            raise ValueError(msg)
        return text

    @field_validator("severity", mode="before")
    @classmethod
    def _one_is_both(cls, severity: object) -> object:
        return {"least": severity, "most": severity} if isinstance(severity, str) else severity

    @field_validator("labels", "where")
    @classmethod
    def _few(cls, labels: dict[str, str]) -> dict[str, str]:
        if len(labels) > MOST_LABELS or any(len(text) > 1000 for text in labels.values()):
            msg = f"at most {MOST_LABELS} labels, of 1000 characters each"
            raise ValueError(msg)
        return labels

    @field_validator("labels")
    @classmethod
    def _are_labels(cls, labels: dict[str, str]) -> dict[str, str]:
        for name in labels:
            if name in (*_TAKEN_LABELS, "severity"):
                mend = "set severity = ... in place of it" if name == "severity" else "name it otherwise"
                msg = f"label {name} says something else already: {mend}"
                raise ValueError(msg)
            if not _LABEL.fullmatch(name):
                msg = f"{name[:40]!r} is no name for a label: letters, digits and underscore, no digit first"
                raise ValueError(msg)
        return labels

    @model_validator(mode="after")
    def _selects_and_says_something(self) -> Self:
        if not (self.series or self.where):
            raise ValueError('it selects no series: add series = "glob" ("*" for all) or where = { label = "glob" }')
        if not self.model_fields_set - {"series", "where"}:
            says = ", ".join(n for n in type(self).model_fields if n not in ("series", "where"))
            msg = f"it says nothing of the series it selects: add one of {says}"
            raise ValueError(msg)
        if self.false_alarms is not None and self.level is not None:
            raise ValueError("false_alarms and level both say from when on a score is anomalous: leave one of them out")
        return self

    @property
    def whom(self) -> str:
        """Which series, as people wrote it."""
        told = [", ".join(self.series), ", ".join(f"{k}={v}" for k, v in self.where.items())]
        return " where ".join(told) if all(told) else told[0] or f"where {told[1]}"

    @property
    def deviations(self) -> tuple[float, float]:
        """Least deviation in the unit of the series, and as a share of what was expected."""
        if isinstance(self.deviation, str):
            match = _PER_CENT.fullmatch(self.deviation)
            assert match is not None
            return 0.0, float(match[1]) / 100
        return float(self.deviation or 0.0), 0.0


class StreamSettings(_Table):
    """One stream: an input topic with its model and alert policy."""

    name: str = Field(pattern=r"^[a-z0-9][a-z0-9_-]*$", description="Name of the stream, part of keys, ids and topics.")
    topic: str = Field("", description="Input topic; default `<name>.observations`.")
    model: Path = Field(description="Model file (`tidewatch train` writes one).")
    format: Format = Field(
        "native", description="Format of the records (docs/formats.md); auto: told apart one by one, by their content."
    )
    counter: tuple[str, ...] = Field(
        (),
        description="Series that are counters, by globs over their names (with labels or without): judged by their rate per second. "
        "Known as such without it: Prometheus names in _total, _count, _sum, _bucket, and OTLP's sums.",
    )
    gauge: tuple[str, ...] = Field((), description="Series that are no counters, whatever their name or format says.")
    channels: tuple[str, ...] = Field(
        (),
        description="For a model of several channels, in its order: the fields of a message, or ends of its metrics' names, that are the channels of one series (docs/formats.md, Channels). Empty: each is a series.",
    )
    time_zone: str = Field(
        "",
        description="Whose midnight and weekend the series keep, as Europe/Berlin (summer time included); empty: as the model file says, UTC "
        "where it was trained without.",
    )
    fields: FieldSettings = Field(default_factory=FieldSettings)
    threshold: ThresholdSettings = Field(default_factory=ThresholdSettings)
    alerts: AlertSettings = Field(default_factory=AlertSettings)
    select: tuple[SelectSettings, ...] = Field(
        (), description="What holds for some of the series only, a table `[[streams.select]]` each; see below."
    )
    alert_topic: str = Field("tidewatch.alerts", description="Topic that alerts are published to.")
    dead_letter_topic: str = Field("", description="Topic for records that cannot be used; default `<topic>.dlq`.")
    score_topic: str = Field("", description="Topic for the score of every observation; empty: none are published.")
    decision_topic: str = Field(
        "tidewatch.decisions", description="Topic that says which decision each partition took at which offset."
    )
    probation: int = Field(256, ge=0, description="Observations of an unknown series before it can raise an alert.")
    max_series: int = Field(
        100_000, ge=1, description="Series per partition; observations of further ones go to dead letters."
    )
    idle_after: Duration = Field(
        timedelta(days=7), description="A series without observations for this event time is forgotten."
    )
    future_limit: Duration = Field(
        timedelta(days=1),
        description="A jump ahead of the series' newest by more than this needs the next record's confirmation.",
    )
    lateness: Duration = Field(
        timedelta(0),
        description="How long observations wait for older ones of their series that come after them: up to 8 a series, where something is missing "
        "before them or the series has no usual step; then they are judged in order. 0: none waits. Metrics only.",
    )
    fill_gaps: int = Field(
        3, ge=0, description="A gap of up to this many intervals is filled; a longer one starts the window anew."
    )

    @field_validator("time_zone")
    @classmethod
    def _a_zone_that_there_is(cls, name: str) -> str:
        try:
            if name:
                ZoneInfo(name)
        except (ZoneInfoNotFoundError, ValueError, OSError) as error:
            msg = f"there is no time zone {name[:60]!r}; write it as Europe/Berlin, America/New_York or UTC"
            raise ValueError(msg) from error
        return name

    @model_validator(mode="after")
    def _fields_of_a_format_that_has_some(self) -> Self:
        _fit_fields(self.fields, self.format)
        _fit_channels(self.channels, self.format)
        return self

    def budgets(self, kind: Literal["metric", "table"]) -> tuple[Budget, ...]:
        """The stream's false-alarm budget, and that of each selector: the stream's where it has none.

        Raises
        ------
        ValueError
            Of a table, whose rows have no time between them, one speaks of time.
        """
        own = self.threshold.budget(kind)
        told = [ThresholdSettings(false_alarms=s.false_alarms) for s in self.select]
        return own, *(own if t.false_alarms is None else t.budget(kind) for t in told)

    @property
    def input_topic(self) -> str:
        """The topic observations come from."""
        return self.topic or f"{self.name}.observations"

    @property
    def dlq(self) -> str:
        """The topic dead letters go to."""
        return self.dead_letter_topic or f"{self.input_topic}.dlq"


_STATED = ("false_alarms", "level")
"""Ways to say from when on a score is anomalous; one excludes the other."""


def with_recommended(settings: StreamSettings, recommended: Mapping[str, Any]) -> StreamSettings:
    """The settings of a stream, and where they say nothing of threshold and alerts, what its model file recommends.

    Parameters
    ----------
    recommended
        As in tidewatch.toml: `{"threshold": {"level": 2.5}, "alerts": {"resolve_count": 100}}`.

    Raises
    ------
    ValidationError
        A recommendation is no such setting, or out of its range.
    """
    tables = {}
    for name in ("threshold", "alerts"):
        table = getattr(settings, name)
        given = {field: getattr(table, field) for field in table.model_fields_set}
        proposed = dict(recommended.get(name, {}))
        if any(given.get(field) is not None for field in _STATED):  # one of them is stated: no other takes its place
            proposed = {field: value for field, value in proposed.items() if field not in _STATED}
        tables[name] = type(table).model_validate(
            {**given, **proposed, **{k: v for k, v in given.items() if v is not None}}
        )
    return settings.model_copy(update=tables)


class IntakeSettings(_Table):
    """An intake: raw topics that are written, each series whole in one partition, into the topic of a stream of metrics (docs/intake.md)."""

    stream: str = Field(description="The stream that it feeds.")
    topics: tuple[str, ...] = Field(
        min_length=1,
        description="Raw topics, by name or by a glob such as `telegraf-*`; new ones that match are found.",
    )
    name: str = Field(
        "",
        pattern=r"^([a-z0-9][a-z0-9_-]*)?$",
        description="Name of the intake, part of its consumer group and of each source's name: another name reads everything anew. "
        "Default: the stream's.",
    )
    format: Format = Field("auto", description="Format of the raw records (docs/formats.md).")
    channels: tuple[str, ...] = Field(
        (),
        description="For a model of several channels, in its order: the fields of a message, or ends of its metrics' names, that are the channels of one series "
        "(docs/formats.md, Channels). Empty: each is a series.",
    )
    fields: FieldSettings = Field(default_factory=FieldSettings)
    drop_labels: tuple[str, ...] = Field(
        (),
        description="Labels that tell no series apart, such as `pod`: they are left out of the names, so a pod that restarts under another name is the same series.",
    )
    series: str = Field(
        "",
        description='What series are called, as `"{service}/{metric}"`: `{metric}` is the name before the labels. A series without one of these labels keeps its '
        "name. Empty: the name with its labels.",
    )
    share: bool = Field(
        False,
        description="Whether processes share the raw partitions. Only where all records of a series lie in one of them (they have a key): "
        "what lies in pieces is put in order by one process that reads them all, and the others stand by.",
    )
    dead_letter_topic: str = Field(
        "", description="Topic for raw records that cannot be used; default `<name>.intake.dlq`."
    )

    @property
    def dlq(self) -> str:
        """The topic its dead letters go to."""
        return self.dead_letter_topic or f"{self.name}.intake.dlq"

    @field_validator("series")
    @classmethod
    def _is_a_template(cls, template: str) -> str:
        if template:
            check_template(template)
        return template

    @property
    def named(self) -> list[str]:
        """Raw topics that are meant by name, and so must be there."""
        return [topic for topic in self.topics if not any(sign in topic for sign in "*?[")]

    def reads(self, topic: str) -> bool:
        """Whether it reads a topic of that name."""
        return any(fnmatchcase(topic, glob) for glob in self.topics)

    @model_validator(mode="after")
    def _fields_of_a_format_that_has_some(self) -> Self:
        _fit_fields(self.fields, self.format)
        _fit_channels(self.channels, self.format)
        return self

    @property
    def width(self) -> int:
        """How many channels its observations have."""
        return len(self.channels) or 1

    @model_validator(mode="before")
    @classmethod
    def _named(cls, given: object) -> object:
        return (
            {**given, "name": given.get("stream", "")} if isinstance(given, dict) and not given.get("name") else given
        )


class WorkerSettings(_Table):
    """One worker process."""

    group: str = Field("tidewatch", description="Consumer group; the workers of one group share the partitions.")
    instance_id: str = Field(
        "", description="Static membership: a name of this worker that survives its restart; empty: dynamic."
    )
    session_timeout: Duration = Field(
        timedelta(seconds=20), description="After this silence Kafka gives a worker's partitions away."
    )
    device: str = Field("auto", pattern=r"^(auto|cpu|cuda(:\d+)?)$", description="Where detectors run.")
    threads: int = Field(1, ge=1, description="Threads of one forward pass on the CPU.")
    max_batch_size: int = Field(65_536, ge=1, description="Windows that are scored in one go.")
    batch_wait: Duration = Field(timedelta(0), description="How long a small batch waits for more partitions' windows.")
    max_poll_records: int = Field(20_000, ge=1, description="Records of one partition that are handed on in one batch.")
    buffer_bytes: int = Field(
        64 << 20,
        ge=1 << 20,
        description="Bytes of fetched records waiting, unpacked, all partitions together; a batch that is being unpacked comes on top.",
    )
    checkpoint_every: Duration = Field(
        timedelta(seconds=2), description="Wall time between checkpoints of a partition."
    )
    checkpoint_records: int = Field(
        200_000,
        ge=1,
        description="A checkpoint is made at the latest after this many records, offsets that hold none among them.",
    )
    rebuild_records: int = Field(
        2_000_000,
        ge=0,
        description="Where a partition's state was lost: how many records before the committed offset are read again at most.",
    )
    metrics_port: int = Field(0, ge=0, le=65535, description="Port of /metrics and /healthz; 0: none.")
    metrics_host: str = Field(
        "127.0.0.1", description="Address that the port is bound to; beyond loopback metrics_token is required."
    )
    metrics_token: SecretStr = Field(
        SecretStr(""), description="Who asks for /metrics must send it, as `Authorization: Bearer`."
    )
    intake: bool = Field(
        True,
        description="Whether workers run the intakes of the settings beside their streams; false: `tidewatch intake` does, elsewhere.",
    )
    log_format: Literal["console", "json"] = Field("console", description="Form of the log lines.")
    log_level: Literal["debug", "info", "warning", "error"] = Field(
        "info", description="Least severe level that is logged."
    )


class Settings(BaseSettings):
    """The whole table."""

    model_config = SettingsConfigDict(
        env_prefix="TIDEWATCH_", env_nested_delimiter="__", extra="forbid", frozen=True, hide_input_in_errors=True
    )

    kafka: KafkaSettings = Field(default_factory=KafkaSettings)
    redis: RedisSettings = Field(default_factory=RedisSettings)
    registry: RegistrySettings = Field(default_factory=RegistrySettings)
    worker: WorkerSettings = Field(default_factory=WorkerSettings)
    streams: tuple[StreamSettings, ...] = ()
    intake: tuple[IntakeSettings, ...] = ()

    def intake_group(self, intake: IntakeSettings) -> str:
        """The consumer group of an intake."""
        return f"{self.worker.group}.intake.{intake.name}"

    @field_validator("intake")
    @classmethod
    def _intakes_fit(cls, intakes: tuple[IntakeSettings, ...], others: ValidationInfo) -> tuple[IntakeSettings, ...]:
        if "streams" in others.data and (told := next(_wrong_intakes(others.data["streams"], intakes), "")):
            raise ValueError(told)
        registry = others.data.get("registry")
        if registry is not None and not registry.url and (of := [i.name for i in intakes if i.format == "registry"]):
            msg = f"intake {of[0]} has the format registry, and registry.url names none"
            raise ValueError(msg)
        return intakes

    @field_validator("streams")
    @classmethod
    def _fit_together(cls, streams: tuple[StreamSettings, ...], others: ValidationInfo) -> tuple[StreamSettings, ...]:
        names = [s.name for s in streams]
        if twice := sorted({n for n in names if names.count(n) > 1}):
            msg = f"two streams have the same name: {', '.join(twice)}"
            raise ValueError(msg)
        if told := next(_crossed_topics(streams), ""):
            raise ValueError(told)
        registry = others.data.get("registry")
        if registry is not None and not registry.url and (of := [s.name for s in streams if s.format == "registry"]):
            msg = f"stream {of[0]} has the format registry, and registry.url names none"
            raise ValueError(msg)
        return streams

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,
        dotenv_settings: PydanticBaseSettingsSource,
        file_secret_settings: PydanticBaseSettingsSource,
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        """Arguments before environment before files of secrets before the settings file."""
        if isinstance(env_settings, EnvSettingsSource):  # these name files, not settings
            names = {variable.lower() for variable in _secret_variables().values()}
            env_settings.env_vars = {k: v for k, v in env_settings.env_vars.items() if k.lower() not in names}
        files = InitSettingsSource(settings_cls, _secret_files())
        return init_settings, env_settings, files, InitSettingsSource(settings_cls, _file_content(config_file()))


def _crossed_topics(streams: Iterable[StreamSettings]) -> Iterator[str]:
    """What is wrong with the streams' topics, taken together.

    A topic has one use. An input topic that workers also write to feeds itself: one bad record makes hundreds of dead letters
    within seconds. One topic for records of two kinds loses some: alerts are compacted, and their readers know nothing else. That
    streams share a topic of one kind, alerts or dead letters or scores, is fine, except for inputs: a state belongs to one stream.
    """
    used: dict[str, tuple[str, str, bool]] = {}  # topic -> setting, its stream, whether it may be shared
    inputs = [("topic", s.input_topic, s, False) for s in streams]
    outputs = [
        (setting, topic, s, True)
        for s in streams
        for setting, topic in (
            ("alert_topic", s.alert_topic),
            ("dead_letter_topic", s.dlq),
            ("score_topic", s.score_topic),
            ("decision_topic", s.decision_topic),
        )
        if topic
    ]
    for setting, topic, stream, shared in [*inputs, *outputs]:
        if told := _illegal(topic):
            yield f"{setting} {topic!r} of stream {stream.name} {told}"
        before, other, sharing = used.setdefault(topic, (setting, stream.name, shared))
        if (before, other) != (setting, stream.name) and not (sharing and before == setting):
            of = "the same stream" if other == stream.name else f"stream {other}"
            yield f"{setting} {topic} of stream {stream.name} is also the {before} of {of}: name another"


def _wrong_intakes(streams: Iterable[StreamSettings], intakes: Sequence[IntakeSettings]) -> Iterator[str]:
    """What is wrong with intakes: an unknown stream, two of one name, topics that what comes of them is written to."""
    named = {s.name: s for s in streams}
    used = {topic: setting for s in streams for setting, topic in (
        ("topic", s.input_topic), ("alert_topic", s.alert_topic), ("dead_letter_topic", s.dlq),
        ("score_topic", s.score_topic), ("decision_topic", s.decision_topic),
    ) if topic}  # fmt: skip
    names: set[str] = set()
    for intake in intakes:
        if intake.stream not in named:
            yield f"intake {intake.name} feeds stream {intake.stream}, which there is not: {', '.join(named) or 'none is configured'}"
        if intake.name in names:
            yield f"two intakes have the same name: {intake.name}"
        names.add(intake.name)
        if told := _illegal(intake.dlq):
            yield f"dead_letter_topic {intake.dlq!r} of intake {intake.name} {told}"
        for topic, setting in [*used.items(), *((i.dlq, "dead_letter_topic") for i in intakes)]:
            if glob := next((g for g in intake.topics if fnmatchcase(topic, g)), ""):
                yield f"topics {glob} of intake {intake.name} has {topic}, which is a {setting}: it would read what is written here; name others"
        if intake.dlq in used:
            yield f"dead_letter_topic {intake.dlq} of intake {intake.name} is also a {used[intake.dlq]}: name another"


def _illegal(topic: str) -> str:
    """Why Kafka would not have a topic of that name, or nobody may write to it; empty where nothing is wrong."""
    if not re.fullmatch(r"[A-Za-z0-9._-]{1,249}", topic) or topic in (".", ".."):
        return "is no name for a topic: letters, digits, dot, dash and underscore, at most 249"
    return "is one of Kafka's own" if topic in ("__consumer_offsets", "__transaction_state") else ""


def secret_file(variable: str) -> str:
    """The secret in the file that an environment variable names, without the line break at its end; empty where none is named.

    Raises SettingsError where it cannot be read.
    """
    if not (named := os.environ.get(variable)):
        return ""
    try:
        return Path(named).read_text(encoding="utf-8").rstrip("\r\n")
    except (OSError, UnicodeDecodeError) as error:
        why = error.strerror if isinstance(error, OSError) else "it is not UTF-8"
        raise SettingsError(f"{variable}: {named} cannot be read: {why}") from error


def _secret_variables() -> dict[tuple[str, str], str]:
    """(table, setting) -> the variable that may name a file with it, for every setting that is a secret."""
    return {
        (table, name): f"TIDEWATCH_{table}__{name}_FILE".upper()
        for table, field in Settings.model_fields.items()
        if isinstance(field.annotation, type) and issubclass(field.annotation, BaseModel)
        for name, setting in field.annotation.model_fields.items()
        if setting.annotation is SecretStr
    }


def _secret_files() -> dict[str, dict[str, str]]:
    """The secrets that come from files of their own, as tables."""
    found: dict[str, dict[str, str]] = {}
    for (table, name), variable in _secret_variables().items():
        if secret := secret_file(variable):
            found.setdefault(table, {})[name] = secret
    return found


_chosen: ContextVar[Path | None] = ContextVar("_chosen", default=None)


def load_settings(file: Path | None = None) -> Settings:
    """Read the settings once: the environment over `file` (or the file of `config_file`) over the defaults.

    Raises
    ------
    SettingsError
        The named file does not exist or is not TOML; a setting is unknown, missing or wrong.
    """
    token = _chosen.set(file)
    try:
        return Settings()
    except ValidationError as error:
        raise SettingsError(in_words(error, Settings, config_file())) from None  # it holds what was given, also secrets
    except PydanticSettingsError:
        msg = f"{_not_json()} holds no JSON (mend it, or set its settings one by one, TIDEWATCH_KAFKA__BROKERS)"
        raise SettingsError(msg) from None  # the error's cause holds what stands there
    finally:
        _chosen.reset(token)


def _not_json() -> str:
    """The environment variables of whole tables that hold no JSON."""
    wrong = []
    for field in Settings.model_fields:
        for name, value in os.environ.items():
            if name.upper() == f"TIDEWATCH_{field}".upper():
                try:
                    json.loads(value)
                except ValueError:
                    wrong.append(name)
    return ", ".join(wrong) or "an environment variable TIDEWATCH_..."


def config_file() -> Path | None:
    """The file that settings are read from: chosen, named by TIDEWATCH_CONFIG, or ./tidewatch.toml where there is one.

    Raises SettingsError where a file is named that does not exist.
    """
    named = _chosen.get() or os.environ.get(FILE_VARIABLE)
    if not named:
        return DEFAULT_FILE if DEFAULT_FILE.is_file() else None
    file = Path(named)
    if not file.is_file():
        msg = f"settings file {file} does not exist; name another with --config or {FILE_VARIABLE}"
        raise SettingsError(msg)
    return file


def _file_content(file: Path | None) -> dict[str, Any]:
    """What the TOML file says; paths of model files in it are relative to its folder."""
    if file is None:
        return {}
    try:
        content = tomllib.loads(file.read_text(encoding="utf-8"))
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        msg = f"settings file {file} is not TOML: {error}"
        raise SettingsError(msg) from error
    streams = content.get("streams")
    for stream in streams if isinstance(streams, list) else []:
        if isinstance(stream, dict) and isinstance(stream.get("model"), str):
            stream["model"] = file.parent / stream["model"]
    return content
