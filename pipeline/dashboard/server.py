"""The page's server: four files, and one stream of server-sent events; loopback unless a token guards it."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress
from importlib.resources import files

import structlog
from aiohttp import web
from aiohttp.typedefs import Middleware

from pipeline.dashboard.board import Board
from pipeline.errors import SettingsError
from pipeline.exposure import HEADERS, bearer, check_exposure, loopback, same
from pipeline.records import encode
from pipeline.subscribe import AlertSubscriber

log = structlog.get_logger(__name__)

COOKIE = "tidewatch_token"
MAX_LISTENERS = 50
_HEARTBEAT = 15.0
_PAGE = {
    "/": ("index.html", "text/html"),
    "/style.css": ("style.css", "text/css"),
    "/page.js": ("page.js", "text/javascript"),
    "/icon.svg": ("icon.svg", "image/svg+xml"),
}
_HEADERS = HEADERS | {
    "Content-Security-Policy": (
        "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self'; "
        "base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
    ),
}
_BOARD = web.AppKey("board", Board)
_Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]


def require_token(host: str, token: str) -> None:
    """Raise SettingsError where the page would be open to other machines without a token."""
    check_exposure(host, token, server="--host", mend="TIDEWATCH_DASHBOARD_TOKEN")


def create_app(board: Board, *, host: str, token: str = "") -> web.Application:
    """The web application. Raises SettingsError where it would be open to other machines without a token."""
    require_token(host, token)
    app = web.Application(middlewares=[_guard(token)], client_max_size=1024)
    app[_BOARD] = board
    for path, (file, kind) in _PAGE.items():
        app.router.add_get(path, _static((files("pipeline.dashboard") / "page" / file).read_bytes(), kind))
    app.router.add_get("/alerts", _events)
    app.on_response_prepare.append(_secure)
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
    runner = web.AppRunner(create_app(board, host=host, token=token), access_log=None, shutdown_timeout=1.0)
    async with subscriber as records:
        await runner.setup()
        reading = asyncio.create_task(_read(records, board), name="dashboard alerts")
        try:
            try:
                await web.TCPSite(runner, host, port).start()
            except OSError as error:
                msg = f"{host}:{port} cannot be bound for the dashboard ({error.strerror}): choose another --port"
                raise SettingsError(msg) from error
            bound = runner.addresses[0][1]
            yield f"http://{f'[{host}]' if ':' in host else host}:{bound}/", reading
        finally:
            reading.cancel()
            await asyncio.gather(reading, return_exceptions=True)
            await runner.cleanup()


async def _read(records: AlertSubscriber, board: Board) -> None:
    async for record in records:
        board.take(record)


def _static(content: bytes, kind: str) -> _Handler:
    async def answer(_: web.Request) -> web.Response:
        return web.Response(body=content, content_type=kind, charset="utf-8")

    return answer


async def _events(request: web.Request) -> web.StreamResponse:
    """All remembered records, then each as it comes, as server-sent events."""
    board = request.app[_BOARD]
    if board.listening >= MAX_LISTENERS:
        raise web.HTTPServiceUnavailable(text=f"{MAX_LISTENERS} pages are open already", headers={"Retry-After": "10"})
    answer = web.StreamResponse(headers={"Content-Type": "text/event-stream; charset=utf-8"})
    with board.listener() as queue, suppress(ConnectionError):  # the page was closed
        await answer.prepare(request)
        await answer.write(b"retry: 1000\n\n")
        while True:
            try:
                record = await asyncio.wait_for(queue.get(), _HEARTBEAT)
            except TimeoutError:
                await answer.write(b": still here\n\n")
                continue
            if record is None:  # too slow: the browser connects again and gets all anew
                return answer
            await answer.write(b"event: alert\ndata: " + encode(record) + b"\n\n")
    return answer


async def _secure(_: web.Request, answer: web.StreamResponse) -> None:
    answer.headers.update(_HEADERS)
    answer.headers.pop("Server", None)


def _guard(token: str) -> Middleware:
    """Let in who has the token; on loopback without one, whoever names a loopback address.

    Else a foreign page whose name is made to point here (DNS rebinding) could read the alerts.
    """

    @web.middleware
    async def guarded(request: web.Request, handler: _Handler) -> web.StreamResponse:
        if not token:
            if not loopback(request.url.host or ""):
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
