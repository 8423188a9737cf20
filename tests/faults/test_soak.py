"""A worker at a steady rate for minutes, or an hour: memory, lag and file descriptors stay flat."""

from __future__ import annotations

import os
import subprocess
import sys
import time

import numpy as np
import psutil
import pytest
from faults.guarantee import FOLDER, Guarantee
from faults.world import ROOT, World

MINUTES = float(os.environ.get("TIDEWATCH_SOAK_MINUTES", "3"))
"""`make soak` says 60."""
RATE = 1_000
EVERY = 2.0
STEEPEST = 3.0
"""MiB a minute. A worker that kept its fetches in memory until the garbage collector came, as one did, has 4.6."""

pytestmark = [pytest.mark.kafka, pytest.mark.faults, pytest.mark.slow, pytest.mark.timeout(300 + MINUTES * 90)]

SOAK = Guarantee(
    "60-soak",
    f"soak: {MINUTES:g} minutes at a steady rate",
    "memory, lag and file descriptors flat",
    f"`tidewatch replay nab --loop --rate {RATE}` (17 series), one worker, looked at every {EVERY:.0f} s; the first third does not count",
)


def test_memory_lag_and_descriptors_stay_flat(world: World) -> None:
    worker = world.start(checkpoint_every="2s")
    world.wait_for(lambda: len(worker.events("partition opened")) == 4, "all partitions")
    options = [
        "--series",
        "realAWSCloudwatch/*",
        "--topic",
        world.topic,
        "--brokers",
        world.brokers,
        "--rate",
        str(RATE),
        "--loop",
    ]
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    with (world.folder / "replay.log").open("wb") as log:
        replay = subprocess.Popen(
            [sys.executable, "-m", "pipeline", "replay", "nab", *options], stdout=log, stderr=log, env=environment
        )
    try:
        figures = _watch(world, psutil.Process(worker.process.pid), MINUTES * 60)
    finally:
        replay.kill()
        replay.wait()
    end = time.monotonic()
    world.fed = 1  # something was sent
    world.wait_for(world.settled, "all records in the store")
    assert worker.stop() == 0
    FOLDER.mkdir(parents=True, exist_ok=True)
    np.savetxt(FOLDER / "soak.csv", figures, "%.1f", ",", header="second,MiB,file descriptors,lag in records")
    seconds, memory, descriptors, lag = figures[len(figures) // 3 :].T
    half = len(memory) // 2
    # What leaks does so in both halves; a larger batch than any before, after the machine was busy, is one step.
    slope = min(float(np.polyfit(seconds[h] / 60, memory[h], 1)[0]) for h in (slice(half), slice(half, None)))
    records = sum(world.ends().values())
    caught_up = time.monotonic() - end
    assert np.median(memory[half:]) < 1.05 * np.median(memory[:half])
    assert slope < STEEPEST
    # A descriptor that leaks at each checkpoint is thirty a minute; a pool of connections may open one more.
    assert np.median(descriptors[half:]) <= np.median(descriptors[:half]) + 2
    assert np.median(lag[half:]) <= max(2 * np.median(lag[:half]), 5 * RATE)
    assert caught_up < 60
    SOAK.held(
        f"{records:,} records in {seconds[-1]:.0f} s; memory {memory.mean():.0f} MiB, slope {slope:+.2f} MiB a minute; "
        f"{descriptors.min():.0f} to {descriptors.max():.0f} file descriptors; lag {np.median(lag):,.0f} records (median), "
        f"{lag.max():,.0f} at most"
    )


def _watch(world: World, process: psutil.Process, seconds: float) -> np.ndarray:
    """Rows of second, MiB, file descriptors, records between the log's ends and the checkpoints."""
    began, rows = time.monotonic(), []
    while (now := time.monotonic() - began) < seconds:
        lag = sum(world.ends().values()) - sum(world.checkpointed().values())
        rows.append((now, process.memory_info().rss / 2**20, process.num_fds(), lag))
        time.sleep(EVERY)
    return np.array(rows)
