"""Redis away, slow, full, empty, back in time: the worker waits, or writes its state again from memory; nothing is lost."""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
import redis
from faults.guarantee import Guarantee
from faults.proxy import Proxy
from faults.verdict import said, seen, told
from faults.world import Outcome, World

from pipeline.embedded.servers import start_redis

pytestmark = [pytest.mark.kafka, pytest.mark.faults, pytest.mark.slow, pytest.mark.timeout(600)]

WAITS = "state store does not answer, waiting"
AWAY = {"stopped": 30.0, "hanging": 10.0}
"""Seconds."""

STOPPED = Guarantee(
    "30-redis-stopped",
    "Redis stopped, or hanging",
    "the worker waits with back-pressure and says so; nothing lost",
    f"Redis stopped in order and started again after {AWAY['stopped']:.0f} s; paused (SIGSTOP) for {AWAY['hanging']:.0f} s; records come meanwhile",
)
SLOW = Guarantee(
    "31-redis-slow",
    "Redis slow (200 ms for each request)",
    "nothing lost",
    "a proxy before Redis that holds each request up",
)
FULL = Guarantee(
    "32-redis-memory",
    "Redis out of memory (`maxmemory`)",
    "the worker waits with back-pressure and says so; nothing lost",
    "`maxmemory` set below what is used, records come, `maxmemory` taken away again",
)
DISK = Guarantee(
    "33-redis-disk",
    "disk full",
    "the worker waits with back-pressure and says so; nothing lost",
    "",
)
EMPTY = Guarantee(
    "34-redis-empty",
    "Redis restarted empty, worker alive",
    "the worker writes its state again from memory",
    "SIGKILL to Redis, which keeps nothing on disk; started again at once",
)
OLD_ALIVE = Guarantee(
    "35-redis-old-alive",
    "Redis restarted from an old snapshot, worker alive",
    "the worker notices, and writes its state again from memory",
    "snapshot at a quarter of the log, SIGKILL to Redis at half of it, started from the snapshot",
)
OLD_DEAD = Guarantee(
    "36-redis-old-dead",
    "Redis restarted from an old snapshot, worker dead",
    "the next worker resumes from that snapshot's offset; same end state",
    "snapshot at a quarter of the log, SIGKILL to worker and Redis at half of it, both started again",
)
LOST = Guarantee(
    "38-redis-lost",
    "Redis restarted empty, worker dead",
    "read back as far as retention allows, without publishing anything twice; where history is gone, probation again; no false alert",
    "SIGKILL to worker and Redis at six tenths of the log; with the whole log, and with its first three tenths expired",
)
FAILOVER = Guarantee(
    "37-redis-failover",
    "failover to a replica that lacks the last writes",
    "a live owner writes its state again from memory",
    "replication cut at a quarter of the log, the primary killed at half of it, its address moved to the replica",
)


@pytest.mark.parametrize("how", [pytest.param("stopped", marks=pytest.mark.nightly), "hanging"])
def test_a_store_that_is_away_is_waited_for(new_world: Callable[..., World], reference: Outcome, how: str) -> None:
    world = new_world(persistent=True)
    worker = world.start()
    world.feed(0.4)
    world.progress()
    if how == "stopped":
        world.store.stop()
    else:
        os.kill(world.store.pid, signal.SIGSTOP)
    gone = time.monotonic()
    world.feed(0.7)
    world.wait_for(lambda: WAITS in worker.text(), "word of the store that is away")
    time.sleep(max(AWAY[how] - (time.monotonic() - gone), 0))
    if how == "stopped":
        world.restart_redis()
    else:
        os.kill(world.store.pid, signal.SIGCONT)
    world.feed()
    outcome = world.finish()
    assert outcome.differences(reference) == []
    STOPPED.held(f"worker said {told(worker, WAITS)}; {said(outcome)}", how)


