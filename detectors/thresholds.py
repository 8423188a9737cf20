"""From calibrated scores to a level: `score >= level` is anomalous.

A calibrated score says how rare a score is in its series' own history (`detectors.calibration`). What is wanted is stated as a
false-alarm budget (`detectors.budget`), which is so many rows of a series per false alert; whoever wants a level or a probability states that.

    budget     what the series' own alerts of before say that the budget asks for (`detectors.budget_threshold`)
    fixed      the level of the settings, for all series and all time
    quantile   the level that `probability` of the series' own scores reach, from a histogram of 12 counts
    pot        the same by extreme value theory: a generalised Pareto tail over the peaks (SPOT)

Like calibrators, thresholds are settings and arithmetic; what they learn is one record of `dtype` per series, kept by
whoever owns the series. A level holds for `STEP` scores of its series and moves on at fixed counts, never at batch
borders. Sums are kept as integers, so that they do not depend on how many were added at a time.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from itertools import pairwise
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from detectors.base import DetectorError
from detectors.calibration import MAX_CALIBRATED

STEP = 64
"""Scores of a series after which its level moves on."""
READY = 256
"""Learnt scores of a series from which on what it has learnt weighs about as much as what stands in for it before."""


class Threshold(ABC):
    """The level of every series; vectorised over series."""

    name: ClassVar[str]

    @property
    @abstractmethod
    def dtype(self) -> np.dtype[Any]:
        """Structured, fixed size (at most 120 bytes), little-endian; all zeros is a valid empty state."""

    def admit(self, state: NDArray[Any], row: int | NDArray[np.intp], interval_ms: int, trained: int = 0) -> None:  # noqa: B027  # most know nothing
        """Put what is known of a new series (or of several) into its record: its usual step in ms, 0 where there is none; how many of its rows were learnt from."""

    def prepare(self) -> None:  # noqa: B027  # most have nothing to
        """Load what would take its time at the first score."""

    def changed(self, state: NDArray[Any]) -> None:  # noqa: B027  # most work their level out anew each time
        """Other settings hold for what all series have learnt."""

    @property
    def learns(self) -> bool:
        """Whether a level follows from the series' own scores."""
        return "seen" in (self.dtype.names or ())

    def ready(self, state: NDArray[Any]) -> NDArray[np.bool_]:
        """Which of the records (S,) have learnt enough for their level to be the series' own."""
        return np.asarray(state["seen"] >= READY) if self.learns else np.ones(len(state), np.bool_)

    @abstractmethod
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
        """Give the level that holds for each score, and move the states on, in place.

        Parameters
        ----------
        state : (S,) of `dtype`
            One record per series; a view, written to.
        rows : (B,)
            Which record each score belongs to. Scores of one row stand in stream order; rows may be mixed in any way.
        score : (B,) float64
            Aggregated calibrated scores, 0..12; NaN is not learnt.
        learn : (B,) bool
            False: the level is given, the score neither learnt nor counted.
        times : (B,) int64
            Event times, ms; None of a table.
        series : (B,) or int
            How many series live in the stream, where a budget is shared among them.
        which : (B,) int
            Which of several budgets holds for each; None: the first for all.

        Returns
        -------
        (B,) float64, at most 12: the level before the score itself is learnt.
        """


class FixedThreshold(Threshold):
    """One level for all series and all time.

    Examples
    --------
    >>> import numpy as np
    >>> fixed = FixedThreshold(4.0)
    >>> state = np.zeros(2, fixed.dtype)
    >>> fixed.apply(state, np.array([0, 1]), np.array([0.3, 5.0]), np.array([True, True]))
    array([4., 4.])
    """

    name = "fixed"

    def __init__(self, level: float) -> None:
        if not 0 <= level <= MAX_CALIBRATED:
            msg = f"fixed threshold {level}: a level is a calibrated score, 0..{MAX_CALIBRATED:g}"
            raise DetectorError(msg)
        self.level = level

    @property
    def dtype(self) -> np.dtype[Any]:
        """One unused byte: rows of a state array cannot be empty."""
        return np.dtype([("unused", "u1")])

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
        """The level, B times."""
        return np.full(len(rows), self.level)


