"""Which series should have said something and have not: a deadline per series, in the event time of its partition.

    observation ──▶ border ─ ─ ─ ─ ─ ─ ─ ─ ▶ border ──▶ border ──▶ absent ──▶ an observation: expected again
                    waits from here on, by   overdue               │
                    event time *and* by progress                   └─ idle_after ──▶ given up

- A series' *patience* is what the settings say of it, else `STEPS` of its usual steps, if it has one and reported for a day. One that was away for longer twice
  in four weeks, as a device that sleeps at night or a job that runs once an hour, has a habit: it is given a quarter more than the shorter
  of the two. One outage makes no habit. Away is who says nothing, also where it brings all of that time later.
- Both must have gone on for longer. Event time leaps when all were away and the first come back; progress (`event_time`) does not. Progress runs
  fast where one series brings a whole day at once; event time does not.
- Who is overdue is told of one border later: by then so are all that stopped with it.
- Where more than a tenth of the series that should report are absent, and at least `FEW`, it is one thing (a network, a collector, a producer), and told
  once, for the partition; until no more than half of that were absent for some borders. Who is absent still is told then.

All is a function of the log: it is decided at borders, which come at fixed counts of observations. A batch costs what it brings: a look at all series only
where a bound of all deadlines was passed, which is once per four of their steps.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from detectors.compiling import SILENCES, compiled
from detectors.structured import rows_at
from pipeline.steps.batches.outcomes import Absent
from pipeline.steps.state import PartitionState

STEPS = 5
"""Usual steps that a series may say nothing for, and..."""
A_DAY = 86_400_000
"""...the ms that it must have reported for."""
HABIT_LASTS = 28 * A_DAY

FEW, SHARE = 5, 10
"""So many series, and more than one in so many, are one thing."""

TOGETHER = "together"
"""Scalar of the state: since when many are absent together, the partition's event time in ms; not there: they are not."""

_CALM = "together_calm"
"""Scalar: for how many borders it is not so any more; below 0 where the last of them were given up."""
CALM = 3
"""Borders for which it must not be so: who was away with the others comes back with them."""

