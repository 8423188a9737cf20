"""Records that somebody sends who means harm, or whose program is broken: for every input format, from a seed."""

from __future__ import annotations

import json
import random
from collections.abc import Callable, Iterator

T0 = 1_404_172_800_000
MIB = 1 << 20

_BOMB = b'{"a":' * 5000 + b"1" + b"}" * 5000
_NUMBERS = [
    b"1e400", b"-1e400", b"1e-400", b"-0.0", b"9" * 400, b"-" + b"9" * 5000, b"0." + b"1" * 5000, b"1e" + b"9" * 300, b"NaN", b"-NaN",
    b"Infinity", b"-Infinity", b"nan", b"inf", b"0x10", b"01", b"+1", b".5", b"1.", b"1_000", b"1e5e5", b"--1", b"true", b"null",
    b'"1"', b"[1]", b"{}", b'"\\ud800"', b"18446744073709551616", b"-9223372036854775809", b"9007199254740993", b"2.2250738585072011e-308",
]  # fmt: skip
_TIMES = [
    b"0", b"-1", b"1", b"31535999999", b"31536000000", b"7258118399999", b"7258118400000", b"1404172800", b"1404172800000000000",
    b"9" * 30, b"1e12", b"1404172800000.0", b"1404172800000.5", b'"2014-07-01T00:00:00Z"', b'"0000-00-00T00:00:00Z"',
    b'"9999-12-31T23:59:59.999999999+23:59"', b'"2014-07-01T00:00:00"', b'"2014-W27"', b'"-1"', b"null", b"[]", b'"\\u0000"', b"-0",
]  # fmt: skip
_NAMES = [
    b'"a"', b'""', b'"\\u0000"', b'"\\ud800"', b'"\\ud83d\\ude00"', b'"\xff"', b'"' + b"n" * 600 + b'"', b'"' + b"\xc3\xa9" * 300 + b'"', b"7",
    b"null", b'["a"]', b'"a\\nb"', b'"a{b=\\"c\\"}"', b'"../../etc/passwd"', b'"\xe2\x80\xae"', b'"=cmd|calc"', b'"<script>"', b'"%n%s"',
]  # fmt: skip
_ANY = [
    b"", b" ", b"\n", b"\x00", b"\x00" * 1000, b"\xef\xbb\xbf{}", b"null", b"true", b"[]", b"{}", b"[[]]", b'"text"', b"1", b"{", b"}", b"[",
    b'{"a":', b'{"a":1,}', b"{'a':1}", b'{"a":1}{"a":1}', b"\x80", b"\xc0\xaf", b"\xed\xa0\x80", b"\xf4\x90\x80\x80", b"\xff\xfe{\x00}\x00", b"[" * 100_000,
    b"{" * 100_000, _BOMB, b"[" * 50_000 + b"]" * 50_000, b"\x1f\x8b\x08\x00", b"PK\x03\x04", b"\x80\x04\x95", b"cos\nsystem\n(S'true'\ntR.",
    b"!!python/object/apply:os.system [true]", b"\x16\x03\x01", b"GET / HTTP/1.1\r\n\r\n", b'{"__proto__":{"x":1}}', b'{"a":1,"a":2,"a":3}',
]  # fmt: skip


def _native(chance: random.Random) -> bytes:
    members = [
        b'"timestamp":' + chance.choice(_TIMES),
        b'"value":' + chance.choice(_NUMBERS),
        b'"series":' + chance.choice(_NAMES),
        b'"values":[' + b",".join(chance.choices(_NUMBERS, k=chance.choice((0, 1, 2, 3, 5000)))) + b"]",
        b'"x":' + chance.choice((_BOMB, b'"' + b"x" * 1000 + b'"', b"[" * 2000)),
    ]
    if chance.random() < 0.7:  # one thing wrong, the rest as it should be
        members[0] = b'"timestamp":%d' % (T0 + chance.randrange(10**9))
    if chance.random() < 0.5:
        members[2] = b'"series":"h%d"' % chance.randrange(50)
    return b"{" + b",".join(chance.sample(members, k=chance.randint(1, 4))) + b"}"


