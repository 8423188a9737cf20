"""What people said of a series' alerts ("this was normal", "noise", "you missed one"), and by how much it moves the bar of the series.

The bar is how rare an observation must be to be anomalous, in decades beyond what the false-alarm budget or the threshold lets pass: 0 where nobody said
anything. *Strength* is where an observation lies on that scale; feedback never moves it, nor any score.

    normal    the bar is at least the alert's peak strength + 0.3: what is to fire is twice as rare (never below 0.5)
    noise     the bar is half a decade higher: about a third of the alarms is left
    missed    the bar is at most the strength there - 0.1

    decades   3 ┤ never higher                 ┌───────────┐      (12 at a time of day or week)
                │                              │           └──╲
                │  full for two budget periods ┘   faded out   ╲── behind two more
              0 ┼──────────────────────────────────────────────────▶ the series' event time
                │ never laxer than one in 200 observations

A series keeps the three newest, `DTYPE`; what an undone one said is gone as if it had never been there. One that speaks of a time of day or of the
week (a nightly backup) holds then only. What is kept lies in the series' row of the state: who forgets the series forgets it.
"""

from __future__ import annotations

from collections.abc import Callable
from math import log10
from typing import Any, Literal

import msgspec
import numpy as np
from numpy.typing import NDArray

from detectors.budget import LEAST_ROWS
from detectors.judgement.zones import offsets
from detectors.model import Model
from pipeline.settings import StreamSettings
from pipeline.steps.state import PartitionState

COMPONENT = "feedback"
"""Name of the component, and of the scalar that says whether any series has one."""
KEPT = 3
DTYPE = np.dtype(
    [
        (
            "said",
            [
                ("serial", "<u4"),  # of the decision; 0: none
                ("what", "u1"),  # place in `WORDS`
                ("every", "u1"),  # place in `CYCLES`
                ("start", "<u2"),  # minute of the day or week at which it begins to hold, local
                ("minutes", "<u2"),  # for how long
                ("bar", "<f4"),  # decades; of noise, how many more
                ("since", "<i8"),  # event time from which on it ages
            ],
            (KEPT,),
        )
    ]
)
"""66 bytes a series; all zeros: nobody said anything. The oldest first."""
WORDS = ("normal", "noise", "missed")
NORMAL, NOISE, MISSED = range(3)
CYCLES = ("", "day", "week")
_MINUTES = np.array([1, 24 * 60, 7 * 24 * 60])
_MINUTE = 60_000
_DAY = 86_400_000
BEYOND, STEP, BELOW, MOST, RECURRING = 0.3, 0.5, 0.1, 3.0, 12.0
"""Decades: a normal alert's peak and so many more; what noise adds; below what was missed; the highest bar, and at a time of day or week."""
HELD, FADED = 2, 4
"""Budget periods for which feedback counts in full, and after which it is gone."""
_MONTH = 30 * _DAY
"""A budget period where the budget counts rows."""
AROUND = 30
"""Minutes before and behind what was normal at that time of day or week."""
LONGEST = 12 * 60
"""Minutes of a day or week that feedback may cover."""


class Feedback(msgspec.Struct, frozen=True, tag="feedback"):
    """A decision: what somebody said of an alert, or of a time at which there was none.

    `series` is a name, no pattern. `since` and `until` (event times, ms) are what it speaks of: the alert's first and last anomalous observation,
    or where one was missed. `strength`, the peak there (0: not known), is the evidence: a partition does not remember it. `alert` is the id of the alert,
    which ends where it is open. `every`: it holds at that time of the day or week only.
    """

    series: str
    said: Literal["normal", "noise", "missed"]
    since: int
    until: int
    strength: float = 0.0
    alert: str = ""
    every: Literal["", "day", "week"] = ""
    why: str = ""


