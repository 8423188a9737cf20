"""The programs that `end_to_end.py` runs one after the other, each in a process of its own.

All do the same job on the same topic with the same weights: JSON decode, windows of 48, autoencoder 48-32-8-32-48, an alert
message where the score is high. Each prints one JSON line: records, seconds from the first record in hand to the last
one done, peak memory. Only `tidewatch` also calibrates, thresholds, keeps alert lives and writes checkpoints.

    agent       plain Faust agent, one window at a time
    take        Faust agent over `take(1000, within=0.05)`, one forward pass per 1,000
    handwritten a loop over aiokafka's getmany that does nothing but decode, window, score, send
    read        aiokafka's getmany alone
    tidewatch   `tidewatch worker`
"""

from __future__ import annotations

import argparse
import asyncio
import json
import resource
import sys
import time
import uuid
from pathlib import Path
from statistics import median
from typing import Any

import msgspec
import numpy as np

import detectors  # noqa: F401  # before torch: it sets how MKL sums

# isort: split
import torch

from pipeline.process_memory import calm_collector

T = 48


class Observation(msgspec.Struct, gc=False):
    series: str
    timestamp: int
    value: float


class Autoencoder:
    """The weights of the model file, run by hand in tiles."""

    def __init__(self, model_file: str) -> None:
        from detectors.model_file import load

        self.detector = load(Path(model_file)).detectors[0]

    def __call__(self, windows: np.ndarray) -> np.ndarray:
        return self.detector.score(windows[:, :, None]).raw


def report(name: str, records: int, seconds: float, **more: Any) -> None:
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    print(
        json.dumps({"name": name, "records": records, "seconds": seconds, "peak_mib": round(peak), **more}), flush=True
    )


def consumer(args: argparse.Namespace) -> Any:
    from aiokafka import AIOKafkaConsumer

    return AIOKafkaConsumer(
        args.topic,
        bootstrap_servers=args.brokers,
        group_id=f"bench-{uuid.uuid4().hex[:8]}",
        auto_offset_reset="earliest",
        enable_auto_commit=False,
        max_partition_fetch_bytes=4 << 20,
    )


async def read(args: argparse.Namespace) -> None:
    client = consumer(args)
    await client.start()
    try:
        done, started = 0, 0.0
        while done < args.records:
            batches = await client.getmany(timeout_ms=1000)
            started = started or time.perf_counter()
            done += sum(map(len, batches.values()))
        report("read", done, time.perf_counter() - started)
    finally:
        await client.stop()


class Partition:
    """Windows of one partition, the shortest vectorised way."""

    def __init__(self) -> None:
        self.rows: dict[str, int] = {}
        self.history = np.zeros((1024, T - 1), np.float64)
        self.filled = np.zeros(1024, np.int64)

    def push(self, values: list[bytes]) -> tuple[list[str], np.ndarray, np.ndarray]:
        """Series, windows (B, T) and which observation each belongs to."""
        decoded = _decode(b"\n".join(values))
        names = [o.series for o in decoded]
        for name in names:
            if name not in self.rows:
                self.rows[name] = len(self.rows)
        rows = np.fromiter(map(self.rows.__getitem__, names), np.intp, len(names))
        numbers = np.fromiter((o.value for o in decoded), np.float64, len(names))
        order = np.argsort(rows, kind="stable")
        touched, first, counts = np.unique(rows[order], return_index=True, return_counts=True)
        block = counts + T - 1
        starts = np.cumsum(block) - block
        packed = np.empty(int(block.sum()))
        packed[(starts[:, None] + np.arange(T - 1)).ravel()] = self.history[touched].ravel()
        within = np.arange(len(order)) - np.repeat(first, counts)
        packed[np.repeat(starts + T - 1, counts) + within] = numbers[order]
        begin = np.repeat(starts, counts) + within
        full = np.repeat(self.filled[touched], counts) + within >= T - 1
        windows = np.lib.stride_tricks.sliding_window_view(packed, T)[begin[full]].astype(np.float32)
        self.history[touched] = packed[(starts + counts)[:, None] + np.arange(T - 1)]
        self.filled[touched] += counts
        return names, windows, order[full]


