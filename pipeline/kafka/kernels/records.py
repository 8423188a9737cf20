"""Where the fields of a record batch's records lie (format 2, unpacked); the function that is compiled.

Kafka's documentation, "Message Format": each record is its length, a byte of attributes, time and offset relative to the batch, key, value and headers;
numbers are zigzag varints. What is not exactly that is left to whoever reads record by record and can say why.
"""

from __future__ import annotations

import numpy as np

from detectors.compiling import inner
from pipeline.kafka.kernels.fields import AT, KEY, KEY_END, OFFSET, STAMP, VALUE, VALUE_END


def signature():
    """Of `run`."""
    from numba import types as t

    return t.void(
        t.Array(t.uint8, 1, "C", readonly=True), t.int64, t.Array(t.int64, 2, "C"), t.Array(t.boolean, 1, "C")
    )


@inner
def varint(data, at, stop):
    """A zigzag varint of at most nine bytes before `stop`, and the position behind it; -1 where there is none."""
    result, shift = np.int64(0), np.int64(0)
    while at < stop and shift < 63:
        byte = np.int64(data[at])
        at += 1
        result |= (byte & 127) << shift
        if byte < 128:
            return (result >> 1) ^ -(result & 1), at
        shift += 7
    return np.int64(0), np.int64(-1)


@inner
def span_of(data, at, stop):
    """Begin and end of bytes that say their length first, -1 for None, and the position behind them; -1 where they reach beyond `stop`."""
    size, at = varint(data, at, stop)
    if at < 0 or size > stop - at:
        return np.int64(0), np.int64(0), np.int64(-1)
    if size < 0:
        return at, np.int64(-1), at
    return at, at + size, at + size


def run(data, offsets, out, whole):
    """Look at as many records as `out` has room for.

    Parameters
    ----------
    data : (n,)
        The records.
    offsets
        How many the batch has: those of the records lie among them and rise.
    out : (7, count)
        Takes what was found (`fields`).
    whole : (1,)
        Takes whether all of it is as it should be.
    """
    at, before, end = np.int64(0), np.int64(-1), np.int64(len(data))
    whole[0] = False
    for i in range(out.shape[1]):
        out[AT, i] = at
        size, at = varint(data, at, end)
        if at < 0 or size < 1 or size > end - at:
            return
        stop = at + size
        stamp, at = varint(data, at + 1, stop)
        if at < 0:
            return
        offset, at = varint(data, at, stop)
        if at < 0 or offset <= before or offset >= offsets:
            return
        out[STAMP, i], out[OFFSET, i], before = stamp, offset, offset
        out[KEY, i], out[KEY_END, i], at = span_of(data, at, stop)
        if at < 0:
            return
        out[VALUE, i], out[VALUE_END, i], at = span_of(data, at, stop)
        if at < 0:
            return
        at = stop
    whole[0] = at == end
