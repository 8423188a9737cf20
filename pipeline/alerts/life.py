"""Alerts of a partition, one per series at a time, in event time alone: who moves on with a batch, and who comes or goes.

Only the observations of series that have an anomaly, or an alert, go through Python, one at a time (`pipeline.alerts.attention` chooses them).
docs/alerts.md tells the rules to readers of alerts.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import replace
from datetime import timedelta
from typing import Any, cast

import numpy as np
from numpy.typing import NDArray

from detectors.model import Model
from pipeline.alerts.attention import NEVER, STILL, Attention
from pipeline.alerts.kinds import numbered
from pipeline.alerts.lifecycle import Absence, Lifecycle, silent_step
from pipeline.alerts.records import Acknowledged, Alert, Change, Moment, Said, Severity, Status, Together
from pipeline.alerts.row import DTYPE, FIRING, INACTIVE, NOTHING, PENDING, SEVERITIES, Life, Step, packed_shares
from pipeline.alerts.selecting.selectors import Policy, Selectors
from pipeline.alerts.selecting.silences import FOR_EVER
from pipeline.alerts.writer import RecordWriter
from pipeline.settings import StreamSettings
from pipeline.steps.batches.observations import Observations
from pipeline.steps.batches.outcomes import Absent, Heard, Scored
from pipeline.steps.state import PartitionState

_MANY_UNTOLD = ("many untold since", "many untold offset", "many untold", "many untold of")
"""Scalars of the state: of an alert that many series say nothing whose first record was silenced, what is to be told when that is over."""
_MANY_TOLD = "many told"
"""1: that was told, in a record of its own."""
_SAID_KEPT = 3
"""Of an alert's acknowledgements, the newest: where the last is taken back, the one before holds."""


