"""Many seeds of the simulation: `make simulate SEEDS=20000`, or one again: `python tests/simulation/run.py --seed 4711`."""

from __future__ import annotations

import argparse
import sys
import time
from collections import Counter
from pathlib import Path

sys.path[:0] = [str(Path(__file__).parents[2]), str(Path(__file__).parents[1])]

from simulation.runs import report, run_of, shortest, simulate  # noqa: E402
from simulation.scenarios import small_numbers  # noqa: E402


def main() -> int:
    """Exit code 1 at the first seed that breaks a promise."""
    arguments = argparse.ArgumentParser(description=__doc__)
    arguments.add_argument("--seeds", type=int, default=200, help="how many")
    arguments.add_argument("--first", type=int, default=0, help="the first seed")
    arguments.add_argument("--seed", type=int, help="only this one, with its trace")
    arguments.add_argument("--go-on", action="store_true", help="do not stop at the first failing seed")
    options = arguments.parse_args()
    seeds = range(options.first, options.first + options.seeds) if options.seed is None else [options.seed]
    started, happened, failed = time.monotonic(), Counter[str](), []
    with small_numbers():
        for n, seed in enumerate(seeds, 1):
            outcome = simulate(run_of(seed))
            happened.update(outcome.happened)
            if options.seed is not None:
                print("\n".join(outcome.trace))
            if outcome.problem is not None:
                failed.append(seed)
                print(report(*shortest(run_of(seed))) if not options.go_on else f"seed {seed}: {outcome.problem}")
                if not options.go_on:
                    break
            if sys.stderr.isatty() or n % 1000 == 0:
                print(f"\r{n} seeds, {time.monotonic() - started:.0f} s ", end="", file=sys.stderr)
    print(f"{n} seeds, {len(failed)} failed, {time.monotonic() - started:.1f} s. What happened:")
    print("\n".join(f"{count:9,} {what}" for what, count in happened.most_common()))
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
