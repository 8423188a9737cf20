"""What must be right before a worker can work, looked at one by one: settings, device, models, Kafka, topics, Redis.

Each look gives findings, and none stops the next one unless it rests on it. The canary (`pipeline.operations.doctor.canary`) goes the whole way.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta

import numpy as np

from detectors.base import Detector, DetectorError
from detectors.model import Model
from pipeline.errors import TidewatchError
from pipeline.operations.doctor import homes, intakes, kafka, states
from pipeline.operations.doctor.findings import Finding, counted
from pipeline.partition.stream import Stream, create_stream, load_model
from pipeline.registry import registry_of
from pipeline.settings import Settings
from producers.errors import RegistryError

PLANTED = 12.0
"""Scaled units: a value that no detector may take for more normal than the middle."""


KAFKA_LIMIT, REDIS_LIMIT = timedelta(seconds=5), timedelta(seconds=3)
"""How long one answer is waited for (the registry's as Redis'), where the settings would wait longer: who asks a doctor sits there."""


def impatient(settings: Settings) -> Settings:
    """The settings with the doctor's limits in time."""
    kafka, redis, registry = settings.kafka, settings.redis, settings.registry
    return settings.model_copy(
        update={
            "kafka": kafka.model_copy(update={"request_timeout": min(kafka.request_timeout, KAFKA_LIMIT)}),
            "redis": redis.model_copy(update={"timeout": min(redis.timeout, REDIS_LIMIT)}),
            "registry": registry.model_copy(update={"timeout": min(registry.timeout, REDIS_LIMIT)}),
        }
    )


def examine(settings: Settings, looking: Callable[[str], None] = lambda what: None) -> Iterator[Finding]:
    """Look at everything but clocks and canary, in order; changes nothing. Kafka is asked while models are loaded.

    Parameters
    ----------
    looking
        Told what is looked at next, which may take a while.
    """
    settings = impatient(settings)
    with ThreadPoolExecutor(1, thread_name_prefix="doctor") as aside:
        asked = aside.submit(lambda: list(kafka.examine(settings)))
        streams: dict[str, Stream] = {}
        yield from _settings_and_models(settings, streams, looking)
        looking(f"Kafka at {settings.kafka.brokers} (each answer at most {settings.kafka.request_timeout.seconds} s)")
        found = asked.result()
    yield from found
    yield from _registry(settings)
    there = not any((f.what, f.state) == ("kafka", "failed") for f in found)
    if there and streams:
        looking("the newest records of each input topic")
        yield from homes.examine(settings, streams)
    if there:
        yield from intakes.examine(settings, {name: stream.model for name, stream in streams.items()})
    looking(f"Redis, and what it holds (each answer at most {settings.redis.timeout.seconds} s)")
    # Without Kafka nothing can be said of what belongs to its topics.
    yield from asyncio.run(states.examine(settings, streams if there else {}))


def _settings_and_models(
    settings: Settings, streams: dict[str, Stream], looking: Callable[[str], None]
) -> Iterator[Finding]:
    """Settings, device and models; the streams whose model could be loaded are put into `streams`."""
    names = ", ".join(s.name for s in settings.streams)
    if settings.streams:
        yield Finding("settings", "ok", f"{counted(len(settings.streams), 'stream')}: {names}")
    else:
        yield Finding("settings", "warning", "no stream is configured; add [[streams]] with a name and a model")
    yield _device(settings)
    for stream in settings.streams:
        looking(f"model {stream.model}")
        try:
            model = load_model(stream.model)
            streams[stream.name] = create_stream(stream, model)
        except (TidewatchError, DetectorError) as error:
            yield Finding(f"model {stream.name}", "failed", str(error))
            continue
        yield from _model(stream.name, model)


def _registry(settings: Settings) -> Iterator[Finding]:
    """Whether the schema registry answers, where one is set; asked for schema 1, which it need not know."""
    registry = registry_of(settings.registry)
    if registry is None:
        return
    try:
        registry.fetch_now([1])
    except RegistryError as error:
        yield Finding("schema registry", "failed", str(error))
    else:
        yield Finding("schema registry", "ok", f"{registry.name} answers")


def _device(settings: Settings) -> Finding:
    import torch  # two seconds, of this question alone

    wanted, gpu = settings.worker.device, torch.cuda.is_available()
    if wanted.startswith("cuda") and not gpu:
        return Finding("device", "failed", f"worker.device is {wanted}, but torch sees no GPU; use auto or cpu")
    used = torch.cuda.get_device_name() if gpu and wanted != "cpu" else "cpu"
    whose = " for models that gain by it, else cpu" if gpu and wanted == "auto" else ""
    return Finding("device", "ok", f"{used}{whose}, torch {torch.__version__}")


def _model(name: str, model: Model) -> Iterator[Finding]:
    known = f"{len(model.training_rows)} trained series, hash {model.hash[:12]}"
    gains = ", gains by a GPU" if model.gains_by_gpu else ""
    yield Finding(f"model {name}", "ok", f"{model.kind}, {model.detector_name}, window {model.window}, {known}{gains}")
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
