"""The life of a partition, step by step. What it must stand as a whole is in tests/simulation."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import pytest
from partition_world import World
from prometheus_client import CollectorRegistry
from simulation.naive_oracle import Branch, undisturbed
from simulation.scenarios import small_numbers
from structlog.testing import capture_logs

from pipeline.alerts.open_alerts import keep_newest
from pipeline.alerts.records import Alert, decode_alert
from pipeline.errors import BrokerError, Dropped
from pipeline.operations.metrics import WorkerMetrics
from pipeline.partition.loop import PartitionLoop
from pipeline.steps.batches.records import Standing


@pytest.fixture(autouse=True)
def _small_numbers() -> Iterator[None]:
    with small_numbers():
        yield


@pytest.fixture
def world() -> World:
    return World()


async def test_records_that_were_processed_already_are_left_out(world: World) -> None:
    loop = world.loop()
    await loop.assigned()
    await loop.batch(world.records(0, 20))
    await loop.batch(world.records(10, 25))
    await loop.batch(world.records(3, 9))
    await loop.checkpoint()
    assert await world.is_stored(25)


@pytest.mark.parametrize(("member", "sure", "asked"), [(True, True, 0), (False, True, 0), (True, False, 1)])
async def test_who_is_not_sure_to_be_the_owner_asks_before_it_works_on_what_is_in_hand(
    world: World, member: bool, sure: bool, asked: int
) -> None:
    loop = world.loop(surely_owner=lambda: sure)
    await loop.assigned()
    world.owner, world.asked = member, 0
    await loop.batch(world.records(0, 20))
    assert (world.asked, loop.position) == (asked, world.offset_after(20))


async def test_who_slept_and_lost_the_partition_works_on_nothing(world: World) -> None:
    """It published what the next owner says otherwise since people decided."""
    loop = world.loop(surely_owner=lambda: False)
    await loop.assigned()
    world.owner = False
    with pytest.raises(Dropped, match=r"sim\[0\] was given to another worker while this one slept"):
        await loop.batch(world.records(0, 20))
    assert (world.sent, len(loop.core.state), loop.checkpoints.claimed) == ([], 0, False)


async def test_series_in_probation_are_those_that_can_raise_no_alert_yet(world: World) -> None:
    loop = world.loop()
    await loop.assigned()
    assert loop.core.warming == 0
    await loop.batch(world.records(0, 5))
    assert loop.core.warming == len(loop.core.state) > 0
    await loop.batch(world.records(5, 60))
    assert 0 < loop.core.warming < len(loop.core.state)


async def test_series_at_home_are_no_matter(world: World) -> None:
    metrics = WorkerMetrics(CollectorRegistry())
    loop = world.loop(metrics=metrics)
    await loop.assigned()
    await loop.begin(world.standing())
    await loop.batch(world.records(0, 60))
    assert metrics.health.problems() == []


# A past with a hole


async def test_a_first_start_reads_from_where_the_log_begins(world: World) -> None:
    loop = world.loop()
    await loop.assigned()
    assert await loop.begin(world.standing(first=7)) == 7
    assert loop.checkpointed == -1


async def test_where_nothing_was_processed_nothing_was_lost(world: World) -> None:
    loop = world.loop()
    await loop.assigned()
    with capture_logs() as logs:
        assert await loop.begin(world.standing(0)) == 0
    assert not logs


async def test_a_state_is_read_on_at_its_own_offset_whatever_is_committed(world: World) -> None:
    loop = world.loop()
    await loop.assigned()
    await loop.batch(world.records(0, 20))
    await loop.checkpoint()
    for committed in (None, 0, world.offset_after(40)):
        again = world.loop()
        await again.assigned()
        assert await again.begin(world.standing(committed)) == world.offset_after(20)


async def test_a_stored_offset_behind_the_end_of_the_log_is_an_error_with_the_mend(world: World) -> None:
    loop = world.loop()
    await loop.assigned()
    await loop.batch(world.records(0, 20))
    await loop.checkpoint()
    again = world.loop()
    await again.assigned()
    with pytest.raises(BrokerError, match=r"in\[0\] ends at offset 3, .*tidewatch state reset sim"):
        await again.begin(Standing(0, 3))


async def test_a_lost_state_is_read_back_quietly_and_is_what_was_lost(world: World) -> None:
    committed = world.offset_after(40)
    loop = world.loop()
    with capture_logs() as logs:
        assert await loop.assigned() is None
        assert await loop.begin(world.standing(committed)) == 0
        assert loop.checkpointed == committed
        await loop.batch(world.records(0, 30))
        world.now = 10_000.0
        await loop.idle()
        assert await loop.checkpoint() == committed
        assert not world.sent
        assert (await world.stored())[0] == -1  # neither by time nor by force
        await loop.batch(world.records(30, 50))
    messages = [m.value for m in world.scenario.oracle[0].messages]
    published = world.scenario.oracle[0].published
    assert sorted(v or b"" for v, _ in world.sent) == sorted(v or b"" for v in messages[published[40] : published[50]])
    await loop.checkpoint()
    assert await world.is_stored(50)
    (lost,) = [x for x in logs if x["event"] == "state lost, reading back quietly"]
    assert (lost["since"], lost["records"], lost["complete"]) == (0, committed, True)
    (done,) = [x for x in logs if x["event"] == "state rebuilt"]
    assert (done["offset"], done["records"], done["complete"]) == (committed, committed, True)


async def test_a_crash_while_reading_back_begins_it_again(world: World) -> None:
    committed = world.offset_after(40)
    for _ in range(2):
        loop = world.loop()
        assert await loop.assigned() is None
        assert await loop.begin(world.standing(committed)) == 0
        await loop.batch(world.records(0, 30))
        await loop.revoked()
    assert (await world.stored())[0] == -1
    assert not world.sent


async def test_how_far_is_read_back_is_a_setting(world: World) -> None:
    loop = world.loop(rebuild_records=10)
    await loop.assigned()
    assert await loop.begin(world.standing(world.offset_after(40))) == world.offset_after(40) - 10


def told(world: World, n: int) -> dict[str, Alert]:
    """What the alert topic holds after n records."""
    oracle, newest = world.scenario.oracle[0], dict[str, Alert]()
    for message in oracle.messages[: oracle.published[n]]:
        if message.topic == "alerts":
            keep_newest(newest, decode_alert(message.value or b""))
    return newest


def open_at(world: World) -> int:
    """A number of records after which an alert is open, not too early."""
    return next(n for n in range(20, 60) if any(a.status != "resolved" for a in told(world, n).values()))


async def test_where_history_is_gone_open_alerts_go_on_from_the_alert_topic(world: World) -> None:
    n = open_at(world)
    world.told = told(world, n)
    first, committed = world.offset_after(n - 3), world.offset_after(n)
    open_ = {a.series: a for a in world.told.values() if a.status != "resolved"}
    loop = world.loop()
    await loop.assigned()
    with capture_logs() as logs:
        assert await loop.begin(world.standing(committed, first=first)) == first
        await loop.batch(world.records(n - 3, n))
    assert not world.sent
    (done,) = [x for x in logs if x["event"] == "state rebuilt"]
    assert (done["complete"], done["alerts_taken_up"]) == (False, len(open_))
    active = {x for x in loop.core.state.names if x and loop.core.life.active(loop.core.state, row_of(loop, x))}
    assert active == set(open_)
    fresh = world.scenario.stream.core(0)
    fresh.miss(first)
    end = max([committed, *(a.evidence.offset + 1 for a in world.told.values())])
    branch = Branch(fresh.state.snapshot(everything=True), first, committed, end, world.told)
    expected = undisturbed(world.scenario.stream, 0, world.scenario.partitions[0], branch)
    assert (await world.stored())[1] == expected.states[n]
    await loop.batch(world.records(n, 60))
    await loop.checkpoint()
    assert (await world.stored())[1] == expected.states[60]
    ends = [decode_alert(v or b"") for t, (v, _) in zip(world.topics, world.sent, strict=True) if t == "alerts"]
    for series, alert in open_.items():
        resolved = [a for a in ends if a.id == alert.id and a.status == "resolved"]
        assert len(resolved) == 1 or loop.core.life.active(loop.core.state, row_of(loop, series))
        assert all(a.series == series and a.sequence > alert.sequence for a in ends if a.id == alert.id)


def row_of(loop: PartitionLoop, series: str) -> int:
    row = loop.core.state.row_of(series)
    assert row is not None
    return row


async def test_a_state_whose_records_expired_meanwhile_is_told_once_and_goes_on_behind_the_gap(world: World) -> None:
    loop = world.loop()
    await loop.assigned()
    await loop.batch(world.records(0, 20))
    await loop.checkpoint()
    stored, first = world.offset_after(20), world.offset_after(30)
    again = world.loop()
    await again.assigned()
    world.told = told(world, 20)
    with capture_logs() as logs:
        assert await again.begin(world.standing(stored, first=first)) == first
        await again.batch(world.records(30, 60))
    (missed,) = [x for x in logs if x["event"] == "records expired before they were read"]
    assert (missed["stored"], missed["log_start"], missed["missed"]) == (stored, first, first - stored)
    await again.checkpoint()
    assert (await world.stored())[0] == world.offset_after(60)


async def test_records_that_expire_before_a_loop_that_runs_make_a_hole_as_well(world: World) -> None:
    loop = world.loop()
    await loop.assigned()
    await loop.batch(world.records(0, 20))
    late = world.records(30, 60)
    late.missed = int(late.offsets[0]) - loop.position
    with capture_logs() as logs:
        await loop.batch(late)
    assert [x["missed"] for x in logs if x["event"] == "records expired before they were read"] == [late.missed]
    await loop.checkpoint()
    core = world.scenario.stream.core(0)
    core.state.restore(world.state_after(20))
    core.miss(late.missed)
    start = int(late.offsets[0])
    branch = Branch(core.state.snapshot(everything=True), start, start, start)
    expected = undisturbed(world.scenario.stream, 0, world.scenario.partitions[0], branch)
    assert (await world.stored())[1] == expected.states[60]


async def test_who_takes_over_knows_what_is_open_at_once_and_who_gave_away_tells_nothing(world: World) -> None:
    registries = CollectorRegistry(), CollectorRegistry()
    first, second = (WorkerMetrics(registry) for registry in registries)

    def open_alerts(registry: CollectorRegistry) -> dict[tuple[str, str], float]:
        samples = [s for f in registry.collect() for s in f.samples if s.name == "tidewatch_alerts_open"]
        return {(s.labels["status"], s.labels["severity"]): s.value for s in samples}

    loop = world.loop(metrics=first)
    await loop.assigned()
    await loop.begin(world.standing())
    assert set(open_alerts(registries[0]).values()) == {0}
    end = len(world.scenario.partitions[0].records)
    n = 0
    while n < end and not any(open_alerts(registries[0]).values()):
        await loop.batch(world.records(n, n + 1))
        n += 1
    held = open_alerts(registries[0])
    lives = loop.core.state.arrays["alerts"]
    assert sum(held.values()) == np.count_nonzero(lives["status"]) > 0
    await loop.revoked()
    assert open_alerts(registries[0]) == {}
    after = world.loop(metrics=second)
    await after.assigned()
    await after.begin(world.standing())
    assert open_alerts(registries[1]) == held
