"""Event time to wall time at a speed. What "now" is and how to wait are arguments, so a test runs hours in no time."""

from __future__ import annotations

import math
import re
import time
from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from producers.errors import ProducerError

MAX_SPEED = math.inf


class Clock:
    """Says when an event is due, and waits for it.

    Parameters
    ----------
    speed
        Seconds of event time in one second of wall time; `MAX_SPEED` never waits.
    now
        Wall time in seconds, from any origin; it must not step back.
    sleep
        Waits so many seconds; it may return early (a publisher that serves its delivery reports meanwhile).

    Examples
    --------
    >>> wall = [100.0]
    >>> clock = Clock(speed=600.0, now=lambda: wall[0], sleep=lambda s: wall.__setitem__(0, wall[0] + s))
    >>> clock.start(1_404_172_800_000)
    >>> clock.wait_until(1_404_172_800_000 + 3_600_000)  # an hour later, at 600 times the speed
    >>> wall[0]
    106.0
    """

    def __init__(
        self,
        speed: float = MAX_SPEED,
        *,
        now: Callable[[], float] = time.monotonic,
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        self.speed = speed
        self._now = now
        self._sleep = sleep
        self._first_ms = 0.0
        self._started = 0.0

    def start(self, first_ms: float) -> None:
        """From here on: `first_ms` is due now."""
        self._first_ms = first_ms
        self._started = self._now()

    def reached_ms(self) -> float:
        """The event time that is due now; infinite at full speed."""
        if math.isinf(self.speed):
            return math.inf
        # Rounded to the microsecond: an event waited for is due, whatever the last bit of the division says.
        return self._first_ms + round((self._now() - self._started) * self.speed * 1000.0, 3)

    def wait_until(self, event_ms: float) -> None:
        """Return when `event_ms` is due; at once where it is overdue, or at full speed."""
        if math.isinf(self.speed):
            return
        while (missing := event_ms - self.reached_ms()) > 0:
            self._sleep(missing / 1000.0 / self.speed)


def parse_speed(text: str) -> float:
    """`1x`, `600x`, `0.5x` or `max`. Raises ProducerError otherwise."""
    if text == "max":
        return MAX_SPEED
    if (found := re.fullmatch(r"(\d+(?:\.\d+)?)x?", text)) and float(found[1]) > 0:
        return float(found[1])
    msg = f"speed {text!r} is not one: write 1x, 600x or max"
    raise ProducerError(msg)


def steady(count: int, rate: float) -> NDArray[np.float64]:
    """Times in ms at which `count` records are due at `rate` records a second: (count,), from 0."""
    return np.arange(count, dtype=np.float64) * (1000.0 / rate)
