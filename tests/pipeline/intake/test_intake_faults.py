"""The intake as processes over real Kafka: killed, paused past its session, in company. What the stream makes of its topic is what one undisturbed
intake would have had it make: each raw observation once, each series whole in its partition and in the order of time."""

from __future__ import annotations

import json
import os
import random
import re
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from confluent_kafka import Producer
from confluent_kafka.admin import AdminClient, NewPartitions, NewTopic  # type: ignore[attr-defined]
from frozen_states import stream_of
from kafka_fixtures import committed_offsets
from typer.testing import CliRunner

from pipeline.cli import create_cli
from pipeline.kafka.reader import read_to_the_end
from pipeline.partition.core import PartitionCore
from pipeline.settings import KafkaSettings
from pipeline.steps.batches.records import RecordBatch
from producers.partitioning import home

pytestmark = pytest.mark.kafka

T0 = 1_700_000_000
HOSTS, RAW, FED = 12, 3, 4

PATIENT = """
from pipeline.cli import main
from pipeline.intake import merging
merging.PATIENCE = 600.0
main()
"""
"""An intake that does not give the order up where the machine is so busy that a broker says nothing for ten seconds."""


class Raw:
    """Keyless Telegraf JSON over the partitions of a raw topic: each host in pieces in all of them, as its default has it."""

    def __init__(self, kafka: str, topic: str) -> None:
        self.partitions = RAW
        self.sent: list[tuple[str, int, float]] = []
        self._topic = topic
        self._producer = Producer({"bootstrap.servers": kafka, "log_level": 0, "linger.ms": 2})
        self._chance = random.Random(1)
        self._step = 0
        self.records = 0

    def steps(self, n: int) -> None:
        for _ in range(n):
            self._step += 1
            at = T0 + 10 * self._step
            for host in range(HOSTS):
                idle = round(self._chance.gauss(50, 5), 3)
                fields = {"idle": idle, "user": 100 - idle}
                metric = {"name": "cpu", "tags": {"host": f"h{host}"}, "timestamp": at, "fields": fields}
                self._producer.produce(
                    self._topic, json.dumps(metric), partition=self._chance.randrange(self.partitions)
                )
                self.sent += [(f'cpu_{f}{{host="h{host}"}}', at * 1000, v) for f, v in fields.items()]
            self.records += HOSTS
        self._producer.flush()

    @contextmanager
    def sending(self) -> Iterator[None]:
        """A step every 150 ms meanwhile."""
        ended = threading.Event()

        def send() -> None:
            while not ended.wait(0.15):
                self.steps(1)

        thread = threading.Thread(target=send)
        thread.start()
        try:
            yield
        finally:
            ended.set()
            thread.join()

    def knows(self, partitions: int) -> None:
        """From here on it sends to so many, once its client has heard of them."""
        wait(
            lambda: (
                len(self._producer.list_topics(self._topic, timeout=20).topics[self._topic].partitions) == partitions
            ),
            "no partitions",
        )
        self.partitions = partitions

    def bad(self) -> None:
        self._producer.produce(self._topic, b"no metric", partition=0)
        self._producer.flush()
        self.records += 1


class Intakes:
    """Processes of one intake."""

    def __init__(self, config: Path) -> None:
        self._config = config
        self.running: list[subprocess.Popen[bytes]] = []

    def start(self) -> subprocess.Popen[bytes]:
        process = subprocess.Popen(
            [sys.executable, "-c", PATIENT, "intake", "--config", str(self._config)],
            stdout=self._log(len(self.running)).open("wb"), stderr=subprocess.STDOUT,
        )  # fmt: skip
        self.running.append(process)
        return process

    def assigned(self, process: subprocess.Popen[bytes]) -> bool:
        """Whether it has been given partitions to read."""
        assert process.poll() is None
        return any(line["event"] == "sources assigned" and line["sources"] for line in self.lines(process))

    def lines(self, process: subprocess.Popen[bytes]) -> list[dict[str, Any]]:
        """What it has said."""
        text = self._log(self.running.index(process)).read_text()
        return [json.loads(line) for line in text.splitlines(keepends=True) if line.endswith("\n")]

    def _log(self, number: int) -> Path:
        return self._config.parent / f"intake{number}.log"


