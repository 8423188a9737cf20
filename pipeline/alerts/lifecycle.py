"""The life of one series' alert, observation after observation: which step it takes, and when.

                    anomaly, hold > 0             lasted for hold
       inactive ───────────────────────▶ pending ─────────────────▶ firing ◀──┐ severity rises, twice as far out,
          ▲  │                              │                        │ │└─────┘ update_every
          │  └──────── anomaly, hold = 0 ───┼───────────────────────▶│ └─ lastingly of another kind: changed,
          │            withdrawn: normal    │                        │    and the next one begins
          └─────────────────────────────────┴────────────────────────┘ resolved: normal for resolve_count observations
                                                                       and resolve_after, or silent: changed,
                                                                       and one of the kind no data begins

What fires when the silence ends that somebody put over the series (`quiet`) is told then, in a record `unsilenced`.

What comes back within `quiet` of the end, as the same kind of thing, opens the same alert again: same id, next sequence number.

Event time alone decides. Silent is a series of which nothing was heard, scored or not, while the *partition's* event time went
on by `silence`; how far the series' own times are behind or ahead does not matter, so a silence never ends before the
observation that was heard last. Plain Python: `pipeline.alerts.attention` brings only series here that have an anomaly or an alert.
What is kept is `pipeline.alerts.row`, what is seen `pipeline.alerts.kinds`.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import timedelta
from math import log10

import numpy as np
from numpy.typing import NDArray

from pipeline.alerts.kinds import LASTING, NO_DATA, OUT_OF_RANGE, UNUSUAL, Look, another, refined, same, side
from pipeline.alerts.records import Change, Status
from pipeline.alerts.row import FIRING, INACTIVE, PENDING, Judged, Life, Step, packed_shares
from pipeline.alerts.selecting.silences import FOR_EVER, NOTHING, Quiet
from pipeline.settings import AlertSettings

_NEVER = 1 << 62
_MANY = (1 << 32) - 1
_ENDS: frozenset[Change] = frozenset(
    {"normal", "withdrawn", "silence", "moved", "changed", "closed", "forgotten", "feedback", "gone"}
)

WARNING, CRITICAL = 1.0, 2.0
"""Severity where the settings name no score: decades beyond the level, and as many more as the anomaly has lasted decades of
observations. A warning is ten times as rare as the level asks for, or ten observations at the level; critical is that squared."""
BURST = 100
"""Normal rows of a table that end any burst: a long attack pauses for longer than a single odd row needs to be over."""


@dataclass(frozen=True, slots=True)
class Absence:
    """A series should have said something and has not, as of `at` in its own time.

    `cause` is where the record stands that carried the time there (`Absent.cause`), `clock` the partition's event time then, `offset` the
    record's. `following` is the alert that tells of it together with others; None: the series gets its own.
    """

    cause: float
    at: int
    clock: int
    offset: int
    following: Life | None = None


class Lifecycle:
    """An alert policy, as the steps that it makes a series' life take.

    Parameters
    ----------
    idle_after
        Milliseconds of event time after which a series without data is gone.
    reopens
        Whether what comes back opens the same alert again. Rows of a table have no common event: each run of them is its own, and lasts
        until as many rows in a row are normal as it had anomalous ones (`BURST` at most).
    severities
        The least and the most severe that an alert may be, places in `SEVERITIES`.
    """

    def __init__(
        self,
        policy: AlertSettings,
        *,
        idle_after: int = 0,
        reopens: bool = True,
        severities: tuple[int, int] = (0, 2),
    ) -> None:
        self._policy = policy
        least, most = severities
        self._severities = [min(max(severity, least), most) for severity in range(3)]
        self._waits = reopens and policy.absent_after != "off"
        self._idle_after = idle_after
        self._hold = _ms(policy.hold)
        self._resolve_after = _ms(policy.resolve_after)
        self._suppression = _ms(policy.suppression)
        self._update_every = _ms(policy.update_every)
        self._quiet = _ms(policy.quiet) if reopens else 0
        self._burst = 0 if reopens else BURST
        self.silence = _ms(policy.silence)

    def walk(
        self,
        life: Life,
        row: int,
        judged: Judged,
        first: int,
        last: int,
        watermarks: NDArray[np.int64],
        steps: list[Step],
        absences: Sequence[Absence] = (),
        quiet: Quiet = NOTHING,
    ) -> None:
        """Move one series' life over its observations first..last of the batch, over its silences, and over its absences."""
        for absence in absences:
            until = bisect_left(judged.causes, absence.cause, first, last)
            self._over(life, row, judged, first, until, watermarks, steps, quiet)
            first = until
            self._let_pass(life, row, absence.cause, watermarks, steps, quiet)
            life.offset = max(life.offset, absence.offset)
            told = len(steps)
            if absence.following is None:
                self.absent(life, row, absence.cause, absence.at, absence.clock, steps)
            else:
                self._give_way(life, row, absence, steps)
            _note(life, steps, told, quiet)
        self._over(life, row, judged, first, last, watermarks, steps, quiet)
        self._let_pass(life, row, len(watermarks), watermarks, steps, quiet)

    def _over(
        self,
        life: Life,
        row: int,
        judged: Judged,
        first: int,
        last: int,
        watermarks: NDArray[np.int64],
        steps: list[Step],
        quiet: Quiet,
    ) -> None:
        """Move one series' life over its observations first..last of the batch."""
        i = first
        while i < last:
            told = len(steps)
            if life.status == INACTIVE:
                i = self._next_onset(life, judged, i, last)
                if i < last:
                    self._begin(life, row, judged, i, steps)
                    i += 1
            elif (
                judged.clock[i] > self._waits_until(life)
                or (life.untold and judged.clock[i] >= self.tells_at(life, quiet))
            ) and self._let_pass(life, row, judged.causes[i], watermarks, steps, quiet, heard=True):
                continue
            elif life.kind == NO_DATA and judged.waited and judged.waited[i] and judged.times[i] <= life.heard:
                i += 1  # it came before the series fell silent
            elif life.kind == NO_DATA:  # there is data: over; the observation itself is judged as any other
                self._hear(life, judged, i)
                until = self.reopens_until(life, judged.times[i])
                steps.append(_step(life, row, judged, i, "normal", until=until))
                self._close(life, judged.times[i])
            else:
                self._hear(life, judged, i)
                if judged.windows[i] >= 0 and (judged.live[i] or judged.outside[i] or life.kind == OUT_OF_RANGE):
                    self._go_on(life, row, judged, i, steps)
                i += 1
            if len(steps) > told:
                _note(life, steps, told, quiet)
            if life.untold and life.status == FIRING and not quiet.covers(life.heard):
                self._tell(life, row, judged.causes[i - 1], life.heard, steps)

    def _let_pass(
        self,
        life: Life,
        row: int,
        until: float,
        watermarks: NDArray[np.int64],
        steps: list[Step],
        quiet: Quiet,
        *,
        heard: bool = False,
    ) -> bool:
        """What the partition's passing time does to an open alert, before place `until` of the batch, while nothing is heard of its series.

        Where the series itself is `heard` there, the patience may be over with that very observation. Whether anything was done.
        """
        before = len(steps)
        while life.status != INACTIVE:
            told = len(steps)
            silent = int(np.searchsorted(watermarks, self._waits_until(life), side="right"))
            tells = int(np.searchsorted(watermarks, self.tells_at(life, quiet))) if life.untold else _NEVER
            if tells < min(until, len(watermarks)) and tells <= silent:
                self._tell(life, row, tells, max(quiet.end(life.heard), life.heard), steps)
            elif silent < min(until + heard, len(watermarks)):
                self._fall_silent(life, row, watermarks, steps)
                _note(life, steps, told, quiet)
            else:
                break
        return len(steps) > before

    def _waits_until(self, life: Life) -> int:
        """The partition's event time behind which the patience of an open alert is over."""
        patience = self.patience(life)
        return life.heard_at + patience if patience else _NEVER

    def tells_at(self, life: Life, quiet: Quiet) -> int:
        """The partition's event time from which somebody is told of a firing alert that was silenced."""
        if not life.untold or life.status != FIRING:
            return _NEVER
        left = quiet.end(life.heard) - life.heard
        return life.heard_at + left if left < FOR_EVER else _NEVER

    @staticmethod
    def _tell(life: Life, row: int, cause: float, now: int, steps: list[Step]) -> None:
        """What silenced a firing alert is over."""
        steps.append(silent_step(life, row, cause, now, "unsilenced"))
        life.untold = 0

    def patience(self, life: Life) -> int:
        """For how long an alert waits for its series, ms. One that there is no data waits until the series is forgotten, and so do all without a `silence`."""
        return self.silence if self.silence and life.kind != NO_DATA else self._idle_after

    def _next_onset(self, life: Life, judged: Judged, i: int, last: int) -> int:
        """The next observation from i on that begins an alert, `last` where there is none."""
        while True:
            try:
                i = judged.opens.index(True, i, last)
            except ValueError:
                return last
            if not life.suppressed_until or judged.times[i] >= life.suppressed_until:
                return i
            i += 1

    # Beginning

    def _begin(self, life: Life, row: int, judged: Judged, i: int, steps: list[Step]) -> None:
        """An anomaly of a series without an open alert: the last one again, or a new one."""
        now = judged.times[i]
        look = judged.look(i, 0, np.nan)
        again = reopens(life, now) and same(life.kind, look.kind)
        if not again:
            life.become(_begun(judged, i, look))
        self._open(life, now, judged.clock[i], at_once=judged.outside[i])
        if again:
            life.normal_since = now  # a hold duration counts from here
            self._take_in(life, judged, i, look)
        life.severity = max(life.severity, self._severity(judged, i, life))
        steps.append(_step(life, row, judged, i, "reopened" if again else "anomaly"))

    def _open(self, life: Life, now: int, clock: int, *, at_once: bool = False) -> None:
        life.heard, life.heard_at = now, clock
        life.normal, life.suppressed_until = 0, 0
        if self._hold and not at_once:
            life.status = PENDING
        else:
            self._fire(life, now)

    def _fire(self, life: Life, now: int) -> None:
        life.status = FIRING
        self.schedule(life, now)

    def schedule(self, life: Life, now: int) -> None:
        """Set the next update: the first step of `update_every` from the onset on that lies after now."""
        every = self._update_every
        life.next_update = life.onset + every * ((now - life.onset) // every + 1) if every else _NEVER

    # Going on

    def _hear(self, life: Life, judged: Judged, i: int) -> None:
        """Any observation breaks the silence. Whose event time is not believed leaves the partition's to say how much went by."""
        clock, time = judged.clock[i], judged.times[i]
        if not judged.accepted[i]:
            life.heard += max(clock - life.heard_at, 0)
        elif time > life.heard:
            life.heard = time
        life.heard_at = clock

    def _go_on(self, life: Life, row: int, judged: Judged, i: int, steps: list[Step]) -> None:
        """Take one more scored observation of a series that has an alert."""
        now = judged.times[i]
        if judged.keeps[i]:
            look = None
            if not (self._burst and _is_no_worse(life, judged.scores[i])):
                since = judged.ordinals[i] - life.ordinal
                look = judged.look(
                    i, since if since % LASTING == 0 else None, life.onset_expected if life.peak_at else np.nan
                )
                if self._policy.split and life.status == FIRING and _is_another(life, look):
                    self._change(life, row, judged, i, _begun(judged, i, look), steps)
                    return
                farther = abs(look.observed - look.expected) > abs(life.peak_observed - life.peak_expected)
                life.kind = refined(life.kind, look.kind, worst=farther)
            change = self._stay(life, judged, i, look)
        else:
            change = self._calm(life, now)
        life.offset = judged.offsets[i]
        if life.status == FIRING and now >= life.next_update:
            change = change or "update"
            self.schedule(life, now)
        if change is None:
            return
        until = self.reopens_until(life, now) if change in ("normal", "withdrawn") else 0
        steps.append(_step(life, row, judged, i, change, until=until))
        if change in ("normal", "withdrawn"):
            self._close(life, now)

    def _stay(self, life: Life, judged: Judged, i: int, look: Look | None) -> Change | None:
        """An anomalous observation; None: what it looks like adds nothing."""
        now = judged.times[i]
        life.normal = 0
        far = self._take_in(life, judged, i, look)
        severity = self._severity(judged, i, life)
        if risen := severity > life.severity:
            life.severity = severity
        if life.status == PENDING:
            since = max(life.onset, life.normal_since) if life.normal_since else life.onset
            if now - since >= self._hold or judged.outside[i]:
                self._fire(life, now)
                return "held"
        if risen:
            return "severity"
        return "worse" if far and life.status == FIRING else None

    def _take_in(self, life: Life, judged: Judged, i: int, look: Look | None) -> bool:
        """What an anomalous observation adds to what is known of the alert; whether it is twice as far out as any before."""
        if (time := judged.times[i]) > life.anomalous_at:
            life.anomalous_at = time
        life.offset = judged.offsets[i]
        life.anomalous = min(life.anomalous + 1, _MANY)
        life.members |= judged.members[i]
        if (strength := judged.strengths[i]) > life.strength:
            life.strength = strength
        if look is None:
            return False
        higher = judged.scores[i] > life.peak
        life.peak = max(life.peak, judged.scores[i])
        off, before = abs(look.observed - look.expected), abs(life.peak_observed - life.peak_expected)
        # Channels have no common unit: of several, the score says which observation is the worst.
        worse = higher if look.shares or off != off else off > before and self._on_its_side(life, look)
        unknown = (
            before != before and look.others is None
        )  # of rows of a table the score says it, whatever their columns hold
        if not life.peak_at or worse or unknown:
            _set_peak(life, judged.times[i], look)
        return bool(worse and not look.shares and 0 < 2 * before <= off)

    def _on_its_side(self, life: Life, look: Look) -> bool:
        """Whether an observation lies where the alert's kind says; what is on the other side for long is to be another alert."""
        way = side(life.kind) if self._policy.split else 0
        return not way or (look.observed > look.expected) == (way > 0)

    def _calm(self, life: Life, now: int) -> Change | None:
        """A normal observation."""
        if life.status == PENDING:
            return "withdrawn"
        if not life.normal:
            life.normal_since = now
        life.normal += 1
        calm = max(self._policy.resolve_count, min(life.anomalous, self._burst))
        enough = life.normal >= calm and now - life.normal_since >= self._resolve_after
        return "normal" if enough else None

    # Ending

    def _change(self, life: Life, row: int, judged: Judged, i: int, begun: Life, steps: list[Step]) -> None:
        """One alert ends with an observation, and the next begins with it."""
        now = judged.times[i]
        self._open(begun, now, judged.clock[i])
        if begun.status == PENDING:  # the series has been anomalous for longer than that
            self._fire(begun, now)
        begun.severity = self._severity(judged, i, begun)
        steps.append(_step(life, row, judged, i, "changed", following=begun.copy()))
        life.become(begun)
        steps.append(_step(life, row, judged, i, "anomaly"))

    def absent(self, life: Life, row: int, cause: float, now: int, clock: int, steps: list[Step]) -> None:
        """A series that should have said something has not: an alert of the kind *no data*, as of `now` in the series' own time.

        It is new where the series has none (or, within `quiet`, the last one of this kind again), and follows an open one, which ends
        as `changed`; nothing happens where there is one already. Any observation of the series ends it; so does `idle_after`, as gone.

        Parameters
        ----------
        cause
            Place in the batch of the observation that carried the time here.
        clock
            The partition's event time.
        """
        if life.kind == NO_DATA and life.status != INACTIVE:
            return
        begun = Life(
            onset=now,
            ordinal=life.ordinal if life.status != INACTIVE else 0,
            anomalous_at=now,
            offset=life.offset,
            kind=NO_DATA,
            begun_as=NO_DATA,
            onset_observed=np.nan,
            onset_expected=np.nan,
            peak_observed=np.nan,
            peak_expected=np.nan,
            severity=self._severities[1],
        )
        again = life.status == INACTIVE and reopens(life, now) and life.kind == NO_DATA
        if life.status != INACTIVE:
            ends: Change = "withdrawn" if life.status == PENDING else "changed"
            steps.append(
                silent_step(life, row, cause, now, ends, following=begun.copy() if ends == "changed" else None)
            )
        if not again:
            life.become(begun)
        life.status, life.heard, life.heard_at, life.suppressed_until = FIRING, now, clock, 0
        self.schedule(life, now)
        steps.append(silent_step(life, row, cause, now, "reopened" if again else "anomaly"))

    def _fall_silent(self, life: Life, row: int, watermarks: NDArray[np.int64], steps: list[Step]) -> None:
        """End an alert whose series was not heard of for its `patience`, as of that very moment in the series' own time."""
        patience = self.patience(life)
        cause = int(np.searchsorted(watermarks, life.heard_at + patience, side="right"))
        deadline = life.heard + patience
        gone = life.kind == NO_DATA or not self.silence
        if self._waits and life.status == FIRING and not gone:
            self.absent(life, row, cause, deadline, int(watermarks[cause]), steps)
            return
        change: Change = "withdrawn" if life.status == PENDING else "gone" if gone else "silence"
        # A time ahead of the partition's may be a wrong clock's: it must not suppress what comes at the right time.
        ended = min(life.heard, life.heard_at) + patience
        steps.append(silent_step(life, row, cause, deadline, change, until=self.reopens_until(life, ended)))
        self._close(life, ended)

    def _give_way(self, life: Life, row: int, absence: Absence, steps: list[Step]) -> None:
        """An open alert ends where its series falls silent together with many others; an alert of its own that there is no data stays."""
        if life.status == INACTIVE or life.kind == NO_DATA:
            return
        following = absence.following if life.status == FIRING else None
        change: Change = "withdrawn" if following is None else "changed"
        steps.append(silent_step(life, row, absence.cause, absence.at, change, following=following))
        life.become(Life(offset=life.offset))

    def _close(self, life: Life, now: int) -> None:
        """What is left of an alert that ended at `now`: what it takes to open it again, and until when there is no other."""
        fired, until = life.status == FIRING, self.reopens_until(life, now)
        left = life.copy() if until else Life()
        left.status, left.normal, left.normal_since, left.next_update, left.untold = INACTIVE, 0, 0, 0, 0
        left.quiet_until = until
        left.suppressed_until = self.suppressed_until(now, fired=fired)
        life.become(left)

    def reopens_until(self, life: Life, now: int) -> int:
        """Until when what comes back is this alert, which ends at `now`; 0: it never is. Who was withdrawn has what it had before."""
        if life.status != FIRING:
            return life.quiet_until
        return now + self._quiet if self._quiet else 0

    def suppressed_until(self, now: int, *, fired: bool) -> int:
        """Until when a series that resolved its alert at `now` gets no other; 0: it may at once."""
        return now + self._suppression if fired and self._suppression else 0

    def suppressed_by_word(self, life: Life) -> int:
        """Until when a series gets no other alert after somebody said that a firing one was none."""
        lasted = max(life.heard - life.onset, 0)
        return life.heard + max(self._suppression, min(lasted, self._quiet)) if life.status == FIRING else 0

    def _severity(self, judged: Judged, i: int, life: Life) -> int:
        """By the settings' scores where they name them, else by how far beyond the level and for how long."""
        policy, score = self._policy, judged.scores[i]
        weight = judged.beyond[i] + log10(life.anomalous or 1)
        if score >= policy.critical if policy.critical is not None else weight >= CRITICAL:
            return self._severities[2]
        return self._severities[score >= policy.warning if policy.warning is not None else weight >= WARNING]


def _is_another(life: Life, look: Look) -> bool:
    """Whether an alert is about something else now, and not about what the end of it leaves behind: a quarter of the size at least."""
    if not another(life.kind, look.kind):
        return False
    return not side(look.kind) or not 4 * abs(look.observed - look.expected) < abs(
        life.peak_observed - life.peak_expected
    )


def _is_no_worse(life: Life, score: float) -> bool:
    """Whether a row of a table changes nothing of what its alert tells of the worst one, whatever its columns hold."""
    return (
        life.kind == UNUSUAL
        and life.peak_at != 0
        and score <= life.peak
        and life.peak_observed == life.peak_observed
        and life.peak_expected == life.peak_expected
    )


def reopens(life: Life, now: int) -> bool:
    """Whether there was an alert that comes again at `now`; times before 1970 are negative, and 0 says that there was none."""
    return life.quiet_until != 0 and now < life.quiet_until


def _begun(judged: Judged, i: int, look: Look) -> Life:
    """An alert that begins with observation i, but for its status and severity."""
    now = judged.times[i]
    life = Life(
        onset=now,
        ordinal=judged.ordinals[i],
        anomalous_at=now,
        offset=judged.offsets[i],
        peak=judged.scores[i],
        kind=look.kind,
        begun_as=look.kind,
        onset_channel=look.channel,
        onset_observed=look.observed,
        onset_expected=look.expected,
        anomalous=1,
        members=judged.members[i],
        strength=max(judged.strengths[i], 0.0),
    )
    _set_peak(life, now, look)
    return life


def _set_peak(life: Life, now: int, look: Look) -> None:
    life.peak_at, life.peak_observed, life.peak_expected = now, look.observed, look.expected
    life.leading = packed_shares(look.shares or [(look.channel, 1.0)])
    if look.others is not None:
        life.onset_observed, life.onset_expected = look.others


def _step(
    life: Life, row: int, judged: Judged, i: int, change: Change, *, following: Life | None = None, until: int = 0
) -> Step:
    """The step that observation i takes."""
    step = silent_step(life, row, judged.causes[i], judged.times[i], change, following=following, until=until)
    return replace(step, window=judged.windows[i], offset=judged.offsets[i])


def silent_step(
    life: Life, row: int, cause: float, deadline: int, change: Change, *, following: Life | None = None, until: int = 0
) -> Step:
    """A step that no observation of the series takes."""
    step = Step(cause, row, -1, _status(life, change), change, deadline, life.offset, life.copy(), following, until)
    life.sequence += 1
    return step


def _note(life: Life, steps: list[Step], told: int, quiet: Quiet) -> None:
    """Whether the last of the steps from `told` on is one that nobody is told of."""
    if len(steps) > told:
        life.untold = int(life.status != INACTIVE and quiet.covers(steps[-1].as_of))


def _status(life: Life, change: Change) -> Status:
    return "resolved" if change in _ENDS else "pending" if life.status == PENDING else "firing"


def _ms(duration: timedelta) -> int:
    return duration // timedelta(milliseconds=1)
