"""`Empirical` in numpy, all series and a step at once: what the compiled one must equal by bits."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from detectors.calibration.empirical import BODY, TAIL, Empirical
from detectors.calibration.stepped import SteppedCalibrator


class NumpyEmpirical(SteppedCalibrator, Empirical):
    """The same settings, states and tail; another walk."""

    def _learn(self, states: NDArray[Any], local: NDArray[np.intp], values: NDArray[np.float32]) -> None:
        S = len(states)
        started = states["known"] > 0
        for j in range(len(BODY)):
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
        k = TAIL
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
        q = len(BODY)
        m = states["stepped"].astype(np.float64)
        n = states["learnt"].astype(np.float64) + states["before"]
        weight = m / np.maximum(n, 1.0)
        x, levels = self._points(states)
        share = np.maximum(states["above"].T, 0.5) / np.maximum(m, 1.0)
        mixed = levels[: q + 1].copy()
        mixed[:q] = -np.log10((1.0 - weight) * 10.0 ** -levels[:q] + weight * np.minimum(share, 1.0))
        mixed = np.maximum.accumulate(mixed, axis=0)
        target = -np.log10(BODY)[:, None]
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
        k = TAIL
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
