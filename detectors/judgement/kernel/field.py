"""Where a field lies in a record: from the beginning of its series or channel, in units of the field's own type."""

from __future__ import annotations

from typing import Any

import numpy as np

from detectors.judgement.record import CHANNEL, HEAD
from detectors.judgement.record import learnt as learnt_record


def _place(dtype: np.dtype[Any], name: str) -> int:
    fields = dtype.fields
    assert fields is not None
    of, at = fields[name][:2]
    return int(at // of.base.itemsize)


HEAD_WORDS, CHANNEL_WORDS = HEAD.itemsize // 8, CHANNEL.itemsize // 8
ROWS, LOCAL, RPD, DAYS, WEEKS = (_place(HEAD, n) for n in ("rows", "local", "rows_a_day", "days", "weeks"))
DEBT, PEAK, USUAL, TAILS, NARROW, RUN = (_place(HEAD, n) for n in ("debt", "peak", "usual", "tails", "narrow", "run"))
PHASE, LINES, KNOWN, CALM = (_place(HEAD, n) for n in ("phase", "lines", "known", "calm"))
BINS, COUNTS, OUT, TWICE, ONCE = (_place(HEAD, n) for n in ("bins", "counts", "out", "twice", "once"))
FIRST, MIDDLE, UNIT, LEVEL, SLOPE = (_place(CHANNEL, n) for n in ("first", "middle", "unit", "level", "slope"))
KEPT_LEVEL, KEPT_SLOPE, KEPT_SINCE, KEPT_CALM, KEPT_OVER = range(FIRST, FIRST + 5)
ERRORS, LAST, SCALES, SUMS = (_place(CHANNEL, n) for n in ("errors", "last", "scales", "sums"))
FOLLOWS, CLEANED, PLAIN, SEEN = (_place(CHANNEL, n) for n in ("follows", "cleaned", "plain", "seen"))
MEANS, BLOCK, EQUAL, FAR = (_place(CHANNEL, n) for n in ("means", "block", "equal", "far"))
DAY, WEEK = _place(CHANNEL, "day"), _place(CHANNEL, "week")
_OF = learnt_record(1)["channels"].base
LONGEST, CENTRES, OTHERS = (_place(_OF, n) for n in ("longest", "centres", "others"))
