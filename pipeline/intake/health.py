"""Whether intakes are well: each runs, and what waits in its raw topics goes on. Told by an intake, asked by the server in its thread."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from dataclasses import dataclass

PATIENCE = 30.0
"""Seconds without an advance that are still well, while records wait: a source that is silent is waited for 10 s."""


@dataclass(slots=True)
class _Standing:
    position: int
    since: float
    lag: int


class IntakeHealth:
    """Well, or degraded: an intake cannot run, or stands with records waiting.

    Parameters
    ----------
    patience
        Seconds without an advance that are still well.
    """

    def __init__(self, *, patience: float = PATIENCE, clock: Callable[[], float] = time.monotonic) -> None:
        self._patience = patience
        self._clock = clock
        self._lock = threading.Lock()  # asked by the server's thread
        self._failing: dict[str, str] = {}
        self._standing: dict[str, _Standing] = {}

    def failing(self, intake: str, why: str) -> None:
        """It ended by an error and is started again, or waits for what does not answer; empty: it runs."""
        with self._lock:
            if why:
                self._failing[intake] = why
            else:
                self._failing.pop(intake, None)

    def standing(self, intake: str, position: int, lag: int) -> None:
        """How far all its sources are, taken together, and how many records wait behind that; told about once a second."""
        now = self._clock()
        with self._lock:
            before = self._standing.get(intake)
            if before is None or before.position != position or not before.lag:
                self._standing[intake] = _Standing(position, now, lag)
            else:
                before.lag = lag

    def forget(self, intake: str) -> None:
        """It reads nothing now: another process may."""
        with self._lock:
            self._standing.pop(intake, None)

    def problems(self) -> list[str]:
        """One line for each thing that is not well; empty: all is well."""
        now = self._clock()
        with self._lock:
            lines = [f"intake {name}: {why}" for name, why in self._failing.items()]
            lines += [
                f"intake {name} stands for {now - s.since:.0f} s with {s.lag:,} raw records waiting"
                for name, s in self._standing.items()
                if s.lag and now - s.since > self._patience
            ]
        return sorted(lines)

    def notes(self) -> list[str]:
        """Nothing: that a stream's input ended is said of the stream."""
        return []
