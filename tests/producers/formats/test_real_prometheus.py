"""Remote write from a real Prometheus: what it sends by HTTP is what `remote-write` reads from a topic."""

from __future__ import annotations

import os
import queue
import shutil
import socket
import subprocess
import threading
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path

import pytest

from producers.formats import remote_write
from producers.formats.base import COUNTER, GAUGE
from producers.formats.detect import format_of

CONFIG = """
global: {scrape_interval: 1s}
scrape_configs: [{job_name: self, static_configs: [{targets: ["127.0.0.1:%d"]}]}]
remote_write: [{url: "http://127.0.0.1:%d/"}]
"""


@pytest.mark.slow
def test_what_prometheus_sends_is_read(tmp_path: Path) -> None:
    program = shutil.which("prometheus")
    if program is None:
        missing = "needs prometheus (apt install prometheus)"
        if os.environ.get("CI"):
            pytest.fail(missing, pytrace=False)
        pytest.skip(missing)
    bodies: queue.Queue[bytes] = queue.Queue()

    class Receiver(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            bodies.put(self.rfile.read(int(self.headers["Content-Length"])))
            self.send_response(204)
            self.end_headers()

        def log_message(self, *_: object) -> None: ...

    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    with HTTPServer(("127.0.0.1", 0), Receiver) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        (tmp_path / "prometheus.yml").write_text(CONFIG % (port, server.server_port))
        command = [
            program,
            "--config.file=prometheus.yml",
            "--storage.tsdb.path=data",
            f"--web.listen-address=127.0.0.1:{port}",
        ]
        process = subprocess.Popen(command, cwd=tmp_path, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        try:
            kinds: dict[str, int] = {}
            while not {"up", "prometheus_http_requests_total"} <= kinds.keys():
                body = bodies.get(timeout=60)
                assert format_of(body) == "remote-write"
                parsed = remote_write.parse(body)
                assert parsed.refused == []
                kinds |= {p.series.partition("{")[0]: p.kind for p in parsed.points}
                names = {p.series for p in parsed.points}
        finally:
            process.kill()
            process.wait()
            server.shutdown()
    assert (kinds["up"], kinds["prometheus_http_requests_total"]) == (GAUGE, COUNTER)
    assert all(f'instance="127.0.0.1:{port}"' in name for name in names)
