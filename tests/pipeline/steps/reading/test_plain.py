"""Plain records are read as msgspec reads them, bit for bit; what is not plain is left to it."""

from __future__ import annotations

import json
import struct

import numpy as np
import pytest
from record_columns import NOW, batch, column

from pipeline.steps.decoding import Decoder
from pipeline.steps.reading.plain import Names

rng = np.random.default_rng(5)


def record(value: str, series: str = "web-1", timestamp: object = NOW) -> bytes:
    return f'{{"series":"{series}","timestamp":{timestamp},"value":{value}}}'.encode()


def both(values: list[bytes]) -> None:
    """The one call says what one by one does."""
    one, ones_rejected = Decoder("metric", 1).decode(batch(values))
    all_, rejected = Decoder("metric", 1).decode(batch(column(values)))
    assert all_.series == one.series
    for name in ("offsets", "timestamps", "values"):
        assert getattr(all_, name).tobytes() == getattr(one, name).tobytes()
    assert [(r.index, r.reason, r.detail) for r in rejected] == [(r.index, r.reason, r.detail) for r in ones_rejected]


PLAIN = [
    record("1"),
    record("-0.0"),
    record("0.1", "a b/c:{}[],"),
    record("123456789012345678"),
    record("-9007199254740993"),
    record("0.30000000000000004"),
    b' { "value" : 2.5 , "series" : "z" , "timestamp" : 1700000000001 } ',
    json.dumps({"timestamp": NOW, "series": "n" * 128, "value": -17.25}).encode(),
]
ODD = [
    record("1e3"),
    record("-0"),
    record("01"),
    record("1."),
    record(".5"),
    record("+1"),
    record("--1"),
    record("NaN"),
    record("null"),
    record('"1"'),
    record("1e999"),
    record("1234567890123456789"),
    record("0.1234567890123456789012345"),
    record("1", "caf\u00e9"),
    record("1", "a\\u0041"),
    record("1", 'a\\"b'),
    record("1", ""),
    record("1", "n" * 129),
    record("1", "a\tb"),
    record("1", timestamp="0"),
    record("1", timestamp="1700000000000.0"),
    record("1", timestamp="01700000000000"),
    record("1", timestamp="9" * 30),
    record("1")[:-1],
    record("1") + b"}",
    record("1") + b"\n",
    b"",
    b"{}",
    b"[1]",
    b"\xff\xfe",
    b'{"series":"a","series":"b","timestamp":1700000000000,"value":1}',
    b'{"series":"a","timestamp":1700000000000,"value":1,}',
    b'{"series":"a","timestamp":1700000000000,"value":1,"more":2}',
    b'{"timestamp":1700000000000,"value":1}',
    b'{"series":"a" "timestamp":1700000000000,"value":1}',
    b'{"serie\\u0073":"a","timestamp":1700000000000,"value":1}',
    b'{"series":"a","timestamp":1700000000000,"value":',
    b'{"series":"a","timestamp":1700000000000,"values":[1]}',
    b'{"series":"a',
]


@pytest.mark.parametrize("value", PLAIN)
def test_plain_ones_are_read_in_one_go(value: bytes) -> None:
    names, _, _ = Names().read(column([value]))
    assert names.tolist() == [1]
    both([value])


@pytest.mark.parametrize("value", ODD)
def test_others_are_left(value: bytes) -> None:
    names, _, _ = Names().read(column([value]))
    assert names.tolist() == [0]
    both([value])


def test_odd_ones_among_plain_ones_are_in_their_places() -> None:
    both([v for pair in zip(ODD, PLAIN * 5, strict=False) for v in pair] + ODD[:3])
    both(ODD)
    both([])


def test_numbers_are_the_nearest_of_float64() -> None:
    numbers = [repr(float(x)) for x in rng.normal(size=4_000)]
    numbers += [f"{x:.{d}f}" for x in rng.normal(0, 1e4, 4_000) for d in rng.integers(1, 13, 1)]
    bits = rng.integers(0, 1 << 63, 4_000).astype(np.uint64)
    numbers += [repr(x) for x in (struct.unpack("<d", struct.pack("<Q", int(b)))[0] for b in bits) if abs(x) < 1e300]
    numbers += [f"0.{m:017d}" for m in rng.integers(0, 10**17, 4_000)] + [str(m) for m in rng.integers(0, 10**18, 999)]
    # Half-way between two, and next to it.
    numbers += [f"{(1 << 53) + 2 * k + 1}.{tail}" for k in range(20) for tail in ("0", "5", "1", "00000000001")]
    numbers += [f"{1 + k * 2.0**-52 + 2.0**-53:.22f}"[:20] for k in range(99)]
    both([record(x) for x in numbers])


def test_any_damage_is_told_as_before() -> None:
    damaged = []
    for value in PLAIN:
        for _ in range(150):
            one = bytearray(value)
            for at in rng.integers(0, len(one), rng.integers(1, 3)):
                one[at] = rng.choice(list(b'{}":,\\ 0129.-eE+\x00\x1f\x7f\x80sv'))
            damaged.append(bytes(one))
        damaged += [value[:k] for k in range(len(value))]
    both(damaged)


def test_names_that_find_no_room_are_read_all_the_same() -> None:
    names = Names(places=8)
    values = column([record(str(k), f"series {k}") for k in range(20)])
    numbers, _, got = names.read(values)
    found = numbers > 0
    assert 0 < found.sum() < 20
    assert [names.texts[i] for i in numbers[found]] == [f"series {k}" for k in np.flatnonzero(found)]
    assert got[found].tolist() == np.flatnonzero(found).tolist()
    larger = names.with_room()
    assert larger is not names
    assert (larger.read(values)[0] > 0).sum() > found.sum()
    many = [record(str(k), f"s{k % 7_000}") for k in range(20_000)]
    decoder = Decoder("metric", 1)
    for start in range(0, len(many), 4_000):
        observations, _ = decoder.decode(batch(column(many[start : start + 4_000])))
        assert observations.series == [f"s{k % 7_000}" for k in range(start, start + 4_000)]
