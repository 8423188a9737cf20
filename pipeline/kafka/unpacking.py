"""Compressed bytes to plain ones, never more of them than asked for: what a stranger compressed may be a bomb.

28 kB of zstd can hold 950 MB. So nothing here asks a codec for all that it has: frames are unpacked in steps, the lengths that
raw snappy declares are read before they are believed, a zstd frame gets no larger window than what is kept of it, and the frames
that may follow each other are counted. What comes out before the limit or before a fault is handed on with the reason.
"""

from __future__ import annotations

import struct
import sys
import zlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Protocol

import cramjam
import lz4.frame

if sys.version_info >= (3, 14):
    from compression import zstd
else:
    from backports import zstd

NONE, GZIP, SNAPPY, LZ4, ZSTD = range(5)
"""Codecs, numbered as in the attributes of a record batch."""

MOST = 32 << 20
"""Bytes that one batch may unpack to. Part of what the log means: a setting would let two workers read it differently."""
FRAMES = 256
"""Frames that may follow each other in one batch; clients write one. An empty frame takes a few bytes and a decoder."""

BLOCKS = 16_384
"""The same for the blocks of snappy as Java writes it, of 32 kB each."""

_STEP = 1 << 20
_FEED = 64 << 10
_WINDOW_LOG = 25  # 32 MiB, as far as anything that is kept can look back
_XERIAL = b"\x82SNAPPY\x00"
_XERIAL_HEADER = 16
_ZSTD_MAGIC = b"\x28\xb5\x2f\xfd"


class _Fault(Exception):
    """Why there is no more."""


class _TooLong(_Fault):
    """The rest is more than may be."""


class _Frame(Protocol):
    @property
    def eof(self) -> bool: ...
    @property
    def needs_input(self) -> bool: ...
    @property
    def unused_data(self) -> bytes: ...
    def decompress(self, data: bytes, max_length: int) -> bytes: ...


@dataclass(frozen=True, slots=True)
class Unpacked:
    """What came out.

    Attributes
    ----------
    data
        At most the bytes that were asked for.
    fault
        Why there may be more that did not come; empty where all is there.
    too_long
        There is more than was asked for.
    """

    data: bytes
    fault: str = ""
    too_long: bool = False


def unpack(codec: int, packed: bytes, most: int = MOST) -> Unpacked:
    """At most `most` bytes of what was compressed. Any bytes are fine; it needs about three times `most` of memory."""
    parts: list[bytes] = []
    size = 0
    try:
        pieces = _PIECES.get(codec)
        if pieces is None:
            return Unpacked(b"", f"it is packed with an unknown codec, number {codec}")
        for piece in pieces(packed, most):
            parts.append(piece if size + len(piece) <= most else piece[: most - size])
            size += len(piece)
            if size > most:
                return Unpacked(_joined(parts), f"it unpacks to more than {most} bytes", too_long=True)
    except _TooLong as fault:
        return Unpacked(_joined(parts), str(fault), too_long=True)
    except (
        _Fault,
        zlib.error,
        zstd.ZstdError,
        RuntimeError,
        EOFError,
        ValueError,
        cramjam.DecompressionError,
    ) as fault:
        return Unpacked(_joined(parts), f"it cannot be unpacked: {fault}")
    return Unpacked(_joined(parts))


def _joined(parts: list[bytes]) -> bytes:
    return parts[0] if len(parts) == 1 else b"".join(parts)


def _frames(new: Callable[[], _Frame], packed: bytes) -> Iterator[bytes]:
    """Frames that follow each other, in steps."""
    at, left = 0, b""
    for _ in range(FRAMES):
        frame = new()
        idle = 0
        while not frame.eof:
            fed = b""
            if frame.needs_input and left:
                fed, left = left, b""
            elif frame.needs_input:
                fed = packed[at : at + _FEED]
                at += len(fed)
            piece = frame.decompress(fed, _STEP)
            idle = 0 if piece or fed else idle + 1
            if piece:
                yield piece
            elif idle > 1:  # once may be: it had given exactly what was asked
                msg = "it ends within a frame"
                raise _Fault(msg)
        left = frame.unused_data
        if not left and at >= len(packed):
            return
    msg = f"more than {FRAMES} frames"
    raise _Fault(msg)


