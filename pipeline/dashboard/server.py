"""The page's server: its files, a stream of server-sent events, answers to what the page asks, and who may do what.

Two rights: *viewers* may look, *operators* may decide too. On loopback without a token whoever can reach the page may look; deciding always
needs a token, sent by the page itself (a header that no foreign page can add), never by a cookie alone.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from importlib.resources import files
from typing import Any

import msgspec
import structlog
from aiohttp import HttpVersion11, web
from aiohttp.typedefs import Middleware

from pipeline import pictures
from pipeline.alerts.selecting.feedback import Feedback
from pipeline.alerts.subscribe import AlertSubscriber
from pipeline.dashboard import acting
from pipeline.dashboard.board import Board
from pipeline.dashboard.events import Streams, events
from pipeline.dashboard.marks import marks
from pipeline.dashboard.overview import Overview, watch
from pipeline.dashboard.points import NEWEST, Points
from pipeline.dashboard.reaching import watch_kafka
from pipeline.dashboard.whatif import Trials
from pipeline.errors import BrokerError, SettingsError, StoreError, TidewatchError
from pipeline.operations.exposure import HEADERS, bearer, check_exposure, named_loopback, same
from pipeline.operations.listening import connection, listening
from pipeline.partition.deciding.what import Comment
from pipeline.partition.stores.redis import RedisStore
from pipeline.settings import Settings

log = structlog.get_logger(__name__)

COOKIE = "tidewatch_token"
ACTING_HEADER = "X-Tidewatch"
"""Of every request that changes something: a foreign page cannot send it."""
MAX_BODY = 32_768
_KINDS = {".html": "text/html", ".css": "text/css", ".js": "text/javascript", ".svg": "image/svg+xml"}
PAGE_HEADERS = HEADERS | {
    "Content-Security-Policy": (
        "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self'; "
        "base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
    ),
}
_Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]


@dataclass(frozen=True)
class Tokens:
    """Who may look, and who may decide too; empty: nobody by a token."""

    viewer: str = ""
    operator: str = ""


def require_token(host: str, tokens: Tokens) -> None:
    """Raise SettingsError where the page would be open to other machines without a token, or with one that can be guessed."""
    check_exposure(host, tokens.viewer, server="--host", mend="TIDEWATCH_DASHBOARD_TOKEN")
    if tokens.operator:
        check_exposure(host, tokens.operator, server="--host", mend="TIDEWATCH_DASHBOARD_OPERATOR_TOKEN")
    if tokens.viewer and same(tokens.viewer, tokens.operator):
        msg = "TIDEWATCH_DASHBOARD_OPERATOR_TOKEN is TIDEWATCH_DASHBOARD_TOKEN: give the two different secrets"
        raise SettingsError(msg)


@dataclass(frozen=True)
class Answers:
    """What the page asks of the deployment; None where there is only the alert topic."""

    settings: Settings
    points: Points
    trials: Trials


def create_app(
    board: Board, *, host: str, tokens: Tokens | None = None, answers: Answers | None = None
) -> web.Application:
    """The web application. Raises SettingsError where it would be open to other machines without a token."""
    tokens = tokens or Tokens()
    require_token(host, tokens)
    app = web.Application(middlewares=[_in_words, _guard(tokens)], client_max_size=MAX_BODY)
    for path, content in _files():
        kind = _KINDS[path[path.rfind(".") :]]
        app.router.add_get("/" if path == "index.html" else f"/{path}", _static(content, kind))
    app.router.add_get("/alerts", events(board, Streams()))
    for path, answer in _asked(board, tokens, answers).items():
        app.router.add_get(path, answer)
    app.router.add_post("/api/decide", _deciding(board, answers), expect_handler=_expected)
    return app


@asynccontextmanager
async def serving(
    subscriber: AlertSubscriber,
    *,
    host: str = "127.0.0.1",
    port: int = 0,
    tokens: Tokens | None = None,
    settings: Settings | None = None,
) -> AsyncIterator[tuple[str, asyncio.Task[None]]]:
    """Serve the page while the context lasts; yields its address, and the task that reads alerts.

    Parameters
    ----------
    subscriber
        Reads from the beginning, follows, has no group.
    port
        0: a free one.
    settings
        Streams to look at beside their alerts; None or without streams: only alerts are shown.

    Raises
    ------
    SettingsError
        The address cannot be bound, or would be open to other machines without a token.
    BrokerError
        Kafka does not answer, or there is no such topic.
    """
    board = Board()
    async with AsyncExitStack() as stack:
        answers = None
        if settings is not None and settings.streams:
            store = RedisStore(settings.redis)
            stack.push_async_callback(store.close)
            answers = Answers(settings, Points(settings, store), Trials(settings))
        app = create_app(board, host=host, tokens=tokens, answers=answers)
        records = await stack.enter_async_context(subscriber)
        try:
            bound = await stack.enter_async_context(listening(app, host=host, port=port, headers=PAGE_HEADERS))
        except OSError as error:
            msg = f"{host}:{port} cannot be bound for the dashboard ({error.strerror}): choose another --port"
            raise SettingsError(msg) from error
        reading = asyncio.create_task(_read(records, board), name="dashboard alerts")
        beside = [asyncio.create_task(_caught_up(records, board))]
        if answers is not None:
            look = watch(Overview(answers.settings, store), board)
            beside.append(asyncio.create_task(look, name="dashboard overview"))
        elif settings is not None:
            beside.append(asyncio.create_task(watch_kafka(settings.kafka, subscriber.topic, board)))
        try:
            yield f"http://{f'[{host}]' if ':' in host else host}:{bound}/", reading
        finally:
            for task in (reading, *beside):
                task.cancel()
            await asyncio.gather(reading, *beside, return_exceptions=True)


async def _read(records: AlertSubscriber, board: Board) -> None:
    async for record in records:
        board.take(record)


async def _caught_up(records: AlertSubscriber, board: Board) -> None:
    board.say("read", b'{"all": false}')
    await records.caught_up.wait()
    board.say("read", b'{"all": true}')


def _files() -> Iterator[tuple[str, bytes]]:
    """Path and content of all that a browser reads."""
    for file in (files("pipeline.dashboard") / "page").iterdir():
        yield file.name, file.read_bytes()
    for name in ("palette.css", "draw.js"):
        yield name, pictures.own(name).encode()
    for name, text in pictures.scripts_and_styles():
        yield f"vendor/{name}", text.encode()


def _static(content: bytes, kind: str) -> _Handler:
    async def answer(_: web.Request) -> web.Response:
        return web.Response(body=content, content_type=kind, charset="utf-8")

    return answer


def _asked(board: Board, tokens: Tokens, answers: Answers | None) -> dict[str, _Handler]:
    """Path -> what answers it."""

    async def rights(request: web.Request) -> web.Response:
        return _json(
            {"operator": may_decide(request), "operators": bool(tokens.operator), "streams": _streams(answers)}
        )

    async def alert(request: web.Request) -> web.Response:
        records = board.records(request.query.get("id", ""))
        if records is None:
            raise web.HTTPNotFound(text="no such alert is kept here\n")
        return web.Response(body=b"[" + b",".join(records) + b"]", content_type="application/json")

    async def series(request: web.Request) -> web.Response:
        points = _there(answers, request.query.get("stream", "")).points
        return _json(await points.names(request.query.get("stream", ""), request.query.get("q", "")[:200]))

    async def points(request: web.Request) -> web.Response:
        query = request.query
        asked = _whole(request, "newest") or NEWEST
        return _json(
            await _there(answers, query.get("stream", "")).points.points(
                query.get("stream", ""), query.get("series", ""), asked
            )
        )

    async def decisions(request: web.Request) -> web.Response:
        stream = request.query.get("stream", "")
        return _json(await acting.decisions(_there(answers, stream).settings, stream))

    async def decided(request: web.Request) -> web.Response:
        query, (since, until, partition) = request.query, (_whole(request, n) for n in ("from", "to", "partition"))
        stream = query.get("stream", "")
        there = _there(answers, stream)
        return _json(await marks(there.settings, stream, query.get("series", ""), partition, since, until))

    async def attempt(request: web.Request) -> web.Response:
        days = request.query.get("days", "7")
        asked = float(days) if days.replace(".", "", 1).isdecimal() and len(days) < 9 else 7.0
        sets = request.query.getall("set", [])[:8]
        stream = request.query.get("stream", "")
        there = _there(answers, stream)
        connection(request).lift()  # it may take longer than an answer usually may
        return _json(await there.trials.run(stream, sets, asked))

    return {
        "/api/try": attempt,
        "/api/rights": rights, "/api/alert": alert, "/api/series": series, "/api/points": points,
        "/api/decisions": decisions, "/api/marks": decided,
    }  # fmt: skip


def _whole(request: web.Request, name: str) -> int:
    """A whole number of the query; 0 where it is none."""
    text = request.query.get(name, "")
    return int(text) if text.isascii() and text.isdecimal() and len(text) < 16 else 0


def _deciding(board: Board, answers: Answers | None) -> _Handler:
    async def decide(request: web.Request) -> web.Response:
        if not may_decide(request):
            raise web.HTTPForbidden(text=_why_not(request))
        if (request.content_length or 0) > MAX_BODY:
            raise web.HTTPRequestEntityTooLarge(MAX_BODY, request.content_length or 0, text=_TOO_LARGE)
        asked = acting.wish(await request.read())
        there = _there(answers, asked.stream)
        said: Feedback | Comment | None = None
        if asked.do == "feedback" and asked.said == "missed":
            connection(request).lift()  # the log is replayed for it
            said = await there.trials.missed(asked.stream, asked.series, asked.at, asked.until, asked.why)
        elif asked.do == "feedback" or (asked.do == "comment" and asked.alert):
            said = acting.said_of(asked, board.records(asked.alert))
        decided = await acting.decide(there.settings, asked, said)
        log.info("decided on the page", stream=asked.stream, do=asked.do, series=asked.series, serial=decided["serial"])
        return _json(decided)

    return decide


_TOO_LARGE = f"a decision has at most {MAX_BODY:,} bytes"


async def _expected(request: web.Request) -> web.StreamResponse | None:
    """Who asks before sending a body hears at once where it is too large, or not wanted at all (the guards answer that)."""
    if (request.content_length or 0) <= MAX_BODY and request.version >= HttpVersion11:
        await request.writer.write(b"HTTP/1.1 100 Continue\r\n\r\n")
        request.writer.output_size = 0  # the answer is still to come
    return None


def _why_not(request: web.Request) -> str:
    if not request.get(_OPERATOR, False):
        return "deciding needs the operators' token"
    if ACTING_HEADER not in request.headers:
        return f"deciding needs the header {ACTING_HEADER} (any value), which no foreign page can send"
    return "this comes from a page of another address"


def may_decide(request: web.Request) -> bool:
    """Whether a request comes from an operator, and from our own page or a program."""
    return request.get(_OPERATOR, False) and _from_here(request)


_OPERATOR = web.RequestKey("operator", bool)


def _from_here(request: web.Request) -> bool:
    """Whether no foreign page sent it: it has the header, and its origin, where a browser tells one, is the address it was sent to."""
    origin = request.headers.get("Origin")
    own = origin is None or origin.partition("://")[2] == request.headers.get("Host")
    return own and (request.method in ("GET", "HEAD") or ACTING_HEADER in request.headers)


def _streams(answers: Answers | None) -> list[dict[str, Any]]:
    if answers is None:
        return []
    return [{"name": s.name, "topic": s.input_topic, "scores": s.score_topic} for s in answers.settings.streams]


def _there(answers: Answers | None, stream: str | None = None) -> Answers:
    """What is asked of a deployment, of a stream of it. Raises TidewatchError where there is none, 404 where that is not one of its streams."""
    if answers is None:
        msg = "this page knows only the alert topic: start it with the settings file of the streams (--config)"
        raise TidewatchError(msg)
    names = [s.name for s in answers.settings.streams]
    if stream is not None and stream not in names:
        raise web.HTTPNotFound(text=f"there is no stream {stream[:60]!r} here (there are: {', '.join(names)})")
    return answers


def _json(value: Any) -> web.Response:
    return web.Response(body=msgspec.json.encode(value), content_type="application/json")


@web.middleware
async def _in_words(request: web.Request, handler: _Handler) -> web.StreamResponse:
    """What went wrong, as the page shows it: under /api a sentence in JSON, whatever it was."""
    try:
        return await handler(request)
    except TidewatchError as error:
        away = isinstance(error, (BrokerError, StoreError))
        return _error(400 if isinstance(error, acting.NoDecision) else 503 if away else 409, str(error))
    except web.HTTPError as error:
        if not request.path.startswith("/api/"):
            raise
        words = _ELSE.get(error.status, (error.text or error.reason).strip())
        return _error(
            error.status, words, {n: v for n, v in error.headers.items() if n in ("Allow", "WWW-Authenticate")}
        )


_ELSE = {405: "this address takes another method", 413: _TOO_LARGE}


def _error(status: int, words: str, headers: Mapping[str, str] | None = None) -> web.Response:
    body = json.dumps({"error": words}).encode()
    return web.Response(status=status, body=body, content_type="application/json", headers=headers)


def _guard(tokens: Tokens) -> Middleware:
    """Let in who has a token; on loopback without one for viewers, whoever names a loopback address may look.

    Else a foreign page whose name is made to point here (DNS rebinding) could read the alerts.
    """

    @web.middleware
    async def guarded(request: web.Request, handler: _Handler) -> web.StreamResponse:
        asked = request.query.get("token", "")
        if request.path == "/" and asked and _known(asked, tokens):
            # Out of the address line, into a cookie that no script reads and no other site sends.
            inside = web.HTTPSeeOther("/")
            inside.set_cookie(COOKIE, asked, httponly=True, samesite="Strict")
            raise inside
        given = [request.cookies.get(COOKIE, ""), bearer(request.headers.get("Authorization"))]
        request[_OPERATOR] = bool(tokens.operator) and any(same(g, tokens.operator) for g in given)
        if not tokens.viewer:
            if not named_loopback(request.headers.get("Host")):
                raise web.HTTPForbidden(text="this page answers to a loopback address only\n")
            return await handler(request)
        if not request[_OPERATOR] and not any(same(g, tokens.viewer) for g in given):
            raise web.HTTPUnauthorized(text=_WHO, headers={"WWW-Authenticate": "Bearer"})
        return await handler(request)

    return guarded


_WHO = "open /?token=... with the dashboard's token; programs send `Authorization: Bearer TOKEN`\n"


def _known(token: str, tokens: Tokens) -> bool:
    return any(bool(t) and same(token, t) for t in (tokens.viewer, tokens.operator))
