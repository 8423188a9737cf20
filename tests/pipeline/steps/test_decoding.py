from __future__ import annotations

import gzip
import json
from collections.abc import Sequence
from itertools import chain
from typing import Any

import cramjam
import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from naive_decoding import naive_decode

from detectors.features import FeatureEncoder
from pipeline.errors import SettingsError
from pipeline.steps import decoding
from pipeline.steps.batches.observations import Observations
from pipeline.steps.batches.records import RecordBatch, Rejected
from pipeline.steps.decoding import CONTROL, Decoder
from producers.batches import MAGIC, Batch
from producers.batches import encode as encode_batch
from producers.formats import FOREIGN
from producers.formats.base import Reason
from producers.formats.fields import Fields
from producers.records import CONTROL_KEY, Observation, PartitionsAdded, decode_control, encode, is_control

T0 = 1_404_172_800_000
GOOD = encode(Observation("taxi", T0, 10844.0))
ENCODER = FeatureEncoder(["seconds", "protocol"], categorical=["protocol"]).fit([[1.0, "tcp"], [2.0, "udp"]])


def batch(values: Sequence[bytes | None], keys: Sequence[bytes | None] | None = None, start: int = 0) -> RecordBatch:
    n = len(values)
    offsets = np.arange(start, start + 2 * n, 2)  # with holes, as after compaction
    return RecordBatch("t", 0, offsets, start + 2 * n, keys or [None] * n, values, np.zeros(n, np.int64))


def one(value: bytes | None, key: bytes | None = None, of: Decoder | None = None) -> Rejected | Observations:
    """What became of a single record."""
    observations, rejected = (of or Decoder("metric", 1)).decode(batch([value], [key]))
    assert len(observations) + len(rejected) == 1
    return rejected[0] if rejected else observations


def rows(o: Observations) -> list[tuple[Any, ...]]:
    originals = o.originals or [None] * len(o)
    return list(zip(o.offsets.tolist(), o.series, o.timestamps.tolist(), o.values.tolist(), originals, strict=True))


def test_native_metric_becomes_columns() -> None:
    o, rejected = Decoder("metric", 1).decode(batch([GOOD, encode(Observation("b", T0 + 1, 2.0))], start=40))
    assert rejected == []
    assert rows(o) == [(40, "taxi", T0, [10844.0], None), (42, "b", T0 + 1, [2.0], None)]
    assert (o.values.dtype, o.timestamps.dtype) == (np.float64, np.int64)


def test_metric_of_several_channels_comes_in_values() -> None:
    o, rejected = Decoder("metric", 2).decode(batch([encode(Observation("h", T0, values=[0.5, 812.0]))]))
    assert rejected == []
    assert o.values.tolist() == [[0.5, 812.0]]


TELEGRAF = b'{"name":"cpu","tags":{"host":"a"},"timestamp":1714564800,"fields":{"user":3,"idle":96,"nice":0}}'
NATIVE = b'{"series":"cpu","timestamp":1714564800000,"values":[3,96]}'


@pytest.mark.parametrize("form", ["telegraf", "auto"])
def test_channels_that_are_named_are_put_together_with_dead_letters_for_what_lacks_some(form: str) -> None:
    decoder = Decoder("metric", 2, format=form, named=["user", "idle"])
    lacking = TELEGRAF.replace(b"idle", b"busy")
    compact = encode_batch(Batch(["c"], np.zeros(1, np.intp), np.array([T0]), np.array([[1.0, 2.0]])))
    packed = gzip.compress(NATIVE if form == "auto" else TELEGRAF)
    o, rejected = decoder.decode(batch([TELEGRAF, lacking, compact, packed]))
    whole = ("cpu" if form == "auto" else 'cpu{host="a"}', 1_714_564_800_000, [3.0, 96.0])
    assert [row[1:4] for row in rows(o)] == [
        ('cpu{host="a"}', *whole[1:]), ("c", T0, [1.0, 2.0]), whole,
    ]  # fmt: skip
    assert [(r.index, r.reason) for r in rejected] == [(1, Reason.WRONG_CHANNELS)]
    assert decoder.skipped["no channel"] == (2 if form == "auto" else 3) + 1
    assert (o.kinds, o.begun) == (None, None)


