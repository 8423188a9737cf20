"""Writes docs/results.md from the outcomes that benchmarks/accuracy.py kept. Every figure in it comes from a file."""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.experiments import HONEST, TEXTBOOK, Experiment, Protocol, experiments

Outcomes = list[dict[str, Any]]


@dataclass(frozen=True)
class Claim:
    """A figure of the textbook, what is known of it, and the contender that answers it."""

    experiment: str
    title: str
    figure: str
    known: str
    contender: str
    metric: str = "roc_auc"
    sound: float | None = None
    """The figure to be met under the same protocol; None where it is unsound."""
    honest: str = ""
    """The honest protocol that stands in the summary; by default the first one."""


CLAIMS = (
    Claim("kdd-http", "KDD http, Isolation Forest", "99.81 % “AUC”",
          "label left in as a feature, threshold by eye, arguments of `roc_auc_score` swapped: (precision + NPV) / 2",
          "isolation forest", honest="corrected"),
    Claim("kdd-http", "KDD http, One-Class SVM", "95.83 %", "thresholded, arguments swapped, label an input",
          "one-class SVM", honest="corrected"),
    Claim("kdd-http", "KDD http, RBM free energy", "99.46 % ROC-AUC", "sound, but the scaler saw the test rows",
          "RBM", sound=0.9946),
    Claim("creditcard", "Credit card, RBM", "95.84 % ROC-AUC", "sound", "RBM, unit variance", sound=0.9584),
    Claim("creditcard", "Credit card, autoencoder", "0.865 to 0.935 thresholded",
          "threshold by hand on an unseeded sample; compared with the best threshold by hand here",
          "autoencoder, simple (n-12-n)", metric="by_hand"),
    Claim("creditcard", "Credit card, VAE", "0.865 to 0.935 thresholded", "as the autoencoder", "VAE", metric="by_hand"),
    Claim("creditcard", "Credit card, dilated TCN (supervised)", "97.4 %",
          "label among the inputs, arguments swapped; about 0.90 in truth", "TCN classifier"),
    Claim("creditcard", "Credit card, ED-TCN (supervised)", "98.6 %",
          "label among the inputs, arguments swapped; about 0.90 in truth", "ED-TCN classifier"),
)  # fmt: skip


def write(target: Path, folder: Path, *, quick: bool) -> None:
    """Write the page."""
    outcomes = {f.stem: json.loads(f.read_text()) for f in sorted(folder.glob("*.json"))}
    parts = [_head(quick), _summary(outcomes), _legend()]
    parts += [_table_section(e, outcomes[e.name]) for e in experiments() if e.name in outcomes]
    for name, section in (("mnist", _digits), ("taxi", _taxi), ("nab", _nab)):
        if name in outcomes:
            parts.append(section(outcomes[name]))
    target.parent.mkdir(parents=True, exist_ok=True)
    target.write_text("\n\n".join(p.strip() for p in parts) + "\n", encoding="utf-8")


def _head(quick: bool) -> str:
    how = "python benchmarks/accuracy.py" + (" --quick" if quick else "")
    return f"""# Results: the textbook's experiments, again and honestly

Written by `{how}`; no figure on this page was typed. The textbook is the field's deep-learning line of work (autoencoders, RBM,
LSTM, TCN, with Isolation Forest and One-Class SVM before them). Several of its figures cannot be had again, because the
label was among the inputs or the arguments of a metric were swapped; the table says which."""


def _legend() -> str:
    return """## How to read it

*Textbook's protocol*: split at random, as the book does. *Honest protocol*: what comes later is tested, or another file; labels
are never an input, and everything that is fitted, scalers and encoders too, sees training rows only. *ROC-AUC* is the
probability that an anomaly ranks above a normal row; *AP*, average precision, is what an operator feels, and depends on how
rare anomalies are: the prevalence stands beside it (a random ranking has that AP). Where a sample was thinned, a further
column gives the AP with the rows weighed back to the original prevalence. *Fits on*: `normal` rows of the training part,
`all` of them without their labels, or `labels` (supervised). ± is the standard deviation over seeds (which also draw the random
splits). A detector has the same settings in all tables; they were settled once, on the credit-card and KDD http sets, while
this page was made, so a lead smaller than the spread means nothing.
*Episodes*: runs of attack rows (at most 100 others between two), found where a row lies above the level that 1 in 1,000
normal test rows exceeds."""


