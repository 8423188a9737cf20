"""Apache Kafka on this machine without Docker: 1 to 3 brokers in KRaft mode from the published jars (`pipeline.embedded.jars`).

    with Cluster(brokers=3) as kafka:
        ... kafka.bootstrap ...
        kafka.kill(1)      # SIGKILL, as a power cut
        kafka.start_node(1)

Each node is broker and controller in one and listens on loopback only. The embedded pair is one of one node; the tests start
what they need; `deploy/kafka/broker.py` is the same as a command.
"""

from __future__ import annotations

import contextlib
import os
import re
import secrets
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from base64 import urlsafe_b64encode
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType

from confluent_kafka import KafkaException
from confluent_kafka.admin import AdminClient

from pipeline.embedded.jars import KafkaUnavailable, fetch_jars, find_java, have_jars, java_version
from pipeline.embedded.process import LOOPBACK, ServerProcess, free_ports, listens

_ATTEMPTS = 3  # a port found free may be taken by the time that the broker binds it
_GRACE = 10.0  # seconds between asking nodes to stop and killing them

# A user's own would reach our JVM too.
_JAVA_VARIABLES = ("JAVA_TOOL_OPTIONS", "JDK_JAVA_OPTIONS", "_JAVA_OPTIONS")

_TAKEN = "Address already in use"


def missing_tools() -> str:
    """What stands in the way of starting a broker here without a download, as one line; empty where nothing does."""
    try:
        find_java()
    except KafkaUnavailable as error:
        return str(error)
    if not have_jars():
        return "Kafka's jars are not in the cache: `make setup` fetches them"
    return ""


@dataclass
class _Node:
    number: int
    folder: Path
    client_port: int = 0
    internal_port: int = 0
    controller_port: int = 0
    process: ServerProcess | None = None


class KafkaSlow(KafkaUnavailable):
    """Its brokers live, and did not answer in time."""


