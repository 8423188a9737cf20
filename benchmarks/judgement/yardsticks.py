"""Simple causal scorers that any judgement has to beat: a seasonal robust z-score, and a linear autoregression."""

from __future__ import annotations

import numpy as np

from benchmarks.judgement.figures import runs
from benchmarks.judgement.items import Floats, Item, Told

ORDER = 48
LEVEL = 6.0
"""Robust standard deviations from which on a row is anomalous; chosen by nobody, kept for all."""
_DAY = 86_400_000
_SLOTS = 288


def season_z(item: Item, budget: float) -> Told:
    """Distance from the median of the training part at this time of day (and of the week, from two weeks on), in robust standard deviations of all."""
    step = max(float(np.median(np.diff(item.times))), 1.0)
    weeks = (item.times[item.first - 1] - item.times[0]) / (7 * _DAY)
    whole = 7 * _DAY if weeks >= 2 else _DAY
    slots = int(min(max(whole // step, 1), _SLOTS * whole // _DAY)) if step < _DAY or weeks >= 8 else 1
    slot = ((item.times % whole) * slots // whole).astype(np.int64)
    learnt = slice(0, item.first)
    usual = np.tile(np.median(item.values[learnt], axis=0), (slots, 1))
    for k in np.unique(slot[learnt]):
        usual[k] = np.median(item.values[learnt][slot[learnt] == k], axis=0)
    off = item.values - usual[slot]
    return _told(item, np.abs(off) / _scale(off[learnt], item.values[learnt]))


def ar48(item: Item, budget: float) -> Told:
    """Error of a ridge regression on the 48 rows before (fewer where the training part is short), in robust standard deviations."""
    x = item.values
    order = max(min(ORDER, item.first // 4), 1)
    z = np.zeros_like(x)
    for c in range(x.shape[1]):
        column = x[:, c]
        middle, spread = column[: item.first].mean(), column[: item.first].std() + 1e-12
        scaled = (column - middle) / spread
        past = np.lib.stride_tricks.sliding_window_view(scaled, order)[:-1]  # (n - order, order), the rows before
        now, fitted = scaled[order:], item.first - order
        a = past[:fitted]
        weights = np.linalg.solve(a.T @ a + 1.0 * np.eye(order), a.T @ now[:fitted])
        error = now - past @ weights
        z[order:, c] = np.abs(error) / _scale(error[:fitted], scaled[: item.first])
    return _told(item, z)


def _scale(error: Floats, values: Floats) -> Floats:
    """Robust standard deviation; not below a thousandth of the values' own."""
    return np.asarray(np.maximum(1.4826 * np.median(np.abs(error), axis=0), 1e-3 * values.std(axis=0) + 1e-9))


def _told(item: Item, z: Floats) -> Told:
    score = z.max(axis=1)
    anomalous = score > LEVEL
    anomalous[: item.first] = False
    return Told(score, score, runs(anomalous))
