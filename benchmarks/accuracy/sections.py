"""The sections of docs/results.md, one for each experiment."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping

import numpy as np

from benchmarks.accuracy.cache import Outcomes
from benchmarks.accuracy.experiments import TEXTBOOK, Experiment, Protocol
from benchmarks.accuracy.words import by, losers, markdown, mean, share, spread, verdict


def picture(name: str) -> str:
    """Where a picture goes, if it is drawn."""
    return f"<picture {name}>"


def without_pictures(text: str) -> str:
    """Leave out the places of pictures that were not drawn."""
    return re.sub(r"<picture [^>]+>\n\n", "", text)


def table(experiment: Experiment, found: Outcomes) -> str:
    """Section of an experiment on rows: a table for each protocol, and what it says."""
    parts = [f"## {experiment.title}", experiment.source[0].upper() + experiment.source[1:] + "."]
    for protocol in experiment.protocols:
        rows = [o for o in found if o["protocol"] == protocol.name]
        if rows:
            parts += [_head(protocol, rows), picture(f"{experiment.name} {protocol.name}"), _rows(experiment, rows)]
            parts += [" ".join([_sentence(verdict(rows)), *losers(rows)]), _swapped(experiment, protocol, rows)]
    return "\n\n".join(p for p in parts if p)


def _sentence(text: str) -> str:
    if not text:
        return ""
    at = 2 if text.startswith("**") else 0
    return text[:at] + text[at].upper() + text[at + 1 :] + "."


def _head(protocol: Protocol, rows: Outcomes) -> str:
    tested, most = rows[0]["test_rows"], max(o["train_rows"] for o in rows)
    text = (
        f"### {protocol.kind.capitalize()} protocol: {protocol.name}\n\n{_sentence(protocol.text)} "
        f"Up to {most:,} rows train, {tested:,} test, {share(rows)} of them anomalies"
    )
    copied = 100 * mean(rows, "copies")
    return text + (f", of which {copied:.0f} % equal a training row." if copied >= 0.5 else ".")


def _rows(experiment: Experiment, rows: Outcomes) -> str:
    weighted = rows[0]["weighted_precision"] is not None
    episodes = rows[0]["episodes"] is not None
    head = ["detector", "", "fits on", "ROC-AUC", "AP"]
    head += [f"AP at {experiment.weighted}"] * weighted + [f"episodes of {rows[0]['episodes']}"] * episodes
    head += ["seeds", "CPU s"]
    lines = []
    for name, found in sorted(by(rows, "contender").items(), key=lambda item: -mean(item[1], "average_precision")):
        line = [name, found[0]["group"], found[0]["fits_on"]]
        line += [spread(found, "roc_auc", 4), spread(found, "average_precision")]
        line += [spread(found, "weighted_precision")] * weighted
        line += [f"{np.mean([o['found'] for o in found]):.1f}"] if episodes else []
        lines.append([*line, str(len(found)), f"{mean(found, 'cpu_s'):.1f}"])
    return markdown(head, lines)


def _swapped(experiment: Experiment, protocol: Protocol, rows: Outcomes) -> str:
    """How the textbook's high figures come about, where it swapped the arguments."""
    forests = [o for o in rows if o["contender"] == "isolation forest"]
    if experiment.name != "kdd-http" or protocol.kind != TEXTBOOK or not forests:
        return ""
    figure, recall = (100 * mean(forests, name) for name in ("swapped", "swapped_recall"))
    return (
        f"With the arguments of `roc_auc_score` swapped, as the textbook has them, the isolation forest's labels get {figure:.2f} % "
        f"here (rows weighed to the full file's prevalence, threshold by eye), with {recall:.0f} % of the attack rows found."
    )


def _digits(found: Outcomes) -> str:
    text = (
        "60,000 digits train, 10,000 test, grey values 0 to 1. *Mean error*: all ten digits train, the mean reconstruction "
        "error of each digit's test images (the textbook's question). *Held out*: nine digits train, the tenth is the anomaly "
        "among the 10,000 (about 10 %)."
    )
    head = [
        "digit",
        *(f"{name}: {what}" for name in by(found, "contender") for what in ("mean error", "ROC-AUC", "AP")),
    ]
    lines = []
    for digit in range(10):
        line = [str(digit)]
        for rows in by(found, "contender").values():
            mine = [o for o in rows if o["digit"] == digit]
            line += [spread(mine, metric) for metric in ("error", "roc_auc", "average_precision")]
        lines.append(line)
    parts = ["## MNIST: which digit is the most anomalous?", text, markdown(head, lines), _sentence(_digits_say(found))]
    return "\n\n".join(p for p in parts if p)