def _summary(outcomes: dict[str, Outcomes]) -> str:
    named = {e.name: e for e in experiments()}
    rows = []
    for claim in CLAIMS:
        found = [o for o in outcomes.get(claim.experiment, []) if o["contender"] == claim.contender]
        if not found:
            continue
        experiment = named[claim.experiment]
        book, honest = _protocol(experiment, TEXTBOOK), _protocol(experiment, HONEST, claim.honest)
        under_book = [o for o in found if o["protocol"] == book.name]
        under_honest = [o for o in found if o["protocol"] == honest.name]
        rows.append([
            claim.title,
            f"{claim.figure} ({claim.known})",
            _figures(under_book, claim),
            _figures(under_honest, None) if under_honest else "—",
            f"{len(under_book)} / {len(under_honest)}",
            _verdict(claim, under_book, [o for o in outcomes[claim.experiment] if o["protocol"] == honest.name]),
        ])  # fmt: skip
    claimed = {c.experiment for c in CLAIMS}
    rows += [_unclaimed(e, outcomes[n]) for n, e in named.items() if n in outcomes and n not in claimed]
    rows += _digits_summary(outcomes.get("mnist", [])) + _taxi_summary(outcomes.get("taxi", []))
    head = ["experiment", "textbook", "ours, its protocol", "ours, honest protocol", "seeds", "verdict"]
    return "## Summary\n\n" + _markdown(head, rows)


def _protocol(experiment: Experiment, kind: str, name: str = "") -> Protocol:
    return next(p for p in experiment.protocols if (p.name == name if name else p.kind == kind))


def _figures(found: Outcomes, claim: Claim | None) -> str:
    if not found:
        return "—"
    figures = f"ROC-AUC {_spread(found, 'roc_auc')}, AP {_spread(found, 'average_precision')} at {_share(found)}"
    if claim is not None and claim.metric == "by_hand":
        figures = f"by hand {_spread(found, 'by_hand')}; {figures}"
    return figures


def _verdict(claim: Claim, under_book: Outcomes, honest: Outcomes) -> str:
    met = ""
    if claim.sound is not None and under_book:
        mean = float(np.mean([o["roc_auc"] for o in under_book]))
        met = f"{'meets' if mean >= claim.sound else 'below'} the textbook; "
    return met + _lead(honest)


def _lead(found: Outcomes) -> str:
    """Who leads in the honest protocol by average precision: a network, or a yardstick or classical detector."""
    best = {}
    for network in (True, False):
        means = [
            (float(np.mean([o["average_precision"] for o in rows])), name)
            for name, rows in _by(found, "contender").items()
            if (rows[0]["group"] == "network") == network and rows[0]["fits_on"] != "labels"
        ]
        best[network] = max(means, default=(0.0, "none"))
    (network, its_name), (other, other_name) = best[True], best[False]
    if network >= other:
        return f"{its_name} leads (AP {network:.3f}; {other_name} {other:.3f})"
    return f"**a network loses**: {other_name} AP {other:.3f}, {its_name} {network:.3f}"


def _unclaimed(experiment: Experiment, found: Outcomes) -> list[str]:
    """A row for an experiment of which no figure is known: the best network."""
    honest = next(p for p in experiment.protocols if p.kind == HONEST)
    rows = [o for o in found if o["protocol"] == honest.name]
    networks = _by([o for o in rows if o["group"] == "network" and o["fits_on"] != "labels"], "contender")
    name, best = max(networks.items(), key=lambda item: np.mean([o["average_precision"] for o in item[1]]))
    book = [p for p in experiment.protocols if p.kind == TEXTBOOK]
    under_book = [o for o in found if book and o["protocol"] == book[0].name and o["contender"] == name]
    return [
        f"{experiment.title}, {name}", "no figure known", _figures(under_book, None), _figures(best, None),
        f"{len(under_book)} / {len(best)}", _lead(rows),
    ]  # fmt: skip


def _table_section(experiment: Experiment, found: Outcomes) -> str:
    parts = [f"## {experiment.title}", experiment.source[0].upper() + experiment.source[1:] + "."]
    for protocol in experiment.protocols:
        rows = [o for o in found if o["protocol"] == protocol.name]
        if rows:
            lead = _lead(rows)
            parts += [
                _protocol_head(protocol, rows),
                _protocol_table(experiment, rows),
                lead[0].upper() + lead[1:] + ".",
            ]
            parts += _swapped(experiment, protocol, rows)
    return "\n\n".join(parts)


