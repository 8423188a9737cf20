"""Write the table of docs/guarantees.md anew from what the suite measured: `python tests/faults/page.py` (make guarantees)."""

from __future__ import annotations

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))

from faults.guarantee import FOLDER, Guarantee, read

PAGE = Path(__file__).parents[2] / "docs" / "guarantees.md"
BEGIN, END = "<!-- table: written by make guarantees -->", "<!-- end of the table -->"
HEAD = ("fault", "promise", "what was done", "measured", "how the check was seen to fail")


def table(rows: list[Guarantee]) -> str:
    """The table in Markdown."""
    lines = ["| " + " | ".join(HEAD) + " |", "|" + "---|" * len(HEAD)]
    for row in rows:
        cells = (row.fault, row.promise, row.done, _lines(row.measured), _lines(row.broken) or "–")
        lines.append("| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |")
    return "\n".join(lines)


def _lines(told: dict[str, str]) -> str:
    """Case by case."""
    return "<br>".join(f"{case}: {what}" if case else what for case, what in told.items())


def main() -> int:
    """Put the table between the page's marks."""
    rows = [row for row in read() if row.measured]
    if not rows:
        print(f"error: {FOLDER} holds no results; run the suite first (make guarantees)", file=sys.stderr)
        return 2
    text = PAGE.read_text(encoding="utf-8")
    before, rest = text.split(BEGIN)
    PAGE.write_text(f"{before}{BEGIN}\n\n{table(rows)}\n\n{END}{rest.split(END)[1]}", encoding="utf-8")
    print(f"{PAGE.name}: {len(rows)} rows")
    return 0


if __name__ == "__main__":
    sys.exit(main())
