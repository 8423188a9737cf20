"""The life of alerts, one per series at a time, in event time alone.

                    anomaly, hold > 0             lasted for hold
       inactive ───────────────────────▶ pending ─────────────────▶ firing ◀──┐ severity rises, update_every
          ▲  │                              │                        │  └─────┘
          │  └──────── anomaly, hold = 0 ───┼───────────────────────▶│
          │            withdrawn: normal    │                        │ resolved: normal for resolve_count observations
          └─────────────────────────────────┴────────────────────────┘ and resolve_after, or silent for silence

An observation is anomalous when its score reaches the level and it deviates enough from what was expected. Only series that
have such an observation, or an alert, go through Python, one observation at a time; all others are one comparison of arrays.
docs/alerts.md tells the rules to readers of alerts.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import timedelta
from typing import Any, Literal, cast

import numpy as np
from numpy.typing import NDArray

from detectors.model import Model
from pipeline.batches import Observations, Scored
from pipeline.records import (
    Alert,
    Band,
    Channels,
    DetectorRef,
    Evidence,
    Feature,
    Reason,
    Score,
    Severity,
    Status,
    rfc3339,
    stable_hash,
)
from pipeline.settings import StreamSettings
from pipeline.state import PartitionState

INACTIVE, PENDING, FIRING = 0, 1, 2
SEVERITIES: tuple[Severity, ...] = ("info", "warning", "critical")
TOP_FEATURES = 5
_NEVER = 1 << 62

_DTYPE = np.dtype(
    [
        ("onset", "<i8"),  # event time of the first anomalous observation
        ("ordinal", "<i8"),  # its ordinal
        ("anomalous_at", "<i8"),  # event time of the last anomalous observation
        ("heard", "<i8"),  # event time of the last observation
        ("offset", "<i8"),  # its offset
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
_COMPUTED = bytes(16)
ORDINAL_BASE = "ordinal_base"
"""Scalar of the state: what an alert adds to the ordinal of its onset (`PartitionCore.miss`)."""


@dataclass(slots=True)
class _Life:
    """One series' record of `_DTYPE` while it is worked on; fields in the same order."""

    onset: int = 0
    ordinal: int = 0
    anomalous_at: int = 0
    heard: int = 0
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
    id: bytes = _COMPUTED


@dataclass(frozen=True, slots=True)
class _Step:
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
class _Judged:
    """The observations that are looked at, series by series, as columns of plain Python values."""

    windows: list[int]
    causes: list[int]
    times: list[int]
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


