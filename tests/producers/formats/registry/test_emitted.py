"""Values as Confluent's own serialisers write them, read with the schemas that these register."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any
from urllib.parse import quote

import numpy as np
import pytest
from confluent_kafka.schema_registry import Schema as Registered
from confluent_kafka.schema_registry import SchemaReference, SchemaRegistryClient
from confluent_kafka.schema_registry.avro import AvroSerializer
from confluent_kafka.schema_registry.json_schema import JSONSerializer
from confluent_kafka.schema_registry.protobuf import ProtobufSerializer
from confluent_kafka.serialization import MessageField, SerializationContext
from google.protobuf.timestamp_pb2 import Timestamp
from opentelemetry.proto.metrics.v1.metrics_pb2 import NumberDataPoint
from registry_stand_in import StandIn, stand_in

from pipeline.registry import learn_now
from pipeline.steps.batches.records import RecordBatch
from pipeline.steps.decoding import Decoder
from producers.formats.base import Reason
from producers.formats.fields import Fields
from producers.formats.registry.client import Registry

T = 1_714_564_800_000
CONTEXT = SerializationContext("t", MessageField.VALUE)
AVRO = json.dumps(
    {
        "type": "record",
        "name": "Reading",
        "namespace": "org.example",
        "fields": [
            {"name": "made", "type": {"type": "long", "logicalType": "timestamp-micros"}},
            {"name": "host", "type": "string"},
            {"name": "state", "type": {"type": "enum", "name": "State", "symbols": ["ON", "OFF"]}},
            {"name": "cpu", "type": ["null", "double"], "default": None},
            {"name": "price", "type": {"type": "bytes", "logicalType": "decimal", "precision": 9, "scale": 2}},
            {"name": "tags", "type": {"type": "map", "values": "string"}},
        ],
    }
)


class Mock:
    """Confluent's client over a registry in memory, and the same registry by HTTP."""

    def __init__(self, server: StandIn) -> None:
        self.client: Any = SchemaRegistryClient.new_client({"url": "mock://"})
        self.server = server

    def offer(self) -> Registry:
        """Serve all that is registered."""
        for subject in self.client.get_subjects():
            for version in self.client.get_versions(subject):
                self._say(
                    f"subjects/{quote(subject, safe='')}/versions/{version}",
                    self.client.get_version(subject, version).schema,
                )
        for schema in range(1, 20):
            try:
                self._say(f"schemas/ids/{schema}", self.client.get_schema(schema))
            except Exception:
                continue
        return Registry(self.server.url)

    def _say(self, path: str, schema: Registered) -> None:
        more = [{"name": r.name, "subject": r.subject, "version": r.version} for r in schema.references or []]
        self.server.says(path, schema=schema.schema_str, schemaType=schema.schema_type or "AVRO", references=more)


@pytest.fixture
def mock() -> Iterator[Mock]:
    with stand_in() as server:
        yield Mock(server)


def read(
    values: list[bytes], registry: Registry | None, fields: Fields | None = None, format_: str = "registry"
) -> tuple[list[tuple[str, int, float]], list[tuple[int, str, str]]]:
    n = len(values)
    batch = RecordBatch("t", 0, np.arange(n), n, [b"key"] * n, values, np.zeros(n, np.int64))
    decoder = Decoder("metric", 1, format=format_, fields=fields)
    learn_now(decoder, batch, registry)
    o, rejected = decoder.decode(batch)
    rows = list(zip(o.series, o.timestamps.tolist(), o.values[:, 0].tolist(), strict=True))
    return rows, [(r.index, r.reason, r.detail) for r in rejected]


def test_avro(mock: Mock) -> None:
    from datetime import UTC, datetime
    from decimal import Decimal

    write = AvroSerializer(mock.client, AVRO)
    at = datetime(2024, 5, 1, 12, tzinfo=UTC)
    record = {"made": at, "host": "a", "state": "OFF", "cpu": 0.5, "price": Decimal("1.25"), "tags": {"rack": "r1"}}
    values = [write(record, CONTEXT), write(record | {"cpu": None}, CONTEXT)]
    labels = '{host="a",rack="r1",state="OFF"}'
    rows, rejected = read([*values, values[0][:-1], values[0] + b"\0", values[0][:6]], mock.offer())
    assert rows == [("cpu" + labels, T, 0.5), ("price" + labels, T, 1.25), ("price" + labels, T, 1.25)]
    assert [(i, reason) for i, reason, _ in rejected] == [(i, Reason.UNDECODABLE) for i in (2, 3, 4)]
    assert "1 bytes are left over (schema 1, avro)" in rejected[1][2]
    rows, rejected = read(values, mock.offer(), Fields(name="state", labels=("tags.rack",), values=("price",)), "auto")
    assert rows == [('OFF_price{tags.rack="r1"}', T, 1.25)] * 2
    assert rejected == []


