"""One-Class SVM: outside the smallest region that holds nearly all normal windows is anomalous.

Schölkopf, Platt, Shawe-Taylor, Smola, Williamson, "Estimating the Support of a High-Dimensional Distribution", Neural
Computation 13 (2001). Fitted by scikit-learn (libsvm), kept as support vectors and their weights; scores equal
scikit-learn's `-score_samples`.

    score = - sum_i weight_i exp(-gamma |x - support_i|^2)

`nu` is the robustness: that share of the fitted windows may lie outside. Fitting takes the square of the number of
windows, so at most `max_rows` of them, drawn evenly by the seed, are fitted on.

Examples
--------
>>> import numpy as np
>>> from detectors.ocsvm import OneClassSVM, OneClassSVMConfig
>>> rng = np.random.default_rng(0)
>>> rows = rng.normal(size=(500, 1, 3))
>>> detector = OneClassSVM(OneClassSVMConfig(channels=3))
>>> report = detector.fit(rows)
>>> near, far = detector.score(np.array([[[0.0, 0.0, 0.0]], [[9.0, 9.0, 9.0]]])).raw
>>> bool(near < far <= 0.0)
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
from detectors.memory import on_a_line, product


class OneClassSVMConfig(DetectorConfig):
    """Settings of the One-Class SVM."""

    nu: float = Field(0.05, gt=0, le=1)
    """Upper bound of the share of fitted windows outside, lower bound of the share that become support vectors."""
    gamma: float | None = Field(None, gt=0)
    """Of the kernel; None: 1 / (values * their variance), scikit-learn's `scale`."""
    max_rows: int = Field(5000, ge=2)
    """Windows fitted on, at most."""


class OneClassSVM(Detector):
    """Scores by minus the weighted kernel sum over the support vectors: 0 far away from all of them."""

    name = "ocsvm"
    summary = "One-Class SVM (scikit-learn's scores): outside the support of normal windows or rows"
    Config = OneClassSVMConfig
    config: OneClassSVMConfig
    kinds = frozenset({"windows", "rows"})
    unit_test_params = MappingProxyType({"channels": 5, "nu": 0.05})

    def _fit(
        self,
        x: NDArray[np.float32],
        y: NDArray[np.int8] | None,
        validation: NDArray[np.float32] | None,
        on_progress: Callable[[Progress], None] | None,
    ) -> TrainingReport:
        # It takes most of a second to import, and only fitting needs it.
        from sklearn.svm import OneClassSVM as Sklearn

        rows = x.reshape(len(x), -1).astype(np.float64)
        if len(rows) > self.config.max_rows:
            drawn = np.random.default_rng(self.config.seed).choice(len(rows), self.config.max_rows, replace=False)
            rows = rows[np.sort(drawn)]
        variance = float(rows.var())
        gamma = self.config.gamma or (1.0 / (rows.shape[1] * variance) if variance > 0 else 1.0)
        machine = Sklearn(nu=self.config.nu, gamma=gamma).fit(rows)
        self._support = on_a_line(np.ascontiguousarray(machine.support_vectors_))
        self._weights = machine.dual_coef_[0].copy()
        self._gamma = np.array([gamma])
        return TrainingReport()

    def _score(self, x: NDArray[np.float32]) -> Scores:
        rows = x.reshape(len(x), -1).astype(np.float64)
        # |x - s|^2 by the binomial: a matrix product instead of (B, S, D) differences.
        squares = np.square(rows).sum(axis=1)[:, None] - product(2.0 * rows, self._support.T)
        squares += np.square(self._support).sum(axis=1)
        kernel = np.exp(-self._gamma[0] * np.maximum(squares, 0.0))
        return Scores(-(kernel * self._weights).sum(axis=1))

    def arrays(self) -> dict[str, NDArray[Any]]:
        """Support vectors (S, T * (C + F)), their weights (S,), gamma (1,)."""
        return {"support": self._support, "weights": self._weights, "gamma": self._gamma}

    def _load_arrays(self, arrays: Mapping[str, NDArray[Any]]) -> None:
        D = self.config.window * self.width
        self._support, self._weights, self._gamma = adopt(self.name, arrays, support=(-1, D), weights=(-1,), gamma=(1,))
