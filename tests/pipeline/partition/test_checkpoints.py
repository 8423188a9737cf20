"""What is stored, when, and what follows where the store says no or nothing. As a whole it is tested in tests/simulation."""

from __future__ import annotations

import asyncio
import copy
import dataclasses
from collections.abc import Iterator, Sequence
from itertools import pairwise
from typing import Any
from unittest.mock import patch

import pytest
from partition_world import World
from simulation.scenarios import small_numbers
from simulation.worker import IDENTITY

from pipeline.errors import BrokerError, Dropped, ForeignState, StoreError
from pipeline.partition import loop as loop_module
from pipeline.partition.deciding.decisions import Decisions, Entry, Taken
from pipeline.partition.deciding.listing import Listing
from pipeline.partition.deciding.what import Acknowledge, Decision, Forget, SettingsOf
from pipeline.partition.loop import PartitionLoop
from pipeline.partition.stores.base import Claim
from pipeline.partition.stores.memory import MemoryStore
from pipeline.partition.streams import decided
from pipeline.steps.state import series_of
from pipeline.steps.stored.pieces import folded


@pytest.fixture(autouse=True)
def _small_numbers() -> Iterator[None]:
    with small_numbers():
        yield


@pytest.fixture
def world() -> World:
    return World()


async def test_another_worker_goes_on_where_the_checkpoint_stands(world: World) -> None:
    first = world.loop()
    assert await first.assigned() is None
    await first.batch(world.records(0, 20))
    assert await first.checkpoint() == world.records(0, 20).next_offset
    await first.batch(world.records(20, 30))  # never stored
    second = world.loop()
    assert await second.assigned() == world.records(0, 20).next_offset
    await second.batch(world.records(20, 60))
    await second.checkpoint()
    assert await world.is_stored(60)
    assert {value for value, _ in world.sent} == {m.value for m in world.scenario.oracle[0].messages}


async def under_way(world: World, loop: PartitionLoop) -> asyncio.Event:
    """A checkpoint is due, and hangs in the store until the event is set."""
    save, answers = world.store.save, asyncio.Event()

    async def slow(*arguments: Any, **options: Any) -> Claim:
        await answers.wait()
        return await save(*arguments, **options)  # type: ignore[no-any-return]

    world.store.save = slow
    world.now += 2.0
    await loop.idle()
    assert loop.checkpoints.under_way
    return answers


async def test_a_partition_works_on_while_its_checkpoint_is_under_way(world: World) -> None:
    loop = world.loop(checkpoint_every=2.0)
    await loop.assigned()
    await loop.batch(world.records(0, 20))
    answers = await under_way(world, loop)
    published = len(world.sent)
    await loop.batch(world.records(20, 60))
    assert loop.position == world.offset_after(60)
    assert len(world.sent) > published
    assert loop.checkpointed == -1
    answers.set()
    while not loop.checkpoints.has_come_back:
        await asyncio.sleep(0)
    assert loop.checkpointed == world.offset_after(20)  # it may be committed at once
    assert await world.is_stored(20)  # as of its offset, not as of now
    world.now += 2.0
    await world.idle(loop)
    assert await world.is_stored(60)


