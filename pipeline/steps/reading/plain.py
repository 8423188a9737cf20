"""Records of a metric that are plain, as nearly all are, read by one compiled call: no object for each, nor for its name (`pipeline.steps.kernels.plain`).

    BinaryColumn ──▶ names (N,), times (N,), values (N,)           a name's number; 0: the record is not plain, msgspec reads it

A name is turned into a text once: `Names` keeps bytes and texts of those that came lately. What it keeps is no state: without it all is as it was, slower.
"""

from __future__ import annotations

from itertools import pairwise
from typing import Any

import numpy as np
from numpy.typing import NDArray

from detectors.compiling import PLAIN, compiled
from pipeline.steps.batches.binary import BinaryColumn

_FIRST, _MOST = 1 << 12, 1 << 20
"""Places of the first table, and of the largest; half as many names, of 16 bytes for each place."""

AT_ONCE = 32
"""Records of which the names are looked up side by side."""


class Names:
    """Names that came lately; one reads at a time."""

    def __init__(self, places: int = _FIRST) -> None:
        self.texts = [""]
        """By their numbers; 0 is no name."""
        self._table = np.zeros(places, np.int32)
        self._ends = np.zeros(places // 2 + 1, np.int64)
        self._pool = np.empty(16 * places, np.uint8)
        self._count = np.zeros(1, np.int64)

    def read(self, records: BinaryColumn) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.float64]]:
        """Numbers of the names (places in `texts`), times and values of records (N,) none of which is None; the name is 0 of what is not plain."""
        n = len(records)
        names, times, values = np.empty(n, np.int64), np.empty(n, np.int64), np.empty(n)
        compiled(PLAIN)(*pieces(records), *self.known, np.empty((AT_ONCE, 3), np.int64), times, values, names)
        self.learn()
        return names, times, values

    @property
    def known(self) -> tuple[NDArray[Any], ...]:
        """What compiled functions find names by, and add new ones to."""
        return self._table, self._ends, self._pool, self._count

    def learn(self) -> None:
        """Make texts of the names that one of them added."""
        ends = self._ends[len(self.texts) - 1 : int(self._count[0]) + 1].tolist()
        new = self._pool[ends[0] : ends[-1]].tobytes().decode("ascii")
        self.texts += [new[a - ends[0] : b - ends[0]] for a, b in pairwise(ends)]

    def with_room(self) -> Names:
        """Itself while there is room for as many again, else a larger one that is empty; where it is the largest, an empty one."""
        places, count = len(self._table), int(self._count[0])
        if 2 * count < len(self._ends) and 2 * int(self._ends[count]) < len(self._pool):
            return self
        return Names(min(4 * places, _MOST))


def pieces(records: BinaryColumn) -> tuple[NDArray[Any], ...]:
    """Bytes of records, and where those of each begin and end."""
    return np.frombuffer(records.data, np.uint8), records.starts, records.ends
