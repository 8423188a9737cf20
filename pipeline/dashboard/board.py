"""What the page shows: the newest alerts with their records, and who is to be told of further ones."""

from __future__ import annotations

import asyncio
from collections import OrderedDict
from collections.abc import Iterator
from contextlib import contextmanager

from pipeline.alerts.records import Alert

MAX_ALERTS = 300
MAX_RECORDS = 12
_BACKLOG = 1000


class Board:
    """The last `max_alerts` alerts that something happened to, each with its first and its newest records.

    Bounded in memory: alerts, records of an alert, and what a listener may lag behind.
    """

    def __init__(self, max_alerts: int = MAX_ALERTS, max_records: int = MAX_RECORDS) -> None:
        self._max_alerts = max_alerts
        self._max_records = max_records
        self._alerts: OrderedDict[str, list[Alert]] = OrderedDict()
        self._listeners: set[asyncio.Queue[Alert | None]] = set()

    def take(self, record: Alert) -> None:
        """Remember a record, and tell the listeners."""
        records = self._alerts.setdefault(record.id, [])
        records.append(record)
        if len(records) > self._max_records:
            del records[1]  # the first one shows the onset
        self._alerts.move_to_end(record.id)
        if len(self._alerts) > self._max_alerts:
            self._alerts.popitem(last=False)
        for listener in self._listeners:
            _put(listener, record)

    def records(self) -> list[Alert]:
        """All that is remembered, alert by alert, the alert that something happened to last at the end."""
        return [record for records in self._alerts.values() for record in records]

    @property
    def listening(self) -> int:
        """How many listen."""
        return len(self._listeners)

    @contextmanager
    def listener(self) -> Iterator[asyncio.Queue[Alert | None]]:
        """A queue of all that is remembered and then of all that comes; None in it: too slow, begin anew."""
        queue: asyncio.Queue[Alert | None] = asyncio.Queue()
        for record in self.records():
            queue.put_nowait(record)
        self._listeners.add(queue)
        try:
            yield queue
        finally:
            self._listeners.discard(queue)


def _put(listener: asyncio.Queue[Alert | None], record: Alert) -> None:
    if listener.qsize() < _BACKLOG + MAX_ALERTS * MAX_RECORDS:
        listener.put_nowait(record)
        return
    while not listener.empty():
        listener.get_nowait()
    listener.put_nowait(None)
