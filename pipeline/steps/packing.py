"""What the accepted observations of a batch and the history before them become: one buffer for all series, in time order.

        base[j]          base[j] + H
        │ history (H)    │ [held] [filled ...] accepted ... │ ...          series j

What the policy found missing is filled with the last value, at times one usual step apart; a held observation stands before the one that
confirmed it. Windows are cut from the buffer, and nothing in it is scaled. Compiled in `pipeline.steps.kernels.packing`.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from detectors.compiling import WINDOWS, compiled
from pipeline.steps.clock.judging import Verdict
from pipeline.steps.scales import Scales


@dataclass(slots=True)
class Packed:
    """History and accepted observations of all series that have some, and how each observation's window stands.

    Attributes
    ----------
    values : (P, C)
        In the unit of the input.
    minutes : (P,)
        Minute of the week, where there are covariates, else (0,).
    ordinals, spans : (N,), (N, 2)
        As in `Pushed`; zeros of who is not accepted.
    full, filled : (N,) bool
        Whether its window can be scored, and whether it holds a value that stands in for a missing one.
    x : (N, T, C + F)
        The windows that can be scored, else nothing; scaled, covariates appended.
    """

    values: NDArray[np.float64]
    minutes: NDArray[np.uint16]
    ordinals: NDArray[np.int64]
    spans: NDArray[np.intp]
    full: NDArray[np.bool_]
    filled: NDArray[np.bool_]
    x: NDArray[np.float32]

    @classmethod
    def of(
        cls,
        slots: NDArray[Any],
        rows: NDArray[np.intp],
        times: NDArray[np.int64],
        values: NDArray[np.float64],
        verdict: Verdict,
        scales: Scales,
        table: NDArray[np.float32],
        *,
        H: int,
    ) -> Packed:
        """Lay out N observations, values (N, C), behind the last H values in `slots`, cut their windows, and move the records on.

        `table` (minutes of a week, F): covariates.
        """
        n, C, F, names = len(rows), values.shape[1], table.shape[1], slots.dtype.names or ()
        P = verdict.entries + verdict.series * H
        packed = cls(
            values=np.empty((P, C)),
            minutes=np.empty(P if F else 0, np.uint16),
            ordinals=np.zeros(n, np.int64),
            spans=np.zeros((n, 2), np.intp),
            full=np.zeros(n, np.bool_),
            filled=np.zeros(n, np.bool_),
            x=np.empty((n, H + 1, C + F), np.float32),
        )
        compiled(WINDOWS)(
            *(scales.learn_rows, scales.ranged, verdict.order, rows, times, values, verdict.rulings),
            *(slots[name] for name in ("last", "ordinal", "size", "tainted", "learnt")),
            slots["held"] if "held" in names else np.zeros((0, C)),
            slots["scaling"] if scales.used else np.array([[[0.0] * C, [1.0] * C]]),
            slots["history"] if "history" in names else np.zeros((0, 0, C)),
            slots["minutes"] if "minutes" in names else np.zeros((0, 0), np.uint16),
            *(table, packed.values, packed.minutes),
            *(packed.ordinals, packed.spans, packed.filled, packed.full, packed.x.reshape(n, (H + 1) * (C + F))),
        )
        return packed
