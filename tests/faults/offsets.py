"""Whether the offset of a stored state ever went back: the first harm that a checkpoint does which should have been refused."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager

from faults.world import World

EVERY = 0.02
"""Seconds between two looks. Whoever reads such a state has to load it, work and wait for its next checkpoint before it hides."""


@contextmanager
def watched(world: World) -> Iterator[list[str]]:
    """Look at the store while the block runs; the list tells each fall."""
    falls: list[str] = []
    ended = threading.Event()

    def look() -> None:
        newest: dict[int, int] = {}
        with world.redis() as client:
            while not ended.wait(EVERY):
                for partition in range(world.partitions):
                    offset = int(client.hget(world.key(partition), "offset") or -1)  # type: ignore[arg-type]
                    if offset < newest.get(partition, -1):
                        falls.append(f"the stored offset of partition {partition} went back")
                    newest[partition] = offset

    thread = threading.Thread(target=look, name="offsets")
    thread.start()
    try:
        yield falls
    finally:
        ended.set()
        thread.join()
