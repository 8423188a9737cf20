"""What a loop says of itself while it runs, for whoever counts: once per batch and checkpoint, never per record."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable, Sequence
from typing import Protocol

from pipeline.alerts.records import Severity, Status
from pipeline.partition.core import PartitionCore
from pipeline.partition.home import Verdict
from pipeline.steps.clock.event_time import APART

_SELDOM = 0.5  # s for which what is held is not told again where it changes, or
_TIMES = 50  # times as long as telling it took


class LoopMetrics(Protocol):
    """What the loop reports, once per batch and checkpoint."""

    def batch(self, stream: str, partition: int, counts: Counter[str], seconds: dict[str, float]) -> None:
        """One batch: what happened how often, and the seconds of each stage."""
        ...

    def checkpoint(self, stream: str, partition: int, offset: int, size: int, seconds: float) -> None:
        """One checkpoint: its offset, bytes and seconds."""
        ...

    def series(self, stream: str, partition: int, *, warming: int, live: int, once: int) -> None:
        """How many series are held, in probation and out of it, and how many came once and never again; with each checkpoint."""
        ...

    def open_alerts(self, stream: str, partition: int, alerts: Counter[tuple[Status, Severity]]) -> None:
        """How many alerts are open, by status and severity; from the start on, and when one changes."""
        ...

    def forget(self, stream: str, partition: int) -> None:
        """The partition is not this worker's any more."""
        ...

    def waiting(self, stream: str, partition: int, waiting: bool, what: str) -> None:
        """Whether the partition waits for the store, or for the registry (`pipeline.partition.stores.patience`)."""
        ...

    def missed(self, stream: str, partition: int, records: int) -> None:
        """Records expired before they were read."""
        ...

    def clocks(self, stream: str, partition: int, event_time: int, apart: Sequence[tuple[str, int]]) -> None:
        """The partition's event time (ms since the epoch; 0: none yet), and the series whose clock is far from it: by how many ms."""
        ...

    def shadow(self, stream: str, partition: int, ready: float | None) -> None:
        """Which share of the live series are live in the shadow (`pipeline.partition.shadows.shadow`); None: there is none."""
        ...

    def stands(self, stream: str, partition: int, why: str) -> None:
        """Why event time stands still though nothing comes; empty: it does not. Told when it changes."""
        ...

    def homes(self, stream: str, partition: int, share: float, verdict: Verdict | None) -> None:
        """Which share of the series looked at is not where it belongs, and what is to be said of it; when it changes."""
        ...


class Reports:
    """The reports of one partition; nobody hears them where `metrics` is None."""

    def __init__(
        self, metrics: LoopMetrics | None, stream: str, partition: int, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._metrics = metrics
        self._of = stream, partition
        self._clock = clock
        self._outdated = False
        self._state_again = 0.0

    def batch(self, counts: Counter[str], seconds: dict[str, float]) -> None:
        """One batch: what happened how often, and the seconds of each stage."""
        if self._metrics is not None:
            self._metrics.batch(*self._of, counts, seconds)

    def checkpoint(self, offset: int, size: int, seconds: float) -> None:
        """One checkpoint: its offset, bytes and seconds."""
        if self._metrics is not None:
            self._metrics.checkpoint(*self._of, offset, size, seconds)

    def state(self, core: PartitionCore) -> None:
        """What is held: series in probation and out of it, and open alerts."""
        if self._metrics is None:
            return
        self._outdated = False
        warming = core.warming
        self._metrics.series(*self._of, warming=warming, live=len(core.state) - warming, once=core.once)
        self._metrics.open_alerts(*self._of, core.life.open(core.state))
        self._metrics.clocks(*self._of, core.clock.now, core.clock.apart(APART))
        self._metrics.shadow(*self._of, None if (standing := core.standing) is None else standing.share)

    def state_changed(self, core: PartitionCore) -> None:
        """Tell what is held, soon: at once, or with a later batch, for it takes longer the more series there are."""
        self._outdated = True
        self.state_if_due(core)

    def state_if_due(self, core: PartitionCore) -> None:
        """Tell what is held where it changed and was not told yet."""
        if self._outdated and (began := self._clock()) >= self._state_again:
            self.state(core)
            now = self._clock()
            self._state_again = now + max((now - began) * _TIMES, _SELDOM)

    def waiting(self, waiting: bool, what: str) -> None:
        """Whether the partition waits for the store, or for the registry."""
        if self._metrics is not None:
            self._metrics.waiting(*self._of, waiting, what)

    def missed(self, records: int) -> None:
        """Records expired before they were read."""
        if self._metrics is not None:
            self._metrics.missed(*self._of, records)

    def stands(self, why: str) -> None:
        """Why event time stands still though nothing comes; empty: it does not."""
        if self._metrics is not None:
            self._metrics.stands(*self._of, why)

    def homes(self, share: float, verdict: Verdict | None) -> None:
        """Which share of the series looked at is not where it belongs, and what is to be said of it."""
        if self._metrics is not None:
            self._metrics.homes(*self._of, share, verdict)

    def forget(self) -> None:
        """The partition is not this worker's any more."""
        self._outdated = False
        if self._metrics is not None:
            self._metrics.forget(*self._of)
