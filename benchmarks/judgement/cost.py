"""What a row costs in the compiled judgement, beside the numpy version of the same in the same run.

    python benchmarks/judgement/cost.py [--write docs/benchmarks/judgement_cost.md]

CPU time, the best of several passes: what else runs on the machine shows less in it. Compiling is timed into an empty cache folder, by a process of its own.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

import numpy as np

from detectors.judgement.population import Population
from detectors.judgement.reference import Judge

T0, STEP = 1_750_000_000_000, 300_000
N, HISTORY, SERIES = 20_000, 5_000, 1_000


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--write", type=Path)
    arguments = parser.parse_args()
    lines = [
        "# What a judged row costs",
        "",
        f"Written by `benchmarks/judgement/cost.py`, one run: {machine()}. us of CPU a row, the best of several passes.",
        "",
        "| channels | a lone series, 20,000 rows in a call | a row each of 1,000 series | a call with one row | numpy (`reference`), a lone series | times faster | learning from 5,000 rows |",
        "|---|---|---|---|---|---|---|",
    ]
    lines += [row(channels) for channels in (1, 3, 8)]
    first, again = compiling()
    lines += [
        "",
        f"A process that compiles, once on a machine, takes {first} s of CPU, and {again} s when it finds what was compiled.",
    ]
    print("\n".join(lines))
    if arguments.write is not None:
        arguments.write.write_text("\n".join(lines) + "\n")


def row(channels: int) -> str:
    times, values = series(channels)
    head = {"a": (times[:HISTORY], values[:HISTORY])}
    population = Population.fit(head)
    fitting = best(lambda: Population.fit(head), 3)
    names = ["a"] * SERIES
    states = np.zeros(SERIES, population.state_dtype)
    population.begin(states, np.arange(SERIES), names)
    lone, each = np.zeros(N, np.intp), np.arange(SERIES)
    bulk = best(lambda: population.step(states[:1], lone, values, times), 5) / N
    scrape = best(lambda: population.step(states, each, values[:SERIES], times[:SERIES]), 20) / SERIES
    one = best(lambda: [population.step(states, each[:1], values[:1], times[:1]) for _ in range(200)], 5) / 200
    judge, state = Judge.fit(times[:HISTORY], values[:HISTORY])
    plain = best(lambda: judge.step(state, times[:1000], values[:1000]), 3) / 1000
    us = [f"{seconds * 1e6:.2f}" for seconds in (bulk, scrape, one, plain)]
    return f"| {channels} | {' | '.join(us)} | {plain / bulk:.0f} | {fitting:.2f} s |"


def series(channels: int) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(0)
    day = 10 + 3 * np.sin(np.arange(N) * 2 * np.pi * STEP / 86_400_000)
    return T0 + np.arange(N) * STEP, day[:, None] + rng.normal(size=(N, channels))


def best(run: Callable[[], object], passes: int) -> float:
    """CPU seconds."""
    took = []
    for _ in range(passes):
        began = time.process_time()
        run()
        took.append(time.process_time() - began)
    return min(took)


def compiling() -> tuple[str, str]:
    """CPU seconds of a process that compiles, and of the next."""
    code = (
        "import resource; from detectors.compiling import JUDGEMENT, compiled; compiled(JUDGEMENT); "
        "u = resource.getrusage(resource.RUSAGE_SELF); print(u.ru_utime + u.ru_stime)"
    )
    with tempfile.TemporaryDirectory() as folder:
        env = {**os.environ, "TIDEWATCH_CACHE": folder, "PYTHONPATH": str(Path(__file__).resolve().parents[2])}
        first, again = (
            float(
                subprocess.run([sys.executable, "-c", code], env=env, capture_output=True, text=True, check=True).stdout
            )
            for _ in range(2)
        )
    return f"{first:.1f}", f"{again:.1f}"


def machine() -> str:
    model = [x for x in Path("/proc/cpuinfo").read_text().splitlines() if x.startswith("model name")]
    return f"{model[0].split(':', 1)[1].strip()}, {os.cpu_count()} CPUs" if model else f"{os.cpu_count()} CPUs"


if __name__ == "__main__":
    main()
