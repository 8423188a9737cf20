"""Which observations of a batch an alert depends on: those of series that have an alert, or are to get one.

An observation is anomalous when its score reaches the level and it deviates enough from what was expected. Whether that is so is one comparison of
arrays for all; only what is chosen here goes through Python, one observation at a time (`pipeline.alerts.lifecycle`); what one looks like is worked out when it asks (`looks`).
"""

from __future__ import annotations

from collections.abc import Collection, Iterable
from typing import Any, cast

import numpy as np
from numpy.typing import NDArray

from detectors.model import Model
from pipeline.alerts.kinds import NO_DATA
from pipeline.alerts.looks import Looks, members_of
from pipeline.alerts.row import INACTIVE, Judged
from pipeline.alerts.selecting.selectors import Selectors
from pipeline.steps.batches.observations import Observations
from pipeline.steps.batches.outcomes import Heard, Scored
from pipeline.steps.state import PartitionState

ORDINAL_BASE = "ordinal_base"
"""Scalar of the state: what an alert adds to the ordinal of its onset (`PartitionCore.miss`)."""

STILL = "still"
"""Bound of the state: before that event time no alert that is open changes of itself: no series is silent for too long, no silence over it ends."""
NEVER = 1 << 62
"""An event time that is not reached."""


class Attention:
    """The choice for all series of a partition; reads the component "alerts", writes nothing.

    Parameters
    ----------
    selectors
        Which deviations matter, and what is in range.
    model
        What it says of an observation, see `Looks`.
    hysteresis
        How far below the level a score keeps an alert going.
    silence, idle_after
        Milliseconds of event time after which a series that says nothing is looked at all the same. The second is of series with
        an alert that there is no data, and of all where the first is 0.
    """

    def __init__(self, selectors: Selectors, model: Model, hysteresis: float, silence: int, idle_after: int) -> None:
        self._selectors = selectors
        self._model = model
        self._hysteresis = hysteresis
        self._silence = silence
        self._idle_after = idle_after

    def judged(
        self, state: PartitionState, observations: Observations, heard: Heard, scored: Scored, absent: Collection[int]
    ) -> Judged | None:
        """The observations of all series that have an alert, are `absent` (rows) or are to get one; None where there is no such series."""
        lives = state.arrays["alerts"][: len(state.names)]
        # Of a score that only ranks any number may be the highest; one that is compared with a level says nothing at 0.
        opens: NDArray[np.bool_] = scored.live & (scored.alarm >= 0) & ((scored.score > 0) | np.isnan(scored.level))
        if some := opens.any():
            at = np.flatnonzero(opens)
            opens[at] = self._deviates(state, scored, at)
        out = self._selectors.outside(state, scored.rows, scored.observed)
        chosen, changes = lives["status"][heard.rows] != 0, self._changes(state, lives, heard)
        if out is None and not (some or absent or len(changes) or chosen.any()):  # as nearly always
            return None
        outside: NDArray[np.bool_] = np.zeros(len(scored), np.bool_) if out is None else np.asarray(out.any(axis=1))
        opens = np.asarray(opens | outside)
        if absent or opens.any():
            wanted = np.zeros(len(lives), np.bool_)
            wanted[scored.rows[opens]] = True
            wanted[list(absent)] = True
            chosen |= wanted[heard.rows]
        if not (absent or len(changes) or chosen.any()):
            return None
        at = np.flatnonzero(chosen)
        at = at[np.argsort(heard.rows[at], kind="stable")]
        live = np.flatnonzero(
            scored.live if out is None else scored.live | self._selectors.has_range(state, scored.rows)
        )
        window_of = np.full(len(observations), -1)
        window_of[scored.index[live]] = live
        windows = window_of[at]
        spoken = np.flatnonzero(windows >= 0)
        of = windows[spoken]
        keeps = self._keeps(state, scored, of, opens[of]) | outside[of]
        looks = Looks(self._model, scored, out, observations.originals, of[keeps])

        def column(values: NDArray[Any]) -> list[Any]:
            """What is said of windows, at the observations that have one; zeros at the others."""
            whole = np.zeros(len(at), values.dtype)
            whole[spoken] = values
            return cast("list[Any]", whole.tolist())

        return Judged(
            windows.tolist(),
            at.tolist(),
            observations.timestamps[at].tolist(),
            heard.accepted[at].tolist(),
            observations.offsets[at].tolist(),
            column(scored.ordinals[of] + state.scalars.get(ORDINAL_BASE, 0)),
            column(scored.score[of]),
            column(_beyond(scored.alarm[of], outside[of])),
            column(_beyond(scored.strength[of], outside[of])),
            column(opens[of]),
            column(keeps),
            column(scored.live[of]),
            column(outside[of]),
            heard.watermarks[at].tolist(),
            _parts(heard.rows[at], [*changes.tolist(), *absent]),
            column(members_of(scored, of)),
            lambda i, since, usual: looks.at(int(windows[i]), since, usual),
            None if heard.waited is None else heard.waited[at].tolist(),
        )

    def _keeps(
        self, state: PartitionState, scored: Scored, at: NDArray[np.intp], opens: NDArray[np.bool_]
    ) -> NDArray[np.bool_]:
        """Which of observations `at` are anomalous where there is an alert already.

        The hysteresis is at most half the level: normal scores must be able to end an alert. The alarm of a judgement needs none: its
        terms see stretches; that of a table has it.
        """
        score, level = scored.score[at], scored.level[at]
        keeps = (score >= np.maximum(level - self._hysteresis, level / 2)) & (score > 0)
        if scored.slack is None:
            keeps |= np.isnan(level) & opens
        else:
            keeps |= np.isnan(level) & (scored.alarm[at] >= -scored.slack[at])
        near = np.flatnonzero(keeps & ~opens)
        keeps[near] = self._deviates(state, scored, at[near])
        return keeps

    def _changes(self, state: PartitionState, lives: NDArray[Any], heard: Heard) -> NDArray[np.intp]:
        """Rows whose open alert may change of itself up to the end of the batch: all that are silent for too long or wait for a silence to end."""
        if not len(heard.watermarks) or heard.watermarks[-1] < state.bounds.get(STILL, 0):
            return np.zeros(0, np.intp)
        active = np.flatnonzero(lives["status"])
        until = self.silent_until(lives[active])
        looked_at = (until < heard.watermarks[-1]) | (lives["untold"][active] != 0)
        # Of those that are looked at, who looks says when they change next.
        state.bounds[STILL] = int(until[~looked_at].min(initial=NEVER)) + 1
        return np.asarray(active[looked_at])

    def silent_until(self, lives: NDArray[Any]) -> NDArray[np.int64]:
        """Up to which event time of the partition the alert of each (k,) waits for its series; `NEVER` where none is open."""
        patience = np.where((lives["kind"] != NO_DATA) & (self._silence > 0), self._silence, self._idle_after)
        return np.where((lives["status"] != INACTIVE) & (patience > 0), lives["heard_at"] + patience, NEVER)

    def _deviates(self, state: PartitionState, scored: Scored, at: NDArray[np.intp]) -> NDArray[np.bool_]:
        """Whether observations `at` (k,) deviate from what was expected, far enough and the right way."""
        if scored.expected is None or not self._selectors.deviations:
            return np.ones(len(at), np.bool_)
        return self._selectors.deviates(state, scored.rows[at], scored.observed[at], scored.expected[at])


def _parts(rows: NDArray[np.intp], others: Iterable[int]) -> list[tuple[int, int, int]]:
    """Cut sorted rows (k,) into series, and add other ones, of which nothing was heard."""
    present, first = np.unique(rows, return_index=True)
    last = np.append(first, len(rows))[1:]
    parts = {row: (row, a, b) for row, a, b in zip(present.tolist(), first.tolist(), last.tolist(), strict=True)}
    for row in others:
        parts.setdefault(row, (row, 0, 0))
    return [parts[row] for row in sorted(parts)]


def _beyond(alarm: NDArray[np.float64], outside: NDArray[np.bool_]) -> NDArray[np.float64]:
    """How many decades beyond what is let pass; what is out of range is so at least, whatever its score says."""
    return np.where(outside, np.maximum(np.nan_to_num(alarm), 0.0), alarm)
