"""The dashboard's server: what the board holds, what is let through, and who may decide."""

from __future__ import annotations

import asyncio
from contextlib import asynccontextmanager, suppress

import aiohttp
import msgspec
import pytest
import structlog
from alert_lives import life

from pipeline.alerts.records import decode_alert
from pipeline.dashboard import acting
from pipeline.dashboard.board import BACKLOG, Board
from pipeline.dashboard.server import ACTING_HEADER, PAGE_HEADERS, Answers, Tokens, create_app
from pipeline.errors import SettingsError, StoreError
from pipeline.operations.listening import listening
from pipeline.settings import Settings

TOKEN, OPERATOR = "s3cret-of-this-test", "0perators-of-this-test"


def test_the_board_keeps_all_that_is_open_the_newest_that_are_over_and_of_each_the_onset_and_the_newest_records():
    board = Board(max_ended=2, max_records=3)
    for record in life("open", values=(5.0, 7.0)):
        board.take(record)
    ended = [life(series, values=(5.0, *[5.0, 7.0] * 8, 0.1, 0.1, 0.1)) for series in "abc"]
    for records in ended:
        for record in records:
            board.take(record)
    briefs = [decode_alert(b) for b in board.briefs()]
    assert [a.series for a in briefs] == ["open", "b", "c"]
    assert [a.status for a in briefs] == ["firing", "resolved", "resolved"]
    assert {a.evidence.window is None for a in briefs} == {True}
    assert (board.dropped, board.records(ended[0][0].id)) == (1, None)
    kept = [decode_alert(r) for r in board.records(ended[2][0].id)]
    assert [a.sequence for a in kept] == [0, *[r.sequence for r in ended[2]][-2:]]
    assert kept[-1].evidence.window is not None or kept[-1].status == "resolved"


def test_the_board_is_bounded_in_bytes_by_what_is_over_never_by_what_is_open():
    board = Board(max_bytes=20_000)
    for series in range(60):
        for record in life(f"over-{series}"):
            board.take(record)
        board.take(life(f"open-{series}")[0])
    names = [decode_alert(b).series for b in board.briefs()]
    assert sum(n.startswith("open") for n in names) == 60
    assert sum(n.startswith("over") for n in names) < 10


def test_an_alert_that_opens_again_is_open():
    board = Board(max_ended=0)
    first = life("a")
    board.take(first[0])
    board.take(msgspec.structs.replace(first[-1], status="firing", change="reopened"))
    assert [decode_alert(b).status for b in board.briefs()] == ["firing"]
    board.take(msgspec.structs.replace(first[-1], sequence=first[-1].sequence + 1))
    assert board.briefs() == []


async def test_a_listener_gets_what_is_known_in_one_go_and_what_comes_and_a_slow_one_is_told_to_begin_anew():
    board = Board()
    first, second = life("a")[:2]
    board.take(first)
    board.say("look", b"{}")
    with board.listener() as queue:
        board.take(second)
        assert queue.get_nowait() == ("look", b"{}")
        name, all_of_them = queue.get_nowait()
        assert (name, [a["sequence"] for a in msgspec.json.decode(all_of_them)]) == ("alerts", [0])
        name, one = queue.get_nowait()
        assert (name, decode_alert(one).sequence) == ("alert", 1)
        for _ in range(BACKLOG + 1):
            board.take(second)
        got = [queue.get_nowait() for _ in range(queue.qsize())]
        assert None in got
    assert board.listening == 0


@asynccontextmanager
async def served(**options):
    app = create_app(Board(), **{"host": "127.0.0.1", **options})
    async with (
        listening(app, host="127.0.0.1", port=0, headers=PAGE_HEADERS) as port,
        aiohttp.ClientSession() as client,
    ):
        yield client, f"http://127.0.0.1:{port}"


