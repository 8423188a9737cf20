"""Influx line protocol (Telegraf's default, `data_format = "influx"`): any number of lines per message, one series per numeric field.

    cpu,host=a,cpu=cpu0 usage_user=3.1,usage_idle=96i 1458229140000000000

- Series: `cpu_usage_user{cpu="cpu0",host="a"}`; a field called `value` is left out of the name, as for Telegraf's JSON.
- Time: an integer of ns (or s, ms, us: which one follows from its size, as the years 1971 to 2200 do not overlap). A line
  without one is refused: when it was written nobody knows.
- Fields: floats, integers (`3i`), unsigned ones (`3u`), booleans as 1 and 0; texts are counted as `text field`.
- Kinds: as for Telegraf's JSON.
- Empty lines and comments (`#`) are passed over. Backslash escapes blank, comma, equals sign; in texts, quote and itself.
"""

from __future__ import annotations

import re

from producers.formats.base import (
    MAX_POINTS,
    Parsed,
    Point,
    Reason,
    Unusable,
    finite,
    shown,
    time_of_any_unit,
)
from producers.formats.heads import Heads

# Each character fits one alternative only, so what a line costs grows with its length alone.
_LINE = re.compile(
    r"(?P<key>(?:[^\s\\]|\\.)+)[ \t]+(?P<fields>(?:\"(?:[^\"\\]|\\.)*\"|[^\s\"\\]|\\.)+)(?:[ \t]+(?P<time>\S+))?",
    re.DOTALL,
)
_KEY = re.compile(r"(?:[^\\,]|\\.)+", re.DOTALL)
_FIELD = re.compile(r"(?P<name>(?:[^\s\\,=]|\\.)+)=(?P<content>\"(?:[^\"\\]|\\.)*\"|[^\s,\"]+)(?:,|$)", re.DOTALL)
_ESCAPED = re.compile(r"\\([ ,=\\])")
_ENDS_A_NUMBER = "0123456789."
_INTEGER = re.compile(r"[+-]?\d{1,20}[iu]", re.ASCII)
_TIME = re.compile(r"-?\d{1,20}", re.ASCII)
_TRUE, _FALSE = ("t", "T", "true", "True", "TRUE"), ("f", "F", "false", "False", "FALSE")


def parse(value: bytes) -> Parsed:
    """Points of all lines. Raises Unusable where no line is one of the protocol; single bad lines are refused points."""
    try:
        text = value.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise Unusable(Reason.UNDECODABLE, f"not UTF-8: {error.reason}") from None
    if text.lstrip().startswith("{"):
        raise Unusable(
            Reason.UNDECODABLE, "it is JSON, not line protocol; set the stream's format to the one that it has"
        )
    parsed, lines, at = Parsed(), text.split("\n"), 0
    while at < len(lines):
        first, line = at, lines[at].strip(" \t\r")
        at += 1
        if not line or line.startswith("#"):
            continue
        if _read_plain(line, parsed):
            _bounded(parsed)
            continue
        match = _LINE.fullmatch(line)
        if match is None and _quotes(line) % 2:  # a text with line breaks in it; what it does not end is one bad line
            quotes = _quotes(lines[first])
            while at < len(lines) and quotes % 2:
                quotes += _quotes(lines[at])
                at += 1
            line = "\n".join(lines[first:at]).strip(" \t\r")
            match = _LINE.fullmatch(line)
        if match is None:
            why = f"line {first + 1} is not line protocol: {shown(line[:60])}"
            parsed.refused.append(Unusable(Reason.UNDECODABLE, why))
        else:
            _read_or_refuse(match, parsed)
        _bounded(parsed)
    if parsed.refused and not parsed.points and not parsed.skipped:
        raise parsed.refused[0]
    return parsed


def _bounded(parsed: Parsed) -> None:
    if len(parsed.points) > MAX_POINTS:
        raise Unusable(Reason.TOO_LARGE, f"more than {MAX_POINTS:,} points in one message")


def _read_plain(line: str, parsed: Parsed) -> bool:
    """Read a line of single blanks, without quotes and escapes, as nearly all are; False where it is another, and nothing was read."""
    if '"' in line or "\\" in line:
        return False
    parts = line.split()
    if len(parts) != 3 or " ".join(parts) != line:
        return False
    key, fields, time = parts
    pairs = [field.partition("=") for field in fields.split(",")]
    if not (time.isascii() and time.isdigit() and len(time) <= 20 and all(map(all, pairs))):
        return False
    try:
        head = _heads.of(key)
        timestamp, known = time_of_any_unit(int(time)), head.fields
        for name, _, content in pairs:
            number = _content(content)
            series, kind = known.get(name) or _heads.named(head, name)
            parsed.points.append(Point(series, timestamp, number, kind))
    except Unusable as error:
        parsed.refused.append(error)
    return True


def _quotes(line: str) -> int:
    return line.replace("\\\\", "").replace('\\"', "").count('"')


def _read_or_refuse(match: re.Match[str], parsed: Parsed) -> None:
    try:
        _read(match, parsed)
    except Unusable as error:
        parsed.refused.append(error)


def _read(match: re.Match[str], parsed: Parsed) -> None:
    head = _heads.of(match["key"])
    if match["time"] is None:
        raise Unusable(Reason.ABSURD_TIMESTAMP, "the line has no time; have the writer set it")
    if not _TIME.fullmatch(match["time"]):
        raise Unusable(Reason.ABSURD_TIMESTAMP, f"the time {shown(match['time'])} is not an integer")
    timestamp = time_of_any_unit(int(match["time"]))
    at, fields = 0, match["fields"]
    while at < len(fields):
        field = _FIELD.match(fields, at)
        if field is None:
            raise Unusable(Reason.UNDECODABLE, f"field {shown(fields[at : at + 60])} is not name=value")
        at = field.end()
        if field["content"].startswith('"'):
            parsed.skip("text field")
            continue
        name, number = _plain(field["name"]), _content(field["content"])
        series, kind = head.fields.get(name) or _heads.named(head, name)
        parsed.points.append(Point(series, timestamp, number, kind))


def _head(key: str) -> tuple[str, dict[str, str]]:
    """Measurement and tags."""
    measurement, *tags = (m.group() for m in _KEY.finditer(key))
    labels = {}
    for tag in tags:
        name, found, content = _halves(tag)
        if not found:
            raise Unusable(Reason.UNDECODABLE, f"tag {shown(tag)} has no value")
        labels[_plain(name)] = _plain(content)
    return _plain(measurement), labels


_heads: Heads[str] = Heads(_head, len)


def _content(text: str) -> float:
    if (
        text[-1] in _ENDS_A_NUMBER and "_" not in text and text.isascii()
    ):  # all else that float() takes is no number here
        try:
            number = float(text)
        except ValueError:
            pass
        else:
            return finite(number)
    if _INTEGER.fullmatch(text):
        return finite(int(text[:-1]))
    if text in _TRUE or text in _FALSE:
        return float(text in _TRUE)
    reason = Reason.NOT_FINITE if text.lstrip("+-").lower() in ("nan", "inf", "infinity") else Reason.WRONG_TYPE
    raise Unusable(reason, f"the value {shown(text)} is neither number, boolean nor text")


def _halves(tag: str) -> tuple[str, str, str]:
    """A tag at its first equals sign that is not escaped."""
    match = re.match(r"((?:[^\\=]|\\.)+)=(.+)", tag, re.DOTALL)
    return (match[1], "=", match[2]) if match else (tag, "", "")


def _plain(text: str) -> str:
    return _ESCAPED.sub(r"\1", text) if "\\" in text else text
