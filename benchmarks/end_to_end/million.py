"""A million series with full windows on 16 partitions, through Apache Kafka and Redis: records a second, checkpoints, what a restart reads back, memory.

    python benchmarks/end_to_end/million.py [--series 1000000] [--write docs/benchmarks/million.md]

First fifty observations of each series, in compact batches, until every window is full and stored; then a worker that begins anew, loads all of it, and
gets three scrapes, one JSON object for each series. A dense autoencoder scores. The baseline is the same with 1,000 series and as many records.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
from confluent_kafka import Producer
from confluent_kafka.admin import AdminClient, NewTopic

HERE = Path(__file__).parent
sys.path[:0] = [str(HERE.parents[1] / "deploy" / "kafka"), str(HERE.parents[1]), str(HERE)]
from broker import Cluster  # noqa: E402
from run import START_MS, STEP_MS, send, train  # noqa: E402

from benchmarks.judgement.cost import machine  # noqa: E402
from benchmarks.shapes import waves  # noqa: E402
from pipeline.embedded.servers import start_redis  # noqa: E402
from producers.batches import Batch, encode  # noqa: E402
from producers.partitioning import home  # noqa: E402

PARTITIONS, FILL, SCRAPES = 16, 50, 3
MESSAGE = 16_384
"""Observations of a compact batch, at most."""


class Topic:
    """What is written of so many series, and where each partition ends."""

    def __init__(self, brokers: str, name: str, series: int) -> None:
        self.name, self.ends = name, dict.fromkeys(range(PARTITIONS), 0)
        admin = AdminClient({"bootstrap.servers": brokers})
        for future in admin.create_topics([NewTopic(name, PARTITIONS, 1)]).values():
            future.result(30)
        names = [f"s{i:07d}" for i in range(series)]
        homes = np.array([home(name, PARTITIONS) for name in names])
        self.of = [[names[i] for i in np.flatnonzero(homes == p)] for p in range(PARTITIONS)]
        self.rng, self.step = np.random.default_rng(0), 0
        self.producer = Producer(
            {"bootstrap.servers": brokers, "linger.ms": 20, "batch.size": 1 << 20, "queue.buffering.max.kbytes": 262_144, "enable.idempotence": True}
        )  # fmt: skip

    def fill(self, steps: int) -> None:
        """So many observations of each series, in compact batches."""
        for p, names in enumerate(self.of):
            for first in range(0, len(names), MESSAGE):
                some = names[first : first + MESSAGE]
                each = max(1, MESSAGE // len(some))
                for at in range(self.step, self.step + steps, each):
                    k = min(each, self.step + steps - at)
                    times = np.repeat(START_MS + STEP_MS * np.arange(at, at + k), len(some))
                    values = waves(self.rng, at, k, len(some)).reshape(-1, 1)
                    self.send(p, encode(Batch(some, np.tile(np.arange(len(some)), k), times, values)))
        self.step += steps
        self.flush()

    def scrapes(self, count: int) -> None:
        """A JSON object for each series, so many times."""
        for at in range(self.step, self.step + count):
            now = START_MS + STEP_MS * at
            for p, names in enumerate(self.of):
                for name, value in zip(names, waves(self.rng, at, 1, len(names))[0].tolist(), strict=True):
                    self.send(p, f'{{"series":"{name}","timestamp":{now},"value":{value:.4f}}}'.encode())
        self.step += count
        self.flush()

    def send(self, partition: int, value: bytes) -> None:
        send(self.producer, self.name, value, partition=partition)
        self.ends[partition] += 1

    def flush(self) -> None:
        self.producer.flush(120)


def settings(folder: Path, brokers: str, redis: str, topic: str, model: Path) -> Path:
    path = folder / f"{topic}.toml"
    path.write_text(f"""
[kafka]
brokers = "{brokers}"
partitions = {PARTITIONS}
[redis]
url = "{redis}"
prefix = "{topic}"
timeout = "60s"
[worker]
group = "{topic}"
log_level = "warning"
snapshots = 0
[[streams]]
name = "{topic}"
topic = "{topic}"
model = "{model}"
alert_topic = "{topic}.alerts"
""")
    return path


def work(brokers: str, topic: Topic, model: Path, config: Path, records: int, timeout: float) -> dict[str, Any]:
    """A worker until all is done and stored; its figures."""
    command = [
        sys.executable, str(HERE / "contenders.py"), "tidewatch", "--brokers", brokers, "--topic", topic.name, "--out-topic", "none",
        "--model", str(model), "--records", str(records), "--ends", json.dumps(topic.ends), "--limit", "0",
    ]  # fmt: skip
    env = os.environ | {"OMP_NUM_THREADS": "1", "PYTHONPATH": str(HERE.parents[1]), "TIDEWATCH_CONFIG": str(config)}
    done = subprocess.run(command, capture_output=True, text=True, timeout=timeout, env=env, check=False)
    lines = [line for line in done.stdout.splitlines() if line.startswith("{")]
    if not lines:
        sys.exit(f"no figure (exit {done.returncode}):\n{done.stdout[-2000:]}\n{done.stderr[-4000:]}")
    return dict(json.loads(lines[-1]))


def measured(brokers: str, redis: str, folder: Path, model: Path, series: int, records: int, timeout: float) -> str:
    """A row of the table."""
    began = time.monotonic()
    topic = Topic(brokers, f"million-{series}", series)
    config = settings(folder, brokers, redis, topic.name, model)
    topic.fill(FILL)
    filled = work(brokers, topic, model, config, FILL * series, timeout)
    print(f"{series:,} series: filled at {FILL * series / filled['seconds']:,.0f} observations/s, {time.monotonic() - began:.0f} s", file=sys.stderr)  # fmt: skip
    topic.scrapes(records // series)
    then = work(brokers, topic, model, config, records, timeout)
    cells = [f"{series:,}", f"{FILL * series / filled['seconds']:,.0f}", f"{records / then['seconds']:,.0f}"]
    for usual, longest in (("checkpoint", "longest"), ("held", "longest_held")):
        cells.append(f"{1e3 * then[usual]:,.0f} ({1e3 * max(filled[longest], then[longest]):,.0f})")
    cells += [f"{then['loaded']:.1f}", f"{then['peak_mib']:,}"]  # fmt: skip
    return f"| {' | '.join(cells)} |"


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--series", type=int, default=1_000_000)
    parser.add_argument("--timeout", type=float, default=900)
    parser.add_argument("--write", type=Path)
    arguments = parser.parse_args()
    lines = [
        "# A million series",
        "",
        f"Written by `benchmarks/end_to_end/million.py`, one run: {machine()}, with the broker and Redis on them. One worker, 16 partitions, a dense autoencoder.",
        "",
        "| series | filling windows, observations/s (compact batches) | windows full, records/s (JSON) | a partition's checkpoint, ms (longest) | of it, scoring of the partition waits, ms (longest) | a restart loads all in, s | worker's memory, MiB |",
        "|---|---|---|---|---|---|---|",
    ]
    with tempfile.TemporaryDirectory() as name, Cluster() as kafka, start_redis(Path(name)) as redis:
        model = Path(name) / "model.safetensors"
        train(model)
        for series in (1_000, arguments.series):
            records = SCRAPES * arguments.series
            lines.append(measured(kafka.bootstrap, redis.url, Path(name), model, series, records, arguments.timeout))
            print(lines[-1], flush=True)
    if arguments.write is not None:
        arguments.write.write_text("\n".join(lines) + "\n")


if __name__ == "__main__":
    main()
