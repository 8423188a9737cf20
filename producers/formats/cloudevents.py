"""CloudEvents 1.0 in structured mode: an envelope of JSON around data in any other format (binary mode: the value is the data itself).

- `data` (JSON, or a text) or `data_base64`; what they hold is read as a message of its own, and told apart by its content.
- Of native data without a `timestamp` or a `series`, the event's `time` and `subject` (else `source`) are taken.
"""

from __future__ import annotations

import base64

import msgspec

from producers.formats.base import Parsed, Reason, Unusable, decoded, milliseconds
from producers.formats.packed import unpacked


class _Event(msgspec.Struct, gc=False):
    specversion: str
    source: str = ""
    subject: str = ""
    time: str = ""
    data: msgspec.Raw = msgspec.Raw()
    data_base64: str = ""


class _Native(msgspec.Struct, gc=False):
    value: msgspec.Raw = msgspec.Raw()
    timestamp: msgspec.Raw = msgspec.Raw()
    series: msgspec.Raw = msgspec.Raw()


_event = msgspec.json.Decoder(_Event)
_native = msgspec.json.Decoder(_Native)
_text = msgspec.json.Decoder(str)


def parse(value: bytes) -> Parsed:
    """Points of the event's data. Raises Unusable."""
    from producers.formats.detect import format_of, parser_of  # they know this format, too

    event = decoded(_event, value)
    data = _data(event)
    if format_of(data) == "cloudevents":
        raise Unusable(Reason.UNDECODABLE, "an event within an event")
    if format_of(data) == "native":
        data = _completed(event, data)
    return parser_of(data)(data)


def _data(event: _Event) -> bytes:
    if event.data_base64:
        try:
            return unpacked(base64.b64decode(event.data_base64, validate=True))
        except ValueError:
            raise Unusable(Reason.UNDECODABLE, "data_base64 is no base64") from None
    data = bytes(event.data)
    if not data or data == b"null":
        raise Unusable(Reason.WRONG_TYPE, "the event has no data")
    return decoded(_text, data).encode() if data.startswith(b'"') else data


def _completed(event: _Event, data: bytes) -> bytes:
    native = decoded(_native, data)
    if not bytes(native.value):
        return data
    more = {}
    if not bytes(native.timestamp) and event.time:
        more["timestamp"] = msgspec.Raw(str(milliseconds(event.time)).encode())
    if not bytes(native.series) and (event.subject or event.source):
        more["series"] = msgspec.Raw(msgspec.json.encode(event.subject or event.source))
    if not more:
        return data
    kept = {n: getattr(native, n) for n in ("value", "timestamp", "series") if bytes(getattr(native, n))}
    return msgspec.json.encode(kept | more)
