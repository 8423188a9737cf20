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
        Case -> what came of it, in words with figures.
    broken
        How the guarantee was broken on purpose -> what the check said then; empty where that was not done. What a row has from the beginning was planted by hand.
    """

    name: str
    fault: str
    promise: str
    done: str
    measured: dict[str, str] = field(default_factory=dict)
    broken: dict[str, str] = field(default_factory=dict)

    def held(self, measured: str, case: str = "") -> None:
        """A test has passed; of several cases each has its name."""
        self._write({case: measured}, {})

    def seen_broken(self, how: str, seen: str) -> None:
        """A test has seen that the check sees the guarantee broken."""
        self._write({}, {how: seen})

    def _write(self, measured: dict[str, str], broken: dict[str, str]) -> None:
        """Into `out/guarantees`; what other tests wrote there is kept."""
        FOLDER.mkdir(parents=True, exist_ok=True)
        file = FOLDER / f"{self.name}.json"
        kept = json.loads(file.read_text()) if file.exists() else {"measured": {}, "broken": {}}
        row = asdict(self) | {"measured": kept["measured"] | measured, "broken": self.broken | kept["broken"] | broken}
        file.write_text(json.dumps(row, indent=1, ensure_ascii=False) + "\n")


def read() -> list[Guarantee]:
    """All that was written, by name."""
    return [Guarantee(**json.loads(file.read_text())) for file in sorted(FOLDER.glob("*.json"))]
