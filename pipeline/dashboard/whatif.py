"""What other settings would have said of a stream's newest days, and how strong what was missed was: replays as those of the command line, each in a process of its own.

It reckons for seconds or minutes, so there is one at a time, and it ends when it takes too long.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from typing import Any, TypeVar

from pipeline.alerts.selecting.feedback import Feedback
from pipeline.errors import TidewatchError
from pipeline.operations.looking_back.replaying import event_time
from pipeline.settings import Settings

SECONDS = 300.0
"""That a trial may take."""
NEWEST = 50_000
"""Records of each partition that are replayed."""
FURTHER = 500_000
"""Of the one partition in which an alert was missed."""
MAX_DAYS = 400.0
_MAY = ("threshold.", "alerts.")
"""Settings that may be tried from the page."""


T = TypeVar("T")


class Trials:
    """Trials of one deployment, one after the other."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._one = asyncio.Lock()

    async def run(self, stream: str, sets: Sequence[str], days: float) -> dict[str, Any]:
        """Compare what holds with other values (`threshold.level=3`). Raises TidewatchError in words."""
        if not sets:
            msg = "nothing is said that would be otherwise: name a setting, as threshold.false_alarms=1 per series per week"
            raise TidewatchError(msg)
        if refused := [s for s in sets if not s.startswith(_MAY)]:
            msg = f"{refused[0].partition('=')[0]} cannot be tried here; threshold.… and alerts.… can"
            raise TidewatchError(msg)
        return await self._alone(_trial, self._settings, stream, list(sets), days)

    async def missed(self, stream: str, series: str, since: str, until: str, why: str) -> Feedback:
        """Somebody missed an alert of a series then: what they say, with its evidence. Raises TidewatchError in words."""
        first = event_time(since, "at")
        last = event_time(until, "until") if until else first
        return await self._alone(_missed, self._settings, stream, series, first, max(first, last), why)

    async def _alone(self, reckon: Callable[..., T], *args: Any) -> T:
        if self._one.locked():
            msg = "another trial is running; ask again when it has ended"
            raise TidewatchError(msg)
        async with self._one:
            pool = ProcessPoolExecutor(1, get_context("spawn"))
            try:
                done = asyncio.get_running_loop().run_in_executor(pool, reckon, *args)
                return await asyncio.wait_for(done, SECONDS)
            except TimeoutError:
                msg = f"the replay took more than {SECONDS:.0f} s: try it at a terminal, with `tidewatch apply --dry-run` or `tidewatch feedback`"
                raise TidewatchError(msg) from None
            finally:
                for process in list(pool._processes.values()):  # noqa: SLF001  there is no other way to end what runs
                    process.terminate()
                pool.shutdown(wait=False, cancel_futures=True)


def _trial(settings: Settings, stream: str, sets: list[str], days: float) -> dict[str, Any]:
    from detectors.base import DetectorError
    from pipeline.operations.looking_back.replaying import Place
    from pipeline.operations.looking_back.trying import attempt, streams, with_values

    try:
        place = Place(settings, stream)
        now, then = streams(with_values(settings, stream, sets), place)
        return attempt(place, now, then, days=min(max(days, 0.0), MAX_DAYS), newest=NEWEST).as_json()
    except DetectorError as error:
        raise TidewatchError(str(error)) from None


def _missed(settings: Settings, stream: str, series: str, since: int, until: int, why: str) -> Feedback:
    from detectors.base import DetectorError
    from pipeline.operations.looking_back.evidence import strongest
    from pipeline.operations.looking_back.replaying import Place, partition_of, partitions_with

    try:
        place = Place(settings, stream)
        partition = partition_of(place, series, asyncio.run(partitions_with(settings, stream, series)))
        found = strongest(place, series, since, until, partition=partition, newest=FURTHER)
    except DetectorError as error:
        raise TidewatchError(str(error)) from None
    return Feedback(series, "missed", found.at, found.at, strength=found.strength, why=why)
