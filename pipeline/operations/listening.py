"""The one HTTP server of the page and of a worker's `/metrics`: whoever connects can hold little of it, and not for long.

aiohttp parses and answers; here is what it leaves open. A connection carries one request. Until its head is complete it is
*silent*: it has `HEAD_SECONDS` for that, and where there is no room for a newcomer the oldest silent one is given up, of the
address that holds most. So half-sent requests, however many and whoever sends them, shut nobody out who sends his in one go: a
health probe gets through without a right of its own. Who asks has `REQUEST_SECONDS` to take the answer. What is answering
already is bounded per address and in all; who comes beyond that reads 503 with Retry-After, and some places are kept for loopback.

The accept loop is our own as well: asyncio's goes on accepting, and logging, a hundred times for each time that the process has no
file descriptor left.
"""

from __future__ import annotations

import asyncio
import ipaddress
import resource
import socket
import threading
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Mapping
from contextlib import asynccontextmanager, contextmanager, suppress
from typing import Any

import structlog
from aiohttp import web

from pipeline.operations.exposure import HEADERS

log = structlog.get_logger(__name__)

HEAD_SECONDS = 10.0
"""For a whole head, from the connection on."""
REQUEST_SECONDS = 30.0
"""For the answer, from the head on; an event stream has limits of its own."""
MAX_CONNECTIONS = 256
"""In all; fewer where the process may open few files."""
MAX_PER_ADDRESS = 64
RESERVED = 16
"""Connections beyond `MAX_CONNECTIONS` that only loopback may open."""
MAX_BYTES = 1 << 16
"""That are read of one connection; nothing here takes a body."""
LOGGED_EVERY = 60.0
"""Seconds between two log lines about the same trouble."""

_ACCEPT_PAUSE = 0.2
_LEAVE = 1.0  # how long a refused connection stays open, so that its 503 is read
_BACKLOG = 256


def _bare(status: str) -> bytes:
    head = {**HEADERS, "Retry-After": "5", "Connection": "close", "Content-Length": "0"}
    return "\r\n".join([f"HTTP/1.1 {status}", *(f"{n}: {v}" for n, v in head.items()), "", ""]).encode()


_BUSY = _bare("503 Service Unavailable")
_TOO_LATE = _bare("408 Request Timeout")


class Repeated:
    """Logs what may happen a thousand times a second: the first time, and after that once a minute with the count."""

    def __init__(self) -> None:
        self._more: dict[str, int] = {}

    def tell(self, event: str, **fields: Any) -> None:
        """Log or count an event; needs a running event loop."""
        if event in self._more:
            self._more[event] += 1
            return
        self._more[event] = 0
        log.warning(event, times=1, **fields)
        asyncio.get_running_loop().call_later(LOGGED_EVERY, self._again, event, fields)

    def _again(self, event: str, fields: dict[str, Any]) -> None:
        if times := self._more.pop(event):
            self._more[event] = 0
            log.warning(event, times=times, **fields)
            asyncio.get_running_loop().call_later(LOGGED_EVERY, self._again, event, fields)


def address_of(peer: str) -> str:
    """Whose connection it is: an IPv4 address, or the /64 of an IPv6 one, which one machine has to itself.

    >>> address_of("10.0.0.7"), address_of("::ffff:10.0.0.7"), address_of("2001:db8::1:2:3:4")
    ('10.0.0.7', '10.0.0.7', '2001:db8::')
    """
    address = ipaddress.ip_address(peer.partition("%")[0])
    if isinstance(address, ipaddress.IPv6Address):
        if address.ipv4_mapped is not None:
            return str(address.ipv4_mapped)
        if not address.is_loopback:
            return str(ipaddress.ip_network((address, 64), strict=False).network_address)
    return str(address)


