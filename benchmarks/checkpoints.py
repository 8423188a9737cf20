"""What a checkpoint writes for the rows that changed, how long it takes to collect, and how fast it is read back, in one run.

    OMP_NUM_THREADS=1 python benchmarks/checkpoints.py [--series 100000] [--write]

A partition whose series are laid out as those of a dense autoencoder's stream; rows hold noise. The baseline is what was done before: whole
pages of 128 rows. The second table is of checkpoints to an embedded Redis: how long one takes, how long its own partition waits (before, as long as it takes), and how
long it holds up the other partitions of a worker at most, beside the same sent in one piece. Each load runs until the whole state has changed four times or 400 checkpoints were made (of single rows 12,288); the second half counts.
"""

from __future__ import annotations

import argparse
import asyncio
import sys
import time
from collections.abc import Callable, Iterator
from datetime import timedelta
from pathlib import Path
from statistics import median
from tempfile import TemporaryDirectory
from typing import Any, NamedTuple
from unittest.mock import patch

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import numpy as np
import structlog
from numpy.typing import NDArray
from pydantic import SecretStr

from benchmarks.judgement.cost import machine
from benchmarks.shapes import models
from pipeline.embedded.servers import start_redis
from pipeline.partition import checkpoints
from pipeline.partition.checkpoints import Checkpoints
from pipeline.partition.stores import connecting
from pipeline.partition.stores.base import Identity
from pipeline.partition.stores.patience import Patience
from pipeline.partition.stores.redis import RedisStore
from pipeline.partition.stream import create_stream
from pipeline.settings import RedisSettings, StreamSettings
from pipeline.steps.state import PAGE, PartitionState
from pipeline.steps.stored.journal import SEGMENTS

PAGE_OF = Path("docs/benchmarks/checkpoints.md")
Load = Callable[[int], NDArray[np.intp]]


class Measured(NamedTuple):
    """Of a load: bytes in multiples of the rows that changed or of the state, times in s, rates in bytes/s."""

    written: float
    pages: float
    largest: float
    journal: float
    collected: float
    longest: float
    pages_collected: float
    read: float
    pages_read: float


def components() -> dict[str, np.dtype[Any]]:
    """As a stream of the cheap recipe lays them out."""
    stream = create_stream(StreamSettings(name="s", model=Path("m"), max_series=1_000), models()["cheap"])
    return stream.core(0).state.components


def loads(series: int) -> Iterator[tuple[str, float, Load]]:
    """Name, share of the rows that change, and which rows the n-th checkpoint finds changed."""
    chance = np.random.default_rng(0)
    order = chance.permutation(series)

    def any_of(share: float) -> Load:
        return lambda _: chance.choice(series, max(int(series * share), 1), replace=False)

    def in_turn(share: float, of: NDArray[np.intp]) -> Load:
        count = max(int(series * share), 1)
        return lambda n: of[np.arange(n * count, (n + 1) * count) % series]

    for share in (0.00002, 0.0005, 0.01, 0.08, 0.3, 1.0):
        yield f"{100 * share:g} %, drawn anew each time", share, any_of(share)
    yield "8 %, each series in its turn, in any order", 0.08, in_turn(0.08, order)
    yield "3.3 %, the same: one observation a minute each, a checkpoint every 2 s", 1 / 30, in_turn(1 / 30, order)
    yield "8 %, always the same ones here and there", 0.08, lambda _: order[: int(series * 0.08)]
    for share in (0.01, 0.08, 0.3):
        yield f"{100 * share:g} %, side by side in turn", share, in_turn(share, np.arange(series))


def filled(layout: dict[str, np.dtype[Any]], series: int) -> PartitionState:
    """All series known and stored, their rows noise."""
    state = PartitionState(layout, max_series=series)
    state.rows_of([f"s{i:07d}" for i in range(series)])
    chance = np.random.default_rng(1)
    for array in state.arrays.values():
        array.view(np.uint8)[:] = chance.integers(0, 256, array.nbytes, np.uint8)
    return state


