"""The product's default: the rank among the last few thousand scores, continued by a fitted tail."""

from __future__ import annotations

from functools import cache
from typing import Any

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from detectors.calibration.base import LN10, Calibrator, CalibratorConfig
from detectors.compiling import CALIBRATION, compiled, ufunc_loops

TAIL = 5
"""Highest scores kept of each generation."""
BODY = np.array([0.5, 0.1, 0.02])
"""Tail probabilities of the body's quantiles."""
RANKS = np.log10(np.arange(1.0, TAIL + 1.0))
"""Of the how-manyeth highest."""
_FIELDS: list[Any] = [
    ("tail", "<f4", (TAIL,)),  # the highest of both generations at the last border, falling: the reference
    ("body", "<f4", (len(BODY),)),  # quantiles, rising: the reference; in the first step: first score, sum over it
    ("current", "<f4", (TAIL,)),  # the highest of this generation, falling
    ("previous", "<f4", (TAIL,)),
    ("seen", "<u4"),
    ("run", "<u2"),
    ("known", "<u2"),  # scores that the reference rests on
    ("learnt", "<u2"),  # in this generation
    ("before", "<u2"),  # in the previous one
    ("stepped", "u1"),  # learnt in this step
    ("above", "u1", (len(BODY),)),  # of those, how many above each quantile
    ("cut", "u1"),
]
STATE = np.dtype([*_FIELDS, ("spare", "u1", (3,))])
"""As compiled code takes it, which knows no void."""
_INTEGERS, _FLOATS = ("step", "adapt_after", "minimum", "generation"), ("poison_level", "shape")
CONFIG = np.dtype([*((n, "<i8") for n in _INTEGERS), *((n, "<f8") for n in _FLOATS), ("targets", "<f8", BODY.shape)])
"""The settings by which a score is learnt, and the levels of `BODY`."""


class EmpiricalConfig(CalibratorConfig):
    """Settings of `Empirical`."""

    generation: int = Field(3000, ge=64, le=30_000)
    """Learnt scores after which the older half of the memory is dropped: ranks are among the last 1 to 2 of these."""
    shape: float = Field(0.5, ge=0.0, le=2.0)
    """Shape of the tail beyond the highest score remembered: 0 is exponential, more is heavier (generalised Pareto)."""


