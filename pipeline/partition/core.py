"""What one partition of a stream knows, and its steps in order, without a broker, a store or a clock: observations in, alerts out.

    decode ──▶ parts ──▶ push ──▶ (scored) ──▶ settle ──▶ alerts, scores, counts

Faust in production, the simulation and offline evaluation all run this code; nothing in it may depend on how the stream was cut.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from datetime import timedelta
from typing import TYPE_CHECKING, cast

import numpy as np
from numpy.typing import NDArray

from pipeline.alerts.attention import ORDINAL_BASE
from pipeline.alerts.life import AlertLife, at_ms
from pipeline.alerts.records import Alert
from pipeline.alerts.selecting import feedback
from pipeline.alerts.selecting.selectors import Selectors
from pipeline.partition.home import AT_HOME
from pipeline.partition.settling import Settled, Settling, Step
from pipeline.partition.shadows.learning import OUTLYING, Learning
from pipeline.partition.shadows.shadow import Shadow, Standing
from pipeline.steps import kinds
from pipeline.steps.batches.observations import Observations
from pipeline.steps.batches.outcomes import Absent, Pushed
from pipeline.steps.batches.records import RecordBatch, Rejected
from pipeline.steps.clock import absence, event_time, ticks, waiting
from pipeline.steps.clock.event_time import EventTime
from pipeline.steps.clock.order import advance, places_of
from pipeline.steps.clock.waiting import Waiting
from pipeline.steps.decoding import Decoder
from pipeline.steps.scoring import MemberScores
from pipeline.steps.state import PartitionState
from producers.partitioning import hash_of

if TYPE_CHECKING:
    from pipeline.partition.stream import Stream

NEVER_AGAIN = 3_600_000
"""Milliseconds of the others' time after which a series that came once is taken for one that never comes again."""
EVICT_EVERY = 65_536
"""Observations of a partition between two looks for idle series: a fixed count, so that the log alone decides."""


ScoreStep = Callable[[Step], MemberScores]
"""Raw scores of a step's windows."""


