"""From raw scores to calibrated ones: -log10 of the tail probability in the series' own history, clipped to 0..12.

A calibrated score of 3 says: one in a thousand of this series' scores is as high. That makes detectors, series and
streams comparable, and one threshold serve all.

A calibrator is settings and arithmetic; what it learns is a *state*, one numpy record (of `dtype`) per series and member,
kept by whoever owns the series (`pipeline.state` in the stream). Its reference moves on at fixed counts per series
(`step` scores), never at batch borders: a score is compared with the reference of the last full step, so that results
are the same however the stream was cut.

    series a   ···· step ····│···· step ····│··          a score here ──┐
    reference  learnt so far ▲ moves on     ▲ moves on                  ▼ is compared with the last ▲

`Empirical` is the product's default: the rank among the last few thousand scores, continued by a fitted tail.
`GaussianTail`, `Spot` and `Dspot` are the field's other ways.
"""

from __future__ import annotations

import itertools
from abc import ABC, abstractmethod
from collections.abc import Mapping
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, Field, ValidationError
from scipy.special import log_ndtr, ndtri_exp

from detectors.base import DetectorError

MAX_CALIBRATED = 12.0
_LN10 = float(np.log(10.0))
_HUGE = 1e30
"""Raw scores are kept as float32; beyond this they are as high as can be (so that sums of a step still fit)."""


