"""What a user names, opened: a recorded data set, a file of any kind, or what a topic holds. Every verb that reads data comes through here."""

from __future__ import annotations

import re
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pipeline.errors import SettingsError
from pipeline.settings import IntakeSettings, Settings, StreamSettings, load_settings
from producers.datasets import NAMES, Corrections, Dataset, Layout, Series, open_dataset, open_file
from producers.datasets.base import Kind, usual_step

KAFKA = "kafka:"
OnRead = Callable[[int], None]
"""Told how many records of a topic are read."""


def open_data(
    data: str,
    layout: Layout,
    *,
    channels: int | None = None,
    config: Path | None = None,
    on_read: OnRead | None = None,
) -> Dataset:
    """The data set that `data` names: recorded, a file, folder or glob, `-`, or `kafka:TOPIC` as its stream reads it.

    Parameters
    ----------
    channels, config
        Of a topic: values in an observation, where they are not as its records tell; the settings file.

    Raises
    ------
    DataError, BrokerError, SettingsError
        It cannot be had; an option of the layout means nothing for it.
    """
    if data.startswith(KAFKA):
        _refuse_options_of_files(data, layout, allowed=("table",))
        return _topic(data.removeprefix(KAFKA), channels, config, table=layout.table, on_read=on_read)
    if channels is not None:
        msg = f"--channels is of topics (kafka:TOPIC): which columns of {data} are judged is said by --value-columns"
        raise SettingsError(msg)
    there = Path(data).exists()
    if not (data in NAMES and not there) and (
        data == "-" or there or Path(data).suffix or any(sign in data for sign in "/*?[")
    ):
        return open_file(data, layout)
    found = open_dataset(data)
    _refuse_options_of_files(data, layout)
    return found


def _refuse_options_of_files(data: str, layout: Layout, allowed: Sequence[str] = ()) -> None:
    """Raise SettingsError where a layout says what columns mean of something that has none."""
    given = {
        "timestamp-column": layout.timestamp_column,
        "value-columns": layout.value_columns,
        "series-column": layout.series_column,
        "table": layout.table,
        "wide": layout.wide,
        "read": layout.corrections != Corrections(),
    }
    if option := next((name for name, value in given.items() if value and name not in allowed), ""):
        topic = data.startswith(KAFKA)
        why = (
            "records of a topic are read by its stream's settings (format, fields, channels)"
            if topic
            else "it is known how this data set is written"
        )
        msg = f"--{option} is of files, {data} is none: {why}; leave it out"
        raise SettingsError(msg)


def form_of(settings: Settings, topic: str) -> tuple[StreamSettings, dict[str, Any]] | None:
    """The stream of the settings that reads a topic, or that an intake feeds from it, and how that reads its records: arguments of `read_history`."""
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


def _topic(
    topic: str, channels: int | None, config: Path | None, *, table: bool, on_read: OnRead | None = None
) -> Dataset:
    from pipeline.kafka.history import read_history
    from pipeline.registry import registry_of

    if not topic:
        raise SettingsError("kafka: names no topic; write kafka:TOPIC")
    settings = load_settings(config)
    stream, form = form_of(settings, topic) or (None, {"format": "auto"})
    shape = _shape_of(stream)
    kind: Kind | None = "table" if table else None if shape is None else shape.kind
    channels = channels or (None if shape is None or table != (shape.kind == "table") else len(shape.names))
    registry = registry_of(settings.registry)
    found = read_history(
        settings.kafka, topic, kind=kind, channels=channels, registry=registry, on_read=on_read, **form
    )
    names: tuple[str, ...] = form.get("named", ()) or unnamed(found.channels)
    if shape is not None and (shape.kind, len(shape.names)) == (found.kind, found.channels):
        names = shape.names
    place = _places({name: times for name, (times, _) in found.series.items()})
    texts = {c for _, rows in found.series.values() for c in range(found.channels) if _holds_text(rows[:, c])}
    series = {
        name: Series(name, times, _columns(values, texts), usual_step(np.sort(times)), place[name])
        for name, (times, values) in found.series.items()
    }
    rows = sum(map(len, series.values()))
    as_what = f"as stream {stream.name} reads it" if stream is not None else "its format told by its content"
    what = "rows of a table" if found.kind == "table" else "observations"
    of = f"{len(series):,} series" if found.kind == "metric" or len(series) > 1 else f"{found.channels} columns"
    lines = [f"topic {topic}: {rows:,} {what} of {of}, {as_what}"]
    if found.kind == "metric" and found.channels > 1 and not form.get("named") and shape is None:
        lines.append(f"each observation has {found.channels} values, channels of one series (--table: rows of a table)")
    return Dataset(
        topic,
        found.kind,
        names,
        f"what topic {topic} holds",
        series,
        categorical=tuple(names[c] for c in sorted(texts)),
        reading=(*lines, *found.notes),
    )


@dataclass(frozen=True)
class _Shape:
    """What a stream's model takes."""

    kind: Kind
    names: tuple[str, ...]


def _shape_of(stream: StreamSettings | None) -> _Shape | None:
    """Of the model file of a stream; None where there is none that can be read: `train` writes it from this very topic."""
    if stream is None or not stream.model.is_file():
        return None
    from detectors import load
    from detectors.base import DetectorError

    try:
        model = load(stream.model)
    except DetectorError:
        return None
    if model.features is not None:
        return _Shape("table", tuple(model.features.names))
    told: tuple[str, ...] = tuple(model.facts.get("channels", ()))
    return _Shape("metric", told if len(told) == model.channels else unnamed(model.channels))


def _holds_text(column: NDArray[Any]) -> bool:
    return column.dtype == object and any(isinstance(v, str) for v in column.tolist())


def _columns(values: NDArray[Any], texts: Collection[int]) -> tuple[NDArray[Any], ...]:
    """Columns of rows (n, C): numbers, or texts in those that hold any."""
    columns = enumerate(values.T)
    return tuple(np.array(list(map(str, v)), object) if c in texts else v.astype(np.float64) for c, v in columns)


def _places(found: Mapping[str, NDArray[np.int64]]) -> dict[str, NDArray[np.int64]]:
    """Which row each observation is where series stand merged by event time, each in the order of its log."""
    lengths = [len(times) for times in found.values()]
    newest = np.concatenate([np.maximum.accumulate(times) for times in found.values()])
    place = np.empty(len(newest), np.int64)
    place[np.argsort(newest, kind="stable")] = np.arange(len(newest))
    parts: Sequence[NDArray[np.int64]] = np.split(place, np.cumsum(lengths)[:-1])
    return dict(zip(found, parts, strict=True))
