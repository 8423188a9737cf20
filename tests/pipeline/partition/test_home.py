"""Series that do not lie where their key says: told, by kind, and not told where a few strays, or added partitions, explain it."""

from __future__ import annotations

import zlib
from collections.abc import Callable, Iterable, Sequence

import numpy as np
import pytest
from aiokafka.partitioner import murmur2

from pipeline.partition.deciding.growth import Growth
from pipeline.partition.home import ROUND, Homes, Verdict, _fnv1a, hash_of
from pipeline.steps.batches.observations import Observations
from pipeline.steps.batches.records import RecordBatch

NAMES = [f'cpu_usage_user{{host="{i}"}}' for i in range(40)]
COUNT = 4


def murmur2_of(key: bytes) -> int:
    return (int(murmur2(key)) & 0x7FFFFFFF) % COUNT


class Clock:
    now = 0.0

    def __call__(self) -> float:
        return self.now


def looked(
    homes: Homes, records: Iterable[tuple[str, bytes | None]], counts: Sequence[int] = (COUNT,), *, cut: int = 7
) -> Verdict | None:
    """Records (series, key), in batches."""
    records = list(records)
    rows = {name: row for row, name in enumerate(dict.fromkeys(name for name, _ in records))}
    for start in range(0, len(records), cut):
        some = records[start : start + cut]
        n = len(some)
        batch = RecordBatch(
            "t", homes.partition, np.arange(n), n, [k for _, k in some], [b""] * n, np.zeros(n, np.int64)
        )
        observations = Observations(np.arange(n), [s for s, _ in some], np.zeros(n, np.int64), np.zeros((n, 1)))
        homes.look(batch, observations, np.array([rows[s] for s, _ in some], np.intp), counts)
    return homes.verdict


def of_partition(partition: int, partition_of: Callable[[bytes], int]) -> list[tuple[str, bytes | None]]:
    return [(n, n.encode()) for n in NAMES if partition_of(n.encode()) == partition] * 8


@pytest.mark.parametrize("partition", range(COUNT))
def test_series_keyed_by_their_name_or_by_a_label_that_they_share_are_at_home(partition: int) -> None:
    assert looked(Homes(partition), of_partition(partition, murmur2_of)) is None
    host = next(h for h in (f"host-{i}".encode() for i in range(99)) if murmur2_of(h) == partition)
    assert sum(hash_of(n) % COUNT != partition for n in NAMES) > 20
    assert looked(Homes(partition), [(n, host) for n in NAMES] * 8) is None


@pytest.mark.parametrize("partition", range(COUNT))
@pytest.mark.parametrize("key", [None, b""])
def test_series_without_a_key_are_told_with_the_mend(partition: int, key: bytes | None) -> None:
    verdict = looked(Homes(partition), [(n, key) for n in NAMES] * 8)
    assert verdict is not None
    assert (verdict.kind, verdict.in_pieces) == ("keyless", True)
    assert "no key, so each series lies in pieces" in str(verdict)
    assert "routing_tag" in str(verdict)


def test_three_series_without_a_key_are_told_too() -> None:
    partition = next(p for p in range(COUNT) if all(hash_of(n) % COUNT != p for n in NAMES[:3]))
    verdict = looked(Homes(partition), [(n, None) for n in NAMES[:3]] * 8)
    assert verdict is not None
    assert (verdict.kind, verdict.away) == ("keyless", 3)


def test_keys_that_change_within_a_series_are_told_though_each_record_lies_by_its_key() -> None:
    keys = [k for k in (f"{i:x}".encode() for i in range(5000)) if murmur2_of(k) == 1][:320]
    verdict = looked(Homes(1), [(NAMES[i % 40], key) for i, key in enumerate(keys)])
    assert verdict is not None
    assert (verdict.kind, verdict.in_pieces) == ("keys change", True)


@pytest.mark.parametrize(
    ("kind", "partition_of"),
    [("CRC32", lambda key: zlib.crc32(key) % COUNT), ("FNV-1a", lambda key: _fnv1a(key) % COUNT)],
)
def test_another_partitioner_is_told_and_its_series_are_whole(kind: str, partition_of: Callable[[bytes], int]) -> None:
    verdict = looked(Homes(2), of_partition(2, partition_of))
    assert verdict is not None
    assert (verdict.kind, verdict.in_pieces) == (kind, False)
    assert f"hashed by {kind}" in str(verdict)


def test_two_partitioners_at_once_are_no_whole_series() -> None:
    mixed = of_partition(2, lambda key: zlib.crc32(key) % COUNT) + of_partition(2, murmur2_of)
    verdict = looked(Homes(2), mixed)
    assert verdict is not None
    assert (verdict.kind, verdict.in_pieces) == ("unknown", True)


@pytest.mark.parametrize(("key", "hashed"), [(b"", 0x811C9DC5), (b"a", 0xE40C292C), (b"foobar", 0xBF9CF968)])
def test_fnv1a_is_the_one_of_its_authors_less_the_sign_as_sarama_has_it(key: bytes, hashed: int) -> None:
    assert _fnv1a(key) == (1 << 32) - hashed


def test_a_few_strays_are_no_verdict() -> None:
    stray = next(n for n in (f"tried-{i}" for i in range(99)) if hash_of(n) % COUNT != 1)
    assert looked(Homes(1), [(stray, None)] * 15) is None
    assert looked(Homes(1), [*of_partition(1, murmur2_of) * 3, *[(stray, None)] * 15]) is None
    assert looked(Homes(1), [(stray, None)] * 16) is not None


def test_one_partition_is_everybodys_home_and_a_count_that_nobody_knows_says_nothing() -> None:
    for counts in ((1,), ()):
        assert looked(Homes(0), [(n, None) for n in NAMES] * 8, counts) is None


def test_a_producer_that_was_mended_is_noticed_with_the_next_whole_round() -> None:
    clock = Clock()
    homes = Homes(1, clock)
    assert looked(homes, [(n, None) for n in NAMES] * 8) is not None
    assert homes.share > 0.5
    mended = of_partition(1, murmur2_of)
    for _ in range(2):
        clock.now += ROUND
        looked(homes, mended * 2)
    clock.now += ROUND
    assert looked(homes, mended) is None
    assert homes.share == 0.0


def test_added_partitions_leave_what_was_written_before_at_home() -> None:
    before = [(n, n.encode()) for n in NAMES if hash_of(n) % 2 == 1] * 8
    assert looked(Homes(1), before, Growth(4, history=10**6).possible(5, 1, counted=4)) is None  # read back
    late = Growth(2).hear(4, end=9, offset=9).grown()  # producers hear of it late
    assert looked(Homes(1), before, late.possible(10**6, 1, counted=4)) is None
    assert looked(Homes(1), before, Growth(4).possible(10**6, 1, counted=4)) is not None


def test_a_round_looks_at_few_series_and_the_next_at_others() -> None:
    clock = Clock()
    homes = Homes(1, clock)
    many = [f"s{i}" for i in range(5000)]
    for _ in range(3):
        looked(homes, [(n, n.encode()) for n in many if hash_of(n) % COUNT == 1] * 2, cut=1000)
        assert len(homes._seen) <= 256
        clock.now += ROUND
    assert homes.verdict is None