class Empirical(Calibrator):
    """Rank among the series' last few thousand scores, with a fitted tail beyond the highest of them.

    The conformal p-value of a score is (1 + how many of n reference scores are as high) / (n + 1) [1]_. It needs the
    reference scores; kept here are the `TAIL` highest of the current and of the previous generation, exactly, and three
    quantiles of the body (tail probability 0.5, 0.1, 0.02). The quantiles move on at each step by merging in what
    part of the step's scores lay above them, as in incremental quantile estimation [2]_. Between these points the
    calibrated score is interpolated (a straight line there is an exponential tail); beyond the highest it goes on as an
    exponential or generalised Pareto tail, whose scale is the mean excess of the highest scores over the last of them.

    Departures: ranks between two remembered scores are interpolated, so that the calibrated score is continuous; a
    score equal to the highest of n has p = 1 / (n + 1), not 2 / (n + 1).

    Examples
    --------
    >>> calibrator = Empirical()
    >>> state = calibrator.fit(np.arange(999.0)).reshape(1)
    >>> row, learn = np.zeros(3, np.intp), np.zeros(3, np.bool_)
    >>> calibrator.calibrate(state, row, np.array([500.0, 900.0, 998.0]), learn).round(1)
    array([0.3, 1. , 3. ])

    References
    ----------
    .. [1] Laxhammar, Falkman: Conformal prediction for distribution-independent anomaly detection in streaming vessel
       data, StreamKDD 2010.
    .. [2] Chambers, James, Lambert, Vander Wiel: Monitoring networked applications with incremental quantile
       estimation, Statistical Science 21 (2006).
    """

    name = "empirical"
    Config = EmpiricalConfig
    config: EmpiricalConfig

    def __init__(self, config: CalibratorConfig | None = None) -> None:
        super().__init__(config)
        stated = [getattr(self.config, name) for name in _INTEGERS + _FLOATS]
        self._compiled = np.array([(*stated, -np.log10(BODY))], CONFIG)

    @property
    def dtype(self) -> np.dtype[Any]:
        """92 bytes."""
        return np.dtype([*_FIELDS, ("spare", "V3")])

    def calibrate(
        self, state: NDArray[Any], rows: NDArray[np.intp], raw: NDArray[np.float64], learn: NDArray[np.bool_]
    ) -> NDArray[np.float64]:
        """See `Calibrator.calibrate`."""
        return self.calibrate_members(state[:, None], rows, raw[:, None], learn)[:, 0]

    def calibrate_members(
        self, states: NDArray[Any], rows: NDArray[np.intp], raw: NDArray[np.float64], learn: NDArray[np.bool_]
    ) -> NDArray[np.float64]:
        """See `Calibrator.calibrate_members`."""
        out = np.empty(raw.shape)
        compiled(CALIBRATION)(self._compiled, _logs(), ufunc_loops(), states.view(STATE), rows, raw, learn, out)
        return out

    def prepare(self) -> None:
        """See `Calibrator.prepare`."""
        compiled(CALIBRATION)

    def _fit(self, states: NDArray[Any], raw: NDArray[np.float32]) -> None:
        recent = raw[-self.config.generation :]
        highest = np.sort(recent)[::-1][:TAIL]
        states["current"][0, : len(highest)] = highest
        states["tail"] = np.r_[highest, np.repeat(highest[-1], TAIL - len(highest))]
        states["learnt"] = states["known"] = len(recent)
        states["body"] = np.quantile(recent.astype(np.float64), 1.0 - BODY)

    def _points(self, states: NDArray[Any]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """Scores and levels (P, S) that the interpolation runs through, both rising along P."""
        n = states["known"].astype(np.float64)
        k, q = TAIL, len(BODY)
        x = np.empty((q + k, len(states)))
        levels = np.empty((q + k, len(states)))
        x[q:] = states["tail"].T[::-1]
        levels[q:] = np.log10(n + 1.0) - RANKS[::-1, None]
        # A short history's highest scores reach down into the body: there they are the better witness.
        x[:q] = np.minimum(states["body"].T, x[q])
        levels[:q] = np.minimum(-np.log10(BODY)[:, None], levels[q])
        return x, levels

    def _scale(self, x: NDArray[np.float64], levels: NDArray[np.float64]) -> NDArray[np.float64]:
        """Scale of the tail beyond the highest score (S,): its mean excess, not less than a share of the body's."""
        k, q = TAIL, len(BODY)
        excess = np.zeros(x.shape[1])
        for j in range(1, k):
            excess += x[q + j] - x[q]
        body = (x[q] - x[0]) / (np.maximum(levels[q] - levels[0], 0.1) * LN10)
        floor = np.maximum(np.abs(x[-1]) * 1e-3, 1e-9)
        return np.asarray(np.maximum(np.maximum(excess / (k - 1), 0.5 * body), floor))

    def _levels(
        self, states: NDArray[Any], local: NDArray[np.intp], values: NDArray[np.float32]
    ) -> NDArray[np.float64]:
        x, levels = self._points(states)
        value = values.astype(np.float64)
        P, S = x.shape
        below = np.zeros(len(values), np.intp)  # points strictly below the value: equal scores are no evidence
        for point in x:
            below += point[local] < value
        flat = np.minimum(np.maximum(below - 1, 0), P - 2) * S + local  # not np.clip: here calls are what costs
        width = x[1:] - x[:-1]
        slope = (levels[1:] - levels[:-1]) / np.where(width > 0, width, 1.0)
        points = levels.reshape(-1)
        out = points[flat] + (value - x.reshape(-1)[flat]) * slope.reshape(-1)[flat]
        out = np.minimum(out, points[flat + S])
        lowest = np.flatnonzero(below == 0)
        if len(lowest):
            out[lowest] = np.minimum(out[lowest], levels[0][local[lowest]])
        beyond = np.flatnonzero(below == P)
        if len(beyond):
            at = local[beyond]
            over = (value[beyond] - x[-1][at]) / self._scale(x, levels)[at]
            if self.config.shape > 0:
                over = np.log1p(self.config.shape * over) / self.config.shape
            out[beyond] = levels[-1][at] + over / LN10
        return np.asarray(out)

    def _invert(self, states: NDArray[Any], level: NDArray[np.float64]) -> NDArray[np.float64]:
        x, levels = self._points(states)
        P, S = x.shape
        at = np.arange(S)
        below = (levels < level).sum(axis=0)
        segment = np.clip(below - 1, 0, P - 2)
        rise = levels[segment + 1, at] - levels[segment, at]
        share = (level - levels[segment, at]) / np.where(rise > 0, rise, 1.0)
        out = x[segment, at] + share * (x[segment + 1, at] - x[segment, at])
        over = np.maximum(level - levels[-1], 0.0) * LN10
        if self.config.shape > 0:
            over = np.expm1(self.config.shape * over) / self.config.shape
        return np.asarray(np.where(below == P, x[-1] + over * self._scale(x, levels), out))

    def _pending(self, state: NDArray[Any]) -> NDArray[Any]:
        return np.asarray(state["learnt"].astype(np.int64) + state["before"])


@cache
def _logs() -> NDArray[np.float64]:
    """log10 of 1 to one more than the most scores that a reference rests on."""
    return np.asarray(np.log10(np.arange(1.0, (1 << 16) + 1.0)))
