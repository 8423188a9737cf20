"""PCA reconstruction: what lies off the directions in which normal rows vary is anomalous.

Shyu, Chen, Sarinnapakorn, Chang, "A Novel Anomaly Detection Scheme Based on Principal Component Classifier", ICDM 2003:
the minor components show what no single column does. Departures: the score is the distance to the space of the major
components (the reconstruction error), and the fit is trimmed: fitted without the rows farthest from the median, then
again without those that the first fit rebuilds worst, so that anomalies do not become directions of their own.

Examples
--------
>>> import numpy as np
>>> from detectors.pca import PCA, PCAConfig
>>> rng = np.random.default_rng(0)
>>> rows = rng.normal(size=(400, 1, 2)) @ rng.normal(size=(2, 6))   # six columns, but two degrees of freedom
>>> detector = PCA(PCAConfig(channels=6))
>>> report = detector.fit(rows)
>>> detector.arrays()["directions"].shape
(2, 6)
>>> bool(detector.score(rows).raw.max() < 1e-5)
True
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Any

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from detectors.arrays import adopt
from detectors.base import Detector, DetectorConfig, Progress, Scores, TrainingReport
from detectors.memory import product


class PCAConfig(DetectorConfig):
    """Settings of the PCA reconstruction."""

    variance: float = Field(0.95, gt=0, lt=1)
    """Share of the variance that the major components hold."""
    trim: float = Field(0.05, ge=0, lt=0.5)
    """Share of the windows that each of the two fits leaves out."""


class PCA(Detector):
    """Scores by the root mean square of what the major components do not rebuild."""

    name = "pca"
    summary = "principal components: reconstruction error of windows or rows"
    Config = PCAConfig
    config: PCAConfig
    kinds = frozenset({"windows", "rows"})
    tile = 512
    unit_test_params = MappingProxyType({"channels": 5})

    def _fit(
        self,
        x: NDArray[np.float32],
        y: NDArray[np.int8] | None,
        validation: NDArray[np.float32] | None,
        on_progress: Callable[[Progress], None] | None,
    ) -> TrainingReport:
        rows = x.reshape(len(x), -1).astype(np.float64)
        if not self.config.trim:
            self._learn(rows)
            return TrainingReport()
        off = np.square(rows - np.median(rows, axis=0)).sum(axis=1)
        for _ in range(2):
            self._learn(rows[off <= np.quantile(off, 1.0 - self.config.trim)])
            off = np.square(self._left(rows)).sum(axis=1)
        return TrainingReport()

    def _learn(self, rows: NDArray[np.float64]) -> None:
        """Centre and major directions of rows (N, D), from the eigenvectors of their covariance."""
        self._centre = rows.mean(axis=0)
        values, vectors = np.linalg.eigh(np.cov(rows - self._centre, rowvar=False).reshape(len(self._centre), -1))
        share = np.cumsum(values[::-1]) / max(float(values.sum()), 1e-300)
        # Of D directions at least one is left out: with all of them everything can be rebuilt.
        count = min(int(np.searchsorted(share, self.config.variance)) + 1, max(1, len(values) - 1))
        self._directions = np.ascontiguousarray(vectors[:, ::-1][:, :count].T)  # (K, D)

    def _left(self, rows: NDArray[np.float64]) -> NDArray[np.float64]:
        """What the major components do not rebuild of rows (B, D)."""
        centred = rows - self._centre
        return np.asarray(centred - product(product(centred, self._directions.T), self._directions))

    def _score(self, x: NDArray[np.float32]) -> Scores:
        T, C, W = self.config.window, self.config.channels, self.width
        rows = x.reshape(len(x), -1).astype(np.float64)
        left = self._left(rows).reshape(-1, T, W)
        squares = np.square(left[:, :, :C]).mean(axis=1)  # (B, C)
        raw = np.sqrt(squares.mean(axis=1))
        shares = squares / (C * np.maximum(raw, 1e-12))[:, None]
        return Scores(raw, (x[:, -1, :C] - left[:, -1, :C]).astype(np.float32), shares.astype(np.float32))

    def arrays(self) -> dict[str, NDArray[Any]]:
        """Centre (D,) and major directions (K, D)."""
        return {"centre": self._centre, "directions": self._directions}

    def _load_arrays(self, arrays: Mapping[str, NDArray[Any]]) -> None:
        D = self.config.window * self.width
        self._centre, self._directions = adopt(self.name, arrays, centre=(D,), directions=(-1, D))
