"""How rare a term is in the recent past of its own series, and from where on that is an alarm.

Each term keeps counts of its last few thousand values in bins of a quarter of an octave: 64 bytes, no stored scores. Up to the 98 % quantile rarity is
the rank; beyond it a generalised Pareto tail of fixed shape whose scale comes from the body, never from the highest values: after two true alarms a third
of the same size must pass. What lies beyond the alarm's own level is not learnt.
"""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
Counts = NDArray[np.uint16]
BINS = 32
LOWEST, WIDTH = -4.0, 0.25
"""Of the bins, in octaves of the term's frozen 99 % quantile: 1/16 to 16."""
REMEMBERED = 4096
SHAPE, LEAST_SHAPE = 0.2, 0.02
"""Of a tail, and as which it is reckoned up to the level where it has shown not to be heavy. Means are not asked: they say too little that is new."""
NARROWED = (0.1, 20.0)
"""Decades beyond the 98 % quantile at which it may be."""
FARTHER, BEYOND, BEGUN = 1000.0, (1.0, 1.6), (1.5, 1.0)
"""Where an exponential tail would have one row in so many: beyond that lie as many rows, in units of what it would have, as make a tail not heavy and heavy. Rows to begin with,
seen and expected: few have shown nothing."""
WIDE_TAIL = (0.2, 0.8)
"""Scales in units of the 98 % quantile that make a tail not heavy and heavy, too: .15 is noise's, .26 an exponential's."""
BODY = (0.98, 0.995)
EDGE = -math.log10(1.0 - BODY[0])
"""Rarity from which on a term's tail begins."""
PRIOR = (0.93, 1.12)
"""Of a normal term: its 98 and 99.5 % quantile in units of its 99 % quantile."""
PRIOR_ROWS = 60.0
WIDER = 10.0
"""Few scores have hardly shown what is normal, those of means least of all: of n rows apart, a normal term is taken for 1 + this / (n + 5) times as wide."""
THIN = 0.12
"""Of the 98 % quantile: the least scale of a tail; that of normal noise is .15. A term whose largest values are all of one size has shown no tail."""
SLACK = 0.4
"""Decades by which runs of several rows make one alert of many."""
TAUGHT = (4.0, 2.0)
"""Rows that an excursion beyond the 98 % quantile teaches at most: so many, or so many clusters. A long outage that is hardly let pass would else be the
tail behind which the next one hides."""
TOP, OFTEN = 4, 12
"""Highest bins, and rows by which what is seen now and then is told from what never was: where more than so many are in them, the slow scale of their term falls
no more. Where few rows are off, the mean of bounded sizes would leave them behind for ever."""
IDLE = 0.75
"""Share of a term's rows in the lowest bin from which on it is mostly nothing: that of noise has an eighth of them there, one of heavy tails a quarter."""
LONGEST_OUT = 1000
"""Rows of an excursion that are counted; each row within takes one off again."""
RAISED = 0.3
"""Decades by which an alert beyond the budget raises the bar of its series for the next."""
FREE = 1.0
"""Alerts that raise nothing: what the budget expects in one period."""
AFTERMATH = 1.0
"""Decades by which the bar of a series is higher right behind an alert. It falls evenly for half a day: what comes then is mostly what the alert was about, on
its way back or swinging on, and what is ten times as rare is told all the same."""
LEAST_AFTER, MOST_AFTER = 5, 1000
"""Rows of that half a day."""


def raised(debt: float) -> float:
    """The bar, in decades beyond the level, of a series that has alarmed by so much more often than its budget."""
    return RAISED * max(debt, 0.0)


def after(rows_a_day: float) -> int:
    """Rows for which the bar is higher behind an alert."""
    return int(np.clip(rows_a_day / 2.0, LEAST_AFTER, MOST_AFTER))


def aftermath(calm: int, rows_a_day: float) -> float:
    """By how much, in decades; `calm` is below -1 by the rows that are left of it."""
    return AFTERMATH * max(-1 - calm, 0) / after(rows_a_day)


def counted(u: Floats) -> NDArray[np.intp]:
    """Bin of values in units of the term's 99 % quantile."""
    place = (np.log2(np.maximum(u, 1e-9)) - LOWEST) / WIDTH
    return np.clip(np.floor(place), 0, BINS - 1).astype(np.intp)


