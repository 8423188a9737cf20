"""Arrays that begin on a cache line, 64 bytes: what matrix products read and write.

Some kernels take a few elements apart until they reach an aligned address, and so sum in another order for every place in memory.
numpy puts its arrays on 16 bytes, sometimes on 64 by chance; torch puts its own on 64, and takes numpy's as they are.

Examples
--------
>>> import numpy as np
>>> a = aligned((3, 5), np.float32)
>>> a.ctypes.data % 64, a.shape
(0, (3, 5))
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from numpy.typing import DTypeLike, NDArray

ALIGNMENT = 64
"""Bytes: a cache line, and the widest register (AVX-512). What torch aligns its own memory to."""


def aligned(shape: tuple[int, ...], dtype: DTypeLike) -> NDArray[Any]:
    """Return an array of whatever was there, contiguous, that begins on 64 bytes."""
    size = math.prod(shape) * np.dtype(dtype).itemsize
    room = np.empty(size + ALIGNMENT, np.uint8)
    start = -room.ctypes.data % ALIGNMENT
    return room[start : start + size].view(dtype).reshape(shape)


def on_a_line(a: NDArray[Any]) -> NDArray[Any]:
    """Return the array itself where it begins on 64 bytes, else a copy that does, of the same layout."""
    if a.ctypes.data % ALIGNMENT == 0:
        return a
    if a.flags.f_contiguous and not a.flags.c_contiguous:  # another layout would take another kernel
        return on_a_line(a.T).T
    copy = aligned(a.shape, a.dtype)
    copy[...] = a
    return copy


def product(a: NDArray[np.float64], b: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return `a @ b` of two matrices; where they lie in memory does not reach the result."""
    out = aligned((a.shape[0], b.shape[1]), np.float64)
    return np.matmul(on_a_line(a), on_a_line(b), out=out)