class Cluster:
    """1 to 3 brokers on loopback; a context manager.

    Parameters
    ----------
    brokers
        How many. Three survive the loss of one.
    port
        Port of the first broker, the others count on from it; 0: free ones.
    data
        Folder for the logs, kept; None: a temporary one that goes with the cluster.
    heap_mb
        Heap of each JVM.
    protocol
        Security protocol of the clients' listener. The keys of TLS come in `properties`
        (`listener.name.client.ssl.keystore.location` and so on). Brokers speak among themselves without one, on loopback.
    inherited
        File descriptors that the brokers keep open as long as they live, such as that of a lock on `data`.
    scram_users
        User -> password for SASL/SCRAM-SHA-512, known from the first start on.
    properties
        Further lines of server.properties; they win.
    patience
        Seconds that nodes which live may take until they answer.
    """

    def __init__(
        self,
        brokers: int = 1,
        *,
        port: int = 0,
        data: Path | None = None,
        heap_mb: int = 512,
        inherited: Sequence[int] = (),
        protocol: str = "PLAINTEXT",
        scram_users: Mapping[str, str] | None = None,
        properties: Mapping[str, str] | None = None,
        patience: float = 60.0,
    ) -> None:
        self._patience = patience
        self.heap_mb = heap_mb
        self._port = port
        self._inherited = tuple(inherited)
        self.protocol = protocol
        self.scram_users = dict(scram_users or {})
        self.properties = dict(properties or {})
        self._own_folder = data is None
        self.folder = Path(tempfile.mkdtemp(prefix="tidewatch-kafka-")) if data is None else data.absolute()
        self.nodes = [_Node(i + 1, self.folder / f"node-{i + 1}") for i in range(brokers)]
        self._jars: Path | None = None
        self._java = Path("java")
        self._choose_ports()

    @property
    def bootstrap(self) -> str:
        """Where clients connect: host:port, comma-separated."""
        return ",".join(f"{LOOPBACK}:{n.client_port}" for n in self.nodes)

    @property
    def internal(self) -> str:
        """The brokers' own plaintext listener: for administration where clients need TLS or a password."""
        return ",".join(f"{LOOPBACK}:{n.internal_port}" for n in self.nodes)

    def __enter__(self) -> Cluster:
        try:
            self.start()
        except BaseException:
            self.stop()
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()

    def start(self) -> None:
        """Format what is new, start all nodes, wait until they answer.

        Raises
        ------
        KafkaUnavailable
            Jars or Java are missing, a port is taken, the data cannot be used, ...; one line with the mend. KafkaSlow: it takes too long.
        """
        self._jars, self._java = fetch_jars(), find_java()
        if "," in str(self.folder):
            msg = f"Kafka takes no folder with a comma in its name: {self.folder}"
            raise KafkaUnavailable(msg)
        for k in range(len(self.nodes) if self._port else 0):
            if listens(self._port + k):
                msg = f"something listens on {LOOPBACK}:{self._port + k} already; choose another port, or use that"
                raise KafkaUnavailable(msg)
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
            cluster_id = self._cluster_id()
            for attempt in range(_ATTEMPTS):
                for node in self.nodes:
                    self._prepare(node, cluster_id)
                for node in self.nodes:
                    self.start_node(node.number, wait=False)
                try:
                    self.wait()
                except _PortTaken:
                    if attempt == _ATTEMPTS - 1:
                        raise
                    self._stop_nodes()
                    self._choose_ports()
                else:
                    return
        except OSError as error:
            msg = f"Kafka cannot keep its data in {self.folder}: {error.strerror or error}"
            raise KafkaUnavailable(msg) from error

    def stop(self) -> None:
        """Stop all nodes in an orderly way, kill what has not gone after 10 s, remove a temporary folder."""
        self._stop_nodes()
        if self._own_folder:
            shutil.rmtree(self.folder, ignore_errors=True)

    def _stop_nodes(self) -> None:
        running = [n.process for n in self.nodes if n.process is not None]
        for process in running:
            process.signal(signal.SIGTERM)
        end = time.monotonic() + _GRACE
        for process in running:
            process.stop(max(end - time.monotonic(), 0.1))
        for node in self.nodes:
            node.process = None

    def start_node(self, number: int, *, wait: bool = True) -> None:
        """Start one node (again), with what it has on disk."""
        node = self._node(number)
        node.process = ServerProcess(
            f"kafka-{number}",
            [*self._command(node), "kafka.Kafka", str(node.folder / "server.properties")],
            self.log(node.number),
            environment=_environment(),
            inherited=self._inherited,
        )
        if wait:
            self.wait()

    def stop_node(self, number: int, *, timeout: float = 30.0) -> None:
        """An orderly stop of one node (SIGTERM): its leaderships move first."""
        node = self._node(number)
        if node.process is not None:
            node.process.signal(signal.SIGTERM)
            node.process.wait(timeout)
            node.process = None

    def kill(self, number: int) -> None:
        """SIGKILL to one node."""
        node = self._node(number)
        if node.process is not None:
            node.process.kill()
            node.process = None

    def pause(self, number: int) -> None:
        """SIGSTOP to one node; `resume` continues it."""
        self._signal(number, signal.SIGSTOP)

    def resume(self, number: int) -> None:
        """SIGCONT to one node."""
        self._signal(number, signal.SIGCONT)

    def wait(self) -> None:
        """Return when every started node is in the cluster's metadata. Raises KafkaSlow where that takes longer than its patience."""
        expected = {n.number for n in self.nodes if n.process is not None}
        admin = AdminClient({"bootstrap.servers": self.internal, "log_level": 0, "socket.timeout.ms": 2000})
        end = time.monotonic() + self._patience
        while time.monotonic() < end:
            for node in self.nodes:
                if node.process is not None and not node.process.alive:
                    raise self._told(node, node.process.printed())
            # The metadata still lists a broker that was killed a moment ago, so each has to take a connection as well.
            with contextlib.suppress(KafkaException):
                if self._accept() and expected <= set(admin.list_topics(timeout=2).brokers):
                    return
            time.sleep(0.05)
        msg = (
            f"the brokers at {self.internal} did not answer within {self._patience:.0f} s; see {self.folder}/node-*.log"
        )
        raise KafkaSlow(msg)

    def _accept(self) -> bool:
        for node in self.nodes:
            for port in (node.client_port, node.internal_port) if node.process is not None else ():
                try:
                    socket.create_connection((LOOPBACK, port), 1).close()
                except OSError:
                    return False
        return True

    def log(self, number: int) -> Path:
        """The file with all that a node printed."""
        return self.folder / f"node-{number}.log"

    def _node(self, number: int) -> _Node:
        return self.nodes[number - 1]

    def _signal(self, number: int, what: int) -> None:
        node = self._node(number)
        if node.process is not None:
            node.process.signal(what)

    def _choose_ports(self) -> None:
        free = iter(free_ports(3 * len(self.nodes)))
        for k, node in enumerate(self.nodes):
            node.client_port, node.internal_port, node.controller_port = next(free), next(free), next(free)
            if self._port:
                node.client_port = self._port + k

    def _command(self, node: _Node) -> list[str]:
        assert self._jars is not None, "start() comes first"
        # The first compiler only and one collecting thread: what starts soonest and needs least.
        options = ["-Xms64m", f"-Xmx{self.heap_mb}m", "-XX:+UseSerialGC", "-XX:TieredStopAtLevel=1"]
        options += ["-XX:+ExitOnOutOfMemoryError", "-Dorg.slf4j.simpleLogger.defaultLogLevel=warn"]
        options += ["-Dorg.slf4j.simpleLogger.showDateTime=true", f"-Djava.io.tmpdir={node.folder}"]
        if java_version(self._java) >= 24:  # what it would warn of at every start
            options += ["--enable-native-access=ALL-UNNAMED", "--sun-misc-unsafe-memory-access=allow"]
        return [str(self._java), *options, "-cp", f"{self._jars}/*"]

    def _cluster_id(self) -> str:
        """Random, and the same again for a folder that is used again."""
        file = self.folder / "cluster.id"
        if not file.exists() or not file.read_text().strip():
            file.write_text(_random_id())
        return file.read_text()

    def _prepare(self, node: _Node, cluster_id: str) -> None:
        """Write the node's settings and, before its first start, format its folder."""
        node.folder.mkdir(parents=True, exist_ok=True)
        file = node.folder / "server.properties"
        file.write_text("".join(f"{k}={_escaped(v)}\n" for k, v in self._server_properties(node).items()))
        formatted = node.folder / "formatted"
        if formatted.exists():
            return
        command = [*self._command(node), "kafka.tools.StorageTool", "format", "--ignore-formatted"]
        command += ["-t", cluster_id, "-c", str(file)]
        for user, password in self.scram_users.items():
            command += ["--add-scram", f"SCRAM-SHA-512=[name={user},password={password}]"]
        done = subprocess.run(  # noqa: S603
            command, capture_output=True, text=True, check=False, stdin=subprocess.DEVNULL, env=_environment()
        )
        if done.returncode:
            raise self._told(node, done.stderr + done.stdout)
        formatted.touch()

    def _server_properties(self, node: _Node) -> dict[str, str]:
        replicas = str(min(len(self.nodes), 3))
        in_sync = str(max(1, min(len(self.nodes), 3) - 1))
        listeners = {"CLIENT": node.client_port, "INTERNAL": node.internal_port, "CONTROLLER": node.controller_port}
        base = {
            "process.roles": "broker,controller",
            "node.id": str(node.number),
            "controller.quorum.voters": ",".join(f"{n.number}@{LOOPBACK}:{n.controller_port}" for n in self.nodes),
            "listeners": ",".join(f"{name}://{LOOPBACK}:{port}" for name, port in listeners.items()),
            "listener.security.protocol.map": f"CLIENT:{self.protocol},INTERNAL:PLAINTEXT,CONTROLLER:PLAINTEXT",
            "inter.broker.listener.name": "INTERNAL",
            "controller.listener.names": "CONTROLLER",
            "log.dir": str(node.folder / "logs"),
            "auto.create.topics.enable": "false",
            # One machine's disk and memory.
            "log.segment.bytes": str(64 << 20),
            "log.index.size.max.bytes": str(1 << 20),
            "log.cleaner.dedupe.buffer.size": str(8 << 20),
            "num.network.threads": "2",
            "num.io.threads": "4",
            "offsets.topic.segment.bytes": str(8 << 20),
            "transaction.state.log.segment.bytes": str(8 << 20),
            "offsets.topic.num.partitions": "4",
            "offsets.topic.replication.factor": replicas,
            "transaction.state.log.num.partitions": "2",
            "transaction.state.log.replication.factor": replicas,
            "transaction.state.log.min.isr": in_sync,
            "share.coordinator.state.topic.num.partitions": "1",
            "share.coordinator.state.topic.replication.factor": replicas,
            "share.coordinator.state.topic.min.isr": in_sync,
            "group.initial.rebalance.delay.ms": "0",  # one machine: nobody to wait for
            "broker.session.timeout.ms": "6000",  # a killed broker may come back when its old session has ended
            "broker.heartbeat.interval.ms": "1000",
            "group.min.session.timeout.ms": "1000",
            "controlled.shutdown.enable": "true" if len(self.nodes) > 1 else "false",
        }
        if "SCRAM" in self.properties.get("sasl.enabled.mechanisms", "SCRAM") and self.protocol.startswith("SASL"):
            base["sasl.enabled.mechanisms"] = "SCRAM-SHA-512"
            base["listener.name.client.scram-sha-512.sasl.jaas.config"] = (
                "org.apache.kafka.common.security.scram.ScramLoginModule required;"
            )
        return {**base, **self.properties}

    def _told(self, node: _Node, printed: str) -> KafkaUnavailable:
        """Why a node ended, from what it printed."""
        log = self.log(node.number)
        if _TAKEN in printed:
            return _PortTaken(f"a port of Kafka was taken by another program while it started ({log})")
        for pattern, mend in _KNOWN:
            if re.search(pattern, printed):
                return KafkaUnavailable(mend.format(folder=self.folder, heap=self.heap_mb))
        lines = printed.strip().splitlines()
        telling = [x for x in lines if re.search(r"(Exception|Error): ", x)] or lines[-1:] or ["no output"]
        return KafkaUnavailable(f"Kafka ended at its start: {telling[0].strip()} (all of it: {log})")


