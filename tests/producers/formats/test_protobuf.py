"""Formats of protobuf: OTLP from the SDK's own exporter, and Prometheus remote write."""

from __future__ import annotations

import json
import math

import cramjam
import pytest
from google.protobuf import json_format
from opentelemetry.exporter.otlp.proto.common.metrics_encoder import encode_metrics
from opentelemetry.proto.collector.metrics.v1.metrics_service_pb2 import ExportMetricsServiceRequest
from opentelemetry.sdk.metrics import Counter, Histogram, MeterProvider
from opentelemetry.sdk.metrics.export import AggregationTemporality, InMemoryMetricReader
from opentelemetry.sdk.metrics.view import ExponentialBucketHistogramAggregation, View
from opentelemetry.sdk.resources import Resource

from producers.formats import otlp, remote_write
from producers.formats.base import COUNTER, DELTA, GAUGE, Parsed, Point, Reason, Unusable
from producers.formats.packed import MAX_UNPACKED

T = 1_714_564_800_000
LABELS = '{host="a",otel_scope_name="shop",service.name="api"}'


def exported(temporality: AggregationTemporality, *, views: tuple[View, ...] = ()) -> list[ExportMetricsServiceRequest]:
    """Two collections of an SDK that counts, measures and times, as its exporter writes them."""
    reader = InMemoryMetricReader(preferred_temporality={Counter: temporality, Histogram: temporality})
    provider = MeterProvider([reader], resource=Resource({"service.name": "api"}), views=views)
    meter = provider.get_meter("shop")
    requests, level, times = (
        meter.create_counter("requests"),
        meter.create_up_down_counter("level"),
        meter.create_histogram("times"),
    )
    meter.create_observable_gauge("temperature", [lambda options: [_observed(21.5)]])
    out = []
    for n in (5, 7):
        requests.add(n, {"host": "a"})
        level.add(-2, {"host": "a"})
        times.record(0.25 * n, {"host": "a"})
        data = reader.get_metrics_data()
        assert data is not None
        out.append(encode_metrics(data))
    provider.shutdown()
    return out


def _observed(value: float):
    from opentelemetry.metrics import Observation

    return Observation(value, {"host": "a"})


def read(request: ExportMetricsServiceRequest) -> dict[str, tuple[float, int]]:
    parsed = otlp.parse(request.SerializeToString())
    assert (parsed.refused, parsed.skipped) == ([], {})
    assert all(p.timestamp > T for p in parsed.points)
    return {p.series.removesuffix(LABELS): (p.value, p.kind) for p in parsed.points}


def test_an_sdks_cumulative_sums_and_histograms_are_counters() -> None:
    first, second = (read(r) for r in exported(AggregationTemporality.CUMULATIVE))
    assert first == {
        "requests": (5.0, COUNTER), "level": (-2.0, GAUGE), "times_count": (1.0, COUNTER), "times_sum": (1.25, COUNTER),
        "temperature": (21.5, GAUGE),
    }  # fmt: skip
    assert (second["requests"], second["times_sum"]) == ((12.0, COUNTER), (3.0, COUNTER))


def test_an_sdks_deltas_say_since_when_they_count() -> None:
    one, two = exported(AggregationTemporality.DELTA)
    assert read(two)["requests"] == (7.0, DELTA)
    assert read(two)["times_count"] == (1.0, DELTA)
    ends = {p.series: p.timestamp for p in otlp.parse(one.SerializeToString()).points}
    for point in otlp.parse(two.SerializeToString()).points:
        if point.kind == DELTA:
            assert point.begun == ends[point.series]


def test_exponential_histograms_have_a_count_and_a_sum_too() -> None:
    view = View(instrument_name="times", aggregation=ExponentialBucketHistogramAggregation())
    request = exported(AggregationTemporality.CUMULATIVE, views=(view,))[0]
    assert b"exponential" in json_format.MessageToJson(request).encode()
    assert read(request)["times_sum"] == (1.25, COUNTER)


@pytest.mark.parametrize("temporality", [AggregationTemporality.CUMULATIVE, AggregationTemporality.DELTA])
def test_json_and_protobuf_of_one_batch_say_the_same(temporality: AggregationTemporality) -> None:
    for request in exported(temporality):
        request.resource_metrics[0].resource.attributes.add(key="n").value.int_value = 2**60
        request.resource_metrics[0].resource.attributes.add(key="b").value.bool_value = True
        request.resource_metrics[0].resource.attributes.add(key="d").value.double_value = 0.5
        values = request.resource_metrics[0].resource.attributes.add(key="l").value.array_value.values
        values.add().int_value = 7
        values.add().string_value = "x"
        summary = request.resource_metrics[0].scope_metrics[0].metrics.add(name="s").summary.data_points.add()
        summary.time_unix_nano, summary.count, summary.sum = T * 10**6 + 7, 4, 10.0
        summary.quantile_values.add(quantile=0.99, value=3.5)
        assert otlp.parse(json_format.MessageToJson(request).encode()) == otlp.parse(request.SerializeToString())