@contextmanager
def world(
    kafka: str, group: str, new_topic: Callable[..., str], folder: Path
) -> Iterator[tuple[Raw, Intakes, str, str]]:
    raw, fed = new_topic(RAW), new_topic(FED)
    config = folder / "tidewatch.toml"
    config.write_text(
        f'[kafka]\nbrokers = "{kafka}"\n[worker]\ngroup = "{group}"\nsession_timeout = "6s"\nlog_format = "json"\n'
        f'[[streams]]\nname = "fed"\ntopic = "{fed}"\nmodel = "none"\nalert_topic = "{fed}.alerts"\n'
        f'[[intake]]\nname = "{group}"\nstream = "fed"\ntopics = ["{raw}"]\n'
    )
    intakes = Intakes(config)
    try:
        yield Raw(kafka, raw), intakes, raw, fed
    finally:
        for process in intakes.running:
            if process.poll() is None:
                process.send_signal(signal.SIGCONT)
                process.kill()
                process.wait()


def wait(condition: Callable[[], bool], what: str, seconds: float = 120.0) -> None:
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, what
        time.sleep(0.2)


def mend(folder: Path, intake: str, raw: Raw) -> None:
    """Send its dead letter again, as what it should have been."""
    file = folder / "letters.jsonl"
    for words in (("--export", str(file)), ("--from-file", str(file))):
        config = ["--config", str(folder / "tidewatch.toml")]
        done = CliRunner().invoke(create_cli(), ["replay-dead-letters", intake, "--intake", *words, *config])
        assert done.exit_code == 0, (done.output, done.exception)
        assert done.stdout.startswith("1 ")
        lines = [json.loads(line) for line in file.read_text().splitlines()]
        metric = {"name": "mended", "tags": {"host": "h"}, "timestamp": T0 + 1, "fields": {"value": 1.0}}
        file.write_text("".join(json.dumps(line | {"value": metric}) + "\n" for line in lines))
    raw.sent.append(('mended{host="h"}', T0 * 1000 + 1000, 1.0))
    raw.records += 1


def batches_of(kafka: str, topic: str) -> list[RecordBatch]:
    return list(read_to_the_end(KafkaSettings(brokers=kafka), topic))


def done(kafka: str, group: str, raw: str, expected: int, partitions: int = RAW) -> Callable[[], bool]:
    """Whether all records of the raw topic are committed."""
    return lambda: (
        sum(max(o, 0) for o in committed_offsets(kafka, f"{group}.intake.{group}", raw, range(partitions)).values())
        >= expected
    )


def judge(kafka: str, fed: str, expected: list[tuple[str, int, float]], *, in_order: bool = True) -> int:
    """What a stream makes of the topic; returns how many observations came twice."""
    stream = stream_of("metric")
    found: list[tuple[str, int, float]] = []
    twice = 0
    cores: dict[int, tuple[PartitionCore, PartitionCore]] = {p: (stream.core(p), stream.core(p)) for p in range(FED)}
    for batch in batches_of(kafka, fed):
        observations, rejected = stream.decoder.decode(batch)
        assert rejected == []
        disturbed, undisturbed = cores[batch.partition]
        before = disturbed.state.scalars.get("observations", 0)
        once = disturbed.unseen(observations)
        twice += len(observations) - len(once)
        found += zip(once.series, once.timestamps.tolist(), once.values[:, 0].tolist(), strict=True)
        assert all(home(name, FED) == batch.partition for name in set(once.series))
        once.stretches = []
        for core in (disturbed, undisturbed):  # the one knows of sources, the other was given each once
            core.process(once)
        assert disturbed.state.scalars["observations"] - before == len(once)
    assert len(found) == len(set(found)), "an observation counted twice"
    assert sorted(found) == sorted(expected), "an observation is lost, or none of ours"
    for disturbed, undisturbed in cores.values():
        one, other = (core.state.snapshot(everything=True) for core in (disturbed, undisturbed))
        assert {f: v for f, v in one.items() if not f.startswith("sources:")} == other
    newest: dict[str, int] = {}
    late = sum(1 for name, at, _ in found if at < newest.setdefault(name, at) or newest.update({name: at}) is not None)
    assert late == 0 or not in_order, "pieces of a series came out of order"
    return twice


