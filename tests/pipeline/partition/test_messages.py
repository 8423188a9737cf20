from __future__ import annotations

from collections import Counter
from collections.abc import Iterator

import numpy as np
import pytest
from partition_world import World
from simulation.scenarios import scenario, small_numbers

from pipeline.partition.messages import Messages, rejections
from pipeline.partition.outbox import Outbox
from pipeline.steps.batches.records import RecordBatch


@pytest.fixture(autouse=True)
def _small_numbers() -> Iterator[None]:
    with small_numbers():
        yield


@pytest.fixture
def world() -> World:
    return World()


async def test_a_record_of_many_points_is_one_dead_letter(world: World) -> None:
    world.scenario = scenario(6)  # export batches, and no more than four series
    loop = world.loop()
    await loop.assigned()
    await loop.batch(world.records(0, 60))
    letters = [value for topic, (value, _) in zip(world.topics, world.sent, strict=True) if topic == "dead"]
    assert len(letters) == len(set(letters)) > 0
    assert any(b"more of its points" in text for text in world.details)


async def test_a_rejection_is_counted_by_its_reason_and_says_which_record_it_is_of(world: World) -> None:
    counts = Counter[str]()
    records = RecordBatch("in", 0, np.array([4, 7, 9]), 10, [None] * 3, [b"a", b"b", b"c"], np.zeros(3, np.int64))
    rejected = rejections(records, [(9, "series limit", "why"), (4, "late", "first"), (4, "late", "second")])
    assert [r.index for r in rejected] == [2, 0, 0]
    Messages(world.scenario.stream, Outbox(world)).dead_letters(records, rejected, counts)
    assert [value for value, _ in world.sent] == [b"a", b"c"]
    assert counts == {"rejected_late": 1, "rejected_series limit": 1}
    assert world.details == [b"first (and 1 more of its points)", b"why"]