async def test_what_is_published_while_a_checkpoint_is_under_way_is_no_concern_of_it(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("pipeline.partition.outbox.MAX_UNACKNOWLEDGED", 1000)
    loop = world.loop(checkpoint_every=2.0)
    await loop.assigned()
    world.acknowledges = False
    await loop.batch(world.records(0, 30))
    before = [future for _, future in world.sent if not future.done()]
    assert before
    world.now += 2.0
    await loop.idle()
    await loop.batch(world.records(30, 60))
    later = [future for _, future in world.sent if not future.done() and future not in before]
    assert later
    assert loop.checkpointed == -1
    for future in before:
        assert (await world.stored())[0] == -1  # nothing is, over one that is not acknowledged
        future.set_result(None)
        await asyncio.sleep(0)
    while not loop.checkpoints.has_come_back:
        await asyncio.sleep(0)
    assert await world.is_stored(30)
    assert not any(future.done() for future in later)


async def test_nobody_goes_on_further_than_two_checkpoints_apart(world: World) -> None:
    loop = world.loop(checkpoint_every=2.0, checkpoint_records=20)
    await loop.assigned()
    await loop.batch(world.records(0, 5))
    answers = await under_way(world, loop)
    batch = asyncio.create_task(loop.batch(world.records(5, 90)))
    for _ in range(100):
        await asyncio.sleep(0)
    assert not batch.done()
    assert 20 <= loop.position <= 40
    answers.set()
    await batch
    assert loop.position == world.offset_after(90)


async def test_one_is_begun_so_early_that_it_is_stored_before_the_partition_would_wait_for_it(world: World) -> None:
    loop = world.loop(checkpoint_every=1000.0, checkpoint_records=20)
    await loop.assigned()
    save, seconds, begun = world.store.save, 2.0, list[int]()

    async def slow(*arguments: Any, **options: Any) -> Claim:
        begun.append(arguments[1])
        await until(world.now + seconds)
        return await save(*arguments, **options)  # type: ignore[no-any-return]

    async def until(when: float) -> None:
        while world.now < when:
            await asyncio.sleep(0)

    async def one(n: int) -> None:
        records = world.records(n, n + 1)
        world.now += records.next_offset - max(loop.position, 0)  # an offset a second
        batch = asyncio.create_task(loop.batch(records))
        for _ in range(20):
            await asyncio.sleep(0)
        if not batch.done() and loop.checkpoints.under_way:
            waited.append(loop.position)
        while not batch.done():
            world.now += loop.checkpoints.under_way
            await asyncio.sleep(0)

    world.store.save = slow
    waited: list[int] = []
    for n in range(len(world.scenario.partitions[0].records)):
        await one(n)
    assert len(waited) == 1  # for the first, of which nothing was known
    assert 20 <= waited[0] == begun[0]
    assert len(begun) > 3
    assert all(10 <= after - before < 20 for before, after in pairwise(begun))


async def test_a_checkpoint_that_is_refused_under_way_is_followed_by_everything(world: World) -> None:
    loop = world.loop(checkpoint_every=2.0)
    await loop.assigned()
    await loop.batch(world.records(0, 10))
    await loop.checkpoint()
    old = copy.deepcopy(world.store._hashes)
    await loop.batch(world.records(10, 30))
    await loop.checkpoint()
    await loop.batch(world.records(30, 40))
    answers = await under_way(world, loop)
    await loop.batch(world.records(40, 50))
    world.store._hashes = old
    answers.set()
    while not loop.checkpoints.has_come_back:
        await asyncio.sleep(0)
    await loop.batch(world.records(50, 60))
    assert await world.is_stored(60)


async def test_a_store_that_is_away_while_a_checkpoint_is_under_way_is_waited_for(world: World) -> None:
    loop = world.loop(checkpoint_every=2.0)
    await loop.assigned()
    await loop.batch(world.records(0, 10))
    await loop.checkpoint()
    await loop.batch(world.records(10, 30))
    save, tries = world.store.save, iter([StoreError("away"), StoreError("away"), None])

    async def at_last(*arguments: Any, **options: Any) -> Claim:
        if (error := next(tries)) is not None:
            raise error
        return await save(*arguments, **options)  # type: ignore[no-any-return]

    world.store.save = at_last
    world.now += 2.0
    await loop.idle()
    await loop.batch(world.records(30, 31))
    await world.idle(loop)
    assert world.slept == [0.1, 0.2]
    assert await world.is_stored(30)
    world.store.save = save
    await loop.checkpoint()
    assert await world.is_stored(31)


async def test_a_handover_waits_for_the_checkpoint_under_way(world: World) -> None:
    loop = world.loop(checkpoint_every=2.0)
    await loop.assigned()
    await loop.batch(world.records(0, 20))
    answers = await under_way(world, loop)
    await loop.batch(world.records(20, 30))
    revoked = asyncio.create_task(loop.revoked())
    for _ in range(20):
        await asyncio.sleep(0)
    assert not revoked.done()
    answers.set()
    await revoked
    assert await world.is_stored(30)


async def test_a_handover_that_may_not_wait_gives_the_checkpoint_under_way_up(world: World) -> None:
    loop = world.loop(checkpoint_every=2.0)
    await loop.assigned()
    await loop.batch(world.records(0, 20))
    answers = await under_way(world, loop)
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(0.01):
            await loop.revoked()
    answers.set()
    for _ in range(20):
        await asyncio.sleep(0)
    assert (await world.stored())[0] == -1


async def test_a_checkpoint_waits_for_every_acknowledgement(world: World) -> None:
    world.acknowledges = False
    loop = world.loop()
    await loop.assigned()
    batch = asyncio.create_task(loop.batch(world.records(0, 30)))
    await asyncio.sleep(0)
    while not batch.done():
        for _, future in world.sent:
            if not future.done():
                future.set_result(None)
        await asyncio.sleep(0)
    checkpoint = asyncio.create_task(loop.checkpoint())
    world.acknowledges = True
    await checkpoint
    assert await world.is_stored(30)


@pytest.mark.parametrize("refused", [False, True])
async def test_what_was_not_acknowledged_stays_in_the_way_of_the_last_checkpoint(world: World, refused: bool) -> None:
    world.acknowledges = False
    loop = world.loop()
    await loop.assigned()
    batch = asyncio.create_task(loop.batch(world.records(0, 30)))
    while not world.sent:
        await asyncio.sleep(0)
    if refused:
        world.sent[0][1].set_exception(BrokerError("refused"))
        with pytest.raises(BrokerError):
            await batch
        await loop.revoked()
    else:  # a rebalance cuts the wait short; the last checkpoint waits again
        batch.cancel()
        with pytest.raises(asyncio.CancelledError):
            await batch
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.01):
                await loop.revoked()
    assert (await world.stored())[0] == -1