def digits_summary(found: Outcomes) -> list[list[str]]:
    """The textbook's table: its question, and ours."""
    rows = []
    for name, mine in by((o for o in found if o["contender"] != "PCA"), "contender").items():
        errors, held = _by_digit(mine, "error"), _by_digit(mine, "roc_auc")
        worst, least = max(errors, key=errors.__getitem__), min(errors, key=errors.__getitem__)
        hardest = max(held, key=held.__getitem__)
        asked = f"digit {worst}: mean error {errors[worst]:.4f} (least: digit {least}, {errors[least]:.4f})"
        alone = f"held out, digit {hardest} stands out most: ROC-AUC {held[hardest]:.3f}; mean of those tried "
        alone += f"{np.mean(list(held.values())):.3f}"
        seeds = len({o["seed"] for o in mine})
        question = "no figure known: which digit is the most anomalous?"
        rows.append([f"MNIST, {name}", question, asked, alone, f"{seeds} / {seeds}", _digits_say(found)])
    return rows


def _digits_say(found: Outcomes) -> str:
    tried = [o for o in found if o["roc_auc"] is not None]
    means = {n: float(np.mean(list(_by_digit(rows, "roc_auc").values()))) for n, rows in by(tried, "contender").items()}
    others = {name: figure for name, figure in means.items() if name == "PCA"}
    networks = {name: figure for name, figure in means.items() if name != "PCA"}
    if not others or not networks:
        return ""
    [(name, network)], [(other, figure)] = networks.items(), others.items()
    if network >= figure:
        return f"{name} leads (mean ROC-AUC of the digits held out {network:.3f}; {other} {figure:.3f})"
    return f"**the network loses** to a classical detector: {other} mean ROC-AUC {figure:.3f}, {name} {network:.3f}"


def _by_digit(found: Outcomes, metric: str) -> dict[int, float]:
    values: dict[int, list[float]] = {}
    for o in found:
        if o[metric] is not None:
            values.setdefault(o["digit"], []).append(o[metric])
    return {digit: float(np.mean(v)) for digit, v in values.items()}


def _taxi(found: Outcomes) -> str:
    text = (
        "Windows of 48 half hours. RMSE in the series' range (0 its minimum, 1 its maximum); the threshold is the 0.999 "
        "quantile of the residuals. *Textbook*: trained, calibrated and tested on all points. *Honest*: July to September "
        "trains (70 %) and sets the threshold (30 %); October to January is tested. Alarms at most a day apart are one; a "
        "false one meets no labelled window. (What the whole stream makes of it, alerts and all, is `tidewatch evaluate`.)"
    )
    head = ["forecaster", "protocol", "RMSE", "threshold", "events found, of 5", "false alarms", "seeds"]
    lines = []
    for (name, protocol), rows in by(found, "contender", "protocol").items():
        seen = {e: sum(e in o["events"] for o in rows) for o in rows for e in o["events"]}
        named = ", ".join(e if k == len(rows) else f"{e} ({k} of {len(rows)})" for e, k in seen.items()) or "none"
        count = f"{np.mean([len(o['events']) for o in rows]):.1f}: {named}"
        false = f"{mean(rows, 'false_alarms'):.1f}"
        lines.append([name, protocol, spread(rows, "rmse"), spread(rows, "threshold"), count, false, str(len(rows))])
    lines.sort(key=lambda line: (line[1] != TEXTBOOK, float(line[2].split(" ")[0])))
    parts = ["## New York taxi: one-step forecasts", text, markdown(head, lines), _sentence(_taxi_says(found))]
    return "\n\n".join(parts)


def _taxi_says(found: Outcomes) -> str:
    """By RMSE, and by events, where a yardstick may well win."""
    honest = [o | {"seen": float(len(o["events"]))} for o in found if o["protocol"] != TEXTBOOK]
    groups = {g: by((o for o in honest if o["group"] == g), "contender") for g in ("network", "yardstick")}
    if not all(groups.values()):
        return ""
    near = {g: min(named.items(), key=lambda i: mean(i[1], "rmse")) for g, named in groups.items()}
    seen = {g: max(named.items(), key=lambda i: mean(i[1], "seen")) for g, named in groups.items()}
    rmse = {g: mean(rows, "rmse") for g, (_, rows) in near.items()}
    events = {g: (mean(rows, "seen"), mean(rows, "false_alarms")) for g, (_, rows) in seen.items()}
    forecasts = "leads" if rmse["network"] <= rmse["yardstick"] else "**loses**"
    text = (
        f"honest protocol: {near['network'][0]} {forecasts} in RMSE ({rmse['network']:.3f}; yardstick “{near['yardstick'][0]}” "
        f"{rmse['yardstick']:.3f})"
    )
    loses = events["network"][0] < events["yardstick"][0]
    return text + (
        f"; in events {'**every network loses**' if loses else seen['network'][0] + ' leads'} ({seen['network'][0]} "
        f"{events['network'][0]:.1f} with {events['network'][1]:.1f} false alarms; “{seen['yardstick'][0]}” "
        f"{events['yardstick'][0]:.1f} with {events['yardstick'][1]:.1f})"
    )


