"""Real Apache Kafka on this machine without Docker: 1 to 3 brokers in KRaft mode from the published jars.

    python deploy/kafka/broker.py --brokers 3 --port 9092

Needs a JVM 17 or newer, and Maven once: the jars that `pom.xml` pins (43 MB) go to the cache folder (`TIDEWATCH_CACHE`, else
`$XDG_CACHE_HOME/tidewatch`, else `~/.cache/tidewatch`). Each node is broker and controller in one; it listens on loopback
only. Tests use the class:

    with Cluster(brokers=3) as kafka:
        ... kafka.bootstrap ...
        kafka.kill(1)      # SIGKILL, as a power cut
        kafka.start_node(1)
"""

from __future__ import annotations

import argparse
import contextlib
import hashlib
import os
import secrets
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
from base64 import urlsafe_b64encode
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType

from confluent_kafka import KafkaException
from confluent_kafka.admin import AdminClient

_POM = Path(__file__).with_name("pom.xml")
_HOST = "127.0.0.1"


class KafkaUnavailable(RuntimeError):
    """A broker cannot be started here; `str(error)` is one line that names what is missing and the mend."""


def cache_folder() -> Path:
    """Where downloaded things are kept, outside the project's tree."""
    if named := os.environ.get("TIDEWATCH_CACHE"):
        return Path(named)
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "tidewatch"


def missing_tools() -> str:
    """What stands in the way of starting a broker here, as one line; empty where nothing does."""
    if shutil.which("java") is None:
        return "no JVM on the PATH: install one of version 17 or newer (Debian: apt install openjdk-17-jre-headless)"
    if not _jars_folder().is_dir() and shutil.which("mvn") is None:
        return "Kafka's jars are not in the cache and Maven is not on the PATH: install it (Debian: apt install maven)"
    return ""


def fetch_jars() -> Path:
    """The folder with Kafka's jars; Maven fetches them the first time. Raises KafkaUnavailable where that fails."""
    folder = _jars_folder()
    if folder.is_dir():
        return folder
    if missing := missing_tools():
        raise KafkaUnavailable(missing)
    folder.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=folder.parent, prefix="fetching-") as scratch:
        jars = Path(scratch) / "jars"
        command = ["mvn", "-q", "-B", "-f", str(_POM), "dependency:copy-dependencies", f"-DoutputDirectory={jars}"]
        done = subprocess.run(command, capture_output=True, text=True, check=False, stdin=subprocess.DEVNULL)  # noqa: S603
        if done.returncode:
            lines = [x for x in (done.stdout + done.stderr).splitlines() if "ERROR" in x] or ["no message"]
            msg = f"Maven could not fetch Kafka's jars: {lines[0].strip()}; check the network, or Maven's settings.xml"
            raise KafkaUnavailable(msg)
        with contextlib.suppress(OSError):  # somebody else was quicker: theirs are as good
            jars.rename(folder)
    return folder


def _jars_folder() -> Path:
    pinned = hashlib.sha256(_POM.read_bytes()).hexdigest()[:12]
    return cache_folder() / "kafka" / pinned


