"""Our HTTP servers: loopback, or a token; nothing of theirs for foreign pages; nothing but what they are for."""

from __future__ import annotations

import ast
import http.client
import re
import socket
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
import structlog
from prometheus_client import CollectorRegistry

from pipeline.dashboard.board import Board
from pipeline.dashboard.server import PAGE_HEADERS, Tokens, create_app, require_token
from pipeline.errors import SettingsError
from pipeline.operations.health import Health
from pipeline.operations.listening import listening_in_a_thread
from pipeline.operations.metrics import WorkerMetrics
from pipeline.operations.serving import serve

PROJECT = Path(__file__).parents[2]
TOKEN = "a-token-of-this-test-only"
BEYOND = ["0.0.0.0", "::", "192.168.1.5", "metrics.example"]
Ask = Callable[..., tuple[int, dict[str, str], bytes]]


def asked(port: int, path: str, method: str = "GET", **headers: str) -> tuple[int, dict[str, str], bytes]:
    """One request, the path exactly as given."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=10)
    try:
        connection.putrequest(method, path, skip_host="Host" in headers)
        for name, value in headers.items():
            connection.putheader(name, value)
        connection.endheaders()
        answer = connection.getresponse()
        return answer.status, {k.lower(): v for k, v in answer.getheaders()}, answer.read()
    finally:
        connection.close()


@contextmanager
def metrics(token: str = "", host: str = "127.0.0.1") -> Iterator[int]:
    registry = CollectorRegistry()
    health = WorkerMetrics(registry, Health()).health
    with serve(registry, health, port=0, host=host, token=token) as port:
        yield port


@contextmanager
def dashboard(token: str = "", host: str = "127.0.0.1", board: Board | None = None) -> Iterator[int]:
    """The page's server in a thread of its own."""
    app = create_app(board or Board(), host=host, tokens=Tokens(token))
    with listening_in_a_thread(lambda: app, host=host, port=0, name="page", headers=PAGE_HEADERS) as port:
        yield port


SERVERS = {"metrics": (metrics, "/metrics"), "dashboard": (dashboard, "/app.js")}


@pytest.fixture(params=SERVERS)
def server(request: pytest.FixtureRequest) -> tuple[Callable[..., Iterator[int]], str]:
    return SERVERS[request.param]


@pytest.mark.parametrize("host", BEYOND)
def test_beyond_loopback_nothing_is_served_without_a_token(host: str) -> None:
    with pytest.raises(SettingsError, match=r"worker\.metrics_host .* set worker\.metrics_token to a secret"):
        metrics(host=host).__enter__()
    with pytest.raises(SettingsError, match=r"--host .* set TIDEWATCH_DASHBOARD_TOKEN"):
        require_token(host, Tokens())


def test_a_token_that_can_be_guessed_is_refused_and_not_repeated() -> None:
    for start in (lambda: metrics(token="hunter2").__enter__(), lambda: require_token("127.0.0.1", Tokens("hunter2"))):
        with pytest.raises(SettingsError, match="has 7 characters") as told:
            start()
        assert "hunter2" not in str(told.value)


def test_with_a_token_only_who_sends_it_is_answered(server) -> None:
    serving, path = server
    with serving(token=TOKEN, host="0.0.0.0") as port:
        for headers in ({}, {"Authorization": "Bearer wrong"}, {"Authorization": TOKEN}, {"Authorization": f"Basic {TOKEN}"},
                        {"Authorization": "Bearer " + TOKEN[:-1]}, {"Authorization": f"Bearer {TOKEN}x"}):  # fmt: skip
            assert asked(port, path, **headers)[0] == 401
        assert asked(port, path, Authorization=f"Bearer {TOKEN}", Host="worker.example:9464")[0] == 200


def test_tokens_are_compared_in_constant_time() -> None:
    text = (PROJECT / "pipeline/operations/exposure.py").read_text()
    assert "hmac.compare_digest(" in text
    for file in ("pipeline/operations/serving.py", "pipeline/dashboard/server.py"):
        assert not re.search(r"[!=]= *(self\.)?token|token *[!=]=", (PROJECT / file).read_text()), file


def test_probes_learn_whether_it_is_well_and_no_more() -> None:
    now = [0.0]
    registry = CollectorRegistry()
    worker = WorkerMetrics(registry, Health(clock=lambda: now[0]))
    worker.position("secret-stream", 0, 5, 10)
    now[0] = 1000.0
    with serve(registry, worker.health, port=0, token=TOKEN) as port:
        assert asked(port, "/healthz")[::2] == (503, b'{"status":"degraded"}')
        assert b"secret-stream" in asked(port, "/healthz", Authorization=f"Bearer {TOKEN}")[2]