class CalibratorConfig(BaseModel):
    """Settings of a calibrator; kept in the model file's header."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    step: int = Field(64, ge=8, le=255)
    """Scores of a series after which its reference moves on."""
    adapt_after: int = Field(256, ge=1, le=60_000)
    """Scores in a row above `poison_level` after which a lasting shift is taken as the new normal and learnt."""
    poison_level: float = Field(4.5, gt=0.0, le=MAX_CALIBRATED)
    """Calibrated scores from here on are poisoned: an anomaly must not raise its own bar. In each step one that follows a
    lower score is learnt, cut down to the raw score of this level; the others not at all (until `adapt_after`)."""
    minimum: int = Field(32, ge=8, le=10_000)
    """Learnt scores from which on a state is `ready`."""


class Calibrator(ABC):
    """Vectorised over series; at most 100 bytes of state per series and member.

    What is far out must be learnt a little, or a tail heavier than thought would stay so for ever: learning nothing
    above 3 halves the score on NAB (measured). So in each step the first poisoned score that follows a lower one is
    learnt, cut down to `poison_level`: rare events lift the bar, a long one lifts it once.

    A lasting shift is normal again `adapt_after + 2 * step` scores after it came, at the latest: `adapt_after` scores in a
    row above `poison_level` are not learnt, those after them are, and at the next border what was learnt before the
    shift shrinks to the weight of one step.

    A subclass says what its reference is (`_levels`, `_invert`), how a score is learnt (`_learn`) and how the reference
    moves on (`_advance`); the walk over series and steps is here, once.
    """

    name: ClassVar[str]
    Config: ClassVar[type[CalibratorConfig]] = CalibratorConfig

    def __init__(self, config: CalibratorConfig | None = None) -> None:
        self.config = config if config is not None else self.Config()

    @property
    @abstractmethod
    def dtype(self) -> np.dtype[Any]:
        """Structured, fixed size, little-endian; all zeros is a valid empty state.

        Every one has the fields `seen` (scores counted so far), `run` (poisoned scores in a row), `known` (learnt scores
        that the reference rests on) and `cut` (whether a poisoned score of this step was learnt, cut down).
        """

    def fit(self, raw: NDArray[np.float64]) -> NDArray[Any]:
        """State (0-d array of `dtype`) after raw scores (n,) of rows that the detector was not fitted on.

        NaN is left out. With fewer than `minimum` scores the state is not `ready` yet and goes on learning in the stream.
        """
        states = np.zeros(1, self.dtype)
        values = _single(raw[~np.isnan(raw)])
        if len(values):
            self._fit(states, values)
        state: NDArray[Any] = states[0:1].reshape(())
        return state

    def calibrate(
        self, state: NDArray[Any], rows: NDArray[np.intp], raw: NDArray[np.float64], learn: NDArray[np.bool_]
    ) -> NDArray[np.float64]:
        """Calibrate raw scores (B,) and move the states on, in place.

        Parameters
        ----------
        state : (S,) of `dtype`
            States of one member; a view, written to.
        rows : (B,)
            Which state each score belongs to. Scores of one row stand in stream order; rows may be mixed in any way.
        learn : (B,) bool
            False: score only, neither learnt nor counted (training part, filled gaps).

        Returns
        -------
        (B,) float64 in 0..12; NaN where raw is NaN (which is not learnt); 0 where the state is not `ready`.
        """
        out = np.full(len(raw), np.nan)
        order = _by_row(rows)
        order = order[~np.isnan(raw[order])]
        if not len(order):
            return out
        sorted_rows, values, counted = rows[order], _single(raw[order]), learn[order]
        first = np.flatnonzero(np.r_[True, sorted_rows[1:] != sorted_rows[:-1]])
        groups = np.zeros(len(order), np.intp)
        groups[first[1:]] = 1
        groups = np.cumsum(groups)  # (B,) 0, 0, 0, 1, 1, ...: the how-manyeth series of this batch
        touched = sorted_rows[first]
        states = state[touched]  # a copy; worked on, then written back
        levels = np.empty(len(order))
        for items in self._steps(states, groups, first, counted):
            levels[items] = self._one_step(states, groups[items], values[items], counted[items])
        state[touched] = states
        out[order] = levels
        return out

    def ready(self, state: NDArray[Any]) -> NDArray[np.bool_]:
        """(S,) whether a state has seen enough to speak of a tail."""
        return np.asarray(state["known"] >= self.config.minimum)

    def needed(self, state: NDArray[Any]) -> NDArray[np.int64]:
        """(S,) further scores until `ready`, if none of them is NaN: the progress of probation."""
        step, missing = self.config.step, self.config.minimum - self._pending(state).astype(np.int64)
        to_border = step - state["seen"].astype(np.int64) % step
        more = to_border + np.maximum(-(-(missing - to_border) // step), 0) * step
        return np.where(self.ready(state), 0, more)

    def raw_at(self, state: NDArray[Any], level: NDArray[np.float64]) -> NDArray[np.float64]:
        """The raw score that would be calibrated to `level` (k,) under states (k,): the expected band's half width.

        NaN where the state is not ready.
        """
        if not len(state):
            return np.empty(0)
        return np.where(self.ready(state), self._invert(state, np.clip(level, 0.0, MAX_CALIBRATED)), np.nan)

    def _steps(
        self, states: NDArray[Any], groups: NDArray[np.intp], first: NDArray[np.intp], counted: NDArray[np.bool_]
    ) -> list[NDArray[np.intp] | slice]:
        """The sorted scores cut where a reference moves on: each part meets at most one border per series, at its end."""
        step = self.config.step
        before: NDArray[np.intp] = np.cumsum(counted) - counted
        before -= before[first][groups]
        part = (before + (states["seen"] % step)[groups]) // step
        parts = int(part.max()) + 1
        if parts == 1:
            return [slice(None)]
        by_part = np.argsort(part, kind="stable")
        bounds = np.searchsorted(part[by_part], np.arange(parts + 1))
        return [by_part[a:b] for a, b in itertools.pairwise(bounds) if b > a]

    def _one_step(
        self,
        states: NDArray[Any],
        groups: NDArray[np.intp],
        values: NDArray[np.float32],
        counted: NDArray[np.bool_],
    ) -> NDArray[np.float64]:
        """Score values against one reference each, learn them, and move on the references whose step is full."""
        new = np.r_[True, groups[1:] != groups[:-1]]
        present, local = groups[new], np.cumsum(new) - 1
        mine = states[present] if len(present) < len(states) else states
        ready = self.ready(mine)
        levels = self._levels(mine, local, values)
        np.clip(levels, 0.0, MAX_CALIBRATED, out=levels)
        if not ready.all():
            levels[~ready[local]] = 0.0
        if not counted.all():
            local, values, kept = local[counted], values[counted], levels[counted]
        else:
            kept = levels
        if not len(local):
            return levels
        poisoned = kept >= self.config.poison_level
        if poisoned.any():
            local_learnt, values = self._spared(mine, local, values, poisoned)
        else:
            local_learnt = local
            mine["run"] = np.where(np.bincount(local, minlength=len(mine)) > 0, 0, mine["run"])
        if len(local_learnt):
            self._learn(mine, local_learnt, values)
        mine["seen"] += np.bincount(local, minlength=len(mine)).astype(np.uint32)
        full = np.flatnonzero((mine["seen"] % self.config.step == 0) & (np.bincount(local, minlength=len(mine)) > 0))
        if len(full):
            moved = mine[full]
            over = moved["run"].astype(np.int64) - self.config.adapt_after
            shifted = (over > 0) & (
                over <= self.config.step
            )  # since this step; later steps of the run are like any other
            if shifted.any():
                forgetful = moved[shifted]
                self._forget(forgetful)
                moved[shifted] = forgetful
            self._advance(moved)
            moved["cut"] = 0
            mine[full] = moved
        if mine is not states:
            states[present] = mine
        return levels

    def _spared(
        self,
        states: NDArray[Any],
        local: NDArray[np.intp],
        values: NDArray[np.float32],
        poisoned: NDArray[np.bool_],
    ) -> tuple[NDArray[np.intp], NDArray[np.float32]]:
        """What is learnt where some scores are poisoned: whose, and which values."""
        at = np.arange(len(local))
        start = np.flatnonzero(np.r_[True, local[1:] != local[:-1]])
        begin = np.zeros(len(local), np.intp)
        begin[start] = start
        begin = np.maximum.accumulate(begin)
        normal = np.maximum.accumulate(np.where(poisoned, -1, at))
        unbroken = normal < begin  # poisoned since the first score of this part
        run = at - np.where(unbroken, begin - 1, normal)
        run += np.where(unbroken, states["run"].astype(np.int64)[local], 0)
        last = np.r_[start[1:] - 1, len(local) - 1]
        states["run"][local[last]] = np.minimum(run[last], 65_535)
        learnt = ~poisoned | (run > self.config.adapt_after)
        barred = np.flatnonzero(~learnt & (run == 1))
        mine, first = np.unique(local[barred], return_index=True)
        open_ = states["cut"][mine] == 0
        mine, first = mine[open_], barred[first[open_]]
        if len(mine):
            states["cut"][mine] = 1
            bar = self._invert(states[mine], np.full(len(mine), self.config.poison_level))
            values = values.copy()
            values[first] = np.minimum(values[first], _single(bar))
            learnt[first] = True
        return local[learnt], values[learnt]

    @abstractmethod
    def _fit(self, states: NDArray[Any], raw: NDArray[np.float32]) -> None:
        """Learn scores (n,), none of them NaN, into the one empty state and make them its reference."""

    @abstractmethod
    def _levels(
        self, states: NDArray[Any], local: NDArray[np.intp], values: NDArray[np.float32]
    ) -> NDArray[np.float64]:
        """Calibrated scores (n,), not yet clipped, of values (n,) under `states[local]`; anything where not ready."""

    @abstractmethod
    def _invert(self, states: NDArray[Any], level: NDArray[np.float64]) -> NDArray[np.float64]:
        """Raw scores (k,) that states (k,) calibrate to levels (k,)."""

    @abstractmethod
    def _learn(self, states: NDArray[Any], local: NDArray[np.intp], values: NDArray[np.float32]) -> None:
        """Take values (n,) into `states[local]`, in place, in a way that does not depend on how they are cut."""

    @abstractmethod
    def _advance(self, states: NDArray[Any]) -> None:
        """Move the reference of states whose step is full on, in place."""

    @abstractmethod
    def _forget(self, states: NDArray[Any]) -> None:
        """Before `_advance`: shrink what was learnt before this step to the weight of one step, in place."""

    @abstractmethod
    def _pending(self, state: NDArray[Any]) -> NDArray[Any]:
        """(S,) learnt scores, those included that the reference does not rest on yet."""


def _single(raw: NDArray[np.float64]) -> NDArray[np.float32]:
    return np.clip(raw, -_HUGE, _HUGE).astype(np.float32)


def _by_row(rows: NDArray[np.intp]) -> NDArray[np.intp]:
    """Stable order by row; 16-bit keys are sorted by radix, several times as fast."""
    if len(rows) and int(rows.max()) < 65_536:
        return np.argsort(rows.astype(np.uint16), kind="stable")
    return np.argsort(rows, kind="stable")


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

    TAIL: ClassVar[int] = 5
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
        log_n = np.log10(n + 1.0)
        for j in range(k):  # the how-manyeth highest
            x[q + k - 1 - j] = states["tail"][:, j]
            levels[q + k - 1 - j] = log_n - np.log10(j + 1.0)
        for j in range(q):
            # A short history's highest scores reach down into the body: there they are the better witness.
            x[j] = np.minimum(states["body"][:, j], x[q])
            levels[j] = np.minimum(-np.log10(self.BODY[j]), levels[q])
        return x, levels

    def _scale(self, x: NDArray[np.float64], levels: NDArray[np.float64]) -> NDArray[np.float64]:
        """Scale of the tail beyond the highest score (S,): its mean excess, not less than a share of the body's."""
        k, q = self.TAIL, len(self.BODY)
        excess = np.zeros(x.shape[1])
        for j in range(1, k):
            excess += x[q + j] - x[q]
        body = (x[q] - x[0]) / (np.maximum(levels[q] - levels[0], 0.1) * _LN10)
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
        segment = np.clip(below - 1, 0, P - 2)
        width = np.diff(x, axis=0)
        slope = np.diff(levels, axis=0) / np.where(width > 0, width, 1.0)
        flat = segment * S + local
        left = x.ravel()[flat]
        out = levels.ravel()[flat] + (value - left) * slope.ravel()[flat]
        out = np.minimum(out, levels.ravel()[flat + S])
        out[below == 0] = np.minimum(out[below == 0], levels[0][local[below == 0]])
        beyond = np.flatnonzero(below == P)
        if len(beyond):
            at = local[beyond]
            over = (value[beyond] - x[-1][at]) / self._scale(x, levels)[at]
            if self.config.shape > 0:
                over = np.log1p(self.config.shape * over) / self.config.shape
            out[beyond] = levels[-1][at] + over / _LN10
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
        over = np.maximum(level - levels[-1], 0.0) * _LN10
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
        first = np.flatnonzero(np.r_[True, local[1:] != local[:-1]])
        rank = np.arange(len(local)) - np.repeat(first, np.diff(np.r_[first, len(local)]))
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
        mixed = levels[: q + 1].copy()
        for j in range(q):
            share = np.maximum(states["above"][:, j], 0.5) / np.maximum(m, 1.0)
            mixed[j] = -np.log10((1.0 - weight) * 10.0 ** -levels[j] + weight * np.minimum(share, 1.0))
        mixed = np.maximum.accumulate(mixed, axis=0)
        body = np.empty((len(states), q), np.float32)
        at = np.arange(len(states))
        for j in range(q):
            target = -np.log10(self.BODY[j])
            segment = np.clip((mixed < target).sum(axis=0) - 1, 0, q - 1)
            rise = mixed[segment + 1, at] - mixed[segment, at]
            share = (target - mixed[segment, at]) / np.where(rise > 0, rise, 1.0)
            share = np.clip(share, -1.0, 1.0)
            body[:, j] = x[segment, at] + share * (x[segment + 1, at] - x[segment, at])
        states["body"] = np.maximum.accumulate(body, axis=1)

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


