"""What is on the wire of an observation topic, and the native JSON form of it.

An observation is one JSON object; the Kafka key is the series' name in UTF-8:

    {"series": "nyc_taxi", "timestamp": 1404172800000, "value": 10844.0}                  a metric with one channel
    {"series": "host-7", "timestamp": 1404172800000, "values": [0.31, 812.0]}              a metric with several channels
    {"series": "http", "timestamp": 1404172800000, "values": [0, "tcp", "http", "SF"]}     a row of a table

`timestamp` is event time in milliseconds since 1970-01-01 UTC, a JSON integer. `series` may be left out: then the key names
it. Labels never travel in an observation.
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
