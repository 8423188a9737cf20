"""Which format a message has, by its content: for streams whose format is `auto`, and for what is packed in another one.

    {          JSON: by its members ............... otlp, telegraf, prometheus, cloudevents, native
    0x0a       an export of OpenTelemetry ......... otlp
    text       by its first line .................. influx, csv
    0x00       a schema's id ...................... registry
    the rest   a Snappy block with time series .... remote-write

A format that is set is quicker, and says more clearly what is wrong with a message; nothing here guesses about values.
"""

from __future__ import annotations

import re
from codecs import BOM_UTF8

import msgspec

from producers.formats import cloudevents, csv_lines, influx, otlp, prometheus, telegraf
from producers.formats.base import Parsed, Parser, Point, Reason, Unusable
from producers.formats.foreign import looks_like
from producers.formats.native import reader_of_one
from producers.formats.registry.schemas import schema_id


class _Look(msgspec.Struct, gc=False, rename={"resource_metrics": "resourceMetrics"}):
    """Members that tell formats apart, unread."""

    resource_metrics: msgspec.Raw = msgspec.Raw()
    specversion: msgspec.Raw = msgspec.Raw()
    fields: msgspec.Raw = msgspec.Raw()
    metrics: msgspec.Raw = msgspec.Raw()
    labels: msgspec.Raw = msgspec.Raw()
    value: msgspec.Raw = msgspec.Raw()


_look = msgspec.json.Decoder(_Look)
_one = reader_of_one()
_INFLUX = re.compile(
    rb"\s*(?:#[^\n]*\n\s*)*(?:[^\s\\,={}\[\]\"<>]|\\.)+(?:,(?:[^\s\\,=]|\\.)+=(?:[^\s\\,]|\\.)+)*[ \t]+(?:[^\s\\,=]|\\.)+=\S"
)
_CONTROL = re.compile(rb"[\x00-\x08\x0e-\x1f\x7f]")


def parse(value: bytes) -> Parsed:
    """Points of a message of any format. Raises Unusable, with the reason of the format that it has."""
    return parser_of(value)(value)


def parser_of(value: bytes) -> Parser:
    """The parser of a message. Raises Unusable where no format is known that it could have."""
    name = format_of(value)
    if name:
        return PARSERS[name]
    raise Unusable(
        Reason.UNDECODABLE, f"no format is known here that it has; it looks like {looks_like(value) or 'nothing known'}"
    )


def format_of(value: bytes) -> str:
    """Name of the format that a message has, unpacked; empty where none is known."""
    start = value.removeprefix(BOM_UTF8).lstrip()[:1]
    if start == b"{":
        return _of_json(value)
    if start == b"[" or not start:
        return "native"  # it says what is wrong
    if schema_id(value):
        return "registry"
    if value[0] == 0x0A and _is_otlp(value):
        return "otlp"
    if not _CONTROL.search(value[:4096]):
        if _INFLUX.match(value[:65_536]):
            return "influx"
        if any(sign in value.partition(b"\n")[0] for sign in (b",", b";", b"\t")):
            return "csv"
    return "remote-write" if _is_remote_write(value) else ""


def _of_json(value: bytes) -> str:
    try:
        look = _look.decode(value)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
        return "native"
    if bytes(look.resource_metrics):
        return "otlp"
    if bytes(look.specversion):
        return "cloudevents"
    if bytes(look.fields) or bytes(look.metrics):
        return "telegraf"
    if bytes(look.labels) or bytes(look.value).startswith(b'"'):
        return "prometheus"
    return "native"


def _is_otlp(value: bytes) -> bool:
    from producers.formats import otlp_protobuf

    try:
        otlp_protobuf.resource_metrics(value)
    except Unusable:
        return False
    return True


def _is_remote_write(value: bytes) -> bool:
    from producers.formats import remote_write

    try:
        remote_write.request(value)
    except Unusable as error:
        return error.reason == Reason.TOO_LARGE and value[:1] > b"\x7f"  # of many bytes, so its length says
    return True


def _native(value: bytes) -> Parsed:
    """The one point; its series is empty where the key names it."""
    try:
        one = _one.decode(value)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
        one = _one.reread(value)
    return Parsed([Point(one.series or "", one.timestamp, one.value)])


def _registry(value: bytes) -> Parsed:
    """A value of a registry can be read only with its schema (`producers.formats.registry`), which no parser of bytes alone has."""
    if schema := schema_id(value):
        raise Unusable(
            Reason.UNDECODABLE, f"schema {schema} of a schema registry, within another format; send it as it is"
        )
    likeness = looks_like(value)
    why = f"no schema's id stands before it, as a schema registry has it{f'; it looks like {likeness}' if likeness else ''}"
    raise Unusable(Reason.UNDECODABLE, why)


def _remote_write(value: bytes) -> Parsed:
    from producers.formats import remote_write

    return remote_write.parse(value)


PARSERS: dict[str, Parser] = {
    "telegraf": telegraf.parse,
    "influx": influx.parse,
    "prometheus": prometheus.parse,
    "remote-write": _remote_write,
    "otlp": otlp.parse,
    "cloudevents": cloudevents.parse,
    "csv": csv_lines.parse,
    "native": _native,
    "registry": _registry,
}
"""Name of a format, as the setting `format` has it -> its parser."""
