"""What Tidewatch publishes: alerts, scores, dead letters; their bodies, and how they travel on Kafka.

An alert's body is a function of the log: no wall-clock time, nothing that a second run would write differently. JSON Schemas
of all three stand in docs/schemas (`python -m pipeline.alerts.schemas` writes them), the meaning of each field in docs/alerts.md.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Annotated, Literal, NamedTuple

import msgspec
import numpy as np
from msgspec import UNSET, Meta, UnsetType

from pipeline.steps.batches.records import RecordBatch, Rejected

Headers = tuple[tuple[str, bytes], ...]
Status = Literal["pending", "firing", "resolved"]
Reason = Literal["anomaly", "held", "severity", "update", "normal", "silence", "withdrawn", "moved"]
"""A closed set, as readers of v1 know it."""
Change = Literal[
    "anomaly",
    "reopened",
    "held",
    "severity",
    "worse",
    "update",
    "normal",
    "silence",
    "withdrawn",
    "moved",
    "changed",
    "closed",
    "forgotten",
    "acknowledged",
    "unacknowledged",
    "unsilenced",
    "gone",
    "feedback",
]
"""What a record tells of; grows, so on the wire it is any text. `REASONS` is how those of v1 read the ones that came later."""
REASONS: Mapping[Change, Reason] = {
    "reopened": "anomaly",
    "worse": "update",
    "changed": "normal",
    "closed": "normal",
    "forgotten": "normal",
    "acknowledged": "update",
    "unacknowledged": "update",
    "unsilenced": "update",
    "gone": "silence",
    "feedback": "normal",
}
Severity = Literal["info", "warning", "critical"]
Channels = list[float | None]

Time = Annotated[
    str, Meta(pattern=r"^\d{4,}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z$", description="Event time, RFC 3339, UTC.")
]

MAX_ORIGINAL = 900_000
"""Bytes of a record's value that a dead letter carries; of a longer one it has hash, length and head."""
MAX_KEY = 32_768
"""The same for its key."""
HEAD = 65_536
"""Bytes of a value that is too large which are kept."""

_JSON = ("content-type", b"application/json")
_ERROR = "tidewatch.error."


@dataclass(frozen=True, slots=True)
class Message:
    """A message for Kafka."""

    topic: str
    key: bytes | None
    value: bytes | None
    headers: Headers = ()


def rfc3339(ms: int) -> str:
    """Milliseconds since the epoch as text, in UTC.

    >>> rfc3339(1404172800123)
    '2014-07-01T00:00:00.123Z'
    """
    return str(np.datetime_as_string(np.datetime64(ms, "ms"), timezone="UTC"))


class Band(msgspec.Struct, frozen=True):
    """What the detector would have let pass, per channel."""

    lower: Annotated[Channels, Meta(description="Per channel, in the unit of the input.")]
    upper: Annotated[Channels, Meta(description="Per channel, in the unit of the input.")]


class DetectorRef(msgspec.Struct, frozen=True):
    """Which detector said so."""

    name: Annotated[str, Meta(description="Name, several joined by +.")]
    version: Annotated[str, Meta(description="Version of the scores' meaning, one number per member.")]
    model: Annotated[str, Meta(description="SHA-256 of the model file.")]


class Feature(msgspec.Struct, frozen=True):
    """One column of a row, and its share in the score."""

    name: Annotated[str, Meta(description="Name of the column.")]
    value: Annotated[float | str | None, Meta(description="Its value in the row.")]
    contribution: Annotated[
        float, Meta(description="Its part of the raw score; the parts of all columns add up to it.")
    ]


class Evidence(msgspec.Struct, frozen=True):
    """The observation that this record speaks of, and what the detector saw."""

    topic: Annotated[str, Meta(description="Topic of the observation.")]
    partition: Annotated[int, Meta(description="Its partition.")]
    offset: Annotated[int, Meta(description="Its offset; where none is spoken of, that of the series' last one.")]
    window: Annotated[
        list[list[float]] | None,
        Meta(
            description="Metrics: the window's observations in the unit of the input, oldest first, a list per channel each."
        ),
    ] = None
    interval_ms: Annotated[
        int | None, Meta(description="Usual step between the window's observations, where it is known.")
    ] = None
    contributions: Annotated[
        list[float] | None, Meta(description="Metrics of several channels: what each added to the raw score.")
    ] = None
    row: Annotated[dict[str, float | str | None] | None, Meta(description="Tables: the row as it came, by column.")] = (
        None
    )
    features: Annotated[
        list[Feature] | None, Meta(description="Tables: the columns that contributed most, the greatest first.")
    ] = None


