"""The life of a partition, step by step. What it must stand as a whole is in tests/simulation."""

from __future__ import annotations

import dataclasses
from collections.abc import Awaitable, Callable, Iterator

import numpy as np
import pytest
from partition_world import World
from prometheus_client import CollectorRegistry
from simulation.naive_oracle import Branch, undisturbed
from simulation.scenarios import small_numbers
from simulation.world import BEGUN, Partition, Record
from structlog.testing import capture_logs

from pipeline.alerts.open_alerts import keep_newest
from pipeline.alerts.records import Alert, decode_alert
from pipeline.errors import BrokerError, Dropped
from pipeline.operations.metrics import WorkerMetrics
from pipeline.partition.growth import Growth
from pipeline.partition.loop import PartitionLoop
from pipeline.partition.stores.memory import MemoryStore
from pipeline.steps.batches import RecordBatch, Standing
from producers.records import PartitionsAdded, decode_control, encode_control


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


async def test_series_in_pieces_are_told_by_metric_health_and_log_and_scored_all_the_same(world: World) -> None:
    registry = CollectorRegistry()
    metrics = WorkerMetrics(registry)
    loop = world.loop(metrics=metrics)
    await loop.assigned()
    await loop.begin(Standing(0, 0, None, partitions=7))
    with capture_logs() as lines:
        keyed = world.records(0, 40)
        keyless = dataclasses.replace(keyed, keys=[None] * len(keyed))
        await loop.batch(keyless)
        for _ in range(5):
            metrics.progress.tick(given=1, opened=1)
    (problem,) = metrics.health.problems()
    assert "sim[0]: " in problem
    assert "their records have no key" in problem
    assert [line["partition"] for line in lines if line["event"] == "series not at home"] == [0]
    assert (registry.get_sample_value("tidewatch_series_away_ratio", {"stream": "sim", "partition": "0"}) or 0) > 0.1
    assert len(loop.core.state) > 0
    await loop.revoked()
    assert metrics.health.problems() == []


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
    branch = Branch(fresh.state.snapshot(everything=True), first, committed, end, Growth(), world.told)
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
    branch = Branch(core.state.snapshot(everything=True), start, start, start, Growth())
    expected = undisturbed(world.scenario.stream, 0, world.scenario.partitions[0], branch)
    assert (await world.stored())[1] == expected.states[60]


# Partitions


async def stored_with(world: World, partitions: int) -> None:
    loop = world.loop()
    await loop.assigned()
    await loop.begin(world.standing(partitions=partitions))
    await loop.batch(world.records(0, 20))
    await loop.checkpoint()


async def test_that_partitions_were_added_is_written_to_the_log_once(world: World) -> None:
    await stored_with(world, 2)
    for _ in range(2):
        loop = world.loop()
        await loop.assigned()
        await loop.begin(world.standing(partitions=5))
        await loop.batch(world.records(20, 30))
        await loop.checkpoint()
    ((_, value),) = world.appended
    assert decode_control(value) == PartitionsAdded(2, 5)


async def test_whoever_may_not_write_there_says_what_follows(world: World) -> None:
    await stored_with(world, 2)
    world.may_append = False
    loop = world.loop()
    await loop.assigned()
    with capture_logs() as logs:
        await loop.begin(world.standing(partitions=3))
    assert any("may not write to the input topic" in x["event"] for x in logs)


async def test_a_control_record_moves_series_where_it_stands_and_is_no_dead_letter(world: World) -> None:
    n = open_at(world)
    whole = world.records(0, 60)
    key, value = encode_control(PartitionsAdded(2, 3))
    at = [*range(n), -1, *range(n, 60)]
    mixed = RecordBatch(
        "in", 0, np.arange(61), 61,
        [key if i < 0 else whole.keys[i] for i in at], [value if i < 0 else whole.values[i] for i in at], np.full(61, BEGUN),
    )  # fmt: skip
    log = Partition([Record(i, 0.0, k, v) for i, (k, v) in enumerate(zip(mixed.keys, mixed.values, strict=True))], 61)
    expected = undisturbed(world.scenario.stream, 0, log)
    loop = world.loop()
    await loop.assigned()
    await loop.begin(world.standing(partitions=3))
    await loop.batch(mixed)
    await loop.checkpoint()
    assert (await world.stored())[1] == expected.states[61]
    assert sorted(v or b"" for v, _ in world.sent) == sorted(m.value or b"" for m in expected.messages)
    assert [t for t in world.topics if t == "dead"] == [m.topic for m in expected.messages if m.topic == "dead"]
    moved = [decode_alert(m.value or b"") for m in expected.messages if b'"reason":"moved"' in (m.value or b"")]
    assert all(a.status == "resolved" for a in moved)
    world.store = MemoryStore()
    again = world.loop()  # a duplicate, right behind the first
    twice = RecordBatch("in", 0, np.arange(2), 2, [key, key], [value, value], np.zeros(2, np.int64))
    await again.assigned()
    await again.begin(world.standing(partitions=3))
    await again.batch(twice)
    assert again.position == 2


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