def test_names_are_short_also_where_channels_are_named_whoever_says_them() -> None:
    decoder = Decoder("metric", 2, format="auto", named=["user", "idle"])
    long = NATIVE.replace(b"cpu", b"x" * 513)
    unnamed = NATIVE.replace(b'"series":"cpu",', b"")
    o, rejected = decoder.decode(batch([long, unnamed, NATIVE], [b"a", b"y" * 513, b"a"]))
    assert [row[1] for row in rows(o)] == ["cpu"]
    assert [(r.index, r.reason) for r in rejected] == [(0, Reason.TOO_LARGE), (1, Reason.TOO_LARGE)]


def test_natively_and_of_ones_own_fields_channels_are_named_by_the_key_where_nothing_else_does() -> None:
    o, _ = Decoder("metric", 2, named=["user", "idle"]).decode(batch([NATIVE]))
    assert o.values.tolist() == [[3.0, 96.0]]
    own = b'{"ts":1714564800,"user":3,"idle":96}'
    decoder = Decoder("metric", 2, format="json", named=["user", "idle"])
    o, rejected = decoder.decode(batch([own, own], [b"host-a", None]))
    assert [(row[1], row[3]) for row in rows(o)] == [("host-a", [3.0, 96.0])]
    assert [(r.index, r.reason) for r in rejected] == [(1, Reason.NO_SERIES)]


@pytest.mark.parametrize("named", [(), ("cpu", "mem")])
def test_where_no_field_is_the_time_kafkas_is(named: tuple[str, ...]) -> None:
    of = Decoder("metric", max(len(named), 1), format="json", fields=Fields(record_time=True), named=named)
    value = b'{"host":"a","cpu":1,"mem":2}'
    compact = Batch(["x"], np.zeros(1, np.intp), np.array([T0 + 7]), np.full((1, max(len(named), 1)), 3.0))
    batch_ = batch([value, value, value, encode_batch(compact)])
    batch_.timestamps = np.array([T0, -1, T0 + 5, T0 + 6])
    o, rejected = of.decode(batch_)
    assert sorted(set(zip(o.offsets.tolist(), o.timestamps.tolist(), strict=True))) == [
        (0, T0),
        (4, T0 + 5),
        (6, T0 + 7),
    ]
    assert set(o.series) == ({'{host="a"}', "x"} if named else {'cpu{host="a"}', 'mem{host="a"}', "x"})
    assert [(r.index, r.reason, r.detail) for r in rejected] == [
        (1, Reason.ABSURD_TIMESTAMP, "Kafka has no time of it; have the producer say one")
    ]


def test_names_that_do_not_fit_the_model_are_told() -> None:
    with pytest.raises(SettingsError, match="channels names 2, the model takes 3 of them"):
        Decoder("metric", 3, format="telegraf", named=["a", "b"])
    with pytest.raises(SettingsError, match="name them by the setting channels"):
        Decoder("metric", 3, format="telegraf")


def test_one_channel_may_come_in_values_too() -> None:
    o = one(encode(Observation("h", T0, values=[3.0])))
    assert isinstance(o, Observations)
    assert o.values.tolist() == [[3.0]]


def test_row_of_a_table_is_encoded_and_kept_as_it_came() -> None:
    decoder = Decoder("table", ENCODER.channels, ENCODER)
    o, rejected = decoder.decode(
        batch(
            [encode(Observation("http", T0, values=[1.0, "tcp"])), encode(Observation("http", T0, values=["x", "tcp"]))]
        )
    )
    assert list(o.originals or ()) == [[1.0, "tcp"]]
    assert o.values.tolist() == ENCODER.encode([[1.0, "tcp"]])[0].tolist()
    assert [(r.index, r.reason) for r in rejected] == [(1, Reason.UNENCODABLE_ROW)]
    assert "seconds" in rejected[0].detail


def test_an_empty_batch_gives_nothing() -> None:
    for kind, width, features in (("metric", 1, None), ("metric", 3, None), ("table", ENCODER.channels, ENCODER)):
        o, rejected = Decoder(kind, width, features).decode(batch([]))  # type: ignore[arg-type]
        assert (len(o), rejected, o.values.shape) == (0, [], (0, width))


def test_key_names_the_series_where_the_record_does_not() -> None:
    unnamed = b'{"timestamp":%d,"value":1}' % T0
    o, _ = Decoder("metric", 1).decode(batch([unnamed, GOOD], ["größe".encode(), b"other"]))
    assert o.series == ["größe", "taxi"]


