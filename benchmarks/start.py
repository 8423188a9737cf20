"""From the command to the first score: how long a worker takes to start, phase by phase, beside `import torch` in the same run.

    python benchmarks/start.py [--rounds 3] [--broker tansu] [--write docs/benchmarks/start.md]

A worker with the default recipe on a topic of four partitions that has records in it, on Apache Kafka (or Tansu, the embedded fallback) and Redis on this
machine: at first with nothing stored, then again on its own checkpoints. Times are by the clock, medians of the rounds; the ratio is to what importing torch takes.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from statistics import median
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import numpy as np

from benchmarks.end_to_end import run as end_to_end
from benchmarks.judgement.cost import machine
from detectors.model_file import save
from detectors.recipes import METRIC
from detectors.training import all_rows
from pipeline.embedded.jars import fetch_jars
from pipeline.embedded.kafka import Cluster
from pipeline.embedded.servers import start_redis, start_tansu

STEPS = 100  # records of each series when the first worker starts: windows fill
PHASES = {
    "worker started": "programs loaded, model read, Kafka and Redis asked",
    "partition opened": "group joined, state loaded, first partition opened",
    "first record scored": "**first record scored**",
}


@contextmanager
def broker(kind: str, folder: Path) -> Iterator[str]:
    """An address."""
    if kind == "tansu":
        with start_tansu(folder) as tansu:
            yield tansu.address
    else:
        fetch_jars(lambda line: print(line, file=sys.stderr))
        with Cluster() as kafka:
            yield kafka.bootstrap


def imported(what: str) -> float:
    """Seconds that a Python takes that imports it and ends."""
    began = time.perf_counter()
    subprocess.run([sys.executable, "-c", f"import {what}"], check=True)
    return time.perf_counter() - began


def started(config: Path, limit: float = 60.0) -> dict[str, float]:
    """Start a worker, stop it when it has scored; seconds from the start until it said each of `PHASES`."""
    env = os.environ | {"TIDEWATCH_CONFIG": str(config), "OMP_NUM_THREADS": "1", "PYTHONUNBUFFERED": "1"}
    command = [sys.executable, "-m", "pipeline", "worker"]
    said: dict[str, float] = {}
    began = time.perf_counter()
    worker = subprocess.Popen(
        command, env=env, cwd=Path(__file__).parents[1], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    )
    assert worker.stdout is not None
    late = threading.Timer(limit, worker.kill)
    late.start()
    try:
        for line in worker.stdout:
            now = time.perf_counter() - began
            for phase in PHASES:
                if phase in line:
                    said.setdefault(phase, now)
            if len(said) == len(PHASES):
                return said
    finally:
        late.cancel()
        worker.terminate()
        worker.communicate(timeout=20)
    sys.exit(f"the worker said no more than {', '.join(said) or 'nothing'}")


def measured(args: argparse.Namespace) -> dict[str, list[dict[str, float]]]:
    """Seconds by phase, of each round."""
    found: dict[str, list[dict[str, float]]] = {"baselines": [], "nothing stored": [], "on its checkpoints": []}
    with tempfile.TemporaryDirectory() as name, start_redis(Path(name)) as redis, broker(args.broker, Path(name)) as at:
        folder = Path(name)
        model = folder / "default.safetensors"
        save(METRIC.train_metric(end_to_end.history(), training_rows=all_rows), model)
        admin = end_to_end.AdminClient({"bootstrap.servers": at})
        topic = end_to_end.NewTopic("start.in", end_to_end.PARTITIONS, 1)
        admin.create_topics([topic])["start.in"].result(30)
        append(at, "start.in", range(STEPS))
        for n in range(args.rounds + 1):
            group = f"start-{n}"
            config = end_to_end.settings_file(folder, at, redis.url, "start.in", model, group, "cpu")
            config.write_text(config.read_text().replace('"warning"', '"info"'))
            one: dict[str, Any] = {"baselines": {w: imported(w) for w in ("torch", "pipeline.app")}}
            one["nothing stored"] = started(config)
            append(at, "start.in", range(STEPS + n, STEPS + n + 1))
            one["on its checkpoints"] = started(config)
            if n:  # the first warms caches up
                for what, seconds in one.items():
                    found[what].append(seconds)
    return found


def append(at: str, topic: str, steps: range) -> None:
    """More records of each series, so that a worker that goes on has something to score."""
    producer = end_to_end.Producer(
        {"bootstrap.servers": at, "partitioner": "murmur2_random", "queue.buffering.max.messages": 1_000_000}
    )
    rng = np.random.default_rng(steps.start)
    for step in steps:
        when, values = end_to_end.START_MS + step * end_to_end.STEP_MS, rng.normal(size=end_to_end.SERIES)
        for s, value in enumerate(values):
            name = f"s{s:04d}"
            producer.produce(
                topic, f'{{"series":"{name}","timestamp":{when},"value":{value:.4f}}}'.encode(), name.encode()
            )
    producer.flush(30)


def table(found: dict[str, list[dict[str, float]]], broker: str) -> str:
    """As Markdown."""
    base = median(one["torch"] for one in found["baselines"])
    app = median(one["pipeline.app"] for one in found["baselines"])
    kind = "Tansu" if broker == "tansu" else "Apache Kafka"
    rows = [
        f"Written by `benchmarks/start.py`: a worker with the default recipe, {kind}, four partitions; {machine()}.",
        "",
        "| until | s | of `import torch` |",
        "|---|---:|---:|",
        f'| `python -c "import torch"` ends | {base:.2f} | 1.00 |',
        f'| `python -c "import pipeline.app"` ends | {app:.2f} | {app / base:.2f} |',
    ]
    for what in ("nothing stored", "on its checkpoints"):
        for phase, text in PHASES.items():
            seconds = median(one[phase] for one in found[what])
            rows.append(f"| {text}, {what} | {seconds:.2f} | {seconds / base:.2f} |")
    return "\n".join(rows)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--broker", choices=("kafka", "tansu"), default="kafka")
    parser.add_argument("--write", type=Path, help="write the table to this Markdown file")
    args = parser.parse_args()
    text = table(measured(args), args.broker)
    print(text)
    if args.write:
        args.write.write_text(f"# How long a worker takes to start\n\n{text}\n")


if __name__ == "__main__":
    main()
