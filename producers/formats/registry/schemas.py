"""Values with a schema's id before them, read with the schemas that are at hand; which are not, is told before anything is read."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from producers.formats.base import Parsed, Reason, Unusable
from producers.formats.fields import Fields, parse_json, points_of

Read = Callable[[bytes], Iterator[tuple[tuple[str, ...], Any]]]
"""From the bytes behind the id to the fields of the record, each with its path. Raises Unusable."""

HEAD = 5
MOST_SCHEMAS = 1_000
"""Schemas that are kept, beside those that the values at hand need."""
ASKED_AGAIN = 30.0
"""Seconds after which a registry is asked again for a schema that it did not know."""


@dataclass(frozen=True, slots=True)
class Schema:
    """What a value of a schema is read with.

    Attributes
    ----------
    kind
        `avro`, `json` or `protobuf`.
    read
        None: what follows the id is JSON.
    fields
        Fields that a record may have without a byte of its own for each.
    """

    kind: str
    read: Read | None
    fields: int


JSON = Schema("json", None, 0)


@dataclass(frozen=True, slots=True)
class Unknown:
    """Why there is no schema of an id; `lasting` where the registry will never say anything else."""

    reason: Reason
    detail: str
    lasting: bool = True


def schema_id(value: bytes) -> int:
    """The schema's id before a value; 0 where there is none."""
    if len(value) > HEAD and value[0] == 0:
        of = int.from_bytes(value[1:HEAD], "big")
        return of if of < 1 << 31 else 0
    return 0


class Schemas:
    """The schemas at hand.

    Parameters
    ----------
    fields
        Which fields of the records are what.
    clock
        Seconds; paces how often is asked for what is not known.
    """

    def __init__(self, fields: Fields, clock: Callable[[], float] = time.monotonic) -> None:
        self._fields = fields
        self._clock = clock
        self._known: dict[int, Schema | Unknown] = {}
        self._asked: dict[int, float] = {}

    def missing(self, values: Iterable[bytes | None]) -> set[int]:
        """Ids of the schemas that these values need and that are not at hand; empty: `parse` can be called for each."""
        wanted = {bytes(v[1:HEAD]) for v in values if v is not None and len(v) > HEAD and v[0] == 0}
        if not wanted:
            return set()
        ids = {int.from_bytes(v, "big") for v in wanted}
        if len(self._known) > MOST_SCHEMAS:
            self._known = {schema: of for schema, of in self._known.items() if schema in ids}
            self._asked = {schema: at for schema, at in self._asked.items() if schema in ids}
        due = self._clock() - ASKED_AGAIN
        return {i for i in ids if 0 < i < 1 << 31 and (i not in self._known or self._asked.get(i, due + 1) <= due)}

    def learn(self, found: Mapping[int, Schema | Unknown]) -> None:
        """Keep what a registry told."""
        for schema, of in found.items():
            self._known[schema] = of
            if isinstance(of, Unknown) and not of.lasting:
                self._asked[schema] = self._clock()
            else:
                self._asked.pop(schema, None)

    def most_points(self, value: bytes) -> int:
        """Points that a value may hold beside those that take two bytes each."""
        known = self._known.get(schema_id(value))
        return known.fields if isinstance(known, Schema) else 0

    def parse(self, value: bytes) -> Parsed:
        """Points of a value with an id before it. Raises Unusable."""
        schema = schema_id(value)
        known = self._known.get(schema)
        if known is None:
            why = f"schema {schema} of a schema registry, and none is set: set registry.url"
            raise Unusable(
                Reason.UNDECODABLE, why if schema else "no schema's id stands before it, as a schema registry has it"
            )
        if isinstance(known, Unknown):
            raise Unusable(known.reason, f"schema {schema}: {known.detail}")
        try:
            if known.read is None:
                return parse_json(value[HEAD:], self._fields)
            return points_of(known.read(value[HEAD:]), self._fields)
        except Unusable as error:
            raise Unusable(error.reason, f"{error.detail} (schema {schema}, {known.kind})") from None
