from __future__ import annotations

import itertools
from typing import Any

import msgspec
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from naive_merge import merged

from producers.batches import decode
from producers.clock import Clock
from producers.datasets import Dataset, Series
from producers.errors import ProducerError
from producers.partitioning import murmur2
from producers.replay import UNDATED, Pace, Records, Timeline, dated, replay


def series(name: str, timestamps: list[int], values: list[float] | None = None, step: int = 0) -> Series:
    found = values if values is not None else [float(t) for t in timestamps]
    return Series(name, np.array(timestamps, np.int64), (np.array(found, np.float64),), step)


def decoded(records: Records) -> list[dict[str, Any]]:
    return [msgspec.json.decode(v) for v in records.values]


def sent(timeline: Timeline) -> list[tuple[str, int, float]]:
    rows = decoded(timeline.encode(0, len(timeline)))
    return [(r["series"], r["timestamp"], r["value"]) for r in rows]


some_series = st.lists(
    st.lists(
        st.tuples(st.integers(0, 40), st.one_of(st.floats(-9, 9), st.just(float("nan")), st.just(float("inf")))),
        max_size=12,
    ),
    min_size=1,
    max_size=5,
)


@given(some_series, st.one_of(st.none(), st.integers(0, 40)), st.one_of(st.none(), st.integers(0, 40)))
def test_the_merge_equals_the_slow_one(content: Any, first: int | None, last: int | None) -> None:
    found = [series(f"s{i}", [t for t, _ in rows], [v for _, v in rows]) for i, rows in enumerate(content)]
    assert sent(Timeline(found, first, last)) == merged(found, first, last)


@given(some_series, st.integers(1, 7), st.floats(0.01, 50))
def test_however_it_is_paced_the_records_are_the_same(content: Any, max_batch: int, speed: float) -> None:
    found = [series(f"s{i}", [t for t, _ in rows], [v for _, v in rows]) for i, rows in enumerate(content)]
    timeline = Timeline(found)
    if not len(timeline):
        return
    wall = itertools.count()
    clock = Clock(speed, now=lambda: next(wall) * 0.01, sleep=lambda _: None)
    batches = list(replay(timeline, clock, Pace(max_batch=max_batch)))
    assert all(1 <= len(b) <= max_batch for b in batches)
    assert [v for b in batches for v in b.values] == timeline.encode(0, len(timeline)).values
    assert [k for b in batches for k in b.keys] == timeline.encode(0, len(timeline)).keys


#  a:  0     20 10 30        (steps back)
#  b:     5     15
#  out 0  5  15 20 10 30     10 goes out right behind 20, its series' newest
def test_a_series_that_steps_back_keeps_its_own_order() -> None:
    timeline = Timeline([series("a", [0, 20, 10, 30]), series("b", [5, 15])])
    assert [t for _, t, _ in sent(timeline)] == [0, 5, 15, 20, 10, 30]
    assert timeline.times.tolist() == [0, 5, 15, 20, 20, 30]


def test_at_equal_times_the_order_of_the_series_decides() -> None:
    timeline = Timeline([series("b", [1, 2]), series("a", [1, 2])])
    assert [name for name, _, _ in sent(timeline)] == ["b", "a", "b", "a"]


def test_the_key_is_the_series_name() -> None:
    assert Timeline([series("größe/1", [1])]).encode(0, 1).keys == ["größe/1".encode()]


def test_several_channels_travel_as_a_list() -> None:
    wide = Series("s", np.array([1], np.int64), (np.array([0.5]), np.array([2.0])))
    assert decoded(Timeline([wide]).encode(0, 1)) == [{"series": "s", "timestamp": 1, "values": [0.5, 2.0]}]


def test_a_row_of_one_column_is_a_list_too() -> None:
    assert decoded(Timeline([series("s", [1])], table=True).encode(0, 1))[0]["values"] == [1.0]


def test_categories_travel_as_text() -> None:
    table = Series("s", np.array([1], np.int64), (np.array([0.0]), np.array(["tcp"], object)))
    assert decoded(Timeline([table], table=True).encode(0, 1))[0]["values"] == [0.0, "tcp"]


def test_missing_numbers_are_left_out_and_counted() -> None:
    timeline = Timeline([series("s", [1, 2, 3], [1.0, float("nan"), 3.0])])
    assert [t for _, t, _ in sent(timeline)] == [1, 3]
    assert timeline.skipped == 1


