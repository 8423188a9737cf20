"""Records as a fetch brings them: in one buffer, with other bytes between them."""

from __future__ import annotations

import numpy as np

from pipeline.steps.batches.binary import BinaryColumn
from pipeline.steps.batches.records import RecordBatch

NOW = 1_700_000_000_000


def column(values: list[bytes]) -> BinaryColumn:
    """With other records' bytes before, between and behind."""
    data, starts = b'{"series":"x', []
    for value in values:
        starts.append(len(data))
        data += value + b'"}, '
    at = np.array(starts, np.int64)
    return BinaryColumn(data, at, at + np.array([len(v) for v in values], np.int64))


def batch(values: list[bytes] | BinaryColumn) -> RecordBatch:
    n = len(values)
    return RecordBatch("t", 0, np.arange(n), n, [b"key"] * n, values, np.full(n, NOW))