def test_points_without_a_value_are_stale_and_infinite_ones_refused() -> None:
    request = ExportMetricsServiceRequest()
    points = request.resource_metrics.add().scope_metrics.add().metrics.add(name="g").gauge.data_points
    for value, flags in ((1.0, 0), (1.0, 1), (math.nan, 0), (math.inf, 0), (None, 0)):
        point = points.add(time_unix_nano=T * 10**6, flags=flags)
        if value is not None:
            point.as_double = value
    parsed = otlp.parse(request.SerializeToString())
    assert parsed.points == [Point("g", T, 1.0)]
    assert parsed.skipped == {"stale": 3}
    assert [r.reason for r in parsed.refused] == [Reason.NOT_FINITE]


@pytest.mark.parametrize(
    ("value", "says"),
    [
        (b"\x0a\x00", "it holds no metrics; is it OTLP in protobuf, or traces or logs"),
        (b"\x0a\xff", "no export of OpenTelemetry metrics"),
        (b"\x0a\x02\x12\x00" * 200_000, "it holds no metrics"),
        (b"\x0a\x06\x12\x04\x12\x02\x0a\x00" * 120_000, "more than 100,000 points"),
    ],
)
def test_other_bytes_are_called_what_they_are(value: bytes, says: str) -> None:
    with pytest.raises(Unusable, match=says):
        otlp.parse(value)


def written(*series: tuple[dict[str, str], list[tuple[float, int]]], **more: list[bytes]) -> bytes:
    request = remote_write.WriteRequest(**more)
    for labels, samples in series:
        one = request.timeseries.add()
        for name, value in labels.items():
            one.labels.add(name=name, value=value)
        for value, timestamp in samples:
            one.samples.add(value=value, timestamp=timestamp)
    return bytes(cramjam.snappy.compress_raw(request.SerializeToString()))


def test_remote_write_gives_the_series_that_prometheus_has() -> None:
    value = written(
        ({"__name__": "http_requests_total", "job": "api"}, [(5.0, T), (7.0, T + 15_000)]),
        ({"__name__": "up", "job": "api"}, [(1.0, T), (math.nan, T), (math.inf, T), (1.0, 5)]),
        ({"job": "api"}, [(1.0, T)]),
    )
    parsed = remote_write.parse(value)
    assert parsed.points == [
        Point('http_requests_total{job="api"}', T, 5.0, COUNTER),
        Point('http_requests_total{job="api"}', T + 15_000, 7.0, COUNTER),
        Point('up{job="api"}', T, 1.0),
    ]
    assert parsed.skipped == {"stale": 1}
    assert [r.reason for r in parsed.refused] == [Reason.NOT_FINITE, Reason.ABSURD_TIMESTAMP, Reason.NO_SERIES]
    assert remote_write.parse(written(metadata=[b"\x08\x01"])) == Parsed()


def test_the_bytes_are_those_of_prometheus() -> None:
    # WriteRequest{timeseries: [{labels: [{"__name__", "up"}], samples: [{1.5, 1714564800000}]}]}, by hand from prompb's types.proto.
    label, sample = (
        b"\x0a\x08__name__\x12\x02up",
        b"\x09" + b"\x00\x00\x00\x00\x00\x00\xf8\x3f" + b"\x10\x80\xbc\x9a\xa0\xf3\x31",
    )
    series = b"\x0a" + bytes([len(label)]) + label + b"\x12" + bytes([len(sample)]) + sample
    request = b"\x0a" + bytes([len(series)]) + series
    assert remote_write.parse(bytes(cramjam.snappy.compress_raw(request))).points == [Point("up", T, 1.5)]


@pytest.mark.parametrize(
    ("value", "reason", "says"),
    [
        (b"", Reason.UNDECODABLE, "no Snappy block"),
        (b"not snappy", Reason.UNDECODABLE, "no Snappy block|no WriteRequest"),
        (bytes(cramjam.snappy.compress_raw(b"\xff" * 20)), Reason.UNDECODABLE, "no WriteRequest"),
        (bytes(cramjam.snappy.compress_raw(b"")), Reason.UNDECODABLE, "no time series"),
        (written(symbols=[b"", b"up"]), Reason.UNDECODABLE, "remote write 2.0"),
        (bytes(cramjam.snappy.compress_raw(bytes(MAX_UNPACKED + 1))), Reason.TOO_LARGE, "unpacked"),
        (b"\xff\xff\xff\xff\x0f" + b"x" * 10, Reason.TOO_LARGE, "unpacked"),
        (bytes(cramjam.snappy.compress_raw(b"\x0a\x00" * 150_000)), Reason.TOO_LARGE, "more than 100,000 series"),
    ],
)
def test_what_is_no_request_is_said(value: bytes, reason: Reason, says: str) -> None:
    with pytest.raises(Unusable, match=says) as refused:
        remote_write.parse(value)
    assert refused.value.reason == reason


def test_json_of_hostile_labels_costs_little() -> None:
    many = [{"key": f"k{i}", "value": {"stringValue": "v"}} for i in range(10_000)]
    points = [{"asDouble": 1, "timeUnixNano": str(T * 10**6)} for _ in range(20_000)]
    metrics = [{"name": "m", "gauge": {"dataPoints": points}}]
    value = json.dumps(
        {"resourceMetrics": [{"resource": {"attributes": many}, "scopeMetrics": [{"metrics": metrics}]}]}
    ).encode()
    parsed = otlp.parse(value)
    assert {r.detail for r in parsed.refused} == {"10000 labels; the limit is 128"}
