"""The life of a partition, without Faust: assigned, batch after batch, revoked.

    assigned ──▶ claim ──▶ load ──▶ begin ──▶ batch ──▶ batch ──▶ checkpoint ──▶ ... ──▶ revoked
                   ▲                            decode, push, score,   alerts and dead letters
                   │                            settle, publish        acknowledged, then fields
                   └────────── refused, still owner ◀──────────────── and offset in one write

State and offset move together: what is in the store at offset n has seen every record before n and none from n on, and all
alerts of those records are acknowledged. So whoever loads it goes on as if nothing had happened, and what a crash makes
twice is identical to the byte. Faust calls this in production; a seed-driven simulation calls the same code.

Whose the stored state is, and what follows a refusal, is told in `pipeline.partition.checkpoints`; what goes out and how it is counted in
`messages`; what the loop says of itself in `reports`. What people decide, settings among it, takes effect at an offset:
`pipeline.partition.deciding.decisions`; so do the ticks that carry time on where nothing comes (`ticking`). Where nothing is stored, or Kafka has not kept what comes next, the past has a
hole: `pipeline.partition.rebuild`.
"""

from __future__ import annotations

import asyncio
import time
from collections import Counter
from collections.abc import Awaitable, Callable, Collection, Iterator, Mapping, Sequence
from functools import partial

import msgspec
import structlog

from pipeline.alerts.records import Alert, rfc3339
from pipeline.errors import BrokerError, Dropped, ModelError, SettingsError, TidewatchError
from pipeline.partition.checkpoints import Checkpoints
from pipeline.partition.core import PartitionCore
from pipeline.partition.deciding.carrying import (
    Effect,
    applied,
    check_model,
    hold,
    in_force_after,
    in_force_of,
    last_settings,
    looked,
)
from pipeline.partition.deciding.decisions import Decisions, InForce, Line, Tick
from pipeline.partition.deciding.growth import OUTDATED_CONTROL, Grown
from pipeline.partition.deciding.what import Decision, Forget
from pipeline.partition.home import Homes
from pipeline.partition.messages import Messages, rejections
from pipeline.partition.outbox import Outbox, Publisher
from pipeline.partition.rebuild import Hole, Rebuild
from pipeline.partition.reports import LoopMetrics, Reports
from pipeline.partition.settling import Step
from pipeline.partition.shadows.shadow import cut
from pipeline.partition.stores.base import Checkpoint, Identity, Store
from pipeline.partition.stores.patience import STORE, Patience
from pipeline.partition.stream import Stream
from pipeline.partition.streams import Streams
from pipeline.partition.ticking import EndOfLog, Ticking
from pipeline.steps.batches.records import RecordBatch, Rejected, Standing
from pipeline.steps.decoding import CONTROL, TOMBSTONE
from producers.formats.registry.schemas import Schema, Unknown
from producers.records import decode_control

log = structlog.get_logger(__name__)

TELL_EVERY = 30.0
"""Seconds after which partitions that were added are told of again: the list may have lost it before anybody took it."""

VERIFY_EVERY = 30.0
"""Seconds after which a partition without new records writes a checkpoint all the same: a store that lost its state is noticed
while memory still has it."""

OpenAlerts = Callable[[], Awaitable[Mapping[str, Alert]]]
"""Reads the alert topic: series of the partition -> the last record of its last alert. Raises BrokerError."""

LogEnds = Callable[[], Awaitable[Sequence[int]]]
"""Asks Kafka for the offset behind the last record of each partition of the input topic. Raises BrokerError."""

FetchSchemas = Callable[[Collection[int]], Awaitable[Mapping[int, Schema | Unknown]]]
"""What a schema registry says of ids. Raises RegistryError where it cannot be asked."""


