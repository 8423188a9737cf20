"""Messages as the senders write them, and near misses. That no bytes raise anything else is tested with the decoder."""

from __future__ import annotations

import json
from typing import Any

import pytest

from producers.formats import influx, otlp, prometheus, telegraf
from producers.formats.base import COUNTER, GAUGE, Point, Reason, Unusable, series_name

T = 1_458_229_140
CPU: dict[str, Any] = {"fields": {"usage": 3.1}, "name": "cpu", "tags": {"host": "a", "cpu": "cpu0"}, "timestamp": T}


def telegraf_points(**changes: Any) -> list[Point]:
    return telegraf.parse(json.dumps({**CPU, **changes}).encode() + b"\n").points


def test_telegraf_gives_a_series_for_each_numeric_field() -> None:
    points = telegraf_points(fields={"usage": 3.1, "value": 7, "up": True, "state": "ok"})
    tags = '{cpu="cpu0",host="a"}'
    assert points == [
        Point(f"cpu_usage{tags}", T * 1000, 3.1),
        Point(f"cpu{tags}", T * 1000, 7.0),
        Point(f"cpu_up{tags}", T * 1000, 1.0),
    ]


@pytest.mark.parametrize(
    ("stamp", "milliseconds"),
    [
        (T, T * 1000),
        (T * 1000 + 7, T * 1000 + 7),
        (T * 10**6 + 7999, T * 1000 + 7),
        (T * 10**9 + 7_999_999, T * 1000 + 7),
        ("2016-03-17T15:39:00Z", T * 1000),
        ("2016-03-17T16:39:00.25+01:00", T * 1000 + 250),
    ],
)
def test_telegraf_time_comes_in_any_usual_unit(stamp: int | str, milliseconds: int) -> None:
    assert telegraf_points(timestamp=stamp)[0].timestamp == milliseconds


@pytest.mark.parametrize("stamp", [0, -T, 8 * 10**9, T * 10**12, "yesterday", "2016-03-17T15:39:00"])
def test_telegraf_time_out_of_the_world_is_refused(stamp: int | str) -> None:
    parsed = telegraf.parse(json.dumps({**CPU, "timestamp": stamp}).encode())
    assert [r.reason for r in parsed.refused] == [Reason.ABSURD_TIMESTAMP]
    assert parsed.points == []


def test_what_telegraf_took_from_prometheus_is_a_counter_by_its_rules_and_nothing_else_is() -> None:
    for name, field, kind in (
        ("prometheus", "http_requests_total", COUNTER), ("prometheus", "go_goroutines", GAUGE), ("prometheus_remote_write", "x_sum", COUNTER),
        ("http_requests_total", "counter", COUNTER), ("mem", "total", GAUGE), ("processes_total", "value", GAUGE), ("net", "bytes_count", GAUGE),
    ):  # fmt: skip
        assert telegraf_points(name=name, fields={field: 5})[0].kind == kind
        assert influx.parse(f"{name} {field}=5 {T}".encode()).points[0].kind == kind


def test_telegraf_says_what_is_wrong() -> None:
    for value, reason in (
        (b"{", Reason.UNDECODABLE),
        (b'{"name":"cpu"}', Reason.WRONG_TYPE),
        (b'{"metrics":3}', Reason.WRONG_TYPE),
        (b'{"fields":{"a":NaN},"name":"cpu","timestamp":1}', Reason.NOT_FINITE),
        (b'{"fields":{"a":1e999},"name":"cpu","timestamp":1}', Reason.NOT_FINITE),
    ):
        with pytest.raises(Unusable) as error:
            telegraf.parse(value)
        assert error.value.reason == reason


def sample(**changes: Any) -> bytes:
    given = {"timestamp": "1970-04-26T17:46:40Z", "value": "9876543210", "name": "up", "labels": {"__name__": "up"}}
    return json.dumps({**given, "timestamp": "2001-09-09T01:46:40Z", **changes}).encode()


def test_prometheus_sample_has_its_value_in_a_string() -> None:
    assert prometheus.parse(sample(labels={"__name__": "up", "job": "api"})).points == [
        Point('up{job="api"}', 1_000_000_000_000, 9876543210.0)
    ]
    assert prometheus.parse(sample(value="-2.5e-3")).points[0].value == -0.0025
    assert prometheus.parse(sample(name="")).points[0].series == "up"


