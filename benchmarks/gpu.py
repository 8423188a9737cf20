"""The default recipe and a dense autoencoder on a GPU beside the CPU: whole batches from bytes to alerts, bare windows, training, and whether both say the same.

    python benchmarks/gpu.py [--write docs/benchmarks/gpu.md]

Batches run through `benchmarks/shapes.py`'s worker (decode, windows, scorers, calibration, alarm, alerts; one process, without Kafka) by the clock, because a
GPU works beside the process. The baseline is the same batch on the CPU of the same machine, with one thread as a worker has it, and with all. Bare windows
are `benchmarks/scoring.py`'s. Where no GPU is, it says so and ends with 1.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import time
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from statistics import median
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import numpy as np

from benchmarks import scoring, shapes
from benchmarks.judgement.cost import machine
from detectors import checks
from detectors.calibration import create
from detectors.model import Model
from detectors.networks import NetworkDetector
from detectors.recipes import NETWORKS
from detectors.registry import DETECTORS
from detectors.training import metric_training_rows, train_metric

# isort: split
import torch  # after detectors, which set how MKL sums

SHAPES = (
    shapes.Shape("live: a record of each of 100 series", 100, 1, 60),
    shapes.Shape("a record of each of 20,000 series", 20_000, 1, 6),
    shapes.Shape("16 records of each of 1,000 series", 1_000, 16, 6),
    shapes.Shape("16 records of each of 4,096 series", 4_096, 16, 3),
)

NETWORKS_BY_SIZE: tuple[tuple[str, dict[str, Any]], ...] = (
    ("autoencoder", {"window": 48, "layers": (32, 8, 32)}),
    ("autoencoder", {"window": 240, "layers": (128, 32, 128)}),
    ("autoencoder", {"window": 480, "layers": (480, 64, 480)}),
    ("lstm", {"window": 48, "hidden": 32}),
    ("lstm", {"window": 120, "hidden": 64}),
    ("lstm", {"window": 120, "hidden": 128}),
    ("tcn", {"window": 48, "hidden": 16}),
    ("tcn", {"window": 120, "hidden": 64}),
    ("lstm-autoencoder", {"window": 48, "hidden": 32}),
    ("conv-autoencoder", {"window": 48}),
    ("vae", {"window": 48}),
)
"""From the default's size up: where a GPU begins to pay."""
JOBS = {"handwritten": "hand-written loop", "tidewatch": "dense autoencoder", "default": "default"}
"""Of `end_to_end/run.py`: name -> as the table has it."""


def by_the_clock(run: shapes.Run, shape: shapes.Shape) -> float:
    """Seconds of a batch, median of those behind the warm-up."""
    given = list(shapes.batches(shape))
    for values in given[: -shape.batches]:
        run(values)
    took = []
    for values in given[-shape.batches :]:
        began = time.perf_counter()
        run(values)
        took.append(time.perf_counter() - began)
    return median(took)


def batches(made: dict[str, Model], threads: int) -> list[str]:
    """Table of whole batches."""
    lines = [
        f"| batch | recipe | CPU, 1 thread | CPU, {threads} threads | GPU | GPU / CPU, 1 thread |",
        "|---|---|---:|---:|---:|---:|",
    ]
    for shape in SHAPES:
        for name, model in made.items():
            took = {}
            for device, many in (("cpu", 1), ("cpu", threads), ("cuda", 1)):
                torch.set_num_threads(many)
                took[device, many] = by_the_clock(shapes.worker(model.to(device)), shape)
            torch.set_num_threads(1)
            n = shape.series * shape.each
            cells = [f"{n / s:,.0f}/s ({s * 1e3:.1f} ms)" for s in took.values()]
            lines.append(f"| {shape.name} | {name} | {' | '.join(cells)} | {took['cpu', 1] / took['cuda', 1]:.2f} x |")
            print(lines[-1], flush=True)
    return lines


def sizes(seconds: float) -> list[str]:
    """Windows a second of networks of several sizes, on one thread and on the GPU."""
    many = (100, 1_000, 16_384)
    lines = [
        f"| network | weights | {' | '.join(f'{n:,} windows: CPU, GPU' for n in many)} |",
        f"|---|---:|{'---:|' * len(many)}",
    ]
    for name, settings in NETWORKS_BY_SIZE:
        built = scoring.detector(name, settings, "cpu")
        cells, x = (
            [],
            np.random.default_rng(2).normal(size=(max(many), built.config.window, built.width)).astype(np.float32),
        )
        for n in many:
            rates = [
                n / scoring.best(partial(built.to(device).score, x[:n]), device, seconds) for device in ("cpu", "cuda")
            ]
            cells.append(f"{rates[0]:,.0f}, {rates[1]:,.0f} ({rates[1] / rates[0]:.2f} x)")
        said = ", ".join(f"{key} {value}" for key, value in settings.items())
        lines.append(f"| {name}: {said} | {sum(of.size for of in built.arrays().values()):,} | {' | '.join(cells)} |")
        print(lines[-1], flush=True)
    return lines


