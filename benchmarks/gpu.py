"""The default recipe and a dense autoencoder on a GPU beside the CPU: whole batches from bytes to alerts, bare windows, training, and whether both say the same.

    python benchmarks/gpu.py [--write docs/benchmarks/gpu.md]

Batches run through `benchmarks/shapes.py`'s worker (decode, windows, scorers, calibration, alarm, alerts; one process, without Kafka) by the clock, because a
GPU works beside the process. The baseline is the same batch on the CPU of the same machine, with one thread as a worker has it, and with all. Bare windows
are `benchmarks/scoring.py`'s. Where no GPU is, it says so and ends with 1.
"""

from __future__ import annotations

import argparse
import os
import sys
import time
from pathlib import Path
from statistics import median

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
    shapes.Shape("16 records of each of 1,000 series", 1_000, 16, 6),
    shapes.Shape("16 records of each of 4,096 series", 4_096, 16, 3),
)


def on(model: Model, device: str) -> Model:
    """The model with its networks on a device."""
    for member in model.detectors:
        member.to(device)
    return model


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
                took[device, many] = by_the_clock(shapes.worker(on(model, device)), shape)
            torch.set_num_threads(1)
            n = shape.series * shape.each
            cells = [f"{n / s:,.0f}/s ({s * 1e3:.1f} ms)" for s in took.values()]
            lines.append(f"| {shape.name} | {name} | {' | '.join(cells)} | {took['cpu', 1] / took['cuda', 1]:.2f} x |")
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
    text = [
        "# On a GPU",
        "",
        f"Written by `benchmarks/gpu.py`, one run: {torch.cuda.get_device_name()} beside {machine()}, torch {torch.__version__}. Records a second by the clock, ms a batch in brackets, from bytes to alerts in one process.",
        "",
        *batches(made, threads),
        "",
        "## The same scores",
        "",
        *agreement(made),
        "",
        "## Training",
        "",
        *trainings(),
        "",
        "## Bare windows",
        "",
        "`score` is what the worker calls, from numpy to numpy; `forward` the network alone, its windows on the GPU already.",
        "",
        scoring.table(scoring.measure("cuda", scoring.BATCHES, arguments.seconds)),
    ]
    print("\n".join(text))
    if arguments.write is not None:
        arguments.write.write_text("\n".join(text) + "\n")


if __name__ == "__main__":
    main()