class _SteppedThreshold(Threshold):
    """A level per series that moves on after every `STEP` learnt scores of that series.

    A subclass's dtype has `level` (f4; 0 = not moved yet, `_start` holds) and `seen` (u4; learnt scores). It implements
    `_learn` and `_levels`. Levels are kept as float32, so that the state decides alone.
    """

    _start: float

    def __init__(self, probability: float) -> None:
        if not 1e-9 <= probability < 0.5:
            msg = f"{self.name} threshold: probability {probability} is not in 1e-9..0.5"
            raise DetectorError(msg)
        self.probability = probability
        self._start = min(-np.log10(probability), MAX_CALIBRATED)

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
        """See `Threshold.apply`; scores are taken step by step, all series at once."""
        level = np.empty(len(rows))
        counted = learn & np.isfinite(score)
        for part in steps_of(state["seen"], rows, counted):
            held = state["level"][rows[part]].astype(np.float64)
            held[held == 0] = self._start
            level[part] = held
            known = counted[part]
            self._take(state, rows[part[known]], score[part[known]], held[known])
        return level

    def _take(
        self, state: NDArray[Any], rows: NDArray[np.intp], score: NDArray[np.float64], held: NDArray[np.float64]
    ) -> None:
        self._learn(state, rows, score, held)
        touched, counts = np.unique(rows, return_counts=True)
        state["seen"][touched] += counts.astype(np.uint32)
        full = touched[state["seen"][touched] % STEP == 0]
        if len(full):
            # A level of 0 would read as "not moved yet", and nothing is anomalous at 0.
            state["level"][full] = np.clip(self._levels(state, full), 1e-3, MAX_CALIBRATED)

    @abstractmethod
    def _learn(
        self, state: NDArray[Any], rows: NDArray[np.intp], score: NDArray[np.float64], held: NDArray[np.float64]
    ) -> None:
        """Add scores of one step to the sums; `held` is the level of each."""

    @abstractmethod
    def _levels(self, state: NDArray[Any], rows: NDArray[np.intp]) -> NDArray[np.float64]:
        """New levels of `rows`, whose step is full; forgets where it is time to."""


def steps_of(seen: NDArray[np.uint32], rows: NDArray[np.intp], counted: NDArray[np.bool_]) -> list[NDArray[np.intp]]:
    """Places of B scores, one step of each series after the other, in stream order; `seen` (S,) says how many each has counted so far."""
    step = step_of_each(seen, rows, counted, STEP)
    order = np.argsort(step, kind="stable")
    bounds = np.searchsorted(step[order], np.arange(int(step.max(initial=0)) + 2))
    return [order[first:last] for first, last in pairwise(bounds)]


def step_of_each(
    seen: NDArray[np.uint32], rows: NDArray[np.intp], counted: NDArray[np.bool_], size: int
) -> NDArray[np.int64]:
    """In which of its series' steps of `size` counted scores each of B scores falls, 0 being the one under way.

    `seen` (S,) says how many each series has counted so far.
    """
    order = np.argsort(rows, kind="stable")
    sorted_rows, sorted_counted = rows[order], counted[order]
    before: NDArray[np.int64] = np.cumsum(sorted_counted) - sorted_counted  # counted ones before it, in this order
    first = np.searchsorted(sorted_rows, sorted_rows)  # where its series begins
    rank = np.empty(len(rows), np.int64)
    rank[order] = before - before[first] if len(rows) else 0
    return (rank + seen[rows] % size) // size


class QuantileThreshold(_SteppedThreshold):
    """The level that `probability` of the series' own scores reach.

    Counts how many scores reached each of 12 edges, and reads the level off the line through log10 of the counts'
    shares, which is straight where scores are calibrated as they say. `PRIOR` imaginary scores that are calibrated
    exactly stand in the counts, so the level is -log10(probability) at first and moves with the evidence. All counts
    are halved at `MEMORY` scores: what is older fades.

    Everything is counted, anomalies too: it is a statement about the *rate* of anomalous observations, and a series
    that is broken for long gets a high level. Use `fixed` or `pot` where that is not wanted.

    32 bytes: level f4, seen u4, 12 counts u2.
    """

    name = "quantile"

    EDGES = np.array([0.5, 1.0, 1.5, 2.0, 2.5, 3.0, 3.5, 4.0, 5.0, 6.0, 8.0, 10.0])
    PRIOR = 512
    MEMORY = 1 << 15

    @property
    def dtype(self) -> np.dtype[Any]:
        """32 bytes."""
        return np.dtype([("level", "<f4"), ("seen", "<u4"), ("above", "<u2", (len(self.EDGES),))])

    def _learn(
        self, state: NDArray[Any], rows: NDArray[np.intp], score: NDArray[np.float64], held: NDArray[np.float64]
    ) -> None:
        del held
        reached = np.searchsorted(self.EDGES, score, side="right")
        some = reached > 0
        # Each score is counted at the highest edge that it reached only; `_levels` adds them up.
        np.add.at(state["above"], (rows[some], reached[some] - 1), np.uint16(1))

    def _levels(self, state: NDArray[Any], rows: NDArray[np.intp]) -> NDArray[np.float64]:
        old = rows[state["seen"][rows] >= self.MEMORY]
        state["above"][old] >>= 1
        state["seen"][old] >>= 1
        counts = state["above"][rows].astype(np.float64)
        above = np.cumsum(counts[:, ::-1], axis=1)[:, ::-1]
        total = state["seen"][rows].astype(np.float64) + self.PRIOR
        tail = np.log10((above + self.PRIOR * 10.0**-self.EDGES) / total[:, None])  # falls strictly
        return self._level_at(tail)

    def _level_at(self, tail: NDArray[np.float64]) -> NDArray[np.float64]:
        """Where the broken line through (edge, tail), with (0, 0) before and slope -1 behind, meets log10(p)."""
        wanted = np.log10(self.probability)
        edges = np.concatenate([[0.0], self.EDGES])
        tail = np.concatenate([np.zeros((len(tail), 1)), tail], axis=1)
        left = np.maximum((tail > wanted).sum(axis=1) - 1, 0)
        right = np.minimum(left + 1, len(edges) - 1)
        at = np.arange(len(tail))
        y = tail[at, left]
        beyond = left == right
        slope = np.where(beyond, -1.0, (tail[at, right] - y) / np.where(beyond, 1.0, edges[right] - edges[left]))
        return np.asarray(edges[left] + (wanted - y) / slope)


