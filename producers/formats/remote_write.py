"""Prometheus remote write 1.0 as it goes over HTTP, put on a topic: protobuf, packed as one Snappy block.

- Series: `up{job="api"}`, as from prometheus-kafka-adapter; kinds by the name's suffix, too.
- Time: ms. Value: a double; NaN, which is also the stale marker, is counted as `stale`; an infinite value is refused.
- Native histograms are counted as `histogram` and left out; exemplars and metadata are passed over.
- Remote write 2.0 is refused: set `protobuf_message: "prometheus.WriteRequest"` in Prometheus.
"""

from __future__ import annotations

import math
from typing import Any

import cramjam
from google.protobuf import descriptor_pb2, descriptor_pool, message, message_factory

from producers.formats.base import (
    MAX_POINTS,
    Parsed,
    Point,
    Reason,
    Unusable,
    check_labels,
    checked_time,
    finite,
    series_name,
)
from producers.formats.packed import MAX_UNPACKED
from producers.formats.prometheus import kind_of


def _write_request() -> type[Any]:
    """`prometheus.WriteRequest` of prompb/remote.proto, as far as it is read here."""
    types = descriptor_pb2.FieldDescriptorProto
    file = descriptor_pb2.FileDescriptorProto(
        name="tidewatch/prompb.proto", package="tidewatch.prompb", syntax="proto3"
    )

    def add(message_name: str, /, **fields: tuple[int, int, str]) -> None:
        of = file.message_type.add(name=message_name)
        for field, (number, kind, items) in fields.items():
            label = types.LABEL_REPEATED if items else types.LABEL_OPTIONAL
            one = of.field.add(name=field, number=number, type=kind, label=label)
            if kind == types.TYPE_MESSAGE:
                one.type_name = f".tidewatch.prompb.{items}"

    add("Label", name=(1, types.TYPE_STRING, ""), value=(2, types.TYPE_STRING, ""))
    add("Sample", value=(1, types.TYPE_DOUBLE, ""), timestamp=(2, types.TYPE_INT64, ""))
    add(
        "TimeSeries",
        labels=(1, types.TYPE_MESSAGE, "Label"),
        samples=(2, types.TYPE_MESSAGE, "Sample"),
        histograms=(4, types.TYPE_BYTES, "bytes"),
    )
    add(
        "WriteRequest",
        timeseries=(1, types.TYPE_MESSAGE, "TimeSeries"),
        metadata=(3, types.TYPE_BYTES, "bytes"),
        symbols=(4, types.TYPE_BYTES, "bytes"),
    )
    pool = descriptor_pool.DescriptorPool()
    pool.Add(file)
    return message_factory.GetMessageClass(pool.FindMessageTypeByName("tidewatch.prompb.WriteRequest"))


WriteRequest = _write_request()


def parse(value: bytes) -> Parsed:
    """Points of one request. Raises Unusable when it is none."""
    parsed, points = Parsed(), 0
    write = request(value)
    if len(write.timeseries) > MAX_POINTS:
        raise Unusable(Reason.TOO_LARGE, f"more than {MAX_POINTS:,} series in one message")
    for series in write.timeseries:
        points += len(series.samples)
        if points > MAX_POINTS:
            raise Unusable(Reason.TOO_LARGE, f"more than {MAX_POINTS:,} points in one message")
        if series.histograms:
            parsed.skip("histogram", len(series.histograms))
        try:
            check_labels(len(series.labels) - 1)
            labels = {label.name: label.value for label in series.labels}
            name = labels.pop("__name__", "")
            of, kind = series_name(name, labels), kind_of(name)
        except Unusable as error:
            parsed.refused += [error] * len(series.samples)
            continue
        for sample in series.samples:
            if math.isnan(sample.value):
                parsed.skip("stale")
                continue
            try:
                parsed.points.append(Point(of, checked_time(sample.timestamp), finite(sample.value), kind))
            except Unusable as error:
                parsed.refused.append(error)
    return parsed


def request(value: bytes) -> Any:
    """The WriteRequest in a Snappy block. Raises Unusable when it is none."""
    try:
        size = cramjam.snappy.decompress_raw_len(value)
        if size > MAX_UNPACKED:
            raise Unusable(Reason.TOO_LARGE, f"{size:,} bytes unpacked; the limit is {MAX_UNPACKED:,}")
        write = WriteRequest.FromString(bytes(cramjam.snappy.decompress_raw(value)))
    except cramjam.DecompressionError:
        raise Unusable(Reason.UNDECODABLE, "it is no Snappy block, as remote write sends") from None
    except (message.DecodeError, UnicodeDecodeError):
        raise Unusable(Reason.UNDECODABLE, "it is no WriteRequest of Prometheus in protobuf") from None
    if write.symbols:
        why = 'this is remote write 2.0; set protobuf_message: "prometheus.WriteRequest" in Prometheus'
        raise Unusable(Reason.UNDECODABLE, why)
    if not write.timeseries and not write.metadata:
        raise Unusable(Reason.UNDECODABLE, "it holds no time series; is it a WriteRequest of Prometheus?")
    return write
