"""Columns of texts as Arrow reads them, some cells at a time, where they are written as computers write."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray


def cast(text: pd.Series[str], missing: NDArray[np.bool_], kind: pa.DataType) -> Iterator[pa.Array]:
    """Cells (n,) as `kind`, null where they are missing, a part after the other. Raises pa.ArrowException where one is none of it."""
    cells, start = pa.array(text), 0
    for chunk in cells.chunks if isinstance(cells, pa.ChunkedArray) else [cells]:
        none = missing[start : start + len(chunk)]
        start += len(chunk)
        yield (pc.if_else(pa.array(none), None, chunk) if none.any() else chunk).cast(kind)


def numbers(text: pd.Series[str], missing: NDArray[np.bool_]) -> NDArray[np.float64] | None:
    """(n,) NaN where they are missing; None where a cell is no number as computers write it."""
    values, start = np.empty(len(text)), 0
    try:
        for part in cast(text, missing, pa.float64()):
            values[start : start + len(part)] = part.to_numpy(zero_copy_only=False)
            start += len(part)
    except pa.ArrowException:
        return None
    return values


def moments(text: pd.Series[str], missing: NDArray[np.bool_], *, zoned: bool) -> NDArray[np.int64] | None:
    """(n,) ms since 1970, 0 where they are missing, of times that all tell their zone, or of UTC; None where a cell is none of ISO 8601 as Arrow reads it.

    Arrow reads less of it than others, and twenty times as quickly.
    """
    kind = pa.timestamp("us", tz="UTC" if zoned else None)
    ms, start = np.empty(len(text), np.int64), 0
    try:
        for part in cast(text, missing, kind):
            ms[start : start + len(part)] = part.cast(pa.int64()).fill_null(0).to_numpy() // 1000
            start += len(part)
    except pa.ArrowException:
        return None
    return ms
