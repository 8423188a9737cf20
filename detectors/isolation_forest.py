"""Isolation Forest: what random cuts separate from the rest after few of them is anomalous.

Liu, Ting, Zhou, "Isolation Forest", ICDM 2008. Fitted by scikit-learn, kept as arrays, and scored by a compiled walk
(`detectors.kernels.forest`); scores equal scikit-learn's `-score_samples`.

    trees are padded to full ones, so that no step looks up a child:  0 ─┬─ 1 ─┬─ 3        children of i: 2 i + 1, 2 i + 2
    a leaf above the last level goes left for ever, and all that              └─ 4        left where x <= cut
    is below it has its depth                                            └─ 2 ...

What made a row anomalous: a cut that leaves it among half of the fitted rows tells one bit of it, one that leaves it among a few tells more. The bits
beyond one are its column's; over all trees they are the column's share. Rows that are no easier to isolate than most have none.

Examples
--------
>>> import numpy as np
>>> from detectors.isolation_forest import IsolationForest, IsolationForestConfig
>>> rng = np.random.default_rng(0)
>>> rows = rng.normal(size=(500, 1, 3))
>>> detector = IsolationForest(IsolationForestConfig(channels=3))
>>> report = detector.fit(rows)
>>> near, far = detector.score(np.array([[[0.0, 0.0, 0.0]], [[9.0, 9.0, 9.0]]])).raw
>>> bool(near < 0.45 < 0.7 < far)
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
from detectors.base import Detector, DetectorConfig, DetectorError, Progress, Scores, TrainingReport
from detectors.compiling import FOREST, compiled

TOLD = 0.45
"""Score above which columns have shares; at 0.5 a row is isolated by as many cuts as are expected, and most rows lie below this."""
NO_BITS = np.zeros((0, 0), np.float32)


class IsolationForestConfig(DetectorConfig):
    """Settings of the Isolation Forest; the paper's."""

    trees: int = Field(100, ge=1, le=100_000)
    max_samples: int = Field(256, ge=2, le=4096)
    """Windows that each tree is grown on; fewer where there are fewer."""