class PartitionLoop:
    """One partition of one stream, from assignment to revocation. Its methods are never called at the same time.

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

    async def begin(self, now: Standing) -> int:
        """Decide where to read on, given what Kafka has; returns the offset to seek to.

        `checkpointed` is then what may be committed at once: never less than what is committed.

        Raises
        ------
        BrokerError
            The log ends before the stored offset: it lost records, or is not the same one. Or Kafka does not answer.
        """
        self._counted, self._no_telling_before = now.partitions, 0.0
        self._reports.waiting(False, STORE)
        if self.position > now.end:
            msg = (
                f"{self.stream.settings.input_topic}[{self.partition}] ends at offset {now.end}, but its stored state is of "
                f"offset {self.position}: Kafka lost records or the topic is another; run `tidewatch state reset "
                f"{self.stream.name}` to start anew"
            )
            raise BrokerError(msg)
        hole = Hole.between(self.position, now, most=self._rebuild_records)
        self._said_up_to = self._may_be_said(now, state_lost=hole is not None and hole.state_lost)
        if hole is None:
            await self._apply_due()
            self._tell_state()
            return now.first if self.position < 0 else self.position
        self.position = hole.start
        self.core.miss(hole.unseen)
        if hole.state_lost:
            self._log.warning(
                "state lost, reading back quietly", committed=now.committed, log_start=now.first, log_end=now.end,
                since=hole.start, records=hole.until - hole.start, complete=hole.complete,
            )  # fmt: skip
        if hole.expired:
            self._tell_missed(hole.expired, stored=hole.known, log_start=now.first)
        await self._start_over(hole.until, now.end, complete=hole.complete)
        return self.position

    def _may_be_said(self, now: Standing, *, state_lost: bool) -> int:
        """How far an owner before may have published without what is decided since.

        None goes on by twice what it waits with a checkpoint for, as it said itself (`Mark`), except while it reads a lost state back. A store that
        went back in time is behind what was committed.
        """
        known = max(self.position, -1 if now.committed is None else now.committed)
        if known < 0 and (self._decisions is None or not self._decisions.any_taken):
            return 0
        most = max(self._records, 0 if self._decisions is None else self._decisions.most_records)
        return now.end if state_lost else min(now.end, max(known, 0) + 2 * most)

    async def batch(self, records: RecordBatch) -> None:
        """Decode, push, score, settle and publish; makes a checkpoint where one is due.

        Records before `position` were processed already and are left out. Any bytes are fine: what cannot be used
        becomes a dead letter.

        Raises
        ------
        Dropped
            The partition is not this worker's any more.
        BrokerError
            The broker does not take what is published.
        """
        await self._stay()
        if records.missed:
            await self._missed(records.missed)
        if len(records):
            self._ticking.came(int(records.timestamps[-1]))
        for n, piece in enumerate(self._pieces(records)):
            if n:
                await self._stay()  # again: between two a checkpoint may wait for the store
            await self._batch(piece)

    def _pieces(self, records: RecordBatch) -> Iterator[RecordBatch]:
        """A batch, cut where a checkpoint is due in it at the latest, and behind a gap as long; later pieces hold the earlier ones."""
        at = max(self.position, 0)
        while len(rest := records.since(at)) and records.next_offset - at > self._records:
            at = max(int(rest.offsets[0]), at + self._records)
            yield records.before(at)
        yield records

    async def _batch(self, records: RecordBatch) -> None:
        if self._decisions is not None:
            await self._apply_due()
            await self._take()
        parts = [records] if self._rebuild is None else self._rebuild.cut(records, self.position)
        for part in parts:
            for piece in [part] if self._decisions is None else self._decisions.cut(part, self.position):
                await self._process(piece)
                await self._apply_due()
            await self._end_rebuild()
        if self.outbox.full:
            await self.outbox.acknowledged()
        await self._pause()

    async def _stay(self) -> None:
        """Be sure to be the owner still, before records are worked on that are in hand.

        Whoever slept may have lost the partition. What it has in hand then lies before the log's end as the next owner finds it, and that is how
        far the next owner takes for said (`begin`); what it would read from here on does not.
        """
        if not self._surely_owner() and not await self._still_owner():
            self._drop()
            msg = f"{self.stream.name}[{self.partition}] was given to another worker while this one slept"
            raise Dropped(msg)

    async def _process(self, records: RecordBatch) -> None:
        """One batch, or what lies of it before a border of a rebuild, no more of it at a time than memory has room for."""
        for piece in cut(records.since(self.position), self._look):
            await self._learn(piece)
            for portion in self.stream.decoder.portions(piece):
                await self._process_portion(portion)

    async def _learn(self, records: RecordBatch) -> None:
        """Have the schemas at hand that these records need; while their registry is away, the partition waits."""
        for decoder in self.core.decoders:
            while self._fetch_schemas is not None and (ids := decoder.missing(records)):
                decoder.learn(await self._patiently(partial(self._fetch_schemas, ids)))

    async def _process_portion(self, records: RecordBatch) -> None:
        await self._learn(records)  # again: other partitions of the stream share the decoder, and it keeps so many only
        started = self._clock()
        self._midway = True
        records = records.since(self.position)
        skipped = self.stream.decoder.skipped
        tombstones = skipped[TOMBSTONE]
        observations, rejected = self.core.decode(records)
        if controls := [r.index for r in rejected if r.reason == CONTROL]:
            await self._with_controls(records, controls)
            return
        decoded = self._clock()
        scoring = 0.0
        came, observations = len(observations), self.core.unseen(observations)
        counts: Counter[str] = Counter(records=len(records), observations=len(observations))
        counts["seen_before"] = came - len(observations)
        counts["rebuilt"] = len(records) * self._all_is_out
        counts["tombstones"] = skipped[TOMBSTONE] - tombstones
        for part in self.core.parts(observations):
            step = self.core.push(part)
            self._look_at_homes(records, step)
            self.core.hear_delays(step, records)
            before = self._clock()
            scores, beside = await self.stream.scorer.score(step.pushed.windows.x), None
            if self.core.shadow is not None and step.shadow is not None:
                beside = await self.core.shadow.stream.scorer.score(step.shadow.windows.x)
            scoring += self._clock() - before
            settled = self.core.settle(step, scores, beside)
            counts.update(settled.counts)
            rejected += rejections(records, step.rejected + settled.unscorable)
            if not self._alerts_are_out:
                self._messages.alerts(settled.alerts, counts)
            if not self._all_is_out:
                self._messages.scores(self.core.life.records.scores(self.core.state, settled.scored))
        if not self._all_is_out:
            self._messages.dead_letters(records, rejected, counts)
        self.position = max(self.position, records.next_offset)
        self._midway = False
        seconds = {"decode": decoded - started, "score": scoring, "batch": self._clock() - started}
        self._reports.batch(counts, seconds)
        if self._rebuild is None and any(name.startswith("alerts_") for name in counts):
            self._reports.state_changed(self.core)

    def _look_at_homes(self, records: RecordBatch, step: Step) -> None:
        """Whether the series belong to this partition; told where they do not, they are scored all the same."""
        counts = self._in_force.growth.possible(records.next_offset - 1, self.partition, self._counted)
        if self._homes.look(records, step.observations, step.rows, counts):
            self._reports.homes(self._homes.share, self._homes.verdict)

    async def idle(self) -> None:
        """Nothing came for about a second: take what was decided, make a checkpoint where one is due, carry time on."""
        await self._pause()
        self._ticking.idle()
        await self._tick()

    async def _pause(self) -> None:
        """After each batch, and without one: take what was decided, and make a checkpoint where one is due."""
        if self._rebuild is None:
            self._reports.state_if_due(self.core)
        await self._take()
        age = self._clock() - self._checkpointed_at
        if self.position > self.checkpointed:
            if age >= self._every or self.position - max(self.checkpointed, 0) >= self._records:
                await self._checkpoint()
        elif self.position >= 0 and age >= VERIFY_EVERY:
            await self._checkpoint()

    async def checkpoint(self) -> int:
        """Make a checkpoint where there is anything new; returns `checkpointed`."""
        if self.position > self.checkpointed:
            await self._checkpoint()
        return self.checkpointed

    async def _checkpoint(self) -> None:
        """Write changed state and offset in one step, after everything published is acknowledged."""
        if not self.checkpoints.claimed or self._midway or self._rebuild is not None:
            return
        await self.outbox.acknowledged()
        started = self._clock()
        try:
            size, ahead = await self.checkpoints.write(self.position, self.core.state)
        except Dropped:
            self._drop()
            raise
        if ahead is not None:
            self._adopt(ahead)
        self._written(size, started)

    async def revoked(self) -> None:
        """Hand over in order: one last checkpoint where the store allows it, then forget everything.

        A batch that was cut short in the middle (cancelled) left state and offset apart: then nothing is written, and
        the next owner does that batch again from the checkpoint before.
        """
        try:
            whole = not self._midway and self._rebuild is None
            if self.checkpoints.claimed and whole and self.position > self.checkpointed:
                await self.outbox.acknowledged()
                await self.checkpoints.write_once(self.position, self.core.state)
                self.checkpointed = self.position
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

    def _written(self, size: int, started: float) -> None:
        self.checkpointed = self.position
        self._checkpointed_at = self._clock()
        self._reports.checkpoint(self.position, size, self._checkpointed_at - started)
        self._tell_state()

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

    def _tell_state(self) -> None:
        """Tell the metrics what the state holds; nothing while it is read back, for then it is not the whole one."""
        if self._rebuild is None:
            self._reports.state(self.core)

    # Decisions

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

    async def _take(self) -> None:
        """Take what the list holds and this partition has not taken, where nothing of it is in flight."""
        decisions = self._decisions
        if decisions is None or self._rebuild is not None or self._midway or not self.checkpoints.claimed:
            return
        while decisions.none_yet:  # a worker's settings are the first decision, and are on their way
            await self._sleep(0.1)
        await self._tell_partitions(decisions)
        if not decisions.wanted:
            return
        await self.checkpoint()  # so that whoever comes next does not need what is not in force any more
        if not (following := self._possible(await self._patiently(decisions.following))):
            return
        await decisions.take(following, max(self.position, self._said_up_to))
        await self._apply_due()
        if self.position >= 0:
            await self._checkpoint()

    async def _tell_partitions(self, decisions: Decisions) -> None:
        """Where Kafka counts more partitions than this one was told of, see to it that the list says so: it decides who belongs elsewhere."""
        if (
            self._log_ends is None
            or self._counted <= self._in_force.growth.told
            or self._clock() < self._no_telling_before
        ):
            return
        self._no_telling_before = self._clock() + TELL_EVERY
        try:
            await self._patiently(partial(decisions.tell_partitions, self._counted, self._log_ends))
        except BrokerError as error:
            self._log.debug("nobody knows where the logs end", reason=str(error))

    def _possible(self, following: Sequence[Decision]) -> Sequence[Decision]:
        """The decisions that can be taken here: those before the first settings whose model is not at hand, nor overruled by later ones."""
        assert self._decisions is not None
        while (at := last_settings(following)) is not None:
            try:
                self._streams(in_force_after(InForce(), following[at], 0))
                break
            except (ModelError, SettingsError) as error:
                if not self._decisions.in_force.serial and not at:
                    raise  # a partition cannot begin with nothing in force
                self._decisions.waits_at = following[-1].serial
                self._log.warning("a decision waits", serial=following[at].serial, why=str(error))
                following = following[:at]
        return following

    async def _apply_due(self) -> None:
        """Let what was taken at this position take effect."""
        decisions, upto = self._decisions, self.position
        if self._rebuild is not None:  # what was taken where it ends is about the alerts that are taken up there
            upto = min(upto, self._rebuild.end - 1)
        while decisions is not None and (due := decisions.due(upto, empty=not len(self.core.state))):
            self._apply(due)

    def _apply(self, due: Line | Grown) -> None:
        series, before = len(self.core.state), self.core.shadow
        effect = applied(self.core, self._in_force, due, self._streams)
        self._use(effect.core.stream, effect.core)
        self._hold(effect.in_force)
        if effect.core.shadow is not None and effect.core.shadow is not before:
            self._tell_shadow("a shadow learns, the old settings judge until it is live")
        if effect.refused:
            self._log.warning("settings refused", why=effect.refused, serial=effect.in_force.serial)
        if isinstance(due, Tick):
            self._log.debug("event time goes on", to=rfc3339(due.event_time), since=due.offset)
        elif isinstance(due, Grown):
            moved = series - len(self.core.state)
            self._log.info("partitions were added", after=due.partitions, series_moved=moved, since=due.offset)
        else:
            self._log.info("decisions in force", serial=due.serial, since=due.offset)
            if any(isinstance(d.what, Forget) for d in due.decisions):
                self.checkpoints.forget_snapshots()
        self._follow(effect, Counter(ticks=1) if isinstance(due, Tick) else Counter())

    def _look(self, offset: int) -> int | None:
        """Look at the shadow before the record at an offset, where it is time to; from which offset on it is time again, None: there is none."""
        if (shadow := self.core.shadow) is None:
            return None
        if offset >= shadow.next_look(self.core.state):
            standing = shadow.standing(self.core.state, self.core.learning)
            effect = looked(self.core, self._in_force, offset, self._streams)
            if effect is None:
                return shadow.next_look(self.core.state)
            self._tell_shadow("the shadow judges from here on", since=offset, live=str(standing))
            self._use(effect.core.stream, effect.core)
            self._hold(effect.in_force)
            self._follow(effect, Counter())
            return None
        return shadow.next_look(self.core.state)

    def _tell_shadow(self, what: str, **more: object) -> None:
        if (of := self._in_force.shadow) is not None:
            self._log.info(what, serial=of.serial, decided=of.offset, model=of.model[:12], **more)

    def _follow(self, effect: Effect, counts: Counter[str]) -> None:
        """Publish and count what decisions, or a shadow's taking over, led to."""
        if not self._alerts_are_out:
            self._messages.alerts(effect.alerts, counts)
        for settled in effect.waited:
            counts.update(settled.counts)
        if not self._all_is_out:
            self._messages.scores(effect.scores)
        if counts:
            self._reports.batch(counts, {})
        self._tell_state()

    # Ticks

    async def _tick(self) -> None:
        """Carry event time on where the log has ended, the stream was live, and something waits for the time."""
        decisions = self._decisions
        if decisions is None or not self.checkpoints.claimed or not decisions.settled:
            return
        if self._rebuild is not None or self._midway or self.position < self._said_up_to:
            return
        position = self.position
        if (due := await self._ticking.due(self.core, decisions.in_force, position)) is None:
            return
        began = self._clock()
        await self.checkpoint()
        if self.position != position:  # the store was ahead
            return
        taken = await decisions.tick(due.event_time, position, due.at)
        self._ticking.answered(taken=taken, seconds=self._clock() - began)
        if taken:
            await self._apply_due()
            await self._checkpoint()

    def _tell_doubt(self, why: str) -> None:
        self._reports.stands(why)
        if why:
            self._log.warning("event time stands still though nothing comes", why=why)

    # A past with a hole

    async def _start_over(self, until: int, end: int, *, complete: bool) -> None:
        """From `position` on, process quietly what was published already."""
        self.checkpointed = until
        self._rebuild = Rebuild(self.position, until, until, complete, begun=self._clock())
        if not complete:
            await self._ask_alerts(self._rebuild, end)
        await self._apply_due()
        await self._end_rebuild()

    async def _ask_alerts(self, rebuild: Rebuild, end: int) -> None:
        """Ask the alert topic what is open."""
        if self._open_alerts is None:
            return
        rebuild.take(await self._open_alerts(), end)

    async def _missed(self, records: int) -> None:
        """Retention was quicker than this loop."""
        stored = self.position
        if self.position < 0:  # nothing was read before, so there is no hole
            self._tell_missed(records)
            return
        self.position += records
        self.core.miss(records)
        self._tell_missed(records, stored=stored, log_start=self.position)
        if self._rebuild is not None:
            self._rebuild.complete = False
            if self._rebuild.told is None:
                await self._ask_alerts(self._rebuild, 1 << 62)
            await self._apply_due()
            await self._end_rebuild()

    def _tell_missed(self, records: int, **where: int) -> None:
        self._log.warning("records expired before they were read", missed=records, **where)
        self._reports.missed(records)

    async def _end_rebuild(self) -> None:
        """Where the hole is behind us, go on as always, and write everything."""
        rebuild = self._rebuild
        if rebuild is None or self.position < rebuild.end:
            return
        facts: dict[str, object] = {}
        if not rebuild.complete and rebuild.told is not None:
            taken, withdrawn = self.core.take_up(rebuild.told)
            facts = {"alerts_taken_up": len(taken), "alerts_withdrawn": len(withdrawn)}
        self._rebuild = None
        self._log.info(
            "state rebuilt", offset=self.position, records=self.position - rebuild.start, complete=rebuild.complete,
            series=len(self.core.state), seconds=round(self._clock() - rebuild.begun, 1), **facts,
        )  # fmt: skip
        await self._apply_due()
        await self._checkpoint()

    @property
    def _alerts_are_out(self) -> bool:
        """Whether alerts of the next record were published already."""
        return self._rebuild is not None and self._rebuild.hides_alerts(self.position)

    @property
    def _all_is_out(self) -> bool:
        """Whether anything that the next record leads to was."""
        return self._rebuild is not None and self._rebuild.hides_all(self.position)

    # Control records, which versions before decisions wrote

    async def _with_controls(self, records: RecordBatch, at: Sequence[int]) -> None:
        """Process a batch that holds control records: what lies before one, then that, then what lies behind."""
        for i in at:
            await self._process(records.before(int(records.offsets[i])))
            self._control(records, i)
        await self._process(records)

    def _control(self, records: RecordBatch, at: int) -> None:
        """One control record: a dead letter, but where it is older than the partition's first decision and is believed."""
        counts, offset, held = Counter(records=1, control=1), int(records.offsets[at]), self._in_force
        control = decode_control(records.values[at] or b"")
        refusal = OUTDATED_CONTROL if held.begun else held.growth.refusal(control, self._counted)
        if refusal is not None or control is None:
            self._log.warning("control record refused", why=refusal, offset=offset)
            if not self._all_is_out:
                self._messages.dead_letters(records, [Rejected(at, CONTROL, refusal or "")], counts)
        else:
            growth = held.growth.by_record(control, offset)
            self._hold(msgspec.structs.replace(held, growth=growth))
            if growth.next is not None:
                self._apply(growth.next)
        self.position = offset + 1
        self._reports.batch(counts, {})
        self._tell_state()
