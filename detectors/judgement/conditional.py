"""Each channel given all the others: what is left of it when the rest of its row is known."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
_SHRINK = 0.002


def fit(x: Floats) -> NDArray[np.float32]:
    """Weights (C, C), 1 on the diagonal: `residual` of a row is weights @ row. Rows far out in any channel are left out once."""
    C = x.shape[1]
    kept = x
    weights = np.eye(C)
    for _ in range(2):
        covariance = np.cov(kept, rowvar=False).reshape(C, C)
        ridge = _SHRINK * np.trace(covariance) / C + 1e-9 + np.diag(covariance) * (C / len(kept))
        precision = np.linalg.inv(covariance + np.diag(np.broadcast_to(ridge, C)))
        weights = precision / np.diag(precision)[:, None]
        left = np.abs((x - x.mean(axis=0)) @ weights.T)
        far = (left / (np.median(left, axis=0) + 1e-9)).max(axis=1)
        kept = x[far <= np.quantile(far, 0.97)]
    return weights.astype(np.float32)


def residual(x: Floats, weights: NDArray[np.float32]) -> Floats:
    """What is left (n, C), by additions of fixed order."""
    out = np.zeros_like(x)
    for c in range(x.shape[1]):
        out += x[:, c : c + 1] * weights[:, c]
    return out