_decode = msgspec.json.Decoder(Observation).decode_lines
_encode = msgspec.json.Encoder().encode


async def handwritten(args: argparse.Namespace) -> None:
    from aiokafka import AIOKafkaProducer

    score = Autoencoder(args.model)
    client = consumer(args)
    producer = AIOKafkaProducer(bootstrap_servers=args.brokers, acks="all", enable_idempotence=True)
    await client.start()
    await producer.start()
    partitions: dict[Any, Partition] = {}
    loop = asyncio.get_running_loop()
    try:
        done, started, alerts, sent = 0, 0.0, 0, []
        while done < args.records:
            batches = await client.getmany(timeout_ms=1000)
            started = started or time.perf_counter()
            for tp, records in batches.items():
                names, windows, index = partitions.setdefault(tp, Partition()).push([r.value for r in records])
                raw = await loop.run_in_executor(None, score, windows)
                for i in np.flatnonzero(raw > args.limit):
                    body = _encode({"series": names[index[i]], "score": float(raw[i])})
                    sent.append(await producer.send(args.out_topic, body))
                    alerts += 1
                done += len(records)
        await asyncio.gather(*sent)
        report("handwritten", done, time.perf_counter() - started, alerts=alerts)
    finally:
        await client.stop()
        await producer.stop()


def faust_app(args: argparse.Namespace) -> Any:
    import faust

    return faust.App(
        f"bench-{uuid.uuid4().hex[:8]}",
        broker=f"kafka://{args.brokers}",
        store="memory://",
        web_enabled=False,
        topic_disable_leader=True,
        stream_wait_empty=False,
        consumer_auto_offset_reset="earliest",
        datadir=f"/tmp/tidewatch-bench-{uuid.uuid4().hex[:8]}",
    )


def by_message(args: argparse.Namespace, *, take: bool) -> None:
    import faust

    score = Autoencoder(args.model)
    app = faust_app(args)
    topic = app.topic(args.topic, value_serializer="raw", value_type=bytes)
    out = app.topic(args.out_topic, value_serializer="raw", value_type=bytes)
    decode = msgspec.json.Decoder(Observation).decode
    history: dict[str, list[float]] = {}
    tally = {"done": 0, "started": 0.0, "alerts": 0}

    def window_of(value: bytes) -> tuple[str, list[float] | None]:
        o = decode(value)
        past = history.setdefault(o.series, [])
        past.append(o.value)
        if len(past) < T:
            return o.series, None
        del past[:-T]
        return o.series, list(past)

    async def advance(n: int) -> None:
        tally["done"] += n
        if tally["done"] >= args.records:
            report(
                "take" if take else "agent",
                tally["done"],
                time.perf_counter() - tally["started"],
                alerts=tally["alerts"],
            )
            sys.stdout.flush()
            import os

            os._exit(0)

    async def judge(series: list[str], windows: list[list[float]]) -> None:
        raw = score(np.array(windows, np.float32))
        for i in np.flatnonzero(raw > args.limit):
            await out.send(value=_encode({"series": series[i], "score": float(raw[i])}))
            tally["alerts"] += 1

    if take:

        @app.agent(topic)
        async def batches(stream: Any) -> None:
            async for values in stream.take(1000, within=0.05):
                tally["started"] = tally["started"] or time.perf_counter()
                pairs = [window_of(v) for v in values]
                full = [(s, w) for s, w in pairs if w is not None]
                if full:
                    await judge([s for s, _ in full], [w for _, w in full])
                await advance(len(values))

    else:

        @app.agent(topic)
        async def one_by_one(stream: Any) -> None:
            async for value in stream:
                tally["started"] = tally["started"] or time.perf_counter()
                series, window = window_of(value)
                if window is not None:
                    await judge([series], [window])
                await advance(1)

    faust.Worker(app, loglevel="ERROR", redirect_stdouts=False).execute_from_commandline()


