"""What bytes that are no JSON look like: for whoever reads a dead letter and has to find out what was sent.

    gzip, lz4, Avro's file ...      by the bytes they begin with
    Confluent's wire format         a zero byte and the schema's id
    XML, Influx lines, CSV ...      text, by its first lines
    MessagePack, CBOR, protobuf     the whole value walks through as one, and holds more than a number

Bytes can look like something that they are not, so every name here is a guess, and is called one. Nothing is unpacked or built: a look
costs no more than one pass over the value, however it was made.
"""

from __future__ import annotations

import re
import uuid

import msgspec

_LOOKED_AT = 4096  # bytes of a text, and of a walk through protobuf or CBOR

_PLAIN = (
    "Kafka's own compression.type packs values without a trace, and gzip is unpacked here; send them plain, or in gzip"
)
_JSON = "have the producer write JSON"

_BEGINNINGS: tuple[tuple[bytes, str, str], ...] = (
    (b"\xef\xbb\xbf", "a UTF-8 byte-order mark", "write it without one (Python: utf-8, not utf-8-sig)"),
    (b"\xff\xfe\x00\x00", "UTF-32 with a byte-order mark", "write UTF-8 without one"),
    (b"\x00\x00\xfe\xff", "UTF-32 with a byte-order mark", "write UTF-8 without one"),
    (b"\xff\xfe", "UTF-16 with a byte-order mark", "write UTF-8 without one"),
    (b"\xfe\xff", "UTF-16 with a byte-order mark", "write UTF-8 without one"),
    (b"\x1f\x8b", "gzip", "it is unpacked here unless it is damaged or too large"),
    (b"\x28\xb5\x2f\xfd", "zstd", _PLAIN),
    (b"\x04\x22\x4d\x18", "lz4", _PLAIN),
    (b"\x02\x21\x4c\x18", "lz4", _PLAIN),
    (b"\xff\x06\x00\x00sNaPpY", "snappy", _PLAIN),
    (b"\x82SNAPPY\x00", "snappy (as Java writes it)", _PLAIN),
    (b"\xfd7zXZ\x00", "xz", _PLAIN),
    (b"BZh", "bzip2", _PLAIN),
    (b"PK\x03\x04", "a zip file", _PLAIN),
    (b"Obj\x01", "an Avro file with its schema", _JSON),
    (b"\xc3\x01", "Avro with its schema's fingerprint", _JSON),
    (b"PAR1", "a Parquet file", "send its rows as JSON, or replay the file: tidewatch replay csv FILE"),
    (b"ARROW1", "an Arrow file", _JSON),
    (b"\xac\xed\x00\x05", "a serialised Java object", _JSON),
    (b"Salted__", "data that openssl encrypted", "send it decrypted"),
    (b"-----BEGIN PGP", "data that PGP encrypted", "send it decrypted"),
    (b"age-encryption.org/", "data that age encrypted", "send it decrypted"),
)

_INFLUX = re.compile(r"[^\s,={}\[\]\"'<>]+(?:,[^\s,=]+=[^\s,]+)* [^\s,=]+=\S+(?: -?\d+)?")
_EXPOSITION = re.compile(
    r"(?:# (?:HELP|TYPE) .*|[a-zA-Z_:][\w:]*(?:\{.*\})? [+-]?(?:\d\S*|NaN|Inf)(?: -?\d+)?)", re.ASCII
)
_GRAPHITE = re.compile(r"[\w-]+(?:\.[\w-]+)+ [+-]?\d\S* \d{9,}", re.ASCII)
_STATSD = re.compile(r"[\w.-]+:[+-]?[\d.]+\|(?:c|g|ms|h|s|d)\b.*", re.ASCII)
_PYTHON = re.compile(r"\{'|[\[({].*(?:\bTrue\b|\bFalse\b|\bNone\b)", re.DOTALL)
_BASE64 = re.compile(r"[A-Za-z0-9+/_-]{24,}={0,2}\s*", re.ASCII)

_NUMBER = re.compile(r"(?:^|[,;\t])\s*\"?[+-]?\d", re.ASCII)

