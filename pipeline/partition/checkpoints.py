"""A partition's state in the store: whose it is, what is written of it, and what follows where a write is refused.

    claim ──▶ load ──▶ write ──▶ write ──▶ refused ──▶ still the owner? ──┬── no ──────▶ Dropped
                         ▲                               (asks the group) └── yes: claim again, load
                         ├── everything, from memory ◀── behind memory, or nothing ◀──┤
                         └── goes on from there ◀─────── ahead of memory ◀────────────┘

The offset and all that changed go in one write. Whether one may be made, and when, is the loop's business. What it writes is collected in one go, with nothing of
the partition in flight; then it is *under way*: it waits until all that was published up to there is acknowledged, and is sent, while the partition works on.

    begin ──▶ collected, as of the offset ──▶ acknowledged ──▶ sent ──▶ stored       end: waits for it, and does here what did not succeed meanwhile
                        └── the partition goes on with the next records ──▶ ...

There is one at a time. Until it is known to be stored, whatever follows is everything: what was collected counts as written at once, and only on top of it is a
difference one.

Once a day of the wall clock one is kept as a *snapshot* besides, for whoever looks back (`tidewatch explain`): no worker goes on from one, and no result depends on
them.
"""

from __future__ import annotations

import asyncio
import math
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from functools import partial

import structlog

from pipeline.errors import Dropped, Refused, StoreError, TidewatchError
from pipeline.partition.outbox import Outbox
from pipeline.partition.stores.base import Checkpoint, Claim, Identity, Store, check_identity
from pipeline.partition.stores.patience import Patience
from pipeline.steps.state import PartitionState

SNAPSHOT_EVERY = 86_400.0
"""Seconds of the wall clock between two snapshots."""
PORTION = 64_000_000
"""Bytes of a checkpoint that are collected in one go, some 15 ms; then other partitions have their turn, and this one waits for them."""
PACK_AFTER = 600.0
"""Seconds behind a snapshot after which most of what it holds was written anew beside it, so that nobody but those who look back reads it."""