def taxi_summary(found: Outcomes) -> list[list[str]]:
    """The textbook's table: its LSTM."""
    mine = by((o for o in found if o["contender"] == "LSTM"), "protocol")
    if not mine:
        return []
    cells = {}
    for protocol, rows in mine.items():
        count = np.mean([len(o["events"]) for o in rows])
        cells[protocol] = (
            f"RMSE {spread(rows, 'rmse')}, threshold {spread(rows, 'threshold')}, {count:.1f} of 5 events, "
            f"{mean(rows, 'false_alarms'):.1f} false alarms"
        )
    known = "RMSE 0.040, threshold 0.333; sees Thanksgiving, New Year, blizzard (trained and tested on the same points)"
    book, honest = mine.get("textbook", []), mine.get("honest", [])
    seeds = f"{len(book)} / {len(honest)}"
    return [
        [
            "nyc_taxi, LSTM", known, cells.get("textbook", "—"), cells.get("honest", "—"), seeds, _taxi_says(found),
        ]
    ]  # fmt: skip


def _nab(found: Outcomes) -> str:
    text = (
        "What `tidewatch evaluate --data nab` gives: the stream's own steps, causal, a model per series fitted on its own first "
        "min(15 %, 750) rows, one setting for all 58 files. *standard, low FP, low FN*: NAB's profiles, the threshold swept over the corpus, "
        "as NAB does; *unswept*: the standard profile at the level 2.5. What tells an event is the networks' calibrated score, in the default with the decades by which "
        "its judgement's alarm passes its level or misses it, at most 4. Detectors alone stand in the same recipe (level, "
        "calibration, time of day); its members are what they are in it, weights and all. *False alerts* are per series and "
        "day; delays are medians over the windows found, from the window's first row, 0 where the alert began before it. The rule “a value outside "
        "the range of the last 4,000 rows” alone scores 59.4 / 53.3 / 62.9 (the data's README)."
    )
    groups = sorted(by(found, "contender").items(), key=lambda item: -mean(item[1], "standard"))
    profiles = ("standard", "reward_low_FP_rate", "reward_low_FN_rate", "unswept")
    head = ["detector", "", "standard", "low FP", "low FN", "unswept", "windows found", "false alerts", "delay, rows",
            "delay, minutes", "seeds"]  # fmt: skip
    lines = [
        [name, rows[0]["group"], *(spread(rows, p, 1) for p in profiles), f"{mean(rows, 'found'):.0f} of {rows[0]['windows']}",
         spread(rows, "false_per_day", 3), f"{mean(rows, 'delay_observations'):.0f}", f"{mean(rows, 'delay_minutes'):.0f}",
         str(len(rows))]
        for name, rows in groups
    ]  # fmt: skip
    parts = ["## NAB", text, picture("nab"), markdown(head, lines), _nab_says(found), _nab_ranges(groups)]
    return "\n\n".join(p for p in [*parts, _nab_in_sample(found)] if p)


def _nab_says(found: Outcomes) -> str:
    return " ".join([_sentence(verdict(found, "standard", "standard")), *losers(found, "standard", "standard")])


def _nab_ranges(groups: list[tuple[str, Outcomes]]) -> str:
    text = (
        "Beyond NAB, at the product's own level, as means over the files with a labelled window: *range* precision and recall "
        "(Tatbul 2018; flat bias, no reward for mere existence: a labelled NAB window is hundreds of rows long, and an alert covers few of "
        "them), *affiliation* precision and recall (Huet 2022: how near, against a random alert, which gets about 0.5), *VUS-PR* of "
        "the calibrated scores (Paparrizos 2022, buffers of 0 to 100 rows; a constant gets the share of labelled rows, "
    )
    text += f"{mean(groups[0][1], 'prevalence'):.3f})."
    names = ("range_precision", "range_recall", "near_precision", "near_recall", "vus_pr")
    head = ["detector", "range precision", "range recall", "affiliation precision", "affiliation recall", "VUS-PR"]
    return text + "\n\n" + markdown(head, [[name, *(spread(rows, n) for n in names)] for name, rows in groups])


def _nab_in_sample(found: Outcomes) -> str:
    """How much the figures of the networks and of the default rest on these files."""
    looked = [o for o in found if "level_of_other_half" in o]
    if not looked:
        return ""
    halves = "; ".join(
        f"{of['contender']} {of['level_of_other_half']:.1f} ({of['standard']:.1f} with both chosen on all files)"
        for of in looked
    )
    spreads = ", ".join(f"{of['resampled_sd']:.1f}" for of in looked)
    return (
        "**In-sample.** The product's networks, the level of 2.5 that they are judged at, and that an alarm's decades are added to theirs in the default, were chosen with NAB as a "
        "whole in sight. With level and threshold chosen on a random half of the files and judged on the other half, the standard score is (seed 0, mean of 40 halves) "
        f"{halves}; the members' settings stay chosen on all. Which files there are matters more than the seed: over resampled files the standard score has a standard deviation of {spreads}."
    )


OTHERS: Mapping[str, Callable[[Outcomes], str]] = {"mnist": _digits, "taxi": _taxi, "nab": _nab}
"""Sections of what is no table of rows, by experiment."""
