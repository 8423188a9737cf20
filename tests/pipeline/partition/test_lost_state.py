"""A worker that finds its Redis empty and part of its log gone: real Kafka, real Redis, a process that was killed."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest
from confluent_kafka import KafkaException
from operated_stream import OperatedStream, observations, write_model

from pipeline.embedded.servers import start_redis

pytestmark = [pytest.mark.kafka, pytest.mark.slow]


def offset(stream: OperatedStream) -> int | None:
    """The committed offset; a broker that has only just begun may not know yet who looks after the group."""
    try:
        return stream.offset()
    except KafkaException:
        return None


@pytest.fixture
def lost(kafka: str, tmp_path: Path) -> Iterator[OperatedStream]:
    """A stream whose one alert fires, up to offset 160; then the worker was killed and Redis came up empty."""
    first, second = tmp_path / "first", tmp_path / "second"
    first.mkdir()
    second.mkdir()
    stream = OperatedStream(tmp_path, kafka, "", write_model(tmp_path / "quiet.model"))
    with stream.running:
        with start_redis(first) as server:
            stream.redis = f"redis://127.0.0.1:{server.port}/0"
            stream.create_topic()
            # Its alert cannot end before normal observations come: the last one is a spike.
            stream.send(*observations(0, 160, 159))
            worker = stream.start()
            stream.wait(lambda: offset(stream) == 160, worker)
            worker.kill()
            worker.communicate()
        with start_redis(second) as server:
            stream.redis = f"redis://127.0.0.1:{server.port}/0"
            yield stream


def test_an_open_alert_is_taken_up_and_ends_where_history_is_gone(lost: OperatedStream) -> None:
    fired = lost.alerts()[-1]
    assert fired["status"] == "firing"
    lost.expire(150)
    lost.send(*observations(0, 170, 159)[160:])
    # The series' history is gone, so it is in probation again; another one's time tells that it ended.
    later = observations(0, 700, series="other")[600:]
    lost.send(*later, key=b"other")
    worker = lost.start()
    lost.wait(lambda: offset(lost) == 270, worker)
    told = lost.stop(worker)
    assert "state lost, reading back quietly" in told
    assert "alerts_taken_up=1" in told
    alerts = lost.alerts()
    ended, absent = alerts[-2:]
    assert [a for a in alerts[:-1] if a["id"] != fired["id"] and a["status"] != "resolved"] == []
    assert (absent["id"], absent["kind"], absent["status"]) == (ended["next_id"], "no data", "firing")
    assert (ended["id"], ended["status"], ended["sequence"]) == (fired["id"], "resolved", fired["sequence"] + 1)
    assert ended["starts_at"] == fired["starts_at"]
    assert len({(a["id"], a["sequence"]) for a in alerts}) == len(alerts)


def test_with_all_of_the_log_nothing_is_said_twice_and_all_goes_on(lost: OperatedStream) -> None:
    before = lost.alerts()
    lost.send(*observations(0, 170, 159)[160:])
    worker = lost.start()
    lost.wait(lambda: offset(lost) == 170, worker)
    told = lost.stop(worker)
    assert "complete=True" in told
    alerts = lost.alerts()
    assert json.dumps(alerts[: len(before)]) == json.dumps(before)
    (ended,) = alerts[len(before) :]
    assert (ended["id"], ended["status"], ended["reason"]) == (before[-1]["id"], "resolved", "normal")
