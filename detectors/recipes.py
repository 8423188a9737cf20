"""The product's defaults: what a model is made of where nobody chose, one recipe for metrics, one for tables.

No recipe holds anything of a particular series; docs/results.md measures them.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
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

    def of(self, detector: str) -> Recipe:
        """The same with one detector, by name, in its default settings."""
        return Recipe((detector,), "mean", self.time_features, self.calibrator, self.calibration, self.scaling)

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


METRIC = Recipe(("lstm", "tcn", "autoencoder"), time_features=("day",))
TABLE = Recipe(("autoencoder",))
