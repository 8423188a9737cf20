"""Records of one's own fields: what is the time, the name, a label, a value; by guess and as set."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from producers.formats.base import COUNTER, Parsed, Reason, Unusable
from producers.formats.fields import MAX_DEPTH, MAX_FIELDS, Fields, flat, parse_json, points_of

T = 1_714_564_800_000
GUESS = Fields()


def read(record: object, fields: Fields = GUESS) -> Parsed:
    return parse_json(json.dumps(record).encode(), fields)


def became(record: object, fields: Fields = GUESS) -> list[tuple[str, float]]:
    parsed = read(record, fields)
    assert all(p.timestamp == T for p in parsed.points)
    assert parsed.refused == []
    return [(p.series, p.value) for p in parsed.points]


@pytest.mark.parametrize(
    ("record", "points"),
    [
        ({"ts": T, "host": "a", "cpu": 0.25, "up": True}, [('cpu{host="a"}', 0.25), ('up{host="a"}', 1.0)]),
        ({"time": "2024-05-01T14:00:00+02:00", "metric": "cpu", "value": 3}, [("cpu", 3.0)]),
        ({"Timestamp": T // 1000, "name": "cpu", "user": 1, "idle": 2}, [("cpu_user", 1.0), ("cpu_idle", 2.0)]),
        ({"timestamp": str(T), "value": "1.5e1", "series": "a", "seq": 77}, [("a", 15.0)]),
        ({"@timestamp": T, "sensor_id": 17, "v": 1}, [('v{sensor_id="17"}', 1.0)]),
        ({"ts": T, "deviceId": 9, "value": 1}, [('value{deviceId="9"}', 1.0)]),
        ({"ts": T, "tags": {"host": "a"}, "fields": {"user": 1}, "name": "cpu"}, [('cpu_user{host="a"}', 1.0)]),
        ({"ts": T, "room": {"name": "x", "temp": 20}}, [('room.temp{room.name="x"}', 20.0)]),
        ({"ts": T, "host": "", "cpu": 1}, [("cpu", 1.0)]),
        ({"ts": T, "paid": 2}, [("paid", 2.0)]),
        ({"ts": T, "value": 1}, [("", 1.0)]),
    ],
)
def test_fields_are_found_by_name_and_type(record: dict[str, Any], points: list[tuple[str, float]]) -> None:
    assert became(record) == points


@pytest.mark.parametrize(
    ("fields", "points"),
    [
        (Fields(time="made"), [('cpu{host="a",room="x"}', 1.0), ('rpm{host="a",room="x"}', 2.0)]),
        (Fields(time="made", labels=("host",)), [('cpu{host="a"}', 1.0), ('rpm{host="a"}', 2.0)]),
        (Fields(time="made", labels=("host",), values=("cpu",)), [('cpu{host="a"}', 1.0)]),
        (Fields(time="made", labels=("room", "rpm")), [('cpu{room="x",rpm="2"}', 1.0)]),
        (Fields(time="made", name="host", labels=("room",), values=("cpu",)), [('a_cpu{room="x"}', 1.0)]),
    ],
)
def test_what_is_set_holds(fields: Fields, points: list[tuple[str, float]]) -> None:
    assert became({"made": T, "host": "a", "room": "x", "cpu": 1, "rpm": 2}, fields) == points


def test_a_field_within_an_object_is_set_by_its_whole_name_also_where_its_own_is_enough() -> None:
    record = {"after": {"at": T, "temp": 3, "id": 5}, "tags": {"host": "a"}, "op": "c"}
    fields = Fields(time="after.at", labels=("tags.host",), values=("after.temp",))
    assert became(record, fields) == [('after.temp{tags.host="a"}', 3.0)]
    assert became({"ts": T, "host": "a", "tags": {"host": "b"}, "v": 1}) == [('v{host="a",tags.host="b"}', 1.0)]


def test_what_is_left_out_is_counted() -> None:
    parsed = read({"ts": T, "value": 1, "seq": 5, "list": [1], "none": None, "x": "y", "time": T})
    assert [p.series for p in parsed.points] == ['value{x="y"}']
    assert parsed.skipped == {"number beside the value": 2, "array": 1, "empty": 1}


def test_the_name_of_prometheus_makes_a_counter() -> None:
    (point,) = read({"timestamp": T, "value": "5", "labels": {"__name__": "hits_total", "job": "a"}}).points
    assert (point.series, point.kind) == ('hits_total{job="a"}', COUNTER)


@pytest.mark.parametrize(
    ("record", "fields", "why"),
    [
        ({"cpu": 1}, GUESS, "which field is its time cannot be told, no field is called timestamp"),
        ({"ts": T, "host": "a"}, GUESS, "no field of it is a number"),
        ({"ts": T}, GUESS, "no field of it is a number"),
        (
            {"ts": T, "host": "a", "temp": "20.5", "hum": "40"},
            GUESS,
            "see the stream's fields.values: 'temp', 'hum' would be one, written as a text",
        ),
        ({"ts": True, "cpu": 1}, GUESS, "the time is True"),
        ({"ts": "2024-05-01T12:00:00", "cpu": 1}, GUESS, "names no time zone"),
        ({"ts": 5, "cpu": 1}, GUESS, "outside 1971 to 2200"),
        ({"ts": T, "cpu": 1}, Fields(time="at"), "no field 'at', which is to be its time"),
        ({"ts": T, "cpu": 1}, Fields(name="of"), "no text 'of', which is to name its series"),
        ({"ts": T, "cpu": 1}, Fields(values=("a", "b")), "none of the fields that are to be values: 'a', 'b'"),
        ({"ts": T, "cpu": 1, "l": {"a": 1}}, Fields(labels=("cpu",)), None),
        (5, GUESS, "5 is no object"),
        ([], GUESS, None),
    ],
)
def test_what_cannot_be_used_says_why(record: object, fields: Fields, why: str | None) -> None:
    if why is None:
        read(record, fields)
        return
    with pytest.raises(Unusable, match=why):
        read(record, fields)


def test_one_bad_value_or_object_costs_itself_alone() -> None:
    parsed = read({"ts": T, "cpu": 1, "value2": 2, "x": 10**400}, Fields(values=("cpu", "x")))
    assert [p.series for p in parsed.points] == ["cpu"]
    assert [r.reason for r in parsed.refused] == [Reason.NOT_FINITE]
    parsed = read([{"ts": T, "cpu": 1}, {"cpu": 1}, 5 and {"ts": T, "cpu": 2}])
    assert [p.value for p in parsed.points] == [1.0, 2.0]
    assert len(parsed.refused) == 1


def test_depth_and_width_are_bounded() -> None:
    with pytest.raises(Unusable, match="more than 1,000 fields"):
        read({"ts": T} | {f"f{i}": 1 for i in range(MAX_FIELDS)})
    deep: dict[str, Any] = {"v": 1}
    for _ in range(MAX_DEPTH + 5):
        deep = {"a": deep}
    with pytest.raises(Unusable, match="deep"):
        read({"ts": T, "x": deep})
    with pytest.raises(Unusable, match="deep"):
        parse_json(b'{"ts":1,"x":' + b'{"a":' * 900 + b"1" + b"}" * 901, GUESS)


def test_only_a_moment_with_a_zone_is_a_time_by_its_type() -> None:
    (point,) = points_of(flat({"made": datetime(2024, 5, 1, 12, tzinfo=UTC), "v": 1}), GUESS).points
    assert (point.series, point.timestamp) == ("v", T)
    with pytest.raises(Unusable, match="cannot be told"):
        points_of(flat({"made": datetime(2024, 5, 1, 12), "v": 1}), GUESS)  # noqa: DTZ001
    with pytest.raises(Unusable, match="a local time, which names no zone"):
        points_of(flat({"ts": datetime(2024, 5, 1, 12), "v": 1}), GUESS)  # noqa: DTZ001
    at = datetime(2024, 5, 1, 12, tzinfo=UTC)
    with pytest.raises(Unusable, match="2 fields are moments"):
        points_of(flat({"a": at, "b": at, "v": 1}), GUESS)


_json = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(["ts", "value", "name", "id", "x"]), inner, max_size=4),
    max_leaves=12,
)  # fmt: skip


@given(record=_json, time=st.sampled_from(["", "x"]), values=st.sampled_from([(), ("x", "id")]))
def test_no_record_makes_it_raise_anything_else(record: Any, time: str, values: tuple[str, ...]) -> None:
    try:
        parsed = parse_json(json.dumps({"ts": T, "of": record}).encode(), Fields(time=time, values=values))
    except Unusable:
        return
    assert all(p.timestamp == T and abs(p.value) < float("inf") for p in parsed.points)
