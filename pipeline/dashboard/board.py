"""What the page knows of alerts, and who is to be told: every alert that is open, the newest that are over, each with its records.

    alert topic ──record──▶ Board ──brief──▶ every open page        detail ◀── whole records, asked for one alert at a time

A *brief* is a record without its evidence: a page that opens gets one for each alert, thousands in one go.
"""

from __future__ import annotations

import asyncio
from collections import OrderedDict
from collections.abc import Iterator
from contextlib import contextmanager

import msgspec

from pipeline.alerts.records import Alert, encode

MAX_ENDED = 5_000
"""Alerts that are over and kept; those that are open are all kept."""
MAX_RECORDS = 24
"""Of one alert: its first one, and the newest."""
MAX_BYTES = 128 << 20
"""Of all whole records; beyond it, alerts that are over go, the oldest first."""
BACKLOG = 2_000
"""Events that a page may lag behind."""

Event = tuple[str, bytes]
"""Name and JSON of what a page is told."""


class _Held:
    """One alert: its newest record in brief, and its records whole."""

    def __init__(self) -> None:
        self.open = True
        self.brief = b""
        self.records: list[bytes] = []

    @property
    def size(self) -> int:
        return sum(map(len, self.records))


class Board:
    """The alerts, and who listens. Bounded in memory by `max_ended`, `max_records`, `max_bytes`, and by `BACKLOG` for each listener."""

    def __init__(
        self, max_ended: int = MAX_ENDED, max_records: int = MAX_RECORDS, *, max_bytes: int = MAX_BYTES
    ) -> None:
        self._max_ended = max_ended
        self._max_records = max_records
        self._max_bytes = max_bytes
        self._alerts: OrderedDict[str, _Held] = OrderedDict()
        self._ended: OrderedDict[str, None] = OrderedDict()
        self._bytes = 0
        self._listeners: set[asyncio.Queue[Event | None]] = set()
        self._states: dict[str, bytes] = {}
        self.dropped = 0
        """Alerts that are over and not kept any more."""

    def take(self, record: Alert) -> None:
        """Remember a record, and tell the listeners."""
        held = self._alerts.setdefault(record.id, _Held())
        self._alerts.move_to_end(record.id)
        before = held.size
        held.records.append(encode(record))
        if len(held.records) > self._max_records:
            del held.records[1]  # the first one shows the onset
        held.open, held.brief = record.status != "resolved", encode(brief(record))
        self._bytes += held.size - before
        self._ended.pop(record.id, None)
        if not held.open:
            self._ended[record.id] = None
        while self._ended and (len(self._ended) > self._max_ended or self._bytes > self._max_bytes):
            gone, _ = self._ended.popitem(last=False)
            self._bytes -= self._alerts.pop(gone).size
            self.dropped += 1
        self._tell(("alert", held.brief))

    def say(self, what: str, body: bytes) -> None:
        """Tell the listeners of something else than an alert; who comes later is told the newest of each `what`."""
        self._states[what] = body
        self._tell((what, body))

    def unsay(self, what: str) -> None:
        """Who comes later is told nothing of it."""
        self._states.pop(what, None)

    def records(self, alert: str) -> list[bytes] | None:
        """The records of one alert, whole, the first one and the newest; None where it is not known."""
        held = self._alerts.get(alert)
        return None if held is None else list(held.records)

    def briefs(self) -> list[bytes]:
        """The newest record of each alert; the alert that something happened to last at the end."""
        return [held.brief for held in self._alerts.values()]

    @property
    def listening(self) -> int:
        """How many listen."""
        return len(self._listeners)

    @contextmanager
    def listener(self) -> Iterator[asyncio.Queue[Event | None]]:
        """A queue of all that is known and then of all that comes; None in it: too slow, begin anew."""
        queue: asyncio.Queue[Event | None] = asyncio.Queue()
        for name, body in self._states.items():
            queue.put_nowait((name, body))
        # One event for all of them: a page draws once, not a thousand times.
        queue.put_nowait(("alerts", b"[" + b",".join(self.briefs()) + b"]"))
        self._listeners.add(queue)
        try:
            yield queue
        finally:
            self._listeners.discard(queue)

    def _tell(self, event: Event) -> None:
        for listener in self._listeners:
            _put(listener, event)


def brief(record: Alert) -> Alert:
    """A record without the observations that it was made of: what a list shows."""
    evidence = msgspec.structs.replace(record.evidence, window=None, contributions=None, row=None, features=None)
    return msgspec.structs.replace(record, evidence=evidence)


def _put(listener: asyncio.Queue[Event | None], event: Event) -> None:
    if listener.qsize() < BACKLOG:
        listener.put_nowait(event)
        return
    while not listener.empty():
        listener.get_nowait()
    listener.put_nowait(None)
