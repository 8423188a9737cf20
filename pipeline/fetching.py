"""Columns out of what aiokafka has fetched: offsets, keys, values and time stamps of one partition, a list each.

aiokafka builds an object of twelve fields for each record, which takes most of the time that reading takes. Where its version
is one that this was written against, the columns are taken straight from the record batches; on any other version from
aiokafka's own records, more slowly. Both say the same (`tests/pipeline/test_fetching.py`).
"""

# ruff: noqa: SLF001  aiokafka's fetcher is private; what is used of it is guarded by its version

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from itertools import islice
from typing import Any

import aiokafka
from aiokafka.errors import CorruptRecordException, KafkaError
from aiokafka.structs import TopicPartition

DIRECT = frozenset({"0.12.0", "0.13.0", "0.14.0"})
"""Versions of aiokafka whose batches are read directly."""


@dataclass(slots=True)
class Columns:
    """Records of one partition, each field a list.

    Attributes
    ----------
    start
        The position that was read at.
    next_offset
        The position behind what was taken: the last record and any markers that follow.
    """

    start: int
    next_offset: int
    offsets: list[int] = field(default_factory=list)
    timestamps: list[int] = field(default_factory=list)
    keys: list[bytes | None] = field(default_factory=list)
    values: list[bytes | None] = field(default_factory=list)

    def __len__(self) -> int:
        return len(self.values)

    def extend(self, records: list[Any]) -> None:
        """Take over the fields of records; the objects can go at once, before the garbage collector looks at them."""
        self.offsets += [r.offset for r in records]
        self.timestamps += [r.timestamp for r in records]
        self.keys += [r.key for r in records]
        self.values += [r.value for r in records]


def take(
    fetcher: Any, tp: TopicPartition, limit: int, *, direct: bool = aiokafka.__version__ in DIRECT
) -> Columns | None:
    """Take up to `limit` records that were fetched of a partition; used up, they leave the fetcher.

    It fetches again when it is told (`fetch_again`). None where they were fetched for another position, or what was fetched
    holds nothing.

    Raises
    ------
    KafkaError
        What the fetch of this partition ended with, or a damaged batch. It counts as not read.
    """
    result = fetcher._records[tp]
    more = False
    try:
        if hasattr(result, "check_raise"):
            result.check_raise()
        taken = (_from_batches if direct else _from_records)(result, limit)
        more = result.has_more()
    except KafkaError:
        raise
    except Exception as error:  # a decompressor's, of whichever library
        msg = f"a batch of {tp.topic}[{tp.partition}] cannot be unpacked: {error!r}"
        raise CorruptRecordException(msg) from error
    finally:  # also after an error: aiokafka would skip what it had unpacked before
        if not more:
            del fetcher._records[tp]
    return taken


def fetch_again(fetcher: Any) -> None:
    """Tell the fetcher that records were used up."""
    fetcher._notify(fetcher._wait_consume_future)


def _from_records(result: Any, limit: int) -> Columns | None:
    state = result._assignment.state_value(result._topic_partition)
    start = state._position
    records = result.getall(limit)
    if state._position == start:
        return None
    taken = Columns(start, state._position)
    taken.extend(records)
    return taken


def _from_batches(result: Any, limit: int) -> Columns | None:
    """Do what `FetchResult.getall` and `PartitionRecords._unpack_records` do, without a ConsumerRecord for each record."""
    if not result.check_assignment(result._topic_partition) or not result.has_more():
        return None
    fetched = result._partition_records
    batches = getattr(result, "tidewatch_batches", None)
    if batches is None:
        batches = result.tidewatch_batches = _Batches(fetched)
    taken: Columns = batches.take(limit)
    result._update_position()
    if batches.empty:
        result._partition_records = None
    return None if taken.next_offset == taken.start else taken


class _Batches:
    """The record batches of one fetch, read in portions; keeps `next_fetch_offset` of aiokafka's PartitionRecords."""

    def __init__(self, fetched: Any) -> None:
        self.empty = False
        self._fetched = fetched
        self._batch: Any = None
        self._records: Iterator[Any] = iter(())
        # Its own iterator, never begun, refers to it in turn: each fetch would stay in memory, with its bytes, until the garbage
        # collector comes, which a worker has told to come seldom.
        fetched._records_iterator = None

    def take(self, limit: int) -> Columns:
        """The next records, at most `limit`; fewer at the end only."""
        fetched = self._fetched
        taken = Columns(fetched.next_fetch_offset, fetched.next_fetch_offset)
        while len(taken) < limit and (self._batch is not None or self._next_batch()):
            wanted = limit - len(taken)
            records = list(islice(self._records, wanted))
            if len(records) < wanted:
                after = self._batch.next_offset  # also where compaction took the batch's last records
                self._batch = None
            else:
                after = records[-1].offset + 1
            if records and records[0].offset < fetched.next_fetch_offset:  # a batch may start before the position
                records = [r for r in records if r.offset >= fetched.next_fetch_offset]
            fetched.next_fetch_offset = max(after, fetched.next_fetch_offset)
            taken.extend(records)
        taken.next_offset = fetched.next_fetch_offset
        return taken

    def _next_batch(self) -> bool:
        """Go to the next batch with records: markers, and what an aborted transaction wrote, are passed over."""
        fetched = self._fetched
        while fetched._records.has_next():
            batch = fetched._records.next_batch()
            if fetched._check_crcs and not batch.validate_crc():
                msg = f"a batch of {fetched._tp.topic}[{fetched._tp.partition}] has a wrong checksum"
                raise CorruptRecordException(msg)
            if self._aborted(batch) or batch.is_control_batch:
                fetched.next_fetch_offset = batch.next_offset
                continue
            self._batch = batch
            self._records = islice(batch, None)  # a batch must not be asked for an iterator twice
            return True
        self.empty = True
        return False

    def _aborted(self, batch: Any) -> bool:
        fetched = self._fetched
        if not fetched._isolation_level or batch.producer_id is None:
            return False
        fetched._consume_aborted_up_to(batch.base_offset)
        if batch.is_control_batch and fetched._contains_abort_marker(batch):
            fetched._aborted_producers.discard(batch.producer_id)
        return bool(batch.is_transactional and batch.producer_id in fetched._aborted_producers)
