"""Input formats: a foreign message to points of series. One file each, named like the stream's `format` setting."""

from __future__ import annotations

from producers.formats.base import Parser
from producers.formats.detect import PARSERS, parse
from producers.formats.fields import Fields, parse_json

FOREIGN: dict[str, Parser] = {name: parser for name, parser in PARSERS.items() if name != "native"} | {
    "json": lambda value: parse_json(value, Fields()),
    "auto": parse,
}
"""Parsers of all formats but the native one, which is read in columns."""
