"""A store behind real sentinels: it finds the master, and goes on with the new one after a failover; the fence holds."""

from __future__ import annotations

import asyncio
import os
import shutil
import signal
import socket
import subprocess
import time
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest
import redis as sync_redis
from pydantic import SecretStr

from pipeline.embedded.servers import EmbeddedServer
from pipeline.errors import Refused, StoreError
from pipeline.partition.stores.base import Identity
from pipeline.partition.stores.redis import RedisStore
from pipeline.settings import RedisSettings

pytestmark = pytest.mark.embedded
IDENTITY = Identity(cluster_id="c", topic_id="t", stream="taxi", numerics="cpu", format=1)
PASSWORD, OF_SENTINELS = "pass/word#1", "s3ntinel@"


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@pytest.fixture
def watched(tmp_path: Path) -> Iterator[tuple[str, EmbeddedServer]]:
    """The address of three sentinels, and the master that they watch."""
    binary = shutil.which("redis-server")
    if binary is None:
        pytest.skip("needs redis-server on the PATH")
    with ExitStack() as stack:
        secured = ["--requirepass", PASSWORD, "--masterauth", PASSWORD, "--repl-diskless-sync-delay", "0"]
        nodes = []
        for name in ("a", "b"):
            port, folder = free_port(), tmp_path / name
            folder.mkdir()
            master = [] if not nodes else ["--replicaof", "127.0.0.1", str(nodes[0][1])]
            process = subprocess.Popen(
                [
                    binary,
                    "--port",
                    str(port),
                    "--bind",
                    "127.0.0.1",
                    "--dir",
                    str(folder),
                    "--save",
                    "",
                    *secured,
                    *master,
                ],
                stdout=subprocess.DEVNULL,
            )
            stack.callback(process.wait)
            stack.callback(process.kill)
            nodes.append((process, port))
        sentinels = []
        for i in range(3):
            port, file = free_port(), tmp_path / f"sentinel{i}.conf"
            file.write_text(
                f'port {port}\nbind 127.0.0.1\ndir {tmp_path}\nrequirepass "{OF_SENTINELS}"\nsentinel sentinel-pass "{OF_SENTINELS}"\n'
                f"sentinel monitor mymaster 127.0.0.1 {nodes[0][1]} 2\nsentinel auth-pass mymaster {PASSWORD}\n"
                "sentinel down-after-milliseconds mymaster 1000\nsentinel failover-timeout mymaster 5000\n"
            )
            process = subprocess.Popen([binary, str(file), "--sentinel"], stdout=subprocess.DEVNULL)
            stack.callback(process.wait)
            stack.callback(process.kill)
            sentinels.append(port)
        wait_for(lambda: all(others(port) == (1, 2) for port in sentinels))
        hosts = ",".join(f"127.0.0.1:{port}" for port in sentinels)
        yield f"redis+sentinel://:pass%2Fword%231@{hosts}/mymaster?sentinel_password=s3ntinel%40", nodes[0][0]


def others(port: int) -> tuple[int, int]:
    """How many replicas and other sentinels a sentinel knows."""
    with sync_redis.Redis(port=port, password=OF_SENTINELS, decode_responses=True) as client:
        try:
            seen = client.execute_command("SENTINEL MASTER mymaster")
        except sync_redis.RedisError:
            return 0, 0
    known = seen if isinstance(seen, dict) else dict(zip(seen[::2], seen[1::2], strict=True))
    return int(known["num-slaves"]), int(known["num-other-sentinels"])


def wait_for(what, within: float = 60.0) -> None:
    end = time.monotonic() + within
    while not what():
        assert time.monotonic() < end
        time.sleep(0.1)


async def test_after_a_failover_the_owner_goes_on_and_a_zombie_is_refused(watched) -> None:
    url, master = watched
    store = RedisStore(RedisSettings(url=SecretStr(url), timeout="2s"))  # type: ignore[arg-type]
    zombie = await store.claim("taxi", 0)
    owner = await store.claim("taxi", 0)
    owner = await store.save(owner, 10, IDENTITY, {"a": b"1"}, write_id="w10")
    await asyncio.sleep(1)  # replicated
    os.kill(master.pid, signal.SIGKILL)
    told: list[StoreError] = []
    async with asyncio.timeout(60):
        while owner.sequence == 0:
            try:
                owner = await store.save(owner, 20, IDENTITY, {"a": b"2"}, write_id="w20")
            except StoreError as error:
                told.append(error)
                await asyncio.sleep(0.2)
    assert told
    assert not any(isinstance(error, Refused) for error in told)
    assert not any(PASSWORD in str(error) or OF_SENTINELS in str(error) for error in told)
    with pytest.raises(Refused):
        await store.save(zombie, 30, IDENTITY, {"a": b"3"}, write_id="w30")
    found = await store.load(owner)
    assert found is not None
    assert (found.offset, found.fields) == (20, {"a": b"2"})
    await store.close()


async def test_a_master_that_sentinels_do_not_know_is_told_with_their_addresses(watched) -> None:
    url, _ = watched
    store = RedisStore(RedisSettings(url=SecretStr(url.replace("mymaster", "other"))))
    with pytest.raises(StoreError, match=r"\(other\) has no master now: .*redis\.url") as told:
        await store.claim("taxi", 0)
    assert PASSWORD not in str(told.value)
    await store.close()
