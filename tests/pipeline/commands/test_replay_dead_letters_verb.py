"""`tidewatch replay-dead-letters` on real topics: in order, each once, mended, with where it came from."""

from __future__ import annotations

import asyncio
import gzip
import json
import os
import sys
import time
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from batch_bytes import batch, record, send, varint, zeros
from confluent_kafka import Producer
from confluent_kafka.admin import AdminClient, NewTopic
from hostile.test_bombs import huge, peak_mb
from operated_stream import OperatedStream, observations, write_model

from pipeline.alerts.records import DeadLetter
from pipeline.embedded.servers import start_redis
from pipeline.kafka.unpacking import GZIP

pytestmark = pytest.mark.kafka


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_model(tmp_path_factory.mktemp("model") / "quiet.model")


@pytest.fixture
def stream(kafka: str, model: Path, tmp_path: Path) -> OperatedStream:
    made = OperatedStream(tmp_path, kafka, "redis://127.0.0.1:1/0", model)
    made.create_topic(2)
    admin = AdminClient({"bootstrap.servers": kafka, "log_level": 0})
    admin.create_topics([NewTopic(f"{made.topic}.dlq", 3, 1)])[f"{made.topic}.dlq"].result(20)
    return made


def bury(stream: OperatedStream, *letters: tuple[str, int, int, bytes | None, bytes | None]) -> None:
    """Put dead letters into the topic, as a worker does: reason, partition, offset, key, value."""
    producer = Producer({"bootstrap.servers": stream.kafka, "log_level": 0, "partitioner": "murmur2_random"})
    for reason, partition, offset, key, value in letters:
        letter = DeadLetter(stream.name, reason, "it is broken", stream.topic, partition, offset, key, value)
        message = letter.message(f"{stream.topic}.dlq")
        producer.produce(message.topic, message.value, message.key, headers=list(message.headers))
    assert producer.flush(20) == 0


def arrived(stream: OperatedStream) -> list[tuple[bytes | None, bytes | None]]:
    return [(m.key(), m.value()) for m in stream.messages(stream.topic)]


def replay(stream: OperatedStream, *words: str) -> str:
    done = stream.run("replay-dead-letters", stream.name, *words)
    assert done.exit_code == 0, (done.output, done.exception)
    return done.stdout


def headers(message: Any) -> dict[str, bytes]:
    return dict(message.headers() or [])


def test_letters_go_once_in_the_order_of_their_records_and_by_reason(stream: OperatedStream) -> None:
    keys = [b"a", b"b", b"c", b"d"]
    bury(
        stream,
        *[("undecodable" if i % 3 else "series limit", 0, i, keys[i % 4], b"%d" % i) for i in reversed(range(60))],
    )
    bury(stream, ("undecodable", 0, 7, b"d", b"7"))  # a crash: the same once more
    first = replay(stream, "--reason", "series limit")
    assert first == f"20 records sent to {stream.topic}\n"
    by_partition = [
        [int(m.value() or b"") for m in stream.messages(stream.topic) if m.partition() == p] for p in (0, 1)
    ]
    assert sorted(by_partition[0] + by_partition[1]) == list(range(0, 60, 3))
    assert all(part == sorted(part) and part for part in by_partition)
    assert f"0 records sent to {stream.topic}; 20 dealt with by an earlier run" in replay(
        stream, "--reason", "series limit"
    )
    assert "40 records would be sent" in replay(stream, "--dry-run")
    assert "7 records sent" in replay(stream, "--limit", "7")
    assert "33 records sent" in replay(stream)
    assert "0 records sent" in replay(stream)
    assert sorted(int(v or b"") for _, v in arrived(stream)) == list(range(60))
    assert {k for k, _ in arrived(stream)} == set(keys)
    again = replay(stream, "--again", "--dry-run")
    assert "60 records would be sent" in again
    assert "1 twice in the topic" in again


def test_a_record_keeps_its_headers_and_counts_how_often_it_was_sent(stream: OperatedStream) -> None:
    producer = Producer({"bootstrap.servers": stream.kafka, "log_level": 0})
    producer.produce(stream.topic, b"broken", None, partition=1, headers=[("trace", b"t1"), ("nothing", None)])
    assert producer.flush(20) == 0
    bury(stream, ("undecodable", 1, 0, None, b"broken"))
    replay(stream)
    bury(stream, ("undecodable", 1, 1, None, b"broken"))  # it is still broken
    assert "(attempt 2)" in replay(stream, "--dry-run")
    replay(stream)
    _, once, twice = stream.messages(stream.topic)
    origin = {
        "trace": b"t1", "nothing": None, "tidewatch.replay.topic": stream.topic.encode(), "tidewatch.replay.partition": b"1",
        "tidewatch.replay.offset": b"0",
    }  # fmt: skip
    assert headers(once) == {**origin, "tidewatch.replay.attempt": b"1"}
    assert headers(twice) == {**origin, "tidewatch.replay.attempt": b"2"}
    assert (once.partition(), twice.partition()) == (1, 1)  # without a key it stays where it was
    assert len(once.headers() or []) == 6


