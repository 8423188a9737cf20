"""Observations that came before those that are older: a few of each series wait for them, and go on in the order of their event time.

    came:      12:00  12:02  12:01  12:03 ─▶
                 │      └ waits ┐ │     │
    goes on:   12:00          12:01 12:02 12:03     all as if the log had had this order

- What comes one usual step of its series after the newest one, or sooner, goes on at once: nothing can be missing before it. So order costs no delay.
  Where something is missing, or a series has no usual step, it waits: until what was missing came, until the series is `lateness` further by its
  own times, or until `ROOM` others wait behind it.
- A series that says nothing more lets nobody wait: when the partition's event time has gone on by `lateness` since, all goes on that waits. That is looked
  at once per some four rounds of all series, at fixed counts of what came.
- A jump far ahead (`future_limit`) waits for nobody, and nobody for it: whether it is one, the next observation says (`pipeline.steps.clock.policy`).
- What comes later than that is late, as ever: the policy counts it.

Everything behind (`pipeline.partition.core`) takes what goes on, each at the offset of the observation that made it go on. The
partition's event time knows nothing of waiting: each votes when it comes. All is a function of the log:
of what came of a series, and of the looks. The usual step that counts is the one of the last look.
"""

from __future__ import annotations

from bisect import insort
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from detectors.structured import by_series
from pipeline.steps.batches.observations import Observations, Order
from pipeline.steps.clock.policy import Policy
from pipeline.steps.state import PartitionState

COMPONENT = "waiting"
NEXT_LOOK = "look_who_waits"
"""Scalar of the state: after how many observations is looked next."""

ROOM = 8
"""Observations of a series that wait at most."""
LOOK, OFTEN = 4, 64
"""Between two looks come this many observations of each series, and at least so many in all."""
SELDOM = 1 << 16
"""... and at most so many."""


@dataclass(slots=True)
class _Sorted:
    """The observations of a batch, sorted by series; a segment is one series' part.

    `order` (N,) gives the place in the batch; `rows`, `first`, `lengths` (K,) describe the segments.
    """

    order: NDArray[np.intp]
    rows: NDArray[np.intp]
    first: NDArray[np.intp]
    lengths: NDArray[np.intp]
    times: NDArray[np.int64]

    @classmethod
    def of(cls, rows: NDArray[np.intp], timestamps: NDArray[np.int64]) -> _Sorted:
        """Sort observations with state rows and event times (N,); those of one series stay in log order."""
        order = by_series(rows)
        by_row = rows[order]
        first = np.flatnonzero(np.concatenate([[True], by_row[1:] != by_row[:-1]]))
        return cls(order, by_row[first], first, np.diff(first, append=len(rows)), timestamps[order])

    def steps(self, last: NDArray[np.int64]) -> NDArray[np.int64]:
        """From each to the next (N,), given the time before each segment (K,)."""
        steps = np.diff(self.times, prepend=0)
        steps[self.first] = self.times[self.first] - last
        return steps


