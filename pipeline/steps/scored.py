"""What is said of each observation: the columns of `Scored`, by whom it is that decides.

The members' calibrated scores against a level, a judgement's alarm for every row, or all members together where the rows of a table are ranked. Feedback
is in `moved` already.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from functools import partial

import numpy as np
from numpy.typing import NDArray

from detectors.model import Model
from detectors.outlying import Said
from detectors.structured import chosen
from pipeline.steps.bands import Remembered, band_member, margins
from pipeline.steps.batches.later import Later
from pipeline.steps.batches.observations import Observations
from pipeline.steps.batches.outcomes import Pushed, Scored
from pipeline.steps.judgement import Judged
from pipeline.steps.scoring import MemberScores
from pipeline.steps.state import PartitionState
from pipeline.steps.windows import SeriesWindows


class Results:
    """Puts them together for one stream.

    Parameters
    ----------
    model, windows
        The stream's.
    hysteresis
        By how much a score may fall below its level and keep an alert going.
    """

    def __init__(self, model: Model, windows: SeriesWindows, *, hysteresis: float) -> None:
        self._model = model
        self._windows = windows
        self._hysteresis = hysteresis
        self._band_member = band_member(model)

    def remembered(self, state: PartitionState, rows: NDArray[np.intp]) -> Remembered | None:
        """What a band is drawn from, before the calibration learns of windows of series in rows (B,); None: there is no band."""
        m = self._band_member
        return None if m is None else Remembered.of(state.arrays["calibration"]["members"][:, m], rows)

    def of_members(
        self,
        state: PartitionState,
        observations: Observations,
        pushed: Pushed,
        scores: MemberScores,
        calibrated: NDArray[np.float64],
        score: NDArray[np.float64],
        level: NDArray[np.float64],
        moved: NDArray[np.float64] | None,
        usable: NDArray[np.bool_],
        learn: NDArray[np.bool_],
        remembered: Remembered | None,
    ) -> Scored:
        """What the members' calibrated scores (B, M) say of each window.

        `usable` (B,) could be scored, and `learn` (B,) is what the calibrations learnt of since they were `remembered`.
        """
        model, windows, rows, m = self._model, pushed.windows, pushed.windows.rows, self._band_member
        return Scored(
            index=windows.index,
            rows=rows,
            ordinals=windows.ordinals,
            offsets=chosen(observations.offsets, windows.index),
            timestamps=chosen(observations.timestamps, windows.index),
            observed=chosen(observations.values, windows.index),
            raw=scores.raw,
            calibrated=calibrated,
            score=score,
            expected=self._unscaled(state, rows, scores.expected),
            contributions=scores.contributions,
            level=level,
            alarm=score - level,
            live=usable & _out_of_probation(state, rows, windows.ordinals),
            packed=windows.packed,
            spans=chosen(pushed.spans, windows.index),
            margins=None
            if m is None or remembered is None
            else partial(
                margins,
                calibrator=model.calibrator,
                remembered=remembered,
                rows=rows,
                raw=scores.raw[:, m],
                learn=learn,
                level=level,
                channels=model.channels,
                unscale=partial(self._windows.unscale, state),
            ),
            moved=moved,
        )

    def _unscaled(
        self, state: PartitionState, rows: NDArray[np.intp], of: NDArray[np.float32] | Later | None
    ) -> NDArray[np.float64] | Later | None:
        if isinstance(of, Later):
            return Later(of.shape, np.float64, lambda at: self._windows.unscale(state, rows[at], of[at]))
        return None if of is None else self._windows.unscale(state, rows, of)

    def of_table(
        self, scored: Scored, said: Said, each: Sequence[NDArray[np.float32] | Later | None], *, alarm_decides: bool
    ) -> Scored:
        """Rows of a table as all members together see them; where the settings choose no threshold, the score ranks and the alarm decides."""
        shares = _shares(said, each)
        told = replace(scored, said=said.members, contributions=scored.contributions if shares is None else shares)
        if not alarm_decides:
            return told
        return replace(
            told,
            score=np.where(np.isfinite(said.score), said.score, 0.0),
            level=np.full(len(scored), np.nan),
            slack=np.minimum(self._hysteresis, scored.level / 2),
            budget=10.0 ** (scored.level if scored.moved is None else scored.level - scored.moved),
        )

    def of_judgement(
        self,
        state: PartitionState,
        observations: Observations,
        rows: NDArray[np.intp],
        pushed: Pushed,
        judged: Judged,
        raw: NDArray[np.float64],
        calibrated: NDArray[np.float64],
        score: NDArray[np.float64],
        moved: NDArray[np.float64] | None,
    ) -> Scored:
        """What the judgement says of all that was accepted of observations of series in `rows` (N,), `score` (A,) among it.

        `raw` and `calibrated` (A, M) are the members'; NaN of those whose windows are not full.
        """
        index = judged.index
        rows, ordinals = chosen(rows, index), chosen(pushed.ordinals, index)
        return Scored(
            index=index,
            rows=rows,
            ordinals=ordinals,
            offsets=chosen(observations.offsets, index),
            timestamps=chosen(observations.timestamps, index),
            observed=chosen(observations.values, index),
            raw=raw,
            calibrated=calibrated,
            score=score,
            expected=judged.expected,
            contributions=judged.shares.astype(np.float32),
            level=np.full(len(index), np.nan),
            alarm=judged.alarm if moved is None else judged.alarm - moved,
            live=judged.live & _out_of_probation(state, rows, ordinals),
            packed=pushed.packed,
            spans=chosen(pushed.spans, index),
            margins=lambda at: judged.margin[at],
            floor=judged.floor,
            moved=moved,
            budget=judged.budget,
        )


def _shares(said: Said, each: Sequence[NDArray[np.float32] | Later | None]) -> NDArray[np.float32] | Later | None:
    """What each column adds to the scores, where it is asked for; see `Said.shares`."""
    told = next((of for of in each if of is not None), None)
    if told is None:
        return None

    def of(at: NDArray[np.intp]) -> NDArray[np.float32]:
        found = said.of(at).shares([None if member is None else member[at] for member in each])
        assert found is not None
        return found

    return Later((told.shape[0], told.shape[1]), np.float32, of, remembers=True)


def _out_of_probation(state: PartitionState, rows: NDArray[np.intp], ordinals: NDArray[np.int64]) -> NDArray[np.bool_]:
    return np.asarray(ordinals > state.arrays["admission"]["probation"][rows])
