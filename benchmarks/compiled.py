"""What runs score by score, compiled, beside the same in numpy, in one run, over shapes of batches.

    OMP_NUM_THREADS=1 python benchmarks/compiled.py [--write docs/benchmarks/compiled.md]

numpy's versions are the tests' oracles; what both make must be equal by bits, or there is no figure. CPU time, in pairs one after the other, medians.
"""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Callable
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "tests"))
sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from numpy_budget import NumpyBudgetThreshold
from numpy_empirical import NumpyEmpirical

from benchmarks.judgement.cost import machine
from detectors.budget import parse
from detectors.budget_threshold import BudgetThreshold
from detectors.calibration import Empirical

SHAPES = (("one series alone", 16_384, 1), ("16 rows each of 1,000", 16_384, 1_000), ("a row each of 20,000", 20_000, 20_000),
          ("a row each of 100", 100, 100))  # fmt: skip
BUDGET = parse("1 per series per month")


def calibration(of: Any, scores: int, series: int) -> Callable[[], bytes]:
    """Calibrates another batch at each call; returns what it made."""
    rng, calibrator = np.random.default_rng(0), of()
    state, rows, learn = np.zeros(series, calibrator.dtype), np.arange(scores) % series, np.ones(scores, np.bool_)

    def run() -> bytes:
        levels = calibrator.calibrate(state, rows, rng.gamma(2.0, size=scores), learn)
        return bytes(levels.tobytes() + state.tobytes())

    return run


def level(of: Any, scores: int, series: int) -> Callable[[], bytes]:
    """The same of a budget's level."""
    rng, threshold = np.random.default_rng(0), of(BUDGET)
    state, rows, learn = np.zeros(series, threshold.dtype), np.arange(scores) % series, np.ones(scores, np.bool_)
    times = 300_000 * (1 + np.arange(scores) // series)

    def run() -> bytes:
        levels = threshold.apply(state, rows, rng.exponential(0.43, scores), learn, times)
        return bytes(levels.tobytes() + state.tobytes())

    return run


def measured(plain: Callable[[], bytes], compiled: Callable[[], bytes], scores: int) -> tuple[float, float]:
    """ns a score of each."""
    took: tuple[list[float], list[float]] = ([], [])
    for i in range(max(5, 3_000 // scores)):
        made = []
        for run, times in zip((plain, compiled), took, strict=True):
            began = time.process_time()
            made.append(run())
            if i >= 2:
                times.append((time.process_time() - began) / scores * 1e9)
        if made[0] != made[1]:
            sys.exit("the bits differ: no figure")
    return median(took[0]), median(took[1])


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--write", type=Path)
    arguments = parser.parse_args()
    lines = [
        "# What runs score by score",
        "",
        f"Written by `benchmarks/compiled.py`, one run: {machine()}. ns of CPU a score, medians of pairs; numpy's versions are the tests' oracles.",
        "",
        "| step | batch | numpy | compiled | times faster |",
        "|---|---|---|---|---|",
    ]
    steps = (("calibration", calibration, NumpyEmpirical, Empirical), ("level of a budget", level, NumpyBudgetThreshold, BudgetThreshold))  # fmt: skip
    for name, of, plain, compiled in steps:
        for shape, scores, series in SHAPES:
            slow, fast = measured(of(plain, scores, series), of(compiled, scores, series), scores)
            lines.append(f"| {name} | {shape} | {slow:,.0f} | {fast:,.0f} | {slow / fast:.1f} |")
    print("\n".join(lines))
    if arguments.write is not None:
        arguments.write.write_text("\n".join(lines) + "\n")


if __name__ == "__main__":
    main()
