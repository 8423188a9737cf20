"""A worker's way from bytes to alerts, in this process and without Kafka, over the shapes that load comes in, default recipe and cheap one in one run.

    OMP_NUM_THREADS=1 python benchmarks/shapes.py [--write docs/benchmarks/shapes.md] [--only NAME] [--profile]

The cheap one is a dense autoencoder alone. The baseline is a hand-written loop (`end_to_end/contenders.py`) that decodes, cuts windows and runs the same
autoencoder, and neither calibrates nor keeps a policy of time, an event time or alerts; it gets the same batches. CPU time, the least of all batches (of a
series' first observations the least mean of several runs), so that other work on the machine counts little; read the ratios.
"""

from __future__ import annotations

import argparse
import cProfile
import pstats
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from statistics import mean

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import numpy as np
from numpy.typing import NDArray

from benchmarks.end_to_end.contenders import Partition
from benchmarks.judgement.cost import machine
from detectors.calibration import create
from detectors.model import Model
from detectors.recipes import METRIC
from detectors.training import train_metric
from pipeline.partition.core import PartitionCore
from pipeline.partition.stream import create_stream
from pipeline.process_memory import keep_freed
from pipeline.settings import StreamSettings
from pipeline.steps.batches.binary import BinaryColumn
from pipeline.steps.batches.records import RecordBatch
from pipeline.steps.scoring import MemberScores, Scorer

Run = Callable[[BinaryColumn], int]
"""What is done with a batch as a fetch brings it; how many were scored."""
START, STEP = 1_700_000_000_000, 60_000
RUNS = 3
WARM = 66
"""Observations of each series before it is measured: its window is full, its unit known, its judgement has begun."""


@dataclass(frozen=True)
class Shape:
    """`each` observations of each of `series` in a batch, so many batches; `idle` other series are held, and `warm` observations of each came before."""

    name: str
    series: int
    each: int
    batches: int
    idle: int = 0
    warm: int = WARM


SHAPES = (
    Shape("16 records of each of 1,000 series", 1_000, 16, 6),
    Shape("a record of each of 20,000 series", 20_000, 1, 4),
    Shape("one series alone, 1,000 records", 1, 1_000, 24),
    Shape("live: a record of each of 100 series", 100, 1, 240),
    Shape("the same of 1,000, while 99,000 are idle", 1_000, 1, 24, idle=99_000),
    Shape("the same of 1,000, none idle", 1_000, 1, 24),
    Shape("first 14 observations of 5,000 series", 5_000, 1, 14, warm=0),
)


def models() -> dict[str, Model]:
    """Both recipes, fitted on little: speed does not depend on what was learnt."""
    rng, steps = np.random.default_rng(0), np.arange(1_500)
    series = {f"t{i}": (START - (1_500 - steps) * STEP, (np.sin(steps / 9.5 + i) + rng.normal(0, 0.1, 1_500))[:, None]) for i in range(2)}  # fmt: skip
    cheap = ("autoencoder", {"window": 48, "layers": (32, 8, 32), "training": {"epochs": 2}})
    quick = [
        (name, {**settings, "training": {"epochs": 1, "windows_per_epoch": 256}}) for name, settings in METRIC.detectors
    ]  # type: ignore[misc]
    return {
        "default": replace(METRIC, detectors=tuple(quick)).train_metric(series),
        "cheap": train_metric(series, [cheap], create("empirical"), seed=0),
    }


def batches(shape: Shape) -> Iterator[BinaryColumn]:
    """First what warms up, 20,000 observations in a batch or less, then what is measured; as a fetch brings them."""
    for values in made(shape):
        ends = np.cumsum([len(v) for v in values])
        yield BinaryColumn(b"".join(values), ends - [len(v) for v in values], ends)


def made(shape: Shape) -> Iterator[list[bytes]]:
    """The records of each batch."""
    rng = np.random.default_rng(1)
    names = [f"s{i:06d}" for i in range(shape.series)]
    for part in range(0, shape.idle, 10_000):
        yield [record(f"i{i:06d}", k, float(i)) for k in range(2) for i in range(part, part + 10_000)]
    at = 0
    for each in (*(1,) * shape.warm, *(shape.each,) * shape.batches):
        order = rng.permutation(shape.series)
        values = waves(rng, at, each, shape.series)
        yield [record(names[s], at + k, values[k, s]) for k in range(each) for s in order]
        at += each


def waves(rng: np.random.Generator, at: int, steps: int, series: int) -> NDArray[np.float64]:
    """Values (steps, series) from step `at` on, each series with its own phase."""
    clean = np.sin(np.arange(at, at + steps)[:, None] / 9.5 + np.arange(series))
    return clean + rng.normal(0, 0.1, clean.shape)


def record(name: str, step: int, value: float) -> bytes:
    return f'{{"series":"{name}","timestamp":{START + step * STEP},"value":{value:.4f}}}'.encode()


