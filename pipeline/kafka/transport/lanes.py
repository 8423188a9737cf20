"""The partitions that are open: where the next batch of each starts, and what of it is in memory.

Kafka's thread opens lanes and fills them; the app's thread empties them, and closes all at once when partitions are taken away.
"""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import NamedTuple

from aiokafka.errors import IllegalStateError
from faust.types import TP

from pipeline.steps.batches.records import RecordBatch


@dataclass(slots=True, eq=False)
class Lane:
    """An open partition: where its next batch starts and what it holds. One for each time it is assigned."""

    tp: TP
    next_offset: int
    """Where the next fetch takes up."""
    delivered: int
    """Where the last batch ended; behind `next_offset` only where records expired in between."""
    held: deque[tuple[int, int]] = field(default_factory=deque)
    """Records and bytes of each batch in memory, oldest first. Kafka's thread appends, the app's takes off."""
    damaged: int = 0
    """How often what was fetched from `next_offset` on was not what was written."""

    @property
    def records(self) -> int:
        """Records of it in memory."""
        return sum(records for records, _ in list(self.held))

    @property
    def size(self) -> int:
        """Bytes of it in memory."""
        return sum(size for _, size in list(self.held))


@dataclass(frozen=True, slots=True)
class Ticket:
    """Which lane a batch belongs to, and the offset up to which that one has delivered before."""

    lane: Lane
    follows: int


class Delivery(NamedTuple):
    """All records that a poll found of one partition."""

    ticket: Ticket
    batch: RecordBatch


class Lanes:
    """All lanes that are open; iterating gives them.

    Attributes
    ----------
    epoch
        Counts the times that all partitions were taken away.
    """

    def __init__(self) -> None:
        self.epoch = 0
        self._open: dict[TP, Lane] = {}
        self._gate = threading.Lock()

    def __iter__(self) -> Iterator[Lane]:
        return iter(list(self._open.values()))

    def __len__(self) -> int:
        return len(self._open)

    @property
    def held(self) -> int:
        """Bytes of the batches in memory."""
        return sum(lane.size for lane in self)

    @property
    def busy(self) -> bool:
        """Whether any batch is not finished."""
        return any(lane.held for lane in self)

    def get(self, tp: TP) -> Lane | None:
        """The lane of a partition; None where it is not open."""
        return self._open.get(tp)

    def open(self, lane: Lane, epoch: int, seek: Callable[[TP, int], None]) -> None:
        """Seek to where the lane starts, and open it.

        Raises
        ------
        IllegalStateError
            The partitions were taken away since `epoch`.
        """
        with self._gate:
            if epoch != self.epoch:
                msg = f"{lane.tp.topic}[{lane.tp.partition}] was taken away before it was opened"
                raise IllegalStateError(msg)
            seek(lane.tp, lane.next_offset)
            self._open[lane.tp] = lane

    def close_all(self) -> None:
        """Close all lanes, and for good: whoever is about to open one comes too late."""
        with self._gate:
            self.epoch += 1
            self._open.clear()
