"""Values that a producer has packed itself, beside Kafka's own compression: gzip, in steps, so that a bomb ends at the limit."""

from __future__ import annotations

import zlib

from producers.formats.base import Reason, Unusable

MAX_UNPACKED = 4 << 20
"""Bytes of one value, unpacked."""

GZIP = b"\x1f\x8b"


def unpacked(value: bytes) -> bytes:
    """The value, out of its gzip where it is in one. Raises Unusable."""
    if not value.startswith(GZIP):
        return value
    out, left = b"", value
    while left:  # members, one behind the other
        inflate = zlib.decompressobj(wbits=31)
        try:
            out += inflate.decompress(left, MAX_UNPACKED + 1 - len(out))
        except zlib.error as error:
            raise Unusable(Reason.UNDECODABLE, f"damaged gzip: {str(error).rpartition(': ')[2]}") from None
        if len(out) > MAX_UNPACKED or inflate.unconsumed_tail:
            raise Unusable(Reason.TOO_LARGE, f"more than {MAX_UNPACKED:,} bytes unpacked")
        if not inflate.eof:
            raise Unusable(Reason.UNDECODABLE, "damaged gzip: it ends too early")
        left = inflate.unused_data
        if not left.startswith(GZIP):
            break  # padding, as gzip itself takes it
    if out.startswith(GZIP):
        raise Unusable(Reason.UNDECODABLE, "gzip within gzip: pack it once")
    return out
