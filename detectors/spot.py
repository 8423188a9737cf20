"""SPOT and DSPOT as the paper has them: all peaks kept, Grimshaw's maximum likelihood, one series, offline.

For judging scores of a recorded series, and as the measure of `detectors.thresholds.PotThreshold`, which does with two sums
what this does with every peak.

References
----------
Siffer, Fouque, Termier, Largouet: Anomaly Detection in Streams with Extreme Value Theory. KDD 2017, algorithms 1 to 3.
Grimshaw: Computing Maximum Likelihood Estimates for the Generalized Pareto Distribution. Technometrics 1993.

Examples
--------
>>> import numpy as np
>>> scores = np.random.default_rng(0).exponential(size=5000)
>>> scores[4000] = 30.0
>>> levels = spot(scores, probability=1e-5, first=1000)
>>> np.flatnonzero(scores[1000:] > levels) + 1000
array([4000])
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import brentq

from detectors.base import DetectorError

_GRID = 40
_NEAR = 1e-8


def spot(
    scores: NDArray[np.float64], *, probability: float, first: int = 1000, peak_quantile: float = 0.98
) -> NDArray[np.float64]:
    """The level z_q that holds for each score after the first batch: `score > level` is anomalous.

    Parameters
    ----------
    scores : (n,)
        High means anomalous, in the order of time.
    probability
        q: the tail probability that is anomalous.
    first
        Scores of the first batch, from which t and the first level come.
    peak_quantile
        t is this quantile of the first batch.

    Returns
    -------
    (n - first,) float64

    Raises
    ------
    DetectorError
        The first batch is not shorter than the series, or has no peaks.
    """
    _check(scores, first)
    tail = _Tail(scores[:first], probability, peak_quantile)
    levels = np.empty(len(scores) - first)
    for i, score in enumerate(scores[first:].tolist()):
        levels[i] = tail.level
        tail.take(score)
    return levels


def dspot(
    scores: NDArray[np.float64], *, probability: float, depth: int, first: int = 1000, peak_quantile: float = 0.98
) -> NDArray[np.float64]:
    """`spot` for scores that drift: of each, the mean of the last `depth` normal ones is taken off first.

    The first batch follows the first `depth` scores, so levels are given for the n - depth - first scores after it, in
    the unit of the scores. Raises DetectorError as `spot` does.
    """
    _check(scores, first + depth)
    total = np.cumsum(np.concatenate([[0.0], scores]))
    means = (total[depth:-1] - total[: -depth - 1]) / depth  # of the `depth` scores before each
    tail = _Tail(scores[depth : depth + first] - means[:first], probability, peak_quantile)
    recent = scores[first : first + depth].tolist()
    levels = np.empty(len(scores) - depth - first)
    for i, score in enumerate(scores[depth + first :].tolist()):
        mean = sum(recent) / depth
        levels[i] = mean + tail.level
        if tail.take(score - mean):
            recent = [*recent[1:], score]
    return levels


class _Tail:
    """The peaks seen so far and the level that follows from them."""

    def __init__(self, batch: NDArray[np.float64], probability: float, peak_quantile: float) -> None:
        self.probability = probability
        self.threshold = float(np.quantile(batch, peak_quantile))
        self.peaks = (batch[batch > self.threshold] - self.threshold).tolist()
        self.n = len(batch)
        if not self.peaks:
            msg = f"the first {len(batch)} scores have no peaks over their {peak_quantile} quantile; give a longer first batch"
            raise DetectorError(msg)
        self._fit()

    def take(self, score: float) -> bool:
        """Learn a score, unless it is anomalous; says whether it was learnt."""
        if score > self.level:
            return False
        self.n += 1
        if score > self.threshold:
            self.peaks.append(score - self.threshold)
            self._fit()
        return True

    def _fit(self) -> None:
        gamma, sigma = fit_pareto(np.array(self.peaks))
        ratio = np.log(self.probability * self.n / len(self.peaks))
        excess = -sigma * ratio if abs(gamma) < _NEAR else sigma / gamma * np.expm1(-gamma * ratio)
        self.level = self.threshold + float(excess)


def fit_pareto(peaks: NDArray[np.float64]) -> tuple[float, float]:
    """Shape gamma and scale sigma of the generalised Pareto distribution that makes positive peaks (N,) most likely.

    Grimshaw's trick: the two-dimensional maximum lies where u(x) v(x) = 1, with u(x) = mean(1 / (1 + x y)) and
    v(x) = 1 + mean(log(1 + x y)); then gamma = v(x) - 1 and sigma = gamma / x. The roots are looked for on a grid over
    (-1 / max, 0) and (0, 2 (mean - min) / min^2), and the likeliest of them and of the exponential distribution is taken.

    Departure: the authors' program bounds positive roots from below by 2 (mean - min) / (mean min), which shuts out heavy tails whose
    smallest peak is small; Grimshaw's own bound is 0.
    """
    least, most, mean = float(peaks.min()), float(peaks.max()), float(peaks.mean())
    best = (0.0, mean)
    likelihood = _log_likelihood(peaks, 0.0, mean)
    for x in _roots(peaks, least, most, mean):
        gamma = float(np.log1p(x * peaks).mean())
        sigma = gamma / x
        if sigma > 0 and (found := _log_likelihood(peaks, gamma, sigma)) > likelihood:
            best, likelihood = (gamma, sigma), found
    return best


def _roots(peaks: NDArray[np.float64], least: float, most: float, mean: float) -> list[float]:
    def excess(x: float) -> float:
        return float((1.0 / (1.0 + x * peaks)).mean() * (1.0 + np.log1p(x * peaks).mean()) - 1.0)

    near = _NEAR / mean
    toward_pole = -(1.0 - np.geomspace(_NEAR, 0.5, _GRID)) / most
    toward_zero = -np.geomspace(0.5 / most, near, _GRID)
    grids = [np.concatenate([toward_pole, toward_zero])]
    upper = 2.0 * (mean - least) / max(least, 1e-12 * mean) ** 2
    if upper > near:
        grids.append(np.geomspace(near, upper, 2 * _GRID))
    roots = []
    for grid in grids:
        values = [excess(x) for x in grid.tolist()]
        for a, b, fa, fb in zip(grid[:-1], grid[1:], values[:-1], values[1:], strict=True):
            if a < b and fa * fb < 0:
                roots.append(float(brentq(excess, a, b, xtol=1e-14 / mean)))
    return roots


def _log_likelihood(peaks: NDArray[np.float64], gamma: float, sigma: float) -> float:
    if abs(gamma) < _NEAR:
        return float(-len(peaks) * np.log(sigma) - peaks.sum() / sigma)
    return float(-len(peaks) * np.log(sigma) - (1.0 + 1.0 / gamma) * np.log1p(gamma / sigma * peaks).sum())


def _check(scores: NDArray[np.float64], needed: int) -> None:
    if len(scores) <= needed:
        msg = f"{len(scores)} scores, of which {needed} are the first batch: more are needed, or a shorter batch"
        raise DetectorError(msg)
