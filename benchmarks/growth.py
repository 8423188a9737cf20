"""What grows and what does not: the cost of a record, the memory and the checkpoint over series, partitions, history and window, in one run.

    OMP_NUM_THREADS=1 python benchmarks/growth.py [--write docs/benchmarks/growth.md] [--most 1000000]

A worker's way from bytes to alerts, in this process and without Kafka: a dense autoencoder, every window full, one record of each series in a scrape, whose
series are spread over the partitions. The baseline of each table is its first row. CPU time, the least of the scrapes; memory is what the process grew by.
Checkpoints are of all series, which every record of a scrape has changed: how long the largest partition's takes to collect, and to be read back.
"""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from multiprocessing import get_context
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import numpy as np

from benchmarks.judgement.cost import machine
from benchmarks.shapes import START, STEP, WARM, record, waves
from detectors.calibration import create
from detectors.model import Model
from detectors.training import train_metric
from pipeline.partition.core import PartitionCore
from pipeline.partition.stream import create_stream
from pipeline.process_memory import calm_collector
from pipeline.settings import StreamSettings
from pipeline.steps.batches.observations import Observations
from pipeline.steps.batches.records import RecordBatch
from pipeline.steps.state import PartitionState

HEADER = "us of CPU a record | / first row | state, bytes a series | process, bytes a series | a partition's checkpoint of all: collected in, ms | read back, MB/s |"
SCRAPES, SCRAPE = 4, 20_000
"""Scrapes that are measured, and at most so many records of one are in a batch."""


@dataclass
class Figures:
    """`us`: of CPU a record. `collected`, `read` in s and bytes/s, of the largest partition's checkpoint; `resident`: bytes a series."""

    us: float
    state: int
    resident: float
    collected: float
    read: float