def _telegraf(chance: random.Random) -> bytes:
    fields = b",".join(b'"f%d":' % i + chance.choice(_NUMBERS) for i in range(chance.choice((0, 1, 1, 2, 3, 3, 300))))
    tags = b",".join(b'"t%d":' % i + chance.choice(_NAMES) for i in range(chance.choice((0, 1, 40))))
    metric = b'{"name":%s,"fields":{%s},"tags":{%s},"timestamp":%s}' % (
        chance.choice(_NAMES), fields, tags, chance.choice([*_TIMES, b"1404172800"]),
    )  # fmt: skip
    many = b'{"metrics":[' + b",".join([metric] * chance.choice((0, 1, 30))) + b"]}"
    return chance.choice((metric, metric, many))


def _prometheus(chance: random.Random) -> bytes:
    labels = b",".join(b'"l%d":' % i + chance.choice(_NAMES) for i in range(chance.choice((0, 1, 100))))
    return b'{"timestamp":%s,"value":%s,"name":%s,"labels":{%s}}' % (
        chance.choice([*_TIMES, b'"2014-07-01T00:00:00Z"']),
        chance.choice([b'"' + n.strip(b'"') + b'"' for n in _NUMBERS]),
        chance.choice(_NAMES),
        labels,
    )


def _otlp(chance: random.Random) -> bytes:
    def point() -> bytes:
        members = [
            b'"timeUnixNano":' + chance.choice([*_TIMES, b'"1404172800000000000"']),
            b'"asDouble":' + chance.choice(_NUMBERS),
            b'"asInt":' + chance.choice(_NUMBERS),
            b'"attributes":[{"key":%s,"value":{"stringValue":%s}}]' % (chance.choice(_NAMES), chance.choice(_NAMES)),
            b'"flags":' + chance.choice(_NUMBERS),
        ]
        return b"{" + b",".join(chance.sample(members, k=chance.randint(1, 3))) + b"}"

    points = b",".join(point() for _ in range(chance.choice((0, 1, 1, 2, 5, 5, 200))))
    kind = chance.choice((b"gauge", b"sum", b"histogram", b"summary"))
    metric = b'{"name":%s,"%s":{"dataPoints":[%s],"isMonotonic":true,"aggregationTemporality":%s}}' % (
        chance.choice(_NAMES), kind, points, chance.choice((b"2", b'"AGGREGATION_TEMPORALITY_CUMULATIVE"', b"[]")),
    )  # fmt: skip
    metrics = b",".join([metric] * chance.choice((1, 1, 20)))
    scopes = b",".join([b'{"metrics":[' + metrics + b"]}"] * chance.choice((1, 1, 5)))
    return b'{"resourceMetrics":[{"scopeMetrics":[' + scopes + b"]}]}"


def _influx(chance: random.Random) -> bytes:
    def line() -> bytes:
        names = [n.strip(b'"').replace(b" ", b"\\ ") or b"m" for n in chance.choices(_NAMES, k=3)]
        tags = b"".join(b",t%d=%s" % (i, names[1]) for i in range(chance.choice((0, 1, 40))))
        values = [*_NUMBERS, b"1i", b"2u", b"t", b"False", b'"a b"', b'"a\nb"', b'"open', b"9" * 30 + b"i", b"-1u"]
        fields = b",".join(b"f%d=%s" % (i, chance.choice(values)) for i in range(chance.choice((0, 1, 2, 300))))
        return names[0] + tags + b" " + fields + b" " + chance.choice([*_TIMES, b"1404172800000000000", b""])

    return b"\n".join(line() for _ in range(chance.choice((0, 1, 1, 3, 50))))