def measured(layout: dict[str, np.dtype[Any]], series: int, share: float, load: Load) -> Measured:
    """One load on a new partition."""
    state = filled(layout, series)
    stored = state.snapshot()
    state.clean()
    row = state.bytes_per_series
    count = 3 * SEGMENTS if share < 0.001 else min(max(int(4 / share), 6), 400)
    written, plain, changed, times, page_times, beside, most = [], [], [], [], [], dict[str, int](), 0
    for n in range(count):
        rows = load(n)
        state.arrays["windows"][rows] = state.arrays["windows"][rows[::-1]]
        state.touch(rows)
        began = time.process_time()
        packed = [state._pack(p) for p in np.unique(rows // PAGE).tolist()]
        page_times.append(time.process_time() - began)
        plain.append(sum(map(len, packed)))
        del packed
        began = time.process_time()
        fields = state.snapshot()
        times.append(time.process_time() - began)
        state.clean()
        stored |= fields
        beside |= {k: len(v) for k, v in fields.items() if k.startswith("rows:")}
        most = max(most, sum(beside.values()))
        written.append(sum(len(v) for k, v in fields.items() if k.startswith(("page:", "rows:", "journal"))))
        changed.append(len(rows) * row)
    half = slice(count // 2, None)
    whole = series * row
    rate, plain_rate = (reading(layout, series, of, whole) for of in (stored, state.snapshot(everything=True)))
    return Measured(
        sum(written[half]) / sum(changed[half]), sum(plain[half]) / sum(changed[half]), max(written) / whole,
        most / whole,
        median(times[half]), max(times[half]), median(page_times[half]), rate, plain_rate,
    )  # fmt: skip


def reading(layout: dict[str, np.dtype[Any]], series: int, stored: dict[str, bytes], whole: int) -> float:
    """Bytes of state a second, from its fields to arrays; the best of three."""
    times = []
    for _ in range(3):
        state = PartitionState(layout, max_series=series)
        began = time.process_time()
        state.restore(stored)
        times.append(time.process_time() - began)
    return whole / min(times)


async def held_up(layout: dict[str, np.dtype[Any]], series: int, load: Load) -> tuple[float, float, float]:
    """Through Redis, s: how long a checkpoint takes, how long its partition waits, and the longest that anybody else waits for a turn; medians of nine."""
    state, gaps = filled(layout, series), [0.0]
    log = structlog.get_logger().bind()

    async def others() -> None:
        last = time.perf_counter()
        while True:
            await asyncio.sleep(0)
            now = time.perf_counter()
            gaps.append(now - last)
            last = now

    async def always() -> bool:
        return True

    with TemporaryDirectory() as folder, start_redis(Path(folder)) as server:
        store = RedisStore(RedisSettings(url=SecretStr(server.url), timeout=timedelta(minutes=1)))
        patiently = Patience(asyncio.sleep, lambda *_: None, log)
        identity = Identity(cluster_id="c", topic_id="t", stream="s", numerics="cpu", format=4)
        made = Checkpoints(
            store, "s", 0, identity=identity, generation=0, still_owner=always, patiently=patiently, log=log
        )
        await made.load()
        task = asyncio.create_task(others())
        times, own, longest = [], [], []
        for n in range(12):
            if n:
                state.touch(load(n))
            gaps.clear()
            began = time.perf_counter()
            await made.begin(n, state)
            own.append(time.perf_counter() - began)
            await made.end(n, state)
            times.append(time.perf_counter() - began)
            longest.append(max(gaps))
        task.cancel()
        await store.close()
    return median(times[3:]), median(own[3:]), median(longest[3:])


def redis_table(layout: dict[str, np.dtype[Any]], series: int) -> Iterator[str]:
    """Lines of the second table."""
    yield "| rows that change between two checkpoints | takes, ms | its partition waits, ms | holds up others, ms | in one piece: takes, ms | its partition waits, ms | holds up others, ms |"
    yield "|---|---|---|---|---|---|---|"
    for name, _, load in loads(series):
        if name.startswith(("1 %, drawn", "8 %, drawn", "3.3 %", "100 %")):
            parts = asyncio.run(held_up(layout, series, load))
            with patch.object(connecting, "_PORTION", 1 << 60), patch.object(checkpoints, "PORTION", 1 << 60):
                whole = asyncio.run(held_up(layout, series, load))
            yield f"| {name} | " + " | ".join(f"{1e3 * x:,.0f}" for x in (*parts, *whole)) + " |"


def main() -> None:
    """Print a table, and write it where asked to."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--series", type=int, default=100_000)
    parser.add_argument("--write", action="store_true", help=f"write {PAGE_OF}")
    parser.add_argument("--only", default="", help="part of a load's name")
    chosen = parser.parse_args()
    layout = components()
    lines = [
        "# What a checkpoint writes",
        "",
        f"Written by `benchmarks/checkpoints.py`, one run: {machine()}. A partition of {chosen.series:,} series, {sum(d.itemsize for d in layout.values()):,} bytes each. CPU time. Whole pages are what was written before; the journal is what Redis holds beside the pages at most.",
        "",
        "| rows that change between two checkpoints | bytes written / bytes of these rows | whole pages: the same | largest / state | journal / state | collected in, ms (longest) | whole pages: the same | read back, MB/s | whole pages: the same |",
        "|---|---|---|---|---|---|---|---|---|",
    ]
    print("\n".join(lines[4:]))
    for name, share, load in loads(chosen.series):
        if chosen.only not in name:
            continue
        m = measured(layout, chosen.series, share, load)
        lines.append(
            f"| {name} | {m.written:.2f} | {m.pages:.1f} | {m.largest:.2f} | {m.journal:.2f} | {1e3 * m.collected:.1f} ({1e3 * m.longest:.1f}) "
            f"| {1e3 * m.pages_collected:.1f} | {m.read / 1e6:,.0f} | {m.pages_read / 1e6:,.0f} |"
        )
        print(lines[-1], flush=True)
    lines.append("")
    for line in redis_table(layout, chosen.series):
        lines.append(line)
        print(line, flush=True)
    if chosen.write:
        PAGE_OF.write_text("\n".join(lines) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