@pytest.mark.nightly
def test_a_slow_store_costs_time_only(world: World, reference: Outcome) -> None:
    with Proxy(world.store.port, delay=0.2) as proxy:
        world.start(store=proxy.url)
        for share in (0.25, 0.5, 0.75, 1.0):
            world.feed(share)
            world.progress()
        outcome = world.finish()
    assert outcome.differences(reference) == []
    SLOW.held(said(outcome))


@pytest.mark.nightly
def test_a_store_without_memory_is_waited_for(world: World, reference: Outcome) -> None:
    worker = world.start()
    world.feed(0.4)
    world.progress()
    with world.redis() as client:
        client.config_set("maxmemory", client.info("memory")["used_memory"] // 2)
        world.feed(0.7)
        world.wait_for(lambda: "is out of memory" in worker.text(), "word of the store's memory")
        client.config_set("maxmemory", 0)
    world.feed()
    outcome = world.finish()
    assert outcome.differences(reference) == []
    FULL.held(f"worker said {told(worker, WAITS)}; {said(outcome)}")


@pytest.mark.nightly
def test_a_store_whose_disk_is_full_is_waited_for(
    small_disk: Path | None, new_world: Callable[..., World], reference: Outcome
) -> None:
    world = new_world(persistent=True, redis_folder=small_disk)
    worker = world.start()
    world.feed(0.4)
    world.progress()
    with _full_disk(world, small_disk) as how:
        world.feed(0.7)
        world.wait_for(lambda: "cannot write to its disk" in worker.text(), "word of the store's disk")
    world.feed()
    outcome = world.finish()
    assert outcome.differences(reference) == []
    DISK.done = how
    DISK.held(f"worker said {told(worker, WAITS)}; {said(outcome)}")


def test_a_store_that_lost_everything_is_filled_from_memory(world: World, reference: Outcome) -> None:
    worker = world.start()
    world.feed(0.5)
    world.wait_for(world.settled, "a checkpoint")
    world.crash_redis()
    world.restart_redis()
    world.feed()
    outcome = world.finish()
    assert outcome.differences(reference) == []
    assert not outcome.repeated
    again = len(worker.events("state written again from memory"))
    EMPTY.held(f"{again} partitions written again; end state and {len(outcome.alerts)} alert records identical")


def test_a_store_that_went_back_in_time_is_filled_from_memory(world: World, reference: Outcome) -> None:
    _go_back_in_time(world)
    again = len(world.workers[0].events("state written again from memory"))
    outcome = world.finish()
    assert outcome.differences(reference) == []
    assert again
    assert not outcome.repeated
    OLD_ALIVE.held(f"{again} partitions written again; end state and {len(outcome.alerts)} alert records identical")


@pytest.mark.nightly
def test_a_store_that_went_back_in_time_shows_that_nobody_looks(world: World, reference: Outcome) -> None:
    """The guarantee broken on purpose: the same check must see it."""
    _go_back_in_time(world, plant="no_sequence")
    OLD_ALIVE.seen_broken("sequence number not compared", seen(world, reference))


@pytest.mark.nightly
def test_a_worker_resumes_from_an_old_snapshot(world: World, reference: Outcome) -> None:
    first = world.start()
    world.feed(0.25)
    world.wait_for(world.settled, "a checkpoint")
    with world.redis() as client:
        client.save()
    old = sum(world.checkpointed().values())
    world.feed(0.5)
    world.wait_for(world.settled, "a later checkpoint")
    lost = sum(world.checkpointed().values()) - old
    first.kill()
    world.crash_redis()
    world.restart_redis()
    assert sum(world.checkpointed().values()) == old
    world.start()
    world.feed()
    outcome = world.finish()
    assert outcome.differences(reference) == []
    OLD_DEAD.held(f"{lost:,} records read a second time; {said(outcome)}")


@pytest.mark.nightly
def test_a_replica_that_lacks_the_last_writes_is_filled_from_memory(world: World, reference: Outcome) -> None:
    primary = world.store
    with Proxy(primary.port) as proxy, start_redis(world.folder / "replica") as replica:
        worker = world.start(store=proxy.url)
        with redis.Redis(port=replica.port) as client:
            client.replicaof("127.0.0.1", str(primary.port))
            world.wait_for(lambda: client.info("replication")["master_link_status"] == "up", "replication")
            world.feed(0.25)
            world.wait_for(world.settled, "a checkpoint")
            with world.redis() as writer:
                assert writer.wait(1, 30_000) == 1
            client.replicaof("NO", "ONE")
        world.feed(0.5)
        world.wait_for(world.settled, "checkpoints that the replica lacks")
        lost = sum(world.checkpointed().values())
        world.crash_redis()
        world.store, proxy.port = replica, replica.port
        proxy.cut()
        lost -= sum(world.checkpointed().values())
        world.feed()
        world.wait_for(world.settled, "all records in the replica")
        outcome = world.finish()
    assert outcome.differences(reference) == []
    again = len(worker.events("state written again from memory"))
    assert again
    FAILOVER.held(
        f"checkpoints of {lost:,} records missing on the replica; {again} partitions written again, {said(outcome)}"
    )


@pytest.mark.parametrize("history", [pytest.param("all", marks=pytest.mark.nightly), "some"])
def test_a_state_that_nobody_has_any_more_is_read_back_from_the_log(
    world: World, reference: Outcome, history: str
) -> None:
    first = world.start()
    world.feed(0.3)
    world.wait_for(world.settled, "a checkpoint")
    expired = world.ends()
    world.feed(0.6)
    world.wait_for(world.settled, "a later checkpoint")
    world.wait_for(lambda: world.committed() == world.ends(), "the commit of it")
    first.kill()
    world.crash_redis()
    world.restart_redis()
    if history == "some":
        world.expire(expired)
    second = world.start()
    world.feed()
    outcome = world.finish()
    lost, rebuilt = second.events("state lost, reading back quietly"), second.events("state rebuilt")
    assert len(lost) == len(rebuilt) == 4
    assert not outcome.repeated
    assert not outcome.torn
    ids, known = {i for i, _ in outcome.alerts}, {i for i, _ in reference.alerts}
    assert ids <= known, "a false alert"
    if history == "all":
        assert outcome.differences(reference) == []
    LOST.held(
        f"{sum(line['records'] for line in lost):,} records read back in {len(lost)} partitions, "
        f"{len(ids)} of {len(known)} alerts, none else, no record published twice"
        + ("; end state identical" if history == "all" else ""),
        f"{history} of the log there",
    )


def _go_back_in_time(world: World, *, plant: str = "") -> None:
    """Restart Redis from a snapshot, under a live worker. After it only the states' last pages change."""
    world.start(plant=plant)
    world.feed(0.25)
    world.wait_for(world.settled, "a checkpoint")
    with world.redis() as client:
        client.save()
    world.feed(0.5)
    world.wait_for(world.settled, "a later checkpoint")
    world.crash_redis()
    world.restart_redis()
    world.feed()
    world.wait_for(world.settled, "all records in the store")


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path | None]:
    """A file system of a few MB; None where none can be mounted."""
    folder = tmp_path / "small"
    folder.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=64m", "tmpfs", str(folder)]
    mounted = shutil.which("mount") and subprocess.run(mount, capture_output=True, check=False).returncode == 0
    yield folder if mounted else None
    if mounted:
        subprocess.run(["umount", "-l", str(folder)], check=True)


@contextmanager
def _full_disk(world: World, small_disk: Path | None) -> Iterator[str]:
    """Until it ends Redis cannot write its file, and refuses to change anything."""
    if small_disk is not None:
        filler = small_disk / "filler"
        with filler.open("wb", buffering=0) as full, contextlib.suppress(OSError):
            while True:
                full.write(bytes(1 << 12))
        yield "Redis's append-only file on a small file system that is filled up; room made again"
        filler.unlink()
        return
    snapshot = world.store.log.parent / "dump.rdb"
    snapshot.mkdir()  # a new one cannot take its place
    with world.redis() as client:
        client.config_set("save", "1 1")
    yield "snapshots of Redis made to fail, as they do where the disk is full; mended again"
    snapshot.rmdir()
