"""Plain records of a metric read from the bytes that a fetch brought (`pipeline.steps.reading.plain`): the function that is compiled.

    {"series":"web-1","timestamp":1700000000000,"value":0.25}        members in any order, spaces between what JSON divides

Plain is what is exactly this, with a name of ASCII without escapes and numbers of at most 18 digits without an exponent. All else, however right or wrong it is,
is left to whoever reads record by record and can say why. Nothing is looked at outside a record's own bytes.
"""

from __future__ import annotations

import numpy as np
from numba import types
from numba.extending import intrinsic

from detectors.compiling import inner
from detectors.kernels.ahead import fetch_line
from producers.records import EARLIEST, LATEST, MAX_SERIES_BYTES

QUOTE, COMMA, MINUS, POINT, COLON, ESCAPE, OPEN, CLOSE, SPACE, ZERO, NINE = (np.int64(ord(c)) for c in '",-.:\\{} 09')
LONGEST_NAME = MAX_SERIES_BYTES // 4
DIGITS, DECIMALS = 18, 22
"""Whole numbers of so many digits are below 2^63; ten to the power of so many is exact in float64."""
_POWERS = 10.0 ** np.arange(DECIMALS + 1)
_NAMES = np.frombuffer(b'series"timestamp"value"', np.uint8)
_PLACES = (0, 7), (7, 17), (17, 23)


def signature():
    """Of `run`."""
    from numba import types as t

    longs = t.Array(t.int64, 1, "A", readonly=True)
    return t.void(
        t.Array(t.uint8, 1, "C", readonly=True),
        *(longs,) * 2,
        t.Array(t.int32, 1, "C"),
        t.Array(t.int64, 1, "C"),
        t.Array(t.uint8, 1, "C"),
        t.Array(t.int64, 1, "C"),
        t.Array(t.int64, 2, "C"),
        t.Array(t.int64, 1, "C"),
        t.Array(t.float64, 1, "C"),
        t.Array(t.int64, 1, "C"),
    )


@intrinsic
def fma(typing, a, b, c):
    """The product of two and a third, rounded once."""

    def code(context, builder, sig, args):
        return builder.fma(*args)

    return types.float64(types.float64, types.float64, types.float64), code


@inner
def byte(data, at, stop):
    """The byte there; 0 behind the end."""
    return np.int64(data[at]) if at < stop else np.int64(0)


@inner
def behind(data, at, stop):
    """Where what follows spaces is."""
    while byte(data, at, stop) == SPACE:
        at += 1
    return at


@inner
def is_named(data, at, stop, names, name):
    """Whether a member's name and the quote behind it stand there."""
    start, end = name
    if at + end - start > stop:
        return False
    same = True
    for i in range(end - start):
        same = same and data[at + i] == names[start + i]
    return same


@inner
def member(data, at, stop, seen, names, places):
    """Which of three members is named behind the bracket or the comma there, as 1, 2 or 4, and where its value begins; 0: none of them, or one that was seen."""
    at, which = behind(data, at + 1, stop), np.int64(0)
    if byte(data, at, stop) != QUOTE:
        return which, at
    at += 1
    for nth in range(3):
        if which == 0 and is_named(data, at, stop, names, places[nth]):
            which, at = np.int64(1) << nth, at + places[nth][1] - places[nth][0]
    at = behind(data, at, stop)
    if seen & which or byte(data, at, stop) != COLON:
        return np.int64(0), at
    return which, behind(data, at + 1, stop)


@inner
def whole(data, at, stop):
    """A number of digits, and what is behind it; as many digits as there are, of which the first is no 0 where there are more."""
    total, start = np.int64(0), at
    while at < stop and ZERO <= np.int64(data[at]) <= NINE and at - start <= DIGITS:
        total = total * 10 + (np.int64(data[at]) - ZERO)
        at += 1
    if at == start or at - start > DIGITS or (at - start > 1 and np.int64(data[start]) == ZERO):
        return np.int64(0), np.int64(-1)
    return total, at


@inner
def quotient(total, decimals):
    """The float64 nearest to total / 10^decimals, and whether it is sure to be: what is left of a first division corrects it."""
    power, near = _POWERS[decimals], np.float64(total)
    first = near / power
    left = fma(-first, power, near) + np.float64(total - np.int64(near))
    more, doubt = left / power, abs(first) * 2.0**-90
    return first + more, first + (more - doubt) == first + (more + doubt)


@inner
def number(data, at, stop):
    """A value, and what is behind it; -1: not plain."""
    nothing, negative = (0.0, np.int64(-1)), byte(data, at, stop) == MINUS
    at += negative
    total, at = whole(data, at, stop)
    if at < 0:
        return nothing
    decimals = 0
    if byte(data, at, stop) == POINT:
        at += 1
        start = at
        while at < stop and ZERO <= np.int64(data[at]) <= NINE:
            digit = np.int64(data[at]) - ZERO
            if total >= 10 ** (DIGITS - 1) or at - start >= DECIMALS:
                return nothing
            total = total * 10 + digit
            at += 1
        decimals = at - start
        if not decimals:
            return nothing
    elif negative and total == 0:  # a whole number has no sign there
        return nothing
    value, sure = quotient(total, decimals)
    if not sure and decimals:
        return nothing
    return -value if negative else value, at


