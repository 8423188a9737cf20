"""Stated against measured false alarms of the budget's threshold, where a detector's calibrated scores decide.

    python benchmarks/budgets.py [--detectors NAME ...] [--seeds N ...] [--write]

Series in which nothing happens (benchmarks/judgement/clean.py, fourteen kinds) are scored as `tidewatch score --detector NAME` scores them, with a budget in
rows; every alert is false. Prints the table, and writes docs/benchmarks/budgets.md with --write.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from benchmarks.judgement.clean import JUDGED, KINDS, LEARNT, clean
from detectors.recipes import METRIC
from pipeline.offline.scorefile import score_dataset
from pipeline.offline.scoring.ready import train

ROOT = Path(__file__).resolve().parents[1]
PAGE = ROOT / "docs/benchmarks/budgets.md"
BUDGETS = (500, 2000)
"""Rows per false alert."""
Told = Mapping[tuple[str, str, int], int]
"""(kind, detector, budget) -> alerts, of all seeds."""


def measured(detectors: Sequence[str], seeds: Sequence[int]) -> dict[tuple[str, str, int], int]:
    """Alerts on clean series."""
    told: dict[tuple[str, str, int], int] = {}
    for seed in seeds:
        for item in clean(seed):
            kind = item.name.rsplit(", ", 1)[0]
            for name in detectors:
                recipe = METRIC.of(name)
                model = train(item.data, train_rows=item.first, recipe=recipe)
                for rows in BUDGETS:
                    settings = {"threshold": {"false_alarms": f"1 per {rows} rows"}}
                    found = score_dataset(
                        item.data, train_rows=item.first, model=model, recipe=replace(recipe, settings=settings)
                    )
                    told[kind, name, rows] = told.get((kind, name, rows), 0) + found.alerts
                    print(f"{item.name}: {name}, 1 per {rows} rows: {found.alerts} in {JUDGED:,}", flush=True)
    return told


def page(told: Told, seeds: Sequence[int]) -> str:
    """The page."""
    columns = sorted({(name, rows) for _, name, rows in told})
    lines = [
        "<!-- written by benchmarks/budgets.py -->\n\n# Stated against measured false alarms\n",
        (
            f"Where a detector's calibrated scores decide (`--detector NAME`), a false-alarm budget becomes a level by counting alerts "
            f"(`detectors/budget_threshold.py`). {len(KINDS)} kinds of made-up series in which nothing happens, {LEARNT:,} rows learnt from, {JUDGED:,} judged, "
            f"seed {', '.join(map(str, seeds))}; alerts measured for one stated, 1 is right, below is fewer. Its constants were chosen on made-up scores, not on these series.\n"
        ),
        "| kind | " + " | ".join(f"{name}, 1 per {rows:,} rows" for name, rows in columns) + " |",
        "|---|" + "---:|" * len(columns),
    ]
    within = dict.fromkeys(columns, 0)
    for kind in KINDS:
        cells = []
        for name, rows in columns:
            ratio = told[kind, name, rows] * rows / (JUDGED * len(seeds))
            within[name, rows] += 0.5 <= ratio <= 2.0
            cells.append(f"{ratio:.2f}")
        lines.append(f"| {kind} | {' | '.join(cells)} |")
    lines.append(f"| *within a factor 2* | {' | '.join(f'{k} of {len(KINDS)}' for k in within.values())} |")
    return "\n".join(lines) + "\n"


def main(words: Sequence[str] | None = None) -> None:
    """Measure, print, and write where that is asked for."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--detectors", nargs="+", default=["zscore"], metavar="NAME")
    parser.add_argument("--seeds", nargs="+", type=int, default=[7])
    parser.add_argument("--write", action="store_true", help=f"write {PAGE.relative_to(ROOT)}")
    chosen = parser.parse_args(words)
    text = page(measured(chosen.detectors, chosen.seeds), chosen.seeds)
    print(text)
    if chosen.write:
        PAGE.write_text(text, encoding="utf-8")


if __name__ == "__main__":
    main()
