"""Plain rows of a table read from the bytes that a fetch brought (`pipeline.steps.reading.plain_rows`): the function that is compiled.

    {"series":"web-1","timestamp":1700000000000,"values":[0,"tcp",1.5]}        members in any order, spaces between what JSON divides

Plain is what is exactly this, with numbers where the table has numbers and texts where it has categories, all as `kernels.plain` reads them. All else is left to
whoever reads record by record. Nothing is looked at outside a record's own bytes.
"""

from __future__ import annotations

import numpy as np

from detectors.compiling import inner
from pipeline.steps.kernels.plain import (
    CLOSE,
    COMMA,
    OPEN,
    QUOTE,
    behind,
    byte,
    member,
    name_of,
    number,
    place_of,
    whole,
)
from producers.records import EARLIEST, LATEST

BEGIN, END = (np.int64(ord(c)) for c in "[]")
_NAMES = np.frombuffer(b'series"timestamp"values"', np.uint8)
_PLACES = (0, 7), (7, 17), (17, 24)


def signature():
    """Of `run`."""
    from numba import types as t

    longs = t.Array(t.int64, 1, "A", readonly=True)
    bytes_, i4, i8 = t.Array(t.uint8, 1, "C"), t.Array(t.int32, 1, "C"), t.Array(t.int64, 1, "C")
    return t.void(
        t.Array(t.uint8, 1, "C", readonly=True),
        *(longs,) * 2,
        *(i4, i8, bytes_, i8),
        *(i4, i8, bytes_, i8),
        t.Array(t.boolean, 1, "C"),
        *(i8,) * 2,
        t.Array(t.float64, 2, "C"),
        t.Array(t.int64, 2, "C"),
    )


@inner
def row(data, at, stop, texts, table, ends, pool, count, numbers, codes):
    """Read the values of one row, which begin there; what is behind them, or -1: not plain."""
    n = c = 0
    for k in range(len(texts)):
        at = behind(data, at + 1, stop)  # behind the bracket or the comma
        if texts[k]:
            if byte(data, at, stop) != QUOTE:
                return np.int64(-1)
            end, mixed = name_of(data, at + 1, stop)
            if end < 0:
                return end
            codes[c] = place_of(data, at + 1, end, mixed, table, ends, pool, count)
            if codes[c] == 0:
                return np.int64(-1)
            at, c = end + 1, c + 1
        else:
            numbers[n], at = number(data, at, stop)
            if at < 0:
                return at
            n += 1
        at = behind(data, at, stop)
        if byte(data, at, stop) != (END if k + 1 == len(texts) else COMMA):
            return np.int64(-1)
    return at + 1


def run(
    data, starts, ends_of, table, ends, pool, count, text_table, text_ends, text_pool, text_count, texts, times, names, numbers, codes
):  # fmt: skip
    """Read N records.

    Parameters
    ----------
    data, starts, ends_of, table, ends, pool, count
        Records, and the series that are known, as in `kernels.plain.run`.
    text_table, text_ends, text_pool, text_count
        The same of categories, of all columns.
    texts : (columns,) bool
        Which columns are categories.
    times, names : (N,)
        Take what was read; names 0: it is not plain.
    numbers, codes : (N, numeric), (N, categorical)
        Take the numbers, and which of the known texts stand in the others.
    """
    for r in range(len(starts)):
        at, stop, seen = starts[r], ends_of[r], 0
        names[r] = 0
        start = end = np.int64(0)
        mixed = np.uint64(0)
        at = behind(data, at, stop)
        if byte(data, at, stop) != OPEN:
            continue
        while at >= 0 and seen < 7:
            which, at = member(data, at, stop, seen, _NAMES, _PLACES)
            if which == 0:
                break
            if which == 1:
                if byte(data, at, stop) != QUOTE:
                    break
                start = at + 1
                end, mixed = name_of(data, start, stop)
                at = end + 1 if end > start else np.int64(-1)
            elif which == 2:
                times[r], at = whole(data, at, stop)
                at = at if EARLIEST <= times[r] < LATEST else np.int64(-1)
            elif byte(data, at, stop) != BEGIN:
                break
            else:
                at = row(data, at, stop, texts, text_table, text_ends, text_pool, text_count, numbers[r], codes[r])
            if at < 0:
                break
            seen |= which
            at = behind(data, at, stop)
            if byte(data, at, stop) != (CLOSE if seen == 7 else COMMA):
                break
            if seen == 7 and behind(data, at + 1, stop) == stop:
                names[r] = place_of(data, start, end, mixed, table, ends, pool, count)
