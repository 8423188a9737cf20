"""What is judged: a series with its labels and the part that may be learnt from; and what a scorer says of it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from producers.datasets import Dataset, Labels, Series

START = 1_704_067_200_000
"""2024-01-01 00:00 UTC, a Monday; all made-up series begin here."""
MINUTE = 60_000

Floats = NDArray[np.float64]
Span = tuple[int, int]
"""First and last row, both included."""


@dataclass(frozen=True)
class Item:
    """One series.

    Attributes
    ----------
    times : (n,) int64
        Event time, ms.
    values : (n, C)
    y : (n,) int8
        1 = anomalous. No scorer sees it.
    first
        Rows [0, first) may be learnt from; the others are judged.
    buffer
        Of VUS-PR, rows.
    time_zone
        By whose clock it lives; the product is told.
    """

    group: str
    name: str
    times: NDArray[np.int64]
    values: Floats
    y: NDArray[np.int8]
    first: int
    buffer: int = 100
    time_zone: str = "UTC"

    @property
    def data(self) -> Dataset:
        """As a data set of one series."""
        step = int(np.median(np.diff(self.times)))
        series = Series(self.name, self.times, tuple(np.ascontiguousarray(c) for c in self.values.T), step)
        channels = tuple(f"c{i}" for i in range(self.values.shape[1]))
        labels = {self.name: Labels((), self.y.astype(np.bool_))}
        return Dataset(self.name, "metric", channels, self.group, {self.name: series}, labels, synthetic=True)


@dataclass(frozen=True)
class Told:
    """What a scorer says of an item, each row by what came up to it.

    Attributes
    ----------
    score : (n,)
        Ranks; high means anomalous; NaN where nothing is said. Rows of the training part are not looked at.
    onset : (n,)
        Ranks beginnings: what the alarm goes by, which may be the same.
    alerts
        Rows of each alert; None where the scorer raises none.
    """

    score: Floats
    onset: Floats
    alerts: list[Span] | None = None


Scorer = Callable[[Item, float], Told]
"""Takes an item and the false-alarm budget: rows per false alert."""


def item(
    group: str, name: str, step: float, values: Floats, y: NDArray[np.bool_], first: int, time_zone: str = "UTC"
) -> Item:
    """A made-up item with one row every `step` minutes from `START` on."""
    times = START + (np.arange(len(values)) * step * MINUTE).astype(np.int64)
    return Item(group, name, times, values.reshape(len(values), -1), y.astype(np.int8), first, time_zone=time_zone)
