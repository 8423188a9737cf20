"""The state store's contract: claim, load, save; the same test cases run over every store.

A partition's state is one hash of named byte fields. `claim` makes the caller its owner by writing a new nonce, `save` is one
atomic step that writes fields and offset only if the caller's nonce is still the stored one and the sequence number is the
stored one's successor. So of two workers that believe they own a partition, only the one that claimed last can write.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Protocol

from pydantic import BaseModel, ConfigDict


class Identity(BaseModel):
    """What a stored state belongs to; compared when it is loaded, `ForeignState` where it differs."""

    model_config = ConfigDict(frozen=True)

    cluster_id: str
    topic_id: str
    stream: str
    model_hash: str
    settings_hash: str
    numerics: str
    """Device, CPU features, torch version, dtype, tile: on other numerics scores agree to 1e-5 only."""
    format: int


@dataclass(frozen=True, slots=True)
class Claim:
    """Ownership of one partition's state, from `Store.claim`."""

    stream: str
    partition: int
    nonce: str
    sequence: int
    """Of the last checkpoint; -1 where there is none yet."""


@dataclass(frozen=True, slots=True)
class Checkpoint:
    """A partition's state at an offset: everything before `offset` is in `fields`, nothing from it on."""

    offset: int
    sequence: int
    identity: Identity
    fields: Mapping[str, bytes]


class Store(Protocol):
    """Where partitions' states are kept. All methods raise StoreError when the store cannot be reached."""

    async def claim(self, stream: str, partition: int, *, generation: int = -1) -> Claim:
        """Take ownership: whoever owned the partition before can write no more."""
        ...

    async def load(self, claim: Claim) -> Checkpoint | None:
        """The last checkpoint, or None where there is none. Raises Refused when the claim is not the last one."""
        ...

    async def save(
        self,
        claim: Claim,
        offset: int,
        identity: Identity,
        changed: Mapping[str, bytes],
        *,
        removed: tuple[str, ...] = (),
        write_id: str,
        replace: bool = False,
    ) -> Claim:
        """Write changed fields and the offset in one atomic step; returns the claim with the next sequence number.

        `write_id` makes a retry of a write whose answer was lost harmless. `replace` drops all other fields (a live owner
        writes everything again after the store went back in time); it is refused when the stored offset is ahead of
        `offset`. Raises Refused when nonce or sequence are not the stored ones.
        """
        ...

    async def close(self) -> None:
        """Give connections back."""
        ...
