"""Training of the demo's models, one after the other with a progress bar each, and the settings file for the workers."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from pipeline.demo.streams import DemoStream
from pipeline.settings.reference import as_toml

if TYPE_CHECKING:
    from detectors.base import Detector, Progress
    from detectors.model import Model
    from producers.datasets import Dataset

GROUP = "tidewatch-demo"
ALERT_TOPIC = "tidewatch.alerts"
SESSION_TIMEOUT = "10s"
"""A worker that was killed is started again at once and keeps its partitions (static membership); this bounds the rest."""


@dataclass(frozen=True)
class Step:
    """Progress of one stream's training: of all epochs that there can be, how many are done; 1.0 when it is over."""

    part: float
    what: str


def train(stream: DemoStream, data: Dataset, path: Path, on_step: Callable[[Step], None]) -> Model:
    """Train the stream's model and save it; the model as it was read back, with the file's hash."""
    from detectors.model_file import load, save

    names: list[str] = []
    members = 3  # of each default; the bar is for people

    def on_progress(detector: Detector, progress: Progress) -> None:
        if detector.name not in names:
            names.append(detector.name)
        done = (len(names) - 1 + progress.epoch / progress.epochs) / members
        on_step(Step(min(done, 0.99), f"{detector.name}, epoch {progress.epoch}, loss {progress.train_loss:.4f}"))

    save(stream.train(data, on_progress), path)
    model = load(path)
    on_step(Step(1.0, f"{model.detector_name}, {len(model.training_rows)} series"))
    return model


def score_topic(stream: DemoStream) -> str:
    """Where the stream's scores are published; switched on for the report."""
    return f"{stream.name}.scores"


def write_settings(
    path: Path, brokers: str, redis: str, models: Mapping[str, Path], streams: Iterable[DemoStream]
) -> None:
    """Write tidewatch.toml for these streams; paths of models are relative to it."""
    tables = {
        "kafka": {"brokers": brokers},
        "redis": {"url": redis, "prefix": GROUP},
        "worker": {
            "group": GROUP,
            "session_timeout": SESSION_TIMEOUT,
            "checkpoint_every": "1s",
            "max_poll_records": 4000,  # smaller steps, to be seen live
            "device": "auto",
        },
        "streams": [
            {
                "name": stream.name,
                "model": os.path.relpath(models[stream.name], path.parent),
                "alert_topic": ALERT_TOPIC,
                "score_topic": score_topic(stream),
                **stream.settings,
            }
            for stream in streams
        ],
    }
    head = "# Written by `tidewatch demo`: the settings of its workers. docs/settings.md lists all there are.\n\n"
    path.write_text(head + as_toml(tables))
