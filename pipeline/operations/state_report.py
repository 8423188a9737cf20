"""What is stored of a stream, for people: by partition, with what only the log and the model can tell.

Redis is a must. Without Kafka there is no lag, without the model file nothing about what the pages hold; `notes` say so.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from detectors.base import DetectorError
from pipeline.errors import TidewatchError
from pipeline.operations.deciding import finder
from pipeline.operations.state_admin import Administration, checkpoints, configured, opened
from pipeline.partition.core import PartitionCore
from pipeline.partition.deciding.carrying import in_force_of
from pipeline.partition.deciding.decisions import InForce
from pipeline.partition.stores.base import Checkpoint, Snapshot
from pipeline.partition.stores.redis import RedisStore
from pipeline.partition.stream import Stream, create_stream, load_model
from pipeline.partition.streams import Streams
from pipeline.settings import Settings
from pipeline.steps.state import series_of


@dataclass(frozen=True)
class PartitionReport:
    """One partition's state; None where it is not known.

    Attributes
    ----------
    offset
        The next one to process; None where the partition was claimed and has no checkpoint yet.
    lag
        Records from there to the log's end.
    warming, open_alerts
        Series that no alert can come of yet; alerts pending or firing.
    decision, model
        Serial of the last decision that is in force, and the hash of the model file.
    shadow
        What was decided and learns first: its serial, since which offset, its model, and how far it is where that is known.
    claimed_at
        When its owner claimed it, s since the epoch.
    """

    partition: int
    claimed_at: float | None
    offset: int | None = None
    sequence: int | None = None
    lag: int | None = None
    series: int | None = None
    warming: int | None = None
    open_alerts: int | None = None
    bytes: int | None = None
    identity: dict[str, Any] | None = None
    decision: int | None = None
    model: str | None = None
    shadow: dict[str, Any] | None = None


@dataclass(frozen=True)
class KeptSnapshots:
    """Of one partition; `bytes` that Redis holds for them only, None where this user may not ask."""

    snapshots: list[Snapshot]
    bytes: int | None


async def kept_snapshots(
    settings: Settings, stream: str, partitions: Sequence[int] | None = None, *, keep: int | None = None
) -> tuple[dict[int, KeptSnapshots], int]:
    """The snapshots of each partition that has any, and how many were forgotten: all but the newest `keep`; None: none. Raises StoreError, TidewatchError."""
    async with opened(settings) as store:
        stored = await store.partitions(stream)
        if unknown := [p for p in partitions or () if p not in stored]:
            msg = f"nothing is stored of partition {unknown[0]} of stream {stream} (stored: {', '.join(map(str, stored)) or 'none'})"
            raise TidewatchError(msg)
        chosen = stored if partitions is None else sorted(set(partitions))
        forgotten = 0 if keep is None else sum([await store.keep(stream, p, keep) for p in chosen])
        kept = {p: await kept_of(store, stream, p) for p in chosen}
    return {p: of for p, of in kept.items() if of.snapshots}, forgotten


async def kept_of(store: RedisStore, stream: str, partition: int) -> KeptSnapshots:
    """The snapshots of one partition. Raises StoreError."""
    return KeptSnapshots(await store.snapshots(stream, partition), await store.snapshot_bytes(stream, partition))


async def report(settings: Settings, stream: str) -> tuple[list[PartitionReport], list[str]]:
    """Each stored partition of a stream, rising, and a line for whatever could not be found out. Raises StoreError."""
    async with opened(settings) as store:
        found = await checkpoints(store, stream)
        claimed = {p: await store.claimed_at(stream, p) for p in found}
    if not found:
        return [], []
    notes: list[str] = []
    ends, steps = _ends(settings, stream, notes), _steps(settings, stream, notes)
    told = []
    for partition, checkpoint in found.items():
        if checkpoint is None:
            told.append(PartitionReport(partition, claimed[partition]))
            continue
        core = None if steps is None else _restored(steps, partition, checkpoint, notes)
        told.append(
            PartitionReport(
                partition,
                claimed[partition],
                offset=checkpoint.offset,
                sequence=checkpoint.sequence,
                lag=None if partition not in ends else max(ends[partition] - checkpoint.offset, 0),
                series=len(series_of(checkpoint.fields)),
                warming=None if core is None else core.warming,
                open_alerts=None if core is None else _open_alerts(core),
                bytes=sum(map(len, checkpoint.fields.values())),
                identity=checkpoint.identity.model_dump(),
                decision=(held := in_force_of(checkpoint)).serial,
                model=held.model or checkpoint.identity.model_hash,
                shadow=_shadow(held, core),
            )
        )
    return told, notes


def _ends(settings: Settings, stream: str, notes: list[str]) -> dict[int, int]:
    try:
        return {p: end for p, (_, end) in Administration(settings, stream).bounds.items()}
    except TidewatchError as error:
        notes.append(f"lag unknown: {error}")
        return {}


def _steps(settings: Settings, stream: str, notes: list[str]) -> Stream | None:
    try:
        own = configured(settings, stream)
        return create_stream(own, load_model(own.model))
    except (TidewatchError, DetectorError) as error:
        notes.append(f"warming and open alerts unknown: {error}")
        return None


def _restored(steps: Stream, partition: int, checkpoint: Checkpoint, notes: list[str]) -> PartitionCore | None:
    try:
        core = Streams(steps, find_model=finder(steps)).core(in_force_of(checkpoint), partition)
        core.state.restore(checkpoint.fields, written=checkpoint.identity.format)
    except TidewatchError as error:
        notes.append(f"warming and open alerts of partition {partition} unknown: {error}")
        return None
    return core


def _shadow(held: InForce, core: PartitionCore | None) -> dict[str, Any] | None:
    if held.shadow is None:
        return None
    told: dict[str, Any] = {"serial": held.shadow.serial, "offset": held.shadow.offset, "model": held.shadow.model}
    standing = None if core is None else core.standing
    return told | ({} if standing is None else asdict(standing))


def _open_alerts(core: PartitionCore) -> int:
    rows = core.state.rows()
    return int(np.count_nonzero([core.life.active(core.state, int(row)) for row in rows]))