def test_letters_of_an_intake_go_back_to_the_raw_topic_and_partition_they_came_from_and_nowhere_else(
    stream: OperatedStream, new_topic: Callable[..., str]
) -> None:
    raw, strange, letters = new_topic(3), new_topic(), f"{stream.name}.intake.dlq"
    stream.more["TIDEWATCH_INTAKE"] = json.dumps([{"stream": stream.name, "topics": [raw, "gone-*"]}])
    assert stream.run("topics", "create").exit_code == 0
    producer = Producer({"bootstrap.servers": stream.kafka, "log_level": 0})
    places = [(raw, 2, b"k"), (raw, 0, b"k"), (raw, 1, None), (strange, 0, b"k"), ("gone-1", 0, None)]
    for offset, (topic, partition, key) in enumerate(places):
        value = b"%d" % offset
        letter = DeadLetter(stream.name, "undecodable", "it is broken", topic, partition, offset, key, value)
        message = letter.message(letters)
        producer.produce(message.topic, message.value, message.key, headers=list(message.headers))
    assert producer.flush(20) == 0
    told = replay(stream, "--intake")
    assert told == f"3 records sent to {raw}; 2 of topics that are not there, or not read by it\n"
    came = [(m.partition(), m.key(), m.value()) for m in stream.messages(raw)]
    assert came == [(0, b"k", b"1"), (1, None, b"2"), (2, b"k", b"0")]  # whatever partition the key's hash is
    assert stream.messages(strange) == []
    assert arrived(stream) == []
    assert replay(stream, "--intake").startswith("0 records sent")
    assert "there is no intake no in the settings; there is: " in stream.refused(
        "replay-dead-letters", "no", "--intake"
    )


async def test_what_lies_beside_its_record_is_not_unpacked_beyond_bounds(stream: OperatedStream) -> None:
    """A record's headers are read from the log, where its batch may hold a bomb; and of a large batch they are told as of any."""
    trace = varint(1) + varint(5) + b"trace" + varint(2) + b"t1"
    now, size = int(time.time() * 1000), 600 << 20
    bomb = zeros(GZIP, record(0, b"broken", key=None, headers=trace) + huge(1, size), size)
    large = b"".join(record(i, b"x" * 100_000, key=None, headers=trace) for i in range(50))
    first, then = await send(
        stream.kafka,
        stream.topic,
        [batch(bomb, 2, codec=GZIP, stamp=now), batch(gzip.compress(large), 50, codec=GZIP, stamp=now)],
        partition=1,
    )
    bury(stream, ("undecodable", 1, first, None, b"broken"), ("undecodable", 1, then + 7, None, b"worse"))
    Path("/proc/self/clear_refs").write_text("5")  # the peak begins anew
    before = peak_mb(os.getpid())
    assert "2 records sent" in await asyncio.to_thread(replay, stream)
    assert peak_mb(os.getpid()) - before < 300
    assert [headers(m)["trace"] for m in stream.messages(stream.topic)[-2:]] == [b"t1", b"t1"]


def test_what_a_person_mends_in_a_file_is_what_is_sent(stream: OperatedStream) -> None:
    bury(
        stream,
        ("undecodable", 0, 0, b"a", b'{"value": 1'),
        ("undecodable", 0, 1, b"a", b"\xff\xfe"),
        ("undecodable", 0, 2, b"a", b"hopeless"),
        ("series limit", 0, 3, b"a", b"other"),
        ("undecodable", 0, 4, b"a", b"later"),
    )
    file = stream.folder / "letters.jsonl"
    assert "4 letters written" in replay(stream, "--reason", "undecodable", "--export", str(file))
    lines = [json.loads(line) for line in file.read_text().splitlines()]
    assert [line["record"] for line in lines] == [[stream.topic, 0, o] for o in (0, 1, 2, 4)]
    assert (lines[0]["key"], lines[0]["value"], lines[0]["detail"]) == ("a", '{"value": 1', "it is broken")
    assert lines[1]["value_base64"] == "//4="
    lines[0]["value"] = {"value": 1.5}  # JSON itself
    lines[1] |= {"value": "text", "key": "b"}
    file.write_text("\n".join(json.dumps(line) for line in lines[:2]) + "\n\n")
    assert "2 records sent" in replay(stream, "--from-file", str(file))
    assert sorted(arrived(stream)) == [(b"a", b'{"value":1.5}'), (b"b", b"text")]
    assert "0 records sent" in replay(stream, "--from-file", str(file))
    assert "3 records sent" in replay(
        stream
    )  # hopeless and later lay behind the last line; the other reason was left alone
    file.write_text("no json\n")
    assert "line 1 is no dead letter as --export writes it" in stream.refused(
        "replay-dead-letters", stream.name, "--from-file", str(file)
    )