class Moment(msgspec.Struct, frozen=True):
    """One observation of an alert, of the channel that led."""

    at: Annotated[Time, Meta(description="Its event time.")]
    observed: Annotated[float | None, Meta(description="Observed, in the unit of the input.")]
    expected: Annotated[
        float | None,
        Meta(description="Expected; of a detector that expects nothing, the median of the window before it."),
    ]
    channel: Annotated[str | None, Meta(description="Name of the channel; None where there is one.")] = None


class Share(msgspec.Struct, frozen=True):
    """A channel, or a column of a table, and its share."""

    name: Annotated[str, Meta(description="Its name.")]
    share: Annotated[float, Meta(ge=0, le=1, description="Its share in the score at the peak.")]
    observed: Annotated[
        float | str | UnsetType | None,
        Meta(
            description="Of a table: what the row at the peak has there; null: a category that was never learnt from."
        ),
    ] = UNSET
    usual: Annotated[
        float | str | UnsetType,
        Meta(description="Of a table: the median of the rows learnt from, or the category that most of them have."),
    ] = UNSET


class Together(msgspec.Struct, frozen=True):
    """How many series of a partition are silent together."""

    series: Annotated[int, Meta(ge=0, description="How many say nothing.")]
    of: Annotated[int, Meta(ge=0, description="Of how many that should: these, and those that say something.")]


class Acknowledged(NamedTuple):
    """Somebody said, in the decision with this serial, that they look after an alert."""

    serial: int
    by: str


class Said(msgspec.Struct, frozen=True):
    """What somebody said of an alert."""

    what: Annotated[str, Meta(description="`normal` or `noise`.")]
    by: Annotated[str, Meta(description="Who.")]
    why: Annotated[str, Meta(description="In their words; may be empty.")] = ""


