"""Which format a message has, told by its content; what is packed within another; events."""

from __future__ import annotations

import base64
import gzip
import json

import cramjam
import numpy as np
import pytest
from opentelemetry.proto.collector.metrics.v1.metrics_service_pb2 import ExportMetricsServiceRequest

from pipeline.steps.batches.records import RecordBatch
from pipeline.steps.decoding import Decoder
from producers.formats import remote_write
from producers.formats.base import Reason, Unusable
from producers.formats.detect import PARSERS, format_of, parse
from producers.formats.packed import MAX_UNPACKED, unpacked

T = 1_714_564_800_000


def _otlp() -> bytes:
    request = ExportMetricsServiceRequest()
    metric = request.resource_metrics.add().scope_metrics.add().metrics.add(name="m")
    metric.gauge.data_points.add(time_unix_nano=T * 10**6, as_double=1.5)
    return request.SerializeToString()


def _remote_write() -> bytes:
    request = remote_write.WriteRequest()
    series = request.timeseries.add()
    series.labels.add(name="__name__", value="m")
    series.samples.add(value=1.5, timestamp=T)
    return bytes(cramjam.snappy.compress_raw(request.SerializeToString()))


MESSAGES: dict[str, list[bytes]] = {
    "native": [b'{"series":"m","timestamp":1714564800000,"value":1.5}', b' \n{"value":1.5,"timestamp":1714564800000,"series":"m","fields2":1}'],
    "telegraf": [
        b'{"fields":{"value":1.5},"name":"m","tags":{},"timestamp":1714564800}',
        b'{"metrics":[{"fields":{"value":1.5},"name":"m","timestamp":1714564800}]}',
    ],
    "influx": [b"m value=1.5 1714564800000000000", b"# x\nm value=1.5 1714564800"],
    "prometheus": [b'{"timestamp":"2024-05-01T12:00:00Z","value":"1.5","name":"m","labels":{}}'],
    "remote-write": [_remote_write()],
    "otlp": [
        _otlp(),
        b'\n{"resourceMetrics":[{"scopeMetrics":[{"metrics":[{"name":"m","gauge":{"dataPoints":[{"asDouble":1.5,"timeUnixNano":"1714564800000000000"}]}}]}]}]}',
    ],
    "cloudevents": [
        b'{"specversion":"1.0","type":"t","source":"s","id":"1","data":{"series":"m","timestamp":1714564800000,"value":1.5}}',
        b'{"specversion":"1.0","source":"s","subject":"m","time":"2024-05-01T12:00:00Z","data":{"value":1.5}}',
        b'{"specversion":"1.0","source":"m","time":"2024-05-01T12:00:00Z","data":{"value":1.5}}',
        b'{"specversion":"1.0","data":"m value=1.5 1714564800"}',
        b'{"specversion":"1.0","data_base64":"' + base64.b64encode(_otlp()) + b'"}',
        b'{"specversion":"1.0","data_base64":"' + base64.b64encode(gzip.compress(_remote_write())) + b'"}',
    ],
    "csv": [b"m,1714564800000,1.5", b"timestamp,series,value\n1714564800,m,1.5"],
}  # fmt: skip
EACH = [(name, message) for name, messages in MESSAGES.items() for message in messages]


def decoded(format_: str, value: bytes, key: bytes | None = None) -> tuple[list[tuple[str, int, float]], list[str]]:
    batch = RecordBatch("t", 0, np.arange(1), 1, [key], [value], np.zeros(1, np.int64))
    o, rejected = Decoder("metric", 1, format=format_).decode(batch)
    return list(zip(o.series, o.timestamps.tolist(), o.values[:, 0].tolist(), strict=True)), [
        r.detail for r in rejected
    ]


def test_there_is_a_message_of_every_format() -> None:
    assert MESSAGES.keys() == PARSERS.keys() - {"registry"}  # whose messages need a schema, too


@pytest.mark.parametrize(("name", "message"), EACH)
def test_each_is_told_apart_and_says_the_same_set_or_detected_plain_or_packed(name: str, message: bytes) -> None:
    assert format_of(message) == name
    for format_ in (name, "auto"):
        for value in (message, gzip.compress(message)):
            assert decoded(format_, value) == ([("m", T, 1.5)], [])


def test_native_data_without_a_name_is_named_by_the_key() -> None:
    for format_, value in (
        ("auto", b'{"timestamp":1714564800000,"value":1.5}'),
        ("csv", b"timestamp,value\n1714564800000,1.5"),
        ("auto", b"timestamp,value\n1714564800000,1.5"),
    ):
        assert decoded(format_, value, b"m") == ([("m", T, 1.5)], [])
        assert decoded(format_, value)[1] == ["neither a member `series` nor a key"]


@pytest.mark.parametrize(
    ("value", "says"),
    [
        (b"hello", "no format is known here"),
        (b"\x00\x00\x00\x00\x07\x02\x06abc", "schema 7 of a schema registry, within another format"),
        (b"{", "truncated"),
        (b"\x80abc", "no format is known here|no Snappy block"),
    ],
)
def test_what_has_no_format_is_said(value: bytes, says: str) -> None:
    with pytest.raises(Unusable, match=says) as refused:
        parse(value)
    assert refused.value.reason == Reason.UNDECODABLE


@pytest.mark.parametrize(
    ("event", "says"),
    [
        ({"specversion": "1.0"}, "the event has no data"),
        ({"specversion": "1.0", "data_base64": "%"}, "no base64"),
        ({"specversion": "1.0", "data_base64": "é"}, "no base64"),
        ({"specversion": "1.0", "data": {"specversion": "1.0", "data": {}}}, "an event within an event"),
        ({"specversion": "1.0", "time": "yesterday", "data": {"value": 1}}, "yesterday"),
        ({"specversion": 1, "data": {}}, "Expected `str`"),
    ],
)
def test_what_is_wrong_with_an_event_is_said(event: dict[str, object], says: str) -> None:
    with pytest.raises(Unusable, match=says):
        PARSERS["cloudevents"](json.dumps(event).encode())


def test_members_of_gzip_are_one_value_and_a_bomb_ends_at_the_limit() -> None:
    assert unpacked(gzip.compress(b"a") + gzip.compress(b"b") + b"\0\0") == b"ab"
    assert len(unpacked(gzip.compress(bytes(MAX_UNPACKED)))) == MAX_UNPACKED
    for bomb in (
        gzip.compress(bytes(MAX_UNPACKED + 1)),
        gzip.compress(bytes(1 << 20)) * 1000,
        gzip.compress(bytes(200 << 20)),
    ):
        with pytest.raises(Unusable, match="more than 4,194,304 bytes unpacked") as refused:
            unpacked(bomb)
        assert refused.value.reason == Reason.TOO_LARGE
    for damaged in (gzip.compress(b"abc")[:-4], b"\x1f\x8bxyz", gzip.compress(b"abc")[:12] + b"\xff\xff\xff"):
        with pytest.raises(Unusable, match="damaged gzip"):
            unpacked(damaged)
    assert decoded("auto", gzip.compress(gzip.compress(b"{}")))[1] == ["gzip within gzip: pack it once"]
    assert format_of(b"\xef\xbb\xbf{}") == "native"  # it says what is wrong, and csv would not
    assert decoded("native", gzip.compress(gzip.compress(b"{}")))[1] == ["gzip within gzip: pack it once"]
