"""What a user names, opened: a recorded data set, a file of any kind, or what a topic holds. Every verb that reads data comes through here."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pipeline.settings import IntakeSettings, Settings, StreamSettings, load_settings
from producers.datasets import NAMES, Dataset, Layout, Series, open_dataset, open_file
from producers.datasets.base import usual_step

KAFKA = "kafka:"


def open_data(data: str, layout: Layout, *, channels: int = 1, config: Path | None = None) -> Dataset:
    """The data set that `data` names: recorded, a file, folder or glob, `-`, or `kafka:TOPIC` as its stream reads it.

    Parameters
    ----------
    channels, config
        Of a topic: values in an observation, where the settings name none; the settings file.

    Raises
    ------
    DataError, BrokerError, SettingsError
        It cannot be had.
    """
    if data.startswith(KAFKA):
        return _topic(data.removeprefix(KAFKA), channels, config)
    there = Path(data).exists()
    if data in NAMES and not there:
        return open_dataset(data)
    if data == "-" or there or Path(data).suffix or any(sign in data for sign in "/*?["):
        return open_file(data, layout)
    return open_dataset(data)


def form_of(settings: Settings, topic: str) -> tuple[StreamSettings, dict[str, Any]] | None:
    """The stream of the settings that reads a topic, or that an intake feeds from it, and how that reads its records: arguments of `read_metrics`."""
    for stream in settings.streams:
        feeding = (i for i in settings.intake if i.stream == stream.name and i.reads(topic))
        reader = stream if stream.input_topic == topic else next(feeding, None)
        if reader is None:
            continue
        form: dict[str, Any] = {
            "format": reader.format,
            "counter": stream.counter,
            "gauge": stream.gauge,
            "fields": reader.fields.chosen(),
            "named": reader.channels,
        }
        if isinstance(reader, IntakeSettings):
            form |= {"drop_labels": reader.drop_labels, "series": reader.series}
        return stream, form
    return None


def unnamed(channels: int) -> tuple[str, ...]:
    """What channels are called of which nobody says it."""
    return ("value",) if channels == 1 else tuple(f"value {c + 1}" for c in range(channels))


def stream_name(text: str) -> str:
    """A legal name of a stream from the name of a file or a topic."""
    return re.sub(r"[^a-z0-9_-]+", "-", text.lower().removesuffix(".observations")).strip("-_") or "stream"


def _topic(topic: str, channels: int, config: Path | None) -> Dataset:
    from pipeline.kafka.history import read_metrics
    from pipeline.registry import registry_of

    settings = load_settings(config)
    stream, form = form_of(settings, topic) or (None, {"format": "auto"})
    channels = len(form.get("named", ())) or channels
    found = read_metrics(settings.kafka, topic, channels=channels, registry=registry_of(settings.registry), **form)
    place = _places(found)
    series = {
        name: Series(name, times, tuple(values.T), usual_step(np.sort(times)), place[name])
        for name, (times, values) in found.items()
    }
    names = form.get("named") or unnamed(channels)
    rows = sum(map(len, series.values()))
    as_what = f"as stream {stream.name} reads it" if stream is not None else "its format told by its content"
    line = f"topic {topic}: {rows:,} observations of {len(series):,} series, {as_what}"
    return Dataset(topic, "metric", names, f"what topic {topic} holds", series, reading=(line,))


def _places(found: Mapping[str, tuple[NDArray[np.int64], NDArray[np.float64]]]) -> dict[str, NDArray[np.int64]]:
    """Which row each observation is where series stand merged by event time, each in the order of its log."""
    lengths = [len(times) for times, _ in found.values()]
    newest = np.concatenate([np.maximum.accumulate(times) for times, _ in found.values()])
    place = np.empty(len(newest), np.int64)
    place[np.argsort(newest, kind="stable")] = np.arange(len(newest))
    parts: Sequence[NDArray[np.int64]] = np.split(place, np.cumsum(lengths)[:-1])
    return dict(zip(found, parts, strict=True))