def body(counts: Counts, anew: Floats) -> Floats:
    """98 % quantile and scale (T, 2) of the tails of terms with these counts (T, BINS), which say something new after so many rows (T,).

    Few scores are blended with a normal term that is wider: two days of a mean over a quarter of a day are four scores, however many rows they have.
    """
    total = counts.sum(axis=1, dtype=np.int64)
    apart = total / anew
    below = np.cumsum(counts, axis=1, dtype=np.int64)
    put, found = np.arange(len(counts)), np.empty((2, len(counts)))
    w = apart / (apart + PRIOR_ROWS)
    for k in range(2):
        rank = BODY[k] * total
        b = np.argmax(below >= rank[:, None], axis=1)
        inside = (rank - (below[put, b] - counts[put, b])) / np.maximum(counts[put, b], 1)
        prior = PRIOR[k] * (1.0 + WIDER / (apart + 5.0))
        found[k] = w * np.exp2(LOWEST + WIDTH * (b + inside)) + (1.0 - w) * prior
    return np.stack([found[0], np.maximum((found[1] - found[0]) / np.log(4.0), THIN * found[0])], axis=1)


def forgotten(counts: Counts) -> NDArray[np.bool_]:
    """Halve the counts of those terms that have seen enough, in place; which these are (T,)."""
    full = np.asarray(counts.sum(axis=1, dtype=np.int64) >= REMEMBERED)
    counts[full] //= 2
    return full


def narrowness(counts: Counts, tails: Floats, levels: Floats) -> Floats:
    """By what share (T,) the scales of `body`'s tails (T, 2) of these counts (T, BINS) are less where a tail has shown not to be heavy: up to `levels` (T,) it is all but exponential.

    Both the body and what lies beyond it must say so; what comes seldom, and in one size, is not taken for noise, nor is a term that is mostly nothing.
    Far beyond the level decades are as many as in a heavy tail.
    """
    start, scale = tails.T
    place = np.clip((np.log2(start + np.log(FARTHER * (1.0 - BODY[0])) * scale) - LOWEST) / WIDTH, 0.0, BINS - 1.0)
    b = np.floor(place).astype(np.intp)
    beyond = np.where(np.arange(BINS) > b[:, None], counts, 0).sum(axis=1, dtype=np.int64)
    beyond = beyond + counts[np.arange(len(counts)), b] * (b + 1.0 - place)
    seen = (beyond + BEGUN[0]) / (counts.sum(axis=1, dtype=np.int64) / FARTHER + BEGUN[1])
    heavy = np.maximum(_from_to(seen, BEYOND), _from_to(scale / start, WIDE_TAIL))
    k, decades = LEAST_SHAPE + (SHAPE - LEAST_SHAPE) * heavy, np.clip(levels - EDGE, *NARROWED)
    return np.where(idle(counts), 0.0, 1.0 - _far(k, decades) / _far(SHAPE, decades))


def _far(shape: Floats | float, decades: Floats) -> Floats:
    """How many scales beyond its start a tail of this shape has one in so many decades fewer."""
    return np.asarray((np.exp(shape * decades * np.log(10.0)) - 1.0) / shape)


def _from_to(x: Floats, ends: tuple[float, float]) -> Floats:
    """Where x lies between two numbers, 0 to 1."""
    return np.clip((x - ends[0]) / (ends[1] - ends[0]), 0.0, 1.0)


def rarity(u: Floats, tails: Floats) -> Floats:
    """-log10 of the tail probability (T, n) of values (T, n) under tails (T, 2)."""
    start, scale = tails[:, :1], tails[:, 1:]
    beyond = np.maximum(u - start, 0.0) / scale
    inside = EDGE * np.minimum(u / start, 1.0)
    return np.asarray(inside + np.log10(1.0 + SHAPE * beyond) / SHAPE)


def crowded(counts: Counts) -> NDArray[np.bool_]:
    """Which terms (T,) with these counts (T, BINS) have often been as far out as is told apart."""
    return np.asarray(counts[:, -TOP:].sum(axis=1, dtype=np.int64) > OFTEN)


def idle(counts: Counts) -> NDArray[np.bool_]:
    """Which terms (T,) with these counts (T, BINS) are mostly nothing."""
    return np.asarray(counts[:, 0] > IDLE * counts.sum(axis=1, dtype=np.int64))


def reach(tails: Floats, beyond: Floats) -> Floats:
    """From which value on (T,) terms with these tails (T, 2) are as rare as `beyond` (T,)."""
    over = np.exp(SHAPE * np.maximum(beyond - EDGE, 0.0) * np.log(10.0)) - 1.0
    return np.asarray(tails[:, 0] + tails[:, 1] * (over / SHAPE))


def levels(budget: float, clusters: Floats) -> Floats:
    """Rarity (T,) from which on a term tells, for one false alert in `budget` rows of all terms together; not laxer than one row in 200."""
    rows = np.maximum(budget, 200.0)
    return np.asarray(np.log10(rows * len(clusters) / clusters) - SLACK)
