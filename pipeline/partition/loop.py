"""The life of a partition, without Faust: assigned, batch after batch, revoked.

    assigned ──▶ claim ──▶ load ──▶ begin ──▶ batch ──▶ batch ──▶ checkpoint ──▶ ... ──▶ revoked
                   ▲                            decode, push, score,   alerts and dead letters
                   │                            settle, publish        acknowledged, then fields
                   └────────── refused, still owner ◀──────────────── and offset in one write

State and offset move together: what is in the store at offset n has seen every record before n and none from n on, and all
alerts of those records are acknowledged. So whoever loads it goes on as if nothing had happened, and what a crash makes
twice is identical to the byte. Faust calls this in production; a seed-driven simulation calls the same code.

What is held meanwhile is told in `pipeline.partition.held`; whose the stored state is, how the partition goes on while a checkpoint is stored, and what follows a refusal, in
`checkpoints`; what goes out and how it is counted in `messages`; what the loop says of itself in `reports`. What people decide, settings among it, takes effect at an offset:
`taking`, `pipeline.partition.deciding.decisions`; so do the ticks that carry time on where nothing comes (`ticking`). Where nothing is stored, or Kafka has not kept what comes next, the past has a
hole: `pipeline.partition.rebuild`.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from functools import partial

import msgspec

from pipeline.errors import BrokerError, Dropped
from pipeline.partition.deciding.growth import OUTDATED_CONTROL
from pipeline.partition.messages import rejections
from pipeline.partition.rebuild import Hole, Rebuild
from pipeline.partition.settling import Step
from pipeline.partition.shadows.shadow import cut
from pipeline.partition.stores.patience import STORE
from pipeline.partition.taking import Taking
from pipeline.steps.batches.records import RecordBatch, Rejected, Standing
from pipeline.steps.decoding import CONTROL, TOMBSTONE
from producers.records import decode_control

VERIFY_EVERY = 30.0
"""Seconds after which a partition without new records writes a checkpoint all the same: a store that lost its state is noticed
while memory still has it."""


class PartitionLoop(Taking):
    """One partition of one stream, from assignment to revocation: what is handed in, `Held` says. Its methods are never called at the same time."""

    async def begin(self, now: Standing) -> int:
        """Decide where to read on, given what Kafka has; returns the offset to seek to.

        `checkpointed` is then what may be committed at once, where not more was committed before.

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
        if (fetch := self._fetch_schemas) is None:
            return
        for decoder in self.core.decoders:
            while ids := decoder.missing(records):
                decoder.learn(await self._patiently(partial(fetch, ids)))

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
            before = self._clock()
            scores, beside = await self.stream.scorer.score(step.pushed.windows.x), None
            if self.core.shadow is not None and step.shadow is not None:
                beside = await self.core.shadow.stream.scorer.score(step.shadow.windows.x)
            scoring += self._clock() - before
            settled = self.core.settle(step, scores, beside)
            for name, n in settled.counts.items():
                counts[name] += n
            rejected += rejections(records, step.rejected + settled.unscorable)
            if not self._alerts_are_out:
                self._messages.alerts(settled.alerts, counts)
            if not self._all_is_out:
                self._messages.scores(self.core.life.records.scores(self.core.state, settled.scored))
            self._look_at_homes(records, step)  # behind what is said: it need not wait for that
            self.core.hear_delays(step, records)
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
        if self.checkpoints.has_come_back:
            await self._end_checkpoint()
        if self._is_due and self.position >= 0 and not self.checkpoints.under_way:
            await self._begin_checkpoint()
        while self._goes_too_far and await self._begin_checkpoint():
            await self._end_checkpoint()

    @property
    def _is_due(self) -> bool:
        """Whether it is time for a checkpoint."""
        age = self._clock() - self._checkpointed_at
        return age >= (self._every if self.position > self.checkpointed else VERIFY_EVERY) or self._soon_too_far

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
