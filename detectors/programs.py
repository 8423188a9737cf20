"""A network's pass on the CPU as a program of compiled steps, windows side by side (`detectors.kernels.network`).

    x (B, T, C + F) ──take──▶ rows ──layer, tanh, cell ...──▶ rows ──score──▶ raw (B,), expected (B, C), shares (B, C)

Our networks are small: in torch half of a pass is what surrounds its products, and tiles are padded. Here 64 windows go through all steps while their numbers
lie in the nearest cache, and a window's bits are its own: sums in a fixed order, each product and sum rounded once, the same on every CPU. `detectors.descent` trains them by
the same steps walked back; torch serves the GPU, and trains what has no program.

Examples
--------
>>> import numpy as np
>>> program = Program(channels=1, width=1)
>>> values = program.take([(t, 0) for t in range(2)])
>>> mean = program.layer(values, np.array([[0.5, 0.5]]), np.zeros(1))
>>> program.score(mean, values.last(1))
>>> raw, expected, shares = program.done().run(np.array([[[1.0], [3.0]]], np.float32))
>>> raw, expected
(array([1.]), array([[2.]], dtype=float32))
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, ClassVar, NamedTuple

import numpy as np
from numpy.typing import NDArray

from detectors.compiling import NETWORKS, compiled
from detectors.memory import aligned

AT_ONCE = 64
"""Windows side by side: four vectors, and what a network remembers of them stays in the nearest cache."""
BLOCK = 8
"""Sums of a layer that grow together: so many wait for no result, and fit in registers."""
LAYER, CELL, SCORE, TANH, RELU, SIGMOID, CLIP, PLUS, MINUS = range(9)
"""Steps: columns are what, into, of, n, and two more."""
PITCH = 16
"""Sums of a layer whose gradients grow together: a vector."""
HUBER, SQUARED, ABSOLUTE = range(3)
"""What training makes small of each difference: Huber's loss, beyond one unit with constant force; its square; its size."""


Weights = Mapping[str, NDArray[Any]]
"""A network's, by their names in torch."""


class Rows(NamedTuple):
    """Numbers of each window that lie one after the other."""

    start: int
    n: int

    def part(self, start: int, n: int) -> Rows:
        """So many of them from `start` on."""
        return Rows(self.start + start, n)

    def last(self, n: int) -> Rows:
        """The last n."""
        return self.part(self.n - n, n)


class Program:
    """Steps over rows; what is said of each window stands at their end.

    Attributes
    ----------
    keeps
        Whether no row is written to again once something came of it: who trains looks back at it.

    Parameters
    ----------
    channels
        C: channels that are judged.
    width
        C + F: numbers of a window at one position.
    """

    keeps: ClassVar[bool] = False

    def __init__(self, channels: int, width: int) -> None:
        self.channels, self.width = channels, width
        self._places: list[tuple[int, int]] = []
        self._steps: list[tuple[int, int, int, int, int, int]] = []
        self._weights: list[NDArray[np.float32]] = []
        self._rows = self._weighed = 0
        self.products = 0
        """Multiplications of its layers for one window."""
        self._rooms: list[NDArray[np.float32]] = []
        """Nobody works in them; so many as threads have scored at once."""

    def room(self, n: int) -> Rows:
        """Rows that nothing was written to yet."""
        self._rows += n
        return Rows(self._rows - n, n)

    def take(self, places: Sequence[tuple[int, int]], into: Rows | None = None) -> Rows:
        """Rows of what stands in a window at (position, channel)."""
        into = self.room(len(places)) if into is None else into
        self._places += [((into.start + i) * AT_ONCE, t * self.width + c) for i, (t, c) in enumerate(places)]
        return into

    def layer(self, of: Rows, weights: NDArray[Any], bias: NDArray[Any], into: Rows | None = None) -> Rows:
        """Sums (J,) of rows (K,): weights (J, K); `into` takes J, filled up to a multiple of `BLOCK`."""
        J, K = weights.shape
        n = filled(J)
        table = np.zeros((n, K + 1), np.float32)
        table[:J, 0], table[:J, 1:] = bias, weights
        into = self.room(n) if into is None else into
        self.products += J * K
        self._step(LAYER, into, of, n, self._keep(table.reshape(-1, BLOCK, K + 1).transpose(0, 2, 1)), K)
        return into.part(0, J)

    def mean(self, of: Rows, channels: int) -> Rows:
        """Of rows, one channel after the other: of each channel (C,)."""
        steps = of.n // channels
        return self.layer(of, np.tile(np.eye(channels) / steps, steps), np.zeros(channels))

    def cell(self, gates: Rows, memory: Rows, into: Rows, *, begins: bool) -> None:
        """A step of an LSTM: from its gates (input, forget, new, output) and its memory (H,), of which nothing is seen where it begins."""
        self._step(CELL, into, gates, memory.n, memory.start, int(begins))

    def each(self, what: int, of: Rows, into: Rows | None = None) -> Rows:
        """Of each row TANH, RELU or SIGMOID, in its place; or it is added to that of `into` (PLUS), or taken from it (MINUS)."""
        into = of if into is None else into
        self._step(what, into, of, of.n, 0, 0)
        return into

    def clipped(self, of: Rows, limit: float, into: Rows | None = None) -> Rows:
        """Rows within -limit..limit, in their place or in another."""
        into = of if into is None else into
        self._step(CLIP, into, of, of.n, self._keep(np.array([limit])), 0)
        return into

    def score(self, given: Rows, wanted: Rows, judged: int | None = None) -> None:
        """Judge by the root of the mean square of differences, of all or of the last so many; rows are of one channel after the other, position by position."""
        given, wanted = (of if judged is None else of.last(judged) for of in (given, wanted))
        self._step(SCORE, self.room(1 + self.channels), given, given.n, wanted.start, 0)

    def run(self, x: NDArray[np.float32]) -> tuple[NDArray[np.float64], NDArray[np.float32], NDArray[np.float32]]:
        """Raw scores (B,), expected values and contributions (B, C) of windows (B, T, C + F)."""
        B, C = len(x), self.channels
        said = np.empty(B), np.empty((B, C), np.float32), np.empty((B, C), np.float32)
        places, steps, weights = self._compiled
        room = self._rooms.pop() if self._rooms else aligned((self._rows * AT_ONCE,), np.float32)
        compiled(NETWORKS)(x.reshape(B, x.shape[1] * x.shape[2]), places, steps, weights, room, *said)
        self._rooms.append(room)
        return said

    def done(self) -> Program:
        """No step is added any more."""
        self._compiled = np.array(self._places, np.uint64), np.array(self._steps), np.concatenate(self._weights)
        return self

    def _step(self, what: int, into: Rows, of: Rows, n: int, one: int, other: int) -> None:
        self._steps.append((what, into.start, of.start, n, one, other))

    def _keep(self, weights: NDArray[Any]) -> int:
        """Where they begin."""
        self._weights.append(np.asarray(weights, np.float32).ravel())
        self._weighed += weights.size
        return self._weighed - weights.size


def filled(n: int) -> int:
    """Rows that n sums take."""
    return -(-n // BLOCK) * BLOCK