class Connection(web.RequestHandler):
    """One connection: aiohttp's parser and answers, within time and size."""

    def __init__(self, places: _Places, address: str, server: web.Server) -> None:
        super().__init__(
            server,
            loop=asyncio.get_running_loop(),
            access_log=None,  # type: ignore[arg-type] # as AppRunner hands it on
            keepalive_timeout=0,  # a connection carries one request
            lingering_time=1.0,
            auto_decompress=False,
        )
        self.address = address
        self.silent = True
        self._places = places
        self._wire: asyncio.Transport | None = None
        self._deadline: asyncio.TimerHandle | None = None
        self._received = 0

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """The clock starts."""
        assert isinstance(transport, asyncio.Transport)
        self._wire = transport
        self._limit(HEAD_SECONDS)
        super().connection_made(transport)

    def data_received(self, data: bytes) -> None:
        """Parse; more than any honest request has is the end."""
        self._received += len(data)
        if self._received > MAX_BYTES:
            self.drop()
        else:
            super().data_received(data)

    def connection_lost(self, exc: BaseException | None) -> None:
        """The place is free."""
        if self._deadline is not None:
            self._deadline.cancel()
        self._places.leave(self)
        super().connection_lost(exc)

    def begun(self) -> None:
        """The head is complete."""
        self.silent = False
        self._limit(REQUEST_SECONDS)

    def lift(self) -> None:
        """Let it last: whoever writes it sees to it that it is read."""
        if self._deadline is not None:
            self._deadline.cancel()

    def drop(self, answer: bytes = b"") -> None:
        """End it, with a last word to one that was silent."""
        self._places.leave(self)
        if self._wire is None or self._wire.is_closing() or not (self.silent and answer):
            if self._wire is not None:
                self._wire.abort()
            return
        self._wire.write(answer)
        self._wire.close()

    def handle_error(
        self,
        request: web.BaseRequest,
        status: int = 500,
        exc: BaseException | None = None,
        message: str | None = None,
    ) -> web.StreamResponse:
        """What is no request, or met a mistake of ours: a status, and nothing of either."""
        gone = isinstance(exc, ConnectionError) and (self._wire is None or self._wire.is_closing())
        if status >= 500 and not gone:  # who left in the middle, or was dropped for sending too much, met no mistake
            self.log_exception("a request failed", exc_info=exc)
        if request.writer.output_size > 0:
            raise ConnectionError("half an answer is sent; the connection ends")
        answer = web.Response(status=status, text="this is no request\n" if status < 500 else "this failed\n")
        _secure(answer, HEADERS)
        return answer

    def log_exception(self, *args: Any, exc_info: Any = None, **_: Any) -> None:
        """One line a minute, however often it is provoked."""
        self._places.repeated.tell("a request failed", what=str(args[0]) if args else "", exc_info=exc_info)

    def _limit(self, seconds: float) -> None:
        self.lift()
        self._deadline = asyncio.get_running_loop().call_later(seconds, self.drop, _TOO_LATE)


