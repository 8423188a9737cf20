"""Connections to Redis: over TCP, TLS or a socket of this machine, to whatever sentinels say is the master, or to a cluster.

A checkpoint is one command of up to all of a partition's state. The client would copy it in one piece and hold everybody of this process up
meanwhile; here it goes out in portions (not to a cluster, whose client makes its own connections).
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Iterator
from typing import Any, cast

import redis.asyncio as client
from redis.asyncio.cluster import RedisCluster
from redis.asyncio.connection import AbstractConnection
from redis.asyncio.retry import Retry
from redis.asyncio.sentinel import Sentinel, SentinelManagedConnection, SentinelManagedSSLConnection
from redis.backoff import NoBackoff

from pipeline.addresses import RedisAddress
from pipeline.settings import RedisSettings

_CONNECTIONS = 16
_PORTION = 2 << 20
"""Bytes: their copy takes a millisecond, and as many turns of the loop as there are portions must fit into the time-out, however busy others are in each."""


class _InPortions(AbstractConnection):
    """A connection that gives way to others between portions of what it sends."""

    async def _send_packed_command(self, command: Iterable[bytes]) -> None:
        # Should a version of redis-py not call this any more, it sends as ever: a test notices.
        assert self._writer is not None
        for n, portion in enumerate(_portions(command)):
            if n:
                await asyncio.sleep(0)
            self._writer.writelines(portion)
            await self._writer.drain()


class _Connection(_InPortions, client.Connection):
    pass


class _SSLConnection(_InPortions, client.SSLConnection):
    pass


class _UnixConnection(_InPortions, client.UnixDomainSocketConnection):
    pass


class _ManagedConnection(_InPortions, SentinelManagedConnection):
    pass


class _ManagedSSLConnection(_InPortions, SentinelManagedSSLConnection):
    pass


def _portions(command: Iterable[bytes]) -> Iterator[list[bytes]]:
    portion, size = [], 0
    for part in command:
        portion.append(part)
        size += len(part)
        if size >= _PORTION:
            yield portion
            portion, size = [], 0
    if portion:
        yield portion


def connect(address: RedisAddress, settings: RedisSettings) -> client.Redis:
    """A client that connects when it is first asked something."""
    seconds = settings.timeout.total_seconds()
    timeouts: dict[str, Any] = {
        "socket_timeout": seconds,
        "socket_connect_timeout": seconds,
        # The loop retries, with a write id and back-pressure; hidden retries would only stretch the time-out.
        "retry": Retry(NoBackoff(), 0),
    }
    tls = {"ssl_ca_certs": str(settings.ca_file)} if settings.ca_file is not None else {}
    options = timeouts | {"username": address.username, "password": address.password}
    if settings.cluster:
        [(host, port)] = address.hosts
        if address.tls:
            options |= {"ssl": True, **tls}
        return cast("client.Redis", RedisCluster(host=host, port=port, max_connections=_CONNECTIONS, **options))
    options["db"] = address.database
    if address.master:
        return _by_sentinel(address, timeouts, options, tls)
    if address.path:
        kind: type[client.Connection] | type[client.UnixDomainSocketConnection] = _UnixConnection
        options["path"] = address.path
    else:
        kind = _SSLConnection if address.tls else _Connection
        [(options["host"], options["port"])] = address.hosts
        if address.tls:
            options |= tls
    pool = client.BlockingConnectionPool(
        connection_class=kind, max_connections=_CONNECTIONS, timeout=seconds, **options
    )
    return client.Redis.from_pool(pool)


def _by_sentinel(
    address: RedisAddress, timeouts: dict[str, Any], options: dict[str, Any], tls: dict[str, str]
) -> client.Redis:
    """A client of whatever is the master: sentinels are asked for each new connection, and old ones break when it changes."""
    secured: dict[str, Any] = {"ssl": True, **tls} if address.tls else {}
    of_sentinels = timeouts | secured | {"username": address.sentinel_username, "password": address.sentinel_password}
    sentinel = Sentinel(list(address.hosts), sentinel_kwargs=of_sentinels)  # type: ignore[no-untyped-call]
    options |= {"connection_class": _ManagedSSLConnection if address.tls else _ManagedConnection}
    if address.tls:
        options |= tls
    made: client.Redis = sentinel.master_for(address.master, max_connections=_CONNECTIONS, **options)
    return made
