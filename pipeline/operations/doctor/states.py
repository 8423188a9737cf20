"""The doctor's look at what is stored: Redis itself, and whether each stream's states fit its topic, its model and its settings."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any, Literal

from pipeline.alerts.records import rfc3339
from pipeline.alerts.selecting.matching import matches
from pipeline.embedded.servers import TANSU
from pipeline.errors import ForeignState, TidewatchError
from pipeline.kafka.clients import connect_admin
from pipeline.kafka.offsets import Bounds
from pipeline.operations.deciding import finder
from pipeline.operations.doctor.findings import Finding, counted
from pipeline.operations.doctor.kafka import details_of, judged_clock
from pipeline.operations.state_admin import Administration, checkpoints, opened
from pipeline.operations.state_report import KeptSnapshots, kept_of
from pipeline.partition.deciding.carrying import in_force_of
from pipeline.partition.stores.base import Checkpoint, check_identity
from pipeline.partition.stream import Stream
from pipeline.partition.streams import Streams
from pipeline.settings import Settings, StreamSettings
from pipeline.steps.clock.event_time import APART, told
from pipeline.steps.state import series_of

NEARLY_FULL = 0.8
"""Share of maxmemory that may be in use."""

QUIET = timedelta(minutes=15)
"""Without a record for so long, by Kafka's time, a stream's input is said to have ended."""

NEARLY_EXPIRED = 0.1
"""Share of a log that must lie before a checkpoint, where retention has begun to take it away."""


async def examine(settings: Settings, streams: Mapping[str, Stream]) -> list[Finding]:
    """Redis, and the stored states; of streams whose model could not be loaded only that there are some."""
    findings: list[Finding] = []
    async with opened(settings) as store:
        try:
            findings += redis_itself(await store.info(), await store.setting("save"))
            if (clock := await store.clock()) is not None:
                findings.append(judged_clock("Redis", clock - time.time()))
            stored = {s.name: await checkpoints(store, s.name) for s in settings.streams}
            kept = {name: [await kept_of(store, name, p) for p in found] for name, found in stored.items()}
        except ForeignState as error:
            return [*findings, Finding("states", "failed", str(error))]
        except TidewatchError as error:
            return [Finding("redis", "failed", str(error))]
    for name, found in stored.items():
        findings += snapshots(name, kept[name])
        made = {p: c for p, c in found.items() if c is not None}
        if made and name in streams:
            findings += _states(settings, streams[name], made)
        elif made:
            findings.append(Finding(f"state {name}", "ok", f"checkpoints of {counted(len(made), 'partition')}"))
    return findings


def snapshots(stream: str, kept: Sequence[KeptSnapshots]) -> Iterator[Finding]:
    """How many snapshots of a stream's partitions there are, and what they cost beside its states; nothing where there are none."""
    if count := sum(len(of.snapshots) for of in kept):
        known = [of.bytes for of in kept if of.bytes is not None]
        size = f"{sum(known) / 2**20:,.1f} MiB" if len(known) == len(kept) else "not told to this user (+hstrlen)"
        oldest = min(s.at for of in kept for s in of.snapshots)
        told = (
            f"{counted(count, 'snapshot')} of {counted(len(kept), 'partition')}, the oldest of {rfc3339(oldest)}: {size} of Redis's memory for "
            "`tidewatch explain` (worker.snapshots)"
        )
        yield Finding(f"snapshots {stream}", "ok", told)


def redis_itself(info: Mapping[str, Any], save: str | None) -> Iterator[Finding]:
    """From what Redis tells of itself (INFO) and its setting `save` (None: not told)."""
    policy = info.get("maxmemory_policy")
    used, most = int(info.get("used_memory", 0)), int(info.get("maxmemory", 0))
    told = f"version {info.get('redis_version', '?')}, {info.get('used_memory_human', '?')} used of "
    told += f"{info.get('maxmemory_human', '?')}" if most else "no limit"
    if policy not in (None, "noeviction"):
        told = f"maxmemory-policy is {policy}: under pressure Redis would delete states; set it to noeviction"
        yield Finding("redis", "failed", told)
        return
    if info.get("role") == "slave":
        yield Finding("redis", "failed", "this is a replica, which takes no writes: name its master in redis.url")
        return
    if policy is None:
        told += "; this user may not see maxmemory-policy: make sure it is noeviction"
    yield Finding("redis", "warning" if policy is None else "ok", told)
    if most and used > NEARLY_FULL * most:
        told = f"{used / most:.0%} of maxmemory is in use: when it is full workers wait; raise it, or lower max_series"
        yield Finding("redis", "warning", told)
    yield _persistence(info, save)


def _persistence(info: Mapping[str, Any], save: str | None) -> Finding:
    if "err" in (info.get("aof_last_write_status"), info.get("rdb_last_bgsave_status")):
        return Finding("redis", "failed", "its last write to disk failed: look at its log and at the space on its disk")
    if int(info.get("aof_enabled", 0)):
        return Finding("redis", "ok", "append-only file: a restart loses what it had not yet synced, at most")
    if save == "":
        told = (
            "nothing is written to disk: after its restart all states are gone, and workers that stand still then read them back "
            "from the log as far as it goes; set appendonly yes"
        )
        return Finding("redis", "warning", told)
    told = "no append-only file: after its restart states are as old as its last snapshot; set appendonly yes"
    return Finding("redis", "warning", told)


