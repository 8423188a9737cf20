"""How what people decide, and ticks, take effect in a partition: taken at an offset, then applied, published and counted.

list ──▶ taken at an offset, for ever (`deciding.decisions`) ──▶ due ──▶ applied to the state (`deciding.carrying`) ──▶ what it led to goes out
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from functools import partial

from pipeline.alerts.records import rfc3339
from pipeline.errors import BrokerError, ModelError, SettingsError
from pipeline.partition.deciding.carrying import Effect, applied, in_force_after, last_settings, looked
from pipeline.partition.deciding.decisions import Decisions, InForce, Line, Tick
from pipeline.partition.deciding.growth import Grown
from pipeline.partition.deciding.what import Decision, Forget
from pipeline.partition.held import Held

TELL_EVERY = 30.0
"""Seconds after which partitions that were added are told of again: the list may have lost it before anybody took it."""


class Taking(Held):
    """What is held of a partition, and what was decided about it."""

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
