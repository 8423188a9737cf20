"""A word in the store while something goes on in this process, from a thread of its own: a replay knows Kafka only, and waits for no Redis."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress

from pipeline.errors import StoreError
from pipeline.partition.stores.presence import forget_old
from pipeline.partition.stores.redis import RedisStore
from pipeline.settings import RedisSettings

EVERY = 2.0
"""Seconds between two words."""
_LEAVE = 2.0


@contextmanager
def telling(redis: RedisSettings, among: str, name: str, word: Callable[[], bytes]) -> Iterator[None]:
    """Keep `word()` in the store while the context lasts; where the store is away, nothing is said, and nothing else is different."""
    over = threading.Event()

    async def say() -> None:
        store = RedisStore(redis)
        try:
            with suppress(StoreError):
                await forget_old(store, among, time.time())
            while not over.is_set():
                with suppress(StoreError):
                    await store.tell(among, name, word())
                await asyncio.to_thread(over.wait, EVERY)
            with suppress(StoreError):
                await store.untell(among, [name])
        finally:
            await store.close()

    thread = threading.Thread(target=lambda: asyncio.run(say()), name=f"tells of {name}", daemon=True)
    thread.start()
    try:
        yield
    finally:
        over.set()
        thread.join(_LEAVE)
