"""A program as training walks it: nothing is written over, and of each number of its layers it is known which weight it is."""

from __future__ import annotations

from typing import Any, ClassVar, NamedTuple

import numpy as np
from numpy.typing import NDArray

from detectors.programs import BLOCK, CELL, CLIP, LAYER, MINUS, PITCH, Program, Rows, filled


class Tables(NamedTuple):
    """What is compiled takes of a traced program; see `detectors.kernels.descent.run`."""

    places: NDArray[np.uint64]
    steps: NDArray[np.int64]
    constants: NDArray[np.float32]
    """(W,): what of the layers' tables no weight changes, 0 elsewhere."""
    cells: NDArray[np.int64]
    """(W,): which folded weight each number of them is; -1: none."""
    slopes: NDArray[np.int64]
    """The same of the tables of gradients, which lie the other way round."""
    rows: int
    judged: tuple[int, int, int]
    """Rows that are given, how many, and those that were wanted."""


class Traced(Program):
    """Its weights are their numbers, from 1 on.

    Steps have two more columns: of how many first rows that a step looks at no gradient is needed, and where a layer's gradients begin.
    """

    keeps: ClassVar[bool] = True
    differentiable = True
    """Whether gradients go back through all steps that weights reach; none do through a clip or a difference."""

    def __init__(self, channels: int, width: int) -> None:
        super().__init__(channels, width)
        self._cells: list[NDArray[np.int64]] = []
        self._slopes: list[NDArray[np.int64]] = []
        self._sloped = 0
        self._known: dict[tuple[int, bytes], tuple[int, int]] = {}
        self._depends: list[bool] = []
        self._more: list[tuple[int, int]] = []
        self._judged = 0, 0, 0

    def room(self, n: int) -> Rows:
        """See `Program.room`."""
        self._depends += [False] * n
        return super().room(n)

    def layer(self, of: Rows, weights: NDArray[Any], bias: NDArray[Any], into: Rows | None = None) -> Rows:
        """See `Program.layer`; of numbers of weights."""
        J, K = weights.shape
        table = np.zeros((filled(J), K + 1), np.int64)
        table[:J, 0], table[:J, 1:] = bias, weights
        into = self.room(len(table)) if into is None else into
        if (key := (K, table.tobytes())) not in self._known:
            at = self._keep(np.zeros(table.shape))
            self._cells.append(table.reshape(-1, BLOCK, K + 1).transpose(0, 2, 1).ravel() - 1)
            slopes = np.zeros((K + 1, -(-len(table) // PITCH) * PITCH), np.int64)
            slopes[:, : len(table)] = table.T
            self._slopes.append(slopes.ravel() - 1)
            self._known[key] = at, self._sloped
            self._sloped += slopes.size
        at, slope = self._known[key]
        self._walked(LAYER, into, of, len(table), at, K, slope, trains=True)
        return into.part(0, J)

    def mean(self, of: Rows, channels: int) -> Rows:
        """See `Program.mean`."""
        steps = of.n // channels
        table = np.zeros((filled(channels), of.n + 1), np.float32)
        table[:channels, 1:] = np.tile(np.eye(channels) / steps, steps)
        into = self.room(len(table))
        at = self._keep(table.reshape(-1, BLOCK, of.n + 1).transpose(0, 2, 1))
        self._cells.append(np.full(table.size, -1))
        self._walked(LAYER, into, of, len(table), at, of.n, 0)
        return into.part(0, channels)

    def cell(self, gates: Rows, memory: Rows, into: Rows, *, begins: bool) -> None:
        """See `Program.cell`; what was remembered before lies before `memory`."""
        self._walked(CELL, into, gates, memory.n, memory.start, int(begins), 0, trains=True)

    def each(self, what: int, of: Rows, into: Rows | None = None) -> Rows:
        """See `Program.each`."""
        into = of if into is None else into
        self._walked(what, into, of, of.n, 0, 0, 0)
        return into

    def clipped(self, of: Rows, limit: float, into: Rows | None = None) -> Rows:
        """See `Program.clipped`."""
        into = of if into is None else into
        at = self._keep(np.array([limit]))
        self._cells.append(np.array([-1]))
        self._walked(CLIP, into, of, of.n, at, 0, 0)
        return into

    def score(self, given: Rows, wanted: Rows, judged: int | None = None) -> None:
        """All that is given is what training makes small."""
        self._judged = given.start, given.n, wanted.start

    def tables(self) -> Tables:
        """What is compiled takes of it."""
        return Tables(
            np.array(self._places, np.uint64).reshape(-1, 2),
            np.array([(*step, *more) for step, more in zip(self._steps, self._more, strict=True)], np.int64),
            np.concatenate(self._weights),
            np.concatenate(self._cells),
            np.concatenate(self._slopes),
            self._rows,
            self._judged,
        )

    def _walked(
        self, what: int, into: Rows, of: Rows, n: int, one: int, other: int, slope: int, *, trains: bool = False
    ) -> None:
        """Keep a step, and what of it training walks back: all of one that trains, else what weights reach."""
        seen = of.n if what == LAYER else n
        reached = [i for i in range(seen) if self._depends[of.start + i]]
        if reached and what in (CLIP, MINUS):
            self.differentiable = False
        self._step(what, into, of, n, one, other)
        back = trains or bool(reached)
        self._more.append(((reached[0] if reached else seen) if back else -1, slope))
        if back:
            self._depends[into.start : into.start + n] = [True] * n
