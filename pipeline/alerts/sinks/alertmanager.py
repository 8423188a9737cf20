"""Prometheus Alertmanager, API v2: firing alerts are sent again and again while they fire, resolved ones for five minutes.

Alertmanager is told states, not changes: it forgets an alert that is not repeated. So this sink needs no offsets. It reads
the compacted alert topic from the beginning, knows from that what is firing now, and says so at intervals; after a restart
it does the same again.

Labels are an alert's identity there. Severity is one of them, since people route by it; when it rises, the alert with the
lower severity is resolved and the other begun.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

import msgspec
import structlog

from pipeline.alerts.records import Alert
from pipeline.alerts.sinks.post import Poster
from pipeline.alerts.sinks.presentation import annotations_of, labels_of, link_of
from pipeline.alerts.subscribe import AlertSubscriber

log = structlog.get_logger(__name__)

PATH = "/api/v2/alerts"
RESOLVED_FOR = timedelta(minutes=5)
_PER_POST = 64
_FIRST_WAIT = 1.0
_OUTLIVES = 4
"""Intervals without a repetition after which Alertmanager takes a firing alert as resolved (this sink is gone)."""


@dataclass(slots=True)
class _Told:
    """An alert as Alertmanager is told of it; `resolved_at` is wall time."""

    alert: Alert
    resolved_at: datetime | None = None


Labels = frozenset[tuple[str, str]]


class AlertStates:
    """What Alertmanager is to be told: of each series and set of labels (severity is one) the newest, while it matters."""

    def __init__(self, now: Callable[[], datetime] = lambda: datetime.now(UTC), *, page: str = "") -> None:
        self._now = now
        self._page = page
        self._told: dict[tuple[str, Labels], _Told] = {}

    def take(self, alert: Alert) -> bool:
        """Take a record in; whether that changes what is to be told."""
        if not alert.fired:
            return False
        labels = frozenset(labels_of(alert).items())
        key = (alert.fingerprint, labels)
        before = self._told.get(key)
        resolved = alert.status == "resolved"
        firing = before is not None and before.resolved_at is None
        known = firing or not (resolved or alert.silenced is True)
        if known:
            self._told[key] = _Told(alert, self._now() if resolved else None)
        elif not resolved:  # nobody is to be told
            return False
        changed = known  # else: it ended before anybody was told of it, at least of it as that severe
        for (fingerprint, other), told in self._told.items():
            if fingerprint == alert.fingerprint and other != labels and told.resolved_at is None:
                told.resolved_at = self._now()
                changed = True
        return changed

    def to_tell(self, interval: timedelta) -> list[dict[str, Any]]:
        """Alerts for the API; those resolved for long are forgotten."""
        now = self._now()
        for key, told in list(self._told.items()):
            if told.resolved_at is not None and now - told.resolved_at > RESOLVED_FOR:
                del self._told[key]
        return [_posted(told, now + _OUTLIVES * interval, self._page) for told in self._told.values()]

    def forget_resolved(self) -> None:
        """Drop what is resolved: when the topic's past has been read, it is of no interest."""
        self._told = {key: told for key, told in self._told.items() if told.resolved_at is None}


def _posted(told: _Told, outlived: datetime, page: str) -> dict[str, Any]:
    alert = told.alert
    ends = outlived if told.resolved_at is None else told.resolved_at
    ends = max(ends, datetime.fromisoformat(alert.starts_at))  # event time may run ahead of ours
    linked = {"generatorURL": link_of(alert, page)} if page else {}
    return linked | {
        "labels": labels_of(alert),
        "annotations": annotations_of(alert),
        "startsAt": alert.starts_at,
        "endsAt": ends.isoformat(timespec="milliseconds").replace("+00:00", "Z"),
    }


async def run(
    subscriber: AlertSubscriber, poster: Poster, *, interval: timedelta, states: AlertStates | None = None
) -> None:
    """Keep Alertmanager informed until cancelled: of changes at once, of all that fires every `interval`.

    `subscriber` reads from the beginning and has no group.
    """
    states = AlertStates() if states is None else states
    changed = asyncio.Event()
    try:
        async with poster, subscriber as records, asyncio.TaskGroup() as tasks:
            tasks.create_task(_listen(records, states, changed))
            await subscriber.caught_up.wait()
            states.forget_resolved()
            log.info("alertmanager sink runs", receiver=poster.receiver)
            await _keep_telling(poster, states, interval, changed)
    except ExceptionGroup as group:  # the listener failed: Kafka went away for good
        raise group.exceptions[0] from group


async def _keep_telling(poster: Poster, states: AlertStates, interval: timedelta, changed: asyncio.Event) -> None:
    wait = _FIRST_WAIT
    while True:
        changed.clear()
        leave = await _tell(poster, states.to_tell(interval))
        if leave is None:
            wait = _FIRST_WAIT
            with suppress(TimeoutError):
                await asyncio.wait_for(changed.wait(), interval.total_seconds())
        else:  # left alone for a while, whatever changes; but not so long that what fires runs out there
            await asyncio.sleep(min(max(wait, leave), interval.total_seconds()))
            wait *= 2


async def _listen(records: AlertSubscriber, states: AlertStates, changed: asyncio.Event) -> None:
    async for alert in records:
        if states.take(alert):
            changed.set()


async def _tell(poster: Poster, alerts: list[dict[str, Any]]) -> float | None:
    """Post all once; None, or where Alertmanager did not take them for how many seconds it asks to be left alone."""
    for at in range(0, len(alerts), _PER_POST):
        away = await _tell_some(poster, alerts[at : at + _PER_POST])
        if away is not None:
            return away
    return None


async def _tell_some(poster: Poster, alerts: list[dict[str, Any]]) -> float | None:
    """The same for one post. What is refused is halved, so that one alert that will not do takes no other with it."""
    attempt = await poster.attempt(msgspec.json.encode(alerts))
    if attempt.outcome == "away":
        return attempt.retry_after
    if attempt.outcome == "refused" and len(alerts) > 1:
        half = len(alerts) // 2
        for some in (alerts[:half], alerts[half:]):
            if (away := await _tell_some(poster, some)) is not None:
                return away
    return None
