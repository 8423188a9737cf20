"""Explore docs/model/checkpoint.pml with spin, and write what came of it: `python tests/model/explore.py` (`make model`).

spin makes a C program of the model, gcc compiles it, and that visits every state that any order of steps can reach.
"""

from __future__ import annotations

import hashlib
import re
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

MODEL = Path(__file__).parents[2] / "docs" / "model" / "checkpoint.pml"
RESULTS = MODEL.with_name("results.md")
MEMORY_MB = 4000
DEPTH = 1_000_000

ALL_FAULTS = {"CRASHES": 2, "ZOMBIES": 1, "TRAVELS": 1, "MOVES": 0, "LOST": 0, "LATE": 0}
NONE = dict.fromkeys(ALL_FAULTS, 0)
QUICK = {"P": 1, "N": 2, **ALL_FAULTS, "CRASHES": 1}
QUICK_PROGRESS = {"P": 1, "N": 2, **NONE, "CRASHES": 1, "ZOMBIES": 1}

RUNS: tuple[tuple[str, dict[str, int], bool], ...] = (
    ("two crashes, a zombie, the store goes back", {"P": 1, "N": 2, **ALL_FAULTS}, False),
    ("four records in one partition; the store keeps what it has", {"P": 1, "N": 4, **ALL_FAULTS, "TRAVELS": 0}, False),
    ("three records, the store goes back", {"P": 1, "N": 3, **ALL_FAULTS, "CRASHES": 1}, False),
    ("also a rebalance in order", {"P": 1, "N": 2, **ALL_FAULTS, "CRASHES": 1, "MOVES": 1}, False),
    ("also a lost answer", {"P": 1, "N": 2, **ALL_FAULTS, "CRASHES": 1, "LOST": 1}, False),
    ("also a write that outlives its sender", {"P": 1, "N": 2, **ALL_FAULTS, "CRASHES": 1, "LATE": 1}, False),
    ("a decision: a crash, a zombie", {"P": 1, "N": 3, **ALL_FAULTS, "CRASHES": 1, "TRAVELS": 0, "DECISION": 1}, False),
    ("a decision: a zombie, the store goes back", {"P": 1, "N": 3, **ALL_FAULTS, "CRASHES": 0, "DECISION": 1}, False),
    ("both partitions in one run, one record each", {"P": 2, "N": 1, **NONE, "CRASHES": 1}, False),
    ("progress: a crash and a zombie", QUICK_PROGRESS, True),
    ("progress: a zombie, the store goes back", {"P": 1, "N": 2, **NONE, "ZOMBIES": 1, "TRAVELS": 1}, True),
)

VARIANTS: dict[str, dict[str, int]] = {
    "NO_NONCE": {"N": 2, **NONE, "ZOMBIES": 1, "TRAVELS": 1},
    "OFFSET_APART": {"N": 2, **NONE, "CRASHES": 1},
    "ALERTS_AFTER_CHECKPOINT": {"N": 2, **NONE, "CRASHES": 1},
    "DIFFERENCE_AFTER_REFUSAL": {"N": 2, **NONE, "TRAVELS": 1},
    "NEVER_VERIFIED": {"N": 2, **NONE, "TRAVELS": 1},
    "LATER_STATE": {"N": 3, **NONE},
    "UNMARKED": {"DECISION": 1, "N": 3, **NONE, "CRASHES": 1, "ZOMBIES": 1},
    "TAKEN_HERE": {"DECISION": 1, "N": 3, **NONE, "ZOMBIES": 1},
    "ASKED_BEFORE": {"DECISION": 1, "N": 3, **NONE, "CRASHES": 1, "ZOMBIES": 2},
    "ASLEEP": {"DECISION": 1, "N": 3, **NONE, "ZOMBIES": 1, "TRAVELS": 1},
}
"""A protocol that is wrong in one way -> the faults that suffice to show it."""


@dataclass(frozen=True)
class Outcome:
    """What an exploration found: the broken assertion (empty: none), its trace, the states visited."""

    broken: str
    trace: str
    states: int
    complete: bool
    seconds: float
    memory_mb: float


def missing() -> str:
    """What has to be installed first; empty: nothing."""
    lacking = [p for p in ("spin", "gcc") if shutil.which(p) is None]
    return f"needs {' and '.join(lacking)} on the PATH (Debian: apt install spin gcc)" if lacking else ""


