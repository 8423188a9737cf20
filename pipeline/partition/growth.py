"""Which control records are believed: whoever may write observations may write them too, and they end alerts.

    held < after <= counted ......... believed: the topic grew from `held` to `after`
    after = held .................... nothing new: written twice, by a crash or by another stream's worker
    anything else ................... refused, a dead letter

`counted` is what Kafka says now; a topic never has fewer partitions than it had, so what was believed once is believed again whenever
the log is read. `held` is what the log has told up to here. It is stored with each checkpoint; at a first start it is Kafka's count.
Where history is read back without a stored state, nobody knows what it began with, and the first record's `before` is taken for it.

What remains possible: between the moment that a topic grows and the record of the partition's owner (about a minute), a stranger may tell
of that growth first, or of a smaller one. And what was refused because the topic was smaller then is believed if the topic has grown
since and the record is read again: after a crash right behind it, or when a lost state is read back.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from pipeline.partition.stores.base import Identity
from producers.records import PartitionsAdded


@dataclass(slots=True)
class Growth:
    """How many partitions a topic has; 0: not known.

    Attributes
    ----------
    held
        As the log tells it, up to the loop's position.
    begun, history
        Kafka's count when the state began, and the offset where the log ended then: what lies before may be of a time when it was less.
    counted
        By Kafka now; the only one that is not stored.
    """

    held: int = 0
    begun: int = 0
    history: int = 0
    counted: int = 0

    def at(self, offset: int) -> int:
        """The count that holds for the record at an offset."""
        return self.held or (self.begun if offset >= self.history else 0)

    def counts(self, offsets: NDArray[np.int64]) -> NDArray[np.int64]:
        """`at` for each of offsets (N,); 1 where nobody knows."""
        return np.maximum(self.held or np.where(offsets >= self.history, self.begun, 0), 1)

    def possible(self, offset: int, partition: int) -> Sequence[int]:
        """The counts by which a record of a partition at an offset may have come there; empty: nobody knows.

        Producers hear of added partitions minutes later. What is older than the state may have come at any count.
        """
        if held := self.at(offset):
            return sorted({n for n in (self.begun, self.held, held) if n > partition})
        return range(partition + 1, self.counted + 1)

    @classmethod
    def stored(cls, identity: Identity) -> Growth:
        """As a checkpoint has it; older versions stored only how many partitions they knew of."""
        return cls(*identity.growth) if identity.growth is not None else cls(identity.partitions)

    def kept(self) -> tuple[int, int, int]:
        """What a checkpoint keeps."""
        return self.held, self.begun, self.history

    def refusal(self, control: PartitionsAdded, offset: int) -> str | None:
        """Why a record is not believed; None where it is, or says nothing new."""
        held = self.at(offset)
        if control.after > self.counted:
            return f"it tells of {control.after} partitions, Kafka counts {self.counted}"
        if control.after < held:
            return f"it tells of {control.after} partitions, the topic has had {held} since before"
        return None

    def take(self, control: PartitionsAdded, offset: int) -> tuple[int, int] | None:
        """From how many to how many partitions the topic grew with a record that is not refused; None: that was known."""
        before = self.at(offset) or control.before
        if control.after <= before:
            return None
        self.held = control.after
        return before, control.after