@pytest.mark.parametrize(("name", "status"), [
    ("127.0.0.1", 200), ("localhost:9464", 200), ("[::1]:9464", 200),
    ("127.0.0.1:evil", 403), ("127.0.0.1:99999", 403), ("evil@127.0.0.1", 403), ("127.0.0.1/evil", 403), ("[::1", 403), ("::1]", 403),
    ("evil.example", 403), ("127.0.0.1.evil.example", 403), ("localhost.evil.example:80", 403), ("[", None),
])  # fmt: skip
def test_a_foreign_name_that_points_here_is_refused(server, name: str, status: int | None) -> None:
    serving, path = server
    with serving() as port:
        assert asked(port, path, Host=name)[0] in ((status,) if status else (400, 403))


def test_every_answer_carries_the_headers_and_none_that_opens_it_to_other_origins(server) -> None:
    serving, path = server
    with serving() as port, serving(token=TOKEN) as guarded:
        answers = [
            asked(port, path),
            asked(port, "/nothing"),
            asked(port, path, Origin="https://evil.example", Host="evil.example"),
            asked(port, path, method="POST"),
            asked(port, path, method="OPTIONS", Origin="https://evil.example"),
            asked(guarded, path),
        ]
    assert [a[0] for a in answers[:3]] == [200, 404, 403]
    for status, headers, _ in answers:
        assert headers["x-content-type-options"] == "nosniff", status
        assert headers["referrer-policy"] == "no-referrer", status
        assert headers["cache-control"] == "no-store", status
        policy = headers["content-security-policy"]
        assert "default-src 'none'" in policy
        assert "frame-ancestors 'none'" in policy
        assert "unsafe" not in policy
        assert [h for h in headers if h.startswith("access-control-")] == []
        assert not re.search(r"\d+\.\d+", headers.get("server", "")), "a version"


@pytest.mark.parametrize("path", [
    "/../../../etc/passwd", "/%2e%2e/%2e%2e/etc/passwd", "/..%2f..%2fetc/passwd", "//etc/passwd", "/page.js/../../server.py",
    "/%00", "/metrics%2f..%2f", "/static/../server.py", "/\\..\\..\\etc\\passwd",
])  # fmt: skip
def test_no_path_leads_to_a_file(server, path: str) -> None:
    serving, _ = server
    with serving() as port:
        status, _, body = asked(port, path)
    assert status in (400, 404)
    assert b"root:" not in body
    assert b"import " not in body


def test_a_request_without_bounds_is_refused(server) -> None:
    serving, path = server
    with serving() as port:
        for attack in (
            b"GET /" + b"a" * 200_000 + b" HTTP/1.1\r\nHost: localhost\r\n\r\n",
            b"GET / HTTP/1.1\r\nHost: localhost\r\nX: " + b"a" * 200_000 + b"\r\n\r\n",
            b"GET / HTTP/1.1\r\nHost: localhost\r\n" + b"X: a\r\n" * 50_000 + b"\r\n",
            b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" * 10,
        ):
            with socket.create_connection(("127.0.0.1", port), 10) as connection:
                try:
                    connection.sendall(attack)
                    connection.shutdown(socket.SHUT_WR)
                    answer = connection.recv(100)
                except OSError:  # the server hung up on it
                    answer = b""
                assert not answer.startswith((b"HTTP/1.1 200", b"HTTP/1.0 200")), answer
        assert asked(port, path)[0] == 200


def test_the_start_says_what_guards_it() -> None:
    with (
        structlog.testing.capture_logs() as lines,
        metrics() as port,
        metrics(token=TOKEN, host="0.0.0.0") as guarded,
    ):
        pass
    told = [(x["event"], x["host"], x["port"], x["guarded_by"]) for x in lines]
    assert told == [
        ("metrics are served", "127.0.0.1", port, "loopback"),
        ("metrics are served", "0.0.0.0", guarded, "token"),
    ]
    assert TOKEN not in str(lines)


def test_nothing_else_listens() -> None:
    """Every server of the packages is in the list above; a new one must be tested here too."""
    makers = {"HTTPServer", "ThreadingHTTPServer", "_Server", "TCPSite", "UnixSite", "SockSite", "start_server", "create_server",
              "run_app", "start_http_server", "make_server", "TCPServer", "listen"}  # fmt: skip
    found = set()
    for package in ("pipeline", "producers", "detectors"):
        for file in (PROJECT / package).rglob("*.py"):
            for node in ast.walk(ast.parse(file.read_text())):
                if isinstance(node, ast.Call):
                    name = node.func.attr if isinstance(node.func, ast.Attribute) else getattr(node.func, "id", "")
                    if name in makers:
                        found.add(str(file.relative_to(PROJECT)))
    assert found == {"pipeline/operations/listening.py"}


def test_faust_serves_nothing() -> None:
    from pipeline.kafka.agents import App, _Boot

    assert App.BootStrategy is _Boot
    assert _Boot.enable_web is False
