"""docker-compose.yml without an engine: Compose reads it, and its commands run by hand with its environment, hosts replaced."""

from __future__ import annotations

import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time
import urllib.request
import uuid
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest
from confluent_kafka import Consumer
from jsonschema import Draft201909Validator
from redis import Redis

from detectors.calibration import create
from detectors.model_file import save
from detectors.training import train_metric
from pipeline.embedded import free_port
from pipeline.settings import load_settings
from producers.datasets import open_dataset

PROJECT = Path(__file__).parents[2]
# Debian's docker-compose brings the specification's schema, and a Python that reads YAML.
SCHEMA = Path("/usr/lib/python3/dist-packages/compose/config/compose_spec.json")
SYSTEM_PYTHON = Path("/usr/bin/python3")


def skip_or_fail(missing: str) -> None:
    if os.environ.get("CI") == "true":
        pytest.fail(missing, pytrace=False)
    pytest.skip(missing)


def yaml_as_json(text: str) -> Any:
    code = "import json, sys, yaml; json.dump(yaml.safe_load(sys.stdin), sys.stdout)"
    return json.loads(
        subprocess.run([SYSTEM_PYTHON, "-c", code], input=text, capture_output=True, text=True, check=True).stdout
    )


@pytest.fixture(scope="module")
def compose() -> dict[str, Any]:
    """The file as Compose understands it: anchors merged, variables filled in."""
    program = shutil.which("docker-compose")
    if program is None or not SCHEMA.is_file():
        skip_or_fail("needs Debian's docker-compose (apt install docker-compose)")
    environment = {k: v for k, v in os.environ.items() if not k.startswith(("TIDEWATCH_", "COMPOSE_"))}
    done = subprocess.run(
        [str(program), "-f", "docker-compose.yml", "config"],
        cwd=PROJECT,
        env=environment,
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    assert not done.stderr.strip()
    read: dict[str, Any] = yaml_as_json(done.stdout)
    return read


def test_it_follows_the_compose_specification(compose: dict[str, Any]) -> None:
    schema = Draft201909Validator(json.loads(SCHEMA.read_text()))
    written = yaml_as_json((PROJECT / "docker-compose.yml").read_text())
    assert [e.message for e in schema.iter_errors(written)] == []
    assert [e.message for e in schema.iter_errors(compose)] == []
    wrong = {"services": {"redis": {"image": 5}}}
    assert not schema.is_valid(wrong)


def test_every_service_is_pinned_bounded_and_says_whether_it_restarts(compose: dict[str, Any]) -> None:
    services = compose["services"]
    assert {"kafka", "redis", "train", "worker", "replay"} <= services.keys()
    for name, service in services.items():
        assert re.search(r":v?\d+\.\d+\.\d+", service["image"]), f"{name}: {service['image']} is not pinned"
        assert service["deploy"]["resources"]["limits"].keys() == {"cpus", "memory"}, name
        once = name in ("token", "train", "replay")
        assert service["restart"] == ("no" if once else "unless-stopped"), name
        assert once or service["healthcheck"]["test"], name
        for port in service.get("ports", []):
            assert str(port).startswith("127.0.0.1:"), f"{name} is open to the network: {port}"


def test_the_broker_is_the_one_that_the_tests_run(compose: dict[str, Any]) -> None:
    version = re.search(r"<version>([\d.]+)</version>", (PROJECT / "deploy/kafka/pom.xml").read_text())
    assert version is not None
    assert compose["services"]["kafka"]["image"] == f"apache/kafka:{version[1]}"


def test_what_is_mounted_exists(compose: dict[str, Any]) -> None:
    for service in compose["services"].values():
        for volume in service.get("volumes", []):
            source = str(volume).split(":")[0]
            assert source in compose["volumes"] or Path(source).exists(), source


def test_its_settings_are_settings(compose: dict[str, Any], monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    for name, value in compose["services"]["worker"]["environment"].items():
        monkeypatch.setenv(name, str(value).replace("/secrets/", f"{tmp_path}/"))
    make_token(compose, tmp_path)
    settings = load_settings(PROJECT / "deploy/compose/tidewatch.toml")
    assert (settings.kafka.brokers, settings.redis.url.get_secret_value()) == ("kafka:9092", "redis://redis:6379/0")
    assert [str(stream.model) for stream in settings.streams] == compose["services"]["train"]["command"]
    assert settings.streams[0].input_topic in compose["services"]["replay"]["command"]
    assert len(settings.worker.metrics_token.get_secret_value()) == 43
    assert f":{settings.worker.metrics_port}/" in compose["services"]["worker"]["healthcheck"]["test"][-1]


def test_training_keeps_the_model_that_is_there_and_says_in_one_line_where_there_is_no_data(tmp_path: Path) -> None:
    def train(model: Path, **environment: str) -> subprocess.CompletedProcess[str]:
        command = [sys.executable, str(PROJECT / "deploy/compose/train.py"), str(model)]
        return subprocess.run(command, env={**os.environ, **environment}, capture_output=True, text=True, timeout=60)

    (tmp_path / "there").write_text("a model")
    assert train(tmp_path / "there").returncode == 0
    assert (tmp_path / "there").read_text() == "a model"
    none = {"TIDEWATCH_DATA": str(tmp_path), "XDG_CACHE_HOME": str(tmp_path), "TIDEWATCH_OFFLINE": "1"}
    failed = train(tmp_path / "new", **none)
    assert failed.returncode == 2
    assert len(failed.stderr.strip().splitlines()) == 1
    assert not list(tmp_path.glob("*new*"))


def make_token(compose: dict[str, Any], folder: Path) -> str:
    """What the service `token` does, twice: the second time it keeps what is there."""
    [code] = compose["services"]["token"]["command"]
    for _ in range(2):
        subprocess.run([sys.executable, "-c", code.replace("/secrets/", f"{folder}/")], check=True, timeout=30)
    token = (folder / "metrics-token").read_text()
    assert "credentials_file: /secrets/metrics-token" in (PROJECT / "deploy/prometheus/prometheus.yml").read_text()
    return token


@pytest.fixture
def running() -> Iterator[ExitStack]:
    with ExitStack() as stack:
        yield stack


def start(running: ExitStack, command: list[str], **options: Any) -> subprocess.Popen[str]:
    process = subprocess.Popen(command, text=True, stdin=subprocess.DEVNULL, **options)
    running.callback(process.wait)
    running.callback(process.kill)
    return process


@pytest.mark.kafka
@pytest.mark.slow
def test_worker_and_replay_run_with_its_environment(
    compose: dict[str, Any], kafka: str, data_dir: Path, tmp_path: Path, running: ExitStack
) -> None:
    """Their commands, environment and files as in docker-compose.yml; hosts, ports, folders and names are this test's."""
    services, name = compose["services"], f"c{uuid.uuid4().hex[:8]}"
    redis = redis_as_in(services["redis"], tmp_path, running)
    policy = redis.config_get("maxmemory-policy", "appendonly")
    assert policy == {"maxmemory-policy": "noeviction", "appendonly": "yes"}
    port = free_port()
    redis_url = f"redis://127.0.0.1:{redis.connection_pool.connection_kwargs['port']}/0"
    replaced = {"kafka:9092": kafka, "redis://redis:6379/0": redis_url, "9464": str(port), "0.0.0.0": "127.0.0.1"}
    train_quickly(tmp_path / "taxi.tidewatch")
    token = make_token(compose, tmp_path)
    replaced["/secrets/metrics-token"] = str(tmp_path / "metrics-token")
    settings = (
        (PROJECT / "deploy/compose/tidewatch.toml")
        .read_text()
        .replace("/models/", f"{tmp_path}/")
        .replace("taxi.scores", f"{name}.scores")
    )
    file = tmp_path / "tidewatch.toml"
    file.write_text(
        settings.replace("[[streams]]", f'[[streams]]\nalert_topic = "{name}.alerts"\ntopic = "{name}.observations"')
    )

    def environment(service: str) -> dict[str, str]:
        theirs = {k: replaced.get(str(v), str(v)) for k, v in services[service]["environment"].items()}
        ours = {"TIDEWATCH_CONFIG": str(file), "TIDEWATCH_WORKER__GROUP": name, "TIDEWATCH_DATA": str(data_dir)}
        image = {"TIDEWATCH_WORKER__LOG_FORMAT": "json", "OMP_NUM_THREADS": "1", "PATH": os.environ["PATH"]}
        return {**theirs, **image, **ours, "HOME": str(tmp_path), "XDG_CACHE_HOME": str(tmp_path)}

    def command(service: str) -> list[str]:
        words = [w.replace("taxi.observations", f"{name}.observations") for w in services[service]["command"]]
        return [str(Path(sys.executable).with_name("tidewatch")), *words]

    with (tmp_path / "worker.log").open("w") as log:
        worker = start(running, command("worker"), env=environment("worker"), cwd=tmp_path, stdout=log, stderr=log)
    wait_until(lambda: healthy(port), worker, tmp_path / "worker.log")
    fast = [w if w != "86400x" else "max" for w in command("replay")]
    replay = subprocess.run(fast, env=environment("replay"), cwd=tmp_path, capture_output=True, text=True, timeout=60)
    assert replay.returncode == 0, replay.stderr
    assert f"10,320 records delivered to {name}.observations" in replay.stdout
    wait_until(lambda: counted(port, "tidewatch_observations_total", token) == 10_320, worker, tmp_path / "worker.log")
    assert counted(port, "tidewatch_windows_scored_total", token) > 10_000
    alerts = read_some(kafka, f"{name}.alerts")
    assert {"firing", "resolved"} <= {a["status"] for a in alerts}
    assert {a["stream"] for a in alerts} == {"taxi"}
    worker.send_signal(signal.SIGTERM)
    assert worker.wait(15) == 0, (tmp_path / "worker.log").read_text()
    assert redis.keys("tidewatch*")


def redis_as_in(service: dict[str, Any], folder: Path, running: ExitStack) -> Redis:
    program, *arguments = service["command"]
    if shutil.which(program) is None:
        skip_or_fail(f"needs {program} on the PATH (apt install redis-server)")
    port = free_port()
    own = ["--port", str(port), "--bind", "127.0.0.1", "--dir", str(folder)]
    server = start(running, [program, *map(str, arguments), *own], stdout=subprocess.DEVNULL)
    client = Redis(port=port, decode_responses=True)
    running.callback(client.close)

    def answers() -> bool:
        try:
            return bool(client.ping())
        except OSError:
            return False
        except Exception as error:  # redis's own error while it is not up
            return "onnect" not in str(error)

    wait_until(answers, server)
    return client


def train_quickly(path: Path) -> None:
    """Not the LSTM that `train` makes (40 s): a rolling z-score of the same stream."""
    [(name, series)] = open_dataset("taxi").series().items()
    save(
        train_metric({name: (series.timestamps, series.values)}, [("zscore", {"window": 48})], create("empirical")),
        path,
    )


def healthy(port: int) -> bool:
    try:
        with urllib.request.urlopen(f"http://127.0.0.1:{port}/healthz", timeout=3) as answer:
            return bool(answer.status == 200)
    except OSError:
        return False


def counted(port: int, metric: str, token: str) -> float:
    ask = urllib.request.Request(f"http://127.0.0.1:{port}/metrics", headers={"Authorization": f"Bearer {token}"})
    with urllib.request.urlopen(ask, timeout=3) as answer:
        lines = answer.read().decode().splitlines()
    return sum(float(line.rsplit(" ", 1)[1]) for line in lines if line.startswith(metric + "{"))


def read_some(kafka: str, topic: str) -> list[dict[str, Any]]:
    consumer = Consumer({"bootstrap.servers": kafka, "group.id": uuid.uuid4().hex, "auto.offset.reset": "earliest"})
    consumer.subscribe([topic])
    found: list[dict[str, Any]] = []
    end = time.monotonic() + 30
    while time.monotonic() < end and not {"firing", "resolved"} <= {a["status"] for a in found}:
        found += [json.loads(m.value() or b"{}") for m in consumer.consume(100, timeout=1.0) if m.error() is None]
    consumer.close()
    return found


def wait_until(true: Any, process: subprocess.Popen[str], log: Path | None = None) -> None:
    end = time.monotonic() + 60
    while not true():
        if process.poll() is not None or time.monotonic() > end:
            pytest.fail(f"{process.args!r}: {log.read_text() if log else process.returncode}")
        time.sleep(0.1)
