"""OTLP metrics as JSON (the OpenTelemetry collector's Kafka exporter, encoding `otlp_json`): many series per message.

- Series: `metric{labels}`; the labels are the attributes of resource and point, and `otel_scope_name` where a scope is named.
  Where both have an attribute of one name, the resource's is written as `resource.NAME`.
- Time: `timeUnixNano`, cut to ms. 64-bit integers may come as decimal strings, as proto3 JSON has it, or as numbers.
- Gauges, and cumulative sums that are not monotonic: the value as it is.
- Cumulative monotonic sums: the value is a running total, and the pipeline takes the rate per second between two points
  (`pipeline.steps.totals`); a `startTimeUnixNano` behind the point before is a restart.
- Delta sums: the rate per second since their `startTimeUnixNano`; where they name none, the value as it is.
- Points that say "no recorded value" (flag 1, NaN) are counted as `stale`. Histograms, exponential histograms and summaries
  are not one number; their points are counted as `histogram` and left out.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

import msgspec

from producers.formats.base import (
    COUNTER,
    DELTA,
    GAUGE,
    Parsed,
    Point,
    Reason,
    Unusable,
    checked_time,
    decoded,
    finite,
    series_name,
    shown,
)

_DELTA = (1, "AGGREGATION_TEMPORALITY_DELTA")
_CUMULATIVE = (2, "AGGREGATION_TEMPORALITY_CUMULATIVE")
_DIGITS = re.compile(r"-?\d{1,20}", re.ASCII)


class _Attribute(msgspec.Struct, gc=False):
    key: str
    value: dict[str, Any] = {}


class _Attributes(msgspec.Struct, gc=False):
    attributes: list[_Attribute] = []
    name: str = ""


class _Number(msgspec.Struct, gc=False, rename="camel"):
    time_unix_nano: int | str = 0
    start_time_unix_nano: int | str = 0
    as_double: float | str | None = None
    as_int: int | str | None = None
    attributes: list[_Attribute] = []
    flags: int = 0


class _Numbers(msgspec.Struct, gc=False, rename="camel"):
    data_points: list[_Number] = []
    aggregation_temporality: int | str = 0
    is_monotonic: bool = False


class _Others(msgspec.Struct, gc=False, rename="camel"):
    data_points: list[msgspec.Raw] = []


class _Metric(msgspec.Struct, gc=False, rename="camel"):
    name: str = ""
    gauge: _Numbers | None = None
    sum: _Numbers | None = None
    histogram: _Others | None = None
    exponential_histogram: _Others | None = None
    summary: _Others | None = None


class _Scope(msgspec.Struct, gc=False, rename="camel"):
    scope: _Attributes | None = None
    metrics: list[_Metric] = []


class _Resource(msgspec.Struct, gc=False, rename="camel"):
    resource: _Attributes | None = None
    scope_metrics: list[_Scope] = []


class _Export(msgspec.Struct, gc=False, rename="camel"):
    resource_metrics: list[_Resource]


_export = msgspec.json.Decoder(_Export)


def parse(value: bytes) -> Parsed:
    """Points of one export batch. Raises Unusable when it is no OTLP JSON."""
    parsed = Parsed()
    for resource in decoded(_export, value).resource_metrics:
        outer = _texts(resource.resource.attributes) if resource.resource else {}
        for scope in resource.scope_metrics:
            scoped = {"otel_scope_name": scope.scope.name} if scope.scope and scope.scope.name else {}
            for metric in scope.metrics:
                _read(metric, outer, scoped, parsed)
    return parsed


def _read(metric: _Metric, outer: dict[str, str], scoped: dict[str, str], parsed: Parsed) -> None:
    for others in (metric.histogram, metric.exponential_histogram, metric.summary):
        if others is not None and others.data_points:
            parsed.skip("histogram", len(others.data_points))
    for number, counts in _numbers(metric):
        try:
            content = _content(number)
            if content is None:
                parsed.skip("stale")
                continue
            own = _texts(number.attributes)
            labels = {f"resource.{k}" if k in own else k: v for k, v in outer.items()} | scoped | own
            timestamp = checked_time(_integer(number.time_unix_nano) // 1_000_000)
            begun = max(_integer(number.start_time_unix_nano) // 1_000_000, 0)
            kind = GAUGE if counts == DELTA and not begun else counts
            parsed.points.append(
                Point(series_name(metric.name, labels), timestamp, content, kind, begun if kind else 0)
            )
        except Unusable as error:
            parsed.refused.append(error)


def _numbers(metric: _Metric) -> Iterator[tuple[_Number, int]]:
    if metric.gauge is not None:
        for number in metric.gauge.data_points:
            yield number, GAUGE
    if metric.sum is not None:
        kind = GAUGE
        if metric.sum.aggregation_temporality in _DELTA:
            kind = DELTA
        elif metric.sum.is_monotonic and metric.sum.aggregation_temporality in _CUMULATIVE:
            kind = COUNTER
        for number in metric.sum.data_points:
            yield number, kind


def _content(number: _Number) -> float | None:
    """The value of a point, None where it says that there is none."""
    if number.flags & 1:
        return None
    if number.as_int is not None:
        return finite(_integer(number.as_int))
    match number.as_double:
        case None:
            return None
        case "NaN":
            return None
        case str() as text:
            reason = Reason.NOT_FINITE if text.lstrip("-") == "Infinity" else Reason.WRONG_TYPE
            raise Unusable(reason, f"asDouble is {shown(text)}")
        case float() as content:
            return finite(content)


def _integer(content: int | str) -> int:
    if isinstance(content, int):
        return content
    if not _DIGITS.fullmatch(content):
        raise Unusable(Reason.WRONG_TYPE, f"{shown(content)} is not a 64-bit integer")
    return int(content)


def _texts(attributes: list[_Attribute]) -> dict[str, str]:
    return {a.key: _text(a.value) for a in attributes}


def _text(value: dict[str, Any]) -> str:
    """An attribute's value as text: the only member of `{"stringValue": "a"}`, in JSON where it is not text."""
    for content in value.values():
        return content if isinstance(content, str) else msgspec.json.encode(content, order="sorted").decode()
    return ""
