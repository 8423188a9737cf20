"""What is held of the group's partitions, without Kafka; with it: test_transport.py."""

from __future__ import annotations

from typing import Any, cast

from faust.types import TP
from recording_life import Book

from pipeline.kafka.agents import Partitions


async def test_a_rebalance_that_ends_while_the_worker_stops_opens_nothing() -> None:
    """It did: the partition asked a consumer that was closed, and a worker that was told to stop ended by that error."""
    errors: list[BaseException] = []
    book = Book()
    partitions = Partitions(book.make(), errors.append, 100)
    await partitions.close()
    partitions.assigned([TP("taxi.observations", 0)], cast("Any", None), 1)
    assert (len(partitions), book.lives, errors) == (0, [], [])
