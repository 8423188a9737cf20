"""What is held of the group's partitions, without Kafka; with it: test_transport.py."""

from __future__ import annotations

import asyncio
import math
from types import SimpleNamespace
from typing import Any, cast

import numpy as np
import pytest
from faust.types import TP
from recording_life import Book

from pipeline.kafka import agents
from pipeline.kafka.agents import App, Partitions, _Partition
from pipeline.kafka.transport.driver import steady
from pipeline.kafka.transport.lanes import Delivery, Lane, Ticket
from pipeline.settings import Settings
from pipeline.steps.batches.records import RecordBatch


async def test_a_rebalance_that_ends_while_the_worker_stops_opens_nothing() -> None:
    """It did: the partition asked a consumer that was closed, and a worker that was told to stop ended by that error."""
    errors: list[BaseException] = []
    book = Book()
    partitions = Partitions(book.make(), errors.append, 100)
    await partitions.close()
    partitions.assigned([TP("taxi.observations", 0)], cast("Any", None), 1)
    assert (len(partitions), book.lives, errors) == (0, [], [])


class Group:
    """A consumer whose group took a commit so many seconds ago, as the transport has it."""

    epoch = 0

    def __init__(self, ago: float) -> None:
        self.confirmed_at = steady() - ago


@pytest.mark.parametrize(("ago", "sure"), [(1.0, True), (60.0, False), (math.inf, False)])
def test_whoever_slept_is_not_sure_to_be_a_member(ago: float, sure: bool) -> None:
    partition = _Partition(TP("t", 0), cast("Any", Group(ago)), lambda _: None, 100, 30.0)
    assert partition.surely_owner() == sure


async def test_nobody_waits_for_tables_before_the_group_is_joined(monkeypatch: pytest.MonkeyPatch) -> None:
    """Faust waits a second for them to be declared."""
    tables, done = App.create(Settings(), ["t"], Book().make()).tables, []

    async def recovery() -> None:
        done.append("recovery")

    async def channels() -> None:
        done.append("registered")

    async def sleep(_: float) -> None:
        pytest.fail("waited")

    monkeypatch.setattr(tables, "sleep", sleep)
    monkeypatch.setattr(tables, "_update_channels", channels)
    monkeypatch.setattr(tables.recovery, "start", recovery)
    await cast("Any", tables).on_start()
    assert done == ["registered", "recovery"]


async def test_a_partition_of_which_nothing_comes_has_its_turn_now_and_then(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(agents, "IDLE", 0.01)
    done: list[str] = []

    class Idle:
        position = checkpointed = 0

        async def batch(self, records: RecordBatch) -> None:
            done.append(f"batch {records.next_offset}")

        async def idle(self) -> None:
            done.append("idle")

    tp, finished = TP("t", 0), asyncio.Event()
    consumer = SimpleNamespace(epoch=0, finished=lambda *_: finished.set())
    partition = _Partition(tp, cast("Any", consumer), lambda _: None, 100)
    partition.life, partition.lane = cast("Any", Idle()), Lane(tp, 0, 0)
    working = asyncio.create_task(partition._work(0))
    await asyncio.sleep(0.05)
    partition.deliver(
        Delivery(Ticket(partition.lane, 0), RecordBatch("t", 0, np.array([0]), 1, [None], [b""], np.array([0])))
    )
    await asyncio.wait_for(finished.wait(), 5)
    working.cancel()
    assert done[0] == "idle"
    assert "batch 1" in done
