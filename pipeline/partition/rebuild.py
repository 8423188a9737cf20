"""A past with a hole: which misfortune left it, and what is not published while it is filled.

    state lost      nothing is stored, but the group has committed an offset: records before it are read again quietly (nothing is
                    published: it was), as far back as needed, as settings and as retention allow
    records lost    the log begins behind the stored offset: windows start anew there

Where the log does not begin at 0 any more, what is rebuilt is not what was lost. Then the alert topic tells which alerts are open,
and they go on from there (`PartitionCore.take_up`). Until that is done there is no checkpoint, so a crash begins it all again.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Self

from pipeline.alerts.records import Alert
from pipeline.steps.batches.records import RecordBatch, Standing


@dataclass(frozen=True, slots=True)
class Hole:
    """What a worker that is assigned a partition does not know of its past.

    Attributes
    ----------
    state_lost
        Nothing was stored; else records were lost.
    known
        The offset up to which all was processed once.
    start, until
        Where to read on, and before which offset everything is published already.
    unseen
        Offsets before `start` that no window will have seen.
    expired
        Offsets that nobody has ever read, and nobody can.
    """

    state_lost: bool
    known: int
    start: int
    until: int
    unseen: int
    expired: int

    @classmethod
    def between(cls, stored: int, now: Standing, *, most: int) -> Self | None:
        """The hole between what is stored and what Kafka has; None where there is none.

        Parameters
        ----------
        stored
            Offset of the stored state; -1: nothing is stored.
        most
            Records that are read again, at most.
        """
        committed = None if now.committed is None else min(now.committed, now.end)
        if stored >= now.first:
            return None
        if stored >= 0:
            until, lost = max(committed or 0, now.first), now.first - stored
            return cls(False, stored, now.first, until, unseen=lost, expired=lost)
        if committed is None or not (committed or now.first):  # before 0 there is nothing to read back
            return None
        until = max(committed, now.first)
        start = max(now.first, until - most)
        return cls(True, committed, start, until, unseen=start, expired=until - committed)

    @property
    def complete(self) -> bool:
        """Whether all of the past is read again, so that what is rebuilt is what was lost."""
        return self.state_lost and self.start == 0


@dataclass(slots=True)
class Rebuild:
    """What is done before a partition with a hole in its past is as it should be.

    Before `until` everything was published already, so nothing is. Where the past is not `complete`, the alert topic tells (`told`)
    what was published of alerts, also behind `until`; no alert is published before `end`, and there these are taken up.
    """

    start: int
    until: int
    end: int
    complete: bool
    begun: float
    told: Mapping[str, Alert] | None = None

    def take(self, told: Mapping[str, Alert], log_end: int) -> None:
        """Take what the alert topic tells: what was published up to its newest record is not published again."""
        self.told = told
        # An offset from behind the end is of a topic of this name that is no more.
        offsets = (alert.evidence.offset for alert in told.values())
        self.end = max([self.until, *(offset + 1 for offset in offsets if offset < log_end)])

    def hides_all(self, position: int) -> bool:
        """Whether anything that the record at this offset leads to was published."""
        return position < self.until

    def hides_alerts(self, position: int) -> bool:
        """Whether alerts of the record at this offset were published."""
        return position < self.end

    def cut(self, records: RecordBatch, position: int) -> Iterator[RecordBatch]:
        """A batch from a position on, cut where something ends to be hidden; later parts hold the earlier ones."""
        for border in sorted({self.until, self.end}):
            if position < border < records.next_offset:
                yield records.before(border)
        yield records
