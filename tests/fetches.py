"""What aiokafka has fetched of a partition, without a broker: any bytes as a fetch's answer, and all that is taken of them."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

from aiokafka.consumer.fetcher import READ_COMMITTED, FetchResult, PartitionRecords
from aiokafka.consumer.subscription_state import Assignment
from aiokafka.structs import TopicPartition

from pipeline.kafka.record_batches import FetchedBatches
from pipeline.kafka.transport.fetching import Columns, take

TP = TopicPartition("t", 0)


def fetcher_with(
    raw: bytes,
    start: int,
    *,
    aborted: list[tuple[int, int]] = (),  # type: ignore[assignment]
    isolation: int = READ_COMMITTED,
    reader: Any = FetchedBatches,
) -> Any:
    assignment = Assignment([TP])
    assignment.state_value(TP).seek(start)
    records = PartitionRecords(TP, reader(raw), list(aborted), start, None, None, True, isolation)
    result = FetchResult(TP, assignment=assignment, partition_records=records, backoff=0.1)
    return SimpleNamespace(_records={TP: result}, at=assignment.state_value(TP))


def drained(fetcher: Any, limits: list[int], **how: Any) -> list[Columns]:
    got = []
    while TP in fetcher._records:
        taken = take(fetcher, TP, limits[len(got) % len(limits)], **how)
        if taken is None:
            break
        assert taken.next_offset == fetcher.at.position
        got.append(taken)
    assert TP not in fetcher._records
    return got