UNNAMED = b'{"timestamp":%d,"value":1}' % T0
BAD = [
    (b"", None, Reason.UNDECODABLE, ""),
    (b"not json", None, Reason.UNDECODABLE, ""),
    (GOOD[:-1], None, Reason.UNDECODABLE, ""),
    (GOOD + GOOD, None, Reason.UNDECODABLE, ""),
    (b"\xef\xbb\xbf" + GOOD, None, Reason.UNDECODABLE, ""),
    (b'{"series":"\xff","timestamp":%d,"value":1}' % T0, None, Reason.UNDECODABLE, "UTF-8"),
    (b'{"series":"\\ud800","timestamp":%d,"value":1}' % T0, None, Reason.UNDECODABLE, ""),
    (b'{"x":' + b"[" * 200_000 + b"]" * 200_000 + b"}", None, Reason.UNDECODABLE, "nested"),
    (b"[1,2]", None, Reason.WRONG_TYPE, "array"),
    (b"null", None, Reason.WRONG_TYPE, "null"),
    (b"{}", None, Reason.WRONG_TYPE, "`timestamp` is missing"),
    (b'{"series":"a","timestamp":"%d","value":1}' % T0, None, Reason.WRONG_TYPE, "a string"),
    (b'{"series":"a","timestamp":true,"value":1}', None, Reason.WRONG_TYPE, "a boolean"),
    (b'{"series":7,"timestamp":%d,"value":1}' % T0, None, Reason.WRONG_TYPE, "`series` is a number"),
    (b'{"series":"a","timestamp":%d,"value":"1"}' % T0, None, Reason.WRONG_TYPE, "a string"),
    (b'{"series":"a","timestamp":%d,"value":null}' % T0, None, Reason.WRONG_TYPE, "`value` is missing"),
    (b'{"series":"a","timestamp":%d,"value":NaN}' % T0, None, Reason.NOT_FINITE, "NaN"),
    (b'{"series":"a","timestamp":%d,"value":-Infinity}' % T0, None, Reason.NOT_FINITE, "Infinity"),
    (b'{"series":"a","timestamp":%d,"value":1e400}' % T0, None, Reason.NOT_FINITE, ""),
    (b'{"series":"a","timestamp":%d,"value":%s}' % (T0, b"9" * 400), None, Reason.NOT_FINITE, ""),
    (b'{"series":"a","timestamp":1404172800,"value":1}', None, Reason.ABSURD_TIMESTAMP, "1404172800 ms"),
    (b'{"series":"a","timestamp":1404172800000000,"value":1}', None, Reason.ABSURD_TIMESTAMP, ""),
    (b'{"series":"a","timestamp":1404172800000.5,"value":1}', None, Reason.ABSURD_TIMESTAMP, "integer"),
    (b'{"series":"a","timestamp":-1,"value":1}', None, Reason.ABSURD_TIMESTAMP, ""),
    (b'{"series":"a","timestamp":%s,"value":1}' % (b"9" * 100), None, Reason.ABSURD_TIMESTAMP, "bits"),
    (b'{"series":"a","timestamp":%d,"values":[1,2]}' % T0, None, Reason.WRONG_CHANNELS, "2 values; 1 "),
    (b'{"series":"a","timestamp":%d,"value":1,"values":[1]}' % T0, None, Reason.WRONG_CHANNELS, "both"),
    (UNNAMED, None, Reason.NO_SERIES, "key"),
    (UNNAMED, b"", Reason.NO_SERIES, "key"),
    (UNNAMED, b"\xff", Reason.UNDECODABLE, "key"),
    (UNNAMED, b"k" * (1 << 20), Reason.TOO_LARGE, "1048576 bytes"),
    (encode(Observation("é" * 257, T0, 1.0)), None, Reason.TOO_LARGE, "514 bytes"),
    (GOOD + b" " * (1 << 20), None, Reason.TOO_LARGE, "limit"),
]


