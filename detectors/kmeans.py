"""k-means distance: far from every cluster of normal windows is anomalous.

MacQueen 1967, Lloyd 1982; trimmed as in Chawla, Gionis, "k-means--: A Unified Approach to Clustering and Outlier
Detection", SDM 2013: at each step the farthest windows belong to no cluster, so that anomalies found none of their own.

Examples
--------
>>> import numpy as np
>>> from detectors.kmeans import KMeans, KMeansConfig
>>> rng = np.random.default_rng(0)
>>> rows = rng.choice([-5.0, 5.0], size=(300, 1, 1)) + rng.normal(0.0, 0.1, size=(300, 1, 2))
>>> detector = KMeans(KMeansConfig(channels=2, clusters=2))
>>> report = detector.fit(rows)
>>> np.sort(detector.arrays()["centres"][:, 0]).round().tolist()
[-5.0, 5.0]
>>> detector.score(np.zeros((1, 1, 2))).raw.round().tolist()   # between the two
[5.0]
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
from detectors.compiling import NEAREST, compiled


class KMeansConfig(DetectorConfig):
    """Settings of the k-means distance."""

    clusters: int = Field(16, ge=1)
    """k; fewer where there are fewer windows."""
    trim: float = Field(0.05, ge=0, lt=0.5)
    """Share of the windows, the farthest, that belong to no cluster."""
    steps: int = Field(50, ge=1)
    """At most this many steps of Lloyd's."""


class KMeans(Detector):
    """Scores by the distance (root mean square over the values) to the nearest of k centres."""

    name = "kmeans"
    summary = "k-means: distance of windows or rows to the nearest centre"
    Config = KMeansConfig
    config: KMeansConfig
    kinds = frozenset({"windows", "rows"})
    tile = 512
    other_tiles = (128, 16)
    defers = True
    kernels = (NEAREST,)
    unit_test_params = MappingProxyType({"window": 12, "clusters": 12})

    def _fit(
        self,
        x: NDArray[np.float32],
        y: NDArray[np.int8] | None,
        validation: NDArray[np.float32] | None,
        on_progress: Callable[[Progress], None] | None,
    ) -> TrainingReport:
        self._centres = centres(x, self.config)
        return TrainingReport()

    def _score(self, x: NDArray[np.float32]) -> Scores:
        C = self.config.channels
        which, raw = self._nearest(x)
        near = self._centres[which].reshape(x.shape)
        per_channel = np.square(x - near)[:, :, :C].mean(axis=1)  # (B, C)
        shares = per_channel / (self.width * np.maximum(raw, 1e-12))[:, None]
        return Scores(raw, near[:, -1, :C].astype(np.float32), shares.astype(np.float32))

    def _raw(self, x: NDArray[np.float32]) -> NDArray[np.float64]:
        return self._nearest(x)[1]

    def _nearest(self, x: NDArray[np.float32]) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
        """The nearest centre, and how far it is."""
        which, squares = nearest(x.reshape(len(x), -1).astype(np.float64), self._centres)
        return which, np.sqrt(squares / (x.shape[1] * x.shape[2]))

    def arrays(self) -> dict[str, NDArray[Any]]:
        """Centres (K, T * (C + F))."""
        return {"centres": self._centres}

    def _load_arrays(self, arrays: Mapping[str, NDArray[Any]]) -> None:
        (self._centres,) = adopt(self.name, arrays, centres=(-1, self.config.window * self.width))


def centres(x: NDArray[Any], config: KMeansConfig) -> NDArray[np.float64]:
    """Centres (K, T * W) of windows (N, T, W), by the settings' `clusters`, `trim`, `steps` and `seed`; fewer where fewer windows differ."""
    rows = x.reshape(len(x), -1).astype(np.float64)
    found = _start(rows, config)
    keep = max(1, round(len(rows) * (1.0 - config.trim)))
    before = np.full(len(rows), -2)
    for _ in range(config.steps):
        which, squares = nearest(rows, found)
        which[np.argsort(squares, kind="stable")[keep:]] = -1
        if np.array_equal(which, before):
            break
        before = which
        for k in range(len(found)):
            if (which == k).any():
                found[k] = rows[which == k].mean(axis=0)
    return found


def _start(rows: NDArray[np.float64], config: KMeansConfig) -> NDArray[np.float64]:
    """First centres, each drawn the more likely the farther it lies from those before (k-means++, 2007)."""
    rng = np.random.default_rng(config.seed)
    found = rows[[rng.integers(len(rows))]]
    squares = np.square(rows - found[0]).sum(axis=1)
    while len(found) < config.clusters and squares.max() > 0:
        # The farthest are the outliers that trimming leaves out; none of them becomes a centre.
        odds = np.where(squares <= np.quantile(squares, 1.0 - config.trim), squares, 0.0)
        if odds.sum() == 0:
            break
        chosen = rows[rng.choice(len(rows), p=odds / odds.sum())]
        found = np.concatenate([found, chosen[None]])
        squares = np.minimum(squares, np.square(rows - chosen).sum(axis=1))
    return found


def nearest(rows: NDArray[np.float64], of: NDArray[np.float64]) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
    """Which of the centres (K, D) is nearest to rows (N, D), and its squared distance: both (N,)."""
    which, squares = np.empty(len(rows), np.int64), np.empty(len(rows))
    compiled(NEAREST)(np.ascontiguousarray(rows), np.ascontiguousarray(of.T), which, squares)
    return which, squares
