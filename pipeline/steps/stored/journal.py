"""Rows that changed here and there: which of them a checkpoint writes beside their pages (`pieces`), and which pages it writes whole.

A page of which many rows changed is written whole. The other rows go into a segment. Each checkpoint writes some pages whole besides,
those first of which the oldest segments are still needed, so that old segments fall out of use: `COMPACTED` rows in pages for
each row in a segment. So a row costs at most 1 + `COMPACTED` rows, and the journal stays below `SPARED` + 1 / `COMPACTED` of the state: within so many rows
each page that a segment is needed for has its turn. Rows of a segment that would be one too many are written again.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from itertools import count, islice
from typing import Any, NamedTuple

import msgspec
import numpy as np
from numpy.typing import NDArray

from pipeline.errors import ForeignState
from pipeline.steps.stored.pieces import SLOT, WINDOW, newest, opaque, packed, pieces_of, window_of

COMPACTED = 1.5
"""Rows in whole pages for each row in a segment: more is more bytes, less a longer journal (`benchmarks/checkpoints.py`)."""
SPARED = 0.25
"""A journal of less than this share of the state is left alone: where always the same rows change, old segments fall out of use by themselves."""
SEGMENTS = 4096
"""How many there may be: a checkpoint may be of a single row, and all are read at a start."""
_NONE = np.iinfo(np.uint32).max


class Plan(NamedTuple):
    """What a checkpoint writes, and what the journal is when it is stored.

    Attributes
    ----------
    pages
        Written whole.
    rows, marks
        Of the segment: its rows, and those of `pages` that earlier segments have rows of.
    slots
        Of its pieces.
    """

    pages: NDArray[np.intp]
    rows: NDArray[np.intp]
    marks: NDArray[np.intp]
    slots: list[int]
    at: NDArray[np.uint32]
    first: int
    last: int
    debt: float


class Journal:
    """Which rows' newest bytes lie in which segment, as the store has it."""

    def __init__(self) -> None:
        self.at: NDArray[np.uint32] = np.zeros(0, np.uint32)
        """Number of the segment for each row; 0: its page has it."""
        self.first, self.last = 1, 0
        self.lengths: dict[int, int] = {}
        """How many rows each segment has that counts."""
        self.slots: dict[int, list[int]] = {}
        """Where each lies."""
        self.debt = 0.0
        """Rows that are to be written in whole pages."""

    def plan(self, dirty: NDArray[np.bool_], page: int, kept: int) -> Plan:
        """How to write the rows that changed.

        Parameters
        ----------
        dirty
            Of all rows, (R,); R is a multiple of `page`, the rows of one.
        kept
            How many pages the store holds; those behind are written whole.
        """
        changed = np.count_nonzero(dirty.reshape(-1, page), axis=1)
        whole = changed * (1 + COMPACTED) >= page
        whole[kept:] = changed[kept:] > 0
        few = int(changed[~whole].sum())
        none = np.zeros(0, np.intp)
        if not few and self.last < self.first:
            return Plan(np.flatnonzero(whole), none, none, [], self.at, self.first, self.last, 0.0)
        at = np.zeros(len(dirty), np.uint32)
        at[: len(self.at)] = self.at
        pages = at.reshape(-1, page)
        spared = sum(self.lengths.values()) + few < SPARED * kept * page
        debt = self.debt if spared else self.debt + COMPACTED * few
        oldest = _oldest(pages, int(debt // page), but=whole)
        whole[oldest] = True
        debt = min(debt - len(oldest) * page, float(page))  # what finds no page is not owed
        marks = np.flatnonzero(whole & pages.any(axis=1))
        pages[whole] = 0
        number = self.last + 1
        at[np.flatnonzero(dirty & ~np.repeat(whole, page))] = number
        at[(at > 0) & (at <= max(number - SEGMENTS, 0))] = number
        rows, live = np.flatnonzero(at == number), at[at > 0]
        if not len(live):
            return Plan(np.flatnonzero(whole), rows, none, [], at, number, self.last, debt)
        first = int(live.min())
        last = number if len(rows) or len(marks) else self.last
        slots = self._free(first, max(-(-len(rows) // page), 1)) if last == number else []
        return Plan(np.flatnonzero(whole), rows, marks, slots, at, first, last, debt)

    def fields(
        self, plan: Plan, arrays: Sequence[NDArray[Any]], page: int, layout: bytes
    ) -> Iterator[tuple[str, bytes]]:
        """What the store is to hold of the journal: slots that are emptied, then a segment, which may use them again, and the window."""
        if (plan.first, plan.last) == (self.first, self.last):
            return
        for number, slots in self.slots.items():
            yield from ((f"{SLOT}{slot}", b"") for slot in slots if number < plan.first)
        if plan.slots:
            pieces = packed(layout, plan.last, plan.marks, plan.rows, arrays, page)
            yield from ((f"{SLOT}{slot}", piece) for slot, piece in zip(plan.slots, pieces, strict=True))
        yield WINDOW, msgspec.json.encode([plan.first, plan.last])

    def stored(self, plan: Plan) -> None:
        """What was planned has been stored."""
        if plan.slots:
            self.lengths[plan.last], self.slots[plan.last] = len(plan.rows), plan.slots
        for number in [n for n in self.slots if n < plan.first]:
            del self.lengths[number], self.slots[number]
        self.at, self.first, self.last, self.debt = plan.at, plan.first, plan.last, plan.debt

    def drop(self) -> None:
        """Every page has been written whole, and nothing else is stored. Numbers go on."""
        self.at, self.lengths, self.slots = np.zeros(0, np.uint32), {}, {}
        self.first, self.debt = self.last + 1, 0.0

    @classmethod
    def restore(
        cls, fields: Mapping[str, bytes], arrays: Mapping[str, NDArray[Any]], page: int, layout: bytes
    ) -> Journal:
        """The journal in the fields of a state, whose rows are put over what `arrays` have from the pages.

        Raises
        ------
        KeyError, msgspec.MsgspecError
            Something is lost or damaged.
        ForeignState
            A segment has another layout.
        """
        journal = cls()
        if (window := window_of(fields)) is None:
            return journal
        journal.first, journal.last = window
        pieces, sizes = pieces_of(fields), [array.dtype.itemsize for array in arrays.values()]
        if any(piece.layout != layout or piece.sizes.tolist() != sizes for piece in pieces):
            msg = "the stored rows have another layout than their pages: run `tidewatch state reset` to start anew"
            raise ForeignState(msg)
        plain = [opaque(array) for array in arrays.values()]
        journal.at = newest(pieces, len(plain[0]), page)
        for piece in pieces:
            journal.lengths[piece.number] = journal.lengths.get(piece.number, 0) + len(piece.rows)
            journal.slots.setdefault(piece.number, []).append(piece.slot)
            holds = journal.at[piece.rows] == piece.number
            at = piece.rows[holds]
            for array, rows in zip(plain, piece.components(), strict=True):
                array[at] = rows[holds]
        return journal

    def _free(self, first: int, wanted: int) -> list[int]:
        """The lowest slots that no segment from `first` on lies in."""
        taken = {slot for number, slots in self.slots.items() if number >= first for slot in slots}
        return list(islice((slot for slot in count() if slot not in taken), wanted))


def _oldest(at: NDArray[np.uint32], most: int, *, but: NDArray[np.bool_]) -> NDArray[np.intp]:
    """So many of the pages that have rows in segments, those first whose segments are the oldest. `at`: (pages, rows of one)."""
    if not most:
        return np.zeros(0, np.intp)
    first = (at - np.uint32(1)).min(axis=1)  # 0, no segment, becomes the greatest number
    first[but] = _NONE
    order = np.argsort(first, kind="stable")[:most]
    found: NDArray[np.intp] = order[first[order] < _NONE]
    return found
