"""What all calibrators share: settings, the walk over series and steps, poison and lasting shifts.

series a   ···· step ····│···· step ····│··          a score here ──┐
reference  learnt so far ▲ moves on     ▲ moves on                  ▼ is compared with the last ▲
"""

from __future__ import annotations

import itertools
from abc import ABC, abstractmethod
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, Field

from detectors.structured import put_rows, rows_at

MAX_CALIBRATED = 12.0
LN10 = float(np.log(10.0))
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
        states = rows_at(state, touched)  # worked on, then written back
        levels = np.empty(len(order))
        for items in self._steps(states, groups, first, counted):
            levels[items] = self._one_step(states, groups[items], values[items], counted[items])
        put_rows(state, touched, states)
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

    def against(self, state: NDArray[Any], raw: NDArray[np.float64]) -> NDArray[np.float64]:
        """How rare raw scores (n,) are under one state (0-d), which does not move on: calibrated, but not clipped.

        What a file's rows are ranked by, where several detectors judge them: the same raw score is worth the same in every row.
        NaN where raw is NaN.
        """
        out = np.full(len(raw), np.nan)
        known = np.flatnonzero(~np.isnan(raw))
        out[known] = self._levels(state.reshape(1), np.zeros(len(known), np.intp), _single(raw[known]))
        return out

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
        new = np.ones(len(groups), np.bool_)
        np.not_equal(groups[1:], groups[:-1], out=new[1:])
        present, local = groups[new], np.cumsum(new) - 1
        mine = rows_at(states, present) if len(present) < len(states) else states
        ready = self.ready(mine)
        levels = self._levels(mine, local, values)
        np.minimum(np.maximum(levels, 0.0, out=levels), MAX_CALIBRATED, out=levels)
        if not ready.all():
            levels[~ready[local]] = 0.0
        if not counted.all():
            local, values, kept = local[counted], values[counted], levels[counted]
        else:
            kept = levels
        if not len(local):
            return levels
        counts = np.bincount(local, minlength=len(mine))
        poisoned = kept >= self.config.poison_level
        if poisoned.any():
            local_learnt, values = self._spared(mine, local, values, poisoned)
        else:
            local_learnt = local
            mine["run"] = np.where(counts > 0, 0, mine["run"])
        if len(local_learnt):
            self._learn(mine, local_learnt, values)
        mine["seen"] += counts.astype(np.uint32)
        full = np.flatnonzero((mine["seen"] % self.config.step == 0) & (counts > 0))
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
            put_rows(states, present, mine)
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