class IsolationForest(Detector):
    """Scores by 2^(-mean depth / expected depth): above 0.5 is easier to isolate than most."""

    name = "isolation-forest"
    summary = "Isolation Forest (scikit-learn's scores): how few cuts isolate a window or row"
    Config = IsolationForestConfig
    config: IsolationForestConfig
    kinds = frozenset({"windows", "rows"})
    tile = 512
    other_tiles = (128, 16)
    defers = True
    kernels = (FOREST,)
    unit_test_params = MappingProxyType({"channels": 5, "trees": 60})

    @property
    def tells(self) -> tuple[bool, bool]:
        """Contributions, but for trees from before there were bits."""
        return False, self._bits is not None

    def _fit(
        self,
        x: NDArray[np.float32],
        y: NDArray[np.int8] | None,
        validation: NDArray[np.float32] | None,
        on_progress: Callable[[Progress], None] | None,
    ) -> TrainingReport:
        # It takes most of a second to import, and only fitting needs it.
        from sklearn.ensemble import IsolationForest as Sklearn

        samples = min(self.config.max_samples, len(x))
        forest = Sklearn(n_estimators=self.config.trees, max_samples=samples, random_state=self.config.seed)
        forest.fit(x.reshape(len(x), -1))
        depth = max(1, int(np.ceil(np.log2(samples))))
        trees = [_full(tree.tree_, depth) for tree in forest.estimators_]
        feature, cut, leaves, bits = map(np.stack, zip(*trees, strict=True))
        self._take(feature, cut, leaves, np.array([_average_depth(np.array([samples]))[0]]), bits)
        return TrainingReport()

    def _take(
        self,
        feature: NDArray[np.int32],
        cut: NDArray[np.float32],
        depth: NDArray[np.float64],
        expected: NDArray[np.float64],
        bits: NDArray[np.float16] | None,
    ) -> None:
        """Take trees, as `arrays` has them, which are walked without another look at what they hold. Raises DetectorError."""
        leaves, columns = depth.shape[1], self.config.window * self.width
        sizes = feature.shape[1], cut.shape[1], 2 * leaves - 1 if bits is None else bits.shape[1]
        if leaves < 2 or leaves & (leaves - 1) or sizes != (leaves - 1, leaves - 1, 2 * leaves - 1):
            msg = f"{self.name}: trees of {leaves} leaves with features, cuts and bits of {sizes} nodes: no full trees"
            raise DetectorError(msg)
        if feature.min() < 0 or feature.max() >= columns:
            msg = f"{self.name}: a tree looks at column {feature.max() if feature.max() >= columns else feature.min()} of {columns}"
            raise DetectorError(msg)
        self._feature, self._cut = feature.astype(np.uint32), cut.astype(np.float32)
        self._depth, self._expected = depth.astype(np.float64), expected
        self._bits = None if bits is None else bits.astype(np.float32)

    def _score(self, x: NDArray[np.float32]) -> Scores:
        rows = x.reshape(len(x), -1)
        raw = self._raw(x)
        return Scores(raw, None, None if self._bits is None else self._shares(rows, raw))

    def _raw(self, x: NDArray[np.float32]) -> NDArray[np.float64]:
        depths, _ = self._walk(x.reshape(len(x), -1), tell=False)
        return np.asarray(2.0 ** (-depths / (len(self._cut) * self._expected[0])))

    def _walk(self, rows: NDArray[np.float32], *, tell: bool) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """Over all trees: the depth (B,) that rows (B, D) come to and, where asked for, the bits that their columns' cuts tell (B, D)."""
        depths, told = np.zeros(len(rows)), np.zeros(rows.shape if tell else (0, 0))
        bits = NO_BITS if self._bits is None else self._bits
        compiled(FOREST)(rows, self._feature, self._cut, self._depth, bits, depths, told)
        return depths, told

    def _shares(self, rows: NDArray[np.float32], raw: NDArray[np.float64]) -> NDArray[np.float32]:
        """Each channel's share (B, C) of the scores (B,) of rows (B, D), from the bits that its cuts tell; zeros where there is nothing to share."""
        odd = np.flatnonzero(raw > TOLD)
        shares = np.zeros((len(raw), self.config.channels), np.float32)
        if len(odd):
            _, told = self._walk(rows[odd], tell=True)
            of = told.reshape(len(odd), self.config.window, self.width)[:, :, : self.config.channels].sum(axis=1)
            total = of.sum(axis=1)
            shares[odd] = of * (raw[odd] / np.where(total > 0, total, 1.0))[:, None]
        return shares

    def arrays(self) -> dict[str, NDArray[Any]]:
        """Trees of L leaves: features and cuts (trees, L - 1), depths (trees, L), bits beyond one that lead to each node (trees, 2 L - 1); the expected depth (1,)."""
        bits = {} if self._bits is None else {"bits": self._bits.astype(np.float16)}
        feature = self._feature.astype(np.int32)
        return {"feature": feature, "cut": self._cut, "depth": self._depth, "expected": self._expected, **bits}

    def _load_arrays(self, arrays: Mapping[str, NDArray[Any]]) -> None:
        trees = self.config.trees
        shapes = {"feature": (trees, -1), "cut": (trees, -1), "depth": (trees, -1), "expected": (1,)}
        if "bits" in arrays:  # a file from before shares has none
            shapes["bits"] = (trees, -1)
        feature, cut, depth, expected, *bits = adopt(self.name, arrays, **shapes)
        self._take(feature, cut, depth, expected, bits[0] if bits else None)


def _full(
    tree: Any, depth: int
) -> tuple[NDArray[np.int32], NDArray[np.float32], NDArray[np.float64], NDArray[np.float16]]:
    """Of a padded tree: features and cuts of the 2^depth - 1 inner nodes, depths of the 2^depth leaves, bits beyond one that lead to each node."""
    inner = 2**depth - 1
    feature = np.zeros(inner, np.int32)
    cut = np.full(inner, np.inf, np.float32)
    leaves = np.zeros(inner + 1)
    bits = np.zeros(2 * inner + 1, np.float16)
    average = _average_depth(tree.n_node_samples)
    place = [(0, 0, 0)]  # node, its place in the full tree, its level
    while place:
        node, at, level = place.pop()
        left = tree.children_left[node]
        if left < 0:
            # The leaf's first descendant on the last level, where everything that reaches it ends.
            end = (at + 1) * 2 ** (depth - level) - 1
            leaves[end - inner] = level + average[node]
            continue
        feature[at] = tree.feature[node]
        cut[at] = _below(tree.threshold[node])
        for child, to in ((left, 2 * at + 1), (tree.children_right[node], 2 * at + 2)):
            bits[to] = max(np.log2(tree.n_node_samples[node] / tree.n_node_samples[child]) - 1.0, 0.0)
            place.append((child, to, level + 1))
    return feature, cut, leaves, bits


def _below(threshold: float) -> np.float32:
    """Largest float32 that is not above a float64: comparing a float32 with either gives the same."""
    near = np.float32(threshold)
    return near if float(near) <= threshold else np.nextafter(near, np.float32(-np.inf))


def _average_depth(samples: NDArray[Any]) -> NDArray[np.float64]:
    """Cuts that isolate one of n samples on average (the paper's c(n))."""
    n = samples.astype(np.float64)
    many = 2.0 * (np.log(np.maximum(n - 1.0, 1.0)) + np.euler_gamma) - 2.0 * (n - 1.0) / np.maximum(n, 1.0)
    return np.where(n <= 1, 0.0, np.where(n == 2, 1.0, many))