def explore(defines: Mapping[str, int], *, progress: bool = False, shortest: bool = False) -> Outcome:
    """Visit every reachable state of the model with these macros; `shortest`: breadth first, for a short counterexample."""
    macros = [f"-D{name}={value}" for name, value in defines.items()] + ["-DPROGRESS"] * progress
    search = ["-DCOLLAPSE", "-DNFAIR=3"] if progress else ["-DSAFETY", "-DNOFAIR", *["-DBFS"] * shortest]
    with tempfile.TemporaryDirectory() as folder:

        def run(*command: str) -> str:
            return subprocess.run(command, cwd=folder, capture_output=True, text=True, check=True).stdout

        shutil.copy(MODEL, folder)
        run("spin", "-a", *macros, MODEL.name)
        run("gcc", "-O2", "-w", f"-DMEMLIM={MEMORY_MB}", *search, "-o", "pan", "pan.c")
        began = time.monotonic()
        said = run("./pan", f"-m{DEPTH}", *(["-a", "-f"] if progress else ["-w24"]))
        seconds = time.monotonic() - began
        trace = ""
        if "wrote" in said:
            trace = "\n".join(x for x in run("spin", "-t", "-p", *macros, MODEL.name).splitlines() if "proc" in x)
    broken = re.search(r"^pan:1: (.*) \(at depth", said, re.MULTILINE)
    states = re.search(r"(\d+) states, stored(?: \((\d+) visited\))?", said)
    memory = re.search(r"([\d.]+)\s+total actual memory", said)
    assert states is not None, said
    return Outcome(
        broken=broken[1] if broken else "",
        trace=trace,
        states=int(states[1]),
        complete="Search not completed" not in said
        and "max search depth too small" not in said
        and "errors: 0" in said,
        seconds=seconds,
        memory_mb=float(memory[1]) if memory else 0.0,
    )


def counterexample(variant: str) -> Outcome:
    """What breaks in a variant; with as few steps as there can be, but for those of decisions: breadth first they take minutes and gigabytes."""
    faults = VARIANTS[variant]
    return explore({variant: 1, **faults}, shortest="DECISION" not in faults)


def fingerprint() -> str:
    """Which model, runs and variants the page is of."""
    return hashlib.sha256(MODEL.read_bytes() + repr((RUNS, VARIANTS)).encode()).hexdigest()[:16]


def main() -> int:
    """Explore everything and write the page; 1 where a property does not hold, or a variant breaks none."""
    if lacking := missing():
        print(f"error: {lacking}", file=sys.stderr)
        return 2
    version = subprocess.run(["spin", "-V"], capture_output=True, text=True, check=True).stdout.strip()
    lines = [
        "# What spin found",
        "",
        f"Written by `make model`. {version}; model `{fingerprint()}`. Every run visited all states that can be reached.",
        "",
        "| run | "
        + " | ".join(("partitions", "records", *(f.lower() for f in ALL_FAULTS)))
        + " | states | memory | time |",
        "|---|" + "---|" * (len(ALL_FAULTS) + 5),
    ]
    well = True
    for name, defines, progress in RUNS:
        found = explore(defines, progress=progress)
        print(f"{name}: {found.broken or 'holds'}, {found.states:,} states, {found.seconds:.0f} s", flush=True)
        well = well and found.complete and not found.broken
        numbers = " | ".join(str(v) for k, v in defines.items() if k != "DECISION")
        lines.append(
            f"| {name} | {numbers} | {found.states:,} | {found.memory_mb:.0f} MB | {found.seconds:.0f} s |"
            if found.complete
            else f"| {name} | {numbers} | **{found.broken or 'not all visited'}** | | |"
        )
    lines += [
        "",
        "Each variant breaks a property, with these faults:",
        "",
        "| variant | faults | broken | steps |",
        "|---|---|---|---|",
    ]
    for name, defines in VARIANTS.items():
        found = counterexample(name)
        print(f"{name}: {found.broken or 'NOT FOUND'}", flush=True)
        well = well and bool(found.broken)
        faults = ", ".join(f"{v} {k.lower()}" for k, v in defines.items() if v and k not in ("N", "DECISION"))
        lines.append(f"| `{name}` | {faults} | `{found.broken}` | {len(found.trace.splitlines())} |")
    RESULTS.write_text("\n".join(lines) + "\n")
    return 0 if well else 1


if __name__ == "__main__":
    sys.exit(main())
