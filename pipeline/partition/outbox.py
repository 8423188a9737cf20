"""What a partition has published and the broker has not acknowledged yet.

No checkpoint is written over it: what is in the state at an offset has told all it had to tell.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Awaitable, Sequence
from typing import Protocol

from pipeline.alerts.records import Message

MAX_UNACKNOWLEDGED = 50_000
"""Messages handed to the producer and not acknowledged yet; beyond it the partition waits."""


class Publisher(Protocol):
    """Messages out: alerts, dead letters, scores."""

    def send(
        self, topic: str, key: bytes | None, value: bytes | None, headers: Sequence[tuple[str, bytes]] = ()
    ) -> Awaitable[None]:
        """Hand a message over, in order; the awaitable ends when the broker has acknowledged it, or raises BrokerError."""
        ...


class Outbox:
    """The messages of one partition on their way, in order."""

    def __init__(self, publisher: Publisher) -> None:
        self._publisher = publisher
        self._sent: deque[asyncio.Future[None]] = deque()
        self._arrived = 0

    def __len__(self) -> int:
        return len(self._sent)

    @property
    def handed_over(self) -> int:
        """How many messages ever were."""
        return self._arrived + len(self._sent)

    @property
    def full(self) -> bool:
        """Whether so much is on its way that nothing should follow before it has arrived."""
        return len(self._sent) > MAX_UNACKNOWLEDGED

    def send(self, message: Message) -> None:
        """Hand a message to the producer."""
        sent = self._publisher.send(message.topic, message.key, message.value, message.headers)
        self._sent.append(asyncio.ensure_future(sent))

    async def acknowledged(self, upto: int | None = None) -> None:
        """Wait for the broker, for the first so many messages that were handed over (None: for all, also of later). What was refused, or not waited for
        to the end, stays: no checkpoint gets past it.

        Raises
        ------
        BrokerError
            The broker does not take a message.
        """
        while self._sent and (upto is None or self._arrived < upto):
            first = self._sent[0]
            await asyncio.shield(first)
            if self._sent and self._sent[0] is first:  # others may wait as well
                self._sent.popleft()
                self._arrived += 1

    def forget(self) -> None:
        """Wait for nothing any more: the partition is another worker's."""
        self._arrived += len(self._sent)
        self._sent.clear()
