"""Mahalanobis distance: far from the middle, measured in how much normal rows vary in that direction, is anomalous.

Mahalanobis 1936; for anomalies: Shyu, Chen, Sarinnapakorn, Chang, "A Novel Anomaly Detection Scheme Based on Principal
Component Classifier", ICDM 2003, whose sum over all standardised components this is. Mean and covariance are fitted
three times, each time without the rows that the fit before found farthest (Rousseeuw, Van Driessen 1999: concentration
steps), so that anomalies among the rows do not widen what is normal. Departures: values are clipped first, because in
heavy-tailed columns one wild value would outweigh a row whose columns all disagree; and the variances are raised by a small share
of their mean, so that a direction in which the fitted rows did not vary at all does not decide alone.

Examples
--------
>>> import numpy as np
>>> from detectors.mahalanobis import Mahalanobis, MahalanobisConfig
>>> rng = np.random.default_rng(0)
>>> one = rng.normal(size=(500, 1, 1))
>>> rows = np.concatenate([one, one + rng.normal(0.0, 0.1, size=(500, 1, 1))], axis=2)   # two columns that go together
>>> detector = Mahalanobis(MahalanobisConfig(channels=2))
>>> report = detector.fit(rows)
>>> along, across = detector.score(np.array([[[2.0, 2.0]], [[1.0, -1.0]]])).raw
>>> bool(across > 3.0 * along)
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
from detectors.memory import aligned, on_a_line, product

FITS = 3
"""Fits, each without the rows that the one before found farthest."""


class MahalanobisConfig(DetectorConfig):
    """Settings of the Mahalanobis distance."""

    limit: float = Field(5.0, gt=0)
    """Values are clipped to this many scaled units."""
    trim: float = Field(0.05, ge=0, lt=0.5)
    """Share of the windows that each fit leaves out."""
    floor: float = Field(0.01, gt=0)
    """Added to the variance of every direction, in mean variances."""


class Mahalanobis(Detector):
    """Scores by the root mean square of all standardised components."""

    name = "mahalanobis"
    summary = "Mahalanobis distance of windows or rows, robustly fitted"
    Config = MahalanobisConfig
    config: MahalanobisConfig
    kinds = frozenset({"windows", "rows"})
    tile = 512
    other_tiles = (128, 16)
    defers = True
    unit_test_params = MappingProxyType({"channels": 5})

    def _fit(
        self,
        x: NDArray[np.float32],
        y: NDArray[np.int8] | None,
        validation: NDArray[np.float32] | None,
        on_progress: Callable[[Progress], None] | None,
    ) -> TrainingReport:
        rows = self._flat(x)
        off = np.square(rows - np.median(rows, axis=0)).sum(axis=1)
        for _ in range(FITS):
            self._learn(rows[off <= np.quantile(off, 1.0 - self.config.trim)])
            off = np.square(product(rows - self._centre, self._whitening)).sum(axis=1)
        return TrainingReport()

    def _flat(self, x: NDArray[np.float32]) -> NDArray[np.float64]:
        """Clipped values (B, D) of windows (B, T, C + F)."""
        return np.clip(x.reshape(len(x), -1).astype(np.float64), -self.config.limit, self.config.limit)

    def _learn(self, rows: NDArray[np.float64]) -> None:
        """Centre of rows (N, D), and the matrix that makes their components uncorrelated and of equal variance."""
        self._centre = rows.mean(axis=0)
        centred = on_a_line(rows - self._centre)  # once: numpy multiplies a matrix with itself by another routine
        variances, directions = np.linalg.eigh(product(centred.T, centred) / len(rows))
        variances = np.maximum(variances, 0.0)
        # Rows that are all equal have no variance to take a share of; then any change stands out by its size.
        usual = float(variances.mean()) or 1.0
        scale = np.sqrt(variances + self.config.floor * usual)
        # Symmetric, so that a component belongs to a column: its contribution.
        self._whitening = product(directions / scale, directions.T)

    def _score(self, x: NDArray[np.float32]) -> Scores:
        T, C, W = self.config.window, self.config.channels, self.width
        squares = self._squares(x)
        raw = np.sqrt(squares.mean(axis=1))
        per_channel = squares.reshape(-1, T, W)[:, :, :C].mean(axis=1)  # (B, C)
        shares = per_channel / (W * np.maximum(raw, 1e-12))[:, None]
        expected = np.broadcast_to(self._centre.reshape(T, W)[-1, :C].astype(np.float32), (len(x), C))
        return Scores(raw, expected.copy(), shares.astype(np.float32))

    def _raw(self, x: NDArray[np.float32]) -> NDArray[np.float64]:
        return np.asarray(np.sqrt(self._squares(x).mean(axis=1)))

    def _squares(self, x: NDArray[np.float32]) -> NDArray[np.float64]:
        """Of the standardised components (B, D)."""
        rows = aligned((len(x), self._centre.size), np.float64)
        rows[...] = x.reshape(rows.shape)
        np.clip(rows, -self.config.limit, self.config.limit, out=rows)
        rows -= self._centre
        components = product(rows, self._whitening)
        return np.square(components, out=components)

    def arrays(self) -> dict[str, NDArray[Any]]:
        """Centre (D,) and whitening matrix (D, D)."""
        return {"centre": self._centre, "whitening": self._whitening}

    def _load_arrays(self, arrays: Mapping[str, NDArray[Any]]) -> None:
        D = self.config.window * self.width
        self._centre, self._whitening = adopt(self.name, arrays, centre=(D,), whitening=(D, D))
