"""The Numenta Anomaly Benchmark's score: early detections earn more, each false one costs.

    sigmoid    +1 ┌──────╮ window               one detection in a window counts, the best (earliest) one;
                0 │- - - -╲- - - - - - - -      a window without costs its false-negative weight;
               -1 │        ╰────────────        each detection outside costs more, the farther behind a window

Rows of the probation are not scored. The threshold is swept over the whole corpus, one for all files, per profile, and
the total is put between 0 (a detector that never speaks) and 100 (every window's first row, nothing else). Agrees with
NAB's own tool (v1.1) to the last printed digit on its published scores.

References
----------
Lavin, Ahmad: Evaluating real-time anomaly detection algorithms, the Numenta Anomaly Benchmark, ICMLA 2015.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

PROBATION_SHARE = 0.15
PROBATION_LIMIT = 750


class Profile(NamedTuple):
    """Weights of one of NAB's application profiles."""

    true_positive: float
    false_negative: float
    false_positive: float


PROFILES: Mapping[str, Profile] = {
    "standard": Profile(1.0, 1.0, 0.11),
    "reward_low_FP_rate": Profile(1.0, 1.0, 0.22),
    "reward_low_FN_rate": Profile(1.0, 2.0, 0.11),
}


@dataclass(frozen=True, slots=True)
class NabLabels:
    """What each row of one file is worth, before weighting.

    Attributes
    ----------
    window : (n,) intp
        Number of the labelled window that a row lies in; -1 outside.
    worth : (n,) float64
        In a window 0..1, falling with the position; outside -1..0, falling with the distance behind the last window.
    probation
        Rows at the beginning that are not scored.
    windows
        How many windows the file has.
    """

    window: NDArray[np.intp]
    worth: NDArray[np.float64]
    probation: int
    windows: int


@dataclass(frozen=True, slots=True)
class NabScore:
    """A profile's result: the normalised score, at the threshold that gives the best one, and what it is made of."""

    score: float
    threshold: float
    windows: int
    found: int
    false_positives: int


def probation(n: int) -> int:
    """Rows at the beginning of a series of n that train and are not scored: 15 %, at most 750."""
    return min(int(PROBATION_SHARE * n), PROBATION_LIMIT)


def labels(timestamps: NDArray[np.int64], windows: Sequence[tuple[int, int]]) -> NabLabels:
    """Worth of each row of a file from its labelled windows.

    Parameters
    ----------
    timestamps : (n,) int64
        Of the rows, in file order, any unit; repeated ones are legal.
    windows
        [first, last] time stamps, both included, in the same unit, in order.
    """
    n = len(timestamps)
    window = np.full(n, -1, np.intp)
    worth = np.full(n, -1.0)
    top = float(_sigmoid(np.array([-1.0]))[0])
    for number, (left, right) in enumerate(windows):
        first, last = _row_of(timestamps, left, at_least=True), _row_of(timestamps, right, at_least=False)
        if last < first:
            continue
        width = last - first + 1
        inside = np.arange(first, last + 1)
        window[inside] = number
        worth[inside] = _sigmoid(-(last - inside + 1) / width) / top
        after = np.arange(last + 1, n)
        worth[after] = _sigmoid((after - last) / max(width - 1, 1))
    return NabLabels(window, worth, probation(n), len(windows))


def sweep(files: Sequence[tuple[NDArray[np.float64], NabLabels]]) -> dict[str, NabScore]:
    """Scores of a corpus for each profile, each with the threshold that serves it best.

    Parameters
    ----------
    files
        Anomaly scores (n,), high means anomalous, and labels of each file. NaN is the lowest score.

    Returns
    -------
    dict
        Profile's name -> score. A row is a detection where its score is at least the threshold.
    """
    scores, found, earned, false, cost, total = _changes(files)
    order = np.argsort(-scores, kind="stable")
    falling = scores[order]
    # Only after the last of equal scores has a threshold been passed; -inf (never scored) can be no threshold.
    end = np.flatnonzero(np.r_[falling[1:] != falling[:-1], True] & (falling > -np.inf))
    n_found, n_false = np.cumsum(found[order])[end], np.cumsum(false[order])[end]
    sum_earned, sum_cost = np.cumsum(earned[order])[end], np.cumsum(cost[order])[end]
    out = {}
    for name, weights in PROFILES.items():
        value = _normalised(weights, total, n_found, sum_earned, sum_cost)
        best = int(np.argmax(value)) if len(value) else -1
        if best < 0 or value[best] < 0.0:
            out[name] = NabScore(0.0, float("inf"), total, 0, 0)
        else:
            out[name] = NabScore(
                float(value[best]), float(falling[end[best]]), total, int(n_found[best]), int(n_false[best])
            )
    return out