class _PortTaken(KafkaUnavailable):
    """Another port may do."""


_KNOWN = (
    (
        r"Failed to acquire lock on file",
        "another Kafka uses {folder}: stop it (does another `tidewatch servers` run?), or name another folder",
    ),
    (r"No space left on device", "the disk that holds {folder} is full: make room, then start again"),
    (
        r"Could not reserve enough space|insufficient memory|OutOfMemoryError",
        "Kafka does not get the {heap} MB of memory that it needs: end other programs, or give it a Kafka elsewhere",
    ),
    (r"Read-only file system|Permission denied|AccessDenied", "Kafka may not write to {folder}: name another folder"),
    (
        r"meta\.properties|MetaProperties|InvalidRecord|CorruptRecordException|ConfigException.*cluster|valid UUID|cluster_metadata|quorum-state|log directories in",
        "Kafka cannot read its data in {folder}, which is damaged: remove that folder to start empty",
    ),
)
"""What a broker prints when it ends at its start, and what to do about it."""


def _environment() -> dict[str, str]:
    """For Java: paths as UTF-8, whatever the locale, and nobody else's options."""
    return {k: v for k, v in os.environ.items() if k not in _JAVA_VARIABLES} | {"LC_ALL": "C.UTF-8"}


def _escaped(value: str) -> str:
    r"""A value of a properties file, which Java reads as ISO 8859-1.

    >>> _escaped("caf\xe9")
    'caf\\u00e9'
    """
    return "".join(c if " " <= c <= "~" and c != "\\" else f"\\u{ord(c):04x}" for c in value)


def _random_id() -> str:
    """As Kafka makes them: 16 bytes, and never a dash first, which would read as an option."""
    while (text := urlsafe_b64encode(secrets.token_bytes(16)).decode().rstrip("=")).startswith("-"):
        pass
    return text
