"""What a worker's log says of its work: what it waits for, the first of each thing, and now and then how far it is.

    waiting for partitions    the group has given none yet
    waiting for records       all that was given is open, and nothing has come
    first record scored       of each stream
    first alert               of each stream
    progress                  every 30 s in which records came: series, observations and their rate, lag, alerts
    series not at home        every minute, of each stream whose series are not where they belong
    series never come again   every minute, of each stream most of whose series came once

Told once per batch and checkpoint like the metrics (`pipeline.operations.metrics`), never per record. The clock is handed in.
"""

from __future__ import annotations

import time
from collections import Counter, defaultdict
from collections.abc import Callable

import structlog

from pipeline.operations.once import Once
from pipeline.partition.home import Verdict

log = structlog.get_logger(__name__)

EVERY = 30.0
"""Seconds from one `progress` line of a stream to the next."""

WARN_EVERY = 60.0
"""Seconds from one `series not at home` line of a stream to the next."""

PATIENCE = 3.0
"""Seconds of waiting that are not worth a line."""


class Progress:
    """Takes what happens, writes the lines."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._began = self._told = self._waiting_since = clock()
        self._waiting = ""
        self._said = ""
        self._firsts: set[tuple[str, str]] = set()
        self._counts: dict[str, Counter[str]] = defaultdict(Counter)
        self._lag: dict[tuple[str, int], int] = {}
        self._series: dict[tuple[str, int], tuple[int, int]] = {}
        self._homes: dict[tuple[str, int], Verdict] = {}
        self._once = Once()
        self._warned: dict[str, float] = {}
        self._warned_once: dict[str, float] = {}

    def batch(self, stream: str, counts: Counter[str]) -> None:
        """One batch: what happened how often."""
        if not counts["records"]:
            return
        total = self._counts[stream]
        for name in ("records", "observations", "scored", "alerts_firing"):
            total[name] += counts[name]
        if counts["scored"]:
            self._first(stream, "first record scored")
        if counts["alerts_firing"]:
            self._first(stream, "first alert")

    def series(self, stream: str, partition: int, *, warming: int, live: int, once: int) -> None:
        """How many series are held, in probation and out of it, and how many came once and never again."""
        self._series[stream, partition] = (warming, live)
        self._once.tell(stream, partition, warming + live, once)

    def homes(self, stream: str, partition: int, verdict: Verdict | None) -> None:
        """Whether the series of a partition are where they belong (None)."""
        if verdict is None:
            self._homes.pop((stream, partition), None)
        else:
            self._homes[stream, partition] = verdict

    def position(self, stream: str, partition: int, lag: int) -> None:
        """How many records of an open partition are not processed yet."""
        self._lag[stream, partition] = lag

    def forget(self, stream: str, partition: int) -> None:
        """The partition was given away."""
        self._lag.pop((stream, partition), None)
        self._series.pop((stream, partition), None)
        self._homes.pop((stream, partition), None)
        self._once.forget(stream, partition)

    def tick(self, *, given: int, opened: int) -> None:
        """Call it about once a second, with how many partitions the group has given, and how many of them are open."""
        now = self._clock()
        self._tell_waiting(now, given, opened)
        self._tell_homes(now)
        self._tell_once(now)
        if now - self._told >= EVERY:
            self._tell_progress(now - self._told)
            self._told = now

    def _tell_waiting(self, now: float, given: int, opened: int) -> None:
        waiting = "partitions" if not given else "records" if opened == given and not self._counts else ""
        if waiting != self._waiting:
            self._waiting, self._waiting_since, self._said = waiting, now, ""
        if waiting and waiting != self._said and now - self._waiting_since >= PATIENCE:
            self._said = waiting
            if waiting == "partitions":
                log.info("waiting for partitions", why="the group waits for other members, or has more than partitions")
            else:
                log.info("waiting for records", why="the input topics are read to their end")

    def _tell_homes(self, now: float) -> None:
        for stream in {name for name, _ in self._homes}:
            if now - self._warned.get(stream, -WARN_EVERY) < WARN_EVERY:
                continue
            self._warned[stream] = now
            found = {p: v for (name, p), v in self._homes.items() if name == stream}
            worst = max(found, key=lambda p: (found[p].in_pieces, found[p].away))
            log.warning(
                "series not at home",
                stream=stream,
                partitions=sorted(found)[:16],
                partition=worst,
                why=str(found[worst]),
            )

    def _tell_once(self, now: float) -> None:
        for stream, why in self._once.found().items():
            if now - self._warned_once.get(stream, -WARN_EVERY) >= WARN_EVERY:
                self._warned_once[stream] = now
                log.warning("series never come again", stream=stream, why=why)

    def _tell_progress(self, seconds: float) -> None:
        for stream, counts in self._counts.items():
            if not counts["records"]:
                continue
            states = [state for (name, _), state in self._series.items() if name == stream]
            log.info(
                "progress",
                stream=stream,
                partitions=sum(name == stream for name, _ in self._lag),
                series_live=sum(live for _, live in states),
                series_warming=sum(warming for warming, _ in states),
                records=counts["records"],
                observations=counts["observations"],
                per_second=round(counts["observations"] / seconds, 1),
                scored=counts["scored"],
                lag=sum(lag for (name, _), lag in self._lag.items() if name == stream),
                alerts=counts["alerts_firing"],
            )
            counts.clear()

    def _first(self, stream: str, what: str) -> None:
        if (stream, what) not in self._firsts:
            self._firsts.add((stream, what))
            log.info(what, stream=stream, after=round(self._clock() - self._began, 1))
