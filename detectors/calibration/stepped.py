"""Calibrators whose walk over series and steps is numpy's, all series at once."""

from __future__ import annotations

import itertools
from abc import abstractmethod
from typing import Any

import numpy as np
from numpy.typing import NDArray

from detectors.calibration.base import MAX_CALIBRATED, Calibrator, single
from detectors.structured import put_rows, rows_at


class SteppedCalibrator(Calibrator):
    """A subclass says how a score is learnt (`_learn`) and how the reference moves on (`_advance`); the walk is here, once."""

    def calibrate(
        self, state: NDArray[Any], rows: NDArray[np.intp], raw: NDArray[np.float64], learn: NDArray[np.bool_]
    ) -> NDArray[np.float64]:
        """See `Calibrator.calibrate`."""
        out = np.full(len(raw), np.nan)
        order = _by_row(rows)
        order = order[~np.isnan(raw[order])]
        if not len(order):
            return out
        sorted_rows, values, counted = rows[order], single(raw[order]), learn[order]
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
            values[first] = np.minimum(values[first], single(bar))
            learnt[first] = True
        return local[learnt], values[learnt]

    @abstractmethod
    def _learn(self, states: NDArray[Any], local: NDArray[np.intp], values: NDArray[np.float32]) -> None:
        """Take values (n,) into `states[local]`, in place, in a way that does not depend on how they are cut."""

    @abstractmethod
    def _advance(self, states: NDArray[Any]) -> None:
        """Move the reference of states whose step is full on, in place."""

    @abstractmethod
    def _forget(self, states: NDArray[Any]) -> None:
        """Before `_advance`: shrink what was learnt before this step to the weight of one step, in place."""


def _by_row(rows: NDArray[np.intp]) -> NDArray[np.intp]:
    """Stable order by row; 16-bit keys are sorted by radix, several times as fast."""
    if len(rows) and int(rows.max()) < 65_536:
        return np.argsort(rows.astype(np.uint16), kind="stable")
    return np.argsort(rows, kind="stable")