def _states(settings: Settings, stream: Stream, stored: Mapping[int, Checkpoint]) -> Iterator[Finding]:
    what, topic = f"state {stream.name}", stream.settings.input_topic
    try:
        here = Administration(settings, stream.name)
        own = stream.identity(cluster_id=here.cluster, topic_id=here.facts.topic_id)
        for checkpoint in stored.values():
            check_identity(checkpoint.identity, own)
        told_of = [in_force_of(checkpoint).growth.told for checkpoint in stored.values()]
        bounds, late = here.bounds, _due(here)
    except TidewatchError as error:
        yield Finding(what, "failed", str(error))
        return
    if beyond := sorted(stored.keys() - bounds.keys()):
        told = f"it has partition {beyond[-1]}, and {topic} has {len(bounds)}: `tidewatch state reset {stream.name}` to start anew"
        yield Finding(what, "failed", told)
        return
    known = min(partitions or len(bounds) for partitions in told_of)
    if known < len(bounds):
        told = (
            f"{topic} has {counted(len(bounds), 'partition')} now, and had {known} at its last checkpoint: series that moved start in probation where "
            "they are, and their open alerts end as moved"
        )
        yield Finding(what, "warning", told)
    if here.cluster.startswith(TANSU):
        yield Finding(what, "ok", f"checkpoints of {counted(len(stored), 'partition')}")
        return
    yield from _clocks(stream, stored)
    yield from idle_selectors(stream.settings, [n for c in stored.values() for n in series_of(c.fields)])
    yield from _input(here, stream, bounds)
    lag = sum(max(bounds[p].end - c.offset, 0) for p, c in stored.items())
    yield Finding(what, "ok", f"checkpoints of {counted(len(stored), 'partition')}, {counted(lag, 'record')} behind")
    for partition, checkpoint in stored.items():
        if (finding := judged(checkpoint.offset, bounds[partition], late.get(partition, 0))) is not None:
            state, told = finding
            yield Finding(what, state, f"{topic}[{partition}]: {told}")


def idle_selectors(settings: StreamSettings, names: Sequence[str]) -> Iterator[Finding]:
    """Selectors that match none of the series that are known."""
    for k, selector in enumerate(settings.select):
        if names and not any(matches(selector, name) for name in names):
            told = (
                f"selector {k + 1} ({selector.whom}) matches none of {len(names)} series, as {names[0][:80]!r}: mend its globs, or take it out; "
                "`tidewatch config series NAME` tells what a series has"
            )
            yield Finding(f"selectors {settings.name}", "warning", told)


def _clocks(stream: Stream, stored: Mapping[int, Checkpoint]) -> Iterator[Finding]:
    """Series whose clock is far from what the others of their partition say."""
    for partition, checkpoint in stored.items():
        try:
            held = in_force_of(checkpoint)
            core = Streams(stream, find_model=finder(stream)).core(held, partition)
            core.state.restore(checkpoint.fields, written=checkpoint.identity.format)
        except TidewatchError:  # said elsewhere
            continue
        if held.shadow is not None and (standing := core.standing) is not None:
            text = f"decision {held.shadow.serial} learns in partition {partition} since offset {held.shadow.offset:,}, and judges when it is live: {standing}"
            yield Finding(f"shadow {stream.name}", "ok", text)
        if apart := core.clock.apart(APART):
            named = ", ".join(f"{name[:80]!r} is {told(by)}" for name, by in apart[:3])
            more = f" (and {len(apart) - 3} more)" if len(apart) > 3 else ""
            text = f"wrong clocks in partition {partition}: {named}{more}: their windows are right, the times in their alerts are not"
            yield Finding(f"clocks {stream.name}", "warning", text)


def _input(here: Administration, stream: Stream, bounds: Mapping[int, Bounds]) -> Iterator[Finding]:
    """Whether anything came in lately."""
    written = {p: b for p, b in bounds.items() if b.end > b.first}
    since = here.targets(datetime.now(UTC) - QUIET, list(written))
    if written and all(since[p] >= b.end for p, b in written.items()):
        text = f"input ended: no record for {QUIET.seconds // 60} min or more, in none of {counted(len(bounds), 'partition')}: see to its producers"
        yield Finding(f"input {stream.name}", "warning", text)


def judged(offset: int, bounds: Bounds, due: int) -> tuple[Literal["warning", "failed"], str] | None:
    """Whether records expire, or have expired, before they are read.

    Parameters
    ----------
    due
        Records before this offset are older than half of what retention keeps.
    """
    first, end = bounds
    if offset > end:
        told = f"the log ends at {end:,}, and its state is of {offset:,}: Kafka lost records; `tidewatch state reset` starts anew"
        return "failed", told
    if offset < first:
        told = f"{counted(first - offset, 'record')} expired before being read: windows start anew there; raise retention.ms"
        return "warning", told
    if offset < min(due, end):
        told = f"{counted(min(due, end) - offset, 'unread record')} older than half of retention.ms: add workers, or raise it"
        return "warning", told
    if first and offset < end and offset - first < NEARLY_EXPIRED * (end - first):
        told = f"the next unread record is {counted(offset - first, 'record')} from the log's start, which retention moves: raise retention"
        return "warning", told
    return None


def _due(here: Administration) -> dict[int, int]:
    """Offset of each partition before which records are older than half of what retention keeps; none where it keeps all."""
    topic = here.stream.input_topic
    kept = details_of(connect_admin(here.settings.kafka), here.settings, [topic])[topic].number("retention.ms")
    if kept is None or kept <= 0:
        return {}
    return here.targets(datetime.now(UTC) - timedelta(milliseconds=kept / 2), here.partitions)
