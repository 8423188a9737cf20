"""What becomes of observations from step to step: windows to score, what the time policy says of each, what was heard of series, what was scored."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pipeline.steps.batches.later import Later
from pipeline.steps.batches.observations import Observations


@dataclass(slots=True)
class Windows:
    """Windows that end in an observation that is to be scored, in log order of that observation.

    Attributes
    ----------
    index : (B,) intp
        Which of the `Observations` is judged.
    rows : (B,) intp
        The series' row in the partition's state.
    x : (B, T, C + F) float32
        Scaled windows, covariates appended.
    ordinals : (B,) int64
        The how-manyeth accepted observation of its series this is, from 1.
    packed : (P, C) float64, starts : (B,) intp
        The same windows in the unit of the input: window b is `packed[starts[b] : starts[b] + T]`.
    filled : (B,) bool
        Whether the window holds values that stand in for missing ones.
    """

    index: NDArray[np.intp]
    rows: NDArray[np.intp]
    x: NDArray[np.float32]
    ordinals: NDArray[np.int64]
    packed: NDArray[np.float64]
    starts: NDArray[np.intp]
    filled: NDArray[np.bool_]

    def __len__(self) -> int:
        return len(self.rows)


@dataclass(slots=True)
class Pushed:
    """What became of N observations: the windows to score, and what the time policy says of each.

    Attributes
    ----------
    accepted : (N,) bool
        In the window now. False: late, duplicate, held for confirmation.
    vouched : (N,) bool
        Accepted, and near the one before it in its series: only such event times should move the partition's, or one
        wrong clock would make every other series look silent.
    anew : (N,) bool
        Accepted, and the series' window starts anew with it (or with the held one that it confirms).
    ordinals : (N,) int64
        Of the accepted ones, see `Windows`; 0 for the others.
    packed : (P, C) float64, spans : (N, 2) intp
        What the window of an accepted observation holds so far, at most T rows in the unit of the input: `packed[a:b]`.
    counts
        `late`, `duplicate`, `first_total`, `held`, `confirmed`, `dropped_future`, `filled`, `restarted`, `warming`: how
        many.
    learnt
        (observation, row, ms) where a series' usual step changed, in order; 0: it has none.
    """

    windows: Windows
    accepted: NDArray[np.bool_]
    vouched: NDArray[np.bool_]
    anew: NDArray[np.bool_]
    ordinals: NDArray[np.int64]
    packed: NDArray[np.float64]
    spans: NDArray[np.intp]
    counts: dict[str, int] = field(default_factory=dict)
    learnt: list[tuple[int, int, int]] = field(default_factory=list)

    @classmethod
    def none(cls, n: int, windows: Windows, counts: dict[str, int], packed: NDArray[np.float64]) -> Pushed:
        """None of n observations accepted yet."""
        accepted, vouched, anew = np.zeros((3, n), np.bool_)
        return cls(windows, accepted, vouched, anew, np.zeros(n, np.int64), packed, np.zeros((n, 2), np.intp), counts)


@dataclass(frozen=True, slots=True)
class Absent:
    """A series that should have said something and has not; or, with the row -1, that many have not, or that this is over (`change`).

    Attributes
    ----------
    due
        The end of its patience in the series' own event time, ms; of many, the partition's event time since when they are absent.
    clock
        The partition's event time.
    together
        Since when many are absent together, if that is so: then nothing is said of it alone.
    change, count, of
        Of many: `anomaly` (begins), `normal`, `gone`; how many of how many series.
    cause, behind
        Where the record stands that carried the time there: among the batch's observations that have a row (half-way between two: it has none),
        and among all of them.
    """

    row: int
    due: int
    clock: int
    together: int = 0
    change: str = ""
    count: int = 0
    of: int = 0
    cause: float = 0.0
    behind: int = 0


@dataclass(slots=True)
class Heard:
    """What N observations say of their series just by coming, scored or not.

    Attributes
    ----------
    rows : (N,) intp
        The series' row in the partition's state.
    accepted : (N,) bool
        Whether the time policy believes the event time, see `Pushed`.
    watermarks : (N,) int64
        The partition's event time after each; never falls.
    absent
        What is to be said of series that say nothing, in order, each with the offset of the record that carried the time there.
    waited : (N,) bool or None
        It came earlier: whoever was told since that there is no data is not wrong. None: none did.
    """

    rows: NDArray[np.intp]
    accepted: NDArray[np.bool_]
    watermarks: NDArray[np.int64]
    absent: Sequence[tuple[Absent, int]] = ()
    waited: NDArray[np.bool_] | None = None


@dataclass(slots=True)
class Scored:
    """What the detectors and calibrators say, in the order of `Windows`; the values in the unit of the input.

    Attributes
    ----------
    index, rows, ordinals
        As in `Windows`.
    offsets, timestamps : (B,) int64
    observed : (B, C) float64
    raw, calibrated : (B, M) float64
    score : (B,) float64
        Ranks. Where the members alone decide, the aggregated calibrated score, 0..12.
    expected : (B, C) float64 or None
        NaN where a member has none. Of tables this and `contributions` may be worked out where they are asked for.
    contributions : (B, C) float32 or None
    level : (B,) float64
        The threshold (calibrated score) that holds for each; NaN where no threshold of the score decides.
    alarm : (B,) float64
        Decides: by how many decades an observation is rarer than what is let pass; from 0 on it is anomalous. Where the members alone
        decide, `score - level`.
    live : (B,) bool
        False in probation: scored, but can raise no alert.
    packed, spans
        What the detectors saw of each, see `Pushed` (evidence).
    margins
        Given indices (k,) into these columns: how far each channel may deviate from `expected` before the level is
        reached, (k, C) in the unit of the input (`pipeline.steps.bands`). None where there is no notion of it.
    floor : (B, C) float64 or None
        What a band does not go below: 0 for what was never negative, else -inf.
    moved : (B,) float64 or None
        Decades by which feedback has raised what is let pass; `level` and `alarm` have it in them. None: nobody said anything.
    budget : (B,) float64 or None
        Where an alarm decides, rows of the series per false alert.
    said : (B, M) bool or None
        Which members say so; None: those whose calibrated score reaches the level.
    slack : (B,) float64 or None
        Where no threshold of the score decides: how far below 0 an alarm keeps an alert going; None: not at all.
    """

    index: NDArray[np.intp]
    rows: NDArray[np.intp]
    ordinals: NDArray[np.int64]
    offsets: NDArray[np.int64]
    timestamps: NDArray[np.int64]
    observed: NDArray[np.float64]
    raw: NDArray[np.float64]
    calibrated: NDArray[np.float64]
    score: NDArray[np.float64]
    expected: NDArray[np.float64] | Later | None
    contributions: NDArray[np.float32] | Later | None
    level: NDArray[np.float64]
    alarm: NDArray[np.float64]
    live: NDArray[np.bool_]
    packed: NDArray[np.float64]
    spans: NDArray[np.intp]
    margins: Callable[[NDArray[np.intp]], NDArray[np.float64] | None] | None = None
    floor: NDArray[np.float64] | None = None
    moved: NDArray[np.float64] | None = None
    budget: NDArray[np.float64] | None = None
    said: NDArray[np.bool_] | None = None
    slack: NDArray[np.float64] | None = None

    def __len__(self) -> int:
        return len(self.rows)

    @property
    def strength(self) -> NDArray[np.float64]:
        """The alarm (B,) as it would be if nobody had said anything."""
        return self.alarm if self.moved is None else self.alarm + self.moved

    def beside(
        self, observations: Observations, rows: NDArray[np.intp], pushed: Pushed, at: NDArray[np.intp]
    ) -> Scored:
        """The same, and in their places among them observations `at` (k,) that were accepted and not scored, of which nothing is said."""
        k = len(at)
        index = np.concatenate([self.index, at])
        order = np.argsort(index, kind="stable")
        place = np.where(order < len(self), order, -1)  # of each in these columns; -1: it is not in them

        def joined(values: NDArray[Any], more: NDArray[Any]) -> NDArray[Any]:
            return np.concatenate([values, more])[order]

        def nothing(values: NDArray[Any]) -> NDArray[Any]:
            return np.full((k, *values.shape[1:]), np.nan, values.dtype)

        def beside(of: NDArray[Any] | Later | None) -> NDArray[Any] | None:
            return None if of is None else joined(np.asarray(of), nothing(np.asarray(of)))

        own = self.margins

        def margins(wanted: NDArray[np.intp]) -> NDArray[np.float64] | None:
            known = place[wanted] >= 0
            found = None if own is None else own(place[wanted][known])
            if found is None:
                return None
            out = np.full((len(wanted), observations.values.shape[1]), np.nan)
            out[known] = found
            return out

        return Scored(
            index=index[order],
            rows=joined(self.rows, rows[at]),
            ordinals=joined(self.ordinals, pushed.ordinals[at]),
            offsets=joined(self.offsets, observations.offsets[at]),
            timestamps=joined(self.timestamps, observations.timestamps[at]),
            observed=joined(self.observed, observations.values[at]),
            raw=joined(self.raw, nothing(self.raw)),
            calibrated=joined(self.calibrated, nothing(self.calibrated)),
            score=joined(self.score, np.zeros(k)),
            expected=beside(self.expected),
            contributions=beside(self.contributions),
            level=joined(self.level, nothing(self.level)),
            alarm=joined(self.alarm, nothing(self.alarm)),
            live=joined(self.live, np.zeros(k, np.bool_)),
            packed=pushed.packed,
            spans=pushed.spans[index[order]],
            margins=None if own is None else margins,
            floor=None if self.floor is None else joined(self.floor, nothing(self.floor)),
            moved=None if self.moved is None else joined(self.moved, np.zeros(k)),
            budget=None if self.budget is None else joined(self.budget, nothing(self.budget)),
        )

    def band(self, at: NDArray[np.intp]) -> tuple[NDArray[np.float64], NDArray[np.float64]] | None:
        """Lower and upper edge (k, C) of the band of observations `at` (k,); None where there is no notion of it."""
        margins = None if self.expected is None or self.margins is None else self.margins(at)
        if margins is None or self.expected is None:
            return None
        lower, upper = self.expected[at] - margins, self.expected[at] + margins
        return lower if self.floor is None else np.maximum(lower, self.floor[at]), upper
