"""What a look at a topic's messages makes one suspect, although each of them can be read: totals that no format calls so, and labels that change.

    net_bytes_recv   100, 105, 112, 118 ...     only ever rises: a counter, to be judged by its rate?
    cpu{msg="m-1"}, cpu{msg="m-2"} ...          a series of each message, and none is ever learnt
    cpu{temp="20.31"}, cpu{temp="20.40"} ...    a value, written as a text
    cpu{service.instance.id="5f0c"} ...         another series after each restart

Nothing is changed by it: what is true only the people know whose messages they are.
"""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from itertools import pairwise

from producers.formats.naming import labels_of

_DECIMAL = re.compile(r"\s*[+-]?\d*(?:[.,]\d+)?(?:[eE][+-]?\d+)?\s*", re.ASCII)

ENOUGH = 32
"""Observations of a metric that are worth a suspicion."""

_MOST_NAMED = 8
RESTLESS = re.compile(
    r"service[._]instance[._]id|telemetry[._]sdk[._]version|process[._](?:pid|runtime[._]version)|container[._]?id|(?:k8s[._])?pod(?:[._](?:name|uid|id|ip))?"
)
"""Labels that are others after a restart or an upgrade, by the names that OpenTelemetry, Kubernetes and Prometheus give them."""
_BOUNDS = ("le", "quantile")
"""Labels that Prometheus writes as numbers."""


def rising(points: Mapping[str, Sequence[tuple[int, float]]]) -> list[str]:
    """Metrics whose values never fell, but for restarts (to less than half), and rose in at least every second step.

    Parameters
    ----------
    points
        Of each gauge with one channel, by its name: times in ms and values, in any order.
    """
    steps, rises, falls = defaultdict[str, int](int), defaultdict[str, int](int), defaultdict[str, int](int)
    restarts = defaultdict[str, int](int)
    for name, of in points.items():
        metric, _ = labels_of(name)
        values = [value for _, value in sorted(dict(of).items())]
        for before, value in pairwise(values):
            steps[metric] += 1
            rises[metric] += value > before
            restarted = 0 <= value < before / 2
            restarts[metric] += restarted
            falls[metric] += value < before and not restarted
        falls[metric] += any(value < 0 for value in values)
    return sorted(
        m for m, n in steps.items() if m and n >= ENOUGH and not falls[m] and 2 * rises[m] >= n >= ENOUGH * restarts[m]
    )


def changing(series: Mapping[str, int]) -> tuple[list[str], list[str]]:
    """Labels that have another value in nearly every observation of a metric; and those whose values are decimal numbers.

    Parameters
    ----------
    series
        How many observations each has, by its name.
    """
    seen, texts = defaultdict[tuple[str, str], int](int), defaultdict[tuple[str, str], set[str]](set)
    for name, n in series.items():
        metric, labels = labels_of(name)
        for label, text in labels.items():
            seen[metric, label] += n
            texts[metric, label].add(text)
    many = {of: found for of, found in texts.items() if seen[of] >= ENOUGH and of[1] not in _BOUNDS}
    numbers = {label for (_, label), found in many.items() if _are_decimals(found)}
    each = {of[1] for of, found in many.items() if 2 * len(found) > seen[of]}
    return sorted(each - numbers), sorted(numbers)


def restless(series: Iterable[str]) -> list[str]:
    """Labels that are others after a restart or an upgrade, by their names."""
    return sorted(
        label for label in {label for name in series for label in labels_of(name)[1]} if RESTLESS.fullmatch(label)
    )


def _are_decimals(texts: Iterable[str]) -> bool:
    found = list(texts)
    return (
        len(found) >= ENOUGH // 2 and all(map(_DECIMAL.fullmatch, found)) and any(not text.isdigit() for text in found)
    )


def told(points: Mapping[str, Sequence[tuple[int, float]]], series: Mapping[str, int]) -> list[str]:
    """A sentence for each suspicion, with the mend."""
    each, numbers = changing(series)
    lines = []
    if each:
        lines.append(
            f"labels with another value in nearly every observation: {_listed(each)}; each makes a series of its own, and none is ever "
            "learnt. If they tell no series apart, name the labels that do (fields.labels), or leave these out ([[intake]] drop_labels)"
        )
    if numbers:
        lines.append(
            f"labels that are decimal numbers: {_listed(numbers)}; if they are values written as text, name the values (fields.values) "
            "and the labels (fields.labels)"
        )
    if labels := [label for label in restless(series) if label not in each]:
        lines.append(
            f"labels that are others after a restart or an upgrade: {_listed(labels)}; then every series is a new one, in probation, and the old "
            "one is told as gone. Where they tell no series apart, leave them out ([[intake]] drop_labels)"
        )
    if counters := rising(points):
        lines.append(
            f"values that only ever rise: {_listed(counters)}; if they count, set the stream's counter = "
            f"[{', '.join(_quoted(name) for name in counters[:_MOST_NAMED])}{', ...' if len(counters) > _MOST_NAMED else ''}], or "
            "their totals are judged, not their rates"
        )
    return lines


def _quoted(text: str) -> str:
    return f'"{text}"'


def _listed(names: Sequence[str]) -> str:
    more = f" and {len(names) - _MOST_NAMED:,} more" if len(names) > _MOST_NAMED else ""
    return ", ".join(name[:80] for name in names[:_MOST_NAMED]) + more
