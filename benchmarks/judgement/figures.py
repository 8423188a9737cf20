"""Figures of one scorer on one item, all of the rows behind the training part.

- average precision and VUS-PR of `score`;
- of alerts: an event is found by one that *begins* at it, from `EARLY` rows before it (labels are not exact) to `BEHIND` rows after it; one that began
  earlier and was still open found nothing, or a single alert over the whole file would be perfect. All other alerts
  are false;
- best event F1 of `onset`: the same over all thresholds; rows above one are alerts, joined over up to `JOIN` normal rows; the harmonic mean of the share
  of events found and the share of alerts that begin at one.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from benchmarks.judgement.items import Floats, Item, Span, Told
from detectors.evaluation import delay, ranges, ranking

JOIN = 5
"""Normal rows after which an alert is over."""
EARLY, BEHIND = 3, 10
THRESHOLDS = 150


def outcome(item: Item, told: Told, *, ranked: bool = True) -> dict[str, Any]:
    """All figures, without `ranked` only those of alerts; None where an item has no anomaly to rank or a scorer raises no alerts."""
    y, first = item.y[item.first :], item.first
    out: dict[str, Any] = {
        "name": item.name,
        "rows": len(y),
        "events": len(delay.episodes(y)),
        "anomalous": int(y.sum()),
    }
    if ranked and y.any():
        score, onset = _filled(told.score[first:]), _filled(told.onset[first:])
        out["average_precision"] = ranking.average_precision(y, score)
        out["vus_pr"] = ranges.vus_pr(y, score, buffer=item.buffer)
        out["event_f1"] = best_event_f1(y, onset)
    if told.alerts is not None:
        out |= by_alerts(y, [(max(a - first, 0), b - first) for a, b in told.alerts if b >= first])
    return out


def _filled(scores: Floats) -> Floats:
    known = scores[np.isfinite(scores)]
    return np.where(np.isfinite(scores), scores, known.min() if len(known) else 0.0)


def best_event_f1(y: NDArray[np.int8], scores: Floats) -> float:
    """The best harmonic mean of the share of events found and the share of alerts that meet one, over thresholds."""
    events = delay.episodes(y)
    at = _beginnings(y)
    falling = np.sort(scores)[::-1]
    places = np.unique(np.geomspace(1, max(len(y) // 2, 1), THRESHOLDS).astype(int)) - 1
    best = 0.0
    for threshold in np.unique(falling[places]):
        alerts = delay.episodes((scores >= threshold).astype(np.int8), join=JOIN)
        begun = np.zeros(len(y) + 1, np.int64)
        begun[[a + 1 for a, _ in alerts]] = 1
        before = np.cumsum(begun)  # alerts that began in rows [0, i)
        true = sum(bool(at[a]) for a, _ in alerts)
        found = sum(before[min(b + 1 + BEHIND, len(y))] > before[max(a - EARLY, 0)] for a, b in events)
        precision, recall = true / len(alerts), found / len(events)
        if precision + recall:
            best = max(best, 2 * precision * recall / (precision + recall))
    return best


def by_alerts(y: NDArray[np.int8], alerts: list[Span]) -> dict[str, Any]:
    """Events found, rows of delay (one for each found), alerts, false alerts."""
    delays, at = [], _beginnings(y)
    for first, last in delay.episodes(y):
        begun = [max(a - first, 0) for a, _ in alerts if first - EARLY <= a <= last + BEHIND]
        delays += [min(begun)] if begun else []
    return {"found": len(delays), "delays": delays, "alerts": len(alerts), "false": sum(not at[a] for a, _ in alerts)}


def _beginnings(y: NDArray[np.int8]) -> NDArray[np.bool_]:
    """Rows at which an alert may begin that is of an event."""
    at = np.zeros(len(y), np.bool_)
    for first, last in delay.episodes(y):
        at[max(first - EARLY, 0) : last + 1 + BEHIND] = True
    return at


def runs(anomalous: NDArray[np.bool_]) -> list[Span]:
    """Alerts of a scorer that flags rows: over after `JOIN` normal ones."""
    return delay.episodes(anomalous.astype(np.int8), join=JOIN)