@dataclass
class _Node:
    number: int
    folder: Path
    client_port: int
    internal_port: int
    controller_port: int
    process: subprocess.Popen[bytes] | None = None


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
    scram_users
        User -> password for SASL/SCRAM-SHA-512, known from the first start on.
    properties
        Further lines of server.properties; they win.
    """

    def __init__(
        self,
        brokers: int = 1,
        *,
        port: int = 0,
        data: Path | None = None,
        heap_mb: int = 512,
        protocol: str = "PLAINTEXT",
        scram_users: Mapping[str, str] | None = None,
        properties: Mapping[str, str] | None = None,
    ) -> None:
        self.heap_mb = heap_mb
        self.protocol = protocol
        self.scram_users = dict(scram_users or {})
        self.properties = dict(properties or {})
        self._own_folder = data is None
        self.folder = Path(tempfile.mkdtemp(prefix="tidewatch-kafka-")) if data is None else data
        free = _free_ports(3 * brokers)
        self.nodes = [
            _Node(i + 1, self.folder / f"node-{i + 1}", port + i if port else next(free), next(free), next(free))
            for i in range(brokers)
        ]
        self._jars: Path | None = None

    @property
    def bootstrap(self) -> str:
        """Where clients connect: host:port, comma-separated."""
        return ",".join(f"{_HOST}:{n.client_port}" for n in self.nodes)

    @property
    def internal(self) -> str:
        """The brokers' own plaintext listener: for administration where clients need TLS or a password."""
        return ",".join(f"{_HOST}:{n.internal_port}" for n in self.nodes)

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

    def start(self, *, timeout: float = 60.0) -> None:
        """Format what is new, start all nodes, wait until they answer. Raises KafkaUnavailable."""
        self._jars = fetch_jars()
        cluster_id = self._cluster_id()
        for node in self.nodes:
            self._format(node, cluster_id)
        for node in self.nodes:
            self.start_node(node.number, wait=False)
        self.wait(timeout=timeout)

    def stop(self) -> None:
        """Stop all nodes in an orderly way, kill what has not gone after 10 s, remove a temporary folder."""
        running = [n for n in self.nodes if n.process is not None]
        for node in running:
            _signal(node, signal.SIGTERM)
        end = time.monotonic() + 10
        for node in running:
            assert node.process is not None
            try:
                node.process.wait(max(end - time.monotonic(), 0.1))
            except subprocess.TimeoutExpired:
                self.kill(node.number)
            node.process = None
        if self._own_folder:
            shutil.rmtree(self.folder, ignore_errors=True)

    def start_node(self, number: int, *, wait: bool = True) -> None:
        """Start one node (again), with what it has on disk."""
        assert self._jars is not None, "start() comes first"
        node = self._node(number)
        with (node.folder / "output.log").open("ab") as output:
            node.process = subprocess.Popen(  # noqa: S603
                [*_dies_with_us(), *self._java(node), "kafka.Kafka", str(node.folder / "server.properties")],
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
                start_new_session=True,  # Ctrl-C at the terminal is ours to handle
            )
        if wait:
            self.wait()

    def stop_node(self, number: int, *, timeout: float = 30.0) -> None:
        """An orderly stop of one node (SIGTERM): its leaderships move first."""
        node = self._node(number)
        _signal(node, signal.SIGTERM)
        if node.process is not None:
            node.process.wait(timeout)
            node.process = None

    def kill(self, number: int) -> None:
        """SIGKILL to one node."""
        node = self._node(number)
        _signal(node, signal.SIGKILL)
        if node.process is not None:
            node.process.wait()
            node.process = None

    def pause(self, number: int) -> None:
        """SIGSTOP to one node; `resume` continues it."""
        _signal(self._node(number), signal.SIGSTOP)

    def resume(self, number: int) -> None:
        """SIGCONT to one node."""
        _signal(self._node(number), signal.SIGCONT)

    def wait(self, *, timeout: float = 60.0) -> None:
        """Return when every started node is in the cluster's metadata. Raises KafkaUnavailable after `timeout` s."""
        expected = {n.number for n in self.nodes if n.process is not None}
        admin = AdminClient({"bootstrap.servers": self.internal, "log_level": 0, "socket.timeout.ms": 2000})
        end = time.monotonic() + timeout
        while time.monotonic() < end:
            for node in self.nodes:
                if node.process is not None and node.process.poll() is not None:
                    msg = f"broker {node.number} ended at its start: {self._last_words(node)}"
                    raise KafkaUnavailable(msg)
            # The metadata still lists a broker that was killed a moment ago, so each has to take a connection as well.
            with contextlib.suppress(KafkaException):
                if self._accept() and expected <= set(admin.list_topics(timeout=2).brokers):
                    return
            time.sleep(0.05)
        msg = (
            f"the brokers at {self.internal} did not answer within {timeout:.0f} s; see {self.folder}/node-*/output.log"
        )
        raise KafkaUnavailable(msg)

    def _accept(self) -> bool:
        for node in self.nodes:
            for port in (node.client_port, node.internal_port) if node.process is not None else ():
                try:
                    socket.create_connection((_HOST, port), 1).close()
                except OSError:
                    return False
        return True

    def _node(self, number: int) -> _Node:
        return self.nodes[number - 1]

    def _java(self, node: _Node) -> list[str]:
        heap = f"{self.heap_mb}m"
        options = ["-Xms128m", f"-Xmx{heap}", "-XX:+UseSerialGC", "-Dorg.slf4j.simpleLogger.defaultLogLevel=warn"]
        options += ["-Dorg.slf4j.simpleLogger.showDateTime=true", f"-Djava.io.tmpdir={node.folder}"]
        return ["java", *options, "-cp", f"{self._jars}/*"]

    def _cluster_id(self) -> str:
        """Random, and the same again for a folder that is used again."""
        file = self.folder / "cluster.id"
        if not file.exists():
            self.folder.mkdir(parents=True, exist_ok=True)
            file.write_text(_random_id())
        return file.read_text()

    def _format(self, node: _Node, cluster_id: str) -> None:
        node.folder.mkdir(parents=True, exist_ok=True)
        file = node.folder / "server.properties"
        file.write_text("".join(f"{k}={v}\n" for k, v in self._server_properties(node).items()))
        command = [
            *self._java(node),
            "kafka.tools.StorageTool",
            "format",
            "--ignore-formatted",
            "-t",
            cluster_id,
            "-c",
            str(file),
        ]
        for user, password in self.scram_users.items():
            command += ["--add-scram", f"SCRAM-SHA-512=[name={user},password={password}]"]
        done = subprocess.run(command, capture_output=True, text=True, check=False, stdin=subprocess.DEVNULL)  # noqa: S603
        if done.returncode:
            lines = (done.stderr or done.stdout).strip().splitlines() or ["no message"]
            msg = f"Kafka could not format {node.folder}: {lines[-1]}"
            raise KafkaUnavailable(msg)

    def _server_properties(self, node: _Node) -> dict[str, str]:
        replicas = str(min(len(self.nodes), 3))
        in_sync = str(max(1, min(len(self.nodes), 3) - 1))
        listeners = {"CLIENT": node.client_port, "INTERNAL": node.internal_port, "CONTROLLER": node.controller_port}
        base = {
            "process.roles": "broker,controller",
            "node.id": str(node.number),
            "controller.quorum.voters": ",".join(f"{n.number}@{_HOST}:{n.controller_port}" for n in self.nodes),
            "listeners": ",".join(f"{name}://{_HOST}:{port}" for name, port in listeners.items()),
            "listener.security.protocol.map": f"CLIENT:{self.protocol},INTERNAL:PLAINTEXT,CONTROLLER:PLAINTEXT",
            "inter.broker.listener.name": "INTERNAL",
            "controller.listener.names": "CONTROLLER",
            "log.dirs": str(node.folder / "logs"),
            "auto.create.topics.enable": "false",
            "offsets.topic.num.partitions": "8",
            "offsets.topic.replication.factor": replicas,
            "transaction.state.log.num.partitions": "4",
            "transaction.state.log.replication.factor": replicas,
            "transaction.state.log.min.isr": in_sync,
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

    def _last_words(self, node: _Node) -> str:
        lines = (node.folder / "output.log").read_text(errors="replace").splitlines()
        telling = [x for x in lines if "Exception" in x or "ERROR" in x or "Error" in x] or lines or ["no output"]
        return telling[0].strip()


def _random_id() -> str:
    """As Kafka makes them: 16 bytes, and never a dash first, which would read as an option."""
    while (text := urlsafe_b64encode(secrets.token_bytes(16)).decode().rstrip("=")).startswith("-"):
        pass
    return text


def _dies_with_us() -> list[str]:
    """On Linux the kernel ends a broker whose parent was killed; elsewhere only an orderly exit does."""
    setpriv = shutil.which("setpriv")
    return [setpriv, "--pdeathsig", "KILL"] if setpriv and sys.platform == "linux" else []


def _signal(node: _Node, number: int) -> None:
    if node.process is not None and node.process.poll() is None:
        node.process.send_signal(number)


def _free_ports(count: int) -> Iterator[int]:
    """Ports that are free now; all held at once, so that none comes twice."""
    with contextlib.ExitStack() as held:
        sockets = [held.enter_context(socket.socket()) for _ in range(count)]
        for s in sockets:
            s.bind((_HOST, 0))
        ports = [int(s.getsockname()[1]) for s in sockets]
    return iter(ports)


def main() -> int:
    """Run a cluster until Ctrl-C or SIGTERM."""
    parser = argparse.ArgumentParser(description="Apache Kafka on loopback, without Docker.")
    parser.add_argument("--brokers", type=int, default=1, choices=(1, 2, 3), help="how many (default: 1)")
    parser.add_argument("--port", type=int, default=9092, help="port of the first (default: 9092); 0: a free one")
    parser.add_argument("--data", type=Path, help="folder to keep the logs in (default: a temporary one)")
    parser.add_argument("--heap", type=int, default=512, help="heap of each broker in MB (default: 512)")
    parser.add_argument("--fetch", action="store_true", help="only fetch the jars")
    given = parser.parse_args()
    ended = threading.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda *_: ended.set())
    try:
        if given.fetch:
            print(f"Kafka's jars are in {fetch_jars()}")
            return 0
        with Cluster(given.brokers, port=given.port, data=given.data, heap_mb=given.heap) as kafka:
            print(f"Kafka is at {kafka.bootstrap} (Ctrl-C ends it)", flush=True)
            ended.wait()
    except KafkaUnavailable as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main())