def agreement(made: dict[str, Model]) -> list[str]:
    """Largest difference of raw scores of the same windows, relative to the larger of 1 and the score."""
    lines = [
        "| recipe | member | largest difference | bit-equal on the GPU however it is cut | passes that are one graph |",
        "|---|---|---:|---|---|",
    ]
    for name, model in made.items():
        for member in model.detectors:
            x = np.random.default_rng(5).normal(size=(20_000, member.config.window, member.width)).astype(np.float32)
            cpu = member.to("cpu").score(x).raw
            member.to("cuda")
            gpu = member.score(x).raw
            parts = np.concatenate([member.score(part).raw for part in np.array_split(x, 113)])
            passes = member._passes if isinstance(member, NetworkDetector) else {}
            graphs = ", ".join(
                f"of {n:,}" for n, run in sorted(passes.items()) if "captured" in getattr(run, "__qualname__", "")
            )
            gap = (np.abs(cpu - gpu) / np.maximum(1.0, np.abs(cpu))).max()
            lines.append(
                f"| {name} | {member.name} | {gap:.1g} | {'yes' if parts.tobytes() == gpu.tobytes() else 'NO'} | {graphs or 'none'} |"
            )
            member.to("cpu")
    failed = []
    for name, detector in DETECTORS.items():
        try:
            checks.check_cpu_and_cuda_agree(detector)
        except Exception as error:  # whatever it is, the others are looked at
            failed.append(f"{name}: {error}")
    said = "; ".join(failed) if failed else f"all {len(DETECTORS)} do"
    return [*lines, "", f"Detectors of the registry whose scores agree to 1e-5 and are bit-equal when cut: {said}."]


def trainings() -> list[str]:
    """Seconds that the three networks take to train on 20 series of 2,000 rows."""
    rng, steps = np.random.default_rng(0), np.arange(2_000)
    series = {
        f"t{i}": (
            shapes.START - (2_000 - steps) * shapes.STEP,
            (np.sin(steps / 9.5 + i) + rng.normal(0, 0.1, 2_000))[:, None],
        )
        for i in range(20)
    }
    lines = ["| training of LSTM, TCN and autoencoder, 20 series | s |", "|---|---:|"]
    for device in ("cpu", "cuda"):
        began = time.perf_counter()
        train_metric(
            series,
            NETWORKS.detectors,
            create("empirical"),
            training_rows=metric_training_rows,
            time_features=("day",),
            device=device,
        )
        lines.append(f"| {device} | {time.perf_counter() - began:.1f} |")
    return lines


def whole_worker() -> list[str]:
    """Figures of `end_to_end/run.py` with the worker on both devices, as a table."""
    script = Path(__file__).parent / "end_to_end" / "run.py"
    figures = {}
    for device in ("cpu", "cuda"):
        asked = ["--only", *JOBS, "--latency-seconds", "8", "--device", device]
        done = subprocess.run([sys.executable, script, *asked], stdout=subprocess.PIPE, text=True, check=True)
        figures[device] = json.loads(done.stdout[done.stdout.index("{\n") :])
    return worker_table(figures)


def worker_table(figures: Mapping[str, Mapping[str, Any]]) -> list[str]:
    """Of what `end_to_end/run.py --only` printed, by device."""
    lines = ["| worker | CPU | GPU | GPU / CPU |", "|---|---:|---:|---:|"]
    for job, said in JOBS.items():
        cpu, cuda = (figures[device]["figures"][job]["rate"] for device in ("cpu", "cuda"))
        lines.append(f"| {said} | {cpu:,.0f} records/s | {cuda:,.0f} records/s | {cuda / cpu:.2f} x |")
    for quantile in ("p50", "p99"):
        cpu, cuda = (figures[device]["latency"]["worker"][quantile] for device in ("cpu", "cuda"))
        lines.append(f"| produce to alert, default, {quantile} | {cpu:.1f} ms | {cuda:.1f} ms | {cuda / cpu:.2f} x |")
    return lines


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--write", type=Path)
    parser.add_argument("--seconds", type=float, default=0.2, help="time of a cell of bare windows")
    arguments = parser.parse_args()
    if not torch.cuda.is_available():
        sys.exit("no GPU here: nothing to measure")
    threads = os.cpu_count() or 1
    torch.set_num_threads(1)
    made = shapes.models()
    head = f"Written by `benchmarks/gpu.py`, one run: {torch.cuda.get_device_name()} beside {machine()}, torch {torch.__version__}. Records a second by the clock, ms a batch in brackets, from bytes to alerts in one process."
    bare = "`score` is what the worker calls, from numpy to numpy; `forward` the network alone, its windows on the GPU already."
    worker = "Through Apache Kafka, 1,000,000 records of 1,000 series, one process, each device in a run of its own (`end_to_end/run.py`); in both columns the hand-written loop is on the CPU, which says how much the machine's other work counts."
    by_size = "Windows a second, one thread of the CPU and the GPU: where one begins to pay."
    sections: tuple[tuple[str, str, Callable[[], list[str]]], ...] = (
        ("# On a GPU", head, lambda: batches(made, threads)),
        ("## The whole worker", worker, whole_worker),
        ("## By size", by_size, lambda: sizes(arguments.seconds)),
        ("## The same scores", "", lambda: agreement(made)),
        ("## Training", "", trainings),
        ("## Bare windows", bare, lambda: [scoring.table(scoring.measure("cuda", scoring.BATCHES, arguments.seconds))]),
    )
    text: list[str] = []
    for title, said, measured in sections:
        print(title, flush=True)
        text += [title, "", *([said, ""] if said else []), *measured(), ""]
        if arguments.write is not None:
            arguments.write.write_text("\n".join(text).rstrip() + "\n")
    print("\n".join(text))


if __name__ == "__main__":
    main()
