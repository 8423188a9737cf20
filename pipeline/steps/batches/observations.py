"""What records say, as columns: observations in log order, where they come from, and how they stand to the order they came in."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from operator import attrgetter
from typing import Any, cast

import numpy as np
from numpy.typing import NDArray

from pipeline.steps.batches.named import taken


@dataclass(frozen=True, slots=True)
class Stretch:
    """Observations of one message (`start` up to `stop`) that say where they come from.

    Attributes
    ----------
    sources
        Their names; `source` (n,) says which.
    offset, number : (n,) int64
        The position there, rising for each source.
    """

    start: int
    stop: int
    sources: tuple[str, ...]
    source: NDArray[np.int64]
    offset: NDArray[np.int64]
    number: NDArray[np.int64]


@dataclass(frozen=True, slots=True)
class Order:
    """How observations stand to the order they came in, where some wait for others (`pipeline.steps.clock.waiting`); (N,) each.

    Attributes
    ----------
    came : int64
        The Kafka offset of each; `Observations.offsets` is where it went on.
    waits : bool
        It waits from here on: its series was heard of, and nothing else of it is known yet.
    waited : bool
        It waited, and goes on here. The others are where they came.
    vouched : bool
        Its event time may move the partition's, if it is accepted.
    """

    came: NDArray[np.int64]
    waits: NDArray[np.bool_]
    waited: NDArray[np.bool_]
    vouched: NDArray[np.bool_]

    def at(self, of: slice | NDArray[np.intp]) -> Order:
        """Those at some places."""
        return Order(self.came[of], self.waits[of], self.waited[of], self.vouched[of])


@dataclass(slots=True)
class Observations:
    """Decoded observations, in log order.

    Attributes
    ----------
    offsets : (N,) int64
        The Kafka offset of each.
    series : N str
    timestamps : (N,) int64
        Event time, ms since the epoch.
    values : (N, C) float64
        Channels of a metric, or the encoded features of a row (finite).
    originals
        For tables: the N rows as they came, for the evidence in alerts. None for metrics.
    kinds : (N,) uint8 or None
        Gauge, counter or delta (`producers.formats.base`); None: all are gauges.
    begun : (N,) int64 or None
        Since when counters and deltas count, ms; 0: not known. None: of none of them.
    stretches
        What says where it comes from; before anything counts it, `PartitionCore.unseen` asks whether it was seen before.
    order
        How they stand to the order that they came in; None: it is theirs.
    others : (N, D) float64 or None
        What a shadow of other channels reads of them (`pipeline.partition.shadows.shadow`), NaN where that is not whole; None: it reads the same.
    """

    offsets: NDArray[np.int64]
    series: Sequence[str]
    timestamps: NDArray[np.int64]
    values: NDArray[np.float64]
    originals: Sequence[list[float | str]] | None = None
    kinds: NDArray[np.uint8] | None = None
    begun: NDArray[np.int64] | None = None
    stretches: list[Stretch] = field(default_factory=list)
    order: Order | None = None
    others: NDArray[np.float64] | None = None

    def __len__(self) -> int:
        return len(self.series)

    def part(self, start: int, stop: int) -> Observations:
        """Those from start up to stop, without where they come from; columns are shared."""
        of = slice(start, stop)
        return Observations(
            self.offsets[of],
            self.series[of],
            self.timestamps[of],
            self.values[of],
            None if self.originals is None else self.originals[of],
            None if self.kinds is None else self.kinds[of],
            None if self.begun is None else self.begun[of],
            order=None if self.order is None else self.order.at(of),
            others=None if self.others is None else self.others[of],
        )

    def take(self, keep: NDArray[np.intp]) -> Observations:
        """Those at the indices `keep` (rising, where they say where they come from); columns are copies."""
        return Observations(
            self.offsets[keep],
            taken(self.series, keep),
            self.timestamps[keep],
            self.values[keep],
            None if self.originals is None else [self.originals[i] for i in keep.tolist()],
            None if self.kinds is None else self.kinds[keep],
            None if self.begun is None else self.begun[keep],
            [kept for stretch in self.stretches if (kept := _kept(stretch, keep)) is not None],
            None if self.order is None else self.order.at(keep),
            None if self.others is None else self.others[keep],
        )

    @property
    def came(self) -> NDArray[np.int64]:
        """(N,) the Kafka offset that each came at, also where it waited since."""
        return self.offsets if self.order is None else self.order.came

    @classmethod
    def merged(cls, one: Observations, other: Observations) -> Observations:
        """Both, in the order of their offsets; no offset is in both."""
        if not len(one) or not len(other):
            return one if len(one) else other
        both = cls(
            np.concatenate([one.offsets, other.offsets]),
            [*one.series, *other.series],
            np.concatenate([one.timestamps, other.timestamps]),
            np.concatenate([one.values, other.values]),
            kinds=_together(one.kinds, other.kinds, len(one), len(other)),
            begun=_together(one.begun, other.begun, len(one), len(other)),
        )
        order = np.argsort(both.offsets, kind="stable")
        merged = both.take(order)
        at = np.empty(len(order), np.intp)
        at[order] = np.arange(len(order))
        merged.stretches = [
            replace(s, start=int(at[by + s.start]), stop=int(at[by + s.stop - 1]) + 1)
            for of, by in ((one, 0), (other, len(one)))
            for s in of.stretches
        ]
        merged.stretches.sort(key=attrgetter("start"))
        return merged


def _kept(stretch: Stretch, keep: NDArray[np.intp]) -> Stretch | None:
    """What is left of a stretch of which only those at `keep`, rising, are left."""
    start, stop = np.searchsorted(keep, [stretch.start, stretch.stop]).tolist()
    of = keep[start:stop] - stretch.start
    if not len(of):
        return None
    return Stretch(start, stop, stretch.sources, stretch.source[of], stretch.offset[of], stretch.number[of])


def _together(one: NDArray[Any] | None, other: NDArray[Any] | None, n: int, m: int) -> NDArray[Any] | None:
    if one is None and other is None:
        return None
    dtype = (one if one is not None else cast("NDArray[Any]", other)).dtype
    parts = [np.zeros(k, dtype) if c is None else c for c, k in ((one, n), (other, m))]
    return np.concatenate(parts)