def _csv(chance: random.Random) -> bytes:
    sign = chance.choice((b",", b",", b";", b"\t"))
    columns = chance.sample(
        [b"timestamp", b"series", b"value", b"host", b"load", b"load", b"_time", b'a"b'], k=chance.randint(1, 6)
    )
    lines = [sign.join(columns)] if chance.random() < 0.7 else []
    for _ in range(chance.choice((0, 1, 3, 300))):
        cells = [chance.choice((*_NUMBERS, *_TIMES, *_NAMES, b"1404172800000", b"1", b"")) for _ in columns]
        lines.append(sign.join(cells[: chance.choice((None, None, None, 1))]))
    return b"\n".join(lines)


def _series_of(chance: random.Random, message: object, add: Callable[[object, str, float, int], None]) -> None:
    for _ in range(chance.choice((0, 1, 1, 3, 200))):
        name = chance.choice(("a", "", "n" * 600, "\0", "é" * 300, "a\nb", "x_total"))
        value = chance.choice((0.0, -1.5, 1e308, float("nan"), float("inf"), 5e-324))
        add(message, name, value, chance.choice((0, -1, T0, T0, T0, 2**62, 31_536_000_000 - 1)))


def _remote_write(chance: random.Random) -> bytes:
    import cramjam

    from producers.formats.remote_write import WriteRequest

    def add(request: object, name: str, value: float, time: int) -> None:
        series = request.timeseries.add()  # type: ignore[attr-defined]
        for i in range(chance.choice((0, 1, 3, 300))):
            series.labels.add(name="__name__" if not i else f"l{i}", value=name)
        series.samples.add(value=value, timestamp=time)

    request = WriteRequest()
    _series_of(chance, request, add)
    packed = bytes(cramjam.snappy.compress_raw(request.SerializeToString()))
    return (
        packed
        if chance.random() < 0.9
        else chance.choice((b"\xff\xff\xff\xff\x0f", b"\x80\x80\x04", b"\x0a")) + packed[1:]
    )


def _otlp_protobuf(chance: random.Random) -> bytes:
    from opentelemetry.proto.collector.metrics.v1.metrics_service_pb2 import ExportMetricsServiceRequest

    def add(scope: object, name: str, value: float, time: int) -> None:
        metric = scope.metrics.add(name=name)  # type: ignore[attr-defined]
        kind = chance.choice(("gauge", "sum", "histogram", "exponential_histogram", "summary"))
        point = getattr(metric, kind).data_points.add(
            time_unix_nano=max(time, 0) * chance.choice((1, 1, 10**6 if time < 10**13 else 1))
        )
        if kind in ("gauge", "sum"):
            point.as_double = value
            point.start_time_unix_nano = chance.choice((0, 1, 2**64 - 1))
        else:
            point.count, point.sum = chance.choice((0, 1, 2**64 - 1)), value
        if kind not in ("gauge", "summary"):
            getattr(metric, kind).aggregation_temporality = chance.choice((0, 1, 2))
        attribute = point.attributes.add(key=name).value
        for _ in range(chance.choice((0, 0, 1, 50))):
            attribute = attribute.array_value.values.add()
        attribute.string_value = name

    request = ExportMetricsServiceRequest()
    _series_of(chance, request.resource_metrics.add().scope_metrics.add(), add)
    return request.SerializeToString()


def _cloudevents(chance: random.Random) -> bytes:
    import base64

    data = chance.choice((_native, _telegraf, _otlp, _influx, _csv, _otlp_protobuf, _remote_write))(chance)[:5000]
    members = [
        b'"specversion":"1.0"',
        b'"data":' + data if chance.random() < 0.5 else b'"data_base64":"' + base64.b64encode(data) + b'"',
        b'"time":' + chance.choice(_TIMES),
        b'"subject":' + chance.choice(_NAMES),
    ]
    return b"{" + b",".join(members[: chance.randint(1, 4)]) + b"}"


def _auto(chance: random.Random) -> bytes:
    import gzip

    shape = chance.choice([shape for name, shape in SHAPED.items() if name != "auto"])
    value = shape(chance)
    return gzip.compress(value) if chance.random() < 0.2 else value


