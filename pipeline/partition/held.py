"""What a worker holds of a partition, and how that comes from the store and goes there.

    assigned ──▶ claimed, loaded ──▶ begin ──▶ end ──▶ begin ──▶ ... ──▶ revoked: end, one last, dropped
                                       └─ the partition goes on ─┘

Whose the stored state is, what goes out, and what follows a refusal, is told in `pipeline.partition.checkpoints`; when one is due, in `loop`.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable, Collection, Mapping, Sequence

import structlog

from pipeline.alerts.records import Alert
from pipeline.errors import Dropped, TidewatchError
from pipeline.partition.checkpoints import Checkpoints
from pipeline.partition.core import PartitionCore
from pipeline.partition.deciding.carrying import check_model, hold, in_force_of
from pipeline.partition.deciding.decisions import Decisions, InForce
from pipeline.partition.home import Homes
from pipeline.partition.messages import Messages
from pipeline.partition.outbox import Outbox, Publisher
from pipeline.partition.rebuild import Rebuild
from pipeline.partition.reports import LoopMetrics, Reports
from pipeline.partition.stores.base import Checkpoint, Identity, Store
from pipeline.partition.stores.patience import Patience
from pipeline.partition.stream import Stream
from pipeline.partition.streams import Streams
from pipeline.partition.ticking import EndOfLog, Ticking
from producers.formats.registry.schemas import Schema, Unknown

log = structlog.get_logger("pipeline.partition.loop")

OpenAlerts = Callable[[], Awaitable[Mapping[str, Alert]]]
"""Reads the alert topic: series of the partition -> the last record of its last alert. Raises BrokerError."""

LogEnds = Callable[[], Awaitable[Sequence[int]]]
"""Asks Kafka for the offset behind the last record of each partition of the input topic. Raises BrokerError."""

FetchSchemas = Callable[[Collection[int]], Awaitable[Mapping[int, Schema | Unknown]]]
"""What a schema registry says of ids. Raises RegistryError where it cannot be asked."""


class Held:
    """What is held of one partition of one stream, from assignment to revocation. Its methods are never called at the same time.

    Parameters
    ----------
    store, publisher, clock, sleep
        The world, handed in; `clock` gives seconds that nobody sets, and decides about pacing only, never about a result.
    wall
        Seconds since the epoch: for ticks.
    end_of_log
        Asked before a tick is taken; None: none is.
    still_owner
        Whether the group still counts this worker as the partition's owner (confirmed by a commit).
    surely_owner
        Whether it does for sure, so that nobody needs to be asked: it said so a short while ago.
    identity
        What the state belongs to; compared with the stored one.
    open_alerts
        For a past that is not complete; None: alerts that are open then stay so.
    log_ends
        Asked where Kafka counts more partitions than were decided; None: nobody says so.
    snapshots
        How many checkpoints, a day apart, are kept for whoever looks back.
    rebuild_records
        How many records before the committed offset are read again, at most, where the state was lost.
    decisions
        What was decided and is to be; None: nothing is, and `stream` holds (files, tests).
    streams
        The streams of what is in force; None: `stream` for everything.
    fetch_schemas
        Asks a schema registry; None: there is none, and records that need it are dead letters.
    """

    def __init__(
        self,
        stream: Stream,
        partition: int,
        *,
        store: Store,
        publisher: Publisher,
        still_owner: Callable[[], Awaitable[bool]],
        surely_owner: Callable[[], bool] = lambda: True,
        identity: Identity,
        clock: Callable[[], float] = time.monotonic,
        wall: Callable[[], float] = time.time,
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
        metrics: LoopMetrics | None = None,
        checkpoint_every: float = 2.0,
        checkpoint_records: int = 200_000,
        generation: int = -1,
        open_alerts: OpenAlerts | None = None,
        log_ends: LogEnds | None = None,
        end_of_log: EndOfLog | None = None,
        rebuild_records: int = 2_000_000,
        snapshots: int = 8,
        decisions: Decisions | None = None,
        streams: Streams | None = None,
        fetch_schemas: FetchSchemas | None = None,
    ) -> None:
        self.stream = stream
        self.partition = partition
        self.position = -1
        self.checkpointed = -1
        self.core: PartitionCore = stream.core(partition)
        self.outbox = Outbox(publisher)
        self._messages = Messages(stream, self.outbox)
        self._clock = clock
        self._reports = Reports(metrics, stream.name, partition, clock)
        self._every = checkpoint_every
        self._records = checkpoint_records
        self._open_alerts = open_alerts
        self._log_ends = log_ends
        self._ticking = Ticking(wall, clock, end_of_log, self._tell_doubt)
        self._in_force = InForce()
        self._counted = 0
        self._no_telling_before = 0.0
        self._homes = Homes(partition, clock)
        self._decisions = decisions
        self._streams = Streams(stream) if streams is None else streams
        self._sleep = sleep
        self._still_owner = still_owner
        self._surely_owner = surely_owner
        self._fetch_schemas = fetch_schemas
        self._rebuild_records = rebuild_records
        self._rebuild: Rebuild | None = None
        self._said_up_to = 0
        self._checkpointed_at = clock()
        self._took = 0.0
        """Seconds from when the last checkpoint was begun until it was stored."""
        self._midway = False
        self._log = log.bind(stream=stream.name, partition=partition)
        self._patiently = Patience(sleep, self._reports.waiting, self._log)
        self.checkpoints = Checkpoints(
            store,
            stream.name,
            partition,
            identity=identity,
            generation=generation,
            still_owner=still_owner,
            patiently=self._patiently,
            trusts=self._trusts,
            outbox=self.outbox,
            written=self._written,
            snapshots=snapshots,
            wall=wall,
            clock=clock,
            log=self._log,
        )

    async def assigned(self) -> int | None:
        """Claim the partition and load its state; returns its offset, None where nothing is stored. `begin` is next.

        Raises
        ------
        ForeignState
            What is stored belongs to another cluster, topic or model.
        """
        try:
            stored = await self.checkpoints.load()
        except Dropped:
            self._drop()
            raise
        self._checkpointed_at = self._clock()
        if self._decisions is not None:
            await self._decisions.claim(self.checkpoints.nonce)
        self._holds(InForce())
        if stored is not None and not self._trusts(stored):
            self._log.warning("stored state passed over a decision: not taken", stored=stored.offset)
            stored = None
        if stored is None:
            return None
        self._adopt(stored)
        self._log.info("state loaded", offset=stored.offset, series=len(self.core.state), sequence=stored.sequence)
        return stored.offset

    async def checkpoint(self) -> int:
        """Make a checkpoint where there is anything new, and wait until it is stored; returns `checkpointed`."""
        await self._end_checkpoint()
        if self.position > self.checkpointed:
            await self._checkpoint()
        return self.checkpointed

    async def _checkpoint(self) -> None:
        """Write changed state and offset, and wait until they are stored."""
        await self._end_checkpoint()
        if await self._begin_checkpoint():
            await self._end_checkpoint()

    async def _begin_checkpoint(self) -> bool:
        """Collect changed state and offset; they are stored in one step after everything published is acknowledged. Whether one is under way."""
        if not self.checkpoints.claimed or self._midway or self._rebuild is not None:
            return False
        if not self.checkpoints.under_way:
            await self.checkpoints.begin(self.position, self.core.state)
        return True

    async def _end_checkpoint(self) -> None:
        """Where one is under way, wait until it, or what has to take its place, is stored."""
        if not self.checkpoints.under_way:
            return
        try:
            ahead = await self.checkpoints.end(self.position, self.core.state)
        except Dropped:
            self._drop()
            raise
        if ahead is not None:
            self._adopt(ahead)
            self._checkpointed_at = self._clock()
        self._tell_state()

    @property
    def _goes_too_far(self) -> bool:
        """Whether nothing may follow before a checkpoint is stored: what lies behind the last is what the next owner takes for said (`begin`)."""
        return self._unwritten >= self._records

    @property
    def _soon_too_far(self) -> bool:
        """Whether it would go too far while a checkpoint is stored, at the pace since the last and were it to take twice as long; not before half of the way,
        so that where they take long there are twice as many at most.
        """
        left, age = self._records - self._unwritten, self._clock() - self._checkpointed_at
        return self._unwritten >= left and 2 * self._took * self._unwritten > left * age

    @property
    def _unwritten(self) -> int:
        """Records that no stored checkpoint knows of."""
        return self.position - max(self.checkpointed, 0) if self.position > self.checkpointed else 0

    async def revoked(self) -> None:
        """Hand over in order: one last checkpoint where the store allows it, then forget everything.

        A batch that was cut short in the middle (cancelled) left state and offset apart: then nothing is written, and
        the next owner does that batch again from the checkpoint before.
        """
        try:
            await self.checkpoints.settle()
            whole = not self._midway and self._rebuild is None
            if self.checkpoints.claimed and whole and self.position > self.checkpointed:
                await self.outbox.acknowledged()
                await self.checkpoints.write_once(self.position, self.core.state)
        except TidewatchError as error:  # the next owner resumes from the checkpoint before: nothing is lost
            self._log.warning("no checkpoint at revocation", reason=str(error))
        finally:
            self._drop()

    # The store

    def _adopt(self, stored: Checkpoint) -> None:
        self.checkpoints.check(stored)
        in_force = in_force_of(stored)
        stream = self._streams(in_force)
        if in_force.settings is None:
            check_model(stored.identity, stream)
        core = self._streams.core(in_force, self.partition)
        core.state.restore(stored.fields, written=stored.identity.format)
        self._use(stream, core)
        self._hold(in_force)
        self.position = self.checkpointed = stored.offset
        self.checkpoints.adopted(stored)

    def _written(self, offset: int, size: int, seconds: float) -> None:
        """A checkpoint is stored; a batch may be under way."""
        self.checkpointed = offset
        self._checkpointed_at, self._took = self._clock(), seconds
        self._reports.checkpoint(offset, size, seconds)

    def _drop(self) -> None:
        self.checkpoints.forget()
        self._midway = False
        self._rebuild = None
        self.outbox.forget()
        self._counted = 0
        self._homes = Homes(self.partition, self._clock)
        self._ticking.forget()
        self.core = self.stream.core(self.partition)
        self._holds(InForce())
        self._reports.forget()

    # What is in force

    def _trusts(self, stored: Checkpoint) -> bool:
        """Whether a stored state knows of every decision that this partition took before its offset."""
        return self._decisions is None or self._decisions.trusts(stored.offset, in_force_of(stored))

    def _use(self, stream: Stream, core: PartitionCore) -> None:
        self.stream, self.core = stream, core
        self._messages = Messages(stream, self.outbox)

    def _hold(self, in_force: InForce) -> None:
        """Let the state, and what is said of alerts, be of what is in force now."""
        hold(self.core, in_force)
        self._holds(in_force)

    def _holds(self, in_force: InForce) -> None:
        self._in_force = in_force
        if self._decisions is not None:
            self._decisions.holds(in_force)

    # What is told

    def _tell_state(self) -> None:
        """Tell the metrics what the state holds; nothing while it is read back, for then it is not the whole one."""
        if self._rebuild is None:
            self._reports.state(self.core)

    def _tell_doubt(self, why: str) -> None:
        self._reports.stands(why)
        if why:
            self._log.warning("event time stands still though nothing comes", why=why)

    @property
    def _alerts_are_out(self) -> bool:
        """Whether alerts of the next record were published already."""
        return self._rebuild is not None and self._rebuild.hides_alerts(self.position)

    @property
    def _all_is_out(self) -> bool:
        """Whether anything that the next record leads to was."""
        return self._rebuild is not None and self._rebuild.hides_all(self.position)
