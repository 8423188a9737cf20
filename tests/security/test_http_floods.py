"""Whoever only opens connections shuts nobody out: half-sent requests, trickles, streams that nobody reads, too few file descriptors."""

from __future__ import annotations

import contextlib
import json
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from alert_logs import Log, metric_model, scores, stream
from security.test_http import SERVERS, TOKEN, asked, dashboard

from pipeline.dashboard.board import Board
from pipeline.dashboard.events import MAX_STREAMS_PER_ADDRESS
from pipeline.operations import listening
from pipeline.operations.listening import MAX_CONNECTIONS, MAX_PER_ADDRESS, address_of

PROJECT = Path(__file__).parents[2]
HALF = b"GET / HTTP/1.1\r\nHost: a.b\r\nX: "
SOON = 5.0


@pytest.fixture(params=SERVERS)
def server(request: pytest.FixtureRequest):
    return SERVERS[request.param]


@contextlib.contextmanager
def many(port: int, number: int, sent: bytes, *, addresses: int = 1) -> Iterator[list[socket.socket]]:
    """Connections from 127.0.0.2 on, each with some bytes sent."""
    with contextlib.ExitStack() as stack:
        made = []
        for i in range(number):
            source = (f"127.0.0.{2 + i % addresses}", 0)
            made.append(stack.enter_context(socket.create_connection(("127.0.0.1", port), 10, source)))
            with contextlib.suppress(OSError):  # turned away already
                made[-1].sendall(sent)
        yield made


def ended(connections: list[socket.socket], within: float) -> int:
    """How many the server ended."""
    end, left = time.monotonic() + within, set(connections)
    for c in connections:
        c.setblocking(False)
    while left and time.monotonic() < end:
        for c in list(left):
            try:
                if not c.recv(4096):
                    left.discard(c)
            except BlockingIOError:
                continue
            except OSError:
                left.discard(c)
        time.sleep(0.05)
    return len(connections) - len(left)


def answered_soon(port: int, path: str, **headers: str) -> int:
    """The status of a whole request, tried again for a few seconds."""
    end = time.monotonic() + SOON
    while True:
        with contextlib.suppress(OSError):
            if (status := asked(port, path, **headers)[0]) != 503:
                return status
        assert time.monotonic() < end, "not reachable"


@pytest.mark.parametrize("addresses", [1, 40])
@pytest.mark.parametrize("sent", [b"", HALF])
def test_half_sent_requests_shut_nobody_out(server, addresses: int, sent: bytes) -> None:
    serving, path = server
    with serving(token=TOKEN) as port, many(port, MAX_CONNECTIONS + 60, sent, addresses=addresses):
        assert answered_soon(port, path, Authorization=f"Bearer {TOKEN}") == 200


def test_half_sent_requests_of_ones_own_address_do_not_either(server) -> None:
    serving, path = server
    with serving(token=TOKEN) as port, contextlib.ExitStack() as stack:
        for _ in range(260):
            half = stack.enter_context(socket.create_connection(("127.0.0.1", port), 10))
            with contextlib.suppress(OSError):
                half.sendall(HALF)
        assert answered_soon(port, path, Authorization=f"Bearer {TOKEN}") == 200