SHAPED: dict[str, Callable[[random.Random], bytes]] = {
    "native": _native, "telegraf": _telegraf, "prometheus": _prometheus, "otlp": _otlp, "influx": _influx, "csv": _csv,
    "remote-write": _remote_write, "otlp-protobuf": _otlp_protobuf, "cloudevents": _cloudevents, "auto": _auto,
}  # fmt: skip


def attack(chance: random.Random, format_: str) -> tuple[bytes | None, bytes | None]:
    """One record: key and value."""
    return _key(chance), _value(chance, format_)


def _key(chance: random.Random) -> bytes | None:
    kind = chance.random()
    if kind < 0.5:
        return b"h%d" % chance.randrange(50)
    if kind < 0.9995:
        return chance.choice((None, b"", b"\xff\xfe", chance.randbytes(20), b"k" * 513, b"\x00"))
    return b"k" * MIB


def _value(chance: random.Random, format_: str) -> bytes | None:
    kind = chance.random()
    if kind < 0.55:
        return SHAPED[format_](chance)[: chance.choice((None, None, None, chance.randrange(1, 200)))]
    if kind < 0.75:
        return chance.randbytes(chance.randrange(0, 120))
    if kind < 0.90:
        return chance.choice(_ANY)
    if kind < 0.98:
        return _damaged(chance, SHAPED[format_](chance)[:2000])
    if kind < 0.9995:
        return None
    return b'{"timestamp":%d,"value":1,"series":"big"}' % T0 + b" " * MIB


def _damaged(chance: random.Random, value: bytes) -> bytes:
    """A few bytes changed, gone or doubled."""
    damaged = bytearray(value)
    for _ in range(chance.randint(1, 4)):
        if damaged:
            at = chance.randrange(len(damaged))
            damaged[at : at + chance.randint(0, 3)] = chance.randbytes(chance.randint(0, 4))
    return bytes(damaged)


def attacks(seed: int, format_: str, count: int) -> Iterator[tuple[bytes | None, bytes | None]]:
    """The same for the same seed, everywhere."""
    chance = random.Random(f"{seed} {format_}")
    return (attack(chance, format_) for _ in range(count))


def good(format_: str, series: str, timestamp: int, value: float) -> bytes:
    """A record that every rule of its format accepts."""
    if format_ in ("influx", "auto"):
        return f"{series} value={value!r} {timestamp * 1_000_000}".encode()
    if format_ == "csv":
        return f"{series},{timestamp},{value!r}".encode()
    if format_ == "remote-write":
        import cramjam

        from producers.formats.remote_write import WriteRequest

        write = WriteRequest()
        of = write.timeseries.add()
        of.labels.add(name="__name__", value=series)
        of.samples.add(value=value, timestamp=timestamp)
        return bytes(cramjam.snappy.compress_raw(write.SerializeToString()))
    if format_ == "otlp-protobuf":
        from opentelemetry.proto.collector.metrics.v1.metrics_service_pb2 import ExportMetricsServiceRequest

        export = ExportMetricsServiceRequest()
        metric = export.resource_metrics.add().scope_metrics.add().metrics.add(name=series)
        metric.gauge.data_points.add(time_unix_nano=timestamp * 1_000_000, as_double=value)
        return export.SerializeToString()
    if format_ == "cloudevents":
        data = {"series": series, "timestamp": timestamp, "value": value}
        return json.dumps({"specversion": "1.0", "data": data}).encode()
    if format_ == "native":
        message: object = {"series": series, "timestamp": timestamp, "value": value}
    elif format_ == "telegraf":
        message = {"name": series, "fields": {"value": value}, "tags": {}, "timestamp": timestamp}
    elif format_ == "prometheus":
        from datetime import UTC, datetime

        when = datetime.fromtimestamp(timestamp / 1000, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
        message = {"timestamp": when, "value": repr(value), "name": series, "labels": {}}
    else:
        point = {"timeUnixNano": str(timestamp * 1_000_000), "asDouble": value}
        message = {
            "resourceMetrics": [{"scopeMetrics": [{"metrics": [{"name": series, "gauge": {"dataPoints": [point]}}]}]}]
        }
    return json.dumps(message).encode()
