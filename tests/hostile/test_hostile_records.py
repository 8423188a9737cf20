"""No bytes make a decoder raise: each record is observations by its format's rules, or a dead letter with a reason.

What is good between them decodes as if it were alone. The same through a real worker is in test_hostile_worker.py; `make fuzz`
lets a coverage-guided fuzzer look for more.
"""

from __future__ import annotations

import random
import tracemalloc

import numpy as np
import pytest
from hostile.attacks import SHAPED, T0, attacks, good
from hypothesis import given, settings
from hypothesis import strategies as st

from detectors.features import FeatureEncoder
from pipeline.alerts.records import DeadLetter, dead_letter_facts
from pipeline.steps.batches.observations import Observations
from pipeline.steps.batches.records import RecordBatch, Rejected
from pipeline.steps.decoding import CONTROL, Decoder
from producers.formats.base import Reason
from producers.records import EARLIEST, LATEST, MAX_SERIES_BYTES

FEATURES = FeatureEncoder(["seconds", "protocol"], categorical=["protocol"]).fit([[1.0, "tcp"], [2.0, "udp"]])
DECODERS: dict[str, tuple[str, Decoder]] = {
    "native": ("native", Decoder("metric", 1)),
    "native, three channels": ("native", Decoder("metric", 3)),
    "native, a table": ("native", Decoder("table", FEATURES.channels, FEATURES)),
    **{
        name: (name, Decoder("metric", 1, format=name.removesuffix("-protobuf"))) for name in SHAPED if name != "native"
    },
}
REASONS = {*Reason, CONTROL}
Record = tuple[bytes | None, bytes | None]
Row = tuple[str, int, list[float]]


def batch(records: list[Record]) -> RecordBatch:
    n = len(records)
    keys, values = [k for k, _ in records], [v for _, v in records]
    return RecordBatch("t", 0, np.arange(n), n, keys, values, np.zeros(n, np.int64))


def became(decoder: Decoder, records: list[Record]) -> tuple[dict[int, list[Row]], dict[int, Rejected]]:
    observations, rejected = decoder.decode(batch(records))
    rows: dict[int, list[Row]] = {}
    lines = zip(
        observations.offsets.tolist(),
        observations.series,
        observations.timestamps.tolist(),
        observations.values.tolist(),
        strict=True,
    )
    for offset, series, timestamp, values in lines:
        rows.setdefault(offset, []).append((series, timestamp, values))
    check(observations, rejected, len(records))
    return rows, {r.index: r for r in rejected}


def check(observations: Observations, rejected: list[Rejected], count: int) -> None:
    """What holds of anything that comes out, whatever went in."""
    assert np.isfinite(observations.values).all()
    assert ((observations.timestamps >= EARLIEST) & (observations.timestamps < LATEST)).all()
    for series in observations.series:
        assert 0 < len(series.encode()) <= MAX_SERIES_BYTES  # a lone surrogate would raise here
    assert len({r.index for r in rejected}) == len(rejected)
    for r in rejected:
        assert r.reason in REASONS
        assert 0 <= r.index < count
        assert r.detail.isprintable()
        assert len(r.detail) < 400
        r.detail.encode()


@pytest.mark.parametrize("which", DECODERS)
def test_good_records_between_hostile_ones_decode_as_if_alone(which: str) -> None:
    name, decoder = DECODERS[which]
    chance = random.Random(7)
    records: list[Record] = list(attacks(1, name, 500))
    if which in ("native", *SHAPED):
        at = sorted(chance.sample(range(len(records)), 100), reverse=True)
        for i in at:
            value = good(name, "good", T0 + 60_000 * i, float(i))
            records.insert(i, (b"good", value))
    rows, refused = became(decoder, records)
    settled = 0
    for i, record in enumerate(records):
        alone, refused_alone = became(decoder, [record])
        assert alone.get(0) == rows.get(i)
        assert (refused_alone[0].reason if 0 in refused_alone else None) == (
            refused[i].reason if i in refused else None
        )
        settled += i in rows or i in refused or record[1] is None
    if which in ("native", *SHAPED):
        kept = [r for offset in sorted(rows) for r in rows[offset] if r[0] == "good"]
        assert len(kept) == 100
    # Every record is in one of the two, a tombstone, or left out by a stated rule of a foreign format (a text field, a stale marker).
    assert settled == len(records) or name != "native"


