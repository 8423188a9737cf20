"""A dead letter names what its bytes look like; whatever the bytes, it costs a look and raises nothing."""

from __future__ import annotations

import bz2
import json
import lzma
import pickle
import struct
import zlib

import cramjam
import msgspec
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st

from producers.formats.base import Unusable
from producers.formats.foreign import looks_like
from producers.formats.native import reader_of_one

RECORD = {"timestamp": 1774915200000, "value": 1.5}
JSON = json.dumps(RECORD).encode()
ID = struct.pack(">i", 7)


def parquet() -> bytes:
    out = pa.BufferOutputStream()
    pq.write_table(pa.table({"a": [1]}), out)
    return out.getvalue().to_pybytes()


@pytest.mark.parametrize(
    ("value", "name"),
    [
        (b"", "an empty value"),
        (b"  \n", "blanks"),
        (b"\0" + ID + JSON, "Confluent's schema registry, schema id 7: set the stream's format = registry"),
        (b"\0" + ID + b"\x02\x06abc\x00\x00", "Confluent's schema registry, schema id 7: set the stream's format = registry"),
        (b"\0" + struct.pack(">q", 9) + JSON, "Apicurio's schema registry, schema id 9"),
        (b"\3\0" + bytes(range(16)) + b"abc", "AWS Glue's schema registry, schema 00010203-0405-0607"),
        (bytes(cramjam.zstd.compress(JSON)), "zstd"),
        (bytes(cramjam.lz4.compress(JSON)), "lz4"),
        (bytes(cramjam.snappy.compress(JSON)), "snappy"),
        (b"\x82SNAPPY\x00\x00\x00\x00\x01\x00\x00\x00\x01", "snappy (as Java writes it)"),
        (zlib.compress(JSON), "zlib"),
        (lzma.compress(JSON), "xz"),
        (bz2.compress(JSON), "bzip2"),
        (b"\xef\xbb\xbf" + JSON, "a UTF-8 byte-order mark"),
        (JSON.decode().encode("utf-16"), "UTF-16 with a byte-order mark"),
        (b"\xfe\xff" + JSON.decode().encode("utf-16-be"), "UTF-16 with a byte-order mark"),
        (JSON.decode().encode("utf-32"), "UTF-32 with a byte-order mark"),
        (JSON.decode().encode("utf-16-le"), "UTF-16:"),
        (JSON.decode().encode("utf-16-be"), "UTF-16:"),
        (msgspec.msgpack.encode(RECORD), "MessagePack"),
        (msgspec.msgpack.encode(["cpu", 1.5]), "MessagePack"),
        (bytes.fromhex("a26974696d657374616d701b0000019d41a1c0006576616c7565f93e00"), "CBOR"),
        (bytes.fromhex("bf6576616c7565f93e00ff"), "CBOR"),
        (b"\xd9\xd9\xf7\x01", "CBOR"),
        (bytes.fromhex("0a3a0a180a160a0c736572766963652e6e616d6512060a046a6f6231"), "OTLP in protobuf"),
        (bytes.fromhex("0a0373757010c0b2abf3f13319000000000000f83f"), "protobuf"),
        (b"Obj\x01\x04\x14avro.codec\x08null", "an Avro file"),
        (b"\xc3\x01" + bytes(8) + b"abc", "Avro with its schema's fingerprint"),
        (parquet(), "a Parquet file"),
        (bytes.fromhex("1600000001760000000000000000f83f0874000100") + b"\0", "BSON"),
        (b"\xac\xed\x00\x05sr\x00\x04Data", "a serialised Java object"),
        (b"Salted__\x8f\x12\xc3", "openssl"),
        (b"<?xml version='1.0'?><a/>", "XML"),
        (b"<!DOCTYPE html><p>", "HTML"),
        (b"cpu,host=a usage=1.5 1774915200000000000\n", "Influx lines"),
        (b"cpu usage=1.5,idle=2i", "Influx lines"),
        (b'up{job="api"} 1 1774915200000', "Prometheus's text format"),
        (b"# HELP up Whether it is up.\nup 1\n", "Prometheus's text format"),
        (b"shop.berlin.rate 1.5 1774915200", "Graphite"),
        (b"shop.rate:1.5|g|#host:a", "StatsD"),
        (b"timestamp,value\n2026-03-31T00:00:00Z,1.5\n", "CSV (comma-separated)"),
        (b"1774915200000;1,5", "CSV (semicolon-separated)"),
        (str({"value": True}).encode(), "a Python object"),
        (b'{"up": True}', "a Python object"),
        (JSON + b"\n" + JSON, "several lines of JSON"),
        (b"eyJ0aW1lc3RhbXAiOjE3NzQ5MTUyMDAwMDB9", "base64"),
        ('{"series":"Köln","value":1}'.encode("latin-1"), "text that is not UTF-8"),
        (pickle.dumps(RECORD), "binary data of a form unknown here"),
        (bytes.fromhex("d41d8cd98f00b204e9800998ecf8427e"), "binary data of a form unknown here"),
    ],
)  # fmt: skip
def test_it_is_named_in_the_reason(value: bytes, name: str) -> None:
    assert looks_like(value).startswith(name) or name in looks_like(value).split(":")[0]
    with pytest.raises(Unusable) as refused:
        reader_of_one().reread(value)
    assert f"it looks like {looks_like(value)}" in refused.value.detail
    assert "\n" not in refused.value.detail
    assert len(refused.value.detail) < 400


@pytest.mark.parametrize("value", [b"not json", b'{"a":1', b'{"a":1}{"a":2}', b"hello, world", b"true!", b"{", b"[1,2"])
def test_broken_json_and_plain_words_are_called_nothing_else(value: bytes) -> None:
    assert looks_like(value) == ""


@given(st.binary(max_size=300))
def test_any_bytes_get_a_line_or_none(value: bytes) -> None:
    likeness = looks_like(value)
    assert likeness.isprintable()
    assert len(likeness) < 200


@given(
    st.recursive(
        st.none() | st.integers(0, 2**60) | st.floats() | st.text(), lambda e: st.dictionaries(st.text(), e, min_size=1)
    )
)
def test_every_map_of_messagepack_is_taken_for_it(content: object) -> None:
    if isinstance(content, dict):
        value = msgspec.msgpack.encode(content)
        assert looks_like(value).startswith("MessagePack")