@pytest.mark.parametrize("path", ["/", "/app.js", "/style.css", "/icon.svg", "/nothing"])
async def test_every_answer_forbids_what_the_page_does_not_need(path):
    async with served() as (client, url), client.get(url + path) as answer:
        assert answer.status == (404 if path == "/nothing" else 200)
        policy = answer.headers["Content-Security-Policy"]
        assert policy.startswith("default-src 'none'; script-src 'self';")
        assert "unsafe" not in policy
        assert "frame-ancestors 'none'" in policy
        assert answer.headers["X-Content-Type-Options"] == "nosniff"
        assert answer.headers["Referrer-Policy"] == "no-referrer"
        assert "Access-Control-Allow-Origin" not in answer.headers
        assert answer.headers["Server"] == "tidewatch"


@pytest.mark.parametrize(("name", "status"), [("localhost:1", 200), ("[::1]", 200), ("evil.example", 403)])
async def test_a_foreign_name_that_points_here_is_refused(name, status):
    async with served() as (client, url), client.get(url + "/alerts", headers={"Host": name}) as answer:
        assert answer.status == status


async def test_with_a_token_only_who_knows_it_gets_in():
    async with served(host="0.0.0.0", tokens=Tokens(TOKEN)) as (client, url):
        for path in ("/", "/alerts", "/app.js", "/?token=wrong", f"/alerts?token={TOKEN}"):
            async with client.get(url + path) as answer:
                assert answer.status == 401
        async with client.get(url + "/", headers={"Authorization": f"Bearer {TOKEN}"}) as answer:
            assert answer.status == 200
        async with client.get(url + f"/?token={TOKEN}", allow_redirects=False) as answer:
            assert (answer.status, answer.headers["Location"]) == (303, "/")
            cookie = answer.headers["Set-Cookie"]
        assert "HttpOnly" in cookie
        assert "SameSite=Strict" in cookie
        async with client.get(url + "/app.js", headers={"Cookie": cookie.partition(";")[0]}) as answer:
            assert answer.status == 200


@pytest.mark.parametrize("host", ["0.0.0.0", "192.168.1.5", "::", "dashboard.example"])
def test_beyond_loopback_a_token_is_required(host):
    with pytest.raises(SettingsError, match="set TIDEWATCH_DASHBOARD_TOKEN"):
        create_app(Board(), host=host)


def wish(**changed):
    return msgspec.json.encode({"stream": "web", "do": "close", "series": "a"} | changed)


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        ({}, 403),
        ({"Authorization": f"Bearer {TOKEN}", ACTING_HEADER: "1"}, 403),
        ({"Authorization": f"Bearer {OPERATOR}"}, 403),  # a form of a foreign page can send no header of ours
        ({"Cookie": f"tidewatch_token={OPERATOR}"}, 403),
        ({"Cookie": f"tidewatch_token={OPERATOR}", ACTING_HEADER: "1", "Origin": "https://evil.example"}, 403),
        ({"Authorization": f"Bearer {OPERATOR}", ACTING_HEADER: "1"}, 409),  # it may; this page knows no streams
        ({"Cookie": f"tidewatch_token={OPERATOR}", ACTING_HEADER: "1"}, 409),
    ],
)
@pytest.mark.parametrize("viewer", ["", TOKEN])
async def test_deciding_needs_the_operators_token_and_our_own_page(headers, status, viewer):
    async with (
        served(tokens=Tokens(viewer, OPERATOR)) as (client, url),
        client.post(url + "/api/decide", data=wish(), headers=headers) as answer,
    ):
        assert answer.status == (401 if viewer and not headers else status)


async def test_without_an_operators_token_nobody_decides():
    async with served() as (client, url):
        async with client.post(url + "/api/decide", data=wish(), headers={ACTING_HEADER: "1"}) as answer:
            assert answer.status == 403
        async with client.get(url + "/api/rights") as answer:
            assert await answer.json() == {"operator": False, "operators": False, "streams": []}