def test_a_loop_shifts_time_on_by_the_span_so_that_it_never_steps_back() -> None:
    timeline = Timeline([series("a", [0, 10, 20], step=10), series("b", [5, 15], step=10)])
    assert timeline.span_ms == 30
    batches = itertools.islice(replay(timeline, Clock(), loop=True), 3)
    times = [r["timestamp"] for b in batches for r in decoded(b)]
    assert times == [0, 5, 10, 15, 20, 30, 35, 40, 45, 50, 60, 65, 70, 75, 80]


def test_a_loop_goes_on_at_the_same_pace() -> None:
    wall = [0.0]
    clock = Clock(1.0, now=lambda: wall[0], sleep=lambda s: wall.__setitem__(0, wall[0] + s))
    timeline = Timeline([series("a", [0, 1000], step=1000)])
    due = []
    for batch in itertools.islice(replay(timeline, clock, loop=True), 5):
        due.append((wall[0], batch.timestamps.tolist()))
    assert due == [(0.0, [0]), (1.0, [1000]), (2.0, [2000]), (3.0, [3000]), (4.0, [4000])]


def test_a_rate_spaces_records_whatever_their_event_times() -> None:
    wall = [0.0]
    clock = Clock(1.0, now=lambda: wall[0], sleep=lambda s: wall.__setitem__(0, wall[0] + s))
    timeline = Timeline([series("a", [0, 1, 2, 9_000_000])])
    moments = [wall[0] for _ in replay(timeline, clock, Pace(rate=4.0))]
    assert moments == [0.0, 0.25, 0.5, 0.75]


def test_what_is_due_at_once_goes_out_at_once() -> None:
    wall = [0.0]
    clock = Clock(1.0, now=lambda: wall[0], sleep=lambda s: wall.__setitem__(0, wall[0] + s))
    timeline = Timeline([series(f"s{i}", [0, 1000]) for i in range(5)])
    assert [len(b) for b in replay(timeline, clock)] == [5, 5]


def test_nothing_to_replay_is_an_error() -> None:
    with pytest.raises(ProducerError, match="nothing to replay"):
        list(replay(Timeline([series("a", [1, 2])], first=5), Clock()))


def test_series_of_different_width_do_not_mix() -> None:
    wide = Series("s", np.array([1], np.int64), (np.array([0.5]), np.array([2.0])))
    with pytest.raises(ProducerError, match="of 1 and of 2 columns"):
        Timeline([series("a", [1]), wide])


@given(some_series, st.integers(1, 9))
def test_compact_batches_hold_what_json_holds_each_series_in_its_partition(content: Any, partitions: int) -> None:
    found = [series(f"s{i}", [t for t, _ in rows], [v for _, v in rows]) for i, rows in enumerate(content)]
    timeline = Timeline(found)
    expected = sent(timeline)
    timeline.in_batches(partitions)
    if not expected:
        return
    whole = timeline.encode(0, len(timeline))
    assert whole.partitions is not None
    assert len(whole.timestamps) == len(expected)
    for partition, value in zip(whole.partitions, whole.values, strict=True):
        b = decode(value)
        rows = zip([b.names[s] for s in b.series], b.timestamps.tolist(), b.values[:, 0].tolist(), strict=True)
        assert list(rows) == [row for row in expected if murmur2(row[0].encode()) % partitions == partition]


def test_text_has_no_place_in_batches() -> None:
    timeline = Timeline([Series("a", np.zeros(1, np.int64), (np.array(["x"], object),), 0)])
    with pytest.raises(ProducerError, match="--batches"):
        timeline.in_batches(4)


def test_rows_without_times_go_out_at_times_that_streams_take() -> None:
    made_up = series("wine", [0, 1000, 2000], step=1000)
    rows = dated(Dataset("wine", "table", ("x",), "made here", {"wine": made_up}))
    timeline = Timeline(list(rows.all_series.values()), table=True)
    timeline.check_times()
    assert [t for _, t, _ in sent(Timeline(list(rows.all_series.values())))] == [
        UNDATED,
        UNDATED + 1000,
        UNDATED + 2000,
    ]
    metric = Dataset("sunspots", "metric", ("x",), "made here", {"sunspots": made_up})
    assert dated(metric) is metric
    with pytest.raises(ProducerError, match=r"3 of 3 observations are of a time outside of 1971 to 2200.*--from"):
        Timeline(list(metric.all_series.values())).check_times()