_msgpack = msgspec.msgpack.Decoder(msgspec.Raw)


def looks_like(value: bytes) -> str:
    """What bytes that are no JSON look like, and the mend: `gzip: send ...`; empty where they look like broken JSON or nothing known."""
    if not value:
        return "an empty value: send nothing instead, or a tombstone"
    for beginning, name, mend in _BEGINNINGS:
        if value.startswith(beginning):
            return f"{name}: {mend}"
    try:
        text = value[:_LOOKED_AT].decode()
    except UnicodeDecodeError as error:
        # A character that the cut went through is no mistake.
        text = value[: error.start].decode() if error.start > _LOOKED_AT - 4 else ""
    if text and not re.search(r"[\x00-\x08\x0e-\x1f\x7f]", text):
        return _text(text)
    return _utf16(value) or _registry(value) or _binary(value)


def _text(text: str) -> str:
    start = text.lstrip()
    lines = start.splitlines()
    first = lines[0] if lines else ""
    if not first:
        return f"blanks alone: {_JSON}"
    if start.startswith("<"):
        return f"{'HTML' if re.match(r'<(!doctype )?html', start, re.IGNORECASE) else 'XML'}: {_JSON}"
    if _PYTHON.match(start):
        return "a Python object as text: write it by json.dumps"
    if start[0] in '{["':
        return _several(lines)
    if _EXPOSITION.fullmatch(first):
        return "Prometheus's text format: send it by prometheus-kafka-adapter, and set the stream's format = prometheus"
    if _INFLUX.fullmatch(first):
        return "Influx lines: set the stream's format = influx"
    if _GRAPHITE.fullmatch(first):
        return f"Graphite's text format: {_JSON}"
    if _STATSD.fullmatch(first):
        return f"StatsD's text format: {_JSON}"
    for sign, name in ((";", "semicolon"), ("\t", "tab"), (",", "comma")):
        counts = {line.count(sign) for line in lines[:5] if line}
        if len(counts) == 1 and counts != {0} and any(_NUMBER.search(line) for line in lines[:2]):
            return (
                f"CSV ({name}-separated): set the stream's format = csv, or replay the file: tidewatch replay csv FILE"
            )
    if _BASE64.fullmatch(text):
        return "base64: send what it holds as it is"
    return ""


def _several(lines: list[str]) -> str:
    """Text that begins as JSON does: several values, or broken."""
    if len(lines) > 1 and all(re.fullmatch(r"\s*[{\[].*[}\]]\s*", line) for line in lines[:2]):
        return "several lines of JSON: send each as a record of its own"
    return ""


def _registry(value: bytes) -> str:
    """Formats of schema registries: some bytes that name the schema, before the data."""
    if value[0] == 0 and len(value) > 5:
        schema = int.from_bytes(value[1:5], "big")
        if 0 < schema < 1 << 31:
            return (
                f"Confluent's schema registry, schema id {schema}: set the stream's format = registry, and registry.url"
            )
        wide = int.from_bytes(value[1:9], "big")
        if len(value) > 9 and 0 < wide < 1 << 31:
            return f"Apicurio's schema registry, schema id {wide}: {_registry_mend(value[9:])}"
    if value[0] == 3 and value[1:2] in (b"\x00", b"\x05") and len(value) > 18:
        return f"AWS Glue's schema registry, schema {uuid.UUID(bytes=value[2:18])}: {_registry_mend(value[18:])}"
    return ""


def _registry_mend(content: bytes) -> str:
    if content.lstrip()[:1] == b"{":
        return "JSON follows it; have the producer write plain JSON (Kafka's own StringSerializer, or Connect's JsonConverter)"
    return "Avro or protobuf follows it; have the producer, or a converter, write plain JSON"


def _utf16(value: bytes) -> str:
    """UTF-16 without a mark: every second byte of ASCII is zero."""
    head = value[:64]
    if len(head) >= 8 and len(value) % 2 == 0 and not (any(head[0::2]) and any(head[1::2])):
        return "UTF-16: write UTF-8"
    return ""


