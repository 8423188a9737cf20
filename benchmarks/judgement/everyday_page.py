"""The page of the everyday metrics, written from kept outcomes alone."""

from __future__ import annotations

from collections.abc import Mapping
from statistics import median

from benchmarks.judgement import everyday, patterns
from benchmarks.judgement.page import Outcomes, kind_of

Kept = Mapping[str, Outcomes]
"""Scorer -> one outcome for each item."""


def text(kept: Kept, chosen_on: Mapping[str, str], stale: int) -> str:
    """The whole page; scorer -> how it is in-sample here."""
    known = "; ".join(f"`{scorer}`: {how}" for scorer, how in chosen_on.items() if scorer in kept)
    parts = [
        "<!-- written by benchmarks/judgement/run.py -->\n\n# Everyday metrics\n",
        f"In-sample: {known or 'nothing'}.\n",
    ]
    if stale:
        parts.append(f"{stale} outcomes were made by an earlier state of the code.\n")
    return "\n".join([*parts, _figures(kept), _rows(kept)])


def _figures(kept: Kept) -> str:
    lines = [
        (
            f"{len(everyday.KINDS)} metrics that people watch, made up (`everyday.py`): each once as usual and once with an incident that whoever runs the thing would want to hear of; the first half learnt "
            "from, three seeds. A scorer that takes a budget is asked for one alert per series and month (in 200 rows where a month has fewer). *Early* is found within a quarter of the "
            "incident, or in its first row. *False alerts* are all but those that begin at the incident; beside them what the budget lets pass. *Too loud* are kinds that told more than twice their "
            "budget and two, as usual, in all seeds.\n"
        ),
        "| scorer | found | early | median delay, share of the incident | false alerts, budget: as usual | with an incident | kinds too loud |",
        "|---|---:|---:|---:|---:|---:|---:|",
    ]
    for scorer, outcomes in kept.items():
        quiet, found = ([o for o in outcomes if bool(o["events"]) == events] for events in (False, True))
        late = [min(o["delays"]) / o["anomalous"] for o in found if o["delays"]]
        early = sum(min(o["delays"]) <= o["anomalous"] / 4 for o in found if o["delays"])
        kinds = [[o for o in quiet if kind_of(o) == everyday.usual(kind)] for kind in everyday.KINDS]
        loud = sum(_false(of) > 2 * _allowed(of) + 2 for of in kinds)
        told = " | ".join(f"{_false(of)}, {_allowed(of):.0f}" for of in (quiet, found))
        share = f"{100 * median(late):.0f} %" if late else ""
        lines.append(f"| {scorer} | {len(late)} of {len(found)} | {early} | {share} | {told} | {loud} |")
    return "\n".join(lines) + "\n"


def _rows(kept: Kept) -> str:
    lines = [
        "## Each\n",
        "Found of the seeds, median delay; false alerts as usual and with the incident:\n",
        "| metric, incident | lasts | " + " | ".join(kept) + " | budget |",
        "|---|---:|" + "---:|" * (len(kept) + 1),
    ]
    for kind in everyday.KINDS:
        cells, allowed = [], 0.0
        for outcomes in kept.values():
            usual, of = ([o for o in outcomes if kind_of(o) == name] for name in (everyday.usual(kind), kind.name))
            allowed = max(allowed, _allowed(of))
            delays = [min(o["delays"]) * kind.step for o in of if o["delays"]]
            late = f", {_minutes(median(delays))}" if delays else ""
            cells.append(f"{len(delays)} of {len(of)}{late} ({_false(usual)}, {_false(of)})")
        lines.append(f"| {kind.name} | {_minutes(kind.lasts)} | " + " | ".join(cells) + f" | {allowed:.1f} |")
    return "\n".join(lines) + "\n"


def _false(of: Outcomes) -> int:
    return sum(o["false"] for o in of)


def _allowed(of: Outcomes) -> float:
    """False alerts that the budget lets pass."""
    return float(sum(o["rows"] / o["budget"] for o in of))


def _minutes(of: float) -> str:
    """A time in words."""
    if of >= 2 * patterns.DAY:
        return f"{of / patterns.DAY:.3g} days"
    return f"{of / 60:.3g} h" if of >= 120 else f"{of:.3g} min"