class GaussianTailConfig(CalibratorConfig):
    """Settings of `GaussianTail`."""

    memory: int = Field(4096, ge=64)
    """Learnt scores over which mean and variance are taken (exponentially forgotten)."""


class GaussianTail(Calibrator):
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
        return np.asarray(-log_ndtr(-z) / _LN10)

    def _invert(self, states: NDArray[Any], level: NDArray[np.float64]) -> NDArray[np.float64]:
        z = -ndtri_exp(np.minimum(-level * _LN10, -1e-12))
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


class SpotConfig(CalibratorConfig):
    """Settings of `Spot` and `Dspot`."""

    peak_probability: float = Field(0.02, gt=0.0, lt=0.5)
    """Share of the scores fitted on that lie above the peak threshold."""
    memory: int = Field(8192, ge=256)
    """Scores after which the totals over the peaks are halved, so that the tail moves on."""
    depth: int = Field(256, ge=8)
    """`Dspot`: scores over which the local mean is taken."""


class Spot(Calibrator):
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
        body = (states["threshold"] - states["centre"]) / (np.maximum(at_threshold + np.log10(0.5), 0.1) * _LN10)
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
        out[over] = at_threshold[at] + np.log1p(bent * excess) / bent / _LN10
        return np.asarray(out)

    def _invert(self, states: NDArray[Any], level: NDArray[np.float64]) -> NDArray[np.float64]:
        at_threshold, scale, shape = self._tail(states)
        half = -np.log10(0.5)
        rise = at_threshold - half
        share = (level - half) / np.where(rise > 0, rise, 1.0)
        inside = states["centre"] + share * (states["threshold"] - states["centre"])
        bent = np.maximum(shape, 1e-9)
        beyond = np.expm1(np.maximum(level - at_threshold, 0.0) * _LN10 * bent) / bent * scale
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


CALIBRATORS: Mapping[str, type[Calibrator]] = {c.name: c for c in (Empirical, GaussianTail, Spot, Dspot)}


def create(name: str, config: CalibratorConfig | Mapping[str, Any] | None = None) -> Calibrator:
    """A calibrator by name, with its settings (as they stand in a model file's header) or the defaults.

    Raises
    ------
    DetectorError
        No calibrator has that name, or the settings are not those of this one.
    """
    if (kind := CALIBRATORS.get(name)) is None:
        msg = f"no calibrator {name!r}; there are {', '.join(CALIBRATORS)}"
        raise DetectorError(msg)
    if config is None or isinstance(config, CalibratorConfig):
        if config is not None and not isinstance(config, kind.Config):
            msg = f"calibrator {name!r} takes {kind.Config.__name__}, got {type(config).__name__}"
            raise DetectorError(msg)
        return kind(config)
    try:
        return kind(kind.Config.model_validate(dict(config)))
    except ValidationError as error:
        first = error.errors()[0]
        msg = f"calibrator {name!r}: setting {'.'.join(map(str, first['loc']))}: {first['msg']}"
        raise DetectorError(msg) from error
