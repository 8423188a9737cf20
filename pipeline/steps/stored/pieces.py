"""Rows beside their pages, as the store holds them; which rows go there, `journal` says.

    rows:<slot>     a piece of a segment, which is all rows that one checkpoint wrote beside their pages: at most as many as a page has
    journal         JSON [first, last]: the numbers of the segments that count, none where last < first

A piece is 8 bytes that tell the layout, the segment's number (8), its own from 0 and how many there are (4 each), how many components, pages
and rows it has (4 each); the bytes that a row takes in each component (4 each), the pages' numbers and the rows' (4 each), then the
rows of each component. Little-endian. The pages, all of them in the first piece, are those that the checkpoint wrote whole.

What holds of a row is its newest segment behind the last that names its page, else the page. A slot that is out of use is empty.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, NamedTuple

import msgspec
import numpy as np
from numpy.typing import NDArray

from pipeline.errors import ForeignState

SLOT = "rows:"
WINDOW = "journal"
_HEAD = struct.Struct("<8sQ5I")
_LAYOUT = 8


class Piece(NamedTuple):
    """One of a segment.

    Attributes
    ----------
    number, piece, of
        The segment's number, the piece's, and how many pieces it has.
    sizes
        Bytes of a row in each component.
    data
        The rows' bytes, component after component.
    """

    slot: int
    layout: bytes
    number: int
    piece: int
    of: int
    sizes: NDArray[np.uint32]
    pages: NDArray[np.uint32]
    rows: NDArray[np.uint32]
    data: NDArray[np.uint8]

    @classmethod
    def unpacked(cls, name: str, packed: bytes) -> Piece:
        """From a field. Raises KeyError with its name where it is damaged."""
        try:
            layout, number, piece, of, *counts = _HEAD.unpack_from(packed)
            numbers = np.frombuffer(packed, "<u4", sum(counts), _HEAD.size)
            data = np.frombuffer(packed, np.uint8, offset=_HEAD.size + numbers.nbytes)
            slot = int(name.removeprefix(SLOT))
        except (struct.error, ValueError):
            raise KeyError(name) from None
        sizes, pages, rows = (
            numbers[: counts[0]],
            numbers[counts[0] : -counts[2] or None],
            numbers[len(numbers) - counts[2] :],
        )
        if len(data) != int(sizes.sum()) * len(rows):
            raise KeyError(name)
        return cls(slot, layout, number, piece, of, sizes, pages, rows, data)

    def components(self) -> list[NDArray[np.void]]:
        """The rows' bytes in each component, (rows,)."""
        parts, at = [], 0
        for size in self.sizes.tolist():
            parts.append(self.data[at : at + size * len(self.rows)].view(f"V{size}"))
            at += size * len(self.rows)
        return parts


def packed(
    layout: bytes,
    number: int,
    pages: NDArray[np.intp],
    rows: NDArray[np.intp],
    arrays: Sequence[NDArray[Any]],
    most: int,
) -> Iterator[bytes]:
    """A segment's pieces, of at most so many rows each; one where it has none."""
    count = max(-(-len(rows) // most), 1)
    sizes = [a.dtype.itemsize for a in arrays]
    for piece in range(count):
        some, marked = rows[piece * most : (piece + 1) * most], pages if piece == 0 else pages[:0]
        head = _HEAD.pack(layout, number, piece, count, len(arrays), len(marked), len(some))
        numbers = np.concatenate([sizes, marked, some]).astype("<u4")
        yield b"".join([head, numbers.data, *(opaque(a).take(some).view(np.uint8).data for a in arrays)])


def window_of(fields: Mapping[str, bytes]) -> tuple[int, int] | None:
    """The numbers of the first and the last segment that counts; None where there never was one. Raises msgspec.MsgspecError; KeyError where it is lost."""
    if window := fields.get(WINDOW):
        return msgspec.json.decode(window, type=tuple[int, int])
    if any(value for name, value in fields.items() if name.startswith(SLOT)):
        raise KeyError(WINDOW)
    return None


def pieces_of(fields: Mapping[str, bytes]) -> list[Piece]:
    """Those of the segments that count, the oldest first. Raises KeyError where one is lost or damaged, msgspec.MsgspecError where the window is."""
    if (window := window_of(fields)) is None:
        return []
    named = [(name, value) for name, value in fields.items() if name.startswith(SLOT) and value]
    found = {(p.number, p.piece): p for p in (Piece.unpacked(name, value) for name, value in named)}
    pieces: list[Piece] = []
    for number in range(window[0], window[1] + 1):
        try:
            pieces.append(found[number, 0])
            pieces += [found[number, piece] for piece in range(1, pieces[-1].of)]
        except KeyError:
            raise KeyError(f"segment {number} of {SLOT}") from None
    return pieces


def newest(pieces: Sequence[Piece], rows: int, page: int) -> NDArray[np.uint32]:
    """Of each of so many rows the number of the segment that holds, 0: its page does. Raises KeyError for rows beyond."""
    at = np.zeros(rows, np.uint32)
    for piece in pieces:
        if max(piece.rows.max(initial=0), piece.pages.max(initial=0) * page) >= rows:
            raise KeyError(f"segment {piece.number} of {SLOT}")
        at.reshape(-1, page)[piece.pages] = 0
        at[piece.rows] = piece.number
    return at


def folded(fields: Mapping[str, bytes]) -> dict[str, bytes]:
    """The fields of a state as plain pages: the same for the same state, whenever its rows were written.

    Raises
    ------
    ForeignState
        It is incomplete or damaged.
    """
    plain = {name: value for name, value in fields.items() if name != WINDOW and not name.startswith(SLOT)}
    try:
        if pieces := pieces_of(fields):
            plain |= _pages(plain, pieces)
    except (KeyError, msgspec.MsgspecError) as error:
        msg = f"the stored state is incomplete or damaged ({error}): run `tidewatch state reset` to start anew"
        raise ForeignState(msg) from error
    return plain


def opaque(array: NDArray[Any]) -> NDArray[np.void]:
    """The same rows without their columns: numpy copies these ten times as fast."""
    return array.view(f"V{array.dtype.itemsize}")


def _pages(fields: Mapping[str, bytes], pieces: Sequence[Piece]) -> dict[str, bytes]:
    """The pages that segments have rows of, with these rows in them."""
    sizes = pieces[-1].sizes.astype(np.intp)
    held = sum(name.startswith("page:") for name in fields)
    page = (len(fields["page:0"]) - _LAYOUT) // int(sizes.sum())
    at = newest(pieces, held * page, page)
    touched = np.flatnonzero(at.reshape(-1, page).any(axis=1))
    if not len(touched):
        return {}
    names = [f"page:{p}" for p in touched]
    stored = np.stack([np.frombuffer(fields[name], np.uint8) for name in names])
    begins = _LAYOUT + page * np.concatenate([[0], np.cumsum(sizes)])
    for piece in pieces:
        holds = at[piece.rows] == piece.number
        rows = piece.rows[holds].astype(np.intp)
        which = np.searchsorted(touched, rows // page)
        for i, data in enumerate(piece.components()):
            component = stored[:, begins[i] : begins[i + 1]].reshape(len(names), page, int(sizes[i]))
            component[which, rows % page] = data[holds].view(np.uint8).reshape(len(rows), int(sizes[i]))
    return {name: row.tobytes() for name, row in zip(names, stored, strict=True)}
