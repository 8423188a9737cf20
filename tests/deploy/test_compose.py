"""docker-compose.yml without an engine: Compose reads it, and its services run with what their definitions give them, no more."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import kafka_fixtures
import pytest
from deploy.containers import Container, Image, Network, missing, tidewatch_image
from jsonschema import Draft201909Validator

from pipeline.settings import load_settings

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
    environment["TIDEWATCH_SPEED"] = "max"  # a day in a second is three minutes
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
        once = name in ("secrets", "topics", "train", "replay")
        assert service["restart"] == ("no" if once else "unless-stopped"), name
        assert once or service["healthcheck"]["test"], name
        for port in service.get("ports", []):
            assert str(port).startswith("127.0.0.1:"), f"{name} is open to the network: {port}"


def test_the_broker_is_the_one_that_the_tests_run(compose: dict[str, Any]) -> None:
    version = re.search(r"kafka_2\.13-([\d.]+)\.jar", (PROJECT / "pipeline/embedded/jars.txt").read_text())
    assert version is not None
    assert compose["services"]["kafka"]["image"] == f"apache/kafka:{version[1]}"


def test_what_is_mounted_exists(compose: dict[str, Any]) -> None:
    for service in compose["services"].values():
        for volume in service.get("volumes", []):
            source = str(volume).split(":")[0]
            assert source in compose["volumes"] or Path(source).exists(), source


def makes_secrets(folder: Path) -> None:
    """What the service `secrets` does, twice: the second time it keeps what is there."""
    for name in ("redis", "metrics"):
        (folder / name).mkdir(exist_ok=True)
    kept = []
    for _ in range(2):
        command = [sys.executable, str(PROJECT / "deploy/compose/make_secrets.py"), str(folder)]
        subprocess.run(command, check=True, timeout=30)
        kept.append({f.name: f.read_text() for f in folder.rglob("*") if f.is_file()})
    assert kept[0] == kept[1]
    assert kept[0].keys() == {"url", "users.acl", "token"}


def test_its_settings_are_settings(compose: dict[str, Any], monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    makes_secrets(tmp_path)
    for name, value in compose["services"]["worker"]["environment"].items():
        monkeypatch.setenv(name, str(value).replace("/secrets/", f"{tmp_path}/"))
    settings = load_settings(PROJECT / "deploy/compose/tidewatch.toml")
    assert settings.kafka.brokers == "kafka:9092"
    assert re.fullmatch(r"redis://tidewatch:[\w-]{43}@redis:6379/0", settings.redis.url.get_secret_value())
    assert [str(stream.model) for stream in settings.streams] == compose["services"]["train"]["command"]
    assert settings.streams[0].input_topic in compose["services"]["replay"]["command"]
    assert len(settings.worker.metrics_token.get_secret_value()) == 43
    assert f":{settings.worker.metrics_port}/" in compose["services"]["worker"]["healthcheck"]["test"][-1]
    prometheus = (PROJECT / "deploy/prometheus/prometheus.yml").read_text()
    assert (
        f"credentials_file: {compose['services']['worker']['environment']['TIDEWATCH_WORKER__METRICS_TOKEN_FILE']}\n"
        in prometheus
    )


FOLDERS_OF_IMAGES = ("/opt/kafka/", "/var/lib/kafka/data", "/dev/null")


def test_each_file_that_a_service_names_is_in_what_it_is_given(compose: dict[str, Any]) -> None:
    for name, service in compose["services"].items():
        mounted = [v.split(":")[1] for v in service.get("volumes", [])] + service.get("tmpfs", [])
        values = [*map(str, (service.get("environment") or {}).values()), *map(str, service.get("command") or [])]
        values += [*(service.get("entrypoint") or []), *service.get("healthcheck", {}).get("test", [])]
        named = [v for v in values if re.match(r"/\w", v) and not v.startswith(FOLDERS_OF_IMAGES)]
        for path in named:
            assert any(f"{path}/".startswith(f"{at}/") or at.startswith(f"{path}/") for at in mounted), (
                f"{name} names {path}"
            )


def test_a_secret_is_where_it_is_needed_and_nowhere_else(compose: dict[str, Any]) -> None:
    holders: dict[str, set[str]] = {}
    for name, service in compose["services"].items():
        for volume in service.get("volumes", []):
            source, _, mode = volume.split(":")
            if source.endswith("-secret"):
                holders.setdefault(source, set()).add(name)
                assert (mode == "rw") == (name == "secrets"), f"{name} may write {source}"
    assert holders == {
        "redis-secret": {"secrets", "redis", "worker"},
        "metrics-secret": {"secrets", "worker", "prometheus"},
    }


def test_the_worker_in_it_may_do_in_redis_what_the_security_page_lists() -> None:
    page = (PROJECT / "docs/security.md").read_text()
    listed = {w for line in page.splitlines() if line.startswith("user tidewatch") for w in line.split() if w[0] == "+"}
    made = (PROJECT / "deploy/compose/make_secrets.py").read_text()
    assert set(re.findall(r"\+[a-z|]+", made)) == listed | {"+config|get", "+time", "+ping"}


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


# The services themselves

KAFKA_DEFAULTS = "log4j2.yaml", "tools-log4j2.yaml", "server.properties"
DEFAULTS, FINAL = "/etc/kafka/docker", "/opt/kafka/config"


def kafka_image() -> Image:
    """apache/kafka: the image's own wrapper turns the variables into server.properties. Its health check's script is a stand-in."""
    try:
        jars = kafka_fixtures.broker.fetch_jars()
    except kafka_fixtures.broker.KafkaUnavailable as error:
        skip_or_fail(str(error))
    java = "java -cp '/opt/kafka/libs/*'"
    wrapper = f"{java} kafka.docker.KafkaDockerWrapper setup -D {DEFAULTS} -M /mnt/shared/config -F {FINAL}"
    ours = tidewatch_image()
    ask = f"#!{ours.environment['PATH'].split(':')[0]}/python\n" + ASK
    parts = {"/opt/kafka/libs": jars, **{k: v for k, v in ours.parts.items() if not k.startswith("/app")}}
    if Path("/etc/java-17-openjdk").is_dir():
        parts["/etc/java-17-openjdk"] = Path("/etc/java-17-openjdk")
    return Image(
        user=1000,
        command=("sh", "-ec", f"{wrapper}; exec {java} $KAFKA_HEAP_OPTS kafka.Kafka {FINAL}/server.properties"),
        folders=("/var/lib/kafka/data", "/mnt/shared/config", FINAL),
        parts=parts,
        scripts={
            "/opt/kafka/bin/kafka-broker-api-versions.sh": ask,
            **{f"{DEFAULTS}/{name}": "" for name in KAFKA_DEFAULTS},
        },
    )


ASK = """import sys
from confluent_kafka.admin import AdminClient
assert sys.argv[1] == "--bootstrap-server"
AdminClient({"bootstrap.servers": sys.argv[2], "log_level": 0}).list_topics(timeout=60)
"""


def redis_image() -> Image:
    if shutil.which("redis-server") is None:
        skip_or_fail("needs redis-server on the PATH (apt install redis-server)")
    return Image(user=999, workdir="/data", folders=("/data",))


class Engine:
    """Starts services in the order of the file, each when what it depends on is healthy, or has ended well."""

    def __init__(self, compose: dict[str, Any], images: dict[str, Image], folder: Path) -> None:
        self.services, self._images, self._folder = compose["services"], images, folder
        self._network = Network(self.services)
        self.running: dict[str, Container] = {}

    def up(self, name: str) -> Container:
        """One service, and before it those it depends on."""
        if name in self.running:
            return self.running[name]
        service = self.services[name]
        for other, how in (service.get("depends_on") or {}).items():
            container = self.up(other)
            if how["condition"] == "service_completed_successfully":
                assert container.wait(400) == 0, f"{other}: {container.output.read_text()}"
            else:
                self.until(container.healthy, other)
        container = Container(service, self._image(name), self._network, self._folder / "volumes", self._folder / name)
        container.start()
        self.running[name] = container
        return container

    def until(self, true: Callable[[], bool], name: str, seconds: float = 240) -> None:
        """Wait for something of a service that runs."""
        end, container = time.monotonic() + seconds, self.running[name]
        while not true():
            if container.returncode is not None or time.monotonic() > end:
                pytest.fail(f"{name} ({container.returncode}): {container.output.read_text()[-3000:]}")
            time.sleep(1)

    def down(self) -> None:
        for container in reversed(self.running.values()):
            if container.returncode is None:
                container.stop(15)
        self._network.close()

    def _image(self, name: str) -> Image:
        repository = self.services[name]["image"].split(":")[0]
        return self._images[repository]


@pytest.fixture
def engine(compose: dict[str, Any], data_dir: Path, tmp_path: Path) -> Iterator[Engine]:
    if why := missing():
        pytest.skip(f"{why}: what can be said without is in the tests above")
    tmp_path.chmod(0o755)
    images = {"tidewatch": tidewatch_image(), "apache/kafka": kafka_image(), "redis": redis_image()}
    # Without a network the data set lies in its volume, as docs/operations.md says.
    held = tmp_path / "volumes/data/tidewatch/data"
    held.mkdir(parents=True)
    shutil.copytree(data_dir / "nab", held / "nab")
    engine = Engine(compose, images, tmp_path)
    yield engine
    engine.down()


@pytest.mark.kafka
@pytest.mark.slow
@pytest.mark.timeout(900)
def test_each_service_does_its_work_with_what_its_definition_gives_it(engine: Engine) -> None:
    """`docker compose up`, as far as it goes without images: secrets, kafka, redis, train, worker, replay."""
    worker = engine.up("worker")
    engine.until(worker.healthy, "worker")
    refused = engine.running["redis"].run(["redis-cli", "get", "tidewatch"])
    assert "NOPERM" in refused.stdout + refused.stderr
    replay = engine.up("replay")
    assert replay.wait(300) == 0, replay.output.read_text()
    assert "10,320 records delivered to taxi.observations" in replay.output.read_text()

    def observed() -> bool:
        return counted(worker, "tidewatch_observations_total") == 10_320

    engine.until(observed, "worker")
    said = worker.run(["tidewatch", "alerts", "--json"])
    assert said.returncode == 0, said.stderr
    assert {json.loads(line)["stream"] for line in said.stdout.splitlines()} == {"taxi"}
    shown = worker.run(["tidewatch", "state", "show", "taxi", "--json"])
    assert shown.returncode == 0, shown.stderr
    assert worker.stop(60) == 0, worker.output.read_text()


def counted(worker: Container, metric: str) -> float:
    code = (
        "import pathlib, urllib.request as r; token = pathlib.Path('/secrets/metrics/token').read_text();"
        "ask = r.Request('http://127.0.0.1:9464/metrics', headers={'Authorization': f'Bearer {token}'});"
        "print(r.urlopen(ask, timeout=60).read().decode())"
    )
    lines = worker.run(["python", "-c", code]).stdout.splitlines()
    return sum(float(line.rsplit(" ", 1)[1]) for line in lines if line.startswith(metric + "{"))
