"""Whether series lie where they belong: each whole in one partition, by the hash of its key.

    a record of series s in partition p:
      murmur2(s) or murmur2(key) says p ........... at home: what our producers, Java and aiokafka do
      CRC32 or FNV-1a of the key says p ........... another partitioner: whole, as long as every producer hashes so
      no key ...................................... the series lies in pieces in all partitions, and so do its windows
      keys that change, or that no hash explains .. the same, or nobody knows

Keys are looked at for a sample: a round of up to 256 series, about a minute long, then the next ones. So it costs nothing that could be
measured, and a producer that was mended is noticed. Nothing of it is in the state, and no result depends on it.
"""

from __future__ import annotations

import time
import zlib
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from pipeline.steps.batches.observations import Observations
from pipeline.steps.batches.records import RecordBatch
from producers.partitioning import hash_of, murmur2

AT_HOME = 0.9
"""Share of the series that must lie where their key says before the others are taken for strays, or for series that moved."""

SERIES = 256
"""Series that a round looks at."""
ROUND = 60.0
"""Seconds of a round."""
ENOUGH = 16
"""Records of series that are not at home: fewer are strays (somebody tried something), no verdict."""
SATED = 2048
"""Records that a round looks at; what comes until its end is not looked at."""
_LOOKED_AT = 1024  # observations at the beginning of a batch, among which the round's series are looked for
_SIGHTINGS = 64  # of them, in one batch

Kind = Literal["keyless", "keys change", "unknown", "CRC32", "FNV-1a"]

_KEYED = (
    "have the producer give all records of a series one key (Telegraf: routing_tag; OpenTelemetry collector: "
    "partition_metrics_by_resource_attributes), or set an [[intake]] before the stream (docs/intake.md)"
)
_WHY: dict[Kind, str] = {
    "keyless": f"their records have no key, so each series lies in pieces in all partitions, and is judged in pieces: {_KEYED}",
    "keys change": f"the records of one series have different keys, so it lies in pieces in several partitions: {_KEYED}",
    "unknown": "their keys belong elsewhere by every hash known here (murmur2, CRC32, FNV-1a), so nobody can say whether a series is whole: "
    "set the producers' partitioner to murmur2_random (librdkafka), or leave Kafka's default",
}
_OTHER = (
    "their keys are hashed by {kind}, not by murmur2: series are whole while every producer hashes so, but what is sent again and what moves "
    "when partitions are added goes elsewhere; set partitioner = murmur2_random (librdkafka), or leave Kafka's default"
)


@dataclass(frozen=True)
class Verdict:
    """Series of a partition are not where they belong.

    Attributes
    ----------
    away, series
        How many of those looked at, and how many were.
    example
        One of them.
    """

    kind: Kind
    away: int
    series: int
    example: str

    @property
    def in_pieces(self) -> bool:
        """Whether series are, or may be, judged in pieces; else only another partitioner is at work."""
        return self.kind in _WHY

    def __str__(self) -> str:
        why = _WHY.get(self.kind) or _OTHER.format(kind=self.kind)
        return f"{self.away} of {self.series} series looked at are not at home ({self.example[:80]!r}): {why}"


@dataclass(slots=True)
class _Sighted:
    """What a round saw of one series: its first key, by which ways that belongs here, and how often it was seen."""

    key: bytes | None
    ways: frozenset[str]
    times: int = 1
    changed: bool = False

    @property
    def at_home(self) -> bool:
        return "name" in self.ways or ("murmur2" in self.ways and not self.changed)

    @property
    def kind(self) -> Kind:
        if self.key is None:
            return "keyless"
        return "keys change" if self.changed else "unknown"


