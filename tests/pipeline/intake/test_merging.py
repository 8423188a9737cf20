"""Sources in one order, and that order in batches: nothing lost or twice, each source in its own order, each series in one partition."""

from __future__ import annotations

import random

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline.intake.grouping import Grouping
from pipeline.intake.merging import PATIENCE, Patience, Settling, Source, merged
from pipeline.steps.batches.observations import Observations
from producers.batches import decode
from producers.formats.base import COUNTER
from producers.partitioning import home

T0 = 1_404_172_800_000
Row = tuple[int, str, int]  # offset, series, time


def observations(rows: list[Row]) -> Observations:
    offsets, names, times = zip(*rows, strict=True) if rows else ((), (), ())
    return Observations(
        np.array(offsets, np.int64), list(names), T0 + np.array(times, np.int64), np.ones((len(rows), 1))
    )


def taken(source: Source, *rows: Row, now: float = 0.0, kafka: int = 0) -> None:
    source.take(observations(list(rows)), np.full(len(rows), kafka), now)
    source.read = rows[-1][0] + 1


def out(sources: list[Source], now: float = 0.0, settled: int = 1 << 62) -> list[tuple[str, int]]:
    if (found := merged(sources, now, settled)) is None:
        return []
    pieces, whose, order = found
    rows = [
        (sources[w].name, int(p.positions[0, i])) for p, w in zip(pieces, whose, strict=True) for i in range(len(p))
    ]
    return [rows[i] for i in order]


def test_what_is_ahead_waits_for_what_is_behind_and_has_more() -> None:
    a, b = Source("a", 0), Source("b", 0)
    taken(a, (0, "x", 10), (1, "x", 30), (2, "x", 50))
    assert out([a, b]) == []  # of b nothing is known yet
    taken(b, (0, "x", 20), (1, "x", 40))
    assert out([a, b]) == [("a", 0), ("b", 0), ("a", 1), ("b", 1)]
    assert (a.emitted, b.emitted, a.held) == (2, 2, 1)
    b.at_end = True
    assert out([a, b]) == [("a", 2)]


def test_a_source_that_is_silent_though_there_is_more_is_waited_for_a_while_only() -> None:
    a, b = Source("a", 0), Source("b", 0)
    taken(a, (0, "x", 10), now=PATIENCE)
    assert out([a, b], now=PATIENCE - 0.1) == []
    assert out([a, b], now=PATIENCE) == [("a", 0)]


def test_a_record_goes_whole_and_a_source_keeps_its_order_whatever_its_clock_says() -> None:
    a, b = Source("a", 0), Source("b", 0, at_end=True)
    taken(a, (0, "x", 10), (0, "y", 90), (1, "x", 20), (2, "x", 100))
    taken(b, (0, "x", 50))
    assert out([a, b]) == [("b", 0), ("a", 0), ("a", 0), ("a", 1), ("a", 2)]


def test_a_clock_that_runs_ahead_of_kafkas_holds_nobody_up() -> None:
    a, b = Source("a", 0), Source("b", 0)
    taken(a, (0, "x", 10**9), kafka=T0 + 10)
    taken(b, (0, "x", 20), (1, "x", 30), kafka=T0 + 40)
    assert out([a, b]) == [("a", 0)]
    taken(a, (1, "x", 40), kafka=T0 + 40)
    assert out([a, b]) == [("b", 0), ("b", 1)]


def test_what_cannot_be_named_keeps_its_number() -> None:
    a = Source("a", 0, at_end=True)
    a.take(
        observations([(4, "x", 1), (4, "\0", 1), (4, "y", 1)]),
        np.zeros(3, np.int64),
        0.0,
        np.array([True, False, True]),
    )
    found = merged([a], 0.0)
    assert found is not None
    assert found[0][0].positions.tolist() == [[4, 4], [0, 2]]


def test_a_process_that_was_paused_has_not_waited_meanwhile() -> None:
    now = [100.0]
    patience = Patience(lambda: now[0])
    for _ in range(3):
        now[0] += 0.05
        patience()
    now[0] += 3600
    assert patience() == pytest.approx(0.25)