class Bars:
    """The bars of the series of one partition. Keeps nothing itself: all it knows is in the component "feedback".

    Parameters
    ----------
    settings
        For the budgets and the time zone.
    model
        For the time zone where the settings name none.
    """

    def __init__(self, settings: StreamSettings, model: Model) -> None:
        self._zone = settings.time_zone or model.calendar.time_zone
        periods = [max(b.period_ms or _MONTH, _DAY) for b in settings.budgets(model.kind)]
        self._periods = np.array(periods, np.float64)

    def of(
        self,
        state: PartitionState,
        rows: NDArray[np.intp],
        times: NDArray[np.int64],
        laxest: Callable[[], NDArray[np.float64]],
        which: NDArray[np.int64] | None = None,
    ) -> NDArray[np.float64] | None:
        """The bars (n,) of observations at event times (n,), ms, of series in rows (n,); None: all are 0.

        Parameters
        ----------
        laxest
            Asked where there are any: (n,) the bar that one in `LEAST_ROWS` observations reaches; NaN: not known, and no bar is below 0.
        which : (n,)
            Which of the settings' budgets; None: all the first.
        """
        if not state.scalars.get(COMPONENT):
            return None
        kept = state.arrays[COMPONENT]["said"]
        at = np.flatnonzero(kept["serial"][rows, 0])
        if not len(at):
            return None
        said, now = kept[rows[at]], times[at][:, None]
        weight = self._weights(said, now, self._periods[0] if which is None else self._periods[which[at]][:, None])
        bar = np.zeros(len(at))
        for k in range(KEPT):
            what, by, holds = said["what"][:, k], said["bar"][:, k] * weight[:, k], weight[:, k] > 0
            bar = np.where(holds & (what == NORMAL), np.maximum(bar, by), bar)
            bar = np.where(holds & (what == NOISE), bar + by, bar)
            bar = np.where(holds & (what == MISSED), np.minimum(bar, by), bar)
        most = np.where(((said["every"] != 0) & (weight > 0)).any(axis=1), RECURRING, MOST)
        bar = np.clip(bar, np.minimum(np.nan_to_num(laxest()[at]), 0.0), most)
        if not bar.any():
            return None
        bars = np.zeros(len(rows))
        bars[at] = bar
        return bars

    def _weights(self, said: NDArray[Any], now: NDArray[np.int64], period: Any) -> NDArray[np.float64]:
        """How much of each (n, KEPT) counts now (n, 1), 0 to 1."""
        age = np.maximum(now - said["since"], 0) / period
        local = (now + offsets(self._zone, now[:, 0])[:, None]) // _MINUTE
        # 1970 began on a Thursday; a week begins on Monday.
        into = (local + 3 * 24 * 60 - said["start"]) % _MINUTES[said["every"]]
        due = (said["serial"] != 0) & ((said["every"] == 0) | (into < said["minutes"]))
        return np.asarray(np.clip((FADED - age) / (FADED - HELD), 0.0, 1.0) * due)

    def take(self, state: PartitionState, row: int, serial: int, feedback: Feedback, now: int) -> None:
        """Keep what was said of the series in a row, which ages from the event time `now` on; the oldest goes where there is no room."""
        kept = state.arrays[COMPONENT]["said"][row]
        free = np.flatnonzero(kept["serial"] == 0)
        if len(free):
            place = int(free[0])
        else:
            kept[:-1], place = kept[1:].copy(), KEPT - 1
        start, minutes = self.cycle(feedback)
        what, every = WORDS.index(feedback.said), CYCLES.index(feedback.every)
        kept[place] = (serial, what, every, start, minutes, bar_of(feedback), now)
        state.scalars[COMPONENT] = 1
        state.touch(np.array([row], np.intp))

    def take_back(self, state: PartitionState, serial: int) -> list[int]:
        """Forget what a decision said; the rows of the series that it was of."""
        kept = state.arrays[COMPONENT]["said"]
        rows: list[int] = np.flatnonzero((kept["serial"] == serial).any(axis=1)).tolist()
        for row in rows:
            others = kept[row][kept[row]["serial"] != serial]
            kept[row] = np.zeros((), kept.dtype)
            kept[row][: len(others)] = others
        state.touch(np.array(rows, np.intp))
        return rows

    def in_force(self, state: PartitionState, row: int, now: int, which: int = 0) -> list[dict[str, Any]]:
        """What is said of the series in a row and not faded out at an event time, for people: serial, said, bar now."""
        said = state.arrays[COMPONENT]["said"][[row]]
        weights = self._weights(said, np.array([[now]]), self._periods[which])
        return [
            {"serial": int(s["serial"]), "said": WORDS[s["what"]], "bar": round(float(s["bar"]) * float(w), 3)}
            for s, w in zip(said[0], weights[0], strict=True)
            if w > 0
        ]

    def cycle(self, feedback: Feedback) -> tuple[int, int]:
        """At which minute of the local day or week (from Monday on) feedback begins to hold, and for how many; (0, 0): always."""
        if not feedback.every:
            return 0, 0
        ends = np.array([feedback.since, max(feedback.until, feedback.since)], np.int64)
        first, last = ((ends + offsets(self._zone, ends)) // _MINUTE).tolist()
        cycle = int(_MINUTES[CYCLES.index(feedback.every)])
        return (first - AROUND + 3 * 24 * 60) % cycle, min(last - first + 2 * AROUND, LONGEST)


def bar_of(feedback: Feedback) -> float:
    """Where feedback sets the bar; of noise, what it adds.

    >>> said = (("normal", 1.0, ""), ("normal", 0.0, ""), ("normal", 9.0, ""), ("normal", 9.0, "day"), ("noise", 1.0, ""), ("missed", -0.5, ""))
    >>> [round(bar_of(Feedback("cpu", what, 0, 0, strength, every=every)), 2) for what, strength, every in said]
    [1.3, 0.5, 3.0, 9.3, 0.5, -0.6]
    """
    if feedback.said == "noise":
        return STEP
    if feedback.said == "missed":
        return min(max(feedback.strength - BELOW, -MOST), 0.0)
    return min(max(feedback.strength + BEYOND, STEP), RECURRING if feedback.every else MOST)


def laxest(rows: NDArray[np.float64]) -> NDArray[np.float64]:
    """The bar that one in `LEAST_ROWS` observations reaches, where the budget is one in `rows` (n,)."""
    return np.asarray(np.log10(LEAST_ROWS / rows))


def laxest_of_level(level: NDArray[np.float64]) -> NDArray[np.float64]:
    """The same where scores, -log10 of how rare an observation is, are held against a level (n,)."""
    return np.asarray(log10(LEAST_ROWS) - level)
