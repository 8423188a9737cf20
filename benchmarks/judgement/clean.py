"""Fourteen kinds of series in which nothing happens, made up and seeded: stated against measured false alarms."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import numpy as np

from benchmarks.judgement import patterns
from benchmarks.judgement.items import Floats, Item, item
from benchmarks.unseen import planted

Rng = np.random.Generator
LEARNT, JUDGED = 4000, 20_000
"""Rows. The step is 10 minutes: four weeks are learnt from, twenty are judged."""
STEP = 10.0


def _with_noise(kind: str, noise: float) -> Callable[[Rng, Floats], Floats]:
    def make(rng: Rng, t: Floats) -> Floats:
        return np.asarray(planted.NORMAL[kind](rng, t) + rng.normal(0, noise, len(t)))

    return make


def _heavy(rng: Rng, t: Floats) -> Floats:
    return rng.standard_t(3, len(t))


def _percentage(rng: Rng, t: Floats) -> Floats:
    """Near 100, never above it."""
    return 100.0 - np.minimum(rng.gamma(1.5, 0.8, len(t)), 100.0)


def _seldom(rng: Rng, t: Floats) -> Floats:
    """Counts that are mostly 0."""
    return rng.poisson(0.15, len(t)).astype(np.float64)


def _multiplied(rng: Rng, t: Floats) -> Floats:
    """A daily season whose noise grows with it."""
    level = 1.2 + np.sin(2 * np.pi * t / 1440)
    return level * np.exp(rng.normal(0, 0.15, len(t)))


KINDS: dict[str, Callable[[Rng, Floats], Floats]] = {
    "flat": _with_noise("flat", 1.0),
    "daily": _with_noise("daily", 0.2),
    "business": _with_noise("business", 0.2),
    "cycle": _with_noise("cycle", 0.1),
    "wander": _with_noise("wander", 0.1),
    "load": _with_noise("load", 0.1),
    "counts": _with_noise("counts", 0.0),
    "pulses": _with_noise("pulses", 0.1),
    "heavy tails": _heavy,
    "percentage": _percentage,
    "seldom": _seldom,
    "noise in proportion": _multiplied,
    "growing season": patterns.growing,
    "growing disk": patterns.disk,
}


def clean(seed: int) -> Iterator[Item]:
    """One item of each kind, named by it."""
    n = LEARNT + JUDGED
    for k, (name, make) in enumerate(KINDS.items()):
        rng = np.random.default_rng([seed, 400 + k])
        yield item("clean", f"{name}, {seed}", STEP, make(rng, np.arange(n) * STEP), np.zeros(n, np.bool_), LEARNT)
