"""A partition's event time: what the series that vote for it vouch for, and when each series was last heard of by it.

    observations ──┬── border ──┬── border ──┬── border ──▶        at fixed counts of observations
                   │  votes     │  votes     │  votes
                   └────────────┴────────────┴─▶ lower median of the votes, which never falls

- A series' *vote* is its newest event time that the one before it vouches for (`Pushed.vouched`). The partition's event time is the lower
  median of the votes: of fewer than three it is the slowest. So a minority of clocks that run ahead or behind, by any amount, changes
  nothing for the others.
- A series votes while it was heard of lately, or those that are gone would stop the clock. Lately is measured by *progress*: at each border
  the lower median of how far the series that were heard of since the one before moved on, each by its own clock. By how much a clock is wrong
  drops out of it; so it tells the time that went by where no clock can be believed, live and where years of history are read in a second
  (Kafka's own time stamps stand still there, and are a producer's clock by default). A step counts as at most twice the one before: when all
  were away, who comes back first must not outlive the votes of the others.
- Until `LATELY` went by there is no event time: one wrong clock that is the first to be heard of would have set it.
- Where nothing comes any more, a *tick* carries event time on, and progress with it (`EventTime.tick`): it is in the log of decisions.
- Borders come about once per vote: where V series vote, every V observations, rounded up to a power of two, looked at anew now and then.
  At each the votes are looked at (`pipeline.steps.kernels.votes`); that costs as much as the batch has records.

All is a function of the log: where a batch begins and ends changes nothing.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from detectors.compiling import CONCERNS, VOTES, compiled
from pipeline.steps.batches.outcomes import Absent
from pipeline.steps.clock.absence import FIELDS, Absence, Course, Happened, Patience
from pipeline.steps.state import PartitionState

COMPONENT = "clock"

LATELY = 300_000
"""Milliseconds of progress for which a series votes after it was heard of, at least..."""
STEPS = 3
"""...or so many times its own last step."""

APART = 900_000
"""Milliseconds from which on a clock is said to be wrong."""

BORDERS = 64
"""Between two looks at how far apart borders should be; ..."""
OBSERVATIONS = 4096
"""...and no fewer observations than this, as soon as the partition has had so many."""

CONCERNED = "concerned"
"""In the lists of the state: rows of all series that vote, or of which something was heard since the last border, and maybe of others."""

_NONE = np.iinfo(np.int64).max

DTYPE = np.dtype(
    [
        ("vote", "<i8"),  # newest event time that was vouched for, 0: none yet
        ("step", "<i8"),  # from the vote before to this one
        ("moved", "<i8"),  # progress since the last border
        ("at", "<i8"),  # progress at the border behind the vote
        ("heard_at", "<i8"),  # the partition's event time when anything was last heard of the series
        ("fresh", "u1"),  # it voted anew since the last border
        ("votes", "u1"),
        *FIELDS,
    ]
)
"""What is kept of a series; all zeros: nothing was heard of it."""


class EventTime:
    """The clock of one partition. What it knows is in the component "clock" and in the scalars of the partition's state.

    Parameters
    ----------
    patience
        When a series that says nothing is absent; None: never.

    Attributes
    ----------
    state
        The partition's.
    """

    def __init__(self, state: PartitionState, patience: Patience | None = None) -> None:
        self.state = state
        self._absence = None if patience is None else Absence(state, patience)
        self._passed: list[Course] = []

    @property
    def now(self) -> int:
        """The partition's event time in ms since the epoch; 0 before the first vote."""
        return self.state.scalars.get("watermark", 0)

    @property
    def begun(self) -> int:
        """What it was when there first was one; 0 before, and where that was before this was kept."""
        return self.state.scalars.get("begun", 0)

    @property
    def voters(self) -> int:
        """How many series voted at the last border."""
        return self.state.scalars.get("voters", 0)

    def advance(
        self,
        rows: NDArray[np.intp],
        places: NDArray[np.int64],
        times: NDArray[np.int64],
        vouched: NDArray[np.bool_],
        stop: int,
        learnt: Sequence[tuple[int, int, int]] = (),
    ) -> tuple[NDArray[np.int64], list[Absent]]:
        """Take N observations; returns the partition's event time after each, (N,), and which series are absent from where on, in order.

        Parameters
        ----------
        rows, times, vouched : (N,)
            Of the observations in log order: their series' rows, event times, and whether the one before vouches for the time.
        places : (N,)
            The how-manyeth of the partition's observations each is, from 0.
        stop
            How many observations the partition will have had.
        learnt
            (observation, row, usual step in ms) where a series' usual step changed, in order.
        """
        scalars = self.state.scalars
        begun = scalars.get("observations", 0)
        happened: list[Happened] = []
        passed: list[Course] = []
        schedule = _Schedule.of(scalars)
        columns = self._concerned(rows, borders=schedule.next <= stop)
        watermarks = np.empty(len(rows), np.int64)
        done = 0
        while done < len(rows) or schedule.next <= stop:
            borders = schedule.borders(stop)
            end = len(rows) if stop < schedule.look else int(np.searchsorted(places, borders.last))
            part = slice(done, end)
            here = [(i - done, row, step) for i, row, step in learnt if done <= i < end]
            of = rows[part], places[part], times[part], vouched[part]
            more, course = self._piece(columns, borders, *of, here, watermarks[part])
            happened += more
            passed.append(course)
            if borders.count:
                schedule.passed(borders.last, self.voters)
            done = end
        schedule.keep(scalars)
        self._passed = passed
        if self._absence is None:
            return watermarks, []
        said = self._absence.told(happened, passed)
        return watermarks, [replace(one, cause=_cause(places, n - 1), behind=n - 1 - begun) for n, one in said]

    def tick(self, to: int) -> list[Absent]:
        """Nothing comes any more, and it is `to` now, ms: a border here, and one at that time. Which series are absent, in order."""
        scalars = self.state.scalars
        if not 0 < self.now < to:
            return []
        count = scalars.get("observations", 0)
        happened: list[Happened] = []
        passed: list[Course] = []
        for goes_on in (False, True):
            if goes_on:
                scalars["progress"] = scalars.get("progress", 0) + max(to - self.now, 0)
                scalars["watermark"] = max(to, self.now)
            none = np.zeros(0, np.int64)
            of = none.astype(np.intp)
            columns = self._concerned(of, borders=True)
            more, course = self._piece(columns, _Borders(count, 1, 1), of, none, none, none.astype(np.bool_), (), none)
            happened += more
            passed.append(course)
        return [] if self._absence is None else [one for _, one in self._absence.told(happened, passed)]

    def next_change(self) -> int:
        """The event time from which on a tick would change anything, ms, if nothing comes: somebody votes no more, or is absent, or gone."""
        scalars, clocks = self.state.scalars, self.state.arrays[COMPONENT]
        voting = clocks[clocks["votes"] != 0]
        at = _NONE
        if len(voting):  # the last of them; without any, the input has ended
            left = voting["at"] + np.maximum(LATELY, STEPS * voting["step"]) - scalars.get("progress", 0)
            at = self.now + max(int(left.max()), 0) + 1
        return int(at if self._absence is None else min(at, self._absence.next_change(self.now)))

    def behind(self, places: NDArray[np.int64], before: int) -> NDArray[np.int64]:
        """What it was behind the how-manyeth observations of those last taken, (n,); `before` them it was that."""
        borders = [border for course in self._passed for border in course.borders()]
        times = np.array([before, *(now for _, now, _ in borders)], np.int64)
        return np.asarray(times[np.searchsorted([count for count, _, _ in borders], places + 1, side="right")])

    def idle_rows(self, idle_after: int) -> NDArray[np.intp]:
        """Rows of series of which nothing was heard while event time went on by more than `idle_after` ms, rising."""
        rows = self.state.rows()
        return rows[self.state.arrays[COMPONENT]["heard_at"][rows] < self.now - idle_after]

    def apart(self, least: int) -> list[tuple[str, int]]:
        """Series that vote and whose clock is `least` ms or more from the median of the votes: name, and how far ahead; farthest first."""
        clocks = self.state.arrays[COMPONENT]
        voting = np.flatnonzero(clocks["votes"][: len(self.state.names)])
        if len(voting) < 3:  # of two that differ nobody can say which is wrong
            return []
        votes = clocks["vote"][voting]
        ahead = votes - np.sort(votes)[(len(votes) - 1) // 2]
        far = np.flatnonzero(np.abs(ahead) >= np.maximum(least, 2 * STEPS * clocks["step"][voting]))
        found = [
            (self.state.names[row] or "", by) for row, by in zip(voting[far].tolist(), ahead[far].tolist(), strict=True)
        ]
        return sorted(found, key=lambda f: (-abs(f[1]), f[0]))

    def _concerned(self, rows: NDArray[np.intp], *, borders: bool) -> NDArray[np.intp]:
        """Rows of series of which something is heard, and where there are borders of all that a border may change, each once."""
        clocks, lists = self.state.arrays[COMPONENT], self.state.lists
        if CONCERNED not in lists:
            lists[CONCERNED] = [np.flatnonzero(clocks["votes"] | clocks["fresh"] | clocks["said"])]
        # Nothing but an observation adds to them; many others may be idle, and are not looked at.
        known = np.concatenate(lists[CONCERNED]) if borders else rows[:0]
        columns = np.empty(len(known) + len(rows), np.intp)
        columns = columns[: compiled(CONCERNS)(clocks, known, rows, columns)]
        if borders:
            lists[CONCERNED] = [columns]
        else:
            lists[CONCERNED].append(rows)
        return columns

    def _piece(
        self,
        columns: NDArray[np.intp],
        borders: _Borders,
        rows: NDArray[np.intp],
        places: NDArray[np.int64],
        times: NDArray[np.int64],
        vouched: NDArray[np.bool_],
        learnt: Sequence[tuple[int, int, int]],
        event_times: NDArray[np.int64],
    ) -> tuple[list[Happened], Course]:
        """Move on over n observations and the K borders among and behind them; who went or came back. `event_times` (n,) takes that after each of them."""
        clocks, scalars = self.state.arrays[COMPONENT], self.state.scalars
        n, K, S = len(rows), borders.count, len(columns)
        changed = np.zeros(S, np.bool_) if self._absence is None else clocks["said"][columns] != 0
        column, block, steps = np.empty((3, n), np.int64)
        before = np.empty(S, np.int64)
        told = np.empty((3, K + 1), np.int64)
        told[:, 0] = self.now, scalars.get("progress", 0), self.voters
        compiled(VOTES)(
            *(borders.first, borders.spacing, clocks, columns, rows, places, times, vouched),
            *(column, block, steps, before, event_times, changed, told),
        )
        now, progress, voters = told[:, -1].tolist()
        begun = self.begun
        happened: list[Happened] = []
        if now and not self.now:
            begun = scalars["begun"] = int(told[0][told[0] > 0][0])
        scalars.update(watermark=now, progress=progress, voters=voters)
        course = Course(told, borders.first, borders.spacing, begun)
        if self._absence is not None:
            place_of = dict(zip(columns.tolist(), range(S), strict=True)) if learnt else {}
            changes = [(i, place_of[row], step) for i, row, step in learnt]
            happened = self._absence.heard(
                columns, column, block, places, times, steps, vouched, before, changes, course
            )
        self.state.touch(columns[changed])
        if self._absence is not None:
            happened += self._absence.silent(course) if K else []
        return happened, course


@dataclass(frozen=True, slots=True)
class _Borders:
    """So many borders from the first on, as counts of the partition's observations."""

    first: int
    spacing: int
    count: int

    @property
    def last(self) -> int:
        return self.first + (self.count - 1) * self.spacing


@dataclass(slots=True)
class _Schedule:
    """Where borders come: the next one, how far apart, and at which that is looked at anew."""

    next: int
    spacing: int
    look: int

    @classmethod
    def of(cls, scalars: dict[str, int]) -> _Schedule:
        if "border" not in scalars:
            count = scalars.get("observations", 0)
            return cls(count + 1, 1, count + BORDERS)
        return cls(scalars["border"], scalars["spacing"], scalars["look"])

    def keep(self, scalars: dict[str, int]) -> None:
        scalars.update(border=self.next, spacing=self.spacing, look=self.look)

    def borders(self, stop: int) -> _Borders:
        """The next borders up to `stop` and up to where the distance is looked at anew."""
        return _Borders(self.next, self.spacing, max((min(stop, self.look) - self.next) // self.spacing + 1, 0))

    def passed(self, border: int, voters: int) -> None:
        if border >= self.look:
            self.spacing = 1 << max(voters - 1, 0).bit_length()
            observations = max(BORDERS * self.spacing, min(border, OBSERVATIONS))
            self.look = border + -(-observations // self.spacing) * self.spacing
        self.next = border + self.spacing


def told(ahead: int) -> str:
    """How far a clock is ahead (ms; below 0: behind), for people: `8 h ahead`.

    >>> told(8 * 3_600_000 + 5), told(-20 * 60_000), told(-50 * 86_400_000)
    ('8 h ahead', '20 min behind', '50 d behind')
    """
    minutes = abs(ahead) // 60_000
    size = f"{minutes} min" if minutes < 120 else f"{minutes // 60} h" if minutes < 48 * 60 else f"{minutes // 1440} d"
    return f"{size} {'ahead' if ahead > 0 else 'behind'}"


def _cause(places: NDArray[np.int64], place: int) -> float:
    """Where a place stands among observations at `places`: the index of its own, or half-way between two."""
    at = int(np.searchsorted(places, place))
    return float(at) if at < len(places) and places[at] == place else at - 0.5
