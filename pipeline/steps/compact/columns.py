"""Compact batches to observations: the values of many records to columns, each message read once, its bad part told.

    values ──decode──▶ one Batch each ──▶ columns end to end ──┬──▶ Observations, with a `Stretch` for each message that tells its sources
                                                               └──▶ Rejected: no batch at all, or times and values that are none

A message stands for many observations at one offset. What is wrong with some of them is one dead letter of the message; the others count.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from pipeline.steps.batches.observations import Observations, Stretch
from pipeline.steps.batches.records import RecordBatch, Rejected
from producers.batches import Batch, Damaged, decode
from producers.formats.base import Reason, shown
from producers.records import EARLIEST, LATEST


def observations_of(
    batch: RecordBatch, index: NDArray[np.intp], values: Sequence[bytes], width: int, rejected: list[Rejected]
) -> Observations:
    """What compact batches hold.

    Parameters
    ----------
    index : (N,)
        Of the values, in the batch.
    width
        Channels that the stream's model takes.
    rejected
        What cannot be used is told here.
    """
    messages: list[Batch] = []
    at: list[int] = []
    for i, value in zip(index.tolist(), values, strict=True):
        try:
            message = decode(value)
            if message.values.shape[1] != width:
                raise _wrong_channels(message, width)
            messages.append(message)
            at.append(i)
        except Damaged as error:
            rejected.append(Rejected(i, Reason.UNDECODABLE, str(error)))
        except _WrongChannels as error:
            rejected.append(Rejected(i, Reason.WRONG_CHANNELS, str(error)))
    if not messages:
        return Observations(np.zeros(0, np.int64), [], np.zeros(0, np.int64), np.zeros((0, width)))
    counts = np.array([len(m) for m in messages])
    whole = Observations(
        np.repeat(batch.offsets[at], counts),
        np.concatenate([_named(m) for m in messages]).tolist(),
        np.concatenate([m.timestamps for m in messages]),
        np.concatenate([m.values for m in messages]),
        kinds=_column([m.kinds for m in messages], counts, np.uint8),
        begun=_column([m.begun for m in messages], counts, np.int64),
        stretches=_stretches(messages, counts),
    )
    usable = (whole.timestamps >= EARLIEST) & (whole.timestamps < LATEST)
    for channel in whole.values.T:
        usable &= np.isfinite(channel)
    if usable.all():
        return whole
    _tell(whole, usable, np.repeat(at, counts), rejected)
    return whole.take(np.flatnonzero(usable))


class _WrongChannels(ValueError):
    pass


def _wrong_channels(message: Batch, width: int) -> _WrongChannels:
    return _WrongChannels(f"{message.values.shape[1]} values; {width} are expected")


def _named(message: Batch) -> NDArray[np.object_]:
    """The series of each observation."""
    return np.array(message.names, object)[message.series]


def _column(columns: Sequence[NDArray | None], counts: NDArray[np.intp], dtype: type) -> NDArray | None:  # type: ignore[type-arg]
    """Columns end to end, None where there is none in any of them."""
    if all(column is None for column in columns):
        return None
    return np.concatenate([np.zeros(n, dtype) if c is None else c for c, n in zip(columns, counts, strict=True)])


def _stretches(messages: Sequence[Batch], counts: NDArray[np.intp]) -> list[Stretch]:
    stops = np.cumsum(counts).tolist()
    return [
        Stretch(stop - len(m), stop, tuple(m.sources), *m.positions)
        for m, stop in zip(messages, stops, strict=True)
        if m.positions is not None
    ]


def _tell(whole: Observations, usable: NDArray[np.bool_], index: NDArray[np.intp], rejected: list[Rejected]) -> None:
    """One rejection for each message with observations that are none: the first of them, and how many more there are."""
    bad = np.flatnonzero(~usable)
    which, first, many = np.unique(index[bad], return_index=True, return_counts=True)
    for i, f, n in zip(which.tolist(), bad[first].tolist(), many.tolist(), strict=True):
        series, others = shown(whole.series[f]), f" (and {n - 1} more points)" if n > 1 else ""
        if not np.isfinite(whole.values[f]).all():
            rejected.append(Rejected(i, Reason.NOT_FINITE, f"a value of {series} is not finite{others}"))
        else:
            detail = f"{whole.timestamps[f]} ms of {series} lies outside 1971 to 2200{others}"
            rejected.append(Rejected(i, Reason.ABSURD_TIMESTAMP, detail))
