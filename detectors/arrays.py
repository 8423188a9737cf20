"""Taking what was learnt from a model file: arrays by name, checked against the shapes that the settings ask for."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from detectors.base import DetectorError
from detectors.memory import on_a_line


def adopt(name: str, arrays: Mapping[str, NDArray[Any]], **shapes: tuple[int, ...]) -> list[NDArray[Any]]:
    """Return copies of the arrays, on 64 bytes, in the order of `shapes`, in which -1 stands for any size.

    Raises
    ------
    DetectorError
        An array is missing, too many, or of another shape; the message names detector and array.

    Examples
    --------
    >>> adopt("pca", {"centre": np.zeros(3)}, centre=(3,))
    [array([0., 0., 0.])]
    >>> adopt("pca", {"centre": np.zeros(3)}, centre=(4,))
    Traceback (most recent call last):
    detectors.base.DetectorError: pca: centre is (3,), its settings ask for (4,)
    """
    for key in sorted(arrays.keys() | shapes.keys()):
        given = arrays[key].shape if key in arrays else None
        wanted = shapes.get(key)
        if given is None or wanted is None or len(given) != len(wanted) or not _fits(given, wanted):
            msg = f"{name}: {key} is {given}, its settings ask for {wanted}"
            raise DetectorError(msg)
    return [on_a_line(np.array(arrays[key])) for key in shapes]


def _fits(given: tuple[int, ...], wanted: tuple[int, ...]) -> bool:
    return all(w in (-1, g) for g, w in zip(given, wanted, strict=True))
