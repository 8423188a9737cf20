"""From a false-alarm budget to a level of calibrated scores, by counting alerts as an alert lives.

How often a score is high is one thing, how often an alert begins another: several members' mean is high less often than one of them, and what is high stays
high for a while. So each series counts, at eight edges, the alerts that it would have had with a level there: one begins at a score that reaches
the edge and lasts while scores reach the edge less the hysteresis, with fewer than so many others in a row. The level is read off the line
through the highest edges that enough alerts began at: the few highest scores, which may be true anomalies, do not move it.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from detectors.budget import Budget
from detectors.compiling import LEVEL, compiled, ufunc_loops
from detectors.thresholds import Threshold

EDGES = np.array([1.0, 1.5, 2.0, 2.5, 3.0, 3.5, 4.0, 5.0])
PRIOR = 1000.0
"""Imaginary scores that are calibrated exactly, at the lowest edge: the level begins at -log10 of one in the budget's rows."""
ENOUGH = 16.0
"""Alerts at an edge from which on it is believed; above, the line goes on as it came."""
SLOPES = 0.7, 3.0
"""Decades of fewer alerts for one of a higher level, at least and at most, where the line goes on. One is what calibration promises."""
ABOVE = 1.0
"""How far the level may rise over where it began: whoever has many incidents keeps being told of them."""
LOWEST = 1.0
TOLD_BY = 10.0
"""Of n scores, learnt from or seen, the level asks for no rarer than one in so many times n: what is rarer nobody can tell of them. Over any time that
adds a false alert at most, for the nth score one in 10 n is let pass."""
FEWEST = 20.0
"""Scores that count where there are fewer: one in 200."""
MEMORY = 1 << 15
"""Scores at which the counts of a series are halved: what is older fades."""
_K = (len(EDGES),)
STATE = np.dtype(
    [
        ("since", "<i8"),
        ("level", "<f8"),
        ("interval", "<f4"),
        ("trained", "<u4"),
        ("seen", "<u4"),
        ("counted", "<u4"),
        ("rare", "<f4", _K),
        ("kept", "<u4", _K),
        ("alerts", "<u2", _K),
        ("open", "u1", _K),
    ]
)
BUDGET = np.dtype([("period", "<f8"), ("rows", "<f8"), ("alerts", "<f8"), ("shared", "u1")])
"""A budget as compiled code takes it; a period of 0: in rows."""


class BudgetThreshold(Threshold):
    """The level at which a series has as many false alerts as the budget says, by its own usual step.

    The usual step is what the model knows, then the mean of the last `STEP` scores, which no single gap more than doubles.

    Parameters
    ----------
    budget
        What is wanted.
    hysteresis
        A score so far below the level keeps an alert going (at most half the level).
    calm
        Scores below that, in a row, that end one.
    others
        Budgets of some series, by `which` from 1 on; none of them is shared.

    Notes
    -----
    120 bytes: time of the last score of the step before i8, level f8 (0: not worked out yet), usual step f4, learnt from u4, seen u4, counted u4, and of each edge how rare alerts are there f4,
    the last score that kept one going u4, alerts u2, whether one is open u1.
    """

    name = "budget"

    def __init__(self, budget: Budget, hysteresis: float = 1.0, calm: int = 3, others: Sequence[Budget] = ()) -> None:
        self.budget = budget
        self._compiled = as_compiled((budget, *others))
        self.calm = calm
        self._keeps = np.maximum(EDGES - hysteresis, EDGES / 2)

    @property
    def dtype(self) -> np.dtype[Any]:
        """120 bytes."""
        return STATE

    def admit(self, state: NDArray[Any], row: int | NDArray[np.intp], interval_ms: int, trained: int = 0) -> None:
        """See `Threshold.admit`."""
        state["interval"][row], state["trained"][row] = interval_ms, trained

    def apply(
        self,
        state: NDArray[Any],
        rows: NDArray[np.intp],
        score: NDArray[np.float64],
        learn: NDArray[np.bool_],
        times: NDArray[np.int64] | None = None,
        series: NDArray[np.int64] | int = 1,
        which: NDArray[np.int64] | None = None,
    ) -> NDArray[np.float64]:
        """See `Threshold.apply`."""
        none = np.empty(0, np.int64)
        level = np.empty(len(rows))
        compiled(LEVEL)(
            self._compiled,
            self._keeps,
            self.calm,
            ufunc_loops(),
            state,
            rows,
            score,
            learn,
            none if times is None else times,
            np.array([series]) if isinstance(series, int) else series,
            none if which is None else which,
            level,
        )
        return level

    def prepare(self) -> None:
        """See `Threshold.prepare`."""
        compiled(LEVEL)

    def changed(self, state: NDArray[Any]) -> None:
        """See `Threshold.changed`."""
        state["level"] = 0.0


def as_compiled(budgets: Sequence[Budget]) -> NDArray[Any]:
    """Budgets as compiled code takes them, (n,) of BUDGET."""
    return np.array([(float(b.period_ms or 0), float(b.rows or 1), b.alerts, b.shared) for b in budgets], BUDGET)
