"""Where a replay begins: at a snapshot of the partition's state, where the log does, or, where neither is in reach, cold among its newest records.

    snapshots in Redis ──▶ the newest up to the observation ──▶ its records are in the log? of this topic? it passed over no decision? ──▶ its state
                                                                               └── no ──▶ the one before; none ──▶ the log

What a replay from a snapshot says is what one from the log's beginning says, to the bit: both are functions of the log and of what was decided.
"""

from __future__ import annotations

import asyncio
from collections.abc import Collection
from dataclasses import dataclass

import structlog

from pipeline.errors import ForeignState, StoreError
from pipeline.operations.looking_back.replaying import Place, Replay
from pipeline.operations.state_admin import opened
from pipeline.partition.deciding.carrying import in_force_of
from pipeline.partition.deciding.decisions import Line, Taken, trusted
from pipeline.partition.stores.base import Snapshot, check_identity

log = structlog.get_logger(__name__)


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


def begun(
    place: Place, partition: int, upto: int, *, newest: int, without: Collection[int] = ()
) -> tuple[Beginning, Replay]:
    """A replay of a partition that is to go up to the record at offset `upto`, and where it begins.

    Parameters
    ----------
    newest
        How many of the log's records are replayed at most.
    without
        Serials of decisions that it is to know nothing of.

    Raises
    ------
    ModelError, SettingsError
        What was in force at the snapshot is not at hand; the message names it.
    """
    taken = place.taken.get(partition, ())
    last = min([upto, *(t.offset for t in taken if _holds(t, without))])
    try:
        found = asyncio.run(_from_snapshot(place, partition, upto - newest, last, without))
    except StoreError as error:
        log.warning("no snapshots: the store does not answer", reason=str(error))
        found = None
    if found is not None:
        return found
    first = place.from_offset(partition, newest)
    return Beginning(first, None, whole=first == 0), Replay.of(place, partition, without)


def _holds(taken: Line, serials: Collection[int]) -> bool:
    return isinstance(taken, Taken) and any(d.serial in serials for d in taken.decisions)


async def _from_snapshot(
    place: Place, partition: int, first: int, last: int, without: Collection[int]
) -> tuple[Beginning, Replay] | None:
    """From the newest snapshot between two offsets, both included, that a worker could have gone on from. Raises StoreError."""
    first = max(first, place.bounds[partition].first)
    async with opened(place.settings) as store:
        kept = await store.snapshots(place.stream.name, partition)
        for snapshot in sorted(kept, key=lambda s: s.offset, reverse=True):
            if not first <= snapshot.offset <= last:
                continue
            try:
                check_identity(snapshot.identity, place.identity)
                stored = await store.snapshot(place.stream.name, partition, snapshot.number)
                if stored is None:  # forgotten meanwhile
                    continue
                if not trusted(place.taken.get(partition, ()), stored.offset, in_force_of(stored)):
                    log.info("snapshot passed over: it knows nothing of a decision before it", offset=stored.offset)
                    continue
                replay = Replay.of(place, partition, without, stored)
            except ForeignState as error:
                log.info("snapshot passed over", offset=snapshot.offset, reason=str(error))
                continue
            return Beginning(stored.offset, snapshot, whole=True), replay
    return None
