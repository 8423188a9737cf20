"""A small TCP proxy before Redis: slow, trapping what is on its way, moving to another server."""

from __future__ import annotations

import contextlib
import socket
import threading
import time


class Proxy:
    """Forwards to `port` of this machine; a context manager.

    Attributes
    ----------
    port
        Where new connections go; change it, and `cut` the old ones.
    delay
        Seconds that each request waits.
    trap
        A request that holds these bytes is kept back until `release`; `caught` is set when one is.
    """

    def __init__(self, port: int, *, delay: float = 0.0, trap: bytes = b"") -> None:
        self.port = port
        self.delay = delay
        self.trap = trap
        self.caught = threading.Event()
        self.free = threading.Event()
        self._sockets: list[socket.socket] = []
        self._listener = socket.create_server(("127.0.0.1", 0))
        threading.Thread(target=self._accept, daemon=True).start()

    @property
    def url(self) -> str:
        """Where a worker finds its store."""
        return f"redis://127.0.0.1:{self._listener.getsockname()[1]}/0"

    def release(self) -> None:
        """Let go of what was trapped, and trap nothing more."""
        self.trap = b""
        self.free.set()

    def cut(self) -> None:
        """End all connections."""
        for each in self._sockets:
            with contextlib.suppress(OSError):
                each.shutdown(socket.SHUT_RDWR)
        self._sockets.clear()

    def __enter__(self) -> Proxy:
        return self

    def __exit__(self, *_: object) -> None:
        self.release()
        self._listener.close()
        self.cut()

    def _accept(self) -> None:
        with contextlib.suppress(OSError):  # closed
            while True:
                client, _ = self._listener.accept()
                try:
                    server = socket.create_connection(("127.0.0.1", self.port), 5)
                except OSError:
                    client.close()
                    continue
                server.settimeout(None)
                self._sockets += [client, server]
                threading.Thread(target=self._pump, args=(client, server, True), daemon=True).start()
                threading.Thread(target=self._pump, args=(server, client, False), daemon=True).start()

    def _pump(self, source: socket.socket, target: socket.socket, asks: bool) -> None:
        with contextlib.suppress(OSError):
            while data := source.recv(1 << 16):
                if asks and self.delay:
                    time.sleep(self.delay)
                if asks and self.trap and self.trap in data:
                    self.caught.set()
                    self.free.wait()
                target.sendall(data)
        for each in (source, target):
            with contextlib.suppress(OSError):
                each.shutdown(socket.SHUT_RDWR)
