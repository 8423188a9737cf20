"""Recorded data as arrays, and as a live stream. In: files of any usual kind, or a data set by its name. Out: `Dataset`s, records on Kafka.

Begin with `open_file`; docs/library.md shows it in use. Importing the package alone brings neither numpy nor pandas.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING

__all__ = [
    "NAMES",
    "Corrections",
    "DataError",
    "Dataset",
    "Layout",
    "ProducerError",
    "Series",
    "open_dataset",
    "open_file",
    "open_frame",
]

_HOME = {
    "open_file": "producers.datasets",
    "open_frame": "producers.datasets",
    "open_dataset": "producers.datasets",
    "NAMES": "producers.datasets",
    "Dataset": "producers.datasets",
    "Series": "producers.datasets",
    "Layout": "producers.datasets",
    "Corrections": "producers.datasets",
    "DataError": "producers.errors",
    "ProducerError": "producers.errors",
}
"""Where each name is made; it is brought when it is first asked for."""

if TYPE_CHECKING:
    from producers.datasets import NAMES, Corrections, Dataset, Layout, Series, open_dataset, open_file, open_frame
    from producers.errors import DataError, ProducerError
else:

    def __getattr__(name: str) -> object:
        if name not in _HOME:
            msg = f"module {__name__!r} has no attribute {name!r}"
            raise AttributeError(msg)
        return getattr(importlib.import_module(_HOME[name]), name)


def __dir__() -> list[str]:
    return list(__all__)
