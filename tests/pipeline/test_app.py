"""The worker as a process: real Kafka, real Redis, a trained model; what goes in, what comes out, how it ends."""

from __future__ import annotations

import json
import logging
import os
import re
import signal
import socket
import subprocess
import sys
import time
import uuid
from collections.abc import Callable, Iterator
from contextlib import ExitStack, suppress
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from types import SimpleNamespace
from typing import Any
from urllib.error import HTTPError, URLError
from urllib.request import urlopen

import numpy as np
import pytest
from confluent_kafka import Consumer, Producer
from confluent_kafka.admin import AdminClient, NewTopic
from recording_life import committed

from detectors.calibration import create
from detectors.model_file import save
from detectors.training import train_metric
from pipeline.app import Seldom, _prompt, run_worker
from pipeline.embedded.servers import start_redis, start_tansu
from pipeline.errors import BrokerError, ModelError, SettingsError, StoreError
from pipeline.settings import Settings, WorkerSettings

ROOT = Path(__file__).parents[2]
START, STEP = 1_700_000_000_000, 60_000


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A rolling z-score of one quiet series."""
    path = tmp_path_factory.mktemp("model") / "quiet.model"
    times = START + STEP * np.arange(-1000, 0)
    noise = np.random.default_rng(0).normal(10, 1, (1000, 1))
    trained = train_metric({"quiet": (times, noise)}, [("zscore", {"window": 24})], create("empirical"))
    save(trained, path)
    return path


@pytest.fixture(scope="module")
def redis_url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    with start_redis(tmp_path_factory.mktemp("redis")) as server:
        yield f"redis://127.0.0.1:{server.port}/0"


@dataclass
class World:
    """A stream of its own on the shared servers, and worker processes for it."""

    folder: Path
    kafka: str
    redis: str
    model: Path
    name: str
    running: ExitStack

    def start(self, **environment: str) -> subprocess.Popen[str]:
        settings = {
            "TIDEWATCH_KAFKA__BROKERS": self.kafka, "TIDEWATCH_KAFKA__PARTITIONS": "2", "TIDEWATCH_REDIS__URL": self.redis,
            "TIDEWATCH_REDIS__PREFIX": self.name, "TIDEWATCH_WORKER__GROUP": self.name,
            "TIDEWATCH_WORKER__SESSION_TIMEOUT": "6s", "TIDEWATCH_WORKER__CHECKPOINT_EVERY": "500ms",
            "TIDEWATCH_STREAMS": json.dumps([{
                "name": self.name, "model": str(self.model), "alert_topic": f"{self.name}.alerts", "probation": 50, "alerts": {"quiet": "0s"}, "threshold": {"level": 4.0},
            }]),
        }  # fmt: skip
        process = subprocess.Popen(
            [sys.executable, "-m", "pipeline", "worker"], stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True,
            env={**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1", **settings, **environment}, cwd=self.folder,
        )  # fmt: skip
        self.running.callback(process.wait)
        self.running.callback(process.kill)
        return process

    def send(self, *values: bytes, key: bytes = b"quiet") -> None:
        producer = Producer({"bootstrap.servers": self.kafka, "log_level": 0, "partitioner": "murmur2_random"})
        for value in values:
            producer.produce(f"{self.name}.observations", value, key)
        assert producer.flush(20) == 0

    def create_topic(self) -> None:
        admin = AdminClient({"bootstrap.servers": self.kafka, "log_level": 0})
        name = f"{self.name}.observations"
        admin.create_topics([NewTopic(name, 2, 1)])[name].result(20)

    def read(self, topic: str, count: int) -> list[bytes]:
        consumer = Consumer(
            {
                "bootstrap.servers": self.kafka,
                "log_level": 0,
                "group.id": uuid.uuid4().hex,
                "auto.offset.reset": "earliest",
            }
        )
        consumer.subscribe([f"{self.name}.{topic}"])
        end, got = time.monotonic() + 60, []
        while len(got) < count and time.monotonic() < end:
            message = consumer.poll(1.0)
            if message is not None and message.error() is None:
                got.append(message.value() or b"")
        consumer.close()
        return got


@pytest.fixture
def world(kafka: str, redis_url: str, model: Path, tmp_path: Path) -> Iterator[World]:
    with ExitStack() as running:
        yield World(tmp_path, kafka, redis_url, model, f"s{uuid.uuid4().hex[:8]}", running)


@pytest.fixture
def world_on_tansu(redis_url: str, model: Path, tmp_path: Path) -> Iterator[World]:
    with ExitStack() as running:
        tansu = running.enter_context(start_tansu(tmp_path))
        yield World(tmp_path, tansu.address, redis_url, model, f"s{uuid.uuid4().hex[:8]}", running)


def observations(start: int, stop: int, *, spike: int = -1) -> list[bytes]:
    noise = np.random.default_rng(1).normal(10, 1, stop)
    noise[spike if spike >= 0 else []] = 60.0
    return [
        b'{"series":"quiet","timestamp":%d,"value":%.4f}' % (START + STEP * i, noise[i]) for i in range(start, stop)
    ]


STOPS_WITHIN = 30.0
"""Seconds for an orderly stop. Promised are 10, where the machine has time for it."""


def ended(process: subprocess.Popen[str], within: float = 60) -> tuple[int, str]:
    _, errors = process.communicate(timeout=within)
    return process.returncode, errors


def wait_for(true: Callable[[], object], process: subprocess.Popen[str]) -> None:
    end = time.monotonic() + 60
    while not true():
        if process.poll() is not None or time.monotonic() > end:
            process.kill()
            pytest.fail(f"worker: {ended(process)[1]}")
        time.sleep(0.1)


def test_a_broker_that_is_away_is_told_once_a_minute() -> None:
    now = 0.0
    seldom = Seldom(60, lambda: now)

    def passes(name: str, text: str) -> bool:
        return seldom.filter(logging.makeLogRecord({"name": name, "msg": text}))

    assert passes("aiokafka.conn", "away from %s")
    assert not passes("aiokafka.conn", "away from %s")
    assert passes("aiokafka", "something else")
    assert passes("pipeline.partition.loop", "ours")
    assert passes("pipeline.partition.loop", "ours")
    now = 61.0
    assert passes("aiokafka.conn", "away from %s")


@pytest.mark.kafka
@pytest.mark.slow
def test_observations_become_alerts_and_a_second_worker_goes_on_where_the_first_stopped(world: World) -> None:
    world.create_topic()
    world.send(*observations(0, 200, spike=150), b"no observation", b"")
    first = world.start()
    (alert, *_) = [json.loads(value) for value in world.read("alerts", 1)]
    assert (alert["series"], alert["status"], alert["observed"]) == ("quiet", "firing", [60.0])
    letters = world.read("observations.dlq", 2)
    assert len(letters) == 2
    wait_for(lambda: _total(world) == 202, first)
    first.terminate()
    code, errors = ended(first, within=STOPS_WITHIN)
    assert code == 0, errors
    assert "Traceback" not in errors
    world.send(*observations(200, 260, spike=230))
    second = world.start()
    wait_for(lambda: _total(world) == 262, second)
    second.send_signal(signal.SIGINT)
    code, errors = ended(second)
    assert code == 0, errors
    alerts = [json.loads(value) for value in world.read("alerts", 4)]
    assert [(a["status"], a["observed"]) for a in alerts if a["status"] == "firing"] == [("firing", [60.0])] * 2
    assert len({a["id"] for a in alerts}) == 2


@pytest.mark.embedded
@pytest.mark.slow
def test_on_tansu_too_a_worker_goes_on_where_it_stopped_though_the_log_is_said_to_end_before(
    world_on_tansu: World,
) -> None:
    world = world_on_tansu
    world.create_topic()
    world.send(*observations(0, 200))  # Tansu says that the log ends after the first record of the last batch
    first = world.start()
    wait_for(lambda: _total(world) == 200, first)
    first.terminate()
    assert ended(first)[0] == 0
    second = world.start()  # before anything else comes
    assert second.stderr is not None
    told = [""]
    while not ("partition opened" in told[-1] and "offset=200" in told[-1]):
        told.append(second.stderr.readline())
        assert told[-1], "".join(told)
    world.send(*observations(200, 260))
    wait_for(lambda: _total(world) == 260, second)
    second.terminate()
    code, errors = ended(second)
    assert code == 0, errors


def _total(world: World) -> int:
    return sum(committed(world.kafka, world.name, f"{world.name}.observations", p) or 0 for p in (0, 1))


@pytest.mark.kafka
@pytest.mark.slow
def test_a_missing_broker_is_one_line_and_exit_code_2(world: World) -> None:
    process = world.start(TIDEWATCH_KAFKA__BROKERS="127.0.0.1:1", TIDEWATCH_KAFKA__REQUEST_TIMEOUT="1s")
    code, errors = ended(process)
    assert code == 2, errors
    (told,) = errors.strip().splitlines()
    assert told.startswith("error: Kafka at 127.0.0.1:1 does not answer")


@pytest.mark.kafka
@pytest.mark.parametrize(
    ("changes", "error", "line"),
    [
        ({"redis": {"url": "redis://127.0.0.1:1/0"}}, StoreError, "127.0.0.1:1"),
        ({"streams": []}, SettingsError, "no stream is configured"),
        ({"streams": [{"name": "x", "model": "/nowhere"}]}, ModelError, "model file /nowhere"),
        ({"worker": {"device": "cuda:7"}}, SettingsError, "worker.device is cuda:7"),
        (
            {},
            BrokerError,
            r"Kafka has no topic x\w+\.observations( \(did you mean .*\?\))?; .*`tidewatch topics create`",
        ),
    ],
)
def test_whatever_is_missing_is_told_before_work_starts(
    kafka: str,
    redis_url: str,
    model: Path,
    new_topic: Callable[..., str],
    changes: dict[str, Any],
    error: type[Exception],
    line: str,
) -> None:
    topic = {"topic": new_topic()} if "redis" in changes else {}
    settings = {
        "kafka": {"brokers": kafka, **changes.get("kafka", {})},
        "redis": {"url": redis_url, **changes.get("redis", {})},
        "worker": changes.get("worker", {}),
        "streams": changes.get("streams", [{"name": f"x{uuid.uuid4().hex[:6]}", "model": str(model)} | topic]),
    }
    with pytest.raises(error, match=line):
        run_worker(Settings(**settings))


@pytest.mark.kafka
def test_a_worker_creates_only_what_it_writes_to(
    kafka: str, redis_url: str, model: Path, new_topic: Callable[..., str]
) -> None:
    topic, name = new_topic(), f"x{uuid.uuid4().hex[:6]}"
    admin = AdminClient({"bootstrap.servers": kafka, "log_level": 0})

    def run(**stream: str) -> str:
        table = {"name": name, "model": str(model), "alert_topic": f"{name}.alerts", **stream}
        with pytest.raises(BrokerError) as caught:
            run_worker(Settings(kafka={"brokers": kafka, "replication": 5}, redis={"url": redis_url}, streams=[table]))
        return str(caught.value)

    assert f"no topic {topic[:-1]} (did you mean {topic}?)" in run(topic=topic[:-1])
    assert not {t for t in admin.list_topics(timeout=10).topics if t.startswith((name, f"{topic[:-1]}."))}
    assert "create topic" in run(topic=topic)  # its own, refused for the five replicas


@pytest.mark.kafka
def test_records_without_keys_degrade_the_workers_health_with_the_mend(world: World) -> None:
    world.create_topic()
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    left_to_others = {
        "TIDEWATCH_INTAKE": json.dumps([{"stream": world.name, "topics": ["raw"]}]), "TIDEWATCH_WORKER__INTAKE": "false",
    }  # fmt: skip
    worker = world.start(TIDEWATCH_WORKER__METRICS_PORT=str(port), **left_to_others)
    producer = Producer({"bootstrap.servers": world.kafka, "log_level": 0})
    for i in range(400):  # as Telegraf without a routing tag: each series now here, now there
        value = b'{"series":"s%d","timestamp":%d,"value":1}' % (i % 20, START + STEP * i)
        producer.produce(f"{world.name}.observations", value, partition=(i + i // 20) % 2)
    assert producer.flush(20) == 0
    end, health = time.monotonic() + 60, b""
    while b"their records have no key" not in health and time.monotonic() < end and worker.poll() is None:
        time.sleep(0.2)
        with suppress(URLError, ConnectionError):
            try:
                urlopen(f"http://127.0.0.1:{port}/healthz", timeout=5)
            except HTTPError as error:
                health = error.read()
    assert b"degraded" in health
    assert b"routing_tag" in health
    metrics = urlopen(f"http://127.0.0.1:{port}/metrics", timeout=5).read().decode()
    away = re.findall(r"tidewatch_series_away_ratio\{.*\} (\S+)", metrics)
    assert max(map(float, away)) > 0.1
    assert "tidewatch_intake" not in metrics
    assert worker.stderr is not None
    assert any("series not at home" in line for line in worker.stderr)  # it is told within a second or two
    worker.terminate()
    _, errors = worker.communicate(timeout=30)
    assert worker.returncode == 0, errors
    assert "series not at home" not in errors


@pytest.mark.kafka
@pytest.mark.slow
def test_a_worker_runs_the_intakes_of_its_settings_and_alerts_come_of_raw_topics_without_keys(
    world: World, new_topic: Callable[..., str]
) -> None:
    raw = new_topic(2)
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    intakes = [{"stream": world.name, "topics": [raw]}, {"stream": world.name, "name": "lost", "topics": [f"{raw}-no"]}]
    worker = world.start(TIDEWATCH_INTAKE=json.dumps(intakes), TIDEWATCH_WORKER__METRICS_PORT=str(port))
    producer = Producer({"bootstrap.servers": world.kafka, "log_level": 0})
    for i, value in enumerate([*observations(0, 200, spike=150), b"no observation"]):  # now here, now there
        producer.produce(raw, value, partition=i % 2)
    assert producer.flush(20) == 0
    (alert, *_) = [json.loads(value) for value in world.read("alerts", 1)]
    assert (alert["series"], alert["status"], alert["observed"]) == ("quiet", "firing", [60.0])

    def metric(name: str) -> float:
        text = urlopen(f"http://127.0.0.1:{port}/metrics", timeout=5).read().decode()
        found = re.findall(rf"^tidewatch_intake_{name}\{{intake=\"{world.name}\".*\}} (\S+)", text, re.MULTILINE)
        return sum(map(float, found))

    def intake_committed() -> int:
        group = f"{world.name}.intake.{world.name}"
        return sum(committed(world.kafka, group, raw, p) or 0 for p in (0, 1))

    wait_for(lambda: intake_committed() == 201, worker)
    wait_for(lambda: metric("lag_records") == 0, worker)
    assert [metric(n) for n in ("records_total", "observations_total", "dead_letters_total", "sources", "failing")] == [201, 200, 1, 2, 0]  # fmt: skip
    with pytest.raises(HTTPError) as degraded:  # the one whose topic there is not is said to fail, and all else goes on
        urlopen(f"http://127.0.0.1:{port}/healthz", timeout=5)
    assert f"intake lost: Kafka has no topic {raw}-no" in degraded.value.read().decode()
    world.send(*observations(200, 260, spike=230))
    wait_for(lambda: len(world.read("alerts", 3)) == 3, worker)
    worker.terminate()
    code, errors = ended(worker, within=STOPS_WITHIN)
    assert code == 0, errors
    assert "intake stopped" in errors
    assert "intake failed; streams go on" in errors
    assert "no commit" not in errors
    assert "Traceback" not in errors


def test_an_intake_does_not_feed_a_model_that_cannot_take_it(tmp_path: Path) -> None:
    two = tmp_path / "two.model"
    times = START + STEP * np.arange(-1000, 0)
    noise = np.random.default_rng(0).normal(10, 1, (1000, 2))
    save(train_metric({"quiet": (times, noise)}, [("zscore", {"window": 24})], create("empirical")), two)
    settings = Settings(streams=[{"name": "x", "model": str(two)}], intake=[{"stream": "x", "topics": ["raw"]}])
    with pytest.raises(
        SettingsError, match=r"intake x brings metrics of one channel, and the model of stream x takes 2"
    ):
        run_worker(settings)


@pytest.mark.parametrize(
    ("cluster", "asked", "given"),
    [("embedded-0123", 20, 4), ("embedded-0123", 2, 2), ("4L6g3nShT-eMCtK--X86sw", 20, 20)],
)
def test_where_a_join_takes_half_a_session_the_session_is_short(cluster: str, asked: int, given: int) -> None:
    settings = Settings(worker=WorkerSettings(session_timeout=timedelta(seconds=asked)))
    identity = SimpleNamespace(cluster_id=cluster)
    assert _prompt(settings, [identity]).worker.session_timeout == timedelta(seconds=given)  # type: ignore[list-item]
