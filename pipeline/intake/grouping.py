"""Observations of several sources, in one order, to compact batches: one series' observations all go to the same partition, in that order."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np
from numpy.typing import NDArray

from pipeline.intake.merging import Taken
from producers.batches import Batch, encode, split
from producers.partitioning import home

_MOST_NAMES = 1_000_000
"""Names that are remembered, with their partitions; some 150 bytes each."""


class Grouping:
    """Makes batches for a topic of so many partitions."""

    def __init__(self, partitions: int) -> None:
        self.partitions = partitions
        self._ids: dict[str, int] = {}
        self._names: list[str] = []
        self._homes = np.zeros(0, np.intp)

    def batches(
        self, pieces: Sequence[Taken], whose: Sequence[int], order: NDArray[np.intp], sources: Sequence[str]
    ) -> Iterator[tuple[int, bytes]]:
        """Partition and message; of each source the positions rise in each partition, from one message to the next too.

        Parameters
        ----------
        pieces, whose, order
            As `merging.merged` has them.
        sources
            Names of the sources that `whose` points to.
        """
        if len(self._ids) > _MOST_NAMES:
            self._ids, self._names, self._homes = {}, [], np.zeros(0, np.intp)
        lengths = [len(piece) for piece in pieces]
        ids = np.concatenate([self._known(piece.observations.series) for piece in pieces])[order]
        times = np.concatenate([piece.observations.timestamps for piece in pieces])[order]
        values = np.concatenate([piece.observations.values for piece in pieces])[order]
        kinds = _column([piece.observations.kinds for piece in pieces], lengths, order)
        begun = _column([piece.observations.begun for piece in pieces], lengths, order)
        source = np.repeat(np.array(whose, np.int64), lengths)[order]
        offset, number = np.concatenate([piece.positions for piece in pieces], axis=1)[:, order]
        homes = self._homes[ids]
        for partition in np.unique(homes).tolist():
            of = np.flatnonzero(homes == partition)
            batch = Batch(
                self._names,
                ids[of],
                times[of],
                values[of],
                None if kinds is None else kinds[of].astype(np.uint8),
                None if begun is None else begun[of],
                sources,
                (source[of], offset[of], number[of]),
            )
            for piece in split(batch):
                yield partition, encode(piece)

    def _known(self, series: Sequence[str]) -> NDArray[np.intp]:
        """The id of each name; new names get one."""
        try:
            return self._at_hand(series)
        except KeyError:
            new = [name for name in dict.fromkeys(series) if name not in self._ids]
            self._ids |= zip(new, range(len(self._names), len(self._names) + len(new)), strict=True)
            self._names += new
            self._homes = np.append(self._homes, [home(name, self.partitions) for name in new])
            return self._at_hand(series)

    def _at_hand(self, series: Sequence[str]) -> NDArray[np.intp]:
        return np.fromiter(map(self._ids.__getitem__, series), np.intp, len(series))


def _column(
    columns: Sequence[NDArray[np.int64] | NDArray[np.uint8] | None], lengths: Sequence[int], order: NDArray[np.intp]
) -> NDArray[np.int64] | None:
    if all(column is None for column in columns):
        return None
    parts = [np.zeros(n, np.int64) if c is None else c.astype(np.int64) for c, n in zip(columns, lengths, strict=True)]
    return np.concatenate(parts)[order]
