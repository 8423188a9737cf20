"""When a worker asks for a tick: where the log has ended, the stream was live, and something waits for the time.

How far a tick may go is told in `pipeline.steps.clock.ticks`; that it counts for all who read the log again, in
`pipeline.partition.deciding.decisions`. Nothing here decides about a result: only the line that is written does.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import NamedTuple

from pipeline.errors import BrokerError
from pipeline.partition.core import PartitionCore
from pipeline.partition.deciding.decisions import InForce
from pipeline.steps.clock.ticks import STEP, Wall, delay, target

QUIET = 60.0
"""Seconds for which a log must have ended before a tick is taken; Kafka is asked at both ends."""

REFUSED_FOR = 600.0
"""Seconds until a worker whose tick was refused tries another one."""

EndOfLog = Callable[[], Awaitable[int]]
"""Asks Kafka for the offset behind the last record of the loop's own partition. Raises BrokerError."""


class Due(NamedTuple):
    """A tick to be asked for."""

    event_time: int
    """To which it carries time on, ms."""
    at: int
    """The wall clock, ms."""


class Ticking:
    """What one worker knows of the time where nothing comes.

    Parameters
    ----------
    wall
        Seconds since the epoch.
    clock
        Seconds that nobody sets.
    end_of_log
        Asked before a tick is; None: none is.
    tell
        Hears why the wall clock is not believed, each time that changes; empty: it is.
    """

    def __init__(
        self,
        wall: Callable[[], float],
        clock: Callable[[], float],
        end_of_log: EndOfLog | None,
        tell: Callable[[str], None],
    ) -> None:
        self.wall = Wall(wall, clock)
        self._clock = clock
        self._end_of_log = end_of_log
        self._tell = tell
        self._told = ""
        self._idled = False
        self._ended_since: float | None = None
        self._not_before = 0.0
        self._next: tuple[InForce | None, int, int] = (None, -1, 0)

    def came(self, timestamp: int) -> None:
        """Records came; the last was written at that time of Kafka's, ms."""
        self.wall.came(timestamp, at_once=self._idled)
        self.forget()

    def idle(self) -> None:
        """Nothing came for about a second."""
        self._idled = True

    def forget(self) -> None:
        """Whether the log has ended is to be found out anew."""
        self._idled, self._ended_since = False, None

    async def due(self, core: PartitionCore, in_force: InForce, position: int) -> Due | None:
        """The tick that is to be asked for now, if one is."""
        if self._end_of_log is None:
            return None
        now = self.wall.now()
        most = target(now, core.watermark, delay(core.state.scalars))
        if most is None or self._doubts() or most < (next_ := self.next(core, in_force, position)):
            return None
        if self._clock() < self._not_before or not await self._has_ended(self._end_of_log, position):
            return None
        return Due(next_, now)

    def next(self, core: PartitionCore, in_force: InForce, position: int) -> int:
        """The event time at which the next tick is due, ms: where something comes of it, and no less than a step away."""
        if self._next[:2] != (in_force, position):
            self._next = in_force, position, max(core.next_change(), core.watermark + STEP)
        return self._next[2]

    def answered(self, *, taken: bool, seconds: float) -> None:
        """Whether the tick that was asked for counts, and how long the answer took."""
        if taken:
            self._doubt("")
        elif seconds < QUIET:  # else the line may have been on its way for minutes
            self._doubt("the worker's clock is not the broker's, so its ticks count for nothing: set it right (NTP)")
            self._not_before = self._clock() + REFUSED_FOR

    async def _has_ended(self, end_of_log: EndOfLog, position: int) -> bool:
        """Whether the log ends here, by Kafka's word now and a while ago: where the brokers were away, producers need a moment to come back."""
        since = self._ended_since
        if since is not None and self._clock() - since < QUIET:
            return False
        try:
            ended = await end_of_log() == position
        except BrokerError:  # so nobody knows whether anything comes
            ended = False
        if not ended or since is None:
            self._ended_since = self._clock() if ended else None
            return False
        return True

    def _doubts(self) -> bool:
        """Whether the wall clock is not to be believed; said once."""
        doubt = self.wall.doubt
        if doubt or self._clock() >= self._not_before:
            self._doubt(doubt)
        return bool(doubt)

    def _doubt(self, why: str) -> None:
        if why != self._told:
            self._tell(why)
        self._told = why
