"""Formats of lines: Influx line protocol and CSV, as the senders write them, and near misses."""

from __future__ import annotations

import time
from contextlib import suppress

import pytest

from producers.formats import csv_lines, influx
from producers.formats.base import MAX_POINTS, Point, Reason, Unusable

T = 1_458_229_140
CPU = b'cpu,host=a,cpu=cpu0 usage=3.1,value=7i,up=true,state="ok" 1458229140000000000\n'
TAGS = '{cpu="cpu0",host="a"}'


def test_a_line_gives_a_series_for_each_numeric_field() -> None:
    parsed = influx.parse(CPU)
    assert parsed.points == [
        Point(f"cpu_usage{TAGS}", T * 1000, 3.1),
        Point(f"cpu{TAGS}", T * 1000, 7.0),
        Point(f"cpu_up{TAGS}", T * 1000, 1.0),
    ]
    assert (parsed.skipped, parsed.refused) == ({"text field": 1}, [])


# From the specification of line protocol, special characters and all.
SPECIFIED = [
    (rb"my\ Measurement fieldKey=1 1556813561098000000", "my Measurement_fieldKey"),
    (rb'my\,Measurement,tag\ Key=tag\,Value field\=Key=1u 1556813561098000000', 'my,Measurement_field=Key{tag Key="tag,Value"}'),
    (rb'm=x,t=a\=b v=-1.5e3 1556813561098', 'm=x_v{t="a=b"}'),
    (b"\xe2\x9d\x84,\xc3\xa9=\xc3\xbc value=.5 1556813561", '❄{é="ü"}'),
    (b"m text=\"a,b=c d\\\"e\\\\\",v=1 1556813561", "m_v"),
    (b"m text=\"first\nsecond v=9 1\",v=1 1556813561", "m_v"),
    (b"\xef\xbb\xbfm v=1 1556813561", "m_v"),
    (b"\n# a comment, with \"\n\n  m v=1 1556813561 \r\n", "m_v"),
]  # fmt: skip


@pytest.mark.parametrize(("line", "series"), SPECIFIED)
def test_escapes_texts_and_comments_are_read_as_specified(line: bytes, series: str) -> None:
    parsed = influx.parse(line)
    assert [p.series for p in parsed.points] == [series]
    assert parsed.refused == []
    assert 1_556_813_561_000 <= parsed.points[0].timestamp < 1_556_813_562_000


def test_a_bad_line_is_refused_and_the_others_go_on() -> None:
    parsed = influx.parse(
        b"m v=1 1556813561\nm v= 1556813561\nm v=1\nm v=x 1556813561\nm v=NaN 1556813561\nm,t v=1 1556813561\nm v=2 1556813562"
    )
    assert [p.value for p in parsed.points] == [1.0, 2.0]
    assert [r.reason for r in parsed.refused] == [
        Reason.UNDECODABLE, Reason.ABSURD_TIMESTAMP, Reason.WRONG_TYPE, Reason.NOT_FINITE, Reason.UNDECODABLE,
    ]  # fmt: skip
    with pytest.raises(Unusable, match="it is JSON, not line protocol"):
        influx.parse(b'{"timestamp": 1}')


@pytest.mark.parametrize(
    "hostile",
    [
        b'm v="' + b'a b="\n' * 150_000,
        b"m v=1 1556813561\n" * 60_000,
        b"m," + b"a=b," * 250_000,
        b"\\" * 1_000_000,
        b"m " + b'v="' * 300_000,
        b"m,a=" + b"x" * 1_000_000 + b" v=1 1556813561",
        b"m " + b"v=1," * 250_000 + b" 1556813561",
    ],
)
@pytest.mark.parametrize("parse", [influx.parse, csv_lines.parse])
def test_what_a_message_costs_grows_with_its_length_alone(parse, hostile: bytes) -> None:
    begun = time.process_time()
    with suppress(Unusable):
        assert len(parse(hostile).points) <= MAX_POINTS + 1000
    assert time.process_time() - begun < 20  # of quadratic ones, hours


def test_csv_with_a_header_has_series_labels_and_times_by_their_columns() -> None:
    table = b"timestamp,host,cpu,load\n2024-05-01T12:00:00Z,a,0.25,3\n1714564860,b,,4\n"
    parsed = csv_lines.parse(table)
    assert parsed.points == [
        Point('cpu{host="a"}', 1_714_564_800_000, 0.25),
        Point('load{host="a"}', 1_714_564_800_000, 3.0),
        Point('load{host="b"}', 1_714_564_860_000, 4.0),
    ]
    assert parsed.skipped == {"empty": 1}
    named = csv_lines.parse(b"\xef\xbb\xbftime;metric;dc;value\n1714564800000;up;x;1,5\n1714564800000;up;x;1.5\n")
    assert named.points == [Point('up{dc="x"}', 1_714_564_800_000, 1.5)]
    assert [r.reason for r in named.refused] == [Reason.WRONG_TYPE]


@pytest.mark.parametrize(
    "line", [b"cpu_a,1714564800000,0.25", b"1714564800,cpu_a,0.25\n", b'"cpu_a"\t2024-05-01T12:00:00Z\t0.25']
)
def test_csv_without_a_header_is_series_time_value(line: bytes) -> None:
    assert csv_lines.parse(line).points == [Point("cpu_a", 1_714_564_800_000, 0.25)]


@pytest.mark.parametrize(
    ("table", "reason"),
    [
        (b"", Reason.UNDECODABLE),
        (b"\xff", Reason.UNDECODABLE),
        (b"hello, world", Reason.UNDECODABLE),
        (b'a,b,"c', Reason.UNDECODABLE),
        (b"a,1714564800000,nan", Reason.NOT_FINITE),
        (b"a,1,1", Reason.ABSURD_TIMESTAMP),
        (b"a," + b"9" * 5000 + b",1", Reason.NOT_FINITE),
        (b"time,a\n1714564800000,x\n", Reason.WRONG_TYPE),
        (b"time,a\n1714564800000,1,2\n", Reason.WRONG_CHANNELS),
        (b"a," * 5000, Reason.TOO_LARGE),
    ],
)
def test_csv_says_what_is_wrong(table: bytes, reason: Reason) -> None:
    with pytest.raises(Unusable) as refused:
        csv_lines.parse(table)
    assert refused.value.reason == reason
