"""Each channel given all the others: what is left of it when the rest of its row is known.

Channels are taken for mixtures of a few sources, each with noise of its own (factor analysis). What the sources do may be far larger than in the
history, the noise may not: so the sources count as `MORE` times as large, and what they move together cancels however far it goes. With the covariance
as it was, a burst that all channels share would leave in each what the others, noisy as they are, were not trusted to tell.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
MORE = 2.0
"""Variance of the sources, in units of the history's."""
_STEPS, _TRIMMED = 10, 0.03
_LEAST = 2e-4
"""Of a channel's variance: its own noise has this much at least."""


def centre(values: Floats) -> Floats:
    """Mean (C,) of a history (n, C) without what its farthest hundredths would do to it: around it what is left of a row is none, whatever the channels' skew."""
    return np.asarray(np.clip(values, *np.quantile(values, [0.01, 0.99], axis=0)).mean(axis=0))


def fit(x: Floats) -> NDArray[np.float32]:
    """Weights (C, C), 1 on the diagonal: `residual` of a row is weights @ row. Rows far out in any channel are left out once."""
    kept = x
    weights = np.eye(x.shape[1])
    for _ in range(2):
        covariance = np.cov(kept, rowvar=False).reshape(weights.shape)
        size = np.sqrt(np.diag(covariance))
        size = np.where(size > 1e-6, size, 1.0)
        precision = _precision(covariance / np.outer(size, size))
        weights = precision / np.diag(precision)[:, None] * np.outer(size, 1.0 / size)
        left = np.abs((x - kept.mean(axis=0)) @ weights.T)
        far = (left / (np.median(left, axis=0) + 1e-9)).max(axis=1)
        kept = x[far <= np.quantile(far, 1.0 - _TRIMMED)]
    return weights.astype(np.float32)


def _precision(correlation: Floats) -> Floats:
    """Inverse covariance (C, C) of channels whose sources are `MORE` times as large.

    References
    ----------
    Guttman: Image theory for the structure of quantitative variates, Psychometrika 1953 (noise of a channel is at most what all others leave of it; sources are
    the directions in which the channels have more than that); Lawley and Maxwell: Factor analysis as a statistical method, 1971 (the steps).
    """
    C = len(correlation)
    correlation = correlation + 1e-6 * np.eye(C)
    noise = 1.0 / np.diag(np.linalg.inv(correlation))
    sources = np.zeros((C, 0))
    for step in range(_STEPS):
        size, directions = np.linalg.eigh(correlation / np.sqrt(np.outer(noise, noise)))
        if step == 0:
            count = min(int((size > 1.0).sum()), C - 1)
        above = np.sqrt(np.maximum(size[C - count :] - 1.0, 0.0))
        sources = np.sqrt(noise)[:, None] * directions[:, C - count :] * above
        noise = np.maximum(np.diag(correlation) - (sources * sources).sum(axis=1), _LEAST)
    return np.asarray(np.linalg.inv(MORE * sources @ sources.T + np.diag(noise)))


def residual(x: Floats, weights: NDArray[np.float32]) -> Floats:
    """What is left (n, C), by additions of fixed order."""
    out = np.zeros_like(x)
    for c in range(x.shape[1]):
        out += x[:, c : c + 1] * weights[:, c]
    return out