class AlertLife:
    """Alerts of one partition of one stream. Keeps nothing itself: all it knows is in the component "alerts".

    Parameters
    ----------
    stream
        Its threshold (hysteresis), alert policy and name.
    model
        For the detector's name and version, the features' names and the usual intervals.
    topic, partition
        Where the observations come from; part of the evidence.
    """

    def __init__(self, stream: StreamSettings, model: Model, topic: str, partition: int) -> None:
        policy = stream.alerts
        self._stream = stream
        self._policy = policy
        self._model = model
        self._topic = topic
        self._partition = partition
        self._hysteresis = stream.threshold.hysteresis
        self._hold = _ms(policy.hold)
        self._resolve_after = _ms(policy.resolve_after)
        self._suppression = _ms(policy.suppression)
        self._silence = _ms(policy.silence)
        self._update_every = _ms(policy.update_every)
        self._detector = DetectorRef(model.detector_name, model.detector_version, model.hash)

    @property
    def dtype(self) -> np.dtype[Any]:
        """104 bytes; all zeros is a series without an alert."""
        return _DTYPE

    def active(self, state: PartitionState, row: int) -> bool:
        """Whether a series has a pending or firing alert."""
        return bool(state.arrays["alerts"]["status"][row])

    def advance(
        self, state: PartitionState, observations: Observations, scored: Scored, watermarks: NDArray[np.int64]
    ) -> list[Alert]:
        """Move all alerts on by a batch of observations.

        Parameters
        ----------
        state
            Its component "alerts" is written to.
        scored
            B scored observations of the N; those not `live` say nothing, as if they had not come.
        watermarks : (N,)
            The partition's event time after each observation; never falls.

        Returns
        -------
        list of Alert
            Ordered by the observation that caused each, then by the series' row, so in the log's order.
        """
        if not len(watermarks):
            return []
        judged = self._judged(state, scored, watermarks)
        if not judged.parts:
            return []
        lives = state.arrays["alerts"]
        steps: list[_Step] = []
        for row, first, last in judged.parts:
            life = _Life(*lives[row].item())
            self._walk(life, row, judged, first, last, watermarks, steps)
            lives[row] = _values(life)
        state.touch(np.array([row for row, _, _ in judged.parts]))
        steps.sort(key=lambda s: (s.cause, s.row))  # stable: one observation may end an alert and begin the next
        return self._alerts(state, observations, scored, steps)

    def scores(self, state: PartitionState, scored: Scored) -> Iterator[Score]:
        """The score record of every scored observation, in order."""
        names, bands = state.names, self._bands(scored, np.arange(len(scored)))
        table = self._model.kind == "table"
        columns = zip(
            scored.rows.tolist(),
            scored.timestamps.tolist(),
            scored.offsets.tolist(),
            scored.score.tolist(),
            scored.calibrated.tolist(),
            scored.raw.tolist(),
            scored.level.tolist(),
            scored.live.tolist(),
            strict=True,
        )
        for b, (row, timestamp, offset, score, calibrated, raw, level, live) in enumerate(columns):
            yield Score(
                stream=self._stream.name,
                series=cast("str", names[row]),
                timestamp=timestamp,
                partition=self._partition,
                offset=offset,
                score=score,
                calibrated=[_number(v) for v in calibrated],
                raw=[_number(v) for v in raw],
                threshold=level,
                live=live,
                observed=None if table else _channels(scored.observed[b]),
                expected=None if table or scored.expected is None else _channels(scored.expected[b]),
                band=None if bands is None else _band(bands[0][b], bands[1][b]),
            )

    # Alerts that come from elsewhere, or go there

    def take_up(
        self, state: PartitionState, told: Mapping[str, Alert], newest: NDArray[np.int64]
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

        Returns
        -------
        taken up, withdrawn
            Names of the series, in the order of their rows.
        """
        lives = state.arrays["alerts"]
        taken, withdrawn, touched = [], [], []
        for row in state.rows().tolist():
            name, held = cast("str", state.names[row]), _Life(*lives[row].item())
            alert = told.get(name)
            if alert is None:
                life = _Life()
            elif alert.status == "resolved":
                life = _Life(suppressed_until=self._suppressed_until(_at(alert.as_of), fired=alert.fired))
            elif held.status and held.sequence == alert.sequence + 1 and self._id(name, held) == alert.id:
                continue  # one and the same
            else:
                life = self._continued(alert, int(newest[row]))
                taken.append(name)
            if held.status and not life.status and (alert is None or alert.id != self._id(name, held)):
                withdrawn.append(name)
            lives[row] = _values(life)
            touched.append(row)
        state.touch(np.array(touched, np.intp))
        return taken, withdrawn

    def moved(self, state: PartitionState, rows: NDArray[np.intp], now: int) -> list[Alert]:
        """End the alerts of series in `rows` (k,), which belong to another partition as of event time `now`."""
        lives = state.arrays["alerts"]
        alerts = []
        for row in rows[lives["status"][rows] != INACTIVE].tolist():
            life = _Life(*lives[row].item())
            reason: Reason = "moved" if life.status == FIRING else "withdrawn"
            step = _silent_step(life, row, 0, max(now, life.heard), reason)
            evidence = Evidence(self._topic, self._partition, life.offset)
            alerts.append(self._record(step, cast("str", state.names[row]), evidence))
            lives[row] = _values(_Life())
        return alerts

    def _continued(self, alert: Alert, newest: int) -> _Life:
        as_of = _at(alert.as_of)
        life = _Life(
            onset=_at(alert.starts_at),
            anomalous_at=_at(alert.last_seen),
            heard=max(as_of, newest),
            offset=alert.evidence.offset,
            peak=alert.peak_score,
            sequence=alert.sequence + 1,
            status=FIRING if alert.status == "firing" else PENDING,
            severity=SEVERITIES.index(alert.severity),
            id=bytes.fromhex(alert.id),
        )
        if life.status == FIRING:
            self._schedule(life, as_of)
        return life

    # Which observations are looked at

    def _judged(self, state: PartitionState, scored: Scored, watermarks: NDArray[np.int64]) -> _Judged:
        """The observations of all series that have an alert or are to get one."""
        lives = state.arrays["alerts"][: len(state.names)]
        opens = scored.live & (scored.score >= scored.level) & (scored.score > 0)
        if opens.any():
            at = np.flatnonzero(opens)
            opens[at] = self._deviates(scored, at)
        active = np.flatnonzero(lives["status"])
        wanted = np.zeros(len(lives), np.bool_)
        wanted[active] = True
        wanted[scored.rows[opens]] = True
        at = np.flatnonzero(wanted[scored.rows] & scored.live)
        at = at[np.argsort(scored.rows[at], kind="stable")]
        ordinals = scored.ordinals[at] + state.scalars.get(ORDINAL_BASE, 0)
        return _Judged(
            at.tolist(),
            scored.index[at].tolist(),
            scored.timestamps[at].tolist(),
            scored.offsets[at].tolist(),
            ordinals.tolist(),
            scored.score[at].tolist(),
            opens[at].tolist(),
            self._keeps(scored, at, opens[at]).tolist(),
            watermarks[scored.index[at]].tolist(),
            self._parts(lives, active, scored.rows[at], int(watermarks[-1])),
        )

    def _keeps(self, scored: Scored, at: NDArray[np.intp], opens: NDArray[np.bool_]) -> NDArray[np.bool_]:
        """Which of observations `at` are anomalous where there is an alert already.

        The hysteresis is at most half the level: normal scores must be able to end an alert.
        """
        score, level = scored.score[at], scored.level[at]
        keeps = (score >= np.maximum(level - self._hysteresis, level / 2)) & (score > 0)
        near = np.flatnonzero(keeps & ~opens)
        keeps[near] = self._deviates(scored, at[near])
        return keeps

    def _parts(
        self, lives: NDArray[Any], active: NDArray[np.intp], rows: NDArray[np.intp], clock: int
    ) -> list[tuple[int, int, int]]:
        """Cut sorted rows (k,) into series, and add those whose silence has ended."""
        present, first = np.unique(rows, return_index=True)
        last = np.append(first, len(rows))[1:]
        parts = {row: (row, a, b) for row, a, b in zip(present.tolist(), first.tolist(), last.tolist(), strict=True)}
        if self._silence:
            for row in active[lives["heard"][active] + self._silence < clock].tolist():
                parts.setdefault(row, (row, 0, 0))
        return [parts[row] for row in sorted(parts)]

    def _deviates(self, scored: Scored, at: NDArray[np.intp]) -> NDArray[np.bool_]:
        """Whether any channel of observations `at` (k,) deviates from what was expected, far enough and the right way.

        A channel without an expected value cannot be tested and counts as deviating.
        """
        policy = self._policy
        free = policy.direction == "both" and not policy.min_deviation and not policy.min_relative_deviation
        if scored.expected is None or free:
            return np.ones(len(at), np.bool_)
        expected = scored.expected[at]
        deviation = scored.observed[at] - expected
        signed = {"both": np.abs(deviation), "up": deviation, "down": -deviation}[policy.direction]
        least = np.maximum(policy.min_deviation, policy.min_relative_deviation * np.abs(expected))
        return np.asarray((np.isnan(expected) | ((signed > 0) & (signed >= least))).any(axis=1))

    # One series

    def _walk(
        self,
        life: _Life,
        row: int,
        judged: _Judged,
        first: int,
        last: int,
        watermarks: NDArray[np.int64],
        steps: list[_Step],
    ) -> None:
        """Move one series' life over its observations first..last of the batch, and over the end of a silence."""
        i = first
        while i < last:
            if life.status == INACTIVE:
                i = self._next_onset(life, judged, i, last)
                if i < last:
                    self._open(life, row, judged, i, steps)
                    i += 1
            elif self._silence and judged.clock[i] > life.heard + self._silence:
                self._fall_silent(life, row, watermarks, steps)
            else:
                self._go_on(life, row, judged, i, steps)
                i += 1
        if life.status != INACTIVE and self._silence and watermarks[-1] > life.heard + self._silence:
            self._fall_silent(life, row, watermarks, steps)

    def _next_onset(self, life: _Life, judged: _Judged, i: int, last: int) -> int:
        """The next observation from i on that begins an alert, `last` where there is none."""
        while True:
            try:
                i = judged.opens.index(True, i, last)
            except ValueError:
                return last
            if not life.suppressed_until or judged.times[i] >= life.suppressed_until:
                return i
            i += 1

    def _open(self, life: _Life, row: int, judged: _Judged, i: int, steps: list[_Step]) -> None:
        now = judged.times[i]
        life.onset = life.anomalous_at = life.heard = now
        life.ordinal, life.offset = judged.ordinals[i], judged.offsets[i]
        life.peak = judged.scores[i]
        life.severity = self._severity(life.peak)
        if self._hold:
            life.status = PENDING
        else:
            self._fire(life, now)
        steps.append(_step(life, row, judged, i, "anomaly"))

    def _fire(self, life: _Life, now: int) -> None:
        life.status = FIRING
        self._schedule(life, now)

    def _schedule(self, life: _Life, now: int) -> None:
        """Set the next update: the first step of `update_every` from the onset on that lies after now."""
        every = self._update_every
        life.next_update = life.onset + every * ((now - life.onset) // every + 1) if every else _NEVER

    def _go_on(self, life: _Life, row: int, judged: _Judged, i: int, steps: list[_Step]) -> None:
        """Take one more observation of a series that has an alert."""
        now = judged.times[i]
        life.heard = max(life.heard, now)
        life.offset = judged.offsets[i]
        reason: Reason | None = self._stay(life, now, judged.scores[i]) if judged.keeps[i] else self._calm(life, now)
        if life.status == FIRING and now >= life.next_update:
            reason = reason or "update"
            self._schedule(life, now)
        if reason is None:
            return
        steps.append(_step(life, row, judged, i, reason))
        if reason in ("normal", "withdrawn"):
            self._close(life, now)

    def _stay(self, life: _Life, now: int, score: float) -> Reason | None:
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

    def _calm(self, life: _Life, now: int) -> Reason | None:
        """A normal observation."""
        if life.status == PENDING:
            return "withdrawn"
        if not life.normal:
            life.normal_since = now
        life.normal += 1
        enough = life.normal >= self._policy.resolve_count and now - life.normal_since >= self._resolve_after
        return "normal" if enough else None

    def _fall_silent(self, life: _Life, row: int, watermarks: NDArray[np.int64], steps: list[_Step]) -> None:
        """End an alert whose series was not heard of for `silence`, as of that very moment."""
        deadline = life.heard + self._silence
        cause = int(np.searchsorted(watermarks, deadline, side="right"))
        reason: Reason = "silence" if life.status == FIRING else "withdrawn"
        steps.append(_silent_step(life, row, cause, deadline, reason))
        self._close(life, deadline)

    def _close(self, life: _Life, now: int) -> None:
        fired = life.status == FIRING
        for field, value in zip(_Life.__slots__, _values(_Life()), strict=True):
            setattr(life, field, value)
        life.suppressed_until = self._suppressed_until(now, fired=fired)

    def _suppressed_until(self, now: int, *, fired: bool) -> int:
        return now + self._suppression if fired and self._suppression else 0

    def _severity(self, peak: float) -> int:
        if peak >= self._policy.critical:
            return 2
        return 1 if peak >= self._policy.warning else 0

    # Records

    def _alerts(
        self, state: PartitionState, observations: Observations, scored: Scored, steps: list[_Step]
    ) -> list[Alert]:
        spoken = np.array([s.window for s in steps if s.window >= 0], np.intp)
        bands = self._bands(scored, spoken) if len(spoken) else None
        features = self._features(scored, spoken)
        at = iter(range(len(spoken)))
        alerts = []
        for step in steps:
            k = next(at) if step.window >= 0 else -1
            series = cast("str", state.names[step.row])
            if k < 0:
                evidence = Evidence(self._topic, self._partition, step.offset)
                alerts.append(self._record(step, series, evidence))
                continue
            evidence = self._evidence(series, observations, scored, step, None if features is None else features[k])
            band = None if bands is None else _band(bands[0][k], bands[1][k])
            alerts.append(self._record(step, series, evidence, scored, band))
        return alerts

    def _record(
        self, step: _Step, series: str, evidence: Evidence, scored: Scored | None = None, band: Band | None = None
    ) -> Alert:
        stream, b = self._stream.name, step.window
        metric = scored is not None and self._model.kind == "metric"
        return Alert(
            id=self._id(series, step),
            fingerprint=stable_hash(stream, series),
            sequence=step.sequence,
            status=step.status,
            reason=step.reason,
            severity=SEVERITIES[step.severity],
            stream=stream,
            series=series,
            as_of=rfc3339(step.as_of),
            starts_at=rfc3339(step.onset),
            last_seen=rfc3339(step.anomalous_at),
            ends_at=rfc3339(step.anomalous_at) if step.status == "resolved" else None,
            observed=_channels(scored.observed[b]) if scored is not None and metric else None,
            expected=(
                _channels(scored.expected[b]) if scored is not None and metric and scored.expected is not None else None
            ),
            band=band,
            score=None if scored is None else float(scored.score[b]),
            peak_score=step.peak,
            threshold=None if scored is None else float(scored.level[b]),
            detector=self._detector,
            evidence=evidence,
        )

    def _id(self, series: str, of: _Step | _Life) -> str:
        if of.id != _COMPUTED:
            return of.id.hex()
        begun = of.ordinal if self._model.kind == "table" else of.onset
        return stable_hash(self._stream.name, series, self._detector.name, self._detector.version, begun)

    def _evidence(
        self,
        series: str,
        observations: Observations,
        scored: Scored,
        step: _Step,
        features: NDArray[np.float32] | None,
    ) -> Evidence:
        b = step.window
        if self._model.kind == "metric":
            start = int(scored.windows.starts[b])
            several = scored.contributions is not None and scored.observed.shape[1] > 1
            return Evidence(
                self._topic,
                self._partition,
                step.offset,
                window=scored.windows.packed[start : start + self._model.window].tolist(),
                interval_ms=self._model.interval_ms.get(series) or None,
                contributions=scored.contributions[b].tolist()
                if several and scored.contributions is not None
                else None,
            )
        names = self._model.features.names if self._model.features is not None else ()
        originals = observations.originals
        row = None if originals is None else dict(zip(names, originals[int(scored.index[b])], strict=False))
        return Evidence(
            self._topic,
            self._partition,
            step.offset,
            row=cast("dict[str, float | str | None] | None", row),
            features=None if features is None else _greatest(names, row or {}, features),
        )

    def _features(self, scored: Scored, at: NDArray[np.intp]) -> NDArray[np.float32] | None:
        """Contributions of named columns (k, names) of windows `at`."""
        if self._model.features is None or scored.contributions is None or not len(at):
            return None
        return self._model.features.by_feature(scored.contributions[at])

    def _bands(self, scored: Scored, at: NDArray[np.intp]) -> tuple[NDArray[np.float64], NDArray[np.float64]] | None:
        """Lower and upper edge (k, C) of windows `at`; None where there is no notion of them."""
        if scored.expected is None or scored.margins is None or self._model.kind == "table":
            return None
        margins = scored.margins(at)
        return None if margins is None else (scored.expected[at] - margins, scored.expected[at] + margins)


def _at(text: str) -> int:
    """Milliseconds since the epoch of a time as `rfc3339` writes it."""
    return int(np.datetime64(text.removesuffix("Z"), "ms").astype(np.int64))


def _ms(duration: timedelta) -> int:
    return duration // timedelta(milliseconds=1)


def _values(life: _Life) -> tuple[Any, ...]:
    return tuple(getattr(life, field) for field in _Life.__slots__)


def _step(life: _Life, row: int, judged: _Judged, i: int, reason: Reason) -> _Step:
    status: Status = "resolved" if reason in ("normal", "withdrawn") else _name(life.status)
    step = _Step(
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


def _silent_step(life: _Life, row: int, cause: int, deadline: int, reason: Reason) -> _Step:
    return _Step(
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


def _number(value: float) -> float | None:
    return value if value - value == 0 else None  # NaN and infinity have no JSON


def _channels(values: NDArray[np.float64]) -> Channels:
    return [_number(v) for v in values.tolist()]


def _band(lower: NDArray[np.float64], upper: NDArray[np.float64]) -> Band | None:
    return Band(_channels(lower), _channels(upper)) if np.isfinite(lower).any() else None


def _greatest(names: tuple[str, ...], row: dict[str, float | str], contributions: NDArray[np.float32]) -> list[Feature]:
    """The columns that contributed most; of equal ones the first."""
    order = np.argsort(-contributions, kind="stable")[:TOP_FEATURES]
    return [Feature(names[k], row.get(names[k]), float(contributions[k])) for k in order if contributions[k] > 0]
