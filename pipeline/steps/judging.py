"""The time policy over a batch: which observations of each series are accepted, what is missing before them, what starts anew.

    (N,) sorted by series ──▶ steps from one to the next ──┬── no oddity in the segment ─────▶ accepted, all at once
                                                           └── one, or no usual step yet ────▶ `SeriesClock`, one by one

The policy is `pipeline.steps.policy`; it is asked one by one only for the series of a batch that have an oddity or whose usual step is
not known yet. Rows of a table have no policy: every one is accepted.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pipeline.steps.policy import Policy, SeriesClock, near


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

    Of a series' record (`SeriesWindows`) it writes `held` and what `SeriesClock` keeps, but for `last` and `ordinal`: these two are
    written with the window.

    Parameters
    ----------
    policy
        None for rows of a table.
    limit
        How far ahead a time is vouched for, in ms.
    intervals
        Usual steps that the model knows, in ms; 0: it has none.
    kept
        Names of the fields of a series' record.
    """

    def __init__(self, policy: Policy | None, limit: int, intervals: Mapping[str, int], kept: tuple[str, ...]) -> None:
        self._policy = policy
        self._gaps = policy is not None and policy.gaps
        self._limit = limit
        self._intervals = intervals
        self._clock_fields = [n for n in SeriesClock.__slots__ if n in kept]
        self._kept_by_walk = [n for n in self._clock_fields if n not in ("last", "ordinal")]

    def admit(self, slots: NDArray[Any], row: int, name: str) -> None:
        """Put the usual step that the model knows of a new series into its row."""
        if self._gaps and (interval := self._intervals.get(name)) is not None:
            slots["interval"][row] = interval
            slots["decided"][row] = 1

    def judge(self, slots: NDArray[Any], batch: Sorted, values: NDArray[np.float64], counts: dict[str, int]) -> Verdict:
        """The policy for all segments: at once for those without any oddity, one by one for the others."""
        verdict = Verdict.clean(len(batch.times))
        if self._policy is None:
            return verdict
        rows = batch.rows
        last = slots["last"][rows]
        steps = batch.steps(last)
        least, most = np.ones(len(rows), np.int64), np.full(len(rows), self._limit)
        if self._gaps:
            interval = np.where(slots["decided"][rows] != 0, slots["interval"][rows], 0)
            known = interval > 0
            least[known], most[known] = near(interval[known])
        steps[batch.first[last == 0]] = least[last == 0]
        odd = (steps < np.repeat(least, batch.lengths)) | (steps > np.repeat(most, batch.lengths))
        slow = np.logical_or.reduceat(odd, batch.first) | (slots["held_at"][rows] != 0)
        if self._gaps:
            slow |= slots["decided"][rows] == 0
            calm = rows[~slow]
            slots["against"][calm], slots["agree"][calm], slots["other"][calm] = 0, 0, 0  # in a row
        for k in np.flatnonzero(slow).tolist():
            part = slice(int(batch.first[k]), int(batch.first[k] + batch.lengths[k]))
            self._walk(slots[rows[k]], int(rows[k]), part, batch.times, values, odd, verdict, counts)
        broken = np.flatnonzero((slots["size"][rows] == 0) & (last != 0))  # by `start_anew`
        if len(broken):
            self._begin_anew(batch, broken, verdict, counts)
        return verdict

    def _begin_anew(self, batch: Sorted, broken: NDArray[np.intp], verdict: Verdict, counts: dict[str, int]) -> None:
        """The first accepted observation of segments `broken` (k,) begins its series' window; nothing is filled in before it."""
        for k in broken.tolist():
            part = slice(int(batch.first[k]), int(batch.first[k] + batch.lengths[k]))
            accepted = np.flatnonzero(verdict.accepted[part])
            if not len(accepted):
                continue
            at = part.start + int(accepted[0])
            if at in verdict.confirmed:  # it came behind the break, with the one that it confirms
                continue
            counts["filled"] -= int(verdict.fills[at])
            counts["restarted"] += not verdict.anew[at]
            verdict.fills[at] = 0
            verdict.anew[at] = True

    def _walk(
        self,
        slot: np.void,
        row: int,
        part: slice,
        times: NDArray[np.int64],
        values: NDArray[np.float64],
        odd: NDArray[np.bool_],
        verdict: Verdict,
        counts: dict[str, int],
    ) -> None:
        """Ask the policy for the observations of one segment, all but those that follow each other as they should."""
        assert self._policy is not None
        clock = SeriesClock(self._policy, **{name: int(slot[name]) for name in self._clock_fields})
        held = slot["held"].copy()
        # `odd` compares neighbours and was made with the usual step of before: it says nothing where the step is learnt
        # on the way, or where the neighbour was not accepted.
        marked = iter([*np.flatnonzero(odd[part]).tolist(), part.stop - part.start])
        calm = settled = clock.settled
        of_part = times[part].tolist()
        i, n, next_odd = 0, len(of_part), -1
        while True:
            if calm:
                while next_odd < i:
                    next_odd = next(marked)
                if next_odd > i:
                    clock.follow(of_part[next_odd - 1], next_odd - i)
                    i = next_odd
            if i == n:
                break
            held_at, last = clock.held_at, clock.last
            usual = clock.usual
            ruling = clock.judge(of_part[i])
            if clock.usual != usual:
                verdict.learnt.append((part.start + i, row, clock.usual))
            settled = settled and clock.settled and clock.usual == usual
            calm = settled and ruling.accepted
            if ruling.counts:
                at = part.start + i
                for what in ruling.counts:
                    counts[what] += 1
                verdict.accepted[at] = ruling.accepted
                verdict.anew[at] = ruling.anew
                if ruling.confirms:
                    verdict.confirmed[at] = (held_at, held)
                    last = held_at
                if ruling.fills:
                    verdict.fills[at], verdict.since[at], verdict.apart[at] = ruling.fills, last, clock.interval
                if clock.held_at not in (0, held_at):
                    held = values[at]
            i += 1
        for name in self._kept_by_walk:
            slot[name] = getattr(clock, name)
        slot["held"] = held if clock.held_at else 0.0

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
