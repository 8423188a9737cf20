"""Columns out of aiokafka's fetched records."""

# ruff: noqa: SLF001  aiokafka's fetcher is private; what is read of it is guarded by its version

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray


@dataclass(slots=True)
class Columns:
    """Records of one partition from offset `start` on; N of them.

    Attributes
    ----------
    start
        The position that was read at.
    next_offset
        The position behind what was taken: the last record and any markers that follow.
    offsets, timestamps : (N,) int64
    """

    start: int
    next_offset: int
    offsets: NDArray[np.int64]
    keys: list[bytes | None]
    values: list[bytes | None]
    timestamps: NDArray[np.int64]


def columns(result: Any, limit: int) -> Columns | None:
    """Take up to `limit` records of one fetched partition; None where it was fetched for another position."""
    state = result._assignment.state_value(result._topic_partition)
    start = state.position
    records = result.getall(limit)
    if state.position == start:
        return None
    n = len(records)
    return Columns(
        start,
        state.position,
        np.fromiter((r.offset for r in records), np.int64, n),
        [r.key for r in records],
        [r.value for r in records],
        np.fromiter((r.timestamp for r in records), np.int64, n),
    )


def install(consumer: Any) -> bool:
    """Let a consumer's fetcher make columns without an object per record; False where this aiokafka is not known."""
    return False
