"""One set of cases over every store: the memory store and a real Redis server."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import time
from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import redis as sync_redis
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule, run_state_machine_as_test
from pydantic import SecretStr
from structlog.testing import capture_logs

from pipeline.embedded.servers import EmbeddedServer, start_redis
from pipeline.errors import ForeignState, Refused, SettingsError, StoreError
from pipeline.partition.stores.base import Checkpoint, Claim, Identity, Snapshot, Store, check_identity
from pipeline.partition.stores.memory import MemoryStore
from pipeline.partition.stores.presence import FORGOTTEN, Presence, Replaying, forget_old, workers_of
from pipeline.partition.stores.redis import RedisStore
from pipeline.partition.stores.telling import telling
from pipeline.settings import RedisSettings

IDENTITY = Identity(cluster_id="c", topic_id="t", stream="taxi", numerics="cpu", format=1)


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[EmbeddedServer]:
    with start_redis(tmp_path_factory.mktemp("redis")) as running:
        yield running


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[EmbeddedServer]:
    """A Redis Cluster of one node that holds every slot."""
    with start_redis(tmp_path_factory.mktemp("cluster"), options=["--cluster-enabled", "yes"]) as running:
        with sync_redis.Redis.from_url(running.url) as client:
            client.execute_command("CLUSTER ADDSLOTS", *range(16384))
            while client.execute_command("CLUSTER INFO")["cluster_state"] != "ok":
                time.sleep(0.02)
        yield running


@pytest.fixture(
    params=[
        "memory",
        pytest.param("redis", marks=pytest.mark.embedded),
        pytest.param("cluster", marks=pytest.mark.embedded),
    ]
)
async def store(request: pytest.FixtureRequest) -> AsyncIterator[Store]:
    if request.param == "memory":
        made: Store = MemoryStore()
    else:
        running: EmbeddedServer = request.getfixturevalue("server" if request.param == "redis" else "cluster")
        with sync_redis.Redis.from_url(running.url) as client:
            client.flushall()
        made = RedisStore(RedisSettings(url=SecretStr(running.url), cluster=request.param == "cluster"))
    yield made
    await made.close()


async def put(store: Store, claim: Claim, offset: int, write_id: str = "", **fields: bytes) -> Claim:
    return await store.save(claim, offset, IDENTITY, fields, write_id=write_id or f"w{offset}")


async def test_nothing_is_stored_at_first(store: Store) -> None:
    claim = await store.claim("taxi", 0)
    assert claim.sequence == -1
    assert await store.load(claim) is None


async def test_fields_offset_and_sequence_come_back_together(store: Store) -> None:
    claim = await store.claim("taxi", 0, generation=7)
    claim = await put(store, claim, 10, a=b"1", b=b"\x00\xff")
    assert claim.sequence == 0
    claim = await put(store, claim, 2**62 + 1, a=b"2")
    assert await store.load(claim) == Checkpoint(2**62 + 1, 1, IDENTITY, {"a": b"2", "b": b"\x00\xff"})
    assert (await store.claim("taxi", 0)).sequence == 1


async def test_partitions_and_streams_are_apart(store: Store) -> None:
    one = await put(store, await store.claim("taxi", 0), 1, x=b"one")
    two = await put(store, await store.claim("taxi", 1), 2, x=b"two")
    other = await put(store, await store.claim("nab", 0), 3, x=b"three")
    found = [await store.load(c) for c in (one, two, other)]
    assert [c.fields["x"] for c in found if c] == [b"one", b"two", b"three"]


async def test_who_claimed_before_can_neither_write_nor_read(store: Store) -> None:
    zombie = await put(store, await store.claim("taxi", 0), 1, x=b"zombie")
    owner = await store.claim("taxi", 0)
    with pytest.raises(Refused, match="taxi, partition 0: somebody else has claimed it"):
        await put(store, zombie, 2, x=b"ghost")
    with pytest.raises(Refused):
        await store.load(zombie)
    loaded = await store.load(owner)
    assert loaded is not None
    assert loaded.fields == {"x": b"zombie"}
    assert (await put(store, owner, 2, x=b"mine")).sequence == 1


async def test_a_retry_whose_answer_was_lost_is_not_written_twice(store: Store) -> None:
    first = await store.claim("taxi", 0)
    once = await store.save(first, 5, IDENTITY, {"x": b"1"}, write_id="w")
    again = await store.save(first, 5, IDENTITY, {"x": b"1"}, write_id="w")
    assert once == again
    assert (await put(store, again, 6, x=b"2")).sequence == 1


async def test_another_write_with_an_old_sequence_is_refused(store: Store) -> None:
    first = await store.claim("taxi", 0)
    await put(store, first, 5, x=b"1")
    with pytest.raises(Refused, match="holds checkpoint 0, not -1"):
        await put(store, first, 6, x=b"2")


async def test_a_store_that_went_back_refuses_even_the_true_owner(store: Store) -> None:
    claim = await put(store, await store.claim("taxi", 0), 1, x=b"1")
    ahead = Claim(claim.stream, claim.partition, claim.nonce, sequence=4)
    with pytest.raises(Refused, match="holds checkpoint 0, not 4"):
        await put(store, ahead, 9, x=b"9")


async def test_a_live_owner_is_refused_when_its_state_vanished_and_writes_it_all_after_a_new_claim(
    store: Store,
) -> None:
    claim = await put(store, await store.claim("taxi", 0), 5, a=b"1", b=b"2")
    assert await store.delete("taxi", 0)
    with pytest.raises(Refused, match="holds nothing of it any more"):
        await put(store, claim, 6, a=b"3")
    with pytest.raises(Refused, match="holds nothing of it any more"):
        await store.load(claim)
    claim = await store.claim("taxi", 0)
    claim = await store.save(claim, 6, IDENTITY, {"a": b"3", "b": b"2"}, write_id="again", replace=True)
    assert await store.load(claim) == Checkpoint(6, 0, IDENTITY, {"a": b"3", "b": b"2"})


async def test_replacing_leaves_no_old_field_behind(store: Store) -> None:
    claim = await put(store, await store.claim("taxi", 0), 5, **{f"old{i}": b"x" for i in range(5000)})
    claim = await store.save(claim, 7, IDENTITY, {"new": b"n", "old7": b"y"}, write_id="r", replace=True)
    loaded = await store.load(claim)
    assert loaded is not None
    assert loaded.fields == {"new": b"n", "old7": b"y"}


@pytest.mark.parametrize("replace", [True, False])
async def test_a_stored_offset_that_is_ahead_is_never_overwritten(store: Store, replace: bool) -> None:
    await put(store, await store.claim("taxi", 0), 1000, x=b"ahead")
    owner = await store.claim("taxi", 0)
    with pytest.raises(Refused, match="ahead, at offset 1000"):
        await store.save(owner, 999, IDENTITY, {"x": b"behind"}, write_id="r", replace=replace)
    loaded = await store.load(owner)
    assert loaded is not None
    assert (loaded.offset, loaded.fields) == (1000, {"x": b"ahead"})


async def test_removed_fields_go_and_a_field_both_removed_and_written_stays(store: Store) -> None:
    claim = await put(store, await store.claim("taxi", 0), 5, a=b"1", b=b"2", c=b"3")
    claim = await store.save(claim, 6, IDENTITY, {"c": b"4"}, removed=("a", "c", "never"), write_id="r")
    loaded = await store.load(claim)
    assert loaded is not None
    assert loaded.fields == {"b": b"2", "c": b"4"}


async def test_many_fields_in_one_write(store: Store) -> None:
    fields = {f"page:{i}": str(i).encode() * 50 for i in range(10_000)}
    claim = await store.save(await store.claim("taxi", 0), 5, IDENTITY, fields, write_id="w")
    loaded = await store.load(claim)
    assert loaded is not None
    assert loaded.fields == fields


async def test_deleting_what_is_not_there_says_so(store: Store) -> None:
    assert not await store.delete("taxi", 9)


@pytest.mark.parametrize("offset", [3, 9])
async def test_what_an_operator_puts_takes_the_place_of_all_and_ends_the_owner(store: Store, offset: int) -> None:
    owner = await put(store, await store.claim("taxi", 0), 5, write_id="w5", a=b"1", b=b"2")
    put_in = Checkpoint(offset, 41, IDENTITY, {f"p{i}": b"new" for i in range(3000)})
    await store.put("taxi", 0, put_in)
    for write_id in ("w5", "w6"):
        with pytest.raises(Refused, match="somebody else has claimed it"):
            await store.save(owner, 10, IDENTITY, {"a": b"9"}, write_id=write_id)
    claim = await store.claim("taxi", 0)
    assert (claim.sequence, await store.load(claim)) == (41, put_in)
    assert (await put(store, claim, offset, p0=b"x")).sequence == 42
    await store.put("taxi", 7, Checkpoint(0, 0, IDENTITY, {}))
    assert await store.load(await store.claim("taxi", 7)) == Checkpoint(0, 0, IDENTITY, {})


async def test_a_decision_is_appended_once_whoever_repeats_it(store: Any) -> None:
    assert await store.newest_decision("taxi") == 0
    assert await store.decisions("taxi") == {}
    assert [await store.decide("taxi", name, name.encode()) for name in ("a", "b", "a", "c", "b")] == [1, 2, 1, 3, 2]
    assert await store.decide("nab", "a", b"other") == 1
    assert await store.decisions("taxi", 1) == {2: b"b", 3: b"c"}
    assert await store.newest_decision("taxi") == 3


async def test_a_list_that_lost_its_end_gives_no_serial_twice_and_is_filled_up(store: Any) -> None:
    assert await store.decide("taxi", "late", b"late", known=70) == 71
    await store.remember("taxi", {n: (f"d{n}", b"%d" % n) for n in range(1, 72)})
    assert await store.newest_decision("taxi") == 71
    held = await store.decisions("taxi")
    assert list(held) == list(range(1, 72))
    assert (held[1], held[70], held[71]) == (b"1", b"70", b"late")
    assert await store.decide("taxi", "d70", b"again") == 70
    assert await store.decide("taxi", "late", b"again") == 71
    assert await store.decide("taxi", "new", b"new", known=3) == 72


async def test_a_loaded_checkpoint_is_a_copy(store: Store) -> None:
    claim = await put(store, await store.claim("taxi", 0), 5, a=b"1")
    loaded = await store.load(claim)
    assert loaded is not None
    dict.clear(loaded.fields)  # type: ignore[arg-type]
    assert (await store.load(claim)).fields == {"a": b"1"}  # type: ignore[union-attr]


@pytest.mark.parametrize(
    ("changed", "said"),
    [
        ({"cluster_id": "x"}, "Kafka cluster 'x', here 'c'"),
        ({"topic_id": "x"}, r"topic \(deleted and created again\?\) 'x'"),
        ({"stream": "x"}, "stream 'x', here 'taxi'"),
        ({"format": 2}, r"is of format 2, this version reads up to 1: start the newer version that wrote it, or run"),
    ],
)
def test_a_foreign_state_is_named_with_the_mend(changed: dict[str, str], said: str) -> None:
    with pytest.raises(ForeignState, match=said) as caught:
        check_identity(IDENTITY.model_copy(update=changed), IDENTITY)
    assert "run `tidewatch state reset taxi`" in str(caught.value)
    assert "\n" not in str(caught.value)


def test_other_numerics_are_a_warning_only() -> None:
    with capture_logs() as logs:
        check_identity(IDENTITY, IDENTITY)
        check_identity(IDENTITY.model_copy(update={"numerics": "cuda"}), IDENTITY)
    assert [(e["event"], e["stored"], e["own"]) for e in logs] == [("state is of other numerics", "cuda", "cpu")]


@pytest.mark.embedded
async def test_an_identity_that_cannot_be_read_is_foreign(server: EmbeddedServer) -> None:
    store = RedisStore(RedisSettings(url=SecretStr(server.url), prefix="unreadable"))
    claim = await put(store, await store.claim("taxi", 0), 5, a=b"1")
    with sync_redis.Redis.from_url(server.url) as client:
        client.hset("unreadable:state:taxi:0", "identity", '{"format": 99}')
    with pytest.raises(ForeignState, match=r"partition 0, in Redis at .* a version that this one cannot read.*reset"):
        await store.load(claim)
    await store.close()


@pytest.mark.embedded
@pytest.mark.parametrize("kind", ["server", "cluster"])
async def test_people_can_look_without_a_claim(kind: str, request: pytest.FixtureRequest) -> None:
    running: EmbeddedServer = request.getfixturevalue(kind)
    store = RedisStore(RedisSettings(url=SecretStr(running.url), prefix="peek[1]*", cluster=kind == "cluster"))
    other = RedisStore(RedisSettings(url=SecretStr(running.url), prefix="peek1", cluster=kind == "cluster"))
    await other.claim("taxi", 5)
    claim = await put(store, await store.claim("taxi", 0), 5, a=b"1")
    await store.claim("taxi", 12)
    await store.claim("taxi-2", 3)
    assert await store.partitions("taxi") == [0, 12]
    assert await store.peek("taxi", 0) == Checkpoint(5, 0, IDENTITY, {"a": b"1"})
    assert await store.peek("taxi", 12) is None
    assert await store.peek("taxi", 99) is None
    assert (await put(store, claim, 6, a=b"2")).sequence == 1
    await store.close()
    await other.close()


@pytest.mark.parametrize("kind", ["server", "cluster"])
async def test_what_workers_say_of_themselves_is_kept_by_group_and_goes_when_it_is_old(
    kind: str, request: pytest.FixtureRequest
) -> None:
    running: EmbeddedServer = request.getfixturevalue(kind)
    store = RedisStore(RedisSettings(url=SecretStr(running.url), prefix="words", cluster=kind == "cluster"))
    g = workers_of("g")
    assert await store.told(g) == {}
    many = {f"w{i:03}": Presence(worker=f"w{i:03}", clock=lambda i=i: 1000.0 + i).word([], []) for i in range(150)}
    for worker, word in many.items():
        await store.tell(g, worker, word)
    await store.tell(g, "other", b"no word")
    await store.tell(workers_of("h"), "w", b"{}")
    assert await store.told(g) == {**many, "other": b"no word"}
    await forget_old(store, g, 1000.0 + FORGOTTEN + 148.5)
    assert set(await store.told(g)) == {"w149"}
    await store.untell(g, ["w149"])
    assert await store.told(g) == {}
    assert set(await store.told(workers_of("h"))) == {"w"}
    await store.close()


@pytest.mark.embedded
def test_a_word_is_kept_while_something_goes_on_and_a_store_that_is_away_holds_nothing_up(
    server: EmbeddedServer,
) -> None:
    replaying = Replaying("taxi", 100, "max")
    killed = Replaying("nab", 5, "max", clock=lambda: time.time() - FORGOTTEN)
    with sync_redis.Redis.from_url(server.url) as client:
        client.hset("tidewatch:replays:t", "killed", killed.word())
        with telling(RedisSettings(url=SecretStr(server.url)), "replays:t", replaying.name, replaying.word):
            for _ in range(200):
                if client.hexists("tidewatch:replays:t", replaying.name):
                    break
                time.sleep(0.05)
            assert client.hkeys("tidewatch:replays:t") == [replaying.name.encode()]
        assert not client.exists("tidewatch:replays:t")
    with telling(RedisSettings(url=SecretStr("redis://127.0.0.1:1/0")), "replays:t", "x", replaying.word):
        pass


@pytest.mark.embedded
async def test_people_see_when_a_partition_was_claimed(server: EmbeddedServer) -> None:
    store = RedisStore(RedisSettings(url=SecretStr(server.url), prefix="age"))
    before = time.time()
    await store.claim("taxi", 0)
    claimed = await store.claimed_at("taxi", 0)
    assert claimed is not None
    assert before - 0.01 <= claimed <= time.time()
    assert await store.claimed_at("taxi", 1) is None
    with sync_redis.Redis.from_url(server.url) as client:
        client.hset("age:state:taxi:0", "owner", "0123456789abcdef")  # as versions before 0.2 wrote it
    assert await store.claimed_at("taxi", 0) is None
    await store.close()


@pytest.mark.embedded
async def test_a_load_that_a_write_came_between_is_read_again_whole(server: EmbeddedServer) -> None:
    store = RedisStore(RedisSettings(url=SecretStr(server.url), prefix="between"))
    claim = await put(store, await store.claim("taxi", 0), 5, **{f"p{i}": b"old" for i in range(200)})
    meta, written = store._meta, []

    async def meta_then_write(key: str) -> list[bytes | None]:
        found = await meta(key)
        if not written:
            written.append(await put(store, claim, 6, **{f"p{i}": b"new" for i in range(200)}))
        return found

    store._meta = meta_then_write  # type: ignore[method-assign]
    loaded = await store.load(claim)
    assert loaded is not None
    assert (loaded.offset, set(loaded.fields.values())) == (6, {b"new"})
    await store.close()


@pytest.mark.embedded
async def test_a_user_that_sees_only_its_prefix_is_enough(server: EmbeddedServer) -> None:
    with sync_redis.Redis.from_url(server.url) as client:
        rights = ["~own:*", "+hmget", "+hkeys", "+hset", "+hget", "+hdel", "+del", "+eval", "+evalsha", "+ping"]
        client.execute_command("ACL SETUSER", "worker", "on", ">secret", *rights)
    url = server.url.replace("//", "//worker:secret@")
    store = RedisStore(RedisSettings(url=SecretStr(url), prefix="own"))
    claim = await put(store, await store.claim("taxi", 0), 5, a=b"1")
    assert await store.load(claim) is not None
    assert await store.delete("taxi", 0)
    await store.close()
    for prefix, password in (("foreign", "secret"), ("own", "wrong")):
        stranger = RedisStore(
            RedisSettings(url=SecretStr(server.url.replace("//", f"//worker:{password}@")), prefix=prefix)
        )
        with pytest.raises(
            StoreError, match=r"refuses the user of redis.url .* mend the password or the ACL"
        ) as caught:
            await stranger.claim("taxi", 0)
        assert password not in str(caught.value).replace(" wrong", "")
        await stranger.close()


@pytest.mark.embedded
async def test_out_of_memory_writes_nothing_by_half_and_says_so(tmp_path: Path) -> None:
    with start_redis(tmp_path) as small:
        store = RedisStore(RedisSettings(url=SecretStr(small.url)))
        claim = await put(store, await store.claim("taxi", 0), 5, a=b"small")
        with sync_redis.Redis.from_url(small.url) as client:
            client.config_set("maxmemory", 1000)
        with pytest.raises(StoreError, match="out of memory: raise maxmemory"):
            await store.save(claim, 6, IDENTITY, {"b": b"y" * 10_000}, write_id="w6", replace=True)
        assert await store.load(claim) == Checkpoint(5, 0, IDENTITY, {"a": b"small"})
        await store.close()


@pytest.mark.embedded
async def test_a_full_disk_writes_nothing_by_half_and_says_so(tmp_path: Path) -> None:
    with start_redis(tmp_path) as server:
        store = RedisStore(RedisSettings(url=SecretStr(server.url)))
        claim = await put(store, await store.claim("taxi", 0), 5, a=b"small")
        (tmp_path / "dump.rdb").mkdir()  # a snapshot cannot take its place, as where the disk is full
        with sync_redis.Redis.from_url(server.url) as client:
            client.bgsave()
            while client.info("persistence")["rdb_bgsave_in_progress"]:
                await asyncio.sleep(0.01)
            client.config_set("save", "3600 1")  # with snapshots to be made, a failed one stops all writing
        with pytest.raises(StoreError, match=r"cannot write to its disk .*: make room there"):
            await store.save(claim, 6, IDENTITY, {"b": b"y"}, write_id="w6", replace=True)
        assert await store.load(claim) == Checkpoint(5, 0, IDENTITY, {"a": b"small"})
        await store.close()


@pytest.mark.embedded
async def test_a_server_that_is_gone_or_hangs_is_a_store_error_of_one_line(tmp_path: Path) -> None:
    with start_redis(tmp_path) as mortal:
        store = RedisStore(RedisSettings(url=SecretStr(mortal.url), timeout="60s"))  # type: ignore[arg-type]
        claim = await put(store, await store.claim("taxi", 0), 5, a=b"1")
        hasty = RedisStore(RedisSettings(url=SecretStr(mortal.url), timeout="300ms"))  # type: ignore[arg-type]
        os.kill(mortal.pid, signal.SIGSTOP)
        try:
            with pytest.raises(StoreError, match="did not answer in time"):
                await put(hasty, claim, 6, a=b"2")
        finally:
            os.kill(mortal.pid, signal.SIGCONT)
        await hasty.close()
        port = mortal.port
    with pytest.raises(StoreError, match=rf"Redis at 127\.0\.0\.1:{port} cannot be reached") as caught:
        await put(store, claim, 7, a=b"2")
    assert "\n" not in str(caught.value)
    await store.close()


def test_an_address_that_is_none_names_the_setting() -> None:
    unchecked = RedisSettings.model_construct(
        url=SecretStr("nonsense:hunter2"), prefix="p", cluster=False, ca_file=None
    )
    with pytest.raises(SettingsError, match=r"redis\.url .*TIDEWATCH_REDIS__URL") as caught:
        RedisStore(unchecked)
    assert "hunter2" not in str(caught.value)


async def test_snapshots_are_what_was_stored_then_whatever_is_written_after(store: Store) -> None:
    claim = await put(store, await store.claim("taxi", 0), 1, a=b"1", b=b"1", c=b"1")
    assert claim.snapshot_at == -1
    claim = await store.save(claim, 2, IDENTITY, {"a": b"2"}, write_id="s0", snapshot=1000)
    claim = await put(store, claim, 3, a=b"3", d=b"3")
    claim = await store.save(claim, 4, IDENTITY, {"e": b"4"}, removed=("b", "d"), write_id="s1", snapshot=2000)
    claim = await put(store, claim, 5, b=b"5")
    claim = await store.save(claim, 6, IDENTITY, {"a": b"6", "b": b"6"}, write_id="w6", replace=True)
    assert claim.snapshot_at == 2000
    assert await store.load(claim) == Checkpoint(6, 5, IDENTITY, {"a": b"6", "b": b"6"})
    first = Checkpoint(2, 1, IDENTITY, {"a": b"2", "b": b"1", "c": b"1"})
    second = Checkpoint(4, 3, IDENTITY, {"a": b"3", "c": b"1", "e": b"4"})
    told = [Snapshot(0, 1000, 2, 1, IDENTITY), Snapshot(1, 2000, 4, 3, IDENTITY)]
    assert await store.snapshots("taxi", 0) == told
    assert [await store.snapshot("taxi", 0, n) for n in (0, 1, 2)] == [first, second, None]
    assert (await store.claim("taxi", 0)).snapshot_at == 2000
    assert await store.keep("taxi", 0, 2) == 0
    assert await store.keep("taxi", 0, 1) == 1
    assert await store.snapshots("taxi", 0) == told[1:]
    assert [await store.snapshot("taxi", 0, n) for n in (0, 1)] == [None, second]
    assert await store.keep("taxi", 0, 0) == 1
    assert await store.snapshots("taxi", 0) == []
    claim = await store.claim("taxi", 0)
    assert await store.load(claim) == Checkpoint(6, 5, IDENTITY, {"a": b"6", "b": b"6"})
    assert await store.snapshots("nab", 3) == []
    assert await store.keep("nab", 3, 0) == 0


async def test_a_retry_makes_no_second_snapshot_and_a_zombie_none(store: Store) -> None:
    zombie = await store.claim("taxi", 0)
    claim = await store.claim("taxi", 0)
    with pytest.raises(Refused):
        await store.save(zombie, 9, IDENTITY, {"a": b"z"}, write_id="z", snapshot=1)
    first = await store.save(claim, 5, IDENTITY, {"a": b"1"}, write_id="w", snapshot=7)
    assert await store.save(claim, 5, IDENTITY, {"a": b"1"}, write_id="w", snapshot=7) == first
    assert [s.at for s in await store.snapshots("taxi", 0)] == [7]


@pytest.mark.parametrize("forget", ["put", "delete"])
async def test_snapshots_are_of_one_history(store: Store, forget: str) -> None:
    claim = await store.save(await store.claim("taxi", 0), 5, IDENTITY, {"a": b"1"}, write_id="w", snapshot=7)
    await put(store, claim, 6, a=b"2", b=b"2")
    if forget == "put":
        await store.put("taxi", 0, Checkpoint(1, 0, IDENTITY, {"b": b"put"}))
    else:
        assert await store.delete("taxi", 0)
    assert await store.snapshots("taxi", 0) == []
    claim = await store.claim("taxi", 0)
    assert claim.snapshot_at == -1
    loaded = await store.load(claim)
    assert (loaded and dict(loaded.fields)) == ({"b": b"put"} if forget == "put" else None)


@pytest.mark.embedded
async def test_what_only_forgotten_snapshots_held_is_freed(server: EmbeddedServer) -> None:
    with sync_redis.Redis.from_url(server.url) as client:
        client.flushall()
    store = RedisStore(RedisSettings(url=SecretStr(server.url)))
    claim = await put(store, await store.claim("taxi", 0), 0, **{f"p{i}": b"x" for i in range(5000)})
    for day in range(1, 20):
        changed = {f"p{i}": b"y" * day for i in range(day % 3, 5000, 3)}
        claim = await store.save(claim, day, IDENTITY, changed, write_id=f"w{day}", snapshot=day)
        await store.keep("taxi", 0, 2)
    # Kept are those of days 18 and 19: what changed on day 19 is held as it was on day 16 too, nothing else twice.
    assert await store.snapshot_bytes("taxi", 0) == 16 * len(range(19 % 3, 5000, 3))
    assert await store.keep("taxi", 0, 0) == 2
    assert await store.snapshot_bytes("taxi", 0) == 0
    with sync_redis.Redis.from_url(server.url) as client:
        held = [n for n in client.hkeys("tidewatch:state:taxi:0") if n[:2] in (b"f:", b"x:")]  # type: ignore[union-attr]
    assert len(held) == 5000
    assert await store.field("taxi", 0, "p1") == b"y" * 19
    await store.close()


@pytest.mark.embedded
async def test_what_only_snapshots_hold_takes_less_room_and_is_read_as_it_was(server: EmbeddedServer) -> None:
    with sync_redis.Redis.from_url(server.url) as client:
        client.flushall()
    store = RedisStore(RedisSettings(url=SecretStr(server.url)))
    claim, pages = await store.claim("taxi", 0), [f"p{i}" for i in range(40)]
    for day in range(1, 4):
        changed = dict.fromkeys(pages, b"%d" % day * 10000)
        claim = await store.save(claim, day, IDENTITY, changed, write_id=f"w{day}", snapshot=day)
    assert await store.snapshot_bytes("taxi", 0) == 2 * 40 * 10_000
    zombie, claim = claim, await store.claim("taxi", 0)
    assert not await store.pack(zombie)
    assert await store.snapshot_bytes("taxi", 0) == 2 * 40 * 10_000
    rounds = 1
    while await store.pack(claim):
        rounds += 1
    assert rounds == 5
    assert (await store.snapshot_bytes("taxi", 0) or 0) < 2 * 40 * 100
    for day in range(1, 4):
        snapshot = await store.snapshot("taxi", 0, day - 1)
        assert snapshot is not None
        assert snapshot.fields == dict.fromkeys(pages, b"%d" % day * 10000)
    with sync_redis.Redis.from_url(server.url) as client:
        client.hset("tidewatch:state:taxi:0", "z:p7", b"damaged")
    with pytest.raises(ForeignState, match="damaged"):
        await store.snapshot("taxi", 0, 0)
    assert await store.load(claim) == Checkpoint(3, 2, IDENTITY, dict.fromkeys(pages, b"3" * 10000))
    assert await store.keep("taxi", 0, 1) == 2
    assert await store.snapshot_bytes("taxi", 0) == 0
    await store.put("taxi", 0, Checkpoint(1, 0, IDENTITY, {"p1": b"put"}))
    assert await store.peek("taxi", 0) == Checkpoint(1, 0, IDENTITY, {"p1": b"put"})
    await store.close()


@pytest.mark.embedded
async def test_snapshots_make_room_where_the_store_has_none(tmp_path: Path) -> None:
    with start_redis(tmp_path) as small:
        store = RedisStore(RedisSettings(url=SecretStr(small.url)))
        claim, big = await store.claim("taxi", 0), b"x" * 2_000_000
        for day in range(3):
            claim = await store.save(claim, day, IDENTITY, {"a": big}, write_id=f"w{day}", snapshot=day)
        with sync_redis.Redis.from_url(small.url) as client:
            client.config_set("maxmemory", client.info("memory")["used_memory"] - 1_000_000)
            claim = await put(store, claim, 9, a=b"small")
            assert [s.at for s in await store.snapshots("taxi", 0)] == [1, 2]
            client.config_set("maxmemory", 1000)
        with pytest.raises(StoreError, match="out of memory: raise maxmemory"):
            await put(store, claim, 10, a=b"more")
        assert await store.snapshots("taxi", 0) == []
        assert await store.load(claim) == Checkpoint(9, 3, IDENTITY, {"a": b"small"})
        await store.close()


class _Fence(RuleBasedStateMachine):
    """Two workers at random: what is stored is always what the last accepted writes say, whoever else tried."""

    def __init__(self, run: Callable[..., object], store: Store) -> None:
        super().__init__()
        self.run, self.store = run, store
        self.run(store.delete("s", 0))
        self.claims: dict[int, Claim] = {}
        self.last_write: dict[int, tuple[Claim, int, dict[str, bytes], str, bool]] = {}
        self.owner: int | None = None
        self.expected: tuple[int, int, dict[str, bytes]] | None = None
        self.kept: list[tuple[int, tuple[int, int, dict[str, bytes]]]] = []
        self.writes = 0

    @rule(who=st.integers(0, 1))
    def claim(self, who: int) -> None:
        self.claims[who] = self.run(self.store.claim("s", 0))  # type: ignore[assignment]
        assert self.claims[who].sequence == (-1 if self.expected is None else self.expected[1])
        self.owner = who

    @precondition(lambda self: self.claims)
    @rule(
        who=st.integers(0, 1),
        offset=st.integers(0, 20),
        changed=st.dictionaries(st.sampled_from("abc"), st.binary(max_size=3)),
        replace=st.booleans(),
        removed=st.lists(st.sampled_from("abc"), max_size=2, unique=True),
        snapshot=st.booleans(),
        keep_claim=st.booleans(),
    )
    def save(
        self,
        who: int,
        offset: int,
        changed: dict[str, bytes],
        replace: bool,
        removed: list[str],
        snapshot: bool,
        keep_claim: bool,
    ) -> None:
        if who not in self.claims:
            return
        claim = self.claims[who]
        self.writes += 1
        offset_, sequence, fields = self.expected or (-1, -1, {})
        allowed = who == self.owner and claim.sequence == sequence and offset >= offset_
        write = (claim, offset, changed, f"w{self.writes}", replace)
        options = {"removed": tuple(removed), "replace": replace, "snapshot": self.writes if snapshot else None}
        try:
            after = self.run(
                self.store.save(claim, offset, IDENTITY, changed, write_id=f"w{self.writes}", **options)  # type: ignore[arg-type]
            )
        except Refused:
            assert not allowed
            return
        assert allowed
        left = {} if replace else {n: v for n, v in fields.items() if n not in removed}
        self.expected = (offset, sequence + 1, left | changed)
        if snapshot:
            self.kept.append((self.writes, self.expected))
        self.last_write[who] = write
        if keep_claim:
            self.claims[who] = after  # type: ignore[assignment]

    @rule(who=st.integers(0, 1))
    def retry(self, who: int) -> None:
        """The answer to the last write was lost; the same write again is refused or changes nothing."""
        if who in self.last_write:
            claim, offset, changed, write_id, replace = self.last_write[who]
            with contextlib.suppress(Refused):
                self.run(self.store.save(claim, offset, IDENTITY, changed, write_id=write_id, replace=replace))

    @rule(
        offset=st.integers(0, 20),
        sequence=st.integers(0, 9),
        fields=st.dictionaries(st.sampled_from("abc"), st.just(b"p")),
    )
    def put(self, offset: int, sequence: int, fields: dict[str, bytes]) -> None:
        self.run(self.store.put("s", 0, Checkpoint(offset, sequence, IDENTITY, fields)))
        self.expected, self.owner, self.kept = (offset, sequence, fields), None, []

    @rule()
    def lose(self) -> None:
        self.run(self.store.delete("s", 0))
        self.expected, self.owner, self.kept = None, None, []

    @rule(newest=st.integers(0, 3))
    def keep(self, newest: int) -> None:
        gone = max(len(self.kept) - newest, 0)
        assert self.run(self.store.keep("s", 0, newest)) == gone
        self.kept = self.kept[gone:]

    @rule(who=st.integers(0, 1))
    def pack(self, who: int) -> None:
        """By the owner or somebody who was it: no snapshot and no checkpoint is another after it."""
        if who in self.claims:
            self.run(self.store.pack(self.claims[who]))

    @invariant()
    def snapshots_are_what_was_stored_then(self) -> None:
        found: list[Snapshot] = self.run(self.store.snapshots("s", 0))  # type: ignore[assignment]
        assert [s.at for s in found] == [at for at, _ in self.kept]
        for told, (_, (offset, sequence, fields)) in zip(found, self.kept, strict=True):
            snapshot = self.run(self.store.snapshot("s", 0, told.number))
            assert snapshot == Checkpoint(offset, sequence, IDENTITY, fields)

    @invariant()
    def stored_is_what_was_accepted(self) -> None:
        if self.owner is None:
            return
        loaded: Checkpoint | None = self.run(self.store.load(self.claims[self.owner]))  # type: ignore[assignment]
        found = None if loaded is None else (loaded.offset, loaded.sequence, dict(loaded.fields))
        assert found == self.expected


@pytest.mark.parametrize("kind", ["memory", pytest.param("redis", marks=pytest.mark.embedded)])
def test_whoever_tries_in_any_order_the_fence_holds(kind: str, request: pytest.FixtureRequest) -> None:
    loop = asyncio.new_event_loop()
    store: Store
    if kind == "memory":
        store = MemoryStore()
    else:
        store = RedisStore(RedisSettings(url=SecretStr(request.getfixturevalue("server").url), prefix="fence"))
    try:
        run_state_machine_as_test(
            lambda: _Fence(loop.run_until_complete, store),
            settings=settings(
                max_examples=60, stateful_step_count=25, deadline=None, suppress_health_check=list(HealthCheck)
            ),
        )
    finally:
        loop.run_until_complete(store.close())
        loop.close()