@inner
def name_of(data, at, stop):
    """Where a text without escapes ends, which begins there and is no longer than a name, and a number made of its bytes; -1: not plain."""
    start, mixed = at, np.uint64(14695981039346656037)
    while at < stop and SPACE <= np.int64(data[at]) < 127:
        one = np.int64(data[at])
        if one == QUOTE:
            return (at if at - start <= LONGEST_NAME else np.int64(-1)), mixed
        if one == ESCAPE:
            break
        mixed = (mixed ^ np.uint64(one)) * np.uint64(1099511628211)
        at += 1
    return np.int64(-1), mixed


@inner
def first_of(mixed, table):
    """The place at which a name's number is looked for first."""
    return np.int64((mixed ^ (mixed >> np.uint64(32))) & np.uint64(len(table) - 1))


@inner
def place_of(data, start, end, mixed, table, ends, pool, count):
    """The number that a name has, from 1 on; a new one's where there is room, else 0."""
    mask, at = len(table) - 1, first_of(mixed, table)
    for _ in range(64):  # whoever makes names that meet makes them slow, not all others
        known = np.int64(table[at]) - 1
        if known < 0:
            begin, stop = ends[count[0]], ends[count[0]] + end - start
            if count[0] + 1 >= len(ends) or stop > len(pool):
                return np.int64(0)
            for i in range(end - start):
                pool[begin + i] = data[start + i]
            count[0] += 1
            ends[count[0]], table[at] = stop, count[0]
            return count[0]
        begin, same = ends[known], ends[known + 1] - ends[known] == end - start
        i = 0
        while same and i < end - start:
            same = pool[begin + i] == data[start + i]
            i += 1
        if same:
            return known + 1
        at = (at + 1) & mask
    return np.int64(0)


@inner
def read(data, at, stop, r, times, values):
    """Read record r, which lies there: where its name begins and ends, and a number made of its bytes; 0: it is not plain."""
    nothing, seen = (np.int64(0), np.int64(0), np.uint64(0)), 0
    start = end = np.int64(0)
    mixed = np.uint64(0)
    at = behind(data, at, stop)
    if byte(data, at, stop) != OPEN:
        return nothing
    while seen < 7:
        which, at = member(data, at, stop, seen, _NAMES, _PLACES)
        if which == 0:
            return nothing
        if which == 1:
            if byte(data, at, stop) != QUOTE:
                return nothing
            start = at + 1
            end, mixed = name_of(data, start, stop)
            at = end + 1 if end > start else np.int64(-1)
        elif which == 2:
            times[r], at = whole(data, at, stop)
            at = at if EARLIEST <= times[r] < LATEST else np.int64(-1)
        else:
            values[r], at = number(data, at, stop)
        if at < 0:
            return nothing
        seen |= which
        at = behind(data, at, stop)
        if byte(data, at, stop) != (CLOSE if seen == 7 else COMMA):
            return nothing
    return (start, end, mixed) if behind(data, at + 1, stop) == stop else nothing


@inner
def fetch_known(names, first, last, found, table, ends, pool):
    """Have what is known of the names of some records come to the cache: of many series all of it is elsewhere, and one look-up waits for the one before."""
    for r in range(first, last):
        at = first_of(np.uint64(found[r - first, 2]), table)
        if names[r] and table[at] > 0:
            fetch_line(ends, np.int64(table[at]) - 1, 0)
    for r in range(first, last):
        at = first_of(np.uint64(found[r - first, 2]), table)
        if names[r] and table[at] > 0:
            fetch_line(pool, ends[np.int64(table[at]) - 1], 0)


def run(data, starts, ends_of, table, ends, pool, count, found, times, values, names):
    """Read N records.

    Parameters
    ----------
    data, starts, ends_of
        Their bytes, and where those of each lie, (N,).
    table, ends, pool, count
        Names that are known: (power of 2,) of their numbers and 1, by their bytes; where the bytes of each end, the first 0 before them; the bytes; how many they are, (1,).
        New ones are added while there is room.
    found : (AT_ONCE, 3)
        Scratch.
    times, values, names : (N,)
        Take what was read; names 0: it is not plain.
    """
    N = len(starts)
    for first in range(0, N, len(found)):
        last = min(first + len(found), N)
        for r in range(first, last):
            start, end, mixed = read(data, starts[r], ends_of[r], r, times, values)
            found[r - first, 0], found[r - first, 1], found[r - first, 2], names[r] = start, end, np.int64(mixed), start
            if start:
                fetch_line(table, first_of(mixed, table), 0)
        fetch_known(names, first, last, found, table, ends, pool)
        for r in range(first, last):
            if names[r]:
                start, end, mixed = found[r - first, 0], found[r - first, 1], np.uint64(found[r - first, 2])
                names[r] = place_of(data, start, end, mixed, table, ends, pool, count)
