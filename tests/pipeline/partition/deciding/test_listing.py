"""The list of decisions that a store lost is filled up from the topic, by what was taken in this log and no other."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

import pytest

from pipeline.partition.deciding.decisions import Entry, Taken
from pipeline.partition.deciding.listing import Listing
from pipeline.partition.deciding.what import Decision, Partitions, Silence
from pipeline.partition.stores.memory import MemoryStore


def taken(serial: int, log: str) -> Taken:
    return Taken(
        "s", 0, "a", 5, (Decision(f"{log}{serial}", Silence("*", 0), "ann", "2026-01-01T00:00:00Z", serial),), log
    )


@pytest.mark.asyncio
async def test_another_deployment_s_stream_of_this_name_adds_nothing_to_the_list() -> None:
    async def read() -> Sequence[Entry]:
        return [taken(1, "ours"), taken(1, "theirs"), taken(7, "theirs"), taken(2, "ours")]

    listing = Listing("s", MemoryStore(), read, of_log="ours")
    await listing.fill_up()
    assert [(d.serial, d.id) for d in await listing.after(0)] == [(1, "ours1"), (2, "ours2")]
    new = Decision("new", Silence("x", 0), "ann", "2026-01-01T00:00:00Z")
    assert await listing.propose(new) == 3


@pytest.mark.asyncio
async def test_partitions_are_told_once_for_all_that_hear_of_them_and_again_when_there_are_more() -> None:
    lines: list[Entry] = []
    asked: list[int] = []

    async def read() -> Sequence[Entry]:
        await asyncio.sleep(0)
        return list(lines)

    async def ends() -> Sequence[int]:
        asked.append(1)
        await asyncio.sleep(0)
        return [7, 9]

    store = MemoryStore()
    listing, other = (Listing("s", store, read, of_log=log) for log in ("ours", "older"))
    await other.add_partitions(4, ends)  # of a topic that is no more
    await asyncio.gather(*(listing.add_partitions(2, ends) for _ in range(8)))
    await listing.add_partitions(3, ends)
    told = [(d.serial, d.what) for d in await listing.after(0)]
    assert told[1:] == [(2, Partitions(2, (7, 9), "ours")), (3, Partitions(3, (7, 9, 0), "ours"))]
    assert len(asked) == 3
    # The list was lost, and so is its id: what a partition has taken is not told a second time.
    lines.append(Taken("s", 0, "a", 5, tuple(await listing.after(1)), "ours"))
    empty = Listing("s", MemoryStore(), read, of_log="ours")
    await empty.add_partitions(3, ends)
    assert [d.serial for d in await empty.after(0)] == [2, 3]