async def test_the_end_of_a_batch_cut_short_is_not_a_place_to_resume_from(world: World) -> None:
    loop = world.loop()
    await loop.assigned()
    await loop.batch(world.records(0, 10))
    scoring = asyncio.Event()

    async def score(_: Any) -> Any:
        scoring.set()
        await asyncio.Event().wait()

    loop.stream.scorer.score = score  # type: ignore[method-assign]
    batch = asyncio.create_task(loop.batch(world.records(10, 30)))
    await scoring.wait()
    batch.cancel()
    await asyncio.wait([batch])
    await loop.revoked()
    assert (await world.stored())[0] == -1


async def test_after_the_store_went_back_everything_is_written_again(world: World) -> None:
    loop = world.loop()
    await loop.assigned()
    await loop.batch(world.records(0, 10))
    await loop.checkpoint()
    old = copy.deepcopy(world.store._hashes)
    await loop.batch(world.records(10, 40))
    await loop.checkpoint()
    world.store._hashes = old
    await loop.batch(world.records(40, 45))
    await loop.checkpoint()
    assert await world.is_stored(45)


async def test_a_refusal_cut_short_leaves_no_difference_on_top_of_another_state(world: World) -> None:
    loop = world.loop()
    await loop.assigned()
    await loop.batch(world.records(0, 10))
    await loop.checkpoint()
    old = copy.deepcopy(world.store._hashes)
    await loop.batch(world.records(10, 40))
    await loop.checkpoint()
    world.store._hashes = old
    await loop.batch(world.records(40, 42))
    save, saving, goes_away = world.store.save, asyncio.Event(), asyncio.Event()

    async def slow(*arguments: Any, **options: Any) -> Claim:
        if options["replace"]:
            saving.set()
            await goes_away.wait()
            raise StoreError("away")
        return await save(*arguments, **options)  # type: ignore[no-any-return]

    world.store.save = slow
    checkpoint = asyncio.create_task(loop.checkpoint())
    await saving.wait()
    checkpoint.cancel()
    await asyncio.wait([checkpoint])
    goes_away.set()
    world.store.save = save
    await loop.revoked()
    assert await world.is_stored(42)