def test_killed_paused_and_in_company_it_loses_nothing_and_counts_nothing_twice(
    kafka: str, group: str, new_topic: Callable[..., str], tmp_path: Path
) -> None:
    chance = random.Random(os.getpid())
    with world(kafka, group, new_topic, tmp_path) as (raw, intakes, raw_topic, fed):
        raw.steps(100)  # what piled up before
        raw.bad()
        with raw.sending():
            for _ in range(2):  # killed while it writes
                one = intakes.start()
                wait(lambda one=one: intakes.assigned(one), "no source is assigned")  # type: ignore[misc]
                time.sleep(chance.uniform(0, 1.5))
                one.kill()
                one.wait()
            one = intakes.start()
            wait(lambda: intakes.assigned(one), "no source is assigned")
            time.sleep(chance.uniform(0.5, 1.5))
            one.send_signal(signal.SIGSTOP)  # a zombie: past its session the other has its partitions, and writes on
            other = intakes.start()
            wait(lambda: intakes.assigned(other), "the other one got nothing")
            time.sleep(1)
            one.send_signal(signal.SIGCONT)
            time.sleep(2)
        wait(done(kafka, group, raw_topic, raw.records), "not all is committed")
        assert (one.poll(), other.poll()) == (None, None)
        mend(tmp_path, group, raw)
        wait(done(kafka, group, raw_topic, raw.records), "what was mended is not read")
        for process in (one, other):
            process.terminate()
        assert [process.wait(20) for process in (one, other)] == [0, 0]
        judge(kafka, fed, raw.sent)
        letters = {value for batch in batches_of(kafka, f"{group}.intake.dlq") for value in batch.values}
        assert letters == {b"no metric"}


@pytest.mark.nightly
@pytest.mark.timeout(5000)  # a killed member holds the group up for its session
def test_killed_thirty_times_while_partitions_are_added_and_its_topic_is_created_again(
    kafka: str, group: str, new_topic: Callable[..., str], tmp_path: Path
) -> None:
    chance = random.Random(os.getpid())
    admin = AdminClient({"bootstrap.servers": kafka, "log_level": 0})
    with world(kafka, group, new_topic, tmp_path) as (raw, intakes, raw_topic, fed):
        partitions = RAW

        def killed(times: int) -> None:
            """By chance at its start, while it reads on, or in its second second; every fifth is paused past its session beside its successor."""
            for n in range(times):
                one = intakes.start()
                if n % 5 == 4:
                    wait(partial(intakes.assigned, one), "no source is assigned", 400)
                    one.send_signal(signal.SIGSTOP)
                    other = intakes.start()
                    wait(partial(intakes.assigned, other), "the other one got nothing", 400)
                    one.send_signal(signal.SIGCONT)
                    time.sleep(chance.uniform(0, 1))
                    other.kill()
                    other.wait()
                elif n % 5:
                    wait(partial(intakes.assigned, one), "no source is assigned", 400)
                time.sleep(chance.uniform(0, 1.5))
                one.kill()
                one.wait()

        raw.steps(50)
        with raw.sending():
            killed(15)
            admin.create_partitions([NewPartitions(raw_topic, RAW + 1)])[raw_topic].result(20)
            raw.knows(partitions := RAW + 1)
            killed(5)
        one = intakes.start()
        wait(done(kafka, group, raw_topic, raw.records, partitions), "not all is committed", 900)
        one.kill()
        one.wait()
        admin.delete_topics([raw_topic])[raw_topic].result(20)
        wait(lambda: raw_topic not in admin.list_topics(timeout=20).topics, "it is not gone")
        admin.create_topics([NewTopic(raw_topic, RAW)])[raw_topic].result(20)
        raw.knows(RAW)
        raw.records = 0
        with raw.sending():
            killed(9)
        one = intakes.start()
        wait(done(kafka, group, raw_topic, raw.records), "not all is committed", 900)
        one.terminate()
        assert one.wait(20) == 0
        assert (
            judge(kafka, fed, raw.sent, in_order=False) > 0
        )  # what lies in an added partition before it is found comes late


