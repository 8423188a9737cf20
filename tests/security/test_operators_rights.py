"""Operators' commands with the rights of docs/security.md alone: in Kafka, and in Redis with a user for those who look and one for those
who change."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
import redis
from confluent_kafka import Producer
from security.servers import PROJECT, tidewatch
from security.test_kafka_rights import PASSWORDS, Place, Right, documented, kafka, place, wait_for
from security.test_kafka_rights import redis_port as bare_redis_port

from pipeline.alerts.records import DeadLetter
from pipeline.steps.batches.records import RecordBatch, Rejected

pytestmark = [pytest.mark.kafka, pytest.mark.slow]

__all__ = ["bare_redis_port", "kafka", "place"]  # fixtures

PASSWORD = "canary-of-redis-people"


@pytest.fixture(scope="module")
def redis_port(bare_redis_port: int) -> Iterator[int]:
    """Redis with the documented users, each for the keys of any test here; workers of these tests use the unnamed one."""
    page = (PROJECT / "docs/security.md").read_text()
    block = page.partition("<!-- redis people -->")[2].partition("<!-- /redis people -->")[0]
    users = re.findall(r"^user (tidewatch-\w+) (.*)$", block, re.MULTILINE)
    assert [name for name, _ in users] == ["tidewatch-viewer", "tidewatch-keeper"]
    with redis.Redis(port=bare_redis_port) as admin:
        for name, rules in users:
            given = rules.replace(">PASSWORD", f">{PASSWORD}").replace("~tidewatch:*", "~acl-*")
            admin.execute_command("ACL", "SETUSER", name, "reset", *given.split())
    yield bare_redis_port
    with redis.Redis(port=bare_redis_port) as admin:
        admin.execute_command("ACL", "DELUSER", *[name for name, _ in users])


@dataclass
class Desk:
    """Somebody at a command line: a user in Kafka, one in Redis."""

    place: Place

    def run(self, who: str, *words: str, store: str = "") -> tuple[int, str]:
        """Exit code, and all that was said."""
        url = f"redis://tidewatch-{store or who}:{PASSWORD}@127.0.0.1:{self.place.redis}/0"
        done = tidewatch(
            *words, "--config", str(self.place.config(who)), cwd=self.place.folder, TIDEWATCH_REDIS__URL=url
        )
        said = done.stdout + done.stderr
        assert PASSWORD not in said
        assert PASSWORDS[who] not in said
        assert "Traceback" not in said
        return done.returncode, said

    def must(self, who: str, *words: str, store: str = "") -> str:
        code, said = self.run(who, *words, store=store)
        assert code == 0, said
        return said


@pytest.fixture
def desk(place: Place) -> Desk:
    place.make_topics()
    return Desk(place)


def work(place: Place) -> None:
    """Let a worker do all that was sent, and stop it."""
    place.send()
    worker = place.start("worker")
    try:
        with redis.Redis(port=place.redis) as client:
            key = f"{place.names['GROUP']}:state:acl:0"
            wait_for(lambda: client.hget(key, "offset") == b"401" and place.count("DEAD_LETTERS"), worker)
        worker.terminate()
        assert worker.wait(30) == 0
    finally:
        worker.kill()
        worker.communicate()


def letter(place: Place) -> None:
    """A dead letter of the record that is none, as a worker would write it."""
    none = RecordBatch(
        place.names["INPUT"], 0, np.array([400]), 401, [b"s"], [b"not an observation"], np.array([1_700_000_000_000])
    )
    message = DeadLetter.of(none, Rejected(0, "undecodable", "not JSON"), stream="acl").message(
        place.names["DEAD_LETTERS"]
    )
    producer = Producer({"bootstrap.servers": place.kafka.internal, "log_level": 0})
    producer.produce(message.topic, message.value, message.key, headers=list(message.headers))
    assert producer.flush(30) == 0


def test_operators_do_their_work_with_these_rights_alone(desk: Desk, tmp_path: Path) -> None:
    place = desk.place
    place.allow(documented())
    work(place)
    shown = json.loads(desk.must("viewer", "state", "show", "acl", "--json").splitlines()[0])
    assert (shown["offset"], shown["lag"]) == (401, 0)
    file = str(tmp_path / "acl.state")
    desk.must("viewer", "state", "export", "acl", "--out", file)
    assert "sent to" in desk.must("mender", "replay-dead-letters", "acl", store="viewer")
    assert place.count("INPUT") == 402
    desk.must("keeper", "state", "seek", "acl", "--to", "latest", "--yes")
    assert json.loads(desk.must("viewer", "state", "show", "acl", "--json").splitlines()[0])["offset"] == 402
    desk.must("keeper", "state", "import", "acl", file, "--yes")
    assert json.loads(desk.must("viewer", "state", "show", "acl", "--json").splitlines()[0])["offset"] == 401
    desk.must("keeper", "state", "reset", "acl", "--yes")
    assert "nothing is stored" in desk.must("viewer", "state", "show", "acl")
    assert desk.run("keeper", "state", "seek", "acl", "--to", "latest", "--yes", store="viewer")[0] == 2, (
        "a viewer wrote"
    )


COMMANDS = {
    "keeper": [("state", "seek", "acl", "--to", "latest", "--fresh", "--yes"), ("state", "reset", "acl", "--yes")],
    "mender": [("replay-dead-letters", "acl")],
}


@pytest.mark.parametrize("lacking", [r for r in documented() if r[0] in COMMANDS], ids=lambda r: " ".join(r))
def test_each_right_is_needed_and_its_lack_is_one_line_that_names_the_thing(desk: Desk, lacking: Right) -> None:
    who, operation, kind, name = lacking
    place = desk.place
    place.allow(r for r in documented() if r != lacking)
    place.send()
    letter(place)
    ended = [desk.run(who, *words, store="keeper") for words in COMMANDS[who]]
    code, said = next((e for e in ended if e[0]), (0, ""))
    assert code == 2, ended
    last = said.strip().splitlines()[-1]
    assert last.startswith("error: ")
    assert place.names[name] in last
    assert f"{operation} on {kind} {place.names[name]}; docs/security.md" in last or "authorization failed" in last


def test_a_viewer_without_kafka_is_told_what_it_does_not_see(desk: Desk) -> None:
    desk.place.allow(r for r in documented() if r[0] != "viewer")
    work(desk.place)
    said = desk.must("viewer", "state", "show", "acl")
    assert "lag unknown: " in said
    assert desk.place.names["INPUT"] in said
