"""A partition's state in the store: whose it is, what is written of it, and what follows where a write is refused.

    claim ──▶ load ──▶ write ──▶ write ──▶ refused ──▶ still the owner? ──┬── no ──────▶ Dropped
                         ▲                               (asks the group) └── yes: claim again, load
                         ├── everything, from memory ◀── behind memory, or nothing ◀──┤
                         └── goes on from there ◀─────── ahead of memory ◀────────────┘

The offset and all that changed go in one write. Whether one may be made, and when, is the loop's business. Once a day of the wall clock one is kept as a
*snapshot* besides, for whoever looks back (`tidewatch explain`): no worker goes on from one, and no result depends on them.
"""

from __future__ import annotations

import asyncio
import math
import time
from collections.abc import Awaitable, Callable
from functools import partial

import structlog

from pipeline.errors import Dropped, Refused, StoreError
from pipeline.partition.stores.base import Checkpoint, Claim, Identity, Store, check_identity
from pipeline.partition.stores.patience import Patience
from pipeline.steps.state import PartitionState

SNAPSHOT_EVERY = 86_400.0
"""Seconds of the wall clock between two snapshots."""
PORTION = 2_000_000
"""Bytes of a checkpoint that are collected in one go: some ms."""
PACK_AFTER = 600.0
"""Seconds behind a snapshot after which most of what it holds was written anew beside it, so that nobody but those who look back reads it."""


