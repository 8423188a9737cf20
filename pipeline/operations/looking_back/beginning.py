"""Where a replay begins: at a snapshot of the partition's state, where the log does, or, where neither is in reach, cold among its newest records.

    snapshots in Redis ──▶ the newest that lies far enough back ──▶ its records are in the log? of this topic? it passed over no decision? ──▶ its state
                                                                               └── no ──▶ the one before; none ──▶ the log

What a replay from a snapshot says is what one from the log's beginning says, to the bit: both are functions of the log and of what was decided.
All who look back begin here: `explain`, what other settings would have said, the evidence of what was missed.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Collection
from dataclasses import dataclass
from typing import Any, TypeVar

import structlog

from pipeline.alerts.records import rfc3339
from pipeline.errors import ForeignState, StoreError
from pipeline.operations.looking_back.replaying import Place
from pipeline.operations.state_admin import opened
from pipeline.partition.deciding.carrying import in_force_of
from pipeline.partition.deciding.decisions import Line, Taken, trusted
from pipeline.partition.stores.base import Checkpoint, Snapshot, check_identity

log = structlog.get_logger(__name__)

T = TypeVar("T")


@dataclass(frozen=True)
class Beginning:
    """Where a replay begins, and what is known there.

    Attributes
    ----------
    offset
        Of the first record that is replayed.
    snapshot
        The one that it begins at; None: it begins with nothing.
    whole
        Whether nothing that came before is missing.
    """

    offset: int
    snapshot: Snapshot | None
    whole: bool

    def __str__(self) -> str:
        if self.snapshot is not None:
            return f"from the snapshot of {rfc3339(self.snapshot.at)}, at offset {self.offset}"
        return "from the log's beginning" if self.whole else f"cold, from offset {self.offset}"

    def as_json(self) -> dict[str, Any]:
        """For programs."""
        at = None if self.snapshot is None else rfc3339(self.snapshot.at)
        return {"offset": self.offset, "snapshot": at, "warm": self.whole}


def begun(
    place: Place,
    partition: int,
    upto: int,
    make: Callable[[Checkpoint | None], T | None],
    *,
    newest: int,
    without: Collection[int] = (),
    enough: Callable[[T], bool] = lambda _: True,
) -> tuple[Beginning, T]:
    """What is to replay a partition up to the record at offset `upto`, or from before it on, and where it begins.

    Parameters
    ----------
    make
        What replays, from a state (None: from nothing); None where it cannot go on from that one.
    newest
        How many of the log's records are replayed at most.
    without
        Serials of decisions that the state must know nothing of.
    enough
        Whether what begins there lies far enough back; where no snapshot does, it begins at the log's beginning, and where that is not in reach, at the oldest.

    Raises
    ------
    ModelError, SettingsError
        What was in force at the snapshot is not at hand, and `make` needs it; the message names it.
    """
    taken = place.taken.get(partition, ())
    last = min([upto, *(t.offset for t in taken if _holds(t, without))])
    first = place.from_offset(partition, newest)
    oldest: tuple[Beginning, T] | None = None
    try:
        kept = asyncio.run(_kept(place, partition))
        for snapshot in sorted(kept, key=lambda s: s.offset, reverse=True):
            if first <= snapshot.offset <= last and (found := _from(place, partition, snapshot, make)) is not None:
                oldest = Beginning(snapshot.offset, snapshot, whole=True), found
                if enough(found):
                    return oldest
    except StoreError as error:
        log.warning("no snapshots: the store does not answer", reason=str(error))
    if oldest is not None and first > 0:
        return oldest
    replay = make(None)
    assert replay is not None
    return Beginning(first, None, whole=first == 0), replay


def _holds(taken: Line, serials: Collection[int]) -> bool:
    return isinstance(taken, Taken) and any(d.serial in serials for d in taken.decisions)


async def _kept(place: Place, partition: int) -> list[Snapshot]:
    async with opened(place.settings) as store:
        return await store.snapshots(place.stream.name, partition)


async def _stored(place: Place, partition: int, number: int) -> Checkpoint | None:
    async with opened(place.settings) as store:
        return await store.snapshot(place.stream.name, partition, number)


def _from(place: Place, partition: int, snapshot: Snapshot, make: Callable[[Checkpoint | None], T | None]) -> T | None:
    """What goes on from a snapshot, where a worker could have gone on from it. Raises StoreError."""
    try:
        check_identity(snapshot.identity, place.identity)
        stored = asyncio.run(_stored(place, partition, snapshot.number))
        if stored is None:  # forgotten meanwhile
            return None
        if not trusted(place.taken.get(partition, ()), stored.offset, in_force_of(stored)):
            log.info("snapshot passed over: it knows nothing of a decision before it", offset=stored.offset)
            return None
        return make(stored)
    except ForeignState as error:
        log.info("snapshot passed over", offset=snapshot.offset, reason=str(error))
        return None
