"""When the next fetch goes, without Kafka; with it: test_transport.py."""

from __future__ import annotations

import asyncio
import math
import time
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import pytest
from faust.types import TP

from pipeline.kafka.record_batches import Part, Record
from pipeline.kafka.transport import polling
from pipeline.kafka.transport.fetching import Columns
from pipeline.kafka.transport.lanes import Delivery, Lane, Lanes
from pipeline.kafka.transport.polling import Poller
from pipeline.settings import WorkerSettings


class Fetcher:
    """As much of aiokafka's fetcher as a poll needs; records come by `bring`."""

    def __init__(self) -> None:
        self._records: dict[TP, Any] = {}
        self.waiters: list[asyncio.Future[None]] = []

    def _create_fetch_waiter(self) -> asyncio.Future[None]:
        self.waiters.append(asyncio.get_running_loop().create_future())
        return self.waiters[-1]

    def bring(self, tp: TP, records: int) -> None:
        self._records[tp] = records
        for waiter in self.waiters:
            if not waiter.done():
                waiter.set_result(None)


class World:
    """A poller over two open lanes; `fetches` counts what the fetcher was told."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, **settings: Any) -> None:
        self.fetcher, self.lanes, self.fetches = Fetcher(), Lanes(), 0
        client = SimpleNamespace(_fetcher=self.fetcher, _coordinator=SimpleNamespace(check_errors=lambda: None))
        worker = WorkerSettings(**settings)
        self.poller = Poller(lambda: client, self.lanes, None, worker, pytest.fail)  # type: ignore[arg-type,return-value]
        self.tps = [TP("t", p) for p in range(2)]
        for tp in self.tps:
            self.lanes.open(Lane(tp, 0, 0), self.lanes.epoch, lambda tp, offset: None)
        monkeypatch.setattr(polling, "take", self.take)
        monkeypatch.setattr(polling, "_LOOK", 0.05)
        monkeypatch.setattr(polling, "fetch_again", self.fetch_again)

    def take(self, fetcher: Fetcher, tp: TP, *_: Any, **__: Any) -> Columns:
        lane = self.lanes.get(TP(tp.topic, tp.partition))
        assert lane is not None
        count = fetcher._records.pop(tp)
        columns = Columns(lane.next_offset, lane.next_offset + count)
        columns.add(Part.of([Record(lane.next_offset + i, 0, None, b"{}") for i in range(count)]))
        return columns

    def fetch_again(self, fetcher: Fetcher) -> None:
        self.fetches += 1

    async def poll(self, timeout: float = 0.2) -> list[Delivery]:
        """What is handed on next."""
        come: list[Delivery] = []
        end = time.monotonic() + timeout
        await self.poller.run(come.extend, lambda: bool(come) or time.monotonic() > end)
        return come

    def finish(self, tp: TP) -> None:
        """As `Consumer.finished` does."""
        lane = self.lanes.get(tp)
        assert lane is not None
        lane.held.popleft()
        if self.poller.wants_room or not self.lanes.busy:
            self.poller.finished()


@pytest.fixture
def world(monkeypatch: pytest.MonkeyPatch) -> Callable[..., World]:
    return lambda **settings: World(monkeypatch, **settings)


async def test_a_fetch_waits_until_the_few_records_of_the_last_are_worked_on(
    world: Callable[..., World], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(polling, "_PACE", 60.0)
    monkeypatch.setattr(polling, "_WAITED", math.inf)
    w = world()
    for tp in w.tps:
        w.fetcher.bring(tp, 3)
    polled = await w.poll()
    assert [(d.ticket.lane.tp, len(d.batch)) for d in polled] == [(tp, 3) for tp in w.tps]
    waiting = asyncio.create_task(w.poll())
    await asyncio.sleep(0)
    w.finish(w.tps[0])
    await asyncio.sleep(0.02)
    assert w.fetches == 0  # one of both is at it still
    w.finish(w.tps[1])
    await asyncio.sleep(0.02)
    assert w.fetches == 1
    w.fetcher.bring(w.tps[1], 2)
    assert [len(d.batch) for d in await waiting] == [2]


async def test_work_that_takes_long_does_not_hold_up_the_fetches(
    world: Callable[..., World], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(polling, "_PACE", 0.05)
    monkeypatch.setattr(polling, "_WAITED", math.inf)
    w = world()
    w.fetcher.bring(w.tps[0], 3)
    await w.poll()
    await asyncio.sleep(0.02)
    assert w.fetches == 0
    await asyncio.sleep(0.06)
    assert w.fetches == 1


async def test_behind_a_fetch_that_waited_the_next_does_not_wait_for_its_records(
    world: Callable[..., World], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(polling, "_PACE", 60.0)
    monkeypatch.setattr(polling, "_WAITED", 0.05)
    w = world()
    w.fetcher.bring(w.tps[0], 3)
    await w.poll()
    assert w.fetches == 1  # what came to the other partition with them
    w.fetcher.bring(w.tps[1], 3)
    await w.poll()
    assert w.fetches == 1  # that one came at once, and what follows may gather while it is worked on
    for tp in w.tps:
        w.finish(tp)
    assert w.fetches == 2
    await asyncio.sleep(0.06)
    w.fetcher.bring(w.tps[0], 3)
    await w.poll()
    assert w.fetches == 3


async def test_after_many_records_of_all_partitions_together_the_next_fetch_goes_at_once(
    world: Callable[..., World], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(polling, "_PACE", 60.0)
    w = world()
    for tp in w.tps:
        w.fetcher.bring(tp, 1000)
    await w.poll()
    assert w.fetches == 1


async def test_records_that_found_no_room_are_delivered_when_their_partition_has_some(
    world: Callable[..., World],
) -> None:
    w = world(max_poll_records=100)
    first, other = w.tps
    w.fetcher.bring(other, 1)
    w.fetcher.bring(first, 101)
    await w.poll()
    w.fetcher.bring(first, 5)
    waiting = asyncio.create_task(w.poll(5.0))
    await asyncio.sleep(0.02)
    assert w.poller.wants_room
    w.finish(first)  # the other is busy still
    async with asyncio.timeout(1.0):
        assert [len(d.batch) for d in await waiting] == [5]