def test_json_schema(mock: Mock) -> None:
    write = JSONSerializer('{"title": "M", "type": "object"}', mock.client)
    values = [
        write(of, CONTEXT) for of in ({"ts": T, "host": "a", "cpu": 1}, {"host": "a", "cpu": 1}, {"ts": T, "value": 2})
    ]
    rows, rejected = read([*values, values[0][:-1]], mock.offer())
    assert rows == [('cpu{host="a"}', T, 1.0), ("key", T, 2.0)]
    assert [(i, reason) for i, reason, _ in rejected] == [(1, Reason.WRONG_TYPE), (3, Reason.UNDECODABLE)]
    assert "streams.fields.time" in rejected[0][2] or "fields.time" in rejected[0][2]


def test_protobuf_with_imports_and_a_message_within_another(mock: Mock) -> None:
    write = ProtobufSerializer(NumberDataPoint, mock.client, {"use.deprecated.format": False})
    point = NumberDataPoint(time_unix_nano=T * 10**6, as_double=0.0)
    rows, rejected = read([write(point, CONTEXT)], mock.offer(), Fields(time="time_unix_nano", values=("as_double",)))
    assert rejected == []
    assert rows == [("as_double", T, 0.0)]  # zero, and set: Protobuf writes it, as a oneof's


def test_protobuf_by_hand(mock: Mock) -> None:
    text = (
        'syntax = "proto3"; package org.example; import "google/protobuf/timestamp.proto"; import "kind.proto";'
        "message Outer { message Reading { google.protobuf.Timestamp made = 1; string host = 2; double cpu = 3;"
        " optional double load = 4; Kind kind = 5; map<string, string> labels = 6; repeated double many = 7; } }"
    )
    kind = Registered('syntax = "proto3"; package org.example; enum Kind { NONE = 0; BIG = 1; }', "PROTOBUF")
    mock.client.register_schema("kind", kind)
    mock.client.register_schema("t-value", Registered(text, "PROTOBUF", [SchemaReference("kind.proto", "kind", 1)]))
    schema = mock.client.get_latest_version("t-value").schema_id
    made = Timestamp(seconds=T // 1000, nanos=7_000_000).SerializeToString()
    body = b"\x0a" + bytes([len(made)]) + made + b"\x12\x01a" + b"\x28\x01" + b"\x32\x06\x0a\x01r\x12\x01x"
    head = b"\0" + schema.to_bytes(4, "big")
    at_inner = b"\x04\x00\x00"  # two places: the first message, and the first in it
    values = [
        head + at_inner + body,
        head + b"\x02\x12" + body,
        head + b"\xff\xff\xff\xff\xff\xff",
        head + at_inner + b"\x0a\xff",
    ]
    rows, rejected = read(values, mock.offer())
    assert rows == [('cpu{host="a",kind="BIG",r="x"}', T + 7, 0.0)]  # not set reads as zero; `load` is not there at all
    assert [i for i, _, _ in rejected] == [1, 2, 3]


def test_a_thousand_floors_of_a_message_are_no_observation(mock: Mock) -> None:
    mock.client.register_schema(
        "t-value", Registered('syntax="proto3"; message N { N n = 1; double v = 2; int64 ts = 3; }', "PROTOBUF")
    )
    body = b""
    for _ in range(60):
        body = (
            b"\x0a" + (bytes([len(body)]) if len(body) < 128 else bytes([len(body) & 127 | 128, len(body) >> 7])) + body
        )
    rows, rejected = read([b"\0\0\0\0\x01\0" + body], mock.offer())
    assert rows == []
    assert rejected[0][1] == Reason.TOO_LARGE


def test_what_is_not_known_or_not_asked_for_is_a_dead_letter(mock: Mock) -> None:
    registry = mock.offer()
    _, rejected = read([b"\0\0\0\0\x09abc", b"abc", b"\0\xff\xff\xff\xffabc"], registry)
    assert "schema 9: the registry at http://127.0.0.1" in rejected[0][2]
    assert "no schema's id stands before it" in rejected[1][2]
    assert "no schema's id stands before it" in rejected[2][2]
    _, rejected = read([b"\0\0\0\0\x09abc"], None)
    assert rejected == [(0, Reason.UNDECODABLE, "schema 9 of a schema registry, and none is set: set registry.url")]
    _, rejected = read([b"\0\0\0\0\x09abc"], None, format_="telegraf")
    assert "set the stream's format = registry, and registry.url" in rejected[0][2]


def test_what_was_not_known_is_asked_for_again_after_a_while(mock: Mock) -> None:
    from producers.formats.registry.schemas import ASKED_AGAIN, JSON, MOST_SCHEMAS, Schemas

    now = [0.0]
    schemas = Schemas(Fields(), clock=lambda: now[0])
    value = b"\0\0\0\0\x01{}"
    assert schemas.missing([value, None, b""]) == {1}
    schemas.learn(mock.offer().fetch_now([1]))
    assert schemas.missing([value]) == set()
    now[0] += ASKED_AGAIN
    assert schemas.missing([value]) == {1}
    mock.client.register_schema("t-value", Registered("{}", "JSON"))
    schemas.learn(mock.offer().fetch_now([1]))
    now[0] += ASKED_AGAIN
    assert schemas.missing([value]) == set()
    schemas.learn(dict.fromkeys(range(2, MOST_SCHEMAS + 5), JSON))
    assert schemas.missing([value]) == set()  # what is needed now stays
    assert schemas.missing([b"\0\0\0\0\x02{}"]) == {2}
