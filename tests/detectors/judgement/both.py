"""One series judged by the compiled rows, as the product does it, and by the numpy version."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from detectors.judgement.population import Population, Said
from detectors.judgement.reference import Judge
from detectors.judgement.state import Learnt, State

T0 = 1_704_067_200_000


def by_the_product(values: NDArray[np.float64], first: int, step: int, budget: float) -> tuple[Said, NDArray[Any]]:
    """What is said of rows (n, C) behind the first, which are learnt from, and the record behind them."""
    times = T0 + np.arange(len(values)) * step
    population = Population.fit({"a": (times[:first], values[:first])}, budget_rows=budget)
    states = np.zeros(1, population.state_dtype)
    population.begin(states, np.zeros(1, np.intp), ["a"])
    rows = np.zeros(len(values) - first, np.intp)
    return population.step(states, rows, values[first:], times[first:], 0, budget), states


def by_numpy(values: NDArray[np.float64], first: int, step: int, budget: float) -> tuple[Any, Learnt, State, State]:
    """The same by `reference`; what was learnt, and the state before and behind."""
    times = T0 + np.arange(len(values)) * step
    judge, state = Judge.fit(times[:first], values[:first], budget=budget)
    said, after = judge.step(state, times[first:], values[first:])
    return said, judge, state, after
