"""The judgement as arrays (`detectors.judgement`), learnt from the item's training part, then step by step."""

from __future__ import annotations

import numpy as np

from benchmarks.judgement.figures import runs
from benchmarks.judgement.items import Item, Told
from detectors.judgement.engine import Judge


def judged(item: Item, budget: float) -> Told:
    """Its score, by how much its alarm's level is passed, and its alerts."""
    known = slice(0, item.first)
    judge, state = Judge.fit(item.times[known], item.values[known], budget=budget)
    said, _ = judge.step(state, item.times[item.first :], item.values[item.first :])
    nothing = np.full(item.first, np.nan)
    anomalous = np.r_[np.zeros(item.first, np.bool_), said.anomalous]
    return Told(np.r_[nothing, said.score], np.r_[nothing, said.strength], runs(anomalous))
