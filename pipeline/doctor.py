"""What must be right before a worker can work, looked at one by one: settings, device, models, Kafka, topics, Redis.

Each look gives findings, and none stops the next one unless it rests on it. The canary (`pipeline.canary`) goes the whole way.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import torch

from detectors.base import Detector, DetectorError
from detectors.model import Model
from pipeline import topics
from pipeline.errors import TidewatchError
from pipeline.kafka_clients import connect_admin
from pipeline.settings import Settings
from pipeline.stores.redis import RedisStore
from pipeline.stream import create_stream, load_model

State = Literal["ok", "warning", "failed"]
PLANTED = 12.0
"""Scaled units: a value that no detector may take for more normal than the middle."""


@dataclass(frozen=True)
class Finding:
    """One thing looked at: how it is, and where it is not well, what mends it."""

    what: str
    state: State
    detail: str


def examine(settings: Settings) -> Iterator[Finding]:
    """Look at everything but the canary, in order."""
    names = ", ".join(s.name for s in settings.streams)
    if settings.streams:
        yield Finding("settings", "ok", f"{len(settings.streams)} streams: {names}")
    else:
        yield Finding("settings", "warning", "no stream is configured; add [[streams]] with a name and a model")
    yield _device(settings)
    for stream in settings.streams:
        try:
            model = load_model(stream.model)
            create_stream(stream, model)
        except (TidewatchError, DetectorError) as error:
            yield Finding(f"model {stream.name}", "failed", str(error))
            continue
        yield from _model(stream.name, model)
    kafka_is_there = False
    for finding in _kafka(settings):
        kafka_is_there = kafka_is_there or finding.state == "ok"
        yield finding
    yield from asyncio.run(_redis(settings))


def _device(settings: Settings) -> Finding:
    wanted, gpu = settings.worker.device, torch.cuda.is_available()
    if wanted.startswith("cuda") and not gpu:
        return Finding("device", "failed", f"worker.device is {wanted}, but torch sees no GPU; use auto or cpu")
    used = torch.cuda.get_device_name() if gpu and wanted != "cpu" else "cpu"
    return Finding("device", "ok", f"{used}, torch {torch.__version__}")


def _model(name: str, model: Model) -> Iterator[Finding]:
    known = f"{len(model.training_rows)} trained series, hash {model.hash[:12]}"
    yield Finding(f"model {name}", "ok", f"{model.kind}, {model.detector_name}, window {model.window}, {known}")
    for detector in model.detectors:
        if not detector.supervised and not planted_scores_higher(detector):
            told = f"{detector.name} scores a planted anomaly no higher than a normal window: train the model again"
            yield Finding(f"model {name}", "failed", told)


def planted_scores_higher(detector: Detector) -> bool:
    """Whether a value far outside scores higher than one in the middle: an inverted score cannot hide."""
    config = detector.config
    windows = np.zeros((2, config.window, detector.width), np.float32)
    windows[1, -1, : config.channels] = PLANTED
    raw = detector.score(windows).raw
    return bool(raw[1] > raw[0])


def _kafka(settings: Settings) -> Iterator[Finding]:
    kafka = settings.kafka
    try:
        admin = connect_admin(kafka)
        brokers = len(admin.list_topics(timeout=kafka.request_timeout.total_seconds()).brokers)
        cluster = topics.cluster_id(admin, kafka)
    except TidewatchError as error:
        yield Finding("kafka", "failed", str(error))
        return
    if kafka.replication > brokers:
        told = (
            f"kafka.replication is {kafka.replication}, but there are {brokers} brokers; new topics cannot be created"
        )
        yield Finding("kafka", "failed", told)
    else:
        yield Finding("kafka", "ok", f"{kafka.brokers}: {brokers} brokers, cluster {cluster}")
    plans = topics.plan(settings.streams)
    try:
        facts = topics.describe(admin, kafka, [p.name for p in plans]) if plans else {}
    except TidewatchError as error:
        yield Finding("topics", "failed", str(error))
        return
    missing = [p.name for p in plans if p.name not in facts]
    if missing:
        yield Finding(
            "topics", "warning", f"missing: {', '.join(missing)}; `tidewatch topics create` makes them, a worker too"
        )
    elif plans:
        yield Finding("topics", "ok", ", ".join(f"{f.name} ({f.partitions})" for f in facts.values()))


async def _redis(settings: Settings) -> list[Finding]:
    store = RedisStore(settings.redis)
    try:
        info = await store.info()
        findings = [_redis_itself(info)]
        held = {s.name: await store.partitions(s.name) for s in settings.streams}
        findings += [Finding(f"state {n}", "ok", f"checkpoints of {len(p)} partitions") for n, p in held.items() if p]
    except TidewatchError as error:
        return [Finding("redis", "failed", str(error))]
    finally:
        await store.close()
    return findings


def _redis_itself(info: dict[str, Any]) -> Finding:
    policy = info.get("maxmemory_policy")
    if policy not in (None, "noeviction"):
        told = f"maxmemory-policy is {policy}: under pressure Redis would delete states; set it to noeviction"
        return Finding("redis", "failed", told)
    used = f"{info.get('used_memory_human', '?')} used of {info.get('maxmemory_human') or 'no limit'}"
    version = f"version {info.get('redis_version', '?')}"
    if policy is None:
        return Finding(
            "redis", "warning", f"{version}; this user may not see maxmemory-policy: make sure it is noeviction"
        )
    if not int(info.get("aof_enabled", 0)):
        told = f"{version}, noeviction, {used}; no append-only file: after its restart workers write their states anew"
        return Finding("redis", "warning", told)
    return Finding("redis", "ok", f"{version}, noeviction, {used}")
