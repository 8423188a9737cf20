"""What is known of an observation before it is judged, against one series' story told slowly."""

from __future__ import annotations

import random
from collections import defaultdict
from itertools import pairwise

import numpy as np
import pytest
from numpy_budget import rows_of_budgets

from detectors.budget import parse
from detectors.budget_threshold import as_compiled
from detectors.compiling import NEWS, compiled
from pipeline.steps.judgement import LONG_AFTER, STEPS

SERIES, N = 4, 400
BUDGETS = [parse("1 per week"), parse("2 per series per day"), parse("1 per 500 rows")]
UNTIL = (0, 0, 40_000, 10**9)
"""Up to when each series' history goes."""
FIELDS = {"until": (), "step": (), "last": (), "steps": (STEPS,), "negative": (2,)}


def log(seed: int) -> tuple[list[tuple[int, int, list[float], int, int]], list[tuple[int, int, int]]]:
    """(series, time, values, budget, living) of each; (place, series, usual step) where one was found."""
    chance = random.Random(seed)
    at = dict.fromkeys(range(SERIES), chance.choice((50_000, 500_000)))
    rows, changes = [], []
    for place in range(N):
        of = chance.randrange(SERIES)
        at[of] += chance.choice((900, 1000, 1000, 1100, 30_000))
        values = [chance.choice((0.0, 1.0, -1.0)) if chance.random() < 0.05 else 1.0 for _ in range(2)]
        rows.append((of, at[of], values, chance.randrange(3), 1 + place // 100))
        if place > 200 and chance.random() < 0.1:
            changes.append((place, of, chance.choice((0, 700, 1000, 1200, 5000))))
    return rows, changes


@pytest.mark.parametrize("seed", range(6))
@pytest.mark.parametrize("several", [False, True])
def test_every_cut_of_a_log_equals_one_observation_at_a_time(seed: int, several: bool) -> None:
    rows, changes = log(seed)
    found = {place: step for place, _, step in changes}
    times, steps, below = defaultdict(list), dict.fromkeys(range(SERIES), 0), defaultdict(set)
    expected = []
    for place, (of, time, values, which, living) in enumerate(rows):
        times[of].append(time)
        nth, until = len(times[of]), UNTIL[of]
        if 1 < nth <= STEPS + 1 and not until:
            between = sorted(b - a for a, b in pairwise(times[of]))
            steps[of] = between[len(between) // 2]
        if (step := found.get(place)) and not -(steps[of] // 4) <= step - steps[of] <= steps[of] // 4:
            steps[of] = step
        below[of] |= {c for c, v in enumerate(values) if v < 0}
        anew = nth == 1 and bool(until) and steps[of] > 0 and time - until > LONG_AFTER * steps[of]
        floor = [-np.inf if c in below[of] else 0.0 for c in range(2)]
        own = np.array([which]) if several else None
        budget = rows_of_budgets(BUDGETS, own, np.array([steps[of]]), living)
        expected.append((not until or time > until, anew, float(budget[0]), floor))

    chance = random.Random(seed)
    cuts = sorted(chance.sample(range(1, N), 9))
    kept = {name: np.zeros((SERIES, *shape), np.uint8 if name == "negative" else np.int64) for name, shape in FIELDS.items()}  # fmt: skip
    kept["until"][:] = UNTIL
    nth, got = [0] * SERIES, []
    for a, b in pairwise([0, *cuts, N]):
        ordinals = [nth.__setitem__(of, nth[of] + 1) or nth[of] for of, *_ in rows[a:b]]
        of, time, values, which, living = (np.array(column) for column in zip(*rows[a:b], strict=True))
        here = np.array([(p - a, r, s) for p, r, s in changes if a <= p < b], np.int64).reshape(-1, 3)
        news, anew = np.empty(b - a, np.bool_), np.zeros(b - a, np.bool_)
        budget, floor = np.empty(b - a), np.empty((b - a, 2))
        compiled(NEWS)(
            *(as_compiled(BUDGETS), of, time, np.array(ordinals), values),
            *(which if several else which[:0], living, np.arange(b - a), here),
            *kept.values(),
            *(news, anew, budget, floor),
        )
        got += list(zip(news.tolist(), anew.tolist(), budget.tolist(), floor.tolist(), strict=True))
    assert got == expected
    assert kept["step"].tolist() == list(steps.values())
