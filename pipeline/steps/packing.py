"""What the accepted observations of a batch and the history before them become: one buffer for all series, in time order.

        base[j]          base[j] + H
        │ history (H)    │ [held] [filled ...] accepted ... │ ...          series j

What the policy found missing is filled with the last value, at times one usual step apart; a held observation stands before the one that
confirmed it. Windows are cut from the buffer (`pipeline.steps.windows`), and nothing in it is scaled yet. Compiled in `pipeline.steps.kernels.packing`.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from detectors.compiling import PACKING, compiled
from pipeline.steps.judging import Verdict


@dataclass(slots=True)
class Packed:
    """History and accepted observations of all series that have some, and how each observation's window stands.

    Attributes
    ----------
    rows, base : (J,)
        State row of each series, and where it begins in `values`.
    values : (P, C)
        In the unit of the input.
    minutes : (P,)
        Minute of the week, where there are covariates, else (0,).
    ordinals, spans : (N,), (N, 2)
        As in `Pushed`; zeros of who is not accepted.
    full, filled : (N,) bool
        Whether its window can be scored, and whether it holds a value that stands in for a missing one.
    known
        Rows of series whose scaling is known from here on; its place holds the sums.
    """

    rows: NDArray[np.intp]
    base: NDArray[np.intp]
    values: NDArray[np.float64]
    minutes: NDArray[np.uint16]
    ordinals: NDArray[np.int64]
    spans: NDArray[np.intp]
    full: NDArray[np.bool_]
    filled: NDArray[np.bool_]
    known: NDArray[np.intp]

    @classmethod
    def of(
        cls,
        slots: NDArray[Any],
        rows: NDArray[np.intp],
        times: NDArray[np.int64],
        values: NDArray[np.float64],
        verdict: Verdict,
        *,
        H: int,
        timed: bool,
        learn_rows: int,
    ) -> Packed:
        """Lay out N observations, values (N, C), behind the last H values in `slots`, and move the records on; with their times where `timed`.

        A series' scaling is known behind `learn_rows` observations, 0: there is none.
        """
        n, J, C, names = len(rows), verdict.series, values.shape[1], slots.dtype.names or ()
        P = verdict.entries + J * H
        packed = cls(
            rows=np.empty(J, np.intp),
            base=np.empty(J, np.intp),
            values=np.empty((P, C)),
            minutes=np.empty(P if timed else 0, np.uint16),
            ordinals=np.zeros(n, np.int64),
            spans=np.zeros((n, 2), np.intp),
            full=np.zeros(n, np.bool_),
            filled=np.zeros(n, np.bool_),
            known=np.empty(J, np.intp),
        )
        complete = compiled(PACKING)(
            *(learn_rows, verdict.order, rows, times, values, verdict.rulings),
            *(slots[name] for name in ("last", "ordinal", "size", "tainted", "learnt")),
            slots["held"] if "held" in names else np.zeros((0, C)),
            slots["scaling"] if learn_rows else np.zeros((0, 2, C)),
            slots["history"] if "history" in names else np.zeros((0, 0, C)),
            slots["minutes"] if "minutes" in names else np.zeros((0, 0), np.uint16),
            *(packed.values, packed.minutes, packed.rows, packed.base),
            *(packed.ordinals, packed.spans, packed.filled, packed.full, packed.known),
        )
        packed.known = packed.known[:complete]
        return packed