class _Member:
    """A member of a gzip stream, with the face of the other codecs' decoders."""

    def __init__(self) -> None:
        self._stream = zlib.decompressobj(31)

    @property
    def eof(self) -> bool:
        return self._stream.eof

    @property
    def needs_input(self) -> bool:
        return not self._stream.unconsumed_tail

    @property
    def unused_data(self) -> bytes:
        return self._stream.unused_data

    def decompress(self, data: bytes, max_length: int) -> bytes:
        return self._stream.decompress(self._stream.unconsumed_tail or data, max_length)


def _gzip(packed: bytes, most: int) -> Iterator[bytes]:
    return _frames(_Member, packed)


def _lz4(packed: bytes, most: int) -> Iterator[bytes]:
    return _frames(lz4.frame.LZ4FrameDecompressor, packed)


def _zstd(packed: bytes, most: int) -> Iterator[bytes]:
    options = {int(zstd.DecompressionParameter.window_log_max): _WINDOW_LOG}
    return _frames(lambda: zstd.ZstdDecompressor(options=options), _small_window(packed))


def _small_window(packed: bytes) -> bytes:
    """The same frame with a window of 32 MiB where it asks for more: nothing that is kept looks back further.

    A frame that was compressed in one go has no window of its own but its whole content's size.
    """
    if len(packed) < 18 or packed[:4] != _ZSTD_MAGIC:
        return packed
    flags = packed[4]
    dictionary = (0, 1, 2, 4)[flags & 3]
    if not flags & 0x20:
        window = packed[5]
        return (
            packed if 10 + (window >> 3) < _WINDOW_LOG else packed[:5] + bytes([(_WINDOW_LOG - 10) << 3]) + packed[6:]
        )
    width = (1, 2, 4, 8)[flags >> 6]
    if int.from_bytes(packed[5 + dictionary : 5 + dictionary + width], "little") < MOST:
        return packed
    head = packed[:4] + bytes([flags & 0x1F, (_WINDOW_LOG - 10) << 3])
    return head + packed[5 : 5 + dictionary] + packed[5 + dictionary + width :]


def _snappy(packed: bytes, most: int) -> Iterator[bytes]:
    """Raw, or the blocks of the Java library; a block is unpacked when its declared length was read and is small enough."""
    if len(packed) <= _XERIAL_HEADER or packed[:8] != _XERIAL:
        yield _block(packed, most)
        return
    at = _XERIAL_HEADER
    for _ in range(BLOCKS):
        size = struct.unpack_from(">i", packed, at)[0] if at + 4 <= len(packed) else -1
        at += 4
        if not 0 <= size <= len(packed) - at:
            msg = "a block is longer than what is there"
            raise _Fault(msg)
        piece = _block(packed[at : at + size], most)
        most -= len(piece)
        yield piece
        at += size
        if at >= len(packed):
            return
    msg = f"more than {BLOCKS} blocks"
    raise _Fault(msg)


def _block(packed: bytes, most: int) -> bytes:
    declared = cramjam.snappy.decompress_raw_len(packed)
    if declared > most:
        msg = f"a block of it unpacks to {declared} bytes, and there is room for {most}"
        raise _TooLong(msg)
    return bytes(cramjam.snappy.decompress_raw(packed))


def _plain(packed: bytes, most: int) -> Iterator[bytes]:
    yield packed


_PIECES: dict[int, Callable[[bytes, int], Iterator[bytes]]] = {
    NONE: _plain, GZIP: _gzip, SNAPPY: _snappy, LZ4: _lz4, ZSTD: _zstd,
}  # fmt: skip
