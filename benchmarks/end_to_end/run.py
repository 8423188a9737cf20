"""Observations per second through Apache Kafka for the whole job, against named baselines in the same run.

    python benchmarks/end_to_end/run.py [--records 1000000] [--latency-seconds 20] [--write docs/benchmarks/end_to_end.md]

1,000,000 records of 1,000 series in 4 partitions, one worker process. The job: JSON decode, windows of 48, autoencoder
48-32-8-32-48, calibration, threshold, alerts out, checkpoints to Redis; and once more with the product's default (a judgement beside
LSTM, TCN and autoencoder) in its place. `contenders.py` holds the baselines (a) plain agent,
(b) take(), (c) hand-written loop, (d) reading alone; the slow ones get fewer records. Then the latency from produce to alert
with the default at 10,000 observations a second, and the same with `relay.py` in the worker's place, (e): what
the clients and the broker take. `--device cuda` is for the worker alone.

Where the milliseconds from produce to alert go (medians on two busy cores with the broker, worker and broker first in line; all of them 12.1, of the relay 5.6):

    5.6   produce to records in the worker's hand: 2 of linger and 0.5 of the burst are the producer's; a fetch costs aiokafka 1 of CPU, and
          there are two in 10 ms, as the first brings what came first, of one partition mostly (of the relay some 4)
    0.4   record batches become columns
    1.1   to the event loop, through Faust, and what another partition's batch takes before
    2.9   four partitions' batches of 25 records: windows, one pass of all, judgement; 0.4 each where the caches are warm, some 700 calls of Python
    1.5   the alert to the subscriber (as of the relay); no checkpoint, transaction or acknowledgement is waited for

Threads share Python's lock, so it is the sum of their CPU time that counts: of a core the event loop takes 0.6 then, Kafka's thread 0.25; the interval at which they
take turns changes nothing.

Absolute times are noise on shared machines: quote the ratios.
"""

from __future__ import annotations

import argparse
import json
import math
import os
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path
from typing import Any

import numpy as np
from confluent_kafka import Consumer, Producer, TopicPartition
from confluent_kafka.admin import AdminClient, NewTopic

HERE = Path(__file__).parent
sys.path.insert(0, str(HERE.parents[1] / "deploy" / "kafka"))
from broker import Cluster  # noqa: E402

from detectors.calibration import create  # noqa: E402
from detectors.model_file import save  # noqa: E402
from detectors.recipes import METRIC  # noqa: E402
from detectors.training import all_rows, train_metric  # noqa: E402
from pipeline.embedded.servers import start_redis  # noqa: E402

PARTITIONS, SERIES, STEP_MS = 4, 1000, 60_000
START_MS = 1_700_000_000_000


