"""Extreme-value tails over streaming peaks: SPOT and DSPOT, in fixed bytes per series."""

from __future__ import annotations

from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from detectors.calibration.base import LN10, CalibratorConfig
from detectors.calibration.stepped import SteppedCalibrator


class SpotConfig(CalibratorConfig):
    """Settings of `Spot` and `Dspot`."""

    peak_probability: float = Field(0.02, gt=0.0, lt=0.5)
    """Share of the scores fitted on that lie above the peak threshold."""
    memory: int = Field(8192, ge=256)
    """Scores after which the totals over the peaks are halved, so that the tail moves on."""
    depth: int = Field(256, ge=8)
    """`Dspot`: scores over which the local mean is taken."""


class Spot(SteppedCalibrator):
    """Extreme-value tail of the streaming peaks over a threshold: SPOT [1]_.

    Above the peak threshold t (the 98 % quantile of the scores fitted on) the tail is a generalised Pareto distribution:
    p(x) = peaks / n * (1 + shape * (x - t) / scale) ** (-1 / shape). Below it the calibrated score is a straight line from
    the centre (p = 0.5) to t.

    Departures: the paper keeps all peaks and fits by maximum likelihood (Grimshaw); here the moments of the peaks are kept
    and the fit is by moments, in fixed bytes. The shape is kept in 0 to 0.5, since few peaks cannot prove a bounded tail.
    Old peaks are forgotten by halving. Without scores to fit on, t is mean + 2 standard deviations of the first step.

    References
    ----------
    .. [1] Siffer, Fouque, Termier, Largouet: Anomaly detection in streams with extreme value theory, KDD 2017.
    """

    name = "spot"
    Config = SpotConfig
    config: SpotConfig
    drifting: ClassVar[bool] = False

    @property
    def dtype(self) -> np.dtype[Any]:
        """88 bytes."""
        return np.dtype(
            [
                ("drift", "<f8"),  # local mean that is taken off (Dspot)
                ("centre", "<f8"),
                ("threshold", "<f8"),
                ("peaks", "<f8"),  # how many, their excess's sum and sum of squares, at the last border
                ("excess", "<f8"),
                ("square", "<f8"),
                ("step_excess", "<f8"),  # the same of this step
                ("step_square", "<f8"),
                ("step_sum", "<f8"),  # of all learnt scores
                ("seen", "<u4"),
                ("known", "<u4"),
                ("run", "<u2"),
                ("stepped", "<u2"),
                ("step_peaks", "<u2"),
                ("cut", "u1"),
                ("spare", "V1"),
            ]
        )

    def _fit(self, states: NDArray[Any], raw: NDArray[np.float32]) -> None:
        values = raw.astype(np.float64)
        if self.drifting:
            states["drift"] = values[-self.config.depth :].mean()
            values = values - _local_means(values, self.config.depth)
        states["centre"] = np.median(values)
        states["threshold"] = t = np.quantile(values, 1.0 - self.config.peak_probability)
        over = values[values > t] - t
        states["peaks"], states["excess"], states["square"] = len(over), over.sum(), (over**2).sum()
        states["known"] = len(values)

    def _tail(self, states: NDArray[Any]) -> tuple[NDArray[np.float64], NDArray[np.float64], NDArray[np.float64]]:
        """Level at the peak threshold, scale and shape of the tail beyond it (S,)."""
        n, peaks = states["known"].astype(np.float64), states["peaks"]
        rate = (peaks + 1.0) / (n + 2.0)
        at_threshold = -np.log10(np.minimum(rate, 0.5))
        body = (states["threshold"] - states["centre"]) / (np.maximum(at_threshold + np.log10(0.5), 0.1) * LN10)
        few = peaks < 3
        mean = np.where(few, body, states["excess"] / np.maximum(peaks, 1.0))
        mean = np.maximum(mean, np.maximum(np.abs(states["threshold"]) * 1e-3, 1e-9))
        squared = mean * mean
        variance = np.maximum(states["square"] / np.maximum(peaks, 1.0) - squared, squared)  # not below: shape >= 0
        ratio = np.where(few, 1.0, squared / variance)
        return at_threshold, 0.5 * mean * (1.0 + ratio), 0.5 * (1.0 - ratio)

    def _levels(
        self, states: NDArray[Any], local: NDArray[np.intp], values: NDArray[np.float32]
    ) -> NDArray[np.float64]:
        at_threshold, scale, shape = self._tail(states)
        value = values.astype(np.float64) - states["drift"][local]
        half = -np.log10(0.5)
        width = states["threshold"] - states["centre"]
        slope = np.where(width > 0, (at_threshold - half) / np.where(width > 0, width, 1.0), 0.0)
        out = half + (value - states["centre"][local]) * slope[local]
        over = np.flatnonzero(value > states["threshold"][local])
        at = local[over]
        excess = (value[over] - states["threshold"][at]) / scale[at]
        bent = np.maximum(shape[at], 1e-9)
        out[over] = at_threshold[at] + np.log1p(bent * excess) / bent / LN10
        return np.asarray(out)

    def _invert(self, states: NDArray[Any], level: NDArray[np.float64]) -> NDArray[np.float64]:
        at_threshold, scale, shape = self._tail(states)
        half = -np.log10(0.5)
        rise = at_threshold - half
        share = (level - half) / np.where(rise > 0, rise, 1.0)
        inside = states["centre"] + share * (states["threshold"] - states["centre"])
        bent = np.maximum(shape, 1e-9)
        beyond = np.expm1(np.maximum(level - at_threshold, 0.0) * LN10 * bent) / bent * scale
        value = np.where(level > at_threshold, states["threshold"] + beyond, inside)
        return np.asarray(value + states["drift"])

    def _learn(self, states: NDArray[Any], local: NDArray[np.intp], values: NDArray[np.float32]) -> None:
        S = len(states)
        value = values - states["drift"][local]
        over = value - states["threshold"][local]
        started = states["known"] > 0
        # Before there is a threshold, sums of the first step's scores stand in the places of the peaks' excess.
        excess = np.where(started[local], np.maximum(over, 0.0), value)
        for name, what in (("step_excess", excess), ("step_square", excess * excess), ("step_sum", value)):
            total = states[name].copy()
            np.add.at(total, local, what)  # one by one, in order: the same for every cut
            states[name] = total
        states["step_peaks"] += np.bincount(local[over > 0], minlength=S).astype(np.uint16)
        states["stepped"] += np.bincount(local, minlength=S).astype(np.uint16)

    def _advance(self, states: NDArray[Any]) -> None:
        m = np.maximum(states["stepped"], 1).astype(np.float64)
        fresh = states["known"] == 0
        mean = states["step_sum"] / m
        deviation = np.sqrt(np.maximum(states["step_square"] / m - mean * mean, 0.0))
        if self.drifting:
            states["drift"] += np.where(fresh, mean, mean * np.minimum(m / self.config.depth, 1.0))
            mean = np.where(fresh, 0.0, mean)
        states["centre"] = np.where(fresh, mean, states["centre"])
        states["threshold"] = np.where(fresh, mean + 2.0 * deviation, states["threshold"])
        for total, step in (("peaks", "step_peaks"), ("excess", "step_excess"), ("square", "step_square")):
            states[total] += np.where(fresh, 0.0, states[step])
        states["known"] += states["stepped"]
        old = states["known"] >= self.config.memory
        for total in ("peaks", "excess", "square"):
            states[total] = np.where(old, states[total] * 0.5, states[total])
        states["known"] = np.where(old, states["known"] // 2, states["known"])
        for step in ("step_excess", "step_square", "step_sum", "step_peaks", "stepped"):
            states[step] = 0

    def _forget(self, states: NDArray[Any]) -> None:
        share = np.minimum(self.config.step / np.maximum(states["known"], 1), 1.0)
        for total in ("peaks", "excess", "square"):
            states[total] *= share
        states["known"] = np.minimum(states["known"], self.config.step)

    def _pending(self, state: NDArray[Any]) -> NDArray[Any]:
        return np.asarray(state["known"].astype(np.int64) + state["stepped"])


class Dspot(Spot):
    """`Spot` on what is left when a local mean of the scores is taken off: for scores that drift (DSPOT [1]_).

    Departure: the paper's mean of the last d scores needs them all; here it is exponential with the same weight per step
    and moves on at the borders of steps.

    References
    ----------
    .. [1] Siffer, Fouque, Termier, Largouet: Anomaly detection in streams with extreme value theory, KDD 2017.
    """

    name = "dspot"
    drifting = True


def _local_means(values: NDArray[np.float64], depth: int) -> NDArray[np.float64]:
    """Mean of up to `depth` values before each (the first one: itself)."""
    total = np.r_[0.0, np.cumsum(values)]
    end = np.maximum(np.arange(len(values)), 1)
    start = np.maximum(end - depth, 0)
    return np.asarray((total[end] - total[start]) / (end - start))