def lines_of(*controls: PartitionsAdded | bytes) -> RecordBatch:
    """Control records, one at each offset from 1000 on; bytes are the value of one that nobody knows."""
    key, _ = encode_control(PartitionsAdded(1, 2))
    values = [c if isinstance(c, bytes) else encode_control(c)[1] for c in controls]
    n = len(values)
    return RecordBatch("in", 0, np.arange(1000, 1000 + n), 1000 + n, [key] * n, values, np.zeros(n, np.int64))


@pytest.mark.parametrize(
    ("control", "why"),
    [
        (PartitionsAdded(1, 1_000_000_007), b"it tells of 1000000007 partitions, Kafka counts 2"),
        (PartitionsAdded(2, 3), b"it tells of 3 partitions, Kafka counts 2"),
        (b'\0{"control":"other"}', b"a control record of a kind"),
        (b"\0", b"a control record of a kind"),
    ],
)
async def test_a_control_record_of_a_stranger_ends_nothing_and_is_a_dead_letter(
    world: World, control: PartitionsAdded | bytes, why: bytes
) -> None:
    loop = world.loop(count_partitions=counting(2))
    await loop.assigned()
    await loop.begin(world.standing(partitions=2))
    await loop.batch(world.records(0, open_at(world)))
    before, sent = loop.core.state.snapshot(everything=True), len(world.sent)
    await loop.batch(lines_of(control))
    assert loop.core.state.snapshot(everything=True) == before
    assert world.topics[sent:] == ["dead"]
    assert world.details[-1].startswith(why)
    assert loop.position == 1001


async def test_a_control_record_of_fewer_partitions_than_there_were_from_the_start_is_a_dead_letter(
    world: World,
) -> None:
    loop = world.loop()
    await loop.assigned()
    await loop.begin(world.standing(partitions=4))
    await loop.batch(world.records(0, 60))
    await loop.checkpoint()
    again = world.loop()  # what was held is stored
    await again.assigned()
    await again.begin(world.standing(partitions=4))
    before, sent = again.core.state.snapshot(everything=True), len(world.sent)
    await again.batch(lines_of(PartitionsAdded(2, 3), PartitionsAdded(1, 2), PartitionsAdded(2, 4)))
    assert again.core.state.snapshot(everything=True) == before
    assert world.topics[sent:] == ["dead", "dead"]
    assert world.details[-1] == b"it tells of 2 partitions, the topic has had 4 since before"


async def test_a_growth_that_another_worker_saw_first_is_asked_for_again(world: World) -> None:
    loop = world.loop(count_partitions=counting(3))
    await loop.assigned()
    await loop.begin(world.standing(partitions=2))
    await loop.batch(world.records(0, 60))
    sent = len(world.sent)
    with capture_logs() as logs:
        await loop.batch(lines_of(PartitionsAdded(2, 3), PartitionsAdded(2, 3)))
    assert [x["after"] for x in logs if x["event"] == "series moved"] == [3]
    assert "dead" not in world.topics[sent:]


async def test_a_rebuild_believes_every_growth_of_a_topic_that_grew_twice_since(world: World) -> None:
    whole = world.records(0, 60)
    controls = [encode_control(PartitionsAdded(2, 3)), encode_control(PartitionsAdded(3, 7))]
    keys, values = list(whole.keys), list(whole.values)
    for at, (key, value) in zip((20, 41), controls, strict=True):
        keys.insert(at, key)
        values.insert(at, value)
    log = RecordBatch("in", 0, np.arange(62), 62, keys, values, np.zeros(62, np.int64))
    states = []
    for partitions in ((2, 3, 7), (7,)):  # as it grew; and read back from the log, long after
        world.store = MemoryStore()
        for first, count in zip((0, 20, 41), partitions, strict=False):
            loop = world.loop(append=None)
            await loop.assigned()
            await loop.begin(Standing(0, 62 if len(partitions) == 1 else first, None, count))
            some = log.since(loop.position)
            await loop.batch(some if len(partitions) == 1 else some.before({2: 20, 3: 41, 7: 62}[count]))
            await loop.checkpoint()
        states.append((await world.stored())[1])
    assert states[0] == states[1]


def counting(partitions: int) -> Callable[[], Awaitable[int]]:
    async def count() -> int:
        return partitions

    return count