class Timed(Scorer):
    """Knows how long the forward passes took, CPU seconds."""

    took = 0.0

    def score_now(self, x: NDArray[np.float32]) -> MemberScores:
        began = time.process_time()
        scores = super().score_now(x)
        self.took += time.process_time() - began
        return scores


def worker(model: Model, scorer: Scorer | None = None) -> Run:
    """What a partition does with a batch between the fetch and the publisher."""
    stream = create_stream(StreamSettings(name="s", model=Path("m"), max_series=1_000_000), model, scorer)
    core: PartitionCore = stream.core(0)
    offset = 0

    def run(values: BinaryColumn) -> int:
        nonlocal offset
        n = len(values)
        records = RecordBatch("t", 0, np.arange(offset, offset + n), offset + n, [None] * n, values, np.full(n, START))
        offset += n
        observations, _ = stream.decoder.decode(records)
        return sum((settled.counts for _, settled in core.process(observations)), Counter[str]())["scored"]

    return run


def by_hand(model: Model) -> Run:
    """The hand-written loop."""
    partition, detector = Partition(), model.detectors[0]
    partition.history, partition.filled = np.zeros((110_000, 47)), np.zeros(110_000, np.int64)

    def run(values: BinaryColumn) -> int:
        _, windows, _ = partition.push(values.listed())
        return len(detector.score(windows[:, :, None]).raw) if len(windows) else 0

    return run


def measured(run: Run, shape: Shape, profile: cProfile.Profile | None = None) -> list[float]:
    """CPU seconds of each batch behind the warm-up."""
    given = list(batches(shape))
    for values in given[: -shape.batches]:
        run(values)
    took = []
    for values in given[-shape.batches :]:
        began = time.process_time()
        if profile is not None:
            profile.enable()
        scored = run(values)
        if profile is not None:
            profile.disable()
        took.append(time.process_time() - began)
        if scored != len(values) and shape.warm:
            sys.exit(f"{scored} of {len(values)} were scored: no figure")
    return took


def least(made: Callable[[], Run], shape: Shape) -> float:
    """CPU seconds of a batch where nothing else is in the way; where each is another, of their mean."""
    if shape.warm:
        return min(measured(made(), shape))
    return min(mean(measured(made(), shape)) for _ in range(RUNS))


def of_recipe(model: Model, shape: Shape) -> tuple[float, float]:
    """CPU seconds of a batch, and how much of that is beside the forward passes."""
    scorer = Timed(model)
    run, beside = worker(model, scorer), list[float]()

    def timed(values: BinaryColumn) -> int:
        began, before = time.process_time(), scorer.took
        scored = run(values)
        beside.append(time.process_time() - began - (scorer.took - before))
        return scored

    if not shape.warm:  # few of them are scored
        return (whole := least(lambda: worker(model), shape)), whole
    return min(measured(timed, shape)), min(beside[-shape.batches :])


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--write", type=Path)
    parser.add_argument("--only", default="", help="shapes whose names have it in them")
    parser.add_argument("--recipe", default="", help="default or cheap; nothing: both")
    parser.add_argument("--profile", action="store_true", help="say where the time goes instead")
    arguments = parser.parse_args()
    keep_freed()  # as a worker does
    recipes = models()
    best: dict[str, float] = {}
    lines = [
        "# Shapes of load",
        "",
        f"Written by `benchmarks/shapes.py`, one run: {machine()}. From bytes to alerts, in one process; us of CPU a record (ms a batch; ms of it beside the networks), the least of all batches. What else runs on the machine makes all of a row dearer: read the ratios.",
        "",
        "| shape of a batch | default recipe | / its first row | cheap one (a dense autoencoder) | / its first row | hand-written loop with the same autoencoder | cheap / hand-written |",
        "|---|---|---|---|---|---|---|",
    ]
    for shape in (s for s in SHAPES if arguments.only in s.name):
        n = shape.series * shape.each
        chosen = {name: model for name, model in recipes.items() if arguments.recipe in name}
        if arguments.profile:
            for name, model in chosen.items():
                profile = cProfile.Profile()
                took = min(measured(worker(model), shape, profile))
                print(f"{shape.name}, {name}: {took * 1e3:.2f} ms a batch (profiled)")
                pstats.Stats(profile).sort_stats("tottime").print_stats(45)
            continue
        cells = [shape.name]
        for name in recipes:
            whole, beside = of_recipe(chosen[name], shape) if name in chosen else (np.nan, np.nan)
            ratio = whole / n / best.setdefault(name, whole / n)
            cells += [f"{whole / n * 1e6:.2f} ({whole * 1e3:.2f}; {beside * 1e3:.2f})", f"{ratio:.2f}"]
        hand = least(lambda: by_hand(recipes["cheap"]), shape)
        cells += [f"{hand / n * 1e6:.2f} ({hand * 1e3:.2f})", f"{whole / hand:.1f}"]
        lines.append(f"| {' | '.join(cells)} |")
        print(lines[-1], flush=True)
    if arguments.write is not None:
        arguments.write.write_text("\n".join(lines) + "\n")


if __name__ == "__main__":
    main()
