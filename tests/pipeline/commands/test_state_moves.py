"""`tidewatch state seek`, `reset`, `export`, `import` on a real stream: what a worker does afterwards."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import Iterator
from contextlib import ExitStack
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import jsonschema
import pytest
from confluent_kafka import Consumer
from operated_stream import ROOT, OperatedStream, observations, write_model
from pydantic import SecretStr

from pipeline.embedded.servers import start_redis
from pipeline.operations.state_admin import Administration
from pipeline.partition.stores.base import Checkpoint
from pipeline.partition.stores.redis import RedisStore
from pipeline.settings import RedisSettings
from pipeline.steps.stored.pieces import folded

pytestmark = [pytest.mark.kafka, pytest.mark.slow]


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_model(tmp_path_factory.mktemp("model") / "quiet.model")


@pytest.fixture(scope="module")
def redis_urls(tmp_path_factory: pytest.TempPathFactory) -> Iterator[list[str]]:
    with ExitStack() as running:
        yield [
            running.enter_context(start_redis(tmp_path_factory.mktemp(f"redis{i}"))).url.removesuffix("/0") + "/0"
            for i in range(2)
        ]


@pytest.fixture
def stream(kafka: str, redis_urls: list[str], model: Path, tmp_path: Path) -> Iterator[OperatedStream]:
    made = OperatedStream(tmp_path, kafka, redis_urls[0], model)
    with made.running:
        made.create_topic()
        yield made


def stored(stream: OperatedStream) -> Checkpoint | None:
    async def look() -> Checkpoint | None:
        store = RedisStore(RedisSettings(url=SecretStr(stream.redis), prefix=stream.prefix or stream.name))
        try:
            return await store.peek(stream.name, 0)
        finally:
            await store.close()

    return asyncio.run(look())


def firing(stream: OperatedStream) -> list[str]:
    return [a["starts_at"] for a in stream.alerts() if a["status"] == "firing" and a["reason"] == "anomaly"]


def test_seeking_is_refused_while_a_worker_lives_and_forward_skips_records_with_the_state_kept(
    stream: OperatedStream,
) -> None:
    stream.send(*observations(0, 200, 150, 199))
    worker = stream.start()
    stream.wait(lambda: stream.offset() == 200, worker)
    for words in (["seek", stream.name, "--to", "latest"], ["reset", stream.name], ["import", stream.name, "none"]):
        if words[0] == "import":
            assert stream.run("state", "export", stream.name, "--out", str(stream.folder / "none")).exit_code == 0
            words[-1] = str(stream.folder / "none")
        line = stream.refused("state", *words, "--yes")
        assert f"consumer group {stream.name} has 1 live member (tidewatch@127.0.0.1)" in line
        assert "stop the workers first" in line
    before = stream.shown()[0]
    assert (before["offset"], before["lag"], before["series"], before["open_alerts"]) == (200, 0, 1, 1)
    stream.stop(worker)
    stream.send(*observations(200, 400, 300))  # nobody sees the spike at 300
    stream.send(*observations(400, 500, 460))
    assert stream.run("state", "seek", stream.name, "--to", "400", answer="n\n").exit_code == 1
    assert stream.shown()[0]["offset"] == 200
    done = stream.run("state", "seek", stream.name, "--to", "400", answer="y\n")
    assert done.exit_code == 0, done.output
    assert "200 records skipped, state kept, windows start anew" in done.stdout
    after = stream.shown()[0]
    assert (after["offset"], after["lag"], after["series"], after["open_alerts"]) == (400, 100, 1, 1)
    assert stream.offset() == 400
    stream.work_until(500)
    assert len(firing(stream)) == 3  # 150, 199 and 460
    assert "reads on there already" in stream.run("state", "seek", stream.name, "--to", "latest").stdout


def test_seeking_back_needs_an_empty_state_and_publishes_that_time_again(stream: OperatedStream) -> None:
    stream.send(*observations(0, 200, 180))
    time.sleep(0.05)
    middle = datetime.now(UTC)
    time.sleep(0.05)
    stream.send(*observations(200, 500, 450))
    stream.work_until(500)
    once = firing(stream)
    assert len(once) == 2
    line = stream.refused("state", "seek", stream.name, "--to", "200", "--yes")
    assert "its state has seen all before" in line
    assert "use --fresh" in line
    assert "there is nothing to read on from at 501" in stream.refused("state", "seek", stream.name, "--to", "501")
    back = ["state", "seek", stream.name, "--to", middle.isoformat(), "--fresh", "--yes"]
    done = stream.run(*back)
    assert "300 records scored again, empty state" in done.stdout, done.output
    assert (stream.offset(), stream.shown()[0]["series"]) == (200, 0)
    stream.work_until(500)
    assert firing(stream) == [*once, once[1]]  # the same alert, found again; nothing of the time before
    future = (datetime.now(UTC) + timedelta(hours=1)).isoformat()
    assert "reads on there already" in stream.run("state", "seek", stream.name, "--to", future).stdout


@pytest.mark.parametrize("expired", [0, 30])
def test_after_a_reset_all_is_published_again_as_by_a_first_worker(stream: OperatedStream, expired: int) -> None:
    stream.send(*observations(0, 330, 280))
    stream.expire(expired)
    stream.work_until(330)
    once, first = stream.alerts(), stored(stream)
    assert len(once) == 2
    stream.commit("another.topic", 7)
    assert stream.run("state", "reset", stream.name, "--yes").exit_code == 0
    assert (stored(stream), stream.offset()) == (None, None)
    assert stream.committed("another.topic") == 7
    stream.work_until(330)
    again = stored(stream)
    assert first is not None
    assert again is not None
    assert folded(again.fields) == folded(first.fields)
    assert stream.alerts() == once + once


def test_a_reset_tells_of_open_alerts_and_ends_them_where_the_stream_is_not_to_go_on(stream: OperatedStream) -> None:
    stream.send(*observations(0, 250, 200, 249))
    stream.work_until(250)
    (open_one,) = [a for a in stream.alerts() if a["starts_at"] == firing(stream)[-1]]
    done = stream.run("state", "reset", stream.name, "--yes")
    assert "open alerts: 1; they stay so until a worker has read their records again" in done.output
    assert stream.alerts()[-1] == open_one
    done = stream.run("state", "reset", stream.name, "--yes", "--end-alerts")
    assert "open alerts that were ended: 1" in done.output
    ended = stream.alerts()[-1]
    assert (ended["id"], ended["sequence"], ended["status"], ended["change"]) == (
        open_one["id"],
        1,
        "resolved",
        "forgotten",
    )
    assert ended["ends_at"] == open_one["last_seen"]
    validator = jsonschema.Draft202012Validator(json.loads((ROOT / "docs/schemas/alert.v1.json").read_text()))
    validator.validate(ended)
    done = stream.run("state", "reset", stream.name, "--yes", "--end-alerts")
    assert "open alerts" not in done.output


def test_a_stream_that_never_ran_begins_where_it_is_told(stream: OperatedStream) -> None:
    stream.send(*observations(0, 200, 180))
    done = stream.run("state", "seek", stream.name, "--to", "latest", "--yes")
    assert "200 records skipped, empty state" in done.stdout, done.output
    stream.send(*observations(200, 400, 380))
    stream.work_until(400)
    assert len(firing(stream)) == 1


def test_a_stream_moved_to_another_redis_goes_on_with_identical_alerts(
    stream: OperatedStream, redis_urls: list[str]
) -> None:
    file = stream.folder / "state"
    stream.send(*observations(0, 250, 249))  # the move comes in the middle of an alert
    stream.work_until(250)
    done = stream.run("state", "export", stream.name, "--out", str(file))
    assert done.exit_code == 0, done.output
    left = stored(stream)
    stream.send(*observations(250, 500, 250, 400))
    stream.redis = redis_urls[1]
    assert stored(stream) is None
    done = stream.run("state", "import", stream.name, str(file), "--yes")
    assert done.exit_code == 0, done.output
    assert stored(stream) == left
    stream.run("state", "export", stream.name, "--out", f"{file}2")
    assert Path(f"{file}2").read_bytes() == file.read_bytes()
    stream.work_until(500)
    moved, state = stream.alerts(), stored(stream)
    stream.prefix = "undisturbed"
    stream.run("state", "reset", stream.name, "--yes")
    stream.work_until(500)
    assert stream.alerts() == moved + moved
    undisturbed = stored(stream)
    assert state is not None
    assert undisturbed is not None
    assert folded(undisturbed.fields) == folded(state.fields)


def test_an_import_over_what_is_stored_asks_and_a_foreign_state_is_refused(
    stream: OperatedStream, model: Path, tmp_path: Path
) -> None:
    file = tmp_path / "state"
    words = ["state", "import", stream.name, str(file)]
    stream.send(*observations(0, 250, 249))
    stream.work_until(250)
    stream.run("state", "export", stream.name, "--out", str(file))
    asked = stream.run(*words, answer="n\n")
    assert asked.exit_code == 1
    assert "Replace the stored state of partition 0" in asked.stdout
    own = stream.environment["TIDEWATCH_STREAMS"]
    renamed = own.replace(f'"name": "{stream.name}"', f'"name": "other", "topic": "{stream.topic}"')
    words[2] = "other"
    assert f"is of stream {stream.name}, not other" in stream.refused(*words, TIDEWATCH_STREAMS=renamed)
    words[2] = stream.name
    assert (
        stream.run(*words, answer="y\n", TIDEWATCH_STREAMS=own.replace('"probation": 50', '"probation": 51')).exit_code
        == 0
    )


def test_a_state_goes_along_to_a_topic_that_was_copied_record_by_record(stream: OperatedStream) -> None:
    file = stream.folder / "state"
    words = ["state", "import", stream.name, str(file), "--yes"]
    stream.send(*observations(0, 250, 249))
    stream.work_until(250)
    stream.run("state", "export", stream.name, "--out", str(file))
    stream.delete_topic()
    stream.create_topic()
    assert "use --adopt-topic if the topic was copied" in stream.refused(*words)
    stream.send(*observations(0, 200))
    assert "holds 0 to 200: it is of other records" in stream.refused(*words, "--adopt-topic")
    stream.send(*observations(200, 350, 249, 250, 300))
    done = stream.run(*words, "--adopt-topic")
    assert done.exit_code == 0, done.output
    stream.work_until(350)
    assert [a["sequence"] for a in stream.alerts() if a["starts_at"] == firing(stream)[0]] == [0, 1]
    assert len(firing(stream)) == 2


def test_an_offset_is_of_one_partition_and_unknown_partitions_are_named(stream: OperatedStream) -> None:
    other = OperatedStream(stream.folder, stream.kafka, stream.redis, stream.model)
    other.create_topic(2)
    other.send(*observations(0, 10), partition=1)
    seek = ["state", "seek", other.name, "--yes", "--to"]
    assert "name one with --partition" in other.refused(*seek, "5")
    assert "has partitions 0 to 1, not 9" in other.refused(*seek, "5", "--partition", "9")
    assert "moved partition 1 of" in other.run(*seek, "5", "--partition", "1").stdout
    assert other.offsets() == {1: 5}
    assert "moved partition 0 of" in other.run(*seek, "earliest", "--partition", "0").stdout  # an empty state, said so
    assert [(p["partition"], p["offset"], p["lag"]) for p in other.shown()] == [(0, 0, 0), (1, 5, 5)]


def test_a_worker_that_comes_to_life_meanwhile_is_told_of(
    stream: OperatedStream, monkeypatch: pytest.MonkeyPatch
) -> None:
    stream.send(*observations(0, 10))
    consumer = Consumer({"bootstrap.servers": stream.kafka, "log_level": 0, "group.id": stream.name})
    put = Administration.put

    async def put_and_join(*arguments: Any) -> None:
        await put(*arguments)
        consumer.subscribe([stream.topic])
        while not consumer.assignment():
            consumer.poll(0.2)

    monkeypatch.setattr(Administration, "put", put_and_join)
    line = stream.refused("state", "seek", stream.name, "--to", "latest", "--yes")
    consumer.close()
    assert f"a worker of group {stream.name} started meanwhile" in line