def test_a_head_has_its_time_however_it_trickles(server, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(listening, "HEAD_SECONDS", 2.0)
    serving, path = server
    stop = threading.Event()
    with serving() as port, many(port, 40, HALF) as slow:

        def trickle() -> None:
            while not stop.wait(0.2):
                for c in slow:
                    with contextlib.suppress(OSError):
                        c.sendall(b"x")

        thread = threading.Thread(target=trickle)
        thread.start()
        try:
            assert asked(port, path)[0] == 200
            assert ended(slow, 20) == 40
        finally:
            stop.set()
            thread.join()


def test_a_kept_connection_that_asks_nothing_more_is_ended(server) -> None:
    serving, path = server
    whole = f"GET {path} HTTP/1.1\r\nHost: localhost\r\nConnection: keep-alive\r\n\r\n".encode()
    with serving() as port, many(port, 30, whole) as kept:
        assert ended(kept, 20) == 30


def test_an_answer_that_nobody_takes_is_ended(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(listening, "REQUEST_SECONDS", 2.0)
    from aiohttp import web

    async def large(_: web.Request) -> web.Response:
        return web.Response(body=b"x" * (64 << 20))

    app = web.Application()
    app.router.add_get("/", large)
    with listening.listening_in_a_thread(lambda: app, host="127.0.0.1", port=0, name="large") as port:
        with socket.create_connection(("127.0.0.1", port), 10) as reader:
            reader.sendall(b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n")
            time.sleep(3)
            reader.settimeout(10)
            taken = 0
            with contextlib.suppress(ConnectionError):
                while more := reader.recv(1 << 20):
                    taken += len(more)
        assert taken < 64 << 20


def test_streams_that_nobody_reads_leave_room_for_pages_of_the_same_address() -> None:
    board = Board()
    log = Log(stream(), metric_model())
    for record in log.run(scores("a", (5.0, 7.0, *[5.0] * 10), observed=(30.0,), expected=(20.0,))):
        board.take(record)
    ask = b"GET /alerts HTTP/1.1\r\nHost: localhost\r\n\r\n"
    with dashboard(board=board) as port, many(port, 50, ask):
        for source in ("127.0.0.2", "127.0.0.1"):
            with socket.create_connection(("127.0.0.1", port), 10, (source, 0)) as page:
                page.sendall(ask)
                seen = b""
                while b"event: alert" not in seen:
                    more = page.recv(4096)
                    assert more, seen
                    seen += more
                assert seen.startswith(b"HTTP/1.1 200")
            assert asked(port, "/")[0] == 200
        assert board.listening <= MAX_STREAMS_PER_ADDRESS + 1


def test_who_comes_beyond_all_places_is_told_when_to_come_again(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("pipeline.dashboard.events.MAX_STREAMS_PER_ADDRESS", 1000)
    monkeypatch.setattr("pipeline.dashboard.events.MAX_STREAMS", 1000)
    ask = b"GET /alerts HTTP/1.1\r\nHost: localhost\r\n\r\n"
    with dashboard() as port, many(port, MAX_PER_ADDRESS, ask) as held:
        for c in held:
            assert c.recv(12) == b"HTTP/1.1 200"
        with socket.create_connection(("127.0.0.1", port), 10, ("127.0.0.2", 0)) as beyond:
            beyond.sendall(b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n")
            head = beyond.recv(4096)
        assert head.startswith(b"HTTP/1.1 503")
        assert b"\r\nRetry-After: 5\r\n" in head
        assert b"\r\nX-Content-Type-Options: nosniff\r\n" in head
        assert asked(port, "/")[0] == 200  # another address


def test_loopback_has_places_of_its_own(monkeypatch: pytest.MonkeyPatch) -> None:
    """All places are held by answers to strangers; the probe comes from loopback."""
    monkeypatch.setattr(listening, "MAX_CONNECTIONS", 8)
    places = listening._Places()
    for i in range(8):
        stranger = listening.Connection.__new__(listening.Connection)
        stranger.address, stranger.silent = f"10.0.0.{i}", False
        places.enter(stranger)
    assert not places.room("10.0.1.1")
    assert places.room("127.0.0.1")
    assert places.room("::1")


BAD = [
    b"GET /\r\n\r\n", b"\x16\x03\x01\x02\x00\x01", b"GET / HTTP/9.9\r\nHost: a\r\n\r\n", b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
    b"GET / HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n", b"GET / HTTP/1.1\r\nContent-Length: x\r\nHost: a\r\n\r\n",
    b"POST / HTTP/1.1\r\nHost: localhost\r\nContent-Length: 1\r\nTransfer-Encoding: chunked\r\n\r\n", b"GET / HTTP/1.1\r\n\x00: a\r\n\r\n",
    b"GET / HTTP/1.1\r\nHost: 127.0.0.1:evil\r\n\r\n", b"GET / HTTP/1.1\r\nHost: [\r\n\r\n", b"GET http://[/ HTTP/1.1\r\nHost: localhost\r\n\r\n",
    b"GET / HTTP/1.1\r\nHost: localhost\r\nExpect: nonsense\r\n\r\n", b"CONNECT a:1 HTTP/1.1\r\nHost: localhost\r\n\r\n",
    b"OPTIONS * HTTP/1.1\r\nHost: localhost\r\n\r\n", b"BREW / HTTP/1.1\r\nHost: localhost\r\n\r\n",
    b"GET /\xff\xfe HTTP/1.1\r\nHost: localhost\r\n\r\n", b"GET /?token=%ff%fe HTTP/1.1\r\nHost: evil\r\n\r\n",
    b"GET / HTTP/1.1\r\nHost: localhost\r\nCookie: tidewatch_token=\xff; a=\"\r\nAuthorization: Bearer \xff\r\n\r\n",
    b"GET / HTTP/1.1\r\nHost: localhost:99999999999999999999\r\n\r\n", b"GET / HTTP/1.1\r\nHost: \xff\r\n\r\n",
    b"GET //[ HTTP/1.1\r\nHost: localhost\r\n\r\n", b"HEAD /alerts HTTP/1.1\r\nHost: evil\r\n\r\n",
]  # fmt: skip


@pytest.mark.parametrize("guarded", [False, True])
def test_bad_requests_are_told_off_with_the_headers_and_without_a_word_of_theirs(server, guarded: bool, caplog) -> None:
    serving, path = server
    with serving(token=TOKEN if guarded else "") as port:
        for bad in BAD:
            with socket.create_connection(("127.0.0.1", port), 10) as connection:
                connection.sendall(bad)
                answer = b""
                with contextlib.suppress(ConnectionError):
                    while more := connection.recv(4096):
                        answer += more
            status = int(answer.split(b" ", 2)[1])
            assert status not in range(500, 600), (bad, answer)
            if b"localhost" not in bad and bad != BAD[0]:  # HTTP/0.9 is no crime
                assert 400 <= status < 500, (bad, answer)
            head = answer.lower()
            assert b"\r\nx-content-type-options: nosniff\r\n" in head, (bad, answer)
            assert b"\r\ncontent-security-policy: default-src 'none'" in head, (bad, answer)
            assert b"aiohttp" not in head, (bad, answer)
            assert b"evil" not in head, (bad, answer)
        headers = {"Authorization": f"Bearer {TOKEN}"} if guarded else {}
        assert asked(port, path, **headers)[0] == 200
    assert "Traceback" not in caplog.text


LOW = """
import json, resource, sys, time
resource.setrlimit(resource.RLIMIT_NOFILE, (int(sys.argv[1]),) * 2)
from prometheus_client import CollectorRegistry
from pipeline import logs
from pipeline.operations.health import Health
from pipeline.operations.serving import serve
logs.configure("json")
with serve(CollectorRegistry(), Health(), port=0) as port:
    spare = []
    if sys.argv[2] == "hold":
        while True:
            try: spare.append(open("/dev/null"))
            except OSError: break
        spare.pop().close()
    print(port, flush=True)  # once nobody who connects can have taken one before
    before = time.process_time()
    sys.stdin.readline()
    print(time.process_time() - before, flush=True)
    for file in spare: file.close()
    sys.stdin.readline()
"""


@pytest.mark.parametrize("hold", ["", "hold"])
def test_few_file_descriptors_make_no_noise_and_no_load(hold: str) -> None:
    """Also where others of the process took them all, and none is left to accept a connection with."""
    worker = subprocess.Popen(
        [sys.executable, "-c", LOW, "64", hold], cwd=PROJECT, text=True,
        stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
    )  # fmt: skip
    assert worker.stdin is not None
    assert worker.stdout is not None
    try:
        port = int(worker.stdout.readline())
        with many(port, 200, HALF):
            time.sleep(3)
            worker.stdin.write("\n")
            worker.stdin.flush()
            used = float(worker.stdout.readline())
            assert answered_soon(port, "/healthz") == 200
    finally:
        _, said = worker.communicate("\n", timeout=30)
    lines = [json.loads(line) for line in said.splitlines()]
    assert used < 1.5, "it spins"
    assert len(lines) <= 5, said
    if hold:
        assert [x["event"] for x in lines].count("connections cannot be accepted") == 1


def test_trouble_that_repeats_is_told_once_and_then_with_its_count(monkeypatch: pytest.MonkeyPatch) -> None:
    import asyncio

    import structlog

    monkeypatch.setattr(listening, "LOGGED_EVERY", 0.2)

    async def scenario() -> None:
        repeated = listening.Repeated()
        for _ in range(1000):
            repeated.tell("trouble", address="a")
        await asyncio.sleep(0.7)
        repeated.tell("trouble", address="b")

    with structlog.testing.capture_logs() as lines:
        asyncio.run(scenario())
    assert [(x["event"], x["times"]) for x in lines] == [("trouble", 1), ("trouble", 999), ("trouble", 1)]


def test_whose_connection_it_is() -> None:
    assert address_of("2001:db8::1") == address_of("2001:db8::2:3:4:5")
    assert address_of("::ffff:10.1.2.3") == "10.1.2.3"
    assert address_of("::1") == "::1"
    assert address_of("fe80::1%eth0") == "fe80::"
