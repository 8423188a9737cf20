"""The life of one series' alert, observation after observation: which step it takes, and when.

                    anomaly, hold > 0             lasted for hold
       inactive ───────────────────────▶ pending ─────────────────▶ firing ◀──┐ severity rises, update_every
          ▲  │                              │                        │  └─────┘
          │  └──────── anomaly, hold = 0 ───┼───────────────────────▶│
          │            withdrawn: normal    │                        │ resolved: normal for resolve_count observations
          └─────────────────────────────────┴────────────────────────┘ and resolve_after, or silent for silence

Event time alone decides. Silent is a series of which nothing was heard, scored or not, while the *partition's* event time went
on by `silence`; how far the series' own times are behind or ahead does not matter, so a silence never ends before the
observation that was heard last. Plain Python: `pipeline.alerts.attention` brings only series here that have an anomaly or an alert.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import timedelta
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from pipeline.alerts.records import Reason, Severity, Status
from pipeline.settings import AlertSettings

INACTIVE, PENDING, FIRING = 0, 1, 2
SEVERITIES: tuple[Severity, ...] = ("info", "warning", "critical")
_NEVER = 1 << 62

DTYPE = np.dtype(
    [
        ("onset", "<i8"),  # event time of the first anomalous observation
        ("ordinal", "<i8"),  # its ordinal
        ("anomalous_at", "<i8"),  # event time of the last anomalous observation
        ("heard", "<i8"),  # the series' own event time when it was last heard of
        ("heard_at", "<i8"),  # the partition's event time then
        ("offset", "<i8"),  # of the last observation that was scored
        ("normal_since", "<i8"),  # event time of the first of the normal observations in a row
        ("next_update", "<i8"),
        ("suppressed_until", "<i8"),  # the only one that outlives an alert
        ("peak", "<f8"),
        ("sequence", "<u4"),  # of the next record
        ("normal", "<u4"),  # normal observations in a row
        ("status", "u1"),
        ("severity", "u1"),
        ("spare", "V6"),
        ("id", "V16"),  # of an alert taken up from the alert topic; zeros: it follows from the onset
    ]
)
"""What is kept of a series; all zeros: no alert."""
COMPUTED_ID = bytes(16)


@dataclass(slots=True)
class Life:
    """One series' element of `DTYPE` while it is worked on; fields in the same order."""

    onset: int = 0
    ordinal: int = 0
    anomalous_at: int = 0
    heard: int = 0
    heard_at: int = 0
    offset: int = 0
    normal_since: int = 0
    next_update: int = 0
    suppressed_until: int = 0
    peak: float = 0.0
    sequence: int = 0
    normal: int = 0
    status: int = INACTIVE
    severity: int = 0
    spare: bytes = b""
    id: bytes = COMPUTED_ID

    @classmethod
    def of(cls, lives: NDArray[Any], row: int) -> Life:
        """The life of a row of (rows,) `DTYPE`."""
        return cls(*lives[row].item())

    def values(self) -> tuple[Any, ...]:
        """What is kept of it: an element of `DTYPE`."""
        return tuple(getattr(self, field) for field in Life.__slots__)


@dataclass(frozen=True, slots=True)
class Step:
    """A record to be published: which observation caused it, and the life as it was then."""

    cause: int
    row: int
    window: int  # index into Scored, -1 after silence
    status: Status
    reason: Reason
    as_of: int
    sequence: int
    severity: int
    onset: int
    ordinal: int
    anomalous_at: int
    offset: int
    peak: float
    id: bytes


@dataclass(frozen=True, slots=True)
class Judged:
    """The observations that are looked at, series by series, as columns of plain Python values."""

    windows: list[int]
    """Index into Scored; -1: not scored, or in probation, and heard of all the same."""
    causes: list[int]
    times: list[int]
    accepted: list[bool]
    """Whether the time policy believes the event time."""
    offsets: list[int]
    ordinals: list[int]
    scores: list[float]
    opens: list[bool]
    """Anomalous at the level: begins an alert."""
    keeps: list[bool]
    """Anomalous at the level less the hysteresis: keeps one going."""
    clock: list[int]
    """The partition's event time at each."""
    parts: list[tuple[int, int, int]]
    """(row, first, behind the last) of each series; rows rise. An empty part: its alert may have fallen silent."""