class Waiting:
    """What waits in one partition; it is kept in the component "waiting" and in a scalar of its state.

    Parameters
    ----------
    lateness
        In ms.
    policy
        Says what a jump is.
    channels, counts
        Of the values, and whether they may be counts.
    """

    def __init__(self, lateness: int, policy: Policy, *, channels: int, counts: bool) -> None:
        self.lateness = lateness
        self._policy = policy
        self._channels = channels
        self._kept = ("times", "came", "values", *(("kinds", "begun") if counts else ()))

    @property
    def dtype(self) -> np.dtype[Any]:
        """What is kept of a series: 163 bytes, 64 for each channel, and 72 where they may be counts."""
        of: dict[str, tuple[Any, ...]] = {
            "times": ("<i8", (ROOM,)),
            "came": ("<i8", (ROOM,)),  # the offset of each
            "values": ("<f8", (ROOM, self._channels)),
            "kinds": ("u1", (ROOM,)),
            "begun": ("<i8", (ROOM,)),
        }
        return np.dtype(
            [
                *((name, *of[name]) for name in self._kept),
                ("newest", "<i8"),  # time of the newest that went on
                ("jump", "<i8"),  # time of a jump that came last
                ("step", "<i8"),  # usual step, as of the last look
                ("heard_at", "<i8"),  # the partition's event time at the look behind what came last
                ("count", "u1"),
                ("heard", "u1"),  # something came since the last look
                ("unbegun", "u1"),  # nothing of it went on yet
            ]
        )

    def next_look(self, state: PartitionState) -> tuple[int, int]:
        """How many observations came, and after how many is looked."""
        came = state.scalars.get("observations", 0)
        return came, state.scalars.setdefault(NEXT_LOOK, (came // OFTEN + 1) * OFTEN)

    def begin(self, state: PartitionState) -> None:
        """Nothing waited here so far, and may from here on."""
        state.scalars.pop(NEXT_LOOK, None)
        state.arrays[COMPONENT]["newest"] = state.arrays["windows"]["last"]
        state.touch(state.rows())

    def look(self, state: PartitionState, now: int, offset: int, before: int | None = None) -> Observations | None:
        """What need not wait any more, because nothing came of its series while event time went on.

        It goes on at `offset`. Each series' usual step is found anew.

        Parameters
        ----------
        now
            The partition's event time, ms.
        before
            What it was since the last observation came, where that is known: nothing has come since. None: it is `now`.
        """
        slots, came = state.arrays[COMPONENT], state.scalars.get("observations", 0)
        spacing = min(max(1 << max(LOOK * len(state) - 1, 0).bit_length(), OFTEN), SELDOM)
        state.scalars[NEXT_LOOK] = (came // spacing + 1) * spacing
        step = self._steps(state)
        waiting = slots["count"] > 0
        since = waiting & ((slots["heard"] != 0) | (slots["heard_at"] == 0))
        changed = np.flatnonzero(since | (slots["step"] != step))
        slots["heard_at"][since], slots["heard"][since] = now if before is None else before, 0
        slots["step"] = step
        if len(changed):
            state.touch(changed)
        over = waiting & (slots["heard_at"] > 0) & (now - slots["heard_at"] >= self.lateness)
        return self.released(state, np.flatnonzero(over), offset)

    def next_change(self, state: PartitionState, now: int) -> int:
        """The event time from which on something need not wait any more, ms, if nothing comes."""
        slots = state.arrays[COMPONENT]
        waiting = slots[slots["count"] > 0]
        if not len(waiting):
            return int(np.iinfo(np.int64).max)
        since = np.where((waiting["heard"] != 0) | (waiting["heard_at"] == 0), now, waiting["heard_at"])
        return int(since.min()) + self.lateness

    @staticmethod
    def _steps(state: PartitionState) -> NDArray[np.int64]:
        windows = state.arrays["windows"]
        if "interval" not in (windows.dtype.names or ()):
            return np.asarray(state.arrays["clock"]["usual"])
        return np.where(windows["decided"] != 0, windows["interval"], 0)

    def released(self, state: PartitionState, rows: NDArray[np.intp], offset: int | None) -> Observations | None:
        """All that waits of these series, in the order of its time; nothing of them waits then. None where nothing does.

        It goes on at `offset`; None: where the last of it came.
        """
        slots = state.arrays[COMPONENT]
        counts = slots["count"][rows].astype(np.intp)
        of = np.repeat(rows, counts)
        if not len(of):
            return None
        place = np.arange(len(of)) - np.repeat(np.cumsum(counts) - counts, counts)
        order = np.lexsort((of, slots["times"][of, place]))
        of, place = of[order], place[order]
        kept = {name: slots[name][of, place] for name in self._kept}
        some = rows[counts > 0]
        slots["newest"][some] = np.maximum(slots["newest"][some], slots["times"][some, slots["count"][some] - 1])
        for name in ("count", "heard", *self._kept):
            slots[name][some] = 0
        state.touch(some)
        names = [state.names[row] or "" for row in of.tolist()]
        offsets = np.full(len(of), kept["came"].max() if offset is None else offset, np.int64)
        none = np.zeros(len(of), np.bool_)
        return self._observations(names, offsets, kept, False, none, ~none, none)

    def take(self, state: PartitionState, observations: Observations, rows: NDArray[np.intp]) -> Observations:
        """Let N observations of series in `rows` (N,) come (-1: of none that is held); what goes on, in order, and among it what waits from here on."""
        slots, held = state.arrays[COMPONENT], np.flatnonzero(rows >= 0)
        if not len(held):
            return observations
        batch = _Sorted.of(rows[held], observations.timestamps[held])
        newest, step = slots["newest"][batch.rows], slots["step"][batch.rows]
        steps = batch.steps(newest)
        odd = (steps <= 0) | (steps > np.repeat(_near(step), batch.lengths))
        slow = np.logical_or.reduceat(odd, batch.first) | (newest == 0)
        slow |= (slots["count"][batch.rows] > 0) | (slots["jump"][batch.rows] != 0)
        calm = ~slow
        slots["newest"][batch.rows[calm]] = batch.times[batch.first[calm] + batch.lengths[calm] - 1]
        state.touch(batch.rows)
        if not slow.any():
            return observations
        return self._in_order(state, observations, batch, held, np.flatnonzero(slow))

    def _in_order(
        self,
        state: PartitionState,
        observations: Observations,
        batch: _Sorted,
        held: NDArray[np.intp],
        slow: NDArray[np.intp],
    ) -> Observations:
        """What goes on, where the segments `slow` are walked through one by one, and all else goes on as it came."""
        slots, rows, N = state.arrays[COMPONENT], batch.rows[slow], len(observations)
        before = slots[rows]
        as_it_came, vouched = np.ones((2, N), np.bool_)
        gone: list[tuple[int, int]] = []
        stays: list[tuple[int, int, int]] = []
        for s, k in enumerate(slow.tolist()):
            part = held[batch.order[batch.first[k] : batch.first[k] + batch.lengths[k]]]
            as_it_came[part] = False
            came = zip(part.tolist(), observations.timestamps[part].tolist(), strict=True)
            waiting = self._walk(slots[rows[s]], N + s * ROOM, came, gone, vouched)
            stays += [(s, place, at) for place, (_, _, at) in enumerate(waiting)]

        at_once = as_it_came.copy()
        every = {
            name: np.concatenate([_column(observations, name), before[name].reshape(-1, *before[name].shape[2:])])
            for name in self._kept
        }
        of, place, at = np.array(stays, np.intp).reshape(-1, 3).T
        count = np.bincount(of, minlength=len(rows))
        slots["count"][rows], slots["heard"][rows] = count, count > 0
        for name in self._kept:
            slots[name][rows] = 0
            slots[name][rows[of], place] = every[name][at]

        where, which = np.array(gone, np.intp).reshape(-1, 2).T
        at_once[where[where == which]] = True
        others, waiting_now = np.flatnonzero(as_it_came), np.flatnonzero(~at_once)
        where, which = np.concatenate([where, others, waiting_now]), np.concatenate([which, others, waiting_now])
        waits = np.arange(len(where)) >= len(where) - len(waiting_now)
        order = np.argsort(where, kind="stable")
        where, which, waits = where[order], which[order], waits[order]
        names = [observations.series[i] for i in where.tolist()]  # it is its own series that lets it go on
        return self._observations(
            names,
            observations.offsets[where],
            {n: c[which] for n, c in every.items()},
            observations.kinds is not None,
            waits,
            where != which,
            (where == which) & vouched[where],
        )

    def _walk(
        self,
        slot: np.void,
        stored: int,
        came: Iterable[tuple[int, int]],
        gone: list[tuple[int, int]],
        vouched: NDArray[np.bool_],
    ) -> list[tuple[int, int, int]]:
        """Let observations (place, time) of one series come. What goes on is added to `gone`: at which place, and which one; what waits is returned.

        Which one is its place, or of those that waited before: `stored`, and how many stood before it. `vouched` (by place) says whose time is newer than
        that of the one before, and no jump.
        """
        newest, jump, step = int(slot["newest"]), int(slot["jump"]), int(slot["step"])
        waiting = [(time, n, stored + n) for n, time in enumerate(slot["times"][: slot["count"]].tolist())]
        longest, near = self._policy.longest(step), _near(step) if step else 0
        for n, (place, time) in enumerate(came, ROOM):
            ahead = max(newest, waiting[-1][0] if waiting else 0)
            far = bool(ahead) and time - ahead > longest
            if far and jump < time <= jump + max(longest, 2 * (jump - newest)) and jump:
                newest, far = jump, False
            jump = time if far else 0
            wrong = not newest and ahead - time > longest  # what came first was far ahead
            vouched[place] = 0 < ahead < time and not far
            if far or wrong:
                gone += [(place, at) for _, _, at in waiting]
                gone.append((place, place))
                newest, waiting = time if wrong else ahead, []
                continue
            insort(waiting, (time, n, place))
            ahead = max(ahead, time)
            while waiting:
                first, _, at = waiting[0]
                follows = newest and first - newest <= near
                if not (follows or first <= newest or ahead - first >= self.lateness or len(waiting) > ROOM):
                    break
                gone.append((place, at))
                newest = max(newest, first)
                del waiting[0]
        slot["newest"], slot["jump"] = newest, jump
        return waiting

    @staticmethod
    def _observations(
        names: list[str],
        offsets: NDArray[np.int64],
        of: Mapping[str, NDArray[Any]],
        told: bool,
        *stand: NDArray[np.bool_],
    ) -> Observations:
        kinds = of.get("kinds")
        counted = kinds is not None and (told or bool(kinds.any()))
        return Observations(
            offsets,
            names,
            of["times"],
            of["values"],
            kinds=kinds if counted else None,
            begun=of["begun"] if counted else None,
            order=Order(of["came"], *stand),
        )


def _near(step: Any) -> Any:
    """Up to how far behind the newest nothing is missing in between: nearer to one usual step than to two."""
    return (3 * step - 1) // 2


def _column(observations: Observations, name: str) -> NDArray[Any]:
    column = {
        "times": observations.timestamps,
        "came": observations.offsets,
        "values": observations.values,
        "kinds": observations.kinds,
        "begun": observations.begun,
    }[name]
    if column is None:
        return np.zeros(len(observations), np.uint8 if name == "kinds" else np.int64)
    return column
