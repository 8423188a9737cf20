"""From raw scores to alerts: what is learnt of a step's windows, what is said of them, and what that changes in the life of alerts.

raw scores ──▶ learnt (calibrations, judgement, thresholds) ──▶ said (score, alarm, band) ──▶ alerts
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from detectors.structured import chosen
from pipeline.alerts.life import AlertLife
from pipeline.alerts.records import Alert
from pipeline.alerts.selecting import feedback
from pipeline.alerts.selecting.selectors import Selectors
from pipeline.partition.shadows.learning import Learning
from pipeline.partition.shadows.shadow import Shadow
from pipeline.steps.batches.observations import Observations
from pipeline.steps.batches.outcomes import Absent, Heard, Pushed, Scored
from pipeline.steps.judgement import Judged
from pipeline.steps.scored import Results
from pipeline.steps.scoring import MemberScores
from pipeline.steps.state import PartitionState

if TYPE_CHECKING:
    from pipeline.partition.stream import Stream


@dataclass(slots=True)
class Step:
    """Observations on their way through the core: between `push` and `settle` their windows are scored."""

    observations: Observations
    rows: NDArray[np.intp]
    pushed: Pushed
    sampled: tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.int64]]
    """Offsets, event times, and the partition's event time at them, of a sample of what came (`pipeline.steps.clock.ticks`)."""
    watermarks: NDArray[np.int64]
    absent: Sequence[tuple[Absent, int]]
    living: NDArray[np.int64] | None
    """(N,) series that lived in the stream at each observation, where they share a budget."""
    shadow: Pushed | None = None
    """What a shadow has windows of its own of."""
    rejected: list[tuple[int, str, str]] = field(default_factory=list)


@dataclass(slots=True)
class Settled:
    """What a step led to: alerts in order, scores, observations that no detector could score, counts."""

    alerts: list[Alert]
    scored: Scored
    unscorable: list[tuple[int, str, str]]
    counts: Counter[str]


class Settling:
    """Settles the steps of one partition; what it knows lies in the state."""

    def __init__(
        self, stream: Stream, learning: Learning, bars: feedback.Bars, selectors: Selectors, life: AlertLife
    ) -> None:
        self._results = Results(stream.model, stream.windows, hysteresis=stream.settings.threshold.hysteresis)
        self._learning = learning
        self._bars = bars
        self._selectors = selectors
        self._life = life

    def settle(
        self,
        state: PartitionState,
        step: Step,
        scores: MemberScores,
        shadow: Shadow | None = None,
        beside: MemberScores | None = None,
    ) -> Settled:
        """Calibrate, threshold and advance the alerts with the raw scores of the step's windows; `beside`: those of `step.shadow`."""
        windows, observations = step.pushed.windows, step.observations
        rows = windows.rows
        by_judgement = self._learning.by_judgement
        remembered = None if by_judgement else self._results.remembered(state, rows)
        together = shadow is not None and not shadow.whole
        learnt = self._learning.learn(
            state, observations, step.rows, step.pushed, scores.raw, step.living, together=together
        )
        if shadow is not None:
            pushed = step.pushed if step.shadow is None else step.shadow
            shadow.learn(state, observations, step.rows, pushed, learnt, beside, step.living)
        counts, budgets = Counter[str](), learnt.budgets
        dict.update(counts, step.pushed.counts)  # `Counter.update` goes through Python key by key
        if learnt.judged is not None:
            scored = self._judged(state, step, learnt.judged, scores.raw, learnt.calibrated, budgets)
            counts["warming"] = int(np.count_nonzero(~learnt.judged.live))
        else:
            assert learnt.level is not None
            assert learnt.score is not None
            times = chosen(observations.timestamps, windows.index)
            own = None if budgets is None else budgets[windows.index]
            moved = self._bars.of(state, rows, times, partial(feedback.laxest_of_level, learnt.level), own)
            level = learnt.level if moved is None else learnt.level + moved
            scored = self._results.of_members(
                state,
                observations,
                step.pushed,
                scores,
                learnt.calibrated,
                learnt.score,
                level,
                moved,
                learnt.usable,
                learnt.learn,
                remembered,
            )
            if learnt.said is not None:
                alarm_decides = self._learning.alarm_decides
                scored = self._results.of_table(scored, learnt.said, scores.each, alarm_decides=alarm_decides)
        waited = None if observations.order is None else observations.order.waited
        heard = Heard(step.rows, step.pushed.accepted, step.watermarks, step.absent, waited)
        alerts = self._life.advance(state, observations, heard, self._with_ranges(state, step, scored))
        state.touch(step.rows)
        at = observations.offsets[windows.index] if scores.faults else ()
        unscorable = [(int(at[i]), "not scorable", reason) for i, reason in scores.faults.items()]
        if unscorable and observations.order is not None:
            came = observations.came[windows.index]
            of_old = [f"; it is of offset {came[i]}, and waited" if came[i] != at[i] else "" for i in scores.faults]
            unscorable = [(o, what, why + more) for (o, what, why), more in zip(unscorable, of_old, strict=True)]
        anomalous = int(np.count_nonzero(scored.live & (scored.alarm >= 0)))
        dict.update(counts, scored=len(scored), anomalous=anomalous, unscorable=len(unscorable))
        return Settled(alerts, scored, unscorable, counts)

    def _with_ranges(self, state: PartitionState, step: Step, scored: Scored) -> Scored:
        """Also what was accepted and not scored, of series that have a valid range: it may be out of it."""
        if not self._selectors.ranged:
            return scored
        looked = step.pushed.accepted & self._selectors.has_range(state, step.rows)
        looked[scored.index] = False
        at = np.flatnonzero(looked)
        return scored.beside(step.observations, step.rows, step.pushed, at) if len(at) else scored

    def _judged(
        self,
        state: PartitionState,
        step: Step,
        judged: Judged,
        raw: NDArray[np.float64],
        calibrated: NDArray[np.float64],
        budgets: NDArray[np.int64] | None,
    ) -> Scored:
        """What the judgement says of all that was accepted, with the members' scores of those whose windows are full."""
        assert self._learning.judgements is not None
        observations, index = step.observations, judged.index
        rows = chosen(step.rows, index)
        if len(raw) < len(index):  # some windows are not full
            of, members = (
                np.searchsorted(index, step.pushed.windows.index),
                np.full((2, len(index), raw.shape[1]), np.nan),
            )
            members[:, of] = raw, calibrated
            raw, calibrated = members
        own = None if budgets is None else budgets[index]
        times = chosen(observations.timestamps, index)
        moved = self._bars.of(state, rows, times, partial(feedback.laxest, judged.budget), own)
        score = self._learning.judgements.ranked(state, judged, rows, raw)
        return self._results.of_judgement(
            state, observations, step.rows, step.pushed, judged, raw, calibrated, score, moved
        )
