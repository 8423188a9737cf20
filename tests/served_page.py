"""The page over a board that a test fills, without Kafka; what it asks of a deployment, the test answers."""

from __future__ import annotations

import json
from contextlib import asynccontextmanager
from urllib.parse import parse_qs, urlsplit

from browser import browser_page

from pipeline.dashboard.board import Board
from pipeline.dashboard.server import PAGE_HEADERS, create_app
from pipeline.operations.listening import listening


@asynccontextmanager
async def served(board, **options):
    """Address of the page."""
    app = create_app(board, host="127.0.0.1", **options)
    async with listening(app, host="127.0.0.1", port=0, headers=PAGE_HEADERS) as port:
        yield f"http://127.0.0.1:{port}/"


def filled(*alerts):
    """A board with these records, read to the end."""
    board = Board()
    for record in alerts:
        board.take(record)
    board.say("read", b'{"all": true}')
    return board


@asynccontextmanager
async def answered(board, place="", *, answers, **options):
    """The page in a browser at a place of it; `answers`: what comes behind /api/ -> its answer, or a function of the query and the body that gives it.

    `page.told` has what was posted.
    """
    async with served(board) as address, browser_page("about:blank", **options) as page:
        page.told = []

        async def answer(route):
            asked, sent = urlsplit(route.request.url), route.request.post_data_json
            if sent is not None:
                page.told.append(sent)
            found = answers[asked.path.removeprefix("/api/")]
            if callable(found):
                found = found({name: values[0] for name, values in parse_qs(asked.query).items()})
            await route.fulfill(body=json.dumps(found), content_type="application/json")

        await page.route("**/api/*", answer)
        await page.goto(address + place)
        yield page