def score_at(files: Sequence[tuple[NDArray[np.float64], NabLabels]], threshold: float) -> dict[str, NabScore]:
    """As `sweep`, with one given threshold for all profiles: what the product's own setting is worth."""
    marked = [(np.where(scores >= threshold, 1.0, np.nan), label) for scores, label in files]
    marks, found, earned, false, cost, total = _changes(marked)
    on = marks > 0
    counts = np.array([found[on].sum()]), np.array([earned[on].sum()]), np.array([cost[on].sum()])
    return {
        name: NabScore(
            float(_normalised(weights, total, *counts)[0]), threshold, total, int(counts[0][0]), int(false[on].sum())
        )
        for name, weights in PROFILES.items()
    }


def _normalised(
    weights: Profile,
    windows: int,
    found: NDArray[np.float64],
    earned: NDArray[np.float64],
    cost: NDArray[np.float64],
) -> NDArray[np.float64]:
    """0 for silence, 100 for each window's first row and nothing else."""
    if not windows:
        return np.full(len(found), np.nan)
    value = weights.true_positive * earned + weights.false_positive * cost - weights.false_negative * (windows - found)
    nothing = -weights.false_negative * windows
    return np.asarray(100.0 * (value - nothing) / (weights.true_positive * windows - nothing))


def _changes(
    files: Sequence[tuple[NDArray[np.float64], NabLabels]],
) -> tuple[
    NDArray[np.float64],
    NDArray[np.float64],
    NDArray[np.float64],
    NDArray[np.float64],
    NDArray[np.float64],
    int,
]:
    """All scored rows of the corpus: score, and by how much the sums change when the threshold falls to it.

    In a window the best row so far counts, so a row changes the sum by what it exceeds the better-scored rows by.
    """
    scores, found, earned, false, cost = [], [], [], [], []
    total = 0
    for raw, label in files:
        if len(raw) != len(label.window):
            msg = f"{len(raw)} scores for {len(label.window)} rows"
            raise ValueError(msg)
        s = np.where(np.isnan(raw), -np.inf, raw)[label.probation :]
        window, worth = label.window[label.probation :], label.worth[label.probation :]
        new, gain = np.zeros(len(s)), np.zeros(len(s))
        for number in range(label.windows):
            rows = np.flatnonzero(window == number)
            if not len(rows):
                continue
            rows = rows[np.argsort(-s[rows], kind="stable")]
            so_far = np.maximum.accumulate(worth[rows])
            gain[rows] = np.diff(so_far, prepend=0.0)
            new[rows[0]] = 1.0
        outside = window < 0
        scores.append(s)
        found.append(new)
        earned.append(gain)
        false.append(outside.astype(np.float64))
        cost.append(np.where(outside, worth, 0.0))
        total += label.windows
    if not scores:
        empty = np.empty(0)
        return empty, empty, empty, empty, empty, 0
    joined = (np.concatenate(part) for part in (scores, found, earned, false, cost))
    s, f, e, x, c = joined
    return s, f, e, x, c, total


def _row_of(timestamps: NDArray[np.int64], time: int, *, at_least: bool) -> int:
    """First row with this very time stamp, as NAB takes it; else the first after (or the last before) it."""
    exact = np.flatnonzero(timestamps == time)
    if len(exact):
        return int(exact[0])
    if at_least:
        later = np.flatnonzero(timestamps > time)
        return int(later[0]) if len(later) else len(timestamps)
    earlier = np.flatnonzero(timestamps < time)
    return int(earlier[-1]) if len(earlier) else -1


def _sigmoid(position: NDArray[np.float64]) -> NDArray[np.float64]:
    """NAB's scaled sigmoid: about 1 at a window's left end (-1), 0 at its right end, -1 from three widths behind on."""
    return np.where(position > 3.0, -1.0, 2.0 / (1.0 + np.exp(5.0 * np.minimum(position, 4.0))) - 1.0)