async def test_a_write_cut_short_that_arrived_after_all_is_not_taken_for_a_later_one(world: World) -> None:
    loop = world.loop()
    await loop.assigned()
    await loop.batch(world.records(0, 10))
    save, arrived, goes_away = world.store.save, asyncio.Event(), asyncio.Event()

    async def unanswered(*arguments: Any, **options: Any) -> None:
        await save(*arguments, **options)
        arrived.set()
        await goes_away.wait()
        raise StoreError("away")

    world.store.save = unanswered
    checkpoint = asyncio.create_task(loop.checkpoint())
    await arrived.wait()
    checkpoint.cancel()
    await asyncio.wait([checkpoint])
    goes_away.set()
    world.store.save = save
    await loop.batch(world.records(10, 30))
    await loop.checkpoint()
    assert await world.is_stored(30)


async def test_a_stored_state_that_is_ahead_is_adopted(world: World) -> None:
    behind, ahead = world.loop(), world.loop()
    await behind.assigned()
    await behind.batch(world.records(0, 20))
    await ahead.assigned()
    await ahead.batch(world.records(0, 40))
    await ahead.checkpoint()
    await behind.checkpoint()
    assert behind.position == behind.checkpointed == ahead.position
    await behind.batch(world.records(20, 60))
    await behind.checkpoint()
    assert await world.is_stored(60)


async def test_of_a_state_ahead_in_an_older_format_every_page_is_written_anew(world: World) -> None:
    """Else fields of two formats would lie in one hash."""
    newer = IDENTITY.model_copy(update={"format": IDENTITY.format + 1})
    behind, ahead = world.loop(identity=newer), world.loop()
    await behind.assigned()
    await behind.batch(world.records(0, 20))
    await ahead.assigned()
    await ahead.batch(world.records(0, 40))
    await ahead.checkpoint()
    await behind.checkpoint()
    save, replaced = world.store.save, []

    async def watched(*arguments: Any, **options: Any) -> Claim:
        replaced.append(options["replace"])
        return await save(*arguments, **options)  # type: ignore[no-any-return]

    world.store.save = watched
    for first, last in ((40, 50), (50, 60)):
        await behind.batch(world.records(first, last))
        await behind.checkpoint()
    assert replaced == [True, False]
    assert await world.is_stored(60)


@pytest.mark.parametrize("harm", ["foreign", "damaged"])
async def test_a_state_ahead_that_cannot_be_adopted_is_left_as_it_is(world: World, harm: str) -> None:
    ahead = world.loop(identity=IDENTITY.model_copy(update={"topic_id": "another"} if harm == "foreign" else {}))
    behind = world.loop()
    await behind.assigned()
    await behind.batch(world.records(0, 20))
    await ahead.assigned()
    await ahead.batch(world.records(0, 40))
    await ahead.checkpoint()
    if harm == "damaged":
        del world.store._hashes["sim", 0].fields["page:0"]
    before = await world.stored()
    with pytest.raises(ForeignState):
        await behind.checkpoint()
    await behind.revoked()
    assert await world.stored() == before


async def test_whoever_is_not_the_owner_any_more_lets_go(world: World) -> None:
    loop = world.loop()
    await loop.assigned()
    await loop.batch(world.records(0, 20))
    await world.store.claim("sim", 0)
    world.owner = False
    with pytest.raises(Dropped, match=r"sim\[0\] belongs to another worker"):
        await loop.checkpoint()
    await loop.revoked()
    assert (await world.stored())[0] == -1


async def test_a_state_lost_while_nothing_comes_is_written_again_from_memory(world: World) -> None:
    loop = world.loop()
    await loop.assigned()
    await loop.batch(world.records(0, 20))
    await loop.checkpoint()
    await world.store.delete("sim", 0)
    world.now = loop_module.VERIFY_EVERY - 1
    await loop.idle()
    assert not world.store._hashes
    world.now = loop_module.VERIFY_EVERY
    await world.idle(loop)
    assert await world.is_stored(20)


