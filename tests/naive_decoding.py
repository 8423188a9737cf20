"""What the native form says of one record, from its rules, with the standard library: slow and obvious."""

from __future__ import annotations

import json
import math
from typing import Any

EARLIEST, LATEST = 31_536_000_000, 7_258_118_400_000

Decoded = tuple[str, int, list[Any]]


def naive_decode(value: bytes | None, key: bytes | None, kind: str, width: int) -> Decoded | str:
    """Series, timestamp and values; or the reason why the record is none (`tombstone`: passed over)."""
    if value is None:
        return "tombstone"
    if len(value) > 1 << 20:
        return "too large"
    message = _json(value)
    if isinstance(message, str):
        return message.removeprefix("reason: ") if message.startswith("reason: ") else "wrong type"
    read = _read(message, kind, width)
    if isinstance(read, str):
        return read
    timestamp, values = read
    series = message.get("series") or key
    if not series:
        return "no series"
    if len(series if isinstance(series, bytes) else series.encode()) > 512:
        return "too large"
    if isinstance(series, bytes):
        try:
            series = series.decode()
        except UnicodeDecodeError:
            return "undecodable"
    return series, timestamp, values


def _json(value: bytes) -> Any:
    def refuse(literal: str) -> None:
        raise OverflowError

    text = value.decode(errors="replace")
    try:
        message = json.loads(text, parse_constant=refuse)
        json.dumps(message, ensure_ascii=False).encode()  # a lone surrogate is no text
        if isinstance(message, dict) and text.encode() != value:  # no UTF-8; that matters where it is read
            read = [message.get(name) for name in ("timestamp", "value", "values", "series")]
            if "\ufffd" in json.dumps(read, ensure_ascii=False):
                return "reason: undecodable"
    except OverflowError:
        return "reason: not finite"
    except (ValueError, RecursionError):
        return "reason: undecodable"
    return message


def _read(message: Any, kind: str, width: int) -> tuple[int, list[Any]] | str:
    if not isinstance(message, dict):
        return "wrong type"
    if any(map(_beyond, (message.get(name) for name in ("timestamp", "value", "values", "series")))):
        return "not finite"
    if "timestamp" not in message:
        return "wrong type"
    timestamp = message["timestamp"]
    if isinstance(timestamp, bool) or not isinstance(timestamp, int | float):
        return "wrong type"
    if isinstance(timestamp, float) or not EARLIEST <= timestamp < LATEST:
        return "absurd timestamp"
    if not isinstance(message.get("series"), str | None):
        return "wrong type"
    value, values = message.get("value"), message.get("values")
    if value is not None and values is not None:
        return "wrong channels"
    if value is None and values is None:
        return "wrong type"
    if value is not None and kind == "table":
        return "wrong channels"
    values = values if value is None else [value]
    if not isinstance(values, list):
        return "wrong type"
    out: list[Any] = []
    for v in values:
        if isinstance(v, str) and kind == "table":
            out.append(v)
            continue
        if isinstance(v, bool) or not isinstance(v, int | float):
            return "wrong type"
        try:
            number = float(v)
        except OverflowError:
            number = math.inf
        if not math.isfinite(number):
            return "not finite"
        out.append(number)
    return (timestamp, out) if len(out) == width else "wrong channels"


def _beyond(value: Any) -> bool:
    """Whether a number in it, however deep, is beyond float64: that is seen first, since such a member cannot be read at all."""
    if isinstance(value, dict | list):
        return any(map(_beyond, value.values() if isinstance(value, dict) else value))
    return isinstance(value, float) and math.isinf(value)
