"""States in this process's memory: for tests, offline evaluation and the simulation. Same meaning as the Redis store."""

from __future__ import annotations

import secrets
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from dataclasses import replace as changed_copy

from pipeline.partition.stores.base import Checkpoint, Claim, Identity, Refusal


@dataclass(slots=True)
class _Hash:
    """What Redis holds of one partition."""

    owner: str
    generation: int
    sequence: int = -1
    offset: int = -1
    identity: Identity | None = None
    write_id: str = ""
    fields: dict[str, bytes] = field(default_factory=dict)


class MemoryStore:
    """A `Store` that forgets everything with the process.

    Parameters
    ----------
    new_nonce
        Where nonces come from; a simulation hands in its own.
    """

    def __init__(self, new_nonce: Callable[[], str] = lambda: secrets.token_hex(8)) -> None:
        self._new_nonce = new_nonce
        self._hashes: dict[tuple[str, int], _Hash] = {}

    async def claim(self, stream: str, partition: int, *, generation: int = -1) -> Claim:
        """See `Store.claim`."""
        nonce = self._new_nonce()
        stored = self._hashes.setdefault((stream, partition), _Hash(nonce, generation))
        stored.owner, stored.generation = nonce, generation
        return Claim(stream, partition, nonce, stored.sequence)

    async def load(self, claim: Claim) -> Checkpoint | None:
        """See `Store.load`."""
        stored = self._hashes.get((claim.stream, claim.partition))
        if stored is None:
            raise Refusal.VANISHED.error(claim)
        if stored.owner != claim.nonce:
            raise Refusal.OWNER.error(claim)
        if stored.identity is None:
            return None
        return Checkpoint(stored.offset, stored.sequence, stored.identity, dict(stored.fields))

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
        """See `Store.save`."""
        stored = self._hashes.get((claim.stream, claim.partition))
        if stored is None:
            raise Refusal.VANISHED.error(claim)
        if stored.owner != claim.nonce:
            raise Refusal.OWNER.error(claim)
        if stored.write_id == write_id:
            return changed_copy(claim, sequence=stored.sequence)
        if stored.sequence != claim.sequence:
            raise Refusal.SEQUENCE.error(claim, sequence=stored.sequence)
        if stored.offset > offset:
            raise Refusal.AHEAD.error(claim, offset=stored.offset)
        stored.fields = ({} if replace else {n: v for n, v in stored.fields.items() if n not in removed}) | dict(
            changed
        )
        stored.sequence += 1
        stored.offset, stored.identity, stored.write_id = offset, identity, write_id
        return changed_copy(claim, sequence=stored.sequence)

    async def put(self, stream: str, partition: int, checkpoint: Checkpoint) -> None:
        """See `Store.put`."""
        self._hashes[stream, partition] = _Hash(
            owner=self._new_nonce(),
            generation=-1,
            sequence=checkpoint.sequence,
            offset=checkpoint.offset,
            identity=checkpoint.identity,
            fields=dict(checkpoint.fields),
        )

    async def delete(self, stream: str, partition: int) -> bool:
        """See `Store.delete`."""
        return self._hashes.pop((stream, partition), None) is not None

    async def close(self) -> None:
        """Nothing to give back."""