async def test_a_store_that_does_not_answer_is_waited_for(world: World) -> None:
    loop = world.loop()
    await loop.assigned()
    await loop.batch(world.records(0, 20))
    save, answers = world.store.save, iter([StoreError("away")] * 8)

    async def at_last(*arguments: Any, **options: Any) -> Claim:
        if (error := next(answers, None)) is not None:
            raise error
        return await save(*arguments, **options)  # type: ignore[no-any-return]

    world.store.save = at_last
    await loop.checkpoint()
    assert world.slept == [0.1, 0.2, 0.4, 0.8, 1.6, 3.2, 5.0, 5.0]
    assert await world.is_stored(20)


async def test_a_state_of_another_topic_is_not_applied(world: World) -> None:
    loop = world.loop()
    await loop.assigned()
    await loop.batch(world.records(0, 20))
    await loop.checkpoint()
    other = world.loop(identity=IDENTITY.model_copy(update={"topic_id": "another"}))
    with pytest.raises(ForeignState, match=r"deleted and created again.*tidewatch state reset sim"):
        await other.assigned()
    assert await world.is_stored(20)


async def test_a_batch_is_no_more_than_a_checkpoint_waits_for_whatever_is_fetched(world: World) -> None:
    """How far a worker goes without one is what the next owner takes for said (`PartitionLoop.begin`)."""
    made: list[int] = []

    class Written(PartitionLoop):
        def _written(self, *told: Any) -> None:
            super()._written(*told)
            made.append(self.checkpointed)

    loop = world.loop(kind=Written, checkpoint_records=20)
    await loop.assigned()
    await loop.batch(world.records(0, 90))
    end = world.records(0, 90).next_offset
    assert made == [*range(20, end, 20), *([end] if end % 20 == 0 else [])]
    assert loop.position == end


async def test_who_is_not_the_owner_any_more_when_a_checkpoint_came_back_works_on_nothing_that_it_has_in_hand(
    world: World,
) -> None:
    class Slept(PartitionLoop):
        def _written(self, *told: Any) -> None:
            super()._written(*told)
            world.owner = False

    loop = world.loop(kind=Slept, checkpoint_records=20, surely_owner=lambda: world.owner)
    await loop.assigned()
    with pytest.raises(Dropped, match="while this one slept"):
        await loop.batch(world.records(0, 90))
    assert (await world.stored())[0] == 20
    assert loop.position == 20


async def test_a_gap_in_the_log_is_followed_by_a_checkpoint_before_anything_behind_it_is_published(
    world: World,
) -> None:
    loop = world.loop(checkpoint_records=1000)
    await loop.assigned()
    await loop.batch(world.records(0, 10))
    far = dataclasses.replace(
        world.records(10, 30), offsets=world.records(10, 30).offsets + 10**7, next_offset=10**7 + 40
    )
    pieces = [(len(p), p.next_offset) for p in loop._pieces(far)]
    assert pieces == [(0, int(far.offsets[0])), (len(far), far.next_offset)]
    await loop.batch(far)
    assert loop.checkpointed == int(far.offsets[0])
    assert loop.position == far.next_offset


class Journal:
    """The topic of decisions."""

    def __init__(self) -> None:
        self.lines: list[Entry] = []

    async def read(self) -> Sequence[Entry]:
        return list(self.lines)

    async def write(self, entries: Sequence[Entry]) -> None:
        self.lines += entries


@pytest.mark.parametrize(("before", "after"), [(40, 5), (5, 40)])
async def test_a_decision_is_taken_behind_what_the_owner_before_may_have_published_whatever_its_settings(
    world: World, before: int, after: int
) -> None:
    journal, of = Journal(), world.scenario.stream
    listing = Listing("sim", MemoryStore(), journal.read, of_log="t", stamp=lambda: ("ann", "now"))

    async def owner(records: int) -> PartitionLoop:
        decisions = Decisions(
            "sim", 0, log="t", listed=listing, journal=journal, still_owner=world.still_owner, records=records
        )
        loop = world.loop(decisions=decisions, checkpoint_records=records)
        await loop.assigned()
        await loop.begin(world.standing(loop.position if loop.position >= 0 else None))
        return loop

    await listing.propose(Decision("d1", SettingsOf(decided(of.settings), of.model.hash, {}), "ann", ""))
    first = await owner(before)
    await first.batch(world.records(0, 10))
    await first.checkpoint()
    await first.batch(world.records(0, 30))
    stored = first.checkpointed
    assert stored == world.offset_after(10) + (
        0 if before == 40 else (first.position - world.offset_after(10)) // before * before
    )
    await listing.propose(Decision("d2", Acknowledge("*"), "ann", ""))  # and it is killed
    second = await owner(after)
    for end in range(31, 90):
        await second.batch(world.records(0, end))
    (taken,) = [line for line in journal.lines if isinstance(line, Taken) and line.serial == 2]
    assert first.position <= taken.offset <= stored + 2 * max(before, after)


