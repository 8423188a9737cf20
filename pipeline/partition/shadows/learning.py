"""What a model and a threshold learn of a partition's series: calibration, judgement, ranking, level, and how long nothing may come of it.

    windows, scored ──▶ calibrate ──▶ judge, rank ──▶ score ──▶ threshold ──▶ level        `Learnt`, and the state's rows moved on

It keeps nothing itself: all is in components of the state, which may be those of the partition or of its shadow (`pipeline.partition.shadows.shadow`).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, cast

import numpy as np
from numpy.typing import NDArray

from detectors.model import Model, aggregate
from detectors.outlying import Said
from detectors.thresholds import Threshold
from pipeline.alerts.selecting.selectors import Selectors
from pipeline.settings import StreamSettings
from pipeline.steps.batches.observations import Observations
from pipeline.steps.batches.outcomes import Pushed
from pipeline.steps.judgement import Judged, Judgements, decides
from pipeline.steps.state import PartitionState
from pipeline.steps.windows import SeriesWindows

OUTLYING = "outlying"
"""Component of the state: what the rows of each series are measured by (`detectors.outlying`)."""
_ADMISSION = np.dtype([("training", "<i4"), ("probation", "<i4")])


@dataclass(frozen=True, slots=True)
class Learnt:
    """What was made of B windows, and of all that was accepted where a judgement decides.

    Attributes
    ----------
    usable, learn : (B,) bool
        Which every member could score, and which were learnt from.
    calibrated : (B, M)
    score : (B,) or None
        Of the members together; None where a judgement decides and nobody else asked.
    level : (B,) or None
        Before what people said of the series; None where a judgement decides.
    judged, said
        What the judgement says, where it decides; what a table's ranking says.
    budgets : (N,) or None
        Which budget each observation's series has.
    """

    usable: NDArray[np.bool_]
    learn: NDArray[np.bool_]
    calibrated: NDArray[np.float64]
    score: NDArray[np.float64] | None
    level: NDArray[np.float64] | None
    judged: Judged | None
    said: Said | None
    budgets: NDArray[np.int64] | None


class Learning:
    """The learning of one stream.

    Parameters
    ----------
    model, settings, windows, threshold
        The stream's.
    selectors
        What holds for some of its series.
    """

    def __init__(
        self,
        model: Model,
        settings: StreamSettings,
        windows: SeriesWindows,
        threshold: Threshold,
        selectors: Selectors,
    ) -> None:
        self._model, self._settings, self._windows, self._selectors = model, settings, windows, selectors
        self.threshold = threshold
        self.judgements = None if model.judgement is None else Judgements(model, settings)
        self.alarm_decides = decides(model, settings)
        self.by_judgement = self.judgements is not None and self.alarm_decides
        """Whether the judgement's alarm decides; the threshold learns nothing then."""

    @property
    def components(self) -> dict[str, np.dtype[Any]]:
        """What is kept of a series, windows among it."""
        model = self._model
        return {
            "admission": _ADMISSION,
            "windows": self._windows.dtype,
            "calibration": np.dtype([("members", model.calibrator.dtype, (len(model.detectors),))]),
            "threshold": self.threshold.dtype,
            **({} if self.judgements is None else self.judgements.components),
            **({} if model.outlying is None else {OUTLYING: model.outlying.dtype}),
        }

    def admit(self, state: PartitionState, new: Sequence[int]) -> None:
        """Put what the model knows of new series into their rows."""
        model, rows = self._model, np.array(new, np.intp)
        kinds = state.arrays["windows"]["kind"][rows] if self._windows.counts else np.zeros(len(rows), np.uint8)
        strange = set(rows[kinds != 0].tolist())  # known by their values, not their rates
        self._admit(state, rows, 0, None)
        for row in new:
            name = cast("str", state.names[row])
            trained, calibration = model.training_rows.get(name), model.calibrations.get(name)
            if row in strange:
                trained = calibration = None
            if trained is not None or name in model.interval_ms:
                self._admit(state, row, model.interval_ms.get(name, 0), trained)
            if calibration is not None:
                state.arrays["calibration"]["members"][row] = calibration
            if model.outlying is not None:
                model.outlying.begin(state.arrays[OUTLYING], row, name)
        if self.judgements is not None:
            self.judgements.begin(state, list(new), strange)

    def _admit(
        self, state: PartitionState, rows: int | NDArray[np.intp], interval_ms: int, trained: int | None
    ) -> None:
        """Let series (one, or all of them) have so many training rows (None: the model does not know them), and that usual step."""
        admission, probation = state.arrays["admission"], self._settings.probation
        admission["training"][rows] = trained or 0
        if self.by_judgement:  # it says itself what is news, and from when on it knows enough of a series
            asked = trained is None and probation != StreamSettings.model_fields["probation"].default
            admission["probation"][rows] = probation if asked else 0
        else:
            admission["probation"][rows] = probation if trained is None else trained
        self.threshold.admit(state.arrays["threshold"], rows, interval_ms, trained or 0)

    def begin(self, state: PartitionState) -> None:
        """Begin with series that are there already: they are in probation from here on, but for those that the model knows."""
        rows = state.rows()
        self.admit(state, rows.tolist())
        self._windows.admit(state, rows.tolist())
        admission, ordinals = state.arrays["admission"], state.arrays["windows"]["ordinal"][rows]
        trained = admission["training"][rows]
        admission["training"][rows] = np.minimum(trained, ordinals)
        admission["probation"][rows] = np.where(trained > 0, ordinals, ordinals + admission["probation"][rows])
        self.begin_threshold(state)

    def begin_threshold(self, state: PartitionState) -> None:
        """Begin with the levels of series that are there already, whose usual steps are known."""
        slots = state.arrays["windows"]
        known = "interval" in (slots.dtype.names or ())
        for row in state.rows().tolist():
            interval = int(slots["interval"][row]) if known else self._model.interval_ms.get(state.names[row] or "", 0)
            trained = int(state.arrays["admission"]["training"][row])
            self.threshold.admit(state.arrays["threshold"], row, interval, trained)

    def judge_anew(self, state: PartitionState) -> None:
        """Of all series the judgement knows what its model knows of them, no more: another model came in."""
        if (outlying := self._model.outlying) is not None:
            for row in state.rows().tolist():
                outlying.begin(state.arrays[OUTLYING], row, state.names[row])
        if self.judgements is not None:
            rows = state.rows()
            for name in self.judgements.components:
                state.arrays[name][rows] = np.zeros((), state.components[name])
            counters = (
                state.arrays["windows"]["kind"][rows] != 0 if self._windows.counts else np.zeros(len(rows), np.bool_)
            )
            self.judgements.begin(state, rows.tolist(), rows[counters].tolist())

    def live(self, state: PartitionState) -> NDArray[np.bool_]:
        """Of which rows (names,) an alert can come: they are in use, out of training part and probation, and the judgement knows enough of them."""
        names = len(state.names)
        live = state.arrays["windows"]["ordinal"][:names] > state.arrays["admission"]["probation"][:names]
        if self.judgements is not None and self.by_judgement:
            live &= ~self.judgements.beginning(state)[:names]
        return np.asarray(live)  # free rows are all zeros

    def learn(
        self,
        state: PartitionState,
        observations: Observations,
        rows: NDArray[np.intp],
        pushed: Pushed,
        raw: NDArray[np.float64],
        living: NDArray[np.int64] | None,
        *,
        together: bool = False,
    ) -> Learnt:
        """Learn from the members' raw scores (B, M) of the windows, and from all that was accepted of N observations of series in `rows` (N,).

        `living` (N,) series lived in the stream at each, where they share a budget. `together`: somebody wants the members' common score, also where a
        judgement decides.
        """
        model, windows = self._model, pushed.windows
        usable: NDArray[np.bool_] = np.asarray(np.isfinite(raw).all(axis=1))
        # The training part is in the calibration already; what stands in for missing values is not the series' own.
        learn = usable & ~windows.filled & (windows.ordinals > state.arrays["admission"]["training"][windows.rows])
        calibrated = model.calibrator.calibrate_members(
            state.arrays["calibration"]["members"], windows.rows, raw, learn
        )
        budgets = self.budgets(state, rows)
        judged, said, score = None, None, None
        if self.judgements is not None:  # it goes on learning also where the settings have another threshold
            judged = self.judgements.judge(state, observations, rows, pushed, living, budgets)
        if model.outlying is not None:
            said = model.outlying.calibrate(state.arrays[OUTLYING], windows.rows, raw, learn)
        if together or not self.by_judgement:
            score = (
                aggregate(np.where(usable[:, None], calibrated, 0.0), model.aggregation)
                if said is None
                else np.where(usable, said.calibrated, 0.0)
            )
        if self.by_judgement:
            return Learnt(usable, learn, calibrated, score, None, judged, said, budgets)
        assert score is not None
        level = self.level(state, observations, pushed, score, learn, living, budgets)
        return Learnt(usable, learn, calibrated, score, level, None, said, budgets)

    def budgets(self, state: PartitionState, rows: NDArray[np.intp]) -> NDArray[np.int64] | None:
        """Which budget (n,) series in rows (n,) have; None: all the stream's."""
        return self._selectors.budgets(state, rows)

    def level(
        self,
        state: PartitionState,
        observations: Observations,
        pushed: Pushed,
        score: NDArray[np.float64],
        learn: NDArray[np.bool_],
        living: NDArray[np.int64] | None,
        budgets: NDArray[np.int64] | None,
    ) -> NDArray[np.float64]:
        """The level (B,) that holds for each score, which is learnt then."""
        index, rows = pushed.windows.index, pushed.windows.rows
        level = self.threshold.apply(
            state.arrays["threshold"],
            rows,
            score,
            learn,
            None if self._model.kind == "table" else observations.timestamps[index],
            1 if living is None else living[index],
            None if budgets is None else budgets[index],
        )
        return self._selectors.levels(state, rows, level)
