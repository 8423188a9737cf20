"""The product's default: the rank among the last few thousand scores, continued by a fitted tail."""

from __future__ import annotations

from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from detectors.calibration.base import LN10, Calibrator, CalibratorConfig

_TAIL = 5
_RANKS = np.log10(np.arange(1.0, _TAIL + 1.0))
"""Of the how-manyeth highest."""


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

    TAIL: ClassVar[int] = _TAIL
    """Highest scores kept of each generation."""
    BODY: ClassVar[NDArray[np.float64]] = np.array([0.5, 0.1, 0.02])
    """Tail probabilities of the body's quantiles."""

    @property
    def dtype(self) -> np.dtype[Any]:
        """92 bytes."""
        k, q = self.TAIL, len(self.BODY)
        return np.dtype(
            [
                ("tail", "<f4", (k,)),  # the highest of both generations at the last border, falling: the reference
                ("body", "<f4", (q,)),  # quantiles, rising: the reference; in the first step: first score, sum over it
                ("current", "<f4", (k,)),  # the highest of this generation, falling
                ("previous", "<f4", (k,)),
                ("seen", "<u4"),
                ("run", "<u2"),
                ("known", "<u2"),  # scores that the reference rests on
                ("learnt", "<u2"),  # in this generation
                ("before", "<u2"),  # in the previous one
                ("stepped", "u1"),  # learnt in this step
                ("above", "u1", (q,)),  # of those, how many above each quantile
                ("cut", "u1"),
                ("spare", "V3"),
            ]
        )

    def _fit(self, states: NDArray[Any], raw: NDArray[np.float32]) -> None:
        recent = raw[-self.config.generation :]
        highest = np.sort(recent)[::-1][: self.TAIL]
        states["current"][0, : len(highest)] = highest
        states["learnt"] = len(recent)
        states["body"] = np.quantile(recent.astype(np.float64), 1.0 - self.BODY)
        self._refer(states)

    def _points(self, states: NDArray[Any]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """Scores and levels (P, S) that the interpolation runs through, both rising along P."""
        n = states["known"].astype(np.float64)
        k, q = self.TAIL, len(self.BODY)
        x = np.empty((q + k, len(states)))
        levels = np.empty((q + k, len(states)))
        x[q:] = states["tail"].T[::-1]
        levels[q:] = np.log10(n + 1.0) - _RANKS[::-1, None]
        # A short history's highest scores reach down into the body: there they are the better witness.
        x[:q] = np.minimum(states["body"].T, x[q])
        levels[:q] = np.minimum(-np.log10(self.BODY)[:, None], levels[q])
        return x, levels

    def _scale(self, x: NDArray[np.float64], levels: NDArray[np.float64]) -> NDArray[np.float64]:
        """Scale of the tail beyond the highest score (S,): its mean excess, not less than a share of the body's."""
        k, q = self.TAIL, len(self.BODY)
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

    def _learn(self, states: NDArray[Any], local: NDArray[np.intp], values: NDArray[np.float32]) -> None:
        S = len(states)
        started = states["known"] > 0
        for j in range(len(self.BODY)):
            over = (values > states["body"][:, j][local]) & started[local]
            above = np.bincount(local[over], minlength=S)
            states["above"][:, j] += above.astype(np.uint8)
        if not started.all():
            self._sum(states, local[~started[local]], values[~started[local]])
        self._keep_highest(states, local, values)
        count = np.bincount(local, minlength=S)
        states["stepped"] += count.astype(np.uint8)
        states["learnt"] += count.astype(np.uint16)

    def _sum(self, states: NDArray[Any], local: NDArray[np.intp], values: NDArray[np.float32]) -> None:
        """In the first step there are no quantiles: their place keeps the first score, and the sum of what is over it."""
        mine, first = np.unique(local, return_index=True)
        new = states["stepped"][mine] == 0
        states["body"][mine[new], 0] = values[first[new]]
        total = states["body"][:, 1].copy()
        np.add.at(total, local, values - states["body"][local, 0])  # one by one, in order: the same for every cut
        states["body"][:, 1] = total

    def _keep_highest(self, states: NDArray[Any], local: NDArray[np.intp], values: NDArray[np.float32]) -> None:
        k = self.TAIL
        least = np.where(states["learnt"] >= k, states["current"][:, k - 1], -np.inf)
        enters = values > least[local]
        if not enters.any():
            return
        local, values = local[enters], values[enters]
        order = np.lexsort((-values, local))
        local, values = local[order], values[order]
        new = np.ones(len(local), np.bool_)
        np.not_equal(local[1:], local[:-1], out=new[1:])
        first = np.flatnonzero(new)
        rank = np.arange(len(local)) - first[np.cumsum(new) - 1]
        among = rank < k
        changed = local[first]
        merged = np.full((len(changed), 2 * k), -np.inf, np.float32)
        merged[np.searchsorted(changed, local[among]), rank[among]] = values[among]
        kept = np.arange(k) < states["learnt"][changed][:, None]
        merged[:, k:] = np.where(kept, states["current"][changed], -np.inf)
        highest = -np.sort(-merged, axis=1)[:, :k]
        states["current"][changed] = np.where(np.isfinite(highest), highest, 0.0)

    def _advance(self, states: NDArray[Any]) -> None:
        started = states["known"] > 0
        if started.any():
            moved = states[started]
            self._merge_body(moved)
            states[started] = moved
        if not started.all():
            fresh = states[~started]
            mean = fresh["body"][:, 0] + fresh["body"][:, 1] / np.maximum(fresh["stepped"], 1)
            fresh["body"] = mean[:, None]
            states[~started] = fresh
        self._refer(states)
        states["stepped"] = 0
        states["above"] = 0
        full = states["learnt"] >= self.config.generation
        if full.any():
            rotated = states[full]
            rotated["previous"], rotated["before"] = rotated["current"], rotated["learnt"]
            rotated["current"], rotated["learnt"] = 0.0, 0
            states[full] = rotated

    def _merge_body(self, states: NDArray[Any]) -> None:
        """Move the quantiles: mix the step's shares above them into their probabilities, then read them off anew."""
        q = len(self.BODY)
        m = states["stepped"].astype(np.float64)
        n = states["learnt"].astype(np.float64) + states["before"]
        weight = m / np.maximum(n, 1.0)
        x, levels = self._points(states)
        share = np.maximum(states["above"].T, 0.5) / np.maximum(m, 1.0)
        mixed = levels[: q + 1].copy()
        mixed[:q] = -np.log10((1.0 - weight) * 10.0 ** -levels[:q] + weight * np.minimum(share, 1.0))
        mixed = np.maximum.accumulate(mixed, axis=0)
        target = -np.log10(self.BODY)[:, None]
        segment = np.minimum(np.maximum((mixed < target[:, None]).sum(axis=1) - 1, 0), q - 1)  # (q, S)
        at = np.arange(len(states))
        low, left = mixed[segment, at], x[segment, at]
        rise = mixed[segment + 1, at] - low
        share = np.minimum(np.maximum((target - low) / np.where(rise > 0, rise, 1.0), -1.0), 1.0)
        body = (left + share * (x[segment + 1, at] - left)).astype(np.float32)
        states["body"] = np.maximum.accumulate(body, axis=0).T

    def _forget(self, states: NDArray[Any]) -> None:
        stepped = states["stepped"].astype(np.uint16)
        states["learnt"] = stepped + np.minimum(states["learnt"] - stepped, self.config.step).astype(np.uint16)
        states["before"] = 0

    def _refer(self, states: NDArray[Any]) -> None:
        """Make the highest scores of both generations the reference."""
        k = self.TAIL
        ranks = np.arange(k)
        both = np.concatenate(
            [
                np.where(ranks < states["learnt"][:, None], states["current"], -np.inf),
                np.where(ranks < states["before"][:, None], states["previous"], -np.inf),
            ],
            axis=1,
        )
        highest = -np.sort(-both, axis=1)[:, :k]
        lowest = np.where(np.isfinite(highest), highest, np.inf).min(axis=1)
        states["tail"] = np.where(np.isfinite(highest), highest, np.where(np.isfinite(lowest), lowest, 0.0)[:, None])
        states["known"] = states["learnt"] + states["before"]

    def _pending(self, state: NDArray[Any]) -> NDArray[Any]:
        return np.asarray(state["learnt"].astype(np.int64) + state["before"])