async def test_checkpoints_come_by_time_and_by_records(world: World) -> None:
    by_time, by_records = world.loop(checkpoint_every=2.0), world.loop(checkpoint_records=20)
    await by_time.assigned()
    await by_time.batch(world.records(0, 10))
    assert by_time.checkpointed == -1
    world.now = 2.0
    await world.idle(by_time)
    assert by_time.checkpointed == world.records(0, 10).next_offset
    await by_records.assigned()
    await by_records.batch(world.records(10, 25))
    assert (
        by_records.checkpointed == world.offset_after(10) + 20 <= world.offset_after(25)
    )  # of offsets, those that hold nothing too


DAY = 86_400.0


async def kept_by(world: World) -> list[tuple[int, int]]:
    """When each snapshot was made, s, and of how many records; what it holds is what whoever reads the log would hold there."""
    found = []
    for told in await world.store.snapshots("sim", 0):
        n = world.scenario.partitions[0].count_before(told.offset)
        snapshot = await world.store.snapshot("sim", 0, told.number)
        assert snapshot is not None
        assert folded(snapshot.fields) == world.state_after(n)
        found.append((told.at // 1000, n))
    return found


async def test_once_a_day_a_checkpoint_is_kept_for_whoever_looks_back(world: World) -> None:
    epoch = 1_000_000.0
    options: dict[str, Any] = {"wall": lambda: epoch + world.now, "snapshots": 3}
    loop = world.loop(**options)
    await loop.assigned()
    for n in range(6):  # two a day
        world.now = n * DAY / 2
        await loop.batch(world.records(6 * n, 6 * n + 6))
        await loop.checkpoint()
    days = [(int(epoch + day * DAY), 6 + 12 * day) for day in range(3)]
    assert await kept_by(world) == days
    await loop.revoked()
    # Whoever is next goes by when the last was made, not by when it came.
    loop = world.loop(**options)
    await loop.assigned()
    world.now += DAY / 4
    await loop.batch(world.records(36, 40))
    await loop.checkpoint()
    assert await kept_by(world) == days
    world.now += DAY / 4
    await loop.batch(world.records(40, 44))
    await loop.checkpoint()
    assert await kept_by(world) == [*days[1:], (int(epoch + 3 * DAY), 44)]
    loop = world.loop(**options | {"snapshots": 0})
    await loop.assigned()
    await loop.batch(world.records(44, 50))
    await loop.checkpoint()
    assert await kept_by(world) == []
    assert await world.is_stored(50)


async def test_of_a_stored_state_that_is_not_taken_nothing_stays(world: World) -> None:
    loop = world.loop()
    await loop.assigned()
    for n in range(5):
        await loop.batch(world.records(8 * n, 8 * n + 8))
        await loop.checkpoint()
    assert any(name.startswith("rows:") for name in world.store._hashes["sim", 0].fields)
    loop = world.loop()
    with patch.object(loop, "_trusts", lambda _: False):
        assert await loop.assigned() is None
    await loop.batch(world.records(0, 45))
    await loop.checkpoint()
    assert await world.is_stored(45)


async def test_what_only_snapshots_hold_is_packed_some_at_a_checkpoint_and_holds_nobody_up(world: World) -> None:
    called: list[float] = []

    async def pack(_: Claim) -> bool:
        called.append(world.now)
        if len(called) == 4:
            raise StoreError("away")
        return len(called) < 3

    loop = world.loop(snapshots=3)
    with patch.object(world.store, "pack", pack):
        await loop.assigned()
        for n, world.now in enumerate([0.0, 300.0, 601.0, 602.0, 603.0, 700.0, DAY, DAY + 300, DAY + 601, DAY + 602]):
            await loop.batch(world.records(4 * n, 4 * n + 4))
            await loop.checkpoint()
    assert called == [601.0, 602.0, 603.0, DAY + 601]
    assert await world.is_stored(40)


async def test_a_wall_clock_that_jumps_makes_no_snapshots_and_prevents_them_for_a_day_at_most(world: World) -> None:
    walls = iter(range(0, 10**9, 10**6))
    loop = world.loop(wall=lambda: float(next(walls)))
    await loop.assigned()
    for n in range(4):
        await loop.batch(world.records(8 * n, 8 * n + 8))
        await loop.checkpoint()
    assert [n for _, n in await kept_by(world)] == [8]
    loop = world.loop(wall=lambda: 5.0)  # the last one was made weeks from now
    await loop.assigned()
    await loop.batch(world.records(32, 40))
    await loop.checkpoint()
    assert [n for _, n in await kept_by(world)] == [8]
    world.now += DAY
    await loop.batch(world.records(40, 48))
    await loop.checkpoint()
    assert [n for _, n in await kept_by(world)] == [8, 48]


async def test_of_a_store_that_was_emptied_or_went_back_the_snapshots_are_of_what_is_written_again(
    world: World,
) -> None:
    loop = world.loop(wall=lambda: 1e6 + world.now)
    await loop.assigned()
    await loop.batch(world.records(0, 15))
    await loop.checkpoint()
    earlier = copy.deepcopy(world.store._hashes)
    world.now += DAY
    await loop.batch(world.records(15, 30))
    await loop.checkpoint()
    assert [n for _, n in await kept_by(world)] == [15, 30]
    world.store._hashes = copy.deepcopy(earlier)
    world.now += DAY
    await loop.batch(world.records(30, 45))
    await loop.checkpoint()  # refused, claimed again, and all written from memory
    assert [n for _, n in await kept_by(world)] == [15, 45]
    await world.store.delete("sim", 0)
    await loop.batch(world.records(45, 60))
    await loop.checkpoint()
    assert [n for _, n in await kept_by(world)] == [60]


async def test_snapshots_that_cannot_be_forgotten_now_hold_nobody_up(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def away(*_: object) -> int:
        raise StoreError("away")

    monkeypatch.setattr(world.store, "keep", away)
    loop = world.loop()
    await loop.assigned()
    await loop.batch(world.records(0, 15))
    assert await loop.checkpoint() == world.offset_after(15)
    assert world.slept == []


@pytest.mark.parametrize("revoked", [False, True])
async def test_what_was_forgotten_is_in_no_snapshot(world: World, revoked: bool) -> None:
    journal, of = Journal(), world.scenario.stream
    listing = Listing("sim", MemoryStore(), journal.read, of_log="t", stamp=lambda: ("ann", "now"))
    await listing.propose(Decision("d1", SettingsOf(decided(of.settings), of.model.hash, {}), "ann", ""))
    loop = world.loop(
        decisions=Decisions("sim", 0, log="t", listed=listing, journal=journal, still_owner=world.still_owner)
    )
    await loop.assigned()
    await loop.begin(world.standing())
    await loop.batch(world.records(0, 20))
    await loop.checkpoint()
    for _ in range(3):
        world.now += DAY
        await world.idle(loop)
    before = await world.store.snapshots("sim", 0)
    assert len(before) >= 2
    await listing.propose(Decision("d2", Forget("*"), "ann", ""))
    if revoked:  # when it has taken it, before it makes a checkpoint
        loop._checkpoint = loop._tick  # type: ignore[method-assign]
    await loop.batch(world.records(20, 21))
    if revoked:
        await loop.revoked()
    await loop.checkpoint()
    after = await world.store.snapshots("sim", 0)
    assert not any(made in before for made in after)
    assert len(after) == (0 if revoked else 1)
    for made in after:
        snapshot = await world.store.snapshot("sim", 0, made.number)
        assert snapshot is not None
        assert len(series_of(snapshot.fields)) <= 1  # one that came again
    assert len(series_of((await world.stored())[1])) <= 1
