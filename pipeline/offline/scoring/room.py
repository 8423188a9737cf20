"""Columns of many rows: long ones lie in a temporary file, so that ten million rows take no more memory than a million.

The file is mapped, has no name, and is gone with the array. Where the disk has no room for it, or the system does not say so beforehand, the column is held in memory.
"""

from __future__ import annotations

import math
import mmap
import os
import tempfile
from collections.abc import Iterator
from typing import Any

import numpy as np
from numpy.typing import DTypeLike, NDArray

SPILLED = 8 << 20
"""Bytes from which a column lies in a file."""
PART = 1 << 18
"""Rows that are worked on at a time."""


def column(shape: tuple[int, ...], dtype: DTypeLike, usual: Any) -> NDArray[Any]:
    """An array of that shape that holds `usual` everywhere."""
    size = math.prod(shape) * np.dtype(dtype).itemsize
    if size < SPILLED or not size or not hasattr(os, "posix_fallocate"):
        return np.full(shape, usual, dtype)
    try:
        with tempfile.TemporaryFile(prefix="tidewatch-") as file:
            # Refused here where there is no room: writing to a full disk would end the process.
            os.posix_fallocate(file.fileno(), 0, size)
            room = mmap.mmap(file.fileno(), size)
    except OSError:
        return np.full(shape, usual, dtype)
    made: NDArray[Any] = np.ndarray(shape, dtype, room)
    for of in parts(shape[0]):
        made[of] = usual
        release(made)
    return made


def release(*columns: NDArray[Any] | None) -> None:
    """Let the pages go that columns in files have in memory; the next look brings them back."""
    for held in columns:
        base: object = held
        while isinstance(base, np.ndarray):
            base = base.base
        if isinstance(base, mmap.mmap):
            base.madvise(mmap.MADV_DONTNEED)


def parts(n: int) -> Iterator[slice]:
    """Slices of n rows, one after the other."""
    return (slice(start, min(start + PART, n)) for start in range(0, n, PART))
