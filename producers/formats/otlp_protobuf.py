"""OTLP's export batches in protobuf (`otlp_proto`, the collector's default): from bytes to what `producers.formats.otlp` reads."""

from __future__ import annotations

import base64
from collections.abc import Iterable
from typing import Any

import msgspec
from google.protobuf import message
from opentelemetry.proto.collector.metrics.v1.metrics_service_pb2 import ExportMetricsServiceRequest

from producers.formats.base import Reason, Unusable


def resource_metrics(value: bytes) -> Any:
    """The batch's parts, each of one resource. Raises Unusable when the value is no export batch."""
    try:
        batch = ExportMetricsServiceRequest.FromString(value).resource_metrics
    except (message.DecodeError, UnicodeDecodeError, RecursionError):
        raise Unusable(Reason.UNDECODABLE, "it is no export of OpenTelemetry metrics in protobuf") from None
    if not any(scope.metrics for resource in batch for scope in resource.scope_metrics):
        why = "it holds no metrics; is it OTLP in protobuf, or traces or logs?"
        raise Unusable(Reason.UNDECODABLE, why)
    return batch


def texts(attributes: Iterable[Any]) -> dict[str, str]:
    """Names and values of attributes as text, the same text as from JSON."""
    return {a.key: _text(a.value) for a in attributes}


def _text(value: Any) -> str:
    if value.WhichOneof("value") == "string_value":
        return str(value.string_value)
    content = _plain(value)
    if value.WhichOneof("value") == "int_value":
        return str(content)
    return (
        ""
        if content is None
        else content
        if isinstance(content, str)
        else msgspec.json.encode(content, order="sorted").decode()
    )


def _plain(value: Any) -> Any:
    """As proto3 JSON has it, one level of wrapping less than there."""
    match value.WhichOneof("value"):
        case None:
            return None
        case "array_value":
            return {"values": [_wrapped(v) for v in value.array_value.values]}
        case "kvlist_value":
            return {"values": [{"key": v.key, "value": _wrapped(v.value)} for v in value.kvlist_value.values]}
        case "bytes_value":
            return base64.b64encode(value.bytes_value).decode()
        case which:
            return getattr(value, which)


_NAMES = {"string_value": "stringValue", "bool_value": "boolValue", "int_value": "intValue", "double_value": "doubleValue",
          "array_value": "arrayValue", "kvlist_value": "kvlistValue", "bytes_value": "bytesValue"}  # fmt: skip


def _wrapped(value: Any) -> dict[str, Any]:
    which = value.WhichOneof("value")
    content = _plain(value)
    return {} if which is None else {_NAMES.get(which, which): str(content) if which == "int_value" else content}