class Lifecycle:
    """An alert policy, as the steps that it makes a series' life take."""

    def __init__(self, policy: AlertSettings) -> None:
        self._policy = policy
        self._hold = _ms(policy.hold)
        self._resolve_after = _ms(policy.resolve_after)
        self._suppression = _ms(policy.suppression)
        self._update_every = _ms(policy.update_every)
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
    ) -> None:
        """Move one series' life over its observations first..last of the batch, and over the end of a silence."""
        i = first
        while i < last:
            if life.status == INACTIVE:
                i = self._next_onset(life, judged, i, last)
                if i < last:
                    self._open(life, row, judged, i, steps)
                    i += 1
            elif self.silence and judged.clock[i] > life.heard_at + self.silence:
                self._fall_silent(life, row, watermarks, steps)
            else:
                self._hear(life, judged, i)
                if judged.windows[i] >= 0:
                    self._go_on(life, row, judged, i, steps)
                i += 1
        if life.status != INACTIVE and self.silence and watermarks[-1] > life.heard_at + self.silence:
            self._fall_silent(life, row, watermarks, steps)

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

    def _open(self, life: Life, row: int, judged: Judged, i: int, steps: list[Step]) -> None:
        now = judged.times[i]
        life.onset = life.anomalous_at = life.heard = now
        life.heard_at = judged.clock[i]
        life.ordinal, life.offset = judged.ordinals[i], judged.offsets[i]
        life.peak = judged.scores[i]
        life.severity = self._severity(life.peak)
        if self._hold:
            life.status = PENDING
        else:
            self._fire(life, now)
        steps.append(_step(life, row, judged, i, "anomaly"))

    def _fire(self, life: Life, now: int) -> None:
        life.status = FIRING
        self.schedule(life, now)

    def schedule(self, life: Life, now: int) -> None:
        """Set the next update: the first step of `update_every` from the onset on that lies after now."""
        every = self._update_every
        life.next_update = life.onset + every * ((now - life.onset) // every + 1) if every else _NEVER

    def _hear(self, life: Life, judged: Judged, i: int) -> None:
        """Any observation breaks the silence. Whose event time is not believed leaves the partition's to say how much went by."""
        clock = judged.clock[i]
        went_by = max(clock - life.heard_at, 0)
        life.heard = max(life.heard, judged.times[i]) if judged.accepted[i] else life.heard + went_by
        life.heard_at = clock

    def _go_on(self, life: Life, row: int, judged: Judged, i: int, steps: list[Step]) -> None:
        """Take one more scored observation of a series that has an alert."""
        now = judged.times[i]
        life.offset = judged.offsets[i]
        reason: Reason | None = self._stay(life, now, judged.scores[i]) if judged.keeps[i] else self._calm(life, now)
        if life.status == FIRING and now >= life.next_update:
            reason = reason or "update"
            self.schedule(life, now)
        if reason is None:
            return
        steps.append(_step(life, row, judged, i, reason))
        if reason in ("normal", "withdrawn"):
            self._close(life, now)

    def _stay(self, life: Life, now: int, score: float) -> Reason | None:
        """An anomalous observation."""
        life.normal = 0
        life.anomalous_at = max(life.anomalous_at, now)
        risen = False
        if score > life.peak:
            life.peak = score
            severity = self._severity(score)
            risen = severity > life.severity
            life.severity = severity
        if life.status == PENDING and now - life.onset >= self._hold:
            self._fire(life, now)
            return "held"
        return "severity" if risen else None

    def _calm(self, life: Life, now: int) -> Reason | None:
        """A normal observation."""
        if life.status == PENDING:
            return "withdrawn"
        if not life.normal:
            life.normal_since = now
        life.normal += 1
        enough = life.normal >= self._policy.resolve_count and now - life.normal_since >= self._resolve_after
        return "normal" if enough else None

    def _fall_silent(self, life: Life, row: int, watermarks: NDArray[np.int64], steps: list[Step]) -> None:
        """End an alert whose series was not heard of for `silence`, as of that very moment in the series' own time."""
        cause = int(np.searchsorted(watermarks, life.heard_at + self.silence, side="right"))
        reason: Reason = "silence" if life.status == FIRING else "withdrawn"
        steps.append(silent_step(life, row, cause, life.heard + self.silence, reason))
        # A time ahead of the partition's may be a wrong clock's: it must not suppress what comes at the right time.
        self._close(life, min(life.heard, life.heard_at) + self.silence)

    def _close(self, life: Life, now: int) -> None:
        fired = life.status == FIRING
        for field, value in zip(Life.__slots__, Life().values(), strict=True):
            setattr(life, field, value)
        life.suppressed_until = self.suppressed_until(now, fired=fired)

    def suppressed_until(self, now: int, *, fired: bool) -> int:
        """Until when a series that resolved its alert at `now` gets no other; 0: it may at once."""
        return now + self._suppression if fired and self._suppression else 0

    def _severity(self, peak: float) -> int:
        if peak >= self._policy.critical:
            return 2
        return 1 if peak >= self._policy.warning else 0


def _step(life: Life, row: int, judged: Judged, i: int, reason: Reason) -> Step:
    status: Status = "resolved" if reason in ("normal", "withdrawn") else _name(life.status)
    step = Step(
        judged.causes[i],
        row,
        judged.windows[i],
        status,
        reason,
        judged.times[i],
        life.sequence,
        life.severity,
        life.onset,
        life.ordinal,
        life.anomalous_at,
        judged.offsets[i],
        life.peak,
        life.id,
    )
    life.sequence += 1
    return step


def silent_step(life: Life, row: int, cause: int, deadline: int, reason: Reason) -> Step:
    """The last step of an alert that no observation ends."""
    return Step(
        cause,
        row,
        -1,
        "resolved",
        reason,
        deadline,
        life.sequence,
        life.severity,
        life.onset,
        life.ordinal,
        life.anomalous_at,
        life.offset,
        life.peak,
        life.id,
    )


def _name(status: int) -> Literal["pending", "firing"]:
    return "pending" if status == PENDING else "firing"


def _ms(duration: timedelta) -> int:
    return duration // timedelta(milliseconds=1)
