"""The tail of a normal distribution over moving mean and deviation."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from detectors.calibration.base import LN10, CalibratorConfig
from detectors.calibration.stepped import SteppedCalibrator


class GaussianTailConfig(CalibratorConfig):
    """Settings of `GaussianTail`."""

    memory: int = Field(4096, ge=64)
    """Learnt scores over which mean and variance are taken (exponentially forgotten)."""


class GaussianTail(SteppedCalibrator):
    """Upper tail of a normal distribution with the running mean and variance of the series' scores.

    The yardstick of the field (and NAB's anomaly likelihood without its short-term mean [1]_): right where scores are
    normal, far too sure of itself where their tail is heavier.

    References
    ----------
    .. [1] Ahmad, Lavin, Purdy, Agha: Unsupervised real-time anomaly detection for streaming data, Neurocomputing 262
       (2017).
    """

    name = "gaussian-tail"
    Config = GaussianTailConfig
    config: GaussianTailConfig

    @property
    def dtype(self) -> np.dtype[Any]:
        """48 bytes."""
        return np.dtype(
            [
                ("mean", "<f8"),  # the reference
                ("variance", "<f8"),
                ("sum", "<f8"),  # of this step's deviations from `mean`
                ("square", "<f8"),
                ("seen", "<u4"),
                ("known", "<u4"),
                ("run", "<u2"),
                ("stepped", "<u2"),
                ("cut", "u1"),
                ("spare", "V3"),
            ]
        )

    def _fit(self, states: NDArray[Any], raw: NDArray[np.float32]) -> None:
        values = raw.astype(np.float64)
        states["mean"], states["variance"], states["known"] = values.mean(), values.var(), len(values)

    def _deviation(self, states: NDArray[Any]) -> NDArray[np.float64]:
        floor = np.maximum(np.abs(states["mean"]) * 1e-3, 1e-9)
        return np.asarray(np.maximum(np.sqrt(states["variance"]), floor))

    def _levels(
        self, states: NDArray[Any], local: NDArray[np.intp], values: NDArray[np.float32]
    ) -> NDArray[np.float64]:
        z = (values - states["mean"][local]) / self._deviation(states)[local]
        from scipy.special import log_ndtr  # it takes its time to import, and few streams need it

        return np.asarray(-log_ndtr(-z) / LN10)

    def _invert(self, states: NDArray[Any], level: NDArray[np.float64]) -> NDArray[np.float64]:
        from scipy.special import ndtri_exp

        z = -ndtri_exp(np.minimum(-level * LN10, -1e-12))
        return np.asarray(states["mean"] + z * self._deviation(states))

    def _learn(self, states: NDArray[Any], local: NDArray[np.intp], values: NDArray[np.float32]) -> None:
        deviation = values - states["mean"][local]
        for name, what in (("sum", deviation), ("square", deviation * deviation)):
            total = states[name].copy()
            np.add.at(total, local, what)  # one by one, in order: the same for every cut
            states[name] = total
        states["stepped"] += np.bincount(local, minlength=len(states)).astype(np.uint16)

    def _advance(self, states: NDArray[Any]) -> None:
        m = states["stepped"].astype(np.float64)
        total = np.minimum(states["known"] + m, float(self.config.memory))
        weight = np.minimum(m / np.maximum(total, 1.0), 1.0)
        m = np.maximum(m, 1.0)
        shift = weight * (states["sum"] / m)
        spread = (1.0 - weight) * states["variance"] + weight * (states["square"] / m) - shift * shift
        states["mean"] += shift
        states["variance"] = np.maximum(spread, 0.0)
        states["known"] = np.minimum(states["known"] + states["stepped"].astype(np.uint32), 1 << 30)
        states["sum"] = states["square"] = 0.0
        states["stepped"] = 0

    def _forget(self, states: NDArray[Any]) -> None:
        states["known"] = np.minimum(states["known"], self.config.step)

    def _pending(self, state: NDArray[Any]) -> NDArray[Any]:
        return np.asarray(state["known"].astype(np.int64) + state["stepped"])
