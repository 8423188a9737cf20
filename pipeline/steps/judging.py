"""The time policy over a batch: which observations of each series are accepted, what is missing before them, what starts anew.

    (N,) sorted by series ──▶ the policy, one by one (`pipeline.steps.kernels.policy`) ──▶ accepted, filled, anew, held, confirmed

Rows of a table have no policy: every one is accepted.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from detectors.compiling import POLICY, compiled
from pipeline.steps.policy import COUNTS, Policy

_USUAL = ("interval", "other", "decided", "agree", "against", "tried")
"""What is kept of a usual step, where there are gaps."""
_NO_TIMES, _NO_NUMBERS = np.zeros(0, np.int64), np.zeros(0, np.uint8)
_KEPT = -1
"""See `pipeline.steps.kernels.policy`."""


@dataclass(slots=True)
class Sorted:
    """The observations of a batch, sorted by series; a segment is one series' part.

    `order` (N,) gives the place in the batch; `rows`, `first`, `lengths` (K,) describe the segments.
    """

    order: NDArray[np.intp]
    rows: NDArray[np.intp]
    first: NDArray[np.intp]
    lengths: NDArray[np.intp]
    times: NDArray[np.int64]

    @classmethod
    def of(cls, rows: NDArray[np.intp], timestamps: NDArray[np.int64]) -> Sorted:
        """Sort observations with state rows and event times (N,); those of one series stay in log order."""
        # numpy sorts 16-bit integers by radix, 12 times as fast as wider ones.
        narrow = rows.astype(np.uint16) if rows.max() < 1 << 16 else rows
        order = np.argsort(narrow, kind="stable")
        by_row = rows[order]
        first = np.flatnonzero(np.concatenate([[True], by_row[1:] != by_row[:-1]]))
        return cls(order, by_row[first], first, np.diff(first, append=len(rows)), timestamps[order])

    def row_of(self, place: int) -> int:
        """The row of the segment in which a sorted place lies."""
        return int(self.rows[np.searchsorted(self.first, place, side="right") - 1])

    def steps(self, last: NDArray[np.int64]) -> NDArray[np.int64]:
        """From each to the next (N,), given the time before each segment (K,)."""
        steps = np.diff(self.times, prepend=0)
        steps[self.first] = self.times[self.first] - last
        return steps


@dataclass(slots=True)
class Verdict:
    """What the policy says of each sorted observation, (N,) each.

    Attributes
    ----------
    accepted
        Whether it enters the window.
    fills, since, apart
        How many missing values go before it, the time of the observation before them, and the usual step.
    anew
        The window starts anew with it, or with the held one that it confirms.
    confirmed
        Sorted place -> time and values (C,) of the held one that the observation there confirms.
    learnt
        (sorted place, row, ms) where a series' usual step changed; 0: it has none.
    """

    accepted: NDArray[np.bool_]
    fills: NDArray[np.intp]
    since: NDArray[np.int64]
    apart: NDArray[np.int64]
    anew: NDArray[np.bool_]
    confirmed: dict[int, tuple[int, NDArray[np.float64]]]
    learnt: list[tuple[int, int, int]]

    @classmethod
    def clean(cls, n: int) -> Verdict:
        """All n accepted, nothing missing."""
        none = np.zeros((2, n), np.int64)
        return cls(np.ones(n, np.bool_), np.zeros(n, np.intp), none[0], none[1], np.zeros(n, np.bool_), {}, [])


class Judge:
    """The time policy for all series of a partition.

    Of a series' record (`SeriesWindows`) it writes `held` and what the policy keeps, but for `last` and `ordinal`: these two are written with the window.

    Parameters
    ----------
    policy
        None for rows of a table.
    limit
        How far ahead a time is vouched for, in ms.
    intervals
        Usual steps that the model knows, in ms; 0: it has none.
    """

    def __init__(self, policy: Policy | None, limit: int, intervals: Mapping[str, int]) -> None:
        self._policy = policy
        self._gaps = policy is not None and policy.gaps
        self._limit = limit
        self._intervals = intervals
        self._compiled = (
            None if policy is None else np.array([policy.fill_gaps, policy.future_limit, policy.gaps], np.int64)
        )

    def admit(self, slots: NDArray[Any], row: int, name: str) -> None:
        """Put the usual step that the model knows of a new series into its row."""
        if self._gaps and (interval := self._intervals.get(name)) is not None:
            slots["interval"][row] = interval
            slots["decided"][row] = 1

    def judge(self, slots: NDArray[Any], batch: Sorted, values: NDArray[np.float64], counts: dict[str, int]) -> Verdict:
        """The policy for all segments."""
        N, K = len(batch.times), len(batch.rows)
        if self._compiled is None:
            return Verdict.clean(N)
        told, flags = np.empty((6, N), np.int64), np.empty((2, N), np.bool_)
        holds, happened = np.empty(K, np.int64), np.zeros(len(COUNTS) + 1, np.int64)
        usual = _USUAL if self._gaps else ()
        compiled(POLICY)(
            *(self._compiled, batch.rows, batch.lengths, batch.times),
            *(slots[n] for n in ("last", "ordinal", "held_at")),
            *(slots[n] if n in usual else _NO_TIMES for n in _USUAL[:2]),
            slots["size"],
            *(slots[n] if n in usual else _NO_NUMBERS for n in _USUAL[2:]),
            *(told, flags, holds, happened),
        )
        *of, changed = happened.tolist()
        for name, n in zip(COUNTS, of, strict=True):
            counts[name] += n
        verdict = Verdict(flags[0], told[0], told[1], told[2], flags[1], {}, [])
        if counts["confirmed"]:
            for at in np.flatnonzero(told[3]).tolist():
                place, row = int(told[4, at]), batch.row_of(at)
                held = slots["held"][row].copy() if place < 0 else values[place]
                verdict.confirmed[at] = (int(told[3, at]), held)
        if changed:
            which = np.flatnonzero(told[5] >= 0)
            verdict.learnt += [
                (at, batch.row_of(at), step) for at, step in zip(which.tolist(), told[5, which].tolist(), strict=True)
            ]
        for k in np.flatnonzero(holds != _KEPT).tolist():
            slots["held"][batch.rows[k]] = values[holds[k]] if holds[k] >= 0 else 0.0
        return verdict

    def vouched(self, slots: NDArray[Any], batch: Sorted, verdict: Verdict) -> NDArray[np.bool_]:
        """Which event times (N,), sorted, the observation before in the same series vouches for."""
        last, ordinal = slots["last"][batch.rows], slots["ordinal"][batch.rows]
        if self._policy is None:
            near = batch.steps(last) <= self._limit
            near[batch.first[ordinal == 0]] = False
            return near
        known = verdict.accepted.copy()
        starting = batch.first[ordinal == 0]
        known[starting] = False  # a series' very first is always accepted
        return known