class Alert(msgspec.Struct, frozen=True):
    """One step in the life of an alert."""

    id: Annotated[
        str, Meta(description="The same for all records of one alert; a hash of what it is about and its onset.")
    ]
    fingerprint: Annotated[str, Meta(description="The same for all alerts of one series of one stream; the Kafka key.")]
    sequence: Annotated[int, Meta(ge=0, description="0, 1, 2, ... within the alert; (id, sequence) is unique.")]
    status: Annotated[Status, Meta(description="pending (hold duration runs), firing, resolved.")]
    reason: Annotated[
        Reason,
        Meta(description="Why this record was written; `change` says it more exactly, with words that may grow."),
    ]
    severity: Annotated[
        Severity, Meta(description="By how far beyond the threshold and for how long; never falls within an alert.")
    ]
    stream: Annotated[str, Meta(description="Name of the stream.")]
    series: Annotated[str, Meta(description="Name of the series.")]
    as_of: Annotated[Time, Meta(description="Event time of this record: of its observation, or of the silence's end.")]
    starts_at: Annotated[Time, Meta(description="Event time of the first anomalous observation.")]
    last_seen: Annotated[Time, Meta(description="Event time of the last anomalous observation so far.")]
    ends_at: Annotated[Time | None, Meta(description="When resolved: event time of the last anomalous observation.")]
    observed: Annotated[
        Channels | None, Meta(description="Metrics: the observation, per channel. None for tables and after silence.")
    ]
    expected: Annotated[
        Channels | None, Meta(description="What the detector expected, per channel, where it has a notion of it.")
    ]
    band: Annotated[
        Band | None,
        Meta(
            description="Expected value -+ the deviation that would have reached the threshold, or the alarm's level."
        ),
    ]
    score: Annotated[
        float | None,
        Meta(
            description="Ranks the observation: with a judgement its score, else the calibrated score, 0..12. None after silence."
        ),
    ]
    peak_score: Annotated[float, Meta(description="Highest score of the alert so far.")]
    threshold: Annotated[
        float | None,
        Meta(
            description="Calibrated score that held as threshold for the observation. None after silence, and where a judgement's alarm decides."
        ),
    ]
    detector: DetectorRef
    evidence: Evidence
    change: Annotated[
        str,
        Meta(
            description="Why this record was written: anomaly, reopened, held, severity, worse, update, normal, silence, "
            "withdrawn, moved, changed, closed, forgotten, acknowledged, unacknowledged, unsilenced, gone, feedback; later versions may add to it."
        ),
    ] = ""
    kind: Annotated[
        str,
        Meta(
            description="What it looks like: spike, drop, level up, level down, drift up, drift down, noise, flat, missing cycle, "
            "out of range, no data, unusual; later versions may add to it."
        ),
    ] = ""
    direction: Annotated[
        Literal["up", "down"] | None, Meta(description="Where the observation at the peak lies of what was expected.")
    ] = None
    deviation: Annotated[
        float | None, Meta(description="Observed less expected at the peak, in the unit of the input.")
    ] = None
    deviation_percent: Annotated[
        float | None, Meta(description="The same in per cent of what was expected; None where that is next to nothing.")
    ] = None
    onset: Annotated[Moment | None, Meta(description="Metrics: the first anomalous observation.")] = None
    peak: Annotated[
        Moment | None,
        Meta(
            description="Metrics: the observation farthest from what was expected; of several channels, of the highest score."
        ),
    ] = None
    lasted_ms: Annotated[int, Meta(ge=0, description="From `starts_at` to `last_seen`.")] = 0
    observations: Annotated[int, Meta(ge=0, description="Anomalous observations so far.")] = 0
    members: Annotated[list[str], Meta(description="Members of the detector that have said so by themselves.")] = []
    channels: Annotated[
        list[Share],
        Meta(description="Several channels, or columns: those that led at the peak, the greatest share first."),
    ] = []
    reopens_until: Annotated[
        Time | None, Meta(description="Resolved: what comes back as the same kind before then opens this alert again.")
    ] = None
    next_id: Annotated[
        str | None, Meta(description="`changed`: the alert that begins where this one ended for it.")
    ] = None
    summary: Annotated[str, Meta(description="All of it in one sentence, times in UTC.")] = ""
    silenced: Annotated[
        bool | UnsetType,
        Meta(
            description="True: the series is silenced up to a later time; nobody is to be told. `unsilenced` says that it ended."
        ),
    ] = UNSET
    acknowledged: Annotated[str | UnsetType, Meta(description="Who said that they look after it.")] = UNSET
    alarm: Annotated[
        float | UnsetType,
        Meta(
            description="Where a judgement decides: by how many decades the observation is rarer than the false-alarm budget lets pass; "
            "anomalous from 0 on."
        ),
    ] = UNSET
    peak_strength: Annotated[
        float | UnsetType,
        Meta(
            description="The alert's highest alarm so far as it would be without feedback: decades beyond what threshold or budget let pass."
        ),
    ] = UNSET
    moved: Annotated[
        float | UnsetType,
        Meta(
            description="By how many decades feedback has raised what is let pass of the observation; in `threshold` and `alarm` already."
        ),
    ] = UNSET
    feedback: Annotated[Said | UnsetType, Meta(description="`change` `feedback`: who ended it by what they said.")] = (
        UNSET
    )
    together: Annotated[
        Together | UnsetType,
        Meta(description="`no data` of many series at once; `series` names their partition then: `(partition 3)`."),
    ] = UNSET
    labels: Annotated[
        dict[str, str] | UnsetType,
        Meta(description="What the settings say of the series for those who read alerts: team, runbook_url, any."),
    ] = UNSET

    @property
    def event_type(self) -> str:
        """CloudEvents type: pending, firing and resolved when the state changed, else updated."""
        what = "updated" if self.reason in ("severity", "update") else self.status
        return f"io.tidewatch.alert.{what}.v1"

    @property
    def fired(self) -> bool:
        """Whether anybody was to be told: not while pending, nor when it was withdrawn from there."""
        return self.status != "pending" and self.reason != "withdrawn"

    def message(self, topic: str) -> Message:
        """The record as a CloudEvents 1.0 message (binary mode) for the alert topic."""
        headers = (
            ("ce_specversion", b"1.0"),
            ("ce_id", f"{self.id}:{self.sequence}".encode()),
            ("ce_type", self.event_type.encode()),
            ("ce_source", f"/tidewatch/{self.stream}".encode()),
            ("ce_subject", _header_text(self.series)),
            ("ce_time", self.as_of.encode()),
            _JSON,
        )
        return Message(topic, self.fingerprint.encode(), encode(self), headers)


class Score(msgspec.Struct, frozen=True):
    """What the detectors said of one observation."""

    stream: Annotated[str, Meta(description="Name of the stream.")]
    series: Annotated[str, Meta(description="Name of the series; the Kafka key.")]
    timestamp: Annotated[int, Meta(description="Event time of the observation, ms since the epoch.")]
    partition: Annotated[int, Meta(description="Partition of the observation.")]
    offset: Annotated[int, Meta(description="Offset of the observation.")]
    score: Annotated[
        float, Meta(description="Ranks: with a judgement its score, else the aggregated calibrated score, 0..12.")
    ]
    calibrated: Annotated[Channels, Meta(description="Calibrated score of each member.")]
    raw: Annotated[Channels, Meta(description="Raw score of each member.")]
    threshold: Annotated[
        float | None, Meta(description="Threshold that held for it; None where a judgement's alarm decides.")
    ]
    live: Annotated[bool, Meta(description="False in training part and probation: no alert can come of it.")]
    observed: Annotated[Channels | None, Meta(description="Metrics: the observation, per channel.")]
    expected: Annotated[Channels | None, Meta(description="As in an alert.")]
    band: Annotated[Band | None, Meta(description="As in an alert.")]
    alarm: Annotated[float | UnsetType, Meta(description="As in an alert.")] = UNSET
    moved: Annotated[float | UnsetType, Meta(description="As in an alert.")] = UNSET

    def message(self, topic: str) -> Message:
        """The record as a message for the score topic."""
        return Message(topic, _header_text(self.series), encode(self), (_JSON,))


