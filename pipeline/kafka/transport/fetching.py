"""Columns out of what aiokafka has fetched: offsets, keys, values and time stamps of one partition.

aiokafka builds an object of twelve fields for each record, which takes most of the time that reading takes. The columns are
taken straight from the record batches instead, as `pipeline.kafka.record_batches` reads them, and say what aiokafka's own records say
(`tests/pipeline/kafka/transport/test_fetching.py`). A record that cannot be read has its place in the columns as others have, and `refused`
says why.
"""

# ruff: noqa: SLF001  aiokafka's fetcher is private; `record_batches.install` refuses versions that were not tried

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from itertools import islice
from typing import Any

import numpy as np
from aiokafka.errors import CorruptRecordException
from aiokafka.structs import TopicPartition
from numpy.typing import NDArray

from pipeline.kafka.record_batches import BoundedBatch, FetchedBatches, Part, Record, Table
from pipeline.steps.batches.binary import Strings, concatenated
from pipeline.steps.batches.records import RecordBatch, Refused
from producers.formats.base import Reason

_ABORT = b"\x00\x00\x00\x00"  # version and type of the marker


@dataclass(slots=True)
class Columns:
    """Records of one partition, as columns.

    Attributes
    ----------
    start
        The position that was read at.
    next_offset
        The position behind what was taken: the last record and any markers that follow.
    parts
        What was taken of each batch.
    refused
        By offset: why a record is not what was written. Its value is the head of it, as far as it could be read.
    """

    start: int
    next_offset: int
    parts: list[Part] = field(default_factory=list)
    count: int = 0
    refused: dict[int, Refused] = field(default_factory=dict)

    def __len__(self) -> int:
        return self.count

    def add(self, part: Part) -> None:
        """Go on with more records."""
        if len(part.offsets):
            self.parts.append(part)
            self.count += len(part.offsets)

    def refuse(self, refused: Refused) -> None:
        """Give a record its place that could not be read."""
        self.add(Part.of([Record(refused.offset, -1, refused.key, refused.head)]))
        self.refused[refused.offset] = refused

    def batch(self, tp: TopicPartition, missed: int = 0) -> RecordBatch:
        """All of them."""
        offsets, timestamps = np.empty(0, np.int64), np.empty(0, np.int64)
        keys: Strings = []
        values: Strings = []
        if len(self.parts) == 1:  # of a live stream nearly always
            offsets, timestamps, keys, values = self.parts[0]
        elif self.parts:
            offsets = np.concatenate([p.offsets for p in self.parts])
            timestamps = np.concatenate([p.timestamps for p in self.parts])
            keys, values = concatenated([(p.keys, p.values) for p in self.parts])
        return RecordBatch(
            tp.topic, tp.partition, offsets, self.next_offset, keys, values, timestamps, missed, self.refused
        )


def take(
    fetcher: Any, tp: TopicPartition, limit: int, *, room: int = 1 << 62, despite_damage: bool = False
) -> Columns | None:
    """Take up to `limit` records that were fetched of a partition; used up, they leave the fetcher.

    No batch is begun behind `room` unpacked bytes. It fetches again when it is told (`fetch_again`). None where they were
    fetched for another position, or what was fetched holds nothing.

    Parameters
    ----------
    despite_damage
        A batch that is not what was written (checksum, length) is passed over, and refused like a record.

    Raises
    ------
    KafkaError
        What the fetch of this partition ended with.
    CorruptRecordException
        The next batch is damaged: it counts as not read, and another fetch may bring it whole.
    """
    result = fetcher._records[tp]
    more = False
    try:
        if hasattr(result, "check_raise"):
            result.check_raise()
        taken = _from_batches(result, limit, room, despite_damage)
        more = result.has_more()
    finally:  # also after an error
        if not more:
            del fetcher._records[tp]
    return taken


def begun(fetcher: Any, tp: TopicPartition) -> bool:
    """Whether a batch of the partition lies unpacked."""
    return held(fetcher._records[tp]) > 0


def held(result: Any) -> int:
    """Bytes of the batch of a fetch's result that is being read, unpacked."""
    batches = getattr(result, "tidewatch_batches", None)
    return 0 if batches is None else int(batches.held)


def fetch_again(fetcher: Any) -> None:
    """Tell the fetcher that records were used up."""
    fetcher._notify(fetcher._wait_consume_future)


def _from_batches(result: Any, limit: int, room: int, despite_damage: bool) -> Columns | None:
    """Do what `FetchResult.getall` and `PartitionRecords._unpack_records` do, without a ConsumerRecord for each record."""
    if not result.check_assignment(result._topic_partition) or not result.has_more():
        return None
    fetched = result._partition_records
    batches = getattr(result, "tidewatch_batches", None)
    if batches is None:
        batches = result.tidewatch_batches = _Batches(fetched)
    end = result._assignment.state_value(result._topic_partition).highwater or 1 << 62
    taken: Columns = batches.take(limit, room, end, despite_damage)
    result._update_position()
    if batches.empty:
        result._partition_records = None
    return None if taken.next_offset == taken.start else taken


