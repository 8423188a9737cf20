"""What a partition's hash in Redis holds of earlier checkpoints: a field as it was written in an era, and what each snapshot says of itself.

era 0 ──snapshot 0──▶ era 1 ──snapshot 1──▶ era 2          the checkpoint is the newest of each field, snapshot n the newest up to era n
"""

from __future__ import annotations

import re
import sys
from collections.abc import Iterable

import msgspec
from pydantic import ValidationError

from pipeline.errors import ForeignState
from pipeline.partition.stores.base import Identity, Snapshot

if sys.version_info >= (3, 14):
    from compression import zstd
else:
    from backports import zstd

SNAPSHOT = re.compile(rb"snap:(\d+)")
_FIELD = re.compile(rb"([fxz]):([^@]*)@?(\d*)")
_PACKED = b"z:"
_LEVEL = 1
"""Of zstd: pages of numbers get no smaller by higher ones, which take longer."""


def versions(names: Iterable[bytes], upto: int | None = None) -> dict[str, bytes]:
    """Where each field lies as it was written last up to an era (None: as it is), among the names that the hash holds; removed ones are left out.

    >>> versions([b"owner", b"f:a", b"f:b", b"f:a@3", b"x:b@3", b"snap:2"])
    {'a': b'f:a@3'}
    >>> versions([b"owner", b"f:a", b"f:b", b"f:a@3", b"x:b@3", b"snap:2"], 2)
    {'a': b'f:a', 'b': b'f:b'}
    """
    newest: dict[str, tuple[int, bool, bytes]] = {}
    for name in names:
        if (found := _FIELD.fullmatch(name)) is None:
            continue
        kind, base, era = found.groups()
        version = int(era or 0), kind != b"x", name  # what was written again after it was removed is there
        if upto is None or version[0] <= upto:
            newest[base.decode()] = max(newest.get(base.decode(), version), version)
    return {base: name for base, (_, there, name) in newest.items() if there}


def packed(value: bytes) -> bytes:
    """A field in less room."""
    return zstd.compress(value, _LEVEL)


def unpacked(name: bytes, value: bytes) -> bytes:
    """A field as it was written, by the name under which the hash holds it. Raises ForeignState where it is damaged."""
    if not name.startswith(_PACKED):
        return value
    try:
        return zstd.decompress(value)
    except zstd.ZstdError as error:
        msg = f"the stored snapshot is damaged ({error}): `tidewatch state snapshots STREAM --keep 0` forgets it"
        raise ForeignState(msg) from error


def said_of(at: int, offset: int, sequence: int, identity: Identity) -> bytes:
    """What a snapshot says of itself."""
    return msgspec.json.encode({"at": at, "offset": offset, "sequence": sequence, "identity": identity.model_dump()})


def read_snapshot(name: bytes, told: bytes) -> Snapshot | None:
    """What a snapshot says of itself; None for one of a version that this one cannot read: it is as if it were not there."""
    try:
        said = msgspec.json.decode(told)
        identity = Identity.model_validate(said["identity"])
        return Snapshot(int(name[len("snap:") :]), said["at"], said["offset"], said["sequence"], identity)
    except (msgspec.MsgspecError, ValidationError, KeyError, TypeError):
        return None
