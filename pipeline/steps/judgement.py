"""The judgement of a partition's series: what was accepted of a batch goes through it row by row, a score and an alarm come out.

    accepted, in log order ──▶ news? ──▶ population.step ──▶ score (with the members' raw scores), alarm, expected, band
                                            ▲    │
                          component "judgement"  ◀┘  what is remembered of each series

The engine is `detectors.judgement.population`, which knows arrays. Here is which observations it sees: those that the time policy accepted and that are
newer than the history it was fitted on. A short gap is passed over, behind a longer one the series' context begins anew. Nothing crosses series, so the
bits do not depend on how the stream was cut.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from detectors.budget_threshold import as_compiled
from detectors.compiling import NEWS, RANKED, SAID, compiled, ufunc_loops
from detectors.judgement.ranking import ONE, SEVERAL
from detectors.judgement.record import BEGINNING
from detectors.model import Model
from detectors.structured import chosen
from pipeline.settings import StreamSettings
from pipeline.steps.batches.observations import Observations
from pipeline.steps.batches.outcomes import Pushed
from pipeline.steps.state import PartitionState

COMPONENT, HISTORY = "judgement", "history"
_BEGUN = "judgement"
"""Scalar of the state: the series in it have a judgement. A state that was written without one has not."""
MEMBER, MOST = 1.0, 3.0
"""Weight of each member in the ranking score, where one of the judgement's terms has 1 (`detectors.judgement.ranking`); and the logarithm (base 2) that it
counts with at most, seven times the usual: what is known of a network's errors is known of usual ones, and one that has lost its way is far beyond them."""
USUAL = 2.0
"""Members' raw scores count in units of what one in so many powers of ten of a series' calibration rows reaches."""
STEPS = 8
"""Steps of a series that the model does not know from which its usual one is found: their median."""
LONG_AFTER = 4
"""Usual steps between the end of a history and the first news from which on the context begins anew."""
_NONE, _ONE, _NO_CHANGES = np.zeros(0, np.int64), np.ones(1, np.int64), np.zeros((0, 3), np.int64)


def decides(model: Model, settings: StreamSettings) -> bool:
    """Whether an alarm decides, a judgement's or a table's: where the model has one and the settings choose no threshold of their own.

    Told by values, not by what was written down: of settings that were decided every field is.
    """
    has_one = model.judgement is not None or model.outlying is not None
    return has_one and settings.threshold.method == "fixed" and settings.threshold.level is None


@dataclass(frozen=True, slots=True)
class Judged:
    """What is said of the accepted observations of a batch, in log order.

    Attributes
    ----------
    index : (A,) intp
        Which of the `Observations`.
    live : (A,) bool
        News, and of a series of which enough is known: an alert can come of it. Elsewhere the score is 0 and the rest NaN.
    score, alarm : (A,) float64
        As in `Scored`; the score without the members.
    expected, margin : (A, C) float64
        And half the width of the band, in the unit of the input.
    shares : (A, C) float64
        Of each channel in what is odd.
    floor : (A, C) float64
        As in `Scored`.
    budget : (A,) float64
        Rows of the series per false alert.
    """

    index: NDArray[np.intp]
    live: NDArray[np.bool_]
    score: NDArray[np.float64]
    alarm: NDArray[np.float64]
    expected: NDArray[np.float64]
    margin: NDArray[np.float64]
    shares: NDArray[np.float64]
    floor: NDArray[np.float64]
    budget: NDArray[np.float64]


