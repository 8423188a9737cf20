"""How a network is trained that scores by a program, without torch: by compiled steps that walk the program forth and back.

The loop is the trimmed one of `detectors.torched.training`, with its losses, its Adam and its early stopping; first weights and the order of windows are drawn by
numpy, so that they end elsewhere than torch's. Our networks are small: with torch most of a step was what surrounds its products, and its import alone two
seconds. Weights are the same for the same seed, on every CPU and whatever the threads.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from detectors.compiling import DESCENT, compiled
from detectors.descent.epochs import Epochs
from detectors.descent.folding import Folding, Shapes, drawn, size
from detectors.descent.traced import Tables, Traced
from detectors.kernels.descent import BATCH, GIVEN, KIND, LEARN, ROWS, WANTED, N
from detectors.memory import aligned
from detectors.networks import TrainingConfig
from detectors.programs import AT_ONCE, PITCH, Program, Weights

MOST_ROWS = 1 << 19
"""Rows of all tiles of a batch beyond which torch trains: 128 MiB."""
MOST_WEIGHTS = 1 << 24
"""Numbers that float32 tells apart."""


class Walk(NamedTuple):
    """What is known of a network before it is trained."""

    shapes: Shapes
    folding: Folding
    tables: Tables
    loss: int

    @classmethod
    def of(
        cls,
        shapes: Shapes,
        loss: int,
        traced: Traced,
        put: Callable[[Program, Weights], Program | None],
        batch: int,
    ) -> Walk | None:
        """Of weights of these shapes, by names in torch; `put` puts the network into a program. None: it has none, no gradient goes back through it, or a batch would take too much memory."""
        folding = Folding.of(shapes)
        numbers, first = {}, 1
        for name, shape in folding.shapes.items():
            numbers[name] = np.arange(first, first + size(shape)).reshape(shape)
            first += size(shape)
        if first > MOST_WEIGHTS or put(traced, numbers) is None or not traced.differentiable:
            return None
        tables = traced.tables()
        return cls(shapes, folding, tables, loss) if tables.rows * -(-batch // AT_ONCE) <= MOST_ROWS else None


class Descent(Epochs):
    """A training run of one network.

    Parameters
    ----------
    train, held
        Windows (N, T, C + F) to train on, and those that early stopping looks at.
    """

    def __init__(
        self,
        walk: Walk,
        how: TrainingConfig,
        seed: int,
        train: NDArray[np.float32],
        held: NDArray[np.float32],
        fingerprint: NDArray[np.uint8],
    ) -> None:
        super().__init__(how, fingerprint)
        self._walk, self._seed = walk, seed
        self._train, self._held = (np.ascontiguousarray(x).reshape(len(x), -1) for x in (train, held))
        first = drawn(walk.shapes, np.random.default_rng(self._seed))
        self._theta = np.concatenate([of.ravel() for of in first.values()])
        self._mean, self._square = np.zeros_like(self._theta), np.zeros_like(self._theta)
        self._powers = np.ones(2)
        self._best = self._theta.copy()
        drawn_at_once = min(len(train), self._how.windows_per_epoch)
        self._batch = max(2, min(self._how.batch_size, drawn_at_once // 16))
        self._room = self._memory(max(self._batch, len(self._looked_at())))

    @property
    def best(self) -> dict[str, NDArray[np.float32]]:
        """The best weights, by their names in torch."""
        return self._named(self._best)

    def _memory(self, windows: int) -> tuple[NDArray[np.float32], ...]:
        """What the compiled steps work in; see `detectors.kernels.descent.run`."""
        tables, folding = self._walk.tables, self._walk.folding
        widest = max(int(tables.steps[:, 3].max()), 1)
        tiles = -(-self._batch // AT_ONCE)

        def zeros(n: int) -> NDArray[np.float32]:
            made: NDArray[np.float32] = aligned((n,), np.float32)
            made[:] = 0.0
            return made

        constants = zeros(len(tables.constants))
        constants[:] = tables.constants
        plain = len(folding.sources)
        lanes = -(-windows // AT_ONCE) * AT_ONCE
        return (
            *(zeros(plain), zeros(len(self._theta)), zeros(plain), constants, zeros(len(tables.slopes))),
            zeros(AT_ONCE * -(-widest // PITCH) * PITCH),
            *(zeros(lanes), zeros(lanes)),
            *(zeros(tables.rows * AT_ONCE * tiles), zeros(tables.rows * AT_ONCE)),
        )

    def _looked_at(self) -> NDArray[np.int64]:
        """Of the windows held back at most `windows_per_epoch`, evenly spread."""
        return np.arange(0, len(self._held), max(1, len(self._held) // self._how.windows_per_epoch))

    def _run(self, x: NDArray[np.float32], order: NDArray[np.int64], *, learn: bool) -> float:
        of, how = self._walk.tables, self._how
        sizes = np.zeros(7, np.int64)
        sizes[[BATCH, ROWS, KIND, LEARN]] = self._batch, of.rows, self._walk.loss, learn
        sizes[[GIVEN, N, WANTED]] = of.judged
        settings = np.array([self.learning_rate, how.clip, how.weight_decay, how.trim])
        program = of.places, of.steps, of.cells, of.slopes, *self._walk.folding[:3]
        state = self._theta, self._mean, self._square, self._powers
        return float(compiled(DESCENT)(x, order, sizes, settings, *program, *state, *self._room))

    def _trained(self) -> float:
        # Drawn by the number of the epoch: nothing of it is kept to go on.
        rng = np.random.default_rng([self._seed, self.report.epochs])
        order = rng.permutation(len(self._train))[: self._how.windows_per_epoch]
        return self._run(self._train, order, learn=True)

    def _validated(self) -> float:
        return self._run(self._held, self._looked_at(), learn=False)

    def _keep(self) -> None:
        self._best = self._theta.copy()

    def _named(self, theta: NDArray[np.float32]) -> dict[str, NDArray[np.float32]]:
        cuts = np.cumsum([size(shape) for shape in self._walk.shapes.values()])[:-1]
        parts = zip(self._walk.shapes.items(), np.split(theta, cuts), strict=True)
        return {name: part.reshape(shape).copy() for (name, shape), part in parts}

    def arrays(self) -> dict[str, NDArray[Any]]:
        """See `Epochs.arrays`."""
        return {
            **super().arrays(),
            "weights": self._theta.copy(),
            "best": self._best.copy(),
            "adam.mean": self._mean.copy(),
            "adam.square": self._square.copy(),
            "adam.powers": self._powers.copy(),
        }

    def resume(self, arrays: Mapping[str, NDArray[Any]]) -> None:
        """See `Epochs.resume`."""
        super().resume(arrays)
        self._theta[:], self._best = arrays["weights"], np.array(arrays["best"])
        self._mean[:], self._square[:] = arrays["adam.mean"], arrays["adam.square"]
        self._powers[:] = arrays["adam.powers"]