@pytest.mark.parametrize(("value", "key", "reason", "detail"), BAD)
def test_a_bad_record_has_a_reason_and_its_neighbours_do_not_notice(
    value: bytes | None, key: bytes | None, reason: Reason, detail: str
) -> None:
    rejected = one(value, key)
    assert isinstance(rejected, Rejected)
    assert rejected.reason == reason
    assert detail in rejected.detail
    assert "\n" not in rejected.detail
    assert len(rejected.detail) < 300
    o, among = Decoder("metric", 1).decode(batch([GOOD, value, GOOD], [None, key, None]))
    assert rows(o) == [(0, "taxi", T0, [10844.0], None), (4, "taxi", T0, [10844.0], None)]
    assert [(r.index, r.reason, r.detail) for r in among] == [(1, reason, rejected.detail)]


def test_two_halves_of_a_record_do_not_make_a_whole() -> None:
    # msgspec reads a line break inside an object as white space: joined by it, these two would be one good record, and
    # the third would make up the number.
    o, rejected = Decoder("metric", 1).decode(batch([GOOD[:20], GOOD[20:], GOOD + GOOD]))
    assert len(o) == 0
    assert [r.reason for r in rejected] == [Reason.UNDECODABLE] * 3


def test_of_a_member_that_occurs_twice_the_last_one_counts() -> None:
    o = one(b'{"series":"a","timestamp":%d,"value":1,"value":2,"other":[]}' % T0)
    assert isinstance(o, Observations)
    assert o.values.tolist() == [[2.0]]


@pytest.mark.parametrize("content", [b'"value":3', b'"values":[3]'])  # the fast way of reading, and the thorough one
@pytest.mark.parametrize("other", [b'"\xff"', b"1e999", b'{"a":["\x80",null]}'])
def test_what_a_member_that_is_not_read_holds_does_not_matter(content: bytes, other: bytes) -> None:
    o = one(b'{"series":"a","x":%s,"timestamp":%d,%s}' % (other, T0, content))
    assert isinstance(o, Observations)
    assert o.values.tolist() == [[3.0]]


# Any bytes: one by one and in one batch, and against the oracle

near_misses = st.fixed_dictionaries(
    {},
    optional={
        "timestamp": st.just(T0) | st.integers() | st.floats() | st.text(max_size=3) | st.none() | st.booleans(),
        "value": st.floats() | st.integers(-(10**400), 10**400) | st.text(max_size=3) | st.none() | st.booleans(),
        "values": st.none()
        | st.text(max_size=2)
        | st.lists(st.floats(allow_nan=False) | st.text(max_size=3) | st.none() | st.booleans(), max_size=4),
        "series": st.text(max_size=600) | st.none() | st.integers() | st.lists(st.integers(), max_size=1),
        "other": st.recursive(st.none() | st.text(max_size=3), lambda s: st.lists(s, max_size=2), max_leaves=5),
    },
).map(lambda message: json.dumps(message).encode())
good = st.builds(
    lambda s, t, v: encode(Observation(s, t, v)),
    st.text(min_size=1, max_size=9),
    st.integers(T0, T0 + 10**9),
    st.floats(allow_nan=False, allow_infinity=False),
)
broken = st.one_of(
    st.binary(max_size=40),
    st.none(),
    near_misses,
    st.tuples(good, st.integers(0, 80), st.binary(max_size=3)).map(lambda p: p[0][: p[1]] + p[2] + p[0][p[1] + 1 :]),
)
keys = st.none() | st.binary(max_size=4) | st.text(max_size=4).map(str.encode)
records = st.lists(st.tuples(good | broken, keys), max_size=12)

DECODERS = {
    "one": Decoder("metric", 1),
    "two": Decoder("metric", 2),
    "table": Decoder("table", ENCODER.channels, ENCODER),
}


