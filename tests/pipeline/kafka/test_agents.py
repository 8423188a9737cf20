"""What is held of the group's partitions, without Kafka; with it: test_transport.py."""

from __future__ import annotations

import time
from typing import Any, cast

import numpy as np
import pytest
from faust.types import TP
from recording_life import Book, Life

from pipeline.errors import Dropped
from pipeline.kafka.agents import Partitions, _Partition
from pipeline.kafka.transport.lanes import Lane, Ticket
from pipeline.steps.batches import RecordBatch


async def test_a_rebalance_that_ends_while_the_worker_stops_opens_nothing() -> None:
    """It did: the partition asked a consumer that was closed, and a worker that was told to stop ended by that error."""
    errors: list[BaseException] = []
    book = Book()
    partitions = Partitions(book.make(), errors.append, 100)
    await partitions.close()
    partitions.assigned([TP("taxi.observations", 0)], cast("Any", None), 1)
    assert (len(partitions), book.lives, errors) == (0, [], [])


class Group:
    """A consumer whose group is asked; `confirmed_at` as the transport has it."""

    epoch = 0

    def __init__(self, *, member: bool, ago: float) -> None:
        self.member = member
        self.confirmed_at = time.monotonic() - ago
        self.asked = 0
        self.partition: Any = None

    async def confirm(self, _offsets: Any) -> bool:
        self.asked += 1
        return self.member

    def finished(self, *_: Any) -> None:
        self.partition._stopping = True


@pytest.mark.parametrize(
    ("member", "ago", "asked", "done"), [(True, 1.0, 0, 3), (False, 1.0, 0, 3), (True, 60.0, 1, 3), (False, 60.0, 1, 0)]
)
async def test_who_slept_asks_whether_it_is_a_member_before_it_works_on_what_is_in_hand(
    member: bool, ago: float, asked: int, done: int
) -> None:
    """A worker that slept through its session worked on, and published what the next owner says otherwise since people decided."""
    tp, group, book = TP("t", 0), Group(member=member, ago=ago), Book()
    partition = group.partition = _Partition(tp, cast("Any", group), lambda _: None, 100, 30.0)
    partition.life = Life(book, "w", "t", 0, partition.still_owner)
    partition.lane = lane = Lane(tp, 0, 0)
    partition.deliver(
        Ticket(lane, 0), RecordBatch("t", 0, np.arange(3), 3, [None] * 3, [b""] * 3, np.zeros(3, np.int64))
    )
    if done:
        await partition._work(0)
    else:
        with pytest.raises(Dropped, match="while this one slept"):
            await partition._work(0)
    assert (group.asked, book.total()) == (asked, done)
