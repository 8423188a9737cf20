"""OTLP metrics (the OpenTelemetry collector's Kafka exporter, or an SDK's own bytes), protobuf or JSON: many series per message.

- Series: `metric{labels}`; the labels are the attributes of resource and point, and `otel_scope_name` where a scope is named.
  Where both have an attribute of one name, the resource's is written as `resource.NAME`.
- Time: `timeUnixNano`, cut to ms. In JSON 64-bit integers may come as decimal strings, as proto3 has it, or as numbers.
- Gauges, and cumulative sums that are not monotonic: the value as it is.
- Cumulative monotonic sums: the value is a running total, and the pipeline takes the rate per second between two points
  (`pipeline.steps.totals`); a `startTimeUnixNano` behind the point before is a restart.
- Delta sums: the rate per second since their `startTimeUnixNano`; where they name none, the value as it is.
- Histograms and exponential histograms: `metric_count` and `metric_sum`, as sums of their temporality; buckets are left out. Summaries:
  the same, cumulative, and `metric{quantile="0.99"}` as gauges.
- Points that say "no recorded value" (flag 1, NaN) are counted as `stale`.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Iterable, Iterator
from typing import Any, TypeVar

import msgspec

from producers.formats.base import (
    COUNTER,
    DELTA,
    GAUGE,
    MAX_POINTS,
    Parsed,
    Point,
    Reason,
    Unusable,
    check_labels,
    checked_time,
    decoded,
    finite,
    series_name,
    shown,
)

Item = TypeVar("Item")
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


class _Quantile(msgspec.Struct, gc=False):
    quantile: float = 0.0
    value: float | str = 0.0


class _Distribution(msgspec.Struct, gc=False, rename="camel"):
    time_unix_nano: int | str = 0
    start_time_unix_nano: int | str = 0
    count: int | str = 0
    sum: float | str | None = None
    quantile_values: list[_Quantile] = []
    attributes: list[_Attribute] = []
    flags: int = 0


class _Distributions(msgspec.Struct, gc=False, rename="camel"):
    data_points: list[_Distribution] = []
    aggregation_temporality: int | str = 0


class _Metric(msgspec.Struct, gc=False, rename="camel"):
    name: str = ""
    gauge: _Numbers | None = None
    sum: _Numbers | None = None
    histogram: _Distributions | None = None
    exponential_histogram: _Distributions | None = None
    summary: _Distributions | None = None


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
    """Points of one export batch. Raises Unusable when it is no OTLP."""
    if not value.startswith(b"\n") or value.lstrip()[:1] in (b"{", b"[", b""):  # protobuf's first field begins so, too
        return _Reading(_texts).read(decoded(_export, value).resource_metrics)
    from producers.formats import otlp_protobuf  # only where it is needed: protobuf's classes take a while

    return _Reading(otlp_protobuf.texts).read(otlp_protobuf.resource_metrics(value))


class _Reading:
    """One pass over an export batch; JSON's structs and protobuf's messages have the same members.

    Parameters
    ----------
    texts
        From attributes to their names and values as text.
    """

    def __init__(self, texts: Callable[[Any], dict[str, str]]) -> None:
        self._texts = texts
        self._parsed = Parsed()
        self._looked_at = 0

    def read(self, resources: Any) -> Parsed:
        for resource in self._bounded(resources):
            outer = self._texts(resource.resource.attributes) if resource.resource else {}
            for scope in self._bounded(resource.scope_metrics):
                scoped = {"otel_scope_name": scope.scope.name} if scope.scope and scope.scope.name else {}
                for metric in self._bounded(scope.metrics):
                    for point, kind, values in self._bounded(_points(metric)):
                        self._point(metric.name, point, kind, values, outer, scoped)
        return self._parsed

    def _bounded(self, items: Iterable[Item]) -> Iterator[Item]:
        for item in items:
            self._looked_at += 1
            if self._looked_at > MAX_POINTS:
                raise Unusable(Reason.TOO_LARGE, f"more than {MAX_POINTS:,} points in one message")
            yield item

    def _point(
        self, name: str, point: Any, kind: int, values: _Values, outer: dict[str, str], scoped: dict[str, str]
    ) -> None:
        parsed = self._parsed
        if point.flags & 1:
            parsed.skip("stale")
            return
        try:
            check_labels(len(outer) + len(point.attributes))
            own = self._texts(point.attributes)
            labels = {f"resource.{k}" if k in own else k: v for k, v in outer.items()} | scoped | own
            timestamp = checked_time(_integer(point.time_unix_nano) // 1_000_000)
            begun = max(_integer(point.start_time_unix_nano) // 1_000_000, 0)
            counts = GAUGE if kind == DELTA and not begun else kind
            for suffix, content in values(point):
                if content is None:
                    parsed.skip("stale")
                    continue
                series = series_name(f"{name}{suffix}" if name else "", labels)
                parsed.points.append(Point(series, timestamp, content, counts, begun if counts else 0))
            for quantile in getattr(point, "quantile_values", ()):
                content = _float(quantile.value)
                if content is None:
                    parsed.skip("stale")
                    continue
                series = series_name(name, labels | {"quantile": f"{quantile.quantile:g}"})
                parsed.points.append(Point(series, timestamp, content))
        except Unusable as error:
            parsed.refused.append(error)


_Values = Callable[[Any], list[tuple[str, float | None]]]  # suffix of the name, and the value; None: there is none


def _points(metric: Any) -> Iterator[tuple[Any, int, _Values]]:
    """Data points, of which kind they are, and how to read them."""
    if metric.gauge is not None:
        for point in metric.gauge.data_points:
            yield point, GAUGE, _number
    if metric.sum is not None:
        kind = _kind(metric.sum.aggregation_temporality)
        for point in metric.sum.data_points:
            yield point, GAUGE if kind == COUNTER and not metric.sum.is_monotonic else kind, _number
    for histogram in (metric.histogram, metric.exponential_histogram):
        if histogram is not None:
            for point in histogram.data_points:
                yield point, _kind(histogram.aggregation_temporality), _distribution
    if metric.summary is not None:
        for point in metric.summary.data_points:
            yield point, COUNTER, _distribution


def _kind(temporality: int | str) -> int:
    return COUNTER if temporality in _CUMULATIVE else DELTA if temporality in _DELTA else GAUGE


def _number(point: Any) -> list[tuple[str, float | None]]:
    if isinstance(point, _Number):
        return [("", _float(point.as_double) if point.as_int is None else finite(_integer(point.as_int)))]
    which = point.WhichOneof("value")
    return [("", None if which is None else _float(float(getattr(point, which))))]


def _distribution(point: Any) -> list[tuple[str, float | None]]:
    values = [("_count", finite(_integer(point.count)))]
    optional = not isinstance(point, _Distribution) and point.DESCRIPTOR.fields_by_name["sum"].has_presence
    if point.sum is not None and (not optional or point.HasField("sum")):
        values.append(("_sum", _float(point.sum)))  # type: ignore[arg-type]
    return values  # type: ignore[return-value]


def _float(content: float | str | None) -> float | None:
    """A double, in JSON perhaps as text; None where it says that there is none."""
    match content:
        case None | "NaN":
            return None
        case str() as text:
            reason = Reason.NOT_FINITE if text.lstrip("-") == "Infinity" else Reason.WRONG_TYPE
            raise Unusable(reason, f"asDouble is {shown(text)}")
        case _:
            return None if math.isnan(content) else finite(content)


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