def _swapped(experiment: Experiment, protocol: Protocol, rows: Outcomes) -> list[str]:
    """How the textbook's high figures come about, where it swapped the arguments."""
    forests = [o for o in rows if o["contender"] == "isolation forest"]
    if experiment.name != "kdd-http" or protocol.kind != TEXTBOOK or not forests:
        return []
    figure, recall = (100 * float(np.mean([o[name] for o in forests])) for name in ("swapped", "swapped_recall"))
    text = (
        f"With the arguments of `roc_auc_score` swapped, as the textbook has them, the isolation forest's labels get {figure:.2f} % "
        f"here (rows weighed to the full file's prevalence, threshold by eye), with {recall:.0f} % of the attack rows found."
    )
    return [text]


def _protocol_head(protocol: Protocol, rows: Outcomes) -> str:
    tested, most = rows[0]["test_rows"], max(o["train_rows"] for o in rows)
    return (
        f"### {protocol.kind.capitalize()} protocol: {protocol.name}\n\n{protocol.text[0].upper() + protocol.text[1:]}. "
        f"Up to {most:,} rows train, {tested:,} test, {_share(rows)} of them anomalies."
    )


def _protocol_table(experiment: Experiment, rows: Outcomes) -> str:
    weighted = rows[0]["weighted_precision"] is not None
    episodes = rows[0]["episodes"] is not None
    head = ["detector", "", "fits on", "ROC-AUC", "AP"]
    head += (
        [f"AP at {experiment.weighted}"] * weighted + [f"episodes of {rows[0]['episodes']}"] * episodes + ["seeds", "s"]
    )
    lines = []
    for name, found in _by(rows, "contender").items():
        line = [
            name,
            found[0]["group"],
            found[0]["fits_on"],
            _spread(found, "roc_auc"),
            _spread(found, "average_precision"),
        ]
        line += [_spread(found, "weighted_precision")] * weighted
        line += [f"{np.mean([o['found'] for o in found]):.1f}"] if episodes else []
        lines.append([*line, str(len(found)), f"{np.mean([o['seconds'] for o in found]):.1f}"])
    lines.sort(key=lambda line: -float(line[4].split(" ")[0]))
    return _markdown(head, lines)


def _digits(found: Outcomes) -> str:
    text = (
        "60,000 digits train, 10,000 test, grey values 0 to 1. *Mean error*: all ten digits train, the mean reconstruction "
        "error of each digit's test images (the textbook's question). *Held out*: nine digits train, the tenth is the anomaly "
        "among the 10,000 (about 10 %)."
    )
    head = [
        "digit",
        *(f"{name}: {what}" for name in _by(found, "contender") for what in ("mean error", "ROC-AUC", "AP")),
    ]
    lines = []
    for digit in range(10):
        line = [str(digit)]
        for rows in _by(found, "contender").values():
            mine = [o for o in rows if o["digit"] == digit]
            line += [_spread(mine, metric) for metric in ("error", "roc_auc", "average_precision")]
        lines.append(line)
    return "\n\n".join(["## MNIST: which digit is the most anomalous?", text, _markdown(head, lines)])


def _digits_summary(found: Outcomes) -> list[list[str]]:
    rows = []
    for name, mine in list(_by(found, "contender").items())[:1]:
        errors = _mean_by_digit(mine, "error")
        held = _mean_by_digit(mine, "roc_auc")
        worst, hardest = max(errors, key=errors.__getitem__), max(held, key=held.__getitem__)
        seeds = len({o["seed"] for o in mine})
        asked = f"digit {worst}: mean error {errors[worst]:.4f} (least: digit {min(errors, key=errors.__getitem__)})"
        mean = float(np.mean(list(held.values())))
        alone = (
            f"held out, digit {hardest} stands out most: ROC-AUC {held[hardest]:.3f}; mean of those tried {mean:.3f}"
        )
        question = "no figure known: which digit is the most anomalous?"
        rows.append([f"MNIST, {name}", question, asked, alone, f"{seeds} / {seeds}", _digits_verdict(found)])
    return rows


def _digits_verdict(found: Outcomes) -> str:
    means = {
        n: float(np.mean(list(_mean_by_digit(rows, "roc_auc").values()))) for n, rows in _by(found, "contender").items()
    }
    (first, network), *others = means.items()
    if not others:
        return ""
    name, other = max(others, key=lambda item: item[1])
    return f"{first} leads" if network >= other else f"**a network loses**: {name} ROC-AUC {other:.3f}, {network:.3f}"


