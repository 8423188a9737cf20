"""What must be right before a worker can work, looked at one by one: settings, device, models, Kafka, topics, Redis.

Each look gives findings, and none stops the next one unless it rests on it. The canary (`pipeline.canary`) goes the whole way.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterator

import numpy as np
import torch

from detectors.base import Detector, DetectorError
from detectors.model import Model
from pipeline import doctor_kafka, doctor_states
from pipeline.errors import TidewatchError
from pipeline.findings import Finding
from pipeline.settings import Settings
from pipeline.stream import Stream, create_stream, load_model

PLANTED = 12.0
"""Scaled units: a value that no detector may take for more normal than the middle."""


def examine(settings: Settings) -> Iterator[Finding]:
    """Look at everything but clocks and canary, in order; changes nothing."""
    names = ", ".join(s.name for s in settings.streams)
    if settings.streams:
        yield Finding("settings", "ok", f"{len(settings.streams)} streams: {names}")
    else:
        yield Finding("settings", "warning", "no stream is configured; add [[streams]] with a name and a model")
    yield _device(settings)
    streams: dict[str, Stream] = {}
    for stream in settings.streams:
        try:
            model = load_model(stream.model)
            streams[stream.name] = create_stream(stream, model)
        except (TidewatchError, DetectorError) as error:
            yield Finding(f"model {stream.name}", "failed", str(error))
            continue
        yield from _model(stream.name, model)
    there = True
    for finding in doctor_kafka.examine(settings):
        there = there and (finding.what, finding.state) != ("kafka", "failed")
        yield finding
    # Without Kafka nothing can be said of what belongs to its topics.
    yield from asyncio.run(doctor_states.examine(settings, streams if there else {}))


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
