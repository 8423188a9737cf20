"""What is remembered of a series, and what was learnt of one that is known: records of fixed size, a part of the series and one of each channel.

    record(C)  =  HEAD, C x CHANNEL                moves on with the series; all zeros: nothing yet
    learnt(C)  =  C x channel, whole               frozen

Each part is a whole number of 8 bytes, so the compiled loops (`kernel`) see the same memory as arrays of 64, 32 and 16 bits, and a field lies
at the same place whatever C is.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from detectors.judgement import alarm, recurring
from detectors.judgement.autoregression import ORDER
from detectors.judgement.clock import DAY_BINS, WEEK_BINS
from detectors.judgement.short_state import CENTRES, ROWS
from detectors.judgement.state import BLOCK
from detectors.judgement.terms import ALARMS, OF_ONE_ROW, SCALED, TERMS

BEGINNING, JUDGING = 0, 1
"""Phases of a series: its first rows are gathered; it is judged."""
BIAS = 1.02
"""Of a mean of bounded sizes."""
WILD = 1e13
"""In units of a series' spread: what is farther out counts as this far."""
UNIT_OF_NOTHING = 1e-5
"""Of a channel of which there were only zeros: a move of this much is seen, and one of 1e8 is told from one of 1e7."""
NORMAL = (3.2, 3.2, 3.2, 3.2, 3.2, math.inf, 0.5, 1.0, 3.2, 3.2)
"""Usual 99 % quantiles of the terms of a series of which nothing is known but its first rows; the picture of 8 rows has no say."""
MOVES, STILL = 4, 96
"""Of the first rows, so many must differ from the one before; a series in which nothing moves for so many rows is one that stands still."""
LEAST = 48
"""Rows, or a day's where that is more (up to 288), before a series that is not known can alarm by anything but the error of the next row."""

_S, _A, _T = len(SCALED), len(ALARMS), len(TERMS)
HEAD = np.dtype(
    [
        ("rows", "<i8"),
        ("local", "<i8", (BLOCK,)),
        ("rows_a_day", "<f8"),
        ("days", "<f8"),
        ("weeks", "<f8"),
        ("debt", "<f8"),
        ("peak", "<f8"),
        ("usual", "<f8", (_T,)),
        ("tails", "<f8", (_A, 2)),
        ("narrow", "<f8", (len(OF_ONE_ROW),)),
        ("run", "<i8", (2,)),  # local times of the first and the newest row of a run of rows beyond the level
        ("phase", "<u2"),
        ("lines", "<u2"),  # whether the bins of a week run in lines
        ("known", "<i4"),
        ("calm", "<i4"),
        ("bins", "<u2", (2,)),
        ("counts", "<u2", (_A, alarm.BINS)),
        ("out", "<u2", (_A,)),
        ("logs", "<u2"),  # which channels are judged by their logarithm, a bit each
        ("twice", "<u2", (recurring.HOURS,)),
        ("once", "<u2", (recurring.HOURS,)),
    ]
)
"""Of a series, see `state.State`."""
CHANNEL = np.dtype(
    [
        ("first", "<f8", (BLOCK,)),  # rows in the unit of the input, while they are gathered; then `returning.Place`
        ("middle", "<f8"),
        ("unit", "<f8"),
        ("level", "<f8"),
        ("slope", "<f8"),
        ("errors", "<f8", (3,)),
        ("last", "<f8"),
        ("scales", "<f8", (_S,)),
        ("sums", "<f8", (_S,)),
        ("follows", "<f8"),  # of a series that is not known: how much of a row's error is in the next
        ("cleaned", "<f4", (ORDER,)),
        ("plain", "<f4", (ORDER,)),
        ("seen", "<f4", (ROWS,)),
        ("means", "<f4", (2,)),
        ("block", "<f4", (BLOCK,)),
        ("equal", "<i4"),
        ("far", "<i4"),
        ("day", "<f2", (DAY_BINS,)),
        ("week", "<f2", (WEEK_BINS,)),
    ]
)
"""Of each channel."""


def record(C: int) -> np.dtype[Any]:
    """What is remembered of a series of C channels."""
    return np.dtype([*((n, *HEAD.fields[n][:1]) for n in HEAD.names or ()), ("channels", CHANNEL, (C,))])  # type: ignore[index]


def learnt(C: int) -> np.dtype[Any]:
    """What was learnt of a known series of C channels; see `state.Learnt`."""
    channel = np.dtype(
        [
            ("weights", "<f4", (ORDER,)),
            ("longest", "<f4"),
            ("centres", "<f4", (ROWS, CENTRES)),
            ("others", "<f4", (C,)),
        ]
    )
    return np.dtype([("channels", channel, (C,)), ("whole", "<f4")])
