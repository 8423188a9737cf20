"""How far event time goes on where nothing comes any more, and where it may not.

    records ──▶ delay, sampled at fixed counts ──▶ LATEST of them in this and the last epoch of event time
                                                        │
    wall clock ──▶ trusted? ──▶ less that delay ────────┴──▶ the time to which a tick may carry event time

- A stream is *live* while its records are read within `LIVE` of what they say they are of (by Kafka's record time). Years that are replayed are not,
  nor is a stream whose producers deliver once a day: no tick ever comes of either.
- A tick never goes further than the wall clock less the longest delay that the stream had lately. So devices that upload once an hour are not missed
  between two uploads.
- Delays are a function of the log, and part of the state: whoever takes the partition over knows them. The wall clock is nobody's function: it only says
  when a tick is written, and with which time; what counts is the line in the topic of decisions (`pipeline.partition.deciding.decisions`).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

EVERY = 8
"""Observations of a partition of which one is looked at."""

LIVE = 2 * 3_600_000
"""Milliseconds by which live records are late at most, or early."""
STRANGERS = 10
"""One in so many may be further away: a clock that is wrong."""

EPOCH = 6 * 3_600_000
"""Milliseconds of event time after which delays are forgotten, at the earliest; twice that at the latest."""

STEP = 60_000
"""Least milliseconds of a tick."""

FARTHEST = 30 * 86_400_000
"""Milliseconds between event time and the wall clock from which on a log is history, whatever its records say."""

JUMP = 120.0
"""Seconds by which the wall clock may go another way than the monotonic one before it is not believed."""

_CURRENT = ("delay_epoch", "delay_most", "delay_near", "delay_far")
_BEFORE = ("delay_before", "delay_near_before", "delay_far_before")


def sampled(places: NDArray[np.int64]) -> NDArray[np.intp]:
    """Which of the observations are looked at, given how-manyeth of their partition they are."""
    return np.asarray((places % EVERY == 0).nonzero()[0])


def hear(scalars: dict[str, int], event_times: NDArray[np.int64], delays: NDArray[np.int64]) -> None:
    """Take note of n samples: the partition's event time at each (it never falls), and record time less the observation's own, ms."""
    near = np.abs(delays) <= LIVE
    if len(near) and scalars.get("delay_epoch") == int(event_times[0]) // EPOCH == int(event_times[-1]) // EPOCH:
        _count(scalars, near, delays)
        return
    epochs = event_times // EPOCH
    last = epochs[-1:]
    before_it = epochs[epochs < last][-1:]
    for epoch in (*before_it.tolist(), *last.tolist()):
        here = epochs == epoch
        if scalars.get("delay_epoch") != epoch:
            for before, now in zip(_BEFORE, _CURRENT[1:], strict=True):
                scalars[before] = scalars.get(now, 0)
            scalars.update(delay_epoch=epoch, delay_most=-LIVE, delay_near=0, delay_far=0)
        _count(scalars, near[here], delays[here])


def _count(scalars: dict[str, int], near: NDArray[np.bool_], delays: NDArray[np.int64]) -> None:
    """Take note of samples of the current epoch, and which of them are near."""
    many = int(np.count_nonzero(near))
    scalars["delay_near"] += many
    scalars["delay_far"] += len(near) - many
    if many:
        scalars["delay_most"] = int(delays[near].max(initial=scalars["delay_most"]))


def delay(scalars: dict[str, int]) -> int | None:
    """By how many ms the stream was late lately, at most; None: it is not live."""
    near = scalars.get("delay_near", 0) + scalars.get("delay_near_before", 0)
    far = scalars.get("delay_far", 0) + scalars.get("delay_far_before", 0)
    if not near or far * STRANGERS > near:
        return None
    parts = [
        scalars[most]
        for most, n in (("delay_most", "delay_near"), ("delay_before", "delay_near_before"))
        if scalars.get(n)
    ]
    return max(parts)


@dataclass(slots=True)
class Wall:
    """A worker's wall clock, and whether it is to be believed. Both clocks in seconds; `steady` is one that nobody sets."""

    wall: Callable[[], float]
    steady: Callable[[], float]
    _at: tuple[float, float] = (0.0, 0.0)
    _behind: bool = False

    def __post_init__(self) -> None:
        self._at = self.wall(), self.steady()

    def now(self) -> int:
        """Milliseconds since the epoch."""
        return int(self.wall() * 1000)

    @property
    def jumped(self) -> float:
        """By how many seconds it was set since it was last seen to be right."""
        return self.wall() - self._at[0] - (self.steady() - self._at[1])

    @property
    def doubt(self) -> str:
        """Why it says nothing about the stream, for people; empty: it may be believed."""
        if abs(self.jumped) > JUMP:
            return f"the wall clock was set by {self.jumped:+.0f} s"
        return "its records come later than they were written: a log that is copied" if self._behind else ""

    def came(self, record_time: int, *, at_once: bool) -> None:
        """Records came; `at_once`: nothing waited before them, so their time should be now."""
        late = self.now() - record_time
        if abs(late) <= JUMP * 1000:
            self._at = self.wall(), self.steady()
        if at_once and abs(self.jumped) <= JUMP:
            self._behind = late > LIVE


def target(wall: int, event_time: int, late: int | None) -> int | None:
    """To which event time a tick may go, at most; None where it may not."""
    if late is None or not event_time or not 0 < wall - event_time <= FARTHEST:
        return None
    return wall - late if wall - late - event_time >= STEP else None
