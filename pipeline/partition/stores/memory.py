"""States in this process's memory: for tests, offline evaluation and the simulation. Same meaning as the Redis store."""

from __future__ import annotations

import secrets
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from dataclasses import replace as changed_copy

from pipeline.partition.stores.base import Checkpoint, Claim, Identity, Refusal, Snapshot


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
    snapshots: dict[int, tuple[Snapshot, dict[str, bytes]]] = field(default_factory=dict)
    era: int = 0
    snapped: int = -1


@dataclass(slots=True)
class _List:
    """What Redis holds of a stream's decisions."""

    last: int = 0
    serials: dict[str, int] = field(default_factory=dict)
    bodies: dict[int, bytes] = field(default_factory=dict)


class MemoryStore:
    """A `Store` and `Register` that forgets everything with the process.

    Parameters
    ----------
    new_nonce
        Where nonces come from; a simulation hands in its own.
    """

    def __init__(self, new_nonce: Callable[[], str] = lambda: secrets.token_hex(8)) -> None:
        self._new_nonce = new_nonce
        self._hashes: dict[tuple[str, int], _Hash] = {}
        self._lists: dict[str, _List] = {}

    async def claim(self, stream: str, partition: int, *, generation: int = -1) -> Claim:
        """See `Store.claim`."""
        nonce = self._new_nonce()
        stored = self._hashes.setdefault((stream, partition), _Hash(nonce, generation))
        stored.owner, stored.generation = nonce, generation
        return Claim(stream, partition, nonce, stored.sequence, stored.snapped)

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
        snapshot: int | None = None,
    ) -> Claim:
        """See `Store.save`."""
        stored = self._hashes.get((claim.stream, claim.partition))
        if stored is None:
            raise Refusal.VANISHED.error(claim)
        if stored.owner != claim.nonce:
            raise Refusal.OWNER.error(claim)
        if stored.write_id == write_id:
            return changed_copy(claim, sequence=stored.sequence, snapshot_at=stored.snapped)
        if stored.sequence != claim.sequence:
            raise Refusal.SEQUENCE.error(claim, sequence=stored.sequence)
        if stored.offset > offset:
            raise Refusal.AHEAD.error(claim, offset=stored.offset)
        stored.fields = ({} if replace else {n: v for n, v in stored.fields.items() if n not in removed}) | dict(
            changed
        )
        stored.sequence += 1
        stored.offset, stored.identity, stored.write_id = offset, identity, write_id
        if snapshot is not None:
            made = Snapshot(stored.era, snapshot, offset, stored.sequence, identity)
            stored.snapshots[stored.era] = made, dict(stored.fields)
            stored.era, stored.snapped = stored.era + 1, snapshot
        return changed_copy(claim, sequence=stored.sequence, snapshot_at=stored.snapped)

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

    async def snapshots(self, stream: str, partition: int) -> list[Snapshot]:
        """See `Store.snapshots`."""
        stored = self._hashes.get((stream, partition))
        return [] if stored is None else [made for made, _ in stored.snapshots.values()]

    async def snapshot(self, stream: str, partition: int, number: int) -> Checkpoint | None:
        """See `Store.snapshot`."""
        stored = self._hashes.get((stream, partition))
        if stored is None or number not in stored.snapshots:
            return None
        made, fields = stored.snapshots[number]
        return Checkpoint(made.offset, made.sequence, made.identity, dict(fields))

    async def keep(self, stream: str, partition: int, newest: int) -> int:
        """See `Store.keep`."""
        if (stored := self._hashes.get((stream, partition))) is None:
            return 0
        gone = list(stored.snapshots)[: max(len(stored.snapshots) - newest, 0)]
        for number in gone:
            del stored.snapshots[number]
        return len(gone)

    async def pack(self, claim: Claim) -> bool:
        """See `Store.pack`: all that is held is shared."""
        return False

    async def decide(self, stream: str, id: str, body: bytes, *, known: int = 0) -> int:  # noqa: A002
        """See `Register.decide`."""
        held = self._lists.setdefault(stream, _List())
        if id not in held.serials:
            held.last = max(held.last, known) + 1
            held.serials[id], held.bodies[held.last] = held.last, body
        return held.serials[id]

    async def newest_decision(self, stream: str) -> int:
        """See `Register.newest_decision`."""
        return self._lists[stream].last if stream in self._lists else 0

    async def decisions(self, stream: str, after: int = 0) -> dict[int, bytes]:
        """See `Register.decisions`."""
        held = self._lists.get(stream, _List())
        return {serial: body for serial, body in sorted(held.bodies.items()) if serial > after}

    async def remember(self, stream: str, decisions: Mapping[int, tuple[str, bytes]]) -> None:
        """See `Register.remember`."""
        held = self._lists.setdefault(stream, _List())
        for serial, (id_, body) in decisions.items():
            if serial not in held.bodies:
                held.bodies[serial] = body
                held.serials.setdefault(id_, serial)
            held.last = max(held.last, serial)

    async def close(self) -> None:
        """Nothing to give back."""
