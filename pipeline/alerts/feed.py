"""Alerts of a topic for code that is not asynchronous: a subscription in a thread of its own."""

from __future__ import annotations

import asyncio
import queue
import threading
from types import TracebackType
from typing import Self

from pipeline.alerts.records import Alert
from pipeline.alerts.subscribe import AlertSubscriber
from pipeline.errors import BrokerError
from pipeline.settings import KafkaSettings


class AlertFeed:
    """Alerts of one topic, read in a thread from the topic's beginning; a context manager."""

    def __init__(self, kafka: KafkaSettings, topic: str) -> None:
        self.alerts: list[Alert] = []
        self._kafka = kafka
        self._topic = topic
        self._new: queue.SimpleQueue[Alert] = queue.SimpleQueue()
        self._error: BaseException | None = None
        self._thread = threading.Thread(target=self._run, name="alerts", daemon=True)
        self._loop: asyncio.AbstractEventLoop | None = None
        self._task: asyncio.Task[None] | None = None

    def fresh(self) -> list[Alert]:
        """What came since the last call. Raises BrokerError where the topic cannot be read any more."""
        if self._error is not None:
            msg = f"the alert topic cannot be read: {self._error}"
            raise BrokerError(msg) from self._error
        found = []
        while not self._new.empty():
            found.append(self._new.get())
        self.alerts += found
        return found

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._loop is not None and self._task is not None:
            self._loop.call_soon_threadsafe(self._task.cancel)
        self._thread.join(5.0)

    def _run(self) -> None:
        try:
            asyncio.run(self._main())
        except asyncio.CancelledError:
            pass
        except Exception as error:
            self._error = error  # told to whoever asks next

    async def _main(self) -> None:
        self._loop = asyncio.get_running_loop()
        self._task = asyncio.current_task()
        async with AlertSubscriber(self._kafka, self._topic, start="beginning") as alerts:
            async for alert in alerts:
                self._new.put(alert)
