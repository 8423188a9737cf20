"""A schema registry that is away: its partition waits and says so, no record becomes a dead letter, and what comes of them is as if it had been there."""

from __future__ import annotations

import dataclasses
from collections import Counter
from collections.abc import Collection, Iterator
from typing import Any

import numpy as np
import pytest
from partition_world import World
from simulation.scenarios import small_numbers

from pipeline.errors import TidewatchError
from pipeline.steps.batches.records import RecordBatch
from pipeline.steps.decoding import Decoder
from producers.errors import RegistryError
from producers.formats.base import Reason
from producers.formats.registry.schemas import JSON, Schema, Unknown

T = 1_714_564_800_000


@pytest.fixture(autouse=True)
def small() -> Iterator[None]:
    with small_numbers():
        yield


class Flaky:
    """A registry that knows schema 1, and answers from the third question on."""

    def __init__(self, away: int) -> None:
        self.away = away
        self.asked: list[set[int]] = []

    async def fetch(self, ids: Collection[int]) -> dict[int, Schema | Unknown]:
        self.asked.append(set(ids))
        if len(self.asked) <= self.away:
            raise RegistryError("the schema registry at http://r cannot be asked: it answers 503")
        unknown = Unknown(Reason.UNDECODABLE, "the registry does not know it", lasting=False)
        return {i: JSON if i == 1 else unknown for i in ids}


class Heard:
    """What the loop tells its metrics."""

    def __init__(self) -> None:
        self.waiting_for: list[tuple[bool, str]] = []
        self.counts: Counter[str] = Counter()

    def waiting(self, stream: str, partition: int, waiting: bool, what: str) -> None:
        self.waiting_for.append((waiting, what))

    def batch(self, stream: str, partition: int, counts: Counter[str], seconds: dict[str, float]) -> None:
        self.counts.update(counts)

    def __getattr__(self, name: str) -> Any:
        return lambda *_, **__: None


def batch(values: list[bytes]) -> RecordBatch:
    n = len(values)
    return RecordBatch("in", 0, np.arange(n), n, [b"a"] * n, values, np.zeros(n, np.int64))


VALUES = [b"\0\0\0\0\x01" + b'{"ts":%d,"value":%d}' % (T + 1000 * i, i) for i in range(5)]


async def test_it_waits_and_goes_on_as_if_nothing_had_been() -> None:
    states, sent = [], []
    for away in (0, 3):
        world, registry, heard = World(), Flaky(away), Heard()
        loop = world.loop(fetch_schemas=registry.fetch, metrics=heard)
        loop.stream = loop.core.stream = dataclasses.replace(
            loop.stream, decoder=Decoder("metric", 1, format="registry")
        )
        assert await loop.assigned() is None
        await loop.begin(world.standing())
        heard.waiting_for.clear()
        await loop.batch(batch([*VALUES, b"\0\0\0\0\x02{}"]))
        assert registry.asked == [{1, 2}] * (away + 1)
        assert world.slept == [0.1, 0.2, 0.4][:away]
        assert heard.waiting_for == [(True, "schema registry")] * away + [(False, "schema registry")] * bool(away)
        assert (heard.counts["observations"], heard.counts["records"]) == (5, 6)
        assert world.details == [b"schema 2: the registry does not know it"]
        assert await loop.checkpoint() == 6
        states.append(await world.stored())
        sent.append([value for value, _ in world.sent])
    assert states[0] == states[1]
    assert sent[0] == sent[1]


async def test_without_a_registry_its_records_are_dead_letters_that_say_so() -> None:
    world = World()
    loop = world.loop()
    loop.stream = loop.core.stream = dataclasses.replace(loop.stream, decoder=Decoder("metric", 1, format="auto"))
    await loop.assigned()
    await loop.begin(world.standing())
    await loop.batch(batch(VALUES[:1]))
    assert world.details == [b"schema 1 of a schema registry, and none is set: set registry.url"]


def test_a_registry_that_is_away_is_no_error_of_the_store() -> None:
    assert not issubclass(RegistryError, TidewatchError)
