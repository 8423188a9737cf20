"""An event loop without a world: time is a number, and of the callbacks that are ready a seed picks the next one.

Every callback carries the `Process` in whose context it was scheduled, so a process can be killed or stopped between any two
callbacks, that is at any await: a killed one's callbacks are never run (no `finally`, as with SIGKILL), a paused one's are
kept until it goes on (as with SIGSTOP).
"""

from __future__ import annotations

import asyncio
import contextvars
import heapq
import inspect
import random
from collections.abc import Callable, Coroutine
from typing import Any

PROCESS: contextvars.ContextVar[Process | None] = contextvars.ContextVar("process", default=None)
WORLD = contextvars.Context()
"""The context of what is nobody's: the network and the servers."""


class Process:
    """Callbacks that live, stop and die together."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.alive = True
        self.paused = False
        self.parked: list[asyncio.Handle] = []
        self.on_exit: list[Callable[[], None]] = []

    def start(self, loop: VirtualLoop, body: Coroutine[Any, Any, Any]) -> asyncio.Task[Any]:
        """Run a coroutine as this process."""
        context = contextvars.Context()
        context.run(PROCESS.set, self)
        return loop.create_task(body, context=context)

    def kill(self) -> None:
        """SIGKILL: nothing of it runs any more."""
        if self.alive:
            self.alive = False
            self.parked.clear()
            for gone in self.on_exit:
                gone()

    def pause(self) -> None:
        """SIGSTOP."""
        self.paused = True

    def go_on(self, loop: VirtualLoop) -> None:
        """SIGCONT: what became ready meanwhile runs now."""
        self.paused = False
        parked, self.parked = self.parked, []
        if self.alive:
            loop.ready.extend(parked)


class Stuck(AssertionError):
    """Nothing is left to run, or far too much happened."""


class VirtualLoop(asyncio.BaseEventLoop):
    """The loop; `random` decides the order of what is ready, and the world draws its delays from it too.

    Until `slow_until`, detectors take their time.
    """

    def __init__(self, seed: int, max_callbacks: int = 400_000) -> None:
        super().__init__()
        self.random = random.Random(seed)
        self.slow_until = 0.0
        self._now = 0.0
        self._left = max_callbacks
        self._tasks: list[asyncio.Task[Any]] = []
        self._broken: BaseException | None = None
        self.ready = self._ready

    def time(self) -> float:
        """Virtual seconds since the start."""
        return self._now

    def create_task(self, *arguments: Any, **options: Any) -> asyncio.Task[Any]:
        """As always; the task of a killed process is kept, for the garbage collector would run its `finally`."""
        task = super().create_task(*arguments, **options)
        self._tasks.append(task)
        return task

    def call_exception_handler(self, context: dict[str, Any]) -> None:
        """An error in a callback is one of the simulation itself; those of tasks are their owners' business."""
        if "handle" in context:
            self._broken = context.get("exception")

    def _run_once(self) -> None:
        if self._broken is not None:
            raise self._broken
        scheduled: list[asyncio.TimerHandle] = self._scheduled
        while scheduled and scheduled[0]._cancelled:
            heapq.heappop(scheduled)._scheduled = False
        if not self._ready:
            if not scheduled:
                raise Stuck("nothing is left to run")
            self._now = max(self._now, scheduled[0].when())
        while scheduled and scheduled[0].when() <= self._now:
            handle = heapq.heappop(scheduled)
            handle._scheduled = False
            self._ready.append(handle)
        self._left -= 1
        if self._left < 0:
            raise Stuck("no end in sight")
        self._ready.rotate(-self.random.randrange(len(self._ready)))
        next_one = self._ready.popleft()
        process = next_one._context.get(PROCESS)
        if process is not None and not process.alive:
            return
        if process is not None and process.paused:
            process.parked.append(next_one)
        elif not next_one._cancelled:
            next_one._run()

    def _process_events(self, event_list: Any) -> None:
        """There is no selector."""

    def _write_to_self(self) -> None:
        """There are no threads."""

    def _check_closed(self) -> None:
        """Behind the end there is nothing to refuse: who is let go then may still wake somebody (a lock that is released), and nobody runs."""

    def abandon(self) -> None:
        """The end of the world: tasks that were killed in the middle are let go in silence."""
        for task in self._tasks:
            task._log_destroy_pending = False  # type: ignore[attr-defined]
            if (never_begun := task.get_coro()) and inspect.getcoroutinestate(never_begun) == inspect.CORO_CREATED:
                never_begun.close()
        self._ready.clear()
        self._scheduled.clear()
        self.close()
