"""A stream that an operator's commands are tried on: a real topic, a real Redis, a worker process, and the command line."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
import uuid
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from click.testing import Result
from confluent_kafka import Consumer, KafkaError, KafkaException, Message, Producer, TopicPartition
from confluent_kafka.admin import AdminClient, NewTopic
from typer.testing import CliRunner

from detectors.calibration import create
from detectors.model_file import save
from detectors.training import train_metric
from pipeline.alerts.subscribe import AlertSubscriber
from pipeline.cli import create_cli
from pipeline.errors import TidewatchError
from pipeline.settings import Settings

ROOT = Path(__file__).parents[1]
START, STEP = 1_700_000_000_000, 60_000


def write_model(path: Path) -> Path:
    """A rolling z-score that was trained on the series `quiet`."""
    times = START + STEP * np.arange(-1000, 0)
    noise = np.random.default_rng(0).normal(10, 1, (1000, 1))
    save(train_metric({"quiet": (times, noise)}, [("zscore", {"window": 24})], create("empirical")), path)
    return path


def observations(start: int, stop: int, *spikes: int, series: str = "quiet") -> list[bytes]:
    """Values 10 +- 1 a minute apart, 60 at the spikes."""
    noise = np.random.default_rng(1).normal(10, 1, stop)
    noise[list(spikes)] = 60.0
    return [
        b'{"series":"%s","timestamp":%d,"value":%.4f}' % (series.encode(), START + STEP * i, noise[i])
        for i in range(start, stop)
    ]


@dataclass
class OperatedStream:
    """Stream `name` (topic `<name>.observations`, one partition), with all names its own."""

    folder: Path
    kafka: str
    redis: str
    model: Path
    name: str = field(default_factory=lambda: f"s{uuid.uuid4().hex[:8]}")
    prefix: str = ""
    more: dict[str, str] = field(default_factory=dict)
    """Further settings, by their environment variables."""
    running: ExitStack = field(default_factory=ExitStack)

    @property
    def topic(self) -> str:
        return f"{self.name}.observations"

    @property
    def environment(self) -> dict[str, str]:
        stream = {
            "name": self.name,
            "model": str(self.model),
            "alert_topic": f"{self.name}.alerts",
            "probation": 50,
            "alerts": {"quiet": "0s"},
            "threshold": {"level": 4.0},
        }
        return {
            "TIDEWATCH_KAFKA__BROKERS": self.kafka, "TIDEWATCH_KAFKA__PARTITIONS": "1", "TIDEWATCH_REDIS__URL": self.redis,
            "TIDEWATCH_REDIS__PREFIX": self.prefix or self.name, "TIDEWATCH_WORKER__GROUP": self.name,
            "TIDEWATCH_WORKER__SESSION_TIMEOUT": "6s", "TIDEWATCH_WORKER__CHECKPOINT_EVERY": "200ms",
            "TIDEWATCH_STREAMS": json.dumps([stream]), **self.more,
        }  # fmt: skip

    def run(self, *words: str, answer: str = "", **environment: str) -> Result:
        """A command, in this process."""
        runner = CliRunner(env={**self.environment, **environment})
        return runner.invoke(create_cli(), list(words), input=answer, terminal_width=200)

    def refused(self, *words: str, **environment: str) -> str:
        """The line of a command that must end with an expected error."""
        done = self.run(*words, **environment)
        assert isinstance(done.exception, TidewatchError), (done.output, done.exception)
        return str(done.exception)

    def create_topic(self, partitions: int = 1, **config: str) -> None:
        admin = AdminClient({"bootstrap.servers": self.kafka, "log_level": 0})
        admin.create_topics([NewTopic(self.topic, partitions, 1, config=config)])[self.topic].result(20)

    def delete_topic(self) -> None:
        admin = AdminClient({"bootstrap.servers": self.kafka, "log_level": 0})
        admin.delete_topics([self.topic])[self.topic].result(20)
        while self.topic in admin.list_topics(timeout=20).topics:
            time.sleep(0.1)

    def expire(self, before: int) -> None:
        """Let partition 0 begin at this offset, as retention would."""
        admin = AdminClient({"bootstrap.servers": self.kafka, "log_level": 0})
        for done in admin.delete_records([TopicPartition(self.topic, 0, before)]).values():
            done.result(20)

    def commit(self, topic: str, offset: int) -> None:
        """Give the group an offset in partition 0 of another topic, which is created."""
        admin = AdminClient({"bootstrap.servers": self.kafka, "log_level": 0})
        if topic not in admin.list_topics(timeout=20).topics:
            admin.create_topics([NewTopic(topic, 1, 1)])[topic].result(20)
        consumer = Consumer({"bootstrap.servers": self.kafka, "log_level": 0, "group.id": self.name})
        consumer.commit(offsets=[TopicPartition(topic, 0, offset)], asynchronous=False)
        consumer.close()

    def committed(self, topic: str) -> int:
        consumer = Consumer({"bootstrap.servers": self.kafka, "log_level": 0, "group.id": self.name})
        (found,) = consumer.committed([TopicPartition(topic, 0)], timeout=20)
        consumer.close()
        return int(found.offset)

    def send(self, *values: bytes, key: bytes | None = b"quiet", partition: int = -1) -> None:
        producer = Producer({"bootstrap.servers": self.kafka, "log_level": 0, "partitioner": "murmur2_random"})
        for value in values:
            producer.produce(self.topic, value, key, **({} if partition < 0 else {"partition": partition}))
        assert producer.flush(20) == 0

    def start(self) -> subprocess.Popen[str]:
        process = subprocess.Popen(
            [sys.executable, "-m", "pipeline", "worker"], stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True,
            env={**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1", **self.environment}, cwd=self.folder,
        )  # fmt: skip
        self.running.callback(process.wait)
        self.running.callback(process.kill)
        return process

    def work_until(self, offset: int) -> None:
        """Let a worker come to this offset, and stop it in order."""
        worker = self.start()
        self.wait(lambda: self.offset() == offset, worker)
        self.stop(worker)

    def stop(self, worker: subprocess.Popen[str]) -> str:
        worker.terminate()
        _, errors = worker.communicate(timeout=120)
        assert worker.returncode == 0, errors
        return errors

    def wait(self, true: Callable[[], object], worker: subprocess.Popen[str]) -> None:
        end = time.monotonic() + 240  # a busy machine is slow
        while not true():
            if worker.poll() is not None or time.monotonic() > end:
                worker.kill()
                raise AssertionError(f"worker: {worker.communicate()[1]}")
            time.sleep(0.1)

    def shown(self) -> list[dict[str, Any]]:
        """What `state show --json` says."""
        done = self.run("state", "show", self.name, "--json")
        assert done.exit_code == 0, done.output
        return [json.loads(line) for line in done.stdout.splitlines()]

    def offset(self) -> int | None:
        """The group's committed offset of partition 0; workers commit what is checkpointed."""
        return self.offsets().get(0)

    def offsets(self) -> dict[int, int]:
        consumer = Consumer({"bootstrap.servers": self.kafka, "log_level": 0, "group.id": self.name})
        count = len(consumer.list_topics(self.topic, timeout=20).topics[self.topic].partitions)
        found = consumer.committed([TopicPartition(self.topic, p) for p in range(count)], timeout=20)
        consumer.close()
        return {tp.partition: tp.offset for tp in found if tp.offset >= 0}

    def messages(self, topic: str) -> list[Message]:
        """Everything in a topic, partition by partition."""
        consumer = Consumer({"bootstrap.servers": self.kafka, "log_level": 0, "group.id": uuid.uuid4().hex})
        found: list[Message] = []
        for partition in sorted(consumer.list_topics(topic, timeout=20).topics[topic].partitions):
            first, end = _bounds(consumer, TopicPartition(topic, partition))
            consumer.assign([TopicPartition(topic, partition, first)])
            while first < end:
                message = consumer.poll(90)
                assert message is not None
                assert message.error() is None
                found.append(message)
                first = message.offset() + 1
        consumer.close()
        return found

    def alerts(self) -> list[dict[str, Any]]:
        return [json.loads(m.value() or b"") for m in self.messages(f"{self.name}.alerts")]


class Watched(NamedTuple):
    """A stream that a worker watches, in which an alert fires, and what looks at it."""

    stream: OperatedStream
    worker: subprocess.Popen[str]
    settings: Settings
    subscriber: AlertSubscriber


def _bounds(consumer: Consumer, partition: TopicPartition) -> tuple[int, int]:
    """First offset and end; a topic that was just created has no leader for a moment."""
    until = time.monotonic() + 20
    while True:
        try:
            first, end = consumer.get_watermark_offsets(partition, timeout=20)
        except KafkaException as error:
            if error.args[0].code() != KafkaError.NOT_LEADER_FOR_PARTITION or time.monotonic() > until:
                raise
            time.sleep(0.2)
        else:
            return first, end
