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


SHAPED: dict[str, Callable[[random.Random], bytes]] = {
    "native": _native, "telegraf": _telegraf, "prometheus": _prometheus, "otlp": _otlp,
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
