"""The page of figures, written from kept outcomes alone."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from statistics import fmean, median
from typing import Any

from benchmarks.judgement import clean, patterns

Outcomes = Sequence[Mapping[str, Any]]
Kept = Mapping[tuple[str, str], Outcomes]
"""(group, scorer) -> one outcome for each item."""

RANKED = {
    "planted": "made-up metrics of one channel with planted anomalies, 2,000 rows or more (`benchmarks/unseen/planted.py`), training part min(15 %, 750)",
    "two sources": "made-up metrics of 3 to 12 channels that two sources move (`planted.several`)",
    "several": "made-up metrics of 6 to 15 channels, three to six sources, noise of 2 to 100 % (`benchmarks/judgement/channels.py`)",
    "ms": "Microsoft's cloud monitoring, labelled by the teams; training part 15 %",
    "lro": "Logan River Observatory, technicians' qualifiers as labels; training part 15 %, at most 10,000 rows",
    "nab": "14 files of NAB that TSB-AD-U has uncut, with its training parts; its best published VUS-PR on just these is .376 (POLY)",
}
_FIGURES = {"average_precision": "AP", "vus_pr": "VUS-PR", "event_f1": "best event F1"}


def text(
    kept: Kept, sizes: Mapping[str, int], chosen_on: Mapping[str, Mapping[str, str]], budget: float, stale: int
) -> str:
    """The whole page.

    Parameters
    ----------
    kept
        Outcomes.
    sizes
        Items of each group, scored or not.
    chosen_on
        Scorer -> group -> in what way it is in-sample there; what is not named is not.
    """
    parts = [
        "<!-- written by benchmarks/judgement/run.py -->\n\n# Judgement\n",
        (
            "How scorers rank, what they find at once and what they tell for nothing. Every item is scored on its own and causally: from its training part (labels "
            "unseen) and the rows up to the judged one. Figures are means over items, of the rows behind the training part; AP is average precision at the prevalence "
            "stated; VUS-PR has buffers of 0 to 100 rows (planted 16, NAB the period TSB-AD finds). *Best event F1* is of the output that the alarm goes by, over all thresholds "
            "(alerts end after 5 normal rows; an event is found by an alert that begins at it, 10 rows behind it included, and by no alert that was open before). `season z` and `AR(48)` are yardsticks of a few lines "
            "(`yardsticks.py`), `networks` are the product's three networks by their calibrated scores, as its default was (`NETWORKS` in `detectors/recipes.py`), `judgement` is `detectors/judgement` alone, `default`, where it stands, both, as `tidewatch score` does it. Where not all items of a group were scored by all, `same` are those that were.\n"
        ),
        _in_sample(chosen_on),
    ]
    if stale:
        parts.append(f"{stale} outcomes were made by an earlier state of the code.\n")
    parts += [_ranked(group, what, kept, sizes[group]) for group, what in RANKED.items() if _of(kept, group)]
    if _of(kept, "patterns"):
        parts += [_patterns(kept), _pattern_rows(kept), _whole_days(kept)]
    if _of(kept, "clean"):
        parts.append(_clean(kept, budget))
    return "\n".join(parts)


def _of(kept: Kept, group: str) -> dict[str, Outcomes]:
    return {scorer: found for (g, scorer), found in kept.items() if g == group and found}


def _in_sample(chosen_on: Mapping[str, Mapping[str, str]]) -> str:
    lines = [
        f"- `{scorer}`: {'; '.join(f'{g}: {how}' for g, how in on.items()) or 'nothing here'}"
        for scorer, on in chosen_on.items()
    ]
    return "What was looked at while a scorer was made, and so is in-sample for it:\n\n" + "\n".join(lines) + "\n"


def _ranked(group: str, what: str, kept: Kept, size: int) -> str:
    found = _of(kept, group)
    same = set.intersection(*({o["name"] for o in outcomes} for outcomes in found.values()))
    some = max(found.values(), key=len)
    rows, anomalous = sum(o["rows"] for o in some), sum(o["anomalous"] for o in some)
    lines = [
        f"## {group}\n",
        f"{what[0].upper()}{what[1:]}. {size} items; {rows:,} judged rows, {100 * anomalous / rows:.1f} % anomalous, in {sum(o['events'] for o in some):,} events.\n",
        "| scorer | items | "
        + " | ".join(_FIGURES.values())
        + f" | same {len(same)}: AP | VUS-PR | F1 | found, false alerts of its own alarm |",
        "|---|---:|" + "---:|" * 7,
    ]
    for scorer, outcomes in found.items():
        shared = [o for o in outcomes if o["name"] in same]
        cells = [_mean(outcomes, f) for f in _FIGURES] + [_mean(shared, f) for f in _FIGURES]
        alarm = f"{sum(o['found'] for o in outcomes)} of {sum(o['events'] for o in outcomes)}, {sum(o['false'] for o in outcomes)}"
        lines.append(f"| {scorer} | {len(outcomes)} | " + " | ".join(cells) + f" | {alarm} |")
    return "\n".join(lines) + "\n"


def _mean(outcomes: Outcomes, figure: str) -> str:
    values = [o[figure] for o in outcomes if o.get(figure) is not None]
    return f"{fmean(values):.3f}" if values else ""


def _patterns(kept: Kept) -> str:
    lines = [
        "## Twenty-eight patterns\n",
        (
            "Anomalies that a person sees at once (`patterns.py`), one in each series, the first half learnt from; three seeds. *Found* is an alert that begins at "
            "the anomaly; *whole days in time* are found within a quarter of the day; all other alerts are false.\n"
        ),
        "| scorer | seeds | found of 28, mean | whole days in time | median delay, rows | false alerts a seed |",
        "|---|---:|---:|---:|---:|---:|",
    ]
    known = {p.name: p for p in patterns.PATTERNS}
    for scorer, outcomes in _of(kept, "patterns").items():
        seeds = len(outcomes) / len(known)
        days = [(o, known[kind_of(o)]) for o in outcomes if known[kind_of(o)].whole_day]
        in_time = sum(bool(o["delays"]) and min(o["delays"]) * p.step <= patterns.DAY / 4 for o, p in days)
        delays = [d for o in outcomes for d in o["delays"]]
        usual = f"{median(delays):g}" if delays else ""
        lines.append(
            f"| {scorer} | {seeds:.3g} | {sum(o['found'] for o in outcomes) / seeds:.1f} | {in_time} of {len(days)} | "
            f"{usual} | {sum(o['false'] for o in outcomes) / seeds:.1f} |"
        )
    return "\n".join(lines) + "\n"


def _pattern_rows(kept: Kept) -> str:
    found = _of(kept, "patterns")
    lines = [
        "Found of the seeds (false alerts of all seeds):\n",
        "| pattern | " + " | ".join(found) + " |",
        "|---|" + "---:|" * len(found),
    ]
    for p in patterns.PATTERNS:
        cells = []
        for outcomes in found.values():
            of = [o for o in outcomes if kind_of(o) == p.name]
            cells.append(f"{sum(o['found'] for o in of)} of {len(of)} ({sum(o['false'] for o in of)})" if of else "")
        lines.append(f"| {p.name} | " + " | ".join(cells) + " |")
    return "\n".join(lines) + "\n"


def _whole_days(kept: Kept) -> str:
    """Delays beside the earliest row at which each whole day can be told."""
    found = _of(kept, "patterns")
    of = {scorer: {o["name"]: o for o in outcomes} for scorer, outcomes in found.items()}
    shared = sorted(set.intersection(*(set(names) for names in of.values())))
    budget = {o["budget"] for outcomes in found.values() for o in outcomes}.pop()
    lines = [
        (
            "Whole days: rows from midnight to the alert, of each seed, a dash where none began. *Earliest* is the row at which the likelihood ratio of both courses tells the day from its usual course at the budget's "
            "level, known both without their noise and when the day begins (`patterns.earliest`): a day that differs little before its morning cannot be told by then.\n"
        ),
        "| pattern | a quarter of the day | earliest | " + " | ".join(found) + " |",
        "|---|---:|---:|" + "---:|" * len(found),
    ]
    for p in patterns.PATTERNS:
        names = [n for n in shared if p.whole_day and n.rsplit(", ", 1)[0] == p.name]
        if names:
            first = [patterns.earliest(p, int(n.rsplit(", ", 1)[1]), budget) for n in names]
            delays = [[min(of[scorer][n]["delays"], default=None) for n in names] for scorer in found]
            cells = [", ".join("–" if d is None else f"{d}" for d in row) for row in [first, *delays]]
            lines.append(f"| {p.name} | {patterns.DAY / 4 / p.step:g} | " + " | ".join(cells) + " |")
    return "\n".join(lines) + "\n"


def _clean(kept: Kept, budget: float) -> str:
    found = _of(kept, "clean")
    lines = [
        "## Stated against measured false alarms\n",
        (
            f"{len(clean.KINDS)} kinds of made-up series in which nothing happens (`clean.py`), {clean.LEARNT:,} rows learnt from, {clean.JUDGED:,} judged. A scorer that takes a budget is "
            f"asked for one alert in {budget:,.0f} rows; the table has alerts per {budget:,.0f} rows, 1 is right. `networks` state none.\n"
        ),
        "| kind | " + " | ".join(found) + " |",
        "|---|" + "---:|" * len(found),
    ]
    within = dict.fromkeys(found, 0)
    for kind in clean.KINDS:
        cells = []
        for scorer, outcomes in found.items():
            of = [o for o in outcomes if kind_of(o) == kind]
            rate = budget * sum(o["false"] for o in of) / sum(o["rows"] for o in of) if of else None
            within[scorer] += rate is not None and 0.5 <= rate <= 2.0
            cells.append("" if rate is None else f"{rate:.2f}")
        lines.append(f"| {kind} | " + " | ".join(cells) + " |")
    lines.append("| *within a factor 2* | " + " | ".join(f"{k} of {len(clean.KINDS)}" for k in within.values()) + " |")
    return "\n".join(lines) + "\n"


def kind_of(outcome: Mapping[str, Any]) -> str:
    """Name of an item without its seed."""
    return str(outcome["name"]).rsplit(", ", 1)[0]
