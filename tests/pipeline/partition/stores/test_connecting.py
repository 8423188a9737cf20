"""What is sent to Redis in portions, and that it is."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable
from pathlib import Path
from unittest.mock import patch

import pytest
from pydantic import SecretStr
from redis.asyncio import SSLConnection

from pipeline.addresses import redis_address
from pipeline.embedded.servers import start_redis
from pipeline.partition.stores import connecting
from pipeline.partition.stores.base import Claim, Identity
from pipeline.partition.stores.connecting import _PORTION, _Connection, _InPortions
from pipeline.partition.stores.redis import RedisStore
from pipeline.settings import RedisSettings

IDENTITY = Identity(cluster_id="c", topic_id="t", stream="taxi", numerics="cpu", format=4)


class Writer:
    """What a connection writes to; takes everything at once."""

    def __init__(self) -> None:
        self.written: list[bytes] = []

    def writelines(self, parts: Iterable[bytes]) -> None:
        self.written.append(b"".join(parts))

    async def drain(self) -> None:
        pass


@pytest.mark.parametrize("sizes", [[10], [], [100_000] * 40, [3, 2_000_000, 3], [_PORTION, _PORTION]])
async def test_a_large_command_goes_out_in_portions_and_others_run_in_between(sizes: list[int]) -> None:
    connection, writer, turns = _Connection(), Writer(), 0
    connection._writer = writer  # type: ignore[assignment]

    async def other() -> None:
        nonlocal turns
        while True:
            turns += 1
            await asyncio.sleep(0)

    task = asyncio.create_task(other())
    parts = [bytes([n]) * size for n, size in enumerate(sizes)]
    await connection._send_packed_command(parts)
    task.cancel()
    assert b"".join(writer.written) == b"".join(parts)
    assert all(len(portion) < _PORTION + max(sizes) for portion in writer.written)
    assert turns >= len(writer.written) - 1
    assert len(writer.written) <= sum(sizes) // _PORTION + 1
    connection._writer = None


@pytest.mark.embedded
async def test_redis_py_sends_checkpoints_that_way(tmp_path: Path) -> None:
    sent: list[int] = []
    original = _InPortions._send_packed_command

    async def spied(self: _InPortions, command: Iterable[bytes]) -> None:
        command = list(command)
        sent.append(sum(map(len, command)))
        await original(self, command)

    with start_redis(tmp_path) as server, patch.object(connecting._InPortions, "_send_packed_command", spied):
        store = RedisStore(RedisSettings(url=SecretStr(server.url)))
        claim = await store.claim("taxi", 0)
        fields = {f"page:{i}": bytes([i]) * 100_000 for i in range(100)}
        await store.save(claim, 1, IDENTITY, fields, write_id="w")
        assert max(sent) > 10_000_000
        stored = await store.peek("taxi", 0)
        assert stored is not None
        assert stored.fields == fields
        await store.close()


@pytest.mark.parametrize(
    "url",
    [
        "redis://h:1/0",
        "rediss://h:1/0",
        "unix:///run/redis.sock",
        "redis+sentinel://h:1/mymaster/0",
        "rediss+sentinel://h:1/mymaster/0",
    ],
)
async def test_each_kind_of_connection_does_it(url: str) -> None:
    client = connecting.connect(redis_address(url), RedisSettings(url=SecretStr(url)))
    made = client.connection_pool.make_connection()
    assert isinstance(made, _InPortions)
    assert isinstance(made, SSLConnection) == url.startswith("rediss")
    await client.aclose()


async def test_a_worker_that_starts_reads_a_few_partitions_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    store = RedisStore(RedisSettings(url=SecretStr("redis://localhost:1")))
    inside, most = 0, 0

    async def read(_: str) -> tuple[list[bytes | None], dict[str, bytes]]:
        nonlocal inside, most
        inside += 1
        most = max(most, inside)
        await asyncio.sleep(0)
        inside -= 1
        return [b"nonce", None, None, None, None], {}

    monkeypatch.setattr(store, "_read", read)
    await asyncio.gather(*(store.load(Claim("taxi", p, "nonce", -1)) for p in range(16)))
    assert most == 2
