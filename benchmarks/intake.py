"""What an intake makes of raw records, from bytes to bytes without Kafka, beside what reading their JSON alone costs, in one run.

    python benchmarks/intake.py [--rounds 7] [--write]

CPU time of the one thread that does the work, the best of some rounds taken in turn: what else runs on the machine counts little. The baseline is
`msgspec.json.decode` of native records to Python objects, and nothing else; a figure of another machine is to be compared by its ratio. Prints the
table, and writes docs/benchmarks/intake.md with --write.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path

import msgspec
import numpy as np

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from pipeline.intake.grouping import Grouping
from pipeline.intake.merging import Source, merged
from pipeline.steps.batches.records import RecordBatch
from pipeline.steps.decoding import Decoder
from producers import batches
from producers.records import Observation, encode

PAGE = Path(__file__).resolve().parents[1] / "docs/benchmarks/intake.md"
T0 = 1_700_000_000
MESSAGES, HOSTS, FED = 10_000, 50, 8
FIELDS = {"usage_idle": 97.1, "usage_iowait": 0.1, "usage_system": 1.2, "usage_user": 3.4}
BASELINE = "baseline: native records, msgspec.json.decode alone"


def tagged(i: int) -> tuple[str, str, int]:
    """Core, host and time of the i-th message: all cores of all hosts, every ten seconds."""
    return f"cpu{i % 4}", f"web-{i // 4 % HOSTS}", T0 + 10 * (i // (4 * HOSTS))


def telegraf(i: int) -> bytes:
    core, host, at = tagged(i)
    fields = {name: round(value + i % 7, 3) for name, value in FIELDS.items()}
    return json.dumps({"fields": fields, "name": "cpu", "tags": {"cpu": core, "host": host}, "timestamp": at}).encode()


def influx(i: int) -> bytes:
    core, host, at = tagged(i)
    fields = ",".join(f"{name}={value + i % 7:.3f}" for name, value in FIELDS.items())
    return f"cpu,cpu={core},host={host} {fields} {at}000000000\n".encode()


def native(i: int) -> bytes:
    core, host, at = tagged(i)
    return encode(Observation(f'cpu{{cpu="{core}",host="{host}"}}', at * 1000, 3.4 + i % 7))


def records(values: Sequence[bytes]) -> RecordBatch:
    n = len(values)
    return RecordBatch("raw", 0, np.arange(n), n, [None] * n, list(values), np.full(n, T0 * 1000))


def through(form: str, raw: RecordBatch, *, named: Sequence[str] = ()) -> tuple[Callable[[], int], list[bytes]]:
    """A run of the intake over the records, which says how many observations there were; and the messages of the first."""
    decoder, grouping = Decoder("metric", len(named) or 1, format=form, named=named), Grouping(FED)

    def run() -> int:
        source = Source("benchmark/raw/0", 0)
        n = 0
        for start in range(0, len(raw), 10_000):
            part = raw.since(start).before(start + 10_000)
            observations, rejected = decoder.decode(part)
            assert not rejected
            source.take(observations, part.timestamps[np.searchsorted(part.offsets, observations.offsets)], 0.0)
            found = merged([source], 1e9)
            assert found is not None
            out[:] = [value for _, value in grouping.batches(*found, [source.name])]
            n += len(observations)
        return n

    out: list[bytes] = []
    run()
    return run, out


def main() -> int:
    """Measure, print, and write."""
    arguments = argparse.ArgumentParser(description=__doc__)
    arguments.add_argument("--rounds", type=int, default=7)
    arguments.add_argument("--write", action="store_true", help=f"write {PAGE.name}")
    options = arguments.parse_args()
    one_each = [native(i) for i in range(4 * MESSAGES)]
    runs: dict[str, Callable[[], int]] = {BASELINE: lambda: sum(1 for v in one_each if msgspec.json.decode(v))}
    of_telegraf = records([telegraf(i) for i in range(MESSAGES)])
    runs["native JSON, one value a record"], _ = through("native", records(one_each))
    runs["Telegraf's JSON, four fields"], written = through("telegraf", of_telegraf)
    runs["Telegraf's JSON, four channels"], _ = through("telegraf", of_telegraf, named=tuple(FIELDS))
    runs["Influx lines, four fields"], _ = through("influx", records([influx(i) for i in range(MESSAGES)]))
    many = [batches.anew(value) for value in written] * 10
    runs["compact batches"], _ = through("native", records(many))
    runs["compact batches, decoding alone"] = lambda: sum(len(batches.decode(value)) for value in written * 10)
    took = dict.fromkeys(runs, float("inf"))
    counts = {}
    for _ in range(options.rounds):
        for name, run in runs.items():
            began = time.thread_time()
            counts[name] = run()
            took[name] = min(took[name], time.thread_time() - began)
    rates = {name: counts[name] / took[name] for name in runs}
    table = "\n".join(f"| {name} | {rate:,.0f} | {rate / rates[BASELINE]:.2f} |" for name, rate in rates.items())
    text = f"| | observations/s of CPU time, one core | ratio to the baseline |\n|---|---|---|\n{table}\n"
    print(text)
    if options.write:
        head = f"<!-- written by benchmarks/intake.py -->\n\n# The intake\n\n{(__doc__ or '').split('    python')[0].strip()} Four fields are four observations, four channels one.\n\n"
        PAGE.write_text(head + text, encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
