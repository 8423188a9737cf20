"""Named columns of a table, numbers and categories, to the C numbers that a detector takes. Fitted; in the model file."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray


class FeatureEncoder:
    """Encodes rows `[0, "tcp", "http", ...]` as float64 (N, C).

    Numeric columns (optionally log1p-scaled where heavy-tailed) are standardised with statistics of the fitted rows;
    categories become one-hot columns plus one for "unknown"; columns that are constant in the fitted rows are kept at a
    floor scale.
    """

    def __init__(self, names: Sequence[str], categorical: Sequence[str] = ()) -> None:
        self.names = tuple(names)
        self.categorical = tuple(categorical)

    def fit(self, rows: Sequence[Sequence[float | str]]) -> FeatureEncoder:
        """Learn statistics and categories from rows; returns itself."""
        raise NotImplementedError

    def encode(self, rows: Sequence[Sequence[float | str]]) -> tuple[NDArray[np.float64], dict[int, str]]:
        """Encode rows as (N, C); the dict says for which rows that is impossible and why (those rows are zeros)."""
        raise NotImplementedError

    @property
    def channels(self) -> int:
        """C."""
        raise NotImplementedError

    def by_feature(self, contributions: NDArray[np.float32]) -> NDArray[np.float32]:
        """Contributions of encoded columns (k, C) summed to those of the named features (k, len(names))."""
        raise NotImplementedError

    def to_header(self) -> Mapping[str, Any]:
        """Settings and statistics as JSON-able values; `from_header` is the inverse."""
        raise NotImplementedError

    @classmethod
    def from_header(cls, header: Mapping[str, Any]) -> FeatureEncoder:
        """Rebuild from `to_header`'s values."""
        raise NotImplementedError
