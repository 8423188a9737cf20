"""The page's server: five files, and one stream of server-sent events; loopback unless a token guards it.

An event stream lasts, so there are bounds to how many there are (`_Streams`): per address and in all, and the newest wins. Whoever has
to leave is told to come back in half a minute, and gets all anew; one that does not read what is sent to it is dropped.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import AsyncExitStack, asynccontextmanager, contextmanager, suppress
from importlib.resources import files

import structlog
from aiohttp import web
from aiohttp.typedefs import Middleware

from pipeline.alerts.records import Alert, encode
from pipeline.alerts.subscribe import AlertSubscriber
from pipeline.dashboard.board import Board
from pipeline.errors import SettingsError
from pipeline.operations.exposure import HEADERS, bearer, check_exposure, named_loopback, same
from pipeline.operations.listening import Connection, connection, listening

log = structlog.get_logger(__name__)

COOKIE = "tidewatch_token"
MAX_STREAMS = 64
"""Event streams in all."""
MAX_STREAMS_PER_ADDRESS = 32
"""Fewer than the connections of an address, so that its pages still load."""
COME_BACK = 30
"""Seconds until a page that had to leave connects again."""
READ_WITHIN = 10.0
"""Seconds for a page to make room for what is written to it."""
_HEARTBEAT = 15.0
_PAGE = {
    "/": ("index.html", "text/html"),
    "/style.css": ("style.css", "text/css"),
    "/axis.js": ("axis.js", "text/javascript"),
    "/page.js": ("page.js", "text/javascript"),
    "/icon.svg": ("icon.svg", "image/svg+xml"),
}
PAGE_HEADERS = HEADERS | {
    "Content-Security-Policy": (
        "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self'; "
        "base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
    ),
}
_Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]


def require_token(host: str, token: str) -> None:
    """Raise SettingsError where the page would be open to other machines without a token."""
    check_exposure(host, token, server="--host", mend="TIDEWATCH_DASHBOARD_TOKEN")


def create_app(board: Board, *, host: str, token: str = "") -> web.Application:
    """The web application. Raises SettingsError where it would be open to other machines without a token."""
    require_token(host, token)
    app = web.Application(middlewares=[_guard(token)], client_max_size=1024)
    app[_BOARD] = board
    app[_STREAMS] = _Streams()
    for path, (file, kind) in _PAGE.items():
        app.router.add_get(path, _static((files("pipeline.dashboard") / "page" / file).read_bytes(), kind))
    app.router.add_get("/alerts", _events)
    return app


@asynccontextmanager
async def serving(
    subscriber: AlertSubscriber, *, host: str = "127.0.0.1", port: int = 0, token: str = ""
) -> AsyncIterator[tuple[str, asyncio.Task[None]]]:
    """Serve the page while the context lasts; yields its address, and the task that reads alerts.

    Parameters
    ----------
    subscriber
        Reads from the beginning, follows, has no group.
    port
        0: a free one.

    Raises
    ------
    SettingsError
        The address cannot be bound, or would be open to other machines without a token.
    BrokerError
        Kafka does not answer, or there is no such topic.
    """
    board = Board()
    app = create_app(board, host=host, token=token)
    async with subscriber as records, AsyncExitStack() as stack:
        try:
            bound = await stack.enter_async_context(listening(app, host=host, port=port, headers=PAGE_HEADERS))
        except OSError as error:
            msg = f"{host}:{port} cannot be bound for the dashboard ({error.strerror}): choose another --port"
            raise SettingsError(msg) from error
        reading = asyncio.create_task(_read(records, board), name="dashboard alerts")
        try:
            yield f"http://{f'[{host}]' if ':' in host else host}:{bound}/", reading
        finally:
            reading.cancel()
            await asyncio.gather(reading, return_exceptions=True)


async def _read(records: AlertSubscriber, board: Board) -> None:
    async for record in records:
        board.take(record)


def _static(content: bytes, kind: str) -> _Handler:
    async def answer(_: web.Request) -> web.Response:
        return web.Response(body=content, content_type=kind, charset="utf-8")

    return answer


class _Stream:
    """An open event stream, and whether it has to leave."""

    def __init__(self, wire: Connection, queue: asyncio.Queue[Alert | None]) -> None:
        self.wire = wire
        self.leaves = False
        self._queue = queue

    def leave(self) -> None:
        """Ask it to end; it is dropped where it does not."""
        self.leaves = True
        while not self._queue.empty():
            self._queue.get_nowait()
        self._queue.put_nowait(None)
        asyncio.get_running_loop().call_later(1.0, self.wire.drop)


class _Streams:
    """The open event streams, oldest first. A new one finds room: where there are too many, the oldest leaves."""

    def __init__(self) -> None:
        self._open: dict[_Stream, None] = {}

    @contextmanager
    def place(self, stream: _Stream) -> Iterator[None]:
        mine = [s for s in self._open if s.wire.address == stream.wire.address]
        if len(mine) >= MAX_STREAMS_PER_ADDRESS:
            self._end(mine[0])
        elif len(self._open) >= MAX_STREAMS:
            held = Counter(s.wire.address for s in self._open)
            self._end(max(self._open, key=lambda s: held[s.wire.address]))  # the oldest of the address with the most
        self._open[stream] = None
        try:
            yield
        finally:
            self._open.pop(stream, None)

    def _end(self, stream: _Stream) -> None:
        del self._open[stream]
        stream.leave()


_BOARD = web.AppKey("board", Board)
_STREAMS = web.AppKey("streams", _Streams)


async def _events(request: web.Request) -> web.StreamResponse:
    """All remembered records, then each as it comes, as server-sent events."""
    answer = web.StreamResponse(headers={"Content-Type": "text/event-stream; charset=utf-8"})
    if request.method == "HEAD":
        return answer
    board, wire = request.app[_BOARD], connection(request)

    async def write(text: bytes) -> None:
        async with asyncio.timeout(READ_WITHIN):
            await answer.write(text)

    with board.listener() as queue:
        stream = _Stream(wire, queue)
        with request.app[_STREAMS].place(stream), suppress(ConnectionError):  # the page was closed
            wire.lift()
            try:
                await answer.prepare(request)
                await write(b"retry: 1000\n\n")
                while True:
                    try:
                        record = await asyncio.wait_for(queue.get(), _HEARTBEAT)
                    except TimeoutError:
                        await write(b": still here\n\n")
                        continue
                    if record is None:  # too slow, or one too many: the browser connects again and gets all anew
                        if stream.leaves:
                            await write(b"retry: %d\n\n" % (COME_BACK * 1000))
                        return answer
                    await write(b"event: alert\ndata: " + encode(record) + b"\n\n")
            except TimeoutError:  # nobody reads it
                wire.drop()
    return answer


def _guard(token: str) -> Middleware:
    """Let in who has the token; on loopback without one, whoever names a loopback address.

    Else a foreign page whose name is made to point here (DNS rebinding) could read the alerts.
    """

    @web.middleware
    async def guarded(request: web.Request, handler: _Handler) -> web.StreamResponse:
        if not token:
            if not named_loopback(request.headers.get("Host")):
                raise web.HTTPForbidden(text="this page answers to a loopback address only\n")
            return await handler(request)
        if same(request.query.get("token", ""), token) and request.path == "/":
            # Out of the address line, into a cookie that no script reads and no other site sends.
            inside = web.HTTPSeeOther("/")
            inside.set_cookie(COOKIE, token, httponly=True, samesite="Strict")
            raise inside
        given = bearer(request.headers.get("Authorization"))
        if not same(request.cookies.get(COOKIE, ""), token) and not same(given, token):
            raise web.HTTPUnauthorized(text="open /?token=... with the dashboard's token\n")
        return await handler(request)

    return guarded
