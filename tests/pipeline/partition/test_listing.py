"""The list of decisions that a store lost is filled up from the topic, by what was taken in this log and no other."""

from __future__ import annotations

from collections.abc import Sequence

import pytest

from pipeline.partition.decisions import Decision, Entry, Silence, Taken
from pipeline.partition.listing import Listing
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
