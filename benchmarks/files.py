"""What `tidewatch score` of a file takes, beside a rolling z-score in pandas on the same file: seconds, CPU, memory, by number of rows.

    python benchmarks/files.py [--rows 1000 100000 1000000] [--rounds 3] [--write docs/benchmarks/files.md]

One series of a value a minute, with a day, from a CSV file. Each run is a process of its own, from its start to its end; the least of the rounds. The baseline reads the
file, subtracts the mean of the 48 rows before and divides by their standard deviation, and writes time, score and whether it is above 3: no calendar, no threshold that
is learnt, no expected value, no alerts.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import numpy as np

from benchmarks.judgement.cost import machine

START, STEP, DAY = 1_700_000_000, 60, 1440
BY_HAND = """
import sys
import pandas as pd
data = pd.read_csv(sys.argv[1])
data["timestamp"] = pd.to_datetime(data["timestamp"], unit="s", utc=True)
before = data["value"].rolling(48)
data["score"] = ((data["value"] - before.mean().shift()) / before.std().shift()).abs()
data["anomalous"] = data["score"] > 3
data[["timestamp", "score", "anomalous"]].to_csv(sys.argv[2], index=False)
"""


class Cost(NamedTuple):
    """Of a process: seconds by the clock and of CPU, and MiB at most."""

    seconds: float
    cpu: float
    mib: float


def file_of(folder: Path, rows: int) -> Path:
    """A CSV file of so many rows."""
    rng, at = np.random.default_rng(0), np.arange(rows)
    values = 10.0 + 2.0 * np.sin(2 * np.pi * at / DAY) + 0.3 * rng.standard_normal(rows)
    path = folder / f"{rows}.csv"
    table = np.column_stack([START + STEP * at, values])
    np.savetxt(path, table, fmt=("%d", "%.6f"), delimiter=",", header="timestamp,value", comments="")
    return path


def cost(command: Sequence[str]) -> Cost:
    """What a command takes; it ends all of it where the command fails."""
    # As it is set up: what Python has compiled is kept (some shells say that it is not).
    usual = {name: value for name, value in os.environ.items() if name != "PYTHONDONTWRITEBYTECODE"}
    began = time.perf_counter()
    process = subprocess.Popen(
        command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, cwd=Path(__file__).parents[1], env=usual
    )
    assert process.stderr is not None
    said = process.stderr.read()
    _, status, used = os.wait4(process.pid, 0)
    seconds = time.perf_counter() - began
    process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode:
        sys.exit(f"{' '.join(command[:4])} ...: exit {process.returncode}\n{said.decode()}")
    return Cost(seconds, used.ru_utime + used.ru_stime, used.ru_maxrss / 1024)


def measured(folder: Path, rows: int, rounds: int) -> list[str]:
    """Rows of the table for a file of so many rows; what is compared takes turns."""
    source, out = str(file_of(folder, rows)), str(folder / "out.csv")
    score = [sys.executable, "-m", "pipeline", "score", source, "--out", out]
    commands = {
        "pandas by hand": [sys.executable, "-c", BY_HAND, source, out],
        "`score --detector zscore`": [*score, "--detector", "zscore"],
        "`score`, the default": score,
    }
    found: dict[str, list[Cost]] = {name: [] for name in commands}
    for _ in range(rounds):
        for name, command in commands.items():
            found[name].append(cost(command))
    least = {name: Cost(*map(min, zip(*costs, strict=True))) for name, costs in found.items()}
    by_hand = least["pandas by hand"].seconds
    return [
        f"| {rows:,} | {name} | {c.seconds:.1f} | {c.cpu:.1f} | {c.mib:,.0f} | {c.seconds / by_hand:.1f} |"
        for name, c in least.items()
    ]


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--rows", type=int, nargs="+", default=[1_000, 100_000, 1_000_000])
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--write", type=Path)
    arguments = parser.parse_args()
    lines = [
        "# What a file takes",
        "",
        f"Written by `benchmarks/files.py`, the least of {arguments.rounds} rounds: {machine()}. A process of its own each, from its start to its end; one series of a value a minute.",
        "",
        "| rows | what | s | s of CPU | MiB at most | of pandas |",
        "|---|---|---|---|---|---|",
    ]
    with tempfile.TemporaryDirectory() as name:
        for rows in arguments.rows:
            lines += measured(Path(name), rows, arguments.rounds)
            print("\n".join(lines if rows == arguments.rows[0] else lines[-3:]), flush=True)
    if arguments.write is not None:
        arguments.write.write_text("\n".join(lines) + "\n")


if __name__ == "__main__":
    main()
