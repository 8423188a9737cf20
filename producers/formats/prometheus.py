"""prometheus-kafka-adapter's JSON: one sample per message, the value in a string.

    {"timestamp": "2024-05-01T12:00:00Z", "value": "0.25", "name": "up", "labels": {"__name__": "up", "job": "api"}}

- Series: `up{job="api"}`. The adapter sets no key: let it, or whatever copies the topic, key by series, or one series spreads
  over all partitions.
- Kind: names that end in `_total`, `_count`, `_sum` or `_bucket` are counters, as Prometheus names them; the stream's `gauge` says where not.
- Time: RFC 3339, which the adapter cuts to whole seconds; of samples within one second the first one counts.
- Value: a decimal number in a string. NaN, which is also how Prometheus marks a series that has gone stale, is no observation
  and is counted as `stale`; an infinite value is refused.
"""

from __future__ import annotations

import re

import msgspec

from producers.formats.base import (
    COUNTER,
    GAUGE,
    Parsed,
    Point,
    Reason,
    Unusable,
    decoded,
    finite,
    milliseconds,
    series_name,
    shown,
)


class _Sample(msgspec.Struct, gc=False):
    timestamp: str
    value: str
    name: str = ""
    labels: dict[str, str] = {}


_sample = msgspec.json.Decoder(_Sample)
_DECIMAL = re.compile(r"[+-]?(\d+(\.\d*)?|\.\d+)([eE][+-]?\d+)?", re.ASCII)
_INFINITE = re.compile(r"[+-]?inf(inity)?", re.IGNORECASE)


def parse(value: bytes) -> Parsed:
    """The one point of a message, or none for a stale marker. Raises Unusable for anything else."""
    sample = decoded(_sample, value)
    if sample.value.lower() == "nan":
        return Parsed(skipped={"stale": 1})
    labels = sample.labels
    name = sample.name or labels.get("__name__", "")
    series = series_name(name, {k: v for k, v in labels.items() if k != "__name__"})
    return Parsed([Point(series, milliseconds(sample.timestamp), _number(sample.value), kind_of(name))])


def kind_of(name: str) -> int:
    """Counter or gauge, by the suffixes that Prometheus gives to counters, histograms and summaries."""
    return COUNTER if name.endswith(("_total", "_count", "_sum", "_bucket")) else GAUGE


def kind_of_field(measurement: str, field: str) -> int:
    """The kind of what Telegraf took from Prometheus: a field `counter` (metric_version 1), or by its name in a measurement of all (2).

    Of others a name says nothing: Telegraf's own `mem_total` is a gauge.
    """
    if measurement in ("prometheus", "prometheus_remote_write"):
        return kind_of(field)
    return COUNTER if field == "counter" else GAUGE


def _number(text: str) -> float:
    if _DECIMAL.fullmatch(text):  # float() alone would also take " 1_0 "
        return finite(float(text))
    if _INFINITE.fullmatch(text):
        raise Unusable(Reason.NOT_FINITE, f"the value is {text}")
    raise Unusable(Reason.WRONG_TYPE, f"the value {shown(text)} is not a decimal number")
