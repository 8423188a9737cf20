"""Nobody is told of what is silenced, and everybody of what goes on when the silence ends."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any, Self

import msgspec
import pytest
from alert_lives import life
from msgspec import UNSET

from pipeline.alerts.records import Alert, DetectorRef, Evidence, Reason
from pipeline.alerts.sinks import webhook
from pipeline.alerts.sinks.alertmanager import AlertStates

HOUR = timedelta(hours=1)


class Records:
    """Both ends of a sink: what it reads, and what it posts."""

    receiver = "here"

    def __init__(self, alerts: Sequence[Alert]) -> None:
        self.alerts = alerts
        self.posted: list[Any] = []

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None: ...

    async def __aiter__(self) -> AsyncIterator[Alert]:
        for alert in self.alerts:
            yield alert

    async def post(self, body: bytes) -> bool:
        self.posted.append(msgspec.json.decode(body)["status"])
        return True


def record(sequence: int, reason: Reason, *, silenced: bool) -> Alert:
    at = "2026-01-01T00:00:00.000Z"
    return Alert(
        "0" * 32, "1" * 32, sequence, "resolved" if reason == "normal" else "firing", reason, "info", "s", "a", at, at, at, None, None, None,
        None, None, 5.0, None, DetectorRef("d", "1", ""), Evidence("in", 0, sequence), silenced=True if silenced else UNSET,
    )  # fmt: skip


LIVES: list[tuple[list[tuple[Reason, bool]], list[str]]] = [
    ([("anomaly", False), ("normal", False)], ["firing", "resolved"]),
    ([("anomaly", True), ("update", True), ("normal", False)], []),
    ([("anomaly", True), ("update", False), ("update", False), ("normal", False)], ["firing", "resolved"]),
    ([("anomaly", False), ("severity", True), ("normal", True)], ["firing", "resolved"]),
    ([("anomaly", False), ("update", False), ("update", False)], ["firing"]),
]


@pytest.mark.parametrize(
    ("life", "told"), LIVES, ids=["never", "all of it", "ended before", "begun before", "acknowledged"]
)
def test_a_webhook_tells_of_what_is_not_silenced(life: list[tuple[Reason, bool]], told: list[str]) -> None:
    records: Any = Records([record(n, reason, silenced=silenced) for n, (reason, silenced) in enumerate(life)])
    asyncio.run(webhook.run(records, records))
    assert records.posted == told


def test_a_webhook_that_was_started_within_a_silence_tells_of_what_fires_when_it_ends() -> None:
    ended = msgspec.structs.replace(record(2, "update", silenced=False), change="unsilenced")
    records: Any = Records([record(1, "update", silenced=True), ended, record(3, "update", silenced=False)])
    asyncio.run(webhook.run(records, records))
    assert records.posted == ["firing"]


def test_alertmanager_is_told_when_a_silence_ends_and_not_before() -> None:
    states = AlertStates()
    assert not states.take(record(0, "anomaly", silenced=True))
    assert states.take(record(1, "update", silenced=False))
    assert states.take(record(2, "update", silenced=True))  # told of already
    quiet = AlertStates()
    assert not quiet.take(record(0, "anomaly", silenced=True))
    assert not quiet.take(record(1, "normal", silenced=False))


def test_alertmanager_is_told_of_the_end_of_what_became_worse_in_silence() -> None:
    for silenced in (True, False):  # when it ends
        worse = msgspec.structs.replace(record(1, "severity", silenced=True), severity="critical")
        over = msgspec.structs.replace(record(2, "normal", silenced=silenced), severity="critical")
        states = AlertStates()
        assert states.take(record(0, "anomaly", silenced=False))
        assert not states.take(worse)
        assert [_ended(told) for told in states.to_tell(HOUR)] == [False]
        assert states.take(over)
        assert [_ended(told) for told in states.to_tell(HOUR)] == [True]


def test_alertmanager_is_not_told_of_the_next_alert_in_silence_because_the_last_one_is_over() -> None:
    states = AlertStates()
    assert states.take(record(0, "anomaly", silenced=False))
    assert states.take(record(1, "normal", silenced=False))
    assert not states.take(msgspec.structs.replace(record(0, "anomaly", silenced=True), id="2" * 32))
    assert [_ended(told) for told in states.to_tell(HOUR)] == [True]


def _ended(told: dict[str, Any]) -> bool:
    return datetime.fromisoformat(told["endsAt"]) <= datetime.now(UTC)


def test_alerts_link_to_the_page_where_there_is_one() -> None:
    [alert, *_] = life("a", values=(5.0,))
    link = f"https://page.example/#/alerts?alert={alert.id}"
    posted = json.loads(webhook.body(alert, "https://page.example/"))
    assert (posted["externalURL"], posted["alerts"][0]["generatorURL"]) == ("https://page.example/", link)
    states = AlertStates(page="https://page.example")
    states.take(alert)
    assert [told["generatorURL"] for told in states.to_tell(HOUR)] == [link]
    without = AlertStates()
    without.take(alert)
    assert ["generatorURL" in told for told in without.to_tell(HOUR)] == [False]
