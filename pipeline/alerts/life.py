"""Alerts of a partition, one per series at a time, in event time alone: who is looked at, and who comes or goes.

An observation is anomalous when its score reaches the level and it deviates enough from what was expected. Only series that
have such an observation, or an alert, go through Python, one observation at a time; all others are one comparison of arrays.
docs/alerts.md tells the rules to readers of alerts.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from typing import Any, cast

import numpy as np
from numpy.typing import NDArray

from detectors.model import Model
from pipeline.alerts.lifecycle import (
    DTYPE,
    FIRING,
    INACTIVE,
    PENDING,
    SEVERITIES,
    Judged,
    Life,
    Lifecycle,
    Step,
    silent_step,
)
from pipeline.alerts.records import Alert, Reason, Severity, Status
from pipeline.alerts.writer import RecordWriter
from pipeline.settings import StreamSettings
from pipeline.steps.batches import Heard, Observations, Scored
from pipeline.steps.state import PartitionState

ORDINAL_BASE = "ordinal_base"
"""Scalar of the state: what an alert adds to the ordinal of its onset (`PartitionCore.miss`)."""


class AlertLife:
    """Alerts of one partition of one stream. Keeps nothing itself: all it knows is in the component "alerts".

    Parameters
    ----------
    stream
        Its threshold (hysteresis), alert policy and name.
    model, topic, partition
        For the records, see `RecordWriter`.
    """

    def __init__(self, stream: StreamSettings, model: Model, topic: str, partition: int) -> None:
        self._policy = stream.alerts
        self._hysteresis = stream.threshold.hysteresis
        self._lifecycle = Lifecycle(stream.alerts)
        self.records = RecordWriter(stream, model, topic, partition)

    @property
    def dtype(self) -> np.dtype[Any]:
        """112 bytes; all zeros is a series without an alert."""
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
        if not len(observations):
            return []
        judged = self._judged(state, observations, heard, scored)
        if judged is None:
            return []
        lives = state.arrays["alerts"]
        steps: list[Step] = []
        for row, first, last in judged.parts:
            life = Life.of(lives, row)
            self._lifecycle.walk(life, row, judged, first, last, heard.watermarks, steps)
            lives[row] = life.values()
        state.touch(np.array([row for row, _, _ in judged.parts]))
        steps.sort(key=lambda s: (s.cause, s.row))  # stable: one observation may end an alert and begin the next
        return self.records.alerts(state, observations, scored, steps)

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
        for row in state.rows().tolist():
            name, held = cast("str", state.names[row]), Life.of(lives, row)
            alert = told.get(name)
            if alert is None:
                life = Life()
            elif alert.status == "resolved":
                life = Life(suppressed_until=self._lifecycle.suppressed_until(_at(alert.as_of), fired=alert.fired))
            elif held.status and held.sequence == alert.sequence + 1 and self.records.id_of(name, held) == alert.id:
                continue  # one and the same
            else:
                life = self._continued(alert, int(newest[row]), now)
                taken.append(name)
            if held.status and not life.status and (alert is None or alert.id != self.records.id_of(name, held)):
                withdrawn.append(name)
            lives[row] = life.values()
            touched.append(row)
        state.touch(np.array(touched, np.intp))
        return taken, withdrawn

    def moved(self, state: PartitionState, rows: NDArray[np.intp], now: int) -> list[Alert]:
        """End the alerts of series in `rows` (k,), which belong to another partition as of event time `now`."""
        lives = state.arrays["alerts"]
        alerts = []
        for row in rows[lives["status"][rows] != INACTIVE].tolist():
            life = Life.of(lives, row)
            reason: Reason = "moved" if life.status == FIRING else "withdrawn"
            step = silent_step(life, row, 0, max(now, life.heard), reason)
            alerts.append(self.records.unspoken(step, cast("str", state.names[row])))
            lives[row] = Life().values()
        return alerts

    def _continued(self, alert: Alert, newest: int, now: int) -> Life:
        as_of = _at(alert.as_of)
        heard = max(as_of, newest)
        life = Life(
            onset=_at(alert.starts_at),
            anomalous_at=_at(alert.last_seen),
            heard=heard,
            heard_at=max(heard, now),
            offset=alert.evidence.offset,
            peak=alert.peak_score,
            sequence=alert.sequence + 1,
            status=FIRING if alert.status == "firing" else PENDING,
            severity=SEVERITIES.index(alert.severity),
            id=bytes.fromhex(alert.id),
        )
        if life.status == FIRING:
            self._lifecycle.schedule(life, as_of)
        return life

    # Which observations are looked at

    def _judged(self, state: PartitionState, observations: Observations, heard: Heard, scored: Scored) -> Judged | None:
        """The observations of all series that have an alert or are to get one; None where there is no such series."""
        lives = state.arrays["alerts"][: len(state.names)]
        opens = scored.live & (scored.score >= scored.level) & (scored.score > 0)
        if opens.any():
            at = np.flatnonzero(opens)
            opens[at] = self._deviates(scored, at)
        active = np.flatnonzero(lives["status"])
        wanted = np.zeros(len(lives), np.bool_)
        wanted[active] = True
        wanted[scored.rows[opens]] = True
        if not wanted.any():
            return None
        at = np.flatnonzero(wanted[heard.rows])
        at = at[np.argsort(heard.rows[at], kind="stable")]
        live = np.flatnonzero(scored.live)
        window_of = np.full(len(observations), -1)
        window_of[scored.index[live]] = live
        windows = window_of[at]
        spoken = np.flatnonzero(windows >= 0)
        of = windows[spoken]

        def column(values: NDArray[Any]) -> list[Any]:
            """What is said of windows, at the observations that have one; zeros at the others."""
            whole = np.zeros(len(at), values.dtype)
            whole[spoken] = values
            return cast("list[Any]", whole.tolist())

        return Judged(
            windows.tolist(),
            at.tolist(),
            observations.timestamps[at].tolist(),
            heard.accepted[at].tolist(),
            observations.offsets[at].tolist(),
            column(scored.ordinals[of] + state.scalars.get(ORDINAL_BASE, 0)),
            column(scored.score[of]),
            column(opens[of]),
            column(self._keeps(scored, of, opens[of])),
            heard.watermarks[at].tolist(),
            self._parts(lives, active, heard.rows[at], int(heard.watermarks[-1])),
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
        if self._lifecycle.silence:
            for row in active[lives["heard_at"][active] + self._lifecycle.silence < clock].tolist():
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


def _at(text: str) -> int:
    """Milliseconds since the epoch of a time as `rfc3339` writes it."""
    return int(np.datetime64(text.removesuffix("Z"), "ms").astype(np.int64))
