"""An alert in the words of Alertmanager: labels say what it is, annotations what is known of it."""

from __future__ import annotations

from pipeline.alerts.records import Alert, Moment
from pipeline.alerts.words import span

ALERT_NAME = "TidewatchAnomaly"


def labels_of(alert: Alert) -> dict[str, str]:
    """What the alert is, and where it is routed: no number among them, since labels are its identity there.

    What the settings say of the series is among them, but for addresses (`runbook_url`), which are annotations.
    """
    return {
        **{name: text for name, text in _own(alert).items() if not _is_address(text)},
        "alertname": ALERT_NAME,
        "stream": alert.stream,
        "series": alert.series,
        "detector": alert.detector.name,
        "severity": alert.severity,
    }


def annotations_of(alert: Alert) -> dict[str, str]:
    """What is known of it, for people to read."""
    known = {
        "summary": summary_of(alert),
        "peak_score": f"{alert.peak_score:.2f}",
        "score": "" if alert.score is None else f"{alert.score:.2f}",
        "threshold": "" if alert.threshold is None else f"{alert.threshold:.2f}",
        "alarm": f"{alert.alarm:.2f}" if isinstance(alert.alarm, float) else "",
        "observed": _values(alert.observed),
        "expected": _values(alert.expected),
        "kind": alert.kind,
        "change": alert.change,
        "deviation": _deviation(alert),
        "onset": _moment(alert.onset),
        "peak": _moment(alert.peak),
        "lasted": span(alert.lasted_ms) if alert.lasted_ms else "",
        "members": ", ".join(alert.members),
        "channels": ", ".join(f"{c.name} {c.share:.0%}" for c in alert.channels),
        "next_id": alert.next_id or "",
        "last_seen": alert.last_seen,
        "id": alert.id,
        "evidence": f"{alert.evidence.topic}[{alert.evidence.partition}]@{alert.evidence.offset}",
    }
    if alert.evidence.features:
        known["features"] = ", ".join(f"{f.name}={f.value}" for f in alert.evidence.features)
    addresses = {name: text for name, text in _own(alert).items() if _is_address(text)}
    return {**addresses, **{name: text for name, text in known.items() if text}}


def _own(alert: Alert) -> dict[str, str]:
    return alert.labels if isinstance(alert.labels, dict) else {}


def _is_address(text: str) -> bool:
    return text.startswith(("http://", "https://"))


def link_of(alert: Alert, page: str) -> str:
    """Where the page (`tidewatch dashboard`) shows the alert; empty where there is no page.

    >>> from types import SimpleNamespace
    >>> link_of(SimpleNamespace(id="5efa"), "https://tidewatch.example/")
    'https://tidewatch.example/#/alerts?alert=5efa'
    """
    return f"{page.rstrip('/')}/#/alerts?alert={alert.id}" if page else ""


def summary_of(alert: Alert) -> str:
    """The record's own sentence; of one that an older version wrote, which series and since when."""
    if alert.summary:
        return alert.summary
    if alert.status == "resolved":
        return f"{alert.series} was anomalous from {alert.starts_at} to {alert.ends_at}"
    return f"{alert.series} is anomalous since {alert.starts_at}"


def _deviation(alert: Alert) -> str:
    if alert.deviation is None:
        return ""
    percent = "" if alert.deviation_percent is None else f" ({alert.deviation_percent:+.3g} %)"
    return f"{alert.deviation:+.6g}{percent}"


def _moment(moment: Moment | None) -> str:
    if moment is None:
        return ""
    return f"{_values([moment.observed])}, expected {_values([moment.expected])}, at {moment.at}"


def _values(values: list[float | None] | None) -> str:
    return "" if values is None else ", ".join("-" if v is None else f"{v:.6g}" for v in values)
