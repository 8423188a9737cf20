"""What a test of the suite says about a guarantee: one JSON file each, from which docs/guarantees.md takes its table."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, field
from pathlib import Path

FOLDER = Path(__file__).parents[2] / "out" / "guarantees"


@dataclass
class Guarantee:
    """One row of the table.

    Attributes
    ----------
    fault, promise, done
        What goes wrong, what holds all the same, what the test did.
    measured
        What came of it, in words with figures.
    broken
        How the guarantee was broken on purpose, and what the check said then; empty where that was not done.
    """

    name: str
    fault: str
    promise: str
    done: str
    measured: list[str] = field(default_factory=list)
    broken: list[str] = field(default_factory=list)

    def write(self) -> None:
        """Into `out/guarantees`; what an earlier part of the same run said of it is kept."""
        FOLDER.mkdir(parents=True, exist_ok=True)
        (FOLDER / f"{self.name}.json").write_text(json.dumps(asdict(self), indent=1) + "\n")


def read() -> list[Guarantee]:
    """All that was written, by name."""
    return [Guarantee(**json.loads(file.read_text())) for file in sorted(FOLDER.glob("*.json"))]
