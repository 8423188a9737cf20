"""A watch over forward passes on the event loop: where one hangs, the loop cannot say so itself."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

_LOOKS = 4


class Watch:
    """Calls `hung` with the windows of a pass that takes longer than `timeout` s, from a thread of its own.

    It counts its looks rather than the time between them: a process that was stopped and goes on is not one that hangs.
    """

    def __init__(self, timeout: float, hung: Callable[[int], object]) -> None:
        self._timeout = timeout
        self._hung = hung
        self._pass = (0, 0)  # which one runs, and its windows; 0 windows: none does
        self._thread: threading.Thread | None = None

    @contextmanager
    def over(self, windows: int) -> Iterator[None]:
        """While a pass runs."""
        if self._thread is None:
            self._thread = threading.Thread(target=self._look, name="watch", daemon=True)
            self._thread.start()
        number = self._pass[0] + 1
        self._pass = number, windows
        try:
            yield
        finally:
            self._pass = number, 0

    def _look(self) -> None:
        seen, looks = self._pass, 0
        while True:
            time.sleep(self._timeout / _LOOKS)
            looks = looks + 1 if self._pass == seen and seen[1] else 0
            seen = self._pass
            if looks > _LOOKS:
                self._hung(seen[1])
                return
