"""Webhook: each alert that fires, grows more severe or resolves, as a POST in the body of Alertmanager's webhooks, version 4.

So whatever receives Alertmanager's webhooks receives ours. A group of subscribers shares the topic and goes on after a
restart where it was; after a crash the last second may come again (`annotations.id` and the status tell).
"""

from __future__ import annotations

import msgspec
import structlog

from pipeline.alerts.records import Alert
from pipeline.alerts.sinks.post import Poster
from pipeline.alerts.sinks.presentation import annotations_of, labels_of, link_of
from pipeline.alerts.subscribe import AlertSubscriber

log = structlog.get_logger(__name__)

_OPEN_END = "0001-01-01T00:00:00Z"


async def run(subscriber: AlertSubscriber, poster: Poster, *, updates: bool = False, page: str = "") -> None:
    """Hand alerts on, one after the other, until cancelled.

    Parameters
    ----------
    updates
        Also post the records that a firing alert writes at steps of `update_every`.
    page
        Address of the page that shows alerts, for links to it.
    """
    begun: set[str] = set()
    async with poster, subscriber as records:
        log.info("webhook sink runs", receiver=poster.receiver)
        async for alert in records:
            if not alert.fired or _is_silenced(alert, begun):
                continue
            begins = alert.id in begun or alert.change == "unsilenced"
            if alert.reason == "update" and not updates and not begins:
                continue
            begun.discard(alert.id)
            taken = await poster.post(body(alert, page))
            log.info(
                "posted" if taken else "not taken", id=alert.id, sequence=alert.sequence, status=alert.status,
                series=alert.series,
            )  # fmt: skip


def _is_silenced(alert: Alert, begun: set[str]) -> bool:
    """Whether nobody is to be told; `begun` are the alerts that began to fire in silence, of whose end nobody is told either."""
    if alert.status == "resolved":
        silenced = alert.id in begun
        begun.discard(alert.id)
        return silenced
    if alert.silenced is True and alert.reason in ("anomaly", "held"):
        begun.add(alert.id)
    return alert.silenced is True


def body(alert: Alert, page: str = "") -> bytes:
    """The webhook's body: a group of this one alert."""
    what, known = labels_of(alert), annotations_of(alert)
    status = "resolved" if alert.status == "resolved" else "firing"
    return msgspec.json.encode(
        {
            "version": "4",
            "groupKey": f"{{}}:{{fingerprint={msgspec.json.encode(alert.fingerprint).decode()}}}",
            "truncatedAlerts": 0,
            "status": status,
            "receiver": "tidewatch",
            "groupLabels": {"alertname": what["alertname"], "stream": alert.stream, "series": alert.series},
            "commonLabels": what,
            "commonAnnotations": known,
            "externalURL": page,
            "alerts": [
                {
                    "status": status,
                    "labels": what,
                    "annotations": known,
                    "startsAt": alert.starts_at,
                    "endsAt": alert.ends_at or _OPEN_END,
                    "generatorURL": link_of(alert, page),
                    "fingerprint": alert.fingerprint,
                }
            ],
        }
    )
