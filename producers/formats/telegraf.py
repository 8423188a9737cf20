"""Telegraf's JSON (`outputs.kafka` with `data_format = "json"`): one metric per message, one series per numeric field.

    {"fields": {"usage_user": 3.1}, "name": "cpu", "tags": {"host": "a"}, "timestamp": 1458229140}

- Series: `cpu_usage_user{host="a"}`; a field called `value` is left out of the name, as Telegraf's Prometheus output does.
  The Kafka key (a routing tag, or random) is not used.
- Time: Telegraf writes seconds, or with `json_timestamp_units` ms, us or ns; which one it is follows from the size, as the
  years 1971 to 2200 do not overlap in these units. (`10ms` and `100ms` cannot be told apart from them and must not be set.)
  A string, from `json_timestamp_format`, is read as RFC 3339.
- Fields: numbers as they are, true and false as 1 and 0; texts are no observations and are counted as `text field`.
- Kinds: what Telegraf took from Prometheus is a counter by Prometheus' rules; of others the stream's setting `counter` says it.
- The batch form, `{"metrics": [...]}`, is read too.
"""

from __future__ import annotations

from typing import Any

import msgspec

from producers.formats.base import (
    Parsed,
    Point,
    Reason,
    Unusable,
    decoded,
    finite,
    milliseconds,
    shown,
    time_of_any_unit,
)
from producers.formats.heads import Head, Heads


class _Metric(msgspec.Struct, gc=False):
    name: str
    fields: dict[str, Any]
    timestamp: int | str
    tags: msgspec.Raw = msgspec.Raw(b"{}")


class _Strict(_Metric, gc=False):
    """The same, read to the end: it says what is wrong."""

    tags: dict[str, str] = {}  # type: ignore[assignment]


class _Batch(msgspec.Struct, gc=False):
    metrics: list[_Metric]


class _StrictBatch(msgspec.Struct, gc=False):
    metrics: list[_Strict]


_metric = msgspec.json.Decoder(_Metric)
_strict = msgspec.json.Decoder(_Strict)
_batch = msgspec.json.Decoder(_Batch)
_strict_batch = msgspec.json.Decoder(_StrictBatch)
_tags = msgspec.json.Decoder(dict[str, str])

_ERRORS = (msgspec.MsgspecError, UnicodeDecodeError, RecursionError)
_heads: Heads[tuple[str, bytes]] = Heads(lambda key: (key[0], _tags.decode(key[1])), lambda key: len(key[1]))


def parse(value: bytes) -> Parsed:
    """Points of one message. Raises Unusable when it is no Telegraf JSON."""
    parsed = Parsed()
    try:
        metrics = [_metric.decode(value)]
    except _ERRORS:
        if b'"metrics"' not in value:
            decoded(_strict, value)  # raises the reason
        metrics = decoded(_batch, value).metrics
        try:
            heads = [_heads.of((metric.name, bytes(metric.tags))) for metric in metrics]
        except _ERRORS:
            decoded(_strict_batch, value)
            raise
    else:
        try:
            heads = [_heads.of((metrics[0].name, bytes(metrics[0].tags)))]
        except _ERRORS:
            decoded(_strict, value)
            raise
    for metric, head in zip(metrics, heads, strict=True):
        _read(metric, head, parsed)
    return parsed


def _read(metric: _Metric, head: Head, parsed: Parsed) -> None:
    try:
        timestamp = _time(metric.timestamp)
    except Unusable as error:
        parsed.refused.append(error)
        return
    points, known = parsed.points, head.fields
    for field, content in metric.fields.items():
        if isinstance(content, str):
            parsed.skip("text field")
            continue
        try:
            series, kind = known.get(field) or _heads.named(head, field)
            points.append(Point(series, timestamp, _number(field, content), kind))
        except Unusable as error:
            parsed.refused.append(error)


def _time(stamp: int | str) -> int:
    if isinstance(stamp, str):
        return milliseconds(stamp)
    return time_of_any_unit(stamp)


def _number(field: str, content: Any) -> float:
    if content.__class__ is float and content - content == 0:
        return content
    if isinstance(content, int | float):  # a bool is an int: 1 and 0
        return finite(content)
    raise Unusable(Reason.WRONG_TYPE, f"field {shown(field)} is neither number, boolean nor text")
