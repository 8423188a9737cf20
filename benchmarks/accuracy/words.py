"""How figures become text: means with their spread, tables, and who wins or loses, in words."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np

from benchmarks.accuracy.cache import Outcomes

METRIC = "average_precision"


def by(found: Iterable[dict[str, Any]], *keys: str) -> dict[Any, Outcomes]:
    """Outcomes in groups, by one value or by several."""
    groups: dict[Any, Outcomes] = {}
    for o in found:
        groups.setdefault(o[keys[0]] if len(keys) == 1 else tuple(o[k] for k in keys), []).append(o)
    return groups


def mean(found: Outcomes, metric: str) -> float:
    """Mean of what there is."""
    return float(np.mean(_values(found, metric)))


def spread(found: Outcomes, metric: str, digits: int = 3) -> str:
    """Mean, and the standard deviation over the outcomes where there are several."""
    values = _values(found, metric)
    if not values:
        return "—"
    digits = digits if max(map(abs, values)) >= 0.1 else max(digits, 4)
    text = f"{np.mean(values):.{digits}f}"
    return text if len(values) == 1 else f"{text} ± {np.std(values):.{digits}f}"


def _values(found: Outcomes, metric: str) -> list[float]:
    return [o[metric] for o in found if o[metric] is not None]


def share(found: Outcomes) -> str:
    """Prevalence, in per cent."""
    return f"{100 * mean(found, 'prevalence'):.2g} %"


def markdown(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """A table."""
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)


def ranked(found: Outcomes, group: str, metric: str = METRIC) -> list[tuple[str, Outcomes]]:
    """Contenders of one group without labels, the best first."""
    mine = by((o for o in found if o["group"] == group and o.get("fits_on") != "labels"), "contender")
    return sorted(mine.items(), key=lambda item: -mean(item[1], metric))


def verdict(found: Outcomes, metric: str = METRIC, unit: str = "AP") -> str:
    """In a few words: does a network lead, and who beats the networks if none does."""
    first = {group: ranked(found, group, metric)[:1] for group in ("network", "classical", "yardstick")}
    if not first["network"]:
        return ""
    [(name, its)] = first["network"]
    rivals = [(other, rows) for group in ("classical", "yardstick") for other, rows in first[group]]
    own = mean(its, metric)
    told = f"{name} {unit} {own:.3f}"
    if not rivals:
        return told
    ahead = [(other, rows) for other, rows in rivals if mean(rows, metric) > own]
    if not ahead:
        other, rows = max(rivals, key=lambda item: mean(item[1], metric))
        near = _within(its, rows, metric)
        return f"{name} leads ({unit} {own:.3f}; {other} {mean(rows, metric):.3f}{near})"
    others = " and ".join(
        f"{_a(rows)} ({other} {unit} {mean(rows, metric):.3f}{_within(its, rows, metric)})" for other, rows in ahead
    )
    return f"**every network loses** to {others}; the best is {told}"


def _a(rows: Outcomes) -> str:
    return "a yardstick" if rows[0]["group"] == "yardstick" else "a classical detector"


def _within(one: Outcomes, other: Outcomes, metric: str) -> str:
    """Says so where two means lie no farther apart than the larger of both spreads."""
    widest = max(float(np.std(_values(rows, metric))) for rows in (one, other))
    return ", within the spread" if abs(mean(one, metric) - mean(other, metric)) <= widest else ""


def losers(found: Outcomes, metric: str = METRIC, unit: str = "AP") -> list[str]:
    """Which networks lie below the best yardstick, and which below the best classical detector; empty where none does."""
    sentences = []
    for group in ("yardstick", "classical"):
        for other, rows in ranked(found, group, metric)[:1]:
            networks = ranked(found, "network", metric)
            below = [label for label, its in networks if mean(its, metric) < mean(rows, metric)]
            if below:
                who = "All" if len(below) == len(networks) else f"{len(below)} of"
                names = "" if len(below) == len(networks) > 1 else f": {'; '.join(below)}"
                sentences.append(
                    f"{who} {len(networks)} networks that are told no labels lose to the {group} “{other}” ({unit} "
                    f"{mean(rows, metric):.3f}){names}."
                )
    return sentences
