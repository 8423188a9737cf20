"""deploy/kubernetes without a cluster: Kubernetes' schemas accept it, and its parts and the settings agree with each other."""

from __future__ import annotations

import copy
import re
from pathlib import Path
from typing import Any

import kubernetes_validate
import pytest
import yaml

from pipeline.settings import Settings, load_settings

FOLDER = Path(__file__).parents[2] / "deploy/kubernetes"
VERSION = "1.31"
KEDA = "keda.sh/v1alpha1"
BY_HAND = {"redis-url": "redis://:secret@redis:6379/0", "kafka-username": "tidewatch", "kafka-password": "secret"}
"""What kustomization.yaml tells the operator to put into the secret, the token aside."""


def documents(name: str) -> list[dict[str, Any]]:
    return list(yaml.safe_load_all((FOLDER / name).read_text()))


KUSTOMIZATION = documents("kustomization.yaml")[0]
OBJECTS = {(o["kind"], o["metadata"]["name"]): o for name in KUSTOMIZATION["resources"] for o in documents(name)}
WORKER = OBJECTS["StatefulSet", "tidewatch-worker"]
POD = WORKER["spec"]["template"]["spec"]
CONTAINER = POD["containers"][0]


@pytest.fixture
def settings(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Settings:
    """What a worker in the pod reads: the settings file, and the environment with its secrets in files."""
    for key, value in {**BY_HAND, "metrics-token": "0" * 48}.items():
        (tmp_path / key).write_text(value)
    for variable in CONTAINER["env"]:
        value = variable.get("value", "tidewatch-worker-0")
        monkeypatch.setenv(variable["name"], value.replace("/secrets/", f"{tmp_path}/"))
    return load_settings(FOLDER / "tidewatch.toml")


@pytest.mark.parametrize("at", [k for k, o in OBJECTS.items() if o["apiVersion"] != KEDA], ids="-".join)
def test_kubernetes_would_accept_it(at: tuple[str, str]) -> None:
    kubernetes_validate.validate(OBJECTS[at], VERSION, strict=True)
    broken = copy.deepcopy(OBJECTS[at])
    broken["spec"]["surely no such field"] = 1
    with pytest.raises(kubernetes_validate.ValidationError):
        kubernetes_validate.validate(broken, VERSION, strict=True)


def test_every_file_is_part_of_it() -> None:
    generated = [f for g in KUSTOMIZATION["configMapGenerator"] for f in g["files"]]
    assert sorted([*KUSTOMIZATION["resources"], *generated, "kustomization.yaml"]) == sorted(
        f.name for f in FOLDER.iterdir()
    )
    assert [i["name"] for i in KUSTOMIZATION["images"]] == [CONTAINER["image"]]


def test_what_the_pod_mounts_and_reads_is_there(settings: Settings) -> None:
    volumes = {v["name"]: v for v in POD["volumes"]}
    mounts = {m["name"]: m["mountPath"] for m in CONTAINER["volumeMounts"]}
    assert volumes.keys() == mounts.keys()
    assert volumes["settings"]["configMap"]["name"] in {g["name"] for g in KUSTOMIZATION["configMapGenerator"]}
    image = (FOLDER.parent / "Dockerfile").read_text()
    assert f"TIDEWATCH_CONFIG={mounts['settings']}/tidewatch.toml" in image
    assert f"--uid {POD['securityContext']['runAsUser']} " in image
    assert all(str(stream.model).startswith("/models/") for stream in settings.streams)
    told = set(re.findall(r"--from-literal=([\w-]+)=", (FOLDER / "kustomization.yaml").read_text()))
    read = {v["value"].removeprefix("/secrets/") for v in CONTAINER["env"] if v["name"].endswith("_FILE")}
    keda = {p["key"] for p in OBJECTS["TriggerAuthentication", "tidewatch-kafka"]["spec"]["secretTargetRef"]}
    assert told == BY_HAND.keys() | {"metrics-token"} == read | keda


def test_a_pod_that_comes_back_is_the_same_member_of_the_group(settings: Settings) -> None:
    assert settings.worker.instance_id == "tidewatch-worker-0"
    assert settings.kafka.sasl_password.get_secret_value() == BY_HAND["kafka-password"]
    assert settings.redis.url.get_secret_value() == BY_HAND["redis-url"]
    assert POD["terminationGracePeriodSeconds"] > 10


def test_it_is_asked_for_its_health_where_it_answers(settings: Settings) -> None:
    ports = {p["name"]: p["containerPort"] for p in CONTAINER["ports"]}
    assert ports == {"metrics": settings.worker.metrics_port}
    assert CONTAINER["readinessProbe"]["httpGet"] == {"path": "/healthz", "port": "metrics"}
    assert CONTAINER.keys().isdisjoint({"livenessProbe", "startupProbe"})  # worker.yaml says why


def test_keda_counts_the_lag_of_this_group_on_its_topic_and_never_asks_for_an_idle_worker(settings: Settings) -> None:
    scaled = OBJECTS["ScaledObject", "tidewatch-worker"]["spec"]
    trigger = scaled["triggers"][0]["metadata"]
    assert trigger["bootstrapServers"] == settings.kafka.brokers
    assert trigger["consumerGroup"] == settings.worker.group
    assert trigger["topic"] == settings.streams[0].input_topic
    assert scaled["maxReplicaCount"] == settings.kafka.partitions
    assert scaled["scaleTargetRef"] == {k: WORKER[k] for k in ("apiVersion", "kind")} | {
        "name": WORKER["metadata"]["name"]
    }
    assert "replicas" not in WORKER["spec"]


def test_the_network_lets_through_what_a_worker_needs(settings: Settings) -> None:
    policy = OBJECTS["NetworkPolicy", "tidewatch-worker"]["spec"]
    out = {p["port"] for rule in policy["egress"] for p in rule["ports"]}
    redis = int(settings.redis.url.get_secret_value().rsplit(":", 1)[1].split("/")[0])
    assert out == {53, int(settings.kafka.brokers.rsplit(":", 1)[1]), redis}
    assert [p["port"] for rule in policy["ingress"] for p in rule["ports"]] == [settings.worker.metrics_port]