class Judgements:
    """The judgement of all series of a partition. Keeps nothing itself: all it knows is in its components of the state.

    Parameters
    ----------
    model
        With a judgement.
    settings
        For time zone, holidays and the false-alarm budget.
    """

    def __init__(self, model: Model, settings: StreamSettings) -> None:
        assert model.judgement is not None
        self._model, self._population = model, model.judgement
        self._calendar, self._budgets = settings.calendar(model.calendar), as_compiled(settings.budgets("metric"))
        M, C = len(model.detectors), model.channels
        self._own = float((ONE if C == 1 else SEVERAL).sum())
        known = [self._calibrated(name) for name in model.calibrations]
        self._usual = np.median(known, axis=0) if known else np.full(M, np.inf)
        self.components: dict[str, np.dtype[Any]] = {
            COMPONENT: self._population.state_dtype,
            HISTORY: np.dtype(
                [
                    ("until", "<i8"),
                    ("usual", "<f8", (M,)),
                    ("step", "<i8"),
                    ("last", "<i8"),
                    ("steps", "<i8", (STEPS,)),
                    ("negative", "u1", (C,)),
                ]
            ),
        }

    def begin(self, state: PartitionState, new: list[int], strange: Collection[int] = ()) -> None:
        """Put what the model knows into the rows of new series; of all, in a state that was written without a judgement.

        Of `strange` ones it knows nothing, whatever they are called: running totals, of which it has seen no rates.
        """
        if not state.scalars.get(_BEGUN):
            state.scalars[_BEGUN] = 1
            new = [row for row in state.rows().tolist() if not _unbegun(state, row)]
            state.touch(np.array(new, np.intp))
        if not new:
            return
        names = ["" if row in strange else state.names[row] or "" for row in new]
        self._population.begin(state.arrays[COMPONENT], np.array(new, np.intp), names)
        history = state.arrays[HISTORY]
        history["step"][new] = [self._model.interval_ms.get(name, 0) for name in names]
        history["usual"][new] = self._usual
        for row, name in zip(new, names, strict=True):
            if (learnt := self._model.histories.get(name)) is not None:
                history["until"][row] = learnt.until
                history["negative"][row, list(learnt.negative)] = 1
            if name in self._model.calibrations:
                history["usual"][row] = self._calibrated(name)

    def beginning(self, state: PartitionState) -> NDArray[np.bool_]:
        """Which rows are of series whose first observations are still gathered: they cannot be judged."""
        begins: NDArray[np.bool_] = state.arrays[COMPONENT]["phase"] == BEGINNING
        return begins

    def judge(
        self,
        state: PartitionState,
        observations: Observations,
        rows: NDArray[np.intp],
        pushed: Pushed,
        living: NDArray[np.int64] | None,
        which: NDArray[np.int64] | None = None,
    ) -> Judged:
        """Judge what was accepted of N observations, whose series are in `rows` (N,), and move their states on.

        `living` (N,) series are known to the stream at each, where they share a budget; `which` (N,) of the settings' budgets holds.
        """
        index = pushed.accepted.nonzero()[0]
        of, times, values, ordinals = (
            chosen(a, index) for a in (rows, observations.timestamps, observations.values, pushed.ordinals)
        )
        n, C = values.shape
        new, anew = np.empty(n, np.bool_), pushed.anew[index]
        budget, floor = np.empty(n), np.empty((n, C))
        history = state.arrays[HISTORY]
        compiled(NEWS)(
            *(self._budgets, of, times, ordinals, values),
            *(_NONE if which is None else which[index], _ONE if living is None else living[index]),
            *(index, np.array(pushed.learnt, np.int64).reshape(-1, 3) if pushed.learnt else _NO_CHANGES),
            *(history[name] for name in ("until", "step", "last", "steps", "negative")),
            *(new, anew, budget, floor),
        )
        at = slice(None) if new.all() else np.flatnonzero(new)
        local = self._calendar.local(times[at])
        said = self._population.step(
            state.arrays[COMPONENT],
            of[at],
            values[at],
            local,
            budget_rows=budget[at],
            anew=anew[at],
            placed=self._calendar.placed(local),
        )
        live, (score, alarm), (expected, margin, shares) = np.empty(n, np.bool_), np.empty((2, n)), np.empty((3, n, C))
        compiled(SAID)(
            *(new, said.score, said.strength, said.anomalous, said.judged, said.expected, said.band, said.shares),
            *(floor, live, score, alarm, expected, margin, shares),
        )
        return Judged(index, live, score, alarm, expected, margin, shares, floor, budget)

    def ranked(
        self, state: PartitionState, judged: Judged, rows: NDArray[np.intp], raw: NDArray[np.float64]
    ) -> NDArray[np.float64]:
        """The ranking score (A,) with the members' raw scores (A, M), NaN where there are none; series in `rows` (A,).

        A weighted mean of logarithms, each raw score in units of its own frozen usual one, up to `MOST`.
        """
        out = np.empty(len(rows))
        compiled(RANKED)(
            *(ufunc_loops(), self._own, state.arrays[HISTORY]["usual"], rows, raw),
            *(judged.live, judged.score, out, np.empty(raw.shape)),
        )
        return out

    def _calibrated(self, name: str) -> NDArray[np.float64]:
        """What a member's raw score usually reaches (M,) in a known series; infinite where it says nothing."""
        states = self._model.calibrations[name]
        reached = self._model.calibrator.raw_at(states, np.full(len(states), USUAL))
        return np.asarray(np.where(np.isfinite(reached) & (reached > 0), reached, np.inf))


def _unbegun(state: PartitionState, row: int) -> bool:
    """Whether all that came of a series so far waits yet."""
    return "waiting" in state.arrays and bool(state.arrays["waiting"]["unbegun"][row])
