"""Workers as processes that are killed and started again: nothing is lost, nothing counted twice."""

from __future__ import annotations

import json
import os
import random
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest
from confluent_kafka import Producer
from recording_life import committed

pytestmark = [pytest.mark.kafka, pytest.mark.slow]
SCRIPT = Path(__file__).parents[3] / "killable_worker.py"
ROOT = Path(__file__).parents[4]
PARTITIONS = 2


@pytest.fixture
def start(kafka: str, group: str, tmp_path: Path) -> Iterator[Callable[..., subprocess.Popen[bytes]]]:
    """`start(topic, instance="")` starts a worker process; all are gone after the test."""
    with ExitStack() as running:

        def start(topic: str, instance: str = "") -> subprocess.Popen[bytes]:
            environment = {**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
            command = [sys.executable, str(SCRIPT), kafka, group, topic, str(tmp_path), instance]
            with (tmp_path / "output.log").open("ab") as output:
                process = subprocess.Popen(command, stdout=output, stderr=output, env=environment)
            running.callback(process.wait)
            running.callback(process.kill)
            return process

        yield start


def stored(folder: Path, topic: str) -> list[list[str]]:
    files = [folder / f"{topic}-{p}.json" for p in range(PARTITIONS)]
    return [json.loads(f.read_text())["values"] if f.exists() else [] for f in files]


def send(kafka: str, topic: str, start: int, stop: int) -> None:
    producer = Producer({"bootstrap.servers": kafka, "log_level": 0, "enable.idempotence": True})
    for i in range(start, stop):
        for partition in range(PARTITIONS):
            producer.produce(topic, str(i).encode(), partition=partition)
    assert producer.flush(30) == 0


def wait_for(folder: Path, topic: str, count: int, *, timeout: float = 120) -> None:
    end = time.monotonic() + timeout
    while sum(map(len, stored(folder, topic))) < count:
        log = (folder / "output.log").read_text() if (folder / "output.log").exists() else ""
        assert time.monotonic() < end, f"{[len(v) for v in stored(folder, topic)]} of {count}: {log}"
        time.sleep(0.05)


@pytest.mark.parametrize("instance", ["", "a"])
def test_a_worker_that_is_killed_resumes_at_its_checkpoint(
    kafka: str, new_topic: Callable[..., str], group: str, start: Callable[..., subprocess.Popen[bytes]],
    tmp_path: Path, instance: str,
) -> None:  # fmt: skip
    topic, dice = new_topic(partitions=PARTITIONS), random.Random(3)
    sent = 0
    for _ in range(1 if instance else 3):
        process = start(topic, instance)
        send(kafka, topic, sent, sent + 2000)
        sent += 2000
        wait_for(tmp_path, topic, 2 * (sent - 2000) + dice.randrange(200, 2000))
        process.kill()
        process.wait()
    process = start(topic, instance)
    wait_for(tmp_path, topic, 2 * sent)
    process.terminate()
    assert process.wait(60) == 0
    assert stored(tmp_path, topic) == [[str(i) for i in range(sent)]] * PARTITIONS
    assert [committed(kafka, group, topic, p) for p in range(PARTITIONS)] == [sent] * PARTITIONS


def test_the_partitions_of_a_killed_worker_go_to_another(
    kafka: str, new_topic: Callable[..., str], start: Callable[..., subprocess.Popen[bytes]], tmp_path: Path
) -> None:
    topic = new_topic(partitions=PARTITIONS)
    first, second = start(topic), start(topic)
    send(kafka, topic, 0, 2000)
    wait_for(tmp_path, topic, 1000)
    first.kill()
    send(kafka, topic, 2000, 4000)
    wait_for(tmp_path, topic, 8000)
    second.terminate()
    assert second.wait(60) == 0
    assert stored(tmp_path, topic) == [[str(i) for i in range(4000)]] * PARTITIONS