def tidewatch(args: argparse.Namespace) -> None:
    """The real worker; only what the loop loads, its batch and checkpoint are wrapped, to read the clock. Tells too how long loading took (from the
    first partition's begin to the last one's end), how long checkpoints did, and how long they kept their partition from its records."""
    import os

    from pipeline.app import run_worker
    from pipeline.partition.loop import PartitionLoop
    from pipeline.settings import load_settings

    tally: dict[str, Any] = {"started": 0.0, "ends": {}, "checkpoints": [], "held": [0.0], "began": 0.0, "loaded": 0.0}
    plain_batch, plain_checkpoint, plain_assigned, plain_pause, plain_written = (
        PartitionLoop.batch,
        PartitionLoop.checkpoint,
        PartitionLoop.assigned,
        PartitionLoop._pause,
        PartitionLoop._written,
    )

    async def assigned(self: PartitionLoop) -> int | None:
        tally["began"] = tally["began"] or time.perf_counter()
        stored = await plain_assigned(self)
        tally["loaded"] = time.perf_counter() - tally["began"]
        return stored

    async def batch(self: PartitionLoop, records: Any) -> None:
        tally["started"] = tally["started"] or time.perf_counter()
        await plain_batch(self, records)
        # The last record of a partition is only done when a checkpoint covers it; the loop's own may have.
        if self.position >= args.ends[self.partition]:
            await self.checkpoint()

    async def pause(self: PartitionLoop) -> None:
        before, began = (self.checkpoints.under_way, self._checkpointed_at), time.perf_counter()
        await plain_pause(self)
        if before != (self.checkpoints.under_way, self._checkpointed_at):
            tally["held"].append(time.perf_counter() - began)

    def written(self: PartitionLoop, offset: int, size: int, seconds: float) -> None:
        tally["checkpoints"].append(seconds)
        plain_written(self, offset, size, seconds)

    async def checkpoint(self: PartitionLoop) -> int:
        offset = await plain_checkpoint(self)
        tally["ends"][self.partition] = offset
        if all(tally["ends"].get(p, 0) >= end for p, end in args.ends.items()):
            seconds, took = time.perf_counter() - tally["started"], sorted(tally["checkpoints"])
            times = {"checkpoint": took[len(took) // 2], "longest": took[-1], "loaded": tally["loaded"]}
            times |= {"held": median(tally["held"]), "longest_held": max(tally["held"])}
            report("tidewatch", args.records, seconds, **times)
            os._exit(0)
        return offset

    PartitionLoop.batch, PartitionLoop.checkpoint, PartitionLoop.assigned = batch, checkpoint, assigned  # type: ignore[method-assign]
    PartitionLoop._pause, PartitionLoop._written = pause, written  # type: ignore[method-assign]
    run_worker(load_settings())


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("name")
    for option in ("brokers", "topic", "out-topic", "model"):
        parser.add_argument(f"--{option}", required=True)
    parser.add_argument("--records", type=int, required=True)
    parser.add_argument(
        "--limit", type=float, default=0.0, help="raw score over which the simple contenders send an alert"
    )
    parser.add_argument("--ends", default="{}", type=lambda s: {int(p): o for p, o in json.loads(s).items()})
    args = parser.parse_args()
    torch.set_num_threads(1)
    calm_collector()  # what the worker does for itself, for everybody
    if args.name in ("read", "handwritten"):
        asyncio.run({"read": read, "handwritten": handwritten}[args.name](args))
    elif args.name == "tidewatch":
        tidewatch(args)
    else:
        sys.argv = [sys.argv[0], "worker", "--without-web", "-l", "error"]
        by_message(args, take=args.name == "take")


if __name__ == "__main__":
    main()