@pytest.mark.nightly
def test_a_changed_mapping_begins_at_the_offsets_that_are_told_and_each_observation_counts_under_one_name(
    kafka: str, group: str, new_topic: Callable[..., str], tmp_path: Path
) -> None:
    with world(kafka, group, new_topic, tmp_path) as (raw, intakes, raw_topic, fed):
        with raw.sending():
            one = intakes.start()
            wait(lambda: intakes.assigned(one), "no source is assigned")
            time.sleep(2)
            config = tmp_path / "tidewatch.toml"
            config.write_text(config.read_text() + 'series = "{metric}@{host}"\n')
            told = "from here on records are read as the changed settings say"
            wait(lambda: any(line["event"] == told for line in intakes.lines(one)), "it is not followed")
            time.sleep(2)
        wait(done(kafka, group, raw_topic, raw.records), "not all is committed")
        one.terminate()
        assert one.wait(20) == 0
        (line,) = (line for line in intakes.lines(one) if line["event"] == told)
        begins = {int(p): int(at) for p, at in re.findall(r"\[(\d+)\] at (\d+)", " ".join(line["sources"]))}
        assert begins.keys() == set(range(RAW))
        expected = []
        for batch in batches_of(kafka, raw_topic):
            for offset, value in zip(batch.offsets.tolist(), batch.values, strict=True):
                metric = json.loads(value or b"")
                host, at = metric["tags"]["host"], metric["timestamp"] * 1000
                new = offset >= begins[batch.partition]
                expected += [(f"cpu_{f}@{host}" if new else f'cpu_{f}{{host="{host}"}}', at, v) for f, v in metric["fields"].items()]  # fmt: skip
        assert {"@" in name for name, _, _ in expected} == {True, False}
        assert judge(kafka, fed, expected) == 0


@pytest.mark.nightly
def test_partitions_added_to_a_source_are_found_and_a_topic_created_again_is_another_source(
    kafka: str, group: str, new_topic: Callable[..., str], tmp_path: Path
) -> None:
    admin = AdminClient({"bootstrap.servers": kafka, "log_level": 0})
    with world(kafka, group, new_topic, tmp_path) as (raw, intakes, raw_topic, fed):
        raw.steps(30)
        one = intakes.start()
        wait(done(kafka, group, raw_topic, raw.records), "not all is committed")
        admin.create_partitions([NewPartitions(raw_topic, RAW + 2)])[raw_topic].result(20)
        raw.knows(RAW + 2)
        raw.steps(30)
        wait(done(kafka, group, raw_topic, raw.records, RAW + 2), "the new ones are not read")
        admin.delete_topics([raw_topic])[raw_topic].result(20)
        wait(lambda: raw_topic not in admin.list_topics(timeout=20).topics, "it is not gone")
        admin.create_topics([NewTopic(raw_topic, RAW)])[raw_topic].result(20)
        raw.knows(RAW)
        raw.records = 0
        raw.steps(30)  # the same offsets, and all of it news
        time.sleep(1)
        if one.poll() is not None:  # it saw at a commit that the topic was gone
            assert one.returncode == 2
            assert f"topic {raw_topic} was deleted" in (tmp_path / "intake0.log").read_text()
            one = intakes.start()
        wait(done(kafka, group, raw_topic, raw.records), "not all is committed")
        one.terminate()
        assert one.wait(20) == 0
        judge(kafka, fed, raw.sent, in_order=False)  # what lies in added partitions before they are found comes late