@pytest.mark.parametrize(
    ("body", "why"),
    [
        (b"", "no decision"),
        (b"{", "no decision"),
        (b"\xff", "no decision"),
        (wish(do="drop everything"), "no decision"),
        (wish(minutes=-1, do="silence"), "no decision"),
        (wish(minutes=1e300, do="silence"), "no decision"),
        (wish(series=""), "which series"),
        (wish(do="feedback"), "say normal or noise of an alert"),
        (wish(do="feedback", said="missed"), "missed of a series and the time"),
        (wish(do="feedback", said="fine", alert="a"), "no decision"),
        (wish(do="comment"), "without a word"),
        (wish(do="comment", text=" \n"), "without a word"),
        (wish(do="comment", text="x" * 1001), "1,000 are the most"),
        (wish(do="comment", text="seen", alert="5f0c"), "on which alert"),
        (wish(do="comment", text="seen", series=""), "on which alert"),
        (wish(by="x" * 81), "no decision"),
        (wish(more=1), "no decision"),
        (wish(do="silence", weekly=["daily 03:00-04:00"], minutes=5), "leave minutes out"),
        (
            wish(do="silence", until="2030-01-01", minutes=5),
            "say how long with minutes, or up to which time with until",
        ),
        (wish(do="silence", until="soon"), "until soon is not a time"),
        (wish(do="feedback", said="missed", at="then"), "at then is no time"),
        (wish(do="silence", weekly=["daily 03:00-04:00"], time_zone="Europe/Berln"), "there is no time zone"),
        (wish(why="x" * 501), "no decision"),
    ],
)
async def test_what_is_no_decision_is_refused_in_words(body, why):
    headers = {"Authorization": f"Bearer {OPERATOR}", ACTING_HEADER: "1"}
    async with (
        served(tokens=Tokens("", OPERATOR)) as (client, url),
        client.post(url + "/api/decide", data=body, headers=headers) as answer,
    ):
        assert answer.status == 400
        assert why in (await answer.json())["error"]


async def test_a_body_that_is_too_large_is_not_read():
    headers = {"Authorization": f"Bearer {OPERATOR}", ACTING_HEADER: "1"}
    async with (
        served(tokens=Tokens("", OPERATOR)) as (client, url),
        client.post(url + "/api/decide", data=wish(why="x" * 40_000), headers=headers) as answer,
    ):
        assert answer.status == 413
        assert "at most 32,768 bytes" in (await answer.json())["error"]


async def test_who_asks_before_sending_a_large_body_is_told_at_once_and_nothing_is_logged():
    headers = {"Authorization": f"Bearer {OPERATOR}", ACTING_HEADER: "1", "Expect": "100-continue"}
    with structlog.testing.capture_logs() as logged:
        async with served(tokens=Tokens("", OPERATOR)) as (_, url):
            port = int(url.rpartition(":")[2])
            reader, writer = await asyncio.open_connection("127.0.0.1", port)
            head = "".join(f"{n}: {v}\r\n" for n, v in headers.items())
            writer.write(
                f"POST /api/decide HTTP/1.1\r\nHost: localhost\r\n{head}Content-Length: 10000000\r\n\r\n".encode()
            )
            assert (await reader.readline()).startswith(b"HTTP/1.1 413")
            writer.close()
            reader, writer = await asyncio.open_connection("127.0.0.1", port)
            writer.write(f"POST /api/decide HTTP/1.1\r\nHost: localhost\r\n{head}Content-Length: 2\r\n\r\n".encode())
            assert (await reader.readline()).startswith(b"HTTP/1.1 100")
            writer.write(b"{}")
            assert b"HTTP/1.1 400" in await reader.read()
            writer.close()
    assert not logged


async def test_a_body_without_an_end_ends_without_a_stack_trace():
    headers = {"Authorization": f"Bearer {OPERATOR}", ACTING_HEADER: "1"}

    async def more():
        for _ in range(400):
            yield b"x" * 1000
            await asyncio.sleep(0)

    with structlog.testing.capture_logs() as logged:
        async with served(tokens=Tokens("", OPERATOR)) as (client, url):
            with suppress(aiohttp.ClientError):
                async with client.post(url + "/api/decide", data=more(), headers=headers) as answer:
                    assert answer.status == 413
            await asyncio.sleep(0.1)
    assert not logged


