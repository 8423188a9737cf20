"""Compact batches through the whole core: they say what JSON says, and what is written twice changes nothing, however the log is cut."""

from __future__ import annotations

import random
from collections.abc import Sequence
from functools import cache

import numpy as np
from frozen_states import MINUTE, stream_of
from hypothesis import given, settings
from hypothesis import strategies as st
from msgspec.structs import replace
from prometheus_client import CollectorRegistry
from simulation.scenarios import small_numbers

from pipeline.alerts.records import Alert
from pipeline.operations.metrics import WorkerMetrics
from pipeline.partition.core import PartitionCore
from pipeline.partition.stream import Stream
from pipeline.steps.batches.records import RecordBatch
from producers.batches import Batch, encode
from producers.records import Observation
from producers.records import encode as json

T0 = 1_000_000 * MINUTE
SERIES = ("a", "b", "c")


@cache
def stream() -> Stream:
    return stream_of("metric")


@cache
def rows() -> tuple[tuple[str, int, float], ...]:
    """A few hours of three series; one of them is out of its range for a while."""
    chance = random.Random(3)
    return tuple(
        (name, T0 + minute * MINUTE, chance.gauss(10, 1) + 60 * (name == "b" and 60 <= minute < 72))
        for minute in range(80)
        for name in SERIES
    )


def batch(start: int, stop: int, source: str = "raw/x/0") -> bytes:
    """Rows start..stop, their place among all as their position: two to a record of the source."""
    some, place = rows()[start:stop], np.arange(start, stop)
    which = np.array([SERIES.index(name) for name, _, _ in some])
    return encode(
        Batch(
            SERIES, which, np.array([t for _, t, _ in some]), np.array([[v] for _, _, v in some]),
            sources=[source], positions=(np.zeros(len(some), np.int64), place // 2, place % 2),
        )
    )  # fmt: skip


def run(core: PartitionCore, values: Sequence[bytes], first: int = 0) -> list[Alert]:
    n = len(values)
    records = RecordBatch("in", 0, np.arange(first, first + n), first + n, [None] * n, values, np.zeros(n, np.int64))
    observations, rejected = core.stream.decoder.decode(records)
    assert not rejected
    return [a for _, settled in core.process(observations) for a in settled.alerts]


def told(alerts: Sequence[Alert]) -> list[Alert]:
    """What alerts say, but for where in the log the observation stands."""
    return [replace(a, evidence=replace(a.evidence, offset=0)) for a in alerts]


def fields(core: PartitionCore) -> dict[str, bytes]:
    """The state but for what says where in the log something stood: positions, and the offset that an alert's row remembers."""
    core.state.arrays["alerts"]["offset"] = 0
    return {f: v for f, v in core.state.snapshot(everything=True).items() if not f.startswith("sources:")}


@cache
def undisturbed() -> tuple[list[Alert], dict[str, bytes]]:
    core = stream().core(0)
    alerts = run(core, [json(Observation(*row)) for row in rows()])
    assert len(alerts) >= 2
    return told(alerts), fields(core)


def test_batches_say_what_json_says() -> None:
    alerts, state = undisturbed()
    core = stream().core(0)
    assert told(run(core, [batch(i, min(i + 50, 240)) for i in range(0, 240, 50)])) == alerts
    assert fields(core) == state


def log(chance: random.Random) -> list[tuple[int, int]]:
    """What writers of one source leave in a log, who die, and begin again where they had committed, with a zombie among them."""
    written: list[tuple[int, int]] = []
    ahead = 0
    while ahead < 240:
        start = chance.randint(max(ahead - 60, 0), ahead)
        stop = min(start + chance.randint(1, 70), 240)
        written.append((start, stop))
        ahead = max(ahead, stop)
    return written


@given(st.integers(0, 1 << 30))
@settings(max_examples=6, deadline=None)
def test_what_is_written_twice_changes_nothing_however_the_log_is_cut(seed: int) -> None:
    chance = random.Random(seed)
    written = log(chance)
    values = [batch(*piece) for piece in written]
    cuts = [chance.randint(1, 4) for _ in range(4)]
    with small_numbers():
        whole = stream().core(0)
        alerts = run(whole, values)
        cut = stream().core(0)
        again: list[Alert] = []
        at = 0
        for n in [*cuts, len(values)]:
            again += run(cut, values[at : at + n], first=at)
            at += len(values[at : at + n])
            other = stream().core(0)  # a worker that dies, and its successor
            other.state.restore(cut.state.snapshot(everything=True))
            cut = other
        assert again == alerts
        assert cut.state.snapshot(everything=True) == whole.state.snapshot(everything=True)
        one = stream().core(0)
        assert told(alerts) == told(run(one, [batch(0, 240)]))
        assert fields(whole) == fields(one)
    assert told(alerts) == undisturbed()[0]


def test_sources_are_told_apart() -> None:
    core = stream().core(0)
    run(core, [batch(0, 60), batch(0, 60, "raw/x/1"), batch(0, 60)])
    assert core.state.scalars["observations"] == 120  # of which the policy says that 60 are late


async def test_what_came_before_is_counted_and_its_positions_are_stored() -> None:
    from partition_world import World

    registry = CollectorRegistry()
    with small_numbers():
        world = World()
        loop = world.loop(metrics=WorkerMetrics(registry))
        await loop.assigned()
        await loop.begin(world.standing())
        values = [batch(0, 9), batch(3, 12), batch(0, 12)]
        await loop.batch(RecordBatch("in", 0, np.arange(3), 3, [None] * 3, values, np.zeros(3, np.int64)))
        await loop.checkpoint()
        counted = {
            name: registry.get_sample_value(f"tidewatch_{name}_total", {"stream": "sim", "partition": "0"})
            for name in ("observations", "seen_before")
        }
        assert counted == {"observations": 12, "seen_before": 18}
        offset, stored = await world.stored()
        assert (offset, stored["sources:0"]) == (3, b'[["raw/x/0",5,1,1]]')
        await loop.revoked()
        next_one = world.loop()
        await next_one.assigned()
        assert next_one.core.state.positions.newest("raw/x/0") == (5, 1)
