"""What the demo's report says of the run itself."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field


@dataclass
class Facts:
    """Times, restarts and memory of one run.

    Attributes
    ----------
    seconds
        Name of a phase -> how long it took.
    restarts
        Worker processes that ended by themselves and were started again.
    peak_bytes
        Highest resident memory of all processes of the demo together, as far as seen.
    """

    seconds: dict[str, float] = field(default_factory=dict)
    restarts: list[str] = field(default_factory=list)
    peak_bytes: int = 0
    sent: int = 0

    def sentence(self) -> str:
        """The run in a line."""
        seconds = ", ".join(f"{name} {taken:.0f} s" for name, taken in self.seconds.items())
        restarted = f"; {len(self.restarts)} workers ended and were started again" if self.restarts else ""
        return f"{self.sent:,} records; {seconds}; at most {self.peak_bytes / 2**30:.2f} GiB of memory{restarted}."

    @contextmanager
    def timed(self, phase: str) -> Iterator[None]:
        """Take the time of a block."""
        began = time.monotonic()
        try:
            yield
        finally:
            self.seconds[phase] = time.monotonic() - began
