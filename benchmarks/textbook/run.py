"""The last of the textbook line, one small section each: writes docs/benchmarks/textbook.md.

    python benchmarks/textbook/run.py                  what is missing or was made by older code, then the page
    python benchmarks/textbook/run.py --only rare      one section anew, the rest as it is kept
    python benchmarks/textbook/run.py --report         the page from what is kept

Real data only (TIDEWATCH_DATA, the cache, or a download). Small on purpose: one seed and few epochs, minutes on one core; make accuracy
(docs/results.md) is the large measurement.
"""

from __future__ import annotations

import os

os.environ.setdefault("OMP_NUM_THREADS", "1")

import argparse
import platform
import sys
from collections.abc import Sequence
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from benchmarks.accuracy.cache import Job, carry_out, collect, key, sources
from benchmarks.textbook.experiments import PARTS
from benchmarks.textbook.page import page

ROOT = Path(__file__).resolve().parents[2]
PAGE = ROOT / "docs/benchmarks/textbook.md"
OUT = ROOT / "out/textbook"


def jobs() -> list[Job]:
    """A job for each part, so that a stop loses one."""
    code = sources("benchmarks.textbook.experiments")
    return [
        Job(section, part, work, (), {part: key([section, part], code)})
        for section, (work, parts) in PARTS.items()
        for part in parts
    ]


def _machine() -> str:
    """Processor, as the system names it."""
    try:
        names = [
            line.split(":", 1)[1].strip()
            for line in Path("/proc/cpuinfo").read_text().splitlines()
            if line.startswith("model name")
        ]
    except OSError:
        names = []
    return f"one core of {names[0] if names else platform.processor() or platform.machine()}, shared with other work"


def main(words: Sequence[str] | None = None) -> None:
    """Make what is missing, and write the page."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", default="", help=f"sections to run, comma-separated, of {', '.join(PARTS)}")
    parser.add_argument("--report", action="store_true", help="run nothing")
    parser.add_argument("--out", type=Path, default=OUT, help="folder of the outcomes")
    chosen = parser.parse_args(words)
    only = {name for name in chosen.only.split(",") if name}
    if unknown := only - PARTS.keys():
        parser.error(f"no section {', '.join(sorted(unknown))}; there are: {', '.join(PARTS)}")
    plan = jobs()
    for job in plan if not chosen.report else ():
        if (not only or job.experiment in only) and carry_out(job, chosen.out):
            print(f"{job.experiment}: {job.name}", flush=True)
    PAGE.write_text(page(collect(plan, chosen.out), _machine()), encoding="utf-8")
    print(f"{PAGE.relative_to(ROOT)} written")


if __name__ == "__main__":
    main()
