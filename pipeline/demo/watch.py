"""What is going on, in numbers: sent, processed, waiting, scored, alerts; asked of publishers, workers and Kafka."""

from __future__ import annotations

import threading
import time
import urllib.error
import urllib.request
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from types import TracebackType
from typing import Self

from prometheus_client.parser import text_string_to_metric_families

from pipeline.alerts.records import Alert

_ASK_EVERY = 0.3
_TIMEOUT = 3.0
_TOTALS = {"tidewatch_windows_scored_total": "scored", "tidewatch_dead_letters_total": "dead_letters"}


@dataclass
class StreamState:
    """One stream at one moment.

    Attributes
    ----------
    total, sent
        Records to replay, and how many Kafka has acknowledged.
    processed
        Records that the workers have gone past.
    rate
        Records processed in a second, of late.
    """

    total: int = 0
    sent: int = 0
    processed: int = 0
    scored: int = 0
    dead_letters: int = 0
    rate: float = 0.0
    firing: int = 0
    fired: int = 0
    resolved: int = 0

    @property
    def lag(self) -> int:
        """Records that wait."""
        return max(self.sent - self.processed, 0)


class WorkerWatch:
    """Counters of the workers' /metrics, asked for in a thread, summed over workers and over their lives.

    A worker that was killed starts at zero again; what its earlier lives counted is kept.
    """

    def __init__(self, ports: Sequence[int]) -> None:
        self._ports = list(ports)
        self._lock = threading.Lock()
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._run, name="workers", daemon=True)
        self._now: dict[int, dict[tuple[str, str], float]] = {}
        self._before: dict[tuple[str, str], float] = {}
        self._positions: dict[tuple[str, int], int] = {}

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._over.set()
        self._thread.join(_TIMEOUT + 1.0)

    def take(self, port: int, text: str) -> None:
        """Take in what the worker of this port said."""
        with self._lock:
            self._take(port, text)

    def total(self, stream: str, what: str) -> int:
        """Sum of a counter (`scored`, `dead_letters`) of one stream."""
        key = (stream, what)
        with self._lock:
            return int(self._before.get(key, 0) + sum(counts.get(key, 0) for counts in self._now.values()))

    def processed(self, stream: str) -> int:
        """Records of the stream that were gone past, all partitions together."""
        with self._lock:
            return sum(at for (name, _), at in self._positions.items() if name == stream)

    def _run(self) -> None:
        """Ask all workers again and again; one that does not answer has changed nothing."""
        while not self._over.wait(_ASK_EVERY):
            for port in self._ports:
                if (text := _fetch(f"http://127.0.0.1:{port}/metrics")) is not None:
                    self.take(port, text)

    def _take(self, port: int, text: str) -> None:
        counts: dict[tuple[str, str], float] = {}
        for family in text_string_to_metric_families(text):
            for sample in family.samples:
                stream = sample.labels.get("stream", "")
                if (what := _TOTALS.get(sample.name)) is not None:
                    counts[stream, what] = counts.get((stream, what), 0.0) + sample.value
                elif sample.name == "tidewatch_position":
                    at = (stream, int(sample.labels["partition"]))
                    self._positions[at] = max(self._positions.get(at, 0), int(sample.value))
        earlier = self._now.get(port, {})
        if any(counts.get(key, 0.0) < value for key, value in earlier.items()):  # a new process
            for key, value in earlier.items():
                self._before[key] = self._before.get(key, 0.0) + value
        self._now[port] = counts


@dataclass
class Tracker:
    """Keeps the state of all streams up to date."""

    workers: WorkerWatch
    totals: Mapping[str, int]
    clock: float = field(default_factory=time.monotonic)
    streams: dict[str, StreamState] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.streams = {name: StreamState(total=n) for name, n in self.totals.items()}

    def update(self, sent: Mapping[str, int], alerts: Sequence[Alert]) -> None:
        """Take in what was sent, what the workers say, and new alert records."""
        now = time.monotonic()
        seconds, self.clock = now - self.clock, now
        for name, state in self.streams.items():
            processed = max(self.workers.processed(name), state.processed)
            rate = (processed - state.processed) / max(seconds, 1e-3)
            state.rate += 0.3 * (rate - state.rate)
            state.sent, state.processed = sent.get(name, 0), processed
            state.scored = self.workers.total(name, "scored")
            state.dead_letters = self.workers.total(name, "dead_letters")
        for alert in alerts:
            state = self.streams[alert.stream]
            if begins(alert):
                state.fired += 1
                state.firing += 1
            elif ends(alert):
                state.resolved += 1
                state.firing -= 1


def begins(alert: Alert) -> bool:
    """Whether this record tells for the first time that the alert fires."""
    return alert.event_type.endswith(".firing.v1")


def ends(alert: Alert) -> bool:
    """Whether this record ends an alert that had fired."""
    return alert.status == "resolved" and alert.fired


def _fetch(address: str) -> str | None:
    try:
        with urllib.request.urlopen(address, timeout=_TIMEOUT) as answer:  # noqa: S310  (our own workers, on loopback)
            return str(answer.read().decode())
    except (OSError, urllib.error.URLError):
        return None