EXPECTED, OVERDUE, ABSENT, GIVEN_UP = range(4)
AUTO, NEVER = -1, int(np.iinfo(np.int64).max // 4)
_BACK_IN_TIME, _BACK, _LATE, _MISSING, _GONE = range(5)  # at one place in this order

FIELDS = [
    ("since", "<i8"),  # its first vote
    ("usual", "<i8"),  # its usual step, 0: it has none
    ("quiet_at", "<i8"),  # event time at the border behind what was last heard of it; 0 where there was none yet
    ("quiet_by", "<i8"),  # progress there
    ("once", "<i8"),  # the longest that it was away
    ("habit", "<i8"),  # what it was away for twice
    ("habit_at", "<i8"),  # its own event time when it last was
    ("due", "<i8"),  # its own event time at which its patience ended last
    ("said", "u1"),  # something was heard of it since the last border
    ("absent", "u1"),  # EXPECTED; OVERDUE: its patience is over, and nobody was told; ABSENT; GIVEN_UP
]
"""What is kept of a series, beside what `event_time` does."""


@dataclass(frozen=True, slots=True)
class Patience:
    """How long series may say nothing, and when they are given up, ms.

    Attributes
    ----------
    after
        Given rows (n,) of the state: for how many ms each may; `AUTO`: for what it does usually, `NEVER`: for ever.
    idle_after
    """

    after: Callable[[NDArray[np.intp]], NDArray[np.int64]]
    idle_after: int

    @staticmethod
    def limits(clocks: NDArray[np.void], after: NDArray[np.int64]) -> NDArray[np.int64]:
        """Of rows (n,) of the clock, given what the settings say of them; `NEVER` for who is not waited for."""
        waited_for = (clocks["usual"] > 0) & (clocks["vote"] - clocks["since"] >= A_DAY)
        habit = np.where(clocks["vote"] - clocks["habit_at"] <= HABIT_LASTS, clocks["habit"], 0)
        usually = np.where(waited_for, np.maximum(STEPS * clocks["usual"], habit + habit // 4), NEVER)
        return np.where(after == AUTO, usually, np.where(clocks["vote"] > 0, after, NEVER))


class Happened(NamedTuple):
    """Something that happened to a series behind so many of the partition's observations (`place`); `due`: when its patience ended."""

    place: int
    what: int
    row: int
    due: int


@dataclass(frozen=True, slots=True)
class Course:
    """Event time, progress and how many vote at the K borders of a stretch of log, and before it: (3, K + 1), and where event time began.

    The first border is behind `first` observations of the partition, the others lie `spacing` apart.
    """

    columns: NDArray[np.int64]
    first: int
    spacing: int
    begun: int

    @property
    def event_times(self) -> NDArray[np.int64]:
        """(K + 1,) in ms."""
        return np.asarray(self.columns[0])

    @property
    def progress(self) -> NDArray[np.int64]:
        """(K + 1,) in ms."""
        return np.asarray(self.columns[1])

    def borders(self) -> list[tuple[int, int, int]]:
        """Behind how many observations each of the K is, event time and votes there."""
        event_times, _, voters = self.columns[:, 1:].tolist()
        counts = range(self.first, self.first + len(voters) * self.spacing, self.spacing)
        return list(zip(counts, event_times, voters, strict=True))

    def passed(self, quiet_at: int, quiet_by: int, limit: int) -> int:
        """The first border at which somebody who was last heard of then has been silent for longer than the limit; K + 1: none."""
        by_time = np.searchsorted(self.event_times, max(quiet_at, self.begun) + limit, side="right")
        return max(1, int(by_time), int(np.searchsorted(self.progress, quiet_by + limit, side="right")))

    def happened(self, border: int, what: int, row: int, due: int) -> Happened:
        """At a border."""
        return Happened(self.first + (border - 1) * self.spacing, what, row, due)


def _shortest(
    usual: NDArray[np.int64], learnt: Sequence[tuple[int, int, int]]
) -> tuple[NDArray[np.int64], NDArray[np.bool_]]:
    """The shortest of the usual steps (S,) that each series has or learns here, 0 where it has none; and whose is taken from it, of which no bound holds."""
    shortest, lost = usual.copy(), np.zeros(len(usual), np.bool_)
    for _, c, step in learnt:
        if step <= 0:
            lost[c] = True
        elif shortest[c] == 0 or step < shortest[c]:
            shortest[c] = step
    return shortest, lost


class Absence:
    """Absence in one partition; what it knows is in the component "clock" and one scalar of the state."""

    def __init__(self, state: PartitionState, patience: Patience) -> None:
        self._state = state
        self._patience = patience

    def heard(
        self,
        columns: NDArray[np.intp],
        column: NDArray[np.intp],
        block: NDArray[np.intp],
        places: NDArray[np.int64],
        times: NDArray[np.int64],
        steps: NDArray[np.int64],
        vouched: NDArray[np.bool_],
        votes: NDArray[np.int64],
        learnt: Sequence[tuple[int, int, int]],
        course: Course,
    ) -> list[Happened]:
        """Take n observations, among K borders; what happened to their series up to each of them.

        Parameters
        ----------
        columns, votes : (S,)
            Rows of the series, those of the observations among them, and their votes before.
        column, block, places, times, steps, vouched : (n,)
            Of the observations: place in `columns`, how many of the borders lie before, and as in `EventTime`.
        learnt
            (observation, place in `columns`, usual step) where a usual step changed, in order.
        """
        clocks, bounds = self._state.arrays["clock"], self._state.bounds
        after = self._patience.after(columns)
        # With the shortest step that each has meanwhile: who is never silent for longer than that is not, whichever of them counts when.
        shortest, odd = _shortest(clocks["usual"][columns], learnt)
        quiet = np.empty((2, len(columns)), np.int64)
        least = compiled(SILENCES)(
            *(clocks, columns, column, block, times, steps, vouched, shortest, after),
            *(course.begun, course.columns, odd, quiet),
        )
        if "absence" in bounds:  # of those heard of here, some with another usual step by now, none is due earlier
            bounds["absence"] = min(bounds["absence"], int(course.event_times[:2][-1]) + least)
        for _, c, step in learnt:
            if not odd[c]:
                clocks["usual"][columns[c]] = step
        happened: list[Happened] = []
        if odd.any():
            changes = {(i, c): usual for i, c, usual in learnt}
            order = np.argsort(column, kind="stable")
            of = column[order]
            for c in np.flatnonzero(odd).tolist():
                part = order[np.searchsorted(of, c) : np.searchsorted(of, c, side="right")]
                taken = (block[part], places[part], times[part], steps[part], vouched[part])
                usuals = [changes.get((i, c)) for i in part.tolist()]
                rows = zip(*(v.tolist() for v in taken), usuals, strict=True)
                before = (int(votes[c]), *quiet[:, c].tolist())
                happened += self._walk(int(columns[c]), before, after[c : c + 1], rows, course)
        return happened

    def _walk(
        self,
        row: int,
        before: tuple[int, int, int],
        after: NDArray[np.int64],
        observations: Iterable[tuple[int, int, int, int, bool, int | None]],
        course: Course,
    ) -> list[Happened]:
        """One series, observation after observation; all but where it was last heard of is moved on.

        `before` them: its vote, and event time and progress at which it was last heard of.
        """
        E, P = course.event_times, course.progress
        K = len(E) - 1
        happened: list[Happened] = []
        clocks = self._state.arrays["clock"]
        one = clocks[row : row + 1].copy()
        one["vote"], quiet_at, quiet_by = before
        for block, place, time, step, vouched, usual in observations:
            limit = int(self._patience.limits(one, after)[0])
            flag, due, more = self._silence(one[0], row, quiet_at, quiet_by, limit, block, course)
            happened += more
            if flag in (OVERDUE, ABSENT):
                what = _BACK if flag == ABSENT else _BACK_IN_TIME
                happened.append(Happened(place + 1, what, row, due))
            one["due"] = due
            one["absent"] = EXPECTED
            if vouched:
                one["since"] = one["since"][0] or time
                if after[0] == AUTO:
                    # A device that sleeps and then brings all of it leaves no gap in its own time.
                    silent = min(int(E[block]) - max(quiet_at, course.begun), int(P[block]) - quiet_by)
                    self._away(one, time, max(step, silent if one["vote"][0] else 0))
                one["vote"] = time
            if usual is not None:
                one["usual"] = usual
            border = min(block + 1, K)
            quiet_at, quiet_by = int(E[border]), int(P[border])
        for name in ("absent", "due", "since", "usual", "once", "habit", "habit_at"):
            clocks[name][row] = one[name][0]
        return happened

    def _silence(
        self, one: np.void, row: int, quiet_at: int, quiet_by: int, limit: int, until: int, course: Course
    ) -> tuple[int, int, list[Happened]]:
        """What becomes of a series that says nothing up to that border: its flag, the end of its patience, and what happened."""
        flag, due, happened, border = int(one["absent"]), int(one["due"]), list[Happened](), 0
        if flag == EXPECTED and (border := course.passed(quiet_at, quiet_by, limit)) <= until:
            flag, due = OVERDUE, int(one["vote"]) + limit
            happened.append(course.happened(border, _LATE, row, due))
        if flag == OVERDUE and (border := border + 1) <= until:
            flag = ABSENT
            happened.append(course.happened(border, _MISSING, row, due))
        if flag == ABSENT and (at := max(course.passed(quiet_at, -NEVER, self._patience.idle_after), border)) <= until:
            flag = GIVEN_UP
            happened.append(course.happened(at, _GONE, row, due))
        return flag, due, happened

    def _away(self, one: NDArray[np.void], time: int, step: int) -> None:
        """Learn how long a series is away at times."""
        if not one["usual"][0] or step <= STEPS * one["usual"][0]:
            return
        if time - one["habit_at"][0] > HABIT_LASTS:
            one["once"], one["habit"] = 0, 0
        if 2 * step >= one["habit"][0]:
            one["habit_at"] = time
        one["habit"] = np.maximum(one["habit"], np.minimum(one["once"], step))
        one["once"] = np.maximum(one["once"], step)

    def silent(self, course: Course) -> list[Happened]:
        """What happened to series up to the last border, by saying nothing."""
        E, P, bounds, patience = course.event_times, course.progress, self._state.bounds, self._patience
        now, progress = int(E[-1]), int(P[-1])
        if now <= bounds.get("absence", -1) and progress <= bounds.get("absence by progress", -1):
            return []
        clocks = self._state.arrays["clock"]
        rows = np.flatnonzero((clocks["vote"] > 0) & (clocks["absent"] != GIVEN_UP))
        known = rows_at(clocks, rows)
        limit = patience.limits(known, patience.after(rows))
        quiet_at = np.where(known["said"] != 0, now, np.maximum(known["quiet_at"], course.begun))
        quiet_by = np.where(known["said"] != 0, progress, known["quiet_by"])
        expected = known["absent"] <= OVERDUE
        by_time, by_progress = now > quiet_at + limit, progress > quiet_by + limit
        over = expected & ((by_time & by_progress) | (known["absent"] == OVERDUE))
        gone = (over | ~expected) & (now > quiet_at + patience.idle_after)
        happened: list[Happened] = []
        for k in np.flatnonzero(over | gone).tolist():
            silence = int(quiet_at[k]), int(quiet_by[k]), int(limit[k])
            flag, due, more = self._silence(known[k], int(rows[k]), *silence, len(E) - 1, course)
            clocks["absent"][rows[k]], clocks["due"][rows[k]] = flag, due
            happened += more
        self._state.touch(rows[over | gone])

        def least(deadlines: NDArray[np.int64], of: NDArray[np.bool_]) -> int:
            return int(deadlines[of].min()) if of.any() else NEVER

        flags = clocks["absent"][rows]
        bounds["absence"] = min(
            least(quiet_at + limit, expected & ~by_time),
            least(np.full(len(rows), -1), flags == OVERDUE),
            least(quiet_at + patience.idle_after, flags == ABSENT),
        )
        bounds["absence by progress"] = least(quiet_by + limit, expected & by_time & ~by_progress)
        return happened

    def next_change(self, now: int) -> int:
        """The event time from which on a tick changes something, ms, if nothing comes; progress goes on as it does."""
        if self._state.scalars.get(_CALM, 0):
            return now + 1
        clocks, progress = self._state.arrays["clock"], self._state.scalars.get("progress", 0)
        rows = np.flatnonzero((clocks["vote"] > 0) & (clocks["absent"] != GIVEN_UP))
        known = rows_at(clocks, rows)
        if not len(known):
            return NEVER
        begun, said = self._state.scalars.get("begun", 0), known["said"] != 0
        quiet_at = np.where(said, now, np.maximum(known["quiet_at"], begun))
        quiet_by = np.where(said, progress, known["quiet_by"])
        limit = self._patience.limits(known, self._patience.after(rows))
        over = np.maximum(quiet_at + limit, now + quiet_by + limit - progress)
        at = np.where(
            known["absent"] == EXPECTED,
            over,
            np.where(known["absent"] == OVERDUE, now, quiet_at + self._patience.idle_after),
        )
        return max(int(at.min()), now) + 1

    def told(self, happened: list[Happened], courses: Iterable[Course]) -> list[tuple[int, Absent]]:
        """What is to be said of all that happened, in order: behind how many observations, and what (its cause and offset are not known here).

        Parameters
        ----------
        courses
            The borders that were passed.
        """
        if not happened and TOGETHER not in self._state.scalars:
            return []
        clocks = self._state.arrays["clock"]
        absent, late = (
            {int(row): int(clocks["due"][row]) for row in np.flatnonzero(clocks["absent"] == flag)}
            for flag in (ABSENT, OVERDUE)
        )
        for one in sorted(happened, reverse=True):  # back to how it was before
            if one.what == _LATE:
                del late[one.row]
            elif one.what == _MISSING:
                late[one.row] = absent.pop(one.row)
            else:
                (late if one.what == _BACK_IN_TIME else absent)[one.row] = one.due
        said: list[tuple[int, Absent]] = []
        ahead = sorted(happened, reverse=True)
        for count, clock, voters in (border for course in courses for border in course.borders()):
            new: dict[int, int] = {}
            gone = False
            while ahead and ahead[-1].place <= count:
                one = ahead.pop()
                if one.what == _LATE:
                    late[one.row] = one.due
                elif one.what == _MISSING:
                    new[one.row] = absent[one.row] = late.pop(one.row)
                else:
                    gone |= one.what == _GONE
                    del (late if one.what == _BACK_IN_TIME else absent)[one.row]
            said += [(count, one) for one in self._at_border(absent, len(late), new, gone, clock, voters)]
        return said

    def _at_border(
        self, absent: Mapping[int, int], late: int, new: Mapping[int, int], gone: bool, clock: int, voters: int
    ) -> list[Absent]:
        """What is said at a border where `absent` are absent (row -> when its patience ended), `new` ones among them, and more are overdue."""
        scalars, count = self._state.scalars, len(absent) + late
        said: list[Absent] = []
        if TOGETHER in scalars:
            calm = count < FEW or voters >= (2 * SHARE - 1) * count
            borders = abs(scalars.get(_CALM, 0)) + 1 if calm else 0
            given_up = gone or scalars.get(_CALM, 0) < 0
            scalars[_CALM] = -borders if given_up else borders
            if borders == CALM:
                said.append(_together(count, scalars.pop(TOGETHER), clock, voters, "gone" if given_up else "normal"))
                del scalars[_CALM]
                new = absent
        elif new and count >= FEW and voters < (SHARE - 1) * count:
            scalars[TOGETHER] = clock
            said.append(_together(count, clock, clock, voters, "anomaly"))
        together = scalars.get(TOGETHER, 0)
        return said + [Absent(row=row, due=due, clock=clock, together=together) for row, due in sorted(new.items())]


def _together(absent: int, since: int, clock: int, voters: int, change: str) -> Absent:
    return Absent(row=-1, due=since, clock=clock, together=since, change=change, count=absent, of=voters + absent)


def no_more(state: PartitionState) -> int:
    """Nobody is waited for any more; since when many were absent together, 0: they were not."""
    state.scalars.pop(_CALM, None)
    return state.scalars.pop(TOGETHER, 0)


def begin_anew(state: PartitionState, since: int | None) -> None:
    """Find out anew who is absent; many are together since then (None: they are not), as far as anybody was told."""
    clocks = state.arrays["clock"]
    absent = np.flatnonzero(clocks["absent"])
    clocks["absent"][absent] = EXPECTED
    state.touch(absent)
    state.bounds.clear()
    no_more(state)
    if since is not None:
        state.scalars[TOGETHER] = since


def begin(state: PartitionState, usual: NDArray[np.int64]) -> None:
    """Wait for all series (rows,) from here on, given their usual steps in ms; nobody is absent who does not report for a day from now."""
    rows = state.rows()
    clocks = state.arrays["clock"]
    for name in ("quiet_at", "quiet_by", "once", "habit", "habit_at", "due", "absent"):
        clocks[name][rows] = 0
    clocks["since"][rows], clocks["usual"][rows], clocks["said"][rows] = clocks["vote"][rows], usual[rows], 1
    state.lists.clear()
    state.touch(rows)
