"""What the accepted observations of a batch and the history before them become: one buffer for all series, in time order.

What the policy found missing is filled with the last value, at times one usual step apart; a held observation stands before the one that
confirmed it. Windows are cut from the buffer (`pipeline.steps.windows`), and nothing in it is scaled yet.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from detectors.windowing import minutes_of_week
from pipeline.steps.judging import Sorted, Verdict


@dataclass(slots=True)
class Packed:
    """History and accepted observations of all segments that have some, one segment after the other, missing ones filled in.

        base[j]          base[j] + H                      at[i]
        │ history (H)    │ [held] [filled ...] accepted ... │ ...          segment j

    Attributes
    ----------
    rows, base, begin, count : (J,)
        State row of each segment, where it begins in `values`, its first in `accepted` and how many it has there.
    accepted, segment, entries, at : (A,)
        Sorted place of each accepted observation, its segment, how many entries it brought (itself, missing ones, one
        that it confirmed), and where it stands in `values`.
    values : (P, C)
        In the unit of the input.
    minutes : (P,) or None
        Minute of the week, where there are covariates.
    """

    rows: NDArray[np.intp]
    base: NDArray[np.intp]
    begin: NDArray[np.intp]
    count: NDArray[np.intp]
    accepted: NDArray[np.intp]
    segment: NDArray[np.intp]
    entries: NDArray[np.intp]
    at: NDArray[np.intp]
    values: NDArray[np.float64]
    minutes: NDArray[np.uint16] | None

    @property
    def ends(self) -> NDArray[np.intp]:
        """(J,) the last one of `accepted` of each segment."""
        return self.begin + self.count - 1

    @classmethod
    def of(
        cls, slots: NDArray[Any], batch: Sorted, verdict: Verdict, values: NDArray[np.float64], *, H: int, timed: bool
    ) -> Packed:
        """Pack what was accepted of sorted values (N, C), behind the last H values in `slots`; with their times where `timed`."""
        count = np.add.reduceat(verdict.accepted.astype(np.intp), batch.first)
        rows, count = batch.rows[count > 0], count[count > 0]
        begin = np.cumsum(count) - count
        accepted = np.flatnonzero(verdict.accepted)
        segment = np.repeat(np.arange(len(rows)), count)
        entries = 1 + verdict.fills[accepted]
        confirming = np.fromiter(verdict.confirmed, np.intp, len(verdict.confirmed))
        entries[np.searchsorted(accepted, confirming)] += 1
        stop = np.cumsum(entries)
        at = stop - 1 + (segment + 1) * H
        base = stop[begin] - entries[begin] + np.arange(len(rows)) * H
        size = int(stop[-1]) + len(rows) * H
        packed = cls(
            rows=rows,
            base=base,
            begin=begin,
            count=count,
            accepted=accepted,
            segment=segment,
            entries=entries,
            at=at,
            values=np.empty((size, values.shape[1])),
            minutes=np.empty(size, np.uint16) if timed else None,
        )
        packed.values[at] = values[accepted]
        if H:
            stretches(packed.values, H)[base] = slots["history"][rows]
        if packed.minutes is not None:
            packed.minutes[at] = minutes_of_week(batch.times[accepted])
            if H:
                stretches(packed.minutes, H)[base] = slots["minutes"][rows]
        if verdict.confirmed:
            packed._insert_confirmed(verdict)
        if H and verdict.fills.any():
            packed._fill(verdict)
        return packed

    def _insert_confirmed(self, verdict: Verdict) -> None:
        for place, (time, values) in verdict.confirmed.items():
            i = int(np.searchsorted(self.accepted, place))
            at = int(self.at[i] - self.entries[i]) + 1
            self.values[at] = values
            if self.minutes is not None:
                self.minutes[at] = minutes_of_week(np.array(time))

    def _fill(self, verdict: Verdict) -> None:
        """Put the last value, at times one usual step apart, where values are missing."""
        after = np.flatnonzero(verdict.fills[self.accepted])
        fills = verdict.fills[self.accepted[after]]
        nth = np.arange(int(fills.sum())) - np.repeat(np.cumsum(fills) - fills, fills)
        before = np.repeat(self.at[after] - fills - 1, fills)
        self.values[before + 1 + nth] = self.values[before]
        if self.minutes is not None:
            since = np.repeat(verdict.since[self.accepted[after]], fills)
            apart = np.repeat(verdict.apart[self.accepted[after]], fills)
            self.minutes[before + 1 + nth] = minutes_of_week(since + (nth + 1) * apart)


def stretches(positions: NDArray[Any], length: int) -> NDArray[Any]:
    """The stretches of so many of contiguous positions (P, ...), as a view to read and to write: element (n, i) is position n + i."""
    shape = (len(positions) - length + 1, length, *positions.shape[1:])
    return np.ndarray(shape, positions.dtype, positions, 0, (positions.strides[0], *positions.strides))