def test_a_program_mends_and_one_that_fails_sends_nothing(stream: OperatedStream) -> None:
    bury(stream, *[("wrong type", 0, i, b"a", b'{"value": "%d"}' % i) for i in range(5)])
    program = (
        "import json, sys\n"
        "for line in sys.stdin:\n"
        "    letter = json.loads(line)\n"
        "    number = int(json.loads(letter['value'])['value'])\n"
        "    if number != 3:\n"
        "        print(json.dumps(letter | {'value': {'value': number}}))\n"
    )
    (stream.folder / "mend.py").write_text(program)
    command = f"{sys.executable} {stream.folder}/mend.py"
    line = stream.refused("replay-dead-letters", stream.name, "--edit", f"{sys.executable} -c exit(3)")
    assert "ended with exit code 3; none of the letters" in line
    assert arrived(stream) == []
    assert "4 records sent" in (told := replay(stream, "--edit", command))
    assert "1 left out by the mending" in told
    assert [v for _, v in arrived(stream)] == [b'{"value":%d}' % i for i in (0, 1, 2, 4)]


def test_what_was_cut_is_told_and_not_sent_and_old_letters_can_be_left_out(stream: OperatedStream) -> None:
    bury(stream, ("too large", 0, 0, b"a", bytes(900_001)), ("undecodable", 0, 1, b"a", b"old"))
    time.sleep(0.01)
    now = datetime.now(UTC).isoformat()
    time.sleep(0.01)
    bury(stream, ("undecodable", 0, 2, b"a", b"new"))
    told = replay(stream, "--dry-run", "--since", now)
    assert told.startswith(f"{stream.topic}[0] offset 2: undecodable: it is broken")
    told = replay(stream)
    assert (
        f"{stream.topic}[0] offset 0: not sent, the letter holds only the head of its record (value of 900001 bytes"
        in told
    )
    assert "2 records sent" in told
    assert [v for _, v in arrived(stream)] == [b"old", b"new"]


def test_a_record_that_the_topic_refuses_is_not_remembered_as_sent(stream: OperatedStream) -> None:
    bury(
        stream,
        ("undecodable", 0, 0, b"a", b"small"),
        ("undecodable", 0, 1, b"a", b"x"),
        ("undecodable", 0, 2, b"a", b"y"),
    )
    program = (
        "import json, sys; [print(json.dumps(d | {'value_base64': d['value'] != 'x' and 'eA==' or None, 'value': None})) "
        "for d in map(json.loads, sys.stdin)]"
    )
    (stream.folder / "mend.py").write_text(
        program.replace("or None", "or __import__('base64').b64encode(__import__('os').urandom(1_500_000)).decode()")
    )
    line = stream.refused("replay-dead-letters", stream.name, "--edit", f"{sys.executable} {stream.folder}/mend.py")
    assert f"publish to {stream.topic}: Broker: Message size too large" in line
    assert len(arrived(stream)) == 1
    assert "3 records sent" in replay(stream)


@pytest.fixture
def running(stream: OperatedStream, tmp_path: Path) -> Iterator[OperatedStream]:
    with start_redis(tmp_path / "redis") as server, stream.running:
        stream.redis = server.url
        yield stream


@pytest.mark.slow
def test_a_malformed_record_becomes_a_dead_letter_is_mended_and_scored(running: OperatedStream) -> None:
    stream = running
    good = observations(0, 201, 200)
    broken = good[200].replace(b'"value":60.0000', b'"value":"60.0"')
    assert broken != good[200]
    stream.send(*good[:200], broken)
    worker = stream.start()
    stream.wait(lambda: sum(stream.offsets().values()) == 201, worker)
    assert stream.alerts() == []
    told = replay(stream, "--dry-run")
    assert "offset 200: wrong type" in told
    (stream.folder / "mend.py").write_text(
        "import json, sys\n"
        "for line in sys.stdin:\n"
        "    letter = json.loads(line)\n"
        "    body = json.loads(letter['value'])\n"
        "    print(json.dumps(letter | {'value': body | {'value': float(body['value'])}}))\n"
    )
    assert "1 records sent" in replay(stream, "--edit", f"{sys.executable} {stream.folder}/mend.py")
    stream.wait(lambda: sum(stream.offsets().values()) == 202, worker)
    stream.stop(worker)
    assert [a["observed"] for a in stream.alerts()] == [[60.0]]