@pytest.mark.parametrize("which", DECODERS)
@settings(max_examples=250, deadline=None)
@given(records=records)
@example(records=[(GOOD[:20], None), (GOOD[20:], None), (GOOD + GOOD, None)])
@example(
    records=[
        (b'{"timestamp":1e04172800000,"value":1}', None),
        (b'{"timestamp":"x","value":1e999}', None),
        (b'{"value":1e999}', None),
        (b'{"timestamp":1404172800000,"value":-1E309.0}', None),
    ]
)
@example(records=[(b'{"\x80eries":"a","timestamp":%d,"value":1}' % T0, None)])
@example(records=[(MAGIC, None)])
def test_records_decode_as_if_each_were_alone_and_as_the_rules_say(
    which: str, records: list[tuple[bytes | None, bytes | None]]
) -> None:
    decoder = DECODERS[which]
    observations, rejected = decoder.decode(batch([v for v, _ in records], [k for _, k in records]))
    became = dict(zip((observations.offsets // 2).tolist(), rows(observations), strict=True))
    refused = {r.index: r for r in rejected}
    tombstones = {i for i, (value, _) in enumerate(records) if value is None}
    assert became.keys() | refused.keys() | tombstones == set(range(len(records)))
    assert not tombstones & (became.keys() | refused.keys())
    assert not became.keys() & refused.keys()
    assert [r.index for r in rejected] == sorted(refused)
    for i, (value, key) in enumerate(records):
        if value is None or value.startswith(
            MAGIC
        ):  # a batch, or what is left of one: its own rules are in test_batches
            continue
        alone = one(value, key, decoder)
        expected = naive_decode(value, key, decoder.kind, decoder.width)
        if i in refused:
            assert isinstance(alone, Rejected)
            assert (alone.reason, alone.detail) == (refused[i].reason, refused[i].detail)
            if refused[i].reason != Reason.UNENCODABLE_ROW:
                assert expected == refused[i].reason, value
        else:
            assert isinstance(alone, Observations)
            assert rows(alone)[0][1:] == became[i][1:]
            _, series, timestamp, values, original = became[i]
            assert expected == (series, timestamp, values if original is None else original), value


@pytest.mark.parametrize("name", FOREIGN)
@settings(max_examples=200, deadline=None)
@given(values=st.lists(broken, max_size=6))
def test_no_bytes_make_a_foreign_format_raise(name: str, values: list[bytes | None]) -> None:
    decoder = Decoder("metric", 1, format=name)
    observations, rejected = decoder.decode(batch(values))
    assert np.isfinite(observations.values).all()
    assert len({r.index for r in rejected}) == len(rejected)


def test_a_record_of_many_points_gives_each_its_offset_and_one_dead_letter() -> None:
    value = json.dumps(
        {
            "metrics": [
                {"name": "cpu", "fields": {"a": 1, "b": 2.5, "c": "x"}, "tags": {"host": "h"}, "timestamp": 1404172800},
                {"name": "cpu", "fields": {"a": None, "b": [1]}, "tags": {"host": "h"}, "timestamp": 1404172800},
            ]
        }
    ).encode()
    decoder = Decoder("metric", 1, format="telegraf")
    o, rejected = decoder.decode(batch([b"{", value]))
    assert rows(o) == [(2, 'cpu_a{host="h"}', T0, [1.0], None), (2, 'cpu_b{host="h"}', T0, [2.5], None)]
    assert [(r.index, r.reason) for r in rejected] == [(0, Reason.UNDECODABLE), (1, Reason.WRONG_TYPE)]
    assert "1 more" in rejected[1].detail
    assert decoder.skipped == {"text field": 1}


def test_running_totals_are_marked() -> None:
    point = {"asInt": "5", "timeUnixNano": str(T0 * 1_000_000)}
    metrics = [
        {"name": "requests", "sum": {"isMonotonic": True, "aggregationTemporality": 2, "dataPoints": [point]}},
        {"name": "load", "gauge": {"dataPoints": [point]}},
    ]
    value = json.dumps({"resourceMetrics": [{"scopeMetrics": [{"metrics": metrics}]}]}).encode()
    decoder = Decoder("metric", 1, format="otlp")
    o, rejected = decoder.decode(batch([value]))
    assert (o.series, rejected) == (["requests", "load"], [])
    assert o.kinds is not None
    assert o.kinds.tolist() == [1, 0]
    assert decoder.decode(batch([None]))[0].kinds is None


def test_settings_that_do_not_fit_are_named() -> None:
    with pytest.raises(SettingsError, match="unknown input format 'excel'; choose one of native, telegraf"):
        Decoder("metric", 1, format="excel")
    with pytest.raises(SettingsError, match="the model takes a table; use format native"):
        Decoder("table", ENCODER.channels, ENCODER, format="otlp")
    with pytest.raises(SettingsError, match="the model takes 3 channels"):
        Decoder("metric", 3, format="telegraf")
    with pytest.raises(SettingsError, match="needs fitted features"):
        Decoder("table", 3)


CONTROL_RECORD = CONTROL_KEY, b'\0{"control":"partitions","before":4,"after":8}'


@pytest.mark.parametrize("format_", ["native", *FOREIGN])
def test_tombstones_are_counted_and_passed_over_in_every_format(format_: str) -> None:
    decoder = Decoder("metric", 1, format=format_)
    o, rejected = decoder.decode(batch([None, GOOD, None], [b"a", b"a", CONTROL_RECORD[0]]))
    assert len(o) == (format_ in ("native", "json", "auto"))
    assert [r.index for r in rejected] == ([] if format_ in ("native", "json", "auto") else [1])
    assert decoder.skipped["tombstone"] == 2


def test_tombstones_are_no_rows_of_a_table() -> None:
    decoder = Decoder("table", ENCODER.channels, features=ENCODER)
    assert decoder.decode(batch([None, None]))[1] == []
    assert decoder.skipped == {"tombstone": 2}


@pytest.mark.parametrize("format_", ["native", *FOREIGN])
def test_a_control_record_is_recognised_in_every_format_and_is_no_observation(format_: str) -> None:
    key, value = CONTROL_RECORD
    rejected = one(value, key, Decoder("metric", 1, format=format_))
    assert isinstance(rejected, Rejected)
    assert rejected.reason == CONTROL
    assert decode_control(value) == PartitionsAdded(4, 8)


def test_a_control_record_is_no_row_of_a_table_either() -> None:
    key, value = CONTROL_RECORD
    rejected = one(value, key, Decoder("table", ENCODER.channels, features=ENCODER))
    assert isinstance(rejected, Rejected)
    assert rejected.reason == CONTROL


def test_without_the_reserved_key_its_value_is_a_dead_letter_and_with_it_an_observation_is_one() -> None:
    key, value = CONTROL_RECORD
    rejected = one(value, b"taxi")
    assert isinstance(rejected, Rejected)
    assert rejected.reason != CONTROL
    assert isinstance(one(GOOD, key), Observations)


@pytest.mark.parametrize(
    "value", [b"\0", b"\0{}", b"\0\xff", b'\0{"control":"other"}', b'\0{"control":"partitions","before":8,"after":4}']
)
def test_a_control_record_that_says_nothing_known_is_recognised(value: bytes) -> None:
    assert is_control(CONTROL_RECORD[0], value)
    assert decode_control(value) is None


def test_a_batch_of_packed_values_is_decoded_in_portions_and_nothing_of_it_is_lost(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(decoding, "MAX_BATCH_POINTS", 250_000)
    packed = gzip.compress(b"m v=1 1404172800\n" * 20_000)
    small, plain = b"m v=1 1404172800", [b"m v=1,w=2 1404172800"] * 100
    values = [packed, packed, small, packed, None, *plain, packed, small]
    whole = batch(values, start=7)
    decoder = Decoder("metric", 1, format="influx")
    portions = list(decoder.portions(whole))
    assert [len(p) for p in portions] == [3, len(values) - 3]
    assert [o for p in portions for o in p.offsets.tolist()] == whole.offsets.tolist()
    assert [p.next_offset for p in portions] == [*(int(p.offsets[0]) for p in portions[1:]), whole.next_offset]
    rows_of = [(decoder.decode(p)[0].offsets.tolist()) for p in portions]
    assert list(chain.from_iterable(rows_of)) == decoder.decode(whole)[0].offsets.tolist()
    assert max(map(len, rows_of)) <= 250_000
    assert [p.values for p in Decoder("metric", 1, format="influx").portions(batch(plain))] == [plain]
    assert len(list(Decoder("metric", 1).portions(whole))) == 1
    assert [len(p) for p in decoder.portions(batch([]))] == [0]


@pytest.mark.parametrize(
    ("format_", "value"),
    [
        ("remote-write", bytes(cramjam.snappy.compress_raw(b"x" * 1000))),
        ("auto", bytes(cramjam.snappy.compress_raw(b"x" * 1000))),
        ("auto", gzip.compress(b"x" * 1000)),
        ("cloudevents", b'{"data_base64":"H4sI"}'),
        ("auto", b'{"data\\u005fbase64":"H4sI"}'),
    ],
)
def test_what_may_be_packed_counts_as_what_it_may_unpack_to(format_: str, value: bytes) -> None:
    assert decoding._most_points(value, format_) >= 500 * len(value)
    assert decoding._most_points(b"m v=1 1404172800", format_) < 20