class Homes:
    """Looks at what one partition brings; `verdict` is what it found."""

    def __init__(self, partition: int, clock: Callable[[], float] = time.monotonic) -> None:
        self.partition = partition
        self.verdict: Verdict | None = None
        self.share = 0.0
        self._clock = clock
        self._seen: dict[str, _Sighted] = {}
        self._sightings = 0
        self._rounds = 0
        self._stride = 1
        self._begun = clock()

    def look(
        self, records: RecordBatch, observations: Observations, rows: NDArray[np.intp], counts: Sequence[int]
    ) -> bool:
        """Look at a batch; whether `verdict` or `share` may have changed.

        Parameters
        ----------
        rows
            The observations' rows in the state; they say whose turn it is.
        counts
            How many partitions the topic has, or may have had when these were written.
        """
        if not len(rows) or not counts or max(counts) == 1:
            return False
        if self._sightings >= 4 * ENOUGH and self._clock() - self._begun >= ROUND:
            self._next_round(int(rows.max()) + 1)
        elif self._sightings >= SATED:
            return False
        near = rows[:_LOOKED_AT]
        turn = np.flatnonzero(near % self._stride == self._rounds % self._stride)[:_SIGHTINGS]
        if observations.order is not None:  # of what waited, another record is at hand
            turn = turn[~observations.order.waited[turn]]
        index = np.searchsorted(records.offsets, observations.offsets[turn])
        before = self._sightings
        for i, r in zip(turn.tolist(), index.tolist(), strict=True):
            self._see(observations.series[i], records.keys[r], counts)
        # Judged while it is young, then now and then.
        if self._sightings == before or self._sightings // ENOUGH == before // ENOUGH:
            return False
        return self._judge()

    def look_at_all(self, records: RecordBatch, observations: Observations, partitions: int) -> None:
        """Look at the whole of a batch, where there is no state, and the topic may have grown to so many partitions since."""
        counts = range(self.partition + 1, partitions + 1)
        for start in range(0, len(observations), _SIGHTINGS):
            part = observations.part(start, min(start + _SIGHTINGS, len(observations)))
            self.look(records, part, np.zeros(len(part), np.intp), counts)

    def _next_round(self, series: int) -> None:
        self._judge(whole=True)
        self._seen.clear()
        self._sightings = 0
        self._rounds += 1
        self._stride = max(1, series // SERIES)
        self._begun = self._clock()

    def _see(self, series: str, key: bytes | None, counts: Sequence[int]) -> None:
        key, seen = key or None, self._seen.get(series)
        if seen is not None:
            seen.times += 1
            seen.changed |= key != seen.key
        elif len(self._seen) < SERIES:
            self._seen[series] = _Sighted(key, _ways(series, key, self.partition, counts))
        else:
            return
        self._sightings += 1

    def _judge(self, *, whole: bool = False) -> bool:
        """Of what this round has seen; a verdict of before stands until a round is whole that does not find it."""
        seen = self._seen
        away = {name: s for name, s in seen.items() if not s.at_home}
        before = self.verdict, self.share
        found = self._found(away)
        if whole or found is not None:
            self.verdict, self.share = found, len(away) / max(len(seen), 1)
        return before != (self.verdict, self.share)

    def _found(self, away: dict[str, _Sighted]) -> Verdict | None:
        series = len(self._seen)
        if len(away) <= (1 - AT_HOME) * series or sum(s.times for s in away.values()) < ENOUGH:
            return None
        kind: Kind = Counter(s.kind for s in away.values()).most_common(1)[0][0]
        other: Kind
        for other in ("CRC32", "FNV-1a"):
            if sum(other in s.ways and not s.changed for s in self._seen.values()) >= AT_HOME * series:
                kind = other
                break
        example = next((name for name, s in away.items() if s.kind == kind), next(iter(away)))
        return Verdict(kind, len(away), series, example)


def worst(homes: Iterable[Homes]) -> Verdict | None:
    """Of what was found in several partitions what matters most; None: nothing was."""
    return max((h.verdict for h in homes if h.verdict is not None), key=lambda v: (v.in_pieces, v.away), default=None)


def _fnv1a(key: bytes) -> int:
    """As Sarama has it (Telegraf, the OpenTelemetry collector): of a signed number, without its sign."""
    number = 0x811C9DC5
    for byte in key:
        number = (number ^ byte) * 0x01000193 & 0xFFFFFFFF
    return number if number < 1 << 31 else (1 << 32) - number


def _ways(series: str, key: bytes | None, partition: int, counts: Sequence[int]) -> frozenset[str]:
    """By which hash of what a record belongs to the partition, of any of the counts of partitions."""
    hashes = {"name": hash_of(series)}
    if key:
        key = key[:4096]  # longer ones are no names; hashing them would cost
        hashes |= {"murmur2": murmur2(key), "CRC32": zlib.crc32(key), "FNV-1a": _fnv1a(key)}
    many = np.array(counts)
    return frozenset(way for way, number in hashes.items() if (number % many == partition).any())
