"""The state store's contract: claim, load, save; the same test cases run over every store.

A partition's state is one hash of named byte fields. `claim` makes the caller its owner by writing a new nonce, `save` is one
atomic step that writes fields and offset only if the caller's nonce is still the stored one and the sequence number is the
stored one's successor. So of two workers that believe they own a partition, only the one that claimed last can write.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import Enum
from typing import Protocol

import structlog
from pydantic import BaseModel, ConfigDict, ValidationError

from pipeline.errors import ForeignState, Refused

_log = structlog.get_logger(__name__)


class Identity(BaseModel):
    """What a stored state belongs to; compared when it is loaded, `ForeignState` where it differs."""

    model_config = ConfigDict(frozen=True)

    cluster_id: str
    topic_id: str
    stream: str
    numerics: str
    """Device, CPU features, torch version, dtype, tile: on other numerics scores agree to 1e-5 only."""
    format: int
    """Of the fields, see `pipeline.steps.state`."""
    partitions: int = 0
    """Of formats up to 3: how many the topic had, as far as whoever wrote this knew; 0: not told. Later ones say so in what is in force."""
    growth: tuple[int, int, int] | None = None
    """Of formats up to 3: what the log had told of them up to the stored offset (`pipeline.partition.deciding.growth.Growth.stored`)."""
    model_hash: str = ""
    """Of formats up to 3: the model that the state is of. Later ones say so in what is in force (`pipeline.partition.deciding.decisions`)."""
    settings_hash: str = ""
    """Of formats up to 3, for information."""


_MEANING = {
    "cluster_id": "Kafka cluster",
    "topic_id": "topic (deleted and created again?)",
    "stream": "stream",
}


def parse_identity(text: bytes, where: str) -> Identity:
    """Read a stored identity. Raises ForeignState for one that this version cannot read."""
    try:
        return Identity.model_validate_json(text)
    except ValidationError as error:
        msg = f"{where} was written by a version that this one cannot read; start that version, or {_mend('')}"
        raise ForeignState(msg) from error


def check_identity(stored: Identity, own: Identity) -> None:
    """Refuse a stored state that belongs to something else.

    Other numerics are a logged warning: the state is good, and an alert close to the threshold may differ. An older format is
    fine: it is brought up to date when it is restored.

    Raises
    ------
    ForeignState
        Names what differs, with both sides, and the mend.
    """
    if stored.format > own.format:
        msg = (
            f"the stored state of stream {own.stream} is of format {stored.format}, this version reads up to {own.format}: "
            f"start the newer version that wrote it, or {_mend(own.stream)}"
        )
        raise ForeignState(msg)
    differing = [
        f"{meaning} {getattr(stored, name)!r}, here {getattr(own, name)!r}"
        for name, meaning in _MEANING.items()
        if getattr(stored, name) != getattr(own, name)
    ]
    if differing:
        msg = f"the stored state of stream {own.stream} belongs to another {'; another '.join(differing)}: {_mend(own.stream)}"
        raise ForeignState(msg)
    if stored.numerics != own.numerics:
        _log.warning(
            "state is of other numerics", stream=own.stream, stored=stored.numerics, own=own.numerics, agree_to=1e-5
        )


def _mend(stream: str) -> str:
    return f"run `tidewatch state reset {stream or 'STREAM'}` to start anew"


@dataclass(frozen=True, slots=True)
class Claim:
    """Ownership of one partition's state, from `Store.claim`."""

    stream: str
    partition: int
    nonce: str
    sequence: int
    """Of the last checkpoint; -1 where there is none yet."""
    snapshot_at: int = -1
    """When the newest snapshot was made, ms since the epoch; -1 where there was none."""


class Refusal(Enum):
    """Why a store refused; the value is what the message says."""

    VANISHED = "the store holds nothing of it any more (was it restarted empty?)"
    OWNER = "somebody else has claimed it since"
    SEQUENCE = "the store holds checkpoint {sequence}, not {own} (did it go back in time?)"
    AHEAD = "the store is ahead, at offset {offset}"

    def error(self, claim: Claim, *, sequence: int = -1, offset: int = -1) -> Refused:
        """The exception to raise."""
        why = self.value.format(sequence=sequence, own=claim.sequence, offset=offset)
        return Refused(f"state of stream {claim.stream}, partition {claim.partition}: {why}")


@dataclass(frozen=True, slots=True)
class Checkpoint:
    """A partition's state at an offset: everything before `offset` is in `fields`, nothing from it on."""

    offset: int
    sequence: int
    identity: Identity
    fields: Mapping[str, bytes]


@dataclass(frozen=True, slots=True)
class Snapshot:
    """A checkpoint of earlier that is kept beside the last one: for whoever looks back, no worker goes on from it.

    Attributes
    ----------
    number
        Rising with each of the partition.
    at
        When it was made, by its owner's clock, ms since the epoch.
    offset, sequence, identity
        See `Checkpoint`.
    """

    number: int
    at: int
    offset: int
    sequence: int
    identity: Identity


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
        snapshot: int | None = None,
    ) -> Claim:
        """Write changed fields and the offset in one atomic step; returns the claim with the next sequence number.

        `write_id` makes a retry of a write whose answer was lost harmless. `replace` drops all other fields (a live owner
        writes everything again after the store went back in time). Raises Refused when nonce or sequence are not the
        stored ones, when nothing is stored any more (claim again first), and when the stored offset is ahead of `offset`.

        `snapshot`: keep this checkpoint as a snapshot too, made at that time (ms since the epoch).
        """
        ...

    async def put(self, stream: str, partition: int, checkpoint: Checkpoint) -> None:
        """Store a checkpoint in place of whatever is stored, snapshots too, in one atomic step (`tidewatch state seek` and `import`).

        Whoever owned the partition is refused after it, and would write over it: nobody may live meanwhile.
        """
        ...

    async def delete(self, stream: str, partition: int) -> bool:
        """Forget a partition's state and snapshots (`tidewatch state reset`); whether there was one. A live owner is refused after it."""
        ...

    async def snapshots(self, stream: str, partition: int) -> list[Snapshot]:
        """What is kept of earlier checkpoints, the oldest first."""
        ...

    async def snapshot(self, stream: str, partition: int, number: int) -> Checkpoint | None:
        """The checkpoint that a snapshot is of; None where it is not kept any more."""
        ...

    async def keep(self, stream: str, partition: int, newest: int) -> int:
        """Forget all snapshots but so many; how many were forgotten. Anybody may: no result depends on them."""
        ...

    async def pack(self, claim: Claim) -> bool:
        """Put some of what only snapshots hold into less room, where `claim` still stands; whether there is more."""
        ...

    async def close(self) -> None:
        """Give connections back."""
        ...


class Register(Protocol):
    """Lists of decisions, one per stream. All methods raise StoreError when the store cannot be reached."""

    async def decide(self, stream: str, id: str, body: bytes, *, known: int = 0) -> int:  # noqa: A002
        """Append a decision in one atomic step; returns its serial, from 1: the same one for an id that is there already.

        `known` is a serial that is known to be given: a list that lost its end gives none twice.
        """
        ...

    async def newest_decision(self, stream: str) -> int:
        """The last serial; 0 where nothing was decided."""
        ...

    async def decisions(self, stream: str, after: int = 0) -> dict[int, bytes]:
        """Bodies of the decisions behind a serial, rising; serials that the list lost are left out."""
        ...

    async def remember(self, stream: str, decisions: Mapping[int, tuple[str, bytes]]) -> None:
        """Fill the list up with what it lost (serial -> id, body); what it holds stays."""
        ...
