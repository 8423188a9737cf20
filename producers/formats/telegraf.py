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
    series_name,
    shown,
    time_of_any_unit,
)
from producers.formats.prometheus import kind_of_field


class _Metric(msgspec.Struct, gc=False):
    name: str
    fields: dict[str, Any]
    timestamp: int | str
    tags: dict[str, str] = {}


class _Batch(msgspec.Struct, gc=False):
    metrics: list[_Metric]


_metric = msgspec.json.Decoder(_Metric)
_batch = msgspec.json.Decoder(_Batch)


def parse(value: bytes) -> Parsed:
    """Points of one message. Raises Unusable when it is no Telegraf JSON."""
    parsed = Parsed()
    try:
        metrics = [_metric.decode(value)]
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
        if b'"metrics"' not in value:
            decoded(_metric, value)  # raises the reason
        metrics = decoded(_batch, value).metrics
    for metric in metrics:
        try:
            timestamp = _time(metric.timestamp)
        except Unusable as error:
            parsed.refused.append(error)
            continue
        for field, content in metric.fields.items():
            if isinstance(content, str):
                parsed.skip("text field")
                continue
            try:
                name = metric.name if field == "value" else f"{metric.name}_{field}"
                kind = kind_of_field(metric.name, field)
                parsed.points.append(Point(series_name(name, metric.tags), timestamp, _number(field, content), kind))
            except Unusable as error:
                parsed.refused.append(error)
    return parsed


def _time(stamp: int | str) -> int:
    if isinstance(stamp, str):
        return milliseconds(stamp)
    return time_of_any_unit(stamp)


def _number(field: str, content: object) -> float:
    if isinstance(content, int | float):  # a bool is an int: 1 and 0
        return finite(content)
    raise Unusable(Reason.WRONG_TYPE, f"field {shown(field)} is neither number, boolean nor text")