class PartitionCore:
    """What one partition knows, and the steps that move it on. `partitions` is among how many the stream's series are spread."""

    def __init__(self, stream: Stream, partition: int, shadow: Stream | None = None) -> None:
        self.stream = stream
        self.partition = partition
        self.partitions = 1
        model = stream.model
        self._kinds = kinds.Kinds(stream.settings.counter, stream.settings.gauge)
        self._counting: bool | None = None  # whether any series held is a counter; found at the first observation
        self.selectors = Selectors(stream.settings)
        self.patience = self._patience()
        self.life = AlertLife(stream.settings, model, stream.settings.input_topic, partition, self.selectors)
        self.learning = Learning(model, stream.settings, stream.windows, stream.threshold, self.selectors)
        self.shadow = None if shadow is None else Shadow(shadow, stream)
        self._waiting = _waiting_of(stream)
        self.bars = feedback.Bars(stream.settings, model)
        self._clock: EventTime | None = None
        self._settling = Settling(stream, self.learning, self.bars, self.selectors, self.life)
        learnt = self.learning.components
        outlying = {name: learnt.pop(name) for name in (OUTLYING,) if name in learnt}
        self.state = PartitionState(
            {
                "admission": learnt.pop("admission"),
                event_time.COMPONENT: event_time.DTYPE,
                **{name: learnt.pop(name) for name in ("windows", "calibration", "threshold")},
                "alerts": self.life.dtype,
                feedback.COMPONENT: feedback.DTYPE,
                **learnt,
                **({} if self._waiting is None else {waiting.COMPONENT: self._waiting.dtype}),
                **outlying,
                **({} if self.shadow is None else self.shadow.components),
            },
            max_series=stream.settings.max_series,
        )

    def _patience(self) -> absence.Patience | None:
        """How long series are waited for; None: none is. Rows of a table are events, and nobody waits for the next one."""
        settings, selectors = self.stream.settings, self.selectors
        stated = [s.absent_after for s in settings.select if s.absent_after is not None]
        if self.stream.model.kind == "table" or all(
            after == "off" for after in (settings.alerts.absent_after, *stated)
        ):
            return None

        def after(rows: NDArray[np.intp]) -> NDArray[np.int64]:
            if not stated:
                return np.full(len(rows), _patience_ms(settings.alerts.absent_after))
            of = selectors.of(self.state, rows)  # finds the policies
            return np.array([_patience_ms(p.alerts.absent_after) for p in selectors.policies])[of]

        return absence.Patience(after, settings.idle_after // timedelta(milliseconds=1))

    @property
    def clock(self) -> EventTime:
        """The partition's event time, and who votes for it."""
        if self._clock is None or self._clock.state is not self.state:
            self._clock = EventTime(self.state, self.patience)
        return self._clock

    @property
    def watermark(self) -> int:
        """The partition's event time in ms (`pipeline.steps.clock.event_time`); 0 before the first."""
        return self.clock.now

    @property
    def warming(self) -> int:
        """Series in their training part, in probation, or of which the judgement knows too little: no alert can come of them yet."""
        return len(self.state) - int(np.count_nonzero(self.learning.live(self.state)))

    @property
    def once(self) -> int:
        """Series of which one observation came, and for `NEVER_AGAIN` none since: a label that is another in every record makes such."""
        rows = self.state.rows()
        if self.stream.model.kind == "table" or not len(rows):
            return 0
        windows = self.state.arrays["windows"]
        last, ordinals = (
            windows["last"][rows],
            windows["ordinal"][rows],
        )  # two fields, not the rows: they hold the windows themselves
        newest = np.quantile(last, 0.9)  # whatever some clocks say
        return int(np.count_nonzero((ordinals == 1) & (last < newest - NEVER_AGAIN)))

    @property
    def standing(self) -> Standing | None:
        """How far its shadow is; None: there is none."""
        return None if self.shadow is None else self.shadow.standing(self.state, self.learning)

    def decode(self, records: RecordBatch) -> tuple[Observations, list[Rejected]]:
        """What records hold, for what judges and for its shadow; see `Decoder.decode`."""
        observations, rejected = self.stream.decoder.decode(records)
        if self.shadow is not None:
            self.shadow.read(records, observations)
        return observations, rejected

    @property
    def decoders(self) -> tuple[Decoder, ...]:
        """All that read a record here: each needs its schemas."""
        judge, shadow = self.stream.decoder, self.shadow
        return (judge, shadow.stream.decoder) if shadow is not None and shadow.reads else (judge,)

    def unseen(self, observations: Observations) -> Observations:
        """Those that did not come before, by the positions that they say they have; the others are as if they had not come again."""
        if not observations.stretches:
            return observations
        new = self.state.positions.unseen(observations.stretches, observations.offsets)
        return observations if new is None else observations.take(np.flatnonzero(new))

    def parts(self, observations: Observations) -> Iterator[Observations]:
        """Cut where idle series are looked for; nearly always there is one part. Each is to be settled before the next."""
        if self._waiting is not None:
            yield from self._in_order(self._waiting, observations)
            return
        start, total = 0, len(observations)
        while start < total:
            seen = self.state.scalars.get("observations", 0)
            stop = min(total, start + EVICT_EVERY - seen % EVICT_EVERY)
            stop = kinds.same(observations, start, stop)
            yield observations if (start, stop) == (0, total) else observations.part(start, stop)
            start = stop

    def _in_order(self, waits: Waiting, observations: Observations) -> Iterator[Observations]:
        """What goes on of what waited and of what comes, cut where is looked for who need not wait any more, and for idle series."""
        state, start, total = self.state, 0, len(observations)
        while start < total:
            came, look = waits.next_look(state)
            if came == look:
                yield from _of_one_kind(waits.look(state, self.clock.now, int(observations.offsets[start])))
                if came % EVICT_EVERY == 0:
                    self._evict()
                _, look = waits.next_look(state)
            stop = min(total, start + look - came)
            part = observations.part(start, stop)
            rows, new = state.rows_of(part.series)
            state.arrays[waiting.COMPONENT]["unbegun"][new] = 1
            self._expect(new)
            yield from _of_one_kind(waits.take(state, part, rows))
            start = stop

    @property
    def waits(self) -> bool:
        """Whether observations may wait for older ones."""
        return self._waiting is not None

    def wait_for_order(self) -> None:
        """No observation waited for older ones, and any may from here on."""
        if self._waiting is not None:
            self._waiting.begin(self.state)

    def wait_no_longer(
        self, rows: NDArray[np.intp] | None = None, offset: int | None = None
    ) -> list[tuple[Step, Settled]]:
        """Let all go on that waits for older observations, of some series or (None) of all.

        `offset` says where that is; None: where the last of them came.
        """
        if self._waiting is None:
            return []
        rows = self.state.rows() if rows is None else rows
        return [self._done(part) for part in _of_one_kind(self._waiting.released(self.state, rows, offset))]

    def push(self, observations: Observations) -> Step:
        """Find the series, write into their windows, hand out the windows to score (`step.pushed.windows.x`)."""
        state, stream = self.state, self.stream
        if self._waiting is None and (seen := state.scalars.get("observations", 0)) and seen % EVICT_EVERY == 0:
            self._evict()
        before = len(state)
        rejected: list[tuple[int, str, str]] = []
        come = None if observations.order is None else np.flatnonzero(~observations.order.waited)
        seen = state.scalars.get("observations", 0) + (len(observations) if come is None else len(come))
        offsets = observations.offsets if come is None else observations.offsets[come]
        places = places_of(observations, seen)
        rows, new = state.rows_of(observations.series)
        if len(rows) and rows.min() < 0:
            limit = f"this partition holds {state.max_series} series already (max_series)"
            rejected = [(int(o), "series limit", limit) for o in observations.offsets[rows < 0]]
            keep = np.flatnonzero(rows >= 0)
            observations, rows, places = observations.take(keep), rows[keep], places[keep]
        all_of_them, of_rows, order = observations, rows, observations.order
        if order is not None:
            observations = observations.take(np.flatnonzero(~order.waits))
            rows = rows[~order.waits]
        if self._waiting is not None:
            before, new = self._begun(rows)
        new += self._change_kinds(observations, rows, new)
        self._admit(new)
        pushed = stream.windows.push(state, observations, rows, new)
        beside = None if self.shadow is None else self.shadow.push(state, observations, rows)
        watermarks, vouched, absent = self._event_times(all_of_them, of_rows, places, pushed, seen)
        sampled = ticks.sampled(places)
        sampled = sampled[vouched[sampled]]
        looked_at = all_of_them.offsets[sampled], all_of_them.timestamps[sampled], watermarks[sampled]
        state.scalars["observations"] = seen
        told = [(one, int(offsets[max(one.behind, 0)])) for one in absent]
        shared = stream.shares or (self.shadow is not None and self.shadow.stream.shares)
        living = _living(before, rows, new) * self.partitions if shared else None
        watermarks = watermarks if order is None else watermarks[~order.waits]
        return Step(observations, rows, pushed, looked_at, watermarks, told, living, beside, rejected)

    def _begun(self, rows: NDArray[np.intp]) -> tuple[int, list[int]]:
        """Of how many series something went on before, and which of `rows` are of others: they begin now."""
        unbegun = self.state.arrays[waiting.COMPONENT]["unbegun"]
        before = len(self.state) - int(np.count_nonzero(unbegun))
        of = np.unique(rows[rows >= 0])
        new = of[unbegun[of] != 0]
        unbegun[new] = 0
        return before, new.tolist()

    def _event_times(
        self,
        observations: Observations,
        rows: NDArray[np.intp],
        places: NDArray[np.int64],
        pushed: Pushed,
        seen: int,
    ) -> tuple[NDArray[np.int64], NDArray[np.bool_], list[Absent]]:
        """The partition's event time after each observation, whose event times may move it, and who is absent.

        Where event time begins among them, all of before is as if it was then.
        """
        clock, order, times, vouched = self.clock, observations.order, observations.timestamps, pushed.vouched
        before = clock.now
        if order is None:
            watermarks, absent = clock.advance(rows, places, times, vouched, seen, pushed.learnt)
        else:
            begun = self.state.scalars.get("observations", 0)
            watermarks, vouched, absent = advance(clock, order, rows, places, times, pushed, begun, seen)
        if before or not clock.now:
            return watermarks, vouched, absent
        lives = self.state.arrays["alerts"]
        heard = (lives["status"] != 0) | (lives["heard"] != 0)  # also of an alert that is over: its row remembers it
        unheard = np.flatnonzero(heard & (lives["heard_at"] == 0))
        lives["heard_at"][unheard] = self.clock.begun
        self.state.touch(unheard)
        return np.where(watermarks > 0, watermarks, self.clock.begun), vouched, absent

    def settle(self, step: Step, scores: MemberScores, beside: MemberScores | None = None) -> Settled:
        """Calibrate, threshold and advance the alerts with the raw scores of the step's windows; `beside`: those of `step.shadow`."""
        return self._settling.settle(self.state, step, scores, self.shadow, beside)

    def hear_delays(self, step: Step, records: RecordBatch) -> None:
        """Take note of how late observations are read, by the time stamps of the records that held them."""
        offsets, times, watermarks = step.sampled
        if len(offsets):
            record_times = records.timestamps[np.searchsorted(records.offsets, offsets)]
            # Some formats have none. Up to where event time first moved on nobody knows it, and it looks otherwise for every cut.
            dated = (record_times > 0) & (watermarks > self.clock.begun)
            ticks.hear(self.state.scalars, watermarks[dated], (record_times - times)[dated])

    def tick(self, event_time: int, offset: int) -> tuple[list[Alert], list[Settled]]:
        """Nothing came any more behind the record at `offset`, and the partition's event time is `event_time` now, ms.

        Returns what there is to say of alerts, and what waited for older observations and was judged now.
        """
        before = self.watermark
        if not 0 < before < event_time:
            return [], []
        absent = self.clock.tick(event_time)
        alerts = self.life.tick(self.state, [(one, offset) for one in absent], self.watermark)
        if self._waiting is None:
            return alerts, []
        waited = self._waiting.look(self.state, self.watermark, offset, before)
        settled = [self._done(part)[1] for part in _of_one_kind(waited)]
        return alerts + [a for s in settled for a in s.alerts], settled

    def next_change(self) -> int:
        """The event time from which on a tick changes something, ms, if nothing comes."""
        changes = min(self.clock.next_change(), self.life.next_change(self.state))
        return changes if self._waiting is None else min(changes, self._waiting.next_change(self.state, self.watermark))

    def miss(self, records: int) -> None:
        """Records of the log that are next cannot be read: they expired. The next observation comes behind them.

        No window reaches across them. Of rows, the ordinals go on as if all of them had been of every series.
        """
        if records:
            self._skip_ordinals(records)
            self.stream.windows.start_anew(self.state)
            if self.shadow is not None:
                self.shadow.start_anew(self.state)

    def take_up(self, told: Mapping[str, Alert]) -> tuple[list[str], list[str]]:
        """Go on with the alerts that the alert topic tells of, where the state was built without all of the log.

        A series with an open alert that was not heard of since is held again, even beyond the limit: its alert must end.

        Parameters
        ----------
        told
            Series -> the last record of its last alert.

        Returns
        -------
        taken up, withdrawn
            Names of series: whose alert goes on; whose alert was never published and ends without a word.
        """
        state = self.state
        many = told.get(self.life.records.all_of_partition)
        told = {series: alert for series, alert in told.items() if alert is not many}
        absence.begin_anew(state, None if many is None or many.status == "resolved" else at_ms(many.starts_at))
        self.life.take_up_many(state, many)
        _, new = state.rows_of(sorted(s for s, a in told.items() if a.status != "resolved"), limited=False)
        self._kinds.admit(state, new)
        self._admit(new)
        self._expect(new)
        self.stream.windows.admit(state, new)
        taken = self.life.take_up(state, told, state.arrays["windows"]["last"], self.watermark)
        if not self.clock.now:  # they are heard of when it begins (`push`), however the stream is cut
            lives = state.arrays["alerts"]
            lives["heard_at"][lives["status"] != 0] = 0
        return taken

    def wait_from_here(self) -> None:
        """Series that say nothing were not waited for, and are from here on."""
        slots, model = self.state.arrays["windows"], self.stream.model
        usual = np.array([model.interval_ms.get(name or "", 0) for name in self.state.names], np.int64)
        if "interval" in (slots.dtype.names or ()):
            known = slots[: len(usual)]
            usual = np.where(known["decided"] != 0, known["interval"], usual)
        absence.begin(self.state, usual)

    def wait_no_more(self) -> list[Alert]:
        """The settings wait for nobody any more: what was told of many together ends."""
        since = absence.no_more(self.state)
        return [self.life.many_no_more(self.state, since, self.watermark)] if since else []

    def moved(self, before: int, after: int) -> NDArray[np.intp]:
        """Rows of the series that lie in another partition when the topic has `after` partitions in place of `before`.

        Producers may have heard of it before: series that came here are at home too. Where most series are not, by the hash of their name (records keyed by
        something else, another partitioner), nobody can say which moved: none then.
        """
        rows = self.state.rows()
        hashes = np.array([hash_of(cast("str", self.state.names[row])) for row in rows.tolist()], np.int64)
        was, now = hashes % before == self.partition, hashes % after == self.partition
        if np.count_nonzero(was | now) < AT_HOME * len(rows):
            return rows[:0]
        gone: NDArray[np.intp] = rows[was & ~now]
        return gone

    def process(self, observations: Observations, score: ScoreStep | None = None) -> list[tuple[Step, Settled]]:
        """Push, score in this thread and settle: the whole core in one call (offline, oracle). `score`: how, where it is not all windows."""
        return [self.settled_now(self.push(part), score) for part in self.parts(self.unseen(observations))]

    def _done(self, part: Observations) -> tuple[Step, Settled]:
        return self.settled_now(self.push(part))

    def settled_now(self, step: Step, score: ScoreStep | None = None) -> tuple[Step, Settled]:
        """Score in this thread and settle."""
        beside = None
        if self.shadow is not None and step.shadow is not None:
            beside = self.shadow.stream.scorer.score_now(step.shadow.windows.x)
        scores = self.stream.scorer.score_now(step.pushed.windows.x) if score is None else score(step)
        return step, self.settle(step, scores, beside)

    def _change_kinds(self, observations: Observations, rows: NDArray[np.intp], new: list[int]) -> list[int]:
        """Say what each observation's kind is; the rows of series whose kind is another from here on: only their alerts go on."""
        if not self.stream.windows.counts:
            observations.kinds = None
            return []
        observations.kinds = self._kinds.of(self.state, observations, rows, new)
        stored = self.state.arrays["windows"]["kind"]
        if self._counting is None:
            self._counting = bool(stored.any())
        if observations.kinds is None and not self._counting:
            return []
        changed = kinds.changed(stored, observations.kinds, rows)
        kept = ("alerts",) if self._waiting is None else ("alerts", waiting.COMPONENT, event_time.COMPONENT)
        for row, kind in changed.items():
            for name, array in self.state.arrays.items():
                if name not in kept:
                    array[row] = np.zeros((), array.dtype)
            self.state.arrays["windows"]["kind"][row] = kind
        self._counting |= bool(changed)
        return [row for row in changed if row not in new]

    def _admit(self, new: list[int]) -> None:
        self.selectors.admit(self.state, new)
        self.learning.admit(self.state, new)
        if self._waiting is None:
            self._expect(new)
        if self.shadow is not None:
            self.shadow.admit(self.state, new)

    def _expect(self, new: list[int]) -> None:
        """Put the usual step that the model knows of series into their clock's rows; where observations wait, when the first of them comes."""
        usual, names = self.stream.model.interval_ms, self.state.names
        self.state.arrays[event_time.COMPONENT]["usual"][new] = [usual.get(names[row] or "", 0) for row in new]

    def _evict(self) -> None:
        """Before the observation behind a border: what is settled is written by then, scores of the series that go among it."""
        idle_after = int(self.stream.settings.idle_after.total_seconds() * 1000)
        idle = self.clock.idle_rows(idle_after)
        idle = idle[self.state.arrays["alerts"]["status"][idle] == 0]
        if self._waiting is not None:
            idle = idle[self.state.arrays[waiting.COMPONENT]["count"][idle] == 0]
        self.forget(idle)

    def forget(self, rows: NDArray[np.intp]) -> None:
        """Drop series."""
        if len(rows):
            self._skip_ordinals(int(self.state.arrays["windows"]["ordinal"][rows].max()))
            self.state.drop(rows.tolist())

    def _skip_ordinals(self, count: int) -> None:
        """Rows of a table are told apart by their ordinal: none may come again where a series is counted from 1 again."""
        if self.stream.model.kind == "table":
            self.state.scalars[ORDINAL_BASE] = self.state.scalars.get(ORDINAL_BASE, 0) + count


def _patience_ms(after: str | timedelta) -> int:
    """What a setting of absent_after means, ms."""
    if isinstance(after, timedelta):
        return after // timedelta(milliseconds=1)
    return absence.AUTO if after == "auto" else absence.NEVER


def _waiting_of(stream: Stream) -> Waiting | None:
    """None: nothing waits."""
    settings, windows = stream.settings, stream.windows
    if not settings.lateness or windows.policy is None:
        return None
    lateness = settings.lateness // timedelta(milliseconds=1)
    return Waiting(lateness, windows.policy, channels=windows.C, counts=windows.counts)


def _of_one_kind(observations: Observations | None) -> Iterator[Observations]:
    """Cut where a series has two kinds."""
    start, total = 0, 0 if observations is None else len(observations)
    while observations is not None and start < total:
        stop = kinds.same(observations, start, total)
        yield observations if (start, stop) == (0, total) else observations.part(start, stop)
        start = stop


def _living(before: int, rows: NDArray[np.intp], new: list[int]) -> NDArray[np.int64]:
    """How many series are known at each of the observations of `rows` (N,), `new` ones among them."""
    first = np.zeros(len(rows), np.int64)
    if new:
        at = np.flatnonzero(np.isin(rows, new))
        first[at[np.unique(rows[at], return_index=True)[1]]] = 1
    return before + np.cumsum(first)
