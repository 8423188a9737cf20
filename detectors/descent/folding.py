"""Weights as programs take them, from those by their names in torch.

direction, gain           taps      filters of a weight-normalised convolution, multiplied out
bias_ih_l0, bias_hh_l0    bias_l0   an LSTM adds both of its biases
all else                  as it is
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from detectors.programs import Weights

Shapes = Mapping[str, tuple[int, ...]]
_DIRECTION, _GAIN, _TAPS = ".direction", ".gain", ".taps"
_ONE, _OTHER, _BOTH = "lstm.bias_ih_l0", "lstm.bias_hh_l0", "lstm.bias_l0"


def folded(weights: Weights) -> dict[str, NDArray[np.float32]]:
    """What a program takes."""
    found: dict[str, NDArray[np.float32]] = {}
    for name, of in weights.items():
        if name.endswith(_DIRECTION):
            # In double precision: whatever adds them up, and in whatever order, rounds to the same.
            wide, gain = of.astype(np.float64), weights[name.removesuffix(_DIRECTION) + _GAIN]
            norm = np.sqrt(np.square(wide).sum(axis=(0, 1)))
            found[name.removesuffix(_DIRECTION) + _TAPS] = (wide * (gain / norm)).astype(np.float32)
        elif name.endswith(_ONE):
            found[name.removesuffix(_ONE) + _BOTH] = of + weights[name.removesuffix(_ONE) + _OTHER]
        elif not name.endswith((_GAIN, _OTHER)):
            found[name] = of
    return found


class Folding(NamedTuple):
    """How numbers of the folded weights come from those by their names in torch, all one after the other.

    Attributes
    ----------
    sources : (Q,) int64
        Of each folded one, the number that it is; of a filter's, that of its direction; of an LSTM's biases the one.
    others : (Q,) int64
        The number that is added to it; -1: none.
    filters : (V, 5) int64
        Of each convolution: its direction's first, numbers of a filter, filters, its gain's first, and its taps' first among the folded ones.
    shapes
        Of the folded ones, by name.
    """

    sources: NDArray[np.int64]
    others: NDArray[np.int64]
    filters: NDArray[np.int64]
    shapes: dict[str, tuple[int, ...]]

    @classmethod
    def of(cls, shapes: Shapes) -> Folding:
        """Of weights of these shapes."""
        starts = dict(zip(shapes, np.cumsum([0, *map(size, shapes.values())]).tolist(), strict=False))
        sources, others = list[NDArray[np.int64]](), list[NDArray[np.int64]]()
        filters, kept, n = [], dict[str, tuple[int, ...]](), 0
        for name, shape in shapes.items():
            if name.endswith((_GAIN, _OTHER)):
                continue
            if name.endswith(_DIRECTION):
                gain = name.removesuffix(_DIRECTION) + _GAIN
                filters.append((starts[name], size(shape[:-1]), shape[-1], starts[gain], n))
            kept[name.replace(_DIRECTION, _TAPS).replace(_ONE, _BOTH)] = shape
            numbers = np.arange(size(shape))
            sources.append(starts[name] + numbers)
            other = starts[name.replace(_ONE, _OTHER)] if name.endswith(_ONE) else None
            others.append(np.full(len(numbers), -1) if other is None else other + numbers)
            n += size(shape)
        return cls(np.concatenate(sources), np.concatenate(others), np.array(filters, np.int64).reshape(-1, 5), kept)


def size(shape: tuple[int, ...]) -> int:
    """Numbers of an array of this shape."""
    return int(np.prod(shape, dtype=np.int64))


def drawn(shapes: Shapes, rng: np.random.Generator) -> dict[str, NDArray[np.float32]]:
    """Weights to begin with, drawn as torch's modules and `detectors.torched.convolution` do: evenly, within a bound by how many numbers a sum has."""
    found: dict[str, NDArray[np.float32]] = {}
    for name, shape in shapes.items():
        of = name.rpartition(".")[0]
        if name.endswith(_GAIN):
            found[name] = np.full(shape, 3**-0.5, np.float32)
            continue
        if "lstm." in name:
            terms = shapes[f"{of}.weight_hh_l0"][1]
        elif f"{of}{_DIRECTION}" in shapes:
            terms = size(shapes[f"{of}{_DIRECTION}"][:-1])
        else:
            terms = shapes[f"{of}.weight"][1]
        found[name] = rng.uniform(-(terms**-0.5), terms**-0.5, shape).astype(np.float32)
    return found
