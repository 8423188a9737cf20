"""States in Redis: one hash per partition, written by one script that checks who writes.

The hash `<prefix>:state:<stream>:<partition>` holds

    owner        nonce of the last claim            sequence   of the last checkpoint, from 0
    generation   Kafka's, for information           offset     the next one to process
    identity     JSON, see `Identity`               write      id of the last write
    f:<name>     the state's fields                            (so that a retry is known)

and, where snapshots of earlier checkpoints are kept (`worker.snapshots`), what they need. Nothing is copied for one: what is written after it goes beside
what it holds, under the number of the next era, and the checkpoint is the newest of each field.

    era          how many snapshots were made           f:<name>@<era>   a field as it was written in that era (0: no suffix)
    snapped      when the newest was made, ms           x:<name>@<era>   it was removed in that era
                                                        z:<name>@<era>   f:..., in a zstd frame: only snapshots hold it
    snap:<era>   JSON, see `Snapshot`: all that was written up to that era

The hash `<prefix>:decisions:<stream>` holds a stream's decisions: `last`, the last serial, then serial -> body and `id:<id>` -> serial.

Each script touches one key, so it works on Redis Cluster, where a hash lies in one slot. There is no time to live. An
ACL user needs `~<prefix>:* +hmget +hkeys +hset +hget +hdel +del +eval +evalsha` (and what its cluster client asks). Every failure of Redis leaves here as a StoreError of one line that never holds the password.
"""

from __future__ import annotations

import asyncio
import hashlib
import importlib.resources
import secrets
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import replace as changed_copy
from typing import Any, NamedTuple

import redis.asyncio as client
import structlog
from redis.asyncio.sentinel import MasterNotFoundError
from redis.exceptions import (
    AuthenticationError,
    NoPermissionError,
    NoScriptError,
    OutOfMemoryError,
    RedisClusterException,
    RedisError,
    ResponseError,
)

from pipeline.addresses import redis_address
from pipeline.errors import SettingsError, StoreError
from pipeline.partition.stores.base import Checkpoint, Claim, Identity, Refusal, Snapshot, parse_identity
from pipeline.partition.stores.connecting import connect
from pipeline.partition.stores.eras import SNAPSHOT, packed, read_snapshot, said_of, unpacked, versions
from pipeline.settings import RedisSettings
from pipeline.steps.state import series_of

_FIELDS_PER_READ = 64  # some MB: a load must not hold Redis up for others
_LOADS = 2
"""Partitions that are read at once: Redis answers one while another is taken over, and not all of them lie in memory twice."""
_META = ("owner", "sequence", "offset", "identity", "write")
_FIELDS_PACKED_AT_ONCE = 16  # nothing of the partition is processed meanwhile
_REFUSALS = {r.name.lower(): r for r in Refusal}

_log = structlog.get_logger(__name__)


class Progress(NamedTuple):
    """Of a checkpoint: the next offset to process, and its number."""

    offset: int
    sequence: int


class _Script:
    """A Lua script, sent by its hash and in full where the server does not know it."""

    def __init__(self, name: str) -> None:
        self._text = (importlib.resources.files(__package__) / f"{name}.lua").read_text()
        self._sha = hashlib.sha1(self._text.encode(), usedforsecurity=False).hexdigest()

    async def __call__(self, redis: client.Redis, key: str, *arguments: str | bytes | int) -> Any:
        try:
            return await redis.evalsha(self._sha, 1, key, *arguments)
        except NoScriptError:
            return await redis.eval(self._text, 1, key, *arguments)


