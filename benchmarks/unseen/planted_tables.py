"""Made-up tables with planted anomalies, seeded: each kind of table that some detector cannot judge, beside what `planted.py` has of metrics.

Anomalies are mixed among all rows, those included that are learnt from: first rows of a table are seldom clean.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
from numpy.typing import NDArray

from producers.datasets import Dataset, Labels, Series

Rng = np.random.Generator
Array = NDArray[Any]
Made = tuple[list[Array], NDArray[np.bool_]]
"""Columns, and which rows are anomalous."""


def _mixed(rng: Rng, normal: Array, odd: Array) -> Made:
    """Rows (n, C) and anomalous ones in one random order."""
    rows = np.concatenate([normal, odd])
    order = rng.permutation(len(rows))
    return list(rows[order].T), np.r_[np.zeros(len(normal), np.bool_), np.ones(len(odd), np.bool_)][order]


def _clusters(rng: Rng, n: int, odd: int) -> Made:
    """Eight clusters; anomalies anywhere between."""
    rows = rng.uniform(-6, 6, (8, 6))[rng.integers(8, size=n)] + rng.normal(0, 0.5, (n, 6))
    return _mixed(rng, rows, rng.uniform(-7, 7, (odd, 6)))


def _broken(rng: Rng, n: int, odd: int) -> Made:
    """Twenty columns of four causes; in anomalies three columns hold the values of other rows."""
    rows = rng.normal(size=(n, 4)) @ rng.normal(size=(4, 20)) + rng.normal(0, 0.3, (n, 20))
    bad = rows[rng.integers(n, size=odd)].copy()
    for row in bad:
        at = rng.choice(20, 3, replace=False)
        row[at] = rows[rng.integers(n, size=3), at]
    return _mixed(rng, rows, bad)


def _heavy(rng: Rng, n: int, odd: int) -> Made:
    """Twelve columns with wild values; anomalies are out a little in all of them."""
    bad = rng.standard_t(2, (odd, 12)) + rng.choice([-2.5, 2.5], (odd, 12))
    return _mixed(rng, rng.standard_t(2, (n, 12)), bad)


def _amounts(rng: Rng, n: int, odd: int) -> Made:
    """Amounts over several orders of magnitude that go together; in anomalies otherwise."""
    rows, bad = (rng.normal(size=(k, 3)) @ rng.normal(size=(3, 10)) + rng.normal(0, 0.5, (k, 10)) for k in (n, odd))
    return _mixed(rng, np.exp(rows), np.exp(bad))


def _one_column(rng: Rng, n: int, odd: int) -> Made:
    """Thirty columns, of which an anomaly is out in one."""
    bad = rng.normal(size=(odd, 30))
    bad[np.arange(odd), rng.integers(30, size=odd)] += rng.choice([-6.0, 6.0], odd)
    return _mixed(rng, rng.normal(size=(n, 30)), bad)


def _ring(rng: Rng, n: int, odd: int) -> Made:
    """Normal rows lie on a ring, anomalies in its middle."""
    turn = rng.uniform(0, 2 * np.pi, n)
    rows = 3 * np.c_[np.cos(turn), np.sin(turn), np.cos(2 * turn), np.sin(2 * turn)] + rng.normal(0, 0.2, (n, 4))
    return _mixed(rng, rows, rng.normal(0, 0.6, (odd, 4)))


def _drift(rng: Rng, n: int, odd: int) -> Made:
    """What is usual moves on, by two standard deviations in all."""
    rows = 0.5 * rng.normal(size=(n, 8)) @ rng.normal(size=(8, 8)) + np.linspace(0, 2, n)[:, None] * rng.normal(size=8)
    y = np.zeros(n, np.bool_)
    y[rng.choice(np.arange(n // 20, n), odd, replace=False)] = True
    rows[y] += 2.5 * rng.normal(size=(odd, 8))
    return list(rows.T), y


def _category(rng: Rng, n: int, odd: int) -> Made:
    """Two categories and two numbers; an anomaly has the number of another category."""
    kind = rng.integers(3, size=n)
    other = (kind + (rng.random(n) < 0.1) * rng.integers(3, size=n)) % 4
    y = np.zeros(n, np.bool_)
    y[rng.choice(n, odd, replace=False)] = True
    number = 4.0 * ((kind + y) % 3) + rng.normal(size=n)
    return [
        np.array(list("abc"), object)[kind],
        np.array(list("wxyz"), object)[other],
        number,
        rng.lognormal(1, 1, n),
    ], y


def _counts(rng: Rng, n: int, odd: int) -> Made:
    """Fifteen counts, mostly 0; in anomalies seldom 0."""
    rows, bad = (rng.poisson(2, (k, 15)) * (rng.random((k, 15)) < share) for k, share in ((n, 0.3), (odd, 0.75)))
    return _mixed(rng, rows.astype(np.float64), bad.astype(np.float64))


def _switches(rng: Rng, n: int, odd: int) -> Made:
    """Twenty columns of 0 and 1 in four habits; anomalies have none."""
    habits = rng.uniform(0.05, 0.95, (4, 20))[rng.integers(4, size=n)]
    bad = rng.random((odd, 20)) < 0.5
    return _mixed(rng, (rng.random((n, 20)) < habits).astype(np.float64), bad.astype(np.float64))


KINDS: dict[str, Callable[[Rng, int, int], Made]] = {
    "clusters": _clusters,
    "broken correlation": _broken,
    "heavy tails": _heavy,
    "amounts": _amounts,
    "one of 30 columns": _one_column,
    "ring": _ring,
    "drift": _drift,
    "category and number": _category,
    "sparse counts": _counts,
    "switches": _switches,
}


def tables(seed: int, n: int = 6000, share: float = 0.015) -> Iterator[Dataset]:
    """One table of each kind, of n normal rows and a share of n anomalous ones, with one series."""
    for k, (name, make) in enumerate(KINDS.items()):
        columns, y = make(np.random.default_rng([seed, 200 + k]), n, int(share * n))
        channels = tuple(f"c{i}" for i in range(len(columns)))
        categorical = tuple(c for c, column in zip(channels, columns, strict=True) if column.dtype == object)
        series = Series(name, np.arange(len(y), dtype=np.int64) * 1000, tuple(map(np.ascontiguousarray, columns)))
        source = "made up, with planted anomalies"
        labels = {name: Labels((), y)}
        yield Dataset(name, "table", channels, source, {name: series}, labels, categorical=categorical, synthetic=True)