@dataclass(slots=True)
class UnderWay:
    """A checkpoint that was collected and is not known to be stored.

    Attributes
    ----------
    whole
        Whether it is everything.
    snapshot
        When it was made, ms since the epoch, where it is kept as one.
    forgets
        Whether snapshots before it go.
    published
        How many messages the partition had handed over when it was collected.
    began
        By the clock of `Checkpoints`.
    """

    offset: int
    changed: dict[str, bytes]
    write_id: str
    whole: bool
    snapshot: int | None
    forgets: bool
    published: int
    began: float
    task: asyncio.Task[None] | None = None


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
    outbox
        What the partition has published: none is written before the broker has acknowledged what led to it. None: nothing was.
    written
        Told of each that is stored: its offset, bytes and seconds. The partition may be in the middle of a batch then.
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
        outbox: Outbox | None = None,
        written: Callable[[int, int, float], None] = lambda *_: None,
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
        self._outbox = outbox
        self._written = written
        self._log = log
        self._claim: Claim | None = None
        self._snapshots = snapshots
        self._wall = wall
        self._clock = clock
        self._snapshot_due = self._keep_due = 0.0
        self._pack_due = math.inf
        self._forgets = False
        self._under_way: UnderWay | None = None

    @property
    def under_way(self) -> bool:
        """Whether one was begun and not ended."""
        return self._under_way is not None

    @property
    def has_come_back(self) -> bool:
        """Whether the one that was begun is stored, or was not: `end` would not wait for what is on its way."""
        of = self._under_way
        return of is not None and of.task is not None and of.task.done()

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

    async def begin(self, offset: int, state: PartitionState) -> UnderWay:
        """Collect what changed up to the offset, and send it while others go on; none may be under way.

        Nothing of the partition may be in flight until this returns.
        """
        assert self._claim is not None
        assert self._under_way is None
        whole, forgets = self.rewrite, self._forgets
        if forgets:
            self._snapshot_due = 0.0
        due = len(state) > 0 and self._snapshots and self._clock() >= self._snapshot_due
        began = self._clock()
        changed, portion = dict[str, bytes](), 0
        for name, value in state.collected(everything=whole):
            changed[name] = value
            portion += len(value)
            if portion >= PORTION:
                portion = 0
                await asyncio.sleep(0)
        snapshot = int(self._wall() * 1000) if due else None
        published = 0 if self._outbox is None else self._outbox.handed_over
        of = UnderWay(offset, changed, self._write_id(offset), whole, snapshot, forgets, published, began)
        state.clean(everything=whole)
        self._forgets, self.rewrite = False, True
        self._under_way = of
        of.task = asyncio.create_task(self._first_try(of))
        of.task.add_done_callback(_seen)
        return of

    async def end(self, offset: int, state: PartitionState) -> Checkpoint | None:
        """Wait until what was begun is stored, however long the store takes to answer; where it refuses, all that memory holds by now is written.

        Nothing of the partition may be in flight.

        Parameters
        ----------
        offset, state
            Of now.

        Returns
        -------
        None, or what is stored where that is ahead of memory: nothing was written then, and it is to be adopted.

        Raises
        ------
        Dropped
            The partition is not this worker's any more.
        BrokerError
            The broker does not take what was published.
        """
        if self._under_way is None:
            return None
        try:
            await self._finish(self._under_way)
        except Refused as refused:
            return await self._refused(refused, offset, state)
        return None

    async def write(self, offset: int, state: PartitionState) -> Checkpoint | None:
        """`begin` and `end`."""
        await self.begin(offset, state)
        return await self.end(offset, state)

    async def settle(self) -> None:
        """Wait for the store's answer to what was begun, if it gives one; where it does not, everything is to be written next."""
        if (of := self._under_way) is not None and of.task is not None:
            try:
                await asyncio.shield(of.task)
            except TidewatchError as error:
                self._log.warning("the checkpoint under way was not stored", offset=of.offset, reason=str(error))
        self._under_way = None

    async def write_once(self, offset: int, state: PartitionState) -> None:
        """Write what changed where nobody may wait. Raises StoreError where the store does not answer, Refused where it says no."""
        if self._forgets:
            await self._keep_none()
        changed = state.snapshot(everything=self.rewrite)
        of = UnderWay(offset, changed, self._write_id(offset), self.rewrite, None, False, 0, self._clock())
        await self._store_it(of)

    def forget_snapshots(self) -> None:
        """Series were forgotten: no snapshot may hold them when a checkpoint does not; the next one is kept in their place."""
        self._forgets = True

    def forget(self) -> None:
        """The partition is not this worker's any more."""
        self._claim = None
        self.rewrite = self._forgets = False
        if (of := self._under_way) is not None and of.task is not None:
            of.task.cancel()
        self._under_way = None

    async def _first_try(self, of: UnderWay) -> None:
        if self._outbox is not None:
            await self._outbox.acknowledged(of.published)
        await self._stored(of)

    async def _finish(self, of: UnderWay) -> None:
        """Raises Refused where the store says no; it is over then, too."""
        assert of.task is not None
        try:
            await asyncio.shield(of.task)
        except Refused:
            self._under_way = None
            raise
        except StoreError as error:  # from here on the partition waits
            try:
                await self._patiently(partial(self._stored, of), failed=error)
            except Refused:
                self._under_way = None
                raise
        self._under_way = None

    async def _stored(self, of: UnderWay) -> None:
        """Store it, then look after snapshots."""
        await self._store_it(of)
        await self._keep()
        await self._pack()

    async def _store_it(self, of: UnderWay) -> None:
        claim = self._claim
        assert claim is not None
        if of.forgets:
            await self._keep_none()
        self._claim = await self._store.save(
            claim, of.offset, self.identity, of.changed, write_id=of.write_id, replace=of.whole, snapshot=of.snapshot
        )
        self.rewrite = False
        if of.snapshot is not None:
            self._log.info("snapshot kept", offset=of.offset)
            self._snapshot_due = self._clock() + SNAPSHOT_EVERY
            self._keep_due = 0.0
            self._pack_due = self._clock() + PACK_AFTER
        self._written(of.offset, sum(map(len, of.changed.values())), self._clock() - of.began)
        of.changed = {}

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

    def _write_id(self, offset: int) -> str:
        # The offset is part of the write's id: a checkpoint that was cut short and had arrived after all must not make
        # a later one, of more records, look like its retry.
        assert self._claim is not None
        return f"{self._claim.nonce}:{self._claim.sequence + 1}:{offset}"

    async def _refused(self, refused: Refused, offset: int, state: PartitionState) -> Checkpoint | None:
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
                return stored
            try:
                await self._finish(await self.begin(offset, state))
            except Refused as again:
                self._log.warning("checkpoint refused again", reason=str(again))
                continue
            self._log.warning("state written again from memory", offset=offset)
            return None


def _seen(task: asyncio.Task[None]) -> None:
    """Whoever ends it hears how it went; nobody does where the partition was given up."""
    if not task.cancelled():
        task.exception()