class RedisStore:
    """A `Store` and `Register` in Redis or Redis Cluster.

    Parameters
    ----------
    settings
        Address, key prefix, time-outs. Nothing is connected before the first call.
    """

    def __init__(self, settings: RedisSettings) -> None:
        try:
            address = redis_address(settings.url.get_secret_value())
        except ValueError as error:  # settings made without their validators
            msg = f"redis.url is no address of Redis: {error} (mend [redis] url or TIDEWATCH_REDIS__URL)"
            raise SettingsError(msg) from None
        self._where = address.shown
        self._prefix = settings.prefix
        self._redis = connect(address, settings)
        self._loads = asyncio.Semaphore(_LOADS)
        self._claim = _Script("claim")
        self._save = _Script("save")
        self._put = _Script("put")
        self._keep = _Script("keep")
        self._pack = _Script("pack")
        self._decide = _Script("decide")
        self._remember = _Script("remember")

    async def claim(self, stream: str, partition: int, *, generation: int = -1) -> Claim:
        """See `Store.claim`."""
        nonce, key = _new_nonce(), self._key(stream, partition)
        async with self._translated():
            sequence, snapped = await self._giving_way(key, lambda: self._claim(self._redis, key, nonce, generation))
        return Claim(stream, partition, nonce, int(sequence or -1), int(snapped or -1))

    async def load(self, claim: Claim) -> Checkpoint | None:
        """See `Store.load`. Read in portions; nobody can write between them without a claim, which is noticed at the end."""
        async with self._loads, self._translated():
            meta, fields = await self._read(self._key(claim.stream, claim.partition))
        _require_owner(meta, claim)
        return self._checkpoint(claim.stream, claim.partition, meta, fields)

    async def peek(self, stream: str, partition: int) -> Checkpoint | None:
        """The last checkpoint, without a claim: for people who look. A worker may write meanwhile."""
        async with self._translated():
            meta, fields = await self._read(self._key(stream, partition))
        return self._checkpoint(stream, partition, meta, fields)

    async def claimed_at(self, stream: str, partition: int) -> float | None:
        """When the partition was last claimed, s since the epoch by the owner's clock; None where that is not known."""
        async with self._translated():
            (owner,) = await _awaited(self._redis.hmget(self._key(stream, partition), ["owner"]))
        return None if owner is None else _time_of(owner.decode())

    async def progress(self, stream: str, partition: int) -> Progress | None:
        """How far a partition is, without its state; None where it has no checkpoint. For people, not for workers."""
        async with self._translated():
            offset, sequence = await _awaited(self._redis.hmget(self._key(stream, partition), ["offset", "sequence"]))
        return None if offset is None or sequence is None else Progress(int(offset), int(sequence))

    async def field(self, stream: str, partition: int, name: str) -> bytes | None:
        """One field of the last checkpoint; None where it has none. For people, not for workers."""
        async with self._translated():
            key = self._key(stream, partition)
            return (await self._fields(key, {name}, await _awaited(self._redis.hkeys(key)))).get(name)

    async def series(self, stream: str, partition: int) -> list[str]:
        """Names of the series of the last checkpoint, without what is known of them. For people, not for workers."""
        key = self._key(stream, partition)
        async with self._translated():
            names = await _awaited(self._redis.hkeys(key))
            named = {name for name in versions(names) if name.startswith("names:")}
            return series_of(await self._fields(key, named, names))

    async def snapshots(self, stream: str, partition: int) -> list[Snapshot]:
        """See `Store.snapshots`."""
        async with self._translated():
            key = self._key(stream, partition)
            names = [n for n in await _awaited(self._redis.hkeys(key)) if SNAPSHOT.fullmatch(n)]
            told = await _awaited(self._redis.hmget(key, names)) if names else []
        found = [read_snapshot(name, body) for name, body in zip(names, told, strict=True) if body is not None]
        return sorted((s for s in found if s is not None), key=lambda s: s.number)

    async def snapshot(self, stream: str, partition: int, number: int) -> Checkpoint | None:
        """See `Store.snapshot`. What it holds never changes, so it is read in portions, whatever a worker writes meanwhile; again, where something was packed."""
        key, name = self._key(stream, partition), f"snap:{number}"
        async with self._translated():
            while True:
                names = await _awaited(self._redis.hkeys(key))
                wanted = versions(names, number).keys()
                fields = await self._fields(key, wanted, names, upto=number)
                (told,) = await _awaited(self._redis.hmget(key, [name]))
                if told is None or (snapshot := read_snapshot(name.encode(), told)) is None:
                    return None
                if fields.keys() == wanted:
                    return Checkpoint(snapshot.offset, snapshot.sequence, snapshot.identity, fields)

    async def keep(self, stream: str, partition: int, newest: int) -> int:
        """See `Store.keep`."""
        async with self._translated():
            return int(await self._keep(self._redis, self._key(stream, partition), newest))

    async def pack(self, claim: Claim) -> bool:
        """See `Store.pack`."""
        key = self._key(claim.stream, claim.partition)
        async with self._translated():
            names = await _awaited(self._redis.hkeys(key))
            live = set(versions(names).values())
            loose = [n for n in names if n.startswith(b"f:") and n not in live]
            some = loose[:_FIELDS_PACKED_AT_ONCE]
            values = await _awaited(self._redis.hmget(key, some)) if some else []
            arguments: list[str | bytes] = []
            for name, value in zip(some, values, strict=True):
                if value is not None:
                    arguments += [name.removeprefix(b"f:"), await asyncio.to_thread(packed, value)]
            if arguments and not await self._pack(self._redis, key, claim.nonce, *arguments):
                return False  # of another owner now, or forgotten
        return len(loose) > len(some)

    async def snapshot_bytes(self, stream: str, partition: int) -> int | None:
        """What Redis holds of the fields only for snapshots; None where this user may not ask (HSTRLEN). For people, not for workers."""
        key = self._key(stream, partition)
        async with self._translated():
            names = await _awaited(self._redis.hkeys(key))
            live = set(versions(names).values())
            older = [n for n in names if n.startswith((b"f:", b"z:")) and n not in live]
            try:
                return sum([int(await _awaited(self._redis.hstrlen(key, n.decode()))) for n in older])
            except (NoPermissionError, ResponseError):
                return None

    async def partitions(self, stream: str) -> list[int]:
        """Partitions of a stream that something is stored of, rising. Looks through all keys: for people, not for workers."""
        key = self._key(stream, 0)[:-1]
        async with self._translated():
            found = [name.decode() async for name in self._redis.scan_iter(match=f"{_literally(key)}*", count=1000)]
        return sorted(int(name.removeprefix(key)) for name in found if name.removeprefix(key).isdecimal())

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
        key = self._key(claim.stream, claim.partition)
        gone = [name for name in removed if name not in changed]
        fields = [part for name, value in changed.items() for part in (name, value)]
        kept = "" if snapshot is None else said_of(snapshot, offset, claim.sequence + 1, identity)
        snapped = "" if snapshot is None else snapshot
        head = (claim.nonce, claim.sequence, offset, identity.model_dump_json(), write_id, int(replace), snapped, kept)
        async with self._translated():
            answer = await self._giving_way(key, lambda: self._save(self._redis, key, *head, len(gone), *gone, *fields))
        if answer[0] == b"ok":
            at = claim.snapshot_at if snapshot is None else snapshot
            return changed_copy(claim, sequence=int(answer[1]), snapshot_at=at)
        _, why, _, sequence, stored_offset = answer
        raise _REFUSALS[why.decode()].error(claim, sequence=int(sequence or -1), offset=int(stored_offset or -1))

    async def put(self, stream: str, partition: int, checkpoint: Checkpoint) -> None:
        """See `Store.put`."""
        fields = [part for name, value in checkpoint.fields.items() for part in (f"f:{name}", value)]
        head = (_new_nonce(), checkpoint.sequence, checkpoint.offset, checkpoint.identity.model_dump_json())
        async with self._translated():
            await self._put(self._redis, self._key(stream, partition), *head, *fields)

    async def delete(self, stream: str, partition: int) -> bool:
        """See `Store.delete`."""
        async with self._translated():
            return bool(await _awaited(self._redis.delete(self._key(stream, partition))))

    async def decide(self, stream: str, id: str, body: bytes, *, known: int = 0) -> int:  # noqa: A002
        """See `Register.decide`."""
        async with self._translated():
            return int(await self._decide(self._redis, self._list(stream), id, body, known))

    async def newest_decision(self, stream: str) -> int:
        """See `Register.newest_decision`."""
        async with self._translated():
            (last,) = await _awaited(self._redis.hmget(self._list(stream), ["last"]))
        return int(last or 0)

    async def decisions(self, stream: str, after: int = 0) -> dict[int, bytes]:
        """See `Register.decisions`."""
        found: dict[int, bytes] = {}
        newest = await self.newest_decision(stream)
        async with self._translated():
            for start in range(after + 1, newest + 1, _FIELDS_PER_READ):
                serials = range(start, min(start + _FIELDS_PER_READ, newest + 1))
                bodies = await _awaited(self._redis.hmget(self._list(stream), [str(s) for s in serials]))
                found |= {s: b for s, b in zip(serials, bodies, strict=True) if b is not None}
        return found

    async def remember(self, stream: str, decisions: Mapping[int, tuple[str, bytes]]) -> None:
        """See `Register.remember`."""
        items = sorted(decisions.items())
        async with self._translated():
            for start in range(0, len(items), _FIELDS_PER_READ):
                some = items[start : start + _FIELDS_PER_READ]
                arguments = [part for serial, (id_, body) in some for part in (serial, id_, body)]
                await self._remember(self._redis, self._list(stream), *arguments)

    async def forget_decisions(self, stream: str) -> None:
        """Forget a stream's list: of one that nobody will run again."""
        async with self._translated():
            await _awaited(self._redis.delete(self._list(stream)))

    async def tell(self, among: str, name: str, word: bytes) -> None:
        """See `Words.tell`."""
        async with self._translated():
            await _awaited(self._redis.hset(f"{self._prefix}:{among}", name, word))

    async def told(self, among: str) -> dict[str, bytes]:
        """See `Words.told`."""
        key, found = f"{self._prefix}:{among}", dict[str, bytes]()
        async with self._translated():
            names = await _awaited(self._redis.hkeys(key))
            for start in range(0, len(names), _FIELDS_PER_READ):
                some = names[start : start + _FIELDS_PER_READ]
                words = await _awaited(self._redis.hmget(key, some))
                found |= {n.decode(): w for n, w in zip(some, words, strict=True) if w is not None}
        return found

    async def untell(self, among: str, names: Sequence[str]) -> None:
        """See `Words.untell`."""
        async with self._translated():
            await _awaited(self._redis.hdel(f"{self._prefix}:{among}", *names))

    async def info(self) -> dict[str, Any]:
        """What the server says of itself (INFO); of a cluster, its first node's words. For people, not for workers."""
        async with self._translated():
            told = await _awaited(self._redis.info())
        nodes = [v for v in told.values() if isinstance(v, dict) and "redis_version" in v]
        return nodes[0] if nodes else dict(told)

    async def setting(self, name: str) -> str | None:
        """A setting of the server (CONFIG GET); None where this user may not see it. For people, not for workers."""
        async with self._translated():
            try:
                told = await _awaited(self._redis.config_get(name))
            except ResponseError:
                return None
        value = told.get(name)
        return None if value is None else str(value)

    async def clock(self) -> float | None:
        """The server's clock (TIME), s since the epoch; None where this user may not ask. For people, not for workers."""
        async with self._translated():
            try:
                seconds, micros = await _awaited(self._redis.time())
            except (ResponseError, RedisClusterException, TypeError, ValueError):  # a cluster has several clocks
                return None
        return int(seconds) + int(micros) / 1e6

    async def close(self) -> None:
        """Close the pool's connections."""
        await self._redis.aclose()

    def _key(self, stream: str, partition: int) -> str:
        return f"{self._prefix}:state:{stream}:{partition}"

    def _list(self, stream: str) -> str:
        return f"{self._prefix}:decisions:{stream}"

    async def _read(self, key: str) -> tuple[list[bytes | None], dict[str, bytes]]:
        """What stands around the fields, and the fields; read again where a write came in between."""
        while True:
            meta = await self._meta(key)
            names = await _awaited(self._redis.hkeys(key))
            fields = await self._fields(key, versions(names).keys(), names)
            if await self._meta(key) == meta:
                return meta, fields

    async def _fields(
        self, key: str, wanted: Iterable[str], names: Iterable[bytes], *, upto: int | None = None
    ) -> dict[str, bytes]:
        """The fields of these names, of all that the hash holds (`names`), as they were written up to an era."""
        newest = versions(names, upto)
        stored = [(name, newest[name]) for name in wanted if name in newest]
        fields: dict[str, bytes] = {}
        for start in range(0, len(stored), _FIELDS_PER_READ):
            some = stored[start : start + _FIELDS_PER_READ]
            values = await _awaited(self._redis.hmget(key, [at for _, at in some]))
            for (name, at), value in zip(some, values, strict=True):
                if value is not None:
                    fields[name] = unpacked(at, value)
        return fields

    async def _giving_way(self, key: str, write: Callable[[], Awaitable[Any]]) -> Any:
        """A write, for which snapshots of the partition make room where Redis has none."""
        while True:
            try:
                return await write()
            except (ResponseError, OutOfMemoryError) as error:
                if not _out_of_memory(error) or not await self._keep(self._redis, key, -1):
                    raise
            _log.warning("the partition's oldest snapshot was given up, for Redis has no memory left", key=key)

    async def _meta(self, key: str) -> list[bytes | None]:
        return list(await _awaited(self._redis.hmget(key, list(_META))))

    def _checkpoint(
        self, stream: str, partition: int, meta: Sequence[bytes | None], fields: dict[str, bytes]
    ) -> Checkpoint | None:
        _, sequence, offset, identity, _ = meta
        if sequence is None or offset is None or identity is None:
            return None
        where = f"the state of stream {stream}, partition {partition}, in Redis at {self._where}"
        return Checkpoint(int(offset), int(sequence), parse_identity(identity, where), fields)

    @asynccontextmanager
    async def _translated(self) -> AsyncIterator[None]:
        try:
            yield
        except (RedisError, OSError, TimeoutError) as error:
            raise StoreError(f"Redis at {self._where} {_in_words(error)}") from error


