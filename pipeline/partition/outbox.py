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

    def __len__(self) -> int:
        return len(self._sent)

    @property
    def full(self) -> bool:
        """Whether so much is on its way that nothing should follow before it has arrived."""
        return len(self._sent) > MAX_UNACKNOWLEDGED

    def send(self, message: Message) -> None:
        """Hand a message to the producer."""
        sent = self._publisher.send(message.topic, message.key, message.value, message.headers)
        self._sent.append(asyncio.ensure_future(sent))

    async def acknowledged(self) -> None:
        """Wait for the broker. What was refused, or not waited for to the end, stays: no checkpoint gets past it.

        Raises
        ------
        BrokerError
            The broker does not take a message.
        """
        while self._sent:
            await asyncio.shield(self._sent[0])
            self._sent.popleft()

    def forget(self) -> None:
        """Wait for nothing any more: the partition is another worker's."""
        self._sent.clear()