class PotThreshold(_SteppedThreshold):
    """The level that a new score reaches with `probability`, by a generalised Pareto tail over the peaks: SPOT.

    With n scores, of which N exceed t by y_1..y_N, the tail is fitted by the method of moments,
    gamma = (1 - mean^2 / variance) / 2, sigma = mean (1 - gamma), and

        level = t + sigma / gamma ((probability n / N)^-gamma - 1)

    Departures from the paper: it learns nothing from z_q on, which cuts off the tail that it fits, so that its level falls
    further and further (measured: 4 to 7 times too many anomalies at a probability of 1e-3); here scores are left out from
    `MARGIN`, two decades, over the level. Moments instead of maximum likelihood (they need two sums instead of all peaks;
    `detectors.spot` has the paper's own); t is 1, the calibrated score's 90 % point (the paper's is the first batch's
    98 % point; the mean of several members' scores has a lighter tail, and too few of it would lie over that);
    that first batch is replaced by `PRIOR` imaginary scores which are calibrated exactly, i.e. exponential peaks with a
    mean of 1 / ln 10, so the level starts at -log10(probability); the level moves every `STEP` scores; gamma is kept in
    -0.5..0.4, where the moments exist; at `MEMORY` scores all sums are halved. Drift (DSPOT's moving average) is left
    to the detector, whose residual has none, and to the calibrator.

    32 bytes: level f4, seen u4, learnt u4, peaks u4, sum of peaks and of their squares u8 (in 1/4096).

    References
    ----------
    Siffer, Fouque, Termier, Largouet: Anomaly Detection in Streams with Extreme Value Theory. KDD 2017.
    Hosking, Wallis: Parameter and quantile estimation for the generalized Pareto distribution. Technometrics 1987.
    """

    name = "pot"

    PEAK = 1.0
    MARGIN = 2.0
    PRIOR = 300
    MEMORY = 1 << 16
    UNIT = 4096

    @property
    def dtype(self) -> np.dtype[Any]:
        """32 bytes."""
        return np.dtype(
            [("level", "<f4"), ("seen", "<u4"), ("learnt", "<u4"), ("peaks", "<u4"), ("sum", "<u8"), ("squares", "<u8")]
        )

    def _learn(
        self, state: NDArray[Any], rows: NDArray[np.intp], score: NDArray[np.float64], held: NDArray[np.float64]
    ) -> None:
        normal = score < held + self.MARGIN
        touched, counts = np.unique(rows[normal], return_counts=True)
        state["learnt"][touched] += counts.astype(np.uint32)
        peak = normal & (score > self.PEAK)
        if peak.any():
            row = rows[peak]
            excess = np.rint((score[peak] - self.PEAK) * self.UNIT).astype(np.uint64)
            np.add.at(state["peaks"], row, np.uint32(1))
            np.add.at(state["sum"], row, excess)
            np.add.at(state["squares"], row, excess * excess)

    def _levels(self, state: NDArray[Any], rows: NDArray[np.intp]) -> NDArray[np.float64]:
        old = rows[state["seen"][rows] >= self.MEMORY]
        for field in ("seen", "learnt", "peaks", "sum", "squares"):
            state[field][old] >>= np.uint8(1)
        prior = self.PRIOR * 10.0**-self.PEAK
        mean = 1 / np.log(10)
        n = state["learnt"][rows] + float(self.PRIOR)
        peaks = state["peaks"][rows] + prior
        first = (state["sum"][rows] / self.UNIT + prior * mean) / peaks
        second = (state["squares"][rows] / self.UNIT**2 + prior * 2 * mean**2) / peaks
        gamma = np.clip((1 - first**2 / (second - first**2)) / 2, -0.5, 0.4)
        ratio = np.log(np.minimum(self.probability * n / peaks, 1.0))  # <= 0: a level under the peaks' is not spoken of
        small = np.abs(gamma) < 1e-6
        shape = np.where(small, -ratio, np.expm1(-gamma * ratio) / np.where(small, 1.0, gamma))
        return np.asarray(self.PEAK + first * (1 - gamma) * shape)
