"""The processes that the demo starts: started again when they die, all gone when the demo is, however that ends.

Each is the leader of a session of its own, so Ctrl-C at the terminal reaches the demo alone, which then stops them in order.
Should the demo itself be killed, the pipe to each closes and a watcher ends it (`pipeline.embedded.process`).
"""

from __future__ import annotations

import os
import signal
import subprocess
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Self

from pipeline.embedded.process import watched
from pipeline.errors import TidewatchError

GRACE = 10.0
"""Seconds between asking a process to stop and killing it."""
MAX_RESTARTS = 20
QUICK = 3.0
"""A process that ends within so many seconds after its start is counted as not having come up."""


@dataclass(frozen=True)
class Restart:
    """A process ended by itself and was started again."""

    name: str
    how: str
    pid: int


class Child:
    """One process that is to run until it is told to stop.

    Attributes
    ----------
    log
        File with all it prints.
    restarts
        How often it was started again.
    """

    def __init__(self, name: str, command: Sequence[str], environment: Mapping[str, str], log: Path) -> None:
        self.name = name
        self.log = log
        self.restarts = 0
        self._quick_ends = 0
        self._command = list(command)
        self._environment = dict(environment)
        self._start()

    @property
    def pid(self) -> int:
        """Of the running process."""
        return self._process.pid

    def check(self) -> Restart | None:
        """Start it again if it has ended.

        Raises
        ------
        TidewatchError
            It does not come up, or ends again and again; the message ends with its last words.
        """
        code = self._process.poll()
        if code is None:
            return None
        self._release()
        lived = time.monotonic() - self._started
        self._quick_ends = self._quick_ends + 1 if lived < QUICK and code > 0 else 0
        if code == 2 or self._quick_ends >= 3 or self.restarts >= MAX_RESTARTS:
            msg = f"{self.name} ended with exit code {code}: {self.last_words().removeprefix('error: ')} (all of it: {self.log})"
            raise TidewatchError(msg)
        self.restarts += 1
        self._start()
        return Restart(self.name, f"signal {-code}" if code < 0 else f"exit code {code}", self.pid)

    def ask_to_stop(self) -> None:
        """SIGTERM."""
        if self._process.poll() is None:
            self._process.terminate()

    def wait(self, timeout: float) -> None:
        """Until it has ended; it is killed after `timeout` seconds."""
        try:
            self._process.wait(max(timeout, 0.0))
        except subprocess.TimeoutExpired:
            with suppress(ProcessLookupError):
                os.killpg(self._process.pid, signal.SIGKILL)
            self._process.wait()
        self._release()

    def last_words(self, lines: int = 3) -> str:
        """The end of its log, on one line."""
        text = self.log.read_text(errors="replace").strip().splitlines()
        return " | ".join(line.strip() for line in text[-lines:]) or "it said nothing"

    def _start(self) -> None:
        self._started = time.monotonic()
        with self.log.open("ab") as out:
            self._process = subprocess.Popen(  # noqa: S603  (our own commands)
                watched(self.name, self._command),
                env=self._environment,
                stdin=subprocess.PIPE,
                stdout=out,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )

    def _release(self) -> None:
        """Tell the watcher that there is nothing left to watch."""
        pipe = self._process.stdin
        if pipe is not None and not pipe.closed:
            try:
                pipe.write(b"stopped\n")
                pipe.close()
            except BrokenPipeError:
                pass


class Children:
    """All of them; a context manager that stops them together."""

    def __init__(self) -> None:
        self._children: list[Child] = []

    def start(self, name: str, command: Sequence[str], environment: Mapping[str, str], log: Path) -> Child:
        """Start one more."""
        child = Child(name, command, environment, log)
        self._children.append(child)
        return child

    @property
    def pids(self) -> list[int]:
        """Process ids, in the order of their start."""
        return [child.pid for child in self._children]

    def check(self) -> list[Restart]:
        """Start again what has ended; see `Child.check`."""
        return [restart for child in self._children if (restart := child.check()) is not None]

    def stop(self) -> None:
        """Ask all, then wait for all; may be called twice."""
        for child in self._children:
            child.ask_to_stop()
        deadline = time.monotonic() + GRACE
        for child in self._children:
            child.wait(deadline - time.monotonic())
        self._children.clear()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()
