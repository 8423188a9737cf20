"""The time policy over a batch: which observations of each series are accepted, what is missing before them, what starts anew.

    (N,) sorted by series ──▶ the policy, one by one (`pipeline.steps.kernels.policy`) ──▶ accepted, filled, anew, held, confirmed

Rows of a table have no policy: every one is accepted.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from detectors.compiling import POLICY, compiled
from detectors.structured import by_series
from pipeline.steps.clock.policy import COUNTS, RULING, Policy

_HELD = ("held_at",)
"""What is kept of an observation that waits for confirmation, where there is a policy."""
_USUAL = ("interval", "other", "decided", "agree", "against", "tried")
"""What is kept of a usual step, where there are gaps."""
_NO_TIMES, _NO_NUMBERS = np.zeros(0, np.int64), np.zeros(0, np.uint8)


@dataclass(slots=True)
class Verdict:
    """What the policy says of N observations.

    Attributes
    ----------
    order : (N,)
        Their places, sorted by series.
    rulings : (N,) of RULING
    entries
        Positions that they have in windows, those of missing and held ones among them.
    series
        How many series have one.
    changed
        How many usual steps are others from one of them on.
    """

    order: NDArray[np.intp]
    rulings: NDArray[np.void]
    entries: int
    series: int
    changed: int

    def learnt(self, rows: NDArray[np.intp]) -> list[tuple[int, int, int]]:
        """(place, row, ms) where a usual step changed, 0: there is none; series in `rows` (N,)."""
        if not self.changed:
            return []
        usual = self.rulings["usual"]
        at = np.flatnonzero(usual >= 0)
        return list(zip(at.tolist(), rows[at].tolist(), usual[at].tolist(), strict=True))


class Judge:
    """The time policy for all series of a partition.

    Of a series' record (`SeriesWindows`) it writes what the policy keeps, but for `last`, `ordinal` and `held`: these are written with the window.

    Parameters
    ----------
    policy
        None for rows of a table.
    limit
        How far ahead a time is vouched for, in ms.
    intervals
        Usual steps that the model knows, in ms; 0: it has none.
    """

    def __init__(self, policy: Policy | None, limit: int, intervals: Mapping[str, int]) -> None:
        self._gaps = policy is not None and policy.gaps
        self._intervals = intervals
        fill_gaps = 0 if policy is None else policy.fill_gaps
        self._policy = np.array([fill_gaps, limit, self._gaps, policy is not None], np.int64)

    def admit(self, slots: NDArray[Any], row: int, name: str) -> None:
        """Put the usual step that the model knows of a new series into its row."""
        if self._gaps and (interval := self._intervals.get(name)) is not None:
            slots["interval"][row] = interval
            slots["decided"][row] = 1

    def judge(
        self, slots: NDArray[Any], rows: NDArray[np.intp], times: NDArray[np.int64], counts: dict[str, int]
    ) -> Verdict:
        """The policy for N observations of series in `rows` (N,) at event times (N,), ms, in log order."""
        order, names = by_series(rows), slots.dtype.names or ()
        rulings, happened = np.zeros(len(rows), RULING), np.zeros(len(COUNTS) + 1, np.int64)

        def field(name: str) -> NDArray[Any]:
            return slots[name] if name in names else _NO_NUMBERS if name in _USUAL[2:] else _NO_TIMES

        entries, series = compiled(POLICY)(
            *(
                self._policy,
                np.zeros(9, np.int64),
                np.zeros(3, np.int64),
                order,
                rows,
                times,
                slots["last"],
                slots["ordinal"],
                field("held_at"),
            ),
            *(field("interval"), field("other"), slots["size"], *(field(n) for n in _USUAL[2:])),
            *(rulings, happened),
        )
        *of, changed = happened.tolist()
        for name, n in zip(COUNTS, of, strict=True):
            counts[name] += n
        return Verdict(order, rulings, entries, series, changed)