class Checkpoints:
    """Checkpoints of one partition of one stream, as its owner makes them.

    Parameters
    ----------
    store
        Where they lie.
    identity
        What the state belongs to; compared with the stored one.
    still_owner
        Whether the group still counts this worker as the partition's owner (confirmed by a commit).
    patiently
        How a store that does not answer is waited for.
    trusts
        Whether a stored state is one of this partition's history (`pipeline.partition.deciding.decisions`).
    snapshots
        How many are kept.
    wall, clock
        When it is time for the next: the former, which somebody may set, is asked where the partition is claimed and for the record, the latter in between.

    Attributes
    ----------
    rewrite
        Whether nothing less than everything may be written.
    """

    def __init__(
        self,
        store: Store,
        stream: str,
        partition: int,
        *,
        identity: Identity,
        generation: int,
        still_owner: Callable[[], Awaitable[bool]],
        patiently: Patience,
        trusts: Callable[[Checkpoint], bool] = lambda _: True,
        snapshots: int = 0,
        wall: Callable[[], float] = time.time,
        clock: Callable[[], float] = time.monotonic,
        log: structlog.typing.FilteringBoundLogger,
    ) -> None:
        self.identity = identity
        self.rewrite = False
        self._store = store
        self._stream = stream
        self._partition = partition
        self._generation = generation
        self._still_owner = still_owner
        self._patiently = patiently
        self._trusts = trusts
        self._log = log
        self._claim: Claim | None = None
        self._snapshots = snapshots
        self._wall = wall
        self._clock = clock
        self._snapshot_due = self._keep_due = 0.0
        self._pack_due = math.inf
        self._forgets = False

    @property
    def claimed(self) -> bool:
        """Whether this worker has claimed the partition and not let go of it."""
        return self._claim is not None

    @property
    def nonce(self) -> str:
        """Of the claim; empty where there is none."""
        return "" if self._claim is None else self._claim.nonce

    async def load(self) -> Checkpoint | None:
        """Claim the partition and load what is stored; None where nothing is.

        Raises
        ------
        Dropped
            Another worker claimed it, and the group counts that one as the owner.
        """
        while True:
            self._claim = await self._patiently(
                lambda: self._store.claim(self._stream, self._partition, generation=self._generation)
            )
            self._expect_snapshot(self._claim)
            self.rewrite = True  # until what is stored is adopted: nothing of it may stay beside what is written
            try:
                return await self._patiently(partial(self._store.load, self._claim))
            except Refused:  # somebody claimed in between: a worker that lost the partition, or its next owner
                if not await self._still_owner():
                    msg = f"{self._stream}[{self._partition}] was claimed by another worker"
                    raise Dropped(msg) from None

    def check(self, stored: Checkpoint) -> None:
        """Raises ForeignState where what is stored belongs to something else."""
        check_identity(stored.identity, self.identity)

    def adopted(self, stored: Checkpoint) -> None:
        """What was loaded is what memory holds now."""
        # Of an older format every page is written anew, or the fields would be of two.
        self.rewrite = stored.identity.format != self.identity.format

    async def write(self, offset: int, state: PartitionState) -> tuple[int, Checkpoint | None]:
        """Write what changed and the offset, however long the store takes to answer.

        Returns
        -------
        size
            Of what changed, in bytes.
        ahead
            None, or what is stored where that is ahead of memory: nothing was written then, and it is to be adopted.

        Raises
        ------
        Dropped
            The partition is not this worker's any more.
        """
        try:
            return await self._saved(offset, state), None
        except Refused as refused:
            return await self._refused(refused, offset, state)

    async def write_once(self, offset: int, state: PartitionState) -> None:
        """The same where nobody may wait. Raises StoreError where the store does not answer, Refused where it says no."""
        if self._forgets:
            await self._keep_none()
        self._claim = await self._save(offset, state.snapshot(everything=self.rewrite))

    def forget_snapshots(self) -> None:
        """Series were forgotten: no snapshot may hold them when a checkpoint does not; the next one is kept in their place."""
        self._forgets = True

    def forget(self) -> None:
        """The partition is not this worker's any more."""
        self._claim = None
        self.rewrite = self._forgets = False

    async def _saved(self, offset: int, state: PartitionState) -> int:
        """Write, and keep it as a snapshot where one is due and there is a series; how many bytes."""
        if self._forgets:
            await self._patiently(self._keep_none)
            self._snapshot_due = 0.0
        changed, portion = dict[str, bytes](), 0
        for name, value in state.collected(everything=self.rewrite):
            changed[name] = value
            portion += len(value)
            if portion >= PORTION:  # other partitions are processed meanwhile, this one is not
                portion = 0
                await asyncio.sleep(0)
        due = len(state) > 0 and self._snapshots and self._clock() >= self._snapshot_due
        snapshot = int(self._wall() * 1000) if due else None
        self._claim = await self._patiently(partial(self._save, offset, changed, snapshot))
        state.clean(everything=self.rewrite)
        self.rewrite = self._forgets = False
        if snapshot is not None:
            self._log.info("snapshot kept", offset=offset)
            self._snapshot_due = self._clock() + SNAPSHOT_EVERY
            self._keep_due = 0.0
            self._pack_due = self._clock() + PACK_AFTER
        await self._keep()
        await self._pack()
        return sum(map(len, changed.values()))

    def _expect_snapshot(self, claim: Claim) -> None:
        """When the next one is due: by the last, whoever made it. A clock that was set meanwhile is never wrong by more than a day."""
        age = self._wall() - claim.snapshot_at / 1000 if claim.snapshot_at >= 0 else SNAPSHOT_EVERY
        self._snapshot_due = self._clock() + min(max(SNAPSHOT_EVERY - age, 0.0), SNAPSHOT_EVERY)
        self._keep_due = 0.0
        self._pack_due = self._clock() + PACK_AFTER

    async def _keep(self) -> None:
        """Once a day, and behind each snapshot: forget what is too many."""
        if self._clock() < self._keep_due:
            return
        self._keep_due = self._clock() + SNAPSHOT_EVERY
        try:
            await self._store.keep(self._stream, self._partition, self._snapshots)
        except StoreError as error:  # tomorrow there are some too many
            self._log.warning("snapshots were not forgotten", reason=str(error))

    async def _pack(self) -> None:
        """Some at a checkpoint, until all is packed that only snapshots hold."""
        if self._clock() < self._pack_due or self._claim is None:
            return
        try:
            more = await self._store.pack(self._claim)
        except StoreError as error:
            more = False
            self._log.warning("snapshots were not packed", reason=str(error))
        if not more:
            self._pack_due = math.inf

    async def _keep_none(self) -> int:
        return await self._store.keep(self._stream, self._partition, 0)

    async def _save(self, offset: int, changed: dict[str, bytes], snapshot: int | None = None) -> Claim:
        claim = self._claim
        assert claim is not None
        # The offset is part of the write's id: a checkpoint that was cut short and had arrived after all must not make
        # a later one, of more records, look like its retry.
        write_id = f"{claim.nonce}:{claim.sequence + 1}:{offset}"
        return await self._store.save(
            claim, offset, self.identity, changed, write_id=write_id, replace=self.rewrite, snapshot=snapshot
        )

    async def _refused(self, refused: Refused, offset: int, state: PartitionState) -> tuple[int, Checkpoint | None]:
        """Somebody else's nonce or sequence is stored: find out whose partition it is, and go on or let go."""
        self._log.warning("checkpoint refused", reason=str(refused))
        # What changed since the last checkpoint fits only on top of that one. From here on until all is written or
        # another state adopted, also where this is cut short, nothing less than everything may be written.
        self.rewrite = True
        while True:
            if not await self._still_owner():
                msg = f"{self._stream}[{self._partition}] belongs to another worker now"
                raise Dropped(msg) from refused
            # Still the owner: a stale claim got in between, or the store went back in time. Memory is the truth, unless
            # what is stored is ahead of it.
            stored = await self.load()
            if stored is not None and stored.offset > offset and not self._trusts(stored):
                self._log.warning(
                    "stored state is ahead and passed over a decision: written over", stored=stored.offset, held=offset
                )
                await self._patiently(lambda: self._store.delete(self._stream, self._partition))
                await self.load()
            elif stored is not None and stored.offset > offset:
                self._log.warning("stored state is ahead, adopted", stored=stored.offset, held=offset)
                return 0, stored
            try:
                size = await self._saved(offset, state)
            except Refused as again:
                self._log.warning("checkpoint refused again", reason=str(again))
                continue
            self._log.warning("state written again from memory", offset=offset)
            return size, None