class _Places:
    """Who is connected, and whether there is room for one more."""

    def __init__(self) -> None:
        files = resource.getrlimit(resource.RLIMIT_NOFILE)[0]
        self.most = MAX_CONNECTIONS if files < 0 else min(MAX_CONNECTIONS, max(files // 4, 8))
        self.repeated = Repeated()
        self._held: dict[str, dict[Connection, None]] = {}
        self._number = 0

    def room(self, address: str) -> bool:
        """Whether a newcomer may stay; a silent connection is given up for him where that makes room."""
        mine = self._held.get(address, {})
        if len(mine) >= min(MAX_PER_ADDRESS, self.most):
            return self.give_up(mine)
        most = self.most + (RESERVED if ipaddress.ip_address(address).is_loopback else 0)
        return self._number < most or self.give_up(c for held in self._held.values() for c in held)

    def give_up(self, among: Iterator[Connection] | Mapping[Connection, None] | None = None) -> bool:
        """End the oldest silent connection of the address that holds most; False where none is silent."""
        if among is None:
            among = (c for held in self._held.values() for c in held)
        silent = max((c for c in among if c.silent), key=lambda c: len(self._held[c.address]), default=None)
        if silent is None:
            return False
        self.repeated.tell("half-sent requests give way to others", address=silent.address)
        silent.drop(_BUSY)
        return True

    def enter(self, connection: Connection) -> None:
        self._held.setdefault(connection.address, {})[connection] = None
        self._number += 1

    def leave(self, connection: Connection) -> None:
        held = self._held.get(connection.address, {})
        if connection in held:
            del held[connection]
            self._number -= 1
            if not held:
                del self._held[connection.address]


class _Door:
    """Accepts connections on some sockets, and turns away whom there is no room for."""

    def __init__(self, server: web.Server, sockets: list[socket.socket]) -> None:
        self._server = server
        self._sockets = sockets
        self._places = _Places()
        self._leaving: set[socket.socket] = set()
        self._tasks = [asyncio.create_task(self._accept(s), name="http accept") for s in sockets]

    async def close(self) -> None:
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        for sock in (*self._sockets, *self._leaving):
            sock.close()

    async def _accept(self, listener: socket.socket) -> None:
        loop = asyncio.get_running_loop()
        while True:
            try:
                sock, peer = await loop.sock_accept(listener)
            except OSError as error:  # no file descriptor left, as a rule
                self._places.repeated.tell("connections cannot be accepted", reason=error.strerror or str(error))
                self._places.give_up()
                await asyncio.sleep(_ACCEPT_PAUSE)
                continue
            address = address_of(str(peer[0]))
            if not self._places.room(address):
                self._places.repeated.tell("connections are turned away, all places are taken", address=address)
                self._refuse(sock)
                continue
            connection = Connection(self._places, address, self._server)
            self._places.enter(connection)
            try:
                await loop.connect_accepted_socket(lambda made=connection: made, sock)  # type: ignore[misc]
            except OSError:  # gone already
                self._places.leave(connection)
                sock.close()

    def _refuse(self, sock: socket.socket) -> None:
        sock.setblocking(False)
        with suppress(OSError):
            sock.send(_BUSY)
            sock.shutdown(socket.SHUT_WR)
        if len(self._leaving) >= self._places.most // 8:
            sock.close()
            return
        self._leaving.add(
            sock
        )  # closed at once, the request that still comes would take the answer away from its reader
        asyncio.get_running_loop().call_later(_LEAVE, self._gone, sock)

    def _gone(self, sock: socket.socket) -> None:
        self._leaving.discard(sock)
        sock.close()


@asynccontextmanager
async def listening(
    app: web.Application, *, host: str, port: int, headers: Mapping[str, str] = HEADERS
) -> AsyncIterator[int]:
    """Serve an application while the context lasts; yields the port (a free one for 0).

    Parameters
    ----------
    headers
        Of every answer, also of those to what is no request.

    Raises
    ------
    OSError
        The address cannot be bound.
    """

    async def prepared(_: web.Request, answer: web.StreamResponse) -> None:
        _secure(answer, headers)

    app.middlewares.insert(0, _begun)
    app.on_response_prepare.append(prepared)
    sockets = _bind(host, port)
    runner = web.AppRunner(app, access_log=None, shutdown_timeout=1.0)
    await runner.setup()
    assert runner.server is not None
    door = _Door(runner.server, sockets)
    try:
        yield int(sockets[0].getsockname()[1])
    finally:
        await door.close()
        await runner.cleanup()


@contextmanager
def listening_in_a_thread(
    create_app: Callable[[], web.Application], *, host: str, port: int, name: str, headers: Mapping[str, str] = HEADERS
) -> Iterator[int]:
    """As `listening`, in a thread with an event loop of its own."""
    started: list[int | BaseException] = []
    ready = threading.Event()
    stop: asyncio.Event
    loop: asyncio.AbstractEventLoop

    async def serve() -> None:
        nonlocal stop, loop
        stop, loop = asyncio.Event(), asyncio.get_running_loop()
        try:
            async with listening(create_app(), host=host, port=port, headers=headers) as bound:
                started.append(bound)
                ready.set()
                await stop.wait()
        except BaseException as error:
            started.append(error)
            ready.set()
            raise

    def run() -> None:
        with suppress(OSError):  # told to whoever waits for the start
            asyncio.run(serve())

    thread = threading.Thread(target=run, name=name, daemon=True)
    thread.start()
    ready.wait()
    if isinstance(started[0], BaseException):
        thread.join()
        raise started[0]
    try:
        yield started[0]
    finally:
        loop.call_soon_threadsafe(stop.set)
        thread.join()


@web.middleware
async def _begun(
    request: web.Request, handler: Callable[[web.Request], Awaitable[web.StreamResponse]]
) -> web.StreamResponse:
    connection(request).begun()
    return await handler(request)


def connection(request: web.Request) -> Connection:
    """The connection that a request came by."""
    assert isinstance(request.protocol, Connection)
    return request.protocol


def _secure(answer: web.StreamResponse, headers: Mapping[str, str]) -> None:
    answer.headers.update(headers)
    answer.headers["Server"] = "tidewatch"  # else aiohttp tells its version
    answer.force_close()


def _bind(host: str, port: int) -> list[socket.socket]:
    """Listening sockets for all that a host name stands for; `::` takes IPv4 as well."""
    found = dict.fromkeys((i[0], i[4][0]) for i in socket.getaddrinfo(host, port, type=socket.SOCK_STREAM))
    sockets: list[socket.socket] = []
    try:
        for family, address in found:
            taken = sockets[0].getsockname()[1] if sockets and not port else port
            both = family == socket.AF_INET6 and address == "::" and socket.has_dualstack_ipv6()
            sockets.append(
                socket.create_server((str(address), taken), family=family, backlog=_BACKLOG, dualstack_ipv6=both)
            )
            sockets[-1].setblocking(False)
    except OSError:
        for sock in sockets:
            sock.close()
        raise
    return sockets