def _binary(value: bytes) -> str:
    if value[0] == 0x78 and int.from_bytes(value[:2], "big") % 31 == 0:
        return f"zlib: {_PLAIN}"
    if len(value) > 5 and int.from_bytes(value[:4], "little") == len(value) and value[-1] == 0:
        return f"BSON: {_JSON}"
    if _is_msgpack(value):
        return f"MessagePack: {_JSON}"
    if _is_cbor(value):
        return f"CBOR: {_JSON}"
    if _is_otlp(value):
        return "OTLP in protobuf: set the stream's format = otlp"
    if _is_protobuf(value):
        return f"protobuf: {_JSON}"
    letters = sum(32 <= byte < 127 for byte in value[:_LOOKED_AT])
    if letters > 0.8 * len(value[:_LOOKED_AT]):
        return "text that is not UTF-8 (Latin-1, Windows-1252?): write UTF-8"
    return f"binary data of a form unknown here, perhaps encrypted or packed: {_JSON}"


def _is_msgpack(value: bytes) -> bool:
    """One map or array that fills the value."""
    if not (0x81 <= value[0] <= 0x9F or 0xDC <= value[0] <= 0xDF) or value[0] == 0x90:
        return False
    try:
        _msgpack.decode(value)
    except (msgspec.DecodeError, RecursionError):
        return False
    return True


def _is_cbor(value: bytes) -> bool:
    """One map or array, or something that says of itself that it is CBOR, which ends with the value (RFC 8949)."""
    if value.startswith(b"\xd9\xd9\xf7"):
        return True
    if value[0] >> 5 not in (4, 5) or value[0] in (0x80, 0xA0):
        return False
    at, open_items = 0, [1]
    for _ in range(_LOOKED_AT):
        while open_items and open_items[-1] == 0:
            open_items.pop()
        if not open_items:
            return at == len(value)
        if at >= len(value):
            return False
        kind, more = value[at] >> 5, value[at] & 31
        at += 1
        if kind == 7 and more == 31:  # the end of what had no length
            if open_items.pop() >= 0:
                return False
            continue
        open_items[-1] -= 1
        size = {24: 1, 25: 2, 26: 4, 27: 8}.get(more, 0)
        if 27 < more < 31:
            return False
        count = int.from_bytes(value[at : at + size], "big") if size else more
        at += size
        if kind in (2, 3):
            if more == 31:
                return False  # strings in pieces: nobody writes a metric so
            at += count
        elif kind in (4, 5):
            open_items.append(-1 if more == 31 else count * (kind - 3))
        elif kind == 6:
            open_items.append(1)
    return at < len(value) and len(open_items) < 100


def _is_otlp(value: bytes) -> bool:
    """An export of OpenTelemetry: the first field of the first field ..., down to the name of the resource's first attribute."""
    at = 0
    for _ in range(4):
        if value[at : at + 1] != b"\x0a":
            return False
        length, at = _varint(value, at + 1)
    name = value[at : at + max(length, 0)]
    return bool(re.fullmatch(rb"[\w./-]{2,100}", name))


def _is_protobuf(value: bytes) -> bool:
    """Fields that fill the value, one of them of a length: no more can be told without the schema."""
    at, sized, seen = 0, False, 0
    while at < len(value):
        seen += 1
        if seen > _LOOKED_AT:
            return sized
        tag, at = _varint(value, at)
        if tag >> 3 == 0 or tag >> 3 > 1000:  # a field's number; greater ones are rare, and nearly any bytes hold some
            return False
        match tag & 7:
            case 0:
                number, at = _varint(value, at)
                if number < 0:
                    return False
            case 1:
                at += 8
            case 2:
                length, at = _varint(value, at)
                if length < 0:
                    return False
                at, sized = at + length, True
            case 5:
                at += 4
            case _:
                return False
    return sized and at == len(value)


def _varint(value: bytes, at: int) -> tuple[int, int]:
    """A number and the place behind it; -1 where there is none."""
    number = 0
    for i in range(10):
        if at + i >= len(value):
            break
        number |= (value[at + i] & 127) << 7 * i
        if value[at + i] < 128:
            return number, at + i + 1
    return -1, len(value)