def test_prometheus_stale_marker_is_no_observation() -> None:
    parsed = prometheus.parse(sample(value="NaN"))
    assert (parsed.points, parsed.skipped) == ([], {"stale": 1})


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"value": "+Inf"}, Reason.NOT_FINITE),
        ({"value": "1e999"}, Reason.NOT_FINITE),
        ({"value": "1_0"}, Reason.WRONG_TYPE),
        ({"value": " 1"}, Reason.WRONG_TYPE),
        ({"value": "٣"}, Reason.WRONG_TYPE),
        ({"value": 1.0}, Reason.WRONG_TYPE),
        ({"timestamp": 1}, Reason.WRONG_TYPE),
        ({"timestamp": "1969-01-01T00:00:00Z"}, Reason.ABSURD_TIMESTAMP),
        ({"timestamp": "2024-02-30T00:00:00Z"}, Reason.ABSURD_TIMESTAMP),
        ({"timestamp": "2024-02-20T00:00:00"}, Reason.ABSURD_TIMESTAMP),
        ({"name": "", "labels": {}}, Reason.NO_SERIES),
        ({"labels": {"path": "x" * 600}}, Reason.TOO_LARGE),
    ],
)
def test_prometheus_says_what_is_wrong(changes: dict[str, Any], reason: Reason) -> None:
    with pytest.raises(Unusable) as error:
        prometheus.parse(sample(**changes))
    assert error.value.reason == reason


NANO = "1544712660300000000"


def export(*metrics: dict[str, Any], resource: dict[str, str] | None = None, scope: str = "") -> bytes:
    attributes = [{"key": k, "value": {"stringValue": v}} for k, v in (resource or {}).items()]
    scoped = {"scope": {"name": scope}, "metrics": list(metrics)}
    return json.dumps(
        {"resourceMetrics": [{"resource": {"attributes": attributes}, "scopeMetrics": [scoped]}]}
    ).encode()


def gauge(**point: Any) -> dict[str, Any]:
    return {"name": "load", "unit": "1", "gauge": {"dataPoints": [{"timeUnixNano": NANO, **point}]}}


def test_otlp_names_a_series_by_all_attributes() -> None:
    point = gauge(asDouble=10, attributes=[{"key": "host", "value": {"intValue": "3"}}])
    parsed = otlp.parse(export(point, resource={"host": "outer", "service.name": "s"}, scope="lib"))
    name = 'load{host="3",otel_scope_name="lib",resource.host="outer",service.name="s"}'
    assert parsed.points == [Point(name, 1_544_712_660_300, 10.0)]


@pytest.mark.parametrize("nano", [NANO, int(NANO)])
@pytest.mark.parametrize("content", [{"asInt": "10"}, {"asInt": 10}, {"asDouble": 10.0}])
def test_otlp_integers_come_as_text_or_number(nano: str | int, content: dict[str, Any]) -> None:
    assert otlp.parse(export(gauge(**content, timeUnixNano=nano))).points == [Point("load", 1_544_712_660_300, 10.0)]


@pytest.mark.parametrize(
    ("sum_", "total"),
    [
        ({"isMonotonic": True, "aggregationTemporality": 2}, True),
        ({"isMonotonic": True, "aggregationTemporality": "AGGREGATION_TEMPORALITY_CUMULATIVE"}, True),
        ({"isMonotonic": True, "aggregationTemporality": 1}, False),
        ({"isMonotonic": False, "aggregationTemporality": 2}, False),
    ],
)
def test_otlp_cumulative_monotonic_sums_are_running_totals(sum_: dict[str, Any], total: bool) -> None:
    metric = {"name": "n", "sum": {"dataPoints": [{"timeUnixNano": NANO, "asInt": "4"}], **sum_}}
    assert otlp.parse(export(metric)).points == [Point("n", 1_544_712_660_300, 4.0, total)]


def test_otlp_leaves_out_what_says_that_there_is_none() -> None:
    parsed = otlp.parse(
        export(
            gauge(flags=1),
            gauge(asDouble="NaN"),
            gauge(asDouble=1.0),
        )
    )
    assert [p.value for p in parsed.points] == [1.0]
    assert parsed.skipped == {"stale": 2}


def test_otlp_refuses_a_point_not_its_neighbours() -> None:
    parsed = otlp.parse(
        export(gauge(asDouble="Infinity"), gauge(asDouble=2.0), gauge(asInt="x"), gauge(asInt=1, timeUnixNano="0"))
    )
    assert [p.value for p in parsed.points] == [2.0]
    assert [r.reason for r in parsed.refused] == [Reason.NOT_FINITE, Reason.WRONG_TYPE, Reason.ABSURD_TIMESTAMP]


def test_equal_labels_give_equal_names_whatever_they_hold() -> None:
    assert series_name("m", {"b": 'x"\\\n', "a": ""}) == 'm{a="",b="x\\"\\\\\\n"}'
    assert series_name("m", {}) == "m"
