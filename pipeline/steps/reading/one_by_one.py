"""Records that are read one by one, by msgspec, and what names their series: what no compiled loop takes (`pipeline.steps.reading.plain`)."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import suppress
from typing import cast

import msgspec
import numpy as np
from numpy.typing import NDArray

from pipeline.steps.batches.records import Rejected
from producers.batches import MAGIC
from producers.formats.base import Reason, Unusable, checked_series, shown
from producers.formats.native import Item, Reader
from producers.formats.registry.schemas import schema_id
from producers.records import MAX_SERIES_BYTES

ERRORS = (msgspec.MsgspecError, UnicodeDecodeError, RecursionError)
"""What msgspec raises of bytes."""


def read(
    reader: Reader[Item], index: NDArray[np.intp], values: Sequence[bytes], rejected: list[Rejected], compact: list[int]
) -> tuple[list[Item], NDArray[np.intp]]:
    """What each record holds, and the index of those that hold something usable. Which are compact batches is told, and left to others."""
    decode = reader.decode
    items: list[Item | None] = []
    with suppress(*ERRORS):  # nearly always none is odd; where one is, those before it are there
        items.extend(map(decode, values))
    refused = False
    for value in values[len(items) :]:
        try:
            items.append(decode(value))
        except ERRORS:
            if value.startswith(MAGIC):
                compact.append(len(items))
                items.append(None)
                refused = True
                continue
            try:
                items.append(reader.reread(value))
            except Unusable as error:
                rejected.append(Rejected(int(index[len(items)]), error.reason, error.detail))
                items.append(None)
                refused = True
    if refused:
        index = index[[item is not None for item in items]]
    return [item for item in items if item is not None] if refused else cast("list[Item]", items), index


def named(
    series: list[str | None],
    items: list[Item],
    index: NDArray[np.intp],
    keys: Sequence[bytes | None],
    rejected: list[Rejected],
) -> tuple[list[str], list[Item], NDArray[np.intp]]:
    """The series of each item, from the key where the record does not name it; items without one are rejected."""
    if None not in series and "" not in series:
        all_ = cast("list[str]", series)
        if max(map(len, all_), default=0) * 4 <= MAX_SERIES_BYTES:
            return all_, items, index
    keep: list[int] = []
    names: list[str] = []
    for i, name in enumerate(series):
        try:
            names.append(checked_series(name or key_of(keys[index[i]])))
        except Unusable as error:
            rejected.append(Rejected(int(index[i]), error.reason, error.detail))
        else:
            keep.append(i)
    return names, [items[i] for i in keep], index[keep]


def key_of(key: bytes | None) -> str:
    """The series that a key names. Raises Unusable."""
    if not key:
        raise Unusable(Reason.NO_SERIES, "neither a member `series` nor a key")
    if len(key) > MAX_SERIES_BYTES:
        raise Unusable(Reason.TOO_LARGE, f"key of {len(key)} bytes; a series name has at most {MAX_SERIES_BYTES}")
    if schema_id(key):
        why = f"the key {shown(key[:20])} is behind a schema registry too, and is not read: let a field of the value name the series"
        raise Unusable(Reason.NO_SERIES, why)
    try:
        return key.decode()
    except UnicodeDecodeError:
        raise Unusable(Reason.UNDECODABLE, f"the key {shown(key)} is not UTF-8") from None
