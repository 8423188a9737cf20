"""Arrays in, scores out. Importing it sets how MKL sums (`detectors.numerics`), which must be done before torch is loaded.

Begin with `METRIC.train_metric` (a model of everything around the detectors) or `create` (one detector alone); docs/library.md shows
both. Importing the package alone brings neither torch nor numpy.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING

from detectors import numerics

numerics.hold()

__all__ = [
    "DETECTORS",
    "METRIC",
    "TABLE",
    "Detector",
    "DetectorError",
    "Model",
    "ModelFileError",
    "Recipe",
    "Scores",
    "create",
    "load",
    "save",
]

_HOME = {
    "load": "detectors.model_file",
    "save": "detectors.model_file",
    "ModelFileError": "detectors.model_file",
    "Model": "detectors.model",
    "METRIC": "detectors.recipes",
    "TABLE": "detectors.recipes",
    "Recipe": "detectors.recipes",
    "create": "detectors.registry",
    "DETECTORS": "detectors.registry",
    "Detector": "detectors.base",
    "Scores": "detectors.base",
    "DetectorError": "detectors.base",
}
"""Where each name is made; it is brought when it is first asked for."""

if TYPE_CHECKING:
    from detectors.base import Detector, DetectorError, Scores
    from detectors.model import Model
    from detectors.model_file import ModelFileError, load, save
    from detectors.recipes import METRIC, TABLE, Recipe
    from detectors.registry import DETECTORS, create
else:

    def __getattr__(name: str) -> object:
        if name not in _HOME:
            msg = f"module {__name__!r} has no attribute {name!r}"
            raise AttributeError(msg)
        return getattr(importlib.import_module(_HOME[name]), name)


def __dir__() -> list[str]:
    return list(__all__)