def test_the_end_of_a_source_counts_only_for_what_was_read_before_it_was_asked() -> None:
    a, b, settling = Source("a", 0), Source("b", 0), Settling()
    for source in (a, b):
        source.answered(1000, 0.0, at_end=True)
    assert out([a, b], settled=settling.place([a, b], 0.0)) == []
    taken(a, (0, "x", 30))  # the process was paused, and b's end is of before
    a.answered(9000, 0.1, at_end=True)
    assert out([a, b], settled=settling.place([a, b], 0.1)) == []
    taken(b, (0, "x", 20))
    b.answered(9100, 0.2, at_end=True)
    assert out([a, b], settled=settling.place([a, b], 0.2)) == [("b", 0), ("a", 0)]
    taken(a, (1, "x", 40))
    assert out([a], settled=settling.place([a], 1.0)) == [("a", 1)]  # alone it waits for nobody


@given(st.integers(0, 1 << 30))
@settings(deadline=None)
def test_every_observation_goes_out_once_in_the_order_of_its_source_and_of_its_series(seed: int) -> None:
    chance = random.Random(seed)
    names = [f"s{i}" for i in range(6)]
    logs: list[list[Row]] = [[] for _ in range(3)]
    for moment in range(40):  # keyless: each record of whichever partition, a record of one or two series
        log = logs[chance.randrange(3)]
        offset = log[-1][0] + 1 if log else 0
        log.extend((offset, name, moment) for name in chance.sample(names, chance.randint(1, 2)))
    sources = [Source(name, 0) for name in "abc"]
    grouping, partitions = Grouping(4), {p: [] for p in range(4)}  # type: ignore[var-annotated]
    left = [list(log) for log in logs]
    while any(left) or any(s.held for s in sources):
        i = chance.randrange(3)
        n = chance.randint(0, 6)
        while 0 < n < len(left[i]) and left[i][n][0] == left[i][n - 1][0]:
            n += 1
        if rows := left[i][:n]:
            taken(sources[i], *rows)
            del left[i][:n]
        for source, rows in zip(sources, left, strict=True):
            source.at_end = not rows
        if (found := merged(sources, 0.0)) is not None:
            for partition, value in grouping.batches(*found, [s.name for s in sources]):
                partitions[partition].append(decode(value))
    told: list[tuple[str, int, int]] = []
    for partition, batches in partitions.items():
        newest: dict[str, tuple[int, int]] = {}
        times: dict[str, int] = {}
        for batch in batches:
            assert batch.positions is not None
            for series, time, source, offset, number in zip(
                batch.series.tolist(), batch.timestamps.tolist(), *(c.tolist() for c in batch.positions), strict=True
            ):
                name, at = batch.names[series], (offset, number)
                assert home(name, 4) == partition
                assert newest.get(batch.sources[source], (-1, -1)) < at
                assert times.get(name, 0) <= time  # the pieces of a series come in the order of time
                newest[batch.sources[source]], times[name] = at, time
                told.append((batch.sources[source], offset, number))
    expected = [
        (source, offset, number)
        for source, log in zip("abc", logs, strict=True)
        for offset in sorted({o for o, _, _ in log})
        for number in range(sum(o == offset for o, _, _ in log))
    ]
    assert sorted(told) == sorted(expected)


def test_kinds_go_along() -> None:
    a, b = Source("a", 0, at_end=True), Source("b", 0, at_end=True)
    counted = observations([(0, "x", 20)])
    counted.kinds, counted.begun = np.array([COUNTER], np.uint8), np.array([T0])
    a.take(counted, np.zeros(1, np.int64), 0.0)
    taken(b, (0, "x", 10))
    found = merged([a, b], 0.0)
    assert found is not None
    ((_, value),) = Grouping(1).batches(*found, ["a", "b"])
    batch = decode(value)
    assert batch.kinds is not None
    assert batch.begun is not None
    assert (batch.kinds.tolist(), batch.begun.tolist()) == ([0, COUNTER], [0, T0])


def test_names_are_forgotten_where_there_are_many_and_go_where_they_went(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("pipeline.intake.grouping._MOST_NAMES", 5)
    grouping, found = Grouping(3), {}
    for turn in range(6):
        a = Source("a", 0, at_end=True)
        taken(a, *((i, f"s{(turn + i) % 9}", i) for i in range(4)))
        pieces = merged([a], 0.0)
        assert pieces is not None
        for partition, value in grouping.batches(*pieces, ["a"]):
            found |= dict.fromkeys(decode(value).names, partition)
    assert found == {f"s{i}": home(f"s{i}", 3) for i in range(9)}