class Worker:
    """Partitions of one stream, each with its series."""

    def __init__(self, model: Model, series: int, partitions: int) -> None:
        stream = create_stream(StreamSettings(name="s", model=Path("m"), max_series=2_000_000), model)
        self.decoder = stream.decoder
        self.cores: list[PartitionCore] = [stream.core(p) for p in range(partitions)]
        self.names = [[f"s{i:07d}" for i in range(p, series, partitions)] for p in range(partitions)]
        self.offsets = [0] * partitions
        self.step = 0
        self.rng = np.random.default_rng(0)

    def warm(self, steps: int) -> None:
        """As if so many scrapes had come; not by their bytes, which would take most of the time."""
        for p, (core, names) in enumerate(zip(self.cores, self.names, strict=True)):
            for first in range(0, len(names), SCRAPE):
                some = names[first : first + SCRAPE]
                each = max(1, SCRAPE // len(some))
                for at in range(self.step, self.step + steps, each):
                    k = min(each, self.step + steps - at)
                    times = np.repeat(START + STEP * np.arange(at, at + k), len(some))
                    n = len(times)
                    offsets = np.arange(self.offsets[p], self.offsets[p] + n)
                    self.offsets[p] += n
                    core.process(
                        Observations(offsets, some * k, times, waves(self.rng, at, k, len(some)).reshape(-1, 1))
                    )
        self.step += steps

    def scrape(self) -> float:
        """One record of each series; CPU seconds from bytes to alerts."""
        took = 0.0
        for p, (core, names) in enumerate(zip(self.cores, self.names, strict=True)):
            for first in range(0, len(names), SCRAPE):
                some = names[first : first + SCRAPE]
                values = waves(self.rng, self.step, 1, len(some))[0].tolist()
                lines = [record(name, self.step, value) for name, value in zip(some, values, strict=True)]
                n, offset = len(lines), self.offsets[p]
                batch = RecordBatch("t", p, np.arange(offset, offset + n), offset + n, [None] * n, lines, np.full(n, START))  # fmt: skip
                self.offsets[p] += n
                began = time.process_time()
                observations, _ = self.decoder.decode(batch)
                done = core.process(observations)
                took += time.process_time() - began
                scored = sum(settled.counts["scored"] for _, settled in done)
                if scored != n:
                    msg = f"{scored} of {n} were scored: no figure"
                    raise RuntimeError(msg)
        self.step += 1
        return took


def resident() -> int:
    """Bytes of this process in memory."""
    return int(Path("/proc/self/statm").read_text().split()[1]) * 4096


def measured(series: int, partitions: int, steps: int, window: int) -> Figures:
    """In a process of its own, or memory that others gave back would be there already."""
    with get_context("spawn").Pool(1) as pool:
        return pool.apply(figures, (series, partitions, steps, window))


def figures(series: int, partitions: int, steps: int, window: int) -> Figures:
    calm_collector()  # as a worker does
    model = of_window(window)
    measure(Worker(model, 100, 1), steps)  # what is loaded and compiled once is no part of it
    before = resident()
    worker = Worker(model, series, partitions)
    us = measure(worker, steps) / series * 1e6
    state = max((core.state for core in worker.cores), key=len)
    grown = resident() - before
    began = time.process_time()
    stored = state.snapshot(everything=True)
    collected = time.process_time() - began
    anew = PartitionState(state.components, max_series=state.max_series)
    began = time.process_time()
    anew.restore(stored)
    read = len(state) * state.bytes_per_series / (time.process_time() - began)
    return Figures(us, state.bytes_per_series, grown / series, collected, read)


def measure(worker: Worker, steps: int) -> float:
    worker.warm(steps)
    return min(worker.scrape() for _ in range(SCRAPES))


def of_window(window: int) -> Model:
    """A dense autoencoder, fitted on little: speed does not depend on what was learnt."""
    rng, steps = np.random.default_rng(0), np.arange(1_500)
    series = {f"t{i}": (START - (1_500 - steps) * STEP, (np.sin(steps / 9.5 + i) + rng.normal(0, 0.1, 1_500))[:, None]) for i in range(2)}  # fmt: skip
    member = ("autoencoder", {"window": window, "layers": (32, 8, 32), "training": {"epochs": 2}})
    return train_metric(series, [member], create("empirical"), training_rows=int, seed=0)


def tables(most: int) -> Iterator[str]:
    def table(title: str, first: str, rows: list[tuple[str, int, int, int, int]]) -> Iterator[str]:
        yield from (f"## {title}", "", f"| {first} | {HEADER}", "|---|---|---|---|---|---|---|")
        base = 0.0
        for name, series, partitions, steps, window in rows:
            f = measured(series, partitions, steps, window)
            base = base or f.us
            yield f"| {name} | {f.us:.2f} | {f.us / base:.2f} | {f.state:,} | {f.resident:,.0f} | {1e3 * f.collected:.0f} | {f.read / 1e6:,.0f} |"
        yield ""

    counts = [n for n in (1_000, 10_000, 100_000, 1_000_000) if n <= most]
    yield from table("Series, on 16 partitions", "series", [(f"{n:,}", n, 16, WARM, 48) for n in counts])
    yield from table("Partitions of 64,000 series", "partitions", [(f"{p}", 64_000, p, WARM, 48) for p in (1, 4, 16, 64)])  # fmt: skip
    lengths = (("an hour", WARM), ("a day", 1_440), ("a week", 10_080), ("30 days", 43_200))
    yield from table("History of 500 series, an observation a minute", "history", [(name, 500, 1, n, 48) for name, n in lengths])  # fmt: skip
    yield from table("Window, 20,000 series", "window", [(f"{w}", 20_000, 1, w + WARM, w) for w in (24, 48, 96, 192)])


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--write", type=Path)
    parser.add_argument("--most", type=int, default=1_000_000, help="series of the largest")
    arguments = parser.parse_args()
    lines = [
        "# What grows",
        "",
        f"Written by `benchmarks/growth.py`, one run: {machine()}. From bytes to alerts with a dense autoencoder, in one process; windows are full, and each scrape is one record of every series.",
        "",
    ]
    print("\n".join(lines))
    for line in tables(arguments.most):
        lines.append(line)
        print(line, flush=True)
    if arguments.write is not None:
        arguments.write.write_text("\n".join(lines).rstrip() + "\n")


if __name__ == "__main__":
    main()