def _require_owner(meta: Sequence[bytes | None], claim: Claim) -> None:
    if meta[0] is None:
        raise Refusal.VANISHED.error(claim)
    if meta[0] != claim.nonce.encode():
        raise Refusal.OWNER.error(claim)


def _in_words(error: Exception) -> str:
    if _out_of_memory(error):
        return "is out of memory: raise maxmemory, or lower max_series"
    if "MISCONF" in str(error):  # of a command, or deep in a script's message
        return f"cannot write to its disk ({_first_line(error).split('MISCONF ')[-1]}): make room there, or see Redis's log"
    if "executing the script can't run" in str(error):  # it names the script and the line, not the command
        return "refuses the user of redis.url a command of the scripts: mend the ACL, +hset +hget +hmget +hkeys +hdel"
    if isinstance(error, MasterNotFoundError):
        return "has no master now: where it has, see the master's name, and the sentinels' own password, in redis.url"
    if isinstance(error, (AuthenticationError, NoPermissionError)):
        return f"refuses the user of redis.url ({_first_line(error)}): mend the password or the ACL"
    if isinstance(error, TimeoutError) or "imeout" in type(error).__name__:
        return "did not answer in time: see whether it runs and is reachable from here, or raise redis.timeout"
    if "SSL" in str(error):
        return (
            f"cannot be reached ({_first_line(error)}): see redis.ca_file, and whether redis.url should say rediss://"
        )
    if isinstance(error, (OSError, ConnectionError)) or "onnection" in type(error).__name__:
        return (
            f"cannot be reached ({_first_line(error)}): start it, or name another in redis.url (TIDEWATCH_REDIS__URL)"
        )
    return f"refuses: {_first_line(error)}"


def _out_of_memory(error: Exception) -> bool:
    return isinstance(error, OutOfMemoryError) or "OOM command not allowed" in str(error)  # the latter out of a script


def _new_nonce() -> str:
    """12 hexadecimal digits of the time in ms, for people who look, and 16 that nobody else has."""
    return f"{int(time.time() * 1000):012x}{secrets.token_hex(8)}"


def _time_of(nonce: str) -> float | None:
    """When a nonce was made; None for one of a version that did not say so."""
    return int(nonce[:12], 16) / 1000 if len(nonce) == 28 else None


def _literally(pattern: str) -> str:
    """Text as a pattern that matches only itself."""
    return "".join(f"\\{c}" if c in "*?[]^\\" else c for c in pattern)


def _first_line(error: Exception) -> str:
    return (str(error).strip().splitlines() or [type(error).__name__])[0]


async def _awaited(answer: Any) -> Any:
    """redis-py types its commands for the synchronous and the asynchronous client at once."""
    return await answer