def values(series: int, steps: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """A wave of 60 steps with noise, every series with its own phase; in units that the contenders need not scale."""
    wave = np.sin(2 * math.pi * (steps / 60 + series / SERIES))
    return wave + rng.normal(0, 0.1, len(steps))


def history() -> dict[str, tuple[np.ndarray, np.ndarray]]:
    """2,000 rows of 20 of the series, from before the topic begins."""
    rng = np.random.default_rng(0)
    steps = np.arange(2000)
    return {
        f"s{i:04d}": (START_MS - (2000 - steps) * STEP_MS, values(i, steps - 2000, rng)[:, None])
        for i in range(0, SERIES, 50)
    }


def train(path: Path) -> float:
    """The model all contenders share; returns the limit of the raw score for the simple ones."""
    series = history()
    member = ("autoencoder", {"window": 48, "layers": (32, 8, 32)})
    model = train_metric(series, [member], create("empirical"), seed=0)
    save(model, path)
    rest = np.lib.stride_tricks.sliding_window_view(series["s0000"][1][:, 0], 48)
    return 1.5 * float(model.detectors[0].score(rest[:, :, None]).raw.max())


def send(producer: Producer, *message: Any, **where: Any) -> None:
    """Hand a message to a producer; waits where its queue is full."""
    while True:
        try:
            producer.produce(*message, **where)
            return
        except BufferError:
            producer.poll(0.1)


def produce(brokers: str, topic: str, records: int) -> dict[int, int]:
    """Write the records, in event time; returns each partition's end offset."""
    admin = AdminClient({"bootstrap.servers": brokers})
    for future in admin.create_topics([NewTopic(topic, PARTITIONS, 1), NewTopic("bench.out", 1, 1)]).values():
        future.result(30)
    producer = Producer(
        {
            "bootstrap.servers": brokers, "linger.ms": 20, "batch.size": 1 << 20, "partitioner": "murmur2_random",
            "queue.buffering.max.messages": 2_000_000, "enable.idempotence": True,
        }
    )  # fmt: skip
    rng = np.random.default_rng(1)
    per_series = -(-records // SERIES)
    table = np.stack([values(s, np.arange(per_series), rng) for s in range(SERIES)])
    spikes = rng.random(table.shape) < 2e-5
    table[spikes] += 6
    names = [f"s{s:04d}" for s in range(SERIES)]
    sent = 0
    for step in range(per_series):
        at = START_MS + step * STEP_MS
        for s in range(SERIES):
            if sent == records:
                break
            body = f'{{"series":"{names[s]}","timestamp":{at},"value":{table[s, step]:.4f}}}'
            send(producer, topic, body.encode(), names[s].encode())
            sent += 1
        producer.poll(0)
    producer.flush(60)
    reader = Consumer({"bootstrap.servers": brokers, "group.id": "ends"})
    ends = {p: reader.get_watermark_offsets(TopicPartition(topic, p), timeout=10)[1] for p in range(PARTITIONS)}
    reader.close()
    assert sum(ends.values()) == records, ends
    return ends


def settings_file(folder: Path, brokers: str, redis: str, topic: str, model: Path, group: str, device: str) -> Path:
    """A tidewatch.toml for one stream on this topic, of a name of its own: what was decided about a name holds for whoever comes next."""
    path = folder / f"{group}.toml"
    path.write_text(f"""
[kafka]
brokers = "{brokers}"
partitions = {PARTITIONS}
[redis]
url = "{redis}"
prefix = "{group}"
[worker]
group = "{group}"
device = "{device}"
log_level = "warning"
[[streams]]
name = "{group}"
topic = "{topic}"
model = "{model}"
alert_topic = "{group}.alerts"
""")
    return path


def contend(name: str, args: argparse.Namespace, where: dict[str, Any], records: int) -> dict[str, Any]:
    """Run one contender; returns its JSON line with `rate`."""
    job, model = ("tidewatch", where["default"]) if name == "default" else (name, where["model"])
    command = [
        sys.executable, str(HERE / "contenders.py"), job, "--brokers", where["brokers"], "--topic", where["topic"],
        "--out-topic", "bench.out", "--model", str(model), "--records", str(records), "--ends", json.dumps(where["ends"]),
        "--limit", str(where["limit"]),
    ]  # fmt: skip
    path = os.pathsep.join([str(HERE.parents[1]), *filter(None, [os.environ.get("PYTHONPATH")])])
    env = os.environ | {"OMP_NUM_THREADS": "1", "PYTHONPATH": path}
    if job == "tidewatch":
        group = f"bench-{time.time_ns()}"
        place = where["folder"], where["brokers"], where["redis"], where["topic"]
        config = settings_file(*place, model, group, args.device)
        env["TIDEWATCH_CONFIG"] = str(config)
    done = subprocess.run(command, capture_output=True, text=True, timeout=args.timeout, env=env, check=False)
    lines = [line for line in done.stdout.splitlines() if line.startswith("{")]
    if not lines:
        sys.exit(f"{name} gave no figure (exit {done.returncode}):\n{done.stdout[-2000:]}\n{done.stderr[-4000:]}")
    figure = json.loads(lines[-1])
    figure["rate"] = figure["records"] / figure["seconds"]
    return figure


def latency(args: argparse.Namespace, where: dict[str, Any], job: str) -> dict[str, float]:
    """Produce 10,000 observations a second with spikes; milliseconds from produce to the alert in a subscriber's hand, by the worker or the bare relay."""
    topic, group = f"bench.latency.{job}", f"latency-{time.time_ns()}"
    admin = AdminClient({"bootstrap.servers": where["brokers"]})
    topics = [NewTopic(topic, PARTITIONS, 1), NewTopic(f"{group}.alerts", 1, 1)]
    for future in admin.create_topics(topics).values():
        future.result(30)
    place = where["folder"], where["brokers"], where["redis"], topic
    config = settings_file(*place, where["default"], group, args.device)
    env = os.environ | {"OMP_NUM_THREADS": "1", "TIDEWATCH_CONFIG": str(config)}
    commands = {
        "worker": ["-m", "pipeline", "worker"],
        "relay": [str(HERE / "relay.py"), where["brokers"], topic, f"{group}.alerts", group],
    }
    process = subprocess.Popen([sys.executable, *commands[job]], env=env, cwd=HERE.parents[1])
    produced: dict[tuple[str, int], float] = {}
    delays: list[float] = []
    stop = threading.Event()
    listener = threading.Thread(target=listen, args=(where["brokers"], f"{group}.alerts", produced, delays, stop))
    listener.start()
    try:
        send_steadily(where["brokers"], topic, group, produced, args)
        time.sleep(2)
    finally:
        stop.set()
        listener.join()
        process.terminate()
        process.wait(20)
    if len(delays) < 20:
        sys.exit(f"only {len(delays)} alerts of {len(produced)} spikes came back: no latency to speak of")
    ordered = sorted(delays)
    return {
        "alerts": len(ordered),
        "spikes": len(produced),
        "p50": statistics.median(ordered),
        "p99": ordered[math.ceil(0.99 * len(ordered)) - 1],
        "max": ordered[-1],
    }


def listen(
    brokers: str, topic: str, produced: dict[tuple[str, int], float], delays: list[float], stop: threading.Event
) -> None:
    """Until it is to stop: of each spike whose alert comes, how many milliseconds after it was produced."""
    client = Consumer(
        {"bootstrap.servers": brokers, "group.id": f"{topic}-listener", "auto.offset.reset": "earliest", "fetch.wait.max.ms": 10}
    )  # fmt: skip
    client.subscribe([topic])
    while not stop.is_set():
        message = client.poll(0.1)
        if message is None or message.error():
            continue
        now, alert = time.perf_counter(), json.loads(message.value())
        at = int(np.datetime64(alert["starts_at"].rstrip("Z"), "ms").astype(int))
        sent = produced.get((alert["series"], at))
        if sent is not None and alert["status"] == "firing" and alert["sequence"] == 0:
            delays.append((now - sent) * 1000)
    client.close()


def send_steadily(
    brokers: str, topic: str, group: str, produced: dict[tuple[str, int], float], args: argparse.Namespace
) -> None:
    """What warms up, and behind it 100 records each 10 ms; when each spike was produced."""
    producer = Producer(
        {
            "bootstrap.servers": brokers, "linger.ms": 2, "queue.buffering.max.messages": 2_000_000,
            "partitioner": "murmur2_random", "enable.idempotence": True,
        }
    )  # fmt: skip
    rng = np.random.default_rng(2)
    names = [f"s{s:04d}" for s in range(SERIES)]
    warm = 400  # steps of every series before the clock counts: windows full, unknown series calibrated
    total = warm + args.latency_seconds * 10
    table = np.stack([values(s, np.arange(total), rng) for s in range(SERIES)])
    begin = time.perf_counter()
    for step in range(total):
        at = START_MS + step * STEP_MS
        if step == warm:
            producer.flush(30)
            wait_until_read(brokers, topic, group, warm * SERIES, args.timeout)
            begin = time.perf_counter()
        for s in range(SERIES):
            spike = step >= warm + 20 and rng.random() < 2e-3
            body = f'{{"series":"{names[s]}","timestamp":{at},"value":{table[s, step] + 8 * spike:.4f}}}'
            if spike:
                produced[names[s], at] = time.perf_counter()
            producer.produce(topic, body.encode(), names[s].encode())
            if s % 100 == 99:
                producer.poll(0)
                if step >= warm:
                    due = begin + ((step - warm) * SERIES + s + 1) / 10_000
                    time.sleep(max(0.0, due - time.perf_counter()))
    producer.flush(30)


def wait_until_read(brokers: str, topic: str, group: str, records: int, timeout: float) -> None:
    """Until the group's committed offsets cover `records`."""
    reader = Consumer({"bootstrap.servers": brokers, "group.id": group})
    deadline = time.monotonic() + timeout
    try:
        while time.monotonic() < deadline:
            committed = reader.committed([TopicPartition(topic, p) for p in range(PARTITIONS)], timeout=10)
            if sum(max(c.offset, 0) for c in committed) >= records:
                return
            time.sleep(0.2)
    finally:
        reader.close()
    sys.exit(f"the worker did not get through {records} records in {timeout:.0f} s")


def table(figures: dict[str, dict[str, Any]], delay: dict[str, dict[str, float]] | None) -> str:
    """The result as Markdown."""
    what = {
        "agent": "(a) plain Faust agent, one window at a time",
        "take": "(b) `take(1000, within=0.05)`",
        "handwritten": "(c) hand-written loop: decode, window, score, send",
        "read": "(d) reading alone (aiokafka `getmany`)",
        "tidewatch": "**Tidewatch**, the whole job",
        "default": "**Tidewatch** with its default: judgement, LSTM, TCN, autoencoder",
    }
    ours = figures["tidewatch"]["rate"]
    rows = ["| | records | records/s | Tidewatch is | peak memory |", "|---|---:|---:|---:|---:|"]
    for name, text in what.items():
        f = figures[name]
        ratio = "" if name in ("tidewatch", "default") else f"{ours / f['rate']:.2f} x"
        rows.append(f"| {text} | {f['records']:,} | {f['rate']:,.0f} | {ratio} | {f['peak_mib']} MiB |")
    if delay:
        ours, bare = delay["worker"], delay["relay"]
        rows += [
            "",
            (
                f"Produce to alert at 10,000 observations/s with the default: p50 {ours['p50']:.1f} ms, p99 {ours['p99']:.1f} ms, "
                f"longest {ours['max']:.1f} ms ({ours['alerts']} alerts of {ours['spikes']} planted spikes). "
                f"(e) A bare relay in the worker's place, librdkafka to librdkafka: p50 {bare['p50']:.1f} ms, p99 {bare['p99']:.1f} ms; "
                f"Tidewatch takes {ours['p50'] / bare['p50']:.2f} x and {ours['p99'] / bare['p99']:.2f} x as long."
            ),
        ]
    return "\n".join(rows)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--records", type=int, default=1_000_000)
    parser.add_argument("--latency-seconds", type=int, default=20, help="0: leave latency out")
    parser.add_argument("--timeout", type=float, default=300)
    parser.add_argument("--only", nargs="*", help="these contenders only, for profiling")
    parser.add_argument("--device", default="cpu", help="of the worker: cpu or cuda")
    parser.add_argument("--write", type=Path, help="write the table to this Markdown file")
    args = parser.parse_args()
    sizes = {"read": 1.0, "handwritten": 1.0, "tidewatch": 1.0, "default": 1.0, "take": 0.06, "agent": 0.03}
    with tempfile.TemporaryDirectory() as name, Cluster() as kafka, start_redis(Path(name)) as redis:
        folder = Path(name)
        where: dict[str, Any] = {"brokers": kafka.bootstrap, "redis": redis.url, "topic": "bench.in", "folder": folder}
        where["model"] = folder / "model.safetensors"
        where["limit"] = train(where["model"])
        where["default"] = folder / "default.safetensors"
        save(METRIC.train_metric(history(), training_rows=all_rows), where["default"])
        print(f"producing {args.records:,} records", file=sys.stderr)
        where["ends"] = produce(where["brokers"], where["topic"], args.records)
        figures = {}
        for contender, share in sizes.items():
            if args.only and contender not in args.only:
                continue
            figures[contender] = contend(contender, args, where, max(1000, int(args.records * share)))
            print(f"{contender:12} {figures[contender]['rate']:>12,.0f} records/s", file=sys.stderr)
        delay = {job: latency(args, where, job) for job in ("relay", "worker")} if args.latency_seconds else None
    if args.only:
        print(json.dumps({"figures": figures, "latency": delay}, indent=1))
        return
    text = table(figures, delay)
    print(text)
    if args.write:
        args.write.parent.mkdir(parents=True, exist_ok=True)
        args.write.write_text(f"<!-- written by benchmarks/end_to_end/run.py -->\n\n{text}\n")


if __name__ == "__main__":
    main()