class AlertLife:
    """Alerts of one partition of one stream. Keeps nothing itself: all it knows is in the component "alerts".

    Parameters
    ----------
    stream
        Its threshold (hysteresis), alert policy and name.
    model, topic, partition
        For the records, see `RecordWriter`.
    selectors
        What holds for some of the series only.
    """

    def __init__(
        self, stream: StreamSettings, model: Model, topic: str, partition: int, selectors: Selectors | None = None
    ) -> None:
        self.selectors = Selectors(stream) if selectors is None else selectors
        self._reopens = model.kind == "metric"
        self._idle_after = stream.idle_after // timedelta(milliseconds=1)
        self._lifecycles: list[Lifecycle] = []  # one for each of the selectors' policies
        self._lifecycle = Lifecycle(stream.alerts, reopens=self._reopens, idle_after=self._idle_after)
        self._attention = Attention(
            self.selectors, model, stream.threshold.hysteresis, self._lifecycle.silence, self._idle_after
        )
        self.records = RecordWriter(stream, model, topic, partition, self.selectors)

    @property
    def dtype(self) -> np.dtype[Any]:
        """184 bytes; all zeros is a series without an alert, and without one to open again."""
        return DTYPE

    def active(self, state: PartitionState, row: int) -> bool:
        """Whether a series has a pending or firing alert."""
        return bool(state.arrays["alerts"]["status"][row])

    def open(self, state: PartitionState) -> Counter[tuple[Status, Severity]]:
        """How many alerts are pending or firing, by status and severity."""
        lives = state.arrays["alerts"][: len(state.names)]
        of = lives[lives["status"] != INACTIVE]
        pairs, counts = np.unique(np.stack([of["status"], of["severity"]]), axis=1, return_counts=True)
        return Counter(
            {
                ("firing" if status == FIRING else "pending", SEVERITIES[severity]): n
                for (status, severity), n in zip(pairs.T.tolist(), counts.tolist(), strict=True)
            }
        )

    def advance(self, state: PartitionState, observations: Observations, heard: Heard, scored: Scored) -> list[Alert]:
        """Move all alerts on by a batch of observations.

        Parameters
        ----------
        state
            Its component "alerts" is written to.
        heard
            Of all N observations: each of them breaks its series' silence.
        scored
            B scored observations of the N; those not `live` say no more than those that were not scored.

        Returns
        -------
        list of Alert
            Ordered by the observation that caused each, then by the series' row, so in the log's order.
        """
        if not len(observations) and not heard.absent:
            return []
        absences, steps = self._absences(state, heard.absent, heard.watermarks)
        judged = self._attention.judged(state, observations, heard, scored, absences)
        if judged is not None:
            lives = state.arrays["alerts"]
            rows = np.array([row for row, _, _ in judged.parts], np.intp)
            due = []
            for (row, first, last), lifecycle in zip(judged.parts, self._of(state, rows), strict=True):
                life, quiet = Life.of(lives, row), self.records.marks.quiet(cast("str", state.names[row]))
                lifecycle.walk(life, row, judged, first, last, heard.watermarks, steps, absences.get(row, ()), quiet)
                due.append(lifecycle.tells_at(life, quiet))
                lives[row] = life.values()
            if STILL in state.bounds:
                silent = int(self._attention.silent_until(lives[rows]).min(initial=NEVER))
                state.bounds[STILL] = min([state.bounds[STILL], silent + 1, *due])
            state.touch(rows)
        if not steps:
            return []
        steps.sort(key=lambda s: (s.cause, s.row))  # stable: one observation may end an alert and begin the next
        return self.records.alerts(state, observations, scored, steps)

    def _absences(
        self, state: PartitionState, told: Sequence[tuple[Absent, int]], watermarks: NDArray[np.int64]
    ) -> tuple[dict[int, list[Absence]], list[Step]]:
        """What is said of series that say nothing: by row, and of many together."""
        absences: dict[int, list[Absence]] = defaultdict(list)
        steps: list[Step] = []
        for absent, offset in told:
            together = self.records.together(absent.together) if absent.together else None
            if absent.row < 0 and together is not None:
                steps += self._tell_many(state, watermarks, absent.cause)
                steps.append(self._of_many(state, together, absent, offset))
            else:
                absences[absent.row].append(Absence(absent.cause, absent.due, absent.clock, offset, together))
        steps += self._tell_many(state, watermarks, len(watermarks))
        return absences, steps

    def tick(self, state: PartitionState, absent: Sequence[tuple[Absent, int]], now: int) -> list[Alert]:
        """Move all alerts on where nothing came, and the partition's event time is `now`: series are absent or gone, silences end."""
        watermarks, lives = np.array([now]), state.arrays["alerts"]
        absences, steps = self._absences(state, absent, watermarks)
        over = self._silent_until(state) < now
        tells = [row for row, at in self._tells(state) if at <= now]
        rows = np.array(sorted({*np.flatnonzero(over).tolist(), *tells, *absences}), np.intp)
        for row, lifecycle in zip(rows.tolist(), self._of(state, rows), strict=True):
            life, quiet = Life.of(lives, row), self.records.marks.quiet(cast("str", state.names[row]))
            lifecycle.walk(life, row, NOTHING, 0, 0, watermarks, steps, absences.get(row, ()), quiet)
            lives[row] = life.values()
        state.touch(rows)
        state.bounds.pop(STILL, None)
        steps.sort(key=lambda s: (s.cause, s.row))
        names = [self.records.all_of_partition if s.row < 0 else cast("str", state.names[s.row]) for s in steps]
        return [self.records.unspoken(step, name) for step, name in zip(steps, names, strict=True)]

    def next_change(self, state: PartitionState) -> int:
        """The event time of the partition from which on an open alert ends, or what was silenced is told, if nothing comes, ms."""
        at = [int(self._silent_until(state).min(initial=NEVER)) + 1, *(at for _, at in self._tells(state))]
        if (since := state.scalars.get(_MANY_UNTOLD[0])) is not None:
            end = self.records.marks.quiet(self.records.all_of_partition).end(since)
            at.append(end if end - since < FOR_EVER else NEVER)
        return min(at)

    def _tells(self, state: PartitionState) -> list[tuple[int, int]]:
        """Rows whose alert was silenced, and from which event time of the partition on it is told."""
        lives = state.arrays["alerts"]
        rows = np.flatnonzero((lives["untold"] != 0) & (lives["status"] == FIRING))
        quiet = [self.records.marks.quiet(cast("str", state.names[row])) for row in rows.tolist()]
        lifecycles = self._of(state, rows)
        return [
            (r, of.tells_at(Life.of(lives, r), q)) for r, of, q in zip(rows.tolist(), lifecycles, quiet, strict=True)
        ]

    def _silent_until(self, state: PartitionState) -> NDArray[np.int64]:
        """See `Attention.silent_until`, of all rows."""
        return self._attention.silent_until(state.arrays["alerts"][: len(state.names)])

    def _of(self, state: PartitionState, rows: NDArray[np.intp]) -> list[Lifecycle]:
        """The policy of each series in `rows`."""
        of = self.selectors.of(state, rows).tolist()
        self._lifecycles += [self._made(policy) for policy in self.selectors.policies[len(self._lifecycles) :]]
        return [self._lifecycles[number] for number in of]

    def _made(self, policy: Policy) -> Lifecycle:
        severities = (policy.least, policy.most)
        return Lifecycle(policy.alerts, reopens=self._reopens, idle_after=self._idle_after, severities=severities)

    # Alerts that come from elsewhere, or go there

    def take_up(
        self, state: PartitionState, told: Mapping[str, Alert], newest: NDArray[np.int64], now: int
    ) -> tuple[list[str], list[str]]:
        """Make the alert topic's word the truth, where what is held was built without all of the log.

        An alert that the topic says is open goes on from its last record: same id, next sequence number. One that the topic
        does not know was never published, and ends without a word.

        Parameters
        ----------
        told
            Series -> the last record of its last alert.
        newest : (rows,)
            Event time of each row's newest observation.
        now
            The partition's event time.

        Returns
        -------
        taken up, withdrawn
            Names of the series, in the order of their rows.
        """
        lives = state.arrays["alerts"]
        taken, withdrawn, touched = [], [], []
        state.bounds.pop(STILL, None)
        for row in state.rows().tolist():
            name, held = cast("str", state.names[row]), Life.of(lives, row)
            alert = told.get(name)
            if alert is None:
                life = Life()
            elif held.sequence == alert.sequence + 1 and self.records.id_of(name, held) == alert.id:
                continue  # one and the same
            elif alert.status == "resolved":
                life = self._resolved(alert)
            else:
                life = self._continued(alert, int(newest[row]), now)
                taken.append(name)
            if held.status and not life.status and (alert is None or alert.id != self.records.id_of(name, held)):
                withdrawn.append(name)
            lives[row] = life.values()
            touched.append(row)
        state.touch(np.array(touched, np.intp))
        return taken, withdrawn

    def ended(self, state: PartitionState, rows: NDArray[np.intp], now: int, change: Change) -> list[Alert]:
        """End the alerts of series in `rows` (k,) as of the partition's event time `now`: `moved`, `closed` or `forgotten`."""
        lives = state.arrays["alerts"]
        alerts = []
        for row in rows[lives["status"][rows] != INACTIVE].tolist():
            life = Life.of(lives, row)
            step = silent_step(life, row, 0, max(now, life.heard), change if life.status == FIRING else "withdrawn")
            alerts.append(self.records.unspoken(step, cast("str", state.names[row])))
            lives[row] = Life().values()
        state.touch(rows)
        return alerts

    def absent(
        self, state: PartitionState, rows: NDArray[np.intp], now: NDArray[np.int64], *, clock: int, offset: int
    ) -> list[Alert]:
        """Series in `rows` (k,) should have said something and have not: each gets an alert of the kind *no data*.

        To be called where it is a function of the log (at a tick, or at a fixed count of observations), with rows that are to have such
        an alert; nothing happens to one that has it. An open alert of another kind ends as `changed`, naming the new one. The series'
        next observation ends it, scored or not, and is then judged as any other; so does `idle_after` from here on, as gone.

        Parameters
        ----------
        now : (k,)
            As of when in each series' own event time, ms: the onset, and with it part of the id.
        clock
            The partition's event time.
        offset
            Of the record that brought it there: what orders these alerts among others of their series.
        """
        lives = state.arrays["alerts"]
        steps: list[Step] = []
        state.bounds.pop(STILL, None)
        for row, at, lifecycle in zip(rows.tolist(), now.tolist(), self._of(state, rows), strict=True):
            life = Life.of(lives, row)
            life.offset = max(life.offset, offset)
            lifecycle.absent(life, row, 0, at, clock, steps)
            lives[row] = life.values()
        state.touch(rows)
        return [self.records.unspoken(step, cast("str", state.names[step.row])) for step in steps]

    def _of_many(self, state: PartitionState, life: Life, absent: Absent, offset: int) -> Step:
        """Many series say nothing, or that is over: an alert of two records, the first and the last, or three where the first was silenced."""
        scalars, count = state.scalars, (absent.count, absent.of)
        life.offset = offset
        if absent.change != "anomaly":
            life.sequence, life.anomalous_at = _last_of_many(state), absent.clock
        elif self.records.marks.quiet(self.records.all_of_partition).covers(absent.clock):
            scalars.update(zip(_MANY_UNTOLD, (life.onset, offset, *count), strict=True))
        step = silent_step(life, -1, absent.cause, absent.clock, cast("Change", absent.change))
        return replace(step, together=count)

    def _tell_many(self, state: PartitionState, watermarks: NDArray[np.int64], until: float) -> list[Step]:
        """The silence of an alert that many say nothing may end before place `until` of the batch."""
        if _MANY_UNTOLD[0] not in state.scalars:
            return []
        since = state.scalars[_MANY_UNTOLD[0]]
        end = self.records.marks.quiet(self.records.all_of_partition).end(since)
        at = int(np.searchsorted(watermarks, end)) if end - since < FOR_EVER else len(watermarks)
        return [self._many_unsilenced(state, at, end)] if at < min(until, len(watermarks)) else []

    def _many_unsilenced(self, state: PartitionState, cause: int, now: int) -> Step:
        since, offset, *count = (state.scalars.pop(name) for name in _MANY_UNTOLD)
        state.scalars[_MANY_TOLD] = 1
        life = self.records.together(since)
        life.sequence, life.anomalous_at, life.offset = 1, now, offset
        return replace(silent_step(life, -1, cause, now, "unsilenced"), together=(count[0], count[1]))

    def take_up_many(self, state: PartitionState, many: Alert | None) -> None:
        """Go on from the last record of the alert that many say nothing."""
        _last_of_many(state)
        if many is None or many.status == "resolved" or not isinstance(many.together, Together):
            return
        if many.silenced is True:
            facts = (at_ms(many.starts_at), many.evidence.offset, many.together.series, many.together.of)
            state.scalars.update(zip(_MANY_UNTOLD, facts, strict=True))
        elif many.sequence:
            state.scalars[_MANY_TOLD] = 1

    def many_no_more(self, state: PartitionState, since: int, now: int) -> Alert:
        """Nobody waits any more for those that were absent together since then."""
        life = self.records.together(since)
        life.sequence = _last_of_many(state)
        return self.records.unspoken(silent_step(life, -1, 0, now, "closed"), self.records.all_of_partition)

    def acknowledge(self, state: PartitionState, rows: NDArray[np.intp], now: int, said: Acknowledged) -> list[Alert]:
        """Mark the firing alerts of series in `rows` as looked after, each with a record that says so."""
        lives, marks = state.arrays["alerts"], self.records.marks
        alerts = []
        for row in rows[lives["status"][rows] == FIRING].tolist():
            id_ = self.records.id_of(cast("str", state.names[row]), Life.of(lives, row))
            marks.acknowledged = {**marks.acknowledged, id_: (*marks.acknowledged.get(id_, ()), said)[-_SAID_KEPT:]}
            alerts.append(self._told(state, row, now, "acknowledged"))
        return alerts

    def unacknowledge(self, state: PartitionState, now: int, serial: int) -> list[Alert]:
        """Take back what the acknowledgement with this serial said; a record of each firing alert that another, or nobody, looks after now."""
        lives, marks = state.arrays["alerts"], self.records.marks
        before = dict(marks.acknowledged)
        left = {id_: tuple(s for s in said if s.serial != serial) for id_, said in before.items()}
        marks.acknowledged = {id_: said for id_, said in left.items() if said}
        others = {id_ for id_, said in before.items() if said[-1].serial == serial}
        if not others:
            return []
        return [
            self._told(state, row, now, "unacknowledged")
            for row in np.flatnonzero(lives["status"] == FIRING).tolist()
            if self.records.id_of(cast("str", state.names[row]), Life.of(lives, row)) in others
        ]

    def _told(self, state: PartitionState, row: int, now: int, change: Change) -> Alert:
        """A record of what people said of a firing alert."""
        lives, name = state.arrays["alerts"], cast("str", state.names[row])
        state.bounds.pop(STILL, None)
        life = Life.of(lives, row)
        step = silent_step(life, row, 0, max(now, life.heard), change)
        life.untold = int(self.records.marks.quiet(name).covers(step.as_of))
        record = self.records.unspoken(step, name)
        lives[row] = life.values()
        state.touch(np.array([row]))
        return record

    def unsilenced(self, state: PartitionState, now: int) -> list[Alert]:
        """Tell of alerts that fire, were silenced and are not any more, as of the partition's event time `now`."""
        lives = state.arrays["alerts"]
        alerts, told = [], []
        if _MANY_UNTOLD[0] in state.scalars and not self.records.marks.quiet(self.records.all_of_partition).covers(now):
            alerts.append(self.records.unspoken(self._many_unsilenced(state, 0, now), self.records.all_of_partition))
        for row in np.flatnonzero((lives["untold"] != 0) & (lives["status"] == FIRING)).tolist():
            life, name = Life.of(lives, row), cast("str", state.names[row])
            as_of = max(now, life.heard)
            if not self.records.marks.quiet(name).covers(as_of):
                life.untold = 0
                alerts.append(self.records.unspoken(silent_step(life, row, 0, as_of, "unsilenced"), name))
                lives[row] = life.values()
                told.append(row)
        state.touch(np.array(told, np.intp))
        return alerts

    def ended_by_word(self, state: PartitionState, row: int, now: int, alert: str, said: Said) -> list[Alert]:
        """Somebody says that an alert was none: it ends, where it is this one that is open, and is not opened again.

        Its series begins no other for as long as it has lasted, at least `suppression` and at most `quiet`.
        """
        lives, name = state.arrays["alerts"], cast("str", state.names[row])
        life = Life.of(lives, row)
        if not (life.status or life.quiet_until) or self.records.id_of(name, life) != alert:
            return []
        alerts, left = [], Life(suppressed_until=life.suppressed_until)
        if life.status:
            (lifecycle,) = self._of(state, np.array([row], np.intp))
            change: Change = "feedback" if life.status == FIRING else "withdrawn"
            step = silent_step(life, row, 0, max(now, life.heard), change)
            alerts.append(self.records.unspoken(step, name, said))
            left.suppressed_until = lifecycle.suppressed_by_word(life)
        lives[row] = left.values()
        state.touch(np.array([row], np.intp))
        return alerts

    def not_suppressed(self, state: PartitionState, rows: Sequence[int]) -> None:
        """Series in `rows` may begin an alert at once."""
        state.arrays["alerts"]["suppressed_until"][list(rows)] = 0
        state.touch(np.array(rows, np.intp))

    def open_ids(self, state: PartitionState) -> set[str]:
        """Ids of the alerts that are pending or firing."""
        lives = state.arrays["alerts"]
        rows = state.rows()
        active = rows[lives["status"][rows] != INACTIVE].tolist()
        return {self.records.id_of(cast("str", state.names[row]), Life.of(lives, row)) for row in active}

    def keep_ids(self, state: PartitionState) -> None:
        """Write the ids of alerts that are open, or may open again, into their lives: they would follow from another detector's name from here on."""
        lives = state.arrays["alerts"]
        rows = state.rows()
        active = rows[(lives["status"][rows] != INACTIVE) | (lives["quiet_until"][rows] != 0)]
        for row in active.tolist():
            lives["id"][row] = bytes.fromhex(self.records.id_of(cast("str", state.names[row]), Life.of(lives, row)))
        state.touch(active)

    def rename_members(self, state: PartitionState, before: Sequence[str]) -> None:
        """What members said of alerts stands under the numbers they have now; `before` were their names by number."""
        lives = state.arrays["alerts"]
        if tuple(before) == self.records.members:
            return
        said = lives["members"].copy()
        lives["members"] = 0
        for m, name in enumerate(before):
            if name in self.records.members:
                now = self.records.members.index(name)
                lives["members"] |= (said >> np.uint32(m) & np.uint32(1)) << np.uint32(now)
        state.touch(state.rows())

    def reschedule(self, state: PartitionState) -> None:
        """The steps at which firing alerts are published again are others now."""
        lives = state.arrays["alerts"]
        rows = state.rows()
        firing = rows[lives["status"][rows] == FIRING]
        for row in firing.tolist():
            life = Life.of(lives, row)
            self._lifecycle.schedule(life, max(life.heard, life.onset))
            lives[row] = life.values()
        state.touch(firing)

    def _continued(self, alert: Alert, newest: int, now: int) -> Life:
        as_of = at_ms(alert.as_of)
        heard = max(as_of, newest)
        life = self._remembered(alert)
        life.heard, life.heard_at = heard, max(heard, now)
        life.status = FIRING if alert.status == "firing" else PENDING
        if life.status == FIRING:
            self._lifecycle.schedule(life, as_of)
        return life

    def _resolved(self, alert: Alert) -> Life:
        """What is left of an alert that the topic says is over: as little as where it can be opened again no more."""
        life = Life() if alert.reopens_until is None else self._remembered(alert)
        life.quiet_until = 0 if alert.reopens_until is None else at_ms(alert.reopens_until)
        life.suppressed_until = self._lifecycle.suppressed_until(at_ms(alert.as_of), fired=alert.fired)
        return life

    def _remembered(self, alert: Alert) -> Life:
        """The fields of a row that its last record tells."""
        kind = numbered(alert.kind, alert.direction)
        life = Life(
            onset=at_ms(alert.starts_at),
            anomalous_at=at_ms(alert.last_seen),
            offset=alert.evidence.offset,
            peak=alert.peak_score,
            strength=alert.peak_strength if isinstance(alert.peak_strength, float) else 0.0,
            sequence=alert.sequence + 1,
            severity=SEVERITIES.index(alert.severity),
            untold=int(alert.silenced is True),
            id=bytes.fromhex(alert.id),
            kind=kind,
            anomalous=alert.observations,
            members=sum(1 << m for m, d in enumerate(self.records.members) if d in alert.members),
        )
        if alert.onset is not None:
            life.begun_as = max(kind, 1)
            life.onset_channel, life.onset_observed, life.onset_expected = self._moment(alert.onset)
        numbers = {name: c for c, name in enumerate(self.records.names)}
        shares = [(numbers[s.name], s.share) for s in alert.channels if s.name in numbers]
        if alert.peak is not None:
            channel, life.peak_observed, life.peak_expected = self._moment(alert.peak)
            life.peak_at = at_ms(alert.peak.at)
            shares = shares or [(channel, 1.0)]
        life.leading = packed_shares(shares)
        return life

    def _moment(self, moment: Moment) -> tuple[int, float, float]:
        numbers = (np.nan if v is None else v for v in (moment.observed, moment.expected))
        names = self.records.names
        return names.index(moment.channel) if moment.channel in names else 0, *numbers  # type: ignore[return-value]


def at_ms(text: str) -> int:
    """Milliseconds since the epoch of a time as `rfc3339` writes it."""
    return int(np.datetime64(text.removesuffix("Z"), "ms").astype(np.int64))


def _last_of_many(state: PartitionState) -> int:
    """The sequence number of the record that ends an alert that many say nothing."""
    for name in _MANY_UNTOLD:
        state.scalars.pop(name, None)
    return 1 + state.scalars.pop(_MANY_TOLD, 0)
