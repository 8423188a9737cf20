"""What is read of a partition, and what of it cannot be used: records as columns, before anything is known of what is in them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True, slots=True)
class Standing:
    """What Kafka says of a partition.

    Attributes
    ----------
    first, end
        First offset of the log, and the one behind its last record.
    committed
        What the group has committed; None where it has not, or only that it is going to start there, and still can.
    partitions
        Of the topic; 0: not known.
    """

    first: int
    end: int
    committed: int | None = None
    partitions: int = 0


@dataclass(frozen=True, slots=True)
class Refused:
    """Why a record could not be read, and what is there of it; all behind it in its record batch shares its fate.

    Attributes
    ----------
    detail
        Why, and which offsets.
    size
        Bytes of the record as it says, else of its batch as it was packed; 0: not known.
    key, head
        Of the record, as far as they were there.
    """

    offset: int
    reason: str
    detail: str
    size: int
    key: bytes | None = None
    head: bytes = b""


@dataclass(slots=True)
class RecordBatch:
    """All records that one poll brought of one partition, as bytes.

    Attributes
    ----------
    offsets : (N,) int64
        Rising strictly; holes are legal (compaction, transaction markers).
    next_offset
        Where the next poll goes on: after the last record *and* any markers behind it.
    timestamps : (N,) int64
        Kafka's own time stamps in ms, -1 where there is none: for metrics of latency, and where the settings say that they are the records' times.
    missed
        How many offsets before this batch expired while nobody had read them (retention was quicker).
    refused
        By offset: why a record, which has its place among the others, could not be read (`pipeline.kafka.record_batches`).
    """

    topic: str
    partition: int
    offsets: NDArray[np.int64]
    next_offset: int
    keys: Sequence[bytes | None]
    values: Sequence[bytes | None]
    timestamps: NDArray[np.int64]
    missed: int = 0
    refused: Mapping[int, Refused] = field(default_factory=dict)

    def __len__(self) -> int:
        return len(self.values)

    def since(self, offset: int) -> RecordBatch:
        """The records from an offset on; the batch itself where nothing stands before it."""
        if not len(self) or self.offsets[0] >= offset:
            return self
        return self._slice(slice(int(np.searchsorted(self.offsets, offset)), None), self.next_offset)

    def before(self, offset: int) -> RecordBatch:
        """The records before an offset, which is where the next ones begin."""
        return self._slice(slice(int(np.searchsorted(self.offsets, offset))), offset)

    def _slice(self, part: slice, next_offset: int) -> RecordBatch:
        columns = self.keys[part], self.values[part], self.timestamps[part]
        return RecordBatch(self.topic, self.partition, self.offsets[part], next_offset, *columns, refused=self.refused)


@dataclass(slots=True)
class Rejected:
    """A record that cannot be an observation: why, and which one (index into the RecordBatch)."""

    index: int
    reason: str
    detail: str
