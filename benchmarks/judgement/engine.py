"""The judgement as arrays (`detectors.judgement`), learnt from the item's training part, then judged in one call."""

from __future__ import annotations

import numpy as np

from benchmarks.judgement.figures import runs
from benchmarks.judgement.items import Item, Told
from detectors.judgement.population import Population, Said
from detectors.judgement.zones import offsets


def said(item: Item, budget: float) -> Said:
    """What is said of its rows behind those that are learnt from."""
    known = slice(0, item.first)
    off = offsets(item.time_zone, item.times)
    history = {"": (item.times[known], item.values[known])}
    population = Population.fit(history, budget_rows=budget, offset_ms={"": off[known]})
    states = np.zeros(1, population.state_dtype)
    population.begin(states, np.zeros(1, np.intp), [""])
    rows = np.zeros(len(item.times) - item.first, np.intp)
    return population.step(states, rows, item.values[item.first :], item.times[item.first :], off[item.first :], budget)


def judged(item: Item, budget: float) -> Told:
    """Its score, by how much its alarm's level is passed, and its alerts."""
    found = said(item, budget)
    nothing = np.full(item.first, np.nan)
    anomalous = np.r_[np.zeros(item.first, np.bool_), found.anomalous]
    return Told(np.r_[nothing, found.score], np.r_[nothing, found.strength], runs(anomalous))
