"""The product's defaults: what a model is made of where nobody chose, one recipe for metrics, one for tables.

No recipe holds anything of a particular series; `tidewatch evaluate` measures them.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from detectors.calibration import create
from detectors.features import Row
from detectors.model import Aggregation, Model
from detectors.training import Member, OnProgress, metric_training_rows, table_training_rows, train_metric, train_table


@dataclass(frozen=True)
class Recipe:
    """Members, calibration and aggregation of a model."""

    detectors: tuple[Member, ...]
    aggregation: Aggregation = "mean"
    time_features: tuple[str, ...] = ()
    calibrator: str = "empirical"
    calibration: Mapping[str, Any] = field(default_factory=dict)
    scaling: str = "standard"
    settings: Mapping[str, Any] = field(default_factory=dict)
    """The stream's settings that go with it, as in tidewatch.toml."""

    def of(self, detector: str) -> Recipe:
        """The same with one detector, by name: as the recipe has it, else in its default settings."""
        named = {member if isinstance(member, str) else member[0]: member for member in self.detectors}
        return replace(self, detectors=(named.get(detector, detector),), aggregation="mean")

    def train_metric(
        self,
        series: Mapping[str, tuple[NDArray[np.int64], NDArray[np.float64]]],
        *,
        training_rows: Callable[[int], int] = metric_training_rows,
        seed: int = 0,
        on_progress: OnProgress | None = None,
    ) -> Model:
        """Train on recorded metrics; see `detectors.training.train_metric`."""
        return train_metric(
            series,
            self.detectors,
            create(self.calibrator, self.calibration),
            training_rows=training_rows,
            scaling=self.scaling,
            time_features=self.time_features,
            aggregation=self.aggregation,
            seed=seed,
            on_progress=on_progress,
        )

    def train_table(
        self,
        rows: Mapping[str, Sequence[Row]],
        names: Sequence[str],
        categorical: Sequence[str],
        *,
        training_rows: Callable[[int], int] = table_training_rows,
        seed: int = 0,
        on_progress: OnProgress | None = None,
    ) -> Model:
        """Train on the rows of a table; see `detectors.training.train_table`."""
        return train_table(
            rows,
            names,
            categorical,
            self.detectors,
            create(self.calibrator, self.calibration),
            training_rows=training_rows,
            aggregation=self.aggregation,
            seed=seed,
            on_progress=on_progress,
        )


_FORECAST = {"horizon": 8, "centred": False, "limit": 4.0}

METRIC = Recipe(
    (("lstm", _FORECAST), ("tcn", _FORECAST), ("autoencoder", {"window": 48, "limit": 4.0})),
    time_features=("day",),
    settings={"threshold": {"level": 2.5}, "alerts": {"resolve_count": 100}},
)
"""Three networks that see a stretch that runs wrong, not a noisy point; an alert ends after a hundred normal observations, so
that an event is one alert. The level is where NAB's standard profile, over the whole corpus, is flat and best."""
TABLE = Recipe(("autoencoder",))
