"""A reader of an Avro schema, by fastavro.

fastavro reads in C and knows no bounds: a schema that holds itself lets a value of some KB overflow the stack, and one with
arrays of nothing lets ten bytes become a billion items. So a schema is looked at first, and refused where its values could
be more than a small multiple of their bytes.
"""

from __future__ import annotations

import io
from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

import fastavro
import msgspec

from producers.formats.base import Reason, Unusable, shown
from producers.formats.fields import MAX_DEPTH, MAX_FIELDS, flat
from producers.formats.registry.schemas import Read, Schema

MAX_TYPES = 20_000
"""Types that a schema names, those of its references included."""
_DEAREST = 100
"""Items that an array may hold for each byte of them."""

Flat = Iterator[tuple[tuple[str, ...], Any]]


class _Cost(NamedTuple):
    """What a value of a type is at least in bytes and at most in parts; and how many fields of a record it may become."""

    bytes: int
    parts: int
    fields: int


def schema_of(text: str, references: Sequence[str]) -> Schema:
    """The schema, given those that it refers to, each behind what it refers to itself. Raises Unusable."""
    named: dict[str, Any] = {}
    try:
        parsed = [fastavro.parse_schema(_json(one), named_schemas=named) for one in (*references, text)][-1]
    except Unusable:
        raise
    except Exception as error:  # whatever it makes of a schema that is none
        raise Unusable(Reason.UNDECODABLE, f"it is no Avro schema: {shown(str(error))}") from None
    cost = _Costs(named).of(parsed)
    if cost.fields > MAX_FIELDS or cost.parts > MAX_TYPES:
        raise Unusable(Reason.TOO_LARGE, f"its records have more than {MAX_FIELDS:,} fields")
    if not isinstance(parsed, dict) or parsed.get("type") != "record":
        raise Unusable(Reason.WRONG_TYPE, "its values are no records of fields")
    return Schema("avro", _reader(parsed), cost.fields)


def _json(text: str) -> Any:
    try:
        content = msgspec.json.decode(text)
    except (msgspec.DecodeError, RecursionError):
        raise Unusable(Reason.UNDECODABLE, "it is no JSON, as Avro's schemas are") from None
    waiting, types = [(content, 0)], 0
    while waiting:
        of, depth = waiting.pop()
        types += 1
        if depth > 4 * MAX_DEPTH or types > MAX_TYPES:
            raise Unusable(Reason.TOO_LARGE, "it holds too many types, or too many within each other")
        waiting += [
            (part, depth + 1) for part in (of.values() if isinstance(of, dict) else of if isinstance(of, list) else ())
        ]
    return content


class _Costs:
    """Costs of types, each named one once."""

    def __init__(self, named: dict[str, Any]) -> None:
        self._named = named
        self._known: dict[str, _Cost] = {}
        self._open: set[str] = set()

    def of(self, schema: Any) -> _Cost:
        """Of any type, as fastavro parsed it. Raises Unusable."""
        if isinstance(schema, list):  # a union, written as the place of its branch
            branches = [self.of(branch) for branch in schema]
            return _Cost(1, 1 + max((b.parts for b in branches), default=0), sum(b.fields for b in branches))
        if isinstance(schema, str):
            if schema in self._named:
                return self._of_name(schema)
            sizes = {"null": 0, "float": 4, "double": 8}
            return _Cost(sizes.get(schema, 1), 1, 1)
        kind = schema["type"]
        if kind in ("record", "error"):
            return self._of_name(schema["name"])
        if kind == "array" or kind == "map":
            item = self.of(schema["items" if kind == "array" else "values"])
            if item.parts > _DEAREST * (item.bytes + (kind == "map")):
                raise Unusable(
                    Reason.TOO_LARGE, "it has arrays whose items may take no room: a few bytes could hold any number"
                )
            return _Cost(1, 1, 1)
        if kind == "fixed":
            return _Cost(schema["size"], 1, 1)
        return _Cost(1, 1, 1) if kind == "enum" else self.of(kind)

    def _of_name(self, name: str) -> _Cost:
        if name in self._open:
            raise Unusable(Reason.TOO_LARGE, f"it holds itself ({shown(name)}), and no observation is that deep")
        if name not in self._known:
            schema = self._named[name]
            if schema["type"] not in ("record", "error"):
                return self.of(schema)
            self._open.add(name)
            parts = [self.of(field["type"]) for field in schema["fields"]]
            self._open.discard(name)
            self._known[name] = _Cost(
                sum(p.bytes for p in parts), 1 + sum(p.parts for p in parts), sum(p.fields for p in parts)
            )
        return self._known[name]


def _reader(parsed: Any) -> Read:
    def read(content: bytes) -> Flat:
        stream = io.BytesIO(content)
        try:
            record = fastavro.schemaless_reader(stream, parsed, None)
        except Exception as error:  # it raises a dozen kinds, by what it stumbles over
            raise Unusable(Reason.UNDECODABLE, f"it is not of its schema: {type(error).__name__}") from None
        if left := len(content) - stream.tell():
            raise Unusable(Reason.UNDECODABLE, f"it is not of its schema: {left} bytes are left over")
        assert isinstance(record, dict)
        return flat(record)

    return read
