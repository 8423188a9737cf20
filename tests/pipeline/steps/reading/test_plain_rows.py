"""Plain records of several values are read as msgspec reads them, bit for bit; what is not plain is left to it."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from record_columns import NOW, batch, column

from detectors.features import FeatureEncoder
from pipeline.steps.batches.observations import Observations
from pipeline.steps.batches.records import Rejected
from pipeline.steps.decoding import Decoder
from pipeline.steps.reading import one_by_one
from pipeline.steps.reading.plain import Names
from pipeline.steps.reading.plain_rows import PlainRows, RowReader

rng = np.random.default_rng(11)
NAMES, CATEGORICAL = ("bytes", "protocol", "rate", "service"), ("service", "protocol")  # named in another order
LEARNT = [[float(k * k), ("tcp", "udp")[k % 2], k / 7, ("http", "smtp", "")[k % 3]] for k in range(60)]
ENCODER = FeatureEncoder(NAMES, CATEGORICAL).fit(LEARNT)
READERS: list[Callable[[], Decoder]] = [
    lambda: Decoder("table", ENCODER.channels, ENCODER),
    lambda: Decoder("metric", 4),
]


def record(values: str, series: str = "web-1", timestamp: object = NOW) -> bytes:
    return f'{{"series":"{series}","timestamp":{timestamp},"values":{values}}}'.encode()


def decoded(
    reader: Callable[[], Decoder], values: list[bytes], monkeypatch: Any
) -> tuple[Observations, list[Rejected]]:
    """By msgspec alone: nothing is taken for plain."""
    plain = RowReader.read

    def nothing_is_plain(self: RowReader, records: Any) -> PlainRows:
        rows = plain(self, records)
        return PlainRows(
            np.zeros_like(rows.names), [""] * len(rows.series), np.zeros_like(rows.times), np.zeros_like(rows.values),
            rows.originals, rows.others, rows.features,
        )  # fmt: skip

    with monkeypatch.context() as changed:
        changed.setattr(RowReader, "read", nothing_is_plain)
        return reader().decode(batch(column(values)))


def both(values: list[bytes], monkeypatch: Any) -> None:
    """The one call says what one by one does, of a column as of a list."""
    for reader in READERS:
        one, ones_rejected = decoded(reader, values, monkeypatch)
        for given in (column(values), values):
            all_, rejected = reader().decode(batch(given))
            assert all_.series == one.series
            for name in ("offsets", "timestamps", "values"):
                assert getattr(all_, name).tobytes() == getattr(one, name).tobytes()
            assert (all_.originals is None) is (one.originals is None)
            if all_.originals is not None and one.originals is not None:
                assert len(all_.originals) == len(all_)
                assert list(map(repr, all_.originals)) == list(map(repr, one.originals))
            told = [(r.index, r.reason, r.detail) for r in rejected]
            assert told == [(r.index, r.reason, r.detail) for r in ones_rejected]


PLAIN = [
    record('[1,"tcp",2.5,"http"]'),
    record('[-0.0,"udp",123456789012345678,"smtp"]'),
    record('[0.30000000000000004,"",-17,""]'),
    record('[1,"never seen",0,"nor [this], {one}"]', "a b/c:{}[],"),
    b' { "values" : [ 1 , "tcp" , 2 , "http" ] , "series" : "z" , "timestamp" : 1700000000001 } ',
    json.dumps({"timestamp": NOW, "series": "n" * 128, "values": [1e5, "t" * 128, 0.001, "http"]}).encode(),
]
ODD = [
    record('[1e3,"tcp",2,"http"]'),
    record('[-0,"tcp",2,"http"]'),
    record('[01,"tcp",2,"http"]'),
    record('[1,"tcp",1234567890123456789,"http"]'),
    record('[1e999,"tcp",2,"http"]'),
    record('[1,6,2,"http"]'),
    record('["1","tcp",2,"http"]'),
    record('[null,"tcp",2,"http"]'),
    record('[1,null,2,"http"]'),
    record('[1,"tcp",2]'),
    record('[1,"tcp",2,"http",3]'),
    record('[1,"tcp",2,"http",]'),
    record('[1,"tcp",2 "http"]'),
    record('[1,"t\\u0063p",2,"http"]'),
    record('[1,"caf\u00e9",2,"http"]'),
    record('[1,"a\tb",2,"http"]'),
    record(f'[1,"{"t" * 129}",2,"http"]'),
    record('[[1],"tcp",2,"http"]'),
    record("[]"),
    record('[1,"tcp",2,"http"'),
    record('[1,"tcp",2,"http'),
    record('{"bytes":1}'),
    record("1"),
    record('[1,"tcp",2,"http"]', ""),
    record('[1,"tcp",2,"http"]', "a\\u0041"),
    record('[1,"tcp",2,"http"]', timestamp="0"),
    record('[1,"tcp",2,"http"]', timestamp="1700000000000.0"),
    record('[1,"tcp",2,"http"]')[:-1],
    record('[1,"tcp",2,"http"]') + b"}",
    b'{"series":"a","timestamp":1700000000000,"value":1}',
    b'{"series":"a","timestamp":1700000000000,"value":null,"values":[1,"tcp",2,"http"]}',
    b'{"timestamp":1700000000000,"values":[1,"tcp",2,"http"]}',
    b'{"series":"a","values":[1,"tcp",2,"http"],"values":[2,"tcp",2,"http"],"timestamp":1700000000000}',
    b"",
    b"{}",
    b"\xff",
]


@pytest.mark.parametrize("value", PLAIN)
def test_plain_ones_are_read_in_one_go(value: bytes, monkeypatch: Any) -> None:
    assert RowReader(4, ENCODER).read(column([value])).names.tolist() == [1]
    both([value], monkeypatch)


@pytest.mark.parametrize("value", ODD)
def test_others_are_left(value: bytes, monkeypatch: Any) -> None:
    assert RowReader(4, ENCODER).read(column([value])).names.tolist() == [0]
    both([value], monkeypatch)


def test_several_channels_are_plain_where_all_are_numbers(monkeypatch: Any) -> None:
    values = [record("[1,2.5,-3,0.1]"), record("[ 0 , -0.0 , 7 , 1.25 ]")]
    assert (RowReader(4, None).read(column(values)).names > 0).all()
    both([*values, record('[1,"2.5",3,4]'), record("[1,2,3]")], monkeypatch)


def test_odd_ones_among_plain_ones_are_in_their_places(monkeypatch: Any) -> None:
    both([v for pair in zip(ODD, PLAIN * 7, strict=False) for v in pair] + ODD[:3], monkeypatch)
    both(ODD, monkeypatch)
    both([], monkeypatch)


def test_any_damage_is_told_as_before(monkeypatch: Any) -> None:
    damaged = []
    for value in PLAIN:
        for _ in range(250):
            one = bytearray(value)
            for at in rng.integers(0, len(one), rng.integers(1, 3)):
                one[at] = rng.choice(list(b'{}[]":,\\ 0129.-eE+\x00\x1f\x7f\x80sv'))
            damaged.append(bytes(one))
        damaged += [value[:k] for k in range(len(value))]
    both(damaged, monkeypatch)


def test_nothing_but_odd_ones_is_read_one_by_one(monkeypatch: Any) -> None:
    seen: list[bytes] = []
    read = one_by_one.read
    monkeypatch.setattr(
        one_by_one,
        "read",
        lambda reader, index, values, *more: (seen.extend(values), read(reader, index, values, *more))[1],
    )
    READERS[0]().decode(batch(column([PLAIN[0], ODD[0], PLAIN[1]])))
    assert seen == [ODD[0]]


def test_rows_in_parts_are_the_rows() -> None:
    observations, _ = READERS[0]().decode(batch(column([*PLAIN, ODD[0], ODD[10], *PLAIN])))
    assert observations.originals is not None
    whole = list(observations.originals)
    assert whole[6] == [1000.0, "tcp", 2.0, "http"]
    part = observations.part(4, 9)
    assert part.originals is not None
    assert list(part.originals) == whole[4:9]
    assert part.originals[-1] == whole[8]
    taken = observations.take(np.array([0, 6, 7]))
    assert list(taken.originals or ()) == [whole[0], whole[6], whole[7]]


def test_categories_that_find_no_room_are_read_all_the_same(monkeypatch: Any) -> None:
    many = [record(f'[{k},"{k % 5_000}",0,"http"]', f"s{k % 7}") for k in range(12_000)]
    small = RowReader(4, ENCODER, Names(8), Names(8))
    names = small.read(column(many[:20])).names
    assert 0 < (names > 0).sum() < 20
    assert small.with_room() is not small
    decoder, alone = READERS[0](), decoded(READERS[0], many, monkeypatch)[0]
    for start in range(0, len(many), 3_000):
        observations, _ = decoder.decode(batch(column(many[start : start + 3_000])))
        assert list(observations.originals or ()) == list(alone.originals or ())[start : start + 3_000]
        assert observations.values.tobytes() == alone.values[start : start + 3_000].tobytes()
