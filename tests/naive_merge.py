"""Slow, obvious merge of series by event time: what `producers.replay.Timeline` must equal."""

from __future__ import annotations

import math
from collections.abc import Sequence

from producers.datasets import Series


def merged(series: Sequence[Series], first: int | None, last: int | None) -> list[tuple[str, int, float]]:
    """(series, event time, value) in sending order: always the series whose next record has the earliest due time."""
    queues = []
    for s in series:
        queue, newest = [], -math.inf
        for t, v in zip(s.timestamps.tolist(), s.columns[0].tolist(), strict=True):
            if not math.isfinite(v) or (first is not None and t < first) or (last is not None and t >= last):
                continue
            newest = max(newest, t)
            queue.append((newest, s.name, t, v))
        queues.append(queue)
    out = []
    while any(queues):
        soonest = min((q for q in queues if q), key=lambda q: q[0][0])  # the first of equals
        _, name, t, v = soonest.pop(0)
        out.append((name, t, v))
    return out