@pytest.mark.parametrize(
    ("method", "path", "headers", "status", "why"),
    [
        ("GET", "/api/rights", {}, 401, "Authorization: Bearer"),
        ("POST", "/api/decide", {"Authorization": f"Bearer {TOKEN}", ACTING_HEADER: "1"}, 403, "operators' token"),
        ("POST", "/api/decide", {"Authorization": f"Bearer {OPERATOR}"}, 403, "the header X-Tidewatch"),
        ("POST", "/api/decide", {"Authorization": f"Bearer {OPERATOR}", ACTING_HEADER: "1", "Origin": "http://a.example"}, 403, "another address"),
        ("PUT", "/api/decide", {"Authorization": f"Bearer {OPERATOR}"}, 405, "another method"),
        ("GET", "/api/nothing", {"Authorization": f"Bearer {OPERATOR}"}, 404, "Not Found"),
        ("GET", "/api/alert?id=zz", {"Authorization": f"Bearer {TOKEN}"}, 404, "no such alert"),
        ("GET", "/api/decisions?stream=web", {"Authorization": f"Bearer {TOKEN}"}, 409, "--config"),
    ],
)  # fmt: skip
async def test_under_api_whatever_is_wrong_is_a_sentence_in_json(method, path, headers, status, why):
    async with (
        served(tokens=Tokens(TOKEN, OPERATOR)) as (client, url),
        client.request(method, url + path, data=None if method == "GET" else wish(), headers=headers) as answer,
    ):
        assert answer.status == status
        assert why in (await answer.json())["error"]
        assert ("WWW-Authenticate" in answer.headers) == (status == 401)


async def test_a_stream_that_is_not_there_is_not_found_and_what_is_away_is_unavailable(tmp_path, monkeypatch):
    async def away(*_):
        msg = "Redis does not answer"
        raise StoreError(msg)

    monkeypatch.setattr(acting, "decisions", away)
    settings = Settings(streams=({"name": "web", "model": tmp_path / "none"},))
    app = create_app(Board(), host="127.0.0.1", tokens=Tokens("", OPERATOR), answers=Answers(settings, None, None))
    headers = {"Authorization": f"Bearer {OPERATOR}", ACTING_HEADER: "1"}
    async with (
        listening(app, host="127.0.0.1", port=0, headers=PAGE_HEADERS) as port,
        aiohttp.ClientSession(f"http://127.0.0.1:{port}", headers=headers) as client,
    ):
        async with client.post("/api/decide", data=wish(stream="nope")) as answer:
            assert answer.status == 404
            assert "there is no stream 'nope' here (there are: web)" in (await answer.json())["error"]
        for path in ("decisions", "series", "points", "marks", "try"):
            async with client.get(f"/api/{path}?stream=nope") as answer:
                assert answer.status == 404
        async with client.get("/api/decisions?stream=web") as answer:
            assert (answer.status, await answer.json()) == (503, {"error": "Redis does not answer"})


def test_operators_and_viewers_do_not_share_a_token():
    with pytest.raises(SettingsError, match="two different secrets"):
        create_app(Board(), host="127.0.0.1", tokens=Tokens(TOKEN, TOKEN))
    with pytest.raises(SettingsError, match="TIDEWATCH_DASHBOARD_OPERATOR_TOKEN has 5 characters"):
        create_app(Board(), host="127.0.0.1", tokens=Tokens("", "short"))


async def test_an_alert_is_given_whole_to_who_asks_for_it():
    board = Board()
    records = life("a")
    for record in records:
        board.take(record)
    async with (
        listening(create_app(board, host="127.0.0.1"), host="127.0.0.1", port=0, headers=PAGE_HEADERS) as port,
        aiohttp.ClientSession(f"http://127.0.0.1:{port}") as client,
    ):
        async with client.get("/api/alert", params={"id": records[0].id}) as answer:
            given = await answer.json()
        async with client.get("/api/alert", params={"id": "none"}) as answer:
            assert answer.status == 404
    assert [r["sequence"] for r in given] == [r.sequence for r in records]
    assert given[0]["evidence"]["window"] == records[0].evidence.window