class _Batches:
    """The record batches of one fetch, read in portions; keeps `next_fetch_offset` of aiokafka's PartitionRecords."""

    def __init__(self, fetched: Any) -> None:
        self.empty = False
        self._fetched = fetched
        self._raw: FetchedBatches = fetched._records
        self._batch: BoundedBatch | None = None
        self._table: Table | None = None
        self._read = 0  # records of the batch that were taken
        self._records: Iterator[Any] = iter(())
        # Its own iterator, never begun, refers to it in turn: each fetch would stay in memory, with its bytes, until the garbage
        # collector comes, which a worker has told to come seldom.
        fetched._records_iterator = None

    @property
    def held(self) -> int:
        """Bytes of the batch that is being read, unpacked."""
        return 0 if self._batch is None else self._batch.held

    def take(self, limit: int, room: int, log_end: int, despite_damage: bool) -> Columns:
        """The next records, at most `limit`; fewer at the end, behind `room` bytes, or before a damaged batch only."""
        fetched = self._fetched
        taken = Columns(fetched.next_fetch_offset, fetched.next_fetch_offset)
        size = 0
        while len(taken) < limit:
            batch = self._batch or (self._next_batch(taken, log_end, despite_damage) if size < room else None)
            if batch is None:
                break
            wanted = limit - len(taken)
            part = self._portion(batch, wanted)
            size += batch.held
            if len(part.offsets) < wanted:
                after = batch.next_offset  # also where compaction took the batch's last records
                self._batch = self._table = None
            else:
                after = int(part.offsets[-1]) + 1
            ended = self._batch is None
            taken.add(part.since(fetched.next_fetch_offset))  # a batch may start before the position
            if ended and batch.refused is not None and after > fetched.next_fetch_offset:
                taken.refuse(replace(batch.refused, offset=max(batch.refused.offset, fetched.next_fetch_offset)))
            fetched.next_fetch_offset = max(after, fetched.next_fetch_offset)
        taken.next_offset = fetched.next_fetch_offset
        return taken

    def _portion(self, batch: BoundedBatch, wanted: int) -> Part:
        """Up to `wanted` records of a batch; fewer at its end only."""
        if self._table is not None:
            part = self._table.part(self._read, wanted)
        else:
            try:
                part = Part.of(list(islice(self._records, wanted)))
                good = _in_order(part.offsets, batch)
            except Exception:  # whatever the compiled reader stumbles over: a header's name that is no UTF-8, say
                good = False
            if not good:  # it is not what it says of itself
                self._records = islice(batch.careful(), self._read, None)
                part = Part.of(list(islice(self._records, wanted)))
        self._read += len(part.offsets)
        return part

    def _next_batch(self, taken: Columns, log_end: int, despite_damage: bool) -> BoundedBatch | None:
        """Go to the next batch with records, None at the end: markers, and what an aborted transaction wrote, are passed over."""
        fetched = self._fetched
        while self._raw.has_next():
            try:
                batch = self._raw.next_batch(check=fetched._check_crcs, log_end=log_end)
            except CorruptRecordException as error:
                if len(taken):  # first those before it
                    return None
                if not despite_damage:
                    raise
                self._pass_over(taken, str(error), log_end)
                break
            if self._aborted(batch) or batch.is_control_batch:
                fetched.next_fetch_offset = max(batch.next_offset, fetched.next_fetch_offset)
                continue
            self._batch, self._read = batch, 0
            if (table := batch.table()) is None:
                self._records = islice(batch.records(), None)  # a batch must not be asked for an iterator twice
            self._table = table
            return batch
        self.empty = True
        return None

    def _pass_over(self, taken: Columns, why: str, log_end: int) -> None:
        """A damaged batch; what was fetched behind it is fetched again."""
        start = self._fetched.next_fetch_offset
        behind = self._raw.behind(start, log_end)
        where = f"offset {start}" if behind == start + 1 else f"offsets {start} to {behind - 1}"
        taken.refuse(Refused(start, Reason.DAMAGED, f"{why}; {where} cannot be read", 0))
        self._fetched.next_fetch_offset = behind

    def _aborted(self, batch: BoundedBatch) -> bool:
        fetched = self._fetched
        if not fetched._isolation_level or batch.producer_id is None:
            return False
        fetched._consume_aborted_up_to(batch.base_offset)
        if batch.is_control_batch and _aborts(batch):
            fetched._aborted_producers.discard(batch.producer_id)
        return bool(batch.is_transactional and batch.producer_id in fetched._aborted_producers)


def _aborts(batch: BoundedBatch) -> bool:
    """Whether a control batch ends a transaction by taking it back."""
    marker = next(batch.careful(), None)
    return marker is not None and marker.key is not None and marker.key[:4] == _ABORT


def _in_order(offsets: NDArray[np.int64], batch: BoundedBatch) -> bool:
    """Whether offsets rise within what the batch says."""
    if not len(offsets):
        return True
    within = batch.base_offset <= offsets[0] and offsets[-1] < batch.next_offset
    return bool(within and (offsets[1:] > offsets[:-1]).all())
