"""A stream: what is constant about it (settings, model, steps), whatever its partitions come to know (`pipeline.partition.core`)."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from detectors import numerics
from detectors.base import DetectorError
from detectors.model import Model
from detectors.model_file import load
from detectors.threshold_choice import from_settings
from detectors.thresholds import Threshold
from pipeline.alerts.selecting.selectors import check
from pipeline.errors import ModelError, SettingsError
from pipeline.partition.core import PartitionCore
from pipeline.partition.stores.base import Identity
from pipeline.settings import StreamSettings, with_recommended
from pipeline.steps.decoding import Decoder
from pipeline.steps.scoring import Scorer
from pipeline.steps.state import FORMAT
from pipeline.steps.windows import SeriesWindows


@dataclass(frozen=True)
class Stream:
    """Everything that is constant about a stream; shared by its partitions."""

    settings: StreamSettings
    model: Model
    scorer: Scorer
    decoder: Decoder
    windows: SeriesWindows
    threshold: Threshold
    shares: bool
    """Whether the series share a false-alarm budget: then it matters how many there are."""

    @property
    def name(self) -> str:
        """The stream's name."""
        return self.settings.name

    def core(self, partition: int, shadow: Stream | None = None) -> PartitionCore:
        """A partition that knows nothing yet; `shadow` learns beside this stream (`pipeline.partition.shadows.shadow`)."""
        return PartitionCore(self, partition, shadow)

    def identity(self, *, cluster_id: str, topic_id: str) -> Identity:
        """What a state of this stream belongs to."""
        members = self.model.detectors
        return Identity(
            cluster_id=cluster_id,
            topic_id=topic_id,
            stream=self.name,
            numerics=numerics.describe(members[0].device, by_torch=any(m.by_torch for m in members)),
            format=FORMAT,
        )


def create_stream(settings: StreamSettings, model: Model, scorer: Scorer | None = None) -> Stream:
    """Put a stream's steps together.

    Where the settings say nothing of threshold and alerts, what the model file recommends (`facts["settings"]`) holds.

    Raises
    ------
    SettingsError, ModelError
        Model and settings do not fit each other; the model file recommends what is no setting.
    """
    if recommended := dict(model.facts).get("settings"):
        settings = _recommended(settings, recommended)
    if settings.counter and (model.kind, model.channels) != ("metric", 1):
        msg = f"stream {settings.name} sets counter, which is for metrics with one channel; its model takes other ones"
        raise SettingsError(msg)
    if settings.lateness and model.kind == "table":
        msg = f"stream {settings.name} sets lateness, which is for metrics: the rows of a table have no order to come out of"
        raise SettingsError(msg)
    check(settings, model)
    try:
        budgets = settings.budgets(model.kind)
    except ValueError as error:
        msg = f"false_alarms of stream {settings.name}: {error}"
        raise SettingsError(msg) from error
    return Stream(
        settings=settings,
        model=model,
        scorer=scorer if scorer is not None else Scorer(model),
        decoder=Decoder(
            model.kind,
            channels=model.channels,
            features=model.features,
            format=settings.format,
            fields=settings.fields.chosen(),
            named=settings.channels,
        ),
        windows=SeriesWindows(model, settings),
        threshold=from_settings(settings.threshold, budgets, settings.alerts.resolve_count),
        shares=budgets[0].shared,
    )


def _recommended(settings: StreamSettings, recommended: Any) -> StreamSettings:
    try:
        return with_recommended(settings, recommended)
    except (ValidationError, TypeError, AttributeError) as error:
        msg = f"model file {settings.model} recommends settings that there are not: {str(error).splitlines()[0]}; train it anew"
        raise ModelError(msg) from error


def load_model(path: Path, *, device: str = "cpu") -> Model:
    """Read a model file and move its detectors to a device (`Model.to`). Raises ModelError with the file's name."""
    try:
        return load(path).to(device)
    except FileNotFoundError as error:
        msg = f"model file {path} does not exist; `tidewatch train` writes one"
        raise ModelError(msg) from error
    except (DetectorError, OSError) as error:
        msg = f"model file {path}: {error}"
        raise ModelError(msg) from error
