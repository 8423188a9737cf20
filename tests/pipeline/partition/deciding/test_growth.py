"""How many partitions there are is a decision: who tells of it, where it comes to pass, and what control records of versions before still count for."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from datetime import timedelta
from typing import Any

import msgspec
import numpy as np
import pytest
from frozen_states import log_of, process, stream_of
from partition_world import World
from prometheus_client import CollectorRegistry
from simulation.naive_oracle import Oracle, undisturbed
from simulation.scenarios import name, small_numbers
from simulation.worker import IDENTITY
from simulation.world import BEGUN, Partition, Record
from structlog.testing import capture_logs

from pipeline.alerts.records import Alert, decode_alert
from pipeline.errors import BrokerError
from pipeline.operations.metrics import WorkerMetrics
from pipeline.partition.deciding.carrying import applied, in_force_of
from pipeline.partition.deciding.decisions import IN_FORCE, Decisions, Entry, InForce, Taken, unpacked, valid
from pipeline.partition.deciding.growth import OUTDATED_CONTROL, Grown, Growth
from pipeline.partition.deciding.listing import Listing
from pipeline.partition.deciding.what import Decision, Partitions, SettingsOf, Silence
from pipeline.partition.loop import PartitionLoop
from pipeline.partition.stores.base import Checkpoint
from pipeline.partition.stores.memory import MemoryStore
from pipeline.partition.stream import create_stream
from pipeline.partition.streams import Streams, decided
from pipeline.steps.batches.records import RecordBatch, Standing
from producers.partitioning import hash_of
from producers.records import CONTROL_KEY


def control(before: int, after: int) -> bytes:
    """As versions before wrote it."""
    return b'\0{"control":"partitions","before":%d,"after":%d}' % (before, after)


class Place(World):
    """A partition with its topic of decisions and its list; `ends` is where Kafka says that the logs end, `log` what is in its own."""

    def __init__(self, *, controls: dict[int, bytes] | None = None) -> None:
        super().__init__()
        self.lines: list[Entry] = []
        self.register = MemoryStore()
        self.listing = Listing("sim", self.register, self.read, of_log="t", stamp=lambda: ("ann", "now"))
        self.ends: list[int] | None = [0, 0]
        self.asked = 0
        whole = self.records(0, 60)
        keys, values = list(whole.keys), list(whole.values)
        for at, value in sorted((controls or {}).items()):
            keys.insert(at, CONTROL_KEY)
            values.insert(at, value)
        n = len(keys)
        self.log = RecordBatch("in", 0, np.arange(n), n, keys, values, np.full(n, BEGUN))

    async def read(self) -> Sequence[Entry]:
        return list(self.lines)

    async def write(self, entries: Sequence[Entry]) -> None:
        self.lines += entries

    async def log_ends(self) -> Sequence[int]:
        self.asked += 1
        if self.ends is None:
            raise BrokerError("away")
        return self.ends

    async def decide(self, what: Any) -> None:
        await self.listing.propose(Decision(f"d{what}", what, "ann", ""))

    async def worker(
        self, partitions: int = 2, *, decides: bool = True, committed: int | None = None, **options: Any
    ) -> PartitionLoop:
        if decides:
            of = self.scenario.stream
            await self.decide(SettingsOf(decided(of.settings), of.model.hash, {}))
            decisions = Decisions(
                "sim", 0, log="t", listed=self.listing, journal=self, still_owner=self.still_owner
            )  # fmt: skip
            options |= {"decisions": decisions, "log_ends": self.log_ends}
        loop = self.loop(**options)
        await loop.assigned()
        await loop.begin(Standing(0, max(loop.position, committed or 0, 0), committed, partitions))
        return loop

    def cut(self, first: int, last: int) -> RecordBatch:
        return self.log.since(first).before(last) if last < len(self.log) else self.log.since(first)

    async def counts(self) -> list[int]:
        """The counts in the list."""
        return [d.what.count for d in await self.listing.after(0) if isinstance(d.what, Partitions)]

    def oracle(self) -> Oracle:
        keys, values = self.log.keys, self.log.values
        records = [Record(i, 0.0, k, v) for i, (k, v) in enumerate(zip(keys, values, strict=True))]
        return undisturbed(self.scenario.stream, 0, Partition(records, len(records)), decided=valid(self.lines, "t"))

    def ended(self) -> list[Alert]:
        """Records of alerts that ended because their series moved."""
        bodies = [v for t, (v, _) in zip(self.topics, self.sent, strict=True) if t == "alerts"]
        return [a for a in map(decode_alert, filter(None, bodies)) if a.reason == "moved"]


@pytest.fixture(autouse=True)
def _small_numbers() -> Iterator[None]:
    with small_numbers():
        yield


def growth_of(loop: PartitionLoop) -> Growth:
    return unpacked(loop.core.state.in_force).growth


async def test_the_first_who_comes_says_how_many_there_are_with_the_settings_and_moves_nobody() -> None:
    place = Place()
    place.ends = [40, 0]
    for _ in range(2):
        loop = await place.worker()
        await loop.batch(place.cut(loop.position, max(loop.position, 0) + 20))
        await loop.checkpoint()
    (taken,) = [line for line in place.lines if isinstance(line, Taken)]
    assert taken.offset == 0
    assert [type(d.what) for d in taken.decisions] == [SettingsOf, Partitions]
    assert taken.decisions[1].what == Partitions(2, (40, 0), "t")
    assert taken.decisions[1].by == "ann"
    assert growth_of(loop) == Growth(2, history=40)
    assert loop.core.partitions == 2
    assert (await place.counts(), place.asked) == ([2], 1)


async def grow(place: Place, cuts: Sequence[int], *, restart: bool, at: int = 20, end: int = 35) -> None:
    """There are 3 partitions where the log is read up to `at` and ends at `end`; the rest comes in parts, each maybe to another worker."""
    loop = await place.worker(2)
    await loop.batch(place.cut(0, at))
    await loop.checkpoint()
    place.ends = [end, 7, 0]
    loop = await place.worker(3)
    for first, last in zip((at, *cuts), (*cuts, 60), strict=True):
        await loop.batch(place.cut(first, last))
        if restart:
            await loop.revoked()
            loop = await place.worker(3)
    await loop.checkpoint()


@pytest.mark.parametrize("restart", [False, True])
@pytest.mark.parametrize("cuts", [(), (35,), (21, 34, 36), tuple(range(21, 60))], ids=["one", "there", "near", "all"])
async def test_series_move_where_the_log_ended_however_the_stream_is_cut(cuts: Sequence[int], restart: bool) -> None:
    place = Place()
    await grow(place, cuts, restart=restart)
    (offset, fields), oracle = await place.stored(), place.oracle()
    assert (offset, fields) == (60, oracle.states[60])
    assert sorted(v or b"" for v, _ in place.sent) == sorted(m.value or b"" for m in oracle.messages)
    assert await place.counts() == [2, 3]
    growth = unpacked(fields[IN_FORCE]).growth
    assert (growth.count, growth.before, growth.coming) == (3, 2, ())
    before, after = (of_oracle(place, oracle, n) for n in (35, 36))
    gone = {s for s in before if hash_of(s) % 3}
    assert gone
    assert not gone & {s for s in after if s != name_at(place, 35)}


def of_oracle(place: Place, oracle: Oracle, n: int) -> set[str]:
    """The series that are known after n records."""
    core = place.scenario.stream.core(0)
    state = oracle.states[n]
    assert state is not None
    core.state.restore(state)
    return {s for s in core.state.names if s}


def name_at(place: Place, offset: int) -> str:
    value = place.log.values[offset]
    return next((s for s in (name(f"s{k}", 0) for k in range(7)) if s.encode() in (value or b"")), "")


async def test_what_else_is_decided_is_taken_at_once_while_a_partition_is_behind() -> None:
    place = Place()
    loop = await place.worker(2)
    await loop.batch(place.cut(0, 20))
    await loop.checkpoint()
    place.ends = [50, 0, 0]
    loop = await place.worker(3)
    await loop.batch(place.cut(20, 25))
    await place.decide(Silence("*", 0))
    await loop.batch(place.cut(25, 30))
    held = unpacked(loop.core.state.in_force)
    assert held.growth == Growth(2, coming=(Grown(50, 3),))
    assert (len(held.silences), held.offset) == (1, 25)
    await loop.batch(place.cut(30, 60))
    await loop.checkpoint()
    assert (await place.stored())[1] == place.oracle().states[60]


async def test_a_lost_state_is_read_back_with_the_partitions_where_they_were_added() -> None:
    place = Place()
    await grow(place, (40,), restart=False)
    _, fields = await place.stored()
    place.store, sent = MemoryStore(), len(place.sent)
    place.ends = None  # nobody needs to ask
    loop = await place.worker(3, committed=60)
    await loop.batch(place.log)
    assert (await place.stored())[1] == fields
    assert len(place.sent) == sent


async def test_partitions_that_the_list_lost_before_anybody_took_them_are_told_of_again() -> None:
    place = Place()
    loop = await place.worker(2)
    await loop.batch(place.cut(0, 20))
    await loop.checkpoint()
    place.ends = None
    loop = await place.worker(3)
    await loop.batch(place.cut(20, 25))  # Kafka is away: goes on, and asks later
    assert growth_of(loop).told == 2
    place.ends, place.now = [25, 0], 100.0  # a broker that does not know the third yet
    await loop.batch(place.cut(25, 30))
    assert (growth_of(loop).count, await place.counts()) == (3, [2, 3])


async def test_series_in_pieces_are_told_by_metric_health_and_log_and_scored_all_the_same() -> None:
    registry = CollectorRegistry()
    metrics = WorkerMetrics(registry)
    place = Place()
    place.ends = [0] * 7
    loop = await place.worker(7, metrics=metrics)
    with capture_logs() as lines:
        keyed = place.records(0, 40)
        keyless = replace(keyed, keys=[None] * len(keyed))
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


# Growth as it is told


def test_what_is_no_more_than_was_told_says_nothing_new() -> None:
    growth = Growth(4).hear(6, end=90, offset=50)
    for count in (0, 2, 4, 6):
        assert growth.hear(count, end=100, offset=60) == growth
    assert growth.hear(8, end=70, offset=60).coming == ((90, 6), (90, 8))  # in their order
    assert growth.hear(8, end=95, offset=99).coming == ((90, 6), (99, 8))


def taken(offset: int, *what: Any, log: str = "t") -> Taken:
    return Taken("s", 0, "a", offset, tuple(Decision(f"{i}", w, "", "", 2 + i) for i, w in enumerate(what)), log)


def test_another_topic_of_that_name_says_nothing() -> None:
    stream = stream_of("metric")
    held, streams = InForce(1, growth=Growth(1)), Streams(stream)
    for log, told in (("t", 3), ("old", 1)):
        effect = applied(stream.core(0), held, taken(5, Partitions(3, (), log)), streams)
        assert (effect.in_force.growth.told, effect.in_force.serial) == (told, 2)


def test_a_budget_that_series_share_is_shared_among_all_partitions() -> None:
    stream = stream_of("metric")
    effect = applied(stream.core(0), InForce(1, growth=Growth(2)), taken(5, Partitions(6, (), "t")), Streams(stream))
    assert effect.core.partitions == 2
    assert effect.in_force.growth.next is not None
    effect = applied(effect.core, effect.in_force, effect.in_force.growth.next, Streams(stream))
    assert (effect.core.partitions, effect.in_force.growth) == (6, Growth(6, before=2))


# Versions before


@pytest.mark.parametrize(
    ("told", "before"),
    [
        ({"partitions": 4}, 4),
        ({"partitions": 6, "growth": (0, 4, 9)}, 4),  # its record is written, and not read yet
        ({"partitions": 6, "growth": (6, 4, 0)}, 6),
        ({"partitions": 4, "growth": (0, 0, 0)}, 4),
        ({}, 0),
    ],
)
def test_a_state_of_a_version_before_knows_how_many_there_were(told: dict[str, Any], before: int) -> None:
    stored = Checkpoint(5, 0, IDENTITY.model_copy(update={"format": 3, **told}), {})
    held = in_force_of(stored)
    assert (held.growth.told, held.begun) == (before, False)
    known = stored_with(stored, InForce(3, growth=Growth(9)))
    assert in_force_of(known).growth == Growth(9)


def stored_with(stored: Checkpoint, held: InForce) -> Checkpoint:
    return replace(stored, fields={IN_FORCE: held.packed()})


@pytest.mark.parametrize("value", [control(2, 3), control(1, 1_000_000_007), b'\0{"control":"other"}', b"\0"], ids=str)
async def test_a_control_record_ends_nothing_once_anything_was_decided_and_is_a_dead_letter(value: bytes) -> None:
    place = Place(controls={50: value})
    place.ends = [0] * 3
    loop = await place.worker(3)
    await loop.batch(place.cut(0, 50))
    before, sent = loop.core.state.snapshot(everything=True), len(place.sent)
    await loop.batch(place.cut(50, 51))
    assert loop.core.state.snapshot(everything=True) == before
    assert place.topics[sent:] == ["dead"]
    assert place.details[-1].decode() == OUTDATED_CONTROL
    assert loop.position == 51


@pytest.mark.parametrize(
    ("value", "why"),
    [
        (control(1, 1_000_000_007), b"it tells of 1000000007 partitions, Kafka counts 7"),
        (control(2, 8), b"it tells of 8 partitions, Kafka counts 7"),
        (control(1, 2), b"it tells of 2 partitions, the topic has had 3 since before"),
        (b'\0{"control":"other"}', b"a control record of a kind"),
        (b"\0", b"a control record of a kind"),
    ],
)
async def test_of_an_old_log_what_was_a_stranger_s_then_is_one_now(value: bytes, why: bytes) -> None:
    place = Place(controls={20: control(2, 3), 50: value})
    loop = await place.worker(7, decides=False)
    await loop.batch(place.cut(0, 50))
    before, sent = loop.core.state.snapshot(everything=True), len(place.sent)
    await loop.batch(place.cut(50, 51))
    assert loop.core.state.snapshot(everything=True) == before
    assert place.topics[sent:] == ["dead"]
    assert place.details[-1].startswith(why)


async def test_a_log_with_control_records_is_taken_over_and_read_back_as_it_was() -> None:
    """Partitions were added twice under a version before, once since; the state is taken over, and later it is lost."""
    place = Place(controls={20: control(2, 3), 41: control(3, 7), 55: control(7, 9)})
    old = await place.worker(7, decides=False)
    await old.batch(place.cut(0, 48))
    await old.checkpoint()
    hashes = place.store._hashes["sim", 0]
    hashes.fields.pop(IN_FORCE)
    hashes.identity = hashes.identity.model_copy(update={"partitions": 7, "growth": (7, 2, 0)})
    place.ends = [48, *[0] * 6]
    loop = await place.worker(7)
    await loop.batch(place.cut(48, 52))
    assert (growth_of(loop).count, growth_of(loop).coming) == (7, ())
    place.ends = [58, *[0] * 8]
    await loop.checkpoint()
    loop = await place.worker(9)
    await loop.batch(place.cut(52, 63))
    await loop.checkpoint()
    _, fields = await place.stored()
    oracle = place.oracle()
    assert sorted(v or b"" for v, _ in place.sent) == sorted(m.value or b"" for m in oracle.messages)
    assert place.ended()
    place.store, sent = MemoryStore(), len(place.sent)
    loop = await place.worker(9, committed=63)
    await loop.batch(place.log)
    _, again = await place.stored()
    assert len(place.sent) == sent
    assert growth_of(loop).count == unpacked(fields[IN_FORCE]).growth.count == 9
    assert without_counts(again) == without_counts(fields) == without_counts(oracle.states[63])


def without_counts(fields: dict[str, bytes] | None) -> dict[str, bytes]:
    """How many there were before the last growth but one is not read in a record."""
    assert fields is not None
    held = unpacked(fields[IN_FORCE])
    return fields | {IN_FORCE: msgspec.structs.replace(held, growth=Growth()).packed()}


def test_scores_of_what_waited_are_said_before_its_series_moves() -> None:
    frozen = stream_of("metric")
    update = {"lateness": timedelta(hours=1), "score_topic": "scores"}
    stream = create_stream(frozen.settings.model_copy(update=update), frozen.model)
    core, log = stream.core(0), log_of("metric")
    process(core, log[:100], 0)
    waiting = {core.state.names[r] for r in core.state.rows() if core.state.arrays["waiting"]["count"][r]}
    held = InForce(1, growth=Growth(1, coming=(Grown(100, 2),)))
    effect = applied(core, held, Grown(100, 2), Streams(stream))
    moved = {s for s in waiting if s and hash_of(s) % 2}
    assert moved
    assert {s.series for s in effect.scores} == moved
