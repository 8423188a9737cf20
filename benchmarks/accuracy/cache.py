"""Outcomes as files, each under a key of the code and the settings that it came from: a stop loses one part, not the run.

job     what one process does in one go (a split of a table; a detector on NAB), one file
part    what is kept or made anew on its own (a contender on that split)
key     digest of the part's settings and of the source of all modules that it depends on
"""

from __future__ import annotations

import ast
import hashlib
import json
import os
import re
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from functools import cache
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[2]
PACKAGES = ("benchmarks", "detectors", "pipeline", "producers")

Outcomes = list[dict[str, Any]]
Work = Callable[..., Iterator[tuple[str, Outcomes]]]
"""Takes the job's arguments and the names of the parts that are wanted; yields each part's outcomes."""


@dataclass(frozen=True)
class Job:
    """What one process does in one go."""

    experiment: str
    name: str
    work: Work
    arguments: tuple[Any, ...]
    keys: Mapping[str, str]
    """Key of each part, by name."""

    def file(self, folder: Path) -> Path:
        """Where its outcomes are kept."""
        return folder / self.experiment / (re.sub(r"[^a-z0-9]+", "-", self.name.lower()).strip("-") + ".json")


@dataclass(frozen=True)
class Collected:
    """What was found of some jobs of one experiment."""

    outcomes: Outcomes
    parts: int
    stale: int
    """Parts that were made by code or settings of an earlier state."""
    missing: int
    """Parts of jobs that are not complete."""
    cpu_s: float


def key(settings: object, code: str) -> str:
    """Key of a part with these JSON-able settings and this digest of its code."""
    return hashlib.sha256((json.dumps(settings, sort_keys=True) + code).encode()).hexdigest()[:16]


def sources(*modules: str, apart: Sequence[str] = ()) -> str:
    """Digest of these modules and of all that they import of the project, except `apart` and what only these import.

    Comments, docstrings and layout do not count.
    """
    seen: set[str] = set()
    todo = list(modules)
    while todo:
        name = todo.pop()
        if name in seen or name in apart or _path(name) is None:
            continue
        seen.add(name)
        todo += _read(name)[1]
    return hashlib.sha256("".join(_read(name)[0] for name in sorted(seen)).encode()).hexdigest()


def _path(module: str) -> Path | None:
    """File of a module of the project; None for a name that is none."""
    if module.split(".")[0] not in PACKAGES:
        return None
    base = ROOT / module.replace(".", "/")
    return next((p for p in (base.with_suffix(".py"), base / "__init__.py") if p.is_file()), None)


@cache
def _read(module: str) -> tuple[str, tuple[str, ...]]:
    """Digest of a module's code, and the names that it imports."""
    path = _path(module)
    assert path is not None
    tree = ast.parse(path.read_text(encoding="utf-8"))
    names: list[str] = []
    for node in ast.walk(tree):
        if isinstance(node, ast.ImportFrom) and node.module:
            names += [node.module, *(f"{node.module}.{n.name}" for n in node.names)]
        elif isinstance(node, ast.Import):
            names += [n.name for n in node.names]
        body = getattr(node, "body", None)
        if isinstance(body, list):
            node.body = [n for n in body if not (isinstance(n, ast.Expr) and isinstance(n.value, ast.Constant))]  # type: ignore[attr-defined]
    return hashlib.sha256(ast.dump(tree).encode()).hexdigest(), tuple(names)


def carry_out(job: Job, folder: Path) -> int:
    """Make the parts that are missing or stale, keep each as soon as it is there, and return how many."""
    file = job.file(folder)
    kept = _load(file)
    wanted = tuple(name for name, key in job.keys.items() if kept.get(name, {}).get("key") != key)
    if not wanted:
        return 0
    began = time.process_time()
    for name, outcomes in job.work(*job.arguments, wanted):
        now = time.process_time()
        kept[name] = {"key": job.keys[name], "cpu_s": round(now - began, 2), "outcomes": outcomes}
        _save(file, kept)
        began = now
    return len(wanted)


def collect(jobs: Sequence[Job], folder: Path) -> dict[str, Collected]:
    """What is kept of these jobs, by experiment."""
    found: dict[str, Collected] = {}
    for experiment in dict.fromkeys(job.experiment for job in jobs):
        outcomes: Outcomes = []
        stale, missing, parts, cpu_s = 0, 0, 0, 0.0
        for job in (j for j in jobs if j.experiment == experiment):
            kept = _load(job.file(folder))
            parts += len(job.keys)
            if not job.keys.keys() <= kept.keys():  # who leads among a few of them says nothing
                missing += len(job.keys)
                continue
            for name in job.keys:
                stale += kept[name]["key"] != job.keys[name]
                cpu_s += kept[name]["cpu_s"]
                outcomes += kept[name]["outcomes"]
        if outcomes or missing:
            found[experiment] = Collected(outcomes, parts, stale, missing, cpu_s)
    return found


@dataclass(frozen=True)
class WholeRun:
    """What it took to make all parts of a plan in one go."""

    plan: str
    """Its digest."""
    wall_s: float
    cpu_s: float
    processes: int


def digest(plan: Sequence[Job]) -> str:
    """Of all parts of a plan, as their code and settings are now."""
    return hashlib.sha256(json.dumps([sorted(job.keys.items()) for job in plan]).encode()).hexdigest()[:16]


def keep(run: WholeRun, folder: Path) -> None:
    """Note what a whole run took."""
    _save(folder / "whole.json", asdict(run))


def whole_run(plan: Sequence[Job], folder: Path) -> WholeRun | None:
    """The run that made all parts of this plan in one go, if there was one with this code and these settings."""
    kept = _load(folder / "whole.json")
    found = WholeRun(**kept) if kept else None
    return found if found and found.plan == digest(plan) else None


def _load(file: Path) -> dict[str, Any]:
    return json.loads(file.read_text(encoding="utf-8")) if file.is_file() else {}  # type: ignore[no-any-return]


def _save(file: Path, kept: Mapping[str, Any]) -> None:
    file.parent.mkdir(parents=True, exist_ok=True)
    new = file.with_suffix(f".{os.getpid()}.new")
    new.write_text(json.dumps(kept, indent=1) + "\n", encoding="utf-8")
    new.replace(file)
