"""The doctor sees all partitions of a topic side by side."""

from __future__ import annotations

import numpy as np
from frozen_states import stream_of

from pipeline.operations.doctor.homes import Look
from pipeline.partition.home import hash_of
from pipeline.steps.batches.records import RecordBatch
from producers.records import Observation, encode

NAMES = [f"s{i}" for i in range(40)]
T0 = 1_700_000_000_000


def found(records: list[tuple[int, str, bytes | None]], partitions: int = 4) -> tuple[str, str]:
    """Of records (partition, series, key)."""
    look = Look(stream_of("metric"), partitions)
    for p in range(partitions):
        mine = [(s, k) for q, s, k in records if q == p]
        values = [encode(Observation(s, T0 + i, 1.0)) for i, (s, _) in enumerate(mine)]
        n = len(mine)
        look.take(RecordBatch("t", p, np.arange(n), n, [k for _, k in mine], values, np.zeros(n, np.int64)))
    finding = look.finding()
    return finding.state, finding.detail


def test_series_at_home_are_well() -> None:
    assert found([]) == ("ok", "no observation yet")
    assert found([(hash_of(n) % 4, n, n.encode()) for n in NAMES] * 3) == ("ok", "40, each in the partition of its key")


def test_series_without_a_key_lie_in_pieces() -> None:
    state, told = found([((i + n) % 4, name, None) for n in range(9) for i, name in enumerate(NAMES)])
    assert state == "failed"
    assert told.startswith("40 of 40 lie in several partitions ('s0'")
    assert "no key" in told


def test_what_was_written_before_partitions_were_added_is_no_matter() -> None:
    before = [(hash_of(n) % 2, n, n.encode()) for n in NAMES] * 3
    after = [(hash_of(n) % 4, n, n.encode()) for n in NAMES] * 3
    assert found(before + after)[0] == "ok"