class DeadLetter(msgspec.Struct, frozen=True):
    """A record that could not be used: its bytes as they came, why, and where from.

    `unread` is the record's length where its value is only the head of what could not be read.
    """

    stream: str
    reason: str
    detail: str
    topic: str
    partition: int
    offset: int
    key: bytes | None
    value: bytes | None
    unread: int | None = None

    @classmethod
    def of(cls, records: RecordBatch, rejected: Rejected, *, stream: str) -> DeadLetter:
        """The dead letter of one record of a batch."""
        at = rejected.index
        refused = records.refused.get(int(records.offsets[at]))
        return cls(
            stream,
            rejected.reason,
            rejected.detail,
            records.topic,
            records.partition,
            int(records.offsets[at]),
            records.keys[at],
            records.values[at],
            None if refused is None else refused.size,
        )

    def facts(self) -> ErrorHeaders:
        """What its headers say."""
        value, key = self.value, self.key
        unread = {} if self.unread is None else {"value_length": str(self.unread)}
        return ErrorHeaders(
            reason=self.reason,
            detail=self.detail[:500],
            stream=self.stream,
            topic=self.topic,
            partition=str(self.partition),
            offset=str(self.offset),
            **(unread if value is None or len(value) <= MAX_ORIGINAL else _too_large("value", value)),
            **({} if key is None or len(key) <= MAX_KEY else _too_large("key", key)),
        )

    def message(self, topic: str) -> Message:
        """The dead letter as a message: key and value as they came, or their heads where they are too large."""
        value, key = self.value, self.key
        headers = tuple(
            (_ERROR + name, _header_text(text)) for name, text in msgspec.structs.asdict(self.facts()).items() if text
        )
        return Message(
            topic,
            key if key is None or len(key) <= MAX_KEY else key[:MAX_KEY],
            value if value is None or len(value) <= MAX_ORIGINAL else value[:HEAD],
            headers,
        )


class ErrorHeaders(msgspec.Struct, frozen=True):
    """Headers of a dead letter, each with the prefix `tidewatch.error.`; the empty ones are left out."""

    reason: Annotated[str, Meta(description="Why it could not be used, in a few fixed words.")]
    detail: Annotated[str, Meta(description="What exactly is wrong with it; at most 500 characters.")]
    stream: Annotated[str, Meta(description="Name of the stream.")]
    topic: Annotated[str, Meta(description="Topic it came from.")]
    partition: Annotated[str, Meta(description="Its partition, decimal.")]
    offset: Annotated[str, Meta(description="Its offset, decimal.")]
    value_length: Annotated[
        str, Meta(description="Value too large to send or to read: its length; the value here is its head.")
    ] = ""
    value_sha256: Annotated[
        str, Meta(description="Value too large to send: its SHA-256; none where it could not be read.")
    ] = ""
    key_length: Annotated[str, Meta(description="Key too large to send: its length; the key here is its head.")] = ""
    key_sha256: Annotated[str, Meta(description="Key too large to send: its SHA-256.")] = ""


_encoder = msgspec.json.Encoder()
_alerts = msgspec.json.Decoder(Alert)
_scores = msgspec.json.Decoder(Score)


def encode(record: Alert | Score) -> bytes:
    """The JSON body."""
    return _encoder.encode(record)


def decode_alert(body: bytes) -> Alert:
    """Read an alert's body; fields that a later version added are ignored. Raises msgspec.DecodeError."""
    return _alerts.decode(body)


def decode_score(body: bytes) -> Score:
    """Read a score's body. Raises msgspec.DecodeError."""
    return _scores.decode(body)


def stable_hash(*parts: str | int) -> str:
    """32 hexadecimal digits that depend on the parts and their order alone.

    >>> stable_hash("taxi", "nyc_taxi") == stable_hash("taxi", "nyc_taxi") != stable_hash("taxinyc", "_taxi")
    True
    """
    return hashlib.blake2b(msgspec.json.encode(parts), digest_size=16).hexdigest()


def _too_large(what: str, original: bytes) -> dict[str, str]:
    return {f"{what}_length": str(len(original)), f"{what}_sha256": hashlib.sha256(original).hexdigest()}


def _header_text(text: str) -> bytes:
    return text.encode("utf-8", "replace")


def dead_letter_facts(headers: Sequence[tuple[str, bytes | None]]) -> dict[str, str]:
    """The `tidewatch.error.*` headers of a message, without the prefix."""
    return {
        name.removeprefix(_ERROR): (value or b"").decode("utf-8", "replace")
        for name, value in headers
        if name.startswith(_ERROR)
    }
