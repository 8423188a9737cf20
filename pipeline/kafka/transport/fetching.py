"""Columns out of what aiokafka has fetched: offsets, keys, values and time stamps of one partition, a list each.

aiokafka builds an object of twelve fields for each record, which takes most of the time that reading takes. The columns are
taken straight from the record batches instead, as `pipeline.kafka.record_batches` reads them, and say what aiokafka's own records say
(`tests/pipeline/kafka/transport/test_fetching.py`). A record that cannot be read has its place in the columns as others have, and `refused`
says why.
"""

# ruff: noqa: SLF001  aiokafka's fetcher is private; `record_batches.install` refuses versions that were not tried

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from itertools import islice
from operator import lt
from typing import Any

from aiokafka.errors import CorruptRecordException
from aiokafka.structs import TopicPartition

from pipeline.kafka.record_batches import BoundedBatch, FetchedBatches
from pipeline.steps.batches import Refused
from producers.formats.base import Reason

_ABORT = b"\x00\x00\x00\x00"  # version and type of the marker


@dataclass(slots=True)
class Columns:
    """Records of one partition, each field a list.

    Attributes
    ----------
    start
        The position that was read at.
    next_offset
        The position behind what was taken: the last record and any markers that follow.
    refused
        By offset: why a record is not what was written. Its value is the head of it, as far as it could be read.
    """

    start: int
    next_offset: int
    offsets: list[int] = field(default_factory=list)
    timestamps: list[int] = field(default_factory=list)
    keys: list[bytes | None] = field(default_factory=list)
    values: list[bytes | None] = field(default_factory=list)
    refused: dict[int, Refused] = field(default_factory=dict)

    def __len__(self) -> int:
        return len(self.values)

    def extend(self, records: list[Any], offsets: list[int]) -> None:
        """Take over the fields of records; the objects can go at once, before the garbage collector looks at them."""
        self.offsets += offsets
        self.timestamps += [r.timestamp for r in records]
        self.keys += [r.key for r in records]
        self.values += [r.value for r in records]

    def refuse(self, refused: Refused) -> None:
        """Give a record its place that could not be read."""
        self.offsets.append(refused.offset)
        self.timestamps.append(-1)
        self.keys.append(refused.key)
        self.values.append(refused.head)
        self.refused[refused.offset] = refused


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
            records, offsets = self._portion(batch, wanted)
            size += batch.held
            if len(records) < wanted:
                after = batch.next_offset  # also where compaction took the batch's last records
                self._batch = None
            else:
                after = offsets[-1] + 1
            ended = self._batch is None
            if offsets and offsets[0] < fetched.next_fetch_offset:  # a batch may start before the position
                skipped = bisect_left(offsets, fetched.next_fetch_offset)
                records, offsets = records[skipped:], offsets[skipped:]
            taken.extend(records, offsets)
            if ended and batch.refused is not None and after > fetched.next_fetch_offset:
                taken.refuse(replace(batch.refused, offset=max(batch.refused.offset, fetched.next_fetch_offset)))
            fetched.next_fetch_offset = max(after, fetched.next_fetch_offset)
        taken.next_offset = fetched.next_fetch_offset
        return taken

    def _portion(self, batch: BoundedBatch, wanted: int) -> tuple[list[Any], list[int]]:
        """Up to `wanted` records of a batch and their offsets; fewer at its end only."""
        records: list[Any] = []
        offsets: list[int] = []
        try:
            records = list(islice(self._records, wanted))
            offsets = [r.offset for r in records]
            good = _in_order(offsets, batch)
        except Exception:  # whatever the compiled reader stumbles over: a header's name that is no UTF-8, say
            good = False
        if not good:  # it is not what it says of itself
            self._records = islice(batch.careful(), self._read, None)
            records = list(islice(self._records, wanted))
            offsets = [r.offset for r in records]
        self._read += len(records)
        return records, offsets

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
            self._records = islice(batch.records(), None)  # a batch must not be asked for an iterator twice
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


def _in_order(offsets: list[int], batch: BoundedBatch) -> bool:
    """Whether offsets rise within what the batch says."""
    if not offsets:
        return True
    first, last = offsets[0], offsets[-1]
    rising = last - first == len(offsets) - 1 and offsets == list(range(first, last + 1))  # nearly always
    return batch.base_offset <= first and last < batch.next_offset and (rising or all(map(lt, offsets, offsets[1:])))
