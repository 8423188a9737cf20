"""How many partitions the input topic has, as decisions tell it: who belongs elsewhere when it grows, and among how many a budget is shared.

    decision `partitions`: 6, logs ended at (.., 900, ..)      taken by this partition at 740
    records before 900 ...... written when there were 4: the series that move are here still
    records from 900 on ..... 6 partitions: what hashes elsewhere now has moved (`pipeline.partition.core.PartitionCore.moved`)

Kafka never takes partitions away, so a count that is no more than what was told before says nothing new. The first one that is told moves
nobody: nobody knows what there was before. A partition that is far behind its log takes the decision at once, as any, and it comes to pass where the
log ended when Kafka was asked.

Before there was this decision, owners wrote *control records* into the topic of observations. They are believed where a log is read that is older than its
partition's first decision, as they were then: up to the count that Kafka has, and no fewer than were told before. From the first decision on they
count for nothing.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import msgspec

from pipeline.partition.stores.base import Identity
from producers.records import PartitionsAdded

UNKNOWN_CONTROL = "a control record of a kind, or with a content, that this version does not know"
OUTDATED_CONTROL = (
    "a control record: how many partitions there are is decided elsewhere since, and this one counts for nothing"
)


class Grown(NamedTuple):
    """From `offset` on the topic has so many partitions."""

    offset: int
    partitions: int


class Growth(msgspec.Struct, frozen=True):
    """How many partitions the topic has, as a partition was told up to where it stands.

    Attributes
    ----------
    count
        0: not told.
    before
        As it was before the topic grew last; 0: not told.
    history
        What lies before this offset may be of a time when there were fewer, nobody knows how many.
    coming
        What was told, and is not reached yet.
    """

    count: int = 0
    before: int = 0
    history: int = 0
    coming: tuple[Grown, ...] = ()

    @property
    def told(self) -> int:
        """The count that was told last."""
        return self.coming[-1].partitions if self.coming else self.count

    @property
    def next(self) -> Grown | None:
        """What comes to pass next."""
        return self.coming[0] if self.coming else None

    def hear(self, count: int, *, end: int, offset: int) -> Growth:
        """With a count that was told at `offset`, when the log ended at `end`."""
        if not self.told:
            return Growth(count, history=end)
        if count <= self.told:
            return self
        at = max(offset, end, self.coming[-1].offset if self.coming else 0)
        return msgspec.structs.replace(self, coming=(*self.coming, Grown(at, count)))

    def grown(self) -> Growth:
        """When the next has come to pass."""
        (_, count), *later = self.coming
        return Growth(count, self.count, self.history, tuple(later))

    def possible(self, offset: int, partition: int, counted: int) -> Sequence[int]:
        """The counts by which a record of a partition at an offset may have come there, given Kafka's count now; empty: nobody knows.

        Producers hear of added partitions minutes later. What is older than what was told may have come at any count.
        """
        if self.count and offset >= self.history:
            return sorted({n for n in (self.before, self.count) if n > partition})
        return range(partition + 1, max(counted, self.told) + 1)

    @classmethod
    def stored(cls, identity: Identity) -> Growth:
        """As versions before decisions stored it: what records told, what Kafka counted when the state began, and where that was."""
        held, begun, history = identity.growth or (0, 0, 0)
        return cls(held or begun or identity.partitions, begun if held else 0, history)

    def by_record(self, control: PartitionsAdded, offset: int) -> Growth:
        """With what a control record says that is not refused; where nobody knows what there was, its own word is taken for it."""
        known = self if self.told else Growth(control.before)
        return known.hear(control.after, end=offset, offset=offset)

    def refusal(self, control: PartitionsAdded | None, counted: int) -> str | None:
        """Why a control record is not believed, given Kafka's count; None where it is, or says nothing new."""
        if control is None:
            return UNKNOWN_CONTROL
        if control.after > counted:
            return f"it tells of {control.after} partitions, Kafka counts {counted}"
        if control.after < self.told:
            return f"it tells of {control.after} partitions, the topic has had {self.told} since before"
        return None