def _mean_by_digit(found: Outcomes, metric: str) -> dict[int, float]:
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
    head = ["forecaster", "protocol", "RMSE", "threshold", "events found", "false alarms", "seeds"]
    lines = []
    for (name, protocol), rows in _by(found, "contender", "protocol").items():
        seen = {e: sum(e in o["events"] for o in rows) for o in rows for e in o["events"]}
        named = ", ".join(e if k == len(rows) else f"{e} ({k} of {len(rows)})" for e, k in seen.items()) or "none"
        false = f"{np.mean([o['false_alarms'] for o in rows]):.1f}"
        lines.append([name, protocol, _spread(rows, "rmse"), _spread(rows, "threshold"), named, false, str(len(rows))])
    return "\n\n".join(["## New York taxi: one-step forecasts", text, _markdown(head, lines)])


def _taxi_summary(found: Outcomes) -> list[list[str]]:
    mine = [o for o in found if o["contender"] == "LSTM"]
    if not mine:
        return []
    cells = {}
    for protocol in ("textbook", "honest"):
        rows = [o for o in mine if o["protocol"] == protocol]
        count = np.mean([len(o["events"]) for o in rows])
        false = np.mean([o["false_alarms"] for o in rows])
        cells[protocol] = f"RMSE {_spread(rows, 'rmse')}, {count:.1f} of 5 events, {false:.1f} false alarms"
    rmse = float(np.mean([o["rmse"] for o in mine if o["protocol"] == "textbook"]))
    others = [o for o in found if o["group"] == "yardstick" and o["protocol"] == "honest"]
    best = min(others, key=lambda o: o["rmse"])
    honest = float(np.mean([o["rmse"] for o in mine if o["protocol"] == "honest"]))
    verdict = f"{'meets' if rmse <= 0.040 else 'above'} the textbook's RMSE; " + (
        f"LSTM leads ({best['contender']}: {best['rmse']:.3f})"
        if honest <= best["rmse"]
        else f"**a network loses**: {best['contender']} {best['rmse']:.3f}"
    )
    known = "RMSE 0.040, threshold 0.333; sees Thanksgiving, New Year, blizzard (trained and tested on the same points)"
    seeds = f"{len(mine) // 2} / {len(mine) // 2}"
    return [["nyc_taxi, LSTM", known, cells["textbook"], cells["honest"], seeds, verdict]]


def _nab(found: Outcomes) -> str:
    text = (
        "What `tidewatch evaluate --data nab` gives: the stream's own steps, causal, a model per series fitted on its own first "
        "min(15 %, 750) rows; the threshold of NAB's score is swept over the corpus, per profile, as NAB does. The level at which "
        "the product's alerts begin was chosen on NAB as a whole, so its figures are in-sample in that one number. The rule "
        "“a value outside the range of the last 4,000 rows” alone scores 59.4 / 53.3 / 62.9 (the data's README)."
    )
    head = ["detector", "", "standard", "reward low FP", "reward low FN", "windows found", "false alerts a series-day"]
    profiles = ("standard", "reward_low_FP_rate", "reward_low_FN_rate")
    lines = [
        [
            o["detector"],
            o["group"],
            *(f"{o[p]:.1f}" for p in profiles),
            f"{o['found']} of {o['windows']}",
            f"{o['false_per_day']:.3f}",
        ]
        for o in sorted(found, key=lambda o: -o["standard"])
    ]
    return "\n\n".join(["## NAB", text, _markdown(head, lines)])


def _by(found: Iterable[dict[str, Any]], *keys: str) -> dict[Any, Outcomes]:
    groups: dict[Any, Outcomes] = {}
    for o in found:
        groups.setdefault(o[keys[0]] if len(keys) == 1 else tuple(o[k] for k in keys), []).append(o)
    return groups


def _spread(found: Outcomes, metric: str) -> str:
    values = [o[metric] for o in found if o[metric] is not None]
    if not values:
        return "—"
    mean = f"{np.mean(values):.3f}" if max(values) >= 0.1 else f"{np.mean(values):.4f}"
    return mean if len(values) == 1 else f"{mean} ± {np.std(values):.3f}"


def _share(found: Outcomes) -> str:
    return f"{100 * np.mean([o['prevalence'] for o in found]):.2g} %"


def _markdown(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)