@pytest.mark.parametrize("which", DECODERS)
@settings(max_examples=12, deadline=None)
@given(seed=st.integers(0, 2**32), noise=st.lists(st.binary(max_size=200), max_size=5))
def test_any_seed_of_hostile_records_is_settled(which: str, seed: int, noise: list[bytes]) -> None:
    name, decoder = DECODERS[which]
    records = [*attacks(seed, name, 15), *((None, value) for value in noise)]
    rows, refused = became(decoder, records)
    if name == "native":
        assert rows.keys() | refused.keys() == {i for i, (_, value) in enumerate(records) if value is not None}


@pytest.mark.parametrize("which", DECODERS)
def test_each_refusal_becomes_a_dead_letter_that_can_be_sent(which: str) -> None:
    name, decoder = DECODERS[which]
    records = batch(list(attacks(3, name, 200)))
    _, rejected = decoder.decode(records)
    assert rejected
    for r in rejected:
        message = DeadLetter.of(records, r, stream="s").message("dead")
        value, facts = records.values[r.index], dead_letter_facts(message.headers)
        if value is not None and "value_length" in facts:  # too large to be sent on whole: its head, length and hash
            assert int(facts["value_length"]) == len(value)
            assert message.value is not None
            assert value.startswith(message.value)
        else:
            assert message.value == value
        assert all(header.isascii() and len(content) < 2000 for header, content in message.headers)


def bomb(name: str) -> bytes:
    """As many small things as fit into the largest record that is read."""
    size = (1 << 20) - 200
    if name == "otlp":
        head, tail = (
            b'{"resourceMetrics":[{"scopeMetrics":[{"metrics":[{"name":"a","gauge":{"dataPoints":[',
            b"]}}]}]}]}",
        )
        return head + b",".join([b"{}"] * ((size - len(head)) // 3)) + tail
    if name == "telegraf":
        fields = b",".join(b'"%d":1' % i for i in range(size // 10))
        return b'{"name":"a","timestamp":1404172800,"fields":{' + fields + b"}}"
    if name == "prometheus":
        return b'{"timestamp":"2014-07-01T00:00:00Z","value":"1","name":"a","labels":{' + b",".join(
            b'"%d":""' % i for i in range(size // 11)) + b"}}"  # fmt: skip
    if name == "influx":
        return b"a " + b",".join(b"%06d=1" % i for i in range(size // 9 - 9)) + b" 1404172800"
    if name in ("csv", "auto"):
        return b"timestamp,a\n" + b"1404172800,1\n" * (size // 13)
    if name == "remote-write":
        return _stored(b"\x0a\x00" * (size * 30 // 62))
    if name == "otlp-protobuf":
        point = b"\x0a\x04\x3a\x02\x0a\x00"  # of an attribute without anything
        return b"\x0a\x06\x12\x04\x12\x02\x0a\x00" * (size // 16) + point * (size // 2 // len(point))
    if name == "cloudevents":
        return b'{"specversion":"1.0","data":"' + b"a,1404172800,1\\n" * (size // 17) + b'"}'
    return b'{"series":"a","timestamp":%d,"values":[' % T0 + b",".join([b"1"] * (size // 2 - 40)) + b"]}"


def _stored(data: bytes) -> bytes:
    """A block of Snappy that holds the data as it is: its length, and literals of 60 bytes."""
    length, left = b"", len(data)
    while left > 127:
        length, left = length + bytes([left & 127 | 128]), left >> 7
    parts = (data[i : i + 60] for i in range(0, len(data), 60))
    return length + bytes([left]) + b"".join(bytes([len(p) - 1 << 2]) + p for p in parts)


@pytest.mark.parametrize("which", DECODERS)
def test_a_record_full_of_small_things_takes_bounded_memory(which: str) -> None:
    name, decoder = DECODERS[which]
    value = bomb(name)
    assert 900_000 < len(value) <= 1 << 20
    tracemalloc.start()
    became(decoder, [(b"k", value)])
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 250 << 20, f"{peak >> 20} MiB"


def test_the_attacks_meet_every_reason_of_the_native_form() -> None:
    met = {r.reason for r in became(DECODERS["native"][1], list(attacks(5, "native", 6_000)))[1].values()}
    elsewhere = {Reason.DAMAGED, Reason.UNENCODABLE_ROW}  # found before a record is decoded, and after it
    assert met >= set(Reason) - elsewhere


@pytest.mark.parametrize("value", [
    b'{"series":"a","timestamp":"' + b"x" * 900_000 + b'","value":1}',
    b'{"values":{"x":' + b"[" * 500 + b"1e999" + b"]" * 500 + b"}}",  # found by atheris: the place of the error grew with the depth
])  # fmt: skip
def test_a_detail_is_never_longer_than_a_line(value: bytes) -> None:
    refused = became(DECODERS["native"][1], [(b"k", value)])[1]
    assert len(refused[0].detail) <= 200
