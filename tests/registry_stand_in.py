"""What a schema registry answers by HTTP, said by a test: for how a client takes good and bad answers."""

from __future__ import annotations

import gzip
import json
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

JSON = "application/vnd.schemaregistry.v1+json"
NOT_FOUND = (404, JSON, b'{"error_code":40403,"message":"Schema not found"}')


@dataclass
class StandIn:
    """Paths -> status, content type and body; what is not named is not known to it."""

    url: str = ""
    answers: dict[str, tuple[int, str, bytes]] = field(default_factory=dict)
    wait: float = 0.0
    asked: list[str] = field(default_factory=list)
    authorization: list[str | None] = field(default_factory=list)

    def says(self, path: str, **content: object) -> None:
        """A good answer."""
        self.answers[path] = (200, JSON, json.dumps(content).encode())


@contextmanager
def stand_in() -> Iterator[StandIn]:
    """Serve what the test says below /sr."""
    of = StandIn()

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            path = self.path.removeprefix("/sr/")
            of.asked.append(path)
            of.authorization.append(self.headers["Authorization"])
            time.sleep(of.wait)
            status, kind, body = of.answers.get(path, NOT_FOUND)
            if "gzip" in (self.headers["Accept-Encoding"] or ""):  # as real ones do
                body = gzip.compress(body)
            self.send_response(status)
            self.send_header("Content-Type", kind)
            if body.startswith(b"\x1f\x8b"):
                self.send_header("Content-Encoding", "gzip")
            self.send_header("Content-Length", str(len(body)))
            if 300 <= status < 400:
                self.send_header("Location", of.url)
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: object) -> None: ...

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        of.url = f"http://127.0.0.1:{server.server_port}/sr"
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True)
        thread.start()
        try:
            yield of
        finally:
            server.shutdown()
            thread.join()
