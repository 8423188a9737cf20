r"""What is on the wire of an observation topic, and the native JSON form of it.

An observation is one JSON object; the Kafka key is the series' name in UTF-8:

    {"series": "nyc_taxi", "timestamp": 1404172800000, "value": 10844.0}                  a metric with one channel
    {"series": "host-7", "timestamp": 1404172800000, "values": [0.31, 812.0]}              a metric with several channels
    {"series": "http", "timestamp": 1404172800000, "values": [0, "tcp", "http", "SF"]}     a row of a table

`timestamp` is event time in milliseconds since 1970-01-01 UTC, a JSON integer. `series` may be left out: then the key names
it. Labels never travel in an observation.

A control record was written by versions before decisions (`pipeline.partition.deciding.growth`). Its key is no series' name, and its value is read by no format of observations; so it
costs nothing to look for one:

    \0tidewatch.control    \0{"control": "partitions", "before": 4, "after": 8}       the topic has more partitions now
"""

from __future__ import annotations

import msgspec

EARLIEST = 31_536_000_000
"""1971-01-01 in ms. Earlier times are mistakes: seconds taken for ms, clocks that were never set."""
LATEST = 7_258_118_400_000
"""2200-01-01 in ms; this and later times are mistakes: microseconds taken for ms."""
MAX_SERIES_BYTES = 512
"""Longest name of a series, in UTF-8."""
MAX_VALUE_BYTES = 1 << 20
"""Largest record value that is decoded."""


class Observation(msgspec.Struct, frozen=True, gc=False, omit_defaults=True):
    """One observation of one series."""

    series: str
    timestamp: int
    value: float | None = None
    values: list[float | str] | None = None


_encoder = msgspec.json.Encoder()


def encode(observation: Observation) -> bytes:
    """The native JSON form."""
    return _encoder.encode(observation)


CONTROL_KEY = b"\0tidewatch.control"
_CONTROL_MARK = b"\0"  # no JSON begins with it


class PartitionsAdded(msgspec.Struct, frozen=True, tag_field="control", tag="partitions"):
    """The input topic has more partitions than before: some series belong to another one from here on."""

    before: int
    after: int


_controls = msgspec.json.Decoder(PartitionsAdded)


def is_control(key: bytes | None, value: bytes | None) -> bool:
    """Whether a record is a control record, of whichever kind."""
    return key == CONTROL_KEY and value is not None and value.startswith(_CONTROL_MARK)


def decode_control(value: bytes) -> PartitionsAdded | None:
    """What a control record says; None where this version does not know its kind."""
    try:
        control = _controls.decode(value[len(_CONTROL_MARK) :])
    except (msgspec.MsgspecError, UnicodeDecodeError):
        return None
    return control if 0 < control.before < control.after else None
